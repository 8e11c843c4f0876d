package collfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
)

// inDir calls do for a change in the directory r, with the collection locked and
// the directory's path.
func (r Ref) inDir(do func(c *Collection, dir string) error) error {
	c, err := r.o.lock(r.v)
	if err != nil {
		return err
	}
	defer c.end()
	dir, err := c.dirLocked(r.o)
	if err != nil {
		return err
	}
	return bare(do(c, dir))
}

// bare takes the path off an error.
func bare(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// Mkdir makes an empty directory called name in the directory r.
func (r Ref) Mkdir(name string, a Attr) (made Ref, info NodeInfo, err error) {
	err = r.inDir(func(c *Collection, dir string) error {
		p := joinPath(dir, name)
		if err := checkPath(p); err != nil {
			return err
		}
		if _, err := c.mkdirLocked(p, a); err != nil {
			return err
		}
		n := c.tree.lookup(p)
		made, info = r.v.refLocked(c, n), c.infoLocked(n)
		return nil
	})
	return made, info, err
}

// Create makes an empty file called name in the directory r, which must not be
// there, and opens it with flags unless these are -1.
func (r Ref) Create(name string, a Attr, flags int) (made Ref, info NodeInfo, h *Handle, err error) {
	err = r.inDir(func(c *Collection, dir string) error {
		p := joinPath(dir, name)
		if err := checkPath(p); err != nil {
			return err
		}
		if c.tree.lookup(p) != nil {
			return fs.ErrExist
		}
		if _, _, err := c.linkLocked(Content{ID: EmptyID}, p, func(Attr, bool) Attr { return a }); err != nil {
			return err
		}
		n := c.tree.lookup(p)
		made, info = r.v.refLocked(c, n), c.infoLocked(n)
		if flags >= 0 {
			h = c.handleLocked(n, p, flags&^(os.O_CREATE|os.O_EXCL|os.O_TRUNC))
			h.wrote.Store(true)
		}
		return nil
	})
	return made, info, h, err
}

// Open opens the file r with flags, which may have O_TRUNC and O_APPEND. It need
// not have a name, if its view took that away or if it is open. If another has
// taken it away or given it another content, it is fs.ErrNotExist: who looks the
// name up again finds what is there now.
func (r Ref) Open(flags int) (h *Handle, err error) {
	c := r.o.home.Load()
	writes := flags&accessMode != os.O_RDONLY
	if c.ReadOnly() {
		if writes {
			return nil, ErrReadOnly
		}
		c = r.o.lockHome()
		defer c.mu.Unlock()
	} else {
		if c, err = r.o.lock(r.v); err != nil {
			return nil, err
		}
		defer c.end()
	}
	o := r.o
	if o.n.isDir() {
		return nil, ErrIsDir
	}
	if c.lostLocked(o) {
		return nil, fs.ErrNotExist
	}
	path := o.path
	if o.state == stateLinked {
		path = o.n.path()
	}
	h = c.handleLocked(o.n, path, flags)
	switch {
	case flags&os.O_TRUNC == 0:
	case o.n.size > 0:
		c.touchLocked(o.n)
		o.truncate(0)
		c.sizeLocked(o.n)
		h.wrote.Store(true)
	default: // only its time changes
		a := o.n.attr
		a.Mtime = c.now()
		c.setNodeAttrLocked(o.n, a)
	}
	return h, nil
}

// Remove takes away the file called name in the directory r, or, if dir is true,
// the empty directory.
func (r Ref) Remove(name string, dir bool) error {
	return r.inDir(func(c *Collection, at string) error {
		n, err := c.childLocked(r.o, name)
		switch {
		case err != nil:
			return err
		case dir && !n.isDir():
			return ErrNotDir
		case !dir && n.isDir():
			return ErrIsDir
		case dir && n.kids.n > 0:
			return ErrNotEmpty
		}
		return c.removeLocked(joinPath(at, name), n)
	})
}

// Rename moves what is called name in the directory r into the directory to of
// the same collection, where it is called newName; how says what may be replaced.
// If the directories are of different collections, it is ErrOtherCollection.
func (r Ref) Rename(name string, to Ref, newName string, how Replace) error {
	return r.inDir(func(c *Collection, dir string) error {
		if to.o.home.Load() != c {
			return ErrOtherCollection
		}
		dst, err := c.dirLocked(to.o)
		if err != nil {
			return err
		}
		if dst = joinPath(dst, newName); checkPath(dst) != nil {
			return checkPath(dst)
		}
		_, err = c.transferLocked(OpRename, joinPath(dir, name), dst, CopyOptions{Replace: how})
		return err
	})
}

// SetAttr changes the attributes of r; see Collection.SetAttr. What Open does not
// find, it does not find either.
func (r Ref) SetAttr(change func(NodeInfo) (Attr, error)) (NodeInfo, error) {
	c, err := r.o.lock(r.v)
	if err != nil {
		return NodeInfo{}, err
	}
	defer c.end()
	if c.lostLocked(r.o) {
		return NodeInfo{}, fs.ErrNotExist
	}
	n := r.o.n
	a, err := change(c.infoLocked(n))
	if err != nil {
		return NodeInfo{}, err
	}
	c.setNodeAttrLocked(n, a)
	return c.infoLocked(n), nil
}

func (c *Collection) setNodeAttrLocked(n *node, a Attr) {
	if c.linkedLocked(n) {
		c.setAttrLocked(n.path(), n, a)
	} else {
		n.attr = a.changedAt(c.now())
	}
}

// CommitSoon has what is changed committed, not durably, without waiting for it.
// A failure is that of the next Commit, too.
func (c *Collection) CommitSoon() {
	if c.ReadOnly() || c.fs.work.Err() != nil {
		return
	}
	c.joinRound(false)
}

// Transfer moves what is called name in the directory r into the directory to,
// which may be of another collection, as one transaction, and commits it durably.
// Handles and Refs go along; what cannot go along with all names that it has is
// ErrOtherCollection.
func (r Ref) Transfer(ctx context.Context, name string, to Ref, newName string, how Replace) error {
	for {
		src, dst := r.Collection(), to.Collection()
		from, ok := r.Path()
		into, ok2 := to.Path()
		if !ok || !ok2 {
			return fs.ErrNotExist
		}
		o := TransferOptions{Move: true, CopyOptions: CopyOptions{Replace: how}}
		// Nothing holds the directories where they are until the transfer has them.
		moved := false
		o.CheckSrc = func(NodeInfo, bool) error {
			moved = !src.isAtLocked(r.o, from) || !dst.isAtLocked(to.o, into)
			if moved {
				return ErrStale
			}
			return nil
		}
		_, err := r.v.fs.Transfer(OnBehalf(ctx, r.v), src, joinPath(from, name), dst, joinPath(into, newName), o)
		if moved && ctx.Err() == nil {
			continue
		}
		return bare(err)
	}
}

// isAtLocked reports whether o is of what is at path.
func (c *Collection) isAtLocked(o *openFile, path string) bool {
	return o.home.Load() == c && c.tree.lookup(path) == o.n
}

// Link makes the file target known by another name, in the directory r. If they are
// of different collections, it is ErrOtherCollection.
func (r Ref) Link(name string, target Ref) (info NodeInfo, err error) {
	err = r.inDir(func(c *Collection, dir string) error {
		switch {
		case target.o.home.Load() != c:
			return ErrOtherCollection
		case target.o.n.isDir():
			return ErrIsDir
		}
		p := joinPath(dir, name)
		if err := checkPath(p); err != nil {
			return err
		}
		if !c.linkedLocked(target.o.n) {
			info, err = c.nameLocked(target.o, p)
			return err
		}
		if _, err := c.hardlinkLocked(target.o.n.path(), p); err != nil {
			return err
		}
		info = c.infoLocked(target.o.n)
		return nil
	})
	return info, err
}

// nameLocked gives a file that has none the name path.
func (c *Collection) nameLocked(o *openFile, path string) (NodeInfo, error) {
	n := o.n
	if o.state != stateAnonymous || !n.hasHandles() {
		return NodeInfo{}, fs.ErrNotExist
	}
	if c.tree.lookup(path) != nil {
		return NodeInfo{}, fs.ErrExist
	}
	c.settleLocked(n)
	if err := c.freezeLocked(n.segs); err != nil {
		return NodeInfo{}, err
	}
	if err := c.roomForHolesLocked(holesIn(n.segs)); err != nil {
		return NodeInfo{}, err
	}
	if _, _, err := c.linkLocked(n.content(), path, func(Attr, bool) Attr { return n.attr }); err != nil {
		return NodeInfo{}, err
	}
	c.attachLocked(n, c.tree.lookup(path))
	return c.infoLocked(n), nil
}

// Tmpfile makes an empty file without a name in the collection of the directory r
// and opens it. Link can give it one.
func (r Ref) Tmpfile(a Attr, flags int) (made Ref, info NodeInfo, h *Handle, err error) {
	err = r.inDir(func(c *Collection, _ string) error {
		a.Mtime = c.now()
		a.Ctime = a.Mtime
		n := &node{attr: a, id: EmptyID}
		made = r.v.refLocked(c, n)
		made.o.state = stateAnonymous
		h = c.handleLocked(n, "(no name)", flags)
		info = c.infoLocked(n)
		return nil
	})
	return made, info, h, err
}

// Exchange makes what is called name in the directory r, and what is called
// otherName in the directory to, change places.
func (r Ref) Exchange(name string, to Ref, otherName string) error {
	return r.inDir(func(c *Collection, dir string) error {
		if to.o.home.Load() != c {
			return ErrOtherCollection
		}
		other, err := c.dirLocked(to.o)
		if err != nil {
			return err
		}
		return c.exchangeLocked(joinPath(dir, name), joinPath(other, otherName))
	})
}

type onBehalf struct{}

// OnBehalf has changes of collections by transfers, made with the context that is
// returned, count as those of v, which is not told of them. A move that would make
// two files of one, known by other names, too, is ErrOtherCollection then.
func OnBehalf(ctx context.Context, v *View) context.Context {
	return context.WithValue(ctx, onBehalf{}, v)
}

func behalfOf(ctx context.Context) *View {
	v, _ := ctx.Value(onBehalf{}).(*View)
	return v
}
