package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"keepdav/web"
)

// tasks starts goroutines, so that a panic in one is logged instead of ending
// the server, and waits for them.
type tasks struct {
	log zerolog.Logger
	wg  sync.WaitGroup
}

func (t *tasks) run(name string, f func()) {
	t.wg.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				t.log.Error().Str("task", name).Str("panic", fmt.Sprint(p)).Str("stack", string(debug.Stack())).Msg("a background task panicked")
			}
		}()
		f()
	})
}

func (t *tasks) wait() { t.wg.Wait() }

// serveMetrics serves the figures on an address of their own, and profiles when
// only this machine can reach it.
func serveMetrics(addr string, m *web.Metrics) (*http.Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--metrics-listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go s.Serve(l) // ends when s is closed
	return s, nil
}

// localURL is how this machine reaches a listener.
func localURL(a net.Addr) string { return "http://" + localHost(a) + "/" }

func localHost(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return a.String()
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}

var errUnhealthy = errors.New("the server is not ready")
