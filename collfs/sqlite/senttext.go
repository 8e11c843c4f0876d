package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
)

// A client that sends a manifest expects the portable data hash of that text, and
// not that of what we would print for the same tree. So the text, without
// signatures, is kept beside the revision that it has made, until nobody can see that
// any more.

// KeepManifest keeps the text that a client has sent for a revision of a collection.
// It must name the same tree. If the collection has another revision by now, nothing is
// kept.
func (s *Store) KeepManifest(ctx context.Context, id collfs.UUID, revision int64, text []byte) error {
	if err := s.catchUp(ctx, id); err != nil {
		return err
	}
	pdh := collfs.PDH(manifest.PDH(text))
	kept := false
	err := s.write(ctx, func(w *writer) error {
		n, err := w.exec(`UPDATE record SET pdh = ?, pdh_revision = revision WHERE uuid = ? AND revision = ?`, string(pdh), id, revision)
		if err != nil || n == 0 {
			return err
		}
		kept = true
		if err := dropTexts(w, id); err != nil {
			return err
		}
		_, err = w.exec(`INSERT OR REPLACE INTO sent_manifest (collection, revision, text) VALUES (?, ?, ?)`, id, revision, text)
		return err
	})
	if err != nil || !kept {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.heads[id]; h != nil && h.rec.Revision == revision {
		h.rec.PDH = pdh
	}
	return nil
}

// dropTexts deletes the texts of a collection that belong to none of its states.
func dropTexts(w *writer, id collfs.UUID) error {
	_, err := w.exec(`DELETE FROM sent_manifest WHERE collection = ?1
		AND revision NOT IN (SELECT revision FROM record WHERE uuid = ?1 UNION SELECT revision FROM version WHERE collection = ?1)`, id)
	return err
}

// sentText returns the text that was kept for a revision; nil if there is none.
func (s *Store) sentText(ctx context.Context, id collfs.UUID, revision int64) ([]byte, error) {
	var text []byte
	err := s.readers.row(ctx, `SELECT text FROM sent_manifest WHERE collection = ? AND revision = ?`, id, revision).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil && text == nil {
		text = []byte{}
	}
	return text, storageError(err)
}

// ManifestAt returns the manifest of a collection at a revision. If what leads there
// is gone, the error matches collfs.ErrBadEncoding or fs.ErrNotExist.
func (s *Store) ManifestAt(ctx context.Context, id collfs.UUID, revision int64) ([]byte, error) {
	if err := s.catchUp(ctx, id); err != nil {
		return nil, err
	}
	if text, err := s.sentText(ctx, id, revision); err != nil || text != nil {
		return text, err
	}
	var saved collfs.Saved
	err := s.readers.snapshot(ctx, func(q snapshot) error {
		if _, err := readVersion(q, id, 0); err != nil {
			return err
		}
		var err error
		saved, err = readSaved(q, id, revision)
		return err
	})
	if err != nil {
		return nil, err
	}
	tree, err := collfs.Load(saved, s.cfg.Blocks)
	if err != nil {
		return nil, fmt.Errorf("collection %s: %w", id, err)
	}
	return s.print(ctx, id, tree)
}
