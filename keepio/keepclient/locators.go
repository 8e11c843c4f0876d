package keepclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"keepdav/keepio"
)

const (
	// lastMinute is what a signature must be good for, at least, when it is used.
	lastMinute = time.Minute

	// commitTime is what a signature must be good for, at least, for a commit: it
	// may take some attempts.
	commitTime = 10 * time.Minute

	// A source is not loaded again sooner than this after the last time.
	refreshPause = 10 * time.Second
	// retryRefresh is when to try again what failed in the background.
	retryRefresh = time.Minute
	// sweepPause is between searches for locators whose signatures have ended.
	sweepPause = time.Hour
	// sweepGrace is how long they stay, for their source may come back yet.
	sweepGrace = 24 * time.Hour
)

// Learn notes the locators of blocks, as a source has them: a collection, a
// version of one, or whatever can be loaded again under that name. It adds to
// what the source told before; locators whose signature has ended are forgotten
// by and by. Blocks that were pushed count as committed once a source has them.
func (c *Client) Learn(source string, locs []keepio.Locator) {
	earliest := c.known.learn(source, locs)
	if earliest != 0 {
		c.schedule(source, time.Unix(int64(earliest), 0))
	}
}

// Forget forgets what only the source has told.
func (c *Client) Forget(source string) {
	c.known.forget(source)
}

// Locator returns the locator of a block with its hints and the signature that
// ends last; ok is false if nobody has told it. It is what a manifest has.
func (c *Client) Locator(hash [16]byte, size uint32) (loc keepio.Locator, ok bool) {
	if size == 0 {
		return keepio.EmptyLocator, hash == keepio.EmptyLocator.Hash()
	}
	loc, _, ok = c.known.best(hash, size, c.now().Add(c.halfLife()))
	return loc, ok
}

// A Name is a block's name.
type Name struct {
	Hash [16]byte
	Size uint32
}

// Fading returns the blocks that were pushed and are in no source yet, of whose
// signature less than half its life is left by the cluster's clock. They have to
// be pushed again before they are committed, else the cluster may take them for
// garbage: by Push, or by CommitLocator. Those that nobody wants any more go when
// their signature ends.
func (c *Client) Fading() []Name {
	return c.known.pushedUntil(c.now().Add(c.halfLife()))
}

// halfLife is half of what a new signature is good for.
func (c *Client) halfLife() time.Duration { return c.servers.signatureLife() / 2 }

// CommitLocator returns the locator of a block for a manifest that is about to be
// committed. One of another cluster becomes a local one, as Localize says. A
// pushed block that fades (see Fading) is fetched and pushed again, which takes as
// long as that takes; a committed one whose signature is about to end has its
// source loaded. If that fails and the signature is still good for a while, it
// serves.
func (c *Client) CommitLocator(ctx context.Context, hash [16]byte, size uint32) (keepio.Locator, error) {
	loc, err := c.Localize(ctx, hash, size)
	if err != nil {
		return keepio.Locator{}, err
	}
	expiry, signed := loc.SignatureExpiry()
	if !signed {
		return loc, nil
	}
	now := c.now()
	_, source, _ := c.known.best(hash, size, now.Add(c.halfLife()))
	switch {
	case source != "" && expiry.After(now.Add(commitTime)), source == "" && expiry.After(now.Add(c.halfLife())):
		return loc, nil
	case source != "":
		err = c.refresh(ctx, source)
	default:
		err = c.copyHere(ctx, hash, size)
	}
	if err != nil && expiry.Before(now.Add(commitTime)) {
		return keepio.Locator{}, err
	}
	if ctx.Err() != nil {
		return keepio.Locator{}, ctx.Err()
	}
	loc, _ = c.Locator(hash, size)
	return loc, nil
}

// pushedNow notes the locator that a block got when it was stored.
func (c *Client) pushedNow(loc keepio.Locator) {
	r := &c.known
	r.mu.Lock()
	defer r.mu.Unlock()
	r.putLocked(r.byID[pushedSource], loc)
}

// pushedUntil returns the pushed blocks whose signatures end before t.
func (r *registry) pushedUntil(t time.Time) []Name {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var names []Name
	for at := r.byID[pushedSource].first; at != 0; at = r.at(at).next {
		e := r.at(at)
		if e.size != deadSize && e.expiry != unsignedExpiry && int64(e.expiry) < t.Unix() {
			names = append(names, Name{e.hash, e.size})
		}
	}
	return names
}

// freshLocator returns the locator to read a block with. If its signature is
// about to end its source is loaded first; if that fails, the servers decide.
func (c *Client) freshLocator(ctx context.Context, hash [16]byte, size uint32) (loc keepio.Locator, known bool) {
	now := c.now()
	loc, source, known := c.known.best(hash, size, now.Add(lastMinute))
	if !known {
		return keepio.MakeLocator(hash, int64(size)), false
	}
	if expiry, signed := loc.SignatureExpiry(); signed && expiry.Before(now.Add(lastMinute)) && source != "" {
		if c.refresh(ctx, source) == nil {
			if again, _, ok := c.known.best(hash, size, now.Add(lastMinute)); ok {
				loc = again
			}
		}
	}
	return loc, true
}

// otherLocator loads the source of a locator that servers refuse and returns
// what to try instead: loc itself if there is nothing else.
func (c *Client) otherLocator(ctx context.Context, hash [16]byte, size uint32, loc keepio.Locator) keepio.Locator {
	_, source, known := c.known.best(hash, size, c.now().Add(lastMinute))
	if !known || source == "" || c.refresh(ctx, source) != nil {
		return loc
	}
	if again, _, ok := c.known.best(hash, size, c.now().Add(lastMinute)); ok {
		return again
	}
	return loc
}

// A flight is a source being loaded again. err is set before done is closed.
type flight struct {
	done  chan struct{}
	ended time.Time
	err   error
}

// refresh loads a source again. Callers at the same time share the work, and so
// do those who come shortly after.
func (c *Client) refresh(ctx context.Context, source string) error {
	if c.cfg.Refresh == nil {
		return errors.New("signatures cannot be refreshed")
	}
	f := c.takeOff(source)
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeOff returns the flight of a source: the one under way or just ended, else
// a new one. It goes on when its first caller gives up, for others wait too.
func (c *Client) takeOff(source string) *flight {
	c.flightMu.Lock()
	defer c.flightMu.Unlock()
	if f := c.flights[source]; f != nil && (f.ended.IsZero() || time.Since(f.ended) < refreshPause) {
		return f
	}
	f := &flight{done: make(chan struct{})}
	if c.ctx.Err() != nil {
		f.err = fmt.Errorf("refresh signatures: %w", c.ctx.Err())
		close(f.done)
		return f
	}
	for name, old := range c.flights {
		if !old.ended.IsZero() && time.Since(old.ended) >= refreshPause {
			delete(c.flights, name)
		}
	}
	c.flights[source] = f
	c.wg.Go(func() { c.fly(f, source) })
	return f
}

func (c *Client) fly(f *flight, source string) {
	c.counts.refreshes.Add(1)
	c.unschedule(source) // Learn sets the next time
	err := c.cfg.Refresh(c.ctx, source)
	if err != nil {
		c.counts.refreshErrs.Add(1)
		err = fmt.Errorf("refresh signatures of %s: %w", source, err)
	}
	c.settle(source, err)
	c.flightMu.Lock()
	f.ended, f.err = time.Now(), err
	c.flightMu.Unlock()
	close(f.done)
}

// schedule sets the time at which to load a source again: when half of what is
// left until expiry has passed, a little sooner or later, so that many clients
// do not all come at once.
func (c *Client) schedule(source string, expiry time.Time) {
	now := c.now()
	left := max(expiry.Sub(now), 0)
	c.setDue(source, now.Add(max(left/2-rand.N(left/16+1), retryRefresh)))
}

// setDue sets the time at which to load a source again, unless an earlier one
// is set.
func (c *Client) setDue(source string, due time.Time) {
	c.known.mu.Lock()
	src := c.known.sources[source]
	wake := false
	if src != nil && (src.due.IsZero() || due.Before(src.due)) {
		src.due = due
		wake = due.Before(c.known.wake)
	}
	c.known.mu.Unlock()
	if wake {
		select {
		case c.due <- struct{}{}:
		default:
		}
	}
}

func (c *Client) unschedule(source string) {
	c.known.mu.Lock()
	defer c.known.mu.Unlock()
	if src := c.known.sources[source]; src != nil {
		src.due = time.Time{}
	}
}

// settle sees to it that a source which was loaded to no avail comes up again.
func (c *Client) settle(source string, err error) {
	c.known.mu.RLock()
	src := c.known.sources[source]
	unset := src != nil && src.due.IsZero()
	c.known.mu.RUnlock()
	if unset && err != nil {
		c.setDue(source, c.now().Add(retryRefresh))
	}
}

// refresher loads sources again when half the life of their signatures is over,
// and forgets locators that have ended.
func (c *Client) refresher() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	swept := time.Now()
	for {
		source, wait := c.known.firstDue(c.now())
		if wait <= 0 && c.cfg.Refresh != nil {
			if err := c.refresh(c.ctx, source); err != nil && c.ctx.Err() == nil {
				c.cfg.Log.Warn().Err(err).Msg("signatures are not refreshed")
			}
			c.postpone(source)
			continue
		}
		if time.Since(swept) >= sweepPause {
			c.known.sweep(c.now())
			swept = time.Now()
		}
		if c.cfg.Refresh == nil {
			wait = sweepPause
		}
		timer.Reset(min(max(wait, time.Second), sweepPause))
		select {
		case <-timer.C:
		case <-c.due:
		case <-c.ctx.Done():
			return
		}
	}
}

// postpone makes sure that a source which was just tried is not due still.
func (c *Client) postpone(source string) {
	soon := c.now().Add(retryRefresh)
	c.known.mu.Lock()
	defer c.known.mu.Unlock()
	if src := c.known.sources[source]; src != nil && !src.due.IsZero() && src.due.Before(soon) {
		src.due = soon
	}
}

// firstDue returns the source that is due first and the time until then.
func (r *registry) firstDue(now time.Time) (source string, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait = sweepPause
	for name, src := range r.sources {
		if d := src.due.Sub(now); !src.due.IsZero() && d < wait {
			source, wait = name, d
		}
	}
	r.wake = now.Add(wait)
	return source, wait
}

// sweep drops entries whose signature ended a while ago.
func (r *registry) sweep(now time.Time) {
	until := now.Add(-sweepGrace).Unix()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, src := range r.byID {
		r.pruneLocked(src, func(e *entry) bool { return e.expiry == unsignedExpiry || int64(e.expiry) >= until })
	}
}
