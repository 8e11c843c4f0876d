package listen

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Limits are bounds on connections. Zero fields mean the defaults.
type Limits struct {
	Connections int           // at once; more wait in the kernel's queue. Default 4096
	PerAddress  int           // at once from one address, or IPv6 network of 64 bits, that is not loopback; more are closed. Default 512
	FirstByte   time.Duration // a connection that says nothing for so long is closed. Default 20 s
}

// A Splitter takes connections from one listener and gives them to two: one for
// plain HTTP, one for TLS.
type Splitter struct {
	inner  net.Listener
	limits Limits
	slots  chan struct{}
	done   chan struct{} // closed by Close
	once   sync.Once
	wg     sync.WaitGroup // the accepting goroutine and those that wait for a first byte

	plain, tls *half

	mu      sync.Mutex            // guards the fields below
	perAddr map[netip.Addr]int    // open connections
	waiting map[net.Conn]struct{} // for their first byte
	err     error                 // why accepting ended
}

// Split starts to accept connections from l. Close ends it and waits.
func Split(l net.Listener, limits Limits) *Splitter {
	if limits.Connections <= 0 {
		limits.Connections = 4096
	}
	if limits.PerAddress <= 0 {
		limits.PerAddress = 512
	}
	if limits.FirstByte <= 0 {
		limits.FirstByte = 20 * time.Second
	}
	s := &Splitter{
		inner: l, limits: limits,
		slots:   make(chan struct{}, limits.Connections),
		done:    make(chan struct{}),
		perAddr: map[netip.Addr]int{},
		waiting: map[net.Conn]struct{}{},
	}
	s.plain = &half{s: s, conns: make(chan net.Conn)}
	s.tls = &half{s: s, conns: make(chan net.Conn)}
	s.wg.Go(s.accept)
	return s
}

// Plain is the listener of connections that speak HTTP.
func (s *Splitter) Plain() net.Listener { return s.plain }

// TLS is the listener of connections that speak TLS; they are not yet decrypted.
func (s *Splitter) TLS() net.Listener { return s.tls }

// Close stops accepting, closes connections that have said nothing yet, and
// waits. Connections that were handed on live on.
func (s *Splitter) Close() error {
	var err error
	s.once.Do(func() {
		close(s.done)
		err = s.inner.Close()
		s.mu.Lock()
		waiting := slices.Collect(maps.Keys(s.waiting))
		s.mu.Unlock()
		for _, c := range waiting { // its Close takes the lock
			c.Close()
		}
	})
	s.wg.Wait()
	return err
}

func (s *Splitter) accept() {
	var delay time.Duration
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.done:
			return
		}
		c, err := s.inner.Accept()
		if err != nil {
			<-s.slots
			var again interface{ Temporary() bool }
			if errors.As(err, &again) && again.Temporary() { // out of descriptors: others will be closed
				delay = min(max(2*delay, 5*time.Millisecond), time.Second)
				select {
				case <-time.After(delay):
					continue
				case <-s.done:
					return
				}
			}
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			s.once.Do(func() { close(s.done); s.inner.Close() })
			return
		}
		delay = 0
		tc, ok := s.admit(c)
		if !ok {
			c.Close()
			<-s.slots
			continue
		}
		s.wg.Go(func() { s.sort(tc) })
	}
}

// admit counts a connection, unless its address has too many.
func (s *Splitter) admit(c net.Conn) (*conn, bool) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, false
	}
	addr := Source(remote(c))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perAddr[addr] >= s.limits.PerAddress && !addr.IsLoopback() {
		return nil, false
	}
	s.perAddr[addr]++
	tc := &conn{TCPConn: tcp, s: s, addr: addr}
	s.waiting[tc] = struct{}{}
	return tc, true
}

// sort waits for the first byte of c and hands it on.
func (s *Splitter) sort(c *conn) {
	c.SetReadDeadline(time.Now().Add(s.limits.FirstByte))
	first, err := peek(c.TCPConn)
	c.SetReadDeadline(time.Time{})
	s.mu.Lock()
	delete(s.waiting, c)
	s.mu.Unlock()
	if err != nil {
		c.Close()
		return
	}
	to := s.plain
	if first == 0x16 {
		to = s.tls
	}
	select {
	case to.conns <- c:
	case <-s.done:
		c.Close()
	}
}

// peek returns the first byte that c will read, and leaves it there.
func peek(c *net.TCPConn) (byte, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var b [1]byte
	var n int
	var perr error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, perr = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK)
			if perr != unix.EINTR {
				return perr != unix.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case perr != nil:
		return 0, perr
	case n == 0:
		return 0, net.ErrClosed
	}
	return b[0], nil
}

// remote is the address of the other end of c.
func remote(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// A conn is a TCP connection that is counted until it is closed. It has all
// methods of a TCPConn, ReadFrom among them, so sendfile works. It is a Holder.
type conn struct {
	*net.TCPConn
	s    *Splitter
	addr netip.Addr
	once sync.Once

	holding bool    // Write gathers; belongs to whoever writes, like the next
	held    *[]byte // what was written and has not been sent; nil: nothing
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.s.mu.Lock()
		if c.s.perAddr[c.addr]--; c.s.perAddr[c.addr] <= 0 {
			delete(c.s.perAddr, c.addr)
		}
		c.s.mu.Unlock()
		<-c.s.slots
	})
	return c.TCPConn.Close()
}

// A half is one of the two listeners.
type half struct {
	s     *Splitter
	conns chan net.Conn
}

func (h *half) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.s.done:
		h.s.mu.Lock()
		defer h.s.mu.Unlock()
		if h.s.err != nil {
			return nil, h.s.err
		}
		return nil, net.ErrClosed
	}
}

func (h *half) Close() error   { return h.s.Close() }
func (h *half) Addr() net.Addr { return h.s.inner.Addr() }
