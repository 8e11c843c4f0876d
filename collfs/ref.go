package collfs

import (
	"io/fs"
	"time"
)

// A Ref is a file or a directory that a View holds on to: what it is, and not
// what it is called. It stays the same when it, or what it lies in, is renamed or
// moved to another collection, and when it loses its name. What is there under a
// name is found by Lookup in a directory; each Ref that a method returns is one
// use, to be ended by Forget. Two Refs on one thing have the same Key. Errors are
// not wrapped: callers know the names. All methods may be called concurrently.
type Ref struct {
	o *openFile
	v *View
}

// A Key identifies what a Ref refers to, as long as there are Refs on it. The
// zero Key is that of nothing.
type Key struct{ o *openFile }

// Key returns what tells r from Refs on other things.
func (r Ref) Key() Key { return Key{r.o} }

// Root returns a Ref on the root of c.
func (v *View) Root(c *Collection) Ref {
	c.mu.Lock()
	defer c.mu.Unlock()
	return v.refLocked(c, c.tree.root)
}

func (v *View) refLocked(c *Collection, n *node) Ref { return Ref{c.holdLocked(n), v} }

// Again returns r as one use more.
func (r Ref) Again() Ref {
	c := r.o.lockHome()
	defer c.mu.Unlock()
	r.o.uses++
	c.pins.Add(1)
	return r
}

// Forget ends uses of r.
func (r Ref) Forget(uses int) {
	c := r.o.lockHome()
	r.o.dropLocked(uses)
	c.mu.Unlock()
	if uses > 1 {
		c.pins.Add(-int64(uses - 1))
	}
	c.Release()
}

// swing makes at what the Refs on n refer to, if it is the same kind of thing and,
// if a file, has the same content. There must be no handles on n. Otherwise they
// go on referring to n, which is in no tree any more.
func (n *node) swing(at *node) bool {
	if at == nil || at.open != nil || at.isDir() != n.isDir() || at.id != n.id {
		return false
	}
	at.open, n.open = n.open, nil
	at.open.n = at
	return true
}

// linkedLocked reports whether n has a place in the tree.
func (c *Collection) linkedLocked(n *node) bool {
	for n.up != nil {
		n = n.up
	}
	return n == c.tree.root
}

// dirLocked returns the path of the directory that o is of, which must have a
// place in the tree.
func (c *Collection) dirLocked(o *openFile) (string, error) {
	switch {
	case !o.n.isDir():
		return "", ErrNotDir
	case !c.linkedLocked(o.n):
		return "", fs.ErrNotExist
	}
	return o.n.path(), nil
}

// Collection returns the collection that r is in now.
func (r Ref) Collection() *Collection { return r.o.home.Load() }

// Path returns where r is in its collection; ok is false if it has no name.
func (r Ref) Path() (path string, ok bool) {
	c := r.o.rlock()
	defer c.mu.RUnlock()
	if !c.linkedLocked(r.o.n) {
		return "", false
	}
	return r.o.n.path(), true
}

// Info describes r as it is now. Its Mtime is never zero. linked is false if it
// has no name.
func (r Ref) Info() (info NodeInfo, linked bool) {
	c := r.o.rlock()
	defer c.mu.RUnlock()
	return c.infoLocked(r.o.n), c.linkedLocked(r.o.n)
}

// infoLocked is what the view of a mount sees of n.
func (c *Collection) infoLocked(n *node) NodeInfo {
	i := n.info()
	i.Data = n.data()
	if i.Attr.Mtime == 0 {
		i.Attr.Mtime = wallNanos(c.record.ModifiedAt)
	}
	return i
}

// data returns how many bytes of n are no hole.
func (n *node) data() int64 {
	if !n.hasHandles() || n.open.spans == nil {
		return n.size - holesIn(n.segs)
	}
	return n.size - n.open.spans.holes
}

func wallNanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// Lookup finds what is called name in the directory r.
func (r Ref) Lookup(name string) (Ref, NodeInfo, error) {
	c := r.o.lockHome()
	defer c.mu.Unlock()
	n, err := c.childLocked(r.o, name)
	if err != nil {
		return Ref{}, NodeInfo{}, err
	}
	return r.v.refLocked(c, n), c.infoLocked(n), nil
}

func (c *Collection) childLocked(o *openFile, name string) (*node, error) {
	switch {
	case !o.n.isDir():
		return nil, ErrNotDir
	case len(name) > MaxName:
		return nil, ErrNameTooLong
	case !c.linkedLocked(o.n):
		return nil, fs.ErrNotExist
	}
	if n := o.n.kids.get(name); n != nil {
		return n, nil
	}
	return nil, fs.ErrNotExist
}

// Parent returns the directory that r lies in; ok is false for the root and for
// what has no name.
func (r Ref) Parent() (up Ref, name string, ok bool) {
	c := r.o.lockHome()
	defer c.mu.Unlock()
	n := r.o.n
	if n.up == nil || !c.linkedLocked(n) {
		return Ref{}, "", false
	}
	return r.v.refLocked(c, n.up), n.name, true
}

// lostLocked reports whether somebody else than the view took the file o from its
// name while nobody had it open. What would be written to it would be lost.
func (c *Collection) lostLocked(o *openFile) bool {
	return !o.n.isDir() && o.writing == nil && o.state != stateAnonymous && !c.linkedLocked(o.n)
}

// OK reports whether r refers to anything.
func (r Ref) OK() bool { return r.o != nil }

// At returns what is at a path of c.
func (v *View) At(c *Collection, path string) (Ref, NodeInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.tree.find(path)
	if err != nil {
		return Ref{}, NodeInfo{}, err
	}
	return v.refLocked(c, n), c.infoLocked(n), nil
}

// A Place is a name in a directory.
type Place struct {
	In   Key
	Name string
}

// Places returns the names of r in directories that somebody holds.
func (r Ref) Places() (all []Place) {
	c := r.o.rlock()
	defer c.mu.RUnlock()
	for _, p := range r.o.n.places() {
		if p.up.open != nil {
			all = append(all, Place{Key{p.up.open}, p.name})
		}
	}
	return all
}
