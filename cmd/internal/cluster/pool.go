package cluster

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"keepdav/keepio"
)

// A Pool keeps the sessions of a server, one for each token. Each is used by any number
// of requests, and ends some time after the last, but never while something of it is not
// committed. All methods may be called concurrently.
type Pool struct {
	conf PoolConfig
	key  []byte // tokens are known by their HMAC under this key of the process
	stop context.CancelFunc
	work context.Context
	wg   sync.WaitGroup // sessions that begin or end, and the sweeper

	mu       sync.Mutex // guards the fields below
	sessions map[[32]byte]*pooled
	closed   bool
}

// PoolConfig says what a pool keeps. Open must be set.
type PoolConfig struct {
	Open      func(ctx context.Context, token string) (*Session, error)
	Max       int           // sessions; 0: 100
	Idle      time.Duration // after which a session ends that nobody uses; 0: 15 minutes
	TreeBytes int64         // memory of all sessions for collections that are loaded and not in use; 0: 256 MiB
	Log       zerolog.Logger
}

// A pooled session is one, or one that begins. ready is closed when s or err is set. The
// other fields are guarded by Pool.mu.
type pooled struct {
	ready chan struct{}
	s     *Session
	err   error
	users int
	used  time.Time
}

const (
	defaultMax   = 100
	defaultIdle  = 15 * time.Minute
	defaultTrees = 256 << 20
	sweepEvery   = 5 * time.Second
	beginWithin  = time.Minute
	endTogether  = 8 // sessions that end at the same time
)

// NewPool returns a pool without sessions. End it with Close.
func NewPool(conf PoolConfig) *Pool {
	if conf.Max == 0 {
		conf.Max = defaultMax
	}
	if conf.Idle == 0 {
		conf.Idle = defaultIdle
	}
	if conf.TreeBytes == 0 {
		conf.TreeBytes = defaultTrees
	}
	p := &Pool{conf: conf, key: make([]byte, 32), sessions: map[[32]byte]*pooled{}}
	rand.Read(p.key)
	p.work, p.stop = context.WithCancel(context.Background())
	p.wg.Go(p.sweeper)
	return p
}

// errBusy says that there are too many sessions.
var errBusy = fmt.Errorf("too many users at once: %w", keepio.ErrUnavailable)

var errEnded = fmt.Errorf("the server is about to end: %w", keepio.ErrUnavailable)

// Get returns the session of a token. The caller calls release when it does not use it any
// more.
func (p *Pool) Get(ctx context.Context, token string) (_ *Session, release func(), err error) {
	key := p.keyOf(token)
	e, err := p.enter(key, token)
	if err != nil {
		return nil, nil, err
	}
	release = sync.OnceFunc(func() { p.leave(e) })
	select {
	case <-e.ready:
	case <-ctx.Done():
		release()
		return nil, nil, ctx.Err()
	}
	if e.err != nil {
		release()
		return nil, nil, e.err
	}
	return e.s, release, nil
}

func (p *Pool) keyOf(token string) (key [32]byte) {
	m := hmac.New(sha256.New, p.key)
	m.Write([]byte(token))
	m.Sum(key[:0])
	return key
}

// enter finds the session of a key, or begins one.
func (p *Pool) enter(key [32]byte, token string) (*pooled, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errEnded
	}
	e := p.sessions[key]
	if e == nil {
		if len(p.sessions) >= p.conf.Max && !p.dropOneLocked() {
			return nil, errBusy
		}
		e = &pooled{ready: make(chan struct{})}
		p.sessions[key] = e
		p.wg.Go(func() { p.begin(key, token, e) })
	}
	e.users++
	return e, nil
}

func (p *Pool) leave(e *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.users--
	e.used = time.Now()
}

// begin opens a session for all who wait for it.
func (p *Pool) begin(key [32]byte, token string, e *pooled) {
	ctx, stop := context.WithTimeout(p.work, beginWithin)
	defer stop()
	s, err := p.conf.Open(ctx, token)
	p.mu.Lock()
	e.s, e.err, e.used = s, err, time.Now()
	if err != nil {
		delete(p.sessions, key)
	}
	p.mu.Unlock()
	close(e.ready)
}

// idleLocked tells whether nobody uses e and it is whole.
func (e *pooled) idleLocked() bool { return e.users == 0 && e.s != nil }

// dropOneLocked ends the session that was used longest ago, if there is one that can end.
// p.mu must be held.
func (p *Pool) dropOneLocked() bool {
	var oldest *pooled
	var at [32]byte
	for key, e := range p.sessions {
		if e.idleLocked() && (oldest == nil || e.used.Before(oldest.used)) && !e.s.Dirty() {
			oldest, at = e, key
		}
	}
	if oldest == nil {
		return false
	}
	p.endLocked(at, oldest)
	return true
}

// endLocked takes a session out and ends it in the background. p.mu must be held.
func (p *Pool) endLocked(key [32]byte, e *pooled) {
	delete(p.sessions, key)
	p.wg.Go(func() {
		if err := e.s.Close(context.WithoutCancel(p.work)); err != nil {
			p.conf.Log.Error().Err(err).Str("user", e.s.User.Name).Msg("a session has ended, and not everything of it could be done")
		}
	})
}

// sweeper ends sessions that nobody uses, and unloads what does not fit the memory for
// all of them.
func (p *Pool) sweeper() {
	tick := time.NewTicker(min(sweepEvery, max(p.conf.Idle/4, time.Millisecond)))
	defer tick.Stop()
	for {
		select {
		case <-p.work.Done():
			return
		case <-tick.C:
			p.sweep()
			p.unload()
		}
	}
}

func (p *Pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := time.Now().Add(-p.conf.Idle)
	for key, e := range p.sessions {
		if e.idleLocked() && e.used.Before(late) && !e.s.Dirty() {
			p.endLocked(key, e)
		}
	}
}

// unload unloads collections of the sessions that were used longest ago, until the others
// fit the memory.
func (p *Pool) unload() {
	all := p.open()
	var sum int64
	for _, e := range all {
		sum += e.s.Files.CachedBytes()
	}
	for _, e := range all {
		if sum <= p.conf.TreeBytes {
			return
		}
		before := e.s.Files.CachedBytes()
		e.s.Unload()
		sum -= before - e.s.Files.CachedBytes()
	}
}

// open returns the sessions, those that were used longest ago first.
func (p *Pool) open() []*pooled {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*pooled
	for _, e := range p.sessions {
		if e.s != nil {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *pooled) int { return a.used.Compare(b.used) })
	return all
}

// PoolStats are about a pool.
type PoolStats struct {
	Sessions  int
	TreeBytes int64 // memory of collections that are loaded
	Waiting   int64 // bytes that are written and not stored as blocks yet
	Conflicts int64
}

// Stats says what the sessions hold at the moment.
func (p *Pool) Stats() (st PoolStats) {
	for _, e := range p.open() {
		st.Sessions++
		st.TreeBytes += e.s.Files.CachedBytes()
		st.Waiting += e.s.Waiting()
		st.Conflicts += e.s.Files.Conflicts()
	}
	return st
}

// Close ends all sessions, when everything is committed. Nobody may use one any more.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.wg.Wait()
	all := p.open()
	var group errgroup.Group
	group.SetLimit(endTogether)
	errs := make([]error, len(all))
	for i, e := range all {
		group.Go(func() error {
			errs[i] = e.s.Close(ctx)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	return errors.Join(errs...)
}
