package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/keepio"
)

// A Catalog is the records of a cluster, as a token sees them.
type Catalog interface {
	collfs.Catalog
	collfs.Folders
}

// serverIDs is a catalog whose collections may be called otherwise by the server than in
// this process.
type serverIDs interface {
	ServerID(id collfs.UUID) collfs.UUID
}

// parts are what a session is made of below its spool.
type parts struct {
	user    collfs.User
	cluster string // the first five characters of its UUIDs
	blocks  keepio.LocalStore
	// catalog is called once. What it returns calls committed after each commit of a content.
	catalog func(spool *keepio.Spool, committed func(collfs.UUID)) (Catalog, error)
	forget  func()                          // forgets what is remembered of records; nil: nothing to do
	ready   func() error                    // why the cluster cannot be used as it should; nil: always nil
	close   func(ctx context.Context) error // of what is below
}

// SessionConfig says how a session works.
type SessionConfig struct {
	TreeBytes   int64 // memory for collections that are loaded and not in use; 0: some
	SpoolBudget int64 // bytes that may wait to be stored; 0: some
	Apple       davfs.ApplePolicy

	// CommitAfter is after what time changes are committed that nobody has asked to
	// commit; 0: some seconds.
	CommitAfter time.Duration
	// PackAfter is how long a collection is left alone before its small blocks are packed;
	// 0: some seconds.
	PackAfter time.Duration
	Log       zerolog.Logger
}

// A Session works on a cluster with one token. All methods and parts may be used
// concurrently.
type Session struct {
	User    collfs.User
	Cluster string // the first five characters of its UUIDs
	Spool   *keepio.Spool
	Files   *collfs.FS
	Site    *davfs.Site

	conf    SessionConfig
	parts   parts
	place   *place
	root    string // where this user has places
	catalog Catalog
	stop    context.CancelFunc
	wg      sync.WaitGroup // what runs in the background

	mu   sync.Mutex // guards left
	left []leftover // what an earlier session left, and is not committed yet
}

// How often is looked for what waits to be committed, and how long a failure rests.
const (
	defaultCommitAfter = 5 * time.Second
	resumeAtStart      = 10 * time.Second
	resumeFirst        = time.Second
	resumeLast         = time.Minute
)

// openSession makes a session of p, which it closes if it fails. root is where the
// user has places.
func openSession(ctx context.Context, root string, p parts, conf SessionConfig) (*Session, error) {
	bad := func(err error) {
		conf.Log.Error().Err(err).Msg("what an earlier program could not commit is damaged: copy the directory, then remove what is in its leftover directory")
	}
	at, err := claim(root, bad)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("a place for what is not committed yet: %w", err), p.close(ctx))
	}
	s, err := startSession(ctx, root, at, p, conf)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// startSession is openSession in a place.
func startSession(ctx context.Context, root string, at *place, p parts, conf SessionConfig) (_ *Session, err error) {
	if conf.CommitAfter == 0 {
		conf.CommitAfter = defaultCommitAfter
	}
	if conf.PackAfter == 0 {
		conf.PackAfter = packAfter
	}
	pack := newPacking(conf.PackAfter, conf.Log)
	s := &Session{User: p.user, Cluster: p.cluster, conf: conf, parts: p, place: at, root: root, left: at.left, stop: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(ctx))
		}
	}()
	s.Spool, err = keepio.OpenSpool(keepio.SpoolConfig{
		Dir:      at.openDir(),
		Remote:   true,
		Store:    p.blocks,
		NextID:   at.nextID,
		OnStored: func(_ context.Context, b []keepio.Stored) error { return at.onStored(b) },
		Budget:   conf.SpoolBudget,
		Log:      conf.Log,
	})
	if err != nil {
		return nil, err
	}
	if err := at.stored(func(b keepio.Stored) { s.Spool.Known(b.ID, b.Hash, b.Size) }); err != nil {
		return nil, err
	}
	if err := s.Spool.Recover(ctx, at.open()); err != nil {
		if !errors.Is(err, keepio.ErrNotFound) && !errors.Is(err, keepio.ErrCorrupt) {
			return nil, err
		}
		conf.Log.Error().Err(err).Str("place", at.dir).Msg("data of what an earlier program could not commit is gone")
	}
	if s.catalog, err = p.catalog(s.Spool, pack.committed); err != nil {
		return nil, err
	}
	s.Files = collfs.NewFS(collfs.Config{
		Catalog: s.catalog, Spool: s.Spool, CacheBytes: conf.TreeBytes,
		HashSeed: seedOf(p.cluster), Cluster: p.cluster, Log: conf.Log,
	})
	s.Site, err = davfs.NewSite(davfs.Config{Files: s.Files, Folders: s.catalog, Catalog: s.catalog, Apple: conf.Apple, Advisory: true})
	if err != nil {
		return nil, err
	}
	var work context.Context
	work, s.stop = context.WithCancel(context.Background())
	s.wg.Go(func() { s.commitLoop(work) })
	s.wg.Go(func() { pack.run(work, s.Files) })
	if len(s.left) > 0 && !s.resumeAtOnce(ctx) {
		s.wg.Go(func() { s.resumeLoop(work) })
	}
	return s, nil
}

// FS is the site as the user of the token sees it.
func (s *Session) FS() *davfs.FS { return s.Site.User(s.User) }

// Catalog is where the records are.
func (s *Session) Catalog() Catalog { return s.catalog }

// WriteBlock stores a block in the cluster and returns its MD5, see keepio.Store.
func (s *Session) WriteBlock(ctx context.Context, data []byte) ([16]byte, error) {
	return s.parts.blocks.WriteBlock(ctx, data)
}

// MountSite implements mounting.Store: whoever mounts acts as the token's user.
func (s *Session) MountSite(context.Context, string) (*davfs.FS, error) { return s.FS(), nil }

// Waiting is how many bytes are written and not stored as blocks yet.
func (s *Session) Waiting() int64 { return s.Spool.Stats().Waiting }

// Ready says why the cluster cannot be used as it should, or nil.
func (s *Session) Ready() error {
	err := s.Spool.Stats().Trouble
	if s.parts.ready != nil {
		err = errors.Join(err, s.parts.ready())
	}
	return err
}

// Dirty tells whether anything is not committed. What is in no collection yet does not
// count.
func (s *Session) Dirty() bool {
	cs, done := s.Files.Loaded()
	defer done()
	for _, c := range cs {
		if c.Dirty() {
			return true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.left) > 0
}

// Unload drops the collections from memory that nobody uses.
func (s *Session) Unload() { s.Files.Unload(func(collfs.UUID, int) bool { return true }) }

// Revalidate forgets what is remembered of records and reads the collection of name
// again, if it is loaded.
func (s *Session) Revalidate(ctx context.Context, name string) error {
	if s.parts.forget != nil {
		s.parts.forget()
	}
	s.Site.ForgetAccess()
	id, _, err := s.FS().Where(ctx, name)
	if err != nil {
		return nil // the request itself finds out
	}
	cs, done := s.Files.Loaded()
	defer done()
	for _, c := range cs {
		if c.UUID() != id || c.ReadOnly() {
			continue
		}
		if err := c.Refresh(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// commitLoop commits what nobody asks to commit.
func (s *Session) commitLoop(ctx context.Context) {
	tick := time.NewTicker(max(s.conf.CommitAfter/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.commitOld()
		}
	}
}

// commitOld has collections committed that are dirty for long. It does not wait; who
// fails is tried again by who follows.
func (s *Session) commitOld() {
	cs, done := s.Files.Loaded()
	defer done()
	for _, c := range cs {
		if since, dirty := c.DirtySince(); dirty && time.Since(since) >= s.conf.CommitAfter {
			c.CommitSoon()
		}
	}
}

// resumeAtOnce gives what was left a moment, so that whoever waits for the session finds
// it there. It reports whether all of it is committed.
func (s *Session) resumeAtOnce(ctx context.Context) bool {
	ctx, stop := context.WithTimeout(ctx, resumeAtStart)
	defer stop()
	return s.resume(ctx)
}

// resumeLoop takes up what an earlier session left, until all of it is committed.
func (s *Session) resumeLoop(ctx context.Context) {
	for pause := resumeFirst; ; pause = min(2*pause, resumeLast) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if s.resume(ctx) {
			return
		}
	}
}

// resume tries each leftover once, and reports whether none is left.
func (s *Session) resume(ctx context.Context) bool {
	s.mu.Lock()
	todo := s.left
	s.mu.Unlock()
	var failed []leftover
	for i, l := range todo {
		err := s.resumeOne(ctx, l)
		if ctx.Err() != nil {
			failed = append(failed, todo[i:]...)
			break
		}
		if err != nil {
			s.conf.Log.Error().Err(err).Str("collection", string(l.Collection)).Str("name", l.Name).Str("file", l.path).
				Msg("what an earlier program could not commit cannot be committed yet: it stays and is tried again")
			failed = append(failed, l)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = failed
	return len(failed) == 0
}

func (s *Session) resumeOne(ctx context.Context, l leftover) error {
	c, err := s.Files.Open(ctx, l.Collection)
	if err != nil {
		return err
	}
	defer c.Release()
	if s.place.isTaken(l) {
		err = c.Commit(ctx, true)
	} else {
		var taken bool
		if taken, err = c.Resume(ctx, l.Data); taken {
			s.place.took(l)
		}
	}
	if err != nil {
		return err
	}
	s.conf.Log.Info().Str("collection", string(l.Collection)).Str("name", l.Name).Int("changes", l.Changes).Msg("what an earlier program could not commit is committed now")
	return s.place.done(l)
}

// A KeptError says that changes were not committed when a session ended, and where they
// are kept.
type KeptError struct {
	Dir         string   // the place
	Collections []string // by name and UUID
	Err         error    // why they could not be committed
}

func (e *KeptError) Error() string {
	return fmt.Sprintf("%v\n%d collections have changes that are not on the cluster; they are kept in %s, and the next keep-mount or keep-dav for the same user on this machine commits them",
		e.Err, len(e.Collections), e.Dir)
}

func (e *KeptError) Unwrap() error { return e.Err }

// forgetCommitted removes the leftovers that were taken up and are committed now: all but
// those of collections that are kept.
func (s *Session) forgetCommitted(kept map[collfs.UUID]bool) error {
	s.mu.Lock()
	left := s.left
	s.mu.Unlock()
	var errs []error
	for _, l := range left {
		if s.place.isTaken(l) && !kept[l.Collection] {
			errs = append(errs, s.place.done(l))
		}
	}
	return errors.Join(errs...)
}

// Close commits everything, waits for that, and ends the session. What could not be
// committed is kept, and the error is a *KeptError. When ctx ends, what is not
// committed by then counts as that.
func (s *Session) Close(ctx context.Context) error {
	s.stop()
	s.wg.Wait()
	var errs []error
	if s.Site != nil {
		s.Site.Close()
	}
	var kept []string
	ids := make(map[collfs.UUID]bool)
	if s.Files != nil {
		err := s.Files.CloseKeeping(ctx, func(l collfs.Leftover) error {
			if c, ok := s.catalog.(serverIDs); ok {
				l.Collection = c.ServerID(l.Collection)
			}
			kept = append(kept, fmt.Sprintf("%s (%s)", l.Name, l.Collection))
			ids[l.Collection] = true
			return s.place.keepLeftover(l)
		})
		errs = append(errs, err, s.forgetCommitted(ids))
	}
	if s.Spool != nil {
		errs = append(errs, s.Spool.Close(context.WithoutCancel(ctx)))
	}
	errs = append(errs, s.parts.close(ctx))
	s.place.release()
	err := errors.Join(errs...)
	if len(kept) > 0 {
		return &KeptError{Dir: s.place.dir, Collections: kept, Err: err}
	}
	return err
}
