package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"

	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/embedded"
	"keepdav/cmd/internal/flags"
	"keepdav/cmd/internal/mounting"
	"keepdav/cmd/internal/systemd"
	"keepdav/web"
	"keepdav/web/arvados/eventbus"
	"keepdav/web/auth"
	"keepdav/web/connect"
	"keepdav/web/dav"
	"keepdav/web/listen"
)

type serveCmd struct {
	Listen string `default:"127.0.0.1:8080" env:"KEEPDAV_LISTEN" placeholder:"ADDR" help:"Address and port for http and https. Default: ${default}."`
	Public bool   `env:"KEEPDAV_PUBLIC" help:"Allow an address that other machines can reach. They have to use https then."`

	TLSCert       string      `name:"tls-cert" env:"KEEPDAV_TLS_CERT" type:"path" placeholder:"FILE" group:"Security" help:"Certificate chain (PEM). Default: one of our own, in STORE/tls."`
	TLSKey        string      `name:"tls-key" env:"KEEPDAV_TLS_KEY" type:"path" placeholder:"FILE" group:"Security" help:"Its key, when it is not in the same file. SIGHUP reads both again."`
	TLSName       []string    `name:"tls-name" env:"KEEPDAV_TLS_NAME" placeholder:"HOST" group:"Security" help:"More names for our own certificate."`
	InsecureHTTP  bool        `name:"insecure-http" env:"KEEPDAV_INSECURE_HTTP" group:"Security" help:"With --public: accept passwords and data in the clear, too."`
	TrustProxy    []proxyFlag `env:"KEEPDAV_TRUST_PROXY" placeholder:"CIDR" group:"Security" help:"Believe X-Forwarded-For and X-Forwarded-Proto from these addresses."`
	AdminPassword string      `env:"KEEPDAV_ADMIN_PASSWORD" hidden:"" help:"Password of the user admin, when the first start makes it."`

	LogLevel      zerolog.Level `default:"info" env:"KEEPDAV_LOG_LEVEL" group:"Logging" help:"debug, info, warn or error."`
	LogFormat     string        `default:"auto" enum:"auto,console,json" env:"KEEPDAV_LOG_FORMAT" group:"Logging" help:"console, json, or auto: console on a terminal."`
	AccessLog     web.AccessLog `default:"all" env:"KEEPDAV_ACCESS_LOG" group:"Logging" help:"Which requests to log: all, errors or off."`
	MetricsListen string        `env:"KEEPDAV_METRICS_LISTEN" placeholder:"ADDR" group:"Logging" help:"Serve /metrics on this address, to everybody who reaches it; with profiles when that is loopback."`

	MaxConnections int           `default:"4096" env:"KEEPDAV_MAX_CONNECTIONS" group:"Limits" help:"Connections at once; more wait."`
	DirectoryCache flags.Bytes   `default:"256MiB" env:"KEEPDAV_DIRECTORY_CACHE" group:"Limits" help:"Memory for collections that are loaded but not in use."`
	SpoolBudget    flags.Bytes   `default:"4GiB" env:"KEEPDAV_SPOOL_BUDGET" group:"Limits" help:"Bytes that may wait to be hashed; uploads slow down above it."`
	MaxLocks       int           `default:"10000" env:"KEEPDAV_MAX_LOCKS" group:"Limits" help:"WebDAV locks that one user may hold."`
	LockTimeout    time.Duration `default:"1h" env:"KEEPDAV_LOCK_TIMEOUT" group:"Limits" help:"Longest time a lock is given for; clients renew it."`
	MaxEntries     int           `default:"10000" env:"KEEPDAV_MAX_ENTRIES" group:"Limits" help:"Entries in the answer to a PROPFIND of infinite depth."`
	BlockUploads   int           `default:"64" env:"KEEPDAV_BLOCK_UPLOADS" group:"Limits" help:"Blocks that Keep clients may send at once; each takes up to 64 MiB of disk."`
	StopGrace      time.Duration `default:"30s" env:"KEEPDAV_STOP_GRACE" group:"Limits" help:"How long requests under way may take to finish when the server is told to stop."`

	mountFlags
	clusterFlags

	keepWebFlags

	gcFlags
	GCEvery time.Duration `name:"gc-every" default:"24h" env:"KEEPDAV_GC_EVERY" group:"Garbage" help:"How often the server looks for garbage by itself; 0: never."`

	Locks       string `default:"enforce" enum:"enforce,advisory,off" env:"KEEPDAV_LOCKS" group:"Clients" help:"enforce, advisory or off. Without locks Finder mounts read-only."`
	AppleFiles  string `default:"hide" enum:"hide,store,discard" env:"KEEPDAV_APPLE_FILES" group:"Clients" help:"What becomes of ._* and .DS_Store: hide keeps them beside the collection, for Apple clients only; store treats them like other files; discard drops them."`
	FinderQuota bool   `env:"KEEPDAV_FINDER_QUOTA" group:"Clients" help:"Tell Finder how much space is left. Some versions of macOS then take 90 s to mount."`
}

func (c *serveCmd) Help() string {
	return `Examples:
  keep-dav                                             on this machine only
  keep-dav serve --listen :8443 --public               for other machines, by https
  KEEPDAV_ADMIN_PASSWORD=… keep-dav serve --store /srv/keep
  ARVADOS_API_HOST=api.example.com keep-dav            the collections of a cluster

On a cluster everybody acts with a token of their own, as the password with any
user name; the server has no users, and keeps nothing but what is not on the cluster
yet. A store that is named by --store or KEEPDAV_STORE wins over ARVADOS_API_HOST.

SIGTERM or SIGINT stops it: requests under way are finished, then it reports and
leaves. A second one makes it leave at once; no acknowledged change is lost by that.
SIGHUP reads the certificate again.`
}

// errCut says that the server left before it had finished.
var errCut = errors.New("left at once, as told; what was acknowledged is safe and will be sorted out at the next start")

func (c *serveCmd) Run(root *cli) (err error) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	set, err := c.choose(root, os.LookupEnv)
	if err != nil {
		return err
	}
	listener, err := c.listener()
	if err != nil {
		return err
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer keepHeapFloor()()
	log, lines := c.logger()
	defer lines.Close()
	if set != nil {
		return c.runFront(ctx, *set, listener, signals, log)
	}
	conf := embedded.Config{
		Dir: root.dir(), URL: localURL(listener.Addr()), Log: log,
		TreeBytes: int64(c.DirectoryCache), SpoolBudget: int64(c.SpoolBudget),
		Apple: applePolicies[c.AppleFiles],
	}
	s, err := openStore(ctx, conf)
	if err != nil {
		return err
	}
	srv, err := c.start(ctx, s, listener, log)
	if err != nil {
		return errors.Join(err, s.Close(ctx))
	}
	c.greet(s, srv, listener.Addr())
	systemd.Notify("READY=1")
	err = srv.wait(signals)
	systemd.Notify("STOPPING=1")
	return errors.Join(err, srv.stop(signals, c.StopGrace))
}

// listener listens, unless the address is one that needs --public. systemd may
// have listened already.
func (c *serveCmd) listener() (net.Listener, error) {
	if l, err := systemd.Inherited(); l != nil || err != nil {
		if err == nil {
			err = c.checkInherited(l.Addr())
		}
		if err != nil && l != nil {
			l.Close()
			l = nil
		}
		return l, err
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", c.Listen, err)
	}
	if !c.Public && !isLoopback(host) {
		return nil, fmt.Errorf("--listen %s would let other machines in: add --public if you want that, or use 127.0.0.1", c.Listen)
	}
	l, err := net.Listen("tcp", c.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w; --listen names another address", err)
	}
	return l, err
}

// checkInherited refuses a socket of systemd that we would not have opened ourselves.
func (c *serveCmd) checkInherited(a net.Addr) error {
	tcp, ok := a.(*net.TCPAddr)
	switch {
	case !ok:
		return fmt.Errorf("systemd passes the socket %s %s, one of TCP is expected", a.Network(), a)
	case !c.Public && !tcp.IP.IsLoopback():
		return fmt.Errorf("the socket of systemd, %s, would let other machines in: add --public if you want that", a)
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// logger makes the logger. Lines for a terminal go out at once, others are gathered.
func (c *serveCmd) logger() (zerolog.Logger, *web.LineBuffer) {
	zerolog.TimeFieldFormat = zerolog.TimeFormatUnixMs
	console := c.LogFormat == "console" || c.LogFormat == "auto" && term.IsTerminal(int(os.Stderr.Fd()))
	lines := web.NewLineBuffer(os.Stderr)
	if console {
		out := zerolog.ConsoleWriter{Out: lines, TimeFormat: time.DateTime, NoColor: !term.IsTerminal(int(os.Stderr.Fd()))}
		return zerolog.New(zerolog.SyncWriter(out)).Level(c.LogLevel).With().Timestamp().Logger(), lines
	}
	zerolog.TimeFieldFormat = time.RFC3339Nano
	return zerolog.New(lines).Level(c.LogLevel).With().Timestamp().Logger(), lines
}

// A server is what runs between start and stop.
type server struct {
	s       *store
	handler *web.Handler
	bus     *eventbus.Bus
	web     *web.Server
	control *control.Server
	metrics *http.Server
	host    *mounting.Host
	mount   *ownMount // nil: none
	keeper  *listen.Keeper
	log     zerolog.Logger
	cancel  context.CancelFunc
	tasks   tasks

	password string // of the user that this start has made; "" when there were users
}

func (c *serveCmd) start(ctx context.Context, s *store, l net.Listener, log zerolog.Logger) (_ *server, err error) {
	keeper, err := c.keeper(s.Dir, l.Addr())
	if err != nil {
		return nil, err
	}
	locks, err := dav.NewLocks(ctx, dav.LockConfig{MaxTimeout: c.LockTimeout, PerUser: c.MaxLocks, Store: s.locks()})
	if err != nil {
		return nil, err
	}
	s.davLocks = locks
	srv := &server{s: s, keeper: keeper, log: log}
	metrics := web.NewMetrics()
	s.measure(metrics.Registry)
	authn := auth.New(s.SQL, 0)
	s.onAccountChange(authn.Forget)
	api := s.arvadosAPI(log)
	srv.bus = s.eventBus(api, log)
	defer func() {
		if err != nil {
			srv.bus.Close()
		}
	}()
	srv.handler = web.NewHandler(web.Config{
		Auth: authn,
		Site: s.user,
		DAV: dav.Config{
			Locks: locks, LockMode: lockModes[c.Locks], MaxEntries: c.MaxEntries, FinderUsed: c.FinderQuota,
		},
		Public: map[string]http.Handler{
			"/connect":        connect.Page(keeper.CA, !c.Public || c.InsecureHTTP),
			"/connect/ca.pem": authority(keeper.CA),
		},
		KeepWeb:  c.keepWeb(s),
		Services: []web.Service{s.keepService(c.BlockUploads), api, s.deltaService(api, log), srv.bus},
		Metrics:  metrics, Log: log, AccessLog: c.AccessLog,
		Ready:      s.Ready,
		RequireTLS: c.Public && !c.InsecureHTTP, Proxies: prefixes(c.TrustProxy), AdminMetrics: true,
	})
	srv.host = mounting.NewHost(s.Store, mounting.ServeFUSE, true, log)
	if srv.control, err = serveControl(s, srv.host, log); err != nil {
		return nil, err
	}
	if c.MetricsListen != "" {
		if srv.metrics, err = serveMetrics(c.MetricsListen, metrics); err != nil {
			srv.control.Stop(ctx)
			return nil, err
		}
	}
	// Last of what can fail: only a server that starts shows the password it made
	// up. The mount may be of the user that is made here.
	if srv.password, err = s.FirstUser(ctx, c.AdminPassword); err == nil {
		srv.mount, err = c.mountOwn(ctx, srv)
	}
	if err != nil {
		if srv.password != "" && c.AdminPassword == "" {
			err = fmt.Errorf("%w\n(the store was made all the same: the password of its user %s is %s)", err, adminName, srv.password)
		}
		srv.control.Stop(ctx)
		if srv.metrics != nil {
			srv.metrics.Close()
		}
		return nil, err
	}
	ctx, srv.cancel = context.WithCancel(ctx)
	srv.tasks = tasks{log: log}
	srv.background(ctx)
	if srv.mount != nil {
		srv.tasks.run("mount", func() { srv.mount.attend(srv) })
	}
	if c.GCEvery > 0 {
		srv.tasks.run("garbage", func() { s.Maint.CollectEvery(ctx, c.GCEvery, c.gcFlags.options()) })
	}
	limits := listen.Limits{Connections: c.MaxConnections}
	if len(c.TrustProxy) > 0 { // many clients come from one address
		limits.PerAddress = c.MaxConnections
	}
	srv.web = web.Serve(l, keeper, srv.handler, limits, log)
	srv.handler.SetReady(true)
	return srv, nil
}

var lockModes = map[string]dav.LockMode{"enforce": dav.LocksEnforced, "advisory": dav.LocksAdvisory, "off": dav.LocksOff}

func authority(ca string) http.Handler {
	if ca == "" {
		return http.NotFoundHandler()
	}
	return connect.Authority(ca)
}

func (c *serveCmd) keeper(dir string, addr net.Addr) (*listen.Keeper, error) {
	if c.TLSCert != "" {
		return listen.FromFiles(c.TLSCert, c.TLSKey)
	}
	names := c.TLSName
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		names = listen.Names(names...)
	} else {
		names = append([]string{"localhost", "127.0.0.1", "::1"}, names...)
	}
	return listen.SelfSigned(filepath.Join(dir, "tls"), names)
}

// wait returns when the server is to stop.
func (srv *server) wait(signals <-chan os.Signal) error {
	return waitForEnd(signals, srv.web, srv.keeper, srv.log, func() {})
}

// waitForEnd returns when a signal says so, or the server failed. again is called when
// everything is to be read again.
func waitForEnd(signals <-chan os.Signal, w *web.Server, keeper *listen.Keeper, log zerolog.Logger, again func()) error {
	for {
		select {
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				log.Info().Stringer("signal", sig).Msg("stopping: finishing requests, then writing everything down")
				return nil
			}
			again()
			if err := keeper.Reload(); err != nil {
				log.Error().Err(err).Msg("the certificate stays as it was")
				continue
			}
			log.Info().Time("ends", keeper.Ends()).Msg("certificate read again")
		case <-w.Failed():
			return w.Err()
		}
	}
}

// stop finishes requests, stores everything and reports; a second signal cuts it short.
func (srv *server) stop(signals <-chan os.Signal, grace time.Duration) error {
	return windUp(signals, srv.log, func(ctx context.Context) error { return srv.shutdown(ctx, grace) })
}

// windUp runs shutdown, and leaves at once at a signal.
func windUp(signals <-chan os.Signal, log zerolog.Logger, shutdown func(ctx context.Context) error) error {
	start := time.Now()
	ctx, cut := context.WithCancelCause(context.Background())
	defer cut(nil)
	ended := make(chan struct{})
	go func() { // ends with this function, which closes ended
		for {
			select {
			case sig := <-signals:
				if sig != syscall.SIGHUP {
					cut(errCut)
					return
				}
			case <-ended:
				return
			}
		}
	}()
	defer close(ended)
	finished := make(chan error, 1)
	go func() { finished <- shutdown(ctx) }() // its end is waited for, except when the process is to leave at once
	select {
	case err := <-finished:
		if err == nil {
			log.Info().Dur("ms", time.Since(start)).Msg("stopped: everything is written down")
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (srv *server) shutdown(ctx context.Context, grace time.Duration) error {
	srv.handler.SetReady(false)
	srv.cancel()
	systemd.Extend(grace + time.Minute)
	waiting, stop := context.WithTimeout(ctx, grace)
	defer stop()
	if srv.web.Stop(waiting) {
		srv.log.Warn().Dur("grace", grace).Msg("requests that took longer were cut; nothing of them was kept")
	}
	srv.bus.Close()
	srv.mount.finish()
	srv.host.Close(true)
	srv.control.Stop(waiting)
	if srv.metrics != nil {
		srv.metrics.Close()
	}
	srv.tasks.wait()
	done := make(chan struct{})
	defer close(done)
	go systemd.KeepExtending(done)
	return srv.s.Close(ctx)
}

// background starts what runs beside the requests.
func (srv *server) background(ctx context.Context) {
	srv.tasks.run("certificate", func() { renew(ctx, srv.keeper, srv.log) })
}

// renew reads the certificate again every day, until ctx ends.
func renew(ctx context.Context, keeper *listen.Keeper, log zerolog.Logger) {
	tick := time.NewTicker(24 * time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := keeper.Reload(); err != nil {
				log.Error().Err(err).Msg("the certificate cannot be renewed")
			}
		}
	}
}

// Validate refuses what would be taken for something else, or for nothing.
func (c *serveCmd) Validate() error {
	switch {
	case c.TLSKey != "" && c.TLSCert == "":
		return errors.New("--tls-key is of no use without --tls-cert")
	case c.TLSCert != "" && len(c.TLSName) > 0:
		return errors.New("--tls-name is for the server's own certificate, --tls-cert brings another")
	case c.MaxConnections <= 0 || c.MaxLocks <= 0 || c.MaxEntries <= 0 || c.LockTimeout <= 0 || c.BlockUploads <= 0:
		return errors.New("--max-connections, --max-locks, --max-entries, --block-uploads and --lock-timeout have to be more than 0")
	case c.StopGrace < 0 || c.GCEvery < 0:
		return errors.New("--stop-grace and --gc-every cannot be less than 0")
	}
	return errors.Join(c.mountFlags.Validate(), c.clusterFlags.Validate(), c.gcFlags.Validate(), c.keepWebFlags.Validate())
}

// A proxyFlag is an address, or all that begin like it (192.0.2.0/24).
type proxyFlag netip.Prefix

// UnmarshalText reads an address with or without a length.
func (p *proxyFlag) UnmarshalText(text []byte) error {
	if a, err := netip.ParseAddr(string(text)); err == nil {
		a = a.Unmap()
		*p = proxyFlag(netip.PrefixFrom(a, a.BitLen()))
		return nil
	}
	prefix, err := netip.ParsePrefix(string(text))
	if err != nil {
		return fmt.Errorf("%q is no address: write for example 192.0.2.10 or 192.0.2.0/24", text)
	}
	*p = proxyFlag(prefix)
	return nil
}

func prefixes(flags []proxyFlag) []netip.Prefix {
	all := make([]netip.Prefix, len(flags))
	for i, f := range flags {
		all[i] = netip.Prefix(f)
	}
	return all
}
