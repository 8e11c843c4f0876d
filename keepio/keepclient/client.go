package keepclient

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"keepdav/keepio"
)

// DefaultRetries is how many rounds over all servers follow a failed one.
const DefaultRetries = 10

// A Config says in whose name a Client speaks to Keep services.
type Config struct {
	// Servers are the services. The caller closes them after the client.
	Servers *Servers

	// Token is presented to all services as it is. Block signatures are good for
	// this spelling only, so whoever loads manifests must use the same.
	Token string

	// Retries is how many rounds over all servers follow a failed one; 0:
	// DefaultRetries, negative: none.
	Retries int

	// Refresh loads a source of locators again and calls Learn, before their
	// signatures end or when servers refuse them. It is called for one source
	// once at a time. Nil: signatures are not refreshed.
	Refresh func(ctx context.Context, source string) error

	Log zerolog.Logger // of what goes wrong in the background
}

// A Client reads and writes blocks in the name of one token. It is a
// keepio.Remote. All methods may be called concurrently.
type Client struct {
	cfg     Config
	servers *Servers
	rounds  int
	known   registry
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	due     chan struct{} // wakes the refresher: what is due first has changed
	counts  counters

	flightMu sync.Mutex // guards flights
	flights  map[string]*flight
}

var _ keepio.Remote = (*Client)(nil)

// New returns a client. The caller ends it with Close.
func New(cfg Config) (*Client, error) {
	if cfg.Servers == nil {
		return nil, errors.New("a Keep client needs servers")
	}
	if cfg.Token == "" || strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, errors.New("a Keep client needs a token, without blanks")
	}
	c := &Client{cfg: cfg, servers: cfg.Servers, rounds: 1 + cfg.Retries, due: make(chan struct{}, 1), flights: make(map[string]*flight)}
	switch {
	case cfg.Retries == 0:
		c.rounds = 1 + DefaultRetries
	case cfg.Retries < 0:
		c.rounds = 1
	}
	c.known.init()
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(c.refresher)
	return c, nil
}

// Close ends background work and waits for it.
func (c *Client) Close() {
	c.flightMu.Lock()
	c.cancel() // no flight begins after this
	c.flightMu.Unlock()
	c.wg.Wait()
}

// now is the time by the cluster's clock, by which signatures end.
func (c *Client) now() time.Time { return c.servers.now() }

// An op is one operation on one block.
type op struct {
	*Client
	loc     keepio.Locator // the block's name, without hints
	request string         // id for the servers' logs
	failed  failures
}

func (c *Client) newOp(hash [16]byte, size uint32) *op {
	return &op{Client: c, loc: keepio.MakeLocator(hash, int64(size)), request: newRequestID()}
}

// fail returns the operation's error. If ctx has ended, that is why.
func (o *op) fail(ctx context.Context, kind error) error {
	if err := ctx.Err(); err != nil {
		kind = err
	}
	return o.failed.error(o.loc, o.request, o.cfg.Token, kind)
}

// wrap adds the block's name to err.
func (o *op) wrap(err error) error { return fmt.Errorf("block %s: %w", o.loc.Bare(), err) }

// rest waits before the round after round n. It reports false if ctx ends first.
func (o *op) rest(ctx context.Context, n int) bool {
	var after time.Duration
	for _, f := range o.failed.last {
		after = max(after, f.after)
	}
	o.servers.reload(o.cfg.Token)
	o.counts.retries.Add(1)
	return sleep(ctx, pause(n, after)) == nil
}
