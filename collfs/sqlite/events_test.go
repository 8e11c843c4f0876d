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
