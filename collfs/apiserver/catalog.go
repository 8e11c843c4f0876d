package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
	"keepdav/keepio"
)

// Locators know the locators of blocks, with the signatures that the server gave.
// All methods may be called concurrently.
type Locators interface {
	// Learn notes locators that were found in a source: what Catalog.Refresh loads
	// again before their signatures end.
	Learn(source string, locs []keepio.Locator)

	// Forget ends the use of a source.
	Forget(source string)

	// Locator returns the signed locator of a stored block.
	Locator(ctx context.Context, hash [16]byte, size uint32) (keepio.Locator, error)
}

// Config says what a Catalog works with.
type Config struct {
	API    *api.Client
	Blocks collfs.Blocks // finds the handles of blocks that manifests name

	// Locators are told what manifests say and asked for what commits refer to.
	// Nil: locators need no signatures.
	Locators Locators

	// StoreBlocks makes the cluster have blocks before a commit refers to them.
	StoreBlocks func(ctx context.Context, blocks []*keepio.Block) error

	// Reader reads blocks that are not stored yet, which small commits bring along if
	// the server takes that. Nil: all blocks are stored first.
	Reader keepio.Reader

	// Zero returns the stored block of zeros that stands for holes. Nil: there are
	// none.
	Zero func(ctx context.Context) (hash [16]byte, size uint32, err error)

	// Committed is told of each collection whose content was committed here. It must not
	// block. Nil: nobody wants to know.
	Committed func(id collfs.UUID)

	// AcceptLostUpdates allows commits where the cluster keeps no versions: what
	// others overwrite is lost then.
	AcceptLostUpdates bool

	RetryFor      time.Duration // how long a commit is asked for again that a keepdav server does not answer; 0: 30 s
	CacheBytes    int64         // heap for what is known of collections; 0: 256 MiB
	MaxAttributes int           // bytes of a record's properties for attributes; 0: 64 KiB
	NoWebsocket   bool          // events are asked for, not received
	Poll          time.Duration // how often they are asked for; 0: 15 s
	Log           zerolog.Logger
}

// A Catalog is a collfs.Catalog and collfs.Folders.
type Catalog struct {
	conf   Config
	api    *api.Client
	names  *slashes
	events *events
	ext    atomic.Pointer[extension] // nil: not known yet

	mu      sync.Mutex // guards the fields below
	entries map[string]*entry
	shown   map[string]collfs.UUID // by the UUID that the server gave: what it is called here
	real    map[collfs.UUID]string // the other way
	clock   int64                  // counts uses of entries
	user    *api.User
	limits  *limits
}

// limits are what the server says of itself.
type limits struct {
	request    int64 // bytes of a request
	versioning bool
	cluster    string
}

const (
	defaultCache      = 256 << 20
	defaultAttributes = 64 << 10
	defaultPoll       = 15 * time.Second
	defaultRequest    = 128 << 20
)

var (
	_ collfs.Catalog = (*Catalog)(nil)
	_ collfs.Folders = (*Catalog)(nil)
)

// New returns a catalog. End it with Close.
func New(conf Config) *Catalog {
	if conf.CacheBytes == 0 {
		conf.CacheBytes = defaultCache
	}
	if conf.MaxAttributes == 0 {
		conf.MaxAttributes = defaultAttributes
	}
	if conf.Poll == 0 {
		conf.Poll = defaultPoll
	}
	c := &Catalog{
		conf: conf, api: conf.API, entries: make(map[string]*entry),
		shown: make(map[string]collfs.UUID), real: make(map[collfs.UUID]string),
	}
	c.names = &slashes{c: c}
	c.events = newEvents(c)
	return c
}

// Close ends the watch of events. Nothing else is under way in the background.
func (c *Catalog) Close() { c.events.close() }

// serverLimits asks for what the server says of itself, once.
func (c *Catalog) serverLimits(ctx context.Context) (limits, error) {
	c.mu.Lock()
	l := c.limits
	c.mu.Unlock()
	if l != nil {
		return *l, nil
	}
	d, err := c.api.Discovery(ctx)
	if err != nil {
		return limits{}, err
	}
	conf, err := c.api.Config(ctx)
	if err != nil {
		return limits{}, err
	}
	l = &limits{request: d.MaxRequestSize, versioning: conf.Collections.CollectionVersioning, cluster: d.UUIDPrefix}
	if l.request <= 0 {
		l.request = defaultRequest
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits = l
	return *l, nil
}

// realID returns what the server calls a record.
func (c *Catalog) realID(id collfs.UUID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.real[id]; ok {
		return r
	}
	return string(id)
}

// shownID returns what a record is called here.
func (c *Catalog) shownID(real string) collfs.UUID {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, ok := c.shown[real]; ok {
		return id
	}
	return collfs.UUID(real)
}

// alias makes id another name, in this process, of what the server calls real.
func (c *Catalog) alias(id collfs.UUID, real string) {
	if string(id) == real {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown[real], c.real[id] = id, real
}

// Record is collfs.Catalog.
func (c *Catalog) Record(ctx context.Context, id collfs.UUID) (collfs.Record, error) {
	if isPDH(string(id)) {
		r, err := c.getPDH(ctx, string(id), recordFields)
		return r, c.wrap("collection", id, err)
	}
	d, err := c.extension(ctx)
	if err != nil {
		return collfs.Record{}, c.wrap("collection", id, err)
	}
	if d != nil {
		rec, err := c.recordExtended(ctx, d, c.realID(id))
		return rec, c.wrap("collection", id, err)
	}
	got, err := c.get(ctx, c.realID(id), recordFields)
	if err != nil {
		return collfs.Record{}, c.wrap("collection", id, err)
	}
	return c.saw(got), nil
}

// recordFields are what a record is made of.
var recordFields = []string{
	"uuid", "current_version_uuid", "owner_uuid", "name", "description", "properties", "portable_data_hash", "version", "preserve_version",
	"file_count", "file_size_total", "created_at", "modified_at", "trash_at", "delete_at", "is_trashed",
}

// get asks for a collection, also one in the trash, by itself or with its project.
func (c *Catalog) get(ctx context.Context, real string, fields []string) (*api.Collection, error) {
	var got api.Collection
	err := c.api.Get(ctx, "collections/"+real, api.Params{"select": fields}, &got)
	if errors.Is(err, fs.ErrNotExist) {
		got = api.Collection{}
		if err = c.api.Get(ctx, "collections/"+real, api.Params{"select": fields, "include_trash": true}, &got); err == nil {
			c.trashedWith(ctx, &got)
		}
	}
	if err == nil && got.UUID != real {
		err = fmt.Errorf("the server answered of another record: %w", keepio.ErrUnavailable)
	}
	return &got, err
}

// trashedWith says of a collection that is not to be seen, but in the trash, since
// when that is so: if it isn't in the trash itself, a project that it is in is.
func (c *Catalog) trashedWith(ctx context.Context, got *api.Collection) {
	if got.IsTrashed {
		return
	}
	got.IsTrashed, got.TrashAt, got.DeleteAt = true, got.ModifiedAt, got.ModifiedAt
	owner := got.OwnerUUID
	for range maxDepth {
		var g api.Group
		if kindOf(owner) != kindGroup || c.api.Get(ctx, "groups/"+owner, api.Params{"include_trash": true}, &g) != nil {
			return
		}
		if g.IsTrashed {
			got.TrashAt, got.DeleteAt = g.TrashAt, g.DeleteAt
			return
		}
		owner = g.OwnerUUID
	}
}

// wrap says of what err is.
func (c *Catalog) wrap(what string, id collfs.UUID, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, id, kindly(err))
}

// kindly makes errors of the API what collfs knows.
func kindly(err error) error {
	switch {
	case errors.Is(err, api.ErrUnclear):
		return errors.Join(collfs.ErrUnknownOutcome, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, fs.ErrNotExist):
		return err
	}
	return err
}

// currentUser returns whose token it is, asked once.
func (c *Catalog) currentUser(ctx context.Context) (*api.User, error) {
	c.mu.Lock()
	u := c.user
	c.mu.Unlock()
	if u != nil {
		return u, nil
	}
	got, err := c.api.CurrentUser(ctx)
	if err != nil {
		return nil, fmt.Errorf("current user: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.user = &got
	return c.user, nil
}
