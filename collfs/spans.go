package collfs

import (
	"context"
	"fmt"
	"io"
	"math"
	"sort"

	"keepdav/keepio"
)

// spans is the content of a file with the offset of each segment: for finding
// bytes, and, while it is written to, for changing segments in place.
type spans struct {
	list []span
	size int64
}

// A span is a segment and where in the file it begins.
type span struct {
	start int64
	keepio.Segment
}

func (s span) end() int64 { return s.start + int64(s.Len) }

func makeSpans(segs []keepio.Segment) *spans {
	s := &spans{list: make([]span, len(segs))}
	for i, seg := range segs {
		s.list[i] = span{s.size, seg}
		s.size += int64(seg.Len)
	}
	return s
}

// segments returns a copy of the segments.
func (s *spans) segments() []keepio.Segment {
	segs := make([]keepio.Segment, len(s.list))
	for i, sp := range s.list {
		segs[i] = sp.Segment
	}
	return segs
}

// at returns the index of the span that holds offset off; len(list) at the end.
func (s *spans) at(off int64) int {
	return sort.Search(len(s.list), func(i int) bool { return s.list[i].end() > off })
}

// part returns the part of sp in [from, to).
func (sp span) part(from, to int64) span {
	from, to = max(from, sp.start), min(to, sp.end())
	seg := keepio.Segment{Block: sp.Block, Len: uint32(to - from)}
	if sp.Block != nil {
		seg.Off = sp.Off + uint32(from-sp.start)
	}
	return span{from, seg}
}

// read returns the spans of [off, off+n), cut to the file's size.
func (s *spans) read(off, n int64) []span {
	to := min(s.size, off+n)
	if off >= to {
		return nil
	}
	i := s.at(off)
	j := i
	for j < len(s.list) && s.list[j].start < to {
		j++
	}
	out := make([]span, j-i)
	for k := range out {
		out[k] = s.list[i+k].part(off, to)
	}
	return out
}

// write replaces the bytes from off on by those of segs; what is between the end
// and off becomes a hole.
func (s *spans) write(off int64, segs []keepio.Segment) {
	if off > s.size {
		s.truncate(off)
	}
	n := sizeOf(segs)
	i := s.at(off)
	j := i
	for j < len(s.list) && s.list[j].start < off+n {
		j++
	}
	var put []span
	add := func(sp span) {
		if k := len(put); k > 0 && joins(put[k-1].Segment, sp.Segment) {
			put[k-1].Len += sp.Len
			return
		}
		put = append(put, sp)
	}
	if i > 0 && (i == len(s.list) || s.list[i].start == off) { // the one before may join
		i--
		add(s.list[i])
	} else if i < len(s.list) && s.list[i].start < off {
		add(s.list[i].part(s.list[i].start, off))
	}
	at := off
	for _, seg := range segs {
		add(span{at, seg})
		at += int64(seg.Len)
	}
	if j > 0 && s.list[j-1].end() > at {
		add(s.list[j-1].part(at, s.list[j-1].end()))
	} else if j < len(s.list) && s.list[j].start == at { // the one after may join
		add(s.list[j])
		j++
	}
	s.size = max(s.size, at)
	s.splice(i, j, put)
}

// splice replaces list[i:j] by put.
func (s *spans) splice(i, j int, put []span) {
	k := min(j-i, len(put))
	copy(s.list[i:], put[:k])
	if i+k == len(s.list) {
		s.list = append(s.list, put[k:]...)
		return
	}
	rest := len(s.list) - j
	grow := len(put) - (j - i)
	if grow > 0 {
		s.list = append(s.list, put[len(put)-grow:]...)
	}
	copy(s.list[j+grow:], s.list[j:j+rest])
	s.list = s.list[:j+grow+rest]
	copy(s.list[i+k:], put[k:])
}

// joins reports whether b is the continuation of a.
func joins(a, b keepio.Segment) bool {
	return a.Block == b.Block && (a.Block == nil || a.Off+a.Len == b.Off) && uint64(a.Len)+uint64(b.Len) <= math.MaxUint32
}

// truncate cuts the file to size, or lengthens it by a hole.
func (s *spans) truncate(size int64) {
	if size < s.size {
		i := s.at(size)
		if i < len(s.list) && s.list[i].start < size {
			s.list[i] = s.list[i].part(s.list[i].start, size)
			i++
		}
		clear(s.list[i:])
		s.list = s.list[:i]
		s.size = size
		return
	}
	for s.size < size {
		n := min(size-s.size, math.MaxUint32)
		hole := keepio.Segment{Len: uint32(n)}
		if k := len(s.list) - 1; k >= 0 && joins(s.list[k].Segment, hole) {
			s.list[k].Len += hole.Len
		} else {
			s.list = append(s.list, span{s.size, hole})
		}
		s.size += n
	}
}

// readSpans fills p, which begins at off, from parts that cover it.
func readSpans(ctx context.Context, r keepio.Reader, parts []span, p []byte, off int64) (int, error) {
	done := 0
	for _, sp := range parts {
		q := p[sp.start-off : sp.end()-off]
		if sp.Block == nil {
			clear(q)
			done += len(q)
			continue
		}
		n, err := r.ReadBlock(ctx, sp.Block, q, int64(sp.Off))
		done += n
		if n < len(q) {
			if err == nil || err == io.EOF {
				err = fmt.Errorf("block ends before a segment of it: %w", keepio.ErrCorrupt)
			}
			return done, err
		}
	}
	return done, nil
}
