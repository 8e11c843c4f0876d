package collfs

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"keepdav/keepio"
)

// A Collection is one collection, loaded. Its changes show at once, and are kept
// with the catalog by Commit. Paths are clean and relative: "" is the root,
// names are separated by slashes. Errors of operations on paths are
// *fs.PathError. All methods may be called concurrently.
type Collection struct {
	fs     *FS
	key    slotKey
	packer *keepio.Packer
	pins   atomic.Int64 // users; with none it may be unloaded
	used   atomic.Int64 // FS.clock when last opened or released
	size   atomic.Int64 // what FS.size counts for it
	roots  rootSet      // readers and stages

	turn chan struct{} // has an element while nobody commits, refreshes or transfers
	gate sync.RWMutex  // see the package comment
	join joiner

	mu           sync.RWMutex // guards the fields below, and the tree's nodes
	tree         *Tree
	record       Record
	recordEvents int64    // changes of the record elsewhere
	recordSeen   int64    // those that record has seen
	absorbed     bool     // a transfer has put it in the trash: what came in now would be lost to the user
	deleted      bool     // the record is gone for good, and with it what isn't committed
	pending      []change // not committed, in order
	extents      []keepio.Extent
	unsynced     map[*keepio.Block]struct{} // frozen since the last durable commit
	barrier      bool                       // a commit that isn't durable was made since the last durable one
	opened       map[*node]struct{}         // files with handles for writing
	dirty        map[*node]struct{}         // those of opened with content that is not in pending
	handed       int                        // changes that are with the catalog just now
	changes      int64                      // counts changes of the tree
	since        int64                      // when the first change was made that is not committed, in ns since 1970
	unclear      int                        // how many of pending, from the first, were in a commit with an unknown outcome
	failed       error                      // of the last commit
	notices      []Notice
	by           *View // on whose behalf the change under way is made
	printed      printed
}

// A Check decides whether a change may go on. It is called just before the
// change is made, under the lock of the collection, with what the target is at
// that moment; exists is false when there is nothing. It must not block nor
// call the collection. Its error is returned as it is.
type Check func(target NodeInfo, exists bool) error

func newCollection(f *FS, key slotKey, rec Record, t *Tree) *Collection {
	c := &Collection{
		fs: f, key: key, record: rec, tree: t,
		packer: f.cfg.Spool.NewPacker(string(key.id)),
		turn:   make(chan struct{}, 1),
	}
	c.turn <- struct{}{}
	c.unsynced = make(map[*keepio.Block]struct{})
	c.opened = make(map[*node]struct{})
	c.dirty = make(map[*node]struct{})
	c.resize()
	return c
}

// UUID returns the collection's UUID.
func (c *Collection) UUID() UUID { return c.key.id }

// ReadOnly reports whether c is an old version or a content found by its hash.
func (c *Collection) ReadOnly() bool { return c.key.version != 0 || c.key.pdh != "" }

// Release ends the use that Open began.
func (c *Collection) Release() {
	c.used.Store(c.fs.clock.Add(1))
	if c.pins.Add(-1) == 0 && c.fs.size.Load() > c.fs.cfg.CacheBytes {
		c.fs.evict()
	}
}

// unused reports whether c, which has no users, may be unloaded: nothing is dirty
// that could ever be committed. If only a durable commit is missing, it starts one.
func (c *Collection) unused() bool {
	if !c.mu.TryRLock() {
		return false
	}
	defer c.mu.RUnlock()
	if c.deleted {
		return !c.join.busy()
	}
	clean := len(c.pending) == 0 && len(c.opened) == 0 && len(c.dirty) == 0 && !c.join.busy()
	if clean && c.barrier {
		c.fs.wg.Go(func() {
			if c.Commit(c.fs.work, true) == nil {
				c.fs.evict()
			}
		})
	}
	return clean && !c.barrier
}

// resize tells the FS how much memory c takes. The tree must not change meanwhile.
func (c *Collection) resize() {
	now := c.tree.MemSize()
	c.fs.size.Add(now - c.size.Swap(now))
}

func (c *Collection) revision() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.record.Revision
}

// Record returns the collection's record as the catalog has it. Files and Bytes
// are those of the tree as it is now.
func (c *Collection) Record(ctx context.Context) (Record, error) {
	c.mu.RLock()
	r, events := c.record, c.recordEvents
	stale := events != c.recordSeen
	r.Files, r.Bytes = c.tree.files, c.tree.bytes
	c.mu.RUnlock()
	if !stale || c.ReadOnly() {
		return r, nil
	}
	fresh, err := c.fs.cfg.Catalog.Record(ctx, c.key.id)
	if err != nil {
		return r, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh.Revision = c.record.Revision // what the tree was made from
	c.record, c.recordSeen = fresh, events
	fresh.Files, fresh.Bytes = c.tree.files, c.tree.bytes
	return fresh, nil
}

// Err returns why the last commit failed; nil if it didn't. What wasn't
// committed then is tried again by every Commit.
func (c *Collection) Err() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.failed
}

// Dirty reports whether there are changes that aren't committed.
func (c *Collection) Dirty() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.pending)+len(c.dirty)+c.handed > 0
}

// DirtySince tells since when there are changes that aren't committed; false if
// there are none.
func (c *Collection) DirtySince() (time.Time, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.pending)+len(c.dirty)+c.handed == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, c.since), true
}

// Stat describes what is at path.
func (c *Collection) Stat(path string) (NodeInfo, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tree.Stat(path)
}

// Resolve returns the path that is meant by path when names are compared as m
// says; see Tree.Resolve.
func (c *Collection) Resolve(path string, m Match) (resolved string, ok bool) {
	for {
		resolved, ok, first := c.resolve(path, m)
		if first == nil {
			return resolved, ok
		}
		first()
	}
}

func (c *Collection) resolve(path string, m Match) (resolved string, ok bool, first func()) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	resolved, ok, first = c.tree.resolve(path, m, manyNames)
	if c.tree.MemSize() != c.size.Load() { // an index was made
		c.resize()
	}
	return resolved, ok, first
}

// Count counts path and all below it, up to limit.
func (c *Collection) Count(path string, limit int) (int, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n, err := c.tree.find(path)
	if err != nil {
		return 0, pathError("count", path, err)
	}
	count := 0
	for range n.walk("") {
		if count++; count >= limit {
			break
		}
	}
	return count, nil
}

// A DirSnapshot is the list of a directory's entries at one moment. Which names
// there are doesn't change; what is said of each is true when Next is called.
// Not for concurrent use.
type DirSnapshot struct {
	c    *Collection
	self NodeInfo
	view dirView
	i, j int // the next chunk and entry
}

// List returns a snapshot of the directory at path, in constant time. It must
// be closed.
func (c *Collection) List(path string) (*DirSnapshot, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n, err := c.tree.find(path)
	if err == nil && !n.isDir() {
		err = ErrNotDir
	}
	if err != nil {
		return nil, pathError("readdir", path, err)
	}
	c.pins.Add(1)
	return &DirSnapshot{c: c, self: n.info(), view: n.kids.snapshot()}, nil
}

// Self describes the directory when the snapshot was made.
func (s *DirSnapshot) Self() NodeInfo { return s.self }

// Len returns how many entries there are.
func (s *DirSnapshot) Len() int { return s.view.n }

// Next fills infos with the next entries, in byte order, and reports how many;
// 0 at the end.
func (s *DirSnapshot) Next(infos []NodeInfo) int {
	if s.c == nil {
		return 0
	}
	s.c.mu.RLock()
	defer s.c.mu.RUnlock()
	n := 0
	for n < len(infos) && s.i < len(s.view.chunks) {
		items := s.view.chunks[s.i].items
		for n < len(infos) && s.j < len(items) {
			e := &items[s.j]
			infos[n] = e.node.infoAt(e.name)
			n++
			s.j++
		}
		if s.j == len(items) {
			s.i, s.j = s.i+1, 0
		}
	}
	return n
}

// Close ends the use of s.
func (s *DirSnapshot) Close() {
	if s.c != nil {
		s.c.Release()
		s.c, s.view = nil, dirView{}
	}
}

// takeTurn waits until nobody else commits, refreshes or transfers.
func (c *Collection) takeTurn(ctx context.Context) error {
	select {
	case <-c.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Collection) endTurn() { c.turn <- struct{}{} }
