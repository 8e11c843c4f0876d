package collfs

import (
	"context"
	"sync"

	"keepdav/keepio"
)

const (
	// A reader has to read followFrom bytes, each piece after the other, before
	// the blocks that come next are got ahead of it. Then they are got up to
	// followFactor times as far ahead as it has come, but at most followMost.
	followFrom   = 256 << 10
	followFactor = 32
	followMost   = 2 * keepio.BlockSize

	// followBlocks bounds the blocks got ahead where they are small.
	followBlocks = 16

	// followSlack is how far from each other the ends of reads may lie that
	// follow each other: the kernel has several on their way at once.
	followSlack = 4 << 20
)

// A follower watches where one open file is read. While the reads follow each
// other it has the spool get the blocks that come next. Its methods may be called
// concurrently, also on a nil follower, which does nothing.
type follower struct {
	ahead *keepio.Ahead

	mu   sync.Mutex // guards the fields below
	next int64      // where a reader that goes on does so
	run  int64      // bytes that were read one after the other
	look int64      // when next gets there it is time to look ahead again
}

// newFollower returns nil where nothing has to be got ahead.
func newFollower(s Spool) *follower {
	a := s.NewAhead()
	if a == nil {
		return nil
	}
	return &follower{ahead: a}
}

// note says that n bytes are read at off. If it is time to look ahead it returns
// the span in which blocks are to be got.
func (f *follower) note(off, n int64) (from, length int64) {
	if f == nil {
		return 0, 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if off < f.next-followSlack || off > f.next+followSlack {
		stop := f.run >= followFrom
		f.next, f.run, f.look = off+n, n, 0
		if stop && n < followFrom {
			return off, 1 // nothing beyond is wanted any more
		}
	} else {
		f.next, f.run = max(f.next, off+n), f.run+n
	}
	if f.run < followFrom || f.next < f.look {
		return 0, 0
	}
	window := int64(followMost)
	if f.run < followMost/followFactor {
		window = f.run * followFactor
	}
	f.look = f.next + window/8
	from = f.next - n
	return from, window + n
}

// want has the blocks got that hold parts: the spans that note asked for.
func (f *follower) want(ctx context.Context, parts []span) {
	if f == nil {
		return
	}
	var blocks []*keepio.Block
	var last *keepio.Block
	for _, sp := range parts {
		if sp.Block == nil || sp.Block == last {
			continue
		}
		if last = sp.Block; len(blocks) < followBlocks {
			blocks = append(blocks, last)
		}
	}
	if len(blocks) > 0 {
		// The first is about to be read: what has begun to get it must not end now.
		f.ahead.Want(ctx, blocks)
	}
}

// close ends what is got ahead.
func (f *follower) close() {
	if f != nil {
		f.ahead.Close()
	}
}
