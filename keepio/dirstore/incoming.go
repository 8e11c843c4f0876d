package dirstore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"keepdav/keepio"
)

const (
	// writebackStep is how much of a block comes in before the disk is set to work
	// on it, so that little is left to be synced at the end.
	writebackStep = 4 << 20
	// keepFree stays free of what comes in, so that deletes can be written down.
	// On small disks it is a sixteenth.
	keepFree = 32 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// An incoming is a block on its way in. It lies in a file without a name of a
// block until Commit. It implements keepio.Incoming.
type incoming struct {
	s    *Store
	f    *os.File
	md5  *laneHash
	size int64
	sums []uint32 // of the full chunks
	tail uint32   // sum of what follows them
	sent int64    // to the disk
}

// Receive begins a block. The caller ends it with Close. A disk without room for
// size more bytes (0 if that is not known) is keepio.ErrFull.
func (s *Store) Receive(size int64) (keepio.Incoming, error) {
	free, total, err := s.Free()
	if err == nil && free-size < min(keepFree, total/16) {
		return nil, fmt.Errorf("receive a block: %w: what is left is kept for deletes", keepio.ErrFull)
	}
	f, err := os.CreateTemp(filepath.Join(s.cfg.Dir, tempDir), "incoming-")
	if err != nil {
		return nil, fmt.Errorf("receive a block: %w", full(err))
	}
	return &incoming{s: s, f: f, md5: s.lanes.begin()}, nil
}

func (in *incoming) Write(p []byte) (int, error) {
	if in.size+int64(len(p)) > keepio.BlockSize {
		return 0, fmt.Errorf("receive a block: %w", keepio.ErrTooLarge)
	}
	if n, err := in.f.Write(p); err != nil {
		return n, fmt.Errorf("receive a block: %w", full(err))
	}
	in.md5.Write(p)
	n := len(p)
	for len(p) > 0 {
		k := min(int64(len(p)), keepio.ChunkSize-in.size%keepio.ChunkSize)
		in.tail = crc32.Update(in.tail, castagnoli, p[:k])
		in.size += k
		if in.size%keepio.ChunkSize == 0 {
			in.sums, in.tail = append(in.sums, in.tail), 0
		}
		p = p[k:]
	}
	if in.size-in.sent >= writebackStep && !in.s.cfg.NoSync {
		// It only begins the work: what fails, the sync at the end will tell.
		_ = unix.SyncFileRange(int(in.f.Fd()), in.sent, in.size-in.sent, unix.SYNC_FILE_RANGE_WRITE)
		in.sent = in.size
	}
	return n, nil
}

func (in *incoming) Name() (hash [16]byte, size uint32) {
	return [16]byte(in.md5.Sum(nil)), uint32(in.size)
}

func (in *incoming) Commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	hash, size := in.Name()
	if !in.s.cfg.NoSync {
		if err := unix.Fdatasync(int(in.f.Fd())); err != nil {
			return fmt.Errorf("store block %x+%d: %w", hash, size, full(err))
		}
	}
	sums := in.sums
	if in.size%keepio.ChunkSize != 0 {
		sums = append(sums, in.tail)
	}
	if err := in.s.link(in.f.Name(), hash, size, sums); err != nil {
		return fmt.Errorf("store block %x+%d: %w", hash, size, full(err))
	}
	return nil
}

func (in *incoming) Close() error {
	in.md5.end()
	return errors.Join(in.f.Close(), os.Remove(in.f.Name()))
}

// Stat describes a stored block without reading it. An unknown one is keepio.ErrNotFound.
func (s *Store) Stat(hash [16]byte) (Info, error) {
	if hash == emptyHash {
		return Info{Hash: hash}, nil
	}
	info, err := os.Stat(s.path(hash))
	if errors.Is(err, fs.ErrNotExist) {
		err = keepio.ErrNotFound
	}
	if err != nil {
		return Info{}, fmt.Errorf("block %x: %w", hash, err)
	}
	return Info{Hash: hash, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Touch makes a stored block as new as one just written, so that it stays for
// another while if nobody refers to it. An unknown one is keepio.ErrNotFound.
func (s *Store) Touch(hash [16]byte) error {
	defer s.lock(hash)()
	now := time.Now()
	err := os.Chtimes(s.path(hash), now, now)
	if errors.Is(err, fs.ErrNotExist) {
		err = keepio.ErrNotFound
		if hash == emptyHash {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("touch block %x: %w", hash, err)
	}
	return nil
}

// Sums returns the CRC-32C of each chunk (keepio.ChunkSize) of a stored block. It
// reads the block only if they are not known.
func (s *Store) Sums(ctx context.Context, hash [16]byte, size uint32) ([]uint32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := s.open(hash, size)
	if err != nil || b == nil {
		return nil, err
	}
	defer s.cache.Release(b)
	return b.Sums(), nil
}
