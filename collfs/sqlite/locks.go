package sqlite

import (
	"context"
	"time"
)

// A LockRow is a lock as its owner, the protocol, wrote it.
type LockRow struct {
	Token   string
	Data    []byte
	Expires time.Time // zero: never
}

// LoadLocks returns the locks that haven't expired.
func (s *Store) LoadLocks(ctx context.Context) ([]LockRow, error) {
	var all []LockRow
	err := s.readers.query(ctx, func(row scanner) error {
		var l LockRow
		var expires int64
		err := row.Scan(&l.Token, &l.Data, &expires)
		l.Expires = timeOf(expires)
		all = append(all, l)
		return err
	}, `SELECT token, data, expires FROM lock WHERE expires = 0 OR expires > ? ORDER BY token`, nanos(s.now()))
	return all, storageError(err)
}

// PutLock adds a lock, or replaces the one with its token.
func (s *Store) PutLock(ctx context.Context, l LockRow) error {
	return s.write(ctx, func(w *writer) error {
		_, err := w.exec(`INSERT INTO lock (token, data, expires) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET data = ?2, expires = ?3`,
			l.Token, append([]byte{}, l.Data...), nanos(l.Expires))
		return err
	})
}

// RemoveLock removes a lock. Removing none is no error.
func (s *Store) RemoveLock(ctx context.Context, token string) error {
	return s.write(ctx, func(w *writer) error {
		_, err := w.exec(`DELETE FROM lock WHERE token = ?`, token)
		return err
	})
}
