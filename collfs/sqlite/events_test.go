package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"keepdav/collfs"
)

func TestTheEventLogTellsOfRecoveredCommitsToo(t *testing.T) {
	s := openStore(t, Config{ApplyDelay: time.Hour})
	home := newUser(t, s, "ann", false)
	id := newCollection(t, s, home, "data")
	commit(t, s, id, mkdir("a")...)
	commit(t, s, id, mkdir("b")...)
	m := &crashModel{t: t, s: s, dir: s.Dir()}
	dir := ""
	m.freeze(func() {
		dir = copyDir(t, s.Dir(), nil)
		journal := copyDir(t, filepath.Join(s.Dir(), "journal"), isSpare)
		rename(t, journal, filepath.Join(dir, "journal"))
	})
	again := openStore(t, Config{Dir: dir})
	events, err := again.Events(t.Context(), 0, 10)
	if err != nil || len(events) != 2 {
		t.Fatalf("Events = %+v, %v; want two", events, err)
	}
	if e := events[0]; e.Kind != collfs.Created || e.UUID != id || e.Owner != home || e.At.IsZero() {
		t.Errorf("the first event is %+v", e)
	}
	if e := events[1]; e.Kind != collfs.ContentChanged || e.Revision != 2 || e.Owner != home || e.Seq <= events[0].Seq {
		t.Errorf("the second event is %+v; want that of revision 2", e)
	}
	if later, err := again.Events(t.Context(), events[1].Seq, 10); err != nil || len(later) != 0 {
		t.Errorf("Events after the last = %v, %v; want none", later, err)
	}
}

func TestTheEventLogHasWhatWatchersWereTold(t *testing.T) {
	start := time.Now()
	s := openStore(t, Config{ApplyDelay: time.Hour})
	told := make(chan collfs.Event, 10)
	defer s.Watch(func(e collfs.Event) { told <- e })()
	id := newCollection(t, s, newUser(t, s, "ann", false), "data")
	<-told
	commit(t, s, id, mkdir("a")...)
	last := <-told
	if n := s.LastEvent(); n != last.Seq {
		t.Errorf("LastEvent() = %d; want %d", n, last.Seq)
	}
	events, err := s.Events(t.Context(), last.Seq-1, 10)
	if err != nil || len(events) != 1 || events[0].Revision != 1 {
		t.Errorf("Events(%d) = %+v, %v; want the change that a watcher was told of", last.Seq-1, events, err)
	}
	if n, err := s.EventBefore(t.Context(), start); n != 0 || err != nil {
		t.Errorf("EventBefore(start) = %d, %v; want 0", n, err)
	}
	if n, err := s.EventBefore(t.Context(), time.Now().Add(time.Minute)); n != last.Seq || err != nil {
		t.Errorf("EventBefore(later) = %d, %v; want %d", n, err, last.Seq)
	}
}
