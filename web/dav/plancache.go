package dav

import (
	"bytes"
	"io"
	"sync"
)

// A planCache remembers what PROPFIND bodies come to: each client has two or
// three that it sends again and again. Plans are not changed once made.
type planCache struct {
	mu    sync.RWMutex // guards plans
	plans map[planKey]*propPlan
}

type planKey struct {
	body             string
	windows, minimal bool
}

// Bodies above this size are parsed each time; past this number of plans the
// cache starts anew.
const (
	maxCachedBody  = 2 << 10
	maxCachedPlans = 256
)

func (c *planCache) get(body []byte, windows, minimal bool) *propPlan {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.plans[planKey{string(body), windows, minimal}]
}

func (c *planCache) put(body []byte, windows, minimal bool, p *propPlan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.plans == nil || len(c.plans) >= maxCachedPlans {
		c.plans = map[planKey]*propPlan{}
	}
	c.plans[planKey{string(body), windows, minimal}] = p
}

// propfindPlan reads the body of a PROPFIND and makes its plan, or finds it.
func (q *request) propfindPlan() (*propPlan, error) {
	cache, minimal := &q.h.plans, q.wantsMinimal()
	if n := q.r.ContentLength; n < 0 || n > maxCachedBody {
		body := q.body()
		pf, err := ParsePropfind(body)
		body.done()
		if err != nil {
			if body.err != nil {
				err = body.failure()
			}
			return nil, err
		}
		return newPropPlan(pf, q.quirks, minimal), nil
	}
	text := make([]byte, q.r.ContentLength)
	if len(text) > 0 {
		body := q.body()
		_, err := io.ReadFull(body, text)
		body.done()
		if err != nil {
			body.err = err
			return nil, body.failure()
		}
	}
	if p := cache.get(text, q.quirks.Windows, minimal); p != nil {
		return p, nil
	}
	pf, err := ParsePropfind(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	p := newPropPlan(pf, q.quirks, minimal)
	cache.put(text, q.quirks.Windows, minimal, p)
	return p, nil
}
