package collfs

import (
	"context"
	"io"
	"sync"

	"github.com/zeebo/xxh3"

	"keepdav/keepio"
)

// streamFrom is the size from which an upload gets open blocks of its own.
const streamFrom = 1 << 20

// A Stage is a file in the making that has no name yet. Not for concurrent use.
// It ends with Link or Abort.
type Stage struct {
	c      *Collection
	hash   *xxh3.Hasher
	size   int64
	stream *keepio.Stream
	err    error
	done   bool

	mu   sync.Mutex // guards the field below, for those who look for roots
	segs []keepio.Segment
}

// NewStage begins a file of about size bytes; -1 if that isn't known.
func (c *Collection) NewStage(size int64) (*Stage, error) {
	if c.ReadOnly() {
		return nil, ErrReadOnly
	}
	s := &Stage{c: c, hash: xxh3.NewSeed(c.fs.cfg.HashSeed)}
	if size > streamFrom {
		s.stream = c.packer.NewStream()
	}
	c.pins.Add(1)
	c.roots.add(s)
	return s, nil
}

// Size returns how many bytes were written.
func (s *Stage) Size() int64 { return s.size }

// Write appends p. After an error, the stage can only be aborted.
func (s *Stage) Write(ctx context.Context, p []byte) (int, error) {
	if s.done {
		return 0, ErrClosed
	}
	if s.err != nil {
		return 0, s.err
	}
	segs, err := s.append(ctx, p)
	if err != nil {
		s.err = err
		return 0, err
	}
	_, _ = s.hash.Write(p)
	s.size += int64(len(p))
	s.mu.Lock()
	s.segs = keepio.JoinSegments(s.segs, segs...)
	s.mu.Unlock()
	return len(p), nil
}

func (s *Stage) append(ctx context.Context, p []byte) ([]keepio.Segment, error) {
	if s.stream == nil && s.size+int64(len(p)) > streamFrom {
		s.stream = s.c.packer.NewStream()
	}
	if s.stream != nil {
		return s.stream.Append(ctx, p)
	}
	return s.c.packer.Append(ctx, p)
}

// stageBuffer is how much ReadFrom passes on at once.
const stageBuffer = 512 << 10

var stageBuffers = sync.Pool{New: func() any { return new([stageBuffer]byte) }}

// ReadFrom appends what r has until its end. An error of r is returned as it is.
func (s *Stage) ReadFrom(ctx context.Context, r io.Reader) (n int64, err error) {
	buf := stageBuffers.Get().(*[stageBuffer]byte)
	defer stageBuffers.Put(buf)
	for {
		k, rerr := 0, error(nil)
		for k < len(buf) && rerr == nil {
			var m int
			m, rerr = r.Read(buf[k:])
			k += m
		}
		if k > 0 {
			if _, err := s.Write(ctx, buf[:k]); err != nil {
				return n, err
			}
			n += int64(k)
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
		if err := ctx.Err(); err != nil {
			return n, err
		}
	}
}

// finish returns what was written.
func (s *Stage) finish() (Content, error) {
	if s.err != nil {
		return Content{}, s.err
	}
	c := Content{ID: EmptyID, Size: s.size, Segments: s.segs}
	if s.size > 0 {
		c.ID = s.hash.Sum128().Bytes()
	}
	return c, nil
}

// Content returns what was written so far, for the operations of ApplyWith.
func (s *Stage) Content() (Content, error) { return s.finish() }

// ID returns the id of what was written so far.
func (s *Stage) ID() ContentID {
	c, _ := s.finish()
	return c.ID
}

// end gives up the stage; its bytes stay.
func (s *Stage) end() {
	s.done = true
	if s.stream != nil {
		s.stream.Close()
	}
	s.c.roots.remove(s)
	s.c.Release()
}

// Abort gives up the stage and its bytes. After Link it does nothing.
func (s *Stage) Abort() {
	if s.done {
		return
	}
	if s.stream != nil {
		s.stream.Abort()
	}
	s.end()
}

func (s *Stage) eachSegment(visit func(keepio.Segment)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.segs {
		visit(seg)
	}
}
