package collfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
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

// lostLocked reports whether somebody else than the view took the file o from its
// name while nobody had it open. What would be written to it would be lost.
func (c *Collection) lostLocked(o *openFile) bool {
	return !o.n.isDir() && o.writing == nil && o.state != stateAnonymous && !c.linkedLocked(o.n)
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

// A RefList is the list of a directory's entries at one moment, each with a Ref.
// Not for concurrent use.
type RefList struct {
	s *DirSnapshot
	v *View
	o *openFile // of the directory
}

// List returns a snapshot of the directory r, in constant time. It must be closed.
func (r Ref) List() (*RefList, error) {
	c := r.o.rlock()
	defer c.mu.RUnlock()
	n := r.o.n
	if !n.isDir() {
		return nil, ErrNotDir
	}
	c.pins.Add(1)
	return &RefList{&DirSnapshot{c: c, self: n.info(), view: n.kids.snapshot()}, r.v, r.o}, nil
}

// Len returns how many entries there are.
func (l *RefList) Len() int { return l.s.view.n }

// A RefEntry is an entry of a directory. It has no Ref if Next was not asked for
// Refs, or if the name has been taken away meanwhile or leads to something else.
type RefEntry struct {
	Name string
	Info NodeInfo
	Ref  Ref
	Held Key // of the Refs that there are on it
}

// OK reports whether r refers to anything.
func (r Ref) OK() bool { return r.o != nil }

// Seek makes the entry of index i, from 0, the next one.
func (l *RefList) Seek(i int) {
	l.s.i, l.s.j = 0, i
	for l.s.i < len(l.s.view.chunks) && l.s.j >= len(l.s.view.chunks[l.s.i].items) {
		l.s.j -= len(l.s.view.chunks[l.s.i].items)
		l.s.i++
	}
}

// Next fills entries with the next ones, in byte order, and reports how many; 0
// at the end. With refs, each has a Ref of its own, to be ended by Forget.
func (l *RefList) Next(entries []RefEntry, refs bool) int {
	s := l.s
	if s.c == nil {
		return 0
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	n := 0
	for n < len(entries) && s.i < len(s.view.chunks) {
		items := s.view.chunks[s.i].items
		for n < len(entries) && s.j < len(items) {
			e := &items[s.j]
			entries[n] = RefEntry{Name: e.name, Info: s.c.infoLocked(e.node), Held: Key{e.node.open}}
			if refs && l.leadsLocked(e.name, e.node) {
				entries[n].Ref = l.v.refLocked(s.c, e.node)
				entries[n].Held = entries[n].Ref.Key()
			}
			n++
			s.j++
		}
		if s.j == len(items) {
			s.i, s.j = s.i+1, 0
		}
	}
	return n
}

// leadsLocked reports whether name still leads to n in the directory. The
// collection of the snapshot must be locked.
func (l *RefList) leadsLocked(name string, n *node) bool {
	c := l.s.c
	return l.o.home.Load() == c && l.o.n.isDir() && l.o.n.kids.get(name) == n && c.linkedLocked(n)
}

// Close ends the use of l.
func (l *RefList) Close() { l.s.Close() }

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
