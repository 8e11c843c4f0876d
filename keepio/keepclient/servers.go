package keepclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"keepdav/keepio"
)

const (
	listAge      = 5 * time.Minute // after which the list of services is loaded again
	listRetry    = 3 * time.Second // between attempts that fail, and after failed rounds
	listPatience = time.Minute     // for the first list
	downPause    = time.Minute     // after which a host that could not be reached has its place again
	maxClock     = 2 * time.Second // what a clock may be off before it counts
)

// maxRemotes bounds how many other clusters are remembered.
const maxRemotes = 100

// A ServersConfig says how to reach the Keep services of a cluster.
type ServersConfig struct {
	// API is the base URL of the cluster's API, https://host:port. It may be
	// empty if Services is not.
	API string

	// Services are the URLs of services to use instead of those that the API
	// lists; see ParseServices.
	Services []string

	TLS  *tls.Config // nil: the system's certificates
	Dial DialFunc    // nil: that of a net.Dialer

	// StorageClasses that blocks are to have, and the number of Replicas. Nil
	// and zero: what the API says are the cluster's defaults.
	StorageClasses []string
	Replicas       int
}

// A Servers finds the Keep services of a cluster and holds the connections to
// them. Clients with different tokens share it. All methods may be called
// concurrently.
type Servers struct {
	cfg    ServersConfig
	direct *http.Transport
	proxy  *http.Transport
	api    apiClient
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // background loads

	clock atomic.Int64 // nanoseconds the cluster's clock is ahead of ours

	loading chan struct{} // full while somebody loads the list
	asking  chan struct{} // full while somebody asks for the settings

	mu       sync.Mutex // guards the fields below
	list     []*server
	loaded   time.Time // when list was; zero: load before the next use
	tried    time.Time // when a load last began
	settings *settings
	hosts    map[string]*host // of list, by base URL
	remotes  map[string]*host // of other clusters
	closed   bool
}

// A server is a service with what we know about its host.
type server struct {
	service
	*host
}

// A host is kept over reloads of the list.
type host struct {
	reads   *limiter
	writes  *limiter     // apart, so that nobody who reads waits behind uploads
	refused atomic.Bool  // its last reply to a PUT was an error: announce the next body
	down    atomic.Int64 // until this Unix time in nanoseconds others are asked first
	stats   hostStats
}

// OpenServers checks cfg. Nothing is sent before it is needed.
func OpenServers(cfg ServersConfig) (*Servers, error) {
	s := &Servers{
		cfg:     cfg,
		direct:  newTransport(cfg.Dial, cfg.TLS, directTimeouts),
		proxy:   newTransport(cfg.Dial, cfg.TLS, proxyTimeouts),
		loading: make(chan struct{}, 1),
		asking:  make(chan struct{}, 1),
		remotes: make(map[string]*host),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if len(cfg.Services) > 0 {
		list, err := givenServices(cfg.Services)
		if err != nil {
			return nil, err
		}
		s.setListLocked(list)
	} else if cfg.API == "" {
		return nil, errors.New("neither the API of a cluster nor Keep services are known")
	}
	if cfg.API != "" {
		api, err := newAPIClient(cfg.API, s)
		if err != nil {
			return nil, err
		}
		s.api = api
	}
	return s, nil
}

// Close ends background work and closes idle connections. Clients of s must have
// been closed before.
func (s *Servers) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	s.direct.CloseIdleConnections()
	s.proxy.CloseIdleConnections()
}

// Reset forgets what the API said, so that it is asked again: for SIGHUP.
func (s *Servers) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded, s.settings = time.Time{}, nil
}

func newHost() *host { return &host{reads: newLimiter(), writes: newLimiter()} }

// transport returns the connections for a server and their timeouts.
func (s *Servers) transport(srv *server) (http.RoundTripper, timeouts) {
	if srv.proxy {
		return s.proxy, proxyTimeouts
	}
	return s.direct, directTimeouts
}

// saw notes how a request to a host ended, so that others are asked before one
// that cannot be reached.
func (h *host) saw(f *failure) {
	h.stats.requests.Add(1)
	switch {
	case f == nil:
		h.down.Store(0)
		return
	case f.verdict == later && !f.replied():
		h.down.Store(time.Now().Add(downPause).UnixNano())
	}
	if f.verdict != absent {
		h.stats.errors.Add(1)
	}
}

// isDown reports whether the host could not be reached a while ago.
func (h *host) isDown() bool { return h.down.Load() > time.Now().UnixNano() }

// now is the time by the cluster's clock.
func (s *Servers) now() time.Time { return time.Now().Add(time.Duration(s.clock.Load())) }

// sawDate takes the cluster's clock from a reply.
func (s *Servers) sawDate(h http.Header) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	ahead := time.Until(date)
	if ahead.Abs() < maxClock { // a Date has whole seconds
		ahead = 0
	}
	s.clock.Store(int64(ahead))
}

// services returns the services at hand. A list that is old is loaded again in
// the background; if there is none, it waits for the first.
func (s *Servers) services(ctx context.Context, token string) ([]*server, error) {
	if len(s.cfg.Services) > 0 {
		return s.current(), nil
	}
	s.mu.Lock()
	list, age := s.list, time.Since(s.loaded)
	fresh := !s.loaded.IsZero()
	s.mu.Unlock()
	switch {
	case fresh && age <= listAge:
	case fresh:
		s.reload(token)
	case list == nil:
		return s.firstList(ctx, token)
	default: // after a Reset; if the API cannot be reached the old list must do
		if again, err := s.load(ctx, token); err == nil {
			list = again
		}
	}
	return list, ctx.Err()
}

func (s *Servers) current() []*server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list
}

// firstList loads the list, again and again for a while.
func (s *Servers) firstList(ctx context.Context, token string) ([]*server, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, listPatience, errPatience)
	defer cancel()
	var last error
	for {
		list, err := s.load(ctx, token)
		switch {
		case err == nil:
			return list, nil
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("find Keep services: %w", err)
		case permanent(err):
			return nil, fmt.Errorf("find Keep services: %w: %w", keepio.ErrUnavailable, err)
		case ctx.Err() == nil:
			last = err
		}
		if err := sleep(ctx, listRetry); err != nil {
			if context.Cause(ctx) == errPatience && last != nil {
				return nil, fmt.Errorf("find Keep services: %w: %w", keepio.ErrUnavailable, last)
			} else if context.Cause(ctx) == errPatience {
				return nil, fmt.Errorf("find Keep services: %w", keepio.ErrUnavailable)
			}
			return nil, fmt.Errorf("find Keep services: %w", err)
		}
	}
}

// errPatience is why a context ends that bounds our own patience.
var errPatience = errors.New("gave up waiting")

// reload loads the list in the background, unless that was tried just now.
// Failures change nothing: the old list stays in use.
func (s *Servers) reload(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.cfg.Services) > 0 || time.Since(s.tried) < listRetry {
		return
	}
	s.tried = time.Now()
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, listPatience)
		defer cancel()
		_, _ = s.fetchList(ctx, token)
	})
}

// load returns the list if it was loaded meanwhile, else loads it. One caller at
// a time asks the API; who has a bad token fails alone.
func (s *Servers) load(ctx context.Context, token string) ([]*server, error) {
	select {
	case s.loading <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.loading }()
	s.mu.Lock()
	list, fresh := s.list, !s.loaded.IsZero()
	s.mu.Unlock()
	if fresh {
		return list, nil
	}
	return s.fetchList(ctx, token)
}

func (s *Servers) fetchList(ctx context.Context, token string) ([]*server, error) {
	body, err := s.api.get(ctx, "arvados/v1/keep_services/accessible", token)
	if err != nil {
		return nil, err
	}
	list, err := parseServices(body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setListLocked(list)
	return s.list, nil
}

// setListLocked makes list the present one. Hosts that left it are forgotten.
// s.mu must be held, or s not yet shared.
func (s *Servers) setListLocked(list []service) {
	hosts := make(map[string]*host, len(list))
	s.list = make([]*server, len(list))
	for i, svc := range list {
		h := s.hosts[svc.base]
		if h == nil {
			h = newHost()
		}
		hosts[svc.base] = h
		s.list[i] = &server{svc, h}
	}
	s.hosts, s.loaded, s.tried = hosts, time.Now(), time.Now()
}

// remote returns the server of another cluster. It is not in the list.
func (s *Servers) remote(base string) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.remotes[base]
	if h == nil {
		h = newHost()
		if len(s.remotes) >= maxRemotes {
			clear(s.remotes)
		}
		s.remotes[base] = h
	}
	return &server{service{base: base, proxy: true, readOnly: true}, h}
}

// freshen loads the list again, unless that was done just now, and reports
// whether there is a server in it that was not there before.
func (s *Servers) freshen(ctx context.Context, token string) bool {
	s.mu.Lock()
	old := s.list
	skip := len(s.cfg.Services) > 0 || time.Since(s.tried) < listRetry || time.Since(s.loaded) < listRetry
	if !skip {
		s.tried = time.Now()
	}
	s.mu.Unlock()
	if skip {
		return false
	}
	list, err := s.fetchList(ctx, token)
	return err == nil && slices.ContainsFunc(list, func(n *server) bool {
		return !slices.ContainsFunc(old, func(o *server) bool { return o.base == n.base })
	})
}
