package collfs_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"testing"

	"keepdav/collfs"
)

// view returns a view of f and what it is told.
func view(t *testing.T, f *collfs.FS) (*collfs.View, func() []collfs.Notice) {
	t.Helper()
	told := make(chan collfs.Notice, 1000)
	v := f.NewView(func(n collfs.Notice) { told <- n })
	t.Cleanup(v.Close)
	return v, func() (all []collfs.Notice) {
		for len(told) > 0 {
			all = append(all, <-told)
		}
		return all
	}
}

func lookup(t *testing.T, r collfs.Ref, names ...string) collfs.Ref {
	t.Helper()
	for _, name := range names {
		next, _, err := r.Lookup(name)
		if err != nil {
			t.Fatalf("Lookup(%q) = %v", name, err)
		}
		t.Cleanup(func() { next.Forget(1) })
		r = next
	}
	return r
}

func rootOf(t *testing.T, v *collfs.View, c *collfs.Collection) collfs.Ref {
	t.Helper()
	r := v.Root(c)
	t.Cleanup(func() { r.Forget(1) })
	return r
}

func TestRefStaysWithWhatItIs(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	a, b := twoCollections(t, e, f)
	v, _ := view(t, f)
	root, rootB := rootOf(t, v, a), rootOf(t, v, b)
	d := lookup(t, root, "d")
	x := lookup(t, d, "x")
	if got := lookup(t, root, "d", "x"); got.Key() != x.Key() {
		t.Error("two Refs on one file have different keys")
	}
	path := func(what string, r collfs.Ref, c *collfs.Collection, want string) {
		t.Helper()
		if got, ok := r.Path(); got != want || !ok || r.Collection() != c {
			t.Errorf("%s: path = %q, %v in %s; want %q in %s", what, got, ok, r.Collection().UUID(), want, c.UUID())
		}
	}
	if err := root.Rename("d", root, "e", collfs.ReplacePOSIX); err != nil {
		t.Fatal(err)
	}
	path("renamed directory", d, a, "e")
	path("file in a renamed directory", x, a, "e/x")
	h, err := x.Open(os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Rename("e", rootB, "g", collfs.ReplacePOSIX); !errors.Is(err, collfs.ErrOtherCollection) {
		t.Fatalf("rename into another collection = %v", err)
	}
	if err := root.Transfer(ctx, "e", rootB, "g", collfs.ReplacePOSIX); err != nil {
		t.Fatal(err)
	}
	path("directory moved to another collection", d, b, "g")
	path("file in it", x, b, "g/x")
	if _, err := h.WriteAt(ctx, []byte("moved"), 0); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := d.Create("new", collfs.Attr{}, -1); err != nil {
		t.Fatal(err)
	}
	if got, want := files(t, b), (map[string]string{"g/": "", "g/x": "moved", "g/y": "y", "g/new": ""}); !reflect.DeepEqual(got, want) {
		t.Errorf("the other collection has %v; want %v", got, want)
	}
	rec, err := f.Extract(ctx, b, "g", e.home, "own", collfs.TransferOptions{Move: true})
	if err != nil {
		t.Fatal(err)
	}
	own := e.open(f, rec.UUID)
	path("directory that has become a collection", d, own, "")
	path("file in it", x, own, "x")
	if _, err := f.Absorb(ctx, own, a, "back", collfs.TransferOptions{Move: true}); err != nil {
		t.Fatal(err)
	}
	path("collection that has become a directory", d, a, "back")
	path("file in it", x, a, "back/x")
	if _, err := h.WriteAt(ctx, []byte("M"), 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if got := get(t, a, "back/x"); got != "Moved" {
		t.Errorf("the file has %q", got)
	}
}

func TestRefOfWhatIsGone(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	a, _ := twoCollections(t, e, f)
	v, _ := view(t, f)
	root := rootOf(t, v, a)
	d := lookup(t, root, "d")
	x, y := lookup(t, d, "x"), lookup(t, d, "y")
	if err := d.Remove("x", false); err != nil {
		t.Fatal(err)
	}
	if info, linked := x.Info(); linked || info.Size != 1 {
		t.Errorf("an unlinked file has %+v, linked %v", info, linked)
	}
	put(t, a, "d/x", "another")
	h, err := x.Open(os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, []byte("unseen"), 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if got := get(t, a, "d/x"); got != "another" {
		t.Errorf("the file that has its name now has %q", got)
	}
	if err := a.RemoveAll("d", nil); err != nil {
		t.Fatal(err)
	}
	if _, linked := y.Info(); linked {
		t.Error("a file in a directory that was removed says that it has a name")
	}
	if _, _, err := d.Lookup("y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lookup in a directory that is gone = %v", err)
	}
	if _, _, err := d.Mkdir("z", collfs.Attr{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("mkdir in a directory that is gone = %v", err)
	}
	if _, err := y.Open(os.O_RDWR); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of a file of a directory that another has taken away = %v", err)
	}
	if err := a.Commit(ctx, false); err != nil {
		t.Fatal(err)
	}
	if got, want := files(t, e.open(e.fs(), a.UUID())), (map[string]string{"z": "z"}); !reflect.DeepEqual(got, want) {
		t.Errorf("the catalog has %v; want %v", got, want)
	}
}

// Until a mount's kernel knows of a change, it opens the file that was there before.
func TestNothingIsWrittenToAFileThatAnotherHasTakenAway(t *testing.T) {
	ctx := context.Background()
	for name, other := range map[string]func(c *collfs.Collection) error{
		"Removed":    func(c *collfs.Collection) error { return c.Remove("d/x", nil) },
		"AllRemoved": func(c *collfs.Collection) error { return c.RemoveAll("d", nil) },
		"Replaced":   func(c *collfs.Collection) error { put(t, c, "d/x", "theirs"); return nil },
		"RenamedOver": func(c *collfs.Collection) error {
			_, err := c.Rename("z", "d/x", collfs.CopyOptions{Replace: collfs.ReplacePOSIX})
			return err
		},
	} {
		for _, far := range []bool{false, true} {
			e := newEnv(t)
			f := e.fs()
			a, _ := twoCollections(t, e, f)
			commit(t, a)
			v, _ := view(t, f)
			x := lookup(t, rootOf(t, v, a), "d", "x")
			c := a
			if far {
				c = e.open(e.fs(), a.UUID())
			}
			if err := other(c); err != nil {
				t.Fatal(err)
			}
			commit(t, c)
			if err := a.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := x.Open(os.O_RDWR); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, far %v: Open() = %v; want %v", name, far, err, fs.ErrNotExist)
			}
			_, err := x.SetAttr(func(i collfs.NodeInfo) (collfs.Attr, error) { return i.Attr, nil })
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s, far %v: SetAttr() = %v; want %v", name, far, err, fs.ErrNotExist)
			}
		}
	}
}

func TestViewIsToldOfOthersOnly(t *testing.T) {
	e := newEnv(t)
	f := e.fs()
	a, _ := twoCollections(t, e, f)
	v, told := view(t, f)
	_, toldOther := view(t, f)
	root := rootOf(t, v, a)
	d := lookup(t, root, "d")
	x := lookup(t, d, "x")
	h, err := x.Open(os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close(context.Background())
	if _, err := h.WriteAt(context.Background(), []byte("Y"), 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Mkdir("sub", collfs.Attr{}); err != nil {
		t.Fatal(err)
	}
	if got := told(); len(got) > 0 {
		t.Errorf("a view is told of its own changes: %+v", got)
	}
	want := []collfs.Notice{
		{Collection: a.UUID(), Path: "d/x", At: x.Key()},
		{Collection: a.UUID(), Path: "d/sub", At: lookup(t, d, "sub").Key(), In: d.Key()},
	}
	got := toldOther()
	if len(got) != len(want) {
		t.Fatalf("another view is told %+v; want %+v", got, want)
	}
	for i := range want {
		if got[i].Path != want[i].Path || got[i].In != want[i].In {
			t.Errorf("another view is told %+v; want %+v", got[i], want[i])
		}
	}
	put(t, a, "d/y", "other")
	if got := told(); len(got) != 1 || got[0].Path != "d/y" || got[0].In != d.Key() {
		t.Errorf("told of another's change: %+v", got)
	}
}

// A Ref follows its file into the tree that another's commit has made.
func TestRefSurvivesARefresh(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	a, _ := twoCollections(t, e, f)
	commit(t, a)
	v, _ := view(t, f)
	root := rootOf(t, v, a)
	d := lookup(t, root, "d")
	x, y := lookup(t, d, "x"), lookup(t, d, "y")
	other := e.open(e.fs(), a.UUID())
	put(t, other, "d/y", "changed")
	put(t, other, "d/w", "new")
	commit(t, other)
	if err := a.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if p, ok := x.Path(); p != "d/x" || !ok {
		t.Errorf("the file that did not change is at %q, %v", p, ok)
	}
	if _, linked := y.Info(); linked {
		t.Error("the old content of a file still has its name")
	}
	if got := lookup(t, d, "y"); got.Key() == y.Key() {
		t.Error("the new content is what the old was")
	}
	lookup(t, d, "w")
	if lookup(t, root, "d").Key() != d.Key() {
		t.Error("the directory is another one")
	}
}

// Whoever is given a Ref for a name believes that the name leads there.
func TestListGivesNoRefForANameThatLeadsElsewhere(t *testing.T) {
	e := newEnv(t)
	f := e.fs()
	a, _ := twoCollections(t, e, f)
	v, _ := view(t, f)
	root := rootOf(t, v, a)
	d := lookup(t, root, "d")
	list, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	if err := d.Rename("x", d, "z", collfs.ReplacePOSIX); err != nil {
		t.Fatal(err)
	}
	entries := make([]collfs.RefEntry, 10)
	got := map[string]bool{}
	for _, e := range entries[:list.Next(entries, true)] {
		got[e.Name] = e.Ref.OK()
		if e.Ref.OK() {
			e.Ref.Forget(1)
		}
	}
	if want := map[string]bool{"x": false, "y": true}; !reflect.DeepEqual(got, want) {
		t.Errorf("after x was renamed the list gives Refs for %v; want %v", got, want)
	}
	list.Seek(0)
	if err := d.Rename("y", root, "y", collfs.ReplacePOSIX); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries[:list.Next(entries, true)] {
		if e.Ref.OK() {
			e.Ref.Forget(1)
			t.Errorf("the list gives a Ref for %s, which is in another directory now", e.Name)
		}
	}
}
