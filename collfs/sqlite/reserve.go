package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

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
	path string
	log  zerolog.Logger

	mu   sync.Mutex // guards the fields below, held while the file is made or deleted
	size int64      // 0: none is wanted
	held bool
}

func (r *reserve) init(cfg Config) {
	r.path, r.log, r.size = filepath.Join(cfg.Dir, "reserve"), cfg.Log, cfg.Reserve
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
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(r.path), &fs); err != nil || int64(fs.Bavail)*fs.Bsize < 2*r.size {
		return
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, r.size), f.Close())
	}
	if err != nil {
		os.Remove(r.path)
		r.log.Warn().Err(err).Msg("no reserve of disk space")
		return
	}
	r.held = true
}

// relieve gives up the reserve if err says that the disk is full. It reports
// whether there was one: what failed may be tried again.
func (r *reserve) relieve(err error) bool {
	if !errors.Is(err, keepio.ErrFull) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held || os.Remove(r.path) != nil {
		return false
	}
	r.held = false
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
