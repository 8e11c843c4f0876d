package keepclient

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"keepdav/keepio"
)

const (
	// keepTail is how much of a block keepstore holds back until it knows that
	// the hash is right. A reply that ends so early tells of a bad copy.
	keepTail = 64 << 10

	// corruptTries is how often a server is asked that sent other bytes than the
	// block's: they may have been spoilt on the way.
	corruptTries = 2
)

// Fetch is the method of keepio.Remote. Servers are asked one after the other:
// those that the locator hints at, then in probe order. What all of them lack is
// keepio.ErrNotFound; what they hold but not whole, keepio.ErrCorrupt; what they
// refuse to this token matches fs.ErrPermission; all else keepio.ErrUnavailable.
// An error of sink is returned as it is.
func (c *Client) Fetch(ctx context.Context, hash [16]byte, size uint32, sink keepio.Sink) error {
	if size > keepio.BlockSize || size == 0 && hash != md5.Sum(nil) {
		return fmt.Errorf("block %x+%d: %w", hash, size, keepio.ErrNotFound)
	}
	if size == 0 {
		return ctx.Err() // nobody needs to be asked for the empty block
	}
	f := &fetch{op: c.newOp(hash, size), hash: hash, size: size, sink: sink, asked: make(map[string]*asked)}
	if err := f.run(ctx); err != nil {
		return err
	}
	c.counts.fetches.Add(1)
	return nil
}

// A fetch is one call of Fetch.
type fetch struct {
	*op
	hash  [16]byte
	size  uint32
	sink  keepio.Sink
	dirty bool // the sink has got bytes that do not count

	signed    keepio.Locator // what we ask for
	known     bool           // signed was taught to us
	refreshed bool           // its source was loaded again on a server's word
	asked     map[string]*asked
}

// asked is what came of asking a server.
type asked struct {
	corrupt int
	done    bool // it need not be asked again
}

func (f *fetch) run(ctx context.Context) error {
	f.signed, f.known = f.freshLocator(ctx, f.hash, f.size)
	for round := 0; ; round++ {
		servers, err := f.servers.services(ctx, f.cfg.Token)
		if err != nil {
			return f.wrap(err)
		}
		again := false
		for _, t := range f.targets(servers) {
			done, more, err := f.ask(ctx, t)
			if done || err != nil {
				return err
			}
			again = again || more
		}
		if !again && f.servers.freshen(ctx, f.cfg.Token) {
			continue // the block may be on a server that we did not know
		}
		if !again || round+1 >= f.rounds || !f.rest(ctx, round) {
			return f.fail(ctx, f.kind())
		}
	}
}

// kind is what the failures at all servers come to.
func (f *fetch) kind() error {
	switch {
	case f.failed.any(later), f.failed.any(never), f.failed.any(full), f.failed.any(tooLarge), len(f.failed.last) == 0:
		return keepio.ErrUnavailable
	case f.failed.any(refused) && f.known:
		return errRefused
	case f.failed.any(corrupt):
		return keepio.ErrCorrupt
	}
	// Also if servers want a signature and nobody told us of the block.
	return keepio.ErrNotFound
}

// ask tries to fetch from one server. done means that the block has come, more
// that the server should be asked again in a later round.
func (f *fetch) ask(ctx context.Context, t target) (done, more bool, err error) {
	a := f.asked[t.base]
	if a == nil {
		a = new(asked)
		f.asked[t.base] = a
	}
	if a.done {
		return false, false, nil
	}
	fail, err := f.get(ctx, t)
	if fail != nil && fail.verdict == refused && f.renew(ctx) {
		fail, err = f.get(ctx, t)
	}
	if fail == nil || err != nil {
		return err == nil, false, err
	}
	if ctx.Err() != nil {
		return false, false, f.fail(ctx, nil)
	}
	f.failed.add(fail)
	switch fail.verdict {
	case later:
	case corrupt:
		a.corrupt++
		a.done = a.corrupt >= corruptTries
	default:
		a.done = true
	}
	return false, !a.done, nil
}

// renew loads the block's source again, once, because a server refuses its
// signature. It reports whether there is another one now.
func (f *fetch) renew(ctx context.Context) bool {
	if f.refreshed || !f.known {
		return false
	}
	f.refreshed = true
	old := f.signed
	f.signed = f.otherLocator(ctx, f.hash, f.size, old)
	return f.signed != old
}

// get asks one server for the block. A failure is the server's, an error ends
// the fetch.
func (f *fetch) get(ctx context.Context, t target) (*failure, error) {
	if err := t.reads.acquire(ctx); err != nil {
		return nil, f.fail(ctx, err)
	}
	fail, err := f.getLimited(ctx, t)
	t.reads.release(fail == nil && err == nil, fail != nil && overloaded(fail))
	if ctx.Err() == nil {
		t.saw(fail)
	}
	return fail, err
}

func (f *fetch) getLimited(ctx context.Context, t target) (*failure, error) {
	req, err := http.NewRequest(http.MethodGet, t.base+"/"+f.signed.String(), nil)
	if err != nil {
		return nil, f.wrap(errors.New("locator does not fit a URL"))
	}
	f.setHeaders(req, t.token)
	sums, wantsSums := f.sink.(keepio.SumSink)
	if wantsSums = wantsSums && f.size > keepio.ChunkSize; wantsSums {
		req.Header.Set(sumsHeader, sumsKind)
	}
	rt, limits := f.servers.transport(t.server)
	x, err := roundTrip(ctx, rt, req, limits.get)
	if err != nil {
		return &failure{server: t.base, err: err}, nil
	}
	defer x.close()
	f.servers.sawDate(x.resp.Header)
	switch {
	case x.resp.StatusCode != http.StatusOK:
		return statusFailure(t.server, x, f.servers, f.message(x)), nil
	case x.resp.ContentLength != int64(f.size):
		return &failure{server: t.base, verdict: corrupt, err: fmt.Errorf("reply has %d bytes instead of %d: %w", x.resp.ContentLength, f.size, errOtherReply)}, nil
	}
	if f.dirty {
		if err := f.sink.Restart(); err != nil {
			return nil, err
		}
		f.dirty = false
	}
	if wantsSums {
		if list := parseSums(x.resp.Header.Get(sumsHeader)); list != nil {
			f.dirty = true // another server may have others
			sums.Expect(list)
		}
	}
	return f.receive(t, x)
}

// Our own servers tell the sums of a block's chunks to those who ask: the header's
// value is the kind of sum and, in an answer, a space and the sums, four bytes
// little-endian each, in base64. Other servers know nothing of it.
const (
	sumsHeader = "X-Keepdav-Sums"
	sumsKind   = "crc32c"
)

// parseSums reads the header of an answer; nil means that it has no sums.
func parseSums(value string) []uint32 {
	text, ok := strings.CutPrefix(value, sumsKind+" ")
	if !ok {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b)%4 != 0 {
		return nil
	}
	sums := make([]uint32, len(b)/4)
	for i := range sums {
		sums[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return sums
}

// receive passes the reply's body to the sink and judges it.
func (f *fetch) receive(t target, x *transfer) (*failure, error) {
	f.dirty = true
	v := newVerifier(f.size)
	n, readErr, sinkErr := v.copy(f.sink, x)
	sum := v.sum()
	t.stats.bytesIn.Add(n)
	f.counts.bytesIn.Add(n)
	switch {
	case sinkErr != nil:
		return nil, sinkErr
	case readErr != nil:
		fail := &failure{server: t.base, err: fmt.Errorf("after %d of %d bytes: %w", n, f.size, x.explain(readErr))}
		if errors.Is(fail.err, io.ErrUnexpectedEOF) && int64(f.size)-n <= keepTail {
			fail.verdict = corrupt
		}
		return fail, nil
	case n != int64(f.size) || sum != f.hash:
		return &failure{server: t.base, verdict: corrupt, err: errors.New("bytes do not have the block's MD5")}, nil
	}
	return nil, nil
}

// setHeaders sets the headers that all requests to services have.
func (o *op) setHeaders(req *http.Request, token string) {
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("X-Request-Id", o.request)
	req.Header.Set("User-Agent", userAgent)
}

const userAgent = "keepdav"

// message reads what a server says about a failure, and so frees its connection.
func (o *op) message(x *transfer) string {
	text, _ := io.ReadAll(io.LimitReader(x.resp.Body, 4<<10)) // what there is
	return scrub(string(text), o.cfg.Token)
}

// overloaded reports whether a server refused for lack of resources.
func overloaded(f *failure) bool {
	se, ok := errors.AsType[*statusError](f.err)
	return ok && (se.code == http.StatusServiceUnavailable || se.code == http.StatusTooManyRequests)
}
