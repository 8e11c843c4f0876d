package davfs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"keepdav/keepio"
)

const (
	// maxSideRoom is how many bytes of side files are in memory at once. A side
	// file of more than smallSide leaves a quarter of it to others: nearly all are
	// small, and a few that come or go slowly must not be in their way.
	maxSideRoom = 4 * maxSideFile
	smallSide   = 1 << 20
	// sidePatience is how long a reader waits for room.
	sidePatience = 10 * time.Second
)

// sideRoom bounds the memory of side files. Who has some does not wait for more.
type sideRoom struct {
	mu    sync.Mutex // guards the fields below
	used  int64
	freed chan struct{} // closed when some is given back; nil: nobody waits
}

var errNoRoom = fmt.Errorf("too many side files are under way: %w", keepio.ErrUnavailable)

// try counts n bytes more if there is room for them.
func (r *sideRoom) try(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tryLocked(n)
}

func (r *sideRoom) tryLocked(n int64) bool {
	limit := int64(maxSideRoom)
	if n > smallSide {
		limit -= limit / 4
	}
	if r.used+n > limit {
		return false
	}
	r.used += n
	return true
}

// take counts n bytes, waiting for room.
func (r *sideRoom) take(ctx context.Context, n int64) error {
	if r.try(n) {
		return nil
	}
	patience := time.NewTimer(sidePatience)
	defer patience.Stop()
	for {
		r.mu.Lock()
		if r.tryLocked(n) {
			r.mu.Unlock()
			return nil
		}
		if r.freed == nil {
			r.freed = make(chan struct{})
		}
		freed := r.freed
		r.mu.Unlock()
		select {
		case <-freed:
		case <-patience.C:
			return errNoRoom
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// give gives n bytes back.
func (r *sideRoom) give(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
	if r.freed != nil {
		close(r.freed)
		r.freed = nil
	}
}
