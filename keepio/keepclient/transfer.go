package keepclient

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

// maxKept is how many kept connections may turn out to be dead before that counts
// as a failure of the server.
const maxKept = 2

// slowest is the rate, in bytes a second, below which a transfer is given up.
const slowest = 32 << 10

// errStalled ends a transfer that does not move.
var errStalled = errors.New("transfer is stalled")

// A transfer is one request and its reply. It may take as long as it likes,
// while bytes move: what moves less than slowest for a whole window is ended with
// errStalled. Time in which we ourselves hold it up does not count.
type transfer struct {
	resp   *http.Response
	cancel context.CancelCauseFunc
	ctx    context.Context
	window time.Duration

	mu    sync.Mutex // guards the fields below
	conn  *countedConn
	kept  bool  // conn had been used before
	seen  int64 // moved at the last look
	timer *time.Timer
	wrote chan error    // gets the outcome of sending the request on conn
	held  time.Duration // how long we held it up since the last look
	since time.Time     // we hold it up since then, if not zero
}

// roundTrip sends req and waits for the header of the reply. The caller ends
// the transfer with close. Redirects are not followed: the token is for that
// server only.
//
// A connection that was kept may have been closed by the server meanwhile, or
// forgotten by what lies between. That says nothing about the server, so the
// request is sent again: all that we send does no harm twice.
func roundTrip(ctx context.Context, rt http.RoundTripper, req *http.Request, window time.Duration) (*transfer, error) {
	for kept := 0; ; kept++ {
		t, err := roundTripOnce(ctx, rt, req, window)
		if err == nil {
			return t, nil
		}
		cause := t.explain(err)
		t.close()
		if kept >= maxKept || !t.wasKept() || cause != err {
			return nil, cause
		}
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// roundTripOnce is roundTrip without another try. The transfer that it returns
// with an error has no reply.
func roundTripOnce(ctx context.Context, rt http.RoundTripper, req *http.Request, window time.Duration) (*transfer, error) {
	t := &transfer{window: window, wrote: make(chan error, 1)}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	trace := &httptrace.ClientTrace{GotConn: t.gotConn, WroteRequest: t.wroteRequest}
	t.mu.Lock()
	t.timer = time.AfterFunc(window, t.look)
	t.mu.Unlock()
	resp, err := rt.RoundTrip(req.WithContext(httptrace.WithClientTrace(t.ctx, trace)))
	t.resp = resp
	return t, err
}

// wasKept reports whether the request went over a connection that had been used
// before.
func (t *transfer) wasKept() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept
}

// explain replaces the error of a transfer that we ended by the reason.
func (t *transfer) explain(err error) error {
	if cause := context.Cause(t.ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// sent waits until all of the request has been sent and reports what went wrong
// with that. A server may answer before it has read everything.
func (t *transfer) sent() error {
	t.mu.Lock()
	wrote := t.wrote
	t.mu.Unlock()
	select {
	case err := <-wrote:
		return err
	case <-t.ctx.Done():
		return context.Cause(t.ctx)
	}
}

func (t *transfer) gotConn(info httptrace.GotConnInfo) {
	c := counterOf(info.Conn)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrote = make(chan error, 1) // a request that is sent again begins anew
	t.kept = info.Reused
	if t.conn = c; c != nil {
		t.seen = c.moved.Load()
	}
}

func (t *transfer) wroteRequest(info httptrace.WroteRequestInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case t.wrote <- info.Err:
	default:
	}
}

// look ends the transfer if too little has moved since the last look.
func (t *transfer) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil {
		return
	}
	var moved int64
	if t.conn != nil {
		now := t.conn.moved.Load()
		moved, t.seen = now-t.seen, now
	}
	if !t.since.IsZero() {
		now := time.Now()
		t.held += now.Sub(t.since)
		t.since = now
	}
	if need := slowest * (t.window - t.held).Seconds(); need > 0 && float64(moved) < need {
		t.cancel(errStalled)
		return
	}
	t.held = 0
	t.timer.Reset(t.window)
}

// hold says that from now on it is we who hold the transfer up.
func (t *transfer) hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since = time.Now()
}

// goOn ends what hold began.
func (t *transfer) goOn() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held += time.Since(t.since)
	t.since = time.Time{}
}

// close ends the transfer. If the reply was read to its end the connection is
// used again.
func (t *transfer) close() {
	t.mu.Lock()
	t.timer.Stop()
	t.timer = nil
	t.mu.Unlock()
	if t.resp != nil {
		_ = t.resp.Body.Close() // whatever it says, we have what we read
	}
	t.cancel(context.Canceled)
}
