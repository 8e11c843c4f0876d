package collfs

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"keepdav/keepio"
)

// A Tmp is a collection without a record: nobody else knows of it, and nothing of
// it is left when it is closed or the process ends, but for blocks, which garbage
// collection finds. As long as it lives FS.Held shows what it refers to. All
// methods may be called concurrently.
type Tmp struct {
	owner *FS
	files *FS // of this collection alone
	c     *Collection
	close sync.Once
}

// NewTmp returns a new, empty collection without a record. Close ends it; so does
// the Close of f.
func (f *FS) NewTmp(ctx context.Context) (*Tmp, error) {
	cfg := f.cfg
	id := f.NewUUID("4zz18")
	now := cfg.Now()
	cfg.Catalog = &tmpCatalog{cfg: &cfg, record: Record{UUID: id, Version: 1, CreatedAt: now, ModifiedAt: now}}
	cfg.Spool = tmpSpool{f.cfg.Spool}
	t := &Tmp{owner: f, files: NewFS(cfg)}
	var err error
	if t.c, err = t.files.Open(ctx, id); err != nil {
		t.Close()
		return nil, err
	}
	f.mu.Lock()
	closed := f.closed
	if !closed {
		f.tmps[t] = struct{}{}
	}
	f.mu.Unlock()
	if closed {
		t.Close()
		return nil, ErrClosed
	}
	return t, nil
}

// Collection returns the collection. It may be used like others until Close; its
// UUID is nothing that anybody can look up, and its data goes to no other
// collection by Transfer: that is ErrNotSupported. Commits cost no sync.
func (t *Tmp) Collection() *Collection { return t.c }

// Close ends the collection with all that is in it. Nothing may be done with it, or
// with handles on it, during Close or after it.
func (t *Tmp) Close() {
	t.close.Do(func() {
		if err := t.files.Close(context.Background()); err != nil {
			t.owner.cfg.Log.Error().Err(err).Msg("close a collection without a record")
		}
		t.owner.mu.Lock()
		defer t.owner.mu.Unlock()
		delete(t.owner.tmps, t)
	})
}

func (f *FS) allTmp() []*Tmp {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.tmps))
}

// tmpCatalog is the catalog of a Tmp. It counts commits and keeps nothing of them:
// the tree is never unloaded.
type tmpCatalog struct {
	cfg *Config

	mu     sync.Mutex // guards the field below
	record Record
}

func (c *tmpCatalog) Record(ctx context.Context, id UUID) (Record, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id != c.record.UUID {
		return Record{}, noTmp(id)
	}
	return c.record, ctx.Err()
}

func noTmp(id UUID) error { return fmt.Errorf("collection %s: %w", id, fs.ErrNotExist) }

// Load is for the first time only.
func (c *tmpCatalog) Load(ctx context.Context, id UUID, version int) (Record, Saved, error) {
	r, err := c.Record(ctx, id)
	if err == nil && (version != 0 || r.Revision != 0) {
		err = noTmp(id)
	}
	return r, Saved{}, err
}

func (c *tmpCatalog) Commit(ctx context.Context, tx Tx) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(tx.Records) > 0 || len(tx.Changes) > 1:
		return nil, fmt.Errorf("change of records beside a collection without one: %w", ErrNotSupported)
	case len(tx.Changes) == 0:
		return nil, nil
	}
	ch := tx.Changes[0]
	switch {
	case ch.Collection != c.record.UUID:
		return nil, noTmp(ch.Collection)
	case ch.Base != c.record.Revision:
		return nil, fmt.Errorf("collection %s: %w", ch.Collection, ErrStale)
	}
	c.record.Revision++
	c.record.Files, c.record.Bytes, c.record.ModifiedAt = ch.Files, ch.Bytes, c.cfg.Now()
	return []Record{c.record}, nil
}

func (c *tmpCatalog) Watch(func(Event)) (stop func()) { return func() {} }

// tmpSpool syncs nothing: its bytes are of no use after the process.
type tmpSpool struct{ Spool }

// Carry says that all is durable as it is.
func (tmpSpool) Carry([]*keepio.Block, []keepio.Extent, int) (bool, error) { return true, nil }
