package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
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

// notify tells systemd about our state, when it started us. Nothing depends on it.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return
	}
	defer c.Close()
	c.Write([]byte(state))
}

// extend asks systemd not to lose patience for d.
func extend(d time.Duration) {
	notify("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10))
}

// keepExtending asks for patience until done is closed.
func keepExtending(done <-chan struct{}) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		extend(time.Minute)
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
}

// firstInherited is the first descriptor that systemd passes to a socket-activated service.
const firstInherited = 3

// inherited is the listener that systemd passes, nil when it doesn't.
func inherited() (net.Listener, error) {
	pid, err := strconv.Atoi(os.Getenv("LISTEN_PID"))
	if err != nil || pid != os.Getpid() {
		return nil, nil
	}
	if n := os.Getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("systemd passes %s sockets, one is expected", n)
	}
	f := os.NewFile(firstInherited, "listen")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("socket of systemd: %w", err)
	}
	return l, nil
}

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
