package collfs_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"reflect"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
)

// A follower is a file system that follows what another one does, with handles and
// Refs of a view.
type follower struct {
	fs      *collfs.FS
	c       *collfs.Collection
	v       *collfs.View
	told    func() []collfs.Notice
	labels  map[collfs.Key]string
	refs    []collfs.Ref
	handles []*collfs.Handle
	was     []string // what each handle has to read
}

// Two that follow the same changes of others, one by change sets, one by loading all,
// see the same, and so do those who hold files there.
func TestFollowedChangesAreThoseOfALoad(t *testing.T) {
	for seed := range uint64(150) {
		moves := seed%2 == 1 // then handles may go along, which a load cannot see
		r := rand.New(rand.NewPCG(seed, 7))
		followRound(t, r, seed, moves)
	}
}

func followRound(t *testing.T, r *rand.Rand, seed uint64, moves bool) {
	ctx := context.Background()
	e := newEnv(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := func(cfg *collfs.Config) { cfg.Now = func() time.Time { return now } }
	id := e.catalog.Create(e.home, "a")
	newFS := func(catalog collfs.Catalog) *collfs.FS {
		return e.fs(clock, func(cfg *collfs.Config) { cfg.Catalog = catalog })
	}
	quiet := quietCatalog{e.catalog}
	other := e.open(newFS(quiet), id)
	for _, dir := range []string{"a", "b", "c", "d"} {
		if _, err := other.Mkdir(dir, collfs.Attr{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 12 {
		randomChange(r, other, false, "")
	}
	commit(t, other)
	var both [2]*follower
	for i, catalog := range []collfs.Catalog{quiet, onlyLoads{quiet}} {
		f := &follower{fs: newFS(catalog), labels: make(map[collfs.Key]string)}
		f.c = e.open(f.fs, id)
		f.v, f.told = view(t, f.fs)
		both[i] = f
	}
	for p, text := range files(t, both[0].c) {
		p = strings.TrimSuffix(p, "/")
		if r.IntN(2) == 0 {
			continue
		}
		flags := []int{-1, os.O_RDONLY, os.O_RDWR}[r.IntN(3)]
		for _, f := range both {
			f.hold(t, p, text, flags)
		}
	}
	for range 4 {
		now = now.Add(time.Second)
		ours := r.IntN(2) == 0
		early := r.IntN(2) == 0
		local := func() {
			if !ours {
				return
			}
			seed := r.Uint64()
			for range 1 + r.IntN(2) {
				for _, f := range both { // the same
					randomChange(rand.New(rand.NewPCG(seed, 1)), f.c, false, []string{"", "c", "d"}[seed%3])
				}
				seed++
			}
		}
		if early {
			local()
			now = now.Add(time.Second)
		}
		for range 1 + r.IntN(4) {
			randomChange(r, other, moves, []string{"", "a", "b"}[r.IntN(3)])
			now = now.Add(time.Duration(r.IntN(2)))
		}
		commit(t, other)
		now = now.Add(time.Second)
		if !early {
			local()
		}
		for _, f := range both {
			f.told()
			if err := f.c.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
			if err := f.c.CheckSums(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		one, two := stats(t, both[0].c), stats(t, both[1].c)
		for p, want := range two {
			if !reflect.DeepEqual(one[p], want) {
				t.Fatalf("seed %d: %q is %+v; a load makes %+v", seed, p, one[p], want)
			}
		}
		if len(one) != len(two) {
			t.Fatalf("seed %d: there is %v; a load makes %v", seed, one, two)
		}
		both[0].compare(t, both[1], seed, moves)
		// What is pending makes of what is committed what is there.
		commit(t, both[0].c)
		fresh := stats(t, e.open(newFS(quiet), id))
		if got := stats(t, both[0].c); !reflect.DeepEqual(got, fresh) {
			for p := range fresh {
				if !reflect.DeepEqual(got[p], fresh[p]) {
					t.Fatalf("seed %d: %q is %+v; committed is %+v", seed, p, got[p], fresh[p])
				}
			}
			t.Fatalf("seed %d: there is %v; committed is %v", seed, got, fresh)
		}
		if ours { // the same again, by the other one, would be a conflict of its own
			return
		}
		if err := other.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		if err := both[1].c.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// randomChange makes a change somewhere below dir.
func randomChange(r *rand.Rand, c *collfs.Collection, moves bool, dir string) {
	some := func() string {
		p := path.Join(dir, string(rune('a'+r.IntN(4))))
		if r.IntN(2) == 0 {
			p += "/" + string(rune('a'+r.IntN(4)))
		}
		return p
	}
	p, kinds := some(), 7
	if moves {
		kinds = 10
	}
	switch r.IntN(kinds) {
	case 0, 1, 2:
		_ = tryPut(c, p, fmt.Sprint("text ", r.IntN(1000)))
	case 3, 4:
		_, _ = c.Mkdir(p, collfs.Attr{}, nil)
	case 5:
		_ = c.RemoveAll(p, nil)
	case 6:
		mode := r.Uint32N(512)
		_, _ = c.SetAttr(p, func(i collfs.NodeInfo) (collfs.Attr, error) {
			i.Attr.Mode = mode
			return i.Attr, nil
		})
	case 7:
		_, _ = c.Rename(p, some(), collfs.CopyOptions{Replace: collfs.ReplaceAny})
	case 8:
		_ = c.Exchange(p, some())
	case 9:
		_, _ = c.Copy(p, some(), collfs.CopyOptions{Replace: collfs.ReplaceAny})
	}
}

func tryPut(c *collfs.Collection, path, content string) error {
	s, err := c.NewStage(int64(len(content)))
	if err != nil {
		return err
	}
	defer s.Abort()
	if _, err := s.Write(context.Background(), []byte(content)); err != nil {
		return err
	}
	_, _, err = c.Link(s, path, collfs.LinkOptions{})
	return err
}

// hold holds on to what is at path, with a handle if flags aren't -1.
func (f *follower) hold(t *testing.T, path, text string, flags int) {
	t.Helper()
	ref, info, err := f.v.At(f.c, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ref.Forget(1) })
	f.refs = append(f.refs, ref)
	f.labels[ref.Key()] = path
	if info.Dir || flags < 0 {
		return
	}
	h, err := ref.Open(flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close(context.Background()) })
	f.handles, f.was = append(f.handles, h), append(f.was, text)
}

// words describes notices for those who hold something: what they are to look at.
func (f *follower) words() map[string]bool {
	out := make(map[string]bool)
	for _, n := range f.told() {
		if in, ok := f.labels[n.In]; ok {
			out["name "+path.Base(n.Path)+" in "+in] = true
			out["node "+in] = true // its times
		}
		if at, ok := f.labels[n.At]; ok {
			out["node "+at] = true
		}
	}
	return out
}

// compare checks that f, which follows change sets, is like full.
func (f *follower) compare(t *testing.T, full *follower, seed uint64, moves bool) {
	t.Helper()
	for i, h := range f.handles {
		buf := make([]byte, len(f.was[i])+10)
		n, _ := h.ReadAt(context.Background(), buf, 0)
		if string(buf[:n]) != f.was[i] {
			t.Fatalf("seed %d: handle %d reads %q; want %q", seed, i, buf[:n], f.was[i])
		}
		p, ok := h.Path()
		q, ok2 := full.handles[i].Path()
		if !moves && (p != q || ok != ok2) {
			t.Fatalf("seed %d: handle %d is at %q, %v; after a load at %q, %v", seed, i, p, ok, q, ok2)
		}
	}
	for i, r := range f.refs {
		info, linked := r.Info()
		info2, linked2 := full.refs[i].Info()
		if linked2 && !linked { // it went and something like it came: a load takes that for it
			continue
		}
		if !linked { // a load leaves what it replaces as it was, also in what was changed before
			info, info2 = collfs.NodeInfo{ID: info.ID, Size: info.Size}, collfs.NodeInfo{ID: info2.ID, Size: info2.Size}
		}
		if !moves && (linked != linked2 || !reflect.DeepEqual(info, info2)) {
			t.Fatalf("seed %d: Ref %d is %+v, %v; after a load %+v, %v", seed, i, info, linked, info2, linked2)
		}
	}
	got, want := f.words(), full.words()
	for w := range want {
		if !got[w] && !moves {
			t.Fatalf("seed %d: nobody was told of %q, but of %v; a load tells %v", seed, w, got, want)
		}
	}
}
