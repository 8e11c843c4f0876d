package davfs

import (
	"slices"
	"sync"

	"keepdav/collfs"
)

// A RecordNotice says that a collection or project came, went, or is called
// otherwise: what is shown in the folders of Owner and, if it moved, of OldOwner is
// not what it was. The contents of collections have notices of their own
// (collfs.FS.Subscribe); among these are the loose files of projects.
type RecordNotice struct {
	Kind     collfs.EventKind // all but ContentChanged
	UUID     collfs.UUID
	Owner    collfs.UUID
	OldOwner collfs.UUID // when it moved
	Name     string      // then; "" if not known
	OldName  string      // when it got another; "" if not known
}

// recordNotices brings notices to those who want them, from a goroutine of its own.
type recordNotices struct {
	wake chan struct{} // has an element when there is something to do
	done chan struct{} // closed when run has ended

	mu     sync.Mutex // guards the fields below
	queue  []queuedNotice
	all    []*subscriber // replaced, not changed
	closed bool
}

// A queuedNotice is for those who wanted it when it came.
type queuedNotice struct {
	RecordNotice
	to []*subscriber
}

type subscriber struct {
	notify func(RecordNotice)

	mu      sync.Mutex // held during notify; guards the field below
	stopped bool
}

func (r *recordNotices) init() {
	r.wake, r.done = make(chan struct{}, 1), make(chan struct{})
	go r.run()
}

// SubscribeRecords calls notify for each change of a record from now on, whoever made
// it, in order, until stop is called; stop waits for a notify under way. When notify
// is called a lookup finds what is true now; it may call the site, but not stop. What
// is not taken waits, without bound.
func (s *Site) SubscribeRecords(notify func(RecordNotice)) (stop func()) {
	r := &s.notices
	sub := &subscriber{notify: notify}
	r.mu.Lock()
	r.all = append(slices.Clone(r.all), sub)
	r.mu.Unlock()
	return func() {
		r.mu.Lock()
		r.all = slices.DeleteFunc(slices.Clone(r.all), func(x *subscriber) bool { return x == sub })
		r.mu.Unlock()
		sub.mu.Lock()
		defer sub.mu.Unlock()
		sub.stopped = true
	}
}

// add queues a notice. The caches are empty of what it is about.
func (r *recordNotices) add(n RecordNotice) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) > 0 {
		r.queue = append(r.queue, queuedNotice{n, r.all})
		r.kick()
	}
}

func (r *recordNotices) kick() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// close tells what is queued and ends run.
func (r *recordNotices) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.kick()
	<-r.done
}

func (r *recordNotices) run() {
	defer close(r.done)
	for range r.wake {
		r.mu.Lock()
		queue, closed := r.queue, r.closed
		r.queue = nil
		r.mu.Unlock()
		for _, n := range queue {
			for _, sub := range n.to {
				sub.tell(n.RecordNotice)
			}
		}
		if closed {
			return
		}
	}
}

func (s *subscriber) tell(n RecordNotice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.notify(n)
	}
}
