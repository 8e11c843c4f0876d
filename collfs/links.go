package collfs

import (
	"io/fs"
	"slices"
)

// A file may have several names: entries of directories that have the same node.
// up and name of the node are the first of them, whichever that is; the others
// are kept by the directory of the first, in dir.linked.

// A place is a name in a directory.
type place struct {
	up   *node
	name string
}

func (p place) path() string { return joinPath(p.up.path(), p.name) }

// first is where n says that it is.
func (n *node) first() place { return place{n.up, n.name} }

// more returns the places of n but the first.
func (n *node) more() []place {
	if n.up == nil {
		return nil
	}
	return n.up.kids.linked[n]
}

// places returns all places of n: none of a root, or of what is in no tree.
func (n *node) places() []place {
	if n.up == nil {
		return nil
	}
	return append([]place{n.first()}, n.more()...)
}

// links returns how many names n has.
func (n *node) links() int {
	if n.up == nil {
		return 0
	}
	return 1 + len(n.more())
}

// paths returns the paths of all names of n.
func (n *node) paths() (out []string) {
	for _, p := range n.places() {
		out = append(out, p.path())
	}
	return out
}

// pathsBut returns the paths of the names of n other than path.
func (n *node) pathsBut(path string) []string {
	if n.links() < 2 {
		return nil
	}
	return slices.DeleteFunc(n.paths(), func(p string) bool { return p == path })
}

// hasMore reports whether n, which is the entry p, is a file with more names.
func (p place) hasMore(n *node) bool {
	return n.up != p.up || n.name != p.name || len(p.up.kids.linked[n]) > 0
}

// setMore says which places n, which is in a tree, has but the first.
func (n *node) setMore(more []place) {
	d := n.up.kids
	if len(more) == 0 {
		delete(d.linked, n)
		return
	}
	if d.linked == nil {
		d.linked = make(map[*node][]place)
	}
	d.linked[n] = more
}

// setPlaces says which places n has, other than those it had.
func (n *node) setPlaces(places []place) {
	if n.up != nil {
		n.setMore(nil)
	}
	if len(places) == 0 {
		n.up = nil
		return
	}
	n.up, n.name = places[0].up, places[0].name
	n.setMore(places[1:])
}

// placeOf returns the place of a clean path that isn't the root's.
func (t *Tree) placeOf(path string) place {
	dir, name := splitPath(path)
	return place{t.lookup(dir), name}
}

// addName makes p, where nothing is, another name of n.
func (t *Tree) addName(n *node, p place) {
	p.up.kids.set(p.name, n)
	n.setMore(append(n.more(), p))
	t.linked = true
}

// dropName takes the name p from n, which is in no tree when that was the last.
func (t *Tree) dropName(n *node, p place) {
	p.up.kids.remove(p.name)
	n.setPlaces(slices.DeleteFunc(n.places(), func(q place) bool { return q == p }))
}

// moveName makes to what p was: a name of n.
func (t *Tree) moveName(n *node, p, to place) {
	p.up.kids.remove(p.name)
	to.up.kids.set(to.name, n)
	places := n.places()
	places[slices.Index(places, p)] = to
	n.setPlaces(places)
}

// replace puts n, which is in no tree, in all places of old, which is in none
// then.
func (t *Tree) replace(old, n *node) {
	places := old.places()
	old.setPlaces(nil)
	n.up = nil
	n.setPlaces(places)
	for _, p := range places {
		p.up.kids.set(p.name, n)
	}
}

// linkedBelow returns the files that have a name below n and more than one in all.
func (n *node) linkedBelow() map[*node]struct{} {
	out := make(map[*node]struct{})
	var visit func(n *node)
	visit = func(n *node) {
		for name, k := range n.kids.view().all {
			if k.isDir() {
				visit(k)
			} else if (place{n, name}).hasMore(k) {
				out[k] = struct{}{}
			}
		}
	}
	if n.isDir() {
		visit(n)
	}
	return out
}

// part makes files that have names below top, which has left its tree, and
// others, two: the one below is a copy, which stays as it is.
func (t *Tree) part(top *node, time int64) {
	if !t.linked {
		return
	}
	for n := range top.linkedBelow() {
		var inside, outside []place
		for _, p := range n.places() {
			if p.up.below(top) {
				inside = append(inside, p)
			} else {
				outside = append(outside, p)
			}
		}
		if len(outside) == 0 {
			continue
		}
		c := n.clone()
		c.setPlaces(inside)
		for _, p := range inside {
			p.up.kids.set(p.name, c)
		}
		n.setPlaces(outside)
		n.attr = n.attr.changedAt(time)
	}
}

// hardlink makes dst another name of the file at src and returns it.
func (t *Tree) hardlink(src, dst string, time int64) (*node, error) {
	n, err := t.find(src)
	if err != nil {
		return nil, err
	}
	if n.isDir() {
		return nil, ErrIsDir
	}
	up, name, err := t.parent(dst)
	if err != nil {
		return nil, err
	}
	if up.kids.get(name) != nil {
		return nil, fs.ErrExist
	}
	t.addName(n, place{up, name})
	t.countOne(name, n, 1)
	up.entryChanged(time)
	n.attr = n.attr.changedAt(time)
	return n, nil
}

// below reports whether n is top or has a name below it.
func (n *node) below(top *node) bool {
	if n == top {
		return true
	}
	for _, p := range n.places() {
		for d := p.up; d != nil; d = d.up {
			if d == top {
				return true
			}
		}
	}
	return false
}

// onlyBelow reports whether n loses its last name when one of top, a file, or top,
// a directory, with all below it is taken away.
func (n *node) onlyBelow(top *node) bool {
	if n == top {
		return n.links() == 1
	}
	for _, p := range n.places() {
		if !p.up.below(top) {
			return false
		}
	}
	return n.up != nil
}

// hasNamesBeside reports whether top, or a file below it, has names that are
// neither top's own place nor below it.
func (t *Tree) hasNamesBeside(top *node) bool {
	if !t.linked {
		return false
	}
	if !top.isDir() {
		return top.links() > 1
	}
	for n := range top.linkedBelow() {
		if !n.onlyBelow(top) {
			return true
		}
	}
	return false
}

// Hardlink makes dst another name of the file at src: both show all changes made
// through either, and the file is there until its last name is removed. A
// directory is ErrIsDir, a dst that exists fs.ErrExist. When a name moves to
// another collection and others of the same file do not, it becomes a file of its
// own there.
func (c *Collection) Hardlink(src, dst string, check Check) (NodeInfo, error) {
	if err := checkPath(dst); err != nil {
		return NodeInfo{}, pathError("link", dst, err)
	}
	if err := c.begin(nil); err != nil {
		return NodeInfo{}, pathError("link", dst, err)
	}
	defer c.end()
	if err := c.checkLocked(check, dst); err != nil {
		return NodeInfo{}, err
	}
	return c.hardlinkLocked(src, dst)
}

func (c *Collection) hardlinkLocked(src, dst string) (NodeInfo, error) {
	n, err := c.tree.find(src)
	if err == nil && n.isDir() {
		err = ErrIsDir
	}
	if err != nil {
		return NodeInfo{}, pathError("link", src, err)
	}
	c.settleLocked(n)
	if err := c.roomForHolesLocked(holesIn(n.segs)); err != nil {
		return NodeInfo{}, pathError("link", dst, err)
	}
	others := n.pathsBut(src)
	ch := change{Op: Op{Kind: OpLink, Path: dst, Src: src, Content: Content{ID: n.id}, Time: c.now()}}
	if _, err := c.tree.apply(ch.Op); err != nil {
		return NodeInfo{}, pathError("link", dst, err)
	}
	ch.node = n.clone()
	c.addLocked(ch)
	c.noteAllLocked(others)
	return n.infoAt(dst), nil
}

// othersLocked returns the names elsewhere of the files that are about to lose
// names: n, which is at path, or those below it. It is for notices.
func (c *Collection) othersLocked(path string, n *node) (out []string) {
	if n == nil || !c.tree.linked || c.fs.subscribed.Load() == 0 {
		return nil
	}
	files := n.linkedBelow()
	if !n.isDir() {
		files[n] = struct{}{}
	}
	for f := range files {
		for _, p := range f.paths() {
			if !within(p, path) {
				out = append(out, p)
			}
		}
	}
	return out
}
