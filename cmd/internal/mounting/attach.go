package mounting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/fusemount"
)

// Attach mounts at dir and has the process that has the store in storeDir open
// serve it; control.ErrNoServer when none answers, ErrLeaving when it is about to end. Lines of crunchstat go to
// crunchstat.
func Attach(ctx context.Context, storeDir, dir string, r Request, crunchstat io.Writer) (*Mount, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	s, err := control.Dial(ctx, storeDir, TalkName)
	if err != nil {
		return nil, err
	}
	m, err := attach(ctx, s, dir, &r, crunchstat)
	if err != nil {
		s.Close()
	}
	return m, err
}

func attach(ctx context.Context, s *control.Stream, dir string, r *Request, crunchstat io.Writer) (*Mount, error) {
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Send(toServer{Request: r}); err != nil {
		return nil, err
	}
	if err := expect(s, func(f *fromServer) bool { return f.Prepared }); err != nil {
		return nil, err
	}
	dev, err := fusemount.Mount(dir, kernelOptions(r))
	if err != nil {
		return nil, err
	}
	device, err := attachKernel(dir)
	if err == nil {
		err = handOver(s, dev, device)
	}
	dev.Close() // the server has its own now
	if err != nil {
		return nil, errors.Join(err, fusemount.Unmount(dir, true))
	}
	a := &attached{
		s: s, crunchstat: crunchstat, over: make(chan struct{}), stop: make(chan struct{}),
		answers: make(chan fromServer), gone: make(chan struct{}),
	}
	go a.listen() // ends when the stream is closed, by close
	return &Mount{Dir: dir, device: device, side: a}, nil
}

func handOver(s *control.Stream, dev *os.File, device string) error {
	if err := s.SendFile(toServer{Serve: device}, dev); err != nil {
		return err
	}
	return expect(s, func(f *fromServer) bool { return f.Ready })
}

// expect waits for one message.
func expect(s *control.Stream, is func(*fromServer) bool) error {
	var f fromServer
	switch err := s.Receive(&f); {
	case err != nil:
		return errServerGone
	case f.Leave:
		return ErrLeaving
	case f.Error != "":
		return f.err()
	case !is(&f):
		return errors.New("the server that has the store open says something unexpected: is it of another version?")
	}
	return nil
}

// ErrLeaving says that the process that has the store open is about to end, and will
// let go of the store.
var ErrLeaving = errors.New("the program that has the store open is about to end")

var errServerGone = errors.New("the server that has the store open ended")

// attached is a mount that another process serves.
type attached struct {
	s          *control.Stream
	crunchstat io.Writer
	over       chan struct{} // closed when the mount has ended
	stop       chan struct{} // closed when the server wants to stop
	answers    chan fromServer
	gone       chan struct{} // closed when the server is gone, or we are
}

func (a *attached) ended() <-chan struct{} { return a.over }
func (a *attached) leave() <-chan struct{} { return a.stop }

// listen sorts what the server says.
func (a *attached) listen() {
	defer close(a.gone)
	left := false
	over := false
	end := func() {
		if !over {
			over = true
			close(a.over)
		}
	}
	defer end()
	for {
		var f fromServer
		if a.s.Receive(&f) != nil {
			return
		}
		switch {
		case f.Ended:
			end()
		case f.Leave && !left:
			left = true
			close(a.stop)
		case f.Crunchstat != "":
			if a.crunchstat != nil {
				io.WriteString(a.crunchstat, f.Crunchstat) // nothing depends on it
			}
		case f.Dirty != nil, f.Flushed, f.Closed:
			a.answers <- f // somebody waits, until the stream ends
		}
	}
}

// ask sends a message and waits for its answer. When ctx ends the stream is of
// no use any more.
func (a *attached) ask(ctx context.Context, msg toServer, is func(*fromServer) bool, tell func(Dirty)) error {
	if err := a.s.Send(msg); err != nil {
		return fmt.Errorf("%w before everything was written down", errServerGone)
	}
	for {
		select {
		case f := <-a.answers:
			switch {
			case f.Dirty != nil:
				tell(*f.Dirty)
			case is(&f):
				return f.err()
			}
		case <-a.gone:
			return fmt.Errorf("%w before everything was written down", errServerGone)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a *attached) flush(ctx context.Context, tell func(Dirty)) error {
	return a.ask(ctx, toServer{Flush: true}, func(f *fromServer) bool { return f.Flushed }, tell)
}

func (a *attached) close(ctx context.Context) error {
	err := a.ask(ctx, toServer{Close: true}, func(f *fromServer) bool { return f.Closed }, func(Dirty) {})
	a.s.Close()
	for {
		select {
		case <-a.answers: // of a question that was given up
		case <-a.gone:
			return err
		}
	}
}
