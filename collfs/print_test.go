package collfs_test

import (
	"context"
	"fmt"
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
