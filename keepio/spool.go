package keepio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// SpoolConfig says where a spool keeps its block files and what it works with.
type SpoolConfig struct {
	Dir   string     // the block files; on the file system of Store; made if missing
	Store LocalStore // takes the finished blocks

	// Remote says that Store keeps blocks on other machines. They are brought
	// there as soon as they are full, several at a time, without a sync before:
	// what is not there is not durable, but after Close.
	Remote bool

	// NextID returns an id that was never returned before, in this process or
	// another.
	NextID func() (BlockID, error)

	// OnStored makes durable what blocks are called from now on; they are in the
	// store. Until it has returned nil they keep their files. Nil: nothing to do.
	OnStored func(ctx context.Context, blocks []Stored) error

	Budget   int64         // bytes that may wait to be stored before appends wait; 0: 4 GiB
	NoSync   bool          // Sync does nothing: data survives the process, not a loss of power
	IdleSeal time.Duration // an open block without appends for so long is stored; 0: 30 s
	KeepFree int64         // of the disk, for the catalog: appends that would touch it are ErrFull; 0: 32 MiB or a sixteenth, negative: none
	Patience time.Duration // appends wait for so long while storing fails; 0: 30 s, with Remote 2 min
	Log      zerolog.Logger

	files fileSystem // nil: the real one
}

// Stored says that the block with that id has got a name.
type Stored struct {
	ID   BlockID
	Hash [16]byte
	Size uint32
}

// OpenBlock says how much of a block file has been committed.
type OpenBlock struct {
	ID  BlockID
	End uint32
}

// A Spool holds the blocks that the store does not have yet, in block files,
// and brings them there in the background. All methods may be called
// concurrently.
type Spool struct {
	cfg     SpoolConfig
	fs      fileSystem
	store   LocalStore
	dir     dirSyncer
	budget  budget
	room    room
	storer  *storer
	flusher *flusher
	active  activity
	count   atomic.Int64 // of files

	stop context.CancelFunc // ends the background work
	wg   sync.WaitGroup

	mu     sync.Mutex          // guards the fields below; comes last
	files  map[*blockFile]bool // those not stored nor dropped
	blocks map[BlockID]*Block  // all blocks with an id
	groups map[string]*group   // by name
	zeroAt time.Time           // when the block of zeros was stored last
	closed bool
}

const (
	defaultBudget   = 4 << 30
	defaultIdleSeal = 30 * time.Second
	defaultPatience = 30 * time.Second
	remotePatience  = 2 * time.Minute
	repackReserve   = 4 * BlockSize

	// maxFiles bounds the open block files: every collection that is written to
	// has one or two.
	maxFiles = 512
)

// OpenSpool opens the spool in cfg.Dir. Files that are there already wait for
// Recover. The caller ends it with Close.
func OpenSpool(cfg SpoolConfig) (*Spool, error) {
	if cfg.Budget == 0 {
		cfg.Budget = defaultBudget
	}
	if cfg.IdleSeal == 0 {
		cfg.IdleSeal = defaultIdleSeal
	}
	if cfg.Patience == 0 {
		cfg.Patience = defaultPatience
		if cfg.Remote {
			cfg.Patience = remotePatience
		}
	}
	if cfg.KeepFree == 0 {
		cfg.KeepFree = defaultKeepFree
	}
	if cfg.files == nil {
		cfg.files = osFiles{}
	}
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if !cfg.NoSync {
		if err := cfg.files.SyncDir(filepath.Dir(cfg.Dir)); err != nil {
			return nil, fmt.Errorf("open spool: %w", err)
		}
	}
	s := &Spool{
		cfg:    cfg,
		fs:     cfg.files,
		store:  cfg.Store,
		files:  make(map[*blockFile]bool),
		blocks: make(map[BlockID]*Block),
		groups: make(map[string]*group),
	}
	s.dir.sync = func() error { return s.fs.SyncDir(cfg.Dir) }
	s.room.keep = cfg.KeepFree
	s.room.free = func() (int64, int64, error) { return s.fs.Free(cfg.Dir) }
	s.storer = newStorer(s)
	s.flusher = newFlusher(s)
	s.budget = budget{limit: cfg.Budget, reserve: repackReserve, patient: cfg.Patience, relieve: s.relieve, trouble: s.storer.trouble}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.wg.Go(func() { s.storer.run(ctx) })
	s.wg.Go(func() { s.flusher.run(ctx) })
	s.wg.Go(func() { s.sealIdle(ctx) })
	return s, nil
}

// pathOf names the file of a block.
func (s *Spool) pathOf(id BlockID) string {
	return filepath.Join(s.cfg.Dir, fmt.Sprintf("%016x", uint64(id)))
}

// admit lets n bytes in: it waits for the budget, and refuses them when the
// disk is full.
func (s *Spool) admit(ctx context.Context, n int, reserve bool) error {
	if !reserve {
		if err := s.room.take(int64(n)); err != nil {
			return err
		}
	}
	if s.count.Load() > maxFiles {
		s.sealOne(func(a, b fileAge) bool { return a.touched.Before(b.touched) })
	}
	return s.budget.acquire(ctx, int64(n), reserve)
}

// newFile makes an open block file for g.
func (s *Spool) newFile(g *group) (*blockFile, error) {
	id, err := s.cfg.NextID()
	if err != nil {
		return nil, fmt.Errorf("new block file: %w", err)
	}
	bf := &blockFile{
		spool: s, group: g, path: s.pathOf(id), block: &Block{id: id},
		summed: true, touched: time.Now(), said: make(map[string]mark),
	}
	if bf.f, err = s.fs.Create(bf.path); err != nil {
		return nil, fmt.Errorf("new block file: %w", err)
	}
	bf.block.file.Store(bf)
	if !s.register(bf) {
		_ = bf.f.Close()
		_ = s.fs.Remove(bf.path)
		return nil, errClosed
	}
	return bf, nil
}

var errClosed = fmt.Errorf("spool is closed: %w", ErrUnavailable)

// register adds bf; false means that the spool is closed.
func (s *Spool) register(bf *blockFile) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.files[bf] = true
	s.count.Store(int64(len(s.files)))
	s.blocks[bf.block.id] = bf.block
	if bf.group != nil {
		bf.group.files++
	}
	return true
}

// forget removes a file that is stored or dropped.
func (s *Spool) forget(bf *blockFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, bf)
	s.count.Store(int64(len(s.files)))
	if _, _, ok := bf.block.Stored(); !ok {
		delete(s.blocks, bf.block.id)
	}
	if g := bf.group; g != nil {
		g.files--
		s.dropIdleLocked(g)
	}
}

// Known tells the spool what a block is called that has an id and was stored
// before.
func (s *Spool) Known(id BlockID, hash [16]byte, size uint32) {
	b := &Block{id: id}
	b.stored.Store(&storedName{hash, size})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocks[id] == nil {
		s.blocks[id] = b
	}
}

// ByID returns the handle on the block with that id; there is one. An id that
// no file, Recover or Known has named is ErrNotFound.
func (s *Spool) ByID(id BlockID) (*Block, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.blocks[id]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("block file %d: %w", id, ErrNotFound)
}

// ByHash returns a new handle on a stored block.
func (s *Spool) ByHash(hash [16]byte, size uint32) *Block { return NewStoredBlock(hash, size) }

// NewPacker returns a packer for the collection called name.
func (s *Spool) NewPacker(name string) *Packer { return &Packer{g: s.joinGroup(name)} }

// NewRepacker returns a packer for data that is moved from one block to
// another to get rid of garbage. Its blocks are its own, and it may go beyond the
// budget, so that repacking never waits for what waits for it.
func (s *Spool) NewRepacker(name string) *Packer {
	return &Packer{g: s.joinGroup("repack " + name), reserve: true}
}

func (s *Spool) joinGroup(name string) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[name]
	if g == nil {
		g = &group{spool: s, name: name}
		s.groups[name] = g
	}
	g.refs++
	return g
}

// leaveGroup ends one use of g.
func (s *Spool) leaveGroup(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.refs--
	s.dropIdleLocked(g)
}

// dropIdleLocked forgets g if nobody uses it and it has no file any more. s.mu must
// be held.
func (s *Spool) dropIdleLocked(g *group) {
	if g.refs == 0 && g.files == 0 && s.groups[g.name] == g {
		delete(s.groups, g.name)
	}
}

// openFiles returns all files that are neither stored nor dropped.
func (s *Spool) openFiles() []*blockFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	files := make([]*blockFile, 0, len(s.files))
	for bf := range s.files {
		files = append(files, bf)
	}
	return files
}

// filesOf returns the local files of blocks, each once.
func filesOf(blocks []*Block) []*blockFile {
	files := make([]*blockFile, 0, len(blocks))
	var last *blockFile
	seen := make(map[*blockFile]bool, len(blocks))
	for _, b := range blocks {
		if b == nil {
			continue
		}
		if bf := b.file.Load(); bf != nil && bf != last && !seen[bf] {
			last, seen[bf] = bf, true
			files = append(files, bf)
		}
	}
	return files
}

// Freeze ends in-place overwrites of all that blocks hold now and returns, per
// block, the span that was not returned before, with its sum: what a journal record
// that refers to these bytes relies on. It waits for appends under way below.
// Blocks that are stored, or have nothing new, yield no extent. name is the
// collection that the record is of. Each collection gets a span once, so keep it
// if the record cannot be written; if it has files in the block of another it gets
// all of that, for nobody knows which of their records comes first.
func (s *Spool) Freeze(name string, blocks []*Block) ([]Extent, error) {
	var extents []Extent
	for _, bf := range filesOf(blocks) {
		e, ok, err := bf.freeze(name)
		if err != nil {
			return extents, err
		}
		if ok {
			extents = append(extents, e)
		}
	}
	return extents, nil
}

// sealIdle stores open blocks that nothing has been appended to for long.
func (s *Spool) sealIdle(ctx context.Context) {
	tick := time.NewTicker(max(s.cfg.IdleSeal/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, bf := range s.openFiles() {
			bf.mu.Lock()
			idle := bf.state == fileOpen && time.Since(bf.touched) >= s.cfg.IdleSeal
			bf.mu.Unlock()
			if idle {
				s.sealFile(bf)
			}
		}
	}
}

// sealFile seals bf and tells its group.
func (s *Spool) sealFile(bf *blockFile) {
	bf.seal()
	if bf.group != nil {
		bf.group.leave(bf)
	}
}

// relieve makes room in the budget: if nothing waits to be stored it seals the
// largest open block.
func (s *Spool) relieve() {
	if s.storer.hurry() {
		return
	}
	s.sealOne(func(a, b fileAge) bool { return a.end > b.end })
}

// A fileAge is what decides which open file is sealed first.
type fileAge struct {
	end     uint32
	touched time.Time
}

// sealOne seals the open file with bytes that comes before all others.
func (s *Spool) sealOne(before func(a, b fileAge) bool) {
	var first *blockFile
	var was fileAge
	for _, bf := range s.openFiles() {
		bf.mu.Lock()
		is := fileAge{bf.end, bf.touched}
		if bf.state == fileOpen && bf.end > 0 && (first == nil || before(is, was)) {
			first, was = bf, is
		}
		bf.mu.Unlock()
	}
	if first != nil {
		s.sealFile(first)
	}
}

// SpoolStats is what a spool is about.
type SpoolStats struct {
	Open, Sealed, Failed int   // block files by state; those being stored count as sealed
	Waiting              int64 // bytes that are not stored yet
	Budget               int64
	Trouble              error // why storing does not get on, if it does not
}

// Stats says what the spool holds at the moment.
func (s *Spool) Stats() SpoolStats {
	st := SpoolStats{Budget: s.cfg.Budget, Trouble: s.storer.trouble()}
	st.Waiting, _ = s.budget.load()
	for _, bf := range s.openFiles() {
		bf.mu.Lock()
		switch bf.state {
		case fileOpen:
			st.Open++
		case fileFailed:
			st.Failed++
		default:
			st.Sealed++
		}
		bf.mu.Unlock()
	}
	return st
}

// Close ends the background work and makes durable what is in open files; they
// stay for the next start. Nothing else may be called during Close or after it.
func (s *Spool) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	var errs []error
	for _, bf := range s.openFiles() {
		if _, _, err := bf.freeze(""); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := bf.sync(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	for _, bf := range s.openFiles() {
		bf.mu.Lock()
		errs = append(errs, bf.f.Close())
		bf.mu.Unlock()
	}
	return errors.Join(errs...)
}
