package eventbus

import (
	"context"
	"sync"
	"time"

	"keepdav/collfs"
)

const (
	// hashWait is how long an event waits for the data hash of its collection; then it
	// goes without.
	hashWait = 2 * time.Second
	// hashRest says how rarely the hash of a large collection is computed: after it
	// has taken some time, not for so many times as long.
	hashRest = 4
	// hashCheap is what counts for nothing.
	hashCheap  = 10 * time.Millisecond
	hashLanes  = 2
	maxHashing = 10_000
)

// A hasher has data hashes computed that nobody has asked for yet, and remembers
// those that events told.
type hasher struct {
	ctx   context.Context
	pdh   func(ctx context.Context, id collfs.UUID) (collfs.PDH, error)
	wg    *sync.WaitGroup
	lanes chan struct{} // holds one for each hash that is computed

	mu    sync.Mutex // guards the fields below
	about map[collfs.UUID]*hashed
}

type hashed struct {
	told collfs.PDH    // by the last event; "": not known
	busy chan struct{} // closed when what is being computed is; nil: nothing is
	next time.Time     // not to be computed before
}

func newHasher(ctx context.Context, pdh func(context.Context, collfs.UUID) (collfs.PDH, error), wg *sync.WaitGroup) *hasher {
	return &hasher{ctx: ctx, pdh: pdh, wg: wg, lanes: make(chan struct{}, hashLanes), about: make(map[collfs.UUID]*hashed)}
}

// entryLocked returns what is known about a collection. h.mu must be held.
func (h *hasher) entryLocked(id collfs.UUID) *hashed {
	a := h.about[id]
	if a == nil {
		if len(h.about) >= maxHashing {
			for other, a := range h.about {
				if a.busy == nil {
					delete(h.about, other)
				}
			}
		}
		a = new(hashed)
		h.about[id] = a
	}
	return a
}

// told returns the hash that the last event of a collection told, and notes the
// one that this event tells.
func (h *hasher) tell(id collfs.UUID, is collfs.PDH) (was collfs.PDH) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.entryLocked(id)
	was, a.told = a.told, is
	return was
}

// forget says that a change of a collection was told to nobody.
func (h *hasher) forget(id collfs.UUID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.about[id]; a != nil {
		a.told = ""
	}
}

// forgetAll is forget for all collections.
func (h *hasher) forgetAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.about {
		a.told = ""
	}
}

// compute has the hash of a collection computed, so that its record tells it, and
// waits for that, within bounds.
func (h *hasher) compute(id collfs.UUID) {
	if h.pdh == nil {
		return
	}
	h.mu.Lock()
	a := h.entryLocked(id)
	if a.busy == nil {
		if time.Now().Before(a.next) {
			h.mu.Unlock()
			return
		}
		a.busy = make(chan struct{})
		h.wg.Go(func() { h.run(id, a) })
	}
	busy := a.busy
	h.mu.Unlock()
	timer := time.NewTimer(hashWait)
	defer timer.Stop()
	select {
	case <-busy:
	case <-timer.C:
	case <-h.ctx.Done():
	}
}

func (h *hasher) run(id collfs.UUID, a *hashed) {
	var took time.Duration
	select {
	case h.lanes <- struct{}{}:
		start := time.Now()
		// Without a hash, the event goes without; who asks for the record hears why.
		_, _ = h.pdh(h.ctx, id)
		took = time.Since(start)
		<-h.lanes
	case <-h.ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if took > hashCheap {
		a.next = time.Now().Add(hashRest * took)
	}
	close(a.busy)
	a.busy = nil
}
