package collfs

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// followChanges is rebase for a catalog that tells change sets: it makes the changes
// of others in the tree as it is, whose cost is that of the changes. done is false if
// that cannot be; then only rebase of all can. The caller has c's turn.
func (c *Collection) followChanges(ctx context.Context) (done bool, err error) {
	d, ok := c.fs.cfg.Catalog.(Deltas)
	if !ok {
		return false, nil
	}
	rec, changes, kept, err := d.Since(ctx, c.key.id, c.revision())
	if err != nil || !kept {
		return false, err
	}
	sets := make([][]Op, len(changes))
	for i, data := range changes {
		if sets[i], err = DecodeOps(data, c.fs.cfg.Spool); err != nil {
			return false, fmt.Errorf("collection %s: %w", c.key.id, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if rec.Revision == c.record.Revision {
		c.unclear = 0 // it did not take place
		return true, nil
	}
	c.settleAllLocked()
	if c.unclear > 0 {
		if sameOps(sets[0], opsOf(c.pending[:c.unclear])) { // it did, and is in the tree
			c.pending, c.barrier = c.pending[c.unclear:], true
			sets = sets[1:]
			c.record.Revision++
		}
		c.unclear = 0
	}
	theirs := slices.Concat(sets...)
	if !c.besideLocked(theirs) {
		return false, nil
	}
	shared := c.sharedLocked(theirs)
	if len(shared) > 0 && slices.ContainsFunc(c.pending, func(ch change) bool { return ch.Kind.hasSrc() }) {
		return false, nil // what a time is of has moved
	}
	for i := range theirs {
		if err := c.followLocked(&theirs[i]); err != nil {
			c.fs.cfg.Log.Error().Err(err).Str("collection", string(c.key.id)).Msg("a change of others did not apply: all is loaded")
			return false, nil
		}
	}
	c.retimeLocked(shared)
	c.record = rec
	c.resize()
	return true, nil
}

// pathsOf calls yield with the paths at which op changes something.
func (op *Op) pathsOf(yield func(string)) {
	if op.Kind == OpCommit {
		return
	}
	yield(op.Path)
	if op.Kind.hasSrc() {
		yield(op.Src)
	}
}

// besideLocked reports whether theirs and what is pending touch different places: no
// path of one is a path of the other, nor above it. Then it does not matter in which
// order they are made.
func (c *Collection) besideLocked(theirs []Op) bool {
	if len(c.pending) == 0 {
		return true
	}
	if c.tree.linked {
		return false // a file is in several places
	}
	ours, above := make(map[string]struct{}), make(map[string]struct{})
	for i := range c.pending {
		if c.pending[i].Kind == OpLink {
			return false
		}
		c.pending[i].pathsOf(func(p string) { addWithAbove(ours, above, p) })
	}
	beside := true
	for i := range theirs {
		beside = beside && theirs[i].Kind != OpLink
		theirs[i].pathsOf(func(p string) {
			if _, ok := above[p]; ok { // or ours itself
				beside = false
			}
			for ; beside && p != ""; p, _ = splitPath(p) {
				if _, ok := ours[p]; ok {
					beside = false
				}
			}
			if _, ok := ours[""]; ok {
				beside = false
			}
		})
		if !beside {
			return false
		}
	}
	return true
}

// addWithAbove adds p to paths, and p with all directories above it to above.
func addWithAbove(paths, above map[string]struct{}, p string) {
	paths[p] = struct{}{}
	for {
		if _, ok := above[p]; ok {
			return
		}
		above[p] = struct{}{}
		if p == "" {
			return
		}
		p, _ = splitPath(p)
	}
}

// sharedLocked returns the directories in which theirs and what is pending touch names.
func (c *Collection) sharedLocked(theirs []Op) map[string]bool {
	if len(c.pending) == 0 {
		return nil
	}
	shared := make(map[string]bool) // by theirs; true: by ours, too
	for i := range theirs {
		theirs[i].pathsOf(func(p string) {
			dir, _ := splitPath(p)
			shared[dir] = false
		})
	}
	for i := range c.pending {
		c.pending[i].pathsOf(func(p string) {
			dir, _ := splitPath(p)
			if _, ok := shared[dir]; ok {
				shared[dir] = true
			}
		})
	}
	maps.DeleteFunc(shared, func(_ string, both bool) bool { return !both })
	return shared
}

// retimeLocked is called when others have changed something in shared directories,
// before what is pending. Their times are to be what they are when that is committed
// after it: so it gets times no earlier than theirs, and makes its times again. What is
// pending moves nothing.
func (c *Collection) retimeLocked(shared map[string]bool) {
	if len(shared) == 0 {
		return
	}
	for i := range c.pending {
		ch := &c.pending[i]
		dir, _ := splitPath(ch.Path)
		up, n := c.tree.lookup(dir), c.tree.lookup(ch.Path)
		if ch.Time == 0 || up == nil {
			continue
		}
		if shared[dir] && ch.Time < up.attr.Ctime {
			ch.Time = up.attr.Ctime
			if c.heardLocked() {
				c.noteLocked(c.noticeLocked(ch.Path, false))
			}
		}
		if ch.Kind == OpMkdir || ch.Kind == OpDelete || ch.Kind == OpPut && ch.Old == (ContentID{}) {
			up.entryChanged(ch.Time)
		}
		if n == nil {
			continue
		}
		n.attr.Ctime = ch.Time
		if ch.Kind == OpMkdir && ch.Attr.Mtime == 0 {
			n.attr.Mtime = ch.Time
		}
	}
}

// followLocked makes a change of somebody else, which is a fact, in the tree as it
// is. Nothing of what it touches may be dirty.
func (c *Collection) followLocked(op *Op) error {
	if op.Kind == OpCommit {
		return nil
	}
	switch op.Kind {
	case OpPut, OpPatch:
		if n := c.tree.lookup(op.Path); n != nil && !n.isDir() && n.id != op.Content.ID {
			c.supersedeLocked(n)
		}
	case OpDelete:
		if n := c.tree.lookup(op.Path); n != nil {
			for h := range c.opened {
				if h.onlyBelow(n) {
					c.supersedeLocked(h)
				}
			}
		}
	case OpRename, OpCopy:
		if n := c.tree.lookup(op.Path); n != nil && !n.isDir() && n != c.tree.lookup(op.Src) && n.links() == 1 {
			c.supersedeLocked(n)
		}
	}
	var others []string
	if op.Kind != OpAttr && op.Kind != OpRepack {
		others = c.othersLocked(op.Path, c.tree.lookup(op.Path))
	}
	root := c.tree.root
	n, err := c.tree.apply(*op)
	if err != nil {
		return pathError(op.Kind.String(), op.Path, err)
	}
	if c.tree.root != root { // which was emptied
		if root.open != nil {
			root.swing(c.tree.root)
		}
		c.noteReplacedLocked("", n, c.tree.root)
	}
	ch := change{Op: *op}
	switch op.Kind {
	case OpPut, OpPatch, OpAttr, OpRename:
		if !n.isDir() {
			ch.also = n.pathsBut(op.Path)
		}
	}
	c.changes++
	if op.Kind != OpRepack {
		c.noteChangeLocked(ch)
		c.noteAllLocked(others)
	}
	return nil
}
