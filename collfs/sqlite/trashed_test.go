package sqlite

import (
	"errors"
	"io/fs"
	"testing"

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
