package keepio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestAFullDiskPasses(t *testing.T) {
	m := openModel(t, nil)
	p := m.NewPacker("c")
	st := p.NewStream()
	before := mustAppend(t, p, randomBytes(5000))
	sent := mustAppend(t, st, randomBytes(7000))
	m.files.setRoom(100)
	for range 3 {
		if _, err := p.Append(context.Background(), randomBytes(300)); !errors.Is(err, ErrFull) {
			t.Fatalf("Append = %v; want ErrFull", err)
		}
		if _, err := st.Append(context.Background(), randomBytes(300)); !errors.Is(err, ErrFull) {
			t.Fatalf("Append to a stream = %v; want ErrFull", err)
		}
	}
	m.files.setRoom(-1)
	if got := m.Stats().Waiting; got != 12000 {
		t.Errorf("%d bytes are counted; want the 12000 that were taken", got)
	}
	after := mustAppend(t, p, randomBytes(300))
	if after[0].Off != 5000 {
		t.Errorf("the next append lies at %d; want 5000, for what failed takes no room", after[0].Off)
	}
	sent = JoinSegments(sent, mustAppend(t, st, randomBytes(300))...)
	st.Close()
	if len(sent) != 1 || sent[0].Len != 7300 {
		t.Errorf("the stream is %v; want one segment", sent)
	}
	if err := m.StoreAll(context.Background()); err != nil {
		t.Fatal(err)
	}
	for n, segs := range map[int][]Segment{5000: before, 300: after} {
		if !bytes.Equal(readSegments(t, m.Spool, segs), randomBytes(n)) {
			t.Errorf("other bytes in the file of %d", n)
		}
	}
}

func TestUploadsBeyondTheBudgetWaitAndEnd(t *testing.T) {
	m := openModel(t, func(cfg *SpoolConfig) { cfg.Budget = 1 << 20 })
	var wg sync.WaitGroup
	results := make([][]Segment, 8)
	for i := range results {
		wg.Go(func() {
			p := m.NewPacker(string(rune('a' + i)))
			defer p.Close()
			st := p.NewStream()
			defer st.Close()
			for range 30 {
				segs, err := st.Append(context.Background(), randomBytes(100000))
				if err != nil {
					t.Error(err)
					return
				}
				results[i] = JoinSegments(results[i], segs...)
			}
		})
	}
	wg.Wait()
	want := bytes.Repeat(randomBytes(100000), 30)
	for i, segs := range results {
		if !bytes.Equal(readSegments(t, m.Spool, segs), want) {
			t.Errorf("upload %d has other bytes", i)
		}
	}
}

func TestWaitingForTheBudgetEndsWhenStoringFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := openModel(t, func(cfg *SpoolConfig) {
			cfg.Budget = 1000
			cfg.Patience = 30 * time.Second
		})
		defer m.store.setFault(nil)
		m.store.setFault(syscall.ENOSPC)
		p := m.NewPacker("c")
		segs := mustAppend(t, p, randomBytes(1000))
		began := time.Now()
		if _, err := p.Append(context.Background(), randomBytes(10)); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("Append = %v; want why storing fails", err)
		}
		if took := time.Since(began); took < 30*time.Second || took > 2*time.Minute {
			t.Errorf("Append gave up after %v", took)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := p.Append(ctx, randomBytes(10)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Append = %v; want the end of its context", err)
		}
		if m.Stats().Trouble == nil {
			t.Error("Stats tell of no trouble")
		}
		m.store.setFault(nil)
		if _, err := p.Append(context.Background(), randomBytes(10)); err != nil {
			t.Errorf("Append after storing works again = %v", err)
		}
		if _, _, ok := segs[0].Block.Stored(); !ok {
			t.Error("the block was not tried again")
		}
	})
}

func TestRepackingGoesBeyondTheBudget(t *testing.T) {
	m := openModel(t, func(cfg *SpoolConfig) { cfg.Budget = 1000 })
	m.store.setFault(syscall.EIO)
	defer m.store.setFault(nil)
	mustAppend(t, m.NewPacker("c"), randomBytes(1000))
	r := m.NewRepacker("c")
	defer r.Close()
	mustAppend(t, r, randomBytes(5000))
}

func TestAbortFreesAtOnce(t *testing.T) {
	m := openModel(t, func(cfg *SpoolConfig) { cfg.Budget = 10 << 20 })
	p := m.NewPacker("c")
	st := p.NewStream()
	kept := mustAppend(t, st, randomBytes(70000))
	st.Close()
	st = p.NewStream()
	gone := mustAppend(t, st, randomBytes(80000))
	st.Abort()
	st.Abort()
	if got := m.Stats().Waiting; got != 70000 {
		t.Errorf("%d bytes are counted after Abort; want 70000", got)
	}
	if kept[0].Block != gone[0].Block {
		t.Error("the second stream did not go on in the block of the first")
	}
	st = p.NewStream()
	next := mustAppend(t, st, randomBytes(90000))
	if next[0].Block != kept[0].Block || next[0].Off != 70000 {
		t.Errorf("the next stream starts at %d; want 70000, in the same block", next[0].Off)
	}
	st.Close()
	if err := m.StoreAll(context.Background()); err != nil { // checks the sums
		t.Fatal(err)
	}
	if !bytes.Equal(readSegments(t, m.Spool, kept), randomBytes(70000)) || !bytes.Equal(readSegments(t, m.Spool, next), randomBytes(90000)) {
		t.Error("other bytes after an abort")
	}
	st = p.NewStream()
	alone := mustAppend(t, st, randomBytes(1000))
	st.Abort()
	if m.files.names[m.pathOf(alone[0].Block.ID())] != nil || m.Stats().Waiting != 0 {
		t.Error("the file of an aborted stream is still there")
	}
}

// A commit of what a stream left may sync the beginning of the next one, too.
func TestABlockThatWasCutBackIsSyncedBeforeItGetsItsName(t *testing.T) {
	m := openModel(t, nil)
	p := m.NewPacker("c")
	st := p.NewStream()
	kept := mustAppend(t, st, randomBytes(70000))
	st.Close()
	mustFreeze(t, m.Spool, kept)
	st = p.NewStream()
	mustAppend(t, st, randomBytes(80000))
	if err := m.Sync(context.Background(), blocksOf(kept)); err != nil {
		t.Fatal(err)
	}
	st.Abort()
	if err := m.StoreAll(context.Background()); err != nil { // the store looks what is on the disk
		t.Error(err)
	}
}

func TestAbortLeavesFrozenBytesAlone(t *testing.T) {
	m := openModel(t, nil)
	st := m.NewPacker("c").NewStream()
	segs := mustAppend(t, st, randomBytes(1000))
	extents := mustFreeze(t, m.Spool, segs)
	st.Abort()
	if err := m.VerifyExtent(extents[0]); err != nil {
		t.Error(err)
	}
}

func TestSmallFilesShareABlock(t *testing.T) {
	m := openModel(t, nil)
	p := m.NewPacker("c")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 250 {
				if _, err := p.Append(context.Background(), randomBytes(4096)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := m.StoreAll(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := m.store.len(); n != 1 {
		t.Errorf("2,000 small files take %d blocks; want 1", n)
	}
}

func TestCollectionsShareNoBlock(t *testing.T) {
	m := openModel(t, nil)
	a := mustAppend(t, m.NewPacker("a"), []byte("a"))
	b := mustAppend(t, m.NewPacker("b"), []byte("b"))
	again := mustAppend(t, m.NewPacker("a"), []byte("a"))
	if a[0].Block == b[0].Block || a[0].Block != again[0].Block {
		t.Error("blocks are not per collection")
	}
}

func TestLargeDataFillsBlocksToTheByte(t *testing.T) {
	m := openModel(t, nil)
	p := m.NewPacker("c")
	data := make([]byte, BlockSize+1000)
	copy(data[BlockSize-5:], "across the border")
	mustAppend(t, p, []byte("head"))
	segs := mustAppend(t, p, data)
	if len(segs) != 2 || segs[0].Off != 4 || segs[0].Len != BlockSize-4 || segs[1].Off != 0 {
		t.Fatalf("segments are %v", segs)
	}
	if !bytes.Equal(readSegments(t, m.Spool, segs), data) {
		t.Error("other bytes")
	}
}

func TestIdleBlocksAreStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := openModel(t, nil)
		p := m.NewPacker("c")
		segs := mustAppend(t, p, randomBytes(100))
		time.Sleep(20 * time.Second)
		if _, _, ok := segs[0].Block.Stored(); ok {
			t.Error("the block was stored at once; want it to wait for more")
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if _, _, ok := segs[0].Block.Stored(); !ok || m.Stats().Waiting != 0 {
			t.Error("the block was not stored")
		}
		p.Close()
		if len(m.groups) != 0 {
			t.Error("a group that nobody uses was kept")
		}
	})
}

// Collections are unloaded by the thousand, with a lock held.
func TestTheEndOfAPackerCostsTheSameBesideManyOthers(t *testing.T) {
	m := openModel(t, nil)
	cost := func() float64 { return testing.AllocsPerRun(100, func() { m.NewPacker("c").Close() }) }
	alone := cost()
	var segs []Segment
	for i := range 200 {
		p := m.NewPacker(fmt.Sprint("other", i))
		segs = append(segs, mustAppend(t, p, randomBytes(10))...)
		p.Close()
	}
	if among := cost(); among > alone {
		t.Errorf("NewPacker and Close allocate %v times among others, %v times alone", among, alone)
	}
	if len(m.groups) != 200 {
		t.Errorf("there are %d groups; want those with open blocks", len(m.groups))
	}
	if err := m.Store(context.Background(), blocksOf(segs)); err != nil {
		t.Fatal(err)
	}
	if len(m.groups) != 0 {
		t.Errorf("%d groups that nobody uses are kept", len(m.groups))
	}
}

func TestStoringIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := openModel(t, nil)
		segs := mustAppend(t, m.NewPacker("c"), randomBytes(100))
		m.store.setFault(syscall.EIO)
		if err := m.Store(context.Background(), blocksOf(segs)); !errors.Is(err, syscall.EIO) {
			t.Fatalf("Store = %v; want EIO", err)
		}
		synctest.Wait()
		if st := m.Stats(); st.Failed != 1 || !errors.Is(st.Trouble, syscall.EIO) {
			t.Errorf("Stats = %+v; want one failed", st)
		}
		m.store.setFault(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, _, ok := segs[0].Block.Stored(); !ok {
			t.Error("the block was not tried again by itself")
		}
	})
}

func TestManySealedBlocksAreHashedSideBySide(t *testing.T) {
	m := openModel(t, nil)
	var segs []Segment
	for i := range 20 {
		st := m.NewPacker("c").NewStream()
		segs = append(segs, mustAppend(t, st, randomBytes(1+i*31000))...)
		defer st.Close()
	}
	if err := m.Store(context.Background(), blocksOf(segs)); err != nil { // the store checks each MD5
		t.Fatal(err)
	}
	for i, seg := range segs {
		if !bytes.Equal(readSegments(t, m.Spool, []Segment{seg}), randomBytes(1+i*31000)) {
			t.Errorf("block %d has other bytes", i)
		}
	}
}

func TestSomeOfTheDiskIsKeptForDeletes(t *testing.T) {
	m := openModel(t, func(cfg *SpoolConfig) { cfg.KeepFree = 1 << 20 })
	p, r := m.NewPacker("c"), m.NewRepacker("c")
	mustAppend(t, p, randomBytes(1000))
	m.files.setRoom(1<<20 + 5000)
	m.room.next.Store(0) // a second has passed
	mustAppend(t, p, randomBytes(4000))
	m.room.next.Store(0)
	for range 2 {
		if _, err := p.Append(context.Background(), randomBytes(4000)); !errors.Is(err, ErrFull) {
			t.Errorf("Append into what is kept = %v; want ErrFull", err)
		}
	}
	mustAppend(t, r, randomBytes(4000)) // repacking frees room in the end
	m.files.setRoom(-1)
	mustAppend(t, p, randomBytes(4000))
}

func TestWritingToManyCollectionsKeepsFewFilesOpen(t *testing.T) {
	m := openModel(t, nil)
	for i := range 2 * maxFiles {
		p := m.NewPacker(fmt.Sprint(i))
		mustAppend(t, p, []byte{byte(i), byte(i >> 8)})
		p.Close()
	}
	if st := m.Stats(); st.Open > maxFiles+1 {
		t.Errorf("%d files are open; want at most %d", st.Open, maxFiles+1)
	}
}
