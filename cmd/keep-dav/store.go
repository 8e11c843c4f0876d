package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/rs/zerolog"

	"keepdav/cmd/internal/maint"
	"keepdav/collfs"
	"keepdav/collfs/sqlite"
	"keepdav/davfs"
	"keepdav/keepio"
	"keepdav/keepio/dirstore"
	"keepdav/web/auth"
	"keepdav/web/dav"
)

// storeMark is the file that says that a directory is a store.
const storeMark = "keepdav.db"

const (
	adminName = "admin"
	trashDir  = "trash"
)

// A storeConfig says how a store is opened.
type storeConfig struct {
	Dir         string
	URL         string // under which it is served; "" for a command
	Log         zerolog.Logger
	TreeBytes   int64
	SpoolBudget int64
	Apple       string
}

// A store is an open store: its parts, put together.
type store struct {
	dir    string
	url    string
	log    zerolog.Logger
	blocks *dirstore.Store
	spool  *keepio.Spool
	sql    *sqlite.Store
	files  *collfs.FS
	gate   *maint.Gate
	site   *davfs.Site
	maint  *maint.Keeper

	davLocks *dav.Locks // of the server, set before anybody can call; nil in a command

	mu      sync.Mutex // guards the field below
	changed []func()   // called when accounts change
}

var applePolicies = map[string]davfs.ApplePolicy{"hide": davfs.AppleHide, "store": davfs.AppleStore, "discard": davfs.AppleDiscard}

// openStore opens the store in conf.Dir, or makes it. What a crash left undone
// is done first. close has to be called.
func openStore(ctx context.Context, conf storeConfig) (_ *store, err error) {
	dir, err := filepath.Abs(conf.Dir)
	if err != nil {
		return nil, err
	}
	s := &store{dir: dir, url: conf.URL, log: conf.Log}
	// Whose lock the store is, is known inside of sqlite.Open only, and nothing
	// may be touched before; so the parts that it calls back are opened then.
	openBlocks := sync.OnceValue(func() error { return s.openBlocks(conf) })
	s.sql, err = sqlite.Open(ctx, sqlite.Config{
		Dir:    dir,
		Log:    conf.Log,
		Blocks: lateBlocks{s},
		SyncIDs: func(ctx context.Context, ids []keepio.BlockID) error {
			return errors.Join(openBlocks(), s.spool.SyncIDs(ctx, ids))
		},
		VerifyExtent: func(e keepio.Extent) error {
			if err := openBlocks(); err != nil {
				return err
			}
			return s.spool.VerifyExtent(e)
		},
		StoreBlocks: func(ctx context.Context, blocks []*keepio.Block) error { return s.spool.Store(ctx, blocks) },
		Zero:        func(ctx context.Context) ([16]byte, uint32, error) { return s.spool.Zero(ctx) },
	})
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := openBlocks(); err != nil {
		return nil, err
	}
	if err := s.recover(ctx); err != nil {
		return nil, err
	}
	if conf.URL != "" {
		if err := s.sql.Announce(conf.URL); err != nil {
			return nil, err
		}
	}
	s.sql.Start()
	return s, s.openSite(conf)
}

func (s *store) openBlocks(conf storeConfig) (err error) {
	s.blocks, err = dirstore.Open(dirstore.Config{
		Dir:   filepath.Join(s.dir, "blocks"),
		Sums:  filepath.Join(s.dir, "sums"),
		Trash: filepath.Join(s.dir, trashDir),
	})
	if err != nil {
		return err
	}
	s.spool, err = keepio.OpenSpool(keepio.SpoolConfig{
		Dir:      filepath.Join(s.dir, "open"),
		Store:    s.blocks,
		NextID:   func() (keepio.BlockID, error) { return s.sql.NextBlockID() },
		OnStored: func(ctx context.Context, b []keepio.Stored) error { return s.sql.BlockStored(ctx, b) },
		Budget:   conf.SpoolBudget,
		Log:      s.log,
	})
	return err
}

// recover tells the spool what the catalog knows about blocks.
func (s *store) recover(ctx context.Context) error {
	err := s.sql.StoredBlocks(ctx, func(b keepio.Stored) error {
		s.spool.Known(b.ID, b.Hash, b.Size)
		return nil
	})
	if err != nil {
		return err
	}
	open, err := s.sql.OpenBlocks(ctx)
	if err != nil {
		return err
	}
	err = s.spool.Recover(ctx, open)
	if errors.Is(err, keepio.ErrNotFound) || errors.Is(err, keepio.ErrCorrupt) {
		// The other files are worth serving, and fsck has to be able to say which these are.
		s.log.Error().Err(err).Msg("data that was not yet in a block is gone: restore STORE/open from a backup; keep-dav fsck names the files")
		return nil
	}
	return err
}

func (s *store) openSite(conf storeConfig) (err error) {
	meta := s.sql.Meta()
	s.gate = maint.NewGate(s.sql)
	s.files = collfs.NewFS(collfs.Config{
		Catalog: s.gate, Spool: s.spool, CacheBytes: conf.TreeBytes,
		HashSeed: meta.HashSeed, Cluster: meta.Cluster, Log: s.log,
	})
	s.site, err = davfs.NewSite(davfs.Config{
		Files: s.files, Folders: s.sql, Catalog: s.gate, Apple: applePolicies[conf.Apple],
		Side:  sideStore{s.sql},
		Space: s.space,
	})
	s.maint = &maint.Keeper{
		Blocks: s.blocks, Spool: s.spool, Catalog: s.sql, Files: s.files, Gate: s.gate,
		TrashDir: filepath.Join(s.dir, trashDir), Log: s.log,
	}
	return err
}

// close writes everything down and closes the parts, the upper ones first.
func (s *store) close(ctx context.Context) error {
	var errs []error
	if s.site != nil {
		s.site.Close()
	}
	if s.files != nil {
		errs = append(errs, s.files.Close(ctx))
	}
	if s.spool != nil {
		errs = append(errs, s.spool.Close(ctx))
	}
	if s.sql != nil {
		errs = append(errs, s.sql.Close(ctx))
	}
	if s.blocks != nil {
		errs = append(errs, s.blocks.Close())
	}
	return errors.Join(errs...)
}

// lateBlocks are the blocks of a spool that is opened later.
type lateBlocks struct{ s *store }

func (l lateBlocks) ByID(id keepio.BlockID) (*keepio.Block, error) { return l.s.spool.ByID(id) }
func (l lateBlocks) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return l.s.spool.ByHash(hash, size)
}

// space is how much the store holds and how much more fits.
func (s *store) space(context.Context) (davfs.Usage, error) {
	free, total, err := s.blocks.Free()
	return davfs.Usage{Used: total - free, Available: free}, err
}

// ready says why the store cannot do its work as it should, or nil.
func (s *store) ready() error {
	return errors.Join(s.sql.Ready(), s.spool.Stats().Trouble)
}

// user is the site as u sees it.
func (s *store) user(u collfs.User) davfs.FileSystem { return s.site.User(u) }

// siteOf is the site as the user called name sees it.
func (s *store) siteOf(ctx context.Context, name string) (davfs.FileSystem, error) {
	u, err := s.userByName(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.user(u), nil
}

func (s *store) userByName(ctx context.Context, name string) (collfs.User, error) {
	u, err := s.sql.UserByName(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return u, fmt.Errorf("user %q: %w", name, fs.ErrNotExist)
	}
	return u, err
}

// onAccountChange has f called when a password, a token or a user changes.
func (s *store) onAccountChange(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = append(s.changed, f)
}

func (s *store) accountsChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.changed {
		f()
	}
}

// firstUser makes the user admin when there are no users. It returns the
// password, given or made up, "" when nothing was made.
func (s *store) firstUser(ctx context.Context, password string) (string, error) {
	users, err := s.sql.ListUsers(ctx)
	if err != nil || len(users) > 0 {
		return "", err
	}
	if password == "" {
		password = auth.RandomPassword()
	}
	hash, err := auth.HashPassword(ctx, password)
	if err != nil {
		return "", err
	}
	_, err = s.sql.CreateUser(ctx, adminName, "Administrator", hash, true)
	return password, err
}
