package davfs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/davfs"
	"keepdav/keepio"
)

// locate is Locate without an error. What it has opened is released with the test.
func (r *rig) locate(name string) davfs.Located {
	r.t.Helper()
	l, err := r.Locate(r.ctx, name)
	if err != nil {
		r.t.Fatalf("Locate(%s) = %v", name, err)
	}
	if l.Collection != nil {
		r.t.Cleanup(l.Collection.Release)
	}
	return l
}

func TestNamesAreLocated(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.mkdir("/home/p/c", "/home/p/c/d")
	r.put("/home/p/c/d/f", "data")
	r.put("/home/p/loose", "loose data")
	c := r.entry(p, "c").Collection.UUID
	loose := r.entry(p, "Loose files").Collection.UUID
	pdh := r.pdhOf(c)
	byID := func(id collfs.UUID) string { return "/by_id/" + string(id) }
	for _, k := range []struct {
		name string
		want davfs.Located // of Info only Name, Dir, Size, Collection and Path are compared
		in   collfs.UUID   // the collection
	}{
		{"/", davfs.Located{Folder: true, ReadOnly: true, Canonical: "/", Info: davfs.Info{Name: "/", Dir: true, Path: "/"}}, ""},
		{"/users", davfs.Located{Folder: true, ReadOnly: true, Canonical: "/users", Info: davfs.Info{Name: "users", Dir: true, Path: "/users"}}, ""},
		{"/by_id", davfs.Located{Folder: true, ReadOnly: true, Canonical: "/by_id", Info: davfs.Info{Name: "by_id", Dir: true, Path: "/by_id"}}, ""},
		{"/shared", davfs.Located{Folder: true, ReadOnly: true, Canonical: "/shared", Info: davfs.Info{Name: "shared", Dir: true, Path: "/shared"}}, ""},
		{"/home", davfs.Located{Folder: true, Canonical: byID(r.admin.UUID), UUID: r.admin.UUID,
			Info: davfs.Info{Name: "home", Dir: true, Collection: r.admin.UUID}}, ""},
		{"/users/admin", davfs.Located{Folder: true, Canonical: byID(r.admin.UUID), UUID: r.admin.UUID,
			Info: davfs.Info{Name: "admin", Dir: true, Collection: r.admin.UUID}}, ""},
		{"/home/p", davfs.Located{Folder: true, Canonical: byID(p), UUID: p, Info: davfs.Info{Name: "p", Dir: true, Collection: p}}, ""},
		{byID(p), davfs.Located{Folder: true, Canonical: byID(p), UUID: p, Info: davfs.Info{Name: string(p), Dir: true, Collection: p}}, ""},
		{"/home/p/c", davfs.Located{Canonical: "/home/p/c", UUID: c, Info: davfs.Info{Name: "c", Dir: true, Collection: c}}, c},
		{byID(c), davfs.Located{Canonical: byID(c), UUID: c, Info: davfs.Info{Name: string(c), Dir: true, Collection: c}}, c},
		{"/home/p/c/d", davfs.Located{Canonical: "/home/p/c/d", UUID: c, Path: "d", Info: davfs.Info{Name: "d", Dir: true, Collection: c, Path: "d"}}, c},
		{"/home/p/c/d/f", davfs.Located{Canonical: "/home/p/c/d/f", UUID: c, Path: "d/f",
			Info: davfs.Info{Name: "f", Size: 4, Collection: c, Path: "d/f"}}, c},
		{"/home/p/loose", davfs.Located{Canonical: "/home/p/loose", UUID: loose, Path: "loose",
			Info: davfs.Info{Name: "loose", Size: 10, Collection: p, Path: "loose"}}, loose},
		{"/by_id/" + string(pdh) + "/d/f", davfs.Located{Canonical: "/by_id/" + string(pdh) + "/d/f", UUID: c, Path: "d/f", ReadOnly: true,
			Info: davfs.Info{Name: "f", Size: 4, Collection: c, Path: "d/f"}}, c},
		{"/home/p/c/.arvados#collection", davfs.Located{Canonical: byID(c) + "/.arvados#collection", UUID: c, ReadOnly: true, Meta: true,
			Info: davfs.Info{Name: ".arvados#collection", Size: -1, Collection: c, Path: ".arvados#collection"}}, ""},
		{"/home/p/.arvados#project", davfs.Located{Canonical: byID(p) + "/.arvados#project", UUID: p, ReadOnly: true, Meta: true,
			Info: davfs.Info{Name: ".arvados#project", Size: -1, Collection: p, Path: ".arvados#project"}}, ""},
	} {
		got := r.locate(k.name)
		in := collfs.UUID("")
		if got.Collection != nil {
			in = got.Collection.UUID()
		}
		got.Collection = nil
		if got.Info.ReadOnly != got.ReadOnly {
			t.Errorf("Locate(%s): ReadOnly is %v, but %v in Info", k.name, got.ReadOnly, got.Info.ReadOnly)
		}
		if i := got.Info; k.want.UUID != "" && i.ModTime.IsZero() && k.name != "/home" && k.name != "/users/admin" {
			t.Errorf("Locate(%s): no time", k.name)
		}
		i := got.Info
		got.Info = davfs.Info{Name: i.Name, Dir: i.Dir, Size: i.Size, Collection: i.Collection, Path: i.Path}
		if in != k.in || !equalLocated(got, k.want) {
			t.Errorf("Locate(%s) = %+v in %q; want %+v in %q", k.name, got, in, k.want, k.in)
		}
	}
	for _, name := range []string{"/nothing", "/home/nothing", "/home/p/nothing", "/home/p/c/nothing", "/home/p/c/nothing/f",
		"/home/nothing/f", "/by_id/nothing", "/users/nobody", "/shared/nobody/x", "/home/.arvados#collection", "/home/p/c/d/.arvados#collection"} {
		_, err := r.Locate(r.ctx, name)
		wantErr(t, "Locate "+name, err, fs.ErrNotExist)
	}
}

func equalLocated(a, b davfs.Located) bool {
	ai, bi := a.Info, b.Info
	return a.Folder == b.Folder && a.Canonical == b.Canonical && a.Path == b.Path && a.UUID == b.UUID && a.ReadOnly == b.ReadOnly &&
		a.Meta == b.Meta && ai.Name == bi.Name && ai.Dir == bi.Dir && ai.Size == bi.Size && ai.Collection == bi.Collection && ai.Path == bi.Path
}

// pdhOf computes the portable data hash of a collection.
func (r *rig) pdhOf(id collfs.UUID) collfs.PDH {
	r.t.Helper()
	c, err := r.files.Open(r.ctx, id)
	r.must(err)
	defer c.Release()
	pdh, err := c.PDH(r.ctx)
	r.must(err)
	if r.mem != nil {
		r.mem.SetPDH(func(of collfs.UUID, _ collfs.Saved) (collfs.PDH, error) {
			if of == id {
				return pdh, nil
			}
			return "", nil
		})
	}
	return pdh
}

// The canonical name of a project leads to it, whatever it is called by then.
func TestCanonicalNamesOutliveRenames(t *testing.T) {
	r := newRig(t)
	r.project(r.admin.UUID, "p")
	r.mkdir("/home/p/c")
	r.put("/home/p/c/f", "data")
	was := r.locate("/home/p")
	r.move("/home/p", "/home/q")
	r.want(was.Canonical+"/c/f", "data")
	if now := r.locate("/home/q"); now.Canonical != was.Canonical {
		t.Errorf("canonical name of the project = %s; it was %s", now.Canonical, was.Canonical)
	}
	_, err := r.Locate(r.ctx, "/home/p")
	wantErr(t, "Locate of the old name", err, fs.ErrNotExist)
}

func TestLocateComparesBytes(t *testing.T) {
	r := newRig(t)
	composed, decomposed := "Caf\u00e9", "Cafe\u0301"
	r.mkdir("/home/"+composed, "/home/"+composed+"/"+composed)
	for _, name := range []string{"/home/" + decomposed, "/home/" + composed + "/" + decomposed} {
		if _, err := r.Stat(r.ctx, name); err != nil {
			t.Errorf("Stat of the other form = %v; others find it", err)
		}
		_, err := r.Locate(r.ctx, name)
		wantErr(t, "Locate of the other form", err, fs.ErrNotExist)
	}
	exact := davfs.WithClient(r.ctx, davfs.Client{Exact: true})
	for _, name := range []string{"/home/" + decomposed, "/home/" + composed + "/" + decomposed} {
		if _, err := r.Mkdir(exact, name, davfs.AttrChange{}); err != nil {
			t.Errorf("Mkdir of the other form beside the one = %v", err)
		}
		r.locate(name)
	}
	r.mkdir("/home/lower")
	folding := davfs.WithClient(r.ctx, davfs.Client{FoldCase: true})
	l, err := r.Locate(folding, "/home/LOWER")
	if err != nil {
		t.Fatalf("Locate for a client that folds case = %v", err)
	}
	l.Collection.Release()
}

func TestLocateObeysLevels(t *testing.T) {
	r := newRig(t)
	u, f := r.user("reader")
	p := r.project(r.admin.UUID, "p")
	r.mkdir("/home/p/c")
	c := r.entry(p, "c").Collection.UUID
	name := "/by_id/" + string(c)
	level := func(want collfs.Level) {
		t.Helper()
		r.site.ForgetAccess()
		if l, err := f.Level(r.ctx, c); l != want || err != nil {
			t.Errorf("Level() = %v, %v; want %v", l, err, want)
		}
	}
	level(collfs.NoAccess)
	_, err := f.Locate(r.ctx, name)
	wantErr(t, "Locate of what may not be read", err, fs.ErrNotExist)
	for _, want := range []collfs.Level{collfs.CanRead, collfs.CanWrite} {
		r.grant(u.UUID, c, want)
		level(want)
		l, err := f.Locate(r.ctx, name)
		if err != nil || l.ReadOnly != (want < collfs.CanWrite) {
			t.Fatalf("Locate at level %v = read-only %v, %v", want, l.ReadOnly, err)
		}
		l.Collection.Release()
	}
	if l, err := f.Level(r.ctx, "zzzzz-4zz18-000000000000000"); l != collfs.NoAccess || err != nil {
		t.Errorf("Level() of nothing = %v, %v; want none", l, err)
	}
}

// countedFolders counts queries.
type countedFolders struct {
	backend
	queries atomic.Int32
}

func (c *countedFolders) Lookup(ctx context.Context, project collfs.UUID, name string) (collfs.Entry, error) {
	c.queries.Add(1)
	return c.backend.Lookup(ctx, project, name)
}

func (c *countedFolders) Entry(ctx context.Context, id collfs.UUID) (collfs.Entry, error) {
	c.queries.Add(1)
	return c.backend.Entry(ctx, id)
}

func (c *countedFolders) Access(ctx context.Context, user, id collfs.UUID) (collfs.Level, error) {
	c.queries.Add(1)
	return c.backend.Access(ctx, user, id)
}

func (c *countedFolders) List(ctx context.Context, id collfs.UUID) ([]collfs.Entry, error) {
	c.queries.Add(1)
	return c.backend.List(ctx, id)
}

// The clock stands still meanwhile: levels are remembered for a second.
func TestLocateInAProjectThatIsKnownCostsNoQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counted := new(countedFolders)
		r := newRig(t, func(c *davfs.Config) {
			counted.backend = c.Folders.(backend)
			c.Folders = counted
		})
		p := r.project(r.admin.UUID, "p")
		r.mkdir("/home/p/c")
		r.put("/home/p/c/f", "data")
		r.put("/home/p/loose", "data")
		names := []string{"/c", "/c/f", "/loose"}
		for _, name := range names {
			r.locate("/by_id/" + string(p) + name)
		}
		before := counted.queries.Load()
		for _, name := range names {
			r.locate("/by_id/" + string(p) + name)
		}
		for range 2 {
			_, err := r.Locate(r.ctx, "/by_id/"+string(p)+"/nothing")
			wantErr(t, "Locate of nothing", err, fs.ErrNotExist)
		}
		if n := counted.queries.Load() - before; n > 1 {
			t.Errorf("%d queries; want one, for what was not known to be missing", n)
		}
		synctest.Wait()
	})
}

func TestFilesAreMadeInTheLooseCollection(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	c, err := r.LooseCollection(r.ctx, "/home/p")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_CREATE | os.O_EXCL | os.O_WRONLY})
	r.must(err)
	_, err = h.WriteAt(r.ctx, []byte("data"), 0)
	r.must(err)
	r.must(h.Close(r.ctx))
	r.want("/home/p/f", "data")
	r.wantList("/home/p", "f")
	again, err := r.LooseCollection(r.ctx, "/by_id/"+string(p))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Release()
	if again != c {
		t.Errorf("the second collection is %s; the first %s", again.UUID(), c.UUID())
	}
	r.mkdir("/home/p/c")
	for name, want := range map[string]error{
		"/": collfs.ErrReadOnly, "/users": collfs.ErrReadOnly, "/home/p/c": collfs.ErrNotDir, "/home/p/f": collfs.ErrNotDir,
		"/home/nothing": fs.ErrNotExist, "/home/p/.arvados#project": collfs.ErrNotDir,
	} {
		_, err := r.LooseCollection(r.ctx, name)
		wantErr(t, "LooseCollection of "+name, err, want)
	}
	u, f := r.user("reader")
	r.grant(u.UUID, p, collfs.CanRead)
	_, err = f.LooseCollection(r.ctx, "/by_id/"+string(p))
	wantErr(t, "LooseCollection for a reader", err, collfs.ErrReadOnly)
}

// Another one is made when that of a moment ago is in the trash.
func TestLooseCollectionThatIsGoneIsMadeAnew(t *testing.T) {
	r := newRig(t)
	first, err := r.LooseCollection(r.ctx, "/home")
	if err != nil {
		t.Fatal(err)
	}
	first.Release()
	r.records(collfs.RecordOp{Kind: collfs.Trash, UUID: first.UUID()})
	second, err := r.LooseCollection(r.ctx, "/home")
	if err != nil {
		t.Fatal(err)
	}
	second.Release()
	if second.UUID() == first.UUID() {
		t.Error("the collection of the loose files is the one in the trash")
	}
}

func TestMetaShowsWhatIsNotSavedYet(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.mkdir("/home/p/c")
	r.put("/home/p/c/f", "saved")
	h := r.handle("/home/p/c/f")
	write(t, h, "not saved", 0)
	l := r.locate("/home/p/c/.arvados#collection")
	data, i, err := r.Meta(r.ctx, l.Canonical)
	if err != nil || i.Size != int64(len(data)) || i.Name != ".arvados#collection" || !i.ReadOnly || i.Collection != l.UUID || i.ModTime.IsZero() {
		t.Fatalf("Meta() = %+v, %v of %d bytes", i, err, len(data))
	}
	var rec struct {
		UUID  collfs.UUID `json:"uuid"`
		Text  string      `json:"manifest_text"`
		PDH   collfs.PDH  `json:"portable_data_hash"`
		Files int64       `json:"file_count"`
		Bytes int64       `json:"file_size_total"`
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		t.Fatal(err)
	}
	if rec.UUID != l.UUID || rec.Files != 1 || rec.Bytes != 9 || rec.PDH != collfs.PDH(manifest.PDH([]byte(rec.Text))) {
		t.Errorf("record = %+v", rec)
	}
	tree, err := collfs.ParseManifest([]byte(rec.Text), r.spool)
	r.must(err)
	tree.Blocks(func(s keepio.Segment) {
		buf := make([]byte, s.Len)
		if _, err := r.spool.ReadBlock(r.ctx, s.Block, buf, int64(s.Off)); err != nil || string(buf) != "not saved" {
			t.Errorf("the manifest leads to %q, %v", buf, err)
		}
	})
	write(t, h, "more", 9)
	if again, _, err := r.Meta(r.ctx, "/home/p/c/.arvados#collection"); err != nil || bytes.Equal(again, data) {
		t.Errorf("Meta() after another write = %s, %v", again, err)
	}
	r.must(h.Close(r.ctx))

	data, i, err = r.Meta(r.ctx, "/home/p/.arvados#project")
	if err != nil || !bytes.Contains(data, []byte(`"uuid":"`+p+`"`)) || i.Collection != p || i.Size != int64(len(data)) {
		t.Errorf("Meta() of a project = %s, %+v, %v", data, i, err)
	}
	for name, want := range map[string]error{"/home/p/c/f": fs.ErrInvalid, "/home/p": fs.ErrInvalid, "/home/q/.arvados#project": fs.ErrNotExist} {
		_, _, err := r.Meta(r.ctx, name)
		wantErr(t, "Meta of "+name, err, want)
	}
}
