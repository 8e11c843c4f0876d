package keepio

import (
	"fmt"
	"sync/atomic"
	"time"
)

const (
	defaultKeepFree = 32 << 20
	roomCheckBytes  = 4 << 20         // the disk is asked again after so many bytes,
	roomCheckTime   = 1 * time.Second // or so long
)

// A room keeps some of the disk free, so that the catalog can still write down
// deletes when uploads have filled the rest.
type room struct {
	keep int64 // negative: nothing
	free func() (free, total int64, _ error)

	left atomic.Int64 // bytes until the disk is asked again
	next atomic.Int64 // when it is, in Unix nanoseconds
	full atomic.Bool  // what it said
}

// take asks for n bytes. What is not sure is allowed: the write will tell.
func (r *room) take(n int64) error {
	if r.keep < 0 {
		return nil
	}
	if now := time.Now().UnixNano(); r.left.Add(-n) < 0 || r.full.Load() || now > r.next.Load() {
		r.left.Store(roomCheckBytes)
		r.next.Store(now + int64(roomCheckTime))
		free, total, err := r.free()
		r.full.Store(err == nil && free-n < min(r.keep, total/16))
	}
	if r.full.Load() {
		return fmt.Errorf("%w: what is left is kept for deletes", ErrFull)
	}
	return nil
}
