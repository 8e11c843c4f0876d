// Package openblock reads blocks from open files and checks what it reads: each
// chunk is compared with its CRC-32C when it is touched for the first time and
// trusted while the file stays open. If a sum does not match, the MD5 of the
// whole block decides.
package openblock

import (
	"container/list"
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"keepdav/keepio"
	"keepdav/keepio/internal/blockio"
)

// A Block is the open file of a block with what is known of its chunks. The
// exported fields are set before the block is shared.
type Block struct {
	Hash [16]byte
	Size uint32

	// Learned is called with the sums when the MD5 of the whole block was found to
	// be right. Nil: nobody wants to know.
	Learned func(sums []uint32)
	// Closed is called once the file is closed. Nil: nobody wants to know.
	Closed func()

	f    *blockio.File
	good [keepio.BlockSize / keepio.ChunkSize / 64]atomic.Uint64 // bit per chunk: has been checked

	mu   sync.RWMutex // guards sums
	sums []uint32     // nil: not known

	refs    int  // guarded by the shard's mu, like the fields below
	dropped bool // closed when refs gets 0
	place   *list.Element
	used    uint32 // the cache's period in which it was last asked for
}

// New takes over f, which has size bytes. sums are those of its chunks; without
// them Verify has to come first.
func New(f *os.File, hash [16]byte, size uint32, sums []uint32) *Block {
	return &Block{Hash: hash, Size: size, f: blockio.New(f), sums: sums}
}

// File returns the file, for calls that do not depend on a position.
func (b *Block) File() *os.File { return b.f.OS() }

// Close closes a block that no cache has.
func (b *Block) Close() error {
	err := b.f.Close()
	if b.Closed != nil {
		b.Closed()
	}
	return err
}

// checked reports whether chunks from..to have been checked.
func (b *Block) checked(from, to int) bool {
	for c := from; c <= to; c++ {
		if b.good[c/64].Load()&(1<<(c%64)) == 0 {
			return false
		}
	}
	return true
}

// checkedRun returns how many of the n bytes from off lie in chunks that have
// been checked, up to the first that has not.
func (b *Block) checkedRun(off, n int64) int64 {
	end := off + n
	at := off
	for at < end && b.checked(int(at/keepio.ChunkSize), int(at/keepio.ChunkSize)) {
		at = min(at-at%keepio.ChunkSize+keepio.ChunkSize, end)
	}
	return at - off
}

func (b *Block) setChecked(c int) { b.good[c/64].Or(1 << (c % 64)) }

// setSums replaces the sums after the whole block was checked.
func (b *Block) setSums(sums []uint32) {
	b.mu.Lock()
	b.sums = sums
	b.mu.Unlock()
	for c := range sums {
		b.setChecked(c)
	}
}

// Sums returns the sums, which are replaced as a whole and never changed; nil if they
// are not known.
func (b *Block) Sums() []uint32 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.sums
}

func (b *Block) sum(c int) uint32 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.sums[c]
}

// Verify compares the MD5 of the whole block with its name. If it is right the
// sums are known from then on.
func (b *Block) Verify() error {
	sums, err := HashFile(b.f, b.Hash, b.Size)
	if err != nil {
		return err
	}
	b.setSums(sums)
	if b.Learned != nil {
		b.Learned(sums)
	}
	return nil
}

// HashFile reads all of a block, whose MD5 has to be hash, and returns its sums.
func HashFile(f io.ReaderAt, hash [16]byte, size uint32) ([]uint32, error) {
	buf := blockio.GetBuffer()
	defer blockio.PutBuffer(buf)
	h := md5.New()
	sums := make([]uint32, 0, Chunks(size))
	for off := int64(0); off < int64(size); off += keepio.ChunkSize {
		p := buf[:min(keepio.ChunkSize, int64(size)-off)]
		if n, err := f.ReadAt(p, off); n < len(p) {
			return nil, fmt.Errorf("%w: %w", keepio.ErrCorrupt, err)
		}
		h.Write(p)
		sums = append(sums, keepio.Sum(p))
	}
	if [16]byte(h.Sum(nil)) != hash {
		return nil, fmt.Errorf("%w: its MD5 differs", keepio.ErrCorrupt)
	}
	return sums, nil
}

// ReadFull fills p from off, which lie within the block, and checks chunks that
// nobody has checked. What cannot be read, or is not what it was, is
// keepio.ErrCorrupt.
func (b *Block) ReadFull(p []byte, off int64) error {
	first, last := int(off/keepio.ChunkSize), int((off+int64(len(p))-1)/keepio.ChunkSize)
	if n, err := b.f.ReadAt(p, off); n < len(p) {
		return fmt.Errorf("%w: %w", keepio.ErrCorrupt, err)
	}
	if b.checked(first, last) {
		return nil
	}
	again := false
	for c := first; c <= last; c++ {
		if b.checked(c, c) {
			continue
		}
		from := int64(c) * keepio.ChunkSize
		to := min(from+keepio.ChunkSize, int64(b.Size))
		var chunk []byte
		if from >= off && to <= off+int64(len(p)) {
			chunk = p[from-off : to-off]
		}
		whole, err := b.checkChunk(c, chunk, from, to)
		if err != nil {
			return err
		}
		again = again || whole || chunk == nil
	}
	if again { // what was checked is not what was read above
		if n, err := b.f.ReadAt(p, off); n < len(p) {
			return fmt.Errorf("%w: %w", keepio.ErrCorrupt, err)
		}
	}
	return nil
}

// checkChunk checks one chunk, which it reads unless it is given. If the sum
// does not match, the whole block is checked: that is reported.
func (b *Block) checkChunk(c int, chunk []byte, from, to int64) (whole bool, err error) {
	if chunk == nil {
		buf := blockio.GetBuffer()
		defer blockio.PutBuffer(buf)
		chunk = buf[:to-from]
		if n, err := b.f.ReadAt(chunk, from); n < len(chunk) {
			return false, fmt.Errorf("%w: %w", keepio.ErrCorrupt, err)
		}
	}
	if keepio.Sum(chunk) == b.sum(c) {
		b.setChecked(c)
		return false, nil
	}
	return true, b.Verify()
}

// SendStep is how much Send sends before it looks at its context again.
const SendStep = 16 << 20

// Send writes n bytes from off, which lie within the block, to w and reports how
// many went out. They are checked as in ReadFull before they go out.
func (b *Block) Send(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	var done int64
	for done < n {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		at := off + done
		var wrote int64
		var err error
		if k := b.checkedRun(at, n-done); k > 0 {
			wrote, err = b.f.Send(w, at, min(k, SendStep))
		} else {
			wrote, err = b.sendChecking(w, at, n-done)
		}
		done += wrote
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// sendChecking sends the next few chunks of a span, which it checks in memory
// first.
func (b *Block) sendChecking(w io.Writer, off, n int64) (int64, error) {
	buf := blockio.GetBuffer()
	defer blockio.PutBuffer(buf)
	p := buf[:min(n, blockio.BufferSize-off%keepio.ChunkSize)] // ends with a chunk
	if err := b.ReadFull(p, off); err != nil {
		return 0, err
	}
	wrote, err := w.Write(p)
	return int64(wrote), err
}
