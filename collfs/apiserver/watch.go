package apiserver

import (
	"context"
	"slices"
	"sync"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
)

// Events tell watchers what has changed: what this process does at once, what others
// do when the server says so. What is known already is not told again, so that the
// echo of a change of our own costs nothing.
type events struct {
	c      *Catalog
	ctx    context.Context // ends at close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the follower

	telling sync.Mutex // held while watchers are told; comes before mu

	mu       sync.Mutex // guards the fields below
	seq      int64
	pending  []collfs.Event
	watchers []*watcher
	started  bool
	groups   map[string]api.Group // what is known of projects
	lastLog  int64                // the id of the last entry of the log that was seen; 0: none
	newest   time.Time            // the latest time of an event
	making   map[place]int        // records that are being made here: they will be told of under the names they have here
}

// A place is a name in a project, as the server spells both.
type place struct{ owner, name string }

// makes says that a record is being made at a place, until done is called.
func (v *events) makes(p place) (done func()) {
	add := func(n int) {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.making[p] += n; v.making[p] == 0 {
			delete(v.making, p)
		}
	}
	add(1)
	return func() { add(-1) }
}

// isMade reports whether l says that a record was made that is being made here.
func (v *events) isMade(l *api.Log) bool {
	if l.EventType != "create" || l.Properties.New == nil {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.making[place{l.Properties.New.OwnerUUID, l.Properties.New.Name}] > 0
}

type watcher struct{ notify func(collfs.Event) }

// maxGroups is of how many projects it is remembered what was seen of them.
const maxGroups = 20_000

func newEvents(c *Catalog) *events {
	v := &events{c: c, groups: make(map[string]api.Group), making: make(map[place]int)}
	v.ctx, v.cancel = context.WithCancel(context.Background())
	return v
}

func (v *events) close() {
	v.cancel()
	v.wg.Wait()
}

// Watch is collfs.Catalog. The first call begins to follow what others do.
func (c *Catalog) Watch(notify func(collfs.Event)) (stop func()) {
	v, w := c.events, &watcher{notify}
	v.mu.Lock()
	v.watchers = append(slices.Clip(v.watchers), w)
	if !v.started && v.ctx.Err() == nil {
		v.started = true
		v.wg.Go(v.follow)
	}
	v.mu.Unlock()
	return func() {
		v.telling.Lock() // waits for a notify under way
		defer v.telling.Unlock()
		v.mu.Lock()
		defer v.mu.Unlock()
		v.watchers = slices.DeleteFunc(slices.Clone(v.watchers), func(x *watcher) bool { return x == w })
	}
}

// tell tells watchers, in order. No lock may be held.
func (v *events) tell(list []collfs.Event) {
	if len(list) == 0 {
		return
	}
	v.mu.Lock()
	for _, ev := range list {
		v.seq++
		if ev.Seq = v.seq; ev.At.IsZero() {
			ev.At = time.Now()
		}
		v.pending = append(v.pending, ev)
	}
	v.mu.Unlock()
	v.telling.Lock()
	defer v.telling.Unlock()
	v.mu.Lock()
	pending, watchers := v.pending, v.watchers
	v.pending = nil
	v.mu.Unlock()
	for _, ev := range pending {
		for _, w := range watchers {
			w.notify(ev)
		}
	}
}

// sawGroup takes note of what a project is and tells what has changed of it.
func (c *Catalog) sawGroup(g *api.Group) {
	v := c.events
	v.mu.Lock()
	was, known := v.groups[g.UUID]
	if len(v.groups) >= maxGroups {
		clear(v.groups)
	}
	if !known || !g.ModifiedAt.Before(was.ModifiedAt) {
		kept := *g
		kept.Properties = nil
		v.groups[g.UUID] = kept
	}
	v.mu.Unlock()
	if known && g.ModifiedAt.Before(was.ModifiedAt) {
		return
	}
	ev := collfs.Event{UUID: c.shownID(g.UUID), Owner: c.shownID(g.OwnerUUID), Name: c.names.decode(g.Name), At: g.ModifiedAt}
	var tell []collfs.Event
	add := func(kind collfs.EventKind) {
		ev.Kind = kind
		tell = append(tell, ev)
	}
	switch {
	case !known && g.IsTrashed:
		add(collfs.Trashed)
	case !known && g.CreatedAt.Equal(g.ModifiedAt) || !known && g.ModifiedAt.Sub(g.CreatedAt) < time.Second:
		add(collfs.Created)
	case !known:
		add(collfs.RecordChanged)
	default:
		if was.Name != g.Name || was.OwnerUUID != g.OwnerUUID {
			moved := ev
			if moved.Kind = collfs.RecordChanged; was.OwnerUUID != g.OwnerUUID {
				moved.OldOwner = c.shownID(was.OwnerUUID)
			}
			if was.Name != g.Name {
				moved.OldName = c.names.decode(was.Name)
			}
			tell = append(tell, moved)
		}
		switch {
		case !was.IsTrashed && g.IsTrashed:
			add(collfs.Trashed)
		case was.IsTrashed && !g.IsTrashed:
			add(collfs.Untrashed)
		}
	}
	v.tell(tell)
}

// heard takes an entry of the log.
func (v *events) heard(ctx context.Context, l *api.Log) {
	v.mu.Lock()
	v.lastLog = max(v.lastLog, l.ID)
	v.mu.Unlock()
	switch kindOf(l.ObjectUUID) {
	case kindCollection:
		v.heardCollection(ctx, l)
	case kindGroup:
		v.heardGroup(l)
	}
}

func (v *events) heardCollection(ctx context.Context, l *api.Log) {
	c := v.c
	e := c.known(l.ObjectUUID)
	is, was := l.Properties.New, l.Properties.Old
	if e == nil {
		if !v.isVersion(l) && !v.isMade(l) {
			v.tell(c.eventsOf(l))
		}
		return
	}
	if l.EventType == "delete" || is == nil {
		c.mu.Lock()
		delete(c.entries, l.ObjectUUID)
		c.mu.Unlock()
		v.tell(c.eventsOf(l))
		return
	}
	if r := l.Properties.Keepdav.Revision; r > 0 {
		c.heardRevision(e, r)
	}
	e.mu.Lock()
	if is.PDH == "" { // an event does not tell
		is.PDH = e.record.PDH
	}
	if !e.seen || !l.EventAt.After(e.record.ModifiedAt) || is.PDH == e.expect && is.PDH != "" {
		e.mu.Unlock()
		return // an echo, or known by now
	}
	known := e.record
	if is.PDH == known.PDH && is.Name == known.Name && is.OwnerUUID == known.OwnerUUID && is.IsTrashed == known.IsTrashed {
		e.mu.Unlock()
		if was != nil && was.PDH == is.PDH && !c.extended() { // properties, or what an event doesn't tell
			v.look(ctx, l.ObjectUUID)
		}
		return
	}
	got := known
	got.PDH, got.Name, got.OwnerUUID, got.IsTrashed, got.ModifiedAt = is.PDH, is.Name, is.OwnerUUID, is.IsTrashed, l.EventAt
	tell := c.compareLocked(e, &got, e.attrs)
	e.mu.Unlock()
	v.tell(tell)
}

// isVersion reports whether l says that a state of a collection was kept as a version:
// that is the creation of another record, at the time at which the collection was
// made.
func (v *events) isVersion(l *api.Log) bool {
	is := l.Properties.New
	v.mu.Lock()
	newest := v.newest
	if l.EventAt.After(newest) {
		v.newest = l.EventAt
	}
	v.mu.Unlock()
	if l.EventType != "create" || is == nil {
		return false
	}
	if newest.Sub(l.EventAt) > disorder {
		return true
	}
	v.c.mu.Lock()
	entries := make([]*entry, 0, len(v.c.entries))
	for _, e := range v.c.entries {
		entries = append(entries, e)
	}
	v.c.mu.Unlock()
	for _, e := range entries {
		e.mu.Lock()
		same := e.seen && e.uuid != l.ObjectUUID && e.record.CreatedAt.Truncate(time.Microsecond).Equal(l.EventAt.Truncate(time.Microsecond))
		e.mu.Unlock()
		if same {
			return true
		}
	}
	return false
}

// disorder is by how much events may come out of the order of their times.
const disorder = 2 * time.Second

// look asks what a collection is.
func (v *events) look(ctx context.Context, real string) {
	got, err := v.c.get(ctx, real, recordFields)
	if err == nil {
		v.c.saw(got)
	}
	// Else the next load or commit finds out.
}

// eventsOf says what an entry of the log means for a collection that is not known.
func (c *Catalog) eventsOf(l *api.Log) []collfs.Event {
	is, was := l.Properties.New, l.Properties.Old
	ev := collfs.Event{UUID: c.shownID(l.ObjectUUID), Owner: c.shownID(l.ObjectOwnerUUID), At: l.EventAt}
	if is != nil {
		ev.Owner, ev.Name = c.shownID(is.OwnerUUID), c.names.decode(is.Name)
	} else if was != nil {
		ev.Name = c.names.decode(was.Name)
	}
	switch {
	case l.EventType == "create":
		ev.Kind = collfs.Created
		return []collfs.Event{ev}
	case l.EventType == "delete":
		ev.Kind = collfs.Deleted
		return []collfs.Event{ev}
	case is == nil || was == nil:
		ev.Kind = collfs.RecordChanged
		return []collfs.Event{ev}
	}
	record := func(a *api.LogAttributes) *api.Collection {
		return &api.Collection{UUID: l.ObjectUUID, OwnerUUID: a.OwnerUUID, Name: a.Name, PDH: a.PDH, IsTrashed: a.IsTrashed, ModifiedAt: l.EventAt}
	}
	revision := l.Properties.Keepdav.Revision
	tell := c.recordEvents(record(was), record(is), revision)
	if was.PDH != is.PDH || len(tell) == 0 && revision > 0 {
		tell = append(tell, c.event(l.ObjectUUID, collfs.ContentChanged, revision, record(is)))
	}
	return tell
}

func (v *events) heardGroup(l *api.Log) {
	is := l.Properties.New
	if l.EventType == "delete" || is == nil {
		v.mu.Lock()
		delete(v.groups, l.ObjectUUID)
		v.mu.Unlock()
		v.tell(v.c.eventsOf(l))
		return
	}
	v.mu.Lock()
	was, known := v.groups[l.ObjectUUID]
	v.mu.Unlock()
	if known && !l.EventAt.After(was.ModifiedAt) || !known && v.isMade(l) {
		return
	}
	if !known && l.Properties.Old != nil {
		old := l.Properties.Old
		v.mu.Lock()
		v.groups[l.ObjectUUID] = api.Group{UUID: l.ObjectUUID, OwnerUUID: old.OwnerUUID, Name: old.Name, IsTrashed: old.IsTrashed}
		v.mu.Unlock()
	}
	g := api.Group{UUID: l.ObjectUUID, OwnerUUID: is.OwnerUUID, Name: is.Name, IsTrashed: is.IsTrashed, ModifiedAt: l.EventAt, CreatedAt: was.CreatedAt}
	if l.EventType == "create" {
		g.CreatedAt = l.EventAt
	}
	v.c.sawGroup(&g)
}
