package sqlite

import (
	"testing"
	"time"

	"keepdav/collfs"
)

func TestSinceAfterAFold(t *testing.T) {
	s := openStore(t, Config{ApplyDelay: time.Hour})
	ann := newUser(t, s, "ann", false)
	id := s.newUUID("4zz18")
	tx := collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: ann, Name: "c"}}}
	commit := func() {
		t.Helper()
		if _, err := s.Commit(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	commit()
	for i := range 4 {
		tx = collfs.Tx{Changes: []collfs.Change{{Collection: id, Base: int64(i), Ops: []collfs.Op{{Kind: collfs.OpMkdir, Path: string(rune('a' + i))}}}}}
		commit()
		if i == 2 {
			if err := s.Fold(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, applied := range []bool{false, true} {
		for since, want := range []int{-1, -1, -1, 1, 0} {
			rec, changes, kept, err := s.Since(t.Context(), id, int64(since))
			if err != nil || rec.Revision != 4 || kept != (want >= 0) || kept && len(changes) != want {
				t.Errorf("Since(%d), all in the database %v: revision %d, %d changes, kept %v, %v; want %d", since, applied, rec.Revision, len(changes), kept, err, want)
			}
		}
		if _, _, err := s.Load(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
	}
}
