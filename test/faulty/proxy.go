package faulty

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Fault is a way to break a request.
type Fault int

// The faults.
const (
	Sound       Fault = iota // none
	Refused                  // 500, 502 or 503, and the server is not asked
	Busy                     // 503 with Retry-After, and the server is not asked
	CutRequest               // the server gets part of the body
	LostReply                // the server does its work, the connection ends
	LateError                // the server does its work, the reply is 502
	ShortReply               // the reply ends before its announced length
	Hang                     // nothing for a while, then the connection ends
	Slow                     // the reply comes in small pieces with pauses
	FlippedBit               // one bit of a block is wrong
	Conflict409              // 409, and the server is not asked: what a client knows is said to be old
	faultCount
)

var faultNames = [faultCount]string{"sound", "refused", "busy", "cut request", "lost reply", "late error", "short reply", "hang", "slow", "flipped bit", "conflict"}

func (f Fault) String() string { return faultNames[f] }

// Config says what a proxy does.
type Config struct {
	Target string // URL of the good server
	Seed   uint64
	// Rate is how many of a hundred requests are broken.
	Rate int
	// Of are the faults to choose from; nil: all.
	Of []Fault
	// Spare are requests that are never broken: what a test itself asks.
	Spare func(*http.Request) bool
	// Plain hides that the good server is a keepdav server: it is an Arvados then.
	Plain bool
	// HangFor is how long a hang takes, and the pauses of a slow reply together;
	// 0: half a second.
	HangFor time.Duration
}

// A Proxy is a bad server in front of a good one. Its address is that of the
// listener it was given. All methods may be called concurrently.
type Proxy struct {
	cfg    Config
	target *url.URL
	client *http.Transport
	server *http.Server
	serve  sync.WaitGroup

	rate  atomic.Int32
	down  atomic.Bool
	seen  [faultCount]atomic.Int64
	stop  context.CancelFunc
	alive context.Context

	mu   sync.Mutex // guards rng and buses
	rng  *rand.Rand
	bus  map[*busLink]struct{}
	open map[net.Conn]struct{}
}

// Start serves a proxy on l until Close.
func Start(l net.Listener, cfg Config) (*Proxy, error) {
	target, err := url.Parse(cfg.Target)
	if err != nil {
		return nil, err
	}
	if cfg.HangFor == 0 {
		cfg.HangFor = time.Second / 2
	}
	if cfg.Of == nil {
		for f := Sound + 1; f < faultCount; f++ {
			cfg.Of = append(cfg.Of, f)
		}
	}
	p := &Proxy{
		cfg: cfg, target: target, rng: rand.New(rand.NewPCG(cfg.Seed, 0)),
		client: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		bus:    make(map[*busLink]struct{}), open: make(map[net.Conn]struct{}),
	}
	p.rate.Store(int32(cfg.Rate))
	p.alive, p.stop = context.WithCancel(context.Background())
	p.server = &http.Server{
		Handler:     p,
		BaseContext: func(net.Listener) context.Context { return p.alive },
		ConnState:   p.connState,
	}
	p.serve.Go(func() { _ = p.server.Serve(l) }) // it ends by Close only
	return p, nil
}

// Close ends the proxy and all that goes through it.
func (p *Proxy) Close() {
	p.stop()
	p.server.Close()
	p.serve.Wait()
	p.client.CloseIdleConnections()
}

// SetRate changes how many of a hundred requests are broken; 0 is a good network.
func (p *Proxy) SetRate(percent int) { p.rate.Store(int32(percent)) }

// Down cuts all connections and accepts no more, or does again.
func (p *Proxy) Down(down bool) {
	p.down.Store(down)
	if !down {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.Close()
	}
	for b := range p.bus {
		b.cut()
	}
}

// DropEvents ends the event bus of all clients, who may connect again.
func (p *Proxy) DropEvents() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for b := range p.bus {
		b.cut()
	}
}

// Seen tells how many requests met each fault.
func (p *Proxy) Seen() string {
	var parts []string
	for f := range p.seen {
		if n := p.seen[f].Load(); n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", Fault(f), n))
		}
	}
	return strings.Join(parts, ", ")
}

func (p *Proxy) connState(c net.Conn, s http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch s {
	case http.StateNew:
		p.open[c] = struct{}{}
		if p.down.Load() {
			c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		delete(p.open, c)
	}
}

// roll chooses the fault of a request, and gives it dice of its own.
func (p *Proxy) roll(r *http.Request) (Fault, *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dice := rand.New(rand.NewPCG(p.rng.Uint64(), 1))
	if p.cfg.Spare != nil && p.cfg.Spare(r) || dice.IntN(100) >= int(p.rate.Load()) {
		return Sound, dice
	}
	return p.cfg.Of[dice.IntN(len(p.cfg.Of))], dice
}

var blockPath = regexp.MustCompile(`^/+[0-9a-f]{32}\+[0-9]+`)

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.down.Load() {
		panic(http.ErrAbortHandler)
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		p.serveBus(w, r)
		return
	}
	if p.cfg.Plain && strings.HasPrefix(r.URL.Path, "/keepdav/") {
		http.NotFound(w, r)
		return
	}
	f, dice := p.roll(r)
	if f == FlippedBit && !(r.Method == http.MethodGet && blockPath.MatchString(r.URL.Path)) ||
		f == CutRequest && r.ContentLength <= 1 {
		f = Refused
	}
	p.seen[f].Add(1)
	switch f {
	case Refused:
		drain(r.Body, dice)
		http.Error(w, `{"errors":["a fault"]}`, []int{500, 502, 503}[dice.IntN(3)])
		return
	case Busy:
		w.Header().Set("Retry-After", "1")
		http.Error(w, `{"errors":["a fault: busy"]}`, http.StatusServiceUnavailable)
		return
	case Conflict409:
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/commit") { // nobody else answers 409
			http.Error(w, `{"errors":["a fault"]}`, http.StatusServiceUnavailable)
			return
		}
		http.Error(w, `{"errors":["a fault: stale"]}`, http.StatusConflict)
		return
	case Hang:
		p.pause(r.Context(), p.cfg.HangFor)
		panic(http.ErrAbortHandler)
	}
	p.forward(w, r, f, dice)
}

// drain reads some of a body that nobody wants, as servers do.
func drain(body io.Reader, dice *rand.Rand) { _, _ = io.CopyN(io.Discard, body, dice.Int64N(1<<20)) }

func (p *Proxy) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// errCut is what the server's side of a request that is cut sees.
var errCut = errors.New("faulty: cut")

// A cutBody ends in the middle with an error.
type cutBody struct {
	io.Reader
	left int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errCut
	}
	n, err := b.Reader.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, f Fault, dice *rand.Rand) {
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host = p.target.Scheme, p.target.Host
	out.Host = r.Host
	if f == LostReply || f == LateError { // the server does its work though the client may be gone
		out = out.WithContext(p.alive)
	}
	if r.ContentLength == 0 {
		out.Body = http.NoBody
	} else if f == CutRequest {
		out.Body = io.NopCloser(&cutBody{r.Body, dice.Int64N(r.ContentLength)})
	}
	reply, err := p.client.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer reply.Body.Close()
	switch f {
	case LostReply:
		_, _ = io.Copy(io.Discard, reply.Body)
		panic(http.ErrAbortHandler)
	case LateError:
		_, _ = io.Copy(io.Discard, reply.Body)
		http.Error(w, `{"errors":["a fault on the way back"]}`, http.StatusBadGateway)
		return
	}
	for k, v := range reply.Header {
		w.Header()[k] = v
	}
	if p.cfg.Plain && strings.HasPrefix(r.URL.Path, "/discovery/") && reply.StatusCode == http.StatusOK {
		if err := plain(reply); err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Length", strconv.FormatInt(reply.ContentLength, 10))
	}
	w.WriteHeader(reply.StatusCode)
	p.body(w, r, reply, f, dice)
}

// plain takes what a keepdav server says of itself out of a discovery document.
func plain(reply *http.Response) error {
	var doc map[string]json.RawMessage
	if err := json.NewDecoder(reply.Body).Decode(&doc); err != nil {
		return err
	}
	delete(doc, "keepdav")
	text, err := json.Marshal(doc)
	reply.Body, reply.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return err
}

// body passes a reply's body on, or breaks it.
func (p *Proxy) body(w http.ResponseWriter, r *http.Request, reply *http.Response, f Fault, dice *rand.Rand) {
	var from io.Reader = reply.Body
	n := reply.ContentLength
	switch {
	case f == ShortReply:
		_, _ = io.CopyN(w, from, dice.Int64N(max(n, 1)))
		panic(http.ErrAbortHandler)
	case f == FlippedBit && n > 0 && reply.StatusCode == http.StatusOK:
		from = &flipped{Reader: from, at: dice.Int64N(n), bit: byte(1) << dice.IntN(8)}
	case f == Slow:
		const pieces = 16
		piece := max(n/pieces, 1)
		for range pieces {
			if _, err := io.CopyN(w, from, piece); err != nil {
				break
			}
			_ = http.NewResponseController(w).Flush()
			p.pause(r.Context(), p.cfg.HangFor/pieces)
		}
	}
	if _, err := io.Copy(w, from); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// flipped has one bit wrong.
type flipped struct {
	io.Reader
	at  int64
	bit byte
}

func (b *flipped) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.at >= 0 && b.at < int64(n) {
		p[b.at] ^= b.bit
	}
	b.at -= int64(n)
	return n, err
}
