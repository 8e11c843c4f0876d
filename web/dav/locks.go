package dav

import (
	"container/heap"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"keepdav/collfs"
)

// A LockPlace is where a lock sits or what a request touches. Two users who see
// one collection under different URLs have the same Tree and Path.
type LockPlace struct {
	Tree string // the UUID of the collection or project; "" for folders above the projects
	Path string // inside the tree: "/" or "/a/b"; in tree "" the same as Name
	Name string // the name in the site of whoever asks

	// Above is the project, or folder, that the tree's root lies in. It may be
	// left out while there is no lock on a project.
	Above *LockPlace `json:",omitempty"`
}

// parent is the place of the collection that p is a member of.
func (p LockPlace) parent() LockPlace {
	switch {
	case p.Path != "/":
		return LockPlace{Tree: p.Tree, Path: parentOf(p.Path), Name: parentOf(p.Name), Above: p.Above}
	case p.Above != nil:
		return *p.Above
	}
	return LockPlace{Path: "/", Name: parentOf(p.Name)}
}

// rootName is the name of the root of p's tree.
func (p LockPlace) rootName() string {
	name := p.Name
	for n := strings.Count(p.Path, "/"); n > 0 && p.Path != "/"; n-- {
		name = parentOf(name)
	}
	return name
}

// inCollection reports whether p's tree is a collection.
func (p LockPlace) inCollection() bool { return strings.Contains(p.Tree, "-4zz18-") }

// isProject reports whether other trees may lie in p.
func (p LockPlace) isProject() bool { return p.Path == "/" && !p.inCollection() }

// A Lock is a granted lock. It is a value.
type Lock struct {
	Token    string
	Place    LockPlace
	User     string // who was authenticated when it was granted
	Owner    string // the <owner> element's content, as the client wrote it
	Infinite bool   // depth
	Dir      bool   // the root is a collection
	Shared   bool
	Timeout  time.Duration
	Expires  time.Time
}

// weight is what the lock counts for among those of its user: one for each begun
// 4 KiB of text, so that a bound on their number bounds memory.
func (l *Lock) weight() int {
	n := len(l.Owner)
	for p := &l.Place; p != nil; p = p.Above {
		n += len(p.Path) + len(p.Name)
	}
	return 1 + n>>12
}

// A LockStore keeps locks over restarts. Its methods may be called concurrently.
type LockStore interface {
	Load(ctx context.Context) ([]Lock, error)
	Put(ctx context.Context, l Lock) error // adds or replaces, by token
	Remove(ctx context.Context, token string) error
}

// LockConfig says how long and how many locks may be held. Zero fields mean the
// defaults.
type LockConfig struct {
	MaxTimeout time.Duration // default 1 h
	PerUser    int           // default 10,000; one with very long names counts for several
	Store      LockStore     // nil: locks do not survive a restart
}

// Failures of the lock manager. Match them with errors.Is.
var (
	ErrLockConflict = errors.New("a conflicting lock is held")
	ErrNoSuchLock   = errors.New("no such lock here")
	ErrLockOwner    = errors.New("the lock belongs to another user")
	ErrTooManyLocks = errors.New("too many locks are held")
)

// A LockedError says which places are locked by others, or by the same user
// without the token being submitted.
type LockedError struct {
	Places  []LockPlace
	Members bool // they are all below what was to be locked, which is free itself
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is locked", e.Places[0].Name)
}

// Is makes the error one of the kind collfs.Locked.
func (e *LockedError) Is(target error) bool { return target == collfs.ErrLocked }

// Locks is the table of locks. What it holds in memory decides; the store only
// brings it back after a restart. All methods may be called concurrently; none
// that a Check calls (Require, Covers, TokenCovers) does I/O.
type Locks struct {
	conf  LockConfig
	count atomic.Int64  // locks in the table; read without mu to see that there are none
	wide  atomic.Int64  // those of them that are on whole projects
	last  atomic.Uint64 // counts the locks granted so far; changed with mu held

	mu      sync.Mutex                      // guards the fields below; never held during I/O
	tokens  map[string]*lockEntry           // by token
	places  btree.Map[string, []*lockEntry] // by placeKey(tree, path)
	inside  map[string][]*lockEntry         // by placeKey of what is above the tree they are in
	expiry  lockHeap                        // soonest first
	perUser map[string]int                  // the weights of each user's locks
}

type lockEntry struct {
	Lock
	number    uint64 // in the order of granting
	heapIndex int
}

// NewLocks loads the locks that the store has.
func NewLocks(ctx context.Context, conf LockConfig) (*Locks, error) {
	if conf.MaxTimeout <= 0 {
		conf.MaxTimeout = time.Hour
	}
	if conf.PerUser <= 0 {
		conf.PerUser = 10_000
	}
	m := &Locks{conf: conf, tokens: map[string]*lockEntry{}, inside: map[string][]*lockEntry{}, perUser: map[string]int{}}
	if conf.Store == nil {
		return m, nil
	}
	saved, err := conf.Store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load locks: %w", err)
	}
	m.mu.Lock()
	now := time.Now()
	var dead []*lockEntry
	for _, l := range saved {
		e := &lockEntry{Lock: l}
		if !l.Expires.After(now) {
			dead = append(dead, e)
			continue
		}
		m.addLocked(e)
	}
	m.mu.Unlock()
	m.forget(ctx, dead)
	return m, nil
}

// placeKey orders the members of a tree so that all below a path follow it: the
// path ends in a slash, so "/a/" is a prefix of "/a/b/" but not of "/ab/".
func placeKey(tree, path string) string {
	if path == "/" {
		return tree + "\x00/"
	}
	return tree + "\x00" + path + "/"
}

// Acquire grants a lock on p. A conflicting one gives a *LockedError that
// matches ErrLockConflict.
func (m *Locks) Acquire(ctx context.Context, l Lock) (Lock, error) {
	if l.Timeout <= 0 || l.Timeout > m.conf.MaxTimeout {
		l.Timeout = m.conf.MaxTimeout
	}
	l.Token = newLockToken()
	e := &lockEntry{Lock: l}

	m.mu.Lock()
	dead := m.expireLocked()
	err := m.mayAcquireLocked(l)
	if err == nil {
		e.Expires = time.Now().Add(l.Timeout)
		m.addLocked(e)
		l = e.Lock
	}
	m.mu.Unlock()

	m.forget(ctx, dead)
	if err != nil {
		return Lock{}, err
	}
	if err := m.save(ctx, l); err != nil {
		m.mu.Lock()
		m.dropLocked(e)
		m.mu.Unlock()
		m.forget(ctx, []*lockEntry{e})
		return Lock{}, err
	}
	return l, nil
}

// save stores a lock, unless it has gone from the table meanwhile: what is only in
// the store would come back with a restart.
func (m *Locks) save(ctx context.Context, l Lock) error {
	if m.conf.Store == nil {
		return nil
	}
	err := m.conf.Store.Put(ctx, l)
	m.mu.Lock()
	gone := m.tokens[l.Token] == nil
	m.mu.Unlock()
	if gone {
		m.forget(ctx, []*lockEntry{{Lock: l}})
	}
	if err != nil {
		return fmt.Errorf("save lock on %s: %w", l.Place.Name, err)
	}
	return nil
}

func (m *Locks) mayAcquireLocked(l Lock) error {
	var at []LockPlace
	shared := 0
	clash := func(e *lockEntry) bool {
		if !e.Shared || !l.Shared {
			at = append(at, m.seenFrom(e, l.Place))
		} else {
			shared++
		}
		return len(at) < maxReported && shared < maxShared
	}
	m.coveringLocked(l.Place, clash)
	members := len(at) == 0
	if l.Infinite {
		m.belowLocked(l.Place, clash)
	}
	if len(at) > 0 {
		return fmt.Errorf("%w: %w", ErrLockConflict, &LockedError{Places: at, Members: members})
	}
	if m.perUser[l.User]+l.weight() > m.conf.PerUser || shared >= maxShared {
		return fmt.Errorf("user %s: %w", l.User, ErrTooManyLocks)
	}
	return nil
}

const (
	maxReported = 100 // locked places that one answer lists
	// maxShared is how many shared locks one place may have on it, above and below:
	// each is shown with each resource that it covers.
	maxShared = 100
)

// Refresh starts the time of a lock anew: of the first of tokens that covers p
// and belongs to user.
func (m *Locks) Refresh(ctx context.Context, user string, tokens []string, p LockPlace, timeout time.Duration) (Lock, error) {
	if timeout <= 0 || timeout > m.conf.MaxTimeout {
		timeout = m.conf.MaxTimeout
	}
	m.mu.Lock()
	dead := m.expireLocked()
	var l Lock
	for _, tok := range tokens {
		if e := m.tokens[tok]; e != nil && e.User == user && m.coversLocked(e, p) {
			e.Timeout, e.Expires = timeout, time.Now().Add(timeout)
			heap.Fix(&m.expiry, e.heapIndex)
			l = e.Lock
			break
		}
	}
	m.mu.Unlock()
	m.forget(ctx, dead)
	if l.Token == "" {
		return Lock{}, ErrNoSuchLock
	}
	return l, m.save(ctx, l)
}

// Release gives up a lock that covers p. One of another user is ErrLockOwner.
func (m *Locks) Release(ctx context.Context, user, token string, p LockPlace) error {
	m.mu.Lock()
	dead := m.expireLocked()
	e := m.tokens[token]
	var err error
	switch {
	case e == nil || !m.coversLocked(e, p):
		err = ErrNoSuchLock
	case e.User != user:
		err = ErrLockOwner
	default:
		m.dropLocked(e)
		dead = append(dead, e)
	}
	m.mu.Unlock()
	m.forget(ctx, dead)
	return err
}

// Break removes a lock, whoever holds it; it is for admins.
func (m *Locks) Break(ctx context.Context, token string) error {
	m.mu.Lock()
	e := m.tokens[token]
	if e != nil {
		m.dropLocked(e)
	}
	m.mu.Unlock()
	if e == nil {
		return ErrNoSuchLock
	}
	if m.conf.Store == nil {
		return nil
	}
	return m.conf.Store.Remove(ctx, token)
}

// List returns all locks, by place.
func (m *Locks) List() []Lock {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	all := make([]Lock, 0, len(m.tokens))
	m.places.Scan(func(_ string, es []*lockEntry) bool {
		for _, e := range es {
			if e.Expires.After(now) {
				all = append(all, e.Lock)
			}
		}
		return true
	})
	return all
}

// Covers returns the locks that cover p.
func (m *Locks) Covers(p LockPlace) []Lock {
	if m.Empty() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Lock
	m.coveringLocked(p, func(e *lockEntry) bool {
		all = append(all, e.Lock)
		return true
	})
	return all
}

// TokenCovers reports whether token names a lock that covers p.
func (m *Locks) TokenCovers(token string, p LockPlace) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.tokens[token]
	return e != nil && e.Expires.After(time.Now()) && m.coversLocked(e, p)
}

// Empty reports that no lock is held anywhere.
func (m *Locks) Empty() bool { return m.count.Load() == 0 }

// Wide reports that there are locks on projects, so that places have to say what
// is above them.
func (m *Locks) Wide() bool { return m.wide.Load() > 0 }

// Touch says what a request changes, for Require.
type Touch int8

// What a request touches of a place.
const (
	TouchSelf    Touch = iota // its content, its properties, or which members it has
	TouchTree                 // it and all below it
	TouchMembers              // it and all below it that is not in a tree of its own
)

// Require reports whether user, having submitted tokens, may touch p: nil, or a
// *LockedError. Of shared locks, one submitted token is enough.
func (m *Locks) Require(user string, tokens []string, p LockPlace, touch Touch) error {
	if m.Empty() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	holds := func(e *lockEntry) bool { return e.User == user && slices.Contains(tokens, e.Token) }
	var locked []LockPlace
	held := false
	m.coveringLocked(p, func(e *lockEntry) bool {
		if held = holds(e); held {
			return false
		}
		locked = append(locked, m.seenFrom(e, p))
		return true
	})
	if held {
		locked = nil
	}
	if touch != TouchSelf {
		below := m.belowLocked
		if touch == TouchMembers {
			below = func(p LockPlace, f func(*lockEntry) bool) { m.membersLocked(p, f) }
		}
		// Shared locks on one place count together, as above.
		var place LockPlace
		var open bool
		flush := func() {
			if open {
				locked = append(locked, place)
			}
			open = false
		}
		heldHere := false
		below(p, func(e *lockEntry) bool {
			at := m.seenFrom(e, p)
			if at != place {
				flush()
				place, heldHere = at, false
			}
			heldHere = heldHere || holds(e)
			open = !heldHere
			return len(locked) < maxReported
		})
		flush()
	}
	if len(locked) > 0 {
		return &LockedError{Places: locked}
	}
	return nil
}

// seenFrom is the place of e with the name under which whoever sees p sees it.
// What they may not see at all keeps the name that the lock's owner has for it.
func (m *Locks) seenFrom(e *lockEntry, p LockPlace) LockPlace {
	at := e.Place
	at.Above = nil
	for a := &p; a != nil; a = a.Above {
		if at.Tree != a.Tree {
			continue
		}
		switch {
		case within(at.Path, a.Path):
			at.Name = joinBelow(a.Name, strings.TrimPrefix(at.Path, strings.TrimSuffix(a.Path, "/")))
		case within(a.Path, at.Path):
			at.Name = a.Name
			for n := strings.Count(strings.TrimPrefix(a.Path, strings.TrimSuffix(at.Path, "/")), "/"); n > 0; n-- {
				at.Name = parentOf(at.Name)
			}
		}
		return at
	}
	return at
}

// joinBelow adds a rooted path, "" or "/" for none, to a name.
func joinBelow(name, rest string) string {
	if rest = strings.TrimPrefix(rest, "/"); rest == "" {
		return name
	}
	return joinPath(name, rest)
}

// LockRoot is the name of l's root as whoever asks about p sees it.
func (m *Locks) LockRoot(l Lock, p LockPlace) string {
	return m.seenFrom(&lockEntry{Lock: l}, p).Name
}

// A LockMark is a moment in the life of a lock table.
type LockMark uint64

// Mark tells the locks that are granted by now from those that come later.
func (m *Locks) Mark() LockMark { return LockMark(m.last.Load()) }

// Gone drops the locks on p and all below it that are older than the mark: the
// resource was deleted or moved. Who has locked its name since then keeps the lock.
func (m *Locks) Gone(ctx context.Context, p LockPlace, mark LockMark) {
	m.drop(ctx, mark, func(f func(*lockEntry) bool) {
		m.belowLocked(p, f)
		es, _ := m.places.Get(placeKey(p.Tree, p.Path))
		eachLive(es, f)
	})
}

// Replaced drops the locks below p that are older than the mark, where something
// else is now. Those on p itself stay: they protect the name that the client
// saves under.
func (m *Locks) Replaced(ctx context.Context, p LockPlace, mark LockMark) {
	m.drop(ctx, mark, func(f func(*lockEntry) bool) { m.belowLocked(p, f) })
}

// MembersGone drops the locks on the members of p that are older than the mark,
// but for those in trees of their own.
func (m *Locks) MembersGone(ctx context.Context, p LockPlace, mark LockMark) {
	m.drop(ctx, mark, func(f func(*lockEntry) bool) { m.membersLocked(p, f) })
}

// drop takes out what each finds, with m.mu held.
func (m *Locks) drop(ctx context.Context, mark LockMark, each func(func(*lockEntry) bool)) {
	if m.Empty() {
		return
	}
	m.mu.Lock()
	dead := m.expireLocked()
	n := len(dead)
	each(func(e *lockEntry) bool {
		if e.number <= uint64(mark) {
			dead = append(dead, e)
		}
		return true
	})
	for _, e := range dead[n:] {
		m.dropLocked(e)
	}
	m.mu.Unlock()
	m.forget(ctx, dead)
}

// newLockToken makes a token that nobody can guess: a random UUID as a URN.
func newLockToken() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
