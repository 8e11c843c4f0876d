package collfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// A Spool takes and gives the bytes of blocks. *keepio.Spool is one; its
// comments are the contract.
type Spool interface {
	keepio.Reader
	Blocks
	NewPacker(name string) *keepio.Packer
	NewRepacker(name string) *keepio.Packer
	Freeze(name string, blocks []*keepio.Block) ([]keepio.Extent, error)
	Sync(ctx context.Context, blocks []*keepio.Block) error
	Carry(blocks []*keepio.Block, extents []keepio.Extent, limit int) (bool, error)
	Carried(extents []keepio.Extent)
	Store(ctx context.Context, blocks []*keepio.Block) error
	Zero(ctx context.Context) (hash [16]byte, size uint32, err error)
	WriteRange(ctx context.Context, w io.Writer, b *keepio.Block, off, n int64) (int64, error)
	NewAhead() *keepio.Ahead
}

// Config says what an FS works with.
type Config struct {
	Catalog    Catalog
	Spool      Spool
	CacheBytes int64            // heap for trees that nobody uses just now; 0: 512 MiB
	HashSeed   uint64           // of content ids: the store's secret, always the same for one store
	Cluster    string           // the first five characters of new UUIDs; "": kdav0
	Now        func() time.Time // nil: time.Now
	Log        zerolog.Logger
}

// An FS is the set of collections that are loaded in this process. All methods
// may be called concurrently.
type FS struct {
	cfg     Config
	stop    context.CancelFunc
	work    context.Context // ends at Close; for commits, which serve many callers
	wg      sync.WaitGroup  // loads, commits, and the loop that follows events
	unwatch func()
	wake    chan struct{} // tells the loop of events
	copying chan struct{} // holds one while OpenPDH makes a copy

	size        atomic.Int64 // estimated heap of loaded trees
	clock       atomic.Int64 // for the LRU
	subscribed  atomic.Int32
	onlyView    atomic.Pointer[View] // the subscriber, if there is one
	conflicts   atomic.Int64
	subscribers subscribers

	mu     sync.Mutex // guards the fields below
	loaded map[slotKey]*slot
	events map[UUID]Event // the latest of each collection, not yet followed
	tmps   map[*Tmp]struct{}
	closed bool
}

type slotKey struct {
	id      UUID
	version int // 0: the present state
	pdh     PDH // of what OpenPDH opens; else ""
}

// A slot is a collection that is loaded or being loaded. ready is closed when c
// or err is set.
type slot struct {
	ready chan struct{}
	c     *Collection
	err   error
	pins  int // callers that wait for ready
}

const defaultCache = 512 << 20

// NewFS returns an FS without any collection loaded. End it with Close.
func NewFS(cfg Config) *FS {
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = defaultCache
	}
	if cfg.Cluster == "" {
		cfg.Cluster = "kdav0"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f := &FS{cfg: cfg, loaded: make(map[slotKey]*slot), events: make(map[UUID]Event), tmps: make(map[*Tmp]struct{}), wake: make(chan struct{}, 1), copying: make(chan struct{}, 1)}
	f.work, f.stop = context.WithCancel(context.Background())
	f.wg.Go(f.follow)
	f.unwatch = cfg.Catalog.Watch(f.notify)
	return f
}

// NewUUID returns a new UUID of a kind: "4zz18" for a collection, "j7d0g" for a
// project.
func (f *FS) NewUUID(kind string) UUID {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, 15)
	for i := range b {
		b[i] = digits[rand.IntN(len(digits))]
	}
	return UUID(f.cfg.Cluster + "-" + kind + "-" + string(b))
}

// Conflicts returns how many conflicts merges have had.
func (f *FS) Conflicts() int64 { return f.conflicts.Load() }

// CachedBytes estimates the heap of the trees that are loaded.
func (f *FS) CachedBytes() int64 { return f.size.Load() }

// Open returns a collection, loading it if need be. It stays loaded until each
// Open has been followed by Release.
func (f *FS) Open(ctx context.Context, id UUID) (*Collection, error) {
	return f.open(ctx, slotKey{id: id})
}

// OpenVersion returns an old version of a collection, which can't be changed.
func (f *FS) OpenVersion(ctx context.Context, id UUID, version int) (*Collection, error) {
	return f.open(ctx, slotKey{id: id, version: version})
}

// OpenPDH returns the present state of a collection if its portable data hash is
// pdh, and else fs.ErrNotExist. It can't be changed, and stays as it is whatever
// becomes of the collection.
func (f *FS) OpenPDH(ctx context.Context, id UUID, pdh PDH) (*Collection, error) {
	key := slotKey{id: id, pdh: pdh}
	if c, err := f.pin(key); c != nil || err != nil {
		return c, err
	}
	select { // one copy of the tree, however many ask for it at once
	case f.copying <- struct{}{}:
		defer func() { <-f.copying }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c, err := f.pin(key); c != nil || err != nil {
		return c, err
	}
	now, err := f.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	defer now.Release()
	rec, err := now.Record(ctx)
	if err != nil {
		return nil, err
	}
	return f.keepFrozen(ctx, now, key, rec)
}

// pin is open for a collection that is loaded; nil if it is not.
func (f *FS) pin(key slotKey) (*Collection, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	if s := f.loaded[key]; s != nil && s.c != nil {
		s.c.pins.Add(1)
		return s.c, nil
	}
	return nil, nil
}

// keepFrozen loads, under key, a copy of what now is, if that has the key's PDH.
func (f *FS) keepFrozen(ctx context.Context, now *Collection, key slotKey, rec Record) (*Collection, error) {
	fr, err := now.freeze()
	if err != nil {
		return nil, err
	}
	defer fr.release()
	text, err := now.print(ctx, fr)
	if err != nil {
		return nil, err
	}
	// The catalog may know it by another text for the same tree.
	if PDH(manifest.PDH(text)) != key.pdh && !(rec.PDH == key.pdh && now.isAt(fr, rec.Revision)) {
		return nil, iofs.ErrNotExist
	}
	rec.PDH = key.pdh
	c := newCollection(f, key, rec, fr.tree)
	c.pins.Store(1)
	c.used.Store(f.clock.Add(1))
	s := &slot{ready: make(chan struct{}), c: c}
	close(s.ready)
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		f.size.Add(-c.size.Swap(0))
		c.packer.Close()
		return nil, ErrClosed
	}
	f.loaded[key] = s
	f.mu.Unlock()
	f.evict()
	return c, nil
}

// isAt reports whether f, which c was, is a revision, with nothing that isn't committed.
func (c *Collection) isAt(f *frozen, revision int64) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changes == f.changes && c.record.Revision == revision && len(c.pending)+len(c.dirty)+c.handed == 0
}

func (f *FS) open(ctx context.Context, key slotKey) (*Collection, error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, ErrClosed
	}
	s := f.loaded[key]
	switch {
	case s == nil:
		s = &slot{ready: make(chan struct{}), pins: 1}
		f.loaded[key] = s
		f.wg.Go(func() { f.load(key, s) })
	case s.c != nil:
		s.c.pins.Add(1)
		f.mu.Unlock()
		return s.c, nil
	default:
		s.pins++
	}
	f.mu.Unlock()
	select {
	case <-s.ready:
		return s.c, s.err
	case <-ctx.Done():
		f.mu.Lock()
		defer f.mu.Unlock()
		if s.c != nil {
			s.c.pins.Add(-1)
		} else {
			s.pins--
		}
		return nil, ctx.Err()
	}
}

// load loads a collection for all who wait for s.
func (f *FS) load(key slotKey, s *slot) {
	defer close(s.ready)
	c, err := f.loadCollection(key)
	f.mu.Lock()
	if err != nil {
		s.err = err
		delete(f.loaded, key)
		f.mu.Unlock()
		return
	}
	c.pins.Store(int64(s.pins))
	c.used.Store(f.clock.Add(1))
	s.c = c
	f.mu.Unlock()
	f.evict()
}

// reserve keeps the place of a collection that is being made: who opens it waits
// for fill. It returns nil after Close.
func (f *FS) reserve(key slotKey) *slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	s := &slot{ready: make(chan struct{})}
	f.loaded[key] = s
	return s
}

// fill ends reserve, with a collection or, if that is nil, with why there is none.
func (f *FS) fill(key slotKey, s *slot, c *Collection, err error) {
	f.mu.Lock()
	if c == nil {
		s.err = err
		delete(f.loaded, key)
	} else {
		c.pins.Add(int64(s.pins))
		c.used.Store(f.clock.Add(1))
		s.c = c
	}
	f.mu.Unlock()
	close(s.ready)
	f.evict()
}

func (f *FS) loadCollection(key slotKey) (*Collection, error) {
	rec, saved, err := f.cfg.Catalog.Load(f.work, key.id, key.version)
	if err != nil {
		return nil, err
	}
	t, err := Load(saved, f.cfg.Spool)
	if err != nil {
		return nil, fmt.Errorf("collection %s: %w", key.id, err)
	}
	return newCollection(f, key, rec, t), nil
}

// evict unloads collections that nobody uses, the ones used longest ago first,
// when what is loaded does not fit the cache. It makes some room, so that not
// every load after it has to look through them all. What isn't durable yet is
// made so first.
func (f *FS) evict() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.size.Load() <= f.cfg.CacheBytes {
		return
	}
	var idle []*Collection
	for _, s := range f.loaded {
		if s.c != nil && s.c.pins.Load() == 0 {
			idle = append(idle, s.c)
		}
	}
	slices.SortFunc(idle, func(a, b *Collection) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
	for _, c := range idle {
		if f.size.Load() <= f.cfg.CacheBytes/8*7 {
			return
		}
		if c.unused() {
			f.dropLocked(c)
		}
	}
}

// dropLocked unloads c. f.mu must be held.
func (f *FS) dropLocked(c *Collection) {
	delete(f.loaded, c.key)
	f.size.Add(-c.size.Swap(0))
	c.packer.Close()
}

// Close commits all that isn't committed, waits for what is under way, and
// unloads everything. Its error says what could not be committed. If ctx ends,
// commits under way are given up.
func (f *FS) Close(ctx context.Context) error { return f.CloseKeeping(ctx, nil) }

// CloseKeeping is Close that hands what could not be committed to keep, if that is not
// nil, one collection after the other. If keep fails, that is part of the error.
func (f *FS) CloseKeeping(ctx context.Context, keep func(Leftover) error) error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	var cs []*Collection
	for _, s := range f.loaded {
		if s.c != nil {
			cs = append(cs, s.c)
		}
	}
	f.mu.Unlock()
	f.unwatch()
	for _, t := range f.allTmp() {
		t.Close()
	}
	var errs []error
	for _, c := range cs {
		err := c.Commit(ctx, true)
		if errors.Is(err, iofs.ErrNotExist) { // it is in the trash; who made the changes knows that they failed
			f.cfg.Log.Warn().Err(err).Str("collection", string(c.key.id)).Msg("changes of a collection that is gone are dropped")
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("collection %s: %w", c.key.id, err))
		}
	}
	f.stop()
	f.wg.Wait()
	if keep != nil {
		for _, c := range cs {
			if l, ok := c.leftover(); ok {
				errs = append(errs, keep(l))
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.loaded {
		if s.c != nil {
			f.dropLocked(s.c)
		}
	}
	return errors.Join(errs...)
}

// Loaded returns the collections that are loaded now, pinned: call done when
// finished with them.
func (f *FS) Loaded() (cs []*Collection, done func()) { return f.pinAll(false) }

// pinAll is Loaded that can wait for those that are just being loaded, too.
func (f *FS) pinAll(wait bool) (cs []*Collection, done func()) {
	var loading []*slot
	f.mu.Lock()
	for _, s := range f.loaded {
		if s.c != nil {
			s.c.pins.Add(1)
			cs = append(cs, s.c)
		} else if wait {
			s.pins++
			loading = append(loading, s)
		}
	}
	f.mu.Unlock()
	for _, s := range loading {
		if <-s.ready; s.c != nil {
			cs = append(cs, s.c)
		}
	}
	return cs, func() {
		for _, c := range cs {
			c.Release()
		}
	}
}
