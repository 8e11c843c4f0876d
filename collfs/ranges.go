package collfs

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"os"

	"keepdav/keepio"
)

// holes returns a hole of n bytes.
func holesOf(n int64) (segs []keepio.Segment) {
	for n > 0 {
		k := min(n, math.MaxUint32)
		segs = append(segs, keepio.Segment{Len: uint32(k)})
		n -= k
	}
	return segs
}

// Punch makes a hole of the n bytes from offset off on. What lies beyond the end
// of the file is left alone.
func (h *Handle) Punch(off, n int64) error {
	return h.putSegments("punch", off, n, func(c *Collection) ([]keepio.Segment, error) {
		n = min(n, h.o.n.size-off)
		if n <= 0 {
			return nil, nil
		}
		return holesOf(n), c.roomForHolesLocked(n)
	})
}

// putSegments replaces the n bytes from off on by the segments that get returns,
// which is called with the lock of the collection.
func (h *Handle) putSegments(what string, off, n int64, get func(c *Collection) ([]keepio.Segment, error)) error {
	if err := h.checkWrite(off, n); err != nil {
		return pathError(what, h.path, err)
	}
	o := h.o
	return pathError(what, h.path, h.change(func() error {
		c, err := o.lock(h.by)
		if err != nil {
			return err
		}
		defer c.unlock()
		segs, err := get(c)
		if err != nil || len(segs) == 0 {
			return err
		}
		if err := c.addHoleLocked(h.o.n, off-h.o.n.size); err != nil {
			return err
		}
		h.wrote.Store(true)
		c.touchLocked(h.o.n)
		o.spans.write(off, segs)
		o.edits.add(off, off+sizeOf(segs))
		c.sizeLocked(h.o.n)
		return nil
	}))
}

// Clone makes the n bytes from offset off on what the n bytes of src from offset
// from on are now, and returns how many src has of these; no data is copied. If
// src is in another collection, it is ErrOtherCollection.
func (h *Handle) Clone(off int64, src *Handle, from, n int64) (done int64, err error) {
	if from < 0 || src.done.Load() {
		return 0, pathError("clone", h.path, fs.ErrInvalid)
	}
	if src.flags&accessMode == os.O_WRONLY {
		return 0, pathError("clone", h.path, fs.ErrPermission)
	}
	n = max(0, min(n, MaxFile-off))
	err = h.putSegments("clone", off, n, func(c *Collection) ([]keepio.Segment, error) {
		if src.o.home.Load() != c {
			return nil, ErrOtherCollection
		}
		if src.o.n == h.o.n && off < from+n && from < off+n {
			return nil, fmt.Errorf("the ranges overlap: %w", fs.ErrInvalid)
		}
		c.showLocked(src.o.n)
		parts := makeSpans(src.o.n.segs).read(from, n)
		segs := make([]keepio.Segment, len(parts))
		for i, sp := range parts {
			segs[i] = sp.Segment
		}
		done = sizeOf(segs)
		// From now on the bytes have two owners.
		if err := c.freezeLocked(segs); err != nil {
			return nil, err
		}
		return segs, c.roomForHolesLocked(holesIn(segs))
	})
	if err != nil {
		return 0, err
	}
	return done, nil
}

// Extend lengthens the file to size by a hole, if it is shorter.
func (h *Handle) Extend(size int64) error {
	if err := h.checkWrite(size, 0); err != nil {
		return pathError("extend", h.path, err)
	}
	return pathError("extend", h.path, h.change(func() error {
		c, err := h.o.lock(h.by)
		if err != nil {
			return err
		}
		defer c.unlock()
		if size <= h.o.n.size {
			return nil
		}
		return h.truncateLocked(c, size)
	}))
}

// NextData returns the first offset from off on where there are bytes that were
// written; NextHole that where there are none, which the end of the file counts
// as. From the end of the file on, it is fs.ErrInvalid.
func (h *Handle) NextData(off int64) (int64, error) { return h.seek(off, false) }

// NextHole: see NextData.
func (h *Handle) NextHole(off int64) (int64, error) { return h.seek(off, true) }

func (h *Handle) seek(off int64, hole bool) (int64, error) {
	c := h.o.rlock()
	defer c.mu.RUnlock()
	s := h.w.spans
	if s == nil {
		s = h.w.spansOf(h.o.n.segs)
	}
	if off < 0 || off >= s.size {
		return 0, pathError("seek", h.path, fs.ErrInvalid)
	}
	for sp := range s.from(s.at(off)) {
		if (sp.Block == nil) == hole {
			return max(off, sp.start), nil
		}
	}
	if hole {
		return s.size, nil
	}
	return 0, pathError("seek", h.path, fs.ErrInvalid)
}

// Drop ends the use of h without committing what it changed: the next commit
// does.
func (h *Handle) Drop() {
	if !h.done.Swap(true) {
		h.release()
	}
}

// Flush commits, not durably, if there is anything of the collection to commit,
// and fails as long as it can't be.
func (h *Handle) Flush(ctx context.Context) error {
	c := h.o.home.Load()
	if !c.Dirty() {
		return nil
	}
	return pathError("flush", h.path, c.Commit(ctx, false))
}
