package keepio

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// openModel opens a spool on an empty file system in memory; it is closed with
// the test.
func openModel(t *testing.T, change func(*SpoolConfig)) *memSpool {
	t.Helper()
	m := openMemSpool(t, newMemFiles(), nil, change)
	t.Cleanup(func() {
		m.files.setFault(nil)
		if err := m.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return m
}

func mustAppend(t *testing.T, p interface {
	Append(context.Context, []byte) ([]Segment, error)
}, data []byte) []Segment {
	t.Helper()
	segs, err := p.Append(context.Background(), data)
	if err != nil {
		t.Fatal(err)
	}
	return segs
}

func blocksOf(segs []Segment) (blocks []*Block) {
	for _, s := range segs {
		blocks = append(blocks, s.Block)
	}
	return blocks
}

func readSegments(t *testing.T, s *Spool, segs []Segment) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, seg := range segs {
		if _, err := s.WriteRange(context.Background(), &out, seg.Block, int64(seg.Off), int64(seg.Len)); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func mustFreeze(t *testing.T, s *Spool, segs []Segment) []Extent {
	t.Helper()
	extents, err := s.Freeze("c", blocksOf(segs))
	if err != nil {
		t.Fatal(err)
	}
	return extents
}

// failSyncs makes the first n Datasyncs fail.
func failSyncs(files *memFiles, n int) {
	files.setFault(func(op, _ string) error {
		if op == "sync" && n > 0 {
			n--
			return syscall.EIO
		}
		return nil
	})
}

func TestAFileWhoseSyncFailedIsReplacedAndNeverSyncedAgain(t *testing.T) {
	for _, failures := range []int{1, 2, 3} {
		m := openModel(t, nil)
		data := randomBytes(3*ChunkSize + 100)
		segs := mustAppend(t, m.NewPacker("c"), data)
		extents := mustFreeze(t, m.Spool, segs)
		failSyncs(m.files, failures)
		for i := range failures - 1 {
			if err := m.Sync(context.Background(), blocksOf(segs)); !errors.Is(err, syscall.EIO) {
				t.Fatalf("Sync %d = %v; want EIO, for the copy could not be synced either", i, err)
			}
		}
		if err := m.Sync(context.Background(), blocksOf(segs)); err != nil {
			t.Fatalf("Sync after %d failures = %v; want success by a copy", failures, err)
		}
		path := m.pathOf(segs[0].Block.ID())
		if n := m.files.syncs[path]; n != 1 {
			t.Errorf("the file was synced %d times; want once", n)
		}
		after := openMemSpool(t, m.files.cutPower(), m, nil)
		for _, e := range extents {
			if err := after.VerifyExtent(e); err != nil {
				t.Errorf("after a loss of power: %v", err)
			}
		}
		_ = after.Close(context.Background())
		if got := readSegments(t, m.Spool, segs); !bytes.Equal(got, data) {
			t.Error("the copy has other bytes")
		}
	}
}

// An upload is given up while the file that it shares with one before it is being
// copied, because its sync failed.
func TestAnAbortDoesNotDisturbTheReplacementOfAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := openModel(t, nil)
		p := m.NewPacker("c")
		st := p.NewStream()
		data := randomBytes(ChunkSize + 100)
		segs := mustAppend(t, st, data)
		st.Close()
		extents := mustFreeze(t, m.Spool, segs)
		st = p.NewStream()
		if more := mustAppend(t, st, randomBytes(5*ChunkSize)); more[0].Block != segs[0].Block {
			t.Fatal("the second stream does not go on in the block of the first")
		}
		failSyncs(m.files, 1)
		m.files.mu.Lock()
		m.files.lazy = 10 * time.Millisecond
		m.files.mu.Unlock()
		synced := make(chan error)
		go func() { synced <- m.Sync(context.Background(), blocksOf(segs)) }()
		time.Sleep(25 * time.Millisecond) // two chunks are copied
		st.Abort()
		if err := <-synced; err != nil {
			t.Errorf("Sync = %v", err)
		}
		after := openMemSpool(t, m.files.cutPower(), m, nil)
		defer after.Close(context.Background())
		for _, e := range extents {
			if err := after.VerifyExtent(e); err != nil {
				t.Errorf("after a loss of power: %v", err)
			}
		}
		if got := readSegments(t, m.Spool, segs); !bytes.Equal(got, data) {
			t.Error("the copy has other bytes")
		}
	})
}

func TestBytesLostByAFailedSyncAreNeverCalledDurable(t *testing.T) {
	m := openModel(t, nil)
	segs := mustAppend(t, m.NewPacker("c"), randomBytes(2*ChunkSize))
	mustFreeze(t, m.Spool, segs)
	failSyncs(m.files, 1)
	path := m.pathOf(segs[0].Block.ID())
	m.files.mu.Lock()
	m.files.names[path].data[ChunkSize+5] ^= 1 // the kernel gave the page up
	m.files.mu.Unlock()
	for range 3 {
		if err := m.Sync(context.Background(), blocksOf(segs)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("Sync = %v; want ErrCorrupt each time", err)
		}
	}
	if err := m.Store(context.Background(), blocksOf(segs)); err == nil {
		t.Error("Store of lost bytes succeeded")
	}
	if err := m.Close(context.Background()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Close = %v; want ErrCorrupt", err)
	}
}

func TestFailedSyncOfTheDirectoryFailsSync(t *testing.T) {
	m := openModel(t, nil)
	segs := mustAppend(t, m.NewPacker("c"), randomBytes(100))
	mustFreeze(t, m.Spool, segs)
	m.files.setFault(func(op, _ string) error {
		if op == "syncdir" {
			return syscall.EIO
		}
		return nil
	})
	if err := m.Sync(context.Background(), blocksOf(segs)); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Sync = %v; want EIO", err)
	}
	m.files.setFault(nil)
	if err := m.Sync(context.Background(), blocksOf(segs)); err != nil {
		t.Fatalf("Sync = %v", err)
	}
	if m.files.cutPower().names[m.pathOf(segs[0].Block.ID())] == nil {
		t.Error("the file's name did not survive")
	}
}

func TestConcurrentSyncsShareTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := openModel(t, nil)
		p := m.NewPacker("c")
		m.files.slow = 10 * time.Millisecond
		began := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				segs, err := p.Append(context.Background(), make([]byte, 100))
				if err == nil {
					_, err = m.Freeze("c", blocksOf(segs))
				}
				if err == nil {
					err = m.Sync(context.Background(), blocksOf(segs))
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took > 20*time.Millisecond {
			t.Errorf("50 syncs took as long as %d in a row; want at most 2", took/m.files.slow)
		}
	})
}

func TestSyncMakesNoPromiseForLaterBytes(t *testing.T) {
	m := openModel(t, nil)
	p := m.NewPacker("c")
	segs := mustAppend(t, p, randomBytes(100))
	mustFreeze(t, m.Spool, segs)
	if err := m.Sync(context.Background(), blocksOf(segs)); err != nil {
		t.Fatal(err)
	}
	path := m.pathOf(segs[0].Block.ID())
	before := m.files.syncs[path]
	if err := m.Sync(context.Background(), blocksOf(segs)); err != nil || m.files.syncs[path] != before {
		t.Errorf("Sync of synced bytes = %v and synced again", err)
	}
	more := mustAppend(t, p, randomBytes(200))
	mustFreeze(t, m.Spool, more)
	if err := m.Sync(context.Background(), blocksOf(more)); err != nil || m.files.syncs[path] == before {
		t.Errorf("Sync of new bytes = %v and did not sync", err)
	}
}

func TestFreezeReturnsEachByteOnce(t *testing.T) {
	m := openModel(t, nil)
	p := m.NewPacker("c")
	var all []Extent
	var mu sync.Mutex
	var wg sync.WaitGroup
	var block *Block
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				segs, err := p.Append(context.Background(), randomBytes(100*i+j*7+1))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				block = segs[0].Block
				mu.Unlock()
				extents, err := m.Freeze("c", blocksOf(segs))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				all = append(all, extents...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	covered := map[uint32]uint32{}
	for _, e := range all {
		covered[e.From] = e.To
		if err := m.VerifyExtent(e); err != nil {
			t.Error(err)
		}
	}
	at := uint32(0)
	for range all {
		at = covered[at]
	}
	if bf := block.file.Load(); at != bf.end || len(covered) != len(all) {
		t.Errorf("%d extents cover up to %d of %d, or overlap", len(all), at, bf.end)
	}
}

func TestEachCollectionGetsAnExtentOfEachByteOnce(t *testing.T) {
	m := openModel(t, nil)
	p := m.NewPacker("c")
	var segs []Segment
	end := uint32(0)
	got := make(map[string]uint32) // up to where
	freeze := func(name string) {
		t.Helper()
		extents, err := m.Freeze(name, blocksOf(segs))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range extents {
			if e.From != got[name] {
				t.Errorf("%s got %+v; it had up to %d", name, e, got[name])
			}
			got[name] = e.To
			if err := m.VerifyExtent(e); err != nil {
				t.Error(err)
			}
		}
		if got[name] != end || len(extents) > 1 {
			t.Errorf("%s got %+v; want what it lacks of %d bytes", name, extents, end)
		}
	}
	for _, step := range []struct {
		name  string
		bytes int
	}{{"c", 1000}, {"other", 0}, {"other", 100}, {"c", 3 * ChunkSize}, {"c", 0}, {"third", 7}, {"other", 0}, {"c", ChunkSize - 1107}, {"other", 1}} {
		if step.bytes > 0 {
			segs = mustAppend(t, p, randomBytes(step.bytes))
			end += uint32(step.bytes)
		}
		freeze(step.name)
	}
}

func TestOverwriteInPlaceKeepsTheSumsRight(t *testing.T) {
	m := openModel(t, nil)
	p := m.NewPacker("c")
	data := randomBytes(3 * ChunkSize)
	segs := mustAppend(t, p, data)
	mustAppend(t, p, randomBytes(777))
	for _, off := range []int{0, 5, ChunkSize - 3, ChunkSize + 100, 3*ChunkSize - 1} {
		change := bytes.Repeat([]byte{byte(off) + 1}, min(100, len(data)-off))
		if did, err := p.Overwrite(context.Background(), segs[0], uint32(off), change); !did || err != nil {
			t.Fatalf("Overwrite at %d = %v, %v", off, did, err)
		}
		copy(data[off:], change)
	}
	for _, e := range mustFreeze(t, m.Spool, segs) {
		if err := m.VerifyExtent(e); err != nil {
			t.Error(err)
		}
	}
	if did, err := p.Overwrite(context.Background(), segs[0], 0, []byte("late")); did || err != nil {
		t.Errorf("Overwrite below the frozen offset = %v, %v; want false", did, err)
	}
	if _, err := p.Overwrite(context.Background(), segs[0], segs[0].Len-1, []byte("xx")); err == nil {
		t.Error("Overwrite beyond the segment succeeded")
	}
	if err := m.Store(context.Background(), blocksOf(segs)); err != nil { // checks the sums
		t.Error(err)
	}
	if got := readSegments(t, m.Spool, segs); !bytes.Equal(got, data) {
		t.Error("other bytes after the block was stored")
	}
}

func TestRecoverTakesUpWhatWasCommittedAndNothingElse(t *testing.T) {
	m := openModel(t, nil)
	p := m.NewPacker("c")
	data := randomBytes(ChunkSize + 10)
	segs := mustAppend(t, p, data)
	extents := mustFreeze(t, m.Spool, segs)
	mustAppend(t, p, []byte("not committed"))
	st := p.NewStream()
	other := mustAppend(t, st, []byte("not committed either"))
	if err := m.Sync(context.Background(), blocksOf(segs)); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	again := openMemSpool(t, m.files, m, nil)
	defer again.Close(context.Background())
	junk := filepath.Join(again.cfg.Dir, "README")
	if _, err := m.files.Create(junk); err != nil {
		t.Fatal(err)
	}
	id := segs[0].Block.ID()
	if err := again.Recover(context.Background(), []OpenBlock{{id, extents[0].To}}); err != nil {
		t.Fatal(err)
	}
	b, err := again.ByID(id)
	if err != nil {
		t.Fatal(err)
	}
	if got := readSegments(t, again.Spool, []Segment{{b, 0, uint32(len(data))}}); !bytes.Equal(got, data) {
		t.Error("other bytes after Recover")
	}
	if m.files.names[m.pathOf(other[0].Block.ID())] != nil || m.files.names[junk] == nil {
		t.Error("Recover keeps a file that was not committed, or removes one that is not its own")
	}
	if err := again.Store(context.Background(), []*Block{b}); err != nil {
		t.Fatal(err)
	}
	if _, size, ok := b.Stored(); !ok || int(size) != len(data) {
		t.Errorf("stored %d bytes; want the %d that were committed", size, len(data))
	}
}

// A disk may give back other bytes than were written. What is stored is what was
// written, or nothing: an MD5 of wrong bytes would prove them right for ever.
func TestBytesThatChangedOnTheDiskGetNoName(t *testing.T) {
	for _, blocks := range []int{1, simdFrom} {
		m := openModel(t, nil)
		var all []Segment
		for i := range blocks {
			all = append(all, mustAppend(t, m.NewPacker(string(rune('a'+i))), randomBytes(2*ChunkSize+100))...)
		}
		damaged := all[blocks-1].Block
		flip := func() {
			m.files.mu.Lock()
			defer m.files.mu.Unlock()
			node := m.files.names[m.pathOf(damaged.ID())]
			node.data[ChunkSize+7] ^= 1
			if node.durable != nil {
				node.durable[ChunkSize+7] ^= 1
			}
		}
		flip()
		if err := m.Store(context.Background(), blocksOf(all)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d blocks: Store of bytes that changed = %v", blocks, err)
		}
		for _, s := range all {
			if _, _, ok := s.Block.Stored(); ok == (s.Block == damaged) {
				t.Errorf("%d blocks: the damaged block is stored, or another one is not", blocks)
			}
		}
		flip()
		if err := m.Store(context.Background(), blocksOf(all)); err != nil {
			t.Errorf("%d blocks: Store of what was written = %v", blocks, err)
		}
	}
}

func TestRecoverReportsWhatIsMissing(t *testing.T) {
	m := openModel(t, nil)
	good := mustAppend(t, m.NewPacker("a"), randomBytes(1000))
	short := mustAppend(t, m.NewPacker("b"), randomBytes(1000))
	mustFreeze(t, m.Spool, append(good, short...))
	if err := m.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	again := openMemSpool(t, m.files, m, nil)
	defer again.Close(context.Background())
	err := again.Recover(context.Background(), []OpenBlock{{good[0].Block.ID(), 1000}, {short[0].Block.ID(), 2000}, {77, 10}})
	if !errors.Is(err, ErrCorrupt) || !errors.Is(err, ErrNotFound) {
		t.Errorf("Recover = %v; want both ErrCorrupt and ErrNotFound", err)
	}
	if _, err := again.ByID(good[0].Block.ID()); err != nil {
		t.Errorf("the good file was not taken up: %v", err)
	}
	if m.files.names[m.pathOf(short[0].Block.ID())] == nil {
		t.Error("the short file was removed")
	}
	for _, id := range []BlockID{short[0].Block.ID(), 77} {
		b, err := again.ByID(id)
		if err != nil {
			t.Errorf("ByID(%d) = %v; want a handle, so that trees which name it can be read", id, err)
			continue
		}
		if _, err := again.ReadBlock(context.Background(), b, make([]byte, 1), 0); !errors.Is(err, ErrNotFound) {
			t.Errorf("ReadBlock of lost block %d: %v; want ErrNotFound", id, err)
		}
	}
}

// TestRecoverDoesNotCutABlockOfTheStore restarts after a block was given to the
// store, but before the catalog knew: the file in the spool shares its bytes
// with the block.
func TestRecoverDoesNotCutABlockOfTheStore(t *testing.T) {
	m := openModel(t, func(cfg *SpoolConfig) {
		cfg.OnStored = func(context.Context, []Stored) error { return syscall.EIO }
	})
	p := m.NewPacker("c")
	data := randomBytes(1000)
	segs := mustAppend(t, p, data)
	mustFreeze(t, m.Spool, segs)
	mustAppend(t, p, []byte("aborted later"))
	if err := m.Store(context.Background(), blocksOf(segs)); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Store = %v; want EIO", err)
	}
	if err := m.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	again := openMemSpool(t, m.files, nil, func(cfg *SpoolConfig) { cfg.Dir, cfg.Store = m.cfg.Dir, m.store })
	defer again.Close(context.Background())
	id := segs[0].Block.ID()
	if err := again.Recover(context.Background(), []OpenBlock{{id, 1000}}); err != nil {
		t.Fatal(err)
	}
	for name, node := range m.store.blocks {
		if len(node.data) != int(name.size) {
			t.Errorf("block %x+%d of the store has %d bytes now", name.hash, name.size, len(node.data))
		}
	}
	b, _ := again.ByID(id)
	if got := readSegments(t, again.Spool, []Segment{{b, 0, 1000}}); !bytes.Equal(got, data) {
		t.Error("other bytes after Recover")
	}
}

func TestErrorsNameTheBlockFile(t *testing.T) {
	m := openModel(t, nil)
	m.files.setRoom(10)
	_, err := m.NewPacker("c").Append(context.Background(), make([]byte, 100))
	if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "block file 1") {
		t.Errorf("Append to a full disk = %v", err)
	}
}

// TestASyncDoesNotCoverWritesUnderWay syncs while an append has its room but not
// yet its bytes in the file.
func TestASyncDoesNotCoverWritesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := openModel(t, nil)
		p := m.NewPacker("c")
		first := mustAppend(t, p, randomBytes(100))
		mustFreeze(t, m.Spool, first)
		m.files.mu.Lock()
		m.files.lazy = 20 * time.Millisecond
		m.files.mu.Unlock()
		var second []Segment
		var wg sync.WaitGroup
		wg.Go(func() { second = mustAppend(t, p, randomBytes(200)) })
		time.Sleep(time.Millisecond)
		if err := m.Sync(context.Background(), blocksOf(first)); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		extents := mustFreeze(t, m.Spool, second)
		if err := m.Sync(context.Background(), blocksOf(second)); err != nil {
			t.Fatal(err)
		}
		after := openMemSpool(t, m.files.cutPower(), m, nil)
		defer after.Close(context.Background())
		for _, e := range extents {
			if err := after.VerifyExtent(e); err != nil {
				t.Errorf("after a loss of power: %v", err)
			}
		}
	})
}
