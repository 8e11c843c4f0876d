package dav

import (
	"container/heap"
	"context"
	"slices"
	"strings"
	"time"
)

// coversLocked reports whether e covers p. m.mu must be held.
func (m *Locks) coversLocked(e *lockEntry, p LockPlace) bool {
	if m.tokens[e.Token] != e || !e.Expires.After(time.Now()) {
		return false
	}
	at := e.Place
	if at.Tree == p.Tree && (at.Path == p.Path || e.Infinite && within(p.Path, at.Path)) {
		return true
	}
	for a := p.Above; a != nil && e.Infinite; a = a.Above {
		if at.Tree == a.Tree && within(a.Path, at.Path) {
			return true
		}
	}
	return false
}

// coveringLocked calls f for each live lock that covers p: those on p, and those
// of infinite depth above it. f returns false to stop. m.mu must be held.
func (m *Locks) coveringLocked(p LockPlace, f func(*lockEntry) bool) {
	if len(m.tokens) == 0 {
		return
	}
	now := time.Now()
	visit := func(key string, self bool) bool {
		es, _ := m.places.Get(key)
		for _, e := range es {
			if (self || e.Infinite) && e.Expires.After(now) && !f(e) {
				return false
			}
		}
		return true
	}
	chain := func(tree, path string, self bool) bool {
		key := placeKey(tree, path)
		root := len(tree) + len("\x00/")
		for {
			if !visit(key, self) {
				return false
			}
			if len(key) == root {
				return true
			}
			key, self = key[:strings.LastIndexByte(key[:len(key)-1], '/')+1], false
		}
	}
	more := chain(p.Tree, p.Path, true)
	for a := p.Above; a != nil && more; a = a.Above {
		more = chain(a.Tree, a.Path, false)
	}
}

// belowLocked calls f for each live lock strictly below p. m.mu must be held,
// and f must not change the table.
func (m *Locks) belowLocked(p LockPlace, f func(*lockEntry) bool) {
	if m.membersLocked(p, f) {
		eachLive(m.inside[placeKey(p.Tree, p.Path)], f)
	}
}

// membersLocked is belowLocked without the trees that lie in p's. It reports
// whether f wants more.
func (m *Locks) membersLocked(p LockPlace, f func(*lockEntry) bool) bool {
	more := true
	key := placeKey(p.Tree, p.Path)
	m.places.Ascend(key, func(k string, es []*lockEntry) bool {
		if !strings.HasPrefix(k, key) {
			return false
		}
		more = k == key || eachLive(es, f)
		return more
	})
	return more
}

// eachLive calls f for each lock that has not expired, until it returns false.
func eachLive(es []*lockEntry, f func(*lockEntry) bool) bool {
	now := time.Now()
	for _, e := range es {
		if e.Expires.After(now) && !f(e) {
			return false
		}
	}
	return true
}

func (m *Locks) addLocked(e *lockEntry) {
	e.number = m.last.Add(1)
	m.tokens[e.Token] = e
	m.count.Add(1)
	m.perUser[e.User] += e.weight()
	if e.Place.isProject() {
		m.wide.Add(1)
	}
	key := placeKey(e.Place.Tree, e.Place.Path)
	es, _ := m.places.Get(key)
	m.places.Set(key, append(slices.Clip(es), e))
	for a := e.Place.Above; a != nil; a = a.Above {
		key := placeKey(a.Tree, a.Path)
		m.inside[key] = append(m.inside[key], e)
	}
	heap.Push(&m.expiry, e)
}

func (m *Locks) dropLocked(e *lockEntry) {
	if m.tokens[e.Token] != e {
		return
	}
	delete(m.tokens, e.Token)
	m.count.Add(-1)
	if m.perUser[e.User] -= e.weight(); m.perUser[e.User] == 0 {
		delete(m.perUser, e.User)
	}
	if e.Place.isProject() {
		m.wide.Add(-1)
	}
	isE := func(x *lockEntry) bool { return x == e }
	key := placeKey(e.Place.Tree, e.Place.Path)
	if es, _ := m.places.Get(key); len(es) > 1 {
		m.places.Set(key, slices.DeleteFunc(slices.Clone(es), isE))
	} else {
		m.places.Delete(key)
	}
	for a := e.Place.Above; a != nil; a = a.Above {
		key := placeKey(a.Tree, a.Path)
		if m.inside[key] = slices.DeleteFunc(m.inside[key], isE); len(m.inside[key]) == 0 {
			delete(m.inside, key)
		}
	}
	heap.Remove(&m.expiry, e.heapIndex)
}

// expireLocked takes out the locks whose time is over. The caller forgets them
// in the store after releasing m.mu.
func (m *Locks) expireLocked() (dead []*lockEntry) {
	now := time.Now()
	for len(m.expiry) > 0 && !m.expiry[0].Expires.After(now) {
		e := m.expiry[0]
		m.dropLocked(e)
		dead = append(dead, e)
	}
	return dead
}

// forget removes locks from the store. A failure is harmless: they are out of
// the table, and what the store still has expires by itself.
func (m *Locks) forget(ctx context.Context, dead []*lockEntry) {
	if m.conf.Store == nil {
		return
	}
	for _, e := range dead {
		_ = m.conf.Store.Remove(context.WithoutCancel(ctx), e.Token)
	}
}

// lockHeap is a container/heap of locks by expiry.
type lockHeap []*lockEntry

func (h lockHeap) Len() int           { return len(h) }
func (h lockHeap) Less(i, j int) bool { return h[i].Expires.Before(h[j].Expires) }
func (h lockHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapIndex, h[j].heapIndex = i, j
}
func (h *lockHeap) Push(x any) {
	e := x.(*lockEntry)
	e.heapIndex = len(*h)
	*h = append(*h, e)
}
func (h *lockHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
