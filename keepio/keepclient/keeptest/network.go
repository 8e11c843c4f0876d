package keeptest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
)

// A network is where servers listen: loopback, or pipes.
type network struct {
	pipes *sync.Map // listeners by address; nil: loopback
}

func newNetwork(pipe bool) network {
	if pipe {
		return network{new(sync.Map)}
	}
	return network{}
}

// serve starts a server, which ends with the test, and returns its URL.
func (n network) serve(t testing.TB, name string, h http.Handler) string {
	l, err := n.listen(name)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // until Close
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return "http://" + l.Addr().String()
}

func (n network) listen(name string) (net.Listener, error) {
	if n.pipes == nil {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	l := &pipeListener{addr: name + ".test:80", conns: make(chan net.Conn), closed: make(chan struct{})}
	n.pipes.Store(l.addr, l)
	return l, nil
}

func (n network) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if n.pipes == nil {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	v, ok := n.pipes.Load(addr)
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("nobody listens at %s", addr)}
	}
	l := v.(*pipeListener)
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A pipeListener accepts pipes.
type pipeListener struct {
	addr   string
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr(l.addr) }

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }
