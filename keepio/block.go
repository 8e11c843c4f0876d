package keepio

import (
	"context"
	"errors"
	"sync/atomic"
)

// A BlockID names a block file of this store before its locator is known. It
// is never reused. Zero is no id: the block was made elsewhere.
type BlockID uint64

// A Block is the one handle on a block, from its birth in a block file, when
// it has an id and no locator, to the stored block, which has a locator.
// Every segment that refers to the block shares the handle, so no segment has
// to be rewritten when the block is stored. Blocks are compared by pointer.
// All methods may be called concurrently.
type Block struct {
	id     BlockID
	stored atomic.Pointer[storedName]
	naming atomic.Pointer[storedName] // what it is about to be called
	file   atomic.Pointer[blockFile]  // the local block file, while there is one
}

// storedName is what a block is called once it is stored.
type storedName struct {
	hash [16]byte
	size uint32
}

// NewStoredBlock returns a handle on a block that is known by its content.
func NewStoredBlock(hash [16]byte, size uint32) *Block {
	b := new(Block)
	b.stored.Store(&storedName{hash, size})
	return b
}

// ID returns the id of a block that was made in this store, else zero.
func (b *Block) ID() BlockID { return b.id }

// Stored reports the hash and size of the block; ok is false while it has none.
func (b *Block) Stored() (hash [16]byte, size uint32, ok bool) {
	s := b.stored.Load()
	if s == nil {
		return hash, 0, false
	}
	return s.hash, s.size, true
}

// Name is Stored, but it also tells the name of a block that is just being
// stored: the store may have it under that name before the handle knows. Whoever
// looks for blocks of the store that nobody uses asks for this one.
func (b *Block) Name() (hash [16]byte, size uint32, ok bool) {
	n := b.naming.Load()
	if s := b.stored.Load(); s != nil {
		n = s
	}
	if n == nil {
		return hash, 0, false
	}
	return n.hash, n.size, true
}

// A Segment is a span of a block that is part of a file. A nil Block is a hole
// and reads as zeros. Len is positive; Off+Len is at most BlockSize, for a hole
// Off is zero and Len may be any positive uint32.
type Segment struct {
	Block    *Block
	Off, Len uint32
}

// An Extent is a span of a block file that a journal record relies on: the
// bytes that were frozen since the record before, and their CRC-32C.
type Extent struct {
	Block    BlockID
	From, To uint32
	CRC      uint32

	// Data is the bytes themselves, when the record carries them; then the block
	// file need not be synced before the commit. Else nil.
	Data []byte
}

// Errors of stores and spools. Match them with errors.Is.
var (
	ErrNotFound    = errors.New("block not found")
	ErrCorrupt     = errors.New("block is corrupt")
	ErrUnavailable = errors.New("storage is unavailable")
	ErrFull        = errors.New("storage is full")
	ErrTooLarge    = errors.New("block is too large")
)

// A Reader reads blocks wherever they are: a local block file or the store.
type Reader interface {
	// ReadBlock fills p from b's bytes starting at off and reports how many it
	// copied, fewer than len(p) only at the block's end (then the error is
	// io.EOF when nothing was copied). It never returns bytes that fail their
	// checksum: that is ErrCorrupt.
	ReadBlock(ctx context.Context, b *Block, p []byte, off int64) (int, error)
}
