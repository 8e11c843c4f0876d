// Package blockio sends spans of block files to clients the fastest way there
// is. docs/decisions has the measurements behind it.
package blockio

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// BufferSize is how much is read and written at a time where sendfile is
	// not used.
	BufferSize = 256 << 10

	// sendfileFrom is the length from which on sendfile is worth its set-up.
	sendfileFrom = 64 << 10

	spareFiles = 8
)

// A Buffer is a place for file contents.
type Buffer = [BufferSize]byte

var buffers = sync.Pool{New: func() any { return new(Buffer) }}

// GetBuffer returns a buffer; give it back with PutBuffer.
func GetBuffer() *Buffer { return buffers.Get().(*Buffer) }

// PutBuffer gives a buffer back.
func PutBuffer(b *Buffer) { buffers.Put(b) }

// A File is an open file that many goroutines send spans of. sendfile moves the
// position of the descriptor it reads from, so each transfer gets one of its own,
// opened anew and kept for the next.
type File struct {
	f *os.File

	mu     sync.Mutex // guards the fields below
	spare  []*os.File
	closed bool
}

// New takes over f.
func New(f *os.File) *File { return &File{f: f} }

// OS returns the file itself, for calls that do not depend on a position.
func (f *File) OS() *os.File { return f.f }

// ReadAt is that of io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// Close closes the file. Transfers under way end as they would have.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, s := range f.spare {
		_ = s.Close()
	}
	f.spare = nil
	return f.f.Close()
}

// Send writes n bytes from off to w and reports how many went out. A file that
// ends before that is io.ErrUnexpectedEOF.
func (f *File) Send(w io.Writer, off, n int64) (int64, error) {
	if to, ok := w.(io.ReaderFrom); ok && n >= sendfileFrom {
		return f.sendfile(to, off, n)
	}
	buf := GetBuffer()
	defer PutBuffer(buf)
	var done int64
	for done < n {
		p := buf[:min(n-done, BufferSize)]
		if got, err := f.f.ReadAt(p, off+done); got < len(p) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return done, err
		}
		wrote, err := w.Write(p)
		done += int64(wrote)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// sendfile lets w read from a descriptor of its own: if w is a connection, or a
// response over one, the kernel moves the bytes.
func (f *File) sendfile(w io.ReaderFrom, off, n int64) (int64, error) {
	s, err := f.take()
	if err != nil {
		return 0, err
	}
	defer f.giveBack(s)
	if _, err := s.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	done, err := w.ReadFrom(&io.LimitedReader{R: s, N: n})
	if err == nil && done < n {
		err = io.ErrUnexpectedEOF
	}
	return done, err
}

// take returns a second descriptor of the file, with a position of its own.
// After Close it fails with os.ErrClosed.
func (f *File) take() (*os.File, error) {
	f.mu.Lock()
	if n := len(f.spare); n > 0 {
		s := f.spare[n-1]
		f.spare = f.spare[:n-1]
		f.mu.Unlock()
		return s, nil
	}
	f.mu.Unlock()
	s, err := f.reopen()
	if err == nil {
		return s, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, os.ErrClosed // SyscallConn has another word for it
	}
	return nil, err
}

// reopen opens the file by its descriptor, not by its name, which may stand for
// another file by now.
func (f *File) reopen() (s *os.File, err error) {
	c, err := f.f.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := c.Control(func(fd uintptr) {
		if s, err = os.Open(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil {
			_ = unix.Fadvise(int(s.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
		}
	})
	return s, cmp.Or(cerr, err)
}

// giveBack keeps a descriptor for the next transfer.
func (f *File) giveBack(s *os.File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(f.spare) >= spareFiles {
		_ = s.Close()
		return
	}
	f.spare = append(f.spare, s)
}
