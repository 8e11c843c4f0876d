package davfs

import (
	"container/list"
	"context"
	"sync"

	"keepdav/collfs"
)

// sumCache remembers whole-file checksums by content id, which says all about
// the content. The least recently used go first.
type sumCache struct {
	mu    sync.Mutex // guards the fields below
	sums  map[sumKey]*list.Element
	order *list.List               // of sumEntry; the front was used last
	busy  map[sumKey]chan struct{} // closed when the sum is made, or has failed
}

type sumKey struct {
	id        collfs.ContentID
	algorithm string
}

type sumEntry struct {
	key sumKey
	hex string
}

const maxSums = 100_000

func (c *sumCache) init() {
	c.sums, c.order, c.busy = map[sumKey]*list.Element{}, list.New(), map[sumKey]chan struct{}{}
}

// sum returns a sum that it remembers, or makes it. One of several callers makes
// it, the others wait; if it fails the next one tries.
func (c *sumCache) sum(ctx context.Context, key sumKey, make func() (string, error)) (string, error) {
	for {
		hex, busy, finish := c.turn(key)
		switch {
		case hex != "":
			return hex, nil
		case finish != nil:
			hex, err := make()
			finish(hex, err)
			return hex, err
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// turn returns the sum, or whom to wait for, or finish: then it is the caller's
// turn to make it.
func (c *sumCache) turn(key sumKey) (hex string, busy <-chan struct{}, finish func(string, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.sums[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(sumEntry).hex, nil, nil
	}
	if ch, ok := c.busy[key]; ok {
		return "", ch, nil
	}
	ch := make(chan struct{})
	c.busy[key] = ch
	return "", nil, func(hex string, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.busy, key)
		close(ch)
		if err != nil {
			return
		}
		c.sums[key] = c.order.PushFront(sumEntry{key, hex})
		for len(c.sums) > maxSums {
			last := c.order.Back()
			c.order.Remove(last)
			delete(c.sums, last.Value.(sumEntry).key)
		}
	}
}
