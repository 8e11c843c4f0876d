package keepio

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// zeroFresh is how long Zero takes it for granted that the store has the block and
// lets us use it.
const zeroFresh = time.Hour

// zeroHash is the MD5 of BlockSize zeros.
var zeroHash = [16]byte{0x7f, 0x61, 0x4d, 0xa9, 0x32, 0x9c, 0xd3, 0xae, 0xbf, 0x59, 0xb9, 0x1a, 0xad, 0xc3, 0x0b, 0xf0}

// Zero returns the name of a stored block of BlockSize zeros, which stands for
// holes where they have to be named. It takes no room on the disk.
func (s *Spool) Zero(ctx context.Context) (hash [16]byte, size uint32, err error) {
	s.mu.Lock()
	have := time.Since(s.zeroAt) < zeroFresh
	s.mu.Unlock()
	if have {
		return zeroHash, BlockSize, nil
	}
	if err := s.storeZero(ctx); err != nil {
		return hash, 0, fmt.Errorf("store the block of zeros: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zeroAt = time.Now()
	return zeroHash, BlockSize, nil
}

// storeZero gives the store a sparse file.
func (s *Spool) storeZero(ctx context.Context) error {
	id, err := s.cfg.NextID()
	if err != nil {
		return err
	}
	path := s.pathOf(id)
	f, err := s.fs.Create(path)
	if err != nil {
		return err
	}
	defer s.fs.Remove(path)
	defer f.Close()
	if err := f.Truncate(BlockSize); err != nil {
		return err
	}
	if !s.cfg.NoSync {
		if err := f.Datasync(); err != nil {
			return err
		}
	}
	sums := slices.Repeat([]uint32{Sum(make([]byte, ChunkSize))}, BlockSize/ChunkSize)
	return s.store.Adopt(ctx, path, zeroHash, BlockSize, sums)
}

// IsZeroBlock reports whether a block is the one that stands for holes.
func IsZeroBlock(hash [16]byte, size uint32) bool { return hash == zeroHash && size == BlockSize }
