package collfs_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
)

var errDown = errors.New("the catalog is down")

// downCatalog commits nothing while it is down.
type downCatalog struct {
	collfs.Catalog
	down atomic.Bool
}

func (c *downCatalog) Commit(ctx context.Context, tx collfs.Tx) ([]collfs.Record, error) {
	if c.down.Load() {
		return nil, errDown
	}
	return c.Catalog.Commit(ctx, tx)
}

// leave makes changes that cannot be committed and returns what is left of them.
func leave(t *testing.T, e *env, id collfs.UUID, change func(c *collfs.Collection)) []collfs.Leftover {
	t.Helper()
	down := &downCatalog{Catalog: e.catalog}
	f := e.fs(func(cfg *collfs.Config) { cfg.Catalog = down })
	c, err := f.Open(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	down.down.Store(true)
	change(c)
	c.Release()
	var left []collfs.Leftover
	err = f.CloseKeeping(context.Background(), func(l collfs.Leftover) error {
		left = append(left, l)
		return nil
	})
	if !errors.Is(err, errDown) {
		t.Fatalf("CloseKeeping() = %v; want why it could not commit", err)
	}
	return left
}

func makeCollection(t testing.TB, e *env, name string) collfs.UUID {
	t.Helper()
	id := memcatalog.NewUUID("4zz18")
	_, err := e.catalog.Commit(context.Background(), collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: e.home, Name: name}}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func resumable(t *testing.T, e *env) (collfs.UUID, *collfs.Collection) {
	t.Helper()
	id := makeCollection(t, e, "data")
	c := e.open(e.fs(), id)
	for _, p := range []string{"keep", "old", "both", "gone"} {
		put(t, c, p, "first "+p)
	}
	if _, err := c.Mkdir("dir", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	put(t, c, "dir/in", "in")
	commit(t, c)
	return id, c
}

func changeAll(t *testing.T) func(c *collfs.Collection) {
	return func(c *collfs.Collection) {
		put(t, c, "new", "ours")
		put(t, c, "both", "ours")
		_, err1 := c.Rename("old", "moved", collfs.CopyOptions{})
		_, err2 := c.Rename("dir", "dir2", collfs.CopyOptions{})
		for _, err := range []error{err1, err2, c.Remove("gone", nil)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestWhatCouldNotBeCommittedIsTakenUp(t *testing.T) {
	e := newEnv(t)
	id, other := resumable(t, e)
	left := leave(t, e, id, changeAll(t))
	if len(left) != 1 || left[0].Collection != id || left[0].Name != "data" || left[0].Changes == 0 || len(left[0].Open) == 0 {
		t.Fatalf("left over: %+v", left)
	}
	put(t, other, "both", "theirs")
	put(t, other, "dir/late", "late")
	commit(t, other)

	f := e.fs()
	c := e.open(f, id)
	if _, err := c.Resume(context.Background(), left[0].Data); err != nil {
		t.Fatalf("Resume() = %v", err)
	}
	got := files(t, e.open(e.fs(), id))
	want := map[string]string{"keep": "first keep", "new": "ours", "both": "ours", "moved": "first old", "dir2/": "", "dir2/in": "in", "dir2/late": "late"}
	conflict := ""
	for p := range got {
		if strings.HasPrefix(p, "both~") {
			conflict = p
		}
	}
	if got[conflict] != "theirs" {
		t.Errorf("what the other side wrote is not kept beside ours: %q", slices.Sorted(maps.Keys(got)))
	}
	delete(got, conflict)
	if !maps.Equal(got, want) {
		t.Errorf("after Resume: %q; want %q", got, want)
	}
	if n := f.Conflicts(); n != 1 {
		t.Errorf("conflicts = %d; want 1", n)
	}
}

func TestWhatWasCommittedAllTheSameIsNotDoneTwice(t *testing.T) {
	e := newEnv(t)
	id, _ := resumable(t, e)
	left := leave(t, e, id, changeAll(t))
	for range 2 {
		c := e.open(e.fs(), id)
		if _, err := c.Resume(context.Background(), left[0].Data); err != nil {
			t.Fatalf("Resume() = %v", err)
		}
	}
	got := files(t, e.open(e.fs(), id))
	want := map[string]string{"keep": "first keep", "new": "ours", "both": "ours", "moved": "first old", "dir2/": "", "dir2/in": "in"}
	if !maps.Equal(got, want) {
		t.Errorf("after two Resumes: %q; want %q", got, want)
	}
}

func TestNothingIsLeftOverOfWhatIsCommitted(t *testing.T) {
	e := newEnv(t)
	id := makeCollection(t, e, "data")
	f := e.fs()
	c := e.open(f, id)
	put(t, c, "a", "a")
	err := f.CloseKeeping(context.Background(), func(l collfs.Leftover) error {
		t.Errorf("left over: %+v", l)
		return nil
	})
	if err != nil {
		t.Errorf("CloseKeeping() = %v", err)
	}
}

func FuzzResume(f *testing.F) {
	e := newEnv(f)
	id := makeCollection(f, e, "data")
	c := e.open(e.fs(), id)
	put(f, c, "a", "a")
	f.Add(collfs.LeftoverData(c))
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) { collfs.DecodeLeftover(data, e.spool) }) // it must not panic
}
