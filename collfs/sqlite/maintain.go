package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"keepdav/collfs"
)

const (
	versionTime = 30 * 24 * time.Hour // how long versions are kept after they were superseded
	eventTime   = 30 * 24 * time.Hour // how long events are kept
	maxEvents   = 1_000_000           // and how many

	reserveEvery  = time.Minute
	maintainEvery = time.Hour
)

// wakeTidy tells the maintenance that there is something to fold.
func (s *Store) wakeTidy() {
	select {
	case s.tidy <- struct{}{}:
	default:
	}
}

// runMaintenance does what a store does by itself, until it closes.
func (s *Store) runMaintenance() {
	reserve, maintain := time.NewTicker(reserveEvery), time.NewTicker(maintainEvery)
	defer reserve.Stop()
	defer maintain.Stop()
	for {
		for s.ctx.Err() == nil {
			id, ok := s.foldable.take()
			if !ok {
				break
			}
			if err := s.Fold(s.ctx, id); err != nil && s.ctx.Err() == nil {
				s.log.Error().Err(err).Msg("a change log cannot be folded")
			}
		}
		select {
		case <-s.tidy:
		case <-reserve.C:
			s.reserve.restore()
			if err := s.TrashDue(s.ctx, s.now()); err != nil && s.ctx.Err() == nil {
				s.log.Error().Err(err).Msg("what is due cannot be put in the trash")
			}
		case <-maintain.C:
			if err := s.Maintain(s.ctx); err != nil && s.ctx.Err() == nil {
				s.log.Error().Err(err).Msg("maintenance of the store failed")
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// Maintain deletes what is over: versions, trash, events, tokens, locks.
func (s *Store) Maintain(ctx context.Context) error {
	now := s.now()
	err0 := s.TrashDue(ctx, now)
	_, err1 := s.EmptyTrash(ctx, now)
	_, err2 := s.ExpireVersions(ctx, now.Add(-versionTime))
	err3 := s.write(ctx, func(w *writer) error {
		_, err := w.exec(`DELETE FROM event WHERE at < ?`, nanos(now.Add(-eventTime)))
		if err == nil {
			_, err = w.exec(`DELETE FROM event WHERE seq <= (SELECT max(seq) FROM event) - ?`, maxEvents)
		}
		if err == nil {
			_, err = w.exec(`DELETE FROM note WHERE at < ?`, nanos(now.Add(-eventTime)))
		}
		if err == nil {
			_, err = w.exec(`DELETE FROM token WHERE expires <> 0 AND expires < ?`, nanos(now))
		}
		if err == nil {
			_, err = w.exec(`DELETE FROM lock WHERE expires <> 0 AND expires < ?`, nanos(now))
		}
		return err
	})
	return errors.Join(err0, err1, err2, err3)
}

// Trash returns what is in the trash, oldest first: only what was put there, not
// what was taken along.
func (s *Store) Trash(ctx context.Context) ([]collfs.Entry, error) {
	return s.entries(ctx, `SELECT `+recordColumns+`, kind FROM record WHERE trash_at <> 0 AND trashed_with = uuid ORDER BY trash_at, uuid`)
}

// EmptyTrash deletes for good what is in the trash and whose time was over
// before a moment, and reports how many projects and collections were.
func (s *Store) EmptyTrash(ctx context.Context, before time.Time) (n int, err error) {
	return s.emptyTrash(ctx, `SELECT uuid FROM record WHERE trash_at <> 0 AND trashed_with = uuid AND delete_at < ?`, before)
}

// emptyTrash deletes for good what a query finds in the trash.
func (s *Store) emptyTrash(ctx context.Context, query string, before time.Time) (n int, err error) {
	var ids []collfs.UUID
	err = s.readers.query(ctx, func(row scanner) error {
		var id collfs.UUID
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	}, query, nanos(before))
	if err != nil {
		return 0, storageError(err)
	}
	for _, id := range ids {
		gone, err := s.deleteTrashed(ctx, query, before, id)
		if err != nil {
			return n, fmt.Errorf("empty trash: %w", err)
		}
		if gone {
			n++
		}
	}
	return n, nil
}

// deleteTrashed deletes a record for good if query still finds it: since it did, it
// may have been taken out of the trash, and even put there again.
func (s *Store) deleteTrashed(ctx context.Context, query string, before time.Time, id collfs.UUID) (gone bool, err error) {
	if err := s.waitForRoom(ctx); err != nil {
		return false, err
	}
	tx := collfs.Tx{Durable: true, Records: []collfs.RecordOp{{Kind: collfs.DeleteNow, UUID: id}}}
	_, err = s.commitRecords(ctx, tx, func() error {
		var found collfs.UUID
		return s.readers.row(ctx, query+` AND uuid = ?`, nanos(before), id).Scan(&found)
	})
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return false, nil // somebody else was faster
	}
	return err == nil, storageError(err)
}
