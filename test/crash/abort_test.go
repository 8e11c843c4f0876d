package crash

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keepdav/test/target"
)

// rawPut opens a connection and sends the head of a PUT.
func rawPut(t *testing.T, s *target.Server, path string, header string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	auth := base64.StdEncoding.EncodeToString([]byte(target.User + ":" + target.Password))
	if _, err := fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\n%s\r\n\r\n", path, auth, header); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAbortedUploadsLeaveNothing cuts uploads off at every 64 KiB, declared and
// chunked, onto new names and onto old ones.
func TestAbortedUploadsLeaveNothing(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	s := target.Start(t, target.Options{Kind: target.KeepDAV, Store: store})
	c := s.MakeCollection(t, "abort")
	old, data := make([]byte, 100_000), make([]byte, 1<<20)
	rand.Read(old)
	rand.Read(data)
	s.Must(t, []int{201}, "PUT", c+"old", old)
	for cut := 0; cut < len(data); cut += 64 << 10 {
		for _, chunked := range []bool{false, true} {
			for _, name := range []string{c + "old", c + "new"} {
				header := fmt.Sprintf("Content-Length: %d", len(data))
				if chunked {
					header = "Transfer-Encoding: chunked"
				}
				conn := rawPut(t, s, name, header)
				var err error
				if chunked && cut > 0 {
					_, err = fmt.Fprintf(conn, "%x\r\n%s\r\n", cut, data[:cut])
				} else {
					_, err = conn.Write(data[:cut])
				}
				if err != nil {
					t.Fatal(err)
				}
				// The server learns of the end of our side, and may say something.
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				conn.SetReadDeadline(time.Now().Add(20 * time.Second))
				answer, err := io.ReadAll(conn)
				conn.Close()
				if err != nil {
					t.Fatalf("cut at %d, chunked %v: the server neither answers nor closes: %v", cut, chunked, err)
				}
				if bytes.Contains(answer, []byte("HTTP/1.1 2")) {
					t.Fatalf("cut at %d, chunked %v: an upload that was cut off is acknowledged: %.100q", cut, chunked, answer)
				}
			}
		}
	}
	if got := s.Must(t, []int{200}, "GET", c+"old", nil).Body; !bytes.Equal(got, old) {
		t.Errorf("the old file has %d bytes, or others than before", len(got))
	}
	s.Must(t, []int{404}, "GET", c+"new", nil)
	list := s.Must(t, []int{207}, "PROPFIND", c, nil, "Depth", "1").Body
	if n := bytes.Count(list, []byte("getetag>")); n > 2 { // of the one file, opening and closing
		t.Errorf("the listing shows more than one file:\n%s", list)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if err := target.Fsck(t, target.KeepDAV, store); err != nil {
		t.Error(err)
	}
}

// TestSlowUploadBlocksNobody holds uploads open, a few bytes at a time, while
// others work; and ends one by killing nothing but its connection.
func TestSlowUploadBlocksNobody(t *testing.T) {
	s := target.Start(t, target.Options{Kind: target.KeepDAV})
	c := s.MakeCollection(t, "slow")
	s.Must(t, []int{201}, "PUT", c+"file", []byte("old"))
	var slow []net.Conn
	for i := range 20 {
		name := c + "file" // half of them want to replace the same file
		if i%2 == 0 {
			name = fmt.Sprintf("%snew%d", c, i)
		}
		conn := rawPut(t, s, name, "Content-Length: 1000000")
		if _, err := conn.Write([]byte("drop")); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, s.Kill) // so that a server that hangs ends the test
	for i := range 50 {
		body := fmt.Appendf(nil, "content %d", i)
		s.Must(t, []int{204}, "PUT", c+"file", body)
		if got := s.Must(t, []int{200}, "GET", c+"file", nil).Body; !bytes.Equal(got, body) {
			t.Fatalf("GET = %q; want %q", got, body)
		}
		for _, conn := range slow {
			if _, err := conn.Write([]byte(".")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !stop() {
		t.Error("slow uploads made the others wait")
	}
	for _, conn := range slow {
		conn.Close()
	}
	s.Must(t, []int{204}, "PUT", c+"file", []byte("last"))
	if got := s.Must(t, []int{200}, "GET", c+"file", nil).Body; string(got) != "last" {
		t.Errorf("GET = %q; want %q", got, "last")
	}
}
