package davfs

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"time"

	"keepdav/collfs"
)

// maxSparse is how far beyond the end of a file a write may begin.
const maxSparse = 1 << 40

// WriteAt implements FileSystem. The body is staged first, so one that is cut
// changes nothing.
func (f *FS) WriteAt(ctx context.Context, name string, off, n int64, body io.Reader, check Check) (Info, error) {
	p, err := f.resolveOld(ctx, name)
	var i Info
	if err == nil {
		i, err = f.writeAt(ctx, p, off, n, body, check)
	}
	return i, pathError("write", name, err)
}

func (f *FS) writeAt(ctx context.Context, p place, off, n int64, body io.Reader, check Check) (Info, error) {
	switch {
	case off < -1 || n < 0:
		return Info{}, fs.ErrInvalid
	case p.kind == atNothing:
		return f.writeSide(ctx, p, p.project, p.base, off, n, body, check)
	case p.kind == atMetaFile:
		return Info{}, collfs.ErrReadOnly
	case !p.inCollection():
		return Info{}, collfs.ErrIsDir
	}
	s, err := f.visit(ctx, p)
	if err != nil {
		return Info{}, err
	}
	defer s.close()
	switch {
	case !s.ok:
		key, inside := s.key(s.path)
		return f.writeSide(ctx, p, key, inside, off, n, body, check)
	case s.node.Dir:
		return Info{}, collfs.ErrIsDir
	case !s.mayWrite():
		return Info{}, collfs.ErrReadOnly
	}
	stage, err := s.c.NewStage(n)
	if err != nil {
		return Info{}, err
	}
	defer stage.Abort()
	if err := fill(ctx, stage, body, n); err != nil {
		return Info{}, err
	}
	if err := f.stillWrites(ctx, s.uuid); err != nil {
		return Info{}, err
	}
	s.node, err = s.c.Splice(stage, s.path, off, collfs.SpliceOptions{
		MaxHole: maxSparse, Attr: dropSums, Check: s.check(check),
	})
	if err != nil {
		return Info{}, err
	}
	return s.info(), s.c.Commit(ctx, true)
}

// dropSums makes the attributes of a changed content from those of the old: its
// time is now, and checksums that were true of the old are gone.
func dropSums(old collfs.Attr) collfs.Attr {
	return (&PutOptions{}).attr(old, true)
}

// fill stages exactly n bytes of body.
func fill(ctx context.Context, stage *collfs.Stage, body io.Reader, n int64) error {
	got, err := copyAll(stageWriter{ctx, stage}, io.LimitReader(body, n))
	if err == nil && got != n {
		err = fmt.Errorf("%w: %d of %d bytes", collfs.ErrShortBody, got, n)
	}
	return err
}

// stageWriter is a stage as an io.Writer, for one call.
type stageWriter struct {
	ctx   context.Context
	stage *collfs.Stage
}

func (w stageWriter) Write(p []byte) (int, error) { return w.stage.Write(w.ctx, p) }

// writeSide changes a side file.
func (f *FS) writeSide(ctx context.Context, p place, key collfs.UUID, inside string, off, n int64, body io.Reader, check Check) (Info, error) {
	need := func(size int64) int64 { return 2*size + min(max(off, 0)+n, maxSideFile) }
	file, release, err := f.loadSide(ctx, key, inside, need)
	if err != nil {
		return Info{}, err
	}
	defer func() { release() }()
	if !p.mayWrite() {
		return Info{}, collfs.ErrReadOnly
	}
	if _, err := sideOffset(file, off, n); err != nil {
		return Info{}, err
	}
	part := make([]byte, n)
	if _, err := io.ReadFull(body, part); err != nil {
		return Info{}, fmt.Errorf("%w: %w", collfs.ErrShortBody, err)
	}
	if taken, err := f.stillSide(ctx, p); err != nil {
		return Info{}, err
	} else if taken { // by a file that the change is not about
		return Info{}, fs.ErrNotExist
	}
	for {
		done, err := f.ifStill(ctx, key, file, func() error {
			if _, _, err := f.checkSide(ctx, key, inside, check); err != nil {
				return err
			}
			at, err := sideOffset(file, off, n)
			if err != nil {
				return err
			}
			data := make([]byte, max(file.Size, at+n))
			copy(data, file.Data)
			copy(data[at:], part)
			file.Data, file.Size, file.ModTime, file.Content = data, int64(len(data)), time.Now(), contentOf(data)
			return f.site.putSide(ctx, key, file)
		})
		if err != nil || done {
			return sideInfo(key, file), err
		}
		// It has changed while the body came in.
		release()
		var again func()
		if file, again, err = f.loadSide(ctx, key, inside, need); err != nil {
			release = func() {}
			return Info{}, err
		}
		release = again
	}
}

// sideOffset is where in a side file n bytes go that are written at off, -1 being its
// end, if it may be as long as it is then.
func sideOffset(file SideFile, off, n int64) (int64, error) {
	if off < 0 {
		off = file.Size
	}
	if off > maxSideFile || n > maxSideFile-off {
		return 0, fmt.Errorf("a file of this name has at most %d bytes: %w", maxSideFile, collfs.ErrNotSupported)
	}
	return off, nil
}
