package collfs

import (
	"context"
	"io"
	"io/fs"
	"sync"

	"keepdav/keepio"
)

// A Reader reads the content that a file had when it was opened, whatever
// becomes of the file. Its methods may be called concurrently.
type Reader struct {
	c       *Collection
	path    string
	info    NodeInfo
	content Content
	spans   *spans
	follow  *follower
	closed  sync.Once
}

// OpenRead opens a file for reading. The reader must be closed.
func (c *Collection) OpenRead(path string) (*Reader, error) {
	r, err := c.openRead(path)
	if err != nil {
		return nil, pathError("open", path, err)
	}
	r.spans = makeSpans(r.content.Segments)
	r.follow = newFollower(c.fs.cfg.Spool)
	c.pins.Add(1)
	c.roots.add(r)
	return r, nil
}

func (c *Collection) openRead(path string) (*Reader, error) {
	c.mu.RLock()
	n, err := c.tree.find(path)
	if err != nil || n.isDir() || !n.hasHandles() {
		defer c.mu.RUnlock()
		if err == nil && n.isDir() {
			err = ErrIsDir
		}
		if err != nil {
			return nil, err
		}
		return &Reader{c: c, path: path, info: n.infoAt(path), content: n.content()}, nil
	}
	c.mu.RUnlock()
	c.mu.Lock() // a handle may write: what we hand out must not be overwritten in place
	defer c.mu.Unlock()
	if n, err = c.tree.find(path); err != nil {
		return nil, err
	}
	if n.isDir() {
		return nil, ErrIsDir
	}
	c.showLocked(n)
	if n.hasHandles() {
		if err := c.freezeLocked(n.segs); err != nil {
			return nil, err
		}
	}
	return &Reader{c: c, path: path, info: n.infoAt(path), content: n.content()}, nil
}

// Info describes the file as it was when it was opened.
func (r *Reader) Info() NodeInfo { return r.info }

// Content returns what is read.
func (r *Reader) Content() Content { return r.content }

// ReadAt fills p from offset off on. Like io.ReaderAt it returns an error when
// it copies less: io.EOF at the end.
func (r *Reader) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	r.lookAhead(ctx, off, int64(len(p)))
	return readAt(ctx, r.c, r.spans, p, off, r.path)
}

// lookAhead has the spool get what will be read after the n bytes at off.
func (r *Reader) lookAhead(ctx context.Context, off, n int64) {
	if from, length := r.follow.note(off, n); length > 0 {
		r.follow.want(ctx, r.spans.read(from, length))
	}
}

func readAt(ctx context.Context, c *Collection, s *spans, p []byte, off int64, path string) (int, error) {
	if off < 0 {
		return 0, pathError("read", path, fs.ErrInvalid)
	}
	n, err := readSpans(ctx, c.fs.cfg.Spool, s.read(off, int64(len(p))), p, off)
	if err != nil {
		return n, pathError("read", path, err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// zeros is what holes are written from.
var zeros [64 << 10]byte

// WriteRange writes n bytes from offset off on to w, in the fastest way that w
// and the storage offer, and reports how many went out. io.ErrUnexpectedEOF says
// that the file has fewer.
func (r *Reader) WriteRange(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	if off < 0 || n < 0 {
		return 0, pathError("read", r.path, fs.ErrInvalid)
	}
	r.lookAhead(ctx, off, n)
	var done int64
	for _, sp := range r.spans.read(off, n) {
		k, err := r.writeSpan(ctx, w, sp)
		done += k
		if err != nil {
			return done, pathError("read", r.path, err)
		}
	}
	if done < n {
		return done, io.ErrUnexpectedEOF
	}
	return done, nil
}

func (r *Reader) writeSpan(ctx context.Context, w io.Writer, sp span) (done int64, err error) {
	if sp.Block != nil {
		return r.c.fs.cfg.Spool.WriteRange(ctx, w, sp.Block, int64(sp.Off), int64(sp.Len))
	}
	for done < int64(sp.Len) && err == nil {
		var k int
		k, err = w.Write(zeros[:min(int64(len(zeros)), int64(sp.Len)-done)])
		done += int64(k)
		if err == nil {
			err = ctx.Err()
		}
	}
	return done, err
}

// Close ends the use of r.
func (r *Reader) Close() error {
	r.closed.Do(func() {
		r.follow.close()
		r.c.roots.remove(r)
		r.c.Release()
	})
	return nil
}

func (r *Reader) eachSegment(visit func(keepio.Segment)) {
	for _, s := range r.content.Segments {
		visit(s)
	}
}

// A rootSet holds those outside of the tree that refer to blocks.
type rootSet struct {
	mu  sync.Mutex // guards the field below
	all map[segmentHolder]struct{}
}

type segmentHolder interface {
	eachSegment(visit func(keepio.Segment))
}

func (s *rootSet) add(h segmentHolder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[segmentHolder]struct{})
	}
	s.all[h] = struct{}{}
}

func (s *rootSet) remove(h segmentHolder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, h)
}

// each calls visit with the segments of all holders.
func (s *rootSet) each(visit func(keepio.Segment)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.all {
		h.eachSegment(visit)
	}
}
