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
		return t.put(op.Path, op.Content, op.Attr)
	case OpMkdir:
		return t.mkdir(op.Path, op.Attr)
	case OpDelete:
		return t.remove(op.Path)
	case OpRename:
		n, _, err = t.rename(op.Src, op.Path)
		return n, err
	case OpCopy:
		return t.copy(op.Src, op.Path)
	case OpAttr:
		return t.setAttr(op.Path, op.Content.ID, op.Attr)
	case OpRepack:
		t.repack(op.Path, op.Content)
		return nil, nil
	case OpPatch:
		return t.patch(op)
	}
	return nil, fs.ErrInvalid
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
func (t *Tree) put(path string, c Content, a Attr) (*node, error) {
	up, name, err := t.parent(path)
	if err != nil {
		return nil, err
	}
	n := up.kids.get(name)
	switch {
	case n == nil:
		n = &node{}
		t.link(up, name, n)
		t.countOne(n, 1)
	case n.isDir():
		return nil, ErrIsDir
	}
	t.setContent(n, c)
	n.attr = a
	return n, nil
}

func (t *Tree) mkdir(path string, a Attr) (*node, error) {
	up, name, err := t.parent(path)
	if err != nil {
		return nil, err
	}
	if up.kids.get(name) != nil {
		return nil, fs.ErrExist
	}
	n := &node{attr: a, kids: new(dir)}
	t.link(up, name, n)
	t.countOne(n, 1)
	return n, nil
}

// remove takes away what is at path with all below it and returns it. Removing
// the root empties it: then the result is a directory that has what was in it.
func (t *Tree) remove(path string) (*node, error) {
	n, err := t.find(path)
	if err != nil {
		return nil, err
	}
	if n == t.root {
		old := *t.root
		for _, k := range old.kids.view().all {
			k.up = &old
		}
		t.root.kids = new(dir)
		t.files, t.dirs, t.bytes, t.segs, t.names, t.holes = 0, 0, 0, 0, 0, 0
		t.indexed = new(atomic.Int64)
		return &old, nil
	}
	t.unlink(n)
	t.count(n, -1)
	return n, nil
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

// rename moves what is at src, in constant time, and returns it, and the file
// that it replaced, if any.
func (t *Tree) rename(src, dst string) (n, old *node, err error) {
	if n, err = t.find(src); err != nil {
		return nil, nil, err
	}
	if n == t.root {
		return nil, nil, fs.ErrInvalid
	}
	up, name, old, err := t.target(n, dst)
	if err != nil {
		return nil, nil, err
	}
	if old == n {
		return n, nil, nil
	}
	if old != nil {
		t.unlink(old)
		t.countOne(old, -1)
	}
	t.unlink(n)
	t.names += int64(len(name) - len(n.name))
	t.link(up, name, n)
	return n, old, nil
}

// copy makes dst a copy of what is at src and returns it.
func (t *Tree) copy(src, dst string) (*node, error) {
	n, err := t.find(src)
	if err != nil {
		return nil, err
	}
	up, name, old, err := t.target(n, dst)
	if err != nil {
		return nil, err
	}
	if old == n {
		return n, nil
	}
	if old != nil {
		t.unlink(old)
		t.countOne(old, -1)
	}
	c := n.clone()
	t.link(up, name, c)
	t.count(c, 1)
	return c, nil
}

// setAttr replaces the attributes of path if it has the content id they belong to.
func (t *Tree) setAttr(path string, id ContentID, a Attr) (*node, error) {
	n, err := t.find(path)
	if err != nil {
		return nil, err
	}
	if n.id != id {
		return nil, fmt.Errorf("attributes are of another content: %w", fs.ErrInvalid)
	}
	n.attr = a
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
	n.attr = op.Attr
	return n, nil
}

// sizeOf returns the sum of the segments' lengths.
func sizeOf(segs []keepio.Segment) (n int64) {
	for _, s := range segs {
		n += int64(s.Len)
	}
	return n
}
