package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"keepdav/collfs"
)

// maxNames bounds how much of what was looked up is remembered.
const maxNames = 100_000

// names remembers what was looked up: where records are, who may see them. A
// change of records, users or shares makes it forget everything, for they are
// rare.
type names struct {
	mu     sync.Mutex // guards the fields below
	gen    uint64     // counts how often all was forgotten
	nodes  map[collfs.UUID]node
	below  map[nameKey]collfs.UUID
	users  map[collfs.UUID]collfs.User
	byName map[string]collfs.UUID
	shares map[collfs.UUID]map[collfs.UUID]collfs.Level // by user and target
}

type nameKey struct {
	owner collfs.UUID
	name  string
}

// A node is where a record is. project is set if it is one or a home.
type node struct {
	kind    int
	owner   collfs.UUID
	project collfs.Project
}

func (n *names) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clearLocked()
}

func (n *names) clearLocked() {
	n.gen++
	n.nodes = make(map[collfs.UUID]node)
	n.below = make(map[nameKey]collfs.UUID)
	n.users = make(map[collfs.UUID]collfs.User)
	n.byName = make(map[string]collfs.UUID)
	n.shares = make(map[collfs.UUID]map[collfs.UUID]collfs.Level)
}

// remembered returns what get finds in the names, or else asks the database and
// lets put remember the answer.
func remembered[T any](n *names, get func() (T, bool), ask func() (T, error), put func(T)) (T, error) {
	n.mu.Lock()
	if n.nodes == nil {
		n.clearLocked()
	}
	v, ok := get()
	gen := n.gen
	n.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := ask()
	if err != nil {
		return v, storageError(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gen == gen {
		if len(n.nodes)+len(n.below)+len(n.shares) > maxNames {
			n.clearLocked()
		}
		put(v)
	}
	return v, nil
}

// node returns where a record is.
func (s *Store) node(ctx context.Context, id collfs.UUID) (node, error) {
	n := &s.names
	return remembered(n,
		func() (node, bool) { v, ok := n.nodes[id]; return v, ok },
		func() (v node, err error) {
			var created, modified, trash int64
			err = s.readers.row(ctx, `SELECT r.kind, r.owner, coalesce(u.name, r.name), r.created, r.modified, r.trash_at
				FROM record r LEFT JOIN user u ON u.uuid = r.uuid WHERE r.uuid = ?`, id).
				Scan(&v.kind, &v.owner, &v.project.Name, &created, &modified, &trash)
			v.project.UUID, v.project.Owner = id, v.owner
			v.project.CreatedAt, v.project.ModifiedAt, v.project.TrashAt = timeOf(created), timeOf(modified), timeOf(trash)
			return v, noRows(err, id)
		},
		func(v node) { n.nodes[id] = v })
}

// Lookup is collfs.Folders.
func (s *Store) Lookup(ctx context.Context, project collfs.UUID, name string) (collfs.Entry, error) {
	if err := ctx.Err(); err != nil {
		return collfs.Entry{}, err
	}
	n, key := &s.names, nameKey{project, name}
	id, err := remembered(n,
		func() (collfs.UUID, bool) { v, ok := n.below[key]; return v, ok },
		func() (id collfs.UUID, err error) {
			err = s.readers.row(ctx, `SELECT uuid FROM record WHERE owner = ? AND name = ? AND trash_at = 0`, project, name).Scan(&id)
			if errors.Is(err, sql.ErrNoRows) {
				err = fmt.Errorf("%q in %s: %w", name, project, fs.ErrNotExist)
			}
			return id, err
		},
		func(id collfs.UUID) { n.below[key] = id })
	if err != nil {
		return collfs.Entry{}, err
	}
	return s.Entry(ctx, id)
}

// Entry is collfs.Folders.
func (s *Store) Entry(ctx context.Context, id collfs.UUID) (collfs.Entry, error) {
	if err := ctx.Err(); err != nil {
		return collfs.Entry{}, err
	}
	n, err := s.node(ctx, id)
	if err != nil {
		return collfs.Entry{}, err
	}
	if n.kind == kindCollection {
		rec, err := s.loadHead(ctx, id)
		return collfs.Entry{Name: rec.Name, Collection: &rec}, err
	}
	return collfs.Entry{Name: n.project.Name, Project: &n.project}, nil
}

// List is collfs.Folders.
func (s *Store) List(ctx context.Context, project collfs.UUID) ([]collfs.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if n, err := s.node(ctx, project); err != nil {
		return nil, err
	} else if n.kind == kindCollection || !n.project.TrashAt.IsZero() {
		return nil, noRecord(project)
	}
	return s.entries(ctx, `SELECT `+recordColumns+`, kind FROM record WHERE owner = ? AND trash_at = 0 ORDER BY name`, project)
}

// entries returns what a query for recordColumns and kind finds, as of now.
func (s *Store) entries(ctx context.Context, query string, args ...any) ([]collfs.Entry, error) {
	var all []collfs.Entry
	err := s.readers.query(ctx, func(row scanner) error {
		var kind int
		rec, err := scanRecord(row, &kind)
		if err != nil {
			return err
		}
		e := collfs.Entry{Name: rec.Name, Collection: &rec}
		if kind != kindCollection {
			e.Collection = nil
			e.Project = &collfs.Project{UUID: rec.UUID, Owner: rec.Owner, Name: rec.Name, CreatedAt: rec.CreatedAt, ModifiedAt: rec.ModifiedAt, TrashAt: rec.TrashAt}
		}
		all = append(all, e)
		return nil
	}, query, args...)
	if err != nil {
		return nil, storageError(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range all {
		if e.Collection == nil {
			continue
		}
		// What has been committed since the last batch.
		if h := s.heads[e.Collection.UUID]; h != nil && h.rec.Revision > e.Collection.Revision {
			r := e.Collection
			r.Revision, r.Version, r.Files, r.Bytes, r.PDH, r.ModifiedAt = h.rec.Revision, h.rec.Version, h.rec.Files, h.rec.Bytes, h.rec.PDH, h.rec.ModifiedAt
		}
	}
	return all, nil
}

// Shared is collfs.Folders.
func (s *Store) Shared(ctx context.Context, user collfs.UUID) ([]collfs.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.entries(ctx, `SELECT `+recordColumns+`, kind FROM record
		WHERE uuid IN (SELECT target FROM share WHERE user = ? AND level >= 1) AND trash_at = 0 ORDER BY name, uuid`, user)
}

// Access is collfs.Folders. Users may do what they like in their homes, admins
// everywhere, others what shares of a record or of a project above it say.
func (s *Store) Access(ctx context.Context, user, id collfs.UUID) (collfs.Level, error) {
	if err := ctx.Err(); err != nil {
		return collfs.NoAccess, err
	}
	if _, err := s.node(ctx, id); err != nil {
		return collfs.NoAccess, err
	}
	u, err := s.User(ctx, user)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !u.Active:
		return collfs.NoAccess, nil
	case err != nil:
		return collfs.NoAccess, err
	case u.Admin:
		return collfs.CanManage, nil
	}
	shares, err := s.sharesOf(ctx, user)
	if err != nil {
		return collfs.NoAccess, err
	}
	level := collfs.NoAccess
	for id != "" {
		if id == user {
			return collfs.CanManage, nil
		}
		level = max(level, shares[id])
		n, err := s.node(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			break // the project above was deleted
		}
		if err != nil {
			return collfs.NoAccess, err
		}
		id = n.owner
	}
	return level, nil
}

// sharesOf returns what was shared with a user.
func (s *Store) sharesOf(ctx context.Context, user collfs.UUID) (map[collfs.UUID]collfs.Level, error) {
	n := &s.names
	return remembered(n,
		func() (map[collfs.UUID]collfs.Level, bool) { v, ok := n.shares[user]; return v, ok },
		func() (map[collfs.UUID]collfs.Level, error) {
			all := make(map[collfs.UUID]collfs.Level)
			err := s.readers.query(ctx, func(row scanner) error {
				var target collfs.UUID
				var level collfs.Level
				err := row.Scan(&target, &level)
				all[target] = level
				return err
			}, `SELECT target, level FROM share WHERE user = ?`, user)
			return all, err
		},
		func(v map[collfs.UUID]collfs.Level) { n.shares[user] = v })
}
