package collfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

func newTmp(t *testing.T, f *collfs.FS) *collfs.Tmp {
	t.Helper()
	tmp, err := f.NewTmp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tmp.Close)
	return tmp
}

// unsynced is a spool that cannot sync.
type unsynced struct{ collfs.Spool }

func (unsynced) Sync(context.Context, []*keepio.Block) error { return errInjected }
func (unsynced) Carry([]*keepio.Block, []keepio.Extent, int) (bool, error) {
	return false, errInjected
}

func TestTmpCollectionIsWrittenLikeOthers(t *testing.T) {
	ctx := t.Context()
	e := newEnv(t)
	f := e.fs(func(cfg *collfs.Config) { cfg.Spool = unsynced{e.spool} })
	before := e.catalog.Commits()
	c := newTmp(t, f).Collection()
	if got := files(t, c); len(got) != 0 {
		t.Errorf("a new one has %v in it", got)
	}
	put(t, c, "staged", "staged")
	if _, err := c.Mkdir("d", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	h, created, err := c.OpenFile("d/f", collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	if err != nil || !created {
		t.Fatalf("OpenFile() = %v, %v", created, err)
	}
	if _, err := h.WriteAt(ctx, []byte("written"), 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Sync(ctx, true); err != nil {
		t.Errorf("Sync() = %v", err)
	}
	if err := h.Close(ctx); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if _, err := c.Rename("d", "e", collfs.CopyOptions{}); err != nil {
		t.Error(err)
	}
	commit(t, c)
	want := map[string]string{"staged": "staged", "e/": "", "e/f": "written"}
	if got := files(t, c); !reflect.DeepEqual(got, want) || c.Dirty() || c.Err() != nil {
		t.Errorf("it has %v, dirty %v, %v; want %v", got, c.Dirty(), c.Err(), want)
	}
	rec, err := c.Record(ctx)
	if err != nil || rec.UUID != c.UUID() || rec.Files != 2 || rec.Bytes != 13 {
		t.Errorf("Record() = %+v, %v", rec, err)
	}
	if _, err := f.Open(ctx, c.UUID()); err == nil {
		t.Error("others find it by its UUID")
	}
	if n := e.catalog.Commits() - before; n != 0 {
		t.Errorf("the catalog had %d commits", n)
	}
}

func TestManifestOfATmpCollection(t *testing.T) {
	ctx := t.Context()
	e := newEnv(t)
	c := newTmp(t, e.fs()).Collection()
	text, err := c.Manifest(ctx)
	if err != nil || len(text) != 0 {
		t.Errorf("manifest of an empty one = %q, %v", text, err)
	}
	blocksOf := func(text []byte) map[string]bool {
		blocks := make(map[string]bool)
		err := manifest.Scan(text, func(s *manifest.Stream) error {
			for _, l := range s.Locators {
				blocks[l.String()] = true
				if _, err := e.spool.ReadBlock(ctx, e.spool.ByHash(l.Hash(), uint32(l.Size())), make([]byte, l.Size()), 0); err != nil {
					t.Errorf("block %s: %v", l, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Errorf("manifest %q: %v", text, err)
		}
		return blocks
	}
	for i := range 100 {
		h, _, err := c.OpenFile(fmt.Sprint("f", i), collfs.OpenOptions{Flags: os.O_WRONLY | os.O_CREATE})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.WriteAt(ctx, []byte(strings.Repeat("x", 1024)), 0); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if text, err = c.Manifest(ctx); err != nil {
		t.Fatal(err)
	}
	first := blocksOf(text)
	if len(first) != 1 {
		t.Errorf("100 small files are in %d blocks", len(first))
	}
	put(t, c, "g", "more")
	if text, err = c.Manifest(ctx); err != nil {
		t.Fatal(err)
	}
	second := blocksOf(text)
	for b := range first {
		if !second[b] || len(second) != 2 {
			t.Errorf("after another write the blocks are %v; they were %v", second, first)
		}
	}
}

// heldBy returns how many segments of a collection are in use.
func heldBy(f *collfs.FS, id collfs.UUID) (n int) {
	f.Held(func(of collfs.UUID, _ keepio.Segment) {
		if of == id {
			n++
		}
	})
	return n
}

func TestTmpCollectionIsHeldUntilItIsClosed(t *testing.T) {
	ctx := t.Context()
	e := newEnv(t)
	f := e.fs()
	tmp := newTmp(t, f)
	c := tmp.Collection()
	put(t, c, "f", "x")
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Remove("f", nil); err != nil {
		t.Fatal(err)
	}
	commit(t, c)
	if n := heldBy(f, c.UUID()); n != 1 {
		t.Errorf("%d segments are in use; want that of the open file", n)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if n := heldBy(f, c.UUID()); n != 0 {
		t.Errorf("%d segments are in use; want none of a file that is gone", n)
	}
	put(t, c, "f", "y")
	commit(t, c)
	f.Unload(func(collfs.UUID, int) bool { return true })
	if n := heldBy(f, c.UUID()); n != 1 {
		t.Errorf("%d segments are in use; want one", n)
	}
	tmp.Close()
	tmp.Close()
	if n := heldBy(f, c.UUID()); n != 0 {
		t.Errorf("%d segments are in use after Close", n)
	}
	if err := c.Commit(ctx, true); !errors.Is(err, collfs.ErrClosed) {
		t.Errorf("Commit() after Close = %v; want ErrClosed", err)
	}
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := f.NewTmp(ctx); !errors.Is(err, collfs.ErrClosed) {
		t.Errorf("NewTmp() after Close = %v; want ErrClosed", err)
	}
}

// What a collection without a record has written is mostly garbage, and no
// catalog knows who could rewrite it.
func TestRepackLeavesTmpCollections(t *testing.T) {
	ctx := t.Context()
	e := newEnv(t)
	e.catalog.Blocks = e.spool
	f := e.fs()
	c := newTmp(t, f).Collection()
	put(t, c, "f", strings.Repeat("x", 10_000))
	put(t, c, "g", "y")
	if _, err := c.Manifest(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove("f", nil); err != nil {
		t.Fatal(err)
	}
	commit(t, c)
	r, err := f.Repack(ctx, e.catalog, collfs.RepackOptions{})
	if err != nil || r.Copied != 0 || r.Skipped != 1 {
		t.Errorf("Repack() = %+v, %v; want one skipped", r, err)
	}
	if got := get(t, c, "g"); got != "y" {
		t.Errorf("g = %q", got)
	}
}

func TestNothingIsTransferredToOrFromATmpCollection(t *testing.T) {
	ctx := t.Context()
	e := newEnv(t)
	f := e.fs()
	a, _ := twoCollections(t, e, f)
	c := newTmp(t, f).Collection()
	put(t, c, "f", "x")
	for name, do := range map[string]func() error{
		"to": func() error {
			_, err := f.Transfer(ctx, a, "d", c, "d", collfs.TransferOptions{Move: true})
			return err
		},
		"from":    func() error { _, err := f.Transfer(ctx, c, "f", a, "f", collfs.TransferOptions{}); return err },
		"extract": func() error { _, err := f.Extract(ctx, c, "f", e.home, "f", collfs.TransferOptions{}); return err },
		"absorb":  func() error { _, err := f.Absorb(ctx, a, c, "a", collfs.TransferOptions{Move: true}); return err },
		"trash":   func() error { return f.TrashEmpty(ctx, c, nil) },
	} {
		if err := do(); !errors.Is(err, collfs.ErrNotSupported) {
			t.Errorf("%s = %v; want ErrNotSupported", name, err)
		}
	}
	if got := files(t, a); !reflect.DeepEqual(got, allOfA) {
		t.Errorf("the collection has %v", got)
	}
}
