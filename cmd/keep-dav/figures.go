package main

import (
	"context"

	"keepdav/cmd/internal/control"
	"keepdav/collfs"
	"keepdav/keepio"
	"keepdav/keepio/dirstore"
)

// storeFigures counts what a store has.
func storeFigures(ctx context.Context, s *store, _ none, _ func(control.Progress)) (storeStat, error) {
	f := storeStat{Dir: s.Dir, Serving: s.url}
	users, err := s.SQL.ListUsers(ctx)
	if err != nil {
		return f, err
	}
	f.Users = len(users)
	for _, u := range users {
		if err := s.countBelow(ctx, u.UUID, &f); err != nil {
			return f, err
		}
	}
	deleted, err := s.SQL.Trash(ctx)
	if err != nil {
		return f, err
	}
	f.Trashed = len(deleted)
	err = s.Blocks.Walk(ctx, func(i dirstore.Info) error {
		f.Blocks++
		f.BlockBytes += i.Size
		return nil
	})
	if err != nil {
		return f, err
	}
	trash, err := s.Maint.Trash()
	if err != nil {
		return f, err
	}
	for _, i := range trash {
		f.TrashBlocks++
		f.TrashBytes += i.Size
	}
	st := s.Spool.Stats()
	f.OpenBlocks, f.OpenBytes = int64(st.Open+st.Sealed+st.Failed), st.Waiting
	f.DiskFree, f.DiskTotal, err = s.Blocks.Free()
	return f, err
}

// countBelow counts the collections of a project and of those in it.
func (s *store) countBelow(ctx context.Context, project collfs.UUID, f *storeStat) error {
	entries, err := s.SQL.List(ctx, project)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case e.Collection != nil:
			f.Collections++
			f.Files += e.Collection.Files
			f.Bytes += e.Collection.Bytes
		case e.Project != nil:
			if err := s.countBelow(ctx, e.Project.UUID, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// collectionFigures looks at one collection.
func collectionFigures(ctx context.Context, s *store, a statArgs, _ func(control.Progress)) (collectionStat, error) {
	id, err := s.recordAt(ctx, a.As, a.Name, isCollection)
	if err != nil {
		return collectionStat{}, err
	}
	c, err := s.Files.Open(ctx, id)
	if err != nil {
		return collectionStat{}, err
	}
	defer c.Release()
	var pdh collfs.PDH
	if a.PDH {
		if pdh, err = c.PDH(ctx); err != nil {
			return collectionStat{}, err
		}
	}
	rec, saved, err := s.SQL.Load(ctx, id, 0)
	if err != nil {
		return collectionStat{}, err
	}
	tree, err := collfs.Load(saved, s.Spool)
	if err != nil {
		return collectionStat{}, err
	}
	blocks := map[*keepio.Block]bool{}
	hashes := map[[16]byte]bool{}
	unstored := 0
	tree.Blocks(func(seg keepio.Segment) {
		if seg.Block == nil || blocks[seg.Block] {
			return
		}
		blocks[seg.Block] = true
		if hash, _, ok := seg.Block.Stored(); ok {
			hashes[hash] = true
		} else {
			unstored++
		}
	})
	if pdh == "" {
		pdh = rec.PDH
	}
	return collectionStat{
		UUID: rec.UUID, Name: rec.Name, Owner: rec.Owner, Version: rec.Version, Revision: rec.Revision, PDH: pdh,
		Files: rec.Files, Bytes: rec.Bytes, Blocks: len(hashes) + unstored, Unstored: unstored, Created: rec.CreatedAt, Modified: rec.ModifiedAt,
	}, nil
}
