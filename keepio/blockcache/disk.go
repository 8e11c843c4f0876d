package blockcache

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"keepdav/keepio/internal/openblock"
)

const (
	suffix = ".keepcacheblock"

	// ownDir, below the directory of the cache, holds what only we know of.
	ownDir = ".keepdav"

	dirMode  = 0o700
	fileMode = 0o600

	// sidecarFrom is the size from which on the sums of a block are kept beside
	// it: hashing a smaller one takes less than two milliseconds.
	sidecarFrom = 1 << 20

	// A disk that failed is tried again after diskPause, which doubles up to
	// diskPauseMax while it goes on failing.
	diskPause    = time.Second
	diskPauseMax = time.Minute
)

// A disk is the directory of the cache. Its methods never fail for good: what
// cannot be done is left out.
type disk struct {
	dir      string
	limit    int64 // 0: a share of the file system
	sums     openblock.SumsDir
	log      zerolog.Logger
	mayEvict func(hash [16]byte) // closes a block that is open but not in use
	fault    func(op string) error

	added   atomic.Int64 // bytes that have not been counted yet
	kick    chan struct{}
	used    atomic.Int64
	evicted atomic.Int64

	mu      sync.Mutex // guards the fields below
	trouble error      // nil: it works
	pause   time.Duration
	again   time.Time // when it is tried again
}

func newDisk(dir string, limit int64, log zerolog.Logger) *disk {
	return &disk{
		dir: dir, limit: limit, log: log,
		sums:  openblock.SumsDir{Dir: filepath.Join(dir, ownDir, "sums"), Mode: dirMode},
		fault: func(string) error { return nil },
		kick:  make(chan struct{}, 1),
	}
}

// path names the file of a block.
func (d *disk) path(hash [16]byte) string {
	name := hex.EncodeToString(hash[:])
	return filepath.Join(d.dir, name[:3], name+suffix)
}

// parseName reads the name of a block's file in the directory called dir.
func parseName(dir, name string) (hash [16]byte, ok bool) {
	name, ok = strings.CutSuffix(name, suffix)
	if !ok || len(name) != 32 || !strings.HasPrefix(name, dir) || strings.ToLower(name) != name {
		return hash, false
	}
	_, err := hex.Decode(hash[:], []byte(name))
	return hash, err == nil
}

// works reports whether the disk is to be tried.
func (d *disk) works() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.trouble == nil || !time.Now().Before(d.again)
}

// failed notes that the disk did not do what it should.
func (d *disk) failed(err error) {
	d.mu.Lock()
	first := d.trouble == nil
	d.trouble = err
	if now := time.Now(); !now.Before(d.again) { // else it is one of several at once
		d.pause = min(max(2*d.pause, diskPause), diskPauseMax)
		d.again = now.Add(d.pause)
	}
	d.mu.Unlock()
	if first {
		d.log.Warn().Err(err).Str("dir", d.dir).Msg("the block cache does without its disk")
	}
	d.wake()
}

// worked notes that the disk took a block.
func (d *disk) worked() {
	d.mu.Lock()
	again := d.trouble != nil
	d.trouble, d.pause = nil, 0
	d.mu.Unlock()
	if again {
		d.log.Info().Str("dir", d.dir).Msg("the block cache uses its disk again")
	}
}

// wake has the directory looked after soon.
func (d *disk) wake() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// makeDirs makes a directory in that of the cache.
func (d *disk) makeDirs(path ...string) (string, error) {
	dir := filepath.Join(append([]string{d.dir}, path...)...)
	return dir, os.MkdirAll(dir, dirMode)
}

// create makes a temporary file for a block; nil means that the disk does not
// work. The lock that it holds says that somebody is still filling it.
func (d *disk) create(k key) *target {
	if !d.works() {
		return nil
	}
	f, err := d.createTemp(k)
	if err != nil {
		d.failed(fmt.Errorf("make a file in the block cache: %w", err))
		return nil
	}
	return &target{f: f, size: int64(k.size), disk: d, temp: f.Name()}
}

func (d *disk) createTemp(k key) (*os.File, error) {
	if err := d.fault("create"); err != nil {
		return nil, err
	}
	pattern := hex.EncodeToString(k.hash[:]) + ".*"
	f, err := os.CreateTemp(filepath.Join(d.dir, ownDir, "tmp"), pattern)
	if errors.Is(err, fs.ErrNotExist) {
		var dir string
		if dir, err = d.makeDirs(ownDir, "tmp"); err == nil {
			f, err = os.CreateTemp(dir, pattern)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_SH); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name())
		return nil, err
	}
	return f, nil
}

func (d *disk) writeAt(f *os.File, p []byte, off int64) error {
	err := d.fault("write")
	if err == nil {
		_, err = f.WriteAt(p, off)
	}
	if err != nil {
		d.failed(fmt.Errorf("write to the block cache: %w", err))
	}
	return err
}

// name gives a complete file the block's name.
func (d *disk) name(t *target, k key, sums []uint32) {
	defer os.Remove(t.temp) // it is there only if the rename failed
	if err := d.rename(t.temp, k); err != nil {
		d.failed(fmt.Errorf("name a file in the block cache: %w", err))
		return
	}
	d.gained(k, sums)
}

// rename makes the file at path that of a block. Others who have the present one
// open go on with that.
func (d *disk) rename(path string, k key) error {
	if err := d.fault("rename"); err != nil {
		return err
	}
	target := d.path(k.hash)
	err := os.Rename(path, target)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(target), dirMode); err == nil {
			err = os.Rename(path, target)
		}
	}
	return err
}

// gained notes that a block has got a file.
func (d *disk) gained(k key, sums []uint32) {
	d.worked()
	if k.size >= sidecarFrom {
		d.sums.Write(k.hash, k.size, sums)
	}
	d.added.Add(max(int64(k.size), 4096))
	d.wake()
}

// adopt gives the file at path, open as f, which has all of a block, a name in the
// cache too, or a copy if it cannot have one.
func (d *disk) adopt(f *os.File, path string, k key, sums []uint32) {
	if !d.works() {
		return
	}
	temp, err := d.linkTemp(f, path, k)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK) {
		temp, err = d.copyTemp(f, k)
	}
	if err == nil {
		defer os.Remove(temp) // a link to the file that has the name already stays
		err = d.rename(temp, k)
	}
	if err != nil {
		d.failed(fmt.Errorf("put a new block into the cache: %w", err))
		return
	}
	d.gained(k, sums)
}

// linkTemp gives the file at path a temporary name in the cache.
func (d *disk) linkTemp(f *os.File, path string, k key) (string, error) {
	if err := d.fault("link"); err != nil {
		return "", err
	}
	dir, err := d.makeDirs(ownDir, "tmp")
	if err != nil {
		return "", err
	}
	temp := filepath.Join(dir, fmt.Sprintf("%x.%s", k.hash, filepath.Base(path)))
	if err := flock(f, unix.LOCK_SH); err != nil {
		return "", err
	}
	_ = os.Remove(temp) // left by an attempt before
	if err := os.Link(path, temp); err != nil {
		return "", err
	}
	if err := f.Chmod(fileMode); err != nil {
		_ = os.Remove(temp)
		return "", err
	}
	return temp, nil
}

// copyTemp copies the file to a temporary one in the cache.
func (d *disk) copyTemp(f *os.File, k key) (string, error) {
	to, err := d.createTemp(k)
	if err != nil {
		return "", err
	}
	defer to.Close()
	if _, err = io.Copy(to, io.NewSectionReader(f, 0, int64(k.size))); err != nil {
		_ = os.Remove(to.Name())
	}
	return to.Name(), err
}

// open opens the file of a block if it is good; nil means that there is none, or
// that it had to go.
func (d *disk) open(k key) *openblock.Block {
	f, err := d.openFile(k)
	if err != nil {
		return nil
	}
	touch(f)
	sums := d.sums.Read(k.hash, k.size)
	b := openblock.New(f, k.hash, k.size, sums)
	b.Learned = func(sums []uint32) {
		if k.size >= sidecarFrom {
			d.sums.Write(k.hash, k.size, sums)
		}
	}
	if sums == nil {
		if err := b.Verify(); err != nil {
			d.discard(f, k, err)
			_ = b.Close()
			return nil
		}
	}
	return b
}

// openFile opens the file of a block, which it locks, and looks at its length.
// Somebody who holds an exclusive lock writes to it or deletes it.
func (d *disk) openFile(k key) (*os.File, error) {
	f, err := os.OpenFile(d.path(k.hash), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = flock(f, unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		err = d.fits(f, k)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// fits reports whether f can be the file of a block.
func (d *disk) fits(f *os.File, k key) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() != int64(k.size) {
		return fs.ErrInvalid
	}
	return nil
}

// has reports whether there is a file that may be that of a block.
func (d *disk) has(k key) bool {
	info, err := os.Lstat(d.path(k.hash))
	return err == nil && info.Mode().IsRegular() && info.Size() == int64(k.size)
}

// discard deletes the file of a block, open as f, that turned out to be bad. If
// others use it, it stays until it is fetched again.
func (d *disk) discard(f *os.File, k key, why error) {
	d.log.Warn().Err(why).Str("block", k.String()).Msg("a block in the cache is damaged")
	d.sums.Remove(k.hash)
	path := d.path(k.hash)
	if sameFile(f, path) && flock(f, unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = os.Remove(path)
	}
}

// sameFile reports whether path is still the name of f.
func sameFile(f *os.File, path string) bool {
	is, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(is, named)
}

// touch notes that a file is used: its time of access decides how long it stays.
func touch(f *os.File) {
	_ = control(f, func(fd int) error {
		return os.Chtimes(fmt.Sprintf("/proc/self/fd/%d", fd), time.Now(), time.Time{})
	})
}

// flock locks f, or unlocks it.
func flock(f *os.File, how int) error {
	return control(f, func(fd int) error {
		for {
			if err := unix.Flock(fd, how); err != unix.EINTR {
				return err
			}
		}
	})
}

// control calls do with the descriptor, which stays open meanwhile.
func control(f *os.File, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := c.Control(func(fd uintptr) { result = do(int(fd)) }); err != nil {
		return err
	}
	return result
}
