package davfs

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"keepdav/collfs"
)

// Config is what a Site is made of. Files, Folders and Catalog must be set and
// belong together.
type Config struct {
	Files   *collfs.FS
	Folders collfs.Folders
	Catalog collfs.Catalog

	// Side keeps what Apple clients litter; nil: it is stored like other files.
	Side  SideStore
	Apple ApplePolicy

	// Advisory says that somebody else checks who may do what, too: the servers of a
	// cluster. Then a level that is known goes on to count while it is looked up again,
	// also if that cannot be done just now.
	Advisory bool

	// Space tells how much the store holds and how much more fits; nil: unknown.
	Space func(ctx context.Context) (Usage, error)
}

// A Site is what the users of one process share: the caches of names and
// levels. Close it before the collfs.FS under it.
type Site struct {
	conf     Config
	names    folderCache
	access   accessCache
	sums     sumCache
	side     sideIndex
	sideRoom sideRoom
	shares   shareCache
	pdhs     pdhCache
	space    spaceCache
	notices  recordNotices
	large    chan struct{} // holds one for each large meta file in memory
	finds    chan struct{} // holds one for each search for a content by its hash
	stop     func()
	work     context.Context // ends with Close, for what nobody waits for
	end      context.CancelFunc
	wg       sync.WaitGroup // looking levels up again

	sideMu sync.Mutex // held while a side file is read and then changed; comes after folderLock.mu

	mu    sync.Mutex // guards locks
	locks map[collfs.UUID]*folderLock
}

type folderLock struct {
	mu    sync.Mutex // held while a record in the project changes
	users int        // guarded by Site.mu
}

// NewSite returns a site over a store.
func NewSite(conf Config) (*Site, error) {
	if conf.Files == nil || conf.Folders == nil || conf.Catalog == nil {
		return nil, errors.New("davfs: Files, Folders and Catalog must be set")
	}
	if conf.Side == nil {
		conf.Apple = AppleStore
	}
	s := &Site{conf: conf, locks: map[collfs.UUID]*folderLock{}, large: make(chan struct{}, maxLarge), finds: make(chan struct{}, maxFinds)}
	s.names.init()
	s.access.init()
	s.sums.init()
	s.notices.init()
	s.work, s.end = context.WithCancel(context.Background())
	s.stop = conf.Catalog.Watch(s.notice)
	return s, nil
}

// Close ends the subscription to the catalog's events, when those who subscribed to
// the site have heard of all there were.
func (s *Site) Close() {
	s.stop()
	s.end()
	s.wg.Wait()
	s.notices.close()
}

// User returns the site as u sees it. It is cheap; an FS may be made for each request.
func (s *Site) User(u collfs.User) *FS { return &FS{site: s, user: u} }

// NewTmp returns a collection without a record, for what lives no longer than this
// process.
func (s *Site) NewTmp(ctx context.Context) (*collfs.Tmp, error) { return s.conf.Files.NewTmp(ctx) }

// notice empties what an event of the catalog makes doubtful, then passes it on.
func (s *Site) notice(e collfs.Event) {
	s.pdhs.drop(e.UUID)
	if e.Kind == collfs.ContentChanged {
		return
	}
	s.forget(e.UUID, e.Owner, e.OldOwner)
	if e.Kind != collfs.Created {
		// A record that moved or went takes what lies below it along.
		s.access.clear()
		s.shares.clear()
	}
	s.notices.add(RecordNotice{Kind: e.Kind, UUID: e.UUID, Owner: e.Owner, OldOwner: e.OldOwner, Name: e.Name, OldName: e.OldName})
}

// ForgetAccess makes a change of what users may do count at once. The catalog has
// no events for these; without this they count after accessTTL.
func (s *Site) ForgetAccess() {
	s.access.clear()
	s.shares.clear()
	s.pdhs.clear()
}

// forget drops the cached names of projects, after a change of their records.
func (s *Site) forget(projects ...collfs.UUID) {
	s.names.drop(byID)
	for _, p := range projects {
		if p != "" {
			s.names.drop(p)
		}
	}
}

// lockFolders locks the records of projects against other changes of this
// process; the catalog's rule that names are unique has the last word.
func (s *Site) lockFolders(projects ...collfs.UUID) (unlock func()) {
	slices.Sort(projects)
	projects = slices.Compact(projects)
	s.mu.Lock()
	held := make([]*folderLock, len(projects))
	for i, p := range projects {
		l := s.locks[p]
		if l == nil {
			l = new(folderLock)
			s.locks[p] = l
		}
		l.users++
		held[i] = l
	}
	s.mu.Unlock()
	for _, l := range held {
		l.mu.Lock()
	}
	return func() {
		for _, l := range held {
			l.mu.Unlock()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, p := range projects {
			if held[i].users--; held[i].users == 0 {
				delete(s.locks, p)
			}
		}
	}
}

// An FS is the site as one user sees it. It implements FileSystem.
type FS struct {
	site *Site
	user collfs.User
}

var _ FileSystem = (*FS)(nil)

// Files is what f keeps its collections in.
func (f *FS) Files() *collfs.FS { return f.site.conf.Files }

// accessTTL is for how long an access level is remembered: a revoked grant acts
// within this time.
const accessTTL = time.Second
