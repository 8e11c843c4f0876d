package keepio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// ReadBlock is the method of Reader: it reads b from its local file or from the
// store.
func (s *Spool) ReadBlock(ctx context.Context, b *Block, p []byte, off int64) (int, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		bf := b.file.Load()
		if bf == nil {
			hash, size, ok := b.Stored()
			if !ok {
				return 0, fmt.Errorf("block file %d: %w", b.id, ErrNotFound)
			}
			return s.store.ReadBlock(ctx, hash, size, p, off)
		}
		n, err := bf.readAt(p, off)
		if errors.Is(err, os.ErrClosed) {
			continue // it was stored or replaced meanwhile
		}
		return n, err
	}
}

// readAt reads from the file. Its bytes were written by this process or checked
// when they were recovered.
func (bf *blockFile) readAt(p []byte, off int64) (int, error) {
	bf.mu.Lock()
	f, end := bf.f, int64(bf.end)
	bf.mu.Unlock()
	if off < 0 || off >= end {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	short := int64(len(p)) > end-off
	if short {
		p = p[:end-off]
	}
	n, err := f.ReadAt(p, off)
	if err == io.EOF {
		return n, fmt.Errorf("block file %d is cut short: %w", bf.block.id, ErrCorrupt)
	}
	if err != nil {
		return n, fmt.Errorf("block file %d: %w", bf.block.id, err)
	}
	return n, nil
}

var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// WriteRange writes n bytes of b, starting at off, to w and reports how many
// went out. Bytes are checked before they go out.
func (s *Spool) WriteRange(ctx context.Context, w io.Writer, b *Block, off, n int64) (int64, error) {
	s.active.enter()
	defer s.active.leave()
	if b.file.Load() == nil {
		if hash, size, ok := b.Stored(); ok {
			return s.store.WriteRange(ctx, w, hash, size, off, n)
		}
	}
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	var done int64
	for done < n {
		p := buf[:min(n-done, int64(len(buf)))]
		got, err := s.ReadBlock(ctx, b, p, off+done)
		if err == nil && got < len(p) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return done, err
		}
		wrote, err := w.Write(p)
		done += int64(wrote)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
