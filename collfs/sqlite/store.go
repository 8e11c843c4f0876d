package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	_ "modernc.org/sqlite"

	"keepdav/collfs"
	"keepdav/collfs/sqlite/journal"
	"keepdav/keepio"
)

// Config says how a store is opened. Dir is needed; a store that holds contents
// needs Blocks too.
type Config struct {
	Dir     string // made when missing
	Cluster string // five characters for a new store; "": random ones

	// Blocks turns stored references into handles. It is used after Start only.
	Blocks collfs.Blocks
	// SyncIDs makes durable what commits rely on in these block files. Blocks that
	// it doesn't know need nothing.
	SyncIDs func(ctx context.Context, ids []keepio.BlockID) error
	// VerifyExtent says, while the store is opened, whether a block file has the
	// bytes that a commit relies on. Nil: they are taken for good.
	VerifyExtent func(keepio.Extent) error
	// StoreBlocks gives blocks their locators, and Zero names the block of zeros;
	// they are needed for manifests and data hashes.
	StoreBlocks func(ctx context.Context, blocks []*keepio.Block) error
	Zero        func(ctx context.Context) (hash [16]byte, size uint32, err error)

	Now    func() time.Time // nil: time.Now
	NoSync bool             // for tests and throw-away stores: a loss of power may lose everything
	Log    zerolog.Logger

	// Zero values of the following mean the default.
	SegmentSize int64         // of the journal
	Reserve     int64         // bytes kept for a full disk; negative: none
	ApplyDelay  time.Duration // how long facts may wait to be applied
}

// A Store is an open store. All methods may be called concurrently.
type Store struct {
	cfg  Config
	log  zerolog.Logger
	now  func() time.Time
	lock *lockFile
	meta Meta

	readers *readers
	writers *sql.DB // one connection

	recordMu   sync.Mutex // one change of records at a time
	lastRecord uint64     // guarded by recordMu: the last one in the journal

	writeMu sync.Mutex // held while writer is used
	writer  *writer

	journal *journal.Log

	mu        sync.Mutex // guards the fields below
	heads     map[collfs.UUID]*head
	trashing  map[collfs.UUID]uint64 // put in the trash by an entry that isn't applied yet: its number
	debts     debts
	headGen   uint64 // counts heads that were dropped
	queue     []*entry
	queueSize int64
	applied   uint64        // last entry in the database
	progress  chan struct{} // closed and replaced when applied grows or applyErr changes
	applyErr  error         // why the applier doesn't get on; nil: it does
	broken    error         // why the database isn't trusted any more, see distrust; sticky
	urgent    bool          // somebody waits for the applier
	eventSeq  int64
	closing   bool

	names   names // what was looked up
	events  dispatcher
	blocks  blockIDs
	reserve reserve

	kick   chan struct{} // wakes the applier
	tidy   chan struct{} // wakes the folder
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	folds    atomic.Int64 // statistics
	foldable foldQueue
}

// Meta is what a store is born with.
type Meta struct {
	Cluster  string // five characters, the prefix of all UUIDs
	HashSeed uint64 // of content ids
	Secret   []byte // 32 bytes: for signatures and keyed hashes
}

// Open opens the store in cfg.Dir, making it when it is missing, and brings the
// database up to date with the journal. A store that another process owns is an
// *InUseError, one that a newer program wrote ErrFormat. Contents can be
// committed and loaded at once; what runs by itself begins with Start.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ApplyDelay == 0 {
		cfg.ApplyDelay = 50 * time.Millisecond
	}
	if err := makeDir(cfg.Dir, cfg.NoSync); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, log: cfg.Log, now: cfg.Now,
		heads: make(map[collfs.UUID]*head), trashing: make(map[collfs.UUID]uint64), debts: make(debts), progress: make(chan struct{}),
		kick: make(chan struct{}, 1), tidy: make(chan struct{}, 1),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.events.init(s)
	if s.lock, err = takeLock(cfg.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open store %s: %w", cfg.Dir, err)
			s.cancel()
			s.closeFiles()
		}
	}()
	s.reserve.init(cfg)
	if err := s.openDatabase(ctx); err != nil {
		return nil, err
	}
	if err := s.recover(ctx); err != nil {
		return nil, err
	}
	s.wg.Go(s.runApplier)
	s.wg.Go(s.events.run)
	return s, nil
}

// openDatabase opens keepdav.db and reads what is kept in memory.
func (s *Store) openDatabase(ctx context.Context) (err error) {
	path := filepath.Join(s.cfg.Dir, "keepdav.db")
	// It holds password hashes and secrets. SQLite gives its other files the same mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	synchronous := "NORMAL"
	if s.cfg.NoSync {
		synchronous = "OFF"
	}
	// The journal is deleted by what checkpoints prove, so they are ours to make.
	dsn := "file:" + escapePath(path) + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(" + synchronous +
		")&_pragma=wal_autocheckpoint(0)&_pragma=journal_size_limit(67108864)&_pragma=cache_size(-8192)&_pragma=temp_store(MEMORY)&_txlock=immediate"
	if s.writers, err = sql.Open("sqlite", dsn); err != nil {
		return err
	}
	s.writers.SetMaxOpenConns(1)
	conn, err := s.writers.Conn(ctx)
	if err != nil {
		return storageError(err)
	}
	s.writer = &writer{conn: conn, full: !s.cfg.NoSync, stmts: make(map[string]*sql.Stmt)}
	if err := migrate(ctx, conn, s.create); err != nil {
		return storageError(err)
	}
	if !s.cfg.NoSync {
		if err := errors.Join(syncDir(s.cfg.Dir), syncDir(filepath.Dir(s.cfg.Dir))); err != nil {
			return err
		}
	}
	s.readers, err = openReaders("file:" + escapePath(path) + "?_pragma=busy_timeout(10000)&_pragma=query_only(1)&_pragma=cache_size(-2048)")
	if err != nil {
		return err
	}
	if err := s.readMeta(); err != nil {
		return err
	}
	return errors.Join(s.nameVersions(), s.nameShares())
}

// create fills the tables of a new store.
func (s *Store) create(tx *sql.Tx) error {
	cluster := s.cfg.Cluster
	if cluster == "" {
		cluster = randomString(5)
	}
	if len(cluster) != 5 {
		return fmt.Errorf("cluster id %q must have five characters", cluster)
	}
	secret, seed := make([]byte, 32), make([]byte, 8)
	rand.Read(secret)
	rand.Read(seed)
	for key, value := range map[string]any{"cluster": cluster, "hash seed": seed, "secret": secret, "applied": 0, "event seq": 0, "next block": 1, "gc clock": 0} {
		if _, err := tx.Exec(`INSERT INTO meta (key, value) VALUES (?, ?)`, key, value); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) readMeta() error {
	var seed []byte
	for key, dst := range map[string]any{"cluster": &s.meta.Cluster, "hash seed": &seed, "secret": &s.meta.Secret, "applied": &s.applied, "event seq": &s.eventSeq} {
		if err := s.writer.row(`SELECT value FROM meta WHERE key = ?`, key).Scan(dst); err != nil {
			return fmt.Errorf("read %s of the store: %w", key, storageError(err))
		}
	}
	if len(seed) != 8 || len(s.meta.Secret) != 32 {
		return errors.New("the seed and secret of the store are damaged")
	}
	s.meta.HashSeed = binary.LittleEndian.Uint64(seed)
	return nil
}

// Meta returns what the store was born with.
func (s *Store) Meta() Meta { return s.meta }

// Dir returns the directory of the store.
func (s *Store) Dir() string { return s.cfg.Dir }

// Announce writes the URL at which the store is served into its lock file, for
// whoever tries to open it too.
func (s *Store) Announce(url string) error { return s.lock.describe(url) }

// Start begins what a store does by itself: fold change logs, expire versions
// and trash, keep its reserve. Call it when Blocks knows all blocks.
func (s *Store) Start() {
	s.wg.Go(s.runMaintenance)
}

// Ready returns why the store cannot do its work as it should, or nil.
func (s *Store) Ready() error {
	s.mu.Lock()
	err := errors.Join(s.applyErr, s.broken)
	s.mu.Unlock()
	return errors.Join(err, s.reserve.err())
}

// Close applies what is committed and closes the store. Nothing is lost when it
// fails or when ctx ends, the next Open does what was left.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true // no commit from here on
	last := s.applied
	if n := len(s.queue); n > 0 {
		last = s.queue[n-1].seq
	}
	s.mu.Unlock()
	err := s.waitApplied(ctx, last)
	s.events.close()
	s.cancel()
	s.wg.Wait()
	if err == nil {
		s.writeMu.Lock()
		err = s.checkpointLocked(context.WithoutCancel(ctx), "TRUNCATE")
		s.writeMu.Unlock()
	}
	return errors.Join(err, s.closeFiles())
}

func (s *Store) closeFiles() error {
	var errs []error
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	if s.readers != nil {
		errs = append(errs, s.readers.close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.writers != nil {
		errs = append(errs, s.writers.Close())
	}
	return errors.Join(append(errs, s.lock.release())...)
}
