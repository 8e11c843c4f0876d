package listen

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// pair returns a conn as the Splitter hands it out and the client's end of it.
func pair(t *testing.T) (*conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Split(l, Limits{})
	t.Cleanup(func() { s.Close() })
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if _, err := client.Write([]byte("G")); err != nil {
		t.Fatal(err)
	}
	server, err := s.Plain().Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	// Unread, it would make the end of the connection a reset.
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return server.(*conn), client.(*net.TCPConn)
}

func TestHeldBytesKeepTheirOrder(t *testing.T) {
	c, client := pair(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, bytes.Repeat([]byte("f"), 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var want bytes.Buffer
	write := func(b byte, n int) {
		p := bytes.Repeat([]byte{b}, n)
		want.Write(p)
		if k, err := c.Write(p); k != n || err != nil {
			t.Errorf("wrote %d of %d: %v", k, n, err)
		}
	}
	go func() {
		write('a', 10)
		c.Hold()
		write('b', 400)
		write('c', 4096)
		write('d', holdSize) // more than is held back
		write('e', 400)
		if n, err := c.ReadFrom(&io.LimitedReader{R: f, N: 90_000}); n != 90_000 || err != nil {
			t.Errorf("sent %d bytes of the file: %v", n, err)
		}
		want.Write(bytes.Repeat([]byte("f"), 90_000))
		write('g', 5)
		if err := c.Release(); err != nil {
			t.Error(err)
		}
		write('h', 5)
		c.Close()
	}()
	got, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes came, want %d in the order they were written", len(got), want.Len())
	}
}

func TestHeldBytesAreNotSentBeforeRelease(t *testing.T) {
	c, client := pair(t)
	c.Hold()
	if _, err := c.Write([]byte("head")); err != nil {
		t.Fatal(err)
	}
	if n := waiting(t, client); n != 0 {
		t.Fatalf("%d bytes were sent while they should be held", n)
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(client, buf); err != nil || string(buf) != "head" {
		t.Fatalf("got %q, %v", buf, err)
	}
}

// waiting is how many bytes can be read from c at once. Over loopback they are
// there when the write has returned.
func waiting(t *testing.T, c *net.TCPConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 100), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}); err != nil {
		t.Fatal(err)
	}
	return max(n, 0)
}

func TestConnectionThatTakesNothingIsClosedByRelease(t *testing.T) {
	c, client := pair(t)
	c.Hold()
	if _, err := c.Write([]byte("head")); err != nil {
		t.Fatal(err)
	}
	c.SetWriteDeadline(time.Now().Add(-time.Second))
	if err := c.Release(); err == nil {
		t.Fatal("Release reports no failure")
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("what follows a cut answer can be written")
	}
	if got, _ := io.ReadAll(client); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}
