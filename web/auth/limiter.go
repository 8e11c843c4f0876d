package auth

import (
	"sync"
	"time"
)

// How many failed logins are free, and how often one more is allowed after that.
const (
	addrBurst  = 10
	addrEvery  = 6 * time.Second
	userBurst  = 50
	userEvery  = 2 * time.Second
	maxBuckets = 1 << 16
)

// A limiter counts failures by key, as leaky buckets.
type limiter struct {
	burst int
	every time.Duration

	mu      sync.Mutex           // guards full
	full    map[string]time.Time // when the bucket will have leaked out
	maximum int
}

func newLimiter(burst int, every time.Duration) *limiter {
	return &limiter{burst: burst, every: every, full: map[string]time.Time{}, maximum: maxBuckets}
}

// wait says how long key has to wait before it may try again; 0: not at all.
func (l *limiter) wait(key string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	empty, ok := l.full[key]
	if !ok {
		return 0
	}
	over := empty.Sub(now) - time.Duration(l.burst-1)*l.every
	return max(over, 0)
}

// fail counts a failure of key.
func (l *limiter) fail(key string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.full) >= l.maximum {
		l.dropLocked(now)
	}
	empty := l.full[key]
	if empty.Before(now) {
		empty = now
	}
	empty = empty.Add(l.every)
	if limit := now.Add(time.Duration(l.burst) * l.every); empty.After(limit) {
		empty = limit
	}
	l.full[key] = empty
}

// dropLocked makes room: what has leaked out goes, and when that is not enough,
// everything. l.mu must be held.
func (l *limiter) dropLocked(now time.Time) {
	for k, empty := range l.full {
		if empty.Before(now) {
			delete(l.full, k)
		}
	}
	if len(l.full) >= l.maximum {
		clear(l.full)
	}
}
