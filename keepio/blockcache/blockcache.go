// Package blockcache keeps blocks of a cluster on the local disk. It is the
// keepio.LocalStore of a spool whose blocks live elsewhere, behind a
// keepio.Remote.
//
// # The directory
//
// The block abcdef… is the file abc/abcdef….keepcacheblock: the layout that
// Arvados' own tools use, so they and any number of our processes may share the
// directory. Who uses a file holds a shared lock (flock) on it; who deletes one
// takes an exclusive lock first. Whatever else we keep lies in .keepdav, where
// nobody else looks. Directories have the mode 0700 and files 0600.
//
// Others may write to the directory at any time. So a file is good for nothing
// until its length is right and its MD5 was compared with its name; from then on
// each chunk is compared with its CRC-32C when it is touched for the first time
// after the file was opened. What fails is dropped and fetched again.
//
// # Fetching
//
// However many ask for a block, it is fetched once: a fill. Its bytes can be read
// as they arrive, but nobody knows whether they are right until all are there and
// have the block's MD5. If the Remote tells the sums of the chunks (keepio.SumSink),
// each chunk is given out once it has its sum. Else ReadBlock waits for the MD5.
// Only WriteRange to a keepio.CutWriter sends bytes that are not verified, and
// withholds the last of them until they are: if they are bad the transfer ends
// early, which whoever receives it can see.
//
// # Trouble
//
// The cache is a cache: no read and no write fails because its disk is full or
// broken. Blocks are held in memory then, in files without a name, as many as
// Config.Memory allows, and the disk is tried again later.
//
// # Locks
//
// Store.mu comes before arrival.mu. None is held during I/O.
//
// Start reading here, then fill.go, disk.go and tidy.go.
package blockcache

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"keepdav/keepio"
	"keepdav/keepio/internal/openblock"
)

// Config says what a cache works with.
type Config struct {
	Dir    string // shared with other programs; made if missing
	Remote keepio.Remote

	Limit     int64 // bytes that files may take; 0: a tenth of the file system; see ParseSize
	Memory    int64 // bytes of blocks held in memory while the disk does not work; 0: 256 MiB
	OpenFiles int   // files kept open; 0: 256
	Log       zerolog.Logger
}

const (
	defaultOpenFiles = 256
	defaultMemory    = 4 * keepio.BlockSize

	// fetchParallel is how many blocks that somebody waits for are fetched at
	// a time, prefetchParallel how many that are only expected to be read.
	fetchParallel    = 16
	prefetchParallel = 4
)

// A Store is a cache of blocks. It implements keepio.LocalStore. All methods may
// be called concurrently.
type Store struct {
	cfg    Config
	disk   *disk
	memory *memory
	cache  *openblock.Cache

	fetching, prefetching chan struct{} // slots

	ctx  context.Context // of all work in the background; ends with Close
	stop context.CancelFunc
	wg   sync.WaitGroup

	hits, misses, fetched atomic.Int64

	mu     sync.Mutex // guards the fields below
	fills  map[key]*fill
	closed bool
}

var _ keepio.LocalStore = (*Store)(nil)

// A key is what a block is called.
type key struct {
	hash [16]byte
	size uint32
}

func (k key) String() string { return fmt.Sprintf("%x+%d", k.hash, k.size) }

var emptyHash = md5.Sum(nil)

func (k key) empty() bool { return k.size == 0 && k.hash == emptyHash }

// errClosed is what calls get that come too late.
var errClosed = fmt.Errorf("block cache is closed: %w", keepio.ErrUnavailable)

// Open opens a cache. A directory that cannot be used is no error: it is tried
// again while the cache works in memory. The caller ends it with Close.
func Open(cfg Config) (*Store, error) {
	if cfg.Remote == nil || cfg.Dir == "" {
		return nil, errors.New("block cache: needs a directory and a remote store")
	}
	if cfg.OpenFiles == 0 {
		cfg.OpenFiles = defaultOpenFiles
	}
	if cfg.Memory == 0 {
		cfg.Memory = defaultMemory
	}
	s := &Store{
		cfg:         cfg,
		disk:        newDisk(cfg.Dir, cfg.Limit, cfg.Log),
		cache:       openblock.NewCache(cfg.OpenFiles),
		fetching:    make(chan struct{}, fetchParallel),
		prefetching: make(chan struct{}, prefetchParallel),
		fills:       make(map[key]*fill),
	}
	s.memory = newMemory(cfg.Memory, s.cache)
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.disk.mayEvict = s.cache.DropIdle
	s.wg.Go(func() { s.tidy(s.ctx) })
	return s, nil
}

// Close ends the work in the background and closes files that were kept open.
// Reads under way may fail.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, f := range s.fills {
		f.lingerLocked(false)
	}
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	s.cache.Clear()
	return nil
}

// ReadBlock implements keepio.Store.
func (s *Store) ReadBlock(ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	k := key{hash, size}
	if k.empty() {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	var past error
	if off < 0 || off >= int64(size) {
		if len(p) > 0 {
			past = io.EOF
		}
		off, p = 0, nil
	}
	p = p[:min(int64(len(p)), int64(size)-off)]
	for try := 1; ; try++ {
		err := s.read(ctx, k, p, off)
		if err == nil {
			return len(p), past
		}
		if !s.again(ctx, err, try) {
			return 0, fmt.Errorf("read block %v: %w", k, err)
		}
	}
}

// read fills p from an open file, or from a fill.
func (s *Store) read(ctx context.Context, k key, p []byte, off int64) error {
	if b := s.openBlock(k); b != nil {
		defer s.cache.Release(b)
		return s.readOpen(b, p, off)
	}
	f, err := s.join(ctx, k, true)
	if err != nil {
		return err
	}
	defer s.leave(f)
	return f.read(ctx, p, off)
}

// openBlock returns a block whose file is open, pinned, or nil.
func (s *Store) openBlock(k key) *openblock.Block {
	b := s.cache.Get(k.hash)
	if b == nil {
		return nil
	}
	if b.Size != k.size {
		s.cache.Release(b)
		return nil
	}
	s.hits.Add(1)
	return b
}

// readOpen fills p from an open file.
func (s *Store) readOpen(b *openblock.Block, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	if err := b.ReadFull(p, off); err != nil {
		return s.damaged(b, err)
	}
	return nil
}

// errAgain marks errors that another try may not have.
var errAgain = errors.New("try again")

// damaged gets rid of a block's file that failed.
func (s *Store) damaged(b *openblock.Block, err error) error {
	s.cache.DropBlock(b)
	s.disk.discard(b.File(), key{b.Hash, b.Size}, err)
	return fmt.Errorf("%w: %w", errAgain, err)
}

// maxTries is how often a read is tried when what the disk has turns out to be bad.
const maxTries = 3

// again reports whether a read that failed is to be tried again.
func (s *Store) again(ctx context.Context, err error, try int) bool {
	return try < maxTries && ctx.Err() == nil && errors.Is(err, errAgain)
}

// WriteRange implements keepio.LocalStore. If w is a keepio.CutWriter it may get
// bytes that are not verified yet.
func (s *Store) WriteRange(ctx context.Context, w io.Writer, hash [16]byte, size uint32, off, n int64) (int64, error) {
	k := key{hash, size}
	if off < 0 || n < 0 || off+n > int64(size) {
		return 0, fmt.Errorf("block %v has no bytes %d to %d: %w", k, off, off+n, io.ErrUnexpectedEOF)
	}
	if n == 0 && k.empty() {
		return 0, ctx.Err()
	}
	var done int64
	for try := 1; ; try++ {
		sent, err := s.send(ctx, w, k, off+done, n-done)
		if done += sent; err == nil {
			return done, nil
		}
		if !s.again(ctx, err, try) {
			return done, fmt.Errorf("send block %v: %w", k, err)
		}
	}
}

// send writes a span from an open file, or from a fill.
func (s *Store) send(ctx context.Context, w io.Writer, k key, off, n int64) (int64, error) {
	if b := s.openBlock(k); b != nil {
		defer s.cache.Release(b)
		return s.sendOpen(ctx, w, b, off, n)
	}
	f, err := s.join(ctx, k, true)
	if err != nil {
		return 0, err
	}
	defer s.leave(f)
	return f.send(ctx, w, off, n)
}

// sendOpen writes a span of an open file.
func (s *Store) sendOpen(ctx context.Context, w io.Writer, b *openblock.Block, off, n int64) (int64, error) {
	done, err := b.Send(ctx, w, off, n)
	if errors.Is(err, keepio.ErrCorrupt) {
		err = s.damaged(b, err)
	}
	return done, err
}

// Adopt implements keepio.LocalStore: when it returns nil the Remote has the
// block. The cache gets it too, if its disk takes it.
func (s *Store) Adopt(ctx context.Context, path string, hash [16]byte, size uint32, sums []uint32) error {
	k := key{hash, size}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("store block %v: %w", k, err)
	}
	defer f.Close()
	if err := s.push(ctx, f, k); err != nil {
		return err
	}
	s.disk.adopt(f, path, k, sums)
	return nil
}

// push has the Remote store the block that is in f.
func (s *Store) push(ctx context.Context, f *os.File, k key) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.cfg.Remote.Push(ctx, f, k.hash, k.size); err != nil {
		return fmt.Errorf("store block %v: %w", k, err)
	}
	return nil
}

// PushAgain has the Remote store a block that it was given before, for when nobody
// knows any more with which permission it may be used: its record was never written,
// and the process that pushed it has ended. The bytes come from the cache, never from
// the Remote; if it does not have them any more that is keepio.ErrNotFound.
func (s *Store) PushAgain(ctx context.Context, hash [16]byte, size uint32) error {
	k := key{hash, size}
	if k.empty() {
		return ctx.Err()
	}
	b := s.openBlock(k)
	if b == nil && size <= keepio.BlockSize {
		b = s.disk.open(k)
		if b != nil {
			b = s.cache.Put(b)
		}
	}
	if b == nil {
		return fmt.Errorf("store block %v again: the cache does not have it: %w", k, keepio.ErrNotFound)
	}
	defer s.cache.Release(b)
	if err := b.Verify(); err != nil { // whole, for whoever reads it next may not look at it
		return fmt.Errorf("store block %v again: %w", k, s.damaged(b, err))
	}
	return s.push(ctx, b.File(), k)
}

// WriteBlock implements keepio.Store.
func (s *Store) WriteBlock(ctx context.Context, data []byte) (hash [16]byte, err error) {
	if len(data) > keepio.BlockSize {
		return hash, fmt.Errorf("%w: %d bytes", keepio.ErrTooLarge, len(data))
	}
	if err := ctx.Err(); err != nil {
		return hash, err
	}
	k := key{md5.Sum(data), uint32(len(data))}
	if k.empty() {
		return k.hash, nil
	}
	a := newArrival(k)
	t, err := s.writeTarget(ctx, a, data)
	if err != nil {
		return hash, err
	}
	if err := s.push(ctx, t.f, k); err != nil {
		t.discard()
		return hash, err
	}
	s.cache.Release(s.publish(t, k, a.takeSums()))
	return k.hash, nil
}

// writeTarget puts data into a file, on the disk or else in memory.
func (s *Store) writeTarget(ctx context.Context, a *arrival, data []byte) (*target, error) {
	for {
		t, err := s.newTarget(ctx, a.key)
		if err != nil {
			return nil, err
		}
		a.begin(t)
		if _, err = a.Write(data); err == nil {
			return t, nil
		}
		t.discard()
		if !a.targetFailed() {
			return nil, err
		}
	}
}

// publish makes the file of a block, all of which is there and verified, part of
// the cache and returns it open and pinned.
func (s *Store) publish(t *target, k key, sums []uint32) *openblock.Block {
	t.keep(k, sums)
	b := openblock.New(t.f, k.hash, k.size, sums)
	b.Closed = t.closed
	if m := t.memory; m != nil {
		m.hold(b)
		b.Closed = func() {
			m.forget(b)
			t.closed()
		}
	}
	s.cache.DropIdle(k.hash) // a new file may have replaced that one
	return s.cache.Put(b)
}

// Stats is what a cache is about.
type Stats struct {
	Hits    int64 // reads and transfers served from files that are open
	Misses  int64 // blocks that had to be fetched
	Fetched int64 // bytes that came from the Remote
	Evicted int64 // bytes that made room for others
	Used    int64 // bytes that the directory holds, about
	Limit   int64
	Memory  int64 // bytes of blocks held in memory because the disk does not work
	Trouble error // why the disk does not work, if it does not
}

// Stats says what the cache is about at the moment.
func (s *Store) Stats() Stats {
	st := Stats{
		Hits: s.hits.Load(), Misses: s.misses.Load(), Fetched: s.fetched.Load(),
		Memory: s.memory.load(),
	}
	s.disk.stats(&st)
	return st
}
