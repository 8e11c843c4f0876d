package apiserver

import (
	"fmt"

	"keepdav/collfs"
	"keepdav/keepio"
)

// segments returns the replace_segments of operations that all give files other
// segments, so that they do nothing to what others change meanwhile; nil if that
// cannot be said so: an old segment would have to become several.
func (k *commit) segments(at locate, ops []collfs.Op) map[string]string {
	out := make(map[string]string)
	for i := range ops {
		op := &ops[i]
		if op.Kind != collfs.OpRepack {
			return nil
		}
		was, err := k.base.tree.Content(op.Path)
		is, err2 := k.plan.next.Content(op.Path)
		if err != nil || err2 != nil || was.Size != is.Size {
			return nil
		}
		for _, pair := range pairs(was.Segments, is.Segments) {
			if pair.from == pair.to {
				continue
			}
			if pair.from.Block == nil || pair.to.Block == nil || pair.from.Len != pair.to.Len {
				return nil
			}
			from, ok := segment(pair.from, nil)
			to, ok2 := segment(pair.to, at)
			if !ok || !ok2 || out[from] != "" && out[from] != to {
				return nil
			}
			out[from] = to
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// segment spells s as replace_segments does; at returns the signed locator, nil: the
// bare one is meant.
func segment(s keepio.Segment, at locate) (string, bool) {
	hash, size, ok := s.Block.Stored()
	if !ok {
		return "", false
	}
	loc := keepio.MakeLocator(hash, int64(size))
	if at != nil {
		var err error
		if loc, err = at(s.Block); err != nil {
			return "", false
		}
	}
	return fmt.Sprintf("%s %d %d", loc, s.Off, s.Len), true
}

// A pair says what becomes of a segment.
type pair struct{ from, to keepio.Segment }

// pairs returns what becomes of each of was, when the same bytes are in is. One that
// would have to become several has a shorter segment as its pair.
func pairs(was, is []keepio.Segment) (out []pair) {
	i, used := 0, uint32(0)
	for _, from := range was {
		if i == len(is) {
			return append(out, pair{from: from})
		}
		to := keepio.Segment{Block: is[i].Block, Off: is[i].Off + used, Len: min(from.Len, is[i].Len-used)}
		if to.Block == nil {
			to.Off = 0
		}
		out = append(out, pair{from, to})
		for rest := from.Len; rest > 0 && i < len(is); {
			n := min(rest, is[i].Len-used)
			rest -= n
			if used += n; used == is[i].Len {
				i, used = i+1, 0
			}
		}
	}
	return out
}
