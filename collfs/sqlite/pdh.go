package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// Manifest returns the manifest of a version of a collection, 0 being the
// present one, and the record it belongs to: the text that a client sent, or else what
// we print. Its blocks are stored first.
func (s *Store) Manifest(ctx context.Context, id collfs.UUID, version int) ([]byte, collfs.Record, error) {
	rec, saved, err := s.Load(ctx, id, version)
	if err != nil {
		return nil, rec, err
	}
	if text, err := s.sentText(ctx, id, rec.Revision); err != nil || text != nil {
		return text, rec, err
	}
	tree, err := collfs.Load(saved, s.cfg.Blocks)
	if err != nil {
		return nil, rec, fmt.Errorf("collection %s: %w", id, err)
	}
	text, err := s.print(ctx, id, tree)
	return text, rec, err
}

// print makes the manifest of a tree of the collection id.
func (s *Store) print(ctx context.Context, id collfs.UUID, tree *collfs.Tree) ([]byte, error) {
	hole := false
	var pending []*keepio.Block
	seen := make(map[*keepio.Block]bool)
	tree.Blocks(func(seg keepio.Segment) {
		switch {
		case seg.Block == nil:
			hole = true
		case !seen[seg.Block]:
			seen[seg.Block] = true
			if _, _, stored := seg.Block.Stored(); !stored {
				pending = append(pending, seg.Block)
			}
		}
	})
	if len(pending) > 0 {
		if err := s.cfg.StoreBlocks(ctx, pending); err != nil {
			return nil, fmt.Errorf("store the blocks of %s: %w", id, err)
		}
	}
	var zero collfs.ZeroBlock
	if hole {
		hash, size, err := s.cfg.Zero(ctx)
		if err != nil {
			return nil, err
		}
		zero = func() ([16]byte, uint32, error) { return hash, size, nil }
	}
	return tree.AppendManifest(nil, zero)
}

// PDH returns the portable data hash of a version of a collection, 0 being the
// present one, and remembers it.
func (s *Store) PDH(ctx context.Context, id collfs.UUID, version int) (collfs.PDH, error) {
	text, rec, err := s.Manifest(ctx, id, version)
	if err != nil {
		return "", err
	}
	pdh := collfs.PDH(manifest.PDH(text))
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	fresh := false
	err = s.writer.tx(func() error {
		// One that is there by now may be that of a text which a client has sent.
		n, err := s.writer.exec(`UPDATE record SET pdh = ?, pdh_revision = revision WHERE uuid = ? AND revision = ? AND pdh_revision <> revision`, string(pdh), id, rec.Revision)
		if err == nil {
			_, err = s.writer.exec(`UPDATE version SET pdh = ? WHERE collection = ? AND revision = ? AND pdh = ''`, string(pdh), id, rec.Revision)
		}
		fresh = n > 0
		return err
	})
	if err != nil {
		// The next who asks computes it again.
		s.log.Warn().Err(err).Msg("a data hash cannot be remembered")
		return pdh, nil
	}
	if !fresh {
		return pdh, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.heads[id]; h != nil && h.rec.Revision == rec.Revision {
		h.rec.PDH = pdh
	}
	return pdh, nil
}

// A candidate is a state that may have a data hash.
type candidate struct {
	id      collfs.UUID
	version int
}

// FindPDH is collfs.Folders. What is in the trash isn't found.
func (s *Store) FindPDH(ctx context.Context, user collfs.UUID, pdh collfs.PDH) (collfs.UUID, int, error) {
	known, err := s.candidates(ctx, user, `SELECT uuid, 0 FROM record WHERE pdh = ?1 AND pdh_revision = revision AND trash_at = 0
		UNION ALL SELECT collection, v.version FROM version v JOIN record r ON r.uuid = collection AND trash_at = 0 WHERE v.pdh = ?1`, string(pdh))
	if err != nil {
		return "", 0, err
	}
	pending, err := s.candidates(ctx, user, `SELECT uuid, 0 FROM record WHERE kind = 1 AND pdh_revision <> revision AND trash_at = 0
		UNION ALL SELECT collection, v.version FROM version v JOIN record r ON r.uuid = collection AND trash_at = 0 WHERE v.pdh = ''`)
	if err != nil {
		return "", 0, err
	}
	for _, c := range append(known, pending...) {
		rec, err := s.Record(ctx, c.id)
		got := rec.PDH
		if err == nil && (c.version != 0 || got == "") {
			// A known one is computed again only if the collection has changed since.
			got, err = s.versionPDH(ctx, c)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", 0, err
		case got == pdh:
			return c.id, c.version, nil
		}
	}
	return "", 0, fmt.Errorf("content %s: %w", pdh, fs.ErrNotExist)
}

// versionPDH is PDH, but for a version whose data hash is known already.
func (s *Store) versionPDH(ctx context.Context, c candidate) (collfs.PDH, error) {
	if c.version != 0 {
		var pdh collfs.PDH
		err := s.readers.row(ctx, `SELECT pdh FROM version WHERE collection = ? AND version = ?`, c.id, c.version).Scan(&pdh)
		if err == nil && pdh != "" {
			return pdh, nil
		}
	}
	return s.PDH(ctx, c.id, c.version)
}

// candidates returns what a query finds and user may read.
func (s *Store) candidates(ctx context.Context, user collfs.UUID, query string, args ...any) ([]candidate, error) {
	var all, mine []candidate
	err := s.readers.query(ctx, func(row scanner) error {
		var c candidate
		err := row.Scan(&c.id, &c.version)
		all = append(all, c)
		return err
	}, query, args...)
	if err != nil {
		return nil, storageError(err)
	}
	for _, c := range all {
		level, err := s.Access(ctx, user, c.id)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil && level >= collfs.CanRead {
			mine = append(mine, c)
		}
	}
	return mine, nil
}
