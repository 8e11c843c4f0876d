package web

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/rs/zerolog"

	"keepdav/web/listen"
)

// Answers of every size, whole and in ranges, come whole and one after the
// other on one connection, though the head of some is held back.
func TestAnswersOfEverySizeComeWhole(t *testing.T) {
	s := newSite(t, nil)
	keeper, err := listen.SelfSigned(t.TempDir(), listen.Names())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := Serve(l, keeper, s.h, listen.Limits{}, zerolog.Nop())
	t.Cleanup(func() { server.Stop(t.Context()) })
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	sizes := []int{0, 1, 999, 1000, 3000, 3600, 3700, 3800, 4095, 4096, 4097, 7000, 8192, 9000, 64 << 10, len(data)}
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			tr := &http.Transport{MaxConnsPerHost: 1, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr}
			get := func(method, path, ranges string, status int, want []byte) {
				t.Helper()
				r, err := http.NewRequest(method, scheme+"://"+l.Addr().String()+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.SetBasicAuth("ann", annsPassword)
				if ranges != "" {
					r.Header.Set("Range", ranges)
				}
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != status || !bytes.Equal(got, want) {
					t.Errorf("%s %s %s = %d with %d bytes, %v; want %d with %d", method, path, ranges, resp.StatusCode, len(got), err, status, len(want))
				}
			}
			for _, n := range sizes {
				path := fmt.Sprint("/home/f", n)
				s.tree.mu.Lock()
				s.tree.files[path] = data[:n]
				s.tree.mu.Unlock()
				get("GET", path, "", 200, data[:n])
				get("HEAD", path, "", 200, nil)
				if n > 2 {
					get("GET", path, fmt.Sprintf("bytes=1-%d", n-2), 206, data[1:n-1])
				}
				get("GET", path+"none", "", 404, nil)
			}
		})
	}
}
