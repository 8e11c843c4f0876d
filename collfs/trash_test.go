package collfs_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
)

func (e *env) trashed(id collfs.UUID) bool {
	e.t.Helper()
	rec, err := e.catalog.Record(context.Background(), id)
	if err != nil {
		e.t.Fatal(err)
	}
	return !rec.TrashAt.IsZero()
}

func TestOnlyAnEmptyCollectionIsTrashed(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	a := e.open(f, e.catalog.Create(e.home, "a"))
	refuse := func(why string, want error, check collfs.Check) {
		t.Helper()
		if err := f.TrashEmpty(ctx, a, check); !errors.Is(err, want) || e.trashed(a.UUID()) {
			t.Errorf("%s: TrashEmpty() = %v, in the trash %v; want %v", why, err, e.trashed(a.UUID()), want)
		}
	}
	put(t, a, "f", "not committed yet")
	refuse("a file", collfs.ErrNotEmpty, nil)
	if err := a.Remove("f", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Mkdir("d", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	refuse("a directory", collfs.ErrNotEmpty, nil)
	if err := a.Remove("d", nil); err != nil {
		t.Fatal(err)
	}
	refuse("a check", errInjected, func(n collfs.NodeInfo, ok bool) error {
		if !ok || !n.Dir {
			t.Errorf("the check sees %+v, %v; want the root", n, ok)
		}
		return errInjected
	})
	put(t, a, "f", "made by a handle") // whose writes come back under the name that was taken
	h, _, err := a.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR})
	if err != nil {
		t.Fatal(err)
	}
	put(t, a, "f", "another")
	if _, err := h.WriteAt(ctx, []byte("late"), 0); err != nil {
		t.Fatal(err)
	}
	if err := a.Remove("f", nil); err != nil {
		t.Fatal(err)
	}
	refuse("what a handle has written to a file that was replaced", collfs.ErrNotEmpty, nil)
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := a.RemoveAll("", nil); err != nil {
		t.Fatal(err)
	}
	if err := f.TrashEmpty(ctx, a, nil); err != nil || !e.trashed(a.UUID()) {
		t.Fatalf("empty: TrashEmpty() = %v, in the trash %v", err, e.trashed(a.UUID()))
	}
	if _, err := a.Mkdir("d", collfs.Attr{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Mkdir() in the trash = %v; want ErrNotExist", err)
	}
	if err := f.TrashEmpty(ctx, a, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("TrashEmpty() of what is in the trash = %v; want ErrNotExist", err)
	}
}

// Another process puts a file into the collection between our look and our commit.
func TestWhatAnotherPutsIntoAnEmptyCollectionStays(t *testing.T) {
	ctx := context.Background()
	for name, remove := range map[string]func(f *collfs.FS, a, b *collfs.Collection) error{
		"TrashEmpty": func(f *collfs.FS, a, _ *collfs.Collection) error { return f.TrashEmpty(ctx, a, nil) },
		"Extract": func(f *collfs.FS, a, b *collfs.Collection) error {
			rec, _ := a.Record(ctx)
			_, err := f.Extract(ctx, b, "d", rec.Owner, "a", collfs.TransferOptions{Move: true, Empty: a})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			f, other := e.fs(), e.fs()
			a, b := e.open(f, e.catalog.Create(e.home, "a")), e.open(f, e.catalog.Create(e.home, "b"))
			if _, err := b.Mkdir("d", collfs.Attr{}, nil); err != nil {
				t.Fatal(err)
			}
			commit(t, b)
			theirs := e.open(other, a.UUID())
			var once sync.Once
			e.catalog.Fault = func(_ context.Context, tx collfs.Tx) (o memcatalog.Outcome) {
				if len(tx.Records) > 0 {
					once.Do(func() {
						put(t, theirs, "f", "theirs")
						commit(t, theirs)
					})
				}
				return o
			}
			if err := remove(f, a, b); !errors.Is(err, collfs.ErrNotEmpty) || e.trashed(a.UUID()) {
				t.Errorf("%s() = %v, in the trash %v; want ErrNotEmpty", name, err, e.trashed(a.UUID()))
			}
			if got := get(t, a, "f"); got != "theirs" {
				t.Errorf("the file = %q", got)
			}
			if _, err := b.Stat("d"); err != nil {
				t.Errorf("what was to replace it: %v", err)
			}
		})
	}
}

func TestTrashWithAnUnknownOutcomeIsFoundOut(t *testing.T) {
	ctx := context.Background()
	for _, done := range []bool{false, true} {
		e := newEnv(t)
		f := e.fs()
		a := e.open(f, e.catalog.Create(e.home, "a"))
		once := true
		e.catalog.Fault = func(_ context.Context, tx collfs.Tx) (o memcatalog.Outcome) {
			if len(tx.Records) > 0 && once {
				once, o = false, memcatalog.Outcome{Err: collfs.ErrUnknownOutcome, Done: done}
			}
			return o
		}
		if err := f.TrashEmpty(ctx, a, nil); err != nil || !e.trashed(a.UUID()) || once {
			t.Errorf("done %v: TrashEmpty() = %v, in the trash %v", done, err, e.trashed(a.UUID()))
		}
		if _, err := a.Mkdir("d", collfs.Attr{}, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("done %v: Mkdir() in the trash = %v; want ErrNotExist", done, err)
		}
	}
}

func TestExtractTakesThePlaceOfAnEmptyCollection(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	a, b := twoCollections(t, e, f)
	put(t, b, "f", "in the way")
	o := collfs.TransferOptions{Move: true, Empty: b}
	if _, err := f.Extract(ctx, a, "d", e.home, "b", o); !errors.Is(err, collfs.ErrNotEmpty) {
		t.Errorf("Extract() over a file = %v; want ErrNotEmpty", err)
	}
	if got := get(t, a, "d/x"); got != "x" {
		t.Errorf("d/x = %q after a refused Extract", got)
	}
	if err := b.Remove("f", nil); err != nil {
		t.Fatal(err)
	}
	rec, err := f.Extract(ctx, a, "d", e.home, "b", o)
	if err != nil || rec.Name != "b" || !e.trashed(b.UUID()) {
		t.Fatalf("Extract() = %+v, %v; the empty one in the trash: %v", rec, err, e.trashed(b.UUID()))
	}
	if got := get(t, e.open(f, rec.UUID), "x"); got != "x" {
		t.Errorf("x = %q in the new collection", got)
	}
	if _, err := f.Extract(ctx, a, "z", e.home, "c", collfs.TransferOptions{Move: true, Empty: a}); !errors.Is(err, collfs.ErrIntoItself) {
		t.Errorf("Extract() over its source = %v; want ErrIntoItself", err)
	}
}

// What another process puts into a collection that is just being moved goes along.
func TestAbsorbTakesAlongWhatAnotherPutsThere(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f, other := e.fs(), e.fs()
	a, b := twoCollections(t, e, f)
	commit(t, a)
	theirs := e.open(other, a.UUID())
	var once sync.Once
	e.catalog.Fault = func(_ context.Context, tx collfs.Tx) (o memcatalog.Outcome) {
		if len(tx.Records) > 0 {
			once.Do(func() {
				put(t, theirs, "f", "theirs")
				commit(t, theirs)
			})
		}
		return o
	}
	if _, err := f.Absorb(ctx, a, b, "a", collfs.TransferOptions{Move: true}); err != nil || !e.trashed(a.UUID()) {
		t.Fatalf("Absorb() = %v, in the trash %v", err, e.trashed(a.UUID()))
	}
	if got := get(t, b, "a/f"); got != "theirs" {
		t.Errorf("the file = %q", got)
	}
	if got := get(t, b, "a/z"); got != "z" {
		t.Errorf("ours = %q", got)
	}
}
