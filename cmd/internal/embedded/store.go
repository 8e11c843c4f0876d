package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
)

// mark is the file that says that a directory is a store.
const mark = "keepdav.db"

// AdminName is the user that a new store has.
const AdminName = "admin"

const trashDir = "trash"

// Config says how a store is opened. Only Dir has to be set.
type Config struct {
	Dir         string
	URL         string // under which it is served; others who want the store are told
	Log         zerolog.Logger
	TreeBytes   int64 // memory for collections that are loaded and not in use; 0: some
	SpoolBudget int64 // bytes that may wait to be hashed; 0: some
	Apple       davfs.ApplePolicy
}

// A Store is an open store: its parts, put together. All may be used concurrently.
type Store struct {
	Dir    string // absolute
	Blocks *dirstore.Store
	Spool  *keepio.Spool
	SQL    *sqlite.Store
	Files  *collfs.FS
	Gate   *maint.Gate // the catalog, for who commits
	Site   *davfs.Site
	Maint  *maint.Keeper

	log zerolog.Logger
}

// Exists tells whether dir has a store.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, mark))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// DefaultDir is the store in the user's data directory.
func DefaultDir() string {
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "keepdav")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "/var/lib/keepdav"
	}
	return filepath.Join(home, ".local", "share", "keepdav")
}

// Open opens the store in conf.Dir, or makes it. What a crash left undone is done
// first. When another process has it open, the error is a *sqlite.InUseError.
// Close has to be called.
func Open(ctx context.Context, conf Config) (_ *Store, err error) {
	dir, err := filepath.Abs(conf.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{Dir: dir, log: conf.Log}
	// Whose lock the store is, is known inside of sqlite.Open only, and nothing
	// may be touched before; so the parts that it calls back are opened then.
	openBlocks := sync.OnceValue(func() error { return s.openBlocks(conf) })
	s.SQL, err = sqlite.Open(ctx, sqlite.Config{
		Dir:    dir,
		Log:    conf.Log,
		Blocks: lateBlocks{s},
		SyncIDs: func(ctx context.Context, ids []keepio.BlockID) error {
			return errors.Join(openBlocks(), s.Spool.SyncIDs(ctx, ids))
		},
		VerifyExtent: func(e keepio.Extent) error {
			if err := openBlocks(); err != nil {
				return err
			}
			return s.Spool.VerifyExtent(e)
		},
		StoreBlocks: func(ctx context.Context, blocks []*keepio.Block) error { return s.Spool.Store(ctx, blocks) },
		Zero:        func(ctx context.Context) ([16]byte, uint32, error) { return s.Spool.Zero(ctx) },
	})
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(ctx))
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
		if err := s.SQL.Announce(conf.URL); err != nil {
			return nil, err
		}
	}
	s.SQL.Start()
	return s, s.openSite(conf)
}

func (s *Store) openBlocks(conf Config) (err error) {
	s.Blocks, err = dirstore.Open(dirstore.Config{
		Dir:   filepath.Join(s.Dir, "blocks"),
		Sums:  filepath.Join(s.Dir, "sums"),
		Trash: filepath.Join(s.Dir, trashDir),
	})
	if err != nil {
		return err
	}
	s.Spool, err = keepio.OpenSpool(keepio.SpoolConfig{
		Dir:      filepath.Join(s.Dir, "open"),
		Store:    s.Blocks,
		NextID:   func() (keepio.BlockID, error) { return s.SQL.NextBlockID() },
		OnStored: func(ctx context.Context, b []keepio.Stored) error { return s.SQL.BlockStored(ctx, b) },
		Budget:   conf.SpoolBudget,
		Log:      s.log,
	})
	return err
}

// recover tells the spool what the catalog knows about blocks.
func (s *Store) recover(ctx context.Context) error {
	err := s.SQL.StoredBlocks(ctx, func(b keepio.Stored) error {
		s.Spool.Known(b.ID, b.Hash, b.Size)
		return nil
	})
	if err != nil {
		return err
	}
	open, err := s.SQL.OpenBlocks(ctx)
	if err != nil {
		return err
	}
	err = s.Spool.Recover(ctx, open)
	if errors.Is(err, keepio.ErrNotFound) || errors.Is(err, keepio.ErrCorrupt) {
		// The other files are worth serving, and fsck has to be able to say which these are.
		s.log.Error().Err(err).Msg("data that was not yet in a block is gone: restore STORE/open from a backup; keep-dav fsck names the files")
		return nil
	}
	return err
}

func (s *Store) openSite(conf Config) (err error) {
	meta := s.SQL.Meta()
	s.Gate = maint.NewGate(s.SQL)
	s.Files = collfs.NewFS(collfs.Config{
		Catalog: s.Gate, Spool: s.Spool, CacheBytes: conf.TreeBytes,
		HashSeed: meta.HashSeed, Cluster: meta.Cluster, Log: s.log,
	})
	s.Site, err = davfs.NewSite(davfs.Config{
		Files: s.Files, Folders: s.SQL, Catalog: s.Gate, Apple: conf.Apple,
		Side:  sideStore{s.SQL},
		Space: s.space,
	})
	s.Maint = &maint.Keeper{
		Blocks: s.Blocks, Spool: s.Spool, Catalog: s.SQL, Files: s.Files, Gate: s.Gate,
		TrashDir: filepath.Join(s.Dir, trashDir), Log: s.log,
	}
	return err
}

// Close writes everything down and closes the parts, the upper ones first.
func (s *Store) Close(ctx context.Context) error {
	var errs []error
	if s.Site != nil {
		s.Site.Close()
	}
	if s.Files != nil {
		errs = append(errs, s.Files.Close(ctx))
	}
	if s.Spool != nil {
		errs = append(errs, s.Spool.Close(ctx))
	}
	if s.SQL != nil {
		errs = append(errs, s.SQL.Close(ctx))
	}
	if s.Blocks != nil {
		errs = append(errs, s.Blocks.Close())
	}
	return errors.Join(errs...)
}

// lateBlocks are the blocks of a spool that is opened later.
type lateBlocks struct{ s *Store }

func (l lateBlocks) ByID(id keepio.BlockID) (*keepio.Block, error) { return l.s.Spool.ByID(id) }
func (l lateBlocks) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return l.s.Spool.ByHash(hash, size)
}

// space is how much the store holds and how much more fits.
func (s *Store) space(context.Context) (davfs.Usage, error) {
	free, total, err := s.Blocks.Free()
	return davfs.Usage{Used: total - free, Available: free}, err
}

// Ready says why the store cannot do its work as it should, or nil.
func (s *Store) Ready() error {
	return errors.Join(s.SQL.Ready(), s.Spool.Stats().Trouble)
}

// SiteOf is the site as the user called name sees it.
func (s *Store) SiteOf(ctx context.Context, name string) (*davfs.FS, error) {
	u, err := s.UserByName(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.Site.User(u), nil
}

// MountSite is SiteOf for a mount: its error says what can be done.
func (s *Store) MountSite(ctx context.Context, name string) (*davfs.FS, error) {
	u, err := s.UserByName(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no user %q in %s: \"keep-dav user list\" shows who there is, \"keep-dav user add\" adds one", name, s.Dir)
	case err != nil:
		return nil, err
	case !u.Active:
		return nil, fmt.Errorf("user %q is disabled: \"keep-dav user enable %s\" changes that", name, name)
	}
	return s.Site.User(u), nil
}

// Waiting is how many bytes are written and not stored as blocks yet.
func (s *Store) Waiting() int64 { return s.Spool.Stats().Waiting }

// UserByName returns the user called name; the error names who does not exist.
func (s *Store) UserByName(ctx context.Context, name string) (collfs.User, error) {
	u, err := s.SQL.UserByName(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return u, fmt.Errorf("user %q: %w", name, fs.ErrNotExist)
	}
	return u, err
}

// FirstUser makes the user AdminName when there are no users. It returns the
// password, given or made up, "" when nothing was made.
func (s *Store) FirstUser(ctx context.Context, password string) (string, error) {
	users, err := s.SQL.ListUsers(ctx)
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
	_, err = s.SQL.CreateUser(ctx, AdminName, "Administrator", hash, true)
	return password, err
}
