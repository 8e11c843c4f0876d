package keepclient

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"keepdav/keepio"
)

// Localize returns a locator of the block that a manifest of this cluster may
// have. One that came from another cluster has a permission of that cluster (+R),
// which the API refuses: then a keepstore is asked to copy the block here. A proxy
// does not pass that request on, so through proxies the block is fetched and
// pushed. The locator is known from then on as if the block had been pushed.
//
// Errors are those of Fetch.
func (c *Client) Localize(ctx context.Context, hash [16]byte, size uint32) (keepio.Locator, error) {
	if size == 0 && hash == keepio.EmptyLocator.Hash() {
		return keepio.EmptyLocator, nil
	}
	loc, ok := c.Locator(hash, size)
	if !ok {
		return keepio.Locator{}, fmt.Errorf("block %x+%d: %w", hash, size, keepio.ErrNotFound)
	}
	if loc.Signed() || !foreign(loc) {
		return loc, nil
	}
	l := &localize{op: c.newOp(hash, size), foreign: loc, done: make(map[string]bool)}
	if copied, err := l.run(ctx); err != nil {
		return keepio.Locator{}, err
	} else if copied {
		return l.local, nil
	}
	if err := c.copyHere(ctx, hash, size); err != nil {
		return keepio.Locator{}, err
	}
	loc, _ = c.Locator(hash, size)
	return loc, nil
}

// foreign reports whether a locator has a permission of another cluster.
func foreign(loc keepio.Locator) bool {
	for hint := range hints(loc.String()) {
		if hint[0] == 'R' {
			return true
		}
	}
	return false
}

// A localize is one call of Localize, to keepstores.
type localize struct {
	*op
	foreign, local keepio.Locator
	done           map[string]bool // servers that need not be asked again
}

// run asks servers for a local locator. It reports false if there is none that
// can copy the block.
func (l *localize) run(ctx context.Context) (copied bool, err error) {
	for round := 0; ; round++ {
		servers, err := l.servers.services(ctx, l.cfg.Token)
		if err != nil {
			return false, l.wrap(err)
		}
		asked, again := false, false
		for _, s := range probeOrder(l.loc.HashHex(), servers) {
			if s.proxy || l.done[s.base] {
				continue
			}
			asked = true
			fail := l.head(ctx, s)
			switch {
			case fail == nil:
				l.pushedNow(l.local)
				return true, nil
			case ctx.Err() != nil:
				return false, l.fail(ctx, nil)
			case fail.verdict == later || fail.verdict == corrupt:
				again = true
			default:
				l.done[s.base] = true
			}
			l.failed.add(fail)
		}
		if !asked && len(l.failed.last) == 0 {
			return false, nil
		}
		if !again || round+1 >= l.rounds || !l.rest(ctx, round) {
			return false, l.fail(ctx, l.kind())
		}
	}
}

func (l *localize) kind() error {
	switch {
	case l.failed.any(later), l.failed.any(corrupt):
		return keepio.ErrUnavailable
	case l.failed.any(refused):
		return errRefused
	case l.failed.any(full):
		return keepio.ErrFull
	case l.failed.any(absent):
		return keepio.ErrNotFound
	}
	return keepio.ErrUnavailable
}

// head asks one server to copy the block and to sign it.
func (l *localize) head(ctx context.Context, s *server) *failure {
	if err := s.reads.acquire(ctx); err != nil {
		return &failure{server: s.base, err: err}
	}
	fail := l.headLimited(ctx, s)
	s.reads.release(fail == nil, fail != nil && overloaded(fail))
	if ctx.Err() == nil {
		s.saw(fail)
	}
	return fail
}

func (l *localize) headLimited(ctx context.Context, s *server) *failure {
	req, err := http.NewRequest(http.MethodHead, s.base+"/"+l.foreign.String(), nil)
	if err != nil {
		return &failure{server: s.base, verdict: never, err: errOtherReply}
	}
	l.setHeaders(req, l.cfg.Token)
	req.Header.Set("X-Keep-Signature", "local, time="+l.now().UTC().Format(time.RFC3339))
	// No byte comes while the server fetches the block from far away.
	x, err := roundTrip(ctx, l.servers.direct, req, proxyTimeouts.put)
	if err != nil {
		return &failure{server: s.base, err: err}
	}
	defer x.close()
	l.servers.sawDate(x.resp.Header)
	if x.resp.StatusCode != http.StatusOK {
		return statusFailure(s, x, l.servers, "")
	}
	loc, err := keepio.ParseLocator(x.resp.Header.Get("X-Keep-Locator"))
	if err != nil || loc.Bare() != l.loc.Bare() || foreign(loc) {
		return &failure{server: s.base, verdict: never, err: fmt.Errorf("no local locator: %w", errOtherReply)}
	}
	l.local = loc
	return nil
}

// copyHere fetches a block and pushes it.
func (c *Client) copyHere(ctx context.Context, hash [16]byte, size uint32) error {
	f, err := os.CreateTemp("", "keep-*")
	if err != nil {
		return fmt.Errorf("block %x+%d: %w", hash, size, err)
	}
	defer func() { _ = f.Close() }() // it has no name and nobody needs it
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("block %x+%d: %w", hash, size, err)
	}
	if err := c.Fetch(ctx, hash, size, fileSink{f}); err != nil {
		return err
	}
	return c.Push(ctx, f, hash, size)
}

// A fileSink writes a block to a file from its beginning.
type fileSink struct{ f *os.File }

func (s fileSink) Write(p []byte) (int, error) { return s.f.Write(p) }

func (s fileSink) Restart() error {
	_, err := s.f.Seek(0, 0)
	return err
}
