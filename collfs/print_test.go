package collfs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// busySpool has something changed while blocks are stored.
type busySpool struct {
	*keepio.Spool
	change func()
	stores int
}

func (s *busySpool) Store(ctx context.Context, blocks []*keepio.Block) error {
	err := s.Spool.Store(ctx, blocks)
	if s.stores++; s.stores < 10 {
		s.change()
	}
	return err
}

// Each try seals what is open: in a collection that is always written to there
// must not be a second one.
func TestManifestIsOfOneMoment(t *testing.T) {
	e := newEnv(t)
	spool := &busySpool{Spool: e.spool}
	c := e.open(e.fs(func(cfg *collfs.Config) { cfg.Spool = spool }), e.catalog.Create(e.home, "c"))
	put(t, c, "f", "x")
	spool.change = func() { put(t, c, fmt.Sprint("g", spool.stores), "y") }
	text, err := c.Manifest(context.Background())
	if want := ". 9dd4e461268c8034f5c8564e155c67a6+1 0:1:f\n"; err != nil || string(text) != want || spool.stores != 1 {
		t.Errorf("Manifest() = %q, %v, after blocks were stored %d times; want %q after one", text, err, spool.stores, want)
	}
	if pdh, err := c.PDH(context.Background()); err != nil || pdh == collfs.PDH(manifest.PDH(text)) {
		t.Errorf("PDH() = %s, %v; want that of what there is now", pdh, err)
	}
}

// What has been opened by its hash has that hash until it is closed.
func TestContentOpenedByItsHashStaysAsItIs(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	a, b := twoCollections(t, e, f)
	commit(t, a)
	pdh, err := a.PDH(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.OpenPDH(ctx, a.UUID(), pdh)
	if err != nil || !c.ReadOnly() {
		t.Fatalf("OpenPDH() = %v", err)
	}
	defer func(c *collfs.Collection) { c.Release() }(c)
	put(t, a, "d/x", "changed")
	if err := a.Remove("z", nil); err != nil {
		t.Fatal(err)
	}
	commit(t, a)
	if got := files(t, c); !reflect.DeepEqual(got, allOfA) {
		t.Errorf("files = %v; want those of before", got)
	}
	if got, err := c.PDH(ctx); got != pdh || err != nil {
		t.Errorf("PDH() = %v, %v; want %v", got, err, pdh)
	}
	if _, err := c.Mkdir("new", collfs.Attr{}, nil); !errors.Is(err, collfs.ErrReadOnly) {
		t.Errorf("Mkdir() = %v; want ErrReadOnly", err)
	}
	again, err := f.OpenPDH(ctx, a.UUID(), pdh)
	if err != nil || again != c {
		t.Errorf("OpenPDH() of what is open = %v; want the same", err)
	} else {
		again.Release()
	}
	if _, err := f.OpenPDH(ctx, b.UUID(), pdh); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenPDH() of another collection = %v; want fs.ErrNotExist", err)
	}
	if _, err := f.Transfer(ctx, c, "d", a, "old", collfs.TransferOptions{}); err != nil {
		t.Errorf("Transfer() from a content opened by its hash = %v", err)
	}
	if got := files(t, a); got["old/x"] != "x" || got["d/x"] != "changed" {
		t.Errorf("files after the transfer = %v", got)
	}
	if _, err := f.Transfer(ctx, c, "d", a, "moved", collfs.TransferOptions{Move: true}); !errors.Is(err, collfs.ErrReadOnly) {
		t.Errorf("move from a content opened by its hash = %v; want ErrReadOnly", err)
	}

	// Garbage collection must get at what only it refers to.
	if c, err = f.OpenPDH(ctx, b.UUID(), "d41d8cd98f00b204e9800998ecf8427e+0"); err != nil {
		t.Fatal(err)
	}
	c.Release()
	before := f.CachedBytes()
	f.Unload(func(collfs.UUID, int) bool { return false })
	if got := f.CachedBytes(); got >= before {
		t.Errorf("CachedBytes() = %d after Unload; want less than %d", got, before)
	}
}
