package keepio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// ReadBlock is the method of Reader: it reads b from its local file or from the
// store.
func (s *Spool) ReadBlock(ctx context.Context, b *Block, p []byte, off int64) (int, error) {
	s.active.enter()
	defer s.active.leave()
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
		f, end := bf.present()
		n, err := bf.readAt(f, end, p, off)
		if !bf.movedOn(f, err) {
			return n, err
		}
	}
}

// WriteRange writes n bytes of b, starting at off, to w and reports how many
// went out. Bytes are checked before they go out. They go by sendfile if w is a
// connection or an HTTP response, so whatever wraps one should pass on its
// ReadFrom.
func (s *Spool) WriteRange(ctx context.Context, w io.Writer, b *Block, off, n int64) (done int64, err error) {
	s.active.enter()
	defer s.active.leave()
	for {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		bf := b.file.Load()
		if bf == nil {
			hash, size, ok := b.Stored()
			if !ok {
				return done, fmt.Errorf("block file %d: %w", b.id, ErrNotFound)
			}
			k, err := s.store.WriteRange(ctx, w, hash, size, off+done, n-done)
			return done + k, err
		}
		f, end := bf.present()
		if off < 0 || n < 0 || off+n > end {
			return done, fmt.Errorf("block file %d has no bytes %d to %d: %w", b.id, off, off+n, io.ErrUnexpectedEOF)
		}
		k, err := f.Send(w, off+done, n-done)
		done += k
		if !bf.movedOn(f, err) {
			return done, err
		}
	}
}

// present returns the open file and its length. The bytes of a segment were
// written by this process or checked when they were recovered.
func (bf *blockFile) present() (file, int64) {
	bf.mu.Lock()
	defer bf.mu.Unlock()
	return bf.f, int64(bf.end)
}

// movedOn reports whether err came about because f was closed meanwhile: the
// block was stored, or its file replaced.
func (bf *blockFile) movedOn(f file, err error) bool {
	if !errors.Is(err, os.ErrClosed) {
		return false
	}
	now, _ := bf.present()
	return now != f || bf.block.file.Load() != bf
}

// readAt reads from f, the file as it was when it had end bytes.
func (bf *blockFile) readAt(f file, end int64, p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if off < 0 || off >= end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), end-off)]
	n, err := f.ReadAt(p, off)
	if err == io.EOF {
		return n, fmt.Errorf("block file %d is cut short: %w", bf.block.id, ErrCorrupt)
	}
	if err != nil {
		return n, fmt.Errorf("block file %d: %w", bf.block.id, err)
	}
	return n, nil
}
