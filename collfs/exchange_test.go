package collfs_test

import (
	"context"
	"errors"
	"io/fs"
	"reflect"
	"testing"

	"keepdav/collfs"
)

func TestExchange(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	a, _ := twoCollections(t, e, f) // d/x d/y z
	if _, err := a.Hardlink("d/x", "l", nil); err != nil {
		t.Fatal(err)
	}
	h := openRW(t, a, "z")
	if err := a.Exchange("d/x", "z"); err != nil {
		t.Fatal(err)
	}
	if p, ok := h.Path(); p != "d/x" || !ok {
		t.Errorf("the handle's file is at %q, %v", p, ok)
	}
	if _, err := h.WriteAt(ctx, []byte("Z!"), 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := a.Exchange("d", "z"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct {
		a, b string
		want error
	}{{"z", "z/y", collfs.ErrIntoItself}, {"z/y", "z", collfs.ErrIntoItself}, {"none", "z", fs.ErrNotExist}, {"z", "none", fs.ErrNotExist}, {"", "z", fs.ErrInvalid}} {
		if err := a.Exchange(bad.a, bad.b); !errors.Is(err, bad.want) {
			t.Errorf("Exchange(%q, %q) = %v; want %v", bad.a, bad.b, err, bad.want)
		}
	}
	if err := a.Exchange("d", "l"); err != nil { // two names of one file
		t.Errorf("exchange of one file with itself = %v", err)
	}
	commit(t, a)
	want := map[string]string{"z/": "", "z/x": "Z!", "z/y": "y", "d": "x", "l": "x"}
	if got := files(t, a); !reflect.DeepEqual(got, want) {
		t.Errorf("the collection has %v; want %v", got, want)
	}
	again := e.open(e.fs(), a.UUID())
	if got := files(t, again); !reflect.DeepEqual(got, want) {
		t.Errorf("the catalog has %v; want %v", got, want)
	}
	if i, err := again.Stat("d"); err != nil || i.Links != 2 {
		t.Errorf("the linked file has %d links, %v", i.Links, err)
	}
}
