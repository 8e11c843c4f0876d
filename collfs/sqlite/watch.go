package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"time"

	"keepdav/collfs"
)

// A dispatcher tells watchers of events, in order, from one goroutine.
type dispatcher struct {
	s *Store

	mu       sync.Mutex // guards the fields below
	queue    []*entry   // unbounded: it holds what the applier's queue held
	watchers []*watcher
	closed   bool
	wake     chan struct{}
}

type watcher struct {
	notify func(collfs.Event)
	from   int64 // sequence number of the last event before it watched

	mu      sync.Mutex // held during notify; guards stopped
	stopped bool
}

func (d *dispatcher) init(s *Store) { d.s, d.wake = s, make(chan struct{}, 1) }

// Watch is collfs.Catalog.
func (s *Store) Watch(notify func(collfs.Event)) (stop func()) {
	w := &watcher{notify: notify}
	d := &s.events
	s.mu.Lock()
	w.from = s.eventSeq
	d.mu.Lock()
	d.watchers = append(slices.Clone(d.watchers), w)
	d.mu.Unlock()
	s.mu.Unlock()
	return func() {
		d.mu.Lock()
		d.watchers = slices.DeleteFunc(slices.Clone(d.watchers), func(x *watcher) bool { return x == w })
		d.mu.Unlock()
		w.mu.Lock()
		w.stopped = true
		w.mu.Unlock()
	}
}

// add queues the events of an entry that was just accepted. Store.mu is held.
func (d *dispatcher) add(e *entry) {
	d.mu.Lock()
	if len(d.watchers) > 0 {
		d.queue = append(d.queue, e)
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run tells watchers until the dispatcher is closed and all is told.
func (d *dispatcher) run() {
	for {
		d.mu.Lock()
		queue, watchers, closed := d.queue, d.watchers, d.closed
		d.queue = nil
		d.mu.Unlock()
		for _, e := range queue {
			if len(e.records) > 0 {
				// Who is told of a record finds it. An applier that doesn't get on
				// must not keep the news of contents back for ever.
				_ = d.s.waitApplied(d.s.ctx, e.seq)
			}
			for _, ev := range e.events {
				for _, w := range watchers {
					w.tell(ev)
				}
			}
		}
		if len(queue) > 0 {
			continue
		}
		if closed {
			return
		}
		<-d.wake
	}
}

func (w *watcher) tell(ev collfs.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped && ev.Seq > w.from {
		w.notify(ev)
	}
}

func (d *dispatcher) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// LastEvent returns the number of the last event, 0 if there was none.
func (s *Store) LastEvent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.eventSeq
}

// Events returns up to limit events of the log after the one numbered after, in
// order: all that watchers were told of before the call, and maybe more. Changes of one collection's content that
// came close together are one event, the last.
func (s *Store) Events(ctx context.Context, after int64, limit int) ([]collfs.Event, error) {
	// The log holds them when they have been applied.
	if err := s.waitApplied(ctx, s.journal.Last()); err != nil {
		return nil, err
	}
	var all []collfs.Event
	err := s.readers.query(ctx, func(row scanner) error {
		var ev collfs.Event
		var at int64
		err := row.Scan(&ev.Seq, &ev.UUID, &ev.Owner, &ev.OldOwner, &ev.Kind, &ev.Revision, &at)
		ev.At = timeOf(at)
		all = append(all, ev)
		return err
	}, `SELECT seq, uuid, owner, old_owner, kind, revision, at FROM event WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
	return all, storageError(err)
}

// EventBefore returns the number of the last event of the log before a moment, 0 if
// there is none.
func (s *Store) EventBefore(ctx context.Context, at time.Time) (seq int64, err error) {
	err = s.readers.row(ctx, `SELECT seq FROM event WHERE at < ? ORDER BY at DESC, seq DESC LIMIT 1`, nanos(at)).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return seq, storageError(err)
}
