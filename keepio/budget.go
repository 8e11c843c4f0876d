package keepio

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A budget bounds the bytes that wait to be stored.
type budget struct {
	limit   int64         // above it appends wait
	reserve int64         // repacking may go beyond limit by so much
	patient time.Duration // how long an append waits while storing fails
	relieve func()        // called, without mu, by one who has to wait: make room
	trouble func() error  // why storing does not get on, if it does not

	mu      sync.Mutex // guards the fields below
	used    int64
	waiting int
	freed   signal
}

// acquire counts n bytes, after waiting for room. There is always room for one
// append.
func (b *budget) acquire(ctx context.Context, n int64, reserve bool) error {
	limit := b.limit
	if reserve {
		limit += b.reserve
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used == 0 || b.used+n <= limit {
		b.used += n
		return nil
	}
	return b.waitLocked(ctx, n, limit)
}

// waitLocked waits until n bytes fit.
func (b *budget) waitLocked(ctx context.Context, n, limit int64) error {
	patience := time.NewTimer(b.patient)
	defer patience.Stop()
	b.waiting++
	defer func() { b.waiting-- }()
	for b.used != 0 && b.used+n > limit {
		freed := b.freed.wait()
		b.mu.Unlock()
		b.relieve()
		var err error
		select {
		case <-freed:
		case <-ctx.Done():
			err = ctx.Err()
		case <-patience.C:
			if cause := b.trouble(); cause != nil {
				err = fmt.Errorf("too much data waits to be stored: %w", cause)
			}
			patience.Reset(b.patient)
		}
		b.mu.Lock()
		if err != nil {
			return err
		}
	}
	b.used += n
	return nil
}

// add counts bytes that are there already.
func (b *budget) add(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += n
}

// release gives back n bytes.
func (b *budget) release(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	b.freed.fire()
}

// load reports how many bytes are counted and whether somebody waits or will
// soon.
func (b *budget) load() (used int64, tight bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used, b.waiting > 0 || b.used > b.limit/2
}
