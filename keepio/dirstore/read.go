package dirstore

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"keepdav/keepio"
	"keepdav/keepio/internal/openblock"
)

var emptyHash = md5.Sum(nil)

// ReadBlock implements keepio.Store.
func (s *Store) ReadBlock(ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b, err := s.open(hash, size)
	if err != nil {
		return 0, err
	}
	if b != nil {
		defer s.cache.Release(b)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off < 0 || off >= int64(size) {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), int64(size)-off)]
	if err := b.ReadFull(p, off); err != nil {
		return 0, s.failed(b, err)
	}
	return len(p), nil
}

// failed notes that reading b failed. Its file is not kept open: there may be a
// better one by the next time.
func (s *Store) failed(b *openblock.Block, err error) error {
	s.cache.DropBlock(b)
	return fmt.Errorf("read block %x+%d: %w", b.Hash, b.Size, err)
}

// open returns a block pinned; the block without bytes has no file.
func (s *Store) open(hash [16]byte, size uint32) (*openblock.Block, error) {
	if size == 0 && hash == emptyHash {
		return nil, nil
	}
	b := s.cache.Get(hash)
	if b == nil {
		var err error
		if b, err = s.openFile(hash, size); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = keepio.ErrNotFound
			}
			return nil, fmt.Errorf("open block %x+%d: %w", hash, size, err)
		}
	}
	if b.Size != size {
		s.cache.Release(b)
		return nil, fmt.Errorf("open block %x+%d: %w: it has %d bytes", hash, size, keepio.ErrNotFound, b.Size)
	}
	return b, nil
}

// openFile opens a block's file and finds its sums, by reading all of it if
// they are not known.
func (s *Store) openFile(hash [16]byte, size uint32) (*openblock.Block, error) {
	f, err := os.Open(s.path(hash))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (info.Size() > keepio.BlockSize || !info.Mode().IsRegular()) {
		err = fmt.Errorf("%w: not a block's file", keepio.ErrCorrupt)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	is := uint32(info.Size())
	var sums []uint32
	if is == size {
		sums = s.sums.Read(hash, size)
	}
	b := openblock.New(f, hash, is, sums)
	b.Learned = func(sums []uint32) { s.sums.Write(hash, is, sums) }
	if sums == nil {
		if err := b.Verify(); err != nil {
			_ = b.Close()
			return nil, err
		}
	}
	return s.cache.Put(b), nil
}

// WriteRange implements keepio.LocalStore.
func (s *Store) WriteRange(ctx context.Context, w io.Writer, hash [16]byte, size uint32, off, n int64) (int64, error) {
	if off < 0 || n < 0 || off+n > int64(size) {
		return 0, fmt.Errorf("block %x+%d has no bytes %d to %d: %w", hash, size, off, off+n, io.ErrUnexpectedEOF)
	}
	b, err := s.open(hash, size)
	if err != nil || b == nil {
		return 0, err
	}
	defer s.cache.Release(b)
	done, err := b.Send(ctx, w, off, n)
	if errors.Is(err, keepio.ErrCorrupt) {
		err = s.failed(b, err)
	}
	return done, err
}
