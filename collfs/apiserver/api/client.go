package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"keepdav/keepio"
)

var signature = regexp.MustCompile(`\+[AR][0-9a-zA-Z]*-?[0-9a-f]{40}@[0-9a-f]+`)

// A Client acts on a Host with a token, which it always spells the same: a
// signature of a block is true for one spelling only.
type Client struct {
	host  *Host
	token string

	mu        sync.Mutex // guards the fields below
	discovery *Discovery
	config    *PublicConfig
}

// Client returns a client with a token; "": none.
func (h *Host) Client(token string) *Client { return &Client{host: h, token: token} }

// Host returns what c speaks to.
func (c *Client) Host() *Host { return c.host }

// Token returns the token, as it is spelled in requests.
func (c *Client) Token() string { return c.token }

// Params are the parameters of a request: strings, numbers and booleans as they
// are, all else as JSON. One that is nil, "" or false is left out.
type Params map[string]any

// longQuery is from which length on a query goes in the body of a request.
const longQuery = 1000

// Get asks for what is at path below /arvados/v1/, or at path itself if it begins
// with a slash, and decodes the reply into out.
func (c *Client) Get(ctx context.Context, path string, p Params, out any) error {
	query, err := p.encode()
	if err != nil {
		return err
	}
	r := request{method: http.MethodGet, path: path, asks: true}
	if text := query.Encode(); len(text) <= longQuery {
		r.query = text
	} else {
		query.Set("_method", "GET")
		r.send, r.body, r.mime = http.MethodPost, []byte(query.Encode()), "application/x-www-form-urlencoded"
	}
	return c.do(ctx, r, out)
}

// Send makes a request that changes something, with p as its JSON body. If it isn't
// known whether it was done, the error matches ErrUnclear.
func (c *Client) Send(ctx context.Context, method, path string, p Params, out any) error {
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return c.do(ctx, request{method: method, path: path, body: body, mime: "application/json"}, out)
}

func (p Params) encode() (url.Values, error) {
	v := make(url.Values, len(p)+1)
	for name, value := range p {
		switch x := value.(type) {
		case nil:
		case string:
			if x != "" {
				v.Set(name, x)
			}
		case bool:
			if x {
				v.Set(name, "true")
			}
		default:
			text, err := json.Marshal(x)
			if err != nil {
				return nil, fmt.Errorf("parameter %s: %w", name, err)
			}
			v.Set(name, string(text))
		}
	}
	return v, nil
}

// A request is one call, of one attempt or several.
type request struct {
	method string // what it means
	send   string // what it is sent as; "": method
	path   string
	query  string
	body   []byte
	mime   string
	asks   bool // it changes nothing
}

// do makes the attempts of a request.
func (c *Client) do(ctx context.Context, r request, out any) error {
	start := time.Now()
	id := requestID()
	for attempt := 0; ; attempt++ {
		wait, err := c.attempt(ctx, r, id, out)
		if err == nil || wait < 0 {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		pause := max(wait, backOff(attempt, r.asks))
		if time.Since(start)+pause > c.host.conf.Patience {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return errors.Join(ctx.Err(), err)
		}
	}
}

// backOff returns how long to wait after a number of attempts: anything up to a
// time that doubles from a second to half a minute; to a few seconds for what changes
// nothing and costs little, for somebody waits, and the server may be back by then.
func backOff(attempt int, asks bool) time.Duration {
	limit := 30 * time.Second
	if asks {
		limit = 4 * time.Second
	}
	most := min(limit, time.Second<<min(attempt, 10))
	return time.Duration(mathrand.Int64N(int64(most)) + 1)
}

// never is the wait after a failure that will not go away.
const never = -1

// attempt makes a request once. wait says after how long it makes sense to try it
// again at the earliest; never: not at all.
func (c *Client) attempt(ctx context.Context, r request, id string, out any) (wait time.Duration, err error) {
	if err := c.host.limit.acquire(ctx); err != nil {
		return never, err
	}
	overloaded, ok := false, false
	defer func() { c.host.limit.release(overloaded, ok) }()

	limited, cancel := context.WithTimeout(ctx, c.host.conf.Timeout)
	defer cancel()
	req, err := c.newRequest(limited, r, id)
	if err != nil {
		return never, err
	}
	resp, err := c.host.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return never, unclear(r, ctx.Err())
		}
		var op *net.OpError
		sent := !errors.As(err, &op) || op.Op != "dial"
		err = fmt.Errorf("%s %s at %s: %w: %s", r.method, r.path, c.host.base.Host, keepio.ErrUnavailable, c.Clean(err))
		if sent && !r.asks {
			return never, unclear(r, err)
		}
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	overloaded = resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusTooManyRequests
	body := io.LimitReader(resp.Body, c.host.conf.MaxReply+1)
	if resp.StatusCode != http.StatusOK {
		return c.refused(r, resp, body)
	}
	counted := &counter{r: body}
	if err := decode(counted, out); err != nil {
		switch {
		case counted.n > c.host.conf.MaxReply:
			return never, fmt.Errorf("%s %s: reply of more than %d bytes: %w", r.method, r.path, c.host.conf.MaxReply, keepio.ErrFull)
		case ctx.Err() != nil:
			return never, unclear(r, ctx.Err())
		}
		err = fmt.Errorf("%s %s: reply cannot be read: %w: %s", r.method, r.path, keepio.ErrUnavailable, c.Clean(err))
		if !r.asks {
			return never, unclear(r, err)
		}
		return 0, err
	}
	ok = true
	return 0, nil
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// decode reads one JSON value, and what follows it, so that the connection can be
// used again.
func decode(r io.Reader, out any) error {
	if out == nil {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	if err := json.NewDecoder(r).Decode(out); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r)
	return err
}

// unclear says of a request that changes something that its outcome isn't known.
func unclear(r request, err error) error {
	if r.asks {
		return err
	}
	return errors.Join(ErrUnclear, err)
}

func (c *Client) newRequest(ctx context.Context, r request, id string) (*http.Request, error) {
	u := *c.host.base
	u.Path = r.path
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/arvados/v1/" + u.Path
	}
	u.RawQuery = r.query
	method := r.send
	if method == "" {
		method = r.method
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	if r.body == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	if r.mime != "" {
		req.Header.Set("Content-Type", r.mime)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if c.host.conf.Agent != "" {
		req.Header.Set("User-Agent", c.host.conf.Agent)
	}
	req.Header.Set("X-Request-Id", id)
	return req, nil
}

// refused makes an error of an answer that isn't 200.
func (c *Client) refused(r request, resp *http.Response, body io.Reader) (wait time.Duration, err error) {
	text, _ := io.ReadAll(io.LimitReader(body, 64<<10)) // what came is enough to tell
	var said struct {
		Errors []string `json:"errors"`
	}
	e := &Error{Method: r.method, Path: r.path, Status: resp.StatusCode}
	if json.Unmarshal(text, &said) == nil {
		e.Message = message(said.Errors, c.token, secretOf(c.token))
	}
	switch {
	case !mayPass(e.Status):
		return never, e
	case !r.asks && !notDone(e.Status):
		return never, unclear(r, e)
	}
	return retryAfter(resp.Header.Get("Retry-After")), e
}

// retryAfter reads how long a server asks to wait, up to a minute.
func retryAfter(text string) time.Duration {
	if s, err := strconv.Atoi(text); err == nil && s > 0 {
		return min(time.Duration(min(s, 60))*time.Second, time.Minute)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(0, time.Until(at)), time.Minute)
	}
	return 0
}

// Clean returns the text of an error without the token.
func (c *Client) Clean(err error) string {
	return message([]string{err.Error()}, c.token, secretOf(c.token))
}

// secretOf returns the part of a token that is secret.
func secretOf(token string) string {
	if parts := strings.Split(token, "/"); len(parts) >= 3 && parts[0] == "v2" {
		return parts[2]
	}
	return token
}

func requestID() string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	var b [20]byte
	_, _ = rand.Read(b[:])
	for i := range b {
		b[i] = digits[int(b[i])%len(digits)]
	}
	return "req-" + string(b[:])
}
