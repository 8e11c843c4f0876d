// Package memstore keeps blocks in memory. It is the reference that other
// stores are held against, and what tests of the layers above use.
package memstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"os"
	"sync"

	"keepdav/keepio"
)

// A Store holds blocks in memory. The zero Store is empty and ready for use. It
// implements keepio.LocalStore.
type Store struct {
	mu     sync.RWMutex // guards the fields below
	blocks map[key][]byte
	fault  error
}

type key struct {
	hash [16]byte
	size uint32
}

var _ keepio.LocalStore = (*Store)(nil)

// SetFault makes every method fail with err until it is called with nil.
func (s *Store) SetFault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = err
}

// Len returns the number of blocks.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.blocks)
}

// block returns a block's bytes, which are never changed.
func (s *Store) block(ctx context.Context, hash [16]byte, size uint32) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.fault != nil {
		return nil, s.fault
	}
	data, ok := s.blocks[key{hash, size}]
	if !ok && (size != 0 || hash != md5.Sum(nil)) {
		return nil, fmt.Errorf("block %x+%d: %w", hash, size, keepio.ErrNotFound)
	}
	return data, nil
}

// ReadBlock implements keepio.Store.
func (s *Store) ReadBlock(ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
	data, err := s.block(ctx, hash, size)
	if err != nil || len(p) == 0 {
		return 0, err
	}
	if off < 0 || off >= int64(len(data)) {
		return 0, io.EOF
	}
	return copy(p, data[off:]), nil
}

// WriteBlock implements keepio.Store.
func (s *Store) WriteBlock(ctx context.Context, data []byte) ([16]byte, error) {
	if len(data) > keepio.BlockSize {
		return [16]byte{}, keepio.ErrTooLarge
	}
	hash := md5.Sum(data)
	return hash, s.put(ctx, hash, bytes.Clone(data))
}

func (s *Store) put(ctx context.Context, hash [16]byte, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.fault != nil {
		return s.fault
	}
	if s.blocks == nil {
		s.blocks = make(map[key][]byte)
	}
	s.blocks[key{hash, uint32(len(data))}] = data
	return nil
}

// Adopt implements keepio.LocalStore. It copies the file, and, being a reference,
// checks what it is told about it.
func (s *Store) Adopt(ctx context.Context, path string, hash [16]byte, size uint32, sums []uint32) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("adopt: %w", err)
	}
	if md5.Sum(data) != hash || len(data) != int(size) {
		return fmt.Errorf("adopt %x+%d: the file has other bytes: %w", hash, size, keepio.ErrCorrupt)
	}
	for i := range sums {
		off := i * keepio.ChunkSize
		if off >= len(data) || keepio.Sum(data[off:min(off+keepio.ChunkSize, len(data))]) != sums[i] {
			return fmt.Errorf("adopt %x+%d: wrong sum of chunk %d: %w", hash, size, i, keepio.ErrCorrupt)
		}
	}
	return s.put(ctx, hash, data)
}

// WriteRange implements keepio.LocalStore.
func (s *Store) WriteRange(ctx context.Context, w io.Writer, hash [16]byte, size uint32, off, n int64) (int64, error) {
	data, err := s.block(ctx, hash, size)
	if err != nil {
		return 0, err
	}
	if off < 0 || n < 0 || off+n > int64(len(data)) {
		return 0, fmt.Errorf("block %x+%d has no bytes %d to %d: %w", hash, size, off, off+n, io.ErrUnexpectedEOF)
	}
	wrote, err := w.Write(data[off : off+n])
	return int64(wrote), err
}
