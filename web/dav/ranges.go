package dav

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"math"
	"strconv"
	"strings"
)

// A Span is a range of bytes of a representation.
type Span struct{ Off, Len int64 }

// contentRange is the span as a Content-Range header of a whole of size bytes.
func (s Span) contentRange(size int64) string {
	b := make([]byte, 0, 64)
	b = append(b, "bytes "...)
	b = strconv.AppendInt(b, s.Off, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, s.Off+s.Len-1, 10)
	b = append(b, '/')
	return string(strconv.AppendInt(b, size, 10))
}

// maxRanges is how many ranges of one request are honoured; a request for more
// gets the whole, as one for overlapping ranges does.
const maxRanges = 64

var (
	errUnsatisfiable = errors.New("no part of the range exists")
	errBadRange      = errors.New("the range is malformed")
)

// ParseRange reads a Range header for a representation of size bytes. No spans
// and no error means: serve the whole. errUnsatisfiable is 416. A unit other
// than bytes and a malformed header are ignored, as RFC 9110 §14.2 has it.
func ParseRange(s string, size int64) ([]Span, error) {
	spec, ok := cutFoldPrefix(strings.TrimSpace(s), "bytes=")
	if !ok || size == 0 {
		return nil, nil // an empty file is sent whole: some clients ask for a range each time
	}
	var spans []Span
	var sum int64
	n := 0
	for part := range strings.SplitSeq(spec, ",") {
		part = strings.Trim(part, " \t")
		if part == "" {
			continue
		}
		if n++; n > maxRanges {
			return nil, nil
		}
		sp, ok, err := parseSpan(part, size)
		if err != nil {
			return nil, nil
		}
		if !ok {
			continue
		}
		spans = append(spans, sp)
		sum += sp.Len
		if sum > size {
			return nil, nil // overlapping: the whole is less work for both
		}
	}
	switch {
	case n == 0:
		return nil, nil
	case len(spans) == 0:
		return nil, errUnsatisfiable
	}
	return spans, nil
}

// parseSpan reads one of "a-b", "a-" and "-n". ok is false when no byte of it
// exists.
func parseSpan(part string, size int64) (sp Span, ok bool, err error) {
	first, last, found := strings.Cut(part, "-")
	if !found {
		return Span{}, false, errBadRange
	}
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	if first == "" {
		n, err := parseOffset(last)
		if err != nil {
			return Span{}, false, err
		}
		n = min(n, size)
		return Span{Off: size - n, Len: n}, n > 0, nil
	}
	a, err := parseOffset(first)
	if err != nil {
		return Span{}, false, err
	}
	b := int64(math.MaxInt64)
	if last != "" {
		if b, err = parseOffset(last); err != nil || b < a {
			return Span{}, false, errBadRange
		}
	}
	if a >= size {
		return Span{}, false, nil
	}
	return Span{Off: a, Len: min(b, size-1) - a + 1}, true, nil
}

// parseOffset reads digits only: no sign, no space. Numbers beyond int64 are
// cut, since no file reaches there.
func parseOffset(s string) (int64, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, errBadRange
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return math.MaxInt64, nil
	}
	return n, err
}

func cutFoldPrefix(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// byteRanges describes a multipart/byteranges body before it is written, so that
// its length is known.
type byteRanges struct {
	boundary string
	heads    []string // before each span
	tail     string
	length   int64
}

func newByteRanges(spans []Span, ctype string, size int64) byteRanges {
	var rnd [16]byte
	rand.Read(rnd[:]) // never fails
	m := byteRanges{boundary: hex.EncodeToString(rnd[:])}
	for i, sp := range spans {
		head := "--" + m.boundary + "\r\nContent-Type: " + ctype + "\r\nContent-Range: " + sp.contentRange(size) + "\r\n\r\n"
		if i > 0 {
			head = "\r\n" + head
		}
		m.heads = append(m.heads, head)
		m.length += int64(len(head)) + sp.Len
	}
	m.tail = "\r\n--" + m.boundary + "--\r\n"
	m.length += int64(len(m.tail))
	return m
}

func (m byteRanges) contentType() string { return "multipart/byteranges; boundary=" + m.boundary }

// A PartWrite says where the body of a partial write goes.
type PartWrite struct {
	Off    int64
	Len    int64 // bytes of the body, -1 when the header doesn't say
	Size   int64 // size of the whole that the client stated, -1 when it didn't
	Append bool  // at the end, wherever that is
	Suffix bool  // Off counts back from the end
}

// ParseContentRange reads the Content-Range header of a PUT: "bytes a-b/size"
// or "bytes a-b/*".
func ParseContentRange(s string) (PartWrite, error) {
	spec, ok := cutFoldPrefix(strings.TrimSpace(s), "bytes")
	if !ok || spec == "" || (spec[0] != ' ' && spec[0] != '=') {
		return PartWrite{}, errBadRange
	}
	rng, total, ok := strings.Cut(strings.TrimSpace(spec[1:]), "/")
	if !ok {
		return PartWrite{}, errBadRange
	}
	first, last, ok := strings.Cut(rng, "-")
	if !ok {
		return PartWrite{}, errBadRange
	}
	a, err1 := parseOffset(strings.TrimSpace(first))
	b, err2 := parseOffset(strings.TrimSpace(last))
	if err1 != nil || err2 != nil || b < a || b == math.MaxInt64 {
		return PartWrite{}, errBadRange
	}
	w := PartWrite{Off: a, Len: b - a + 1, Size: -1}
	if total = strings.TrimSpace(total); total != "*" {
		if w.Size, err1 = parseOffset(total); err1 != nil || b >= w.Size || w.Size == math.MaxInt64 {
			return PartWrite{}, errBadRange
		}
	}
	return w, nil
}

// ParseUpdateRange reads the X-Update-Range header of SabreDAV's PATCH:
// "append", "bytes=a-b", "bytes=a-" or "bytes=-n", the last n bytes.
func ParseUpdateRange(s string) (PartWrite, error) {
	s = strings.TrimSpace(s)
	if strings.EqualFold(s, "append") {
		return PartWrite{Len: -1, Size: -1, Append: true}, nil
	}
	spec, ok := cutFoldPrefix(s, "bytes=")
	if !ok {
		return PartWrite{}, errBadRange
	}
	first, last, ok := strings.Cut(spec, "-")
	if !ok {
		return PartWrite{}, errBadRange
	}
	w := PartWrite{Len: -1, Size: -1}
	var err error
	if first == "" {
		w.Suffix = true
		w.Off, err = parseOffset(last)
		return w, err
	}
	if w.Off, err = parseOffset(first); err != nil || w.Off == math.MaxInt64 {
		return PartWrite{}, errBadRange
	}
	if last != "" {
		b, err := parseOffset(last)
		if err != nil || b < w.Off || b == math.MaxInt64 {
			return PartWrite{}, errBadRange
		}
		w.Len = b - w.Off + 1
	}
	return w, nil
}
