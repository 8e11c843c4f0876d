package keepio

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"keepdav/keepio/internal/blockio"
)

// A file is what the spool needs of an open file. Tests put faults behind it.
type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Datasync() error
	Writeback(off, n int64) // starts writing out, best effort
	Size() (size int64, links uint64, err error)
	Close() error
	Send(w io.Writer, off, n int64) (int64, error)
}

// A fileSystem makes files. Tests put faults behind it.
type fileSystem interface {
	Create(path string) (file, error) // must not exist
	Open(path string) (file, error)
	Remove(path string) error
	Rename(from, to string) error
	SyncDir(dir string) error
	ReadDir(dir string) ([]fs.DirEntry, error)
	Free(dir string) (free, total int64, err error)
}

// osFiles is the real file system.
type osFiles struct{}

func (osFiles) Create(path string) (file, error) {
	return openFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (osFiles) Open(path string) (file, error) { return openFile(path, os.O_RDWR) }

func openFile(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0o640)
	if err != nil {
		return nil, full(err)
	}
	return osFile{blockio.New(f)}, nil
}

func (f osFile) Truncate(size int64) error { return f.OS().Truncate(size) }

func (osFiles) Remove(path string) error                  { return os.Remove(path) }
func (osFiles) Rename(from, to string) error              { return full(os.Rename(from, to)) }
func (osFiles) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }

func (osFiles) Free(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

func (osFiles) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return full(d.Sync())
}

type osFile struct{ *blockio.File }

func (f osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.OS().WriteAt(p, off)
	return n, full(err)
}

func (f osFile) Datasync() error {
	for {
		err := f.control(unix.Fdatasync)
		if err != unix.EINTR {
			return full(err)
		}
	}
}

func (f osFile) Writeback(off, n int64) {
	_ = f.control(func(fd int) error { return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE) })
}

func (f osFile) Size() (int64, uint64, error) {
	info, err := f.OS().Stat()
	if err != nil {
		return 0, 0, err
	}
	links := uint64(1)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		links = uint64(st.Nlink)
	}
	return info.Size(), links, nil
}

// control calls do with the descriptor, which stays open meanwhile.
func (f osFile) control(do func(fd int) error) error {
	c, err := f.OS().SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := c.Control(func(fd uintptr) { result = do(int(fd)) }); err != nil {
		return err
	}
	return result
}

// full makes an error that tells of a full disk match ErrFull.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fullError{err}
	}
	return err
}

// fullError keeps the text of the system's error.
type fullError struct{ error }

func (e fullError) Is(target error) bool { return target == ErrFull }
func (e fullError) Unwrap() error        { return e.error }
