package collfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"keepdav/keepio"
)

// ApplyOptions say how ApplyWith goes about it.
type ApplyOptions struct {
	ID     ContentID // of the commit, if not zero; see ApplyWith
	Base   int64     // the revision that the change is for; 0: whatever is there
	Exact  bool      // Base is meant even if it is 0
	Keep   bool      // what it replaces is kept as a version, if anything is
	Stages []*Stage  // whose contents operations refer to; they are used up if it succeeds
}

// bound reports whether the change is for one revision only.
func (o *ApplyOptions) bound() bool { return o.Exact || o.Base != 0 }

// Apply is ApplyWith for a base and no other options.
func (c *Collection) Apply(ctx context.Context, base int64, build func(t *Tree) ([]Op, error)) (Record, error) {
	return c.ApplyWith(ctx, ApplyOptions{Base: base}, build)
}

// ApplyWith changes the collection by the operations that build returns, all of them
// or none, and returns its record then. They are a fact, and durable, before they
// show: nobody ever sees what is refused. Handles, Refs and views take them as the
// change of somebody else: who has a file open that gets another content, or loses
// its last name, goes on reading what was opened, and what is written to it is
// merged.
//
// What is not committed is committed first. If the revision is another one than
// Base then, or becomes another one before the operations are committed, the error
// is ErrStale; without a Base it is tried again.
//
// With an ID and a Base, what was committed to that base under that ID, a second time
// is not ErrStale, but the record with the revision that it made. So whoever got no
// answer may ask again. Base+1 is that revision, always. It is forgotten when the
// catalog has the change set no more: then it is ErrStale.
//
// build gets the tree as it is, which it must not change nor keep, and must not
// block nor call the collection: nothing else happens meanwhile. It may be called
// more than once. Its error is returned as it is, one of an operation that does not
// apply as an *fs.PathError. No operation is no change.
//
// After an error nothing has happened, but if it matches ErrUnknownOutcome: then the
// catalog could not say whether the operations became a fact. If they did, they show
// with the next refresh. Blocks that operations refer to must be stored or of one of
// the stages.
//
// The cost is that of the operations, not of the collection; operations that would
// add more than some millions of entries are ErrTooManyEntries.
func (c *Collection) ApplyWith(ctx context.Context, o ApplyOptions, build func(t *Tree) ([]Op, error)) (Record, error) {
	if c.ReadOnly() {
		return Record{}, ErrReadOnly
	}
	if c.fs.work.Err() != nil {
		return Record{}, ErrClosed
	}
	if err := c.takeTurn(ctx); err != nil {
		return Record{}, err
	}
	defer c.publish()
	defer c.endTurn()
	c.gate.Lock()
	defer c.gate.Unlock()
	var rec Record
	var err error
	for range maxMerges {
		var again bool
		if rec, again, err = c.tryApply(ctx, &o, build); !again {
			break
		}
		if rerr := c.rebase(ctx); rerr != nil {
			return Record{}, errors.Join(err, rerr)
		}
	}
	if errors.Is(err, ErrStale) && o.ID != (ContentID{}) && o.bound() {
		if was, ok := c.committedAs(ctx, o.ID, o.Base); ok {
			return was, nil
		}
	}
	if err != nil {
		return Record{}, err
	}
	for _, s := range o.Stages {
		s.end()
	}
	return rec, nil
}

// committedAs looks for the commit id that was made to the revision base, and
// returns the record with the revision that it made.
func (c *Collection) committedAs(ctx context.Context, id ContentID, base int64) (Record, bool) {
	d, ok := c.fs.cfg.Catalog.(Deltas)
	if !ok {
		return Record{}, false
	}
	rec, changes, kept, err := d.Since(ctx, c.key.id, base)
	if err != nil || !kept || len(changes) == 0 {
		return Record{}, false
	}
	ops, err := DecodeOps(changes[0], c.fs.cfg.Spool)
	if err != nil || !slices.ContainsFunc(ops, func(op Op) bool { return op.Kind == OpCommit && op.Content.ID == id }) {
		return Record{}, false
	}
	rec.Revision = base + 1
	return rec, true
}

// tryApply is one attempt of ApplyWith; again says that nothing has happened, or
// that it is not known, and that it may be tried again after a rebase.
func (c *Collection) tryApply(ctx context.Context, o *ApplyOptions, build func(t *Tree) ([]Op, error)) (rec Record, again bool, err error) {
	if err := c.commitTurn(ctx, true); err != nil {
		return Record{}, mayRetry(err), fmt.Errorf("commit before a change: %w", err)
	}
	b, err := c.plan(o, build)
	if err != nil {
		return Record{}, false, err
	}
	if len(b.change.Ops) == 0 {
		rec, err = c.Record(ctx)
		return rec, false, err
	}
	// Who asked may go away; leaving the outcome open would cost more than going on.
	ctx = context.WithoutCancel(ctx)
	records, err := c.hand(ctx, b)
	switch {
	case err == nil:
		c.applied(b.change.Ops, records[0])
		return records[0], false, nil
	case !errors.Is(err, ErrUnknownOutcome):
		c.putBack(b)
		return Record{}, errors.Is(err, ErrStale), err
	}
	c.putBack(b)
	took, known, terr := c.fs.tookPlace(ctx, &b.change)
	if terr != nil || !took {
		return Record{}, terr == nil && known, errors.Join(err, terr)
	}
	// It is a fact, but may not survive a loss of power.
	if err := c.rebase(ctx); err != nil {
		return Record{}, false, errors.Join(ErrUnknownOutcome, err)
	}
	c.mu.Lock()
	c.barrier = true
	c.mu.Unlock()
	if err := c.commitTurn(ctx, true); err != nil {
		return Record{}, false, errors.Join(ErrUnknownOutcome, err)
	}
	rec, err = c.Record(ctx)
	return rec, false, err
}

// plan asks build for the operations and finds out what they do.
func (c *Collection) plan(o *ApplyOptions, build func(t *Tree) ([]Op, error)) (*batch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.absorbed || c.deleted:
		return nil, fs.ErrNotExist
	case o.bound() && o.Base != c.record.Revision:
		return nil, fmt.Errorf("collection %s is at revision %d, not %d: %w", c.key.id, c.record.Revision, o.Base, ErrStale)
	}
	for _, s := range o.Stages {
		if s.done || s.c != c {
			return nil, ErrClosed
		}
	}
	ops, err := build(c.tree)
	if err != nil {
		return nil, err
	}
	if len(ops) > 0 && o.ID != (ContentID{}) {
		ops = append(slices.Clip(ops), Op{Kind: OpCommit, Content: Content{ID: o.ID}})
	}
	after, err := c.tree.tryAll(ops)
	if err != nil {
		return nil, err
	}
	if after.holes > maxHoles && after.holes > c.tree.holes {
		return nil, ErrTooSparse
	}
	if err := c.freezeBlocksLocked(unstored(ops)); err != nil {
		return nil, err
	}
	b := &batch{durable: true, barrier: c.barrier, extents: c.extents, unsynced: c.unsynced}
	c.extents, c.unsynced = nil, make(map[*keepio.Block]struct{})
	b.change = Change{
		Collection: c.key.id, Base: c.record.Revision, Ops: ops, Extents: b.extents,
		Files: after.files, Bytes: after.bytes, Keep: o.Keep,
	}
	return b, nil
}

// unstored returns the blocks of ops that are not stored, each once.
func unstored(ops []Op) (blocks []*keepio.Block) {
	seen := make(map[*keepio.Block]struct{})
	for i := range ops {
		for _, s := range ops[i].Content.Segments {
			if s.Block == nil {
				continue
			}
			if _, ok := seen[s.Block]; ok {
				continue
			}
			seen[s.Block] = struct{}{}
			if _, _, stored := s.Block.Stored(); !stored {
				blocks = append(blocks, s.Block)
			}
		}
	}
	return blocks
}

// applied makes the tree what ops, which are a fact, have made of the collection.
func (c *Collection) applied(ops []Op, rec Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range ops {
		if err := c.followLocked(&ops[i]); err != nil { // they were tried
			c.fs.cfg.Log.Error().Err(err).Str("collection", string(c.key.id)).Msg("a committed change did not apply")
		}
	}
	c.barrier = false
	c.record = rec
	c.resize()
}
