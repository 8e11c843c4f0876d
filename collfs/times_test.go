package collfs_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"keepdav/collfs"
)

// set returns the paths in a list; "." is the root.
func set(list string) map[string]bool {
	out := make(map[string]bool)
	for path := range strings.FieldsSeq(list) {
		out[strings.TrimPrefix(path, ".")] = true
	}
	return out
}

// A timesOf is what the times of names were.
type timesOf map[string][2]int64

func times(t *testing.T, c *collfs.Collection) timesOf {
	t.Helper()
	out := make(timesOf)
	for path, i := range stats(t, c) {
		out[path] = [2]int64{i.Attr.Mtime, i.Attr.Ctime}
	}
	return out
}

func setMtime(t *testing.T, c *collfs.Collection, path string, mtime int64) {
	t.Helper()
	_, err := c.SetAttr(path, func(i collfs.NodeInfo) (collfs.Attr, error) {
		i.Attr.Mtime = mtime
		return i.Attr, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func mustMkdir(t *testing.T, c *collfs.Collection, path string, a collfs.Attr) {
	t.Helper()
	if _, err := c.Mkdir(path, a, nil); err != nil {
		t.Fatal(err)
	}
}

func TestChangesMoveTheTimesThatTheyDoInPOSIX(t *testing.T) {
	ctx := context.Background()
	over := collfs.CopyOptions{Replace: collfs.ReplacePOSIX}
	for _, tt := range []struct {
		name  string
		do    func(c *collfs.Collection) error
		mtime string // of what Mtime and Ctime become the present time
		ctime string // of what only Ctime does
	}{
		{name: "mkdir", do: func(c *collfs.Collection) error { _, err := c.Mkdir("d/new", collfs.Attr{}, nil); return err }, mtime: "d d/new"},
		{name: "mkdir with a time", do: func(c *collfs.Collection) error {
			_, err := c.Mkdir("d/new", collfs.Attr{Mtime: 5}, nil)
			return err
		}, mtime: "d", ctime: "d/new"},
		{name: "a new file", do: func(c *collfs.Collection) error {
			h, _, err := c.OpenFile("d/new", collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
			if err == nil {
				err = h.Close(ctx)
			}
			return err
		}, mtime: "d d/new"},
		{name: "a write", do: func(c *collfs.Collection) error {
			h, _, err := c.OpenFile("d/f", collfs.OpenOptions{Flags: os.O_RDWR})
			if err == nil {
				_, err = h.WriteAt(ctx, []byte("x"), 0)
			}
			if err == nil {
				err = h.Close(ctx)
			}
			return err
		}, mtime: "d/f"},
		{name: "a new content", do: func(c *collfs.Collection) error { put(t, c, "d/f", "new"); return nil }, mtime: "d/f"},
		{name: "attributes", do: func(c *collfs.Collection) error { setMtime(t, c, "d/f", 7); return nil }, ctime: "d/f"},
		{name: "attributes of a directory", do: func(c *collfs.Collection) error { setMtime(t, c, "d", 7); return nil }, ctime: "d"},
		{name: "remove", do: func(c *collfs.Collection) error { return c.Remove("d/f", nil) }, mtime: "d"},
		{name: "remove all", do: func(c *collfs.Collection) error { return c.RemoveAll("", nil) }, mtime: "."},
		{name: "rename", do: func(c *collfs.Collection) error { _, err := c.Rename("d/f", "e/new", over); return err }, mtime: "d e", ctime: "e/new"},
		{name: "rename in one directory", do: func(c *collfs.Collection) error { _, err := c.Rename("d/f", "d/new", over); return err }, mtime: "d", ctime: "d/new"},
		{name: "rename over a file", do: func(c *collfs.Collection) error { _, err := c.Rename("d/f", "e/g", over); return err }, mtime: "d e", ctime: "e/g"},
		{name: "rename of a directory", do: func(c *collfs.Collection) error { _, err := c.Rename("d", "e/new", over); return err }, mtime: ". e", ctime: "e/new"},
		{name: "rename to itself", do: func(c *collfs.Collection) error { _, err := c.Rename("d/f", "d/f", over); return err }},
		{name: "copy", do: func(c *collfs.Collection) error { _, err := c.Copy("d", "e/new", over); return err }, mtime: "e", ctime: "e/new e/new/f"},
		{name: "shallow copy", do: func(c *collfs.Collection) error {
			_, err := c.Copy("d", "e/new", collfs.CopyOptions{Shallow: true})
			return err
		}, mtime: "e", ctime: "e/new"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			id := e.catalog.Create(e.home, "c")
			c := e.open(e.fs(), id)
			mustMkdir(t, c, "d", collfs.Attr{})
			mustMkdir(t, c, "e", collfs.Attr{})
			put(t, c, "d/f", "content")
			put(t, c, "e/g", "content")
			setMtime(t, c, "d", 1)
			setMtime(t, c, "d/f", 2)
			before, start := times(t, c), e.clock().UnixNano()
			if err := tt.do(c); err != nil {
				t.Fatal(err)
			}
			mtime, ctime := set(tt.mtime), set(tt.ctime)
			for path, now := range times(t, c) {
				was, existed := before[path]
				if !existed {
					was = now
				}
				if got, want := now[0] > start, mtime[path]; got != want {
					t.Errorf("Mtime of %q is %d, now is %d: it is new: %v; want %v", path, now[0], start, got, want)
				}
				if got, want := now[1] > start, mtime[path] || ctime[path]; got != want {
					t.Errorf("Ctime of %q is %d, now is %d: it is new: %v; want %v", path, now[1], start, got, want)
				}
				if !mtime[path] && !ctime[path] && now != was {
					t.Errorf("times of %q were %v and are %v", path, was, now)
				}
			}
			commit(t, c)
			live, replayed := times(t, c), times(t, e.open(e.fs(), id))
			for path, want := range live {
				if replayed[path] != want {
					t.Errorf("times of %q are %v when loaded again; want %v", path, replayed[path], want)
				}
			}
		})
	}
}

func TestTheTimeGivenToADirectoryStaysUntilItsNextEntry(t *testing.T) {
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	mustMkdir(t, c, "d", collfs.Attr{Mtime: 5})
	put(t, c, "elsewhere", "x")
	if got := times(t, c)["d"][0]; got != 5 {
		t.Errorf("Mtime = %d; want that given, 5", got)
	}
	put(t, c, "d/f", "x")
	if got := times(t, c)["d"][0]; got <= 5 {
		t.Errorf("Mtime = %d after an entry came; want the present time", got)
	}
	setMtime(t, c, "d", 1<<62)
	put(t, c, "d/g", "x")
	if got := times(t, c)["d"][0]; got >= 1<<62 {
		t.Errorf("Mtime = %d after an entry came; want the present time", got)
	}
}

// Whoever copies a tree wants to see when its files and directories were changed,
// not when they were copied.
func TestTransfersKeepTheTimesOfWhatIsInThem(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	c, other := e.open(f, e.catalog.Create(e.home, "c")), e.open(f, e.catalog.Create(e.home, "other"))
	mustMkdir(t, c, "d", collfs.Attr{})
	mustMkdir(t, c, "d/e", collfs.Attr{})
	put(t, c, "d/e/f", "content")
	for i, path := range []string{"d/e/f", "d/e", "d"} {
		setMtime(t, c, path, int64(i+1))
	}
	check := func(what string, c *collfs.Collection, base string) {
		t.Helper()
		commit(t, c)
		for _, c := range []*collfs.Collection{c, e.open(e.fs(), c.UUID())} {
			for path, want := range map[string]int64{"/e/f": 1, "/e": 2, "": 3} {
				i, err := c.Stat((base + path)[min(1, len(base+path)):])
				if err != nil || i.Attr.Mtime != want || i.Attr.Ctime <= 3 {
					t.Errorf("%s: %q has the times %d, %d, %v; want Mtime %d, and when it came", what, base+path, i.Attr.Mtime, i.Attr.Ctime, err, want)
				}
			}
		}
	}
	start := e.clock().UnixNano()
	if _, err := f.Transfer(ctx, c, "d", other, "copy", collfs.TransferOptions{}); err != nil {
		t.Fatal(err)
	}
	check("copy", other, "/copy")
	if i, _ := other.Stat(""); i.Attr.Mtime <= start {
		t.Errorf("the directory that got a copy has Mtime %d; want the present time", i.Attr.Mtime)
	}
	if _, err := f.Transfer(ctx, c, "d", other, "moved", collfs.TransferOptions{Move: true}); err != nil {
		t.Fatal(err)
	}
	check("move", other, "/moved")
	if i, _ := c.Stat(""); i.Attr.Mtime <= start {
		t.Errorf("the directory that lost a name has Mtime %d; want the present time", i.Attr.Mtime)
	}
	rec, err := f.Extract(ctx, other, "moved", e.home, "new", collfs.TransferOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made := e.open(f, rec.UUID)
	check("extract", made, "")
	if _, err := f.Absorb(ctx, made, c, "back", collfs.TransferOptions{}); err != nil {
		t.Fatal(err)
	}
	check("absorb", c, "/back")
}
