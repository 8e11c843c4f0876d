package keepclient

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// openBody returns a reader of the first size bytes of f with a position of its
// own, so that several servers can be sent the file at once.
//
// The chain that lets the kernel send the file: net/http unwraps a request's
// body to what was given to it, limits it, and has the connection read from it
// (countedConn.ReadFrom); TCPConn.ReadFrom then calls sendfile if the limited
// reader holds a syscall.Conn, as fileBody is. Over TLS it is read as usual.
func openBody(f *os.File, size uint32) (io.ReadCloser, error) {
	own, err := reopen(f)
	if err != nil {
		// A file that cannot be opened anew is read by offset, through a copy.
		return io.NopCloser(io.NewSectionReader(f, 0, int64(size))), nil
	}
	if _, err := own.Seek(0, io.SeekStart); err != nil {
		_ = own.Close()
		return nil, err
	}
	return &fileBody{own, int64(size)}, nil
}

// reopen opens the file by its descriptor, not by its name, which may stand for
// another file by now.
func reopen(f *os.File) (own *os.File, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := c.Control(func(fd uintptr) {
		own, err = os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	})
	if cerr != nil {
		return nil, cerr
	}
	if err == nil {
		_ = unix.Fadvise(int(own.Fd()), 0, 0, unix.FADV_SEQUENTIAL) // a hint
	}
	return own, err
}

// A fileBody reads the first bytes of a file.
type fileBody struct {
	f    *os.File
	size int64
}

// Read looks at the file's own position, for sendfile moves that too.
func (b *fileBody) Read(p []byte) (int, error) {
	pos, err := b.f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	if pos >= b.size {
		return 0, io.EOF
	}
	return b.f.Read(p[:min(int64(len(p)), b.size-pos)])
}

// SyscallConn gives the file to sendfile.
func (b *fileBody) SyscallConn() (syscall.RawConn, error) { return b.f.SyscallConn() }

// Close closes the descriptor.
func (b *fileBody) Close() error { return b.f.Close() }

// A source yields readers of the bytes of one block.
type source interface {
	open() (io.ReadCloser, error)
}

type fileSource struct {
	f    *os.File
	size uint32
}

func (s fileSource) open() (io.ReadCloser, error) { return openBody(s.f, s.size) }

// A bytesSource yields bytes of a caller, who gets them back: net/http may read
// a request's body for a while after the request has failed.
type bytesSource struct {
	data []byte
	used sync.WaitGroup
}

func (s *bytesSource) open() (io.ReadCloser, error) {
	s.used.Add(1)
	return &bytesBody{Reader: bytes.NewReader(s.data), closed: s.used.Done}, nil
}

type bytesBody struct {
	*bytes.Reader
	once   sync.Once
	closed func()
}

func (b *bytesBody) Close() error {
	b.once.Do(b.closed)
	return nil
}
