// Package dirstore keeps blocks in a directory, laid out as a Keep volume: the
// block abcdef… is the file abc/abcdef…. Files with other names are left alone.
//
// A block is written to a temporary file, synced, and only then given its name,
// so a name always has whole bytes behind it. Beside the blocks lies a cache of
// sums, one CRC-32C for each 64 KiB of a block: a read checks the chunks that it
// is the first to touch and trusts them while the file stays open. If a sum is
// missing or does not match, the MD5 of the whole block decides.
//
// # Locks
//
// A name's lock (names) is held by whoever gives, takes away or renews that
// name; it comes before the lock of a shard of open files. Reads take no name's
// lock.
//
// Start reading at dirstore.go, then read.go.
package dirstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"keepdav/keepio"
	"keepdav/keepio/internal/openblock"
)

// Config says where blocks lie.
type Config struct {
	Dir   string // the volume; made if missing
	Sums  string // the cache of sums; made if missing
	Trash string // where blocks wait to be deleted, on the file system of Dir; made if missing

	NoSync    bool // blocks survive the process, but not a loss of power
	OpenFiles int  // block files kept open; 0: 256
}

// A Store keeps blocks in a directory. It implements keepio.LocalStore. One
// process at a time may own a directory; that is for the caller to see to.
type Store struct {
	cfg   Config
	cache *openblock.Cache
	sums  openblock.SumsDir
	lanes lanes          // of the hash of what comes in
	names [64]sync.Mutex // by the first byte of the hash: who changes what a name stands for

	syncDir func(path string) error // syncPath; tests put faults before it
}

var _ keepio.LocalStore = (*Store)(nil)

// tempDir, below Dir, holds files in the making; what a crash leaves there goes
// at the next Open.
const tempDir = ".tmp"

const defaultOpenFiles = 256

// Open opens a store. The caller ends it with Close.
func Open(cfg Config) (*Store, error) {
	if cfg.OpenFiles == 0 {
		cfg.OpenFiles = defaultOpenFiles
	}
	temp := filepath.Join(cfg.Dir, tempDir)
	if err := os.RemoveAll(temp); err != nil {
		return nil, fmt.Errorf("open block directory: %w", err)
	}
	for _, dir := range []string{cfg.Dir, temp, cfg.Sums, cfg.Trash} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("open block directory: %w", err)
		}
	}
	if !cfg.NoSync {
		// Names have to last as long as what they hold: that of the volume, and
		// those of directories that a process made just before it was killed.
		if err := errors.Join(syncPath(filepath.Dir(filepath.Clean(cfg.Dir))), syncPath(cfg.Dir)); err != nil {
			return nil, fmt.Errorf("open block directory: %w", err)
		}
	}
	return &Store{
		cfg:     cfg,
		cache:   openblock.NewCache(cfg.OpenFiles),
		sums:    openblock.SumsDir{Dir: cfg.Sums, Mode: 0o750},
		syncDir: syncPath,
	}, nil
}

// Close closes files that were kept open.
func (s *Store) Close() error {
	s.cache.Clear()
	return nil
}

// Free returns how many bytes a normal user may still put on the file system,
// and how many it can hold.
func (s *Store) Free() (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.cfg.Dir, &st); err != nil {
		return 0, 0, fmt.Errorf("ask for free space: %w", err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// path names the file of a block.
func (s *Store) path(hash [16]byte) string { return hashPath(s.cfg.Dir, hash) }

func hashPath(dir string, hash [16]byte) string {
	name := hex.EncodeToString(hash[:])
	return filepath.Join(dir, name[:3], name)
}

// lock takes the lock of a name.
func (s *Store) lock(hash [16]byte) (unlock func()) {
	mu := &s.names[int(hash[0])%len(s.names)]
	mu.Lock()
	return mu.Unlock
}

// WriteBlock implements keepio.Store.
func (s *Store) WriteBlock(ctx context.Context, data []byte) (hash [16]byte, err error) {
	if len(data) > keepio.BlockSize {
		return hash, fmt.Errorf("%w: %d bytes", keepio.ErrTooLarge, len(data))
	}
	if err := ctx.Err(); err != nil {
		return hash, err
	}
	hash = md5.Sum(data)
	if err := s.write(hash, data); err != nil {
		return hash, fmt.Errorf("write block %x+%d: %w", hash, len(data), full(err))
	}
	return hash, nil
}

func (s *Store) write(hash [16]byte, data []byte) error {
	if done, err := s.renew(hash, data); done || err != nil {
		return err
	}
	temp, err := s.writeTemp(bytes.NewReader(data))
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	sums := make([]uint32, 0, len(data)/keepio.ChunkSize+1)
	for off := 0; off < len(data); off += keepio.ChunkSize {
		sums = append(sums, keepio.Sum(data[off:min(off+keepio.ChunkSize, len(data))]))
	}
	return s.link(temp, hash, uint32(len(data)), sums)
}

// renew makes a block that is there, with these bytes, as new as one just
// written; it reports false if there is none.
func (s *Store) renew(hash [16]byte, data []byte) (bool, error) {
	defer s.lock(hash)()
	target := s.path(hash)
	f, err := os.Open(target)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() != int64(len(data)) {
		return false, err
	}
	if same, err := sameReaders(bytes.NewReader(data), f); !same || err != nil {
		return false, err
	}
	now := time.Now()
	if err := os.Chtimes(target, now, now); err != nil {
		return false, err
	}
	return true, s.syncName(target, true)
}

// writeTemp puts what r has into a temporary file and syncs it.
func (s *Store) writeTemp(r io.Reader) (path string, err error) {
	f, err := os.CreateTemp(filepath.Join(s.cfg.Dir, tempDir), "block-")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, r)
	if err == nil && !s.cfg.NoSync {
		err = unix.Fdatasync(int(f.Fd()))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
	}
	return f.Name(), err
}

// Adopt implements keepio.LocalStore.
func (s *Store) Adopt(ctx context.Context, path string, hash [16]byte, size uint32, sums []uint32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.link(path, hash, size, sums)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK) {
		err = s.adoptCopy(path, hash, size, sums)
	}
	if err != nil {
		return fmt.Errorf("store block %x+%d: %w", hash, size, full(err))
	}
	return nil
}

// adoptCopy is Adopt where no link can be made: another file system, or one
// without links.
func (s *Store) adoptCopy(path string, hash [16]byte, size uint32, sums []uint32) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	temp, err := s.writeTemp(f)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	return s.name(temp, hash, size, sums, os.Rename)
}

// link gives the synced file at path the block's name too.
func (s *Store) link(path string, hash [16]byte, size uint32, sums []uint32) error {
	return s.name(path, hash, size, sums, os.Link)
}

// name makes the synced file at path the block with that hash, by link or
// rename, unless there is one with the same bytes, and makes the name durable.
// That is done without the name's lock: who finds the name meanwhile syncs it too.
func (s *Store) name(path string, hash [16]byte, size uint32, sums []uint32, give func(from, to string) error) error {
	same, err := s.nameAlone(path, hash, size, sums, give)
	if err != nil {
		return err
	}
	return s.syncName(s.path(hash), same)
}

// nameAlone is name without the sync; same says that the block was there.
func (s *Store) nameAlone(path string, hash [16]byte, size uint32, sums []uint32, give func(from, to string) error) (same bool, err error) {
	defer s.lock(hash)()
	target := s.path(hash)
	if err := s.makeDir(filepath.Dir(target)); err != nil {
		return false, err
	}
	same, err = sameBytes(path, target)
	switch {
	case same:
	case err == nil: // something else has the name
		if err := s.mayReplace(target, hash); err != nil {
			return false, err
		}
		if err := s.replace(path, target, give); err != nil {
			return false, err
		}
		s.cache.Drop(hash)
	case errors.Is(err, fs.ErrNotExist):
		if err := give(path, target); err != nil {
			return false, err
		}
	default:
		return false, err
	}
	now := time.Now() // the file may have been written long before
	if err := os.Chtimes(target, now, now); err != nil {
		return false, err
	}
	s.sums.Write(hash, size, sums)
	return same, nil
}

// errCollision says that other bytes with the same MD5 have the name already.
// They are somebody's data, so they stay.
var errCollision = errors.New("another block has the same MD5")

// mayReplace says whether the file that has a block's name, but other bytes than
// a new one, may go: it may if it is damaged.
func (s *Store) mayReplace(target string, hash [16]byte) error {
	f, err := os.Open(target)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() > keepio.BlockSize {
		return err
	}
	if _, err := openblock.HashFile(f, hash, uint32(info.Size())); err == nil {
		return errCollision
	}
	return nil
}

// replace puts the file at path in the place of a damaged one.
func (s *Store) replace(path, target string, give func(from, to string) error) error {
	temp := filepath.Join(s.cfg.Dir, tempDir, "replace-"+filepath.Base(target))
	_ = os.Remove(temp)
	if err := give(path, temp); err != nil {
		return err
	}
	return os.Rename(temp, target)
}

// syncName makes a name durable; with content also the bytes behind it, of
// which it is not known who put them there.
func (s *Store) syncName(target string, content bool) error {
	if s.cfg.NoSync {
		return nil
	}
	if content {
		if err := syncPath(target); err != nil {
			return err
		}
	}
	return syncPath(filepath.Dir(target))
}

// makeDir makes one of the 4,096 directories. One that is there has a durable
// name. The lock of a name in it is held: they all have the same one.
func (s *Store) makeDir(dir string) error {
	err := os.Mkdir(dir, 0o750)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil && !s.cfg.NoSync {
		if err = s.syncDir(filepath.Dir(dir)); err != nil {
			_ = os.Remove(dir) // so that the next attempt does not take it for durable
		}
	}
	return err
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// sameBytes compares two files. An error is about one of them.
func sameBytes(path, target string) (bool, error) {
	b, err := os.Open(target)
	if err != nil {
		return false, err
	}
	defer b.Close()
	a, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer a.Close()
	ai, err := a.Stat()
	if err != nil {
		return false, err
	}
	bi, err := b.Stat()
	if err != nil {
		return false, err
	}
	if os.SameFile(ai, bi) {
		return true, nil
	}
	if ai.Size() != bi.Size() {
		return false, nil
	}
	return sameReaders(a, b)
}

// sameReaders compares what two files of the same size hold. One that cannot be
// read is not the same: it gives way to the other.
func sameReaders(a, b io.Reader) (bool, error) {
	p, q := make([]byte, keepio.ChunkSize), make([]byte, keepio.ChunkSize)
	for {
		n, err := io.ReadFull(a, p)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return false, err
		}
		m, _ := io.ReadFull(b, q)
		if !bytes.Equal(p[:n], q[:m]) {
			return false, nil
		}
		if n < len(p) {
			return true, nil
		}
	}
}

// full makes an error that tells of a full disk match keepio.ErrFull.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", keepio.ErrFull, err)
	}
	return err
}
