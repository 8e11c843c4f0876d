package collfs

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"

	"keepdav/keepio"
)

// A Leftover is what could not be committed of a collection, in a form that
// another process can take up: with Resume, and a spool that has taken up the
// block files.
type Leftover struct {
	Collection UUID
	Name       string             // of the record, for people
	Changes    int                // how many, for people
	Data       []byte             // for Resume
	Open       []keepio.OpenBlock // how much of the spool's block files it relies on
}

// leftoverVersion is the first byte of the stored form of a leftover: the lengths of
// three parts; the operations, as AppendOps has them; for each what a merge knows
// beyond it, as a put with the full content of a patch and the attributes before; a
// tree with what was made or taken away, each named like the number of its
// operation; and for each the other names that the file had.
const leftoverVersion = 1

// leftover returns what isn't committed; false if there is nothing. Nothing else may
// be under way.
func (c *Collection) leftover() (Leftover, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ReadOnly() || c.absorbed {
		return Leftover{}, false
	}
	c.settleAllLocked()
	if len(c.pending) == 0 {
		return Leftover{}, false
	}
	l := Leftover{Collection: c.key.id, Name: c.record.Name, Changes: len(c.pending)}
	l.Data, l.Open = appendChanges(nil, c.pending)
	return l, true
}

// appendChanges appends the stored form of changes to buf, and tells which block files
// they rely on.
func appendChanges(buf []byte, changes []change) ([]byte, []keepio.OpenBlock) {
	ends := make(map[keepio.BlockID]uint32)
	note := func(segs []keepio.Segment) {
		for _, s := range segs {
			if s.Block == nil {
				continue
			}
			if _, _, stored := s.Block.Stored(); !stored {
				ends[s.Block.ID()] = max(ends[s.Block.ID()], s.Off+s.Len)
			}
		}
	}
	more := make([]Op, len(changes))
	nodes := NewTree()
	for i := range changes {
		ch := &changes[i]
		more[i] = Op{Kind: OpPut, Content: ch.full, Attr: ch.was}
		note(ch.Content.Segments)
		note(ch.full.Segments)
		if ch.node == nil {
			continue
		}
		n, name := ch.node.clone(), strconv.Itoa(i)
		nodes.link(nodes.root, name, n)
		nodes.count(name, n, 1)
		for it := range n.walk("") {
			note(it.node.segs)
		}
	}
	nodes.linked = true // a directory may have files with several names
	buf = append(buf, leftoverVersion)
	for _, part := range [][]byte{AppendOps(nil, opsOf(changes)), AppendOps(nil, more), AppendTree(nil, nodes)} {
		buf = binary.AppendUvarint(buf, uint64(len(part)))
		buf = append(buf, part...)
	}
	for i := range changes {
		buf = binary.AppendUvarint(buf, uint64(len(changes[i].also)))
		for _, path := range changes[i].also {
			buf = appendString(buf, path)
		}
	}
	open := make([]keepio.OpenBlock, 0, len(ends))
	for id, end := range ends {
		open = append(open, keepio.OpenBlock{ID: id, End: end})
	}
	return buf, open
}

// decodeChanges reads what appendChanges wrote.
func decodeChanges(data []byte, blocks Blocks) ([]change, error) {
	d := &decoder{data: data}
	if v := d.byte(); v != leftoverVersion {
		d.fail("leftover of version %d", v)
	}
	var parts [3][]byte
	for i := range parts {
		parts[i] = d.bytes(d.uvarint())
	}
	if d.err != nil {
		return nil, d.err
	}
	ops, err := DecodeOps(parts[0], blocks)
	if err != nil {
		return nil, err
	}
	more, err := DecodeOps(parts[1], blocks)
	if err != nil {
		return nil, err
	}
	nodes, err := DecodeTree(parts[2], blocks)
	if err != nil {
		return nil, err
	}
	if len(more) != len(ops) {
		d.fail("%d notes about %d operations", len(more), len(ops))
	}
	changes := make([]change, len(ops))
	for i := range changes {
		if d.err != nil {
			return nil, d.err
		}
		ch := change{Op: ops[i], was: more[i].Attr, full: more[i].Content, node: nodes.root.kids.get(strconv.Itoa(i))}
		switch ch.Kind {
		case OpDelete, OpRename, OpCopy, OpLink:
			if ch.node == nil {
				d.fail("operation %d: what it is about is missing", i)
			}
		}
		for range d.count(1) {
			ch.also = append(ch.also, d.string())
		}
		changes[i] = ch
	}
	if len(d.data) > 0 {
		d.fail("%d bytes after the end", len(d.data))
	}
	return changes, d.err
}

// Resume takes up what a process before this one could not commit, data of a
// Leftover: merges it with what has become of the collection since, and commits. If
// that process could have committed it without hearing of it, nothing happens twice.
//
// When taken, the changes are c's now, whatever the error: every Commit tries them
// again. Nobody may take them up a second time then, for what is done to the same files
// from now on would be undone.
func (c *Collection) Resume(ctx context.Context, data []byte) (taken bool, err error) {
	if c.ReadOnly() {
		return false, ErrReadOnly
	}
	ours, err := decodeChanges(data, c.fs.cfg.Spool)
	if err != nil {
		return false, err
	}
	if err := c.resume(ctx, ours); err != nil {
		return false, err
	}
	return true, c.Commit(ctx, true)
}

// resume makes ours pending changes, on top of what the catalog has.
func (c *Collection) resume(ctx context.Context, ours []change) error {
	if err := c.takeTurn(ctx); err != nil {
		return err
	}
	defer c.publish()
	defer c.endTurn()
	rec, saved, err := c.fs.cfg.Catalog.Load(ctx, c.key.id, 0)
	if err != nil {
		return err
	}
	theirs, err := Load(saved, c.fs.cfg.Spool)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleAllLocked()
	m := newMerger(theirs, rec.ModifiedAt, append(ours, c.pending...))
	m.replayAll()
	if m.err != nil {
		return errors.Join(ErrBadEncoding, m.err)
	}
	c.pending, c.unclear = m.out, 0
	if c.since == 0 {
		c.since = c.fs.cfg.Now().UnixNano()
	}
	c.replaceTreeLocked(theirs)
	c.record = rec
	c.conflictsLocked(m)
	return nil
}
