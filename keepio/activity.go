package keepio

import (
	"sync/atomic"
	"time"
)

// An activity knows whether requests are served, so that work in the background
// can give way to them.
type activity struct {
	now  atomic.Int64 // requests at work
	last atomic.Int64 // when one ended, in Unix nanoseconds
}

// activityGap is how long after a request the next one is expected.
const activityGap = 20 * time.Millisecond

func (a *activity) enter() { a.now.Add(1) }

func (a *activity) leave() {
	a.last.Store(time.Now().UnixNano())
	a.now.Add(-1)
}

// busy reports whether requests are being served.
func (a *activity) busy() bool { return a.within(activityGap) }

// within reports whether a request was at work less than d ago.
func (a *activity) within(d time.Duration) bool {
	return a.now.Load() > 0 || time.Now().UnixNano()-a.last.Load() < int64(d)
}
