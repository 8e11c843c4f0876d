package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"keepdav/collfs"
)

// An Operation does something to the store that its process has open. The
// arguments are JSON, see Unmarshal; the result is made to JSON by Marshal. tell
// may be called at any time before it returns, by one goroutine at a time.
type Operation func(ctx context.Context, args json.RawMessage, tell func(Progress)) (any, error)

const maxArguments = 1 << 20

// Handlers say what a server does for its clients. Both return nil for a name
// that they don't know.
type Handlers struct {
	Operation func(name string) Operation
	Talk      func(name string) Talk // may be nil
}

// A Server answers calls on the control socket of a store.
type Server struct {
	handlers Handlers
	log      zerolog.Logger
	http     *http.Server
	path     string
	done     chan struct{}   // closed when nobody is listened to any more
	ctx      context.Context // of the conversations; ends when the server is to stop
	leave    context.CancelFunc
	cut      chan struct{} // closed when conversations that go on are cut off
	talks    sync.WaitGroup
}

// Serve listens on the control socket of the store in dir, which this process has
// to have open. Stop ends it.
func Serve(dir string, handlers Handlers, log zerolog.Logger) (*Server, error) {
	path := socketPath(dir)
	// Whoever holds the lock of the store is the only one who may listen, so
	// what is there was left behind by a crash.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &Server{handlers: handlers, log: log, path: path, done: make(chan struct{}), cut: make(chan struct{})}
	s.ctx, s.leave = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		defer close(s.done)
		s.http.Serve(l) // ends with ErrServerClosed
	}()
	return s, nil
}

// Stop asks all conversations to end. It waits for them, and for calls under way,
// until ctx ends; then it cuts them off, and waits for what the handlers do about that.
func (s *Server) Stop(ctx context.Context) {
	s.leave()
	if err := s.http.Shutdown(ctx); err != nil {
		s.http.Close()
	}
	<-s.done
	stop := context.AfterFunc(ctx, func() { close(s.cut) })
	s.talks.Wait()
	stop()
	os.Remove(s.path)
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if r.Header.Get("Upgrade") == talkProtocol && s.handlers.Talk != nil {
			if talk := s.handlers.Talk(name); talk != nil {
				s.talk(w, name, talk)
				return
			}
		}
		run := s.handlers.Operation(name)
		if run == nil {
			http.Error(w, "the program that has the store open does not know this command: is it of another version?", http.StatusNotFound)
			return
		}
		args, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxArguments))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		flush := http.NewResponseController(w)
		send := func(p reply) {
			if line, err := Marshal(p); err == nil {
				w.Write(append(line, '\n')) // when the command is gone, its context ends too
			}
			flush.Flush()
		}
		result, err := runSafely(r.Context(), run, args, func(p Progress) { send(reply{Progress: &p}) })
		s.log.Info().Str("command", name).Err(err).Msg("administration")
		if err != nil {
			send(reply{Error: err.Error(), Kind: collfs.KindOf(err)})
			return
		}
		raw, err := Marshal(result)
		if err != nil {
			send(reply{Error: err.Error()})
			return
		}
		send(reply{Result: raw})
	})
	return mux
}

// runSafely turns a panic into an error.
func runSafely(ctx context.Context, run Operation, args json.RawMessage, tell func(Progress)) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the command failed inside the server: %v", p)
		}
	}()
	return run(ctx, args, tell)
}
