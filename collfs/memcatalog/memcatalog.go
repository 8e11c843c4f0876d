// Package memcatalog keeps records and contents of collections in memory. It is
// the reference for collfs.Catalog and collfs.Folders, and what tests of their
// users run on: Fault makes commits fail, hang or stay unclear.
//
// One mutex guards everything. Notifications of Watch are called one after the
// other, outside of it. Start reading at commit.go.
package memcatalog

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

// A Catalog is a collfs.Catalog and collfs.Folders in memory.
type Catalog struct {
	// Fault is asked about each commit; nil or a zero Outcome lets it pass. Set it
	// before the catalog is used. It is called without locks and may block.
	Fault func(ctx context.Context, tx collfs.Tx) Outcome

	// Now tells the time; nil is time.Now. Set it before the catalog is used.
	Now func() time.Time

	// Blocks finds blocks for Roots. Set it before the catalog is used.
	Blocks collfs.Blocks

	mu          sync.Mutex // guards the fields below
	seq         int64
	users       map[collfs.UUID]collfs.User
	projects    map[collfs.UUID]*project
	collections map[collfs.UUID]*collection
	grants      map[grant]collfs.Level
	pdh         func(collfs.UUID, collfs.Saved) (collfs.PDH, error)
	commits     int
	watchers    []*watcher
	pending     []collfs.Event // in order, not yet told to watchers

	tell sync.Mutex // held while watchers are told; comes before mu
}

// An Outcome is what a Fault makes of a commit. An error with Done set is
// returned although the commit is a fact: what a lost reply looks like.
type Outcome struct {
	Err  error
	Done bool
}

type grant struct{ user, item collfs.UUID }

type project struct {
	collfs.Project
	trashed collfs.UUID // the record that was trashed and took this along
	deleteA time.Time
}

type collection struct {
	collfs.Record
	changes  []change
	trashed  collfs.UUID
	versions []version
}

// A change is one committed change set.
type change struct{ ops []byte }

// A version is a state that is kept: the first n changes.
type version struct {
	record collfs.Record
	n      int
}

type watcher struct{ notify func(collfs.Event) }

// VersionIdle is how long a collection must have been left alone for its state
// to be kept as a version when it is changed.
const VersionIdle = 10 * time.Second

// New returns an empty catalog with one user, admin, who has the UUID that is
// returned, which is that of the home project too.
func New() (*Catalog, collfs.UUID) {
	c := &Catalog{
		users:       make(map[collfs.UUID]collfs.User),
		projects:    make(map[collfs.UUID]*project),
		collections: make(map[collfs.UUID]*collection),
		grants:      make(map[grant]collfs.Level),
	}
	return c, c.AddUser("admin", true)
}

// AddUser makes a user with a home.
func (c *Catalog) AddUser(name string, admin bool) collfs.UUID {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := NewUUID("tpzed")
	c.users[id] = collfs.User{UUID: id, Name: name, FullName: name, Admin: admin, Active: true, CreatedAt: c.now()}
	c.projects[id] = &project{Project: collfs.Project{UUID: id, CreatedAt: c.now(), ModifiedAt: c.now()}}
	return id
}

// Grant lets user do with a project or collection what level says.
func (c *Catalog) Grant(user, item collfs.UUID, level collfs.Level) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.grants[grant{user, item}] = level
}

// SetPDH sets how FindPDH computes the data hash of a collection.
func (c *Catalog) SetPDH(f func(collfs.UUID, collfs.Saved) (collfs.PDH, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pdh = f
}

// NewUUID returns a random UUID of a kind: 4zz18, j7d0g, tpzed.
func NewUUID(kind string) collfs.UUID {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, 15)
	for i := range b {
		b[i] = digits[rand.IntN(len(digits))]
	}
	return collfs.UUID("memry-" + kind + "-" + string(b))
}

// Create makes a collection in a project, for tests that need just one.
func (c *Catalog) Create(owner collfs.UUID, name string) collfs.UUID {
	id := NewUUID("4zz18")
	_, err := c.commit(collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: owner, Name: name}}})
	if err != nil {
		panic(err)
	}
	return id
}

// Commits returns how many transactions became facts.
func (c *Catalog) Commits() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commits
}

func (c *Catalog) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// Record is collfs.Catalog.
func (c *Catalog) Record(ctx context.Context, id collfs.UUID) (collfs.Record, error) {
	if err := ctx.Err(); err != nil {
		return collfs.Record{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k, err := c.collection(id)
	if err != nil {
		return collfs.Record{}, err
	}
	return k.record(), nil
}

// Load is collfs.Catalog.
func (c *Catalog) Load(ctx context.Context, id collfs.UUID, v int) (collfs.Record, collfs.Saved, error) {
	if err := ctx.Err(); err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k, err := c.collection(id)
	if err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	if v == 0 || v == k.Version {
		return k.record(), k.saved(len(k.changes)), nil
	}
	i := slices.IndexFunc(k.versions, func(x version) bool { return x.record.Version == v })
	if i < 0 {
		return collfs.Record{}, collfs.Saved{}, fmt.Errorf("version %d of %s: %w", v, id, fs.ErrNotExist)
	}
	return k.versions[i].record, k.saved(k.versions[i].n), nil
}

// Since is collfs.Deltas.
func (c *Catalog) Since(ctx context.Context, id collfs.UUID, revision int64) (collfs.Record, [][]byte, bool, error) {
	if err := ctx.Err(); err != nil {
		return collfs.Record{}, nil, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k, err := c.collection(id)
	if err != nil {
		return collfs.Record{}, nil, false, err
	}
	if revision < 0 || revision > k.Revision {
		return k.record(), nil, false, nil
	}
	var changes [][]byte
	for _, ch := range k.changes[revision:] {
		changes = append(changes, ch.ops)
	}
	return k.record(), changes, true, nil
}

// Roots is collfs.Roots.
func (c *Catalog) Roots(ctx context.Context, visit func(id collfs.UUID, current bool, s keepio.Segment) error) error {
	type root struct {
		id      collfs.UUID
		current bool
		saved   collfs.Saved
	}
	c.mu.Lock()
	var all []root
	for id, k := range c.collections {
		all = append(all, root{id, true, k.saved(len(k.changes))})
		for _, v := range k.versions {
			all = append(all, root{id, false, k.saved(v.n)})
		}
	}
	c.mu.Unlock()
	for _, r := range all {
		tree, err := collfs.Load(r.saved, c.Blocks)
		if err != nil {
			return fmt.Errorf("collection %s: %w", r.id, err)
		}
		tree.Blocks(func(s keepio.Segment) {
			if err == nil && s.Block != nil {
				err = visit(r.id, r.current, s)
			}
		})
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// ExpireVersions drops all versions but the present states.
func (c *Catalog) ExpireVersions() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.collections {
		k.versions = nil
	}
}

// Watch is collfs.Catalog.
func (c *Catalog) Watch(notify func(collfs.Event)) (stop func()) {
	w := &watcher{notify}
	c.mu.Lock()
	c.watchers = append(c.watchers, w)
	c.mu.Unlock()
	return func() {
		c.tell.Lock() // waits for a notify under way
		defer c.tell.Unlock()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.watchers = slices.DeleteFunc(c.watchers, func(x *watcher) bool { return x == w })
	}
}

// publish tells watchers what happened.
func (c *Catalog) publish() {
	c.tell.Lock()
	defer c.tell.Unlock()
	c.mu.Lock()
	events, watchers := c.pending, slices.Clone(c.watchers)
	c.pending = nil
	c.mu.Unlock()
	for _, e := range events {
		for _, w := range watchers {
			w.notify(e)
		}
	}
}

func (c *Catalog) collection(id collfs.UUID) (*collection, error) {
	if k := c.collections[id]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("collection %s: %w", id, fs.ErrNotExist)
}

func (k *collection) record() collfs.Record {
	r := k.Record
	r.Properties = slices.Clone(r.Properties)
	return r
}

func (k *collection) saved(n int) (s collfs.Saved) {
	for _, ch := range k.changes[:n] {
		s.Changes = append(s.Changes, ch.ops)
	}
	return s
}

// taken reports whether something that isn't in the trash has a name in a project.
func (c *Catalog) taken(owner collfs.UUID, name string, except collfs.UUID) bool {
	for id, k := range c.collections {
		if id != except && k.Owner == owner && k.Name == name && k.trashed == "" {
			return true
		}
	}
	for id, p := range c.projects {
		if id != except && p.Owner == owner && p.Name == name && p.trashed == "" {
			return true
		}
	}
	return false
}

// freeName returns name, or name with a number if it is taken and may be changed.
func (c *Catalog) freeName(op collfs.RecordOp, name string) (string, error) {
	if name == "" || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("record name %q: %w", name, collfs.ErrNameInvalid)
	}
	if !c.taken(op.Owner, name, op.UUID) {
		return name, nil
	}
	if !op.Unique {
		return "", fmt.Errorf("%q in %s: %w", name, op.Owner, fs.ErrExist)
	}
	for i := 2; ; i++ {
		if s := fmt.Sprintf("%s (%d)", name, i); !c.taken(op.Owner, s, op.UUID) {
			return s, nil
		}
	}
}
