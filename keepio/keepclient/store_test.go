package keepclient

import (
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/keepclient/keeptest"
	"keepdav/keepio/storetest"
)

// A view makes a keepio.Store of a client, by reading whole blocks.
type view struct{ *Client }

func (v view) ReadBlock(ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
	if _, ok := v.Locator(hash, size); !ok {
		return 0, fmt.Errorf("block %x+%d: %w", hash, size, keepio.ErrNotFound)
	}
	var b buffer
	b.Grow(int(size))
	if err := v.Fetch(ctx, hash, size, &b); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off >= int64(b.Len()) {
		return 0, io.EOF
	}
	return copy(p, b.Bytes()[off:]), nil
}

func (v view) WriteBlock(ctx context.Context, data []byte) ([16]byte, error) {
	return v.PushBytes(ctx, data)
}

func TestClientOfAKeepstoreIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) keepio.Store {
		return view{client(t, keeptest.New(t, keeptest.Options{}), nil)}
	})
}

func TestClientOfAProxyIsAStore(t *testing.T) {
	for _, c := range storetest.Cases {
		switch c.Name {
		case "HoldsTheLargestBlock", "ReadsAnySpan", "TakesConcurrentCallers":
			continue // the same as above, and they take their time
		}
		t.Run(c.Name, func(t *testing.T) {
			k := keeptest.New(t, keeptest.Options{Proxies: 1})
			k.SetExternal(true)
			if err := c.Check(t.Context(), view{client(t, k, nil)}); err != nil {
				t.Error(err)
			}
		})
	}
}

// discard is a sink that forgets.
type discard struct{ io.Writer }

func (discard) Restart() error { return nil }

// What the benchmarks of Fetch and Push are held against: MD5 alone, and bytes
// over HTTP without it.
func BenchmarkMD5(b *testing.B) {
	data := storetest.Data(1, keepio.BlockSize)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		md5.Sum(data)
	}
}

func BenchmarkPlainGet(b *testing.B) {
	data := storetest.Data(1, keepio.BlockSize)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data)
	}))
	defer srv.Close()
	b.SetBytes(int64(len(data)))
	buf := make([]byte, copyStep)
	for b.Loop() {
		resp, err := http.Get(srv.URL)
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.CopyBuffer(discard{io.Discard}, struct{ io.Reader }{resp.Body}, buf)
		_ = resp.Body.Close()
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFetch(b *testing.B) {
	for _, size := range []int{4 << 10, keepio.BlockSize} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			k, c := benchClient(b)
			data := storetest.Data(1, size)
			k.Stores[0].Put(data)
			c.Learn("c", []keepio.Locator{k.Sign(data, k.TTL)})
			hash := md5.Sum(data)
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := c.Fetch(b.Context(), hash, uint32(size), discard{io.Discard}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPush has a server that reads and forgets, to see the client alone.
func BenchmarkPush(b *testing.B) {
	for _, size := range []int{4 << 10, keepio.BlockSize} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			data := storetest.Data(1, size)
			hash := md5.Sum(data)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.CopyBuffer(discard{io.Discard}, r.Body, make([]byte, copyStep))
				_, _ = io.WriteString(w, keepio.MakeLocator(hash, int64(size)).String())
			}))
			defer srv.Close()
			servers, err := OpenServers(ServersConfig{Services: []string{srv.URL}, Replicas: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer servers.Close()
			c, err := New(Config{Servers: servers, Token: "token"})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			f, err := os.Create(filepath.Join(b.TempDir(), "block"))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			if _, err := f.Write(data); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := c.Push(b.Context(), f, hash, uint32(size)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchClient(b *testing.B) (*keeptest.Cluster, *Client) {
	k := keeptest.New(b, keeptest.Options{})
	servers, err := OpenServers(ServersConfig{API: k.API})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(servers.Close)
	c, err := New(Config{Servers: servers, Token: k.Token})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return k, c
}
