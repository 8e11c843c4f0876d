package collfs_test

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"keepdav/collfs"
	"keepdav/keepio"
	"keepdav/keepio/memstore"
)

// A farStore notes which blocks it is asked to get ahead.
type farStore struct {
	memstore.Store

	mu    sync.Mutex // guards the fields below
	now   map[[16]byte]int
	total int
}

func (s *farStore) Prefetch(_ context.Context, hash [16]byte, _ uint32) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now[hash]++
	s.total++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.now[hash]--; s.now[hash] == 0 {
			delete(s.now, hash)
		}
	}
}

// ahead returns how many blocks are wanted and how many have been so far.
func (s *farStore) ahead() (now, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.now), s.total
}

const (
	farPiece  = 300 << 10
	farPieces = 40
)

// openFar returns a collection with a file of farPieces blocks.
func openFar(t *testing.T) (*collfs.Collection, *farStore) {
	store := &farStore{now: make(map[[16]byte]int)}
	e := newEnv(t)
	var id atomic.Uint64
	spool, err := keepio.OpenSpool(keepio.SpoolConfig{
		Dir: t.TempDir() + "/open", Store: store, NoSync: true, Remote: true,
		NextID: func() (keepio.BlockID, error) { return keepio.BlockID(id.Add(1)), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = spool.Close(context.Background()) })
	e.spool = spool
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, farPiece)
	for i := range farPieces {
		p[0] = byte(i)
		if _, err := h.WriteAt(t.Context(), p, int64(i)*farPiece); err != nil {
			t.Fatal(err)
		}
		if err := spool.StoreAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c, store
}

// A reading is what a Reader and a Handle have in common.
type reading struct {
	at    func(p []byte, off int64) (int, error)
	close func()
}

func readings(t *testing.T, c *collfs.Collection) map[string]func() reading {
	return map[string]func() reading{
		"Reader": func() reading {
			r, err := c.OpenRead("f")
			if err != nil {
				t.Fatal(err)
			}
			return reading{func(p []byte, off int64) (int, error) { return r.ReadAt(t.Context(), p, off) }, func() { _ = r.Close() }}
		},
		"Handle": func() reading {
			h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDONLY})
			if err != nil {
				t.Fatal(err)
			}
			return reading{func(p []byte, off int64) (int, error) { return h.ReadAt(t.Context(), p, off) }, func() { _ = h.Close(t.Context()) }}
		},
	}
}

func TestASequentialReaderHasTheNextBlocksGot(t *testing.T) {
	c, store := openFar(t)
	for name, open := range readings(t, c) {
		r := open()
		before := store.total
		p := make([]byte, 64<<10)
		for off := int64(0); off < 2<<20; off += int64(len(p)) {
			if _, err := r.at(p, off); err != nil {
				t.Fatal(err)
			}
			now, total := store.ahead()
			if off == 0 && total > before {
				t.Errorf("%s: the first read gets %d blocks ahead", name, total-before)
			}
			if off > 1<<20 && (now < 5 || now > 16) {
				t.Errorf("%s: %d blocks are got ahead at %d", name, now, off)
			}
		}
		// What follows is read at another place: nothing more is wanted there.
		if _, err := r.at(p, farPiece*farPieces-int64(len(p))); err != nil {
			t.Fatal(err)
		}
		if now, _ := store.ahead(); now > 1 {
			t.Errorf("%s: %d blocks are wanted after a jump", name, now)
		}
		for off := int64(0); off < 1<<20; off += int64(len(p)) {
			if _, err := r.at(p, off); err != nil {
				t.Fatal(err)
			}
		}
		r.close()
		if now, _ := store.ahead(); now > 0 {
			t.Errorf("%s: %d blocks are wanted after it was closed", name, now)
		}
	}
}

// The kernel sends several reads at once, in no order.
func TestReadsThatOvertakeEachOtherAreSequential(t *testing.T) {
	c, store := openFar(t)
	r := readings(t, c)["Reader"]()
	defer r.close()
	p := make([]byte, 64<<10)
	for off := int64(0); off < 1<<20; off += 4 * int64(len(p)) {
		for _, i := range []int64{2, 0, 3, 1} {
			if _, err := r.at(p, off+i*int64(len(p))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if now, _ := store.ahead(); now < 5 {
		t.Errorf("%d blocks are got ahead", now)
	}
}

func TestRandomReadsGetNothingAhead(t *testing.T) {
	c, store := openFar(t)
	for name, open := range readings(t, c) {
		r := open()
		p := make([]byte, 4096)
		rnd := rand.New(rand.NewPCG(1, 2))
		half := int64(farPiece * farPieces / 2)
		for i := range 200 {
			off := rnd.Int64N(half - 5<<20)
			if i%2 == 0 {
				off = half + 5<<20 - rnd.Int64N(1<<20)
			}
			if _, err := r.at(p, off); err != nil {
				t.Fatal(err)
			}
		}
		if _, total := store.ahead(); total > 0 {
			t.Errorf("%s: %d blocks were got ahead", name, total)
		}
		r.close()
	}
}

func TestADownloadHasTheNextBlocksGot(t *testing.T) {
	c, store := openFar(t)
	r, err := c.OpenRead("f")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.WriteRange(t.Context(), io.Discard, 0, 1<<20); err != nil {
		t.Fatal(err)
	}
	if now, _ := store.ahead(); now < 5 {
		t.Errorf("%d blocks are got ahead", now)
	}
	_ = r.Close()
	if now, _ := store.ahead(); now > 0 {
		t.Errorf("%d blocks are wanted after the reader was closed", now)
	}
}
