package blockcache

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"keepdav/keepio/internal/openblock"
)

// A target is the file that a block's bytes go to: one on the disk, or, while that
// does not work, one in memory.
type target struct {
	f      *os.File
	size   int64
	disk   *disk   // nil: it is in memory
	temp   string  // its name on the disk
	memory *memory // nil: it is on the disk
}

// newTarget makes a file for a block. In memory it waits for room.
func (s *Store) newTarget(ctx context.Context, k key) (*target, error) {
	if t := s.disk.create(k); t != nil {
		return t, nil
	}
	return s.memory.create(ctx, k)
}

func (t *target) writeAt(p []byte, off int64) error {
	if t.disk != nil {
		return t.disk.writeAt(t.f, p, off)
	}
	_, err := t.f.WriteAt(p, off)
	return err
}

// keep gives the file the block's name. If that fails it lives as long as it is
// open.
func (t *target) keep(k key, sums []uint32) {
	if t.disk != nil {
		t.disk.name(t, k, sums)
	}
}

// discard gives the file up.
func (t *target) discard() {
	_ = t.f.Close()
	if t.disk != nil {
		_ = os.Remove(t.temp)
	}
	t.closed()
}

// closed is called when the file was closed.
func (t *target) closed() {
	if t.memory != nil {
		t.memory.release(t.size)
	}
}

// A memory holds blocks while the disk does not work.
type memory struct {
	limit int64
	cache *openblock.Cache

	mu    sync.Mutex // guards the fields below
	used  int64
	held  []*openblock.Block // complete, the oldest first
	freed chan struct{}
}

func newMemory(limit int64, cache *openblock.Cache) *memory {
	return &memory{limit: limit, cache: cache, freed: make(chan struct{})}
}

// create makes a file in memory, after waiting for room. There is always room for
// one.
func (m *memory) create(ctx context.Context, k key) (*target, error) {
	size := int64(k.size)
	if err := m.take(ctx, size); err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("block", unix.MFD_CLOEXEC)
	if err != nil {
		m.release(size)
		return nil, fmt.Errorf("hold a block in memory: %w", err)
	}
	return &target{f: os.NewFile(uintptr(fd), "block in memory"), size: size, memory: m}, nil
}

// take counts size bytes, for which the oldest blocks make room.
func (m *memory) take(ctx context.Context, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.used > 0 && m.used+size > m.limit {
		freed := m.freed
		if len(m.held) > 0 {
			oldest := m.held[0]
			m.held = slices.Delete(m.held, 0, 1)
			m.mu.Unlock()
			m.cache.DropBlock(oldest)
			m.mu.Lock()
			continue
		}
		m.mu.Unlock()
		var err error
		select {
		case <-freed:
		case <-ctx.Done():
			err = ctx.Err()
		}
		m.mu.Lock()
		if err != nil {
			return err
		}
	}
	m.used += size
	return nil
}

func (m *memory) release(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= size
	close(m.freed)
	m.freed = make(chan struct{})
}

// hold remembers a complete block that can make room for others.
func (m *memory) hold(b *openblock.Block) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = append(m.held, b)
}

// forget takes hold back.
func (m *memory) forget(b *openblock.Block) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = slices.DeleteFunc(m.held, func(h *openblock.Block) bool { return h == b })
}

func (m *memory) load() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}
