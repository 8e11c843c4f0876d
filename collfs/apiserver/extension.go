package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/delta"
	"keepdav/collfs/manifest"
)

// A keepdav server keeps change sets and counts revisions: commits are conditional
// there, trees have their attributes, and none of what makes up for that elsewhere is
// needed.

// extensionVersion is the version of the extension that is understood.
const extensionVersion = 1

// extension returns the client of the extension; nil if the server has none.
func (c *Catalog) extension(ctx context.Context) (*delta.Client, error) {
	if x := c.ext.Load(); x != nil {
		return x.client, nil
	}
	d, err := c.api.Discovery(ctx)
	if err != nil {
		return nil, err
	}
	var said struct {
		Version int `json:"version"`
	}
	x := new(extension)
	if len(d.Keepdav) > 0 && json.Unmarshal(d.Keepdav, &said) == nil && said.Version == extensionVersion {
		conf := delta.Config{
			URL: c.api.Host().URL(), Token: c.api.Token(), HTTP: c.api.Host().HTTP(), Reader: c.conf.Reader, Store: c.conf.StoreBlocks,
			RetryFor: c.conf.RetryFor,
		}
		if c.conf.Locators != nil {
			conf.Learn, conf.Locator = c.conf.Locators.Learn, c.conf.Locators.Locator
		}
		x.client = delta.New(conf)
	}
	c.ext.CompareAndSwap(nil, x)
	return c.ext.Load().client, nil
}

// An extension is what is known of a server's extension.
type extension struct{ client *delta.Client }

// extended reports whether the server is known to have the extension.
func (c *Catalog) extended() bool {
	x := c.ext.Load()
	return x != nil && x.client != nil
}

// loadTree is load from a server with the extension.
func (c *Catalog) loadTree(ctx context.Context, d *delta.Client, e *entry) (collfs.Record, collfs.Saved, error) {
	rec, saved, err := d.Tree(ctx, collfs.UUID(e.uuid))
	if err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	return c.sawRevision(e, rec), saved, nil
}

// loadTrashed is loadTree for what is in the trash, of which there is a manifest only.
func (c *Catalog) loadTrashed(ctx context.Context, e *entry) (collfs.Record, collfs.Saved, error) {
	got, err := c.get(ctx, e.uuid, withManifest)
	if err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	text := manifest.Strip(got.ManifestText)
	got.ManifestText = ""
	return c.saw(got), collfs.Saved{Manifest: []byte(text)}, nil
}

// commitExtended is commitChange at a server with the extension.
func (c *Catalog) commitExtended(ctx context.Context, d *delta.Client, e *entry, ch *collfs.Change) (collfs.Record, error) {
	rec, err := d.Commit(ctx, delta.Commit{Collection: collfs.UUID(e.uuid), Base: ch.Base, Ops: ch.Ops, Keep: ch.Keep})
	if err != nil {
		return collfs.Record{}, err
	}
	return c.sawRevision(e, rec), nil
}

// recordExtended is Record at a server with the extension, which tells revisions with
// changes only.
func (c *Catalog) recordExtended(ctx context.Context, d *delta.Client, real string) (collfs.Record, error) {
	e := c.entry(real)
	e.mu.Lock()
	since, seen := e.revision, e.seen
	e.mu.Unlock()
	if seen {
		rec, _, kept, err := d.Changes(ctx, collfs.UUID(real), since)
		switch {
		case errors.Is(err, fs.ErrNotExist): // perhaps it is in the trash
		case err != nil:
			return collfs.Record{}, err
		case kept:
			return c.sawRevision(e, rec), nil
		default:
			rec, _, err := d.Tree(ctx, collfs.UUID(real))
			if err != nil {
				return collfs.Record{}, err
			}
			return c.sawRevision(e, rec), nil
		}
	}
	got, err := c.get(ctx, real, lightFields)
	if err != nil {
		return collfs.Record{}, err
	}
	return c.saw(got), nil
}

// Since is collfs.Deltas: a cluster without the extension keeps no change sets.
func (c *Catalog) Since(ctx context.Context, id collfs.UUID, revision int64) (collfs.Record, [][]byte, bool, error) {
	d, err := c.extension(ctx)
	if err != nil || isPDH(string(id)) {
		return collfs.Record{}, nil, false, c.wrap("collection", id, err)
	}
	if d == nil {
		_, err := c.Record(ctx, id)
		return collfs.Record{}, nil, false, err
	}
	if revision < 0 {
		return collfs.Record{}, nil, false, nil
	}
	real := c.realID(id)
	rec, changes, kept, err := d.Changes(ctx, collfs.UUID(real), revision)
	if err != nil || !kept {
		return collfs.Record{}, nil, false, c.wrap("collection", id, err)
	}
	return c.sawRevision(c.entry(real), rec), changes, true, nil
}

// sawRevision takes note of a record that a server with the extension sent, and tells
// if it is of a revision that was not known. It returns the record as it is called here.
func (c *Catalog) sawRevision(e *entry, rec collfs.Record) collfs.Record {
	var tell []collfs.Event
	e.mu.Lock()
	if rec.Revision >= e.revision || !e.seen {
		moved := e.seen && rec.Revision > e.revision
		r := &e.record
		r.UUID, r.CurrentVersionUUID, r.OwnerUUID, r.Name, r.Description, r.Properties = e.uuid, e.uuid, string(rec.Owner), rec.Name, rec.Description, rec.Properties
		r.PDH, r.Version, r.FileCount, r.FileSizeTotal = string(rec.PDH), rec.Version, rec.Files, rec.Bytes
		r.CreatedAt, r.TrashAt, r.DeleteAt, r.IsTrashed = rec.CreatedAt, rec.TrashAt, rec.DeleteAt, !rec.TrashAt.IsZero()
		if rec.ModifiedAt.After(r.ModifiedAt) {
			r.ModifiedAt = rec.ModifiedAt
		}
		e.seen, e.revision = true, rec.Revision
		if moved {
			tell = append(tell, c.event(e.uuid, collfs.ContentChanged, e.revision, r))
		}
	}
	e.mu.Unlock()
	c.events.tell(tell)
	rec.UUID, rec.Owner, rec.Name = c.shownID(e.uuid), c.shownID(string(rec.Owner)), c.names.decode(rec.Name)
	return rec
}

// heardRevision takes the revision that an event tells. It reports whether that is all
// there is to say of the content.
func (c *Catalog) heardRevision(e *entry, revision int64) {
	e.mu.Lock()
	if !e.seen || revision <= e.revision {
		e.mu.Unlock()
		return // an echo
	}
	e.revision = revision
	tell := []collfs.Event{c.event(e.uuid, collfs.ContentChanged, revision, &e.record)}
	e.mu.Unlock()
	c.events.tell(tell)
}

// revalidateExtended asks of each collection that is known for its revision.
func (v *events) revalidateExtended(ctx context.Context, d *delta.Client, ids []string) error {
	for _, id := range ids {
		e := v.c.known(id)
		if e == nil {
			continue
		}
		e.mu.Lock()
		seen := e.seen
		e.mu.Unlock()
		if !seen {
			continue
		}
		if _, err := v.c.recordExtended(ctx, d, id); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("collection %s: %w", id, err)
		}
	}
	return nil
}

// lightFields are recordFields but for what a keepdav server has to compute.
var lightFields = func() (out []string) {
	for _, f := range recordFields {
		if f != "portable_data_hash" {
			out = append(out, f)
		}
	}
	return out
}()
