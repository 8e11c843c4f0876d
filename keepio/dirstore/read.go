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
	"keepdav/keepio/internal/blockio"
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
		defer s.cache.release(b)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off < 0 || off >= int64(size) {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), int64(size)-off)]
	if err := s.readChecked(b, p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// open returns a block pinned; the block without bytes has no file.
func (s *Store) open(hash [16]byte, size uint32) (*openBlock, error) {
	if size == 0 && hash == emptyHash {
		return nil, nil
	}
	b := s.cache.get(hash)
	if b == nil {
		var err error
		if b, err = s.openFile(hash, size); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = keepio.ErrNotFound
			}
			return nil, fmt.Errorf("open block %x+%d: %w", hash, size, err)
		}
	}
	if b.size != size {
		s.cache.release(b)
		return nil, fmt.Errorf("open block %x+%d: %w: it has %d bytes", hash, size, keepio.ErrNotFound, b.size)
	}
	return b, nil
}

// openFile opens a block's file and finds its sums, by reading all of it if
// they are not known.
func (s *Store) openFile(hash [16]byte, size uint32) (*openBlock, error) {
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
	b := &openBlock{hash: hash, f: blockio.New(f), size: uint32(info.Size())}
	if b.size == size {
		b.sums = s.readSums(hash, size)
	}
	if b.sums == nil {
		if err := s.checkWhole(b); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return s.cache.put(b), nil
}

// checkWhole compares the block's MD5 with its name, and remembers its sums.
func (s *Store) checkWhole(b *openBlock) error {
	sums, err := hashFile(b.f, b.hash, b.size)
	if err != nil {
		return err
	}
	b.setSums(sums)
	s.writeSums(b.hash, b.size, sums)
	return nil
}

// hashFile reads all of a block and returns its sums.
func hashFile(f io.ReaderAt, hash [16]byte, size uint32) ([]uint32, error) {
	buf := blockio.GetBuffer()
	defer blockio.PutBuffer(buf)
	h := md5.New()
	sums := make([]uint32, 0, chunks(size))
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

// readChecked fills p from off, which lie within the block, and checks chunks
// that nobody has checked. A file that fails is not kept open: there may be a
// better one by the next time.
func (s *Store) readChecked(b *openBlock, p []byte, off int64) error {
	if err := s.readAndCheck(b, p, off); err != nil {
		s.cache.drop(b.hash)
		return fmt.Errorf("read block %x+%d: %w", b.hash, b.size, err)
	}
	return nil
}

func (s *Store) readAndCheck(b *openBlock, p []byte, off int64) error {
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
		to := min(from+keepio.ChunkSize, int64(b.size))
		var chunk []byte
		if from >= off && to <= off+int64(len(p)) {
			chunk = p[from-off : to-off]
		}
		whole, err := s.checkChunk(b, c, chunk, from, to)
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
func (s *Store) checkChunk(b *openBlock, c int, chunk []byte, from, to int64) (whole bool, err error) {
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
	return true, s.checkWhole(b)
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
	defer s.cache.release(b)
	var done int64
	for done < n {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		at := off + done
		var wrote int64
		if k := b.checkedRun(at, n-done); k > 0 {
			wrote, err = b.f.Send(w, at, min(k, sendStep))
		} else {
			wrote, err = s.sendChecking(b, w, at, n-done)
		}
		done += wrote
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// sendStep is how much goes out before the context is looked at again.
const sendStep = 16 << 20

// sendChecking sends the next few chunks of a span, which it checks in memory
// first.
func (s *Store) sendChecking(b *openBlock, w io.Writer, off, n int64) (int64, error) {
	buf := blockio.GetBuffer()
	defer blockio.PutBuffer(buf)
	p := buf[:min(n, blockio.BufferSize-off%keepio.ChunkSize)] // ends with a chunk
	if err := s.readChecked(b, p, off); err != nil {
		return 0, err
	}
	wrote, err := w.Write(p)
	return int64(wrote), err
}
