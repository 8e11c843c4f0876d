package collfs

import (
	"fmt"
	"io/fs"
	"sync/atomic"

	"keepdav/keepio"
)

// Apply makes the change that op describes, or returns an error and changes
// nothing. It is strict: a directory that is missing isn't made, a directory is
// never replaced. Old isn't compared: that is for merges.
func (t *Tree) Apply(op Op) error {
	_, err := t.apply(op)
	return pathError(op.Kind.String(), op.Path, err)
}

// apply is Apply that returns the node that was made, moved, changed or taken
// away.
func (t *Tree) apply(op Op) (n *node, err error) {
	switch op.Kind {
	case OpPut:
		return t.put(op.Path, op.Content, op.Attr, op.Time)
	case OpMkdir:
		return t.mkdir(op.Path, op.Attr, op.Time)
	case OpDelete:
		return t.remove(op.Path, op.Time)
	case OpRename:
		return t.rename(op.Src, op.Path, op.Time)
	case OpCopy:
		return t.copy(op.Src, op.Path, op.Time)
	case OpAttr:
		return t.setAttr(op.Path, op.Content.ID, op.Attr, op.Time)
	case OpRepack:
		t.repack(op.Path, op.Content)
		return nil, nil
	case OpPatch:
		return t.patch(op)
	case OpExchange:
		return t.exchange(op.Src, op.Path, op.Time)
	case OpCommit:
		return nil, nil
	case OpLink:
		return t.hardlink(op.Src, op.Path, op.Time)
	}
	return nil, fs.ErrInvalid
}

// changedAt returns a, with the time of the change that sets it.
func (a Attr) changedAt(time int64) Attr {
	if time != 0 {
		a.Ctime = time
	}
	return a
}

// entryChanged notes when a name came into directory n, went or was replaced.
func (n *node) entryChanged(time int64) {
	if time != 0 {
		n.attr.Mtime, n.attr.Ctime = time, time
	}
}

// parent returns the directory that path is to be made in, and its last name.
func (t *Tree) parent(path string) (*node, string, error) {
	dir, name := splitPath(path)
	if !validName(name) {
		return nil, "", ErrNameInvalid
	}
	up, err := t.find(dir)
	if err != nil {
		return nil, "", err
	}
	if !up.isDir() {
		return nil, "", ErrNotDir
	}
	return up, name, nil
}

// put makes a file or replaces the content and attributes of one.
func (t *Tree) put(path string, c Content, a Attr, time int64) (*node, error) {
	up, name, err := t.parent(path)
	if err != nil {
		return nil, err
	}
	n := up.kids.get(name)
	switch {
	case n == nil:
		n = &node{}
		t.link(up, name, n)
		t.countOne(name, n, 1)
		up.entryChanged(time)
	case n.isDir():
		return nil, ErrIsDir
	}
	t.setContent(n, c)
	n.attr = a.changedAt(time)
	return n, nil
}

func (t *Tree) mkdir(path string, a Attr, time int64) (*node, error) {
	up, name, err := t.parent(path)
	if err != nil {
		return nil, err
	}
	if up.kids.get(name) != nil {
		return nil, fs.ErrExist
	}
	if a.Mtime == 0 {
		a.Mtime = time
	}
	n := &node{attr: a.changedAt(time), kids: new(dir)}
	t.link(up, name, n)
	t.countOne(name, n, 1)
	up.entryChanged(time)
	return n, nil
}

// remove takes away what is at path with all below it and returns it. If the
// tree keeps other names of a file, the result has a copy of it. Removing the root
// puts an empty one in its place.
func (t *Tree) remove(path string, time int64) (*node, error) {
	n, err := t.find(path)
	if err != nil {
		return nil, err
	}
	if n == t.root {
		t.root = &node{attr: n.attr, kids: new(dir)}
		t.files, t.dirs, t.bytes, t.segs, t.names, t.holes = 0, 0, 0, 0, 0, 0
		t.indexed = new(atomic.Int64)
		t.root.entryChanged(time)
		t.linked = false
		return n, nil
	}
	p := t.placeOf(path)
	t.count(p.name, n, -1)
	t.dropEntry(p, n, time)
	switch {
	case n.isDir():
		t.part(n, time)
	case n.up != nil:
		return n.clone(), nil
	}
	return n, nil
}

// dropEntry takes away the entry p, which n is, but not out of the sums.
func (t *Tree) dropEntry(p place, n *node, time int64) {
	p.up.entryChanged(time)
	if t.dropName(n, p); n.up != nil { // the other names show it
		n.attr = n.attr.changedAt(time)
	}
}

// target checks that src may become dst and returns the directory and the name
// that it gets, and the file that it replaces, if any.
func (t *Tree) target(src *node, dst string) (up *node, name string, old *node, err error) {
	up, name, err = t.parent(dst)
	if err != nil {
		return nil, "", nil, err
	}
	for d := up; d != nil; d = d.up {
		if d == src {
			return nil, "", nil, ErrIntoItself
		}
	}
	old = up.kids.get(name)
	switch {
	case old == nil || old == src:
	case old.isDir():
		return nil, "", nil, fs.ErrExist
	case src.isDir():
		return nil, "", nil, ErrNotDir
	}
	return up, name, old, nil
}

// rename moves what is at src, in constant time, and returns it. If dst is another
// name of the same file, src goes.
func (t *Tree) rename(src, dst string, time int64) (*node, error) {
	n, err := t.find(src)
	if err != nil {
		return nil, err
	}
	if n == t.root {
		return nil, fs.ErrInvalid
	}
	up, name, old, err := t.target(n, dst)
	if err != nil {
		return nil, err
	}
	from, to := t.placeOf(src), place{up, name}
	switch {
	case from == to:
		return n, nil
	case old == n:
		t.countOne(from.name, n, -1)
		t.dropEntry(from, n, time)
		return n, nil
	case old != nil:
		t.countOne(name, old, -1)
		t.dropEntry(to, old, time)
	}
	from.up.entryChanged(time)
	t.names += int64(len(name) - len(from.name))
	t.moveName(n, from, to)
	up.entryChanged(time)
	n.attr = n.attr.changedAt(time)
	return n, nil
}

// copy makes dst a copy of what is at src and returns it. Directories in it keep
// their Mtime.
func (t *Tree) copy(src, dst string, time int64) (*node, error) {
	n, err := t.find(src)
	if err != nil {
		return nil, err
	}
	up, name, old, err := t.target(n, dst)
	if err != nil {
		return nil, err
	}
	to := place{up, name}
	if old == n && (n == t.root || t.placeOf(src) == to) {
		return n, nil
	}
	if old != nil {
		t.countOne(name, old, -1)
		t.dropEntry(to, old, time)
	}
	c := n.clone()
	if time != 0 {
		c.eachEntry(name, func(_ string, m *node) { m.attr.Ctime = time })
	}
	t.link(up, name, c)
	t.count(name, c, 1)
	up.entryChanged(time)
	return c, nil
}

// setAttr replaces the attributes of path if it has the content id they belong to.
func (t *Tree) setAttr(path string, id ContentID, a Attr, time int64) (*node, error) {
	n, err := t.find(path)
	if err != nil {
		return nil, err
	}
	if n.id != id {
		return nil, fmt.Errorf("attributes are of another content: %w", fs.ErrInvalid)
	}
	n.attr = a.changedAt(time)
	return n, nil
}

// repack gives the file at path other segments, if it has that content still.
func (t *Tree) repack(path string, c Content) {
	if n := t.lookup(path); n != nil && !n.isDir() && n.id == c.ID && n.size == c.Size {
		t.setContent(n, c)
	}
}

// patch changes a part of a file. What lies between its end and the part becomes
// a hole.
func (t *Tree) patch(op Op) (*node, error) {
	n, err := t.find(op.Path)
	switch {
	case err != nil:
		return nil, err
	case n.isDir():
		return nil, ErrIsDir
	case n.id != op.Old:
		return nil, fmt.Errorf("patch is of another content: %w", fs.ErrInvalid)
	}
	s := makeSpans(n.segs)
	if len(op.Content.Segments) > 0 {
		s.write(op.Off, op.Content.Segments)
	}
	s.truncate(op.Content.Size)
	t.setContent(n, Content{op.Content.ID, op.Content.Size, s.segments()})
	n.attr = op.Attr.changedAt(op.Time)
	return n, nil
}

// sizeOf returns the sum of the segments' lengths.
func sizeOf(segs []keepio.Segment) (n int64) {
	for _, s := range segs {
		n += int64(s.Len)
	}
	return n
}
