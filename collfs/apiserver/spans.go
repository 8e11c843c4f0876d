package apiserver

import (
	"encoding/binary"
	"slices"

	"github.com/zeebo/xxh3"

	"keepdav/collfs"
	"keepdav/keepio"
)

// A span is a part of a stored block.
type span struct {
	hash     [16]byte
	off, len uint32
}

// appendSpans appends what segs are made of when they are printed and read again:
// spans that touch are one, whatever their handles. A block without a locator, and
// a hole, has no hash.
func appendSpans(out []span, segs []keepio.Segment) []span {
	start := len(out)
	for _, s := range segs {
		if s.Len == 0 {
			continue
		}
		sp := span{off: s.Off, len: s.Len}
		if s.Block != nil {
			sp.hash, _, _ = s.Block.Name()
		}
		if n := len(out); n > start {
			if last := &out[n-1]; last.hash == sp.hash && last.off+last.len == sp.off && s.Block != nil && uint64(last.len)+uint64(sp.len) < 1<<32 {
				last.len += sp.len
				continue
			}
		}
		out = append(out, sp)
	}
	return out
}

// sameSpans reports whether two contents are made of the same spans of the same
// blocks.
func sameSpans(a, b []keepio.Segment) bool {
	if slices.Equal(a, b) {
		return true
	}
	open := func(s keepio.Segment) bool {
		if s.Block == nil {
			return false
		}
		_, _, ok := s.Block.Stored()
		return !ok
	}
	if slices.ContainsFunc(a, open) || slices.ContainsFunc(b, open) {
		return false
	}
	return slices.Equal(appendSpans(nil, a), appendSpans(nil, b))
}

// spansID is the id that a content gets when it is read from a manifest.
func spansID(segs []keepio.Segment) collfs.ContentID {
	spans := appendSpans(nil, segs)
	if len(spans) == 0 {
		return collfs.EmptyID
	}
	buf := make([]byte, 0, 24*len(spans))
	for _, s := range spans {
		buf = append(buf, s.hash[:]...)
		buf = binary.LittleEndian.AppendUint32(buf, s.off)
		buf = binary.LittleEndian.AppendUint32(buf, s.len)
	}
	return xxh3.Hash128(buf).Bytes()
}
