package blockcache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/storetest"
)

// openSpool opens a spool over s, whose blocks have ids from first on.
func openSpool(t *testing.T, s *Store, dir string, first uint64) *keepio.Spool {
	t.Helper()
	var id atomic.Uint64
	id.Store(first - 1)
	spool, err := keepio.OpenSpool(keepio.SpoolConfig{
		Dir: dir, Store: s, Remote: true,
		NextID: func() (keepio.BlockID, error) { return keepio.BlockID(id.Add(1)), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return spool
}

func TestASpoolOverACache(t *testing.T) {
	r := newRemote()
	dir := t.TempDir()
	s := open(t, Config{Dir: filepath.Join(dir, "cache"), Remote: r})
	spool := openSpool(t, s, filepath.Join(dir, "open"), 1)
	p := spool.NewPacker("c")
	data := storetest.Data(1, 3<<20)
	segs, err := p.Append(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	blocks := []*keepio.Block{segs[0].Block}

	r.setFault(keepio.ErrUnavailable)
	if err := spool.Store(t.Context(), blocks); !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("Store during an outage = %v; want ErrUnavailable", err)
	}
	got := make([]byte, len(data))
	if _, err := spool.ReadBlock(t.Context(), segs[0].Block, got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("ReadBlock during an outage = %v, or other bytes", err)
	}
	r.setFault(nil)
	if err := spool.Store(t.Context(), blocks); err != nil {
		t.Fatal(err)
	}
	r.setFault(keepio.ErrUnavailable) // what was written is read without the network
	clear(got)
	if _, err := spool.ReadBlock(t.Context(), segs[0].Block, got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("ReadBlock of a stored block = %v, or other bytes", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "open")); err != nil || len(left) > 0 {
		t.Errorf("the spool still has %v, %v", left, err)
	}
	if err := spool.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// A process that ends during an outage leaves its blocks to the next one.
func TestASpoolOverACacheRecovers(t *testing.T) {
	r := newRemote()
	dir := t.TempDir()
	s := open(t, Config{Dir: filepath.Join(dir, "cache"), Remote: r})
	first := openSpool(t, s, filepath.Join(dir, "open"), 1)
	data := storetest.Data(1, 1<<20)
	segs, err := first.NewPacker("c").Append(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	r.setFault(keepio.ErrUnavailable)
	if err := first.StoreAll(t.Context()); !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("StoreAll = %v; want ErrUnavailable", err)
	}
	if err := first.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.setFault(nil)
	second := openSpool(t, s, filepath.Join(dir, "open"), 100)
	id := segs[0].Block.ID()
	if err := second.Recover(t.Context(), []keepio.OpenBlock{{ID: id, End: uint32(len(data))}}); err != nil {
		t.Fatal(err)
	}
	if err := second.StoreAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.blocks[key{hashOf(data), uint32(len(data))}]; !bytes.Equal(got, data) {
		t.Error("the block is not stored")
	}
	if err := second.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestTheBlockOfZerosTakesNoRoom(t *testing.T) {
	r := newRemote()
	dir := t.TempDir()
	s := open(t, Config{Dir: filepath.Join(dir, "cache"), Remote: r})
	spool := openSpool(t, s, filepath.Join(dir, "open"), 1)
	hash, size, err := spool.Zero(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.disk.path(hash))
	if err != nil {
		t.Fatal(err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Blocks > 0 {
		t.Errorf("the block of zeros takes %d bytes", st.Blocks*512)
	}
	if k := (key{hash, size}); len(r.blocks[k]) != keepio.BlockSize {
		t.Error("the remote store does not have the block")
	}
	if err := spool.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// What a process pushed and could not commit is pushed again by the next one.
func TestWhatTheCacheHoldsCanBePushedAgain(t *testing.T) {
	r := newRemote()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, Remote: r})
	data := storetest.Data(1, 2<<20)
	hash, err := s.WriteBlock(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	next := open(t, Config{Dir: dir, Remote: newRemote()})
	remote := next.cfg.Remote.(*memRemote)
	k := key{hash, uint32(len(data))}
	for range 2 {
		if err := next.PushAgain(t.Context(), k.hash, k.size); err != nil || !bytes.Equal(remote.blocks[k], data) {
			t.Errorf("PushAgain = %v, or other bytes", err)
		}
	}
	remote.setFault(keepio.ErrUnavailable)
	if err := next.PushAgain(t.Context(), k.hash, k.size); !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("PushAgain in an outage = %v; want ErrUnavailable", err)
	}
	remote.setFault(nil)
	bad := bytes.Clone(data)
	bad[1<<20]++
	place(t, dir, k, bad)
	if err := next.PushAgain(t.Context(), k.hash, k.size); !errors.Is(err, keepio.ErrCorrupt) {
		t.Errorf("PushAgain of a damaged block = %v; want ErrCorrupt", err)
	}
	if err := next.PushAgain(t.Context(), k.hash, k.size); !errors.Is(err, keepio.ErrNotFound) {
		t.Errorf("PushAgain of a block that is gone = %v; want ErrNotFound", err)
	}
	if n := remote.count(k); n > 0 {
		t.Errorf("%d fetches; want none", n)
	}
}
