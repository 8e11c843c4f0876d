package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// socketPath is the socket of the store in dir.
func socketPath(dir string) string { return filepath.Join(dir, "control.sock") }

// listenUnix listens on path, for the owner only. The name of a socket may have
// some 100 bytes only; a longer path is reached through the directory's descriptor.
func listenUnix(path string) (net.Listener, error) {
	// The socket has its mode before it has a name. A umask would do too, but
	// it is that of all threads, and others make directories meanwhile.
	conf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) })
		return errors.Join(err, cerr)
	}}
	return withShortPath(path, func(short string) (net.Listener, error) {
		l, err := conf.Listen(context.Background(), "unix", short)
		if err != nil {
			return nil, err
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		return l, nil
	})
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	return withShortPath(path, func(short string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", short)
	})
}

const maxSocketPath = 100

func withShortPath[T any](path string, use func(string) (T, error)) (T, error) {
	if len(path) <= maxSocketPath {
		return use(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		var zero T
		return zero, err
	}
	defer dir.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}
