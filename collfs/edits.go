package collfs

import (
	"crypto/rand"
	"slices"

	"keepdav/keepio"
)

// edits is what handles have changed of a file since it was settled: for telling
// the catalog of that and not of all its segments.
type edits struct {
	before int64 // the size of the file then
	low    int64 // its smallest size since
	ranges []editRange
	many   bool // ranges isn't kept any more
}

// An editRange is bytes from up to, not including, to. Ranges are sorted and do
// not touch.
type editRange struct{ from, to int64 }

// maxEdits is how many ranges are kept apart. A file of which more was changed is
// put as a whole.
const maxEdits = 64

// add notes that bytes were written.
func (e *edits) add(from, to int64) {
	if e.many {
		return
	}
	i, _ := slices.BinarySearchFunc(e.ranges, from, func(r editRange, at int64) int {
		if r.to < at {
			return -1
		}
		return 1
	})
	j := i
	for j < len(e.ranges) && e.ranges[j].from <= to {
		from, to = min(from, e.ranges[j].from), max(to, e.ranges[j].to)
		j++
	}
	e.ranges = slices.Replace(e.ranges, i, j, editRange{from, to})
	if len(e.ranges) > maxEdits {
		e.ranges, e.many = nil, true
	}
}

// changes returns what makes the file, whose content is in s, what it is, from
// what it was: put, or patches where these are much less.
func (e *edits) changes(s *spans, put change) []change {
	full := []change{put}
	if e.many || s.n < 8 {
		return full
	}
	var patches []change
	size, segs := e.before, 0
	add := func(off int64, part []keepio.Segment, to int64) {
		segs += len(part) + 1
		size = to
		ch := change{Op: put.Op, was: put.was, full: put.Content, also: put.also}
		ch.Kind, ch.Off, ch.Content = OpPatch, off, Content{Size: to, Segments: part}
		if k := len(patches); k > 0 {
			_, _ = rand.Read(patches[k-1].Content.ID[:])
			ch.Old, ch.was = patches[k-1].Content.ID, put.Attr
		}
		patches = append(patches, ch)
	}
	if e.low < e.before {
		add(0, nil, e.low)
	}
	for _, r := range e.ranges {
		if r.to = min(r.to, s.size); r.from >= r.to {
			continue
		}
		var part []keepio.Segment
		for _, sp := range s.read(r.from, r.to-r.from) {
			part = append(part, sp.Segment)
		}
		add(r.from, part, max(size, r.to))
	}
	if size != s.size || len(patches) == 0 {
		add(0, nil, s.size)
	}
	if 2*segs > s.n {
		return full
	}
	patches[len(patches)-1].Content.ID = put.Content.ID
	return patches
}

// truncate cuts or lengthens the file.
func (o *openFile) truncate(size int64) {
	o.spans.truncate(size)
	o.edits.low = min(o.edits.low, size)
}
