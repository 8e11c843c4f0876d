package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"keepdav/collfs"
)

// Load is collfs.Catalog.
func (s *Store) Load(ctx context.Context, id collfs.UUID, version int) (collfs.Record, collfs.Saved, error) {
	if err := s.catchUp(ctx, id); err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	var rec collfs.Record
	var saved collfs.Saved
	err := s.readers.snapshot(ctx, func(q snapshot) (err error) {
		if rec, err = readVersion(q, id, version); err != nil {
			return err
		}
		saved, err = readSaved(q, id, rec.Revision)
		return err
	})
	if err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	return rec, saved, nil
}

// Since is collfs.Deltas. What a fold has put into a checkpoint is gone, unless a
// version needs it.
func (s *Store) Since(ctx context.Context, id collfs.UUID, revision int64) (rec collfs.Record, changes [][]byte, kept bool, err error) {
	if rec, changes, kept = s.queuedSince(id, revision); kept {
		return rec, changes, true, nil
	}
	if err := s.catchUp(ctx, id); err != nil {
		return rec, nil, false, err
	}
	err = s.readers.snapshot(ctx, func(q snapshot) error {
		var err error
		if rec, err = readVersion(q, id, 0); err != nil || revision < 0 || revision > rec.Revision {
			return err
		}
		var first, sets sql.NullInt64
		err = q.row(`SELECT min(first), sum(last - first + 1) FROM change WHERE collection = ? AND last > ?`, id, revision).Scan(&first, &sets)
		if err != nil {
			return err
		}
		if revision < rec.Revision && (!first.Valid || first.Int64 > revision+1 || sets.Int64 != rec.Revision-first.Int64+1) {
			return nil
		}
		kept = true
		changes, err = readChangesAfter(q, id, revision)
		return err
	})
	if err != nil {
		return collfs.Record{}, nil, false, err
	}
	return rec, changes, kept, nil
}

// queuedSince is Since for what waits to be applied still: whoever follows what
// others change must not make the database write each change by itself.
func (s *Store) queuedSince(id collfs.UUID, revision int64) (rec collfs.Record, changes [][]byte, kept bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.heads[id]
	if h == nil || h.deleted || h.rec.Revision < revision {
		return rec, nil, false
	}
	need := h.rec.Revision - revision
	for i := len(s.queue) - 1; i >= 0 && need > 0; i-- {
		for k := range s.queue[i].changes {
			if ch := &s.queue[i].changes[k]; ch.collection == id {
				changes = append(changes, ch.ops)
				need--
			}
		}
	}
	slices.Reverse(changes)
	return h.rec, changes, need == 0
}

// catchUp waits until what is committed to a collection is applied.
func (s *Store) catchUp(ctx context.Context, id collfs.UUID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	var last uint64
	if h := s.heads[id]; h != nil {
		last = h.last
	}
	s.mu.Unlock()
	return s.waitApplied(ctx, last)
}

// readVersion returns the record of a collection as of a version; 0 is the
// present one.
func readVersion(q snapshot, id collfs.UUID, version int) (collfs.Record, error) {
	rec, err := scanRecord(q.row(`SELECT `+recordColumns+` FROM record WHERE uuid = ? AND kind = 1`, id))
	if err != nil {
		return rec, noRows(err, id)
	}
	if version == 0 || version == rec.Version {
		return rec, nil
	}
	rec.Version = version
	var modified int64
	err = q.row(`SELECT revision, modified, files, bytes, pdh FROM version WHERE collection = ? AND version = ?`, id, version).
		Scan(&rec.Revision, &modified, &rec.Files, &rec.Bytes, &rec.PDH)
	if errors.Is(err, sql.ErrNoRows) {
		return rec, fmt.Errorf("version %d of %s: %w", version, id, fs.ErrNotExist)
	}
	rec.ModifiedAt = timeOf(modified)
	return rec, err
}

// readSaved returns what the tree of a collection at a revision is made from.
func readSaved(q snapshot, id collfs.UUID, revision int64) (collfs.Saved, error) {
	var saved collfs.Saved
	var checkpoint, from, bytes int64
	err := q.row(`SELECT id, revision, bytes FROM checkpoint WHERE collection = ? AND revision <= ? AND complete ORDER BY revision DESC LIMIT 1`, id, revision).
		Scan(&checkpoint, &from, &bytes)
	if err == nil {
		saved.Checkpoint, err = readCheckpoint(q, checkpoint, bytes)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return saved, err
	}
	saved.Changes, err = readChanges(q, id, from, revision)
	return saved, err
}

func readCheckpoint(q snapshot, checkpoint, bytes int64) ([]byte, error) {
	data := make([]byte, 0, bytes)
	err := q.query(func(row scanner) error {
		var part sql.RawBytes
		if err := row.Scan(&part); err != nil {
			return err
		}
		data = append(data, part...)
		return nil
	}, `SELECT data FROM checkpoint_part WHERE checkpoint = ? ORDER BY part`, checkpoint)
	if err == nil && int64(len(data)) != bytes {
		err = fmt.Errorf("checkpoint %d has %d bytes, not %d: %w", checkpoint, len(data), bytes, collfs.ErrBadEncoding)
	}
	return data, err
}

// readChangesAfter returns the change sets that were made after a revision. The first
// row may begin before it.
func readChangesAfter(q snapshot, id collfs.UUID, revision int64) (changes [][]byte, err error) {
	err = q.query(func(row scanner) error {
		var first int64
		var data []byte
		if err := row.Scan(&first, &data); err != nil {
			return err
		}
		sets, err := frames(data)
		if err != nil {
			return err
		}
		if skip := revision + 1 - first; skip > 0 {
			sets = sets[min(skip, int64(len(sets))):]
		}
		changes = append(changes, sets...)
		return nil
	}, `SELECT first, data FROM change WHERE collection = ? AND last > ? ORDER BY last`, id, revision)
	return changes, err
}

// readChanges returns the change sets that lead from one revision to another.
func readChanges(q snapshot, id collfs.UUID, from, to int64) (changes [][]byte, err error) {
	next := from + 1
	err = q.query(func(row scanner) error {
		var first, last int64
		var data []byte
		if err := row.Scan(&first, &last, &data); err != nil {
			return err
		}
		sets, err := frames(data)
		if err != nil {
			return err
		}
		if first != next || int64(len(sets)) != last-first+1 {
			return fmt.Errorf("change log of %s: revisions %d to %d with %d changes where %d is due: %w", id, first, last, len(sets), next, collfs.ErrBadEncoding)
		}
		changes, next = append(changes, sets...), last+1
		return nil
	}, `SELECT first, last, data FROM change WHERE collection = ? AND last > ? AND last <= ? ORDER BY last`, id, from, to)
	if err == nil && next != to+1 {
		err = fmt.Errorf("change log of %s ends at revision %d, not %d: %w", id, next-1, to, collfs.ErrBadEncoding)
	}
	return changes, err
}
