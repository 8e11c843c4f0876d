package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"keepdav/collfs"
	"keepdav/keepio"
)

// Commit is collfs.Catalog. What the server has said yes to survives a loss of
// power, so that a Tx that is durable is like any other. More than one record or
// change is more than one request: see transaction.
func (c *Catalog) Commit(ctx context.Context, tx collfs.Tx) ([]collfs.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(tx.Records) == 0 && len(tx.Changes) == 0 {
		return nil, nil
	}
	if err := c.names.load(ctx); err != nil {
		return nil, err
	}
	t := &transaction{c: c, tx: tx, fresh: make(map[collfs.UUID]*collfs.Change)}
	records, err := t.run(ctx)
	if err == nil && c.conf.Committed != nil {
		for i := range tx.Changes {
			c.conf.Committed(tx.Changes[i].Collection)
		}
	}
	return records, err
}

// A transaction does what a Tx asks for, one request after the other:
//
//   - all that can be found out before is: bases, what is to be as it was seen;
//   - the operations on records in their order, but for those at the end that put
//     something in the trash: what is moved elsewhere must be there first;
//   - the changes in their order, which has what receives before what gives;
//   - then what goes to the trash.
//
// If a request fails, what was done before it on records is undone, as far as it can
// be. A change that was made stays: a move that fails in the middle has become a copy.
// If it is only that somebody else was faster, who asked for the move can go on with it:
// that is collfs.ErrPartly.
type transaction struct {
	c     *Catalog
	tx    collfs.Tx
	fresh map[collfs.UUID]*collfs.Change // changes of collections that are made with them
	held  []*entry
	undo  []func(ctx context.Context) error
	ends  []func() // of what is to end with the transaction
}

func (t *transaction) run(ctx context.Context) (records []collfs.Record, err error) {
	for i := range t.tx.Records {
		if op := &t.tx.Records[i]; op.Kind == collfs.CreateCollection {
			t.fresh[op.UUID] = nil
		}
	}
	var ids []string
	for i := range t.tx.Changes {
		ch := &t.tx.Changes[i]
		if _, ok := t.fresh[ch.Collection]; ok {
			t.fresh[ch.Collection] = ch
			continue
		}
		if isPDH(string(ch.Collection)) {
			return nil, fmt.Errorf("collection %s: %w", ch.Collection, collfs.ErrReadOnly)
		}
		ids = append(ids, t.c.realID(ch.Collection))
	}
	// All wait for turns in the same order.
	slices.Sort(ids)
	defer t.release()
	for _, id := range slices.Compact(ids) {
		e := t.c.entry(id)
		if err := e.take(ctx); err != nil {
			return nil, err
		}
		t.held = append(t.held, e)
	}
	if len(t.tx.Records) > 0 || len(t.tx.Changes) > 1 {
		if err := t.check(ctx); err != nil {
			return nil, err
		}
	}
	if records, err = t.steps(ctx); err != nil {
		if errors.Is(err, collfs.ErrPartly) {
			return records, err
		}
		if errors.Is(err, collfs.ErrUnknownOutcome) { // what was done before may be all that there is
			return nil, err
		}
		return nil, t.takeBack(ctx, err)
	}
	return records, nil
}

func (t *transaction) release() {
	for _, end := range t.ends {
		end()
	}
	for _, e := range t.held {
		e.give()
	}
}

// check finds out what can be known before anything is done.
func (t *transaction) check(ctx context.Context) error {
	for i := range t.tx.Changes {
		ch := &t.tx.Changes[i]
		if _, ok := t.fresh[ch.Collection]; ok {
			if ch.Base != 0 {
				return fmt.Errorf("collection %s is new: %w", ch.Collection, collfs.ErrStale)
			}
			continue
		}
		if err := t.c.checkBase(ctx, t.c.entry(t.c.realID(ch.Collection)), ch.Base); err != nil {
			return t.c.wrap("collection", ch.Collection, err)
		}
	}
	return t.checkStill(ctx)
}

// steps does everything.
func (t *transaction) steps(ctx context.Context) ([]collfs.Record, error) {
	last := len(t.tx.Records)
	for last > 0 && t.tx.Records[last-1].Kind == collfs.Trash && len(t.tx.Changes) > 0 {
		last--
	}
	made := make(map[collfs.UUID]collfs.Record)
	for i := range t.tx.Records[:last] {
		if err := t.record(ctx, &t.tx.Records[i], made); err != nil {
			return nil, err
		}
	}
	records := make([]collfs.Record, 0, len(t.tx.Changes))
	for i := range t.tx.Changes {
		ch := &t.tx.Changes[i]
		if rec, ok := made[ch.Collection]; ok {
			records = append(records, rec)
			continue
		}
		rec, err := t.c.commitChange(ctx, t.c.entry(t.c.realID(ch.Collection)), ch)
		if err != nil {
			err = t.c.wrap("collection", ch.Collection, err)
			switch {
			case i == 0 || !errors.Is(err, collfs.ErrStale):
			case last == len(t.tx.Records):
				return records, fmt.Errorf("%w: %w", collfs.ErrPartly, err)
			default: // stale would have the first part made again
				err = fmt.Errorf("part of it took place, as a copy: %w: %s", keepio.ErrUnavailable, err)
			}
			return nil, err
		}
		records = append(records, rec)
	}
	for i := last; i < len(t.tx.Records); i++ {
		if err := t.record(ctx, &t.tx.Records[i], made); err != nil {
			if len(t.tx.Changes) > 0 && errors.Is(err, collfs.ErrStale) {
				err = fmt.Errorf("part of it took place, as a copy: %w: %s", keepio.ErrUnavailable, err)
			}
			return nil, err
		}
	}
	return records, nil
}

// takeBack undoes what was done on records, the last first.
func (t *transaction) takeBack(ctx context.Context, err error) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, undo := range slices.Backward(t.undo) {
		if uerr := undo(ctx); uerr != nil {
			errs = append(errs, uerr)
		}
	}
	if uerr := errors.Join(errs...); uerr != nil {
		return fmt.Errorf("%w; what was done before could not be undone: %w", err, uerr)
	}
	return err
}

// undone adds what undoes a step.
func (t *transaction) undone(undo func(ctx context.Context) error) { t.undo = append(t.undo, undo) }
