package apiserver

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
	"keepdav/keepio"
)

// An entry is what this process knows of one collection.
type entry struct {
	uuid string        // the server's
	turn chan struct{} // has an element while nobody commits or loads
	used int64         // guarded by Catalog.mu

	mu       sync.Mutex // guards the fields below
	revision int64
	seen     bool // record is what the server said, perhaps some time ago
	record   api.Collection
	attrs    string // the attributes as the record's properties have them
	base     *base  // the content at revision; nil: not known
	ids      map[collfs.ContentID]collfs.ContentID
	ours     journal
	expect   string // the hash that the update under way is to make
}

// A base is the content of a collection.
type base struct {
	pdh   string
	attrs string
	text  string // the manifest, unsigned, while tree is nil
	tree  *collfs.Tree
}

// size estimates the heap that b takes.
func (b *base) size() int64 {
	if b == nil {
		return 0
	}
	n := int64(len(b.text) + len(b.attrs))
	if b.tree != nil {
		n += b.tree.MemSize()
	}
	return n
}

// maxIDs is how many ids of contents are remembered for a collection.
const maxIDs = 200_000

// entry returns what is known of a collection.
func (c *Catalog) entry(real string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[real]
	if e == nil {
		e = &entry{uuid: real, turn: make(chan struct{}, 1), ids: make(map[collfs.ContentID]collfs.ContentID)}
		e.turn <- struct{}{}
		c.entries[real] = e
	}
	c.clock++
	e.used = c.clock
	return e
}

// known is entry, but nil for what was never seen.
func (c *Catalog) known(real string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[real]
}

// take waits for e's turn. It ends with give.
func (e *entry) take(ctx context.Context) error {
	select {
	case <-e.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *entry) give() { e.turn <- struct{}{} }

// trim drops contents, the ones used longest ago first, when all do not fit. Ids
// and revisions stay: who has a collection loaded relies on them.
func (c *Catalog) trim() {
	c.mu.Lock()
	entries := make([]*entry, 0, len(c.entries))
	used := make(map[*entry]int64, len(c.entries))
	for _, e := range c.entries {
		entries = append(entries, e)
		used[e] = e.used
	}
	c.mu.Unlock()
	var total int64
	sizes := make(map[*entry]int64, len(entries))
	for _, e := range entries {
		e.mu.Lock()
		sizes[e] = e.base.size()
		e.mu.Unlock()
		total += sizes[e]
	}
	for total > c.conf.CacheBytes {
		var oldest *entry
		for _, e := range entries {
			if sizes[e] > 0 && (oldest == nil || used[e] < used[oldest]) {
				oldest = e
			}
		}
		if oldest == nil {
			return
		}
		oldest.mu.Lock()
		oldest.base = nil
		oldest.mu.Unlock()
		total -= sizes[oldest]
		sizes[oldest] = 0
	}
}

// remember keeps the ids of what is made of spans.
func (e *entry) remember(contents []collfs.Content) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, k := range contents {
		derived := spansID(k.Segments)
		if derived == k.ID {
			delete(e.ids, derived)
			continue
		}
		if len(e.ids) >= maxIDs {
			clear(e.ids)
		}
		e.ids[derived] = k.ID
	}
}

// withIDs gives the files of tree, read from a manifest, the ids that they have
// here: those that the same contents had at the same paths, or that were remembered.
// It reports whether any is not the derived one.
func (e *entry) withIDs(tree *collfs.Tree) (changed bool, err error) {
	e.mu.Lock()
	ids := e.ids
	var before *collfs.Tree
	if e.base != nil {
		before = e.base.tree
	}
	if len(ids) == 0 {
		e.mu.Unlock()
		return false, nil
	}
	var puts []collfs.Op
	err = tree.Walk(func(path string, info collfs.NodeInfo, k collfs.Content) error {
		if info.Dir {
			return nil
		}
		id, ok := ids[k.ID]
		if before != nil {
			if was, err := before.Content(path); err == nil && was.ID != k.ID && spansID(was.Segments) == k.ID {
				id, ok = was.ID, true
			}
		}
		if ok {
			k.ID = id
			puts = append(puts, collfs.Op{Kind: collfs.OpPut, Path: path, Content: k, Attr: info.Attr})
		}
		return nil
	})
	e.mu.Unlock()
	if err != nil {
		return false, err
	}
	for _, op := range puts {
		if err := tree.Apply(op); err != nil {
			return false, err
		}
	}
	return len(puts) > 0, nil
}

// saw takes note of what the server says of a collection, counts its revision, tells
// watchers what has changed, and returns its record.
func (c *Catalog) saw(got *api.Collection) collfs.Record {
	e := c.entry(got.UUID)
	attrs, _ := attributesOf(got.Properties)
	var tell []collfs.Event
	e.mu.Lock()
	switch {
	case !e.seen:
		if e.seen = true; !c.extended() { // else the revision is the server's
			e.revision = 1
		}
		e.record, e.attrs = *got, attrs
	case got.ModifiedAt.Before(e.record.ModifiedAt): // an answer that was overtaken
	case e.expect != "" && got.PDH == e.expect: // what an update under way has made, which it will tell itself
	default:
		tell = c.compareLocked(e, got, attrs)
	}
	rec := c.recordLocked(e)
	e.mu.Unlock()
	c.events.tell(tell)
	return rec
}

// compareLocked makes got what e knows and returns what is to be told of it. e.mu
// must be held.
func (c *Catalog) compareLocked(e *entry, got *api.Collection, attrs string) (tell []collfs.Event) {
	was := e.record
	e.record = *got
	e.record.ManifestText = ""
	if c.extended() {
		e.record.PDH = ""
	} else if got.PDH != was.PDH || attrs != e.attrs {
		e.revision++
		e.attrs = attrs
		tell = append(tell, c.event(got.UUID, collfs.ContentChanged, e.revision, got))
	}
	return append(tell, c.recordEvents(&was, got, e.revision)...)
}

// recordEvents says what has changed of a record, but its content.
func (c *Catalog) recordEvents(was, is *api.Collection, revision int64) (tell []collfs.Event) {
	if was.Name != is.Name || was.OwnerUUID != is.OwnerUUID || was.Description != is.Description || !sameProperties(was.Properties, is.Properties) {
		ev := c.event(is.UUID, collfs.RecordChanged, revision, is)
		if was.OwnerUUID != is.OwnerUUID {
			ev.OldOwner = c.shownID(was.OwnerUUID)
		}
		if was.Name != is.Name {
			ev.OldName = c.names.decode(was.Name)
		}
		tell = append(tell, ev)
	}
	switch {
	case !was.IsTrashed && is.IsTrashed:
		tell = append(tell, c.event(is.UUID, collfs.Trashed, revision, is))
	case was.IsTrashed && !is.IsTrashed:
		tell = append(tell, c.event(is.UUID, collfs.Untrashed, revision, is))
	}
	return tell
}

func (c *Catalog) event(real string, kind collfs.EventKind, revision int64, is *api.Collection) collfs.Event {
	ev := collfs.Event{UUID: c.shownID(real), Owner: c.shownID(is.OwnerUUID), Kind: kind, Revision: revision, At: is.ModifiedAt}
	if kind != collfs.ContentChanged {
		ev.Name = c.names.decode(is.Name)
	}
	if ev.At.IsZero() {
		ev.At = time.Now()
	}
	return ev
}

// recordLocked returns e's record. e.mu must be held.
func (c *Catalog) recordLocked(e *entry) collfs.Record { return c.toRecord(&e.record, e.revision) }

// toRecord makes a record of what the server says.
func (c *Catalog) toRecord(got *api.Collection, revision int64) collfs.Record {
	_, rest := attributesOf(got.Properties)
	r := collfs.Record{
		UUID: c.shownID(got.UUID), Owner: c.shownID(got.OwnerUUID), Name: c.names.decode(got.Name), Description: got.Description,
		Properties: rest, Revision: revision, Version: got.Version, PDH: collfs.PDH(got.PDH),
		Files: got.FileCount, Bytes: got.FileSizeTotal, CreatedAt: got.CreatedAt, ModifiedAt: got.ModifiedAt,
	}
	if got.IsTrashed {
		r.TrashAt, r.DeleteAt = got.TrashAt, got.DeleteAt
	}
	return r
}

func sameProperties(a, b json.RawMessage) bool {
	_, x := attributesOf(a)
	_, y := attributesOf(b)
	return string(x) == string(y)
}

// noHoles returns segs with spans of the zero block for holes.
func noHoles(segs []keepio.Segment, zero *keepio.Block) []keepio.Segment {
	var out []keepio.Segment
	for i, s := range segs {
		if s.Block != nil {
			if out != nil {
				out = append(out, s)
			}
			continue
		}
		if zero == nil {
			return segs
		}
		if out == nil {
			out = append(make([]keepio.Segment, 0, len(segs)+4), segs[:i]...)
		}
		_, size, _ := zero.Stored()
		for rest := s.Len; rest > 0 && size > 0; rest -= min(rest, size) {
			out = append(out, keepio.Segment{Block: zero, Len: min(rest, size)})
		}
	}
	if out == nil {
		return segs
	}
	return out
}
