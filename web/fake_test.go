package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/keepio"
)

// tree is a site with files in memory, as much as these tests need of one.
type tree struct {
	davfs.FileSystem // what the tests do not need panics

	mu    sync.Mutex // guards files
	files map[string][]byte
	dirs  map[string]bool
}

func newTree() *tree {
	return &tree{files: map[string][]byte{}, dirs: map[string]bool{"/": true, "/home": true, "/by_id": true}}
}

func (t *tree) infoLocked(name string) (davfs.Info, error) {
	i := davfs.Info{Name: path.Base(name), ModTime: time.Unix(1e9, 0), Collection: "kdav0-4zz18-000000000000000", Path: name, Entries: -1}
	if data, ok := t.files[name]; ok {
		i.Size = int64(len(data))
		copy(i.Content[:], fmt.Sprintf("%016x", len(data)))
		return i, nil
	}
	if t.dirs[name] {
		i.Dir = true
		return i, nil
	}
	return i, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

func (t *tree) Stat(_ context.Context, name string) (davfs.Info, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.infoLocked(name)
}

func (t *tree) Where(_ context.Context, name string) (collfs.UUID, string, error) {
	return "kdav0-4zz18-000000000000000", strings.TrimPrefix(name, "/"), nil
}

func (t *tree) Owner(context.Context, collfs.UUID) (collfs.UUID, error) { return "", nil }

type listing struct{ infos []davfs.Info }

func (l *listing) Next(p []davfs.Info) (int, error) {
	n := copy(p, l.infos)
	l.infos = l.infos[n:]
	return n, nil
}

func (l *listing) Close() {}

func (t *tree) List(_ context.Context, name string) (davfs.Listing, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &listing{}
	all := slices.Sorted(maps.Keys(t.files))
	all = append(all, slices.Sorted(maps.Keys(t.dirs))...)
	slices.Sort(all)
	for _, n := range all {
		if n != "/" && path.Dir(n) == name {
			i, err := t.infoLocked(n)
			if err != nil {
				return nil, err
			}
			l.infos = append(l.infos, i)
		}
	}
	return l, nil
}

func (t *tree) Count(_ context.Context, name string, limit int) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return min(len(t.files)+len(t.dirs), limit), nil
}

type file struct {
	*bytes.Reader
	info davfs.Info
}

func (f *file) Close() error     { return nil }
func (f *file) Info() davfs.Info { return f.info }
func (f *file) WriteRange(_ context.Context, w io.Writer, off, n int64) (int64, error) {
	return io.Copy(w, io.NewSectionReader(f.Reader, off, n))
}

func (t *tree) Open(_ context.Context, name string) (davfs.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if strings.Contains(name, "panic") {
		panic("as the test wants it")
	}
	i, err := t.infoLocked(name)
	if err != nil {
		return nil, err
	}
	return &file{bytes.NewReader(t.files[name]), i}, nil
}

type upload struct {
	bytes.Buffer
	t    *tree
	name string
	o    davfs.PutOptions
}

// ReadFrom finds the disk full after a MiB if the name says so.
func (u *upload) ReadFrom(r io.Reader) (int64, error) {
	if !strings.Contains(u.name, "full") {
		return u.Buffer.ReadFrom(r)
	}
	n, err := io.CopyN(io.Discard, r, 1<<20)
	if err == nil {
		err = keepio.ErrFull
	}
	return n, err
}

func (u *upload) Commit(context.Context) (davfs.Info, bool, error) {
	u.t.mu.Lock()
	defer u.t.mu.Unlock()
	old, err := u.t.infoLocked(u.name)
	if u.o.Check != nil {
		if err := u.o.Check(old, err == nil); err != nil {
			return davfs.Info{}, false, err
		}
	}
	u.t.files[u.name] = bytes.Clone(u.Bytes())
	i, ierr := u.t.infoLocked(u.name)
	return i, err != nil, ierr
}

func (u *upload) Abort() {}

func (t *tree) Put(_ context.Context, name string, o davfs.PutOptions) (davfs.Upload, error) {
	return &upload{t: t, name: name, o: o}, nil
}

func (t *tree) Usage(context.Context, string) (davfs.Usage, error) {
	return davfs.Usage{Available: -1}, nil
}

func (t *tree) Mkdir(_ context.Context, name string, a davfs.AttrChange) (davfs.Info, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, err := t.infoLocked(name)
	if a.Check != nil {
		if err := a.Check(old, err == nil); err != nil {
			return davfs.Info{}, err
		}
	}
	if err == nil {
		return davfs.Info{}, &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
	}
	t.dirs[name] = true
	return t.infoLocked(name)
}

func (t *tree) Remove(_ context.Context, name string, check davfs.Check) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, err := t.infoLocked(name)
	if check != nil {
		if err := check(old, err == nil); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	delete(t.files, name)
	delete(t.dirs, name)
	return nil
}

// annsPassword is long enough not to come up in a random id.
const annsPassword = "correct-horse"

// people are the accounts of these tests: ann, whose password is the hash, and a token of root.
type people struct{ hash string }

const rootToken = "v2/kdav0-gj3su-000000000000000/secret"

func (p people) PasswordHash(_ context.Context, name string) (collfs.User, string, error) {
	if name != "ann" {
		return collfs.User{}, "", fs.ErrNotExist
	}
	return collfs.User{Name: "ann", UUID: "kdav0-tpzed-000000000000001", Active: true}, p.hash, nil
}

func (p people) LookupToken(_ context.Context, token string) (collfs.User, time.Time, error) {
	if token != rootToken {
		return collfs.User{}, time.Time{}, fs.ErrNotExist
	}
	return collfs.User{Name: "root", UUID: "kdav0-tpzed-000000000000000", Admin: true, Active: true}, time.Time{}, nil
}

var everyProxy = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
