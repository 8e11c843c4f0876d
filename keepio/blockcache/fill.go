package blockcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"keepdav/keepio"
	"keepdav/keepio/internal/blockio"
	"keepdav/keepio/internal/openblock"
)

// A fill brings one block into the cache, once for all who want it.
type fill struct {
	store   *Store
	arrival *arrival
	cancel  context.CancelFunc
	wanted  chan struct{} // closed when somebody waits for the block
	done    chan struct{} // closed when the fields below ended are set

	refs     int  // guarded by Store.mu, like the fields below
	reading  bool // wanted is closed
	ended    bool
	abandons *time.Timer // gives up the fill; nil: not so
	block    *openblock.Block
	err      error
}

// linger is how long a fetch goes on when all who waited for it have left. A
// program that is interrupted by a signal asks for the same bytes again at once.
const linger = 2 * time.Second

// join takes part in the fill of a block, which it starts if there is none. A
// reader waits for it; others only expect that somebody will.
func (s *Store) join(ctx context.Context, k key, reader bool) (*fill, error) {
	if k.size > keepio.BlockSize {
		return nil, keepio.ErrTooLarge
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	f := s.fills[k]
	if f == nil {
		work, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &fill{store: s, arrival: newArrival(k), cancel: cancel, wanted: make(chan struct{}), done: make(chan struct{})}
		s.fills[k] = f
		s.wg.Go(func() { f.run(work) })
	}
	f.refs++
	f.lingerLocked(false)
	if reader && !f.reading {
		f.reading = true
		close(f.wanted)
	}
	return f, nil
}

// leave ends the part that somebody takes in a fill.
func (s *Store) leave(f *fill) {
	s.mu.Lock()
	f.refs--
	last := f.refs == 0
	if last && !f.ended {
		if f.reading && !s.closed {
			f.lingerLocked(true)
		} else {
			f.giveUpLocked()
		}
	}
	last = last && f.ended
	s.mu.Unlock()
	if last && f.block != nil {
		s.cache.Release(f.block)
	}
}

// lingerLocked says whether the fill is given up soon. Store.mu must be held.
func (f *fill) lingerLocked(soon bool) {
	if f.abandons != nil {
		f.abandons.Stop()
		f.abandons = nil
	}
	if !soon {
		return
	}
	var mine *time.Timer
	mine = time.AfterFunc(linger, func() {
		f.store.mu.Lock()
		defer f.store.mu.Unlock()
		if f.abandons == mine && f.refs == 0 && !f.ended {
			f.giveUpLocked()
		}
	})
	f.abandons = mine
}

// giveUpLocked ends the fetch; who wants the block from now on starts another
// one. Store.mu must be held.
func (f *fill) giveUpLocked() {
	if f.store.fills[f.arrival.key] == f {
		delete(f.store.fills, f.arrival.key)
	}
	f.cancel()
}

// run gets the block.
func (f *fill) run(ctx context.Context) {
	defer f.cancel()
	detach := context.AfterFunc(f.store.ctx, f.cancel)
	defer detach()
	block, err := f.obtain(ctx)
	s := f.store
	s.mu.Lock()
	f.block, f.err, f.ended = block, err, true
	f.lingerLocked(false)
	if s.fills[f.arrival.key] == f {
		delete(s.fills, f.arrival.key)
	}
	unused := f.refs == 0
	s.mu.Unlock()
	close(f.done)
	if unused && block != nil {
		s.cache.Release(block)
	}
}

// obtain finds the block on the disk or fetches it, and returns it pinned.
func (f *fill) obtain(ctx context.Context) (*openblock.Block, error) {
	s, k := f.store, f.arrival.key
	if b := s.disk.open(k); b != nil {
		s.cache.DropIdle(k.hash)
		return s.cache.Put(b), nil
	}
	slot, err := f.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { <-slot }()
	s.misses.Add(1)
	for {
		t, err := s.newTarget(ctx, k)
		if err != nil {
			return nil, err
		}
		f.arrival.begin(t)
		if err = f.fetch(ctx); err == nil {
			s.fetched.Add(int64(k.size))
			return s.publish(t, k, f.arrival.takeSums()), nil
		}
		f.arrival.begin(nil)
		t.discard()
		if !f.arrival.targetFailed() || ctx.Err() != nil {
			return nil, err
		}
	}
}

// slot waits for a turn to fetch.
func (f *fill) slot(ctx context.Context) (chan struct{}, error) {
	s := f.store
	select {
	case <-f.wanted:
	case s.prefetching <- struct{}{}:
		return s.prefetching, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case s.fetching <- struct{}{}:
		return s.fetching, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fetch gets all bytes of the block, verified.
func (f *fill) fetch(ctx context.Context) error {
	k := f.arrival.key
	if err := f.store.cfg.Remote.Fetch(ctx, k.hash, k.size, f.arrival); err != nil {
		return err
	}
	return f.arrival.complete()
}

// result waits for the end of the fill. The block is pinned until leave.
func (f *fill) result(ctx context.Context) (*openblock.Block, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.err != nil && f.store.ctx.Err() != nil {
		return nil, errClosed
	}
	return f.block, f.err
}

// read fills p once its bytes are known to be right.
func (f *fill) read(ctx context.Context, p []byte, off int64) error {
	for len(p) > 0 {
		there, err := f.arrival.wait(ctx, off+int64(len(p)), false, f.done)
		if err != nil {
			return err
		}
		if there.to < off+int64(len(p)) {
			break // the fill has ended
		}
		if f.arrival.readAt(there, p, off) {
			return nil
		}
	}
	b, err := f.result(ctx)
	if err != nil {
		return err
	}
	return f.store.readOpen(b, p, off)
}

// withheld is how much of a transfer waits until all of the block is verified.
const withheld = keepio.ChunkSize

// send writes a span while it arrives: what is known to be right, or, if whoever
// gets it can see that the transfer was cut, what there is.
func (f *fill) send(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	_, unverified := w.(keepio.CutWriter)
	early := n // how much may go out before the fill has ended
	if unverified {
		early -= min(n, withheld)
	}
	buf := blockio.GetBuffer()
	defer blockio.PutBuffer(buf)
	var done int64
	var sum uint32 // of what went out
	first := -1    // the turn it came in
	turned := false
	for done < early {
		there, err := f.arrival.wait(ctx, off+done+1, unverified, f.done)
		if err != nil {
			return done, err
		}
		if first < 0 {
			first = there.turn
		}
		if turned = there.turn != first; turned || there.to <= off+done {
			break
		}
		p := buf[:min(there.to-off-done, early-done, blockio.BufferSize)]
		if !f.arrival.readAt(there, p, off+done) {
			continue
		}
		k, err := w.Write(p)
		sum = keepio.JoinSums(sum, keepio.Sum(p[:k]), uint32(k))
		if done += int64(k); err != nil {
			return done, err
		}
	}
	if done == n && n > 0 { // all of it has its sums
		return done, nil
	}
	b, err := f.result(ctx)
	if err != nil {
		return done, err
	}
	if done > 0 && unverified {
		if err := f.same(b, off, done, sum, first); err != nil {
			return done, err
		}
	}
	sent, err := f.store.sendOpen(ctx, w, b, off+done, n-done)
	return done + sent, err
}

// same makes sure that the bytes that were sent before the block was verified are
// those of the block: they may have come in a turn that was not the last.
func (f *fill) same(b *openblock.Block, off, n int64, sum uint32, turn int) error {
	if f.arrival.is(turn) {
		return nil
	}
	buf := blockio.GetBuffer()
	defer blockio.PutBuffer(buf)
	var is uint32
	for at := off; at < off+n; {
		p := buf[:min(off+n-at, blockio.BufferSize)]
		if err := b.ReadFull(p, at); err != nil {
			return err
		}
		is = keepio.JoinSums(is, keepio.Sum(p), uint32(len(p)))
		at += int64(len(p))
	}
	if is != sum {
		return fmt.Errorf("bytes that were sent before they were verified: %w", keepio.ErrCorrupt)
	}
	return nil
}

// Prefetch starts to fetch a block that is expected to be read soon, unless the
// cache has it. cancel, which must be called, says that nobody expects it any
// more, or that it has been read.
func (s *Store) Prefetch(ctx context.Context, hash [16]byte, size uint32) (cancel func()) {
	k := key{hash, size}
	if k.empty() || !s.disk.works() || s.has(k) {
		return func() {}
	}
	f, err := s.join(ctx, k, false)
	if err != nil {
		return func() {}
	}
	return func() { s.leave(f) }
}

// has reports whether the cache seems to have a block.
func (s *Store) has(k key) bool {
	if b := s.cache.Get(k.hash); b != nil {
		s.cache.Release(b)
		return b.Size == k.size
	}
	return s.disk.has(k)
}

var errShort = errors.New("the remote store sent too few bytes")
