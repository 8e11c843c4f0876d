// Package keeptest is a cluster to test against, in this process: an API that
// tells what services there are, keepstores and keepproxies. They answer as the
// real ones do, but for the faults that a test injects.
package keeptest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options say what a cluster is like. The zero value has one store and one
// replica, and signs blocks.
type Options struct {
	Stores   int // keepstores; 0: one
	Proxies  int // keepproxies, which use the stores
	Replicas int // that the cluster wants by default; 0: one
	Classes  []string
	TTL      time.Duration // of signatures; 0: two weeks
	NoSign   bool          // blocks need no signature, and get none

	// Pipe makes connections without the system's network, as a test in a
	// synctest bubble needs. They are made by Cluster.Dial alone.
	Pipe bool
}

// A Cluster is all of it.
type Cluster struct {
	Options
	Key     string // signs blocks
	Token   string // of the one user
	API     string // base URL
	Stores  []*Service
	Proxies []*Service

	net network

	mu       sync.Mutex // guards the fields below
	external bool
	listed   []*Service // nil: all stores
	apiFault []Fault
	apiCalls map[string]int // by path
	ahead    time.Duration  // of the clock of all services
}

// SystemToken is that of administrators, for TOUCH and indexes.
const SystemToken = "systemusertesttoken1234567890aoeuidhtnsqjkxbmwvzpy"

// New starts a cluster, which ends with the test.
func New(t testing.TB, o Options) *Cluster {
	o.Stores, o.Replicas = max(o.Stores, 1), max(o.Replicas, 1)
	if o.TTL == 0 {
		o.TTL = 14 * 24 * time.Hour
	}
	c := &Cluster{
		Options:  o,
		Key:      strings.Repeat("k", 50),
		Token:    "v2/zzzzz-gj3su-000000000000001/" + strings.Repeat("s", 50),
		apiCalls: make(map[string]int),
		net:      newNetwork(o.Pipe),
	}
	c.API = c.net.serve(t, "api", http.HandlerFunc(c.serveAPI))
	for i := range o.Stores {
		c.Stores = append(c.Stores, c.newService(t, i, false))
	}
	for i := range o.Proxies {
		c.Proxies = append(c.Proxies, c.newService(t, i, true))
	}
	return c
}

// Dial connects to a service of the cluster. Without Options.Pipe any dialer
// will do.
func (c *Cluster) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return c.net.dial(ctx, network, addr)
}

// SetExternal makes the API list the proxies instead of the stores.
func (c *Cluster) SetExternal(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.external = on
}

// List makes the API list these services only.
func (c *Cluster) List(services ...*Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed = services
}

// InjectAPI adds faults of the API; see Service.Inject.
func (c *Cluster) InjectAPI(faults ...Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apiFault = append(c.apiFault, faults...)
}

// HealAPI drops the faults of the API that are left.
func (c *Cluster) HealAPI() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apiFault = nil
}

// APICalls counts the requests to the API whose path ends so.
func (c *Cluster) APICalls(suffix string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, calls := range c.apiCalls {
		if strings.HasSuffix(path, suffix) {
			n += calls
		}
	}
	return n
}

// SetClock puts the cluster's clock ahead of ours.
func (c *Cluster) SetClock(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

// Now is the time by the cluster's clock.
func (c *Cluster) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *Cluster) serveAPI(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.apiCalls[r.URL.Path]++
	f := takeFault(&c.apiFault, r.Method)
	c.mu.Unlock()
	c.setDate(w)
	if f.apply(w, r) {
		return
	}
	switch r.URL.Path {
	case "/discovery/v1/apis/arvados/v1/rest":
		c.reply(w, map[string]any{"defaultCollectionReplication": c.Replicas, "blobSignatureTtl": int(c.TTL / time.Second), "uuidPrefix": "zzzzz"})
	case "/arvados/v1/config":
		classes := map[string]any{"default": map[string]any{"Default": len(c.Classes) == 0, "Priority": 0}}
		for _, name := range c.Classes {
			classes[name] = map[string]any{"Default": true, "Priority": 0}
		}
		c.reply(w, map[string]any{"StorageClasses": classes})
	case "/arvados/v1/keep_services/accessible":
		if tokenOf(r) != c.Token {
			w.WriteHeader(http.StatusUnauthorized)
			c.reply(w, map[string]any{"errors": []string{"Not logged in (req-0)"}})
			return
		}
		c.reply(w, map[string]any{"kind": "arvados#keepServiceList", "items": c.items(r)})
	default:
		w.WriteHeader(http.StatusNotFound)
		c.reply(w, map[string]any{"errors": []string{"Path not found"}})
	}
}

func (c *Cluster) items(r *http.Request) []any {
	c.mu.Lock()
	list := c.listed
	if list == nil {
		list = c.Stores
		if c.external || r.Header.Get("X-External-Client") == "1" {
			list = c.Proxies
		}
	}
	c.mu.Unlock()
	items := []any{}
	for _, s := range list {
		host, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
		n, _ := strconv.Atoi(port)
		kind := "disk"
		if s.proxy {
			kind = "proxy"
		}
		items = append(items, map[string]any{
			"uuid": s.UUID, "service_host": host, "service_port": n, "service_ssl_flag": false,
			"service_type": kind, "read_only": s.readOnly(),
		})
	}
	return items
}

func (c *Cluster) reply(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
}

func (c *Cluster) setDate(w http.ResponseWriter) {
	w.Header().Set("Date", c.Now().UTC().Format(http.TimeFormat))
}

// tokenOf is the token that a request presents.
func tokenOf(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme != "Bearer" && scheme != "OAuth2" {
		return ""
	}
	return token
}

func (c *Cluster) newService(t testing.TB, i int, proxy bool) *Service {
	s := &Service{cluster: c, proxy: proxy, blocks: make(map[[16]byte][]byte)}
	name, tail := fmt.Sprintf("keep%d", i), fmt.Sprintf("%015x", i)
	if proxy {
		name, tail = fmt.Sprintf("proxy%d", i), fmt.Sprintf("f%014x", i)
	}
	s.UUID = "zzzzz-bi6l4-" + tail
	s.URL = c.net.serve(t, name, s)
	return s
}
