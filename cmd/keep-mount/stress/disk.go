package stress

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// disk is what the processes do to the directory. Names are absolute.
type disk interface {
	Open(name string, flag int) (file, error)
	Mkdir(name string) error
	Rmdir(name string) error
	Unlink(name string) error
	Rename(from, to string) error
	Link(old, name string) error
	Symlink(target, name string) error
	Readlink(name string) (string, error)
	Lstat(name string) (fs.FileInfo, error)
	List(name string) ([]fs.DirEntry, error)
}

type file interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Write(p []byte) (int, error)
	Truncate(size int64) error
	Sync() error
	Close() error
	// Lock waits for the lock of [off, off+n), which no other open file has then.
	Lock(off, n int64) error
	Unlock(off, n int64) error
}

// osDisk is the operating system's.
type osDisk struct{}

type osFile struct{ *os.File }

func (osDisk) Open(name string, flag int) (file, error) {
	f, err := os.OpenFile(name, flag, 0o644)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// The calls are made directly: package os does others beside some of them.
func (osDisk) Mkdir(name string) error  { return call(func() error { return unix.Mkdir(name, 0o755) }) }
func (osDisk) Rmdir(name string) error  { return call(func() error { return unix.Rmdir(name) }) }
func (osDisk) Unlink(name string) error { return call(func() error { return unix.Unlink(name) }) }
func (osDisk) Rename(from, to string) error {
	return call(func() error { return unix.Rename(from, to) })
}
func (osDisk) Link(old, name string) error { return call(func() error { return unix.Link(old, name) }) }
func (osDisk) Symlink(target, name string) error {
	return call(func() error { return unix.Symlink(target, name) })
}
func (osDisk) Readlink(name string) (string, error)   { return os.Readlink(name) }
func (osDisk) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(name) }

func (osDisk) List(name string) ([]fs.DirEntry, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	return entries, errors.Join(err, f.Close())
}

func (f osFile) Lock(off, n int64) error   { return f.lock(unix.F_WRLCK, off, n) }
func (f osFile) Unlock(off, n int64) error { return f.lock(unix.F_UNLCK, off, n) }

// lock uses locks of the open file, which exclude goroutines of one process too.
func (f osFile) lock(kind int16, off, n int64) error {
	l := unix.Flock_t{Type: kind, Whence: 0, Start: off, Len: n}
	return call(func() error { return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW, &l) })
}

// call repeats what a signal interrupted; the runtime of Go sends itself some.
func call(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
