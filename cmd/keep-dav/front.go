package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"keepdav/cmd/internal/cluster"
	"keepdav/cmd/internal/flags"
	"keepdav/cmd/internal/settings"
	"keepdav/cmd/internal/systemd"
	"keepdav/cmd/internal/version"
	"keepdav/collfs"
	"keepdav/web"
	"keepdav/web/auth"
	"keepdav/web/browse"
	"keepdav/web/connect"
	"keepdav/web/dav"
	"keepdav/web/listen"
)

// clusterFlags are for a server in front of a cluster.
type clusterFlags struct {
	Cluster           bool          `env:"KEEPDAV_CLUSTER" group:"Cluster" help:"Serve the cluster that ARVADOS_API_HOST or a settings.conf names (default when ARVADOS_API_HOST is set)."`
	MaxSessions       int           `default:"100" env:"KEEPDAV_MAX_SESSIONS" group:"Cluster" help:"Tokens that may be in use at once."`
	SessionIdle       time.Duration `default:"15m" env:"KEEPDAV_SESSION_IDLE" group:"Cluster" help:"How long what a token has loaded is kept after its last request."`
	Retries           int           `default:"10" env:"KEEPDAV_RETRIES" group:"Cluster" help:"How often what fails is tried again, at growing intervals, before a client hears of it."`
	Patience          flags.Seconds `hidden:"" help:"How long a request to the API is tried; 0: as --retries says."`
	RefreshTime       flags.Seconds `default:"15" env:"KEEPDAV_REFRESH_TIME" placeholder:"SECONDS" group:"Cluster" help:"How often the cluster is asked for changes, where it does not tell them."`
	FileCache         flags.Bytes   `default:"0" env:"KEEPDAV_FILE_CACHE" placeholder:"SIZE" group:"Cluster" help:"Room for cached blocks; 0: a tenth of the disk."`
	DiskCacheDir      string        `env:"KEEPDAV_DISK_CACHE_DIR" type:"path" placeholder:"DIR" group:"Cluster" help:"Where blocks are cached; other clients may use it, too. Default: ${cache}."`
	StateDir          string        `env:"KEEPDAV_STATE" type:"path" placeholder:"DIR" group:"Cluster" help:"For what is not on the cluster yet, and the certificate. Default: ${state}."`
	StorageClasses    string        `env:"KEEPDAV_STORAGE_CLASSES" placeholder:"CLASSES" group:"Cluster" help:"Storage classes of new blocks, separated by commas. Default: those of the cluster."`
	AcceptLostUpdates bool          `env:"KEEPDAV_ACCEPT_LOST_UPDATES" group:"Cluster" help:"Write to a cluster that keeps no versions of collections, where others may overwrite what is written here."`
}

// Validate refuses what would mean nothing.
func (f clusterFlags) Validate() error {
	if f.MaxSessions <= 0 || f.SessionIdle <= 0 || f.Retries < 0 {
		return errors.New("--max-sessions and --session-idle have to be more than 0, and --retries cannot be less")
	}
	return nil
}

// choose finds out whether a cluster is meant, and which; nil: a store.
func (c *serveCmd) choose(root *cli, env settings.Env) (*settings.Settings, error) {
	switch {
	case root.Store != "" && c.Cluster:
		return nil, errors.New("--cluster and --store (or KEEPDAV_STORE): only one of them can be served")
	case root.Store != "" || !c.Cluster && !settings.InEnvironment(env):
		return nil, nil
	case c.Mount != "":
		return nil, errors.New("--mount is for a store of this machine: keep-mount mounts a cluster, with a token of yours")
	}
	s, err := settings.Load(env)
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// machine is the cluster as the flags say.
func (c *serveCmd) machine(set settings.Settings, log zerolog.Logger) (*cluster.Machine, error) {
	conf := cluster.Config{
		Settings: set, StateDir: c.StateDir, CacheDir: c.DiskCacheDir, CacheBytes: int64(c.FileCache),
		StorageClasses: words(c.StorageClasses), Retries: c.Retries, Patience: time.Duration(c.Patience), Poll: time.Duration(c.RefreshTime),
		AcceptLostUpdates: c.AcceptLostUpdates, Sessions: c.MaxSessions, Agent: "keep-dav/" + version.Get().Version,
		Session: cluster.SessionConfig{TreeBytes: int64(c.DirectoryCache), SpoolBudget: int64(c.SpoolBudget), Apple: applePolicies[c.AppleFiles]},
		Log:     log,
	}
	if c.Retries == 0 {
		conf.Retries = -1
	}
	return cluster.New(conf)
}

func words(list string) (all []string) {
	for w := range strings.SplitSeq(list, ",") {
		if w = strings.TrimSpace(w); w != "" {
			all = append(all, w)
		}
	}
	return all
}

// A front is a server in front of a cluster: every request acts with the token that it
// brings.
type front struct {
	machine *cluster.Machine
	pool    *cluster.Pool
	handler *web.Handler
	web     *web.Server
	metrics *http.Server
	keeper  *listen.Keeper
	log     zerolog.Logger
	cancel  context.CancelFunc
	tasks   tasks
}

// runFront serves a cluster until a signal.
func (c *serveCmd) runFront(ctx context.Context, set settings.Settings, l net.Listener, signals <-chan os.Signal, log zerolog.Logger) error {
	f, err := c.startFront(ctx, set, l, log)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "keep-dav serves the cluster %s on %s and https://%s/\nLog in with a token of the cluster as the password, and any user name.\n", f.machine.Name(), localURL(l.Addr()), localHost(l.Addr()))
	systemd.Notify("READY=1")
	err = waitForEnd(signals, f.web, f.keeper, log, f.machine.Reset)
	systemd.Notify("STOPPING=1")
	return errors.Join(err, windUp(signals, log, func(ctx context.Context) error { return f.shutdown(ctx, c.StopGrace) }))
}

func (c *serveCmd) startFront(ctx context.Context, set settings.Settings, l net.Listener, log zerolog.Logger) (_ *front, err error) {
	state := c.StateDir
	if state == "" {
		state = cluster.DefaultState(os.LookupEnv)
	}
	f := &front{log: log}
	if f.keeper, err = c.keeper(filepath.Join(state, "front"), l.Addr()); err != nil {
		return nil, err
	}
	locks, err := dav.NewLocks(ctx, dav.LockConfig{MaxTimeout: c.LockTimeout, PerUser: c.MaxLocks})
	if err != nil {
		return nil, err
	}
	if f.machine, err = c.machine(set, log); err != nil {
		return nil, err
	}
	f.pool = cluster.NewPool(cluster.PoolConfig{Open: f.machine.Session, Max: c.MaxSessions, Idle: c.SessionIdle, TreeBytes: int64(c.DirectoryCache), Log: log})
	metrics := web.NewMetrics()
	f.measure(metrics.Registry, locks)
	f.handler = web.NewHandler(web.Config{
		Door: newTokenDoor(f.machine, f.pool, log),
		DAV: dav.Config{
			Locks: locks, LockMode: lockModes[c.Locks], MaxEntries: c.MaxEntries, FinderUsed: c.FinderQuota,
		},
		Public: map[string]http.Handler{
			"/connect":        connect.Page(f.keeper.CA, !c.Public || c.InsecureHTTP),
			"/connect/ca.pem": authority(f.keeper.CA),
		},
		KeepWeb: c.keepWeb(nil),
		Metrics: metrics, Log: log, AccessLog: c.AccessLog,
		RequireTLS: c.Public && !c.InsecureHTTP, Proxies: prefixes(c.TrustProxy), AdminMetrics: true,
	})
	if c.MetricsListen != "" {
		if f.metrics, err = serveMetrics(c.MetricsListen, metrics); err != nil {
			return nil, errors.Join(err, f.pool.Close(ctx))
		}
	}
	ctx, f.cancel = context.WithCancel(ctx)
	f.tasks.log = log
	f.tasks.run("certificate", func() { renew(ctx, f.keeper, log) })
	limits := listen.Limits{Connections: c.MaxConnections}
	if len(c.TrustProxy) > 0 { // many clients come from one address
		limits.PerAddress = c.MaxConnections
	}
	f.web = web.Serve(l, f.keeper, f.handler, limits, log)
	f.handler.SetReady(true)
	return f, nil
}

// shutdown finishes requests and brings everything to the cluster.
func (f *front) shutdown(ctx context.Context, grace time.Duration) error {
	f.handler.SetReady(false)
	f.cancel()
	systemd.Extend(grace + time.Minute)
	waiting, stop := context.WithTimeout(ctx, grace)
	defer stop()
	if f.web.Stop(waiting) {
		f.log.Warn().Dur("grace", grace).Msg("requests that took longer were cut; nothing of them was kept")
	}
	if f.metrics != nil {
		f.metrics.Close()
	}
	f.tasks.wait()
	done := make(chan struct{})
	defer close(done)
	go systemd.KeepExtending(done)
	var telling sync.WaitGroup
	defer telling.Wait()
	over := make(chan struct{})
	defer close(over)
	telling.Go(func() { f.tell(over) })
	err := f.pool.Close(ctx)
	f.machine.Close()
	return err
}

// tellEvery is how often is told what is left to be brought to the cluster.
const tellEvery = 5 * time.Second

// tell logs how much is left, until over is closed.
func (f *front) tell(over <-chan struct{}) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
			f.log.Info().Str("left", browse.Size(f.pool.Stats().Waiting)).Msg("bringing to the cluster what is left")
		}
	}
}

// measure registers the figures of the server.
func (f *front) measure(r *prometheus.Registry, locks *dav.Locks) {
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	gauge("keepdav_sessions", "Tokens in use.", func() float64 { return float64(f.pool.Stats().Sessions) })
	gauge("keepdav_tree_cache_bytes", "Estimated memory of the collections that are loaded.", func() float64 { return float64(f.pool.Stats().TreeBytes) })
	gauge("keepdav_spool_waiting_bytes", "Bytes that are written and not on the cluster yet.", func() float64 { return float64(f.pool.Stats().Waiting) })
	gauge("keepdav_merge_conflicts", "Files that two sides had changed, kept as two, in the sessions that there are.", func() float64 { return float64(f.pool.Stats().Conflicts) })
	gauge("keepdav_locks", "Locks that WebDAV clients hold.", func() float64 { return float64(len(locks.List())) })
}

// A tokenDoor lets in whoever has a token of the cluster.
type tokenDoor struct {
	machine *cluster.Machine
	pool    *cluster.Pool
	tokens  *auth.Authenticator
	log     zerolog.Logger

	mu        sync.Mutex // guards the fields below
	anonymous string     // the token of who has none; "": there is none
	asked     time.Time  // when the cluster was asked for it
}

// Times after which is asked again who has a token, and what the token of nobody is.
const (
	tokenTTL     = time.Minute
	anonymousTTL = 10 * time.Minute
	askAgain     = 15 * time.Second
)

func newTokenDoor(m *cluster.Machine, p *cluster.Pool, log zerolog.Logger) *tokenDoor {
	return &tokenDoor{machine: m, pool: p, tokens: auth.NewTokens(activeUser(m), tokenTTL), log: log}
}

// activeUser looks up who has a token. A user who is not active may ask the cluster who he is,
// and nothing else: here the token is not good. What a session has of his would be shown else.
func activeUser(m *cluster.Machine) func(ctx context.Context, token string) (collfs.User, time.Time, error) {
	return func(ctx context.Context, token string) (collfs.User, time.Time, error) {
		u, err := m.User(ctx, token)
		if err == nil && !u.Active {
			err = fmt.Errorf("user %s is not active: %w", u.UUID, fs.ErrNotExist)
		}
		return u, time.Time{}, err
	}
}

// Enter implements web.Door.
func (d *tokenDoor) Enter(ctx context.Context, header string, addr netip.Addr) (web.Visit, error) {
	token := auth.TokenOf(header)
	anonymous := header == ""
	if anonymous {
		if token = d.anonymousToken(ctx); token == "" {
			return web.Visit{}, auth.ErrDenied
		}
		header = "Bearer " + token
	}
	user, err := d.tokens.Check(ctx, header, addr) // what he is now: a session may be old
	if err != nil {
		return web.Visit{}, err
	}
	s, release, err := d.pool.Get(ctx, token)
	if err != nil {
		return web.Visit{}, err
	}
	return web.Visit{User: user, FS: s.FS(), Anonymous: anonymous, Fresh: s.Revalidate, Leave: release}, nil
}

// anonymousToken is the token of who has none, "" if the cluster has none or does not
// tell.
func (d *tokenDoor) anonymousToken(ctx context.Context) string {
	d.mu.Lock()
	token, due := d.anonymous, time.Now().After(d.asked)
	if due { // nobody else asks meanwhile
		d.asked = time.Now().Add(askAgain)
	}
	d.mu.Unlock()
	if !due {
		return token
	}
	fresh, err := d.machine.AnonymousToken(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.log.Warn().Err(err).Msg("the cluster does not say what anybody may see")
		return d.anonymous
	}
	d.anonymous, d.asked = fresh, time.Now().Add(anonymousTTL)
	return fresh
}
