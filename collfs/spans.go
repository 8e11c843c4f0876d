package collfs

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"sort"

	"keepdav/keepio"
)

// spans is the content of a file with the offset of each segment: for finding
// bytes, and, while it is written to, for changing segments in place. They are kept
// in chunks, so that a change in the middle of a file of many segments moves few.
type spans struct {
	chunks [][]span // none is empty
	n      int      // spans in all chunks
	size   int64
	holes  int64 // bytes that no block holds
}

// spanChunk is the most spans of a chunk.
const spanChunk = 256

// A span is a segment and where in the file it begins.
type span struct {
	start int64
	keepio.Segment
}

func (s span) end() int64 { return s.start + int64(s.Len) }

// hole returns how many bytes of s no block holds.
func (s span) hole() int64 {
	if s.Block == nil {
		return int64(s.Len)
	}
	return 0
}

func makeSpans(segs []keepio.Segment) *spans {
	s := &spans{n: len(segs), chunks: make([][]span, 0, (len(segs)+spanChunk-1)/spanChunk)}
	for part := range slices.Chunk(segs, spanChunk) {
		chunk := make([]span, len(part))
		for i, seg := range part {
			chunk[i] = span{s.size, seg}
			s.size += int64(seg.Len)
			s.holes += holesIn(part[i : i+1])
		}
		s.chunks = append(s.chunks, chunk)
	}
	return s
}

// segments returns a copy of the segments.
func (s *spans) segments() []keepio.Segment {
	segs := make([]keepio.Segment, 0, s.n)
	for sp := range s.all {
		segs = append(segs, sp.Segment)
	}
	return segs
}

// all yields the spans in order.
func (s *spans) all(yield func(span) bool) { s.from(spanPos{})(yield) }

// A spanPos is a place among spans: before that with the index i of chunk c.
type spanPos struct{ c, i int }

// from yields the spans from p on.
func (s *spans) from(p spanPos) iter.Seq[span] {
	return func(yield func(span) bool) {
		for ; s.has(p); p = s.next(p) {
			if !yield(s.get(p)) {
				return
			}
		}
	}
}

// has reports whether there is a span after p.
func (s *spans) has(p spanPos) bool { return p.c < len(s.chunks) }

// get returns the span after p.
func (s *spans) get(p spanPos) span { return s.chunks[p.c][p.i] }

func (s *spans) next(p spanPos) spanPos {
	if p.i++; p.i == len(s.chunks[p.c]) {
		return spanPos{p.c + 1, 0}
	}
	return p
}

// prev returns the place before p, which is not the first.
func (s *spans) prev(p spanPos) spanPos {
	if p.i > 0 {
		return spanPos{p.c, p.i - 1}
	}
	return spanPos{p.c - 1, len(s.chunks[p.c-1]) - 1}
}

// at returns the place before the span that holds offset off; the end if none does.
func (s *spans) at(off int64) spanPos {
	c := sort.Search(len(s.chunks), func(i int) bool { return s.chunks[i][len(s.chunks[i])-1].end() > off })
	if c == len(s.chunks) {
		return spanPos{c, 0}
	}
	chunk := s.chunks[c]
	return spanPos{c, sort.Search(len(chunk), func(i int) bool { return chunk[i].end() > off })}
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
func (s *spans) read(off, n int64) (out []span) {
	to := min(s.size, off+n)
	if off >= to {
		return nil
	}
	for sp := range s.from(s.at(off)) {
		if sp.start >= to {
			break
		}
		out = append(out, sp.part(off, to))
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
	for s.has(j) && s.get(j).start < off+n {
		j = s.next(j)
	}
	var put []span
	add := func(sp span) {
		if k := len(put); k > 0 && joins(put[k-1].Segment, sp.Segment) {
			put[k-1].Len += sp.Len
			return
		}
		put = append(put, sp)
	}
	var last span // before j
	if j != (spanPos{}) {
		last = s.get(s.prev(j))
	}
	if i != (spanPos{}) && (!s.has(i) || s.get(i).start == off) { // the one before may join
		i = s.prev(i)
		add(s.get(i))
	} else if s.has(i) && s.get(i).start < off {
		add(s.get(i).part(s.get(i).start, off))
	}
	at := off
	for _, seg := range segs {
		add(span{at, seg})
		at += int64(seg.Len)
	}
	if last.end() > at {
		add(last.part(at, last.end()))
	} else if s.has(j) && s.get(j).start == at { // the one after may join
		add(s.get(j))
		j = s.next(j)
	}
	s.size = max(s.size, at)
	s.replace(i, j, put)
}

// replace puts other spans in the place of those from i to before j.
func (s *spans) replace(i, j spanPos, put []span) {
	for p := i; p != j && s.has(p); p = s.next(p) {
		s.holes -= s.get(p).hole()
	}
	for _, sp := range put {
		s.holes += sp.hole()
	}
	s.n += len(put)
	first, last := i.c, j.c // the chunks that change: to before last
	var head, tail []span
	if s.has(i) {
		head = s.chunks[i.c][:i.i]
	} else if i.c > 0 { // at the end
		first--
		head = s.chunks[first]
	}
	if j.i > 0 {
		tail = s.chunks[j.c][j.i:]
		last++
	}
	for _, chunk := range s.chunks[first:last] {
		s.n -= len(chunk)
	}
	s.n += len(head) + len(tail)
	if last-first == 1 && len(head)+len(put)+len(tail) <= spanChunk && len(head)+len(put)+len(tail) > 0 {
		s.chunks[first] = slices.Replace(s.chunks[first], len(head), len(s.chunks[first])-len(tail), put...)
		return
	}
	all := slices.Concat(head, put, tail)
	var chunks [][]span
	if first == len(s.chunks)-1 && len(tail) == 0 { // spans come in order: leave full chunks behind
		for len(all) > spanChunk {
			chunks = append(chunks, slices.Clip(all[:spanChunk]))
			all = all[spanChunk:]
		}
	}
	for len(all) > spanChunk {
		chunks = append(chunks, slices.Clip(all[:spanChunk/2]))
		all = all[spanChunk/2:]
	}
	if len(all) > 0 {
		chunks = append(chunks, all)
	}
	s.chunks = slices.Replace(s.chunks, first, last, chunks...)
}

// joins reports whether b is the continuation of a.
func joins(a, b keepio.Segment) bool {
	return a.Block == b.Block && (a.Block == nil || a.Off+a.Len == b.Off) && uint64(a.Len)+uint64(b.Len) <= math.MaxUint32
}

// truncate cuts the file to size, or lengthens it by a hole.
func (s *spans) truncate(size int64) {
	if size < s.size {
		i := s.at(size)
		var put []span
		if sp := s.get(i); sp.start < size {
			put = append(put, sp.part(sp.start, size))
		}
		s.replace(i, spanPos{len(s.chunks), 0}, put)
		s.size = size
		return
	}
	for s.size < size {
		hole := keepio.Segment{Len: uint32(min(size-s.size, math.MaxUint32))}
		end := spanPos{len(s.chunks), 0}
		if s.n > 0 && joins(s.get(s.prev(end)).Segment, hole) {
			p := s.prev(end)
			s.chunks[p.c][p.i].Len += hole.Len
			s.holes += int64(hole.Len)
		} else {
			s.replace(end, end, []span{{s.size, hole}})
		}
		s.size += int64(hole.Len)
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
