package blockcache

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"keepdav/keepio"
	"keepdav/keepio/internal/openblock"
)

// An arrival is the bytes of a block while they come: the keepio.SumSink of a fetch.
// Others may read what has arrived.
type arrival struct {
	key key

	mu       sync.Mutex // guards the fields below
	changed  chan struct{}
	target   *target // where the bytes go; nil: nowhere
	failed   bool    // the target could not take them
	turn     int     // how often it began
	have     int64   // bytes that have arrived
	sums     []uint32
	tail     uint32   // sum of the bytes after the last full chunk
	expected []uint32 // what the sums should be; nil: not known
	good     int64    // bytes that have arrived and have their sums
}

func newArrival(k key) *arrival { return &arrival{key: k, changed: make(chan struct{})} }

// fireLocked wakes all who wait.
func (a *arrival) fireLocked() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// begin starts anew, with another target.
func (a *arrival) begin(t *target) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.target = t
	if t != nil {
		a.failed = false
	}
	a.restartLocked()
}

func (a *arrival) restartLocked() {
	a.turn++
	a.have, a.good, a.sums, a.tail, a.expected = 0, 0, nil, 0, nil
	a.fireLocked()
}

// Restart implements keepio.Sink.
func (a *arrival) Restart() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.restartLocked()
	return nil
}

// Write implements keepio.Sink. One goroutine calls it.
func (a *arrival) Write(p []byte) (int, error) {
	a.mu.Lock()
	t, have, tail := a.target, a.have, a.tail
	a.mu.Unlock()
	if have+int64(len(p)) > int64(a.key.size) {
		return 0, fmt.Errorf("%w: the remote store sent more than %d bytes", keepio.ErrCorrupt, a.key.size)
	}
	if err := t.writeAt(p, have); err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.failed = true
		return 0, err
	}
	sums, tail := extendSums(nil, tail, have, p)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.have += int64(len(p))
	a.sums, a.tail = append(a.sums, sums...), tail
	if a.have == int64(a.key.size) && a.have%keepio.ChunkSize != 0 {
		a.sums = append(a.sums, tail)
	}
	a.checkLocked()
	a.fireLocked()
	return len(p), nil
}

// extendSums appends the sums of the chunks that p, at off, completes.
func extendSums(sums []uint32, tail uint32, off int64, p []byte) ([]uint32, uint32) {
	for len(p) > 0 {
		k := min(int64(len(p)), keepio.ChunkSize-off%keepio.ChunkSize)
		tail = keepio.JoinSums(tail, keepio.Sum(p[:k]), uint32(k))
		off += k
		if off%keepio.ChunkSize == 0 {
			sums, tail = append(sums, tail), 0
		}
		p = p[k:]
	}
	return sums, tail
}

// Expect implements keepio.SumSink. Too few or too many sums are none.
func (a *arrival) Expect(sums []uint32) {
	if len(sums) != openblock.Chunks(a.key.size) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expected = sums
	a.checkLocked()
	a.fireLocked()
}

// checkLocked compares the sums that have arrived with those expected.
func (a *arrival) checkLocked() {
	if a.expected == nil {
		return
	}
	for c := int(a.good / keepio.ChunkSize); c < len(a.sums) && a.sums[c] == a.expected[c]; c++ {
		a.good = min(int64(c+1)*keepio.ChunkSize, int64(a.key.size))
	}
}

// complete makes sure that all has arrived.
func (a *arrival) complete() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.have != int64(a.key.size) {
		return fmt.Errorf("%w: %d of %d: %w", errShort, a.have, a.key.size, keepio.ErrCorrupt)
	}
	return nil
}

// targetFailed reports whether it was the target that did not take the bytes.
func (a *arrival) targetFailed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

// takeSums returns the sums of all chunks.
func (a *arrival) takeSums() []uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.sums)
}

// is reports whether turn is the present one.
func (a *arrival) is(turn int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.turn == turn
}

// A state is how much of a block can be read.
type state struct {
	from io.ReaderAt
	turn int
	to   int64
}

// wait waits until the bytes up to to can be read, verified or not, or the fill
// has ended, and returns how many can.
func (a *arrival) wait(ctx context.Context, to int64, unverified bool, ended <-chan struct{}) (state, error) {
	for {
		a.mu.Lock()
		st := state{turn: a.turn, to: a.good}
		if unverified {
			st.to = a.have
		}
		if a.target != nil {
			st.from = a.target.f
		}
		changed := a.changed
		a.mu.Unlock()
		if st.to >= to {
			return st, nil
		}
		select {
		case <-changed:
		case <-ended:
			return state{turn: st.turn}, nil
		case <-ctx.Done():
			return state{}, ctx.Err()
		}
	}
}

// readAt reads bytes that have arrived; false means that they have not any more:
// the fetch began anew meanwhile, or ended.
func (a *arrival) readAt(st state, p []byte, off int64) bool {
	_, err := st.from.ReadAt(p, off)
	return err == nil && a.is(st.turn)
}
