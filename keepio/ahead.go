package keepio

import (
	"context"
	"sync"
)

// A Prefetcher is a LocalStore that can get blocks before they are read, because
// getting them takes long. Prefetch returns at once. cancel, which must be called
// once, says that the block was read or is not expected to be any more.
type Prefetcher interface {
	Prefetch(ctx context.Context, hash [16]byte, size uint32) (cancel func())
}

// An Ahead is what one reader is about to read: the spool gets these blocks
// meanwhile. All methods may be called concurrently, also on a nil Ahead, which
// does nothing.
type Ahead struct {
	store Prefetcher

	mu     sync.Mutex // guards the fields below
	wanted map[*Block]func()
	closed bool
}

// NewAhead returns an Ahead, which must be closed. It is nil if the store has all
// its blocks at hand.
func (s *Spool) NewAhead() *Ahead {
	p, ok := s.store.(Prefetcher)
	if !ok {
		return nil
	}
	return &Ahead{store: p, wanted: make(map[*Block]func())}
}

// Want says which blocks the reader will want next. They replace those of the call
// before: what is not among them any more need not be got, unless somebody
// else wants it.
func (a *Ahead) Want(ctx context.Context, blocks []*Block) {
	if a == nil {
		return
	}
	a.mu.Lock()
	old := a.wanted
	a.wanted = make(map[*Block]func(), len(blocks))
	for _, b := range blocks {
		if a.closed || b == nil || a.wanted[b] != nil {
			continue
		}
		if cancel := old[b]; cancel != nil {
			a.wanted[b] = cancel
			delete(old, b)
			continue
		}
		if b.file.Load() != nil {
			continue // it is here
		}
		if hash, size, ok := b.Stored(); ok {
			a.wanted[b] = a.store.Prefetch(ctx, hash, size)
		}
	}
	a.mu.Unlock()
	for _, cancel := range old {
		cancel()
	}
}

// Close ends what a wants.
func (a *Ahead) Close() {
	if a == nil {
		return
	}
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.Want(context.Background(), nil)
}
