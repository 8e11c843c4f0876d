package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"keepdav/cmd/internal/control"
	"keepdav/collfs"
	"keepdav/davfs"
)

// importArgs are the arguments of import and export.
type importArgs struct {
	As                  string
	Dir                 string // of this machine
	Name                string // in the site
	DirBytes, NameBytes []byte `json:",omitempty"`
	Workers             int
	Again               bool
}

// commitEvery is how often an import commits: what it did until then is found
// by the next one if it is interrupted.
const commitEvery = 5 * time.Second

// An importer copies a directory of this machine into a collection.
type importer struct {
	c     *collfs.Collection
	base  string // in the collection, "" is its root
	again bool
	tell  func(control.Progress)
	dirs  []importDir // found by walk, to be given their times when nothing is put into them any more

	mu     sync.Mutex // guards the fields below
	result copyResult
	moved  int64     // bytes, those of files under way too
	last   time.Time // of a commit
}

// importDir is a directory in the collection, and its time on this machine.
type importDir struct {
	path  string
	mtime int64
}

func importTree(ctx context.Context, s *store, a importArgs, tell func(control.Progress)) (_ copyResult, err error) {
	start := time.Now()
	fsys, err := s.SiteOf(ctx, a.As)
	if err != nil {
		return copyResult{}, err
	}
	info, err := makeTarget(ctx, fsys, a.Name)
	if err != nil {
		return copyResult{}, err
	}
	c, err := s.Files.Open(ctx, info.Collection)
	if err != nil {
		return copyResult{}, err
	}
	defer c.Release()
	im := &importer{c: c, base: info.Path, again: a.Again, tell: throttled(tell), last: time.Now()}
	im.result.Collection = info.Collection
	jobs := make(chan string)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(jobs)
		return im.walk(gctx, a.Dir, jobs)
	})
	for range min(max(a.Workers, 1), 64) {
		g.Go(func() error {
			for rel := range jobs {
				if err := im.file(gctx, a.Dir, rel); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait()
	for i := 0; i < len(im.dirs) && err == nil; i++ {
		err = im.finish(im.dirs[i])
	}
	// What was copied stays, also when the rest failed.
	cerr := c.Commit(context.WithoutCancel(ctx), true)
	im.result.Seconds = time.Since(start).Seconds()
	return im.result, errors.Join(err, cerr)
}

// makeTarget finds the directory of a collection to import into, and makes it
// if it is missing.
func makeTarget(ctx context.Context, fsys davfs.FileSystem, name string) (davfs.Info, error) {
	info, err := fsys.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = fsys.Mkdir(ctx, name, davfs.AttrChange{})
	}
	switch {
	case err != nil:
		return info, err
	case !info.Dir:
		return info, fmt.Errorf("%s: %w", name, collfs.ErrNotDir)
	case !isCollection(info.Collection):
		return info, fmt.Errorf("%s is no collection, nor a directory in one", name)
	case info.ReadOnly:
		return info, fmt.Errorf("%s: %w", name, collfs.ErrReadOnly)
	}
	return info, nil
}

// walk makes the directories and sends what else there is to the workers.
func (im *importer) walk(ctx context.Context, dir string, jobs chan<- string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if name == dir {
				return err
			}
			im.failed(err)
			return nil
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		switch {
		case rel == ".":
			return nil
		case d.IsDir():
			return im.directory(rel, d)
		case !d.Type().IsRegular() && d.Type() != fs.ModeSymlink:
			im.count(func(r *copyResult) { r.Ignored = append(r.Ignored, name) })
			return nil
		}
		select {
		case jobs <- rel:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// failed notes what cannot be read of this machine.
func (im *importer) failed(err error) {
	im.count(func(r *copyResult) { r.Failed = append(r.Failed, err.Error()) })
}

func (im *importer) count(change func(*copyResult)) {
	im.mu.Lock()
	defer im.mu.Unlock()
	change(&im.result)
	im.tell(control.Progress{What: "importing", Done: im.result.Files + im.result.Skipped, Bytes: im.moved})
}

func (im *importer) directory(rel string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	attr := collfs.Attr{Mode: unixMode(info.Mode()), Mtime: info.ModTime().UnixNano()}
	target := path.Join(im.base, filepath.ToSlash(rel))
	im.dirs = append(im.dirs, importDir{target, attr.Mtime})
	_, err = im.c.Mkdir(target, attr, nil)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	im.count(func(r *copyResult) { r.Dirs++ })
	return err
}

// finish gives a directory its time, which what was put into it has changed.
func (im *importer) finish(d importDir) error {
	i, err := im.c.Stat(d.path)
	if err == nil && i.Dir && i.Attr.Mtime != d.mtime {
		_, err = im.c.SetAttr(d.path, func(i collfs.NodeInfo) (collfs.Attr, error) {
			i.Attr.Mtime = d.mtime
			return i.Attr, nil
		})
	}
	if errors.Is(err, fs.ErrNotExist) { // somebody has taken it away
		return nil
	}
	return err
}

// file copies one file or symbolic link, unless it is there.
func (im *importer) file(ctx context.Context, dir, rel string) error {
	name := filepath.Join(dir, rel)
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) { // gone since it was listed
		return nil
	}
	if err != nil {
		im.failed(err)
		return nil
	}
	target := path.Join(im.base, filepath.ToSlash(rel))
	attr := collfs.Attr{Mode: unixMode(info.Mode()), Mtime: info.ModTime().UnixNano()}
	link := ""
	if info.Mode().Type() == fs.ModeSymlink {
		if link, err = os.Readlink(name); err != nil {
			im.failed(err)
			return nil
		}
		attr.Mode, attr.Extra = 0o777, map[string]string{collfs.ExtraSymlink: link}
	}
	if old, err := im.c.Stat(target); err == nil && !im.again && !old.Dir && old.Attr.Mtime == attr.Mtime &&
		old.Attr.Extra[collfs.ExtraSymlink] == link && (link != "" || old.Size == info.Size()) {
		im.count(func(r *copyResult) { r.Skipped++ })
		return nil
	}
	n, err := im.store(ctx, name, target, attr, info.Size(), link)
	if unread, ok := errors.AsType[*unreadableError](err); ok {
		im.failed(unread.err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("import %s: %w", name, err)
	}
	im.count(func(r *copyResult) {
		r.Bytes += n
		if link != "" {
			r.Links++
		} else {
			r.Files++
		}
	})
	return im.commitNow(ctx)
}

// An unreadableError is a failure to read what is to be copied.
type unreadableError struct{ err error }

func (e *unreadableError) Error() string { return e.err.Error() }
func (e *unreadableError) Unwrap() error { return e.err }

// source tells failures of reading from those of storing, and how far it is.
type source struct {
	f  *os.File
	im *importer
}

func (s source) Read(p []byte) (int, error) {
	n, err := s.f.Read(p)
	s.im.count(func(*copyResult) { s.im.moved += int64(n) })
	if err != nil && err != io.EOF {
		err = &unreadableError{err}
	}
	return n, err
}

// store links the bytes of a file under its name in the collection.
func (im *importer) store(ctx context.Context, name, target string, attr collfs.Attr, size int64, link string) (int64, error) {
	if link != "" {
		size = 0
	}
	stage, err := im.c.NewStage(size)
	if err != nil {
		return 0, err
	}
	defer stage.Abort()
	var n int64
	if link == "" {
		f, err := os.Open(name)
		if err != nil {
			return 0, &unreadableError{err}
		}
		defer f.Close()
		if n, err = stage.ReadFrom(ctx, source{f, im}); err != nil {
			return n, err
		}
	}
	_, _, err = im.c.Link(stage, target, collfs.LinkOptions{Attr: func(collfs.Attr, bool) collfs.Attr { return attr }})
	return n, err
}

// commitNow commits if it is time to.
func (im *importer) commitNow(ctx context.Context) error {
	im.mu.Lock()
	due := time.Since(im.last) >= commitEvery
	if due {
		im.last = time.Now()
	}
	im.mu.Unlock()
	if !due {
		return nil
	}
	return im.c.Commit(ctx, true)
}

// unixMode is the twelve mode bits.
func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}
