package listen

import (
	"io"
	"net"
	"sync"
)

// holdSize is how much a connection holds back at most.
const holdSize = 8 << 10

// A Holder is a connection that can hold back the head of an answer, so that it
// goes out together with a body of a few KiB: one system call and one packet
// where net/http, whose buffer is 4 KiB, makes two. Its methods, Write and
// ReadFrom must not be called concurrently.
type Holder interface {
	// Hold makes Write gather what it is given, up to a bound.
	Hold()
	// Release sends what is held, and ends Hold. A connection that does not take
	// it is closed: nothing else may follow a part of an answer.
	Release() error
}

// Hold implements Holder.
func (c *conn) Hold() { c.holding = true }

// Release implements Holder.
func (c *conn) Release() error {
	c.holding = false
	err := c.sendHeld()
	if err != nil {
		c.Close()
	}
	return err
}

// buffers are for what is held: idle connections keep none.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, holdSize)) }}

// take ends the holding of what is held, and hands it out. Give it back to buffers.
func (c *conn) take() *[]byte {
	held := c.held
	c.held = nil
	return held
}

func recycle(held *[]byte) {
	*held = (*held)[:0]
	buffers.Put(held)
}

func (c *conn) sendHeld() error {
	held := c.take()
	if held == nil {
		return nil
	}
	defer recycle(held)
	_, err := c.TCPConn.Write(*held)
	return err
}

// Write sends p, or holds it back.
func (c *conn) Write(p []byte) (int, error) {
	if c.holding && c.held == nil && len(p) <= holdSize {
		c.held = buffers.Get().(*[]byte)
	}
	if c.held == nil {
		return c.TCPConn.Write(p)
	}
	if c.holding && len(*c.held)+len(p) <= holdSize {
		*c.held = append(*c.held, p...)
		return len(p), nil
	}
	held := c.take()
	defer recycle(held)
	both := net.Buffers{*held, p}
	wrote, err := both.WriteTo(c.TCPConn)
	return int(max(wrote-int64(len(*held)), 0)), err
}

// ReadFrom sends what r has, by sendfile where that is possible. What is held
// goes before it.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if err := c.sendHeld(); err != nil {
		return 0, err
	}
	return c.TCPConn.ReadFrom(r)
}
