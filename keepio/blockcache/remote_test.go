package blockcache

import (
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"keepdav/keepio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A memRemote keeps blocks in memory, as a cluster would.
type memRemote struct {
	mu      sync.Mutex // guards the fields below
	blocks  map[key][]byte
	fetches map[key]int
	pushed  int
	fault   error

	// during is called, if not nil, before each piece of a fetch, with the bytes
	// that were sent so far.
	during func(ctx context.Context, k key, sink keepio.Sink, sent int) error
	piece  int      // bytes sent at a time
	sums   []uint32 // told before a block is sent
}

func newRemote() *memRemote {
	return &memRemote{blocks: make(map[key][]byte), fetches: make(map[key]int), piece: keepio.ChunkSize}
}

// put stores data and returns what it is called.
func (r *memRemote) put(data []byte) key {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := key{md5.Sum(data), uint32(len(data))}
	r.blocks[k] = data
	return k
}

func (r *memRemote) setFault(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = err
}

// count returns how often a block was fetched.
func (r *memRemote) count(k key) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fetches[k]
}

func (r *memRemote) get(k key) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetches[k]++
	if r.fault != nil {
		return nil, r.fault
	}
	data, ok := r.blocks[k]
	if !ok {
		return nil, fmt.Errorf("block %v: %w", k, keepio.ErrNotFound)
	}
	return data, nil
}

func (r *memRemote) Fetch(ctx context.Context, hash [16]byte, size uint32, sink keepio.Sink) error {
	k := key{hash, size}
	data, err := r.get(k)
	if err != nil {
		return err
	}
	if s, ok := sink.(keepio.SumSink); ok && r.sums != nil {
		s.Expect(r.sums)
	}
	for sent := 0; sent < len(data); {
		if r.during != nil {
			if err := r.during(ctx, k, sink, sent); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := sink.Write(data[sent:min(sent+r.piece, len(data))])
		if err != nil {
			return err
		}
		sent += n
	}
	return nil
}

func (r *memRemote) Push(ctx context.Context, f *os.File, hash [16]byte, size uint32) error {
	data := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(size)), data); err != nil {
		return err
	}
	if md5.Sum(data) != hash {
		return fmt.Errorf("push: %w", keepio.ErrCorrupt)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fault != nil {
		return r.fault
	}
	r.pushed++
	r.blocks[key{hash, size}] = data
	return nil
}

// open opens a cache that is closed with the test.
func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.Limit == 0 {
		cfg.Limit = 1 << 30
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// get reads all of a block.
func get(s *Store, k key) ([]byte, error) {
	p := make([]byte, k.size)
	n, err := s.ReadBlock(context.Background(), k.hash, k.size, p, 0)
	return p[:n], err
}
