package keepio

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A farStore is a store on other machines. Adopt waits while it is held.
type farStore struct {
	LocalStore
	files *memFiles

	mu    sync.Mutex // guards the fields below
	fault error
	hold  chan struct{} // a value lets one Adopt go on; nil: all
	order []string      // paths in the order in which Adopt was called
	now   int           // calls at work
	most  int
}

func (s *farStore) setFault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = err
}

func (s *farStore) Adopt(ctx context.Context, path string, hash [16]byte, size uint32, sums []uint32) error {
	s.mu.Lock()
	s.order = append(s.order, path)
	s.now++
	s.most = max(s.most, s.now)
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	return errors.Join(s.fault, ctx.Err())
}

// openFar opens a spool over a store on other machines.
func openFar(t *testing.T, change func(*SpoolConfig, *farStore)) (*memSpool, *farStore) {
	files := newMemFiles()
	far := &farStore{files: files}
	m := openMemSpool(t, files, nil, func(cfg *SpoolConfig) {
		cfg.Store, cfg.Remote, cfg.Patience = far, true, 0
		if change != nil {
			change(cfg, far)
		}
	})
	t.Cleanup(func() { _ = m.Close(context.Background()) })
	return m, far
}

// sealed makes n sealed blocks, one after the other: hashing many together works in
// goroutines that are not of this test.
func sealed(t *testing.T, m *memSpool, n int) []*Block {
	t.Helper()
	var blocks []*Block
	for range n {
		segs := mustAppend(t, m.NewPacker("c"), randomBytes(100))
		m.sealFile(segs[0].Block.file.Load())
		blocks = append(blocks, segs[0].Block)
		synctest.Wait()
	}
	return blocks
}

func TestBlocksForOtherMachinesDoNotWaitForALull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := openFar(t, nil)
		began := time.Now()
		blocks := sealed(t, m, 3)
		synctest.Wait()
		for _, b := range blocks {
			if _, _, ok := b.Stored(); !ok {
				t.Error("a full block was not stored at once")
			}
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("it took %v", d)
		}
	})
}

func TestHashingDoesNotWaitForUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, far := openFar(t, func(_ *SpoolConfig, far *farStore) { far.hold = make(chan struct{}) })
		blocks := sealed(t, m, 2*uploadParallel+3)
		synctest.Wait()
		for i, b := range blocks {
			if _, _, ok := b.Name(); !ok {
				t.Errorf("block %d is not hashed while others are uploaded", i)
			}
		}
		close(far.hold)
		if err := m.Store(context.Background(), blocks); err != nil {
			t.Fatal(err)
		}
		if far.most != uploadParallel {
			t.Errorf("%d uploads at a time; want %d", far.most, uploadParallel)
		}
	})
}

func TestACommitOvertakesBlocksThatWaitToBeUploaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, far := openFar(t, func(_ *SpoolConfig, far *farStore) { far.hold = make(chan struct{}) })
		blocks := sealed(t, m, uploadParallel+5)
		synctest.Wait()
		last := blocks[len(blocks)-1]
		stored := make(chan error)
		go func() { stored <- m.Store(context.Background(), []*Block{last}) }()
		synctest.Wait()
		far.hold <- struct{}{} // ends one upload: the next is that of last
		synctest.Wait()
		if got := far.order[len(far.order)-1]; got != m.pathOf(last.ID()) {
			t.Errorf("the next upload is %s; want %s", got, m.pathOf(last.ID()))
		}
		close(far.hold)
		if err := <-stored; err != nil {
			t.Error(err)
		}
	})
}

func TestASlowUploadDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, far := openFar(t, func(_ *SpoolConfig, far *farStore) { far.hold = make(chan struct{}) })
		blocks := sealed(t, m, 2)
		synctest.Wait()
		far.hold <- struct{}{}
		synctest.Wait()
		done := 0
		for _, b := range blocks {
			if _, _, ok := b.Stored(); ok {
				done++
			}
		}
		if done != 1 {
			t.Errorf("%d blocks are stored; want the one whose upload has ended", done)
		}
		close(far.hold)
		synctest.Wait()
	})
}

// Writers go on while there is room for what waits, then they are held; nothing
// has to be done when the store comes back.
func TestAnOutageHoldsWritersAndEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, far := openFar(t, func(cfg *SpoolConfig, _ *farStore) { cfg.Budget = 10000 })
		far.setFault(ErrUnavailable)
		p := m.NewPacker("c")
		began := time.Now()
		for range 10 {
			segs := mustAppend(t, p, randomBytes(1000))
			m.sealFile(segs[0].Block.file.Load())
			synctest.Wait()
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("writers waited %v within the budget", d)
		}
		back := time.AfterFunc(time.Minute, func() { far.setFault(nil) })
		defer back.Stop()
		segs, err := p.Append(context.Background(), randomBytes(1000))
		if d := time.Since(began); err != nil || d < time.Minute || d > time.Minute+retrySlowest {
			t.Fatalf("Append over the budget = %v after %v; want it to wait for the store", err, d)
		}
		m.sealFile(segs[0].Block.file.Load())
		time.Sleep(retrySlowest)
		synctest.Wait()
		if st := m.Stats(); st.Waiting != 0 || st.Failed != 0 || st.Trouble != nil {
			t.Errorf("after the outage Stats = %+v; want nothing to wait", st)
		}
	})
}

func TestAFailedUploadIsNotHashedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, far := openFar(t, nil)
		far.setFault(ErrUnavailable)
		b := sealed(t, m, 1)[0]
		if err := m.Store(context.Background(), []*Block{b}); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("Store = %v; want ErrUnavailable", err)
		}
		synctest.Wait()
		far.setFault(nil)
		m.files.setFault(func(op, _ string) error {
			if op == "read" {
				return io.ErrUnexpectedEOF
			}
			return nil
		})
		if err := m.Store(context.Background(), []*Block{b}); err != nil {
			t.Errorf("Store = %v; want the hash of the attempt before", err)
		}
	})
}

func TestAttemptsComeLessOftenWhileTheyFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, far := openFar(t, nil)
		far.setFault(ErrUnavailable)
		sealed(t, m, 5)
		time.Sleep(time.Minute)
		synctest.Wait()
		far.mu.Lock()
		defer far.mu.Unlock()
		// After 1, 3, 7 and 15 seconds, then every ten.
		if n := len(far.order) / 5; n < 6 || n > 10 {
			t.Errorf("%d rounds of attempts in a minute; want about nine", n)
		}
		if first := slices.Index(far.order[1:], far.order[0]); first < 0 {
			t.Error("no file was tried again")
		}
		far.fault = nil
	})
}
