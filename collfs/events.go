package collfs

import (
	"slices"
	"sync"
)

// A Notice says that something in a collection isn't what it was. It is
// published when the change can be seen, and no lock is held.
type Notice struct {
	Collection UUID
	Path       string // what changed, came or went
	Tree       bool   // and perhaps all below it; if Path is "", whatever anybody holds has a notice of its own
	Conflict   string // if a merge put another's version of Path beside it: under this path
	At         Key    // the file or directory that changed, if anybody holds it
	In         Key    // the directory that the last name of Path came to or went from, if anybody holds it

	by *View
}

// A View is one of those who see the collections of an FS and change them, such
// as a mount. Changes that are made by its Refs and their handles aren't told to
// itself.
type View struct {
	fs     *FS
	notify func(Notice)
}

// subscribers are those who want notices.
type subscribers struct {
	tell sync.Mutex // held while notices are delivered; comes before mu
	mu   sync.Mutex // guards the field below
	all  []*View
}

// Subscribe calls notify for each change, in the order of the changes of each
// collection, until stop is called; stop waits for a notify under way. notify
// must not block nor call the FS.
func (f *FS) Subscribe(notify func(Notice)) (stop func()) {
	return f.NewView(notify).Close
}

// NewView returns a view that is told of the changes of others; see Subscribe. End
// it with Close.
func (f *FS) NewView(notify func(Notice)) *View {
	v := &View{fs: f, notify: notify}
	s := &f.subscribers
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(slices.Clip(s.all), v)
	f.heardLocked()
	return v
}

// heardLocked notes who listens. subscribers.mu must be held.
func (f *FS) heardLocked() {
	f.subscribed.Store(int32(len(f.subscribers.all)))
	var only *View
	if len(f.subscribers.all) == 1 {
		only = f.subscribers.all[0]
	}
	f.onlyView.Store(only)
}

// Close ends the notices. It waits for one under way.
func (v *View) Close() {
	s := &v.fs.subscribers
	s.tell.Lock()
	defer s.tell.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(slices.Clone(s.all), func(w *View) bool { return w == v })
	v.fs.heardLocked()
}

// heardLocked reports whether anybody is told of the change under way. c.mu must
// be held.
func (c *Collection) heardLocked() bool {
	return c.fs.subscribed.Load() > 0 && (c.by == nil || c.fs.onlyView.Load() != c.by)
}

// noteLocked keeps a notice for publish. c.mu must be held.
func (c *Collection) noteLocked(n Notice) {
	if c.heardLocked() {
		n.Collection, n.by = c.key.id, c.by
		c.notices = append(c.notices, n)
	}
}

// publish delivers the notices of what was changed. No lock may be held.
func (c *Collection) publish() {
	if c.fs.subscribed.Load() == 0 {
		return
	}
	c.mu.RLock()
	none := len(c.notices) == 0
	c.mu.RUnlock()
	if none {
		return
	}
	s := &c.fs.subscribers
	s.tell.Lock()
	defer s.tell.Unlock()
	c.mu.Lock()
	notices := c.notices
	c.notices = nil
	c.mu.Unlock()
	s.mu.Lock()
	all := s.all
	s.mu.Unlock()
	for _, n := range notices {
		for _, v := range all {
			if n.by == nil || n.by != v {
				v.notify(n)
			}
		}
	}
}

// notify takes an event of the catalog. It only keeps it for follow, the latest
// of each collection that is loaded.
func (f *FS) notify(e Event) {
	f.mu.Lock()
	if s := f.loaded[slotKey{id: e.UUID}]; s != nil {
		old := f.events[e.UUID]
		e.Revision = max(e.Revision, old.Revision)
		switch {
		case old.Kind == Untrashed && e.Kind != Trashed && e.Kind != Deleted, // these say more than what came after
			old.Kind != 0 && e.Kind == ContentChanged:
			e.Kind = old.Kind
		}
		f.events[e.UUID] = e
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// follow refreshes what events say has changed. An echo of a commit of our own
// is known by its revision and costs nothing.
func (f *FS) follow() {
	for {
		select {
		case <-f.wake:
		case <-f.work.Done():
			return
		}
		f.mu.Lock()
		events := f.events
		f.events = make(map[UUID]Event)
		var cs []*Collection
		for id := range events {
			s := f.loaded[slotKey{id: id}]
			if s == nil {
				continue
			}
			if s.c == nil { // being loaded: look again later
				f.events[id] = events[id]
				f.wg.Go(func() {
					<-s.ready
					select {
					case f.wake <- struct{}{}:
					default:
					}
				})
				continue
			}
			s.c.pins.Add(1)
			cs = append(cs, s.c)
		}
		f.mu.Unlock()
		for _, c := range cs {
			f.followOne(c, events[c.key.id])
			c.Release()
		}
	}
}

func (f *FS) followOne(c *Collection, e Event) {
	if e.Kind != ContentChanged {
		c.mu.Lock()
		c.recordEvents++
		c.absorbed = c.absorbed && e.Kind != Untrashed
		c.deleted = e.Kind == Deleted
		c.mu.Unlock()
	}
	if c.revision() >= e.Revision {
		return
	}
	if err := c.refresh(f.work, e.Revision); err != nil && f.work.Err() == nil {
		f.cfg.Log.Warn().Err(err).Str("collection", string(c.key.id)).Msg("refresh after a change elsewhere failed")
	}
}
