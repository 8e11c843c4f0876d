package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"keepdav/collfs"
)

// A SideFile is a small file that is kept beside a collection or project, not
// in it: what a desktop writes everywhere for itself.
type SideFile struct {
	Path    string // inside the collection or project
	Size    int64
	ModTime time.Time
	Content collfs.ContentID // identifies the data
	Data    []byte           // not filled in listings
}

// dirOf returns the directory of a clean relative path, "" being the root.
func dirOf(path string) string { return path[:max(0, strings.LastIndexByte(path, '/'))] }

// PutSide adds a side file, or replaces the one at its path.
func (s *Store) PutSide(ctx context.Context, key collfs.UUID, f SideFile) error {
	return s.write(ctx, func(w *writer) error {
		_, err := w.exec(`INSERT INTO side (collection, path, dir, modified, content, size, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
			ON CONFLICT DO UPDATE SET modified = ?4, content = ?5, size = ?6, data = ?7`,
			key, f.Path, dirOf(f.Path), nanos(f.ModTime), f.Content[:], f.Size, append([]byte{}, f.Data...))
		return err
	})
}

func scanSide(row scanner, rest ...any) (SideFile, error) {
	var f SideFile
	var modified int64
	var content []byte
	err := row.Scan(append([]any{&f.Path, &modified, &content, &f.Size}, rest...)...)
	f.ModTime = timeOf(modified)
	copy(f.Content[:], content)
	return f, err
}

// GetSide returns a side file; a missing one is fs.ErrNotExist.
func (s *Store) GetSide(ctx context.Context, key collfs.UUID, path string) (SideFile, error) {
	var data []byte
	f, err := scanSide(s.readers.row(ctx, `SELECT path, modified, content, size, data FROM side WHERE collection = ? AND path = ?`, key, path), &data)
	f.Data = data
	return f, sideError(path, err)
}

// StatSide is GetSide without the data.
func (s *Store) StatSide(ctx context.Context, key collfs.UUID, path string) (SideFile, error) {
	f, err := scanSide(s.readers.row(ctx, `SELECT path, modified, content, size FROM side WHERE collection = ? AND path = ?`, key, path))
	return f, sideError(path, err)
}

func sideError(path string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("side file %q: %w", path, fs.ErrNotExist)
	}
	return storageError(err)
}

// ListSide returns the side files directly in dir, sorted by path.
func (s *Store) ListSide(ctx context.Context, key collfs.UUID, dir string) ([]SideFile, error) {
	var all []SideFile
	err := s.readers.query(ctx, func(row scanner) error {
		f, err := scanSide(row)
		all = append(all, f)
		return err
	}, `SELECT path, modified, content, size FROM side WHERE collection = ? AND dir = ? ORDER BY path`, key, dir)
	return all, storageError(err)
}

// HasSide reports whether there are side files of a collection or project.
func (s *Store) HasSide(ctx context.Context, key collfs.UUID) (bool, error) {
	var has bool
	err := s.readers.row(ctx, `SELECT EXISTS (SELECT 1 FROM side WHERE collection = ?)`, key).Scan(&has)
	return has, storageError(err)
}

// under is the condition for paths that are p or below it: ?2 is p, ?3 is p with
// a slash, ?4 with what follows the slash in ASCII. Below "" is everything.
const under = `collection = ?1 AND (?2 = '' OR path = ?2 OR path >= ?3 AND path < ?4)`

// RemoveSide removes the side files at a path and below it. Removing none is no
// error.
func (s *Store) RemoveSide(ctx context.Context, key collfs.UUID, path string) error {
	if has, err := s.HasSide(ctx, key); err != nil || !has {
		return err
	}
	return s.write(ctx, func(w *writer) error {
		_, err := w.exec(`DELETE FROM side WHERE `+under, key, path, path+"/", path+"0")
		return err
	})
}

// RenameSide moves the side files at a path and below it to another place,
// replacing what is there; "" is the root. Moving none is no error.
func (s *Store) RenameSide(ctx context.Context, key collfs.UUID, path string, toKey collfs.UUID, to string) error {
	from, err := s.HasSide(ctx, key)
	if err != nil {
		return err
	}
	if there, err := s.HasSide(ctx, toKey); err != nil || !from && !there {
		return err
	}
	return s.write(ctx, func(w *writer) error {
		// What moves is out of the way first: the places may overlap.
		var moved []string
		err := w.query(func(row scanner) error {
			var p string
			err := row.Scan(&p)
			moved = append(moved, p)
			return err
		}, `SELECT path FROM side WHERE `+under, key, path, path+"/", path+"0")
		if err != nil {
			return err
		}
		aside := "\x00" + string(key)
		for _, p := range moved {
			if _, err := w.exec(`UPDATE side SET collection = ? WHERE collection = ? AND path = ?`, aside, key, p); err != nil {
				return err
			}
		}
		if _, err := w.exec(`DELETE FROM side WHERE `+under, toKey, to, to+"/", to+"0"); err != nil {
			return err
		}
		for _, p := range moved {
			q := strings.Trim(to+"/"+strings.TrimPrefix(p[len(path):], "/"), "/")
			if _, err := w.exec(`UPDATE side SET collection = ?, path = ?, dir = ? WHERE collection = ? AND path = ?`, toKey, q, dirOf(q), aside, p); err != nil {
				return err
			}
		}
		return nil
	})
}
