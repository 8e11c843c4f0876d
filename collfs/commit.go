package collfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"keepdav/keepio"
)

// A joiner makes concurrent commits of a collection share one.
type joiner struct {
	mu      sync.Mutex // guards the fields below
	next    *round     // begins when the one under way has ended
	running bool
}

// A round is one commit for all who asked before it began.
type round struct {
	durable bool
	done    chan struct{} // closed when err is set
	err     error
}

func (j *joiner) busy() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.running || j.next != nil
}

// maxMerges is how often a commit merges and tries again before it gives up.
const maxMerges = 20

// maxCarried is how much data a durable commit puts into its record, instead of
// having its blocks synced first. What is carried is written twice: above this
// the second sync costs less than that.
const maxCarried = 128 << 10

// Commit makes facts of all changes made before it was called: they are with the
// catalog then, survive the end of this process and, if durable, a loss of
// power. If it fails the changes stay as they are, and every later Commit tries
// them again and fails until they are committed. If ctx ends it returns, and the
// commit goes on without it.
func (c *Collection) Commit(ctx context.Context, durable bool) error {
	if c.ReadOnly() {
		return nil
	}
	if c.fs.work.Err() != nil {
		return ErrClosed
	}
	r := c.joinRound(durable)
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// joinRound returns the next commit, of which the caller is now one who asked.
func (c *Collection) joinRound(durable bool) *round {
	j := &c.join
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.next
	if r == nil {
		r = &round{done: make(chan struct{})}
		j.next = r
	}
	r.durable = r.durable || durable
	if !j.running {
		j.running = true
		c.fs.wg.Go(c.runRounds)
	}
	return r
}

// runRounds commits as long as somebody asks for it.
func (c *Collection) runRounds() {
	j := &c.join
	for {
		err := c.takeTurn(c.fs.work)
		j.mu.Lock()
		r := j.next
		j.next = nil
		if r == nil {
			j.running = false
			j.mu.Unlock()
			if err == nil {
				c.endTurn()
			}
			return
		}
		j.mu.Unlock()
		if err == nil {
			err = c.commitTurn(c.fs.work, r.durable)
			c.endTurn()
		}
		c.publish()
		r.err = err
		close(r.done)
	}
}

// A batch is what one commit hands to the catalog.
type batch struct {
	durable  bool
	barrier  bool     // commits before it have to become durable
	changes  []change // of the tree already; none if they will be when they are a fact
	extents  []keepio.Extent
	unsynced map[*keepio.Block]struct{}
	change   Change
}

// commitTurn commits what there is. The caller has c's turn.
func (c *Collection) commitTurn(ctx context.Context, durable bool) error {
	err := c.tryCommit(ctx, durable)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
	return err
}

func (c *Collection) tryCommit(ctx context.Context, durable bool) error {
	if c.isUnclear() {
		if err := c.rebase(ctx); err != nil {
			return err
		}
	}
	for range maxMerges {
		b, err := c.take(durable)
		if err != nil || b == nil {
			return err
		}
		records, err := c.hand(ctx, b)
		if err == nil {
			c.accept(b, records)
			return nil
		}
		c.putBack(b)
		switch {
		case errors.Is(err, ErrUnknownOutcome) && len(b.changes) == 0:
			return err // nothing to find out: what is there isn't known to be durable
		case errors.Is(err, ErrUnknownOutcome):
			c.mu.Lock()
			c.unclear = len(b.changes)
			c.mu.Unlock()
		case !errors.Is(err, ErrStale):
			return err
		}
		if rerr := c.rebase(ctx); rerr != nil {
			return errors.Join(err, rerr)
		}
	}
	return fmt.Errorf("merged %d times: %w", maxMerges, ErrStale)
}

func (c *Collection) isUnclear() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.unclear > 0
}

// take collects what is to be committed; nil if there is nothing.
func (c *Collection) take(durable bool) (*batch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleAllLocked()
	if len(c.pending) == 0 && !(durable && c.barrier) {
		return nil, nil
	}
	if err := c.freezeBlocksLocked(c.pendingBlocksLocked()); err != nil {
		return nil, err
	}
	b := &batch{durable: durable, barrier: c.barrier, changes: c.pending}
	c.pending, c.handed = nil, len(b.changes)
	if len(b.changes) > 0 {
		b.extents, c.extents = c.extents, nil
	}
	if durable {
		b.unsynced, c.unsynced = c.unsynced, make(map[*keepio.Block]struct{})
	}
	b.change = Change{
		Collection: c.key.id, Base: c.record.Revision, Extents: b.extents,
		Files: c.tree.files, Bytes: c.tree.bytes, Ops: opsOf(b.changes),
	}
	return b, nil
}

// pendingBlocksLocked returns the blocks that pending changes refer to and that
// are not stored.
func (c *Collection) pendingBlocksLocked() []*keepio.Block {
	var blocks []*keepio.Block
	seen := make(map[*keepio.Block]struct{})
	var last *keepio.Block
	for i := range c.pending {
		for _, s := range c.pending[i].Content.Segments {
			if s.Block == nil || s.Block == last {
				continue
			}
			last = s.Block
			if _, ok := seen[last]; ok {
				continue
			}
			seen[last] = struct{}{}
			if _, _, stored := last.Stored(); !stored {
				blocks = append(blocks, last)
			}
		}
	}
	return blocks
}

// hand makes durable what b needs, or has b carry it, and gives b to the catalog.
func (c *Collection) hand(ctx context.Context, b *batch) ([]Record, error) {
	if b.durable && len(b.unsynced) > 0 {
		blocks := make([]*keepio.Block, 0, len(b.unsynced))
		for k := range b.unsynced {
			blocks = append(blocks, k)
		}
		carry, err := c.fs.cfg.Spool.Carry(blocks, b.extents, maxCarried)
		if err == nil && !carry {
			err = c.fs.cfg.Spool.Sync(ctx, blocks)
		}
		if err != nil {
			return nil, err
		}
	}
	tx := Tx{Durable: b.durable}
	if len(b.change.Ops) > 0 {
		tx.Changes = []Change{b.change}
	}
	records, err := c.fs.cfg.Catalog.Commit(ctx, tx)
	if err == nil && b.durable {
		c.fs.cfg.Spool.Carried(b.extents)
	}
	for i := range b.extents {
		b.extents[i].Data = nil // they may be handed out again, with other blocks
	}
	return records, err
}

// accept notes that b is a fact.
func (c *Collection) accept(b *batch, records []Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unclear, c.handed = 0, 0
	c.barrier = !b.durable
	if c.since = 0; len(c.pending)+len(c.dirty) > 0 {
		c.since = c.fs.cfg.Now().UnixNano()
	}
	if len(records) > 0 {
		c.record = records[0]
	}
}

// putBack takes b back: its changes are in front of those made since.
func (c *Collection) putBack(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handed = 0
	c.pending = append(slices.Clip(b.changes), c.pending...)
	c.extents = append(slices.Clip(b.extents), c.extents...)
	for k := range b.unsynced {
		c.unsynced[k] = struct{}{}
	}
}

// CommitAll commits what is dirty in all collections. Its error says what could
// not be committed.
func (f *FS) CommitAll(ctx context.Context, durable bool) error {
	cs, done := f.Loaded()
	defer done()
	var errs []error
	for _, c := range cs {
		if err := c.Commit(ctx, durable); err != nil {
			errs = append(errs, fmt.Errorf("collection %s: %w", c.key.id, err))
		}
	}
	return errors.Join(errs...)
}

// Refresh merges what others have changed, if anything.
func (c *Collection) Refresh(ctx context.Context) error {
	rec, err := c.fs.cfg.Catalog.Record(ctx, c.key.id)
	if err != nil {
		return err
	}
	return c.refresh(ctx, rec.Revision)
}

// refresh is Refresh for a revision that is known to exist.
func (c *Collection) refresh(ctx context.Context, revision int64) error {
	if c.ReadOnly() {
		return nil
	}
	if err := c.takeTurn(ctx); err != nil {
		return err
	}
	defer c.publish()
	defer c.endTurn()
	if c.revision() >= revision {
		return nil
	}
	return c.rebase(ctx)
}

// rebase makes c's tree what the catalog has, with our pending changes on top.
// The caller has c's turn.
func (c *Collection) rebase(ctx context.Context) error {
	if done, err := c.followChanges(ctx); done || err != nil {
		return err
	}
	rec, saved, err := c.fs.cfg.Catalog.Load(ctx, c.key.id, 0)
	if err != nil {
		return err
	}
	if rec.Revision == c.revision() {
		c.mu.Lock()
		c.unclear = 0 // it did not take place
		c.mu.Unlock()
		return nil
	}
	theirs, err := Load(saved, c.fs.cfg.Spool)
	if err != nil {
		return fmt.Errorf("collection %s: %w", c.key.id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleAllLocked()
	ours := c.pending
	if c.tookPlaceLocked(rec, saved) {
		ours, c.barrier = ours[c.unclear:], true
	}
	m := newMerger(theirs, rec.ModifiedAt, ours)
	m.replayAll()
	if m.err != nil {
		return fmt.Errorf("merge: %w", m.err)
	}
	c.pending, c.unclear = m.out, 0
	c.replaceTreeLocked(theirs)
	c.record = rec
	c.conflictsLocked(m)
	return nil
}

// tookPlaceLocked reports whether the commit whose outcome wasn't known is the
// one that followed our revision.
func (c *Collection) tookPlaceLocked(rec Record, saved Saved) bool {
	return c.unclear > 0 && tookPlace(rec, saved, c.record.Revision, opsOf(c.pending[:c.unclear]), c.fs.cfg.Spool)
}

// sameAt returns the first file without handles at one of paths that has a content.
func (t *Tree) sameAt(paths []string, id ContentID) *node {
	for _, path := range paths {
		if n := t.lookup(path); n != nil && !n.isDir() && n.id == id && n.open == nil {
			return n
		}
	}
	return nil
}

// replaceTreeLocked puts another tree in the place of c's. Files with handles
// move over where it has the same content; elsewhere they are superseded.
func (c *Collection) replaceTreeLocked(t *Tree) {
	paths := make(map[*node][]string)
	for n := range c.opened {
		if n.open.state == stateLinked {
			paths[n] = n.paths()
		}
	}
	old := c.tree
	c.tree = t
	for n, names := range paths {
		if at := t.sameAt(names, n.id); at != nil {
			if !sameAttr(n.attr, at.attr) {
				c.noteLocked(Notice{Path: names[0], At: Key{n.open}})
			}
			c.attachLocked(n, at)
			continue
		}
		n.up = nil
		n.open.state, n.open.path = stateSuperseded, names[0]
	}
	for it := range old.root.walk("") {
		if it.node.open != nil && !it.node.hasHandles() {
			it.node.swing(t.lookup(it.path))
		}
	}
	c.changes++
	c.resize()
	c.noteLocked(Notice{Tree: true})
	c.noteReplacedLocked("", old.root, t.root)
}
