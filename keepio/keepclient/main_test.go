package keepclient

import (
	"bytes"
	"context"
	"crypto/md5"
	"net"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"keepdav/keepio"
	"keepdav/keepio/keepclient/keeptest"
)

// A server of net/http lingers for half a second on a connection that it ends early.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// buffer is a sink in memory.
type buffer struct {
	bytes.Buffer
	restarts int
}

func (b *buffer) Restart() error {
	b.Reset()
	b.restarts++
	return nil
}

// client returns a client of a cluster, with what change does to its
// configuration.
func client(t *testing.T, k *keeptest.Cluster, change func(*Config)) *Client {
	t.Helper()
	return clientOf(t, ServersConfig{API: k.API, Dial: k.Dial}, k.Token, change)
}

func clientOf(t *testing.T, sc ServersConfig, token string, change func(*Config)) *Client {
	t.Helper()
	servers, err := OpenServers(sc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(servers.Close)
	cfg := Config{Servers: servers, Token: token, Retries: -1}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// fetch reads a block.
func fetchBlock(ctx context.Context, c *Client, data []byte) ([]byte, int, error) {
	var b buffer
	err := c.Fetch(ctx, md5.Sum(data), uint32(len(data)), &b)
	return b.Bytes(), b.restarts, err
}

// wantFetch fails the test unless data can be read.
func wantFetch(t *testing.T, c *Client, data []byte) {
	t.Helper()
	if got, _, err := fetchBlock(t.Context(), c, data); err != nil || !bytes.Equal(got, data) {
		t.Errorf("Fetch of %d bytes = %d bytes, %v; want them", len(data), len(got), err)
	}
}

// blockFile is a file with data in it, and more behind.
func blockFile(t *testing.T, data []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "block"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.Write(append(bytes.Clone(data), "more than the block"...)); err != nil {
		t.Fatal(err)
	}
	return f
}

func pushBlock(ctx context.Context, t *testing.T, c *Client, data []byte) error {
	t.Helper()
	return c.Push(ctx, blockFile(t, data), md5.Sum(data), uint32(len(data)))
}

// taught returns data that is stored at the services, and known to c.
func taught(k *keeptest.Cluster, c *Client, data []byte, at ...*keeptest.Service) []byte {
	for _, s := range at {
		s.Put(data)
	}
	c.Learn("zzzzz-4zz18-000000000000001", []keepio.Locator{k.Sign(data, k.TTL)})
	return data
}

// countDials counts what a DialFunc is asked for, by one goroutine at a time.
func countDials(dial DialFunc, n *int) DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		*n++
		return dial(ctx, network, addr)
	}
}
