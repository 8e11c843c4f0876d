package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"keepdav/collfs"
)

const (
	// A change log is folded when it is longer than this and half of the
	// checkpoint before it: then folding costs a bounded part of what was committed.
	minFold = 1 << 20
	// partSize is the size of the parts of a checkpoint.
	partSize = 1 << 20
)

// foldAt returns how long a change log may get.
func foldAt(checkpointBytes int64) int64 { return max(minFold, checkpointBytes/2) }

// A foldQueue holds the collections whose change logs are long.
type foldQueue struct {
	mu  sync.Mutex // guards ids
	ids map[collfs.UUID]bool
}

func (q *foldQueue) add(ids []collfs.UUID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ids == nil {
		q.ids = make(map[collfs.UUID]bool)
	}
	for _, id := range ids {
		q.ids[id] = true
	}
}

func (q *foldQueue) take() (collfs.UUID, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id := range q.ids {
		delete(q.ids, id)
		return id, true
	}
	return "", false
}

// Fold replaces the change log of a collection by a checkpoint, except for what
// versions need. The background does it when a log is long.
func (s *Store) Fold(ctx context.Context, id collfs.UUID) error {
	rec, saved, err := s.Load(ctx, id, 0)
	if err != nil {
		return err
	}
	if len(saved.Changes) == 0 {
		return nil
	}
	tree, err := collfs.Load(saved, s.cfg.Blocks)
	if err != nil {
		return fmt.Errorf("fold %s: %w", id, err)
	}
	data := collfs.AppendTree(nil, tree)
	checkpoint, err := s.writeCheckpoint(ctx, rec, data)
	if err == nil {
		err = s.useCheckpoint(rec, checkpoint, len(data))
	}
	if err == nil {
		return nil
	}
	undo := s.dropIncomplete(checkpoint)
	if errors.Is(err, fs.ErrNotExist) { // it was deleted meanwhile
		return undo
	}
	return fmt.Errorf("fold %s: %w", id, errors.Join(err, undo))
}

// dropIncomplete deletes what there is of a checkpoint, unless it is all there and
// in use. It would take up space for as long as the store is open, and the next
// attempt as much again.
func (s *Store) dropIncomplete(checkpoint int64) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	return s.writer.tx(func() error {
		var incomplete bool
		err := s.writer.row(`SELECT count(*) FROM checkpoint WHERE id = ? AND NOT complete`, checkpoint).Scan(&incomplete)
		if err != nil || !incomplete {
			return err
		}
		return deleteCheckpoint(s.writer, checkpoint)
	})
}

// useCheckpoint puts a checkpoint that is all there in the place of the changes
// before it.
func (s *Store) useCheckpoint(rec collfs.Record, checkpoint int64, size int) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	err := s.writer.tx(func() error {
		if _, err := readRow(s.writer, rec.UUID); err != nil {
			return err
		}
		if _, err := s.writer.exec(`UPDATE checkpoint SET complete = 1 WHERE id = ?`, checkpoint); err != nil {
			return err
		}
		_, err := s.writer.exec(`UPDATE record SET checkpoint_bytes = ?, log_bytes =
			(SELECT coalesce(sum(length(data)), 0) FROM change WHERE collection = uuid AND last > ?) WHERE uuid = ?`, size, rec.Revision, rec.UUID)
		if err != nil {
			return err
		}
		if err := dropTexts(s.writer, rec.UUID); err != nil {
			return err
		}
		return prune(s.writer, rec.UUID)
	})
	if err == nil {
		s.folds.Add(1)
		s.tidyLocked()
	}
	return err
}

// writeCheckpoint writes the parts of a checkpoint, which isn't complete yet, in
// small transactions: commits are applied in between. If it fails, part of it may
// be there.
func (s *Store) writeCheckpoint(ctx context.Context, rec collfs.Record, data []byte) (id int64, err error) {
	part := 0
	for chunk := range slices.Chunk(data, partSize) {
		if err := ctx.Err(); err != nil {
			return id, err
		}
		s.writeMu.Lock()
		made := id
		err := s.writer.tx(func() error {
			if part == 0 {
				err := s.writer.row(`INSERT INTO checkpoint (collection, revision, bytes, complete) VALUES (?, ?, ?, 0) RETURNING id`,
					rec.UUID, rec.Revision, len(data)).Scan(&made)
				if err != nil {
					return err
				}
			}
			_, err := s.writer.exec(`INSERT INTO checkpoint_part (checkpoint, part, data) VALUES (?, ?, ?)`, made, part, chunk)
			return err
		})
		s.writeMu.Unlock()
		if err != nil {
			return id, err // one that was rolled back has its id no more
		}
		id = made
		part++
	}
	return id, nil
}

func deleteCheckpoint(w *writer, id int64) error {
	_, err := w.exec(`DELETE FROM checkpoint_part WHERE checkpoint = ?`, id)
	if err == nil {
		_, err = w.exec(`DELETE FROM checkpoint WHERE id = ?`, id)
	}
	return err
}

// prune deletes the checkpoints and changes of a collection that neither its
// present state nor a version needs.
func prune(w *writer, id collfs.UUID) error {
	var marks []int64
	err := w.query(func(row scanner) error {
		var revision int64
		err := row.Scan(&revision)
		marks = append(marks, revision)
		return err
	}, `SELECT revision FROM version WHERE collection = ? ORDER BY revision`, id)
	if err != nil {
		return err
	}
	type point struct{ id, revision int64 }
	points := []point{{}} // every collection begins with the empty tree
	err = w.query(func(row scanner) error {
		var p point
		err := row.Scan(&p.id, &p.revision)
		points = append(points, p)
		return err
	}, `SELECT id, revision FROM checkpoint WHERE collection = ? AND complete ORDER BY revision, id`, id)
	if err != nil {
		return err
	}
	for i, p := range points[:len(points)-1] {
		next := points[i+1].revision
		// The last mark that is read from this checkpoint, if any.
		last := int64(-1)
		for _, m := range marks {
			if m >= p.revision && m < next {
				last = m
			}
		}
		if last < 0 && p.id != 0 {
			if err := deleteCheckpoint(w, p.id); err != nil {
				return err
			}
		}
		if _, err := w.exec(`DELETE FROM change WHERE collection = ? AND last > ? AND last <= ?`, id, max(last, p.revision), next); err != nil {
			return err
		}
	}
	return nil
}
