package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

// A block file may hold bytes of two collections: what is appended while a file
// is moved from one to the other. The commit of one is dropped after a loss of
// power, for it wasn't durable and another block file has lost its bytes. The
// durable commit of the other relies on the first block file all the same.
func TestWhatADroppedCommitSaidOfAGoodBlockFileStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	verify := func(x keepio.Extent) error {
		if x.Block == 2 {
			return keepio.ErrCorrupt
		}
		return nil
	}
	s := openStore(t, Config{Dir: dir, ApplyDelay: time.Hour, VerifyExtent: verify})
	home := newUser(t, s, "ann", false)
	dropped, kept := newCollection(t, s, home, "dropped"), newCollection(t, s, home, "kept")
	extents := []keepio.Extent{{Block: 1, To: 100}, {Block: 2, To: 50}}
	_, err := s.Commit(t.Context(), collfs.Tx{Changes: []collfs.Change{{Collection: dropped, Ops: mkdir("d"), Extents: extents}}})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, kept, mkdir("d")...)
	s.writeMu.Lock()
	after, journal := copyDir(t, dir, nil), copyDir(t, filepath.Join(dir, "journal"), isSpare)
	s.writeMu.Unlock()
	rename(t, journal, filepath.Join(after, "journal"))

	s = openStore(t, Config{Dir: after, VerifyExtent: verify})
	if rec, err := s.Record(t.Context(), dropped); err != nil || rec.Revision != 0 {
		t.Fatalf("the commit that lost its bytes is there: %+v, %v", rec, err)
	}
	open, err := s.OpenBlocks(t.Context())
	if err != nil || len(open) != 1 || open[0] != (keepio.OpenBlock{ID: 1, End: 100}) {
		t.Errorf("the open blocks are %v, %v; want 100 bytes of block 1", open, err)
	}
}
