package delta

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

// A Doer sends requests. *http.Client is one.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Config says what a Client works with.
type Config struct {
	URL   string // of the server, without a path
	Token string
	HTTP  Doer

	// Learn is told the locators of all blocks of a tree or of changes, before
	// somebody asks for one; source is the UUID of the collection. Nil: locators are
	// of no interest.
	Learn func(source string, locs []keepio.Locator)

	// Locator returns the signed locator of a stored block that a commit names. Nil:
	// the bare locator is good enough.
	Locator func(ctx context.Context, hash [16]byte, size uint32) (keepio.Locator, error)

	// Reader reads blocks that are not stored, for commits that bring them along.
	// Store stores them where that is too much, or where there is no Reader.
	Reader keepio.Reader
	Store  func(ctx context.Context, blocks []*keepio.Block) error

	MaxMessage int64         // the most bytes of a reply that is read; 0: 4 GiB
	MaxData    int           // the most bytes that a commit brings along; 0: 256 KiB; at most the MaxData of the package
	RetryFor   time.Duration // how long a server that does not answer is asked again; 0: 30 s
}

const (
	defaultMessage = 4 << 30
	defaultData    = 256 << 10
	defaultRetry   = 30 * time.Second
)

// A Client speaks the protocol. All methods may be called concurrently. What a server
// refuses matches an error of collfs, keepio or io/fs; what it does not answer is
// keepio.ErrUnavailable. Errors say neither the token nor signatures.
type Client struct{ conf Config }

// New returns a client.
func New(conf Config) *Client {
	if conf.MaxMessage == 0 {
		conf.MaxMessage = defaultMessage
	}
	if conf.MaxData == 0 {
		conf.MaxData = defaultData
	}
	conf.MaxData = min(conf.MaxData, MaxData)
	if conf.RetryFor == 0 {
		conf.RetryFor = defaultRetry
	}
	return &Client{conf}
}

// Tree is collfs.Catalog.Load for the present state of a collection: the result has a
// Checkpoint, whose blocks are all stored.
func (c *Client) Tree(ctx context.Context, id collfs.UUID) (collfs.Record, collfs.Saved, error) {
	m, err := c.send(ctx, request{id: id, what: "tree"})
	if err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	rec, err := m.record()
	if err == nil && m.Tree == nil {
		err = ErrMessage
	}
	if err != nil {
		return collfs.Record{}, collfs.Saved{}, fmt.Errorf("tree of %s: %w", id, err)
	}
	c.learn(id, m)
	return rec, collfs.Saved{Checkpoint: m.Tree}, nil
}

// Changes is collfs.Deltas.Since.
func (c *Client) Changes(ctx context.Context, id collfs.UUID, since int64) (rec collfs.Record, changes [][]byte, kept bool, err error) {
	m, err := c.send(ctx, request{id: id, what: "changes", query: "since=" + strconv.FormatInt(since, 10)})
	if errors.Is(err, errGone) {
		return collfs.Record{}, nil, false, nil
	}
	if err != nil {
		return collfs.Record{}, nil, false, err
	}
	rec, err = m.record()
	if err == nil && rec.Revision-since != int64(len(m.Changes)) {
		err = ErrMessage
	}
	if err != nil {
		return collfs.Record{}, nil, false, fmt.Errorf("changes of %s: %w", id, err)
	}
	c.learn(id, m)
	return rec, m.Changes, true, nil
}

// record returns the record in the header.
func (m *Message) record() (collfs.Record, error) {
	var r Record
	if err := json.Unmarshal(m.Header, &r); err != nil {
		return collfs.Record{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return r.Record(), nil
}

func (c *Client) learn(id collfs.UUID, m *Message) {
	if c.conf.Learn != nil && len(m.Locators) > 0 {
		c.conf.Learn(string(id), m.Locators)
	}
}

// A request is one for a collection.
type request struct {
	id    collfs.UUID
	what  string
	query string
	body  []byte // nil: GET
}

// errGone is 410.
var errGone = errors.New("changes are not kept")

// errAgain wraps what may pass.
type errAgain struct {
	error
	sent  bool // the server may have done it
	after time.Duration
}

func (e errAgain) Unwrap() error { return e.error }

// send sends a request, again if there is no answer, and reads the reply.
func (c *Client) send(ctx context.Context, r request) (*Message, error) {
	until := time.Now().Add(c.conf.RetryFor)
	sent := false
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		m, err := c.attempt(ctx, r)
		again, ok := errors.AsType[errAgain](err)
		if !ok {
			return m, err
		}
		sent = sent || again.sent
		pause := max(again.after, wait/2+rand.N(wait))
		if ctx.Err() == nil && time.Now().Add(pause).Before(until) {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
				continue
			case <-ctx.Done():
				timer.Stop()
			}
		}
		err = fmt.Errorf("%s of %s: %w: %w", r.what, r.id, keepio.ErrUnavailable, again.error)
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		if sent && r.body != nil {
			err = errors.Join(collfs.ErrUnknownOutcome, err)
		}
		return nil, err
	}
}

func (c *Client) attempt(ctx context.Context, r request) (*Message, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if r.body != nil {
		method, body = http.MethodPost, bytes.NewReader(r.body)
	}
	u := strings.TrimSuffix(c.conf.URL, "/") + "/keepdav/v1/collections/" + url.PathEscape(string(r.id)) + "/" + r.what
	if r.query != "" {
		u += "?" + r.query
	}
	req, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", r.what, r.id, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.conf.Token)
	req.Header.Set("Accept-Encoding", "identity") // bytes that are hashes, mostly, and no text
	if r.body != nil {
		req.Header.Set("Content-Type", ContentType)
	}
	resp, err := c.conf.HTTP.Do(req)
	if err != nil {
		op, ok := errors.AsType[*net.OpError](err)
		return nil, errAgain{c.clean(err), !ok || op.Op != "dial", 0}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, c.refused(r, resp)
	}
	m, err := Read(resp.Body, c.conf.MaxMessage)
	switch {
	case errors.Is(err, ErrMessage), errors.Is(err, ErrTooLarge):
		return nil, fmt.Errorf("%s of %s: %w", r.what, r.id, err)
	case err != nil:
		return nil, errAgain{c.clean(err), true, 0}
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<10)) // so that the connection can be used again
	return m, nil
}

// clean is err without the address of the request.
func (c *Client) clean(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}

// refused is the error of an answer other than 200.
func (c *Client) refused(r request, resp *http.Response) error {
	var what Refusal
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || json.Unmarshal(body, &what) != nil || what.Error == "" {
		what.Error = http.StatusText(resp.StatusCode)
	}
	said := fmt.Sprintf("%s of %s: server says %d: %s", r.what, r.id, resp.StatusCode, what.Error)
	is := error(nil)
	switch resp.StatusCode {
	case http.StatusBadRequest:
		is = fs.ErrInvalid
	case http.StatusUnauthorized:
		is = fs.ErrPermission
	case http.StatusForbidden:
		is = fs.ErrPermission
		if what.Kind == KindSignature {
			is = keepio.ErrSignatureInvalid
		}
	case http.StatusNotFound:
		is = fs.ErrNotExist
	case http.StatusConflict:
		is = collfs.ErrStale
	case http.StatusGone:
		is = errGone
	case http.StatusRequestEntityTooLarge:
		is = ErrTooLarge
	case http.StatusUnprocessableEntity:
		is = fs.ErrInvalid
		if what.Kind == KindBlock {
			is = keepio.ErrNotFound
		}
	case http.StatusInsufficientStorage:
		is = keepio.ErrFull
	default:
		after := time.Duration(0)
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s >= 0 {
			after = time.Duration(min(s, 60)) * time.Second
		}
		if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout {
			return errAgain{errors.New(said), resp.StatusCode != http.StatusTooManyRequests, after}
		}
		is = fs.ErrInvalid
	}
	err = fmt.Errorf("%s: %w", said, is)
	if what.Path != "" {
		return &fs.PathError{Op: r.what, Path: what.Path, Err: err}
	}
	return err
}

// Kinds of refusals.
const (
	KindSignature = "signature"
	KindBlock     = "block"
)
