package keepio

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// A blockFile is the local file of a block that the store does not have yet.
// Appends reserve room and extend the sums under mu, then write outside of it:
// what lies below end may still be on its way into the file until the write has
// left writes. Overwrites happen under mu.
type blockFile struct {
	spool *Spool
	block *Block
	group *group // nil for a recovered file
	path  string

	mu      sync.Mutex // guards the fields below
	changed signal     // state, writes, freezing, syncing or lost changed
	state   fileState
	f       file
	end     uint32    // the length, reserved room included
	sums    []uint32  // CRC-32C of the full chunks below end
	tail    uint32    // CRC-32C of the bytes after the last full chunk
	summed  bool      // sums and tail are known (not so in a recovered file)
	patches int       // counts changes of sums below end
	writes  []span    // appends under way
	touched time.Time // of the last append

	frozen     uint32 // bytes below are never overwritten nor cut off
	freezing   bool   // a freeze waits for writes
	settled    uint32 // bytes below are frozen and written
	synced     uint32 // bytes below survive a loss of power, with the file's name
	carried    uint32 // bytes below are either synced or in durable journal records
	syncing    bool   // a sync or a replacement is under way
	unsyncable bool   // a sync failed: the file must be replaced
	cut        bool   // was made shorter, and not synced since
	lost       error  // the bytes cannot be relied on any more

	said map[string]mark // by collection: what it got extents of; nil in a recovered file

	attempts int   // of storing
	failure  error // of the last attempt
	hashed   *hashed
}

// A hashed is what an attempt to store that failed has learned; nothing is
// written to the file any more.
type hashed struct {
	hash [16]byte
	sums []uint32
}

// A mark is a place in a block file below which all is frozen.
type mark struct {
	off  uint32
	tail uint32 // CRC-32C of the bytes after the last full chunk before it
}

// A span is a range of bytes of a block file.
type span struct{ from, to uint32 }

// append puts as much of data as fits at the end. No bytes and no error mean
// that the file takes no more. After an error none of data counts; kept says how
// much room in the file it takes up nevertheless.
func (bf *blockFile) append(data []byte) (off uint32, n int, kept int, err error) {
	bf.mu.Lock()
	if bf.state != fileOpen {
		bf.mu.Unlock()
		return 0, 0, 0, nil
	}
	n = min(len(data), int(BlockSize-bf.end))
	data = data[:n]
	off = bf.end
	tail, patches := bf.tail, bf.patches
	bf.extendLocked(data)
	w := span{off, bf.end}
	bf.writes = append(bf.writes, w)
	bf.touched = time.Now()
	if bf.end == BlockSize {
		bf.sealLocked()
	}
	f := bf.f
	bf.mu.Unlock()

	_, err = f.WriteAt(data, int64(off))

	bf.mu.Lock()
	defer bf.mu.Unlock()
	kept = n
	if err != nil {
		err = fmt.Errorf("block file %d: %w", bf.block.id, err)
		if patches == bf.patches && bf.cutLocked(w, tail) {
			kept = 0
		} else {
			bf.reconcileLocked(w, data)
		}
	}
	i := slices.Index(bf.writes, w)
	bf.writes = slices.Delete(bf.writes, i, i+1)
	bf.changed.fire()
	return off, n, kept, err
}

// extendLocked appends data's sums.
func (bf *blockFile) extendLocked(data []byte) {
	for len(data) > 0 {
		k := min(len(data), int(ChunkSize-bf.end%ChunkSize))
		bf.tail = updateSum(bf.tail, data[:k])
		bf.end += uint32(k)
		if bf.end%ChunkSize == 0 {
			bf.sums = append(bf.sums, bf.tail)
			bf.tail = 0
		}
		data = data[k:]
	}
}

// cutLocked takes back the last append, w, before which the tail's sum was
// tail. It does so only if nothing was put above it and nobody relies on it.
func (bf *blockFile) cutLocked(w span, tail uint32) bool {
	if bf.state != fileOpen || bf.end != w.to || bf.frozen > w.from {
		return false
	}
	bf.end = w.from
	bf.sums = bf.sums[:w.from/ChunkSize]
	bf.tail = tail
	bf.truncateLocked(w.from)
	return true
}

// reconcileLocked makes the sums agree with the file after writing data at w
// failed somewhere.
func (bf *blockFile) reconcileLocked(w span, data []byte) {
	is := make([]byte, len(data))
	if err := readZeroFilled(bf.f, is, int64(w.from)); err != nil {
		bf.lost = fmt.Errorf("block file %d: read back after a failed write: %w", bf.block.id, err)
		return
	}
	bf.patchLocked(w.from, data, is)
}

// patchLocked changes the sums for bytes at off that were old and are now.
func (bf *blockFile) patchLocked(off uint32, old, now []byte) {
	bf.patches++
	diff := make([]byte, len(old))
	for i := range diff {
		diff[i] = old[i] ^ now[i]
	}
	for len(diff) > 0 {
		k := min(uint32(len(diff)), ChunkSize-off%ChunkSize)
		c := off / ChunkSize
		change := rawSum(diff[:k])
		if int(c) < len(bf.sums) {
			bf.sums[c] ^= shiftSum(change, (c+1)*ChunkSize-off-k)
		} else {
			bf.tail ^= shiftSum(change, bf.end-off-k)
		}
		off, diff = off+k, diff[k:]
	}
}

// overwrite replaces the bytes at off, if the file is open and they lie above
// the frozen offset.
func (bf *blockFile) overwrite(off uint32, data []byte) (bool, error) {
	bf.mu.Lock()
	defer bf.mu.Unlock()
	if bf.state != fileOpen || off < bf.frozen || bf.lost != nil || bf.unsyncable {
		return false, nil
	}
	old := make([]byte, len(data))
	if _, err := bf.f.ReadAt(old, int64(off)); err != nil {
		return false, fmt.Errorf("block file %d: %w", bf.block.id, err)
	}
	if _, err := bf.f.WriteAt(data, int64(off)); err != nil {
		now := make([]byte, len(data))
		if rerr := readZeroFilled(bf.f, now, int64(off)); rerr != nil {
			bf.lost = fmt.Errorf("block file %d: read back after a failed write: %w", bf.block.id, rerr)
		}
		bf.patchLocked(off, old, now)
		return true, fmt.Errorf("block file %d: %w", bf.block.id, err)
	}
	bf.patchLocked(off, old, data)
	bf.touched = time.Now()
	return true, nil
}

// freeze raises the frozen offset to the present end, waits for writes below it
// and returns the span that the collection called name has not got before; ok is
// false if there is none.
func (bf *blockFile) freeze(name string) (e Extent, ok bool, err error) {
	bf.mu.Lock()
	defer bf.mu.Unlock()
	for bf.freezing {
		bf.waitLocked()
	}
	bf.freezing = true
	defer func() {
		bf.freezing = false
		bf.changed.fire()
	}()
	for {
		to, tail, patches := bf.end, bf.tail, bf.patches
		bf.frozen = to
		for bf.writingBelowLocked(to) {
			bf.waitLocked()
		}
		if bf.lost != nil {
			return Extent{}, false, bf.lost
		}
		if patches != bf.patches {
			continue // a write failed or an overwrite slipped in: tail is stale
		}
		bf.settled = to
		from, is := bf.said[name], mark{to, tail}
		if from == is || bf.said == nil {
			return Extent{}, false, nil
		}
		bf.said[name] = is
		return Extent{Block: bf.block.id, From: from.off, To: to, CRC: bf.spanSumLocked(from, is)}, true, nil
	}
}

// spanSumLocked returns the sum between two marks.
func (bf *blockFile) spanSumLocked(from, to mark) uint32 {
	c := from.off / ChunkSize
	upTo := func(c uint32) (sum uint32, end uint32) {
		if end = (c + 1) * ChunkSize; end <= to.off {
			return bf.sums[c], end
		}
		return to.tail, to.off
	}
	sum, at := upTo(c)
	sum ^= shiftSum(from.tail, at-from.off)
	for at < to.off {
		c++
		next, end := upTo(c)
		sum, at = JoinSums(sum, next, end-at), end
	}
	return sum
}

// writingBelowLocked reports whether an append below to is under way.
func (bf *blockFile) writingBelowLocked(to uint32) bool {
	return slices.ContainsFunc(bf.writes, func(w span) bool { return w.from < to })
}

// waitLocked gives up mu until something changed.
func (bf *blockFile) waitLocked() {
	ch := bf.changed.wait()
	bf.mu.Unlock()
	<-ch
	bf.mu.Lock()
}

// waitLockedCtx is waitLocked that ends with ctx.
func (bf *blockFile) waitLockedCtx(ctx context.Context) error {
	ch := bf.changed.wait()
	bf.mu.Unlock()
	defer bf.mu.Lock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sealLocked ends appends and hands the file to be stored.
func (bf *blockFile) sealLocked() {
	if bf.state != fileOpen {
		return
	}
	bf.state.step(fileSealed)
	bf.changed.fire()
	bf.spool.storer.enqueue(bf)
}

// seal ends appends. A file without bytes goes.
func (bf *blockFile) seal() {
	bf.mu.Lock()
	defer bf.mu.Unlock()
	if bf.state == fileOpen && bf.end == 0 && len(bf.writes) == 0 {
		bf.dropLocked()
		return
	}
	bf.sealLocked()
}

// dropLocked forgets the file and its bytes.
func (bf *blockFile) dropLocked() {
	bf.state.step(fileDropped)
	bf.block.file.Store(nil)
	bf.spool.forget(bf)
	bf.spool.dir.forget(bf)
	_ = bf.f.Close()
	_ = bf.spool.fs.Remove(bf.path)
	bf.spool.budget.release(int64(bf.end))
	bf.changed.fire()
}

// abort takes back the bytes from start on, as far as nobody relies on them:
// they belong to one stream, and no append of it is under way.
func (bf *blockFile) abort(start uint32) {
	bf.mu.Lock()
	defer bf.mu.Unlock()
	// One that is just being copied, because its sync failed, is left as it is.
	if bf.frozen > start || bf.attempts > 0 || bf.unsyncable || (bf.state != fileOpen && bf.state != fileSealed) || len(bf.writes) > 0 {
		return
	}
	if start == 0 {
		bf.dropLocked()
		return
	}
	tail, ok := bf.tailAtLocked(start)
	if !ok {
		return
	}
	bf.spool.budget.release(int64(bf.end - start))
	bf.end = start
	bf.sums = bf.sums[:start/ChunkSize]
	bf.tail = tail
	bf.truncateLocked(start)
}

// truncateLocked makes the file shorter. If that fails, what stays is overwritten,
// or cut before hashing.
func (bf *blockFile) truncateLocked(end uint32) {
	bf.cut = true
	_ = bf.f.Truncate(int64(end))
}

// tailAtLocked computes the sum that the tail had when the file ended at off.
func (bf *blockFile) tailAtLocked(off uint32) (tail uint32, ok bool) {
	from := off / ChunkSize * ChunkSize
	if from == off {
		return 0, true
	}
	to, want := from+ChunkSize, bf.tail
	if to <= bf.end {
		want = bf.sums[from/ChunkSize]
	} else {
		to = bf.end
	}
	chunk := make([]byte, to-from)
	if _, err := bf.f.ReadAt(chunk, int64(from)); err != nil || Sum(chunk) != want {
		return 0, false
	}
	return Sum(chunk[:off-from]), true
}

// chunkSumsLocked returns the sums of all chunks.
func (bf *blockFile) chunkSumsLocked() []uint32 {
	if !bf.summed {
		return nil
	}
	sums := slices.Clone(bf.sums)
	if bf.end%ChunkSize != 0 {
		sums = append(sums, bf.tail)
	}
	return sums
}

// readZeroFilled fills p from off; what lies beyond the end of f is zero.
func readZeroFilled(f io.ReaderAt, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	clear(p[n:])
	if err == io.EOF {
		return nil
	}
	return err
}
