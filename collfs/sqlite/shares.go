package sqlite

import (
	"context"
	"fmt"
	"io/fs"

	"keepdav/collfs"
)

// A Share lets a user do something with a project or collection of another.
type Share struct {
	User   collfs.UUID
	Target collfs.UUID
	Level  collfs.Level
}

// Grant lets a user do with a project or collection what level says;
// collfs.NoAccess takes it back.
func (s *Store) Grant(ctx context.Context, user, target collfs.UUID, level collfs.Level) error {
	if level == collfs.NoAccess {
		return s.Revoke(ctx, user, target)
	}
	return s.writeNames(ctx, func(w *writer) error {
		var known int
		if err := w.row(`SELECT (SELECT count(*) FROM user WHERE uuid = ?) + (SELECT count(*) FROM record WHERE uuid = ?)`, user, target).Scan(&known); err != nil {
			return err
		}
		if known != 2 {
			return fmt.Errorf("share of %s with %s: %w", target, user, fs.ErrNotExist)
		}
		_, err := w.exec(`INSERT INTO share (user, target, level, created, uuid) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET level = ?3`,
			user, target, level, nanos(s.now()), s.shareUUID(user, target))
		return err
	})
}

// Revoke takes back what was shared. Nothing to take back is no error.
func (s *Store) Revoke(ctx context.Context, user, target collfs.UUID) error {
	return s.writeNames(ctx, func(w *writer) error {
		_, err := w.exec(`DELETE FROM share WHERE user = ? AND target = ?`, user, target)
		return err
	})
}

// Grants returns the shares of a project or collection.
func (s *Store) Grants(ctx context.Context, target collfs.UUID) ([]Share, error) {
	var all []Share
	err := s.readers.query(ctx, func(row scanner) error {
		sh := Share{Target: target}
		err := row.Scan(&sh.User, &sh.Level)
		all = append(all, sh)
		return err
	}, `SELECT user, level FROM share WHERE target = ? ORDER BY user`, target)
	return all, storageError(err)
}
