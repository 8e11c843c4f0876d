// Package reference is a WebDAV server whose faults are known: the stock
// handler of x/net/webdav over a directory, laid out like keep-dav's site. The
// tests of the tests run on it: a suite that has never failed has proved
// nothing, and one that has never passed hasn't either.
//
// In the mode Lying it answers before anything is on disk. In the mode Durable
// a file appears whole, in one rename, and every change is synced with its
// directory before the answer; only the removal of trees, their copies, and
// moves onto existing names are not atomic (the stock handler does them in steps).
package reference

import (
	"context"
	"crypto/subtle"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/net/webdav"
)

// Mode says when the server answers.
type Mode string

// The modes.
const (
	Lying   Mode = "lying"
	Durable Mode = "durable"
)

// Handler serves dir to one user. It makes the folder home in it.
func Handler(dir string, mode Mode, user, password string) (http.Handler, error) {
	if err := os.MkdirAll(filepath.Join(dir, "home"), 0o755); err != nil {
		return nil, err
	}
	var fsys webdav.FileSystem = webdav.Dir(dir)
	if mode == Durable {
		if err := errors.Join(syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
			return nil, err
		}
		fsys = &durable{Dir: webdav.Dir(dir), root: dir}
	}
	h := &webdav.Handler{FileSystem: fsys, LockSystem: webdav.NewMemLS(), Logger: func(r *http.Request, err error) {
		log.Print(r.Method, " ", r.URL.Path, " ", r.Header.Get("If"), " ", err)
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		if u != user || subtle.ConstantTimeCompare([]byte(p), []byte(password)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="reference"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	}), nil
}

// Serve listens on addr and serves until the process ends.
func Serve(addr, dir string, mode Mode, user, password string) error {
	h, err := Handler(dir, mode, user, password)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return http.Serve(l, h)
}

// durable is webdav.Dir with whole-file replacement and syncs.
type durable struct {
	webdav.Dir
	root string
}

func (d *durable) real(name string) string {
	return filepath.Join(d.root, filepath.FromSlash(path.Clean("/"+name)))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *durable) Mkdir(ctx context.Context, name string, perm os.FileMode) error {
	if err := d.Dir.Mkdir(ctx, name, perm); err != nil {
		return err
	}
	return syncDir(filepath.Dir(d.real(name)))
}

func (d *durable) RemoveAll(ctx context.Context, name string) error {
	if err := d.Dir.RemoveAll(ctx, name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(d.real(name)))
}

func (d *durable) Rename(ctx context.Context, from, to string) error {
	if err := d.Dir.Rename(ctx, from, to); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(d.real(to))), syncDir(filepath.Dir(d.real(from))))
}

func (d *durable) OpenFile(ctx context.Context, name string, flag int, perm os.FileMode) (webdav.File, error) {
	if flag&os.O_TRUNC == 0 {
		return d.Dir.OpenFile(ctx, name, flag, perm)
	}
	real := d.real(name)
	if info, err := os.Stat(filepath.Dir(real)); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, os.ErrNotExist
	}
	// In the root, which no test lists, so that no listing shows it.
	f, err := os.CreateTemp(d.root, ".staged-*")
	if err != nil {
		return nil, err
	}
	return &staged{File: f, name: real}, nil
}

// staged is a file in the making; Close publishes it, unless a write failed.
type staged struct {
	*os.File
	name   string
	failed bool
}

func (s *staged) Write(p []byte) (int, error) {
	n, err := s.File.Write(p)
	s.failed = s.failed || err != nil
	return n, err
}

func (s *staged) Close() error {
	tmp := s.File.Name()
	if err := errors.Join(s.File.Sync(), s.File.Close()); err != nil || s.failed {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, s.name); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(s.name)), syncDir(filepath.Dir(tmp)))
}
