package api

import (
	"context"
	"sync"
	"time"
)

// How many requests a server is asked at once: it begins with startLimit, is
// halved when the server says that it is overloaded, and grows by a tenth with
// each success, but not for holdLimit after it was halved.
const (
	startLimit = 8
	maxLimit   = 64
	holdLimit  = time.Second
)

// A limiter bounds how many requests are under way.
type limiter struct {
	mu      sync.Mutex // guards the fields below
	limit   float64
	running int
	waiting []chan struct{} // closed when its owner may go on
	held    time.Time       // until then the limit neither grows nor is halved again
}

func newLimiter() *limiter { return &limiter{limit: startLimit} }

// acquire waits for a turn. release ends it.
func (l *limiter) acquire(ctx context.Context) error {
	l.mu.Lock()
	if l.running < int(l.limit) {
		l.running++
		l.mu.Unlock()
		return nil
	}
	ready := make(chan struct{})
	l.waiting = append(l.waiting, ready)
	l.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.waiting {
		if w == ready {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			return ctx.Err()
		}
	}
	l.running-- // it got its turn just now
	l.wakeLocked()
	return ctx.Err()
}

// release ends a turn. overloaded is what the server said.
func (l *limiter) release(overloaded, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	switch now := time.Now(); {
	case now.Before(l.held):
	case overloaded:
		l.limit = max(1, l.limit/2)
		l.held = now.Add(holdLimit)
	case ok:
		l.limit = min(maxLimit, l.limit*1.1)
	}
	l.wakeLocked()
}

func (l *limiter) wakeLocked() {
	for len(l.waiting) > 0 && l.running < int(l.limit) {
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
		l.running++
	}
}
