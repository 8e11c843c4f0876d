package keepio

import (
	"context"
	"io"
	"time"
)

// A Store holds immutable blocks of at most BlockSize bytes, named by the MD5
// of their content and their size. All methods may be called concurrently. A
// method that stops because ctx ended returns an error that matches ctx.Err().
// Package storetest has one case for each sentence below.
type Store interface {
	// ReadBlock fills p from the block's bytes starting at off and reports how
	// many it copied, fewer than len(p) only at the block's end; at or after the
	// end it copies nothing and returns io.EOF, unless p is empty. It never
	// returns bytes that fail their checksum: that is ErrCorrupt. An unknown
	// block is ErrNotFound. Every store knows the block without bytes.
	ReadBlock(ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error)

	// WriteBlock stores data and returns its MD5. When it returns, the block can
	// be read and survives what the store promises to survive. It keeps no
	// reference to data. Storing the same bytes twice is not an error, nor at
	// the same time. More than BlockSize bytes are ErrTooLarge, and no room for
	// them is ErrFull.
	WriteBlock(ctx context.Context, data []byte) (hash [16]byte, err error)
}

// A LocalStore is a Store on the file system that holds the spool's block
// files. It takes such files over without copying them.
type LocalStore interface {
	Store

	// Adopt makes the file at path, which has been synced and whose bytes have
	// that MD5 and size, a block of the store. The file keeps its present name
	// too and must not be written to any more. sums are the CRC-32C of its
	// chunks (see ChunkSize). If the store has the block, the bytes are compared
	// and the present one stays, as new as one just written. When Adopt returns
	// nil the block survives a loss of power.
	Adopt(ctx context.Context, path string, hash [16]byte, size uint32, sums []uint32) error

	// WriteRange writes n bytes of the block, starting at off, to w in the
	// fastest way w offers, and reports how many went out. Bytes are checked as
	// in ReadBlock before they go out. The span must lie within the block.
	WriteRange(ctx context.Context, w io.Writer, hash [16]byte, size uint32, off, n int64) (int64, error)
}

// An Info describes a stored block.
type Info struct {
	Hash     [16]byte
	Size     int64
	Modified time.Time // when it was last written, or written again
}

// An Incoming is a block that arrives piece by piece. One goroutine uses it, and
// ends it with Close: without Commit nothing of it stays.
type Incoming interface {
	// Write adds the next bytes. More than BlockSize in all are ErrTooLarge.
	io.WriteCloser

	// Name returns the MD5 and the size of what has come so far.
	Name() (hash [16]byte, size uint32)

	// Commit makes what has come a block of the store. When it returns nil the
	// block survives a loss of power. If the store has the block, it stays, as new
	// as one just written.
	Commit(ctx context.Context) error
}
