package dav

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"keepdav/davfs"
)

func at(path string) LockPlace {
	return LockPlace{Tree: "t", Path: path, Name: "/home/c" + strings.TrimSuffix(path, "/")}
}

func newLocks(t *testing.T, conf LockConfig) *Locks {
	m, err := NewLocks(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustLock(t *testing.T, m *Locks, user, path string, infinite, shared bool) Lock {
	t.Helper()
	l, err := m.Acquire(t.Context(), Lock{Place: at(path), User: user, Infinite: infinite, Shared: shared})
	if err != nil {
		t.Fatalf("lock %s: %v", path, err)
	}
	return l
}

func TestLocksConflictWhereTheyOverlap(t *testing.T) {
	for _, c := range []struct {
		path             string
		infinite, shared bool
		wants            string // the lock asked for: path[ inf][ shared]
		conflict         bool
	}{
		{"/a", false, false, "/a", true},
		{"/a", false, true, "/a shared", false},
		{"/a", false, true, "/a", true},
		{"/a", false, false, "/a shared", true},
		{"/a", false, false, "/a/b", false},
		{"/a", true, false, "/a/b", true},
		{"/a", true, false, "/a/b/c shared", true},
		{"/a", true, true, "/a/b/c shared", false},
		{"/a/b", false, false, "/a", false},
		{"/a/b", false, false, "/a inf", true},
		{"/a/b", false, true, "/a inf shared", false},
		{"/a/b", false, true, "/a inf", true},
		{"/a", true, false, "/ab", false},
		{"/ab", false, false, "/a inf", false},
		{"/", true, false, "/x/y", true},
		{"/x", false, false, "/ inf", true},
		{"/", false, false, "/x", false},
	} {
		m := newLocks(t, LockConfig{})
		mustLock(t, m, "u", c.path, c.infinite, c.shared)
		p, flags, _ := strings.Cut(c.wants, " ")
		_, err := m.Acquire(t.Context(), Lock{Place: at(p), User: "v", Infinite: strings.Contains(flags, "inf"), Shared: strings.Contains(flags, "shared")})
		if got := errors.Is(err, ErrLockConflict); got != c.conflict || (err != nil && !got) {
			t.Errorf("lock %s (infinite %v, shared %v), then %s: %v; conflict wanted: %v", c.path, c.infinite, c.shared, c.wants, err, c.conflict)
		}
	}
}

func TestTokensBelongToTheirUser(t *testing.T) {
	m := newLocks(t, LockConfig{})
	l := mustLock(t, m, "u", "/a", false, false)
	if !strings.HasPrefix(l.Token, "urn:uuid:") || len(l.Token) != len("urn:uuid:")+36 {
		t.Errorf("token %q is not a UUID URN", l.Token)
	}
	for _, c := range []struct {
		user, token string
		ok          bool
	}{{"u", l.Token, true}, {"v", l.Token, false}, {"u", "urn:uuid:x", false}, {"u", "", false}} {
		if err := m.Require(c.user, []string{c.token}, at("/a"), TouchSelf); (err == nil) != c.ok {
			t.Errorf("Require(%s, %q) = %v", c.user, c.token, err)
		}
	}
	if err := m.Release(t.Context(), "v", l.Token, at("/a")); !errors.Is(err, ErrLockOwner) {
		t.Errorf("Release by another user = %v", err)
	}
	if err := m.Release(t.Context(), "u", l.Token, at("/elsewhere")); !errors.Is(err, ErrNoSuchLock) {
		t.Errorf("Release at an unrelated place = %v", err)
	}
	if _, err := m.Refresh(t.Context(), "v", []string{l.Token}, at("/a"), time.Minute); !errors.Is(err, ErrNoSuchLock) {
		t.Errorf("Refresh by another user = %v", err)
	}
	if err := m.Release(t.Context(), "u", l.Token, at("/a")); err != nil || !m.Empty() {
		t.Errorf("Release = %v, empty %v", err, m.Empty())
	}
}

func TestOneOfSharedTokensIsEnough(t *testing.T) {
	m := newLocks(t, LockConfig{})
	a := mustLock(t, m, "u", "/d/a", false, true)
	mustLock(t, m, "v", "/d/a", false, true)
	if err := m.Require("u", []string{a.Token}, at("/d/a"), TouchSelf); err != nil {
		t.Errorf("with one token: %v", err)
	}
	if err := m.Require("u", []string{a.Token}, at("/d"), TouchTree); err != nil {
		t.Errorf("with one token, from above: %v", err)
	}
	if err := m.Require("w", nil, at("/d"), TouchTree); err == nil {
		t.Error("without a token it may be touched")
	}
}

func TestLocksBelowAreReported(t *testing.T) {
	m := newLocks(t, LockConfig{})
	a := mustLock(t, m, "u", "/d/a", false, false)
	mustLock(t, m, "v", "/d/b/c", false, false)
	mustLock(t, m, "v", "/dd", false, false)
	err := m.Require("u", []string{a.Token}, at("/d"), TouchTree)
	le, ok := errors.AsType[*LockedError](err)
	if !ok || len(le.Places) != 1 || le.Places[0].Name != "/home/c/d/b/c" {
		t.Errorf("Require below /d = %v", err)
	}
	// Somebody who sees the collection elsewhere gets the names they know.
	other := LockPlace{Tree: "t", Path: "/d", Name: "/shared/x/d"}
	le, _ = errors.AsType[*LockedError](m.Require("w", nil, other, TouchTree))
	if le == nil || len(le.Places) != 2 || le.Places[0].Name != "/shared/x/d/a" || le.Places[1].Name != "/shared/x/d/b/c" {
		t.Errorf("Require below /shared/x/d = %v", le)
	}
	l := mustLock(t, m, "v", "/e", true, false)
	if got := m.LockRoot(l, LockPlace{Tree: "t", Path: "/e/f/g", Name: "/shared/x/e/f/g"}); got != "/shared/x/e" {
		t.Errorf("LockRoot = %s", got)
	}
}

func TestProjectLocksCoverTheirCollections(t *testing.T) {
	m := newLocks(t, LockConfig{})
	project := LockPlace{Tree: "zzzzz-j7d0g-1", Path: "/", Name: "/home/p"}
	seen := project
	seen.Name = "/shared/u/p" // by another user
	inProject := func(path string) LockPlace {
		return LockPlace{Tree: "zzzzz-4zz18-1", Path: path, Name: "/shared/u/p/c" + path, Above: &seen}
	}
	l, err := m.Acquire(t.Context(), Lock{Place: project, User: "u", Infinite: true})
	if err != nil {
		t.Fatal(err)
	}
	le, _ := errors.AsType[*LockedError](m.Require("v", nil, inProject("/a"), TouchSelf))
	if le == nil || le.Places[0].Name != "/shared/u/p" {
		t.Errorf("a member of a collection in the locked project may be touched: %v", le)
	}
	if err := m.Release(t.Context(), "u", l.Token, inProject("/a")); err != nil {
		t.Errorf("release from below: %v", err)
	}
	if m.Wide() {
		t.Error("there is no lock on a project any more")
	}
	if _, err := m.Acquire(t.Context(), Lock{Place: inProject("/a"), User: "u"}); err != nil {
		t.Fatal(err)
	}
	if err := m.Require("v", nil, project, TouchTree); err == nil {
		t.Error("a project may be deleted with a locked file in it")
	}
	m.Gone(t.Context(), project, m.Mark())
	if !m.Empty() || len(m.inside) != 0 {
		t.Errorf("locks outlive their project: %v", m.List())
	}
}

func TestLocksDieWithTheResource(t *testing.T) {
	m := newLocks(t, LockConfig{})
	mustLock(t, m, "u", "/d", false, false)
	mustLock(t, m, "u", "/d/a", false, false)
	mustLock(t, m, "u", "/e", false, false)
	m.Replaced(t.Context(), at("/d"), m.Mark())
	if n := len(m.Covers(at("/d/a"))); n != 0 {
		t.Errorf("%d locks left on a member of a replaced directory", n)
	}
	if n := len(m.Covers(at("/d"))); n != 1 {
		t.Errorf("%d locks on the replaced directory; want 1", n)
	}
	m.Gone(t.Context(), at("/d"), m.Mark())
	if ls := m.List(); len(ls) != 1 || ls[0].Place.Path != "/e" {
		t.Errorf("left after the delete: %v", ls)
	}
	if err := m.Break(t.Context(), m.List()[0].Token); err != nil || !m.Empty() {
		t.Errorf("Break = %v", err)
	}
	if err := m.Break(t.Context(), "urn:uuid:none"); !errors.Is(err, ErrNoSuchLock) {
		t.Errorf("Break of nothing = %v", err)
	}
}

// memLocks is a LockStore in memory.
type memLocks struct {
	mu   sync.Mutex // guards m
	m    map[string]Lock
	fail error
}

func (s *memLocks) Load(context.Context) ([]Lock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.m)), s.fail
}

func (s *memLocks) Put(_ context.Context, l Lock) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.m[l.Token] = l
	}
	return s.fail
}

func (s *memLocks) Remove(_ context.Context, token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, token)
	return s.fail
}

func TestSharedLocksDoNotPileUp(t *testing.T) {
	m := newLocks(t, LockConfig{})
	lock := func(path string) error {
		_, err := m.Acquire(t.Context(), Lock{Place: at(path), User: "u", Shared: true, Infinite: true})
		return err
	}
	for i := range maxShared {
		if err := lock([]string{"/d", "/d/e"}[i%2]); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/d", "/"} {
		if err := lock(path); !errors.Is(err, ErrTooManyLocks) {
			t.Errorf("one more on %s: %v; want ErrTooManyLocks", path, err)
		}
	}
	if err := lock("/other"); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
	if _, err := m.Acquire(t.Context(), Lock{Place: at("/d"), User: "u"}); !errors.Is(err, ErrLockConflict) {
		t.Errorf("an exclusive one: %v; want ErrLockConflict", err)
	}
}

func locksOnLooseFilesHoldTheirCollection(t *testing.T) {
	s := newServer(t)
	s.put("/home/f", "/home/g")
	const loose = "/home/Loose%20files"
	// One in another collection of the project does not concern it.
	other := s.lock(201, "/home/coll/x", "", exclusiveXML)
	s.want(204, "DELETE", loose, "", "")
	s.want(204, "UNLOCK", "/home/coll/x", "Lock-Token: <"+other+">", "")
	s.want(201, "PUT", "/home/f", "", "again")
	s.want(201, "PUT", "/home/g", "", "again")
	tok := s.lock(200, "/home/f", "", exclusiveXML)
	s.want(423, "DELETE", loose, "", "")
	s.want(423, "MOVE", loose, "Destination: /home/elsewhere", "")
	s.want(423, "MOVE", "/home/coll", "Destination: "+loose, "")
	s.want(204, "DELETE", "/home/g", "", "")
	s.want(204, "UNLOCK", "/home/f", "Lock-Token: <"+tok+">", "")
	s.want(204, "DELETE", loose, "", "")
	// They go with it.
	s.want(201, "PUT", "/home/f", "", "again")
	tok = s.lock(200, "/home/f", "", exclusiveXML)
	s.want(204, "DELETE", loose, "If: </home/f> (<"+tok+">)", "")
	s.want(201, "PUT", "/home/f", "", "again")
	tok = s.lock(200, "/home/f", "", exclusiveXML)
	s.want(201, "MOVE", loose, "Destination: /home/elsewhere\nIf: </home/f> (<"+tok+">)", "")
	s.want(201, "PUT", "/home/f", "", "again")
	tok = s.lock(200, "/home/f", "", exclusiveXML)
	s.want(204, "MOVE", "/home/elsewhere", "Destination: "+loose+"\nIf: </home/f> (<"+tok+">)", "")
	if !s.locks.Empty() {
		t.Errorf("left are %v", s.locks.List())
	}
}

// never is a LockStore that no lock may come to.
type never struct {
	memLocks
	t *testing.T
}

func (n *never) Put(_ context.Context, l Lock) error {
	n.t.Errorf("a lock on %s was granted for a moment", l.Place.Name)
	return nil
}

func TestReaderHoldsNoLockForAMoment(t *testing.T) {
	s := newServer(t, func(c *Config) { c.Locks.conf.Store = &never{t: t} })
	s.tree.readOnly = true
	s.want(403, "LOCK", "/home/coll/new", "", exclusiveXML)
	s.want(409, "LOCK", "/home/coll/none/new", "", exclusiveXML)
}

func TestLocksSurviveRestartUntilTheyExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memLocks{m: map[string]Lock{}}
		m := newLocks(t, LockConfig{Store: store, MaxTimeout: time.Hour})
		long := mustLock(t, m, "u", "/long", false, false)
		short, err := m.Acquire(t.Context(), Lock{Place: at("/short"), User: "u", Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if long.Timeout != time.Hour {
			t.Errorf("a lock without a timeout has %v", long.Timeout)
		}
		m = newLocks(t, LockConfig{Store: store, MaxTimeout: time.Hour})
		if len(m.List()) != 2 {
			t.Fatalf("after the restart: %v", m.List())
		}
		time.Sleep(59 * time.Second)
		if _, err := m.Refresh(t.Context(), "u", []string{"x", short.Token}, at("/short"), 2*time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(119 * time.Second)
		if !m.TokenCovers(short.Token, at("/short")) {
			t.Error("a refreshed lock has expired early")
		}
		time.Sleep(2 * time.Second)
		if m.TokenCovers(short.Token, at("/short")) || len(m.Covers(at("/short"))) != 0 {
			t.Error("an expired lock still counts")
		}
		if err := m.Require("v", nil, at("/short"), TouchSelf); err != nil {
			t.Errorf("an expired lock still protects: %v", err)
		}
		mustLock(t, m, "v", "/short", false, false)
		if _, ok := store.m[short.Token]; ok {
			t.Error("an expired lock is still stored")
		}
		time.Sleep(2 * time.Hour)
		m = newLocks(t, LockConfig{Store: store})
		if !m.Empty() || len(store.m) != 0 {
			t.Errorf("expired locks came back: %v, %v", m.List(), store.m)
		}
	})
}

// jsonLocks is a LockStore that keeps locks as JSON.
type jsonLocks struct{ m map[string][]byte }

func (s jsonLocks) Load(context.Context) (all []Lock, err error) {
	for _, data := range s.m {
		var l Lock
		if err := json.Unmarshal(data, &l); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func (s jsonLocks) Put(_ context.Context, l Lock) (err error) {
	s.m[l.Token], err = json.Marshal(l)
	return err
}

func (s jsonLocks) Remove(_ context.Context, token string) error {
	delete(s.m, token)
	return nil
}

func TestLocksOnNamesOfAnyBytesSurviveRestart(t *testing.T) {
	store := jsonLocks{map[string][]byte{}}
	m := newLocks(t, LockConfig{Store: store})
	want := map[string]LockPlace{}
	for c := range 256 {
		if c == 0 || c == '/' {
			continue
		}
		p := at("/d/" + string([]byte{'n', byte(c)}))
		p.Above = &LockPlace{Tree: "p", Path: "/", Name: "/home/" + string([]byte{byte(c)})}
		l, err := m.Acquire(t.Context(), Lock{Place: p, User: "u"})
		if err != nil {
			t.Fatal(err)
		}
		want[l.Token] = p
	}
	m = newLocks(t, LockConfig{Store: store})
	for _, l := range m.List() {
		if p := want[l.Token]; l.Place.Path != p.Path || l.Place.Name != p.Name || *l.Place.Above != *p.Above {
			t.Errorf("a lock on %q is now one on %q, in %q", p.Name, l.Place.Name, l.Place.Above.Name)
		}
		delete(want, l.Token)
	}
	if len(want) > 0 {
		t.Errorf("%d locks are lost", len(want))
	}
}

func TestLongNamesCountForMoreLocks(t *testing.T) {
	m := newLocks(t, LockConfig{PerUser: 100})
	n := 0
	for ; n < 100; n++ {
		p := at(strings.Repeat("/d", maxPathBytes/2-8) + fmt.Sprint("/", n))
		if _, err := m.Acquire(t.Context(), Lock{Place: p, User: "u"}); errors.Is(err, ErrTooManyLocks) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 || n > 10 {
		t.Errorf("%d locks on names of 32 KiB are granted to one who may have 100", n)
	}
	m.Gone(t.Context(), at("/d"), m.Mark())
	for i := range 100 {
		mustLock(t, m, "u", fmt.Sprint("/", i), false, false)
	}
}

// lateStore is a LockStore in which something happens while a lock is stored.
type lateStore struct {
	memLocks
	during func()
}

func (s *lateStore) Put(ctx context.Context, l Lock) error {
	if do := s.during; do != nil {
		s.during = nil
		do()
	}
	return s.memLocks.Put(ctx, l)
}

func TestLockThatEndsWhileItIsStoredDoesNotComeBack(t *testing.T) {
	store := &lateStore{memLocks: memLocks{m: map[string]Lock{}}}
	m := newLocks(t, LockConfig{Store: store})
	l := mustLock(t, m, "u", "/a", false, false)
	store.during = func() {
		if err := m.Release(t.Context(), "u", l.Token, at("/a")); err != nil {
			t.Error(err)
		}
	}
	if _, err := m.Refresh(t.Context(), "u", []string{l.Token}, at("/a"), time.Minute); err != nil && !errors.Is(err, ErrNoSuchLock) {
		t.Error(err)
	}
	store.during = func() { m.Gone(t.Context(), at("/a"), m.Mark()) }
	if _, err := m.Acquire(t.Context(), Lock{Place: at("/a"), User: "u"}); err != nil && !errors.Is(err, ErrNoSuchLock) {
		t.Error(err)
	}
	if m := newLocks(t, LockConfig{Store: store}); !m.Empty() {
		t.Errorf("after a restart there are %v", m.List())
	}
}

func TestLockThatCannotBeStoredIsNotGranted(t *testing.T) {
	store := &memLocks{m: map[string]Lock{}, fail: errors.New("disk")}
	m := &Locks{conf: LockConfig{Store: store, MaxTimeout: time.Hour, PerUser: 1}, tokens: map[string]*lockEntry{}, inside: map[string][]*lockEntry{}, perUser: map[string]int{}}
	if _, err := m.Acquire(t.Context(), Lock{Place: at("/a"), User: "u"}); err == nil || !m.Empty() {
		t.Errorf("Acquire = %v, empty %v", err, m.Empty())
	}
	store.fail = nil
	mustLock(t, m, "u", "/a", false, false)
	if _, err := m.Acquire(t.Context(), Lock{Place: at("/b"), User: "u"}); !errors.Is(err, ErrTooManyLocks) {
		t.Errorf("one lock more than allowed: %v", err)
	}
	if _, err := NewLocks(t.Context(), LockConfig{Store: &memLocks{fail: errors.New("disk")}}); err == nil {
		t.Error("a store that cannot be read gives an empty table")
	}
}

// TestLockTableAgreesWithAList compares the table with the plainest possible
// implementation: a list that is searched.
func TestLockTableAgreesWithAList(t *testing.T) {
	paths := []string{"/", "/a", "/a/b", "/a/b/c", "/ab", "/a/bc", "/b"}
	rapid.Check(t, func(t *rapid.T) {
		m, _ := NewLocks(context.Background(), LockConfig{})
		var model []Lock
		covers := func(l Lock, p string) bool { return l.Place.Path == p || l.Infinite && within(p, l.Place.Path) }
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			p := rapid.SampledFrom(paths).Draw(t, "path")
			user := rapid.SampledFrom([]string{"u", "v"}).Draw(t, "user")
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0, 1:
				l := Lock{Place: at(p), User: user, Infinite: rapid.Bool().Draw(t, "inf"), Shared: rapid.Bool().Draw(t, "shared")}
				want := !slices.ContainsFunc(model, func(o Lock) bool {
					return (!o.Shared || !l.Shared) && (covers(o, p) || l.Infinite && within(o.Place.Path, p))
				})
				got, err := m.Acquire(context.Background(), l)
				if (err == nil) != want {
					t.Fatalf("lock %+v: %v; want ok %v", l, err, want)
				}
				if err == nil {
					model = append(model, got)
				}
			case 2:
				if len(model) > 0 {
					i := rapid.IntRange(0, len(model)-1).Draw(t, "which")
					err := m.Release(context.Background(), user, model[i].Token, at(p))
					want := covers(model[i], p) && model[i].User == user
					if (err == nil) != want {
						t.Fatalf("release %+v at %s by %s: %v", model[i], p, user, err)
					}
					if want {
						model = slices.Delete(model, i, i+1)
					}
				}
			case 3:
				m.Gone(context.Background(), at(p), m.Mark())
				model = slices.DeleteFunc(model, func(l Lock) bool { return within(l.Place.Path, p) })
			case 4:
				var tokens []string
				for _, l := range model {
					if rapid.Bool().Draw(t, "submit") {
						tokens = append(tokens, l.Token)
					}
				}
				held := func(l Lock) bool { return l.User == user && slices.Contains(tokens, l.Token) }
				free := func(ls []Lock) bool { return len(ls) == 0 || slices.ContainsFunc(ls, held) }
				var over []Lock
				below := map[string][]Lock{}
				for _, l := range model {
					if covers(l, p) {
						over = append(over, l)
					}
					if q := l.Place.Path; q != p && within(q, p) {
						below[q] = append(below[q], l)
					}
				}
				want := free(over)
				if err := m.Require(user, tokens, at(p), TouchSelf); (err == nil) != want {
					t.Fatalf("require %s: %v; want ok %v", p, err, want)
				}
				for _, ls := range below {
					want = want && free(ls)
				}
				if err := m.Require(user, tokens, at(p), TouchTree); (err == nil) != want {
					t.Fatalf("require tree %s: %v; want ok %v", p, err, want)
				}
			}
			if len(m.List()) != len(model) {
				t.Fatalf("%d locks; want %d", len(m.List()), len(model))
			}
		}
	})
}

func BenchmarkRequireAmongManyLocks(b *testing.B) {
	m, _ := NewLocks(b.Context(), LockConfig{PerUser: 1 << 20})
	for i := range 100_000 {
		if _, err := m.Acquire(b.Context(), Lock{Place: at(fmt.Sprintf("/d%d/f%d", i%1000, i)), User: "u"}); err != nil {
			b.Fatal(err)
		}
	}
	p := at("/d5/none")
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Require("u", nil, p, TouchSelf); err != nil {
			b.Fatal(err)
		}
	}
}

// The tree in memory has no projects, so this one runs on the site only.
func locksOnProjectsHoldByEveryName(t *testing.T) {
	s := newServer(t)
	bob := s.as("bob", "")
	tok := s.lock(200, "/home/", "Depth: infinity", exclusiveXML)
	bob.want(423, "PUT", "/shared/x/f", "", "bob's")
	bob.want(423, "LOCK", "/shared/x/f", "", exclusiveXML)
	s.want(201, "PUT", "/home/coll/f", "If: (<"+tok+">)", "ann's")
	s.want(204, "UNLOCK", "/home/", "Lock-Token: <"+tok+">", "")
	held := bob.lock(201, "/shared/x/g", "", exclusiveXML)
	if a := s.want(207, "LOCK", "/home/", "Depth: infinity", exclusiveXML); !strings.Contains(a.text, "423 Locked") || a.Header.Get("Lock-Token") != "" {
		t.Errorf("a lock over bob's: %v, %s", a.Header, a.text)
	}
	bob.want(204, "UNLOCK", "/shared/x/g", "Lock-Token: <"+held+">", "")
	s.lock(200, "/home/", "Depth: infinity", exclusiveXML)
}

// busyUpload is the upload of a busyFS: after is when the body is there.
type busyUpload struct {
	davfs.Upload
	m *meanwhile
}

func (b busyFS) Put(ctx context.Context, name string, o davfs.PutOptions) (davfs.Upload, error) {
	once(&b.m.before)
	up, err := b.FileSystem.Put(ctx, name, o)
	return busyUpload{up, b.m}, err
}

func (u busyUpload) Commit(ctx context.Context) (davfs.Info, bool, error) {
	once(&u.m.after)
	return u.Upload.Commit(ctx)
}

func locksOnProjectsAreShownInside(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f", "/home/coll/d/", "/home/coll/d/f", "/home/loose")
	tok := s.lock(200, "/home/", "Depth: infinity", exclusiveXML)
	for _, r := range s.propfind("/home/", "Depth: infinity", "") {
		if got := found(r)["lockdiscovery"]; !strings.Contains(got, tok) || !strings.Contains(got, "<D:lockroot><D:href>/home/</D:href>") {
			t.Errorf("%s has the locks %q", r.Href, got)
		}
	}
	if got := s.as("bob", "").props("/shared/x/d/f", "lockdiscovery")["lockdiscovery"]; !strings.Contains(got, tok) {
		t.Errorf("bob sees the locks %q", got)
	}
}

func projectLockedDuringAnUploadHolds(t *testing.T) {
	var m meanwhile
	s := newServer(t, m.hook)
	bob := s.as("bob", "")
	s.want(201, "PUT", "/home/coll/f", "", "old")
	var tok string
	lock := func() { tok = s.lock(200, "/home/", "Depth: infinity", exclusiveXML) }
	m.before = lock
	bob.want(423, "PUT", "/shared/x/f", "", "bob's")
	s.want(204, "UNLOCK", "/home/", "Lock-Token: <"+tok+">", "")
	m.after = lock
	if a := bob.want(503, "PUT", "/shared/x/f", "", "bob's"); a.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	bob.want(423, "PUT", "/shared/x/f", "", "bob's")
	if got := s.content("/home/coll/f"); got != "old" {
		t.Errorf("the locked file has become %q", got)
	}
	s.want(204, "UNLOCK", "/home/", "Lock-Token: <"+tok+">", "")
	// Changes without a body of any length are looked at once more.
	for _, c := range []struct{ method, path, headers, body string }{
		{"DELETE", "/shared/x/f", "", ""}, {"MOVE", "/shared/x/f", "Destination: /shared/x/g", ""}, {"COPY", "/shared/x/f", "Destination: /shared/x/g", ""},
		{"MKCOL", "/shared/x/e", "", ""}, {"PROPPATCH", "/shared/x/f", "", patchXML(`<Z:a xmlns:Z="z">1</Z:a>`)}, {"PUT", "/shared/x/f", "Content-Range: bytes 0-0/*", "x"},
	} {
		m.before = lock
		bob.want(423, c.method, c.path, c.headers, c.body)
		s.want(204, "UNLOCK", "/home/", "Lock-Token: <"+tok+">", "")
	}
	// A lock on a project elsewhere stops nobody.
	m.before = func() { bob.lock(200, "/home/", "Depth: infinity", exclusiveXML) }
	s.want(204, "DELETE", "/home/coll/f", "", "")
}

func lockOnWhatCameMeanwhileHolds(t *testing.T) {
	var m meanwhile
	s := newServer(t, m.hook)
	s.put("/home/a/", "/home/b/", "/home/c/", "/home/c/f")
	locked := func(name string) func() {
		return func() {
			s.put(name)
			s.lock(200, name, "", exclusiveXML)
		}
	}
	m.before = func() {
		s.want(201, "MOVE", "/home/a", "Destination: /home/was-a", "")
		locked("/home/a/")()
	}
	if a := s.do("DELETE", "/home/a", "", ""); a.StatusCode < 400 {
		t.Errorf("DELETE of a locked collection = %s", a.Status)
	}
	m.before = locked("/home/new/")
	if a := s.do("MOVE", "/home/b", "Destination: /home/new", ""); a.StatusCode < 400 {
		t.Errorf("MOVE over a locked collection = %s", a.Status)
	}
	m.before = locked("/home/newer/")
	if a := s.do("COPY", "/home/c/f", "Destination: /home/newer", ""); a.StatusCode < 400 {
		t.Errorf("COPY over a locked collection = %s", a.Status)
	}
	if n := len(s.locks.List()); n != 3 {
		t.Errorf("%d locks; want 3", n)
	}
}

// A request to the deepest of places that names its lock as often as a header
// has room for has to be cheap: it holds up everybody else.
func BenchmarkTokenCoversDeepPlace(b *testing.B) {
	m, err := NewLocks(b.Context(), LockConfig{})
	if err != nil {
		b.Fatal(err)
	}
	p := LockPlace{Tree: memUUID, Path: strings.Repeat("/d", 8<<10)}
	l, err := m.Acquire(b.Context(), Lock{Place: LockPlace{Tree: memUUID, Path: "/d"}, User: "ann", Infinite: true})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !m.TokenCovers(l.Token, p) || m.Require("ann", []string{l.Token}, p, TouchSelf) != nil {
			b.Fatal("the lock does not hold")
		}
	}
}
