package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"keepdav/collfs"
	"keepdav/keepio"
)

// States calls visit with each state of each collection that can be loaded now
// or later: of each collection, also in the trash, each version that is kept,
// oldest first, and then the present one (current is true). The tree is valid
// during the call; it is nil when it cannot be made, and err says why. A change
// that is committed meanwhile may be missing. States ends with the first error
// of visit.
func (s *Store) States(ctx context.Context, visit func(rec collfs.Record, current bool, tree *collfs.Tree, err error) error) error {
	return s.Collections(ctx, func(id collfs.UUID) error { return s.statesOf(ctx, id, visit) })
}

// Collections calls visit with each collection, also those in the trash, until
// its first error.
func (s *Store) Collections(ctx context.Context, visit func(id collfs.UUID) error) error {
	s.mu.Lock()
	last := s.applied
	if n := len(s.queue); n > 0 {
		last = s.queue[n-1].seq
	}
	s.mu.Unlock()
	if err := s.waitApplied(ctx, last); err != nil {
		return err
	}
	var ids []collfs.UUID
	err := s.readers.query(ctx, func(row scanner) error {
		var id collfs.UUID
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT uuid FROM record WHERE kind = 1 ORDER BY uuid`)
	if err != nil {
		return storageError(err)
	}
	for _, id := range ids {
		if err := visit(id); err != nil {
			return err
		}
	}
	return nil
}

// statesOf is States for one collection.
func (s *Store) statesOf(ctx context.Context, id collfs.UUID, visit func(collfs.Record, bool, *collfs.Tree, error) error) error {
	versions, err := s.Versions(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was deleted meanwhile
	}
	if err != nil {
		return err
	}
	var w treeWalk
	for i := len(versions) - 1; i >= 0; i-- {
		version := versions[i].Version
		if i == 0 {
			version = 0 // which may have got on
		}
		rec, tree, err := s.advance(ctx, &w, id, version)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // it was deleted or has expired meanwhile
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			rec = versions[i]
			w = treeWalk{}
		}
		if err := visit(rec, i == 0, tree, err); err != nil {
			return err
		}
	}
	return nil
}

// A treeWalk goes from state to state of a collection.
type treeWalk struct {
	tree     *collfs.Tree
	revision int64
}

// advance brings w to a version that isn't older than where it is.
func (s *Store) advance(ctx context.Context, w *treeWalk, id collfs.UUID, version int) (rec collfs.Record, tree *collfs.Tree, err error) {
	var saved collfs.Saved
	follow := false
	err = s.readers.snapshot(ctx, func(q snapshot) error {
		if rec, err = readVersion(q, id, version); err != nil {
			return err
		}
		if w.tree != nil {
			// What leads here from where the walk is may have been folded.
			if saved.Changes, err = readChanges(q, id, w.revision, rec.Revision); err == nil {
				follow = true
				return nil
			}
		}
		saved, err = readSaved(q, id, rec.Revision)
		return err
	})
	if err != nil {
		return rec, nil, err
	}
	if !follow {
		w.tree, err = collfs.Load(saved, s.cfg.Blocks)
	} else {
		err = applyChanges(w.tree, saved.Changes, s.cfg.Blocks)
	}
	w.revision = rec.Revision
	if err != nil {
		err = fmt.Errorf("collection %s, revision %d: %w", id, rec.Revision, err)
		w.tree = nil
	}
	return rec, w.tree, err
}

func applyChanges(tree *collfs.Tree, changes [][]byte, blocks collfs.Blocks) error {
	for _, data := range changes {
		ops, err := collfs.DecodeOps(data, blocks)
		if err != nil {
			return err
		}
		for _, op := range ops {
			if err := tree.Apply(op); err != nil {
				return fmt.Errorf("%w: %w", collfs.ErrBadEncoding, err)
			}
		}
	}
	return nil
}

// Roots is collfs.Roots.
func (s *Store) Roots(ctx context.Context, visit func(id collfs.UUID, current bool, seg keepio.Segment) error) error {
	return s.States(ctx, func(rec collfs.Record, current bool, tree *collfs.Tree, err error) error {
		if err != nil {
			return err
		}
		tree.Blocks(func(seg keepio.Segment) {
			if err == nil && seg.Block != nil {
				err = visit(rec.UUID, current, seg)
			}
		})
		return err
	})
}
