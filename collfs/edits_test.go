package collfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
)

// scattered writes a file that has many segments.
func scattered(t testing.TB, c *collfs.Collection, path string, pieces int) []byte {
	t.Helper()
	ctx := context.Background()
	h, _, err := c.OpenFile(path, collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, pieces*10)
	for i := range pieces { // from the end to the start: no two adjoin in a block
		at := (pieces - 1 - i) * 10
		piece := fmt.Appendf(nil, "%09d|", i)
		if _, err := h.WriteAt(ctx, piece, int64(at)); err != nil {
			t.Fatal(err)
		}
		copy(want[at:], piece)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return want
}

func TestCommitOfAnEditGrowsWithTheEdit(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	c := e.open(e.fs(), id)
	want := scattered(t, c, "f", 5000)
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		at := i * 4999
		if _, err := h.WriteAt(ctx, []byte("edit"), int64(at)); err != nil {
			t.Fatal(err)
		}
		copy(want[at:], "edit")
		if err := h.Sync(ctx, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	_, saved, err := e.catalog.Load(ctx, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range saved.Changes[len(saved.Changes)-10:] {
		if len(change) > 300 {
			t.Errorf("a change of 4 bytes took %d bytes", len(change))
		}
	}
	if got := get(t, e.open(e.fs(), id), "f"); got != string(want) {
		t.Error("committed something else")
	}
}

func TestEditsAreLikeBytes(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	rapid.Check(t, func(rt *rapid.T) {
		id := memcatalog.NewUUID("4zz18")
		_, err := e.catalog.Commit(ctx, collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: e.home, Name: string(id)}}})
		if err != nil {
			rt.Fatal(err)
		}
		f := collfs.NewFS(collfs.Config{Catalog: e.catalog, Spool: e.spool, Now: e.clock})
		defer f.Close(ctx)
		c, err := f.Open(ctx, id)
		if err != nil {
			rt.Fatal(err)
		}
		defer c.Release()
		want := scattered(t, c, "f", 40)
		h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR})
		if err != nil {
			rt.Fatal(err)
		}
		for i := range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				size := rapid.IntRange(0, 600).Draw(rt, "size")
				if err := h.Truncate(int64(size)); err != nil {
					rt.Fatal(err)
				}
				want = append(want, make([]byte, max(0, size-len(want)))...)[:size]
			case 1:
				if err := h.Sync(ctx, true); err != nil {
					rt.Fatal(err)
				}
			case 2:
				if _, err := c.Rename("f", "g", collfs.CopyOptions{}); err != nil {
					rt.Fatal(err)
				}
				if _, err := c.Rename("g", "f", collfs.CopyOptions{}); err != nil {
					rt.Fatal(err)
				}
			default:
				off := rapid.IntRange(0, 600).Draw(rt, "off")
				p := []byte(strings.Repeat(string(rune('a'+i)), rapid.IntRange(1, 30).Draw(rt, "len")))
				if _, err := h.WriteAt(ctx, p, int64(off)); err != nil {
					rt.Fatal(err)
				}
				want = append(want, make([]byte, max(0, off+len(p)-len(want)))...)
				copy(want[off:], p)
			}
		}
		if err := h.Close(ctx); err != nil {
			rt.Fatal(err)
		}
		g := collfs.NewFS(collfs.Config{Catalog: e.catalog, Spool: e.spool, Now: e.clock})
		defer g.Close(ctx)
		c2, err := g.Open(ctx, id)
		if err != nil {
			rt.Fatal(err)
		}
		defer c2.Release()
		if got := readAll(rt, c2)["f"]; !bytes.Equal([]byte(got), want) {
			rt.Fatalf("committed %q\nwant      %q", got, want)
		}
	})
}

func TestEditThatConflictsIsKeptWhole(t *testing.T) {
	ctx := context.Background()
	for _, theirs := range []string{"changed", "deleted"} {
		t.Run(theirs, func(t *testing.T) {
			e := newEnv(t)
			id := e.catalog.Create(e.home, "c")
			quiet := func(cfg *collfs.Config) { cfg.Catalog = quietCatalog{e.catalog} }
			one, two := e.open(e.fs(quiet), id), e.open(e.fs(quiet), id)
			want := scattered(t, one, "f", 100)
			if err := two.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
			h, _, err := two.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR})
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []int{0, 500, 900} {
				if _, err := h.WriteAt(ctx, []byte("edit"), int64(at)); err != nil {
					t.Fatal(err)
				}
				copy(want[at:], "edit")
			}
			if theirs == "changed" {
				put(t, one, "f", "theirs")
			} else if err := one.Remove("f", nil); err != nil {
				t.Fatal(err)
			}
			commit(t, one)
			if err := h.Close(ctx); err != nil {
				t.Fatal(err)
			}
			got := files(t, e.open(e.fs(), id))
			if got["f"] != string(want) {
				t.Errorf("f = %q; want what was edited, whole", got["f"])
			}
			if n := map[string]int{"changed": 2, "deleted": 1}[theirs]; len(got) != n {
				t.Errorf("%d files; want %d", len(got), n)
			}
		})
	}
}

// What is committed must be read again: the stored form has this limit.
func TestNoFileGrowsBeyondTheLargestOne(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	c := e.open(e.fs(), id)
	want := scattered(t, c, "f", 20)
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Truncate(1 << 46); err != nil {
		t.Fatal(err)
	}
	if err := h.Sync(ctx, true); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Append(ctx, []byte("x")); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Append() = %v; want ErrInvalid", err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	again, err := e.fs().Open(ctx, id)
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	defer again.Release()
	r, err := again.OpenRead("f")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, len(want))
	if _, err := r.ReadAt(ctx, buf, 0); err != nil || string(buf) != string(want) {
		t.Errorf("read %q, %v", buf, err)
	}
}

// A manifest names a block for every 64 MiB of a hole, which costs nobody anything.
func TestHolesOfACollectionAreBoundedTogether(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	id := e.catalog.Create(e.home, "c")
	c, other := e.open(f, id), e.open(f, e.catalog.Create(e.home, "other"))
	for _, c := range []*collfs.Collection{c, other} {
		put(t, c, "f", "x")
		put(t, c, "g", "y")
	}
	open := func(c *collfs.Collection, path string) *collfs.Handle {
		h, _, err := c.OpenFile(path, collfs.OpenOptions{Flags: os.O_RDWR})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close(ctx) })
		return h
	}
	splice := func(c *collfs.Collection) error {
		s, err := c.NewStage(1)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Abort()
		if _, err := s.Write(ctx, []byte("z")); err != nil {
			t.Fatal(err)
		}
		_, err = c.Splice(s, "g", 1<<30, collfs.SpliceOptions{MaxHole: 1 << 40})
		return err
	}
	fits := func(what string, c *collfs.Collection, want error) {
		t.Helper()
		check := func(how string, err error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("%s: a %s that makes a hole: %v; want %v", what, how, err, want)
			}
		}
		check("splice", splice(c))
		h := open(c, "g")
		cut := func() {
			t.Helper()
			if err := h.Truncate(1); err != nil {
				t.Errorf("%s: truncate to less: %v", what, err)
			}
		}
		cut()
		_, err := h.WriteAt(ctx, []byte("z"), 1<<30)
		check("write", err)
		cut()
		check("truncate", h.Truncate(2<<30))
		cut()
		if err := h.Close(ctx); err != nil {
			t.Errorf("%s: Close() = %v", what, err)
		}
	}
	h := open(c, "f")
	fits("before", c, nil)
	if err := h.Truncate(1 << 46); err != nil {
		t.Fatal(err)
	}
	fits("while it is written", c, collfs.ErrTooSparse)
	if err := h.Sync(ctx, true); err != nil {
		t.Fatal(err)
	}
	fits("after it is committed", c, collfs.ErrTooSparse)
	fits("after it was loaded", e.open(e.fs(), id), collfs.ErrTooSparse)
	if _, err := c.Copy("f", "copy", collfs.CopyOptions{}); !errors.Is(err, collfs.ErrTooSparse) || collfs.KindOf(err) != collfs.Full {
		t.Errorf("Copy() = %v; want ErrTooSparse", err)
	}
	if _, err := c.Rename("f", "r", collfs.CopyOptions{}); err != nil {
		t.Errorf("Rename() = %v", err)
	}
	if err := open(other, "f").Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	for _, move := range []bool{false, true} {
		if _, err := f.Transfer(ctx, c, "r", other, "r", collfs.TransferOptions{Move: move}); !errors.Is(err, collfs.ErrTooSparse) {
			t.Errorf("Transfer() = %v; want ErrTooSparse", err)
		}
	}
	if _, err := h.WriteAt(ctx, []byte("x"), 1<<45); err != nil { // into the hole
		t.Error(err)
	}
	if err := h.Truncate(1 << 40); err != nil {
		t.Fatal(err)
	}
	fits("after the file was cut", c, nil)
	if _, err := c.Copy("r", "copy", collfs.CopyOptions{}); err != nil {
		t.Errorf("Copy() = %v", err)
	}
	if err := errors.Join(h.Truncate(1<<46-1<<41), c.RemoveAll("r", nil), c.RemoveAll("copy", nil)); err != nil {
		t.Fatal(err)
	}
	fits("after the files are gone", c, nil)
}

func TestReadOfAHandleCostsWhatItReads(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	want := scattered(t, c, "f", 5000)
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDONLY})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close(ctx)
	buf := make([]byte, 10)
	read := func() {
		if _, err := h.ReadAt(ctx, buf, 12345); err != nil || string(buf) != string(want[12345:12355]) {
			t.Fatalf("ReadAt() = %q, %v", buf, err)
		}
	}
	read()
	const reads = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range reads {
		read()
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / reads; n > 10<<10 {
		t.Errorf("a read of 10 bytes of a file of %d segments allocates %d bytes", 5000, n)
	}
}
