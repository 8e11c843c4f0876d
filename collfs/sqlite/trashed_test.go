package sqlite

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"keepdav/collfs"
)

func TestTrashTakesNoChanges(t *testing.T) {
	s := openStore(t, Config{})
	home := newUser(t, s, "ann", false)
	project := collfs.UUID("zzzzz-j7d0g-000000000000000")
	records := func(ops ...collfs.RecordOp) {
		t.Helper()
		if _, err := s.Commit(t.Context(), collfs.Tx{Records: ops}); err != nil {
			t.Fatal(err)
		}
	}
	records(collfs.RecordOp{Kind: collfs.CreateProject, UUID: project, Owner: home, Name: "p"})
	id := newCollection(t, s, project, "c")
	change := func(base int64, name string) error {
		_, err := s.Commit(t.Context(), collfs.Tx{Changes: []collfs.Change{{Collection: id, Base: base, Ops: mkdir(name)}}})
		return err
	}
	if err := change(0, "before"); err != nil {
		t.Fatal(err)
	}
	for _, trashed := range []collfs.UUID{id, project} {
		records(collfs.RecordOp{Kind: collfs.Trash, UUID: trashed})
		if err := change(1, "late"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("change of a collection while %s is in the trash: %v; want fs.ErrNotExist", trashed, err)
		}
		records(collfs.RecordOp{Kind: collfs.Untrash, UUID: trashed})
	}
	if err := change(1, "after"); err != nil {
		t.Errorf("change after it is out of the trash: %v", err)
	}
}

// What is deleted for good was looked up before, and there may be much of it.
func TestWhatWasPutInTheTrashAgainKeepsItsTime(t *testing.T) {
	c := &clock{now: time.Now()}
	s := openStore(t, Config{Now: c.Now})
	id := newCollection(t, s, newUser(t, s, "ann", false), "c")
	trash := func(kind collfs.RecordOpKind) {
		t.Helper()
		if _, err := s.Commit(t.Context(), collfs.Tx{Records: []collfs.RecordOp{{Kind: kind, UUID: id}}}); err != nil {
			t.Fatal(err)
		}
	}
	trash(collfs.Trash)
	c.Advance(trashTime + time.Hour)
	before := c.Now()
	const query = `SELECT uuid FROM record WHERE trash_at <> 0 AND delete_at < ?`
	for _, kind := range []collfs.RecordOpKind{collfs.Untrash, collfs.Trash} {
		trash(kind)
		if gone, err := s.deleteTrashed(t.Context(), query, before, id); gone || err != nil {
			t.Errorf("deleteTrashed() = %v, %v; want false: it is wanted again", gone, err)
		}
	}
	c.Advance(trashTime + time.Hour)
	if gone, err := s.deleteTrashed(t.Context(), query, c.Now(), id); !gone || err != nil {
		t.Errorf("deleteTrashed() = %v, %v; want true: its time is over", gone, err)
	}
}
