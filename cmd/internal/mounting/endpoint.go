package mounting

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/fusemount"
)

// An Endpoint is how others reach the process of a mount, to have it unmounted
// and to hear how that goes. It is a socket with an abstract name made of the
// mount's device, so it leaves nothing behind. Only the same user and root are listened to.
type Endpoint struct {
	asks  chan *Ask
	done  chan struct{} // closed by Close
	conns sync.WaitGroup
}

// An Ask is somebody's wish that the mount ends. Answer has to be called.
type Ask struct {
	conn *net.UnixConn

	mu   sync.Mutex // held while something is told
	over bool
}

// said is a line on the socket.
type said struct {
	Dirty      *Dirty `json:"dirty,omitempty"`
	Done       bool   `json:"done,omitempty"`
	Error      string `json:"error,omitempty"`
	ErrorBytes []byte `json:"error_base64,omitempty"`
}

func endpointAddr(device string) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: "@keepdav/mount/" + device}
}

// Listen opens the endpoint of m. Close has to be called.
func (m *Mount) Listen() (*Endpoint, error) { return listen(m.device) }

// retryListen is the time between two attempts to get a name that is taken.
const retryListen = 50 * time.Millisecond

// listen opens an endpoint. The kernel gives a device to another mount as soon as it is
// free, while the program of the one before may still be writing down: then
// the endpoint is there when that one has ended.
func listen(device string) (*Endpoint, error) {
	l, err := net.ListenUnix("unix", endpointAddr(device))
	if err != nil && !errors.Is(err, unix.EADDRINUSE) {
		return nil, err
	}
	e := &Endpoint{asks: make(chan *Ask), done: make(chan struct{})}
	e.conns.Go(func() {
		for l == nil {
			select {
			case <-e.done:
				return
			case <-time.After(retryListen):
			}
			l, _ = net.ListenUnix("unix", endpointAddr(device)) // taken still, as a rule
		}
		e.conns.Go(func() {
			<-e.done
			l.Close()
		})
		e.accept(l)
	})
	return e, nil
}

// Asks gives what others ask for.
func (e *Endpoint) Asks() <-chan *Ask { return e.asks }

// Close listens to nobody any more. Who was heard already is not cut off: they
// wait for the end of this process.
func (e *Endpoint) Close() {
	close(e.done)
	e.conns.Wait()
}

func (e *Endpoint) accept(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		uid, err := peer(c)
		if err != nil || uid != 0 && uid != os.Geteuid() {
			c.Close()
			continue
		}
		select {
		case e.asks <- &Ask{conn: c}:
		case <-e.done:
			c.Close()
			return
		}
	}
}

// peer is the user at the other end.
func peer(c *net.UnixConn) (uid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, cerr); err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}

// Tell tells what is left to write down.
func (a *Ask) Tell(d Dirty) { a.say(said{Dirty: &d}, false) }

// Answer says how it ended. Whoever asked then waits for the end of this process,
// or, if that stays, for Close.
func (a *Ask) Answer(err error) { a.say(said{Done: true, Error: textOf(err)}, true) }

// Close lets go of whoever asked.
func (a *Ask) Close() { a.conn.Close() }

// say writes a line; who does not listen any more misses it.
func (a *Ask) say(s said, last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	a.over = last
	if line, err := control.Marshal(s); err == nil {
		a.conn.Write(append(line, '\n'))
	}
}

// ErrNoProcess says that nobody answers for a mount.
var ErrNoProcess = errors.New("the program of the mount does not answer")

// AskUnmount asks the process of the mount e to write everything down and to
// unmount, and waits until it has ended. The error is what it says, or ErrNoProcess.
func AskUnmount(ctx context.Context, e fusemount.Entry, tell func(Dirty)) error {
	c, err := net.DialUnix("unix", nil, endpointAddr(e.Device))
	if err != nil {
		return fmt.Errorf("%s: %w", e.Point, ErrNoProcess)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if uid, err := peer(c); err != nil || uid != 0 && e.User >= 0 && uid != e.User {
		return fmt.Errorf("%s: %w: somebody else does", e.Point, ErrNoProcess)
	}
	var result error
	done := false
	for lines := json.NewDecoder(bufio.NewReader(c)); ; {
		var s said
		var line json.RawMessage
		err := lines.Decode(&line)
		if err == nil {
			err = control.Unmarshal(line, &s)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && done: // it has ended
			return result
		case err != nil:
			return fmt.Errorf("%s: its program ended before everything was written down", e.Point)
		case s.Dirty != nil:
			tell(*s.Dirty)
		case s.Done:
			done = true
			if s.Error != "" {
				result = errors.New(s.Error)
			}
		}
	}
}
