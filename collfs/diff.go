package collfs

// noteReplacedLocked tells how the directory is, which is at path, differs from was,
// in whose place it has come: what changed, came and went, as far as anybody holds
// that or the directory that it is in. Handles and Refs must have moved over.
func (c *Collection) noteReplacedLocked(path string, was, is *node) {
	if !c.heardLocked() {
		return
	}
	if is.open != nil && !sameDirAttr(was.attr, is.attr) {
		c.noteLocked(Notice{Path: path, At: Key{is.open}})
	}
	for name, w := range was.kids.view().all {
		p, i := joinPath(path, name), is.kids.get(name)
		switch {
		case i != nil && w.isDir() && i.isDir():
			c.noteReplacedLocked(p, w, i)
		case i == nil || w.isDir() != i.isDir() || w.id != i.id:
			c.noteNameLocked(p, is, i)
		case i.open != nil && (!sameAttr(w.attr, i.attr) || w != i && w.links() != i.links()):
			c.noteLocked(Notice{Path: p, At: Key{i.open}})
		}
	}
	for name, i := range is.kids.view().all {
		if was.kids.get(name) == nil {
			c.noteNameLocked(joinPath(path, name), is, i)
		}
	}
}

// noteNameLocked tells that the name path in the directory up leads to at now; nil:
// to nothing.
func (c *Collection) noteNameLocked(path string, up, at *node) {
	n := Notice{Path: path, Tree: true, In: Key{up.open}}
	if at != nil {
		n.At = Key{at.open}
	}
	if n.In != (Key{}) || n.At != (Key{}) {
		c.noteLocked(n)
	}
}

func sameDirAttr(a, b Attr) bool { return sameAttr(a, b) && a.Ctime == b.Ctime }
