package delta

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"keepdav/collfs"
	wire "keepdav/collfs/apiserver/delta"
)

// quiet is a catalog without events, so that runs repeat.
type quiet struct{ *remote }

func (quiet) Watch(func(collfs.Event)) (stop func()) { return func() {} }

// Two file systems on other machines and the server's own change one collection, and
// replies get lost. In the end all see the same, and what nobody who saw it replaced
// or deleted is there.
func TestClientsAndServerLoseNothing(t *testing.T) {
	for seed := range uint64(10) {
		clientsAndServer(t, rand.New(rand.NewPCG(seed, 3)), seed)
	}
}

func clientsAndServer(t *testing.T, r *rand.Rand, seed uint64) {
	ctx := t.Context()
	e := newEnv(t)
	cs := []*collfs.Collection{e.open(e.fs)}
	for i := range 2 {
		spool := e.spool(uint64(1000 * (i + 1)))
		small := func(c *wire.Config) {
			if i == 0 {
				c.MaxData = 30 // blocks are stored, most of the time
			}
		}
		cs = append(cs, e.open(e.newFS(quiet{e.client(writer, spool, small)}, spool)))
	}
	alive := make(map[string]bool)
	some := func() string {
		p := string(rune('a' + r.IntN(4)))
		for r.IntN(2) == 0 {
			p += "/" + string(rune('a'+r.IntN(4)))
		}
		return p
	}
	gone := func(c *collfs.Collection, path string) {
		for p, content := range files(t, c) {
			if p == path || strings.HasPrefix(p, path+"/") {
				delete(alive, content)
			}
		}
	}
	commitSome := func(c *collfs.Collection) {
		if c != cs[0] && r.IntN(3) == 0 {
			e.lose.Store(int32(1 + r.IntN(2)))
		}
		if err := c.Commit(ctx, true); err != nil && !errors.Is(err, collfs.ErrUnknownOutcome) {
			t.Fatalf("seed %d: Commit() = %v", seed, err)
		}
		e.lose.Store(0)
	}
	for step := range 60 {
		c := cs[r.IntN(len(cs))]
		p, q := some(), some()
		switch r.IntN(12) {
		case 0, 1, 2, 3:
			if i, err := c.Stat(p); err == nil && !i.Dir {
				gone(c, p)
			}
			text := fmt.Sprintf("text %d of seed %d", step, seed)
			if tryPut(c, p, text) == nil {
				alive[text] = true
			}
		case 4, 5:
			_, _ = c.Mkdir(p, collfs.Attr{Mode: 0o700}, nil)
		case 6:
			gone(c, p)
			_ = c.RemoveAll(p, nil)
		case 7:
			before := files(t, c)
			if _, err := c.Rename(p, q, collfs.CopyOptions{Replace: collfs.ReplaceAny}); err == nil {
				for k, content := range before {
					if k == q || strings.HasPrefix(k, q+"/") {
						delete(alive, content)
					}
				}
			}
		case 8:
			_, _ = c.Hardlink(p, q, nil)
		case 9:
			if err := c.Refresh(ctx); err != nil {
				t.Fatalf("seed %d: Refresh() = %v", seed, err)
			}
		default:
			commitSome(c)
		}
	}
	for _, i := range []int{1, 2, 0, 1, 2, 0} {
		commit(t, cs[i])
		if err := cs[i].Refresh(ctx); err != nil {
			t.Fatalf("seed %d: Refresh() = %v", seed, err)
		}
	}
	want := files(t, cs[0])
	for _, c := range append(cs[1:], e.open(e.newFS(quiet{e.client(writer, nil)}, e.spool(9000)))) {
		if got := files(t, c); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: one sees %q\nthe server %q", seed, got, want)
		}
		for p := range maps.Keys(want) {
			p = strings.TrimSuffix(p, "/")
			got, _ := c.Stat(p)
			if has, _ := cs[0].Stat(p); !reflect.DeepEqual(got, has) {
				t.Fatalf("seed %d: %s is %+v; at the server %+v", seed, p, got, has)
			}
		}
	}
	for _, content := range want {
		delete(alive, content)
	}
	if len(alive) > 0 {
		t.Fatalf("seed %d: lost %v; there is %q", seed, alive, want)
	}
}

// Who is on another machine sees a change of others without asking.
func TestAChangeIsSeenOnOtherMachines(t *testing.T) {
	e := newEnv(t)
	_, one, _ := e.mount(1000)
	f, two, _ := e.mount(2000)
	told := make(chan collfs.Notice, 100)
	stop := f.Subscribe(func(n collfs.Notice) { told <- n })
	defer stop()
	put(t, one, "f", "content")
	commit(t, one)
	for n := range told {
		if n.Path == "f" {
			break
		}
	}
	if got := get(t, two, "f"); got != "content" {
		t.Errorf("f is %q", got)
	}
}
