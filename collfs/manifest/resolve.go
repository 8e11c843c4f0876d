package manifest

import (
	"fmt"
	"sort"
)

// A Span is a part of one of a stream's blocks.
type Span struct {
	Block          int // index into Stream.Locators
	Offset, Length int64
}

// Resolve appends to spans those parts of s's blocks that make up the size
// bytes from pos on, in order, none of them empty: so no bytes are no spans.
// It fails if they are not all within the stream, which is so for no file of a stream
// that was read. Resolve may be called concurrently.
func (s *Stream) Resolve(spans []Span, pos, size int64) ([]Span, error) {
	ends := s.blockEnds()
	var total int64
	if len(ends) > 0 {
		total = ends[len(ends)-1]
	}
	if pos < 0 || size < 0 || size > total || pos > total-size {
		return spans, fmt.Errorf("%w: segment %d:%d past the end of a stream of %d bytes", ErrMalformed, pos, size, total)
	}
	if size == 0 {
		return spans, nil
	}
	// Empty blocks end where they begin, so the first block that ends after pos has pos.
	for i := sort.Search(len(ends), func(i int) bool { return ends[i] > pos }); size > 0; i++ {
		var start int64
		if i > 0 {
			start = ends[i-1]
		}
		n := min(size, ends[i]-pos)
		if n == 0 {
			continue
		}
		spans = append(spans, Span{Block: i, Offset: pos - start, Length: n})
		pos += n
		size -= n
	}
	return spans, nil
}

// blockEnds returns for each locator where its block ends in the stream.
func (s *Stream) blockEnds() []int64 {
	if len(s.ends) == len(s.Locators) {
		return s.ends
	}
	ends := make([]int64, 0, len(s.Locators)) // s was not read, but put together
	var end int64
	for _, l := range s.Locators {
		end += l.Size()
		ends = append(ends, end)
	}
	return ends
}
