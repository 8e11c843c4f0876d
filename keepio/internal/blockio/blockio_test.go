package blockio_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"keepdav/keepio/internal/blockio"
)

// newFile returns an open file of n bytes, whose name is gone.
func newFile(t *testing.T, n int) (*blockio.File, []byte) {
	t.Helper()
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	return blockio.New(f), data
}

// plain hides all methods of a writer but Write.
type plain struct{ io.Writer }

func TestSendsTheSpanWhateverTheWriterOffers(t *testing.T) {
	f, data := newFile(t, 3<<20+17)
	defer f.Close()
	for _, c := range []struct{ off, n int }{{0, 1}, {5, 100}, {1000, 1 << 20}, {12345, 2<<20 + 3}, {0, len(data)}, {len(data), 0}} {
		var a, b bytes.Buffer
		n, err := f.Send(&a, int64(c.off), int64(c.n))
		m, err2 := f.Send(plain{&b}, int64(c.off), int64(c.n))
		want := data[c.off : c.off+c.n]
		if err != nil || err2 != nil || n != int64(c.n) || m != n || !bytes.Equal(a.Bytes(), want) || !bytes.Equal(b.Bytes(), want) {
			t.Errorf("Send(%d, %d) = %d, %v and %d, %v, or other bytes", c.off, c.n, n, err, m, err2)
		}
	}
}

func TestConcurrentTransfersDoNotDisturbEachOther(t *testing.T) {
	f, data := newFile(t, 4<<20)
	defer f.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wg sync.WaitGroup
	for i := range 8 {
		off, n := int64(i*1000), int64(1<<20+i)
		wg.Go(func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			got, err := io.ReadAll(c)
			if err != nil || len(got) < 1 || !bytes.Equal(got[1:], data[int(got[0])*1000:][:1<<20+int(got[0])]) {
				t.Errorf("received %d bytes, %v, or other ones", len(got), err)
			}
		})
		wg.Go(func() {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = c.Write([]byte{byte(i)})
			if sent, err := f.Send(c, off, n); sent != n || err != nil {
				t.Errorf("Send = %d, %v; want %d", sent, err, n)
			}
		})
	}
	wg.Wait()
}

func TestAShortFileIsAnError(t *testing.T) {
	f, _ := newFile(t, 1<<20)
	defer f.Close()
	for _, w := range []io.Writer{new(bytes.Buffer), plain{io.Discard}} {
		if n, err := f.Send(w, 1<<19, 1<<20); n != 1<<19 && n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Send beyond the end = %d, %v; want io.ErrUnexpectedEOF", n, err)
		}
	}
}

func TestSendAfterCloseSaysSo(t *testing.T) {
	f, _ := newFile(t, 1<<20)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.Writer{new(bytes.Buffer), plain{io.Discard}} {
		if n, err := f.Send(w, 0, 1<<20); n != 0 || !errors.Is(err, os.ErrClosed) {
			t.Errorf("Send after Close = %d, %v; want os.ErrClosed", n, err)
		}
	}
}
