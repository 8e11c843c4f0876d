package eventbus

import (
	"container/list"
	"errors"
	"io/fs"
	"slices"
	"sync"

	"github.com/coder/websocket"

	"keepdav/collfs"
)

// A lane brings events to the sessions of one kind, in order, from one goroutine.
type lane struct {
	bus  *Bus
	hash *hasher // nil: its events have no hashes
	kin  kin     // of the goroutine that runs

	mu      sync.Mutex // guards the fields below
	queue   list.List  // of collfs.Event; it holds what one collection says once, and grows with changes of records, which are synced one by one
	content map[collfs.UUID]*list.Element
	seq     int64      // of the last event that was taken from the queue
	live    []*session // are told of what is taken next; the slice is never changed in place
	members int        // sessions, also those that still hear of the past
	wake    chan struct{}
}

func newLane(b *Bus, seq int64, hash *hasher) *lane {
	return &lane{bus: b, hash: hash, seq: seq, content: make(map[collfs.UUID]*list.Element), wake: make(chan struct{}, 1)}
}

// add queues an event.
func (l *lane) add(e collfs.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.members == 0 && l.queue.Len() == 0 {
		l.seq = e.Seq
		return
	}
	if e.Kind == collfs.ContentChanged {
		if old := l.content[e.UUID]; old != nil {
			l.queue.Remove(old)
		}
		l.content[e.UUID] = l.queue.PushBack(e)
	} else {
		l.queue.PushBack(e)
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run tells of what is queued until the bus closes.
func (l *lane) run() {
	for {
		if e, live, ok := l.take(); ok {
			l.dispatch(e, live)
			continue
		}
		select {
		case <-l.wake:
		case <-l.bus.ctx.Done():
			return
		}
	}
}

// take returns the next event and who is to be told of it.
func (l *lane) take() (e collfs.Event, live []*session, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.queue.Front()
	if first == nil || l.bus.ctx.Err() != nil {
		return e, nil, false
	}
	e = l.queue.Remove(first).(collfs.Event)
	if l.content[e.UUID] == first {
		delete(l.content, e.UUID)
	}
	l.seq = e.Seq
	return e, l.live, true
}

// dispatch tells the sessions that want to know, and may, of e.
func (l *lane) dispatch(e collfs.Event, live []*session) {
	if l.kin.implied(l, e) {
		return
	}
	var to, lost []*session
	access := readers{bus: l.bus, e: e}
	for _, s := range live {
		if !s.wants(e) {
			continue
		}
		switch ok, moved, err := access.of(s.user); {
		case err != nil:
			s.fail(err)
		case ok:
			to = append(to, s)
		case moved && l.hash == nil:
			lost = append(lost, s)
		}
	}
	if len(lost) > 0 {
		gone, p := away(e)
		l.send(gone, p, lost)
	}
	if len(to) == 0 {
		if l.hash != nil && e.Kind == collfs.ContentChanged {
			l.hash.forget(e.UUID)
		}
		return
	}
	p, err := l.describe(e)
	if err != nil {
		for _, s := range to {
			s.fail(err)
		}
		return
	}
	l.send(e, p, to)
}

// describe returns what e says of its object.
func (l *lane) describe(e collfs.Event) (Properties, error) {
	entry, err := l.bus.entry(e)
	if err != nil {
		return Properties{}, err
	}
	if l.hash == nil {
		return Describe(e, entry, "", ""), nil
	}
	if c := entry.Collection; c != nil && c.PDH == "" {
		l.hash.compute(e.UUID)
		if entry, err = l.bus.entry(e); err != nil { // whose hash is that of its revision
			return Properties{}, err
		}
	}
	if entry.Collection == nil {
		return Describe(e, entry, "", ""), nil
	}
	is := entry.Collection.PDH
	was := l.hash.tell(e.UUID, is)
	if e.Kind != collfs.ContentChanged {
		was = is
	}
	return Describe(e, entry, was, is), nil
}

// entry returns the object of e as it is now, the zero Entry if it is gone.
func (b *Bus) entry(e collfs.Event) (collfs.Entry, error) {
	if e.Kind == collfs.Deleted {
		return collfs.Entry{}, nil
	}
	entry, err := b.conf.Catalog.Entry(b.ctx, e.UUID)
	if errors.Is(err, fs.ErrNotExist) {
		return collfs.Entry{}, nil
	}
	return entry, err
}

// send puts an event in the queues of sessions; those that are full are of clients
// that read too slowly.
func (l *lane) send(e collfs.Event, p Properties, to []*session) {
	text, err := encode(l.bus.conf.Cluster, e, p)
	for _, s := range to {
		switch {
		case err != nil:
			s.fail(err)
		case !s.push(outgoing{text: text, event: true, content: contentOf(e)}):
			s.leave(tooSlow, "")
		}
	}
}

// contentOf is the collection whose content an event is about, or "".
func contentOf(e collfs.Event) collfs.UUID {
	if e.Kind == collfs.ContentChanged {
		return e.UUID
	}
	return ""
}

// tooSlow is no code of the protocol: whoever doesn't read cannot be told one.
const tooSlow websocket.StatusCode = 0

// joinLocked makes s live. l.mu must be held.
func (l *lane) joinLocked(s *session) {
	if !slices.Contains(l.live, s) {
		l.live = append(slices.Clip(l.live), s)
	}
}

// pauseLocked makes s not live. l.mu must be held.
func (l *lane) pauseLocked(s *session) {
	if i := slices.Index(l.live, s); i >= 0 {
		l.live = slices.Delete(slices.Clone(l.live), i, i+1)
	}
}

// readers tells who may read the object of an event. It asks once for each user.
type readers struct {
	bus  *Bus
	e    collfs.Event
	told map[collfs.UUID]reader
}

type reader struct{ now, before bool }

// of says whether a user may read the object, and if not, whether it lay where he may.
func (r *readers) of(u collfs.User) (ok, moved bool, err error) {
	if v, ok := r.told[u.UUID]; ok {
		return v.now, v.before, nil
	}
	id, owner := r.e.UUID, r.e.Owner
	if r.e.Kind == collfs.Deleted {
		id, owner = owner, ""
	}
	var v reader
	if v.now, err = r.bus.mayRead(r.bus.ctx, u, id, owner); err != nil {
		return false, false, err
	}
	if !v.now && r.e.OldOwner != "" {
		if v.before, err = r.bus.mayRead(r.bus.ctx, u, r.e.OldOwner, ""); err != nil {
			return false, false, err
		}
	}
	if r.told == nil {
		r.told = make(map[collfs.UUID]reader)
	}
	r.told[u.UUID] = v
	return v.now, v.before, nil
}

// kin recognises events that follow from another one of the same commit: what lies in a
// project goes to the trash and comes back with it, and a collection may be made with content.
// An event of its own would tell nothing, and there may be very many of them.
type kin struct {
	kind collfs.EventKind
	at   int64
	ids  map[collfs.UUID]struct{}
}

// implied reports whether e follows from an event that it was called for before.
func (k *kin) implied(l *lane, e collfs.Event) bool {
	at := e.At.UnixNano()
	if e.Kind == collfs.ContentChanged {
		_, made := k.ids[e.UUID]
		return made && k.kind == collfs.Created && k.at == at && e.Revision == 1 && l.hash != nil
	}
	if k.kind != e.Kind || k.at != at || k.ids == nil {
		*k = kin{kind: e.Kind, at: at, ids: make(map[collfs.UUID]struct{})}
	}
	_, above := k.ids[e.Owner]
	k.ids[e.UUID] = struct{}{}
	switch {
	case e.Kind != collfs.Trashed && e.Kind != collfs.Untrashed:
		return false
	case above:
		return true
	case e.Kind == collfs.Untrashed:
		return false
	}
	// What lies two floors below may come before the project in between.
	owner, err := l.bus.conf.Catalog.Entry(l.bus.ctx, e.Owner)
	return err == nil && owner.Project != nil && owner.Project.TrashAt.Equal(e.At)
}
