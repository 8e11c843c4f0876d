package keepio

import "sync/atomic"

// An activity counts requests at work.
type activity struct{ n atomic.Int64 }

func (a *activity) enter() (leave func()) {
	a.n.Add(1)
	return a.leave
}

func (a *activity) leave() { a.n.Add(-1) }
