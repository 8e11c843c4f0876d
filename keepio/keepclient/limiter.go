package keepclient

import (
	"container/list"
	"context"
	"sync"
	"time"
)

const (
	startPerHost = 8
	maxPerHost   = 32
	growth       = 0.1         // of the limit, for each success
	cutPause     = time.Second // one burst of refusals cuts the limit once
)

// A limiter bounds the requests of one kind that are under way at one host. The bound halves
// when the host says that it is overloaded and grows with each success.
type limiter struct {
	mu      sync.Mutex // guards the fields below
	limit   float64
	active  int
	lastCut time.Time
	waiting list.List // of chan struct{}, closed when its turn has come
}

func newLimiter() *limiter { return &limiter{limit: startPerHost} }

// acquire waits for a turn. The caller ends it with release.
func (l *limiter) acquire(ctx context.Context) error {
	l.mu.Lock()
	if l.active < int(l.limit) && l.waiting.Len() == 0 {
		l.active++
		l.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	e := l.waiting.PushBack(turn)
	l.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-turn: // it came at the same time: pass it on
		l.active--
		l.wakeLocked()
	default:
		l.waiting.Remove(e)
	}
	return ctx.Err()
}

// release ends a turn. overloaded says that the host refused for lack of
// resources, ok that it did what was asked.
func (l *limiter) release(ok, overloaded bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active--
	switch now := time.Now(); {
	case overloaded && now.Sub(l.lastCut) >= cutPause:
		l.limit, l.lastCut = max(1, l.limit/2), now
	case ok && now.Sub(l.lastCut) >= cutPause:
		l.limit = min(maxPerHost, l.limit*(1+growth))
	}
	l.wakeLocked()
}

// wakeLocked gives free turns to those who wait longest. l.mu must be held.
func (l *limiter) wakeLocked() {
	for l.active < int(l.limit) && l.waiting.Len() > 0 {
		l.active++
		close(l.waiting.Remove(l.waiting.Front()).(chan struct{}))
	}
}

// current is the bound at the moment.
func (l *limiter) current() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.limit)
}
