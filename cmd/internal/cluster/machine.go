package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"keepdav/cmd/internal/settings"
	"keepdav/collfs"
	"keepdav/collfs/apiserver"
	"keepdav/collfs/apiserver/api"
	"keepdav/keepio"
	"keepdav/keepio/blockcache"
	"keepdav/keepio/keepclient"
)

// Config says how a program uses a cluster. Settings must be set.
type Config struct {
	Settings settings.Settings // its token is not used here
	StateDir string            // for what is not committed yet; "": DefaultState
	CacheDir string            // of blocks; "": DefaultCache
	// CacheBytes is how much room blocks may take on the disk; 0: a tenth of it.
	CacheBytes int64

	StorageClasses []string // that new blocks ask for; nil: the cluster's default
	Replicas       int      // of new blocks; 0: the cluster's default
	// Retries is how often what fails is tried again, before who waits for it hears
	// of it; negative: never.
	Retries int
	// Patience is how long a request to the API is tried; 0: as long as Retries say.
	Patience time.Duration
	Poll     time.Duration // how often is asked for changes where there are no events; 0: 15 s
	NoEvent  bool          // changes are asked for, never told
	// AcceptLostUpdates allows to write where the cluster keeps no versions.
	AcceptLostUpdates bool

	Sessions int    // how many there may be, which share budgets; 0: 1
	Agent    string // what we call ourselves
	Session  SessionConfig
	Log      zerolog.Logger
}

// A Machine is what a process has of a cluster, whoever acts. All methods may be called
// concurrently.
type Machine struct {
	conf Config
	api  *api.Host
	keep *keepclient.Servers
}

// Budgets of what sessions of one process have together.
const (
	openBlocks  = 256       // files of cached blocks
	blockMemory = 256 << 20 // bytes of blocks that are in memory while the disk does not work
	minOpen     = 8
)

// retryPatience is how long an attempt at the API is counted for: they follow each other
// at growing intervals.
const (
	retryPatience = 30 * time.Second
	maxPatience   = 5 * time.Minute
	noPatience    = time.Millisecond
)

// DefaultRetries is what programs use if they are not told.
const DefaultRetries = 10

// New returns what a process has of a cluster. Nothing is sent yet.
func New(conf Config) (*Machine, error) {
	if conf.StateDir == "" {
		conf.StateDir = DefaultState(os.LookupEnv)
	}
	if conf.CacheDir == "" {
		conf.CacheDir = DefaultCache(os.LookupEnv, os.Geteuid())
	}
	if conf.Sessions == 0 {
		conf.Sessions = 1
	}
	if conf.Retries == 0 {
		conf.Retries = DefaultRetries
	}
	if conf.Patience == 0 {
		conf.Patience = patience(conf.Retries)
	}
	conf.Session.Log = conf.Log
	conf.Session.TreeBytes = withinLimit(conf.Session.TreeBytes)
	host, err := api.NewHost(api.Config{
		Host: conf.Settings.API.String(), Insecure: conf.Settings.Insecure,
		Patience: conf.Patience, Agent: conf.Agent,
	})
	if err != nil {
		return nil, err
	}
	var trust *tls.Config
	if conf.Settings.Insecure {
		trust = &tls.Config{InsecureSkipVerify: true} // what ARVADOS_API_HOST_INSECURE asks for
	}
	servers, err := keepclient.OpenServers(keepclient.ServersConfig{
		API: conf.Settings.API.String(), Services: conf.Settings.KeepServices, TLS: trust,
		StorageClasses: conf.StorageClasses, Replicas: conf.Replicas,
	})
	if err != nil {
		host.Close()
		return nil, err
	}
	return &Machine{conf: conf, api: host, keep: servers}, nil
}

// patience is how long requests to the API are tried.
func patience(retries int) time.Duration {
	if retries < 0 {
		return noPatience
	}
	return min(time.Duration(retries)*retryPatience, maxPatience)
}

// Close ends what is left of connections. Sessions have been closed before.
func (m *Machine) Close() {
	m.keep.Close()
	m.api.Close()
}

// Name is the cluster as people call it.
func (m *Machine) Name() string { return m.conf.Settings.Name() }

// Reset forgets what the cluster said of its services, so that it is asked again.
func (m *Machine) Reset() { m.keep.Reset() }

// User returns the user of a token. One that is not good is fs.ErrNotExist.
func (m *Machine) User(ctx context.Context, token string) (collfs.User, error) {
	return currentUser(ctx, m.api.Client(token))
}

func currentUser(ctx context.Context, c *api.Client) (collfs.User, error) {
	u, err := c.CurrentUser(ctx)
	switch {
	case errors.Is(err, api.ErrToken):
		return collfs.User{}, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case errors.Is(err, fs.ErrPermission): // the token is good for less than asking who it is
		return scopedUser(ctx, c)
	case err != nil:
		return collfs.User{}, err
	}
	return collfs.User{
		UUID: collfs.UUID(u.UUID), Name: u.Username, FullName: u.FullName,
		Admin: u.IsAdmin, Active: u.IsActive, CreatedAt: u.CreatedAt,
	}, nil
}

// scopedUser is the owner of a token that may ask for a few things only. Every token may
// ask for itself.
func scopedUser(ctx context.Context, c *api.Client) (collfs.User, error) {
	var is struct {
		Owner string `json:"owner_uuid"`
	}
	if err := c.Get(ctx, "api_client_authorizations/current", nil, &is); err != nil {
		return collfs.User{}, err
	}
	return collfs.User{UUID: collfs.UUID(is.Owner), Active: true}, nil
}

// AnonymousToken is the token of who has none; "" if the cluster has none.
func (m *Machine) AnonymousToken(ctx context.Context) (string, error) {
	var conf struct {
		Users struct{ AnonymousUserToken string }
	}
	err := m.api.Client("").Get(ctx, "config", nil, &conf)
	return conf.Users.AnonymousUserToken, err
}

// Session begins to act with a token. The error tells people what they can do.
func (m *Machine) Session(ctx context.Context, token string) (*Session, error) {
	client := m.api.Client(token)
	about, err := client.Discovery(ctx)
	if err != nil {
		return nil, m.explain(ctx, err)
	}
	if !validCluster(about.UUIDPrefix) {
		return nil, fmt.Errorf("%s does not say which cluster it is: it is no API server of Arvados", m.Name())
	}
	user, err := currentUser(ctx, client)
	if err != nil {
		return nil, m.explain(ctx, err)
	}
	if !userForm.MatchString(string(user.UUID)) {
		return nil, fmt.Errorf("%s says that the token belongs to %q: it is no API server of Arvados", m.Name(), user.UUID)
	}
	if !user.Active {
		return nil, fmt.Errorf("%s: the user %q is not active", m.Name(), user.Name)
	}
	var catalog atomic.Pointer[apiserver.Catalog]
	keep, err := keepclient.New(keepclient.Config{
		Servers: m.keep, Token: token, Retries: m.conf.Retries, Log: m.conf.Log,
		Refresh: func(ctx context.Context, source string) error {
			c := catalog.Load()
			if c == nil {
				return fmt.Errorf("source %s: %w", source, keepio.ErrUnavailable)
			}
			return c.Refresh(ctx, source)
		},
	})
	if err != nil {
		return nil, err
	}
	cache, err := blockcache.Open(blockcache.Config{
		Dir: m.conf.CacheDir, Remote: keep, Limit: m.conf.CacheBytes,
		Memory: max(blockMemory/int64(m.conf.Sessions), 2*keepio.BlockSize), OpenFiles: max(openBlocks/m.conf.Sessions, minOpen),
		Log: m.conf.Log,
	})
	if err != nil {
		keep.Close()
		return nil, err
	}
	p := parts{
		user: user, cluster: about.UUIDPrefix, blocks: cache,
		catalog: func(spool *keepio.Spool, committed func(collfs.UUID)) (Catalog, error) {
			c := apiserver.New(apiserver.Config{
				API: client, Blocks: spool, Locators: locators{keep, cache},
				StoreBlocks: spool.Store, Zero: spool.Zero, Reader: spool, Committed: committed,
				AcceptLostUpdates: m.conf.AcceptLostUpdates, RetryFor: m.conf.Patience,
				NoWebsocket: m.conf.NoEvent || m.conf.Settings.DisableWebsockets, Poll: m.conf.Poll, Log: m.conf.Log,
			})
			catalog.Store(c)
			return c, nil
		},
		ready: func() error { return cache.Stats().Trouble },
		close: func(context.Context) error {
			if c := catalog.Load(); c != nil {
				c.Close()
			}
			err := cache.Close()
			keep.Close()
			return err
		},
	}
	return openSession(ctx, filepath.Join(m.conf.StateDir, about.UUIDPrefix, string(user.UUID)), p, m.conf.Session)
}

// locators are the catalog's view of a client of Keep services.
type locators struct {
	*keepclient.Client
	cache *blockcache.Store
}

// Locator returns a signed locator of a block that a commit may name. One that an earlier
// session stored without a record that names it is stored again.
func (l locators) Locator(ctx context.Context, hash [16]byte, size uint32) (keepio.Locator, error) {
	loc, err := l.CommitLocator(ctx, hash, size)
	if err == nil || !errors.Is(err, keepio.ErrNotFound) {
		return loc, err
	}
	if err := l.cache.PushAgain(ctx, hash, size); err != nil {
		return keepio.Locator{}, fmt.Errorf("block %x+%d has no permission to be read any more: %w", hash, size, err)
	}
	return l.CommitLocator(ctx, hash, size)
}

// userForm is that of a user's UUID. It becomes the name of a directory.
var userForm = regexp.MustCompile(`^[0-9a-z]{5}-tpzed-[0-9a-z]{15}$`)

// validCluster tells whether id is what UUIDs begin with. It becomes the name of a directory.
func validCluster(id string) bool {
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(id) == 5
}

// explain says what people can do about a failure to begin.
func (m *Machine) explain(ctx context.Context, err error) error {
	name := m.Name()
	switch {
	case errors.Is(err, fs.ErrNotExist) && errors.Is(err, api.ErrToken):
		return fmt.Errorf("%s does not accept the token: check ARVADOS_API_TOKEN, it may have ended: %w", name, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not answer like an API server of Arvados: %w", name, err)
	case !errors.Is(err, keepio.ErrUnavailable):
		return fmt.Errorf("%s cannot be used: %w", name, err)
	}
	why := m.reach(ctx)
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(why, &certificate):
		return fmt.Errorf("%s cannot prove who it is: %w\n(if you know why, ARVADOS_API_HOST_INSECURE=1 goes on all the same)", name, why)
	case errors.As(why, &dns):
		return fmt.Errorf("there is no host %s: check ARVADOS_API_HOST, which comes from %s: %w", name, m.conf.Settings.From, why)
	case why != nil:
		return fmt.Errorf("%s cannot be reached: check ARVADOS_API_HOST, which comes from %s: %w", name, m.conf.Settings.From, why)
	}
	return fmt.Errorf("%s cannot be used: %w", name, err)
}

// reachWithin is how long is looked for why a server cannot be reached.
const reachWithin = 5 * time.Second

// reach connects to the API server, and says why that fails.
func (m *Machine) reach(ctx context.Context) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), reachWithin)
	defer stop()
	at := m.conf.Settings.API
	port := at.Port()
	if port == "" {
		port = at.Scheme
	}
	var conn net.Conn
	var err error
	if addr := net.JoinHostPort(at.Hostname(), port); at.Scheme == "https" {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: m.conf.Settings.Insecure}} // what ARVADOS_API_HOST_INSECURE asks for
		conn, err = d.DialContext(ctx, "tcp", addr)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return err
	}
	return conn.Close()
}

// withinLimit is bytes, or less if the process is told to use little memory
// (GOMEMLIMIT).
func withinLimit(bytes int64) int64 {
	limit := debug.SetMemoryLimit(-1) / 2
	if bytes == 0 || bytes > limit {
		return min(limit, max(bytes, defaultTrees))
	}
	return bytes
}
