package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"keepdav/cmd/internal/control"
	"keepdav/collfs"
	"keepdav/davfs"
)

// An exporter copies a directory of the site to this machine. What cannot be
// read is passed over: of a damaged store, all that is whole comes out.
type exporter struct {
	fsys davfs.FileSystem
	tell func(control.Progress)
	dirs []exportJob // made by walk, to be given their times when nothing is put into them any more

	mu     sync.Mutex // guards the fields below
	result copyResult
	moved  int64 // bytes, those of files under way too
}

// exportJob is one file to copy.
type exportJob struct {
	info   davfs.Info
	name   string // in the site
	target string // on this machine
}

func exportTree(ctx context.Context, s *store, a importArgs, tell func(control.Progress)) (copyResult, error) {
	start := time.Now()
	fsys, err := s.SiteOf(ctx, a.As)
	if err != nil {
		return copyResult{}, err
	}
	info, err := fsys.Stat(ctx, a.Name)
	if err != nil {
		return copyResult{}, err
	}
	root, err := os.OpenRoot(a.Dir)
	if err != nil {
		return copyResult{}, err
	}
	defer root.Close()
	ex := &exporter{fsys: fsys, tell: throttled(tell)}
	ex.result.Collection = info.Collection
	jobs := make(chan exportJob)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(jobs)
		if !info.Dir {
			return send(gctx, jobs, exportJob{info, a.Name, info.Name})
		}
		return ex.walk(gctx, root, a.Name, ".", jobs)
	})
	for range min(max(a.Workers, 1), 64) {
		g.Go(func() error {
			for j := range jobs {
				if err := ex.file(gctx, root, j); err != nil {
					return fmt.Errorf("export %s: %w", j.name, err)
				}
			}
			return nil
		})
	}
	err = g.Wait()
	for i := len(ex.dirs) - 1; i >= 0 && err == nil; i-- { // the inner ones first
		err = ex.finish(root, ex.dirs[i])
	}
	ex.result.Seconds = time.Since(start).Seconds()
	return ex.result, err
}

// finish gives a directory its permission bits and its time. Its owner may go
// on to write into it, for the next export.
func (ex *exporter) finish(root *os.Root, j exportJob) error {
	if err := root.Chmod(j.target, j.info.Mode().Perm()|0o700); err != nil {
		return err
	}
	if j.info.ModTime.IsZero() {
		return nil
	}
	return root.Chtimes(j.target, j.info.ModTime, j.info.ModTime)
}

// failed notes what cannot be read.
func (ex *exporter) failed(name string, err error) {
	ex.count(func(r *copyResult) { r.Failed = append(r.Failed, fmt.Sprintf("%s: %v", name, err)) })
}

// unreadable marks err as a failure to read the site, unless the export is to end.
func unreadable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return &unreadableError{err}
}

// each is eachEntry with failures to list marked as such.
func (ex *exporter) each(ctx context.Context, dir string, visit func(davfs.Info) error) error {
	var own error
	err := eachEntry(ctx, ex.fsys, dir, func(i davfs.Info) error {
		own = visit(i)
		return own
	})
	if err != nil && own == nil {
		err = unreadable(ctx, err)
	}
	return err
}

func send(ctx context.Context, jobs chan<- exportJob, j exportJob) error {
	select {
	case jobs <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// walk makes directories and sends the files in them to the workers. Nothing is
// written outside of root, whatever names and symbolic links there are.
func (ex *exporter) walk(ctx context.Context, root *os.Root, name, target string, jobs chan<- exportJob) error {
	return ex.each(ctx, name, func(i davfs.Info) error {
		from, to := path.Join(name, i.Name), filepath.Join(target, i.Name)
		if !i.Dir {
			return send(ctx, jobs, exportJob{i, from, to})
		}
		if err := root.Mkdir(to, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		ex.count(func(r *copyResult) { r.Dirs++ })
		ex.dirs = append(ex.dirs, exportJob{i, from, to})
		err := ex.walk(ctx, root, from, to, jobs)
		if unread, ok := errors.AsType[*unreadableError](err); ok {
			ex.failed(from, unread.err)
			return nil
		}
		return err
	})
}

func (ex *exporter) count(change func(*copyResult)) {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	change(&ex.result)
	ex.tell(control.Progress{What: "exporting", Done: ex.result.Files + ex.result.Skipped, Bytes: ex.moved})
}

func (ex *exporter) file(ctx context.Context, root *os.Root, j exportJob) error {
	link, isLink := j.info.Attr.Extra[collfs.ExtraSymlink]
	if old, err := root.Lstat(j.target); err == nil {
		same := old.Mode().IsRegular() && old.Size() == j.info.Size && old.ModTime().Equal(j.info.ModTime)
		if isLink && old.Mode().Type() == fs.ModeSymlink {
			if was, err := root.Readlink(j.target); err == nil && was == link {
				same = j.info.ModTime.IsZero() || old.ModTime().Equal(j.info.ModTime)
			}
		}
		if same {
			ex.count(func(r *copyResult) { r.Skipped++ })
			return nil
		}
	}
	if isLink {
		if err := root.Remove(j.target); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := root.Symlink(link, j.target); err != nil {
			return err
		}
		if err := setLinkTime(root, j.target, j.info.ModTime); err != nil {
			return err
		}
		ex.count(func(r *copyResult) { r.Links++ })
		return nil
	}
	n, err := ex.copy(ctx, root, j)
	if unread, ok := errors.AsType[*unreadableError](err); ok {
		ex.failed(j.name, unread.err)
		return nil
	}
	if err != nil {
		return err
	}
	ex.count(func(r *copyResult) { r.Files++; r.Bytes += n })
	return nil
}

// setLinkTime sets the time of a symbolic link itself, which os.Root has no way to.
func setLinkTime(root *os.Root, name string, at time.Time) error {
	if at.IsZero() {
		return nil
	}
	dir, err := root.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	ts, err := unix.TimeToTimespec(at)
	if err != nil {
		return err
	}
	err = unix.UtimesNanoAt(int(dir.Fd()), filepath.Base(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &fs.PathError{Op: "utimensat", Path: name, Err: err}
	}
	return nil
}

// exportPiece is how much is written between two words about the progress.
const exportPiece = 64 << 20

// copy writes a file under a temporary name, and gives it its own when it is whole.
func (ex *exporter) copy(ctx context.Context, root *os.Root, j exportJob) (n int64, err error) {
	src, err := ex.fsys.Open(ctx, j.name)
	if err != nil {
		return 0, unreadable(ctx, err)
	}
	defer src.Close()
	tmp := j.target + ".keepdav-part"
	if len(path.Base(tmp)) > 255 {
		tmp = path.Join(path.Dir(j.target), fmt.Sprintf(".keepdav-part-%x", j.info.Content[:8]))
	}
	out, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			root.Remove(tmp)
		}
	}()
	info := src.Info()
	for n < info.Size && err == nil {
		var piece int64
		piece, err = src.WriteRange(ctx, out, n, min(info.Size-n, exportPiece))
		if err == nil && piece <= 0 {
			err = collfs.ErrShortBody
		}
		n += piece
		ex.count(func(*copyResult) { ex.moved += piece })
	}
	if collfs.KindOf(err) == collfs.Corrupt { // others may be failures to write
		err = unreadable(ctx, err)
	}
	if err := errors.Join(err, out.Chmod(info.Mode().Perm()), out.Close()); err != nil {
		return n, err
	}
	if err := root.Chtimes(tmp, info.ModTime, info.ModTime); err != nil {
		return n, err
	}
	return n, root.Rename(tmp, j.target)
}
