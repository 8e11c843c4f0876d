package collfs

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"keepdav/keepio"
)

// A handleState says where the file of a handle is.
type handleState uint8

const (
	stateLinked     handleState = iota // in the tree, where its node says
	stateSuperseded                    // another's content took its place; a write makes it ours changed
	stateAnonymous                     // it was unlinked by who writes to it, if anybody does
)

// An openFile is what the handles of one file, and the Refs on it, share. A
// directory has one while there are Refs on it.
type openFile struct {
	home atomic.Pointer[Collection] // changes when the file is moved to another collection

	// Guarded by home.mu:
	n        *node // may change while there is no handle
	uses     int   // handles and Refs
	state    handleState
	path     string // where it was when it was superseded
	*writing        // nil while there is no handle
}

// writing is what the handles of one file share.
type writing struct {
	read atomic.Pointer[spanCache] // for reading while nobody has written

	mu      sync.Mutex // held by who writes; guards the fields below
	stream  *keepio.Stream
	owner   *Collection // whose packer the stream is of
	written int64       // bytes appended

	// Guarded by openFile.home.mu:
	handles int
	writers []*View // of the handles for writing that there were; each once
	spans   *spans  // its content, while it is written to
	dirty   bool    // spans isn't in the node, the node's content not in pending
	base    ContentID
	was     Attr                     // before it got dirty
	edits   edits                    // what is dirty
	holes   int64                    // bytes of holes that the tree counts, for each name, and the node does not have yet
	fresh   map[*keepio.Block]uint32 // from where on a block's bytes were appended here and are not frozen
}

// A Handle is an open file. It belongs to the file, not to its name: it goes on
// when the file is renamed or unlinked. Handles of one file share its state.
// Their methods may be called concurrently.
type Handle struct {
	o     *openFile
	w     *writing // o's, which stays while there is a handle
	by    *View    // on whose behalf it changes the file
	path  string   // when it was opened, for errors
	flags int
	wrote atomic.Bool
	done  atomic.Bool

	follow *follower // of what is read; nil: nobody
}

// OpenOptions say how a file is opened.
type OpenOptions struct {
	Flags int  // os.O_RDONLY, O_WRONLY or O_RDWR, with O_CREATE, O_EXCL, O_TRUNC, O_APPEND
	Attr  Attr // of a file that is made; a zero Mtime becomes the present time
	Check Check
}

const accessMode = os.O_RDONLY | os.O_WRONLY | os.O_RDWR

// OpenFile opens a file for reading and writing in place. Nothing is committed
// before Sync or Close, and nothing at all if nothing is changed.
func (c *Collection) OpenFile(path string, o OpenOptions) (h *Handle, created bool, err error) {
	writes := o.Flags&accessMode != os.O_RDONLY
	if o.Flags&accessMode == accessMode || o.Flags&os.O_TRUNC != 0 && !writes {
		return nil, false, pathError("open", path, fs.ErrInvalid)
	}
	if !c.ReadOnly() || writes || o.Flags&os.O_CREATE != 0 {
		if err := c.begin(nil); err != nil {
			return nil, false, pathError("open", path, err)
		}
		defer c.end()
	} else {
		c.mu.Lock()
		defer c.mu.Unlock()
	}
	return c.openLocked(path, o)
}

func (c *Collection) openLocked(path string, o OpenOptions) (h *Handle, created bool, err error) {
	if err := c.checkLocked(o.Check, path); err != nil {
		return nil, false, err
	}
	n, err := c.tree.find(path)
	switch {
	case err == nil && o.Flags&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, false, pathError("open", path, fs.ErrExist)
	case err == nil && n.isDir():
		return nil, false, pathError("open", path, ErrIsDir)
	case err == fs.ErrNotExist && o.Flags&os.O_CREATE != 0:
		if err := checkPath(path); err != nil {
			return nil, false, pathError("open", path, err)
		}
		a := o.Attr
		if _, _, err = c.linkLocked(Content{ID: EmptyID}, path, func(Attr, bool) Attr { return a }); err != nil {
			return nil, false, err
		}
		n, created = c.tree.lookup(path), true
	case err != nil:
		return nil, false, pathError("open", path, err)
	}
	h = c.handleLocked(n, path, o.Flags)
	if o.Flags&os.O_TRUNC != 0 && n.size > 0 {
		c.touchLocked(n)
		n.open.truncate(0)
		c.sizeLocked(n)
	}
	h.wrote.Store(created || o.Flags&os.O_TRUNC != 0)
	return h, created, nil
}

// holdLocked returns what n's handles and Refs share, with one use more.
func (c *Collection) holdLocked(n *node) *openFile {
	if n.open == nil {
		n.open = &openFile{n: n}
		n.open.home.Store(c)
	}
	n.open.uses++
	c.pins.Add(1)
	return n.open
}

// handleLocked returns a new handle on n.
func (c *Collection) handleLocked(n *node, path string, flags int) *Handle {
	o := c.holdLocked(n)
	if o.writing == nil {
		o.writing = &writing{fresh: make(map[*keepio.Block]uint32)}
		c.opened[n] = struct{}{}
	}
	o.handles++
	if flags&accessMode != os.O_RDONLY && !slices.Contains(o.writers, c.by) {
		o.writers = append(o.writers, c.by)
	}
	h := &Handle{o: o, w: o.writing, by: c.by, path: path, flags: flags}
	if flags&accessMode != os.O_WRONLY {
		h.follow = newFollower(c.fs.cfg.Spool)
	}
	return h
}

// hasHandles reports whether there are handles on n.
func (n *node) hasHandles() bool { return n.open != nil && n.open.writing != nil }

// lock locks the collection that the file is in for a change on behalf of by.
func (o *openFile) lock(by *View) (*Collection, error) {
	for {
		c := o.home.Load()
		if err := c.begin(by); err != nil {
			if o.home.Load() != c {
				continue
			}
			return nil, err
		}
		if o.home.Load() == c {
			return c, nil
		}
		c.unlock()
	}
}

func (o *openFile) rlock() *Collection {
	for {
		c := o.home.Load()
		c.mu.RLock()
		if o.home.Load() == c {
			return c
		}
		c.mu.RUnlock()
	}
}

// touchLocked notes that n, which has a handle, is about to be changed.
func (c *Collection) touchLocked(n *node) {
	o := n.open
	if o.spans == nil {
		o.spans = makeSpans(n.segs)
	}
	if !o.dirty {
		o.dirty, o.base, o.was = true, n.id, n.attr
		o.edits = edits{before: n.size, low: n.size}
		c.dirty[n] = struct{}{}
		n.attr.Extra = withoutSums(n.attr.Extra)
		_, _ = rand.Read(n.id[:])
	} else { // a new id for each change, without asking for randomness each time
		binary.LittleEndian.PutUint64(n.id[8:], binary.LittleEndian.Uint64(n.id[8:])+1)
	}
	now := c.now()
	n.attr.Mtime, n.attr.Ctime = now, now
	c.changes++
	if c.since == 0 {
		c.since = n.attr.Mtime
	}
	if o.state == stateLinked && c.heardLocked() {
		for _, path := range n.paths() {
			c.noteLocked(Notice{Path: path, At: Key{o}})
		}
	}
}

// sizeLocked makes n as long as its spans.
func (c *Collection) sizeLocked(n *node) {
	if n.open.state == stateLinked {
		c.tree.bytes += int64(n.links()) * (n.open.spans.size - n.size)
	}
	n.size = n.open.spans.size
}

// showLocked makes the node of a file that is written to have its content.
func (c *Collection) showLocked(n *node) {
	if !n.hasHandles() || !n.open.dirty {
		return
	}
	segs := n.open.spans.segments()
	if n.open.state == stateLinked {
		names := int64(n.links())
		c.tree.segs += names * int64(len(segs)-len(n.segs))
		c.tree.holes += names * (holesIn(segs) - holesIn(n.segs) - n.open.holes)
		n.open.holes = 0
	}
	n.segs = segs
}

// settleLocked makes a pending change of what handles have written to n.
func (c *Collection) settleLocked(n *node) {
	o := n.open
	if !n.hasHandles() || !o.dirty {
		return
	}
	c.showLocked(n)
	base, was := o.base, o.was
	o.dirty = false
	delete(c.dirty, n)
	switch o.state {
	case stateLinked:
		put := change{Op: Op{Kind: OpPut, Path: n.path(), Old: base, Content: n.content(), Attr: n.attr, Time: n.attr.Ctime}, was: was, also: n.pathsBut(n.path())}
		c.pending = append(c.pending, o.edits.changes(o.spans, put)...)
	case stateSuperseded:
		c.resurfaceLocked(n, base, was)
	}
}

// settleBelowLocked settles what is dirty at top and below.
func (c *Collection) settleBelowLocked(top *node) {
	for n := range c.dirty {
		if n.below(top) {
			c.settleLocked(n)
		}
	}
}

func (c *Collection) settleAllLocked() {
	for n := range c.dirty {
		c.settleLocked(n)
	}
}

// detachLocked takes an open file, settled, out of the tree, leaving a copy in
// its place: it has no name from now on. If somebody else than who does that may
// be writing to it, or holds on to it, it is superseded: what is written won't be
// lost.
func (c *Collection) detachLocked(n *node) {
	s := stateAnonymous
	if n.hasHandles() && slices.ContainsFunc(n.open.writers, func(v *View) bool { return v != c.by }) || !n.hasHandles() && c.by == nil {
		s = stateSuperseded
	}
	c.takeOutLocked(n, s)
}

// supersedeLocked is detachLocked for a file whose name gets another content
// while its handles may go on writing: what they write won't be lost.
func (c *Collection) supersedeLocked(n *node) { c.takeOutLocked(n, stateSuperseded) }

func (c *Collection) takeOutLocked(n *node, s handleState) {
	if n.open == nil || n.open.state != stateLinked {
		return
	}
	n.open.state, n.open.path = s, n.path()
	_ = c.freezeLocked(n.segs) // a failure shows again when it is committed
	c.tree.replace(n, n.clone())
}

// Info describes the file as it is now.
func (h *Handle) Info() NodeInfo {
	c := h.o.rlock()
	defer c.mu.RUnlock()
	return h.o.n.info()
}

// Path returns where the file is now; ok is false if it has no name.
func (h *Handle) Path() (path string, ok bool) {
	c := h.o.rlock()
	defer c.mu.RUnlock()
	switch h.o.state {
	case stateLinked:
		return h.o.n.path(), true
	case stateSuperseded:
		return h.o.path, true
	}
	return "", false
}

// ReadAt fills p from offset off on. Like io.ReaderAt it returns an error when
// it copies less: io.EOF at the end.
func (h *Handle) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if h.done.Load() {
		return 0, pathError("read", h.path, ErrClosed)
	}
	if h.flags&accessMode == os.O_WRONLY {
		return 0, pathError("read", h.path, fs.ErrPermission)
	}
	if off < 0 {
		return 0, pathError("read", h.path, fs.ErrInvalid)
	}
	c := h.o.rlock()
	s := h.w.spans
	if s == nil {
		s = h.w.spansOf(h.o.n.segs)
	}
	parts := s.read(off, int64(len(p)))
	var next []span
	if from, length := h.follow.note(off, int64(len(p))); length > 0 {
		next = s.read(from, length)
	}
	c.mu.RUnlock()
	h.follow.want(ctx, next)
	n, err := readSpans(ctx, c.fs.cfg.Spool, parts, p, off)
	if err != nil {
		return n, pathError("read", h.path, err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// A spanCache is the spans of segments.
type spanCache struct {
	spans
	of []keepio.Segment
}

// spansOf makes the spans of segs, once for all reads.
func (o *writing) spansOf(segs []keepio.Segment) *spans {
	if len(segs) == 0 {
		return new(spans)
	}
	r := o.read.Load()
	if r == nil || len(r.of) != len(segs) || &r.of[0] != &segs[0] {
		r = &spanCache{*makeSpans(segs), segs}
		o.read.Store(r)
	}
	return &r.spans
}

// MaxFile is the most bytes that a file may have.
const MaxFile = 1 << 46

// maxHoles is the most bytes that the holes of a collection may have together.
// They take no room, but a manifest names a block for every 64 MiB of them:
// these make a million.
const maxHoles = MaxFile

// roomForHolesLocked says why the collection may not get n bytes more of holes.
func (c *Collection) roomForHolesLocked(n int64) error {
	if n <= 0 || c.tree.holes <= maxHoles-n {
		return nil
	}
	for f := range c.dirty { // what was written into holes or cut off isn't counted out yet
		c.showLocked(f)
	}
	if c.tree.holes > maxHoles-n {
		return ErrTooSparse
	}
	return nil
}

// addHoleLocked counts a hole of n bytes, if that is more than none, which a
// handle is about to make at the end of f.
func (c *Collection) addHoleLocked(f *node, n int64) error {
	names := int64(max(1, f.links()))
	if n > maxHoles/names {
		return ErrTooSparse
	}
	if err := c.roomForHolesLocked(n * names); err != nil {
		return err
	}
	if n > 0 && f.open.state == stateLinked {
		c.tree.holes += n * names
		f.open.holes += n
	}
	return nil
}

func (h *Handle) checkWrite(off, n int64) error {
	switch {
	case h.done.Load():
		return ErrClosed
	case h.flags&accessMode == os.O_RDONLY:
		return fs.ErrPermission
	case off < 0 || n < 0 || off > MaxFile || off+n > MaxFile:
		return fs.ErrInvalid
	}
	return nil
}

// WriteAt writes all of p at offset off, beyond the end after a hole; with
// O_APPEND, at the end wherever that is.
func (h *Handle) WriteAt(ctx context.Context, p []byte, off int64) (int, error) {
	err := h.checkWrite(off, int64(len(p)))
	if err == nil && len(p) > 0 {
		_, err = h.write(ctx, p, off, h.flags&os.O_APPEND != 0)
	}
	if err != nil {
		return 0, pathError("write", h.path, err)
	}
	return len(p), nil
}

// Append writes all of p at the end and returns where that was.
func (h *Handle) Append(ctx context.Context, p []byte) (off int64, err error) {
	if err = h.checkWrite(0, int64(len(p))); err == nil {
		if off, err = h.write(ctx, p, 0, true); err == nil {
			return off, nil
		}
	}
	return 0, pathError("write", h.path, err)
}

// write writes p at off, or at the end, and returns where that was.
func (h *Handle) write(ctx context.Context, p []byte, off int64, atEnd bool) (at int64, err error) {
	err = h.change(func() error {
		at, err = h.writeLocked(ctx, p, off, atEnd)
		return err
	})
	return at, err
}

// change calls do with writing.mu held, and publishes what it did without. The end
// of h waits for it.
func (h *Handle) change(do func() error) error {
	h.w.mu.Lock()
	err := ErrClosed
	if !h.done.Load() { // else what its file shares may be gone, or that of others
		err = do()
	}
	h.w.mu.Unlock()
	h.o.home.Load().publish() // if the file moved on just now, the transfer has published for where it came from
	return err
}

// writeLocked is write with o.mu held.
func (h *Handle) writeLocked(ctx context.Context, p []byte, off int64, atEnd bool) (int64, error) {
	o := h.o
	if !atEnd {
		if done, err := h.overwrite(ctx, p, off); done || err != nil {
			return off, err
		}
	}
	segs, err := o.append(ctx, p)
	if err != nil {
		return 0, err
	}
	c, err := o.lock(h.by)
	if err != nil {
		return 0, err
	}
	defer c.unlock()
	if atEnd {
		if off = h.o.n.size; off > MaxFile-int64(len(p)) {
			return 0, fs.ErrInvalid
		}
	}
	if err := c.addHoleLocked(h.o.n, off-h.o.n.size); err != nil {
		return 0, err
	}
	h.wrote.Store(true)
	c.touchLocked(h.o.n)
	o.spans.write(off, segs)
	o.edits.add(off, off+int64(len(p)))
	c.sizeLocked(h.o.n)
	for _, s := range segs {
		if from, ok := o.fresh[s.Block]; !ok || s.Off < from {
			o.fresh[s.Block] = s.Off
		}
	}
	return off, nil
}

// append puts p into blocks: the first bytes that are written to a file into the
// collection's, the more into blocks of the file's own. o.mu must be held.
func (o *openFile) append(ctx context.Context, p []byte) ([]keepio.Segment, error) {
	c := o.home.Load()
	o.written += int64(len(p))
	if o.written <= streamFrom {
		return c.packer.Append(ctx, p)
	}
	if o.stream == nil || o.owner != c {
		if o.stream != nil {
			o.stream.Close()
		}
		o.stream, o.owner = c.packer.NewFileStream(), c
	}
	return o.stream.Append(ctx, p)
}

// overwrite replaces bytes in place, if they were appended by a handle of this
// file and nobody relies on them yet.
func (h *Handle) overwrite(ctx context.Context, p []byte, off int64) (bool, error) {
	if len(p) > streamFrom {
		return false, nil
	}
	o := h.o
	c, err := o.lock(h.by)
	if err != nil {
		return false, err
	}
	defer c.unlock()
	if o.spans == nil {
		return false, nil
	}
	i := o.spans.at(off)
	if !o.spans.has(i) {
		return false, nil
	}
	sp := o.spans.get(i)
	from, ok := o.fresh[sp.Block]
	if !ok || sp.Block == nil || sp.Off < from || off+int64(len(p)) > sp.end() {
		return false, nil
	}
	done, err := c.packer.Overwrite(ctx, sp.Segment, uint32(off-sp.start), p)
	if done {
		h.wrote.Store(true)
		c.touchLocked(h.o.n)
		o.edits.add(off, off+int64(len(p)))
	}
	return done, err
}

// Truncate cuts the file to size, or lengthens it by a hole.
func (h *Handle) Truncate(size int64) error {
	if err := h.checkWrite(size, 0); err != nil {
		return pathError("truncate", h.path, err)
	}
	o := h.o
	return pathError("truncate", h.path, h.change(func() error {
		c, err := o.lock(h.by)
		if err != nil {
			return err
		}
		defer c.unlock()
		if size == h.o.n.size {
			return nil
		}
		return h.truncateLocked(c, size)
	}))
}

func (h *Handle) truncateLocked(c *Collection, size int64) error {
	if err := c.addHoleLocked(h.o.n, size-h.o.n.size); err != nil {
		return err
	}
	h.wrote.Store(true)
	c.touchLocked(h.o.n)
	h.o.truncate(size)
	c.sizeLocked(h.o.n)
	return nil
}

// SetAttr changes the attributes of the file; see Collection.SetAttr.
func (h *Handle) SetAttr(change func(NodeInfo) (Attr, error)) (NodeInfo, error) {
	if h.done.Load() {
		return NodeInfo{}, pathError("setattr", h.path, ErrClosed)
	}
	c, err := h.o.lock(h.by)
	if err != nil {
		return NodeInfo{}, pathError("setattr", h.path, err)
	}
	defer c.end()
	a, err := change(h.o.n.info())
	if err != nil {
		return NodeInfo{}, err
	}
	if h.o.state == stateLinked {
		c.setAttrLocked(h.o.n.path(), h.o.n, a)
	} else {
		h.o.n.attr = a.changedAt(c.now())
	}
	h.wrote.Store(true)
	return h.o.n.info(), nil
}

// Sync commits the collection: see Collection.Commit. It fails as long as what
// was written isn't committed.
func (h *Handle) Sync(ctx context.Context, durable bool) error {
	if h.done.Load() {
		return pathError("sync", h.path, ErrClosed)
	}
	return pathError("sync", h.path, h.o.home.Load().Commit(ctx, durable))
}

// Close ends the use of h. If h has changed the file, it commits, not durably,
// and returns the failure of that. The handle is closed in any case; what could
// not be committed stays with the collection.
func (h *Handle) Close(ctx context.Context) error {
	if h.done.Swap(true) {
		return pathError("close", h.path, ErrClosed)
	}
	var err error
	if h.wrote.Load() {
		err = h.o.home.Load().Commit(ctx, false)
	}
	h.release()
	return pathError("close", h.path, err)
}

func (h *Handle) release() {
	h.follow.close()
	h.w.mu.Lock()
	c := h.o.lockHome()
	if h.w.handles--; h.w.handles == 0 {
		c.closeLocked(h.o.n)
	}
	h.o.dropLocked(1)
	c.mu.Unlock()
	h.w.mu.Unlock()
	c.publish()
	c.Release()
}

// closeLocked ends what the handles of n, of which there is none any more,
// shared. writing.mu must be held.
func (c *Collection) closeLocked(n *node) {
	o := n.open
	c.settleLocked(n)
	delete(c.opened, n)
	delete(c.dirty, n)
	if o.stream != nil {
		o.stream.Close()
	}
	o.writing = nil
}

// dropLocked ends uses of o, whose collection is locked.
func (o *openFile) dropLocked(uses int) {
	if o.uses -= uses; o.uses == 0 {
		o.n.open = nil
	}
}

// lockHome locks the collection that o is in, not for a change.
func (o *openFile) lockHome() *Collection {
	for {
		c := o.home.Load()
		c.mu.Lock()
		if o.home.Load() == c {
			return c
		}
		c.mu.Unlock()
	}
}
