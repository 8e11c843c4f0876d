package keepclient

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// ioStep is how much of a body may move before it is counted.
	ioStep = 1 << 20

	readBuffer = 64 << 10
	// expectWait is how long a server may take to say that it wants a body
	// that was announced to it. One that says nothing gets the body all the same.
	expectWait = time.Second
	maxHeader  = 64 << 10
)

// timeouts of connections. A proxy may be far away and has others behind it.
type timeouts struct {
	connect, tls, idle time.Duration

	// For so long a transfer may stand still; see transfer. To store a block
	// takes a server time in which it sends nothing, to begin to send one does
	// not, and another server can be asked.
	get, put time.Duration
}

var (
	directTimeouts = timeouts{connect: 2 * time.Second, tls: 4 * time.Second, idle: 180 * time.Second, get: 20 * time.Second, put: 64 * time.Second}
	proxyTimeouts  = timeouts{connect: 20 * time.Second, tls: 10 * time.Second, idle: 120 * time.Second, get: 64 * time.Second, put: 256 * time.Second}
)

// A DialFunc makes connections, as that of net.Dialer does.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// newTransport returns the connections to one kind of servers.
//
// HTTP/2 is off. It would put all transfers to a host on one connection, where
// a lost packet stops all of them and a stalled transfer cannot be told from
// its neighbours; it copies what HTTP/1.1 sends by sendfile; and blocks are so
// large that what it saves on headers does not count.
func newTransport(dial DialFunc, tlsConfig *tls.Config, t timeouts) *http.Transport {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, t.connect)
			defer cancel()
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: c}, nil
		},
		TLSClientConfig:        tlsConfig.Clone(),
		TLSHandshakeTimeout:    t.tls,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		IdleConnTimeout:        t.idle,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    maxPerHost,
		DisableCompression:     true,
		ExpectContinueTimeout:  expectWait,
		ReadBufferSize:         readBuffer,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// A countedConn counts the bytes that pass, so that whoever waits for a transfer
// can tell a long one from one that stands still.
type countedConn struct {
	net.Conn
	moved atomic.Int64
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.moved.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.moved.Add(int64(n))
	return n, err
}

// ReadFrom passes r on to the connection's own ReadFrom, piece by piece, so that
// the kernel can send a file by itself.
func (c *countedConn) ReadFrom(r io.Reader) (int64, error) {
	to, ok := c.Conn.(io.ReaderFrom)
	lr, limited := r.(*io.LimitedReader)
	if !ok || !limited {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	var done int64
	for lr.N > 0 {
		piece := io.LimitedReader{R: lr.R, N: min(lr.N, ioStep)}
		want := piece.N
		n, err := to.ReadFrom(&piece)
		done += n
		lr.N -= n
		c.moved.Add(n)
		if err != nil || n < want {
			return done, err
		}
	}
	return done, nil
}

// counterOf finds the countedConn below a connection, nil if there is none.
func counterOf(c net.Conn) *countedConn {
	for {
		switch t := c.(type) {
		case *countedConn:
			return t
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		default:
			return nil
		}
	}
}
