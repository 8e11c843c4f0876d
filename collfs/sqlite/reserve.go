package sqlite

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"keepdav/keepio"
)

// maxReserve is the size of the reserve on a disk that is large enough.
const maxReserve = 32 << 20

// A reserve is a file that only takes up space: when the disk is full it is
// deleted, so that deletes, commits and the collection of garbage go on. It is
// made again when there is space.
type reserve struct {
	path      string
	log       zerolog.Logger
	fallocate func(fd int, mode uint32, off, n int64) error // of package unix

	given atomic.Int64 // how often it was given up; changed under mu

	mu   sync.Mutex // guards the fields below, held while the file is made or deleted
	size int64      // 0: none is wanted
	held bool
}

func (r *reserve) init(cfg Config) {
	r.path, r.log, r.size, r.fallocate = filepath.Join(cfg.Dir, "reserve"), cfg.Log, cfg.Reserve, unix.Fallocate
	var fs unix.Statfs_t
	if err := unix.Statfs(cfg.Dir, &fs); err == nil && r.size == 0 {
		r.size = min(maxReserve, int64(fs.Blocks)*fs.Bsize/50)
	}
	if r.size < 0 {
		r.size = 0
	}
	r.restore()
}

// restore makes the reserve if it is missing and there is space for it and as
// much again.
func (r *reserve) restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held || r.size == 0 {
		return
	}
	if st, err := os.Stat(r.path); err == nil && st.Size() >= r.size {
		r.held = true
		return
	}
	if free, err := freeSpace(filepath.Dir(r.path)); err != nil || free < 2*r.size {
		return
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(r.fill(f), f.Close())
	}
	if err != nil {
		os.Remove(r.path)
		r.log.Warn().Err(err).Msg("no reserve of disk space")
		return
	}
	r.held = true
}

// fill makes f take up the space.
func (r *reserve) fill(f *os.File) error {
	err := r.fallocate(int(f.Fd()), 0, 0, r.size)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	// The file system cannot do that: NFS, ext3. What is written counts there.
	_, err = io.CopyN(f, rand.Reader, r.size)
	return err
}

// spend calls op, and again when the disk was full and the reserve has been given
// up for it, whoever did that.
func (r *reserve) spend(op func() error) error {
	for {
		given := r.given.Load()
		err := op()
		if !errors.Is(err, keepio.ErrFull) || !r.giveUp(given) {
			return err
		}
	}
}

// giveUp deletes the reserve. It reports whether that has been done since it was
// done given times.
func (r *reserve) giveUp(given int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.given.Load() > given {
		return true
	}
	if !r.held || os.Remove(r.path) != nil {
		return false
	}
	r.held = false
	r.given.Add(1)
	r.log.Warn().Int64("bytes", r.size).Msg("the disk is full: the reserve was given up")
	return true
}

// err says that there is no reserve.
func (r *reserve) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held || r.size == 0 {
		return nil
	}
	return fmt.Errorf("there is no reserve of %d bytes: %w", r.size, keepio.ErrFull)
}

// room is nil when n bytes can be written, and gives up the reserve for them.
func (r *reserve) room(n int64) error {
	return r.spend(func() error {
		free, err := freeSpace(filepath.Dir(r.path))
		if err == nil && free < n {
			err = fmt.Errorf("%d bytes are free, %d are needed: %w", free, n, keepio.ErrFull)
		}
		return err
	})
}

// freeSpace is how many bytes can be written to the file system of dir.
func freeSpace(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}
