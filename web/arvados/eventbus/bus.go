package eventbus

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"

	"keepdav/collfs"
)

// Path is where the bus is on a server.
const Path = "/websocket"

// Limits of sessions.
const (
	maxQueue     = 64      // messages that wait for a client
	maxFrame     = 2 << 20 // bytes of a message from a client
	maxSubs      = 256     // subscriptions of a session
	replayTime   = 10 * time.Minute
	sendTimeout  = time.Minute
	defaultIdle  = time.Minute
	defaultCheck = time.Minute
)

// Catalog is where events come from, and what they are about. All methods may be
// called concurrently.
type Catalog interface {
	// Watch calls notify for each event after it was called, in order, until stop
	// is called.
	Watch(notify func(collfs.Event)) (stop func())
	// LastEvent returns the number of the last event, 0 if there was none.
	LastEvent() int64
	// Events returns up to limit events of the log after a number, in order. It
	// has all that happened before the call.
	Events(ctx context.Context, after int64, limit int) ([]collfs.Event, error)
	// EventBefore returns the number of the last event of the log before a moment,
	// 0 if there is none.
	EventBefore(ctx context.Context, at time.Time) (int64, error)
	// Entry and Access are those of collfs.Folders.
	Entry(ctx context.Context, id collfs.UUID) (collfs.Entry, error)
	Access(ctx context.Context, user, id collfs.UUID) (collfs.Level, error)
}

// Config is what a Bus is made of. Catalog, Cluster and Auth must be set.
type Config struct {
	Catalog Catalog
	Cluster string // five characters, the prefix of the UUIDs of events

	// Auth returns who makes a request for a session. It is asked again while the
	// session lasts: an error ends it. It answers nothing itself; the status of a
	// refusal is 401.
	Auth func(r *http.Request) (collfs.User, error)
	// PDH computes the portable data hash of what a collection is now; nil: events
	// have none but what is known.
	PDH func(ctx context.Context, id collfs.UUID) (collfs.PDH, error)
	Log zerolog.Logger

	Idle  time.Duration // after so long without a message a client gets {}; 0: a minute
	Check time.Duration // how often Auth is asked; 0: a minute
}

// A Bus answers requests for sessions. All methods may be called concurrently.
type Bus struct {
	conf   Config
	fast   *lane
	plain  *lane
	gone   graveyard
	stop   func() // of Watch
	ctx    context.Context
	cancel context.CancelFunc
	frames chan struct{} // holds one for each large message that is being read

	mu       sync.Mutex // guards the fields below
	closed   bool
	sessions map[*session]struct{}
	wg       sync.WaitGroup // of lanes and sessions; nothing is added when closed
}

// New returns a Bus that has begun to listen to the catalog. Close ends it.
func New(conf Config) *Bus {
	if conf.Idle == 0 {
		conf.Idle = defaultIdle
	}
	if conf.Check == 0 {
		conf.Check = defaultCheck
	}
	b := &Bus{conf: conf, frames: make(chan struct{}, 4), sessions: make(map[*session]struct{})}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	last := conf.Catalog.LastEvent()
	b.fast = newLane(b, last, nil)
	b.plain = newLane(b, last, newHasher(b.ctx, conf.PDH, &b.wg))
	b.wg.Go(b.fast.run)
	b.wg.Go(b.plain.run)
	b.stop = conf.Catalog.Watch(b.notice)
	return b
}

// Close tells all clients that the server is going away, and waits until their
// sessions have ended.
func (b *Bus) Close() {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.closed = true
	for s := range b.sessions {
		s.leave(websocket.StatusGoingAway, "the server is stopping")
	}
	b.mu.Unlock()
	b.stop()
	b.cancel()
	b.wg.Wait()
}

// notice passes an event of the catalog on to the lanes.
func (b *Bus) notice(e collfs.Event) {
	if e.Kind == collfs.Deleted {
		b.gone.add(e.UUID, e.Owner)
	}
	b.fast.add(e)
	b.plain.add(e)
}

// Serves reports whether r is for the bus, where a site has the same address.
func (b *Bus) Serves(r *http.Request) bool { return r.URL.Path == Path }

// ServeHTTP answers a request for a session, which lasts until the client leaves,
// reads too slowly, or may not be served any more.
func (b *Bus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		http.Error(w, "this is a websocket", http.StatusMethodNotAllowed)
		return
	}
	user, err := b.conf.Auth(r)
	if err != nil {
		http.Error(w, "a good token is needed: ?api_token=", http.StatusUnauthorized)
		return
	}
	if u, ok := w.(interface{ SetUser(string) }); ok { // who logs requests
		u.SetUser(user.Name)
	}
	s := b.newSession(user)
	if s == nil {
		http.Error(w, "the server is stopping", http.StatusServiceUnavailable)
		return
	}
	defer b.endSession(s)
	// Who makes a request is told by the token in its URL alone: a page of another
	// origin has to know it, too.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // it has answered
	}
	s.serve(conn, func() bool {
		user, err := b.conf.Auth(r)
		return err == nil && user.UUID == s.user.UUID && user.Admin == s.user.Admin // who comes again is told by what he is now
	})
}

// newSession returns a session that endSession has to be called for; nil when the
// bus is closed.
func (b *Bus) newSession(user collfs.User) *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	s := &session{bus: b, user: user, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.cut, s.cutNow = context.WithCancel(context.Background())
	b.sessions[s] = struct{}{}
	b.wg.Add(1)
	return s
}

func (b *Bus) endSession(s *session) {
	b.mu.Lock()
	delete(b.sessions, s)
	b.mu.Unlock()
	s.cancel()
	s.cutNow()
	s.leaveLane()
	b.wg.Done()
}

// Sessions returns how many clients there are.
func (b *Bus) Sessions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sessions)
}

var errNotTold = errors.New("it cannot be found out who may know of an event")
