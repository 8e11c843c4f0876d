package keepio

import (
	"context"
	"io"
	"os"
)

// A Remote keeps blocks on other machines: the Keep services of a cluster.
// All methods may be called concurrently. Errors match those of a Store.
type Remote interface {
	// Fetch writes the block's bytes to sink as they arrive. When it returns nil
	// all of them have been written, and they have the MD5 hash; until then they
	// are not verified. What it tries again begins with sink.Restart.
	Fetch(ctx context.Context, hash [16]byte, size uint32, sink Sink) error

	// Push stores the first size bytes of f, which are the block's and do not
	// change, with as many replicas as are wanted. When it returns nil the block
	// can be read by others, as soon as they may.
	Push(ctx context.Context, f *os.File, hash [16]byte, size uint32) error
}

// A Sink takes the bytes of a block in order.
type Sink interface {
	io.Writer

	// Restart forgets what was written: all comes again from the start.
	Restart() error
}

// A SumSink is a Sink that can use chunks before the whole block is verified. Whoever
// writes to it and learns the CRC-32C of each chunk (see ChunkSize), from one who
// compared the block's MD5 with its name, calls Expect before the first Write or
// after Restart, which forgets them.
type SumSink interface {
	Sink
	Expect(sums []uint32)
}
