package memcatalog

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"keepdav/collfs"
)

// Commit is collfs.Catalog.
func (c *Catalog) Commit(ctx context.Context, tx collfs.Tx) ([]collfs.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out Outcome
	if c.Fault != nil {
		out = c.Fault(ctx, tx)
	}
	if out.Err != nil && !out.Done {
		return nil, out.Err
	}
	records, err := c.commit(tx)
	if err == nil && out.Err != nil {
		return nil, out.Err
	}
	return records, err
}

func (c *Catalog) commit(tx collfs.Tx) ([]collfs.Record, error) {
	defer c.publish()
	c.mu.Lock()
	defer c.mu.Unlock()
	undo := c.save(tx)
	records, err := c.apply(tx)
	if err != nil {
		undo()
		return nil, err
	}
	c.commits++
	return records, nil
}

// save returns what undoes everything that apply does.
func (c *Catalog) save(tx collfs.Tx) (undo func()) {
	collections := make(map[collfs.UUID]collection, len(c.collections))
	projects := make(map[collfs.UUID]project, len(c.projects))
	if len(tx.Records) == 0 { // nothing else is touched
		for _, ch := range tx.Changes {
			if k := c.collections[ch.Collection]; k != nil {
				collections[ch.Collection] = *k
			}
		}
	} else {
		for id, k := range c.collections {
			collections[id] = *k
		}
		for id, p := range c.projects {
			projects[id] = *p
		}
	}
	seq, pending := c.seq, len(c.pending)
	return func() {
		c.seq, c.pending = seq, c.pending[:pending]
		for id, k := range collections {
			c.collections[id] = &k
		}
		if len(tx.Records) == 0 {
			return
		}
		for id, p := range projects {
			c.projects[id] = &p
		}
		for id := range c.collections {
			if _, ok := collections[id]; !ok {
				delete(c.collections, id)
			}
		}
		for id := range c.projects {
			if _, ok := projects[id]; !ok {
				delete(c.projects, id)
			}
		}
	}
}

func (c *Catalog) apply(tx collfs.Tx) ([]collfs.Record, error) {
	now := c.now()
	for _, op := range tx.Records {
		if err := c.applyRecord(op, now); err != nil {
			return nil, err
		}
	}
	records := make([]collfs.Record, 0, len(tx.Changes))
	for _, ch := range tx.Changes {
		k, err := c.collection(ch.Collection)
		if err != nil {
			return nil, err
		}
		if k.trashed != "" {
			return nil, fmt.Errorf("collection %s is in the trash: %w", ch.Collection, fs.ErrNotExist)
		}
		if ch.Base != k.Revision {
			return nil, fmt.Errorf("collection %s is at revision %d, not %d: %w", ch.Collection, k.Revision, ch.Base, collfs.ErrStale)
		}
		if k.Revision > 0 && (ch.Keep || now.Sub(k.ModifiedAt) >= VersionIdle) {
			k.versions = append(slices.Clip(k.versions), version{k.record(), len(k.changes)})
			k.Version++
		}
		k.changes = append(k.changes, change{collfs.AppendOps(nil, ch.Ops)})
		k.Revision++
		k.Files, k.Bytes, k.PDH, k.ModifiedAt = ch.Files, ch.Bytes, "", now
		c.event(collfs.Event{UUID: k.UUID, Owner: k.Owner, Kind: collfs.ContentChanged, Revision: k.Revision}, now)
		records = append(records, k.record())
	}
	return records, nil
}

func (c *Catalog) event(e collfs.Event, now time.Time) {
	c.seq++
	e.Seq, e.At = c.seq, now
	c.pending = append(c.pending, e)
}

func (c *Catalog) applyRecord(op collfs.RecordOp, now time.Time) error {
	if op.Kind == collfs.CreateCollection || op.Kind == collfs.CreateProject {
		return c.create(op, now)
	}
	k, p := c.collections[op.UUID], c.projects[op.UUID]
	if k == nil && p == nil {
		return fmt.Errorf("record %s: %w", op.UUID, fs.ErrNotExist)
	}
	switch op.Kind {
	case collfs.Move:
		return c.move(op, now)
	case collfs.Update:
		if k != nil {
			k.Properties, k.Description, k.ModifiedAt = slices.Clone(op.Properties), op.Desc, now
			c.event(collfs.Event{UUID: k.UUID, Owner: k.Owner, Name: k.Name, Kind: collfs.RecordChanged, Revision: k.Revision}, now)
		}
		return nil
	case collfs.Trash:
		if c.isTrashed(op.UUID) {
			return fmt.Errorf("record %s is in the trash: %w", op.UUID, fs.ErrNotExist)
		}
		if err := c.checkStill(op); err != nil {
			return err
		}
		c.trash(op.UUID, op.UUID, now)
		return nil
	case collfs.Untrash:
		return c.untrash(op, now)
	case collfs.DeleteNow:
		if !c.isTrashed(op.UUID) {
			return fmt.Errorf("record %s is not in the trash: %w", op.UUID, fs.ErrInvalid)
		}
		c.delete(op.UUID, now)
		return nil
	}
	return fmt.Errorf("record operation %d: %w", op.Kind, fs.ErrInvalid)
}

func (c *Catalog) create(op collfs.RecordOp, now time.Time) error {
	if c.collections[op.UUID] != nil || c.projects[op.UUID] != nil {
		return fmt.Errorf("record %s: %w", op.UUID, fs.ErrExist)
	}
	if err := c.checkOwner(op.Owner); err != nil {
		return err
	}
	name, err := c.freeName(op, op.Name)
	if err != nil {
		return err
	}
	if op.Kind == collfs.CreateProject {
		c.projects[op.UUID] = &project{Project: collfs.Project{UUID: op.UUID, Owner: op.Owner, Name: name, CreatedAt: now, ModifiedAt: now}}
	} else {
		c.collections[op.UUID] = &collection{Record: collfs.Record{
			UUID: op.UUID, Owner: op.Owner, Name: name, Version: 1, CreatedAt: now, ModifiedAt: now,
			Properties: slices.Clone(op.Properties), Description: op.Desc,
		}}
	}
	c.event(collfs.Event{UUID: op.UUID, Owner: op.Owner, Name: name, Kind: collfs.Created}, now)
	return nil
}

func (c *Catalog) checkOwner(owner collfs.UUID) error {
	if c.projects[owner] == nil || c.isTrashed(owner) {
		return fmt.Errorf("project %s: %w", owner, fs.ErrNotExist)
	}
	return nil
}

func (c *Catalog) move(op collfs.RecordOp, now time.Time) error {
	if c.isTrashed(op.UUID) {
		return fmt.Errorf("record %s is in the trash: %w", op.UUID, fs.ErrNotExist)
	}
	if err := c.checkOwner(op.Owner); err != nil {
		return err
	}
	for id := op.Owner; id != ""; id = c.projects[id].Owner {
		if id == op.UUID {
			return fmt.Errorf("project %s: %w", op.UUID, collfs.ErrIntoItself)
		}
	}
	name, err := c.freeName(op, op.Name)
	if err != nil {
		return err
	}
	e := collfs.Event{UUID: op.UUID, Owner: op.Owner, Name: name, Kind: collfs.RecordChanged}
	if k := c.collections[op.UUID]; k != nil {
		e.OldOwner, e.OldName, e.Revision = k.Owner, k.Name, k.Revision
		k.Owner, k.Name, k.ModifiedAt = op.Owner, name, now
	} else {
		p := c.projects[op.UUID]
		e.OldOwner, e.OldName = p.Owner, p.Name
		p.Owner, p.Name, p.ModifiedAt = op.Owner, name, now
	}
	if e.OldOwner == e.Owner {
		e.OldOwner = ""
	}
	if e.OldName == e.Name {
		e.OldName = ""
	}
	c.event(e, now)
	return nil
}

func (c *Catalog) isTrashed(id collfs.UUID) bool {
	if k := c.collections[id]; k != nil {
		return k.trashed != ""
	}
	return c.projects[id] != nil && c.projects[id].trashed != ""
}

// checkStill says why op may not take place if it is for what was seen.
func (c *Catalog) checkStill(op collfs.RecordOp) error {
	if !op.Still {
		return nil
	}
	if k := c.collections[op.UUID]; k != nil {
		if k.Revision != op.Base {
			return fmt.Errorf("collection %s is at revision %d, not %d: %w", op.UUID, k.Revision, op.Base, collfs.ErrStale)
		}
		return nil
	}
	for _, id := range c.below(op.UUID) {
		if !c.isTrashed(id) {
			return fmt.Errorf("project %s has %s in it: %w", op.UUID, id, collfs.ErrNotEmpty)
		}
	}
	return nil
}

// TrashTime is how long trash is kept.
const TrashTime = 14 * 24 * time.Hour

// trash puts id, with all below it that isn't in the trash yet, in the trash.
func (c *Catalog) trash(id, with collfs.UUID, now time.Time) {
	if k := c.collections[id]; k != nil {
		k.trashed, k.TrashAt, k.DeleteAt = with, now, now.Add(TrashTime)
		c.event(collfs.Event{UUID: id, Owner: k.Owner, Name: k.Name, Kind: collfs.Trashed, Revision: k.Revision}, now)
		return
	}
	p := c.projects[id]
	p.trashed, p.TrashAt, p.deleteA = with, now, now.Add(TrashTime)
	c.event(collfs.Event{UUID: id, Owner: p.Owner, Name: p.Name, Kind: collfs.Trashed}, now)
	for _, below := range c.below(id) {
		if !c.isTrashed(below) {
			c.trash(below, with, now)
		}
	}
}

// below returns what a project owns, in a fixed order.
func (c *Catalog) below(owner collfs.UUID) (ids []collfs.UUID) {
	for id, k := range c.collections {
		if k.Owner == owner {
			ids = append(ids, id)
		}
	}
	for id, p := range c.projects {
		if p.Owner == owner {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (c *Catalog) untrash(op collfs.RecordOp, now time.Time) error {
	if !c.isTrashed(op.UUID) {
		return fmt.Errorf("record %s is not in the trash: %w", op.UUID, fs.ErrInvalid)
	}
	k, p := c.collections[op.UUID], c.projects[op.UUID]
	name := op.Name
	if k != nil {
		op.Owner, name = orElse(op.Owner, k.Owner), orElse(name, k.Name)
	} else {
		op.Owner, name = orElse(op.Owner, p.Owner), orElse(name, p.Name)
	}
	if err := c.checkOwner(op.Owner); err != nil {
		return err
	}
	name, err := c.freeName(op, name)
	if err != nil {
		return err
	}
	if k != nil {
		k.Owner, k.Name = op.Owner, name
	} else {
		p.Owner, p.Name = op.Owner, name
	}
	c.restore(op.UUID, op.UUID, now)
	return nil
}

func orElse[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}

// restore takes id, and what was trashed along with it, out of the trash.
func (c *Catalog) restore(id, with collfs.UUID, now time.Time) {
	if k := c.collections[id]; k != nil {
		k.trashed, k.TrashAt, k.DeleteAt = "", time.Time{}, time.Time{}
		c.event(collfs.Event{UUID: id, Owner: k.Owner, Name: k.Name, Kind: collfs.Untrashed, Revision: k.Revision}, now)
		return
	}
	p := c.projects[id]
	p.trashed, p.TrashAt, p.deleteA = "", time.Time{}, time.Time{}
	c.event(collfs.Event{UUID: id, Owner: p.Owner, Name: p.Name, Kind: collfs.Untrashed}, now)
	for _, below := range c.below(id) {
		if k := c.collections[below]; k != nil && k.trashed == with || k == nil && c.projects[below].trashed == with {
			c.restore(below, with, now)
		}
	}
}

func (c *Catalog) delete(id collfs.UUID, now time.Time) {
	for _, below := range c.below(id) {
		c.delete(below, now)
	}
	e := collfs.Event{UUID: id, Kind: collfs.Deleted}
	if k := c.collections[id]; k != nil {
		e.Owner, e.Name = k.Owner, k.Name
	} else {
		e.Owner, e.Name = c.projects[id].Owner, c.projects[id].Name
	}
	delete(c.collections, id)
	delete(c.projects, id)
	c.event(e, now)
}
