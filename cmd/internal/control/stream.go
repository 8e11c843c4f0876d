package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Talk is a conversation with a client, for as long as both like: messages both
// ways. ctx ends when the server stops; the client is gone when Receive fails.
type Talk func(ctx context.Context, s *Stream) error

// talkProtocol is what an HTTP connection is upgraded to.
const talkProtocol = "keepdav-talk"

// A Stream carries messages, one JSON value a line, and descriptors. Send may be
// called concurrently; Receive and ReceiveFile by one goroutine at a time.
type Stream struct {
	conn *net.UnixConn

	in    *bufio.Reader // of Receive
	extra *os.File      // came with bytes that Receive took

	mu sync.Mutex // held while a message is written
}

const maxMessage = 1 << 20

// Send sends a message.
func (s *Stream) Send(v any) error {
	line, err := Marshal(v)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.conn.Write(append(line, '\n'))
	return err
}

// SendFile sends a message with a descriptor beside it.
func (s *Stream) SendFile(v any, f *os.File) error {
	line, err := Marshal(v)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, _, err := s.conn.WriteMsgUnix(append(line, '\n'), unix.UnixRights(int(f.Fd())), nil)
	if err == nil && n != len(line)+1 {
		err = io.ErrShortWrite
	}
	return err
}

// Receive waits for a message. io.EOF says that the other side is gone.
func (s *Stream) Receive(v any) error {
	var line []byte
	for {
		piece, err := s.in.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case err == nil:
			return Unmarshal(line, v)
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		case len(line) > maxMessage:
			return errors.New("a message on the control socket is too long")
		}
	}
}

// ReceiveFile waits for a message of SendFile. The file has to be closed.
func (s *Stream) ReceiveFile(v any) (*os.File, error) {
	if err := s.Receive(v); err != nil {
		return nil, err
	}
	f := s.extra
	s.extra = nil
	if f == nil {
		return nil, errors.New("a descriptor is expected on the control socket")
	}
	return f, nil
}

// Close ends the conversation.
func (s *Stream) Close() error {
	if s.extra != nil {
		s.extra.Close()
	}
	return s.conn.Close()
}

// fileReader reads bytes and keeps the last descriptor that comes with them.
type fileReader struct{ s *Stream }

func (r fileReader) Read(p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := r.s.conn.ReadMsgUnix(p, oob) // makes descriptors close-on-exec
	messages, perr := unix.ParseSocketControlMessage(oob[:oobn])
	if perr != nil {
		messages = nil
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if r.s.extra != nil {
				r.s.extra.Close()
			}
			r.s.extra = os.NewFile(uintptr(fd), "passed")
		}
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

func newStream(c *net.UnixConn) *Stream {
	s := &Stream{conn: c}
	s.in = bufio.NewReader(fileReader{s})
	return s
}

// Dial begins the conversation called name with the process that has the store
// in dir open; ErrNoServer when there is none. The stream has to be closed.
func Dial(ctx context.Context, dir, name string) (_ *Stream, err error) {
	conn, err := dialUnix(ctx, socketPath(dir))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNoServer
	case err != nil:
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	req, err := http.NewRequest(http.MethodPost, "http://store/v1/"+name, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", talkProtocol)
	if err := req.Write(conn); err != nil {
		return nil, dialError(ctx, err)
	}
	// The server sends nothing after its answer before we have.
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return nil, dialError(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // part of a message is better than none
		return nil, refusal(text)
	}
	return newStream(conn.(*net.UnixConn)), nil
}

// dialError is about a connection that was made. A server that hangs up without a word
// has just ended.
func dialError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, gone) {
			return ErrNoServer
		}
	}
	return fmt.Errorf("control socket: %w", err)
}

// talk upgrades a connection and has the conversation.
func (s *Server) talk(w http.ResponseWriter, name string, talk Talk) {
	s.talks.Add(1) // while the request is counted by Stop, which waits for it first
	defer s.talks.Done()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	c, ok := conn.(*net.UnixConn)
	if !ok || buffered.Reader.Buffered() > 0 {
		return // a client that speaks before it is asked to
	}
	if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+talkProtocol+"\r\n\r\n"); err != nil {
		return
	}
	stream := newStream(c)
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-s.cut:
			c.Close()
		case <-over:
		}
	}()
	defer func() {
		close(over)
		<-ended
		stream.Close()
	}()
	err = talkSafely(s.ctx, talk, stream)
	s.log.Info().Str("talk", name).Err(err).Msg("administration")
}

// talkSafely turns a panic into an error.
func talkSafely(ctx context.Context, talk Talk, stream *Stream) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("failed inside the server: %v", p)
		}
	}()
	return talk(ctx, stream)
}
