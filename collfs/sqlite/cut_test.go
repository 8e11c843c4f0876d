package sqlite

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

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

// A recovery that drops commits may itself end early, and only the beginning of what
// it wrote to the database be on disk: the next one drops the same.
func TestARecoveryThatDropsCommitsCanEndAnywhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	verify := func(keepio.Extent) error { return keepio.ErrCorrupt }
	s := openStore(t, Config{Dir: dir, ApplyDelay: time.Hour, VerifyExtent: verify})
	home := newUser(t, s, "ann", false)
	want := map[collfs.UUID]int64{newCollection(t, s, home, "dropped"): 0, newCollection(t, s, home, "kept"): 1}
	add := func(revision int64, base int64, extents ...keepio.Extent) {
		t.Helper()
		for id, r := range want {
			if r == revision {
				_, err := s.Commit(t.Context(), collfs.Tx{Changes: []collfs.Change{{Collection: id, Base: base, Ops: mkdir("d"), Extents: extents}}})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	add(0, 0, keepio.Extent{Block: 1, To: 50})
	add(1, 0)
	add(0, 1)
	copyStore := func(from string) string {
		to := copyDir(t, from, nil)
		rename(t, copyDir(t, filepath.Join(from, "journal"), isSpare), filepath.Join(to, "journal"))
		return to
	}
	s.writeMu.Lock()
	dir = copyStore(dir)
	s.writeMu.Unlock()
	wal := func(dir string) string { return filepath.Join(dir, "keepdav.db-wal") }
	before, err := os.Stat(wal(dir))
	if err != nil {
		t.Fatal(err)
	}

	var half string // of the recovery: all but the checkpoint
	log := zerolog.New(io.Discard).Hook(zerolog.HookFunc(func(_ *zerolog.Event, _ zerolog.Level, msg string) {
		if strings.HasPrefix(msg, "brought the database") {
			half = copyStore(dir)
		}
	}))
	again, err := Open(t.Context(), Config{Dir: dir, Reserve: -1, SegmentSize: 64 << 10, Blocks: fakeBlocks{}, VerifyExtent: verify, Log: log})
	if err == nil {
		err = again.Close(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(wal(half))
	if err != nil {
		t.Fatal(err)
	}
	const frame = 24 + pageSize
	commits := 0
	for end := int(before.Size()); end <= len(written); end += frame {
		if end > int(before.Size()) {
			if binary.BigEndian.Uint32(written[end-frame+4:]) == 0 {
				continue // in the middle of a transaction
			}
			commits++
		}
		dir := copyStore(half)
		if err := os.WriteFile(wal(dir), written[:end], 0o600); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, Config{Dir: dir, VerifyExtent: verify})
		for id, revision := range want {
			if rec, err := s.Record(t.Context(), id); err != nil || rec.Revision != revision {
				t.Errorf("after %d transactions of the recovery: revision %d, %v; want %d", commits, rec.Revision, err, revision)
			}
		}
	}
	if commits == 0 {
		t.Error("the recovery has written nothing")
	}
}
