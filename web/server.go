package web

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"keepdav/web/listen"
)

// Timeouts and sizes of connections. There is no limit on a whole request or
// reply: uploads of hours are fine as long as bytes flow (see stall).
const (
	headerTimeout = 20 * time.Second
	idleTimeout   = 120 * time.Second
	maxHeader     = 64 << 10
	uploadWindow  = 8 << 20 // per HTTP/2 stream: fast uploads over long distances
)

// A Server serves http and https on one port.
type Server struct {
	split *listen.Splitter
	http  *http.Server

	wg   sync.WaitGroup // the two that accept
	mu   sync.Mutex     // guards err
	err  error          // why serving ended before Stop
	dead chan struct{}  // closed when err is set
}

// Serve starts to answer the connections of l with h, by http and by https with
// the certificate of keeper.
func Serve(l net.Listener, keeper *listen.Keeper, h http.Handler, limits listen.Limits, log zerolog.Logger) *Server {
	s := &Server{
		split: listen.Split(l, limits),
		http: &http.Server{
			Handler:           h,
			ReadHeaderTimeout: headerTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          stdlog.New(noise{log}, "", 0),
			TLSConfig:         keeper.Config(),
			ConnContext: func(ctx context.Context, c net.Conn) context.Context {
				if hold, ok := c.(listen.Holder); ok { // TLS makes records of its own
					return context.WithValue(ctx, holderKey{}, hold)
				}
				return ctx
			},
			HTTP2: &http.HTTP2Config{
				MaxReceiveBufferPerStream:     uploadWindow,
				MaxReceiveBufferPerConnection: 2 * uploadWindow,
				MaxConcurrentStreams:          250,
				SendPingTimeout:               idleTimeout / 2,
				WriteByteTimeout:              stall,
			},
		},
		dead: make(chan struct{}),
	}
	s.wg.Go(func() { s.ended(s.http.Serve(s.split.Plain())) })
	s.wg.Go(func() { s.ended(s.http.ServeTLS(s.split.TLS(), "", "")) })
	return s
}

func (s *Server) ended(err error) {
	if err == nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = fmt.Errorf("accept connections: %w", err)
		close(s.dead)
	}
}

// Failed is closed when the server cannot accept connections any more.
func (s *Server) Failed() <-chan struct{} { return s.dead }

// Err is why.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stop accepts no more connections, waits for requests under way until ctx ends,
// then cuts them. It reports whether any was cut.
func (s *Server) Stop(ctx context.Context) (cut bool) {
	s.split.Close() // its error is that of closing a listener: nothing can be done
	err := s.http.Shutdown(ctx)
	if err != nil && ctx.Err() != nil {
		cut = true
		s.http.Close()
	}
	s.wg.Wait()
	return cut
}

// noise is where net/http writes what it has to say about connections: mostly
// scanners and clients that went away.
type noise struct{ log zerolog.Logger }

func (n noise) Write(p []byte) (int, error) {
	n.log.Debug().Str("from", "net/http").Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}
