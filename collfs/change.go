package collfs

import (
	"io/fs"

	"keepdav/keepio"
)

// A change is an operation that isn't committed yet, with what a merge has to
// know beyond it.
type change struct {
	Op
	was  Attr     // of a put that replaces, or of setattr: the attributes before
	full Content  // of a patch: what the file has when all patches made at one time are applied
	node *node    // rename, copy: what was made; delete: what was taken away, which nobody changes any more; link: a copy of the file
	also []string // put, patch, setattr: the other names of the file
}

// A Replace says what may be in the way of a move or copy.
type Replace uint8

// What may be in the way: nothing (else fs.ErrExist); what rename(2) replaces,
// that is a file by a file and an empty directory by a directory; anything, with
// all below it.
const (
	ReplaceNothing Replace = iota
	ReplacePOSIX
	ReplaceAny
)

// LinkOptions say how a file gets its name.
type LinkOptions struct {
	// Attr returns the attributes of the file from those of the one it replaces.
	// Nil keeps them. A zero Mtime becomes the present time.
	Attr  func(old Attr, exists bool) Attr
	Check Check
}

// CopyOptions say how a move or copy goes about it. The checks are called in
// the order source, target.
type CopyOptions struct {
	Replace  Replace
	Shallow  bool // a copy of a directory is an empty directory
	Check    Check
	CheckSrc Check
}

// begin starts a change on behalf of by: it takes the locks. end gives them back.
func (c *Collection) begin(by *View) error {
	if c.ReadOnly() {
		return ErrReadOnly
	}
	c.gate.RLock()
	c.mu.Lock()
	if c.absorbed {
		c.mu.Unlock()
		c.gate.RUnlock()
		return fs.ErrNotExist
	}
	c.by = by
	return nil
}

// end ends a change and publishes what became of it.
func (c *Collection) end() {
	c.unlock()
	c.publish()
}

// unlock is end for who holds another lock and publishes without it.
func (c *Collection) unlock() {
	c.resize()
	c.by = nil
	c.mu.Unlock()
	c.gate.RUnlock()
}

// now is the time of a change.
func (c *Collection) now() int64 { return c.fs.cfg.Now().UnixNano() }

// addLocked keeps a change for the next commit and tells about it.
func (c *Collection) addLocked(ch change) {
	c.pending = append(c.pending, ch)
	c.changes++
	if c.since == 0 {
		c.since = c.fs.cfg.Now().UnixNano()
	}
	c.noteChangeLocked(ch)
}

func (c *Collection) noteChangeLocked(ch change) {
	if !c.heardLocked() {
		return
	}
	c.noteLocked(c.noticeLocked(ch.Path, ch.Kind == OpDelete || ch.Kind == OpRename || ch.Kind == OpCopy || ch.Kind == OpExchange))
	switch ch.Kind {
	case OpRename, OpExchange:
		c.noteLocked(c.noticeLocked(ch.Src, true))
	case OpLink:
		c.noteLocked(c.noticeLocked(ch.Src, false))
	}
	c.noteAllLocked(ch.also)
}

// noteAllLocked notes files that are not what they were.
func (c *Collection) noteAllLocked(paths []string) {
	for _, path := range paths {
		c.noteLocked(c.noticeLocked(path, false))
	}
}

// noticeLocked says that something happened at path.
func (c *Collection) noticeLocked(path string, tree bool) Notice {
	n := Notice{Path: path, Tree: tree}
	if at := c.tree.lookup(path); at != nil {
		n.At = Key{at.open}
	}
	if path != "" {
		dir, _ := splitPath(path)
		if up := c.tree.lookup(dir); up != nil {
			n.In = Key{up.open}
		}
	}
	return n
}

// checkLocked calls check with what is at path.
func (c *Collection) checkLocked(check Check, path string) error {
	if check == nil {
		return nil
	}
	if n := c.tree.lookup(path); n != nil {
		return check(n.infoAt(path), true)
	}
	return check(NodeInfo{}, false)
}

// Mkdir makes an empty directory. What is there already is fs.ErrExist.
func (c *Collection) Mkdir(path string, a Attr, check Check) (NodeInfo, error) {
	if err := checkPath(path); err != nil {
		return NodeInfo{}, pathError("mkdir", path, err)
	}
	if err := c.begin(nil); err != nil {
		return NodeInfo{}, pathError("mkdir", path, err)
	}
	defer c.end()
	if err := c.checkLocked(check, path); err != nil {
		return NodeInfo{}, err
	}
	return c.mkdirLocked(path, a)
}

func (c *Collection) mkdirLocked(path string, a Attr) (NodeInfo, error) {
	op := Op{Kind: OpMkdir, Path: path, Attr: a, Time: c.now()}
	n, err := c.tree.apply(op)
	if err != nil {
		return NodeInfo{}, pathError("mkdir", path, err)
	}
	c.addLocked(change{Op: op})
	return n.infoAt(path), nil
}

// Link gives a staged file its name, in place of a file that has it. The stage
// is used up if Link succeeds. Handles on the file that was replaced keep it: if
// they write to it, that is merged like a change of somebody else.
func (c *Collection) Link(s *Stage, path string, o LinkOptions) (info NodeInfo, created bool, err error) {
	if err := checkPath(path); err != nil {
		return NodeInfo{}, false, pathError("put", path, err)
	}
	if s.done || s.c != c {
		return NodeInfo{}, false, pathError("put", path, ErrClosed)
	}
	content, err := s.finish()
	if err != nil {
		return NodeInfo{}, false, err
	}
	if err := c.begin(nil); err != nil {
		return NodeInfo{}, false, pathError("put", path, err)
	}
	defer c.end()
	if err := c.checkLocked(o.Check, path); err != nil {
		return NodeInfo{}, false, err
	}
	info, created, err = c.linkLocked(content, path, o.Attr)
	if err == nil {
		s.end()
	}
	return info, created, err
}

func (c *Collection) linkLocked(content Content, path string, attr func(Attr, bool) Attr) (info NodeInfo, created bool, err error) {
	old := c.tree.lookup(path)
	op := Op{Kind: OpPut, Path: path, Content: content, Time: c.now()}
	var was Attr
	if old != nil && !old.isDir() {
		c.settleLocked(old)
		c.supersedeLocked(old)
		old = c.tree.lookup(path)
		was, op.Old = old.attr, old.id
	}
	if op.Attr = was; attr != nil {
		op.Attr = attr(was, old != nil)
	}
	if op.Attr.Mtime == 0 || attr == nil {
		op.Attr.Mtime = op.Time
	}
	n, err := c.tree.apply(op)
	if err != nil {
		return NodeInfo{}, false, pathError("put", path, err)
	}
	c.addLocked(change{Op: op, was: was, also: n.pathsBut(path)})
	return n.infoAt(path), old == nil, nil
}

// Remove takes away a file or an empty directory.
func (c *Collection) Remove(path string, check Check) error {
	return c.remove(path, check, false)
}

// RemoveAll takes away what is at path with all below it. For the root, it
// empties the collection.
func (c *Collection) RemoveAll(path string, check Check) error {
	return c.remove(path, check, true)
}

func (c *Collection) remove(path string, check Check, all bool) error {
	if err := c.begin(nil); err != nil {
		return pathError("remove", path, err)
	}
	defer c.end()
	if err := c.checkLocked(check, path); err != nil {
		return err
	}
	n, err := c.tree.find(path)
	if err == nil && n.isDir() && n.kids.n > 0 && !all {
		err = ErrNotEmpty
	}
	if err == nil && n == c.tree.root && !all {
		err = fs.ErrInvalid
	}
	if err != nil {
		return pathError("remove", path, err)
	}
	return c.removeLocked(path, n)
}

// removeLocked takes away n, which is at path. Handles keep their files, which
// have no name from now on unless they have others.
func (c *Collection) removeLocked(path string, n *node) error {
	c.settleBelowLocked(n)
	now := c.now()
	for h := range c.opened {
		if h.onlyBelow(n) {
			c.detachLocked(h)
			h.attr = h.attr.changedAt(now)
		}
	}
	if n.open != nil && !n.hasHandles() && !n.isDir() && n.links() == 1 {
		c.detachLocked(n)
		n.attr = n.attr.changedAt(now)
	}
	n = c.tree.lookup(path) // perhaps the copy that took its place
	others := c.othersLocked(path, n)
	ch := change{Op: Op{Kind: OpDelete, Path: path, Old: n.id, Time: now}}
	var err error
	if ch.node, err = c.tree.apply(ch.Op); err != nil {
		return pathError("remove", path, err)
	}
	if path == "" {
		if n.open != nil {
			n.swing(c.tree.root) // which is another node now
		}
		c.noteReplacedLocked("", ch.node, c.tree.root)
	}
	c.addLocked(ch)
	c.noteAllLocked(others)
	return nil
}

// Rename moves what is at src to dst, in constant time. Handles go on.
func (c *Collection) Rename(src, dst string, o CopyOptions) (created bool, err error) {
	return c.transfer(OpRename, src, dst, o)
}

// Copy makes dst a copy of what is at src; no data is copied.
func (c *Collection) Copy(src, dst string, o CopyOptions) (created bool, err error) {
	return c.transfer(OpCopy, src, dst, o)
}

func (c *Collection) transfer(kind OpKind, src, dst string, o CopyOptions) (created bool, err error) {
	if err := checkPath(dst); err != nil {
		return false, pathError(kind.String(), dst, err)
	}
	if err := c.begin(nil); err != nil {
		return false, pathError(kind.String(), dst, err)
	}
	defer c.end()
	return c.transferLocked(kind, src, dst, o)
}

func (c *Collection) transferLocked(kind OpKind, src, dst string, o CopyOptions) (created bool, err error) {
	if err := c.checkLocked(o.CheckSrc, src); err != nil {
		return false, err
	}
	if err := c.checkLocked(o.Check, dst); err != nil {
		return false, err
	}
	n, err := c.tree.find(src)
	if err != nil {
		return false, pathError(kind.String(), src, err)
	}
	old := c.tree.lookup(dst)
	if old == n && o.Replace == ReplacePOSIX {
		return false, nil
	}
	c.settleBelowLocked(n)
	if kind == OpCopy {
		if err = c.roomForHolesLocked(c.holesBelowLocked(n)); err == nil {
			err = c.freezeBelowLocked(n) // the last that may fail, before anything is taken away
		}
	}
	if err == nil {
		err = c.clearTargetLocked(src, n, dst, old, o.Replace)
	}
	if err != nil {
		return false, pathError(kind.String(), dst, err)
	}
	ch := change{Op: Op{Kind: kind, Path: dst, Src: src, Content: Content{ID: n.id}, Time: c.now()}}
	if f := c.tree.lookup(dst); f != nil { // a file, as clearTargetLocked has left it
		c.settleLocked(f)
		if ch.Old = f.id; f != n && f.links() == 1 {
			c.detachLocked(f)
			f.attr = f.attr.changedAt(ch.Time)
		}
	}
	others := c.othersLocked(dst, c.tree.lookup(dst))
	if kind == OpRename && !n.isDir() {
		others = append(others, n.pathsBut(src)...)
	}
	if kind == OpCopy && o.Shallow && n.isDir() {
		ch.Op = Op{Kind: OpMkdir, Path: dst, Attr: n.attr, Time: ch.Time}
	}
	if ch.node, err = c.tree.apply(ch.Op); err != nil {
		return false, pathError(kind.String(), dst, err)
	}
	c.addLocked(ch)
	c.noteAllLocked(others)
	return old == nil, nil
}

// holesBelowLocked returns how many bytes of holes n and all below it have.
func (c *Collection) holesBelowLocked(n *node) (bytes int64) {
	if c.tree.holes > 0 {
		n.eachEntry("", func(_ string, m *node) { bytes += holesIn(m.segs) })
	}
	return bytes
}

// clearTargetLocked makes room at dst, where old is now, for n, which is at src, as
// far as how allows it: a file that is replaced by a file stays for the caller.
func (c *Collection) clearTargetLocked(src string, n *node, dst string, old *node, how Replace) error {
	up, _, err := c.tree.parent(dst)
	if err != nil {
		return err
	}
	switch {
	case n == c.tree.root || up.below(n) || src == dst:
		return ErrIntoItself
	case old == nil:
		return nil
	case within(src, dst): // replacing an ancestor of itself
		if how == ReplacePOSIX {
			return ErrNotEmpty
		}
		return ErrIntoItself
	}
	switch how {
	case ReplaceNothing:
		return fs.ErrExist
	case ReplacePOSIX:
		switch {
		case n.isDir() && !old.isDir():
			return ErrNotDir
		case !n.isDir() && old.isDir():
			return ErrIsDir
		case old.isDir() && old.kids.n > 0:
			return ErrNotEmpty
		}
	}
	if old.isDir() || n.isDir() {
		return c.removeLocked(dst, old)
	}
	return nil
}

// SetAttr changes attributes. change gets what is at path and returns the new
// ones; it is called under the lock, like a Check, and its error is returned as
// it is. The Extra map must not be changed in place.
func (c *Collection) SetAttr(path string, change func(NodeInfo) (Attr, error)) (NodeInfo, error) {
	if err := c.begin(nil); err != nil {
		return NodeInfo{}, pathError("setattr", path, err)
	}
	defer c.end()
	n, err := c.tree.find(path)
	if err != nil {
		return NodeInfo{}, pathError("setattr", path, err)
	}
	a, err := change(n.infoAt(path))
	if err != nil {
		return NodeInfo{}, err
	}
	c.setAttrLocked(path, n, a)
	return n.infoAt(path), nil
}

func (c *Collection) setAttrLocked(path string, n *node, a Attr) {
	if n.hasHandles() && n.open.dirty && n.open.state == stateLinked {
		// What says that it was written says this, too.
		n.attr = a.changedAt(c.now())
		c.changes++
		for _, p := range n.paths() {
			c.noteLocked(Notice{Path: p, At: Key{n.open}})
		}
		return
	}
	c.settleLocked(n)
	ch := change{Op: Op{Kind: OpAttr, Path: path, Content: Content{ID: n.id}, Attr: a, Time: c.now()}, was: n.attr, also: n.pathsBut(path)}
	n.attr = a.changedAt(ch.Time)
	c.addLocked(ch)
}

// freezeBelowLocked ends in-place overwrites of the files at n and below.
func (c *Collection) freezeBelowLocked(n *node) error {
	for h := range c.opened {
		if h.below(n) {
			if err := c.freezeLocked(h.segs); err != nil {
				return err
			}
		}
	}
	return nil
}

// freezeLocked ends in-place overwrites of what segs refer to. What has to be
// said of that in the next commit is kept.
func (c *Collection) freezeLocked(segs []keepio.Segment) error {
	var blocks []*keepio.Block
	var last *keepio.Block
	for _, s := range segs {
		if s.Block != nil && s.Block != last {
			last = s.Block
			blocks = append(blocks, last)
		}
	}
	return c.freezeBlocksLocked(blocks)
}

func (c *Collection) freezeBlocksLocked(blocks []*keepio.Block) error {
	if c.ReadOnly() {
		return nil // all that it refers to was committed, and nobody would say what else the blocks hold
	}
	extents, err := c.fs.cfg.Spool.Freeze(string(c.key.id), blocks)
	c.extents = append(c.extents, extents...)
	for _, b := range blocks {
		if b.ID() != 0 {
			if _, _, stored := b.Stored(); !stored {
				c.unsynced[b] = struct{}{}
			}
		}
	}
	for n := range c.opened {
		clear(n.open.fresh)
	}
	return err
}
