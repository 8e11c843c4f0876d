package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"keepdav/cmd/internal/embedded"
	"keepdav/collfs"
)

// An operation is something that an administration command does to a store. It
// runs in the process that has the store open, which may not be the one of the
// command, so what goes in and comes out is JSON.
type operation func(ctx context.Context, s *store, args json.RawMessage, tell func(progress)) (any, error)

// op makes an operation of a function.
func op[A, R any](f func(ctx context.Context, s *store, args A, tell func(progress)) (R, error)) operation {
	return func(ctx context.Context, s *store, raw json.RawMessage, tell func(progress)) (any, error) {
		var args A
		if err := unmarshalExact(raw, &args); err != nil {
			return nil, fmt.Errorf("arguments: %w", err)
		}
		result, err := f(ctx, s, args, tell)
		if err != nil {
			return nil, inWords(err)
		}
		return result, nil
	}
}

// none is the result of an operation that has none.
type none struct{}

// A reply is one line of the answer to a call over the socket: any number with
// progress, then one with the result or the error.
type reply struct {
	Progress   *progress       `json:"progress,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
	Error      string          `json:"error,omitempty"`
	ErrorBytes []byte          `json:"error_base64,omitempty"`
	Kind       collfs.Kind     `json:"kind,omitempty"`
}

// A remoteError is a failure in the process of the server.
type remoteError struct {
	text string
	kind collfs.Kind
}

func (e *remoteError) Error() string { return e.text }

// Is lets callers ask for what they would ask a local error for.
func (e *remoteError) Is(target error) bool {
	return e.kind != collfs.Internal && collfs.KindOf(target) == e.kind
}

const (
	socketName   = "control.sock"
	maxArguments = 1 << 20
)

// A controlServer answers calls on the control socket of a store.
type controlServer struct {
	http *http.Server
	done chan struct{}
	path string
}

// serveControl listens on the control socket. Only the owner of the store can
// connect: the socket's mode says so.
func serveControl(s *store, log zerolog.Logger) (*controlServer, error) {
	path := filepath.Join(s.Dir, socketName)
	// Whoever holds the lock of the store is the only one who may listen, so
	// what is there was left behind by a crash.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	c := &controlServer{path: path, done: make(chan struct{})}
	c.http = &http.Server{
		Handler:           controlHandler(s, log),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		defer close(c.done)
		c.http.Serve(l) // ends with ErrServerClosed
	}()
	return c, nil
}

// stop waits for calls under way until ctx ends.
func (c *controlServer) stop(ctx context.Context) {
	if err := c.http.Shutdown(ctx); err != nil {
		c.http.Close()
	}
	<-c.done
	os.Remove(c.path)
}

// listenUnix listens on path, for the owner only. The name of a socket may have
// some 100 bytes only; a longer path is reached through the directory's descriptor.
func listenUnix(path string) (net.Listener, error) {
	// The socket has its mode before it has a name. A umask would do too, but
	// it is that of all threads, and others make directories meanwhile.
	conf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) })
		return errors.Join(err, cerr)
	}}
	return withShortPath(path, func(short string) (net.Listener, error) {
		l, err := conf.Listen(context.Background(), "unix", short)
		if err != nil {
			return nil, err
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		return l, nil
	})
}

const maxSocketPath = 100

func withShortPath[T any](path string, use func(string) (T, error)) (T, error) {
	if len(path) <= maxSocketPath {
		return use(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		var zero T
		return zero, err
	}
	defer dir.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

func controlHandler(s *store, log zerolog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/{name}", func(w http.ResponseWriter, r *http.Request) {
		run, ok := operations[r.PathValue("name")]
		if !ok {
			http.Error(w, "the server does not know this command: is it of another version?", http.StatusNotFound)
			return
		}
		args, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxArguments))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		flush := http.NewResponseController(w)
		send := func(p reply) {
			if line, err := marshalExact(p); err == nil {
				w.Write(append(line, '\n')) // when the command is gone, its context ends too
			}
			flush.Flush()
		}
		result, err := runSafely(r.Context(), run, s, args, func(p progress) { send(reply{Progress: &p}) })
		log.Info().Str("command", r.PathValue("name")).Err(err).Msg("administration")
		if err != nil {
			send(reply{Error: err.Error(), Kind: collfs.KindOf(err)})
			return
		}
		raw, err := marshalExact(result)
		if err != nil {
			send(reply{Error: err.Error()})
			return
		}
		send(reply{Result: raw})
	})
	return mux
}

// runSafely turns a panic into an error.
func runSafely(ctx context.Context, run operation, s *store, args json.RawMessage, tell func(progress)) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the command failed inside the server: %v", p)
		}
	}()
	return run(ctx, s, args, tell)
}

// call runs the operation called name on the store of c: in the server that has
// it open, else in this process.
func call[R any](ctx context.Context, c *cli, name string, args any) (R, error) {
	var result R
	raw, err := marshalExact(args)
	if err != nil {
		return result, err
	}
	bar := newBar(os.Stderr, c.JSON)
	defer bar.end()
	answer, err := callSocket(ctx, filepath.Join(c.Store, socketName), name, raw, bar.show)
	if errors.Is(err, errNoServer) {
		answer, err = callHere(ctx, c.Store, name, raw, bar.show)
	}
	if err != nil {
		return result, err
	}
	return result, unmarshalExact(answer, &result)
}

var errNoServer = errors.New("no server has the store open")

// callSocket calls a server; errNoServer when there is none.
func callSocket(ctx context.Context, path, name string, args json.RawMessage, tell func(progress)) (json.RawMessage, error) {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return withShortPath(path, func(short string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", short)
			})
		},
	}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://store/v1/"+name, bytes.NewReader(args))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, errNoServer
	case err != nil:
		return nil, fmt.Errorf("control socket: %w", errors.Unwrap(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // part of a message is better than none
		return nil, fmt.Errorf("%s", bytes.TrimSpace(text))
	}
	lines := json.NewDecoder(bufio.NewReader(resp.Body))
	for {
		var r reply
		var line json.RawMessage
		err := lines.Decode(&line)
		if err == nil {
			err = unmarshalExact(line, &r)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, errors.New("the server ended before the command was done")
		}
		switch {
		case r.Progress != nil:
			tell(*r.Progress)
		case r.Error != "":
			return nil, &remoteError{r.Error, r.Kind}
		default:
			return r.Result, nil
		}
	}
}

// callHere opens the store for one operation.
func callHere(ctx context.Context, dir, name string, args json.RawMessage, tell func(progress)) (_ json.RawMessage, err error) {
	if there, err := embedded.Exists(dir); err == nil && !there {
		return nil, fmt.Errorf("there is no store in %s: \"keep-dav serve\" makes one, --store names another", dir)
	}
	s, err := openStore(ctx, embedded.Config{Dir: dir, Log: commandLog()})
	if err != nil {
		return nil, err
	}
	defer func() {
		closing, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
		defer stop()
		err = errors.Join(err, s.Close(closing))
	}()
	result, err := operations[name](ctx, s, args, tell)
	if err != nil {
		return nil, err
	}
	return marshalExact(result)
}

// commandLog is where an administration command says what people should know.
func commandLog() zerolog.Logger {
	return zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.TimeOnly}).Level(zerolog.WarnLevel).With().Timestamp().Logger()
}
