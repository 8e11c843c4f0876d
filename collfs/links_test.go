package collfs_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"keepdav/collfs"
	"keepdav/keepio"
)

func hardlink(t *testing.T, c *collfs.Collection, src, dst string) {
	t.Helper()
	if _, err := c.Hardlink(src, dst, nil); err != nil {
		t.Fatal(err)
	}
}

func openRW(t *testing.T, c *collfs.Collection, path string) *collfs.Handle {
	t.Helper()
	h, _, err := c.OpenFile(path, collfs.OpenOptions{Flags: os.O_RDWR})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// wantFiles checks what is in a collection, now and when it is loaded again:
// "path=content", with xN for N links.
func (e *env) wantFiles(t *testing.T, c *collfs.Collection, want ...string) {
	t.Helper()
	commit(t, c)
	for _, c := range []*collfs.Collection{c, e.open(e.fs(), c.UUID())} {
		var got []string
		for path, content := range files(t, c) {
			if strings.HasSuffix(path, "/") {
				continue
			}
			i, err := c.Stat(path)
			if err != nil || path[strings.LastIndexByte(path, '/')+1:] != i.Name {
				t.Errorf("Stat(%q) = %+v, %v", path, i, err)
			}
			got = append(got, path+"="+content+strings.Repeat(" x", min(1, int(i.Links)-1))+strings.Repeat("i", int(i.Links)-1))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("there is %q; want %q", got, want)
		}
	}
}

func TestHardLinksAreOneFile(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	mustMkdir(t, c, "d", collfs.Attr{})
	put(t, c, "f", "one")
	i, err := c.Hardlink("f", "d/g", func(i collfs.NodeInfo, exists bool) error {
		if exists {
			t.Errorf("the target is %+v", i)
		}
		return nil
	})
	if err != nil || i.Name != "g" || i.Links != 2 {
		t.Errorf("Hardlink() = %+v, %v; want g, with 2 links", i, err)
	}
	e.wantFiles(t, c, "d/g=one xi", "f=one xi")

	put(t, c, "d/g", "two")
	e.wantFiles(t, c, "d/g=two xi", "f=two xi")
	h := openRW(t, c, "f")
	if _, err := h.WriteAt(ctx, []byte("three"), 0); err != nil {
		t.Fatal(err)
	}
	if i, err := c.Stat("d/g"); err != nil || i.Size != 5 {
		t.Errorf("Stat() = %+v, %v; want 5 bytes", i, err)
	}
	e.wantFiles(t, c, "d/g=three xi", "f=three xi")
	if err := h.Truncate(2); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	e.wantFiles(t, c, "d/g=th xi", "f=th xi")
	setMtime(t, c, "d/g", 77)
	for _, path := range []string{"f", "d/g"} {
		if i, err := c.Stat(path); err != nil || i.Attr.Mtime != 77 {
			t.Errorf("Stat(%q) = %+v, %v; want what was set under the other name", path, i, err)
		}
	}
	if rec, err := c.Record(ctx); err != nil || rec.Files != 2 || rec.Bytes != 4 {
		t.Errorf("the collection has %d files, %d bytes, %v; want each name to count", rec.Files, rec.Bytes, err)
	}
	text, err := c.Manifest(ctx)
	if err != nil || strings.Count(string(text), ":2:") != 2 {
		t.Errorf("the manifest is %q, %v; want both names, with 2 bytes", text, err)
	}
}

func TestHardlinkRefuses(t *testing.T) {
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	mustMkdir(t, c, "d", collfs.Attr{})
	put(t, c, "f", "x")
	put(t, c, "g", "x")
	for _, tt := range []struct {
		src, dst string
		check    collfs.Check
		want     error
	}{
		{"d", "e", nil, collfs.ErrIsDir},
		{"", "e", nil, collfs.ErrIsDir},
		{"nope", "e", nil, fs.ErrNotExist},
		{"f", "g", nil, fs.ErrExist},
		{"f", "d", nil, fs.ErrExist},
		{"f", "f", nil, fs.ErrExist},
		{"f", "nope/e", nil, fs.ErrNotExist},
		{"f", "g/e", nil, collfs.ErrNotDir},
		{"f", strings.Repeat("n", 256), nil, collfs.ErrNameTooLong},
		{"f", "e", func(collfs.NodeInfo, bool) error { return errInjected }, errInjected},
	} {
		if _, err := c.Hardlink(tt.src, tt.dst, tt.check); !errors.Is(err, tt.want) {
			t.Errorf("Hardlink(%q, %.20q) = %v; want %v", tt.src, tt.dst, err, tt.want)
		}
	}
	e.wantFiles(t, c, "f=x", "g=x")
}

func TestNamesOfAFileGoOneByOne(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	put(t, c, "f", "one")
	hardlink(t, c, "f", "g")
	h := openRW(t, c, "f")
	before, _ := c.Stat("g")
	if err := c.Remove("f", nil); err != nil {
		t.Fatal(err)
	}
	if i, _ := c.Stat("g"); i.Attr.Ctime <= before.Attr.Ctime || i.Attr.Mtime != before.Attr.Mtime {
		t.Errorf("the times of the other name are %+v after %+v; want another Ctime", i.Attr, before.Attr)
	}
	if _, err := h.WriteAt(ctx, []byte("two"), 0); err != nil {
		t.Fatal(err)
	}
	if p, ok := h.Path(); p != "g" || !ok || h.Info().Links != 1 {
		t.Errorf("the handle is at %q, %v, with %d links; want g", p, ok, h.Info().Links)
	}
	e.wantFiles(t, c, "g=two")
	was := h.Info().Attr.Ctime
	if err := c.Remove("g", nil); err != nil {
		t.Fatal(err)
	}
	if p, ok := h.Path(); ok || h.Info().Links != 0 || h.Info().Attr.Ctime <= was {
		t.Errorf("the handle is at %q, %v, and says %+v; want no name", p, ok, h.Info())
	}
	if _, err := h.Append(ctx, []byte(" more")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 20)
	if n, _ := h.ReadAt(ctx, buf, 0); string(buf[:n]) != "two more" {
		t.Errorf("the handle reads %q", buf[:n])
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	e.wantFiles(t, c)
}

func TestRenameMovesOneNameOfAFile(t *testing.T) {
	ctx := context.Background()
	posix := collfs.CopyOptions{Replace: collfs.ReplacePOSIX}
	for _, tt := range []struct {
		name string
		do   func(c *collfs.Collection) error
		want []string
		err  error
	}{
		{"to a new name", func(c *collfs.Collection) error { _, err := c.Rename("f", "n", posix); return err }, []string{"d/g=new xi", "n=new xi", "x=other"}, nil},
		{"over another file", func(c *collfs.Collection) error { _, err := c.Rename("f", "x", posix); return err }, []string{"d/g=new xi", "x=new xi"}, nil},
		{"of another file over it", func(c *collfs.Collection) error { _, err := c.Rename("x", "f", posix); return err }, []string{"d/g=new", "f=other"}, nil},
		{"over another name", func(c *collfs.Collection) error { _, err := c.Rename("f", "d/g", posix); return err }, []string{"d/g=new xi", "f=new xi", "x=other"}, nil},
		{"over another name, which goes first", func(c *collfs.Collection) error {
			_, err := c.Rename("f", "d/g", collfs.CopyOptions{Replace: collfs.ReplaceAny})
			return err
		}, []string{"d/g=new", "x=other"}, nil},
		{"over another name, which may not be replaced", func(c *collfs.Collection) error {
			_, err := c.Rename("f", "d/g", collfs.CopyOptions{})
			return err
		}, []string{"d/g=new xi", "f=new xi", "x=other"}, fs.ErrExist},
		{"of the directory", func(c *collfs.Collection) error { _, err := c.Rename("d", "e", posix); return err }, []string{"e/g=new xi", "f=new xi", "x=other"}, nil},
		{"over the directory", func(c *collfs.Collection) error {
			_, err := c.Rename("f", "d", collfs.CopyOptions{Replace: collfs.ReplaceAny})
			return err
		}, []string{"d=new", "x=other"}, nil},
		{"copy over another name", func(c *collfs.Collection) error {
			_, err := c.Copy("f", "d/g", collfs.CopyOptions{Replace: collfs.ReplaceAny})
			return err
		}, []string{"d/g=old", "f=new", "x=other"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
			mustMkdir(t, c, "d", collfs.Attr{})
			put(t, c, "f", "old")
			put(t, c, "x", "other")
			hardlink(t, c, "f", "d/g")
			h := openRW(t, c, "f")
			if err := tt.do(c); !errors.Is(err, tt.err) {
				t.Fatalf("%v; want %v", err, tt.err)
			}
			if _, err := h.WriteAt(ctx, []byte("new"), 0); err != nil {
				t.Fatal(err)
			}
			if err := h.Close(ctx); err != nil {
				t.Fatal(err)
			}
			e.wantFiles(t, c, tt.want...)
		})
	}
}

func TestSubtreesKeepTheLinksInThem(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	c, other := e.open(f, e.catalog.Create(e.home, "c")), e.open(f, e.catalog.Create(e.home, "other"))
	mustMkdir(t, c, "d", collfs.Attr{})
	mustMkdir(t, c, "d/e", collfs.Attr{})
	put(t, c, "d/a", "one")
	for _, dst := range []string{"d/e/b", "out"} {
		hardlink(t, c, "d/a", dst)
	}
	if _, err := c.Copy("d", "copy", collfs.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	put(t, c, "copy/e/b", "two")
	e.wantFiles(t, c, "copy/a=two xi", "copy/e/b=two xi", "d/a=one xii", "d/e/b=one xii", "out=one xii")

	h, inside := openRW(t, c, "d/a"), openRW(t, c, "copy/a")
	if _, err := f.Transfer(ctx, c, "d", other, "moved", collfs.TransferOptions{Move: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Transfer(ctx, c, "copy", other, "copy", collfs.TransferOptions{Move: true}); err != nil {
		t.Fatal(err)
	}
	for h, text := range map[*collfs.Handle]string{h: "stays", inside: "goes along"} {
		if _, err := h.WriteAt(ctx, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	e.wantFiles(t, c, "out=stays")
	e.wantFiles(t, other, "copy/a=goes along xi", "copy/e/b=goes along xi", "moved/a=one xi", "moved/e/b=one xi")

	rec, err := f.Extract(ctx, other, "moved", e.home, "new", collfs.TransferOptions{Move: true})
	if err != nil {
		t.Fatal(err)
	}
	made := e.open(f, rec.UUID)
	put(t, made, "a", "three")
	e.wantFiles(t, made, "a=three xi", "e/b=three xi")
	if _, err := f.Absorb(ctx, made, c, "back", collfs.TransferOptions{Move: true}); err != nil {
		t.Fatal(err)
	}
	put(t, c, "back/a", "four")
	e.wantFiles(t, c, "back/a=four xi", "back/e/b=four xi", "out=stays")
	hardlink(t, c, "out", "back/second")
	rec, err = f.Extract(ctx, c, "back/second", e.home, "file", collfs.TransferOptions{Move: true})
	if err != nil {
		t.Fatal(err)
	}
	e.wantFiles(t, e.open(f, rec.UUID), "second=stays")
	e.wantFiles(t, c, "back/a=four xi", "back/e/b=four xi", "out=stays")
}

func TestRemovingADirectoryLeavesTheNamesElsewhere(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	mustMkdir(t, c, "d", collfs.Attr{})
	put(t, c, "d/a", "one")
	put(t, c, "d/z", "in d only")
	hardlink(t, c, "d/a", "d/b")
	hardlink(t, c, "d/a", "out")
	hardlink(t, c, "d/z", "d/y")
	h, gone := openRW(t, c, "d/b"), openRW(t, c, "d/y")
	if err := c.RemoveAll("d", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Append(ctx, []byte(" more")); err != nil {
		t.Fatal(err)
	}
	if p, ok := h.Path(); p != "out" || !ok {
		t.Errorf("the handle is at %q, %v; want out", p, ok)
	}
	if p, ok := gone.Path(); ok || gone.Info().Links != 0 {
		t.Errorf("the handle is at %q; want no name", p)
	}
	if err := errors.Join(h.Close(ctx), gone.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	e.wantFiles(t, c, "out=one more")
	hardlink(t, c, "out", "again")
	if err := c.RemoveAll("", nil); err != nil {
		t.Fatal(err)
	}
	e.wantFiles(t, c)
}

func TestNoticesNameAllNamesOfAFile(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	c := e.open(f, e.catalog.Create(e.home, "c"))
	mustMkdir(t, c, "d", collfs.Attr{})
	put(t, c, "f", "one")
	hardlink(t, c, "f", "d/g")
	h := openRW(t, c, "f")
	seen := make(map[string]bool)
	defer f.Subscribe(func(n collfs.Notice) { seen[n.Path] = true })()
	for _, tt := range []struct {
		name string
		do   func() error
		want string
	}{
		{"put", func() error { put(t, c, "f", "two"); return nil }, "d/g f"},
		{"attributes", func() error { setMtime(t, c, "f", 5); return nil }, "d/g f"},
		{"another name", func() error { _, err := c.Hardlink("f", "h", nil); return err }, "d/g f h"},
		{"a name goes", func() error { return c.Remove("f", nil) }, "d/g f h"},
		{"a name moves", func() error { _, err := c.Rename("h", "i", collfs.CopyOptions{}); return err }, "d/g h i"},
		{"a directory goes", func() error { return c.RemoveAll("d", nil) }, "d i"},
	} {
		clear(seen)
		if err := tt.do(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(seen)), " "); got != tt.want {
			t.Errorf("%s: notices of %s; want %s", tt.name, got, tt.want)
		}
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	hardlink(t, c, "i", "j")
	h = openRW(t, c, "i")
	clear(seen)
	if _, err := h.WriteAt(ctx, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if !seen["i"] || !seen["j"] {
		t.Errorf("a write: notices of %v; want i and j", seen)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// A file that somebody else has taken one name from is the same file under the
// others.
func TestHandleFollowsTheNamesThatARefreshLeaves(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	quiet := func(cfg *collfs.Config) { cfg.Catalog = quietCatalog{e.catalog} }
	one, two := e.open(e.fs(quiet), id), e.open(e.fs(quiet), id)
	put(t, one, "f", "one")
	hardlink(t, one, "f", "g")
	commit(t, one)
	if err := two.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	h := openRW(t, two, "f")
	if err := one.Remove("f", nil); err != nil {
		t.Fatal(err)
	}
	put(t, one, "f", "another file")
	commit(t, one)
	if err := two.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, []byte("two"), 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	e.wantFiles(t, two, "f=another file", "g=two")

	scattered(t, one, "s", 20)
	hardlink(t, one, "s", "s2")
	commit(t, one)
	if err := two.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	h = openRW(t, two, "s")
	if _, err := h.WriteAt(ctx, []byte("x"), 55); err != nil {
		t.Fatal(err)
	}
	put(t, one, "elsewhere", "x")
	commit(t, one)
	if err := two.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if err := two.CheckSums(); err != nil {
		t.Error(err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestRepackMovesALinkedFileOnce(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	e.catalog.Blocks = e.spool
	c := e.open(f, e.catalog.Create(e.home, "c"))
	put(t, c, "f", strings.Repeat("live", 100))
	put(t, c, "garbage", strings.Repeat("dead", 1000))
	hardlink(t, c, "f", "g")
	commit(t, c)
	if _, err := c.Manifest(ctx); err != nil { // stores the block
		t.Fatal(err)
	}
	if err := c.Remove("garbage", nil); err != nil {
		t.Fatal(err)
	}
	commit(t, c)
	blocks := func() map[*keepio.Block]bool {
		out := make(map[*keepio.Block]bool)
		f.Held(func(_ collfs.UUID, s keepio.Segment) { out[s.Block] = true })
		return out
	}
	before := blocks()
	report, err := f.Repack(ctx, e.catalog, collfs.RepackOptions{})
	if err != nil || report.Copied != 400 {
		t.Fatalf("Repack() = %+v, %v; want the file copied once", report, err)
	}
	for b := range blocks() {
		if before[b] {
			t.Error("a name still has the old block")
		}
	}
	live := strings.Repeat("live", 100)
	e.wantFiles(t, c, "f="+live+" xi", "g="+live+" xi")
}

// If somebody else has changed the file, a merge needs what it was.
func TestWhatWasLinkedIsHeldUntilItIsCommitted(t *testing.T) {
	e := newEnv(t)
	f := e.fs()
	c := e.open(f, e.catalog.Create(e.home, "c"))
	put(t, c, "f", "seven b")
	commit(t, c)
	hardlink(t, c, "f", "g")
	put(t, c, "f", "new")
	held := false
	f.Held(func(_ collfs.UUID, s keepio.Segment) { held = held || s.Len == 7 })
	if !held {
		t.Error("what was linked is not held")
	}
}

func TestHolesCountForEachName(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	put(t, c, "f", "x")
	h := openRW(t, c, "f")
	defer h.Close(ctx)
	if err := h.Truncate(1<<45 + 1); err != nil {
		t.Fatal(err)
	}
	hardlink(t, c, "f", "g")
	if _, err := c.Hardlink("f", "h", nil); !errors.Is(err, collfs.ErrTooSparse) {
		t.Errorf("a third name of half of the most there may be: %v; want ErrTooSparse", err)
	}
	if err := h.Truncate(1<<45 + 2); !errors.Is(err, collfs.ErrTooSparse) {
		t.Errorf("Truncate() = %v; want ErrTooSparse", err)
	}
	if err := c.Remove("g", nil); err != nil {
		t.Fatal(err)
	}
	if err := h.Truncate(1<<45 + 2); err != nil {
		t.Errorf("Truncate() = %v when one name is gone", err)
	}
	if err := h.Truncate(1 << 44); err != nil {
		t.Fatal(err)
	}
	hardlink(t, c, "f", "g")
	if err := errors.Join(h.Truncate(1<<44+5), c.CheckSums(), h.Truncate(1)); err != nil {
		t.Error(err)
	}
	if err := c.CheckSums(); err != nil {
		t.Error(err)
	}
}
