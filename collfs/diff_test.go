package collfs_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"keepdav/collfs"
)

// told in words: the path, and whether what holds it or what is there is held.
func inWords(notices []collfs.Notice) (words []string) {
	for _, n := range notices {
		words = append(words, fmt.Sprintf("%s at=%v in=%v", n.Path, n.At != collfs.Key{}, n.In != collfs.Key{}))
	}
	slices.Sort(words)
	return words
}

// A view is told name by name what others have changed, and of nothing else, when
// all their changes come at once.
func TestViewIsToldWhatARefreshHasChanged(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs(func(cfg *collfs.Config) { cfg.Catalog = onlyLoads{e.catalog} })
	a := e.open(f, e.catalog.Create(e.home, "a"))
	other := e.open(e.fs(), a.UUID())
	for _, dir := range []string{"d", "not-held"} {
		if _, err := a.Mkdir(dir, collfs.Attr{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"kept", "changed", "gone", "open", "d/kept", "d/touched", "d/opened", "not-held/f", "becomes-dir"} {
		put(t, a, p, "old")
	}
	commit(t, a)
	v, told := view(t, f)
	root := rootOf(t, v, a)
	for _, name := range []string{"kept", "changed", "gone", "becomes-dir"} {
		lookup(t, root, name)
	}
	d := lookup(t, root, "d")
	for _, name := range []string{"kept", "touched"} {
		lookup(t, d, name)
	}
	open, err := lookup(t, root, "open").Open(os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close(ctx)
	opened, err := lookup(t, d, "opened").Open(os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close(ctx)

	if err := other.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	put(t, other, "changed", "new")
	put(t, other, "open", "new")
	put(t, other, "not-held/f", "new")
	put(t, other, "new", "new")
	for _, p := range []string{"gone", "becomes-dir"} {
		if err := other.Remove(p, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Mkdir("becomes-dir", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"d/touched", "d/opened"} {
		if _, err := other.SetAttr(p, func(i collfs.NodeInfo) (collfs.Attr, error) {
			i.Attr.Mtime = 12345
			return i.Attr, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, other)
	if err := a.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	want := []string{
		" at=false in=false", // all of it
		" at=true in=false",  // its times
		"becomes-dir at=false in=true", "changed at=false in=true",
		"d/opened at=true in=false", "d/touched at=true in=false",
		"gone at=false in=true", "new at=false in=true", "open at=false in=true",
	}
	if got := inWords(told()); !slices.Equal(got, want) {
		t.Errorf("told of\n%q; want\n%q", got, want)
	}

	if err := a.RemoveAll("", nil); err != nil {
		t.Fatal(err)
	}
	if root.Key() != rootOf(t, v, a).Key() {
		t.Error("the root is another directory when all in it was removed")
	}
	gone := inWords(told())
	for _, name := range []string{"kept", "changed", "d", "new"} {
		if !slices.Contains(gone, name+" at=false in=true") {
			t.Errorf("when all was removed, told of\n%q", gone)
			break
		}
	}
}
