package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"keepdav/collfs"
)

// maxUserName is the longest login name in bytes.
const maxUserName = 64

// checkUserName says whether a login name can be a name in a path and in Basic
// authentication.
func checkUserName(name string) error {
	bad := name == "" || len(name) > maxUserName || strings.HasPrefix(name, ".") || strings.TrimSpace(name) != name ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || strings.ContainsRune(`/\:`, r) })
	if bad {
		return fmt.Errorf("user name %q: %w", name, collfs.ErrNameInvalid)
	}
	return nil
}

// CreateUser makes an active user and the user's home, whose UUID is the
// user's. password is a hash, "" for a user who cannot log in with one.
func (s *Store) CreateUser(ctx context.Context, name, fullName, password string, admin bool) (collfs.User, error) {
	if err := checkUserName(name); err != nil {
		return collfs.User{}, err
	}
	u := collfs.User{UUID: s.newUUID("tpzed"), Name: name, FullName: fullName, Admin: admin, Active: true, CreatedAt: s.now()}
	err := s.writeNames(ctx, func(w *writer) error {
		_, err := w.exec(`INSERT INTO user (uuid, name, full_name, admin, active, password, created) VALUES (?, ?, ?, ?, 1, ?, ?)`,
			u.UUID, u.Name, u.FullName, u.Admin, password, nanos(u.CreatedAt))
		if isConstraint(err) {
			return fmt.Errorf("user %q: %w", name, fs.ErrExist)
		}
		if err != nil {
			return err
		}
		_, err = w.exec(`INSERT INTO record (uuid, kind, owner, name, created, modified) VALUES (?1, ?2, '', ?1, ?3, ?3)`, u.UUID, kindHome, nanos(u.CreatedAt))
		return err
	})
	return u, err
}

// writeNames is write for what names remembers.
func (s *Store) writeNames(ctx context.Context, fn func(w *writer) error) error {
	err := s.write(ctx, fn)
	s.names.forget()
	return err
}

// ErrLastAdmin says that nobody would be left who may do everything.
var ErrLastAdmin error = lastAdminError{}

type lastAdminError struct{}

func (lastAdminError) Error() string { return "there is no other active administrator" }

// Is makes it one of the failures that are the caller's.
func (lastAdminError) Is(target error) bool { return target == fs.ErrInvalid }

// othersAdmin fails when the user is the only active administrator.
func (w *writer) othersAdmin(id collfs.UUID) error {
	var is, others int
	err := w.row(`SELECT count(*) FILTER (WHERE uuid = ?1), count(*) FILTER (WHERE uuid <> ?1) FROM user WHERE admin AND active`, id).Scan(&is, &others)
	if err == nil && is > 0 && others == 0 {
		err = ErrLastAdmin
	}
	return err
}

// updateUser changes a column of a user.
func (s *Store) updateUser(ctx context.Context, id collfs.UUID, column string, value any) error {
	return s.writeNames(ctx, func(w *writer) error {
		if value == false { // of admin or active
			if err := w.othersAdmin(id); err != nil {
				return err
			}
		}
		n, err := w.exec(`UPDATE user SET `+column+` = ? WHERE uuid = ?`, value, id)
		if err == nil && n == 0 {
			err = fmt.Errorf("user %s: %w", id, fs.ErrNotExist)
		}
		return err
	})
}

// SetPassword replaces the hash of a user's password.
func (s *Store) SetPassword(ctx context.Context, id collfs.UUID, hash string) error {
	return s.updateUser(ctx, id, "password", hash)
}

// SetActive says whether a user may log in. The last active administrator stays
// so: ErrLastAdmin.
func (s *Store) SetActive(ctx context.Context, id collfs.UUID, active bool) error {
	return s.updateUser(ctx, id, "active", active)
}

// SetAdmin says whether a user may do everything. The last active administrator
// stays so: ErrLastAdmin.
func (s *Store) SetAdmin(ctx context.Context, id collfs.UUID, admin bool) error {
	return s.updateUser(ctx, id, "admin", admin)
}

// SetFullName changes what a user is called by people.
func (s *Store) SetFullName(ctx context.Context, id collfs.UUID, name string) error {
	return s.updateUser(ctx, id, "full_name", name)
}

// DeleteUser deletes a user with tokens and shares. One who owns anything, be
// it in the trash, is collfs.ErrNotEmpty, the last active administrator ErrLastAdmin.
func (s *Store) DeleteUser(ctx context.Context, id collfs.UUID) error {
	s.recordMu.Lock() // nothing is put into the home meanwhile
	defer s.recordMu.Unlock()
	if err := s.waitApplied(ctx, s.lastRecord); err != nil {
		return err
	}
	return s.writeNames(ctx, func(w *writer) error {
		if err := w.othersAdmin(id); err != nil {
			return err
		}
		var owned int
		if err := w.row(`SELECT count(*) FROM record WHERE owner = ?`, id).Scan(&owned); err != nil {
			return err
		}
		if owned > 0 {
			return fmt.Errorf("owner of %d collections and projects, in the trash or not: %w", owned, collfs.ErrNotEmpty)
		}
		n, err := w.exec(`DELETE FROM user WHERE uuid = ?`, id)
		if err == nil && n == 0 {
			err = fmt.Errorf("user %s: %w", id, fs.ErrNotExist)
		}
		for _, statement := range []string{
			`DELETE FROM record WHERE uuid = ?`, `DELETE FROM token WHERE user = ?`, `DELETE FROM share WHERE ? IN (user, target)`, `DELETE FROM link WHERE ? IN (head, tail, owner)`, `DELETE FROM side WHERE collection = ?`,
		} {
			if err == nil {
				_, err = w.exec(statement, id)
			}
		}
		return err
	})
}

const userColumns = `uuid, name, full_name, admin, active, created`

func scanUser(row scanner, rest ...any) (collfs.User, error) {
	var u collfs.User
	var created int64
	err := row.Scan(append([]any{&u.UUID, &u.Name, &u.FullName, &u.Admin, &u.Active, &created}, rest...)...)
	u.CreatedAt = timeOf(created)
	return u, err
}

// User returns a user.
func (s *Store) User(ctx context.Context, id collfs.UUID) (collfs.User, error) {
	n := &s.names
	return remembered(n,
		func() (collfs.User, bool) { v, ok := n.users[id]; return v, ok },
		func() (collfs.User, error) {
			u, err := scanUser(s.readers.row(ctx, `SELECT `+userColumns+` FROM user WHERE uuid = ?`, id))
			if errors.Is(err, sql.ErrNoRows) {
				err = fmt.Errorf("user %s: %w", id, fs.ErrNotExist)
			}
			return u, err
		},
		func(u collfs.User) { n.users[id] = u })
}

// UserByName is collfs.Folders.
func (s *Store) UserByName(ctx context.Context, name string) (collfs.User, error) {
	if err := ctx.Err(); err != nil {
		return collfs.User{}, err
	}
	n := &s.names
	id, err := remembered(n,
		func() (collfs.UUID, bool) { v, ok := n.byName[name]; return v, ok },
		func() (id collfs.UUID, err error) {
			err = s.readers.row(ctx, `SELECT uuid FROM user WHERE name = ?`, name).Scan(&id)
			if errors.Is(err, sql.ErrNoRows) {
				err = fmt.Errorf("user %q: %w", name, fs.ErrNotExist)
			}
			return id, err
		},
		func(id collfs.UUID) { n.byName[name] = id })
	if err != nil {
		return collfs.User{}, err
	}
	return s.User(ctx, id)
}

// Users is collfs.Folders: an admin sees all users, others themselves.
func (s *Store) Users(ctx context.Context, user collfs.UUID) ([]collfs.User, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.users(ctx, `SELECT `+userColumns+` FROM user WHERE uuid = ?1 OR EXISTS (SELECT 1 FROM user WHERE uuid = ?1 AND admin) ORDER BY name`, user)
}

// ListUsers returns all users by name.
func (s *Store) ListUsers(ctx context.Context) ([]collfs.User, error) {
	return s.users(ctx, `SELECT `+userColumns+` FROM user ORDER BY name`)
}

// Acquaintances returns the active users with whom a user shares something, in either
// direction, by name.
func (s *Store) Acquaintances(ctx context.Context, user collfs.UUID) ([]collfs.User, error) {
	// above has, for each share, whom it is for, and all that the target lies in.
	return s.users(ctx, `WITH RECURSIVE above(user, id) AS (
			SELECT user, target FROM share WHERE level > 0
			UNION SELECT above.user, r.owner FROM record r JOIN above ON r.uuid = above.id WHERE r.owner <> '')
		SELECT `+userColumns+` FROM user WHERE active AND uuid IN (
			SELECT id FROM above WHERE user = ?1 UNION SELECT user FROM above WHERE id = ?1) ORDER BY name`, user)
}

func (s *Store) users(ctx context.Context, query string, args ...any) ([]collfs.User, error) {
	var all []collfs.User
	err := s.readers.query(ctx, func(row scanner) error {
		u, err := scanUser(row)
		all = append(all, u)
		return err
	}, query, args...)
	return all, storageError(err)
}

// PasswordHash returns an active user who has a password, and its hash. Anybody
// else is fs.ErrNotExist.
func (s *Store) PasswordHash(ctx context.Context, name string) (collfs.User, string, error) {
	var hash string
	u, err := scanUser(s.readers.row(ctx, `SELECT `+userColumns+`, password FROM user WHERE name = ? AND active AND password <> ''`, name), &hash)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("user %q with a password: %w", name, fs.ErrNotExist)
	}
	return u, hash, storageError(err)
}
