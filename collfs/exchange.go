package collfs

import (
	"io/fs"
	"slices"
)

// exchange makes what is at a and at b change places, and returns what was at b.
func (t *Tree) exchange(a, b string, time int64) (*node, error) {
	n, err := t.find(a)
	if err != nil {
		return nil, err
	}
	m, err := t.find(b)
	switch {
	case err != nil:
		return nil, err
	case n == t.root || m == t.root:
		return nil, fs.ErrInvalid
	case n == m:
		return m, nil
	case n.isDir() && m.below(n) || m.isDir() && n.below(m):
		return nil, ErrIntoItself
	}
	p, q := t.placeOf(a), t.placeOf(b)
	p.up.kids.set(p.name, m)
	q.up.kids.set(q.name, n)
	nPlaces, mPlaces := n.places(), m.places()
	nPlaces[slices.Index(nPlaces, p)] = q
	mPlaces[slices.Index(mPlaces, q)] = p
	n.setPlaces(nPlaces)
	m.setPlaces(mPlaces)
	p.up.entryChanged(time)
	q.up.entryChanged(time)
	n.attr, m.attr = n.attr.changedAt(time), m.attr.changedAt(time)
	return m, nil
}

// Exchange makes what is at a and at b, each a file or a directory, change places.
// Handles go on.
func (c *Collection) Exchange(a, b string) error {
	if err := c.begin(nil); err != nil {
		return pathError("exchange", a, err)
	}
	defer c.end()
	return pathError("exchange", a, c.exchangeLocked(a, b))
}

func (c *Collection) exchangeLocked(a, b string) error {
	n, err := c.tree.find(a)
	if err != nil {
		return err
	}
	m, err := c.tree.find(b)
	if err != nil {
		return err
	}
	if n == m {
		return nil
	}
	c.settleBelowLocked(n)
	c.settleBelowLocked(m)
	op := Op{Kind: OpExchange, Path: b, Src: a, Old: m.id, Content: Content{ID: n.id}, Time: c.now()}
	if _, err := c.tree.apply(op); err != nil {
		return err
	}
	c.addLocked(change{Op: op})
	return nil
}

// exchange replays an exchange on theirs. If that has only one of both by now, this
// one goes where ours put it. An exchange that theirs has done already is not
// undone, as far as contents tell.
func (m *merger) exchange(ch change) {
	src, dst := m.t.lookup(ch.Src), m.t.lookup(ch.Path)
	switch {
	case src != nil && dst != nil:
		if src.id != dst.id && src.id == ch.Old && dst.id == ch.Content.ID {
			return
		}
		if src.below(dst) || dst.below(src) {
			return
		}
		m.do(ch)
	case src != nil:
		if dir, _ := splitPath(ch.Path); m.t.lookup(dir) == nil || src.below(m.t.lookup(dir)) || m.t.lookup(dir).below(src) {
			return
		}
		m.move(ch.Src, ch.Path, src)
	case dst != nil:
		if dir, _ := splitPath(ch.Src); m.t.lookup(dir) == nil || m.t.lookup(dir).below(dst) {
			return
		}
		m.move(ch.Path, ch.Src, dst)
	}
}
