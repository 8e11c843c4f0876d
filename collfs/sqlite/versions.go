package sqlite

import (
	"context"
	"time"

	"keepdav/collfs"
)

// Versions returns the records of the versions of a collection that are kept,
// newest first; the first is the present one.
func (s *Store) Versions(ctx context.Context, id collfs.UUID) ([]collfs.Record, error) {
	if err := s.catchUp(ctx, id); err != nil {
		return nil, err
	}
	var all []collfs.Record
	err := s.readers.snapshot(ctx, func(q snapshot) error {
		now, err := readVersion(q, id, 0)
		if err != nil {
			return err
		}
		all = append(all, now)
		return q.query(func(row scanner) error {
			rec := now
			var modified int64
			err := row.Scan(&rec.Version, &rec.Revision, &modified, &rec.Files, &rec.Bytes, &rec.PDH)
			rec.ModifiedAt = timeOf(modified)
			all = append(all, rec)
			return err
		}, `SELECT version, revision, modified, files, bytes, pdh FROM version WHERE collection = ? ORDER BY version DESC`, id)
	})
	return all, err
}

// ExpireVersions deletes the versions that were superseded before a moment, and
// reports how many. What only they needed goes.
func (s *Store) ExpireVersions(ctx context.Context, before time.Time) (n int64, err error) {
	var ids []collfs.UUID
	err = s.readers.query(ctx, func(row scanner) error {
		var id collfs.UUID
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT DISTINCT collection FROM version WHERE until < ?`, nanos(before))
	if err != nil {
		return 0, storageError(err)
	}
	for _, id := range ids {
		var gone int64
		err := s.write(ctx, func(w *writer) (err error) {
			if gone, err = w.exec(`DELETE FROM version WHERE collection = ? AND until < ?`, id, nanos(before)); err != nil {
				return err
			}
			if err := dropTexts(w, id); err != nil {
				return err
			}
			return prune(w, id)
		})
		if err != nil {
			return n, err
		}
		n += gone
	}
	return n, nil
}
