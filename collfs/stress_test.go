package collfs_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"sync"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/keepio"
)

// TestConcurrentUseIsConsistent does everything at once on two collections,
// through two file systems that see each other's events. In the end both file
// systems and the catalog agree, and every file that was put once, under a name
// of its own, and never removed, is somewhere.
func TestConcurrentUseIsConsistent(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	e.catalog.Blocks = e.spool
	var mu sync.Mutex
	n := 0
	e.catalog.Fault = func(context.Context, collfs.Tx) memcatalog.Outcome {
		mu.Lock()
		defer mu.Unlock()
		switch n++; n % 50 {
		case 7:
			return memcatalog.Outcome{Err: collfs.ErrUnknownOutcome, Done: true}
		case 23:
			return memcatalog.Outcome{Err: collfs.ErrUnknownOutcome}
		case 41:
			return memcatalog.Outcome{Err: errInjected}
		}
		return memcatalog.Outcome{}
	}
	ids := []collfs.UUID{e.catalog.Create(e.home, "a"), e.catalog.Create(e.home, "b")}
	fss := []*collfs.FS{e.fs(), e.fs()}
	var cs [2][2]*collfs.Collection // by file system, collection
	for i, f := range fss {
		for j, id := range ids {
			cs[i][j] = e.open(f, id)
		}
	}
	steps := 150
	if testing.Short() {
		steps = 50
	}
	var wg sync.WaitGroup
	kept := make(map[string]bool)
	for w := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			name := func() string {
				s := string(rune('a' + r.IntN(4)))
				if r.IntN(2) == 0 {
					s += "/" + string(rune('a'+r.IntN(4)))
				}
				return s
			}
			for i := range steps {
				f := r.IntN(2)
				c := cs[f][r.IntN(2)]
				switch r.IntN(13) {
				case 0:
					_, _ = c.Mkdir(name(), collfs.Attr{}, nil)
				case 1:
					_ = c.Remove(name(), nil)
				case 2:
					_, _ = c.Rename(name(), name(), collfs.CopyOptions{})
				case 3:
					_, _ = c.Copy(name(), name(), collfs.CopyOptions{})
				case 4:
					s, err := c.NewStage(-1)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = s.Write(ctx, []byte(fmt.Sprint(w, i)))
					_, _, _ = c.Link(s, name(), collfs.LinkOptions{})
					s.Abort()
				case 5:
					h, _, err := c.OpenFile(name(), collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
					if err != nil {
						continue
					}
					for range 3 {
						if _, err := h.WriteAt(ctx, []byte(fmt.Sprint(w, i)), r.Int64N(20)); err != nil {
							t.Errorf("WriteAt() = %v", err)
						}
					}
					_ = h.Close(ctx)
				case 6:
					l, err := c.List("")
					if err != nil {
						t.Error(err)
						return
					}
					infos := make([]collfs.NodeInfo, 4)
					for l.Next(infos) > 0 {
					}
					l.Close()
				case 7:
					to := cs[f][r.IntN(2)]
					if to != c {
						_, _ = fss[f].Transfer(ctx, c, name(), to, name(), collfs.TransferOptions{Move: r.IntN(2) == 0})
					}
				case 8:
					_ = c.Commit(ctx, r.IntN(2) == 0)
				case 9:
					if r.IntN(5) == 0 {
						_, _ = fss[f].Repack(ctx, e.catalog, collfs.RepackOptions{Threshold: 2})
					}
				case 10:
					fss[f].Held(func(collfs.UUID, keepio.Segment) {})
				case 12:
					_, _ = c.Hardlink(name(), name(), nil)
				case 11:
					own := fmt.Sprintf("keep-%d-%d", w, i)
					s, err := c.NewStage(-1)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = s.Write(ctx, []byte(own))
					if _, _, err := c.Link(s, own, collfs.LinkOptions{}); err == nil {
						mu.Lock()
						kept[own] = true
						mu.Unlock()
					}
					s.Abort()
				}
			}
		})
	}
	wg.Wait()
	e.catalog.Fault = nil
	for range 2 {
		for i := range fss {
			for _, c := range cs[i] {
				commit(t, c)
				if err := c.Refresh(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	fresh := e.fs()
	for j, id := range ids {
		want := files(t, e.open(fresh, id))
		for i := range fss {
			if got := files(t, cs[i][j]); !reflect.DeepEqual(got, want) {
				t.Errorf("file system %d sees %v in collection %d; the catalog has %v", i, got, j, want)
			}
			rec, err := cs[i][j].Record(ctx)
			if err != nil || rec.Files == 0 {
				t.Errorf("record = %+v, %v", rec, err)
			}
		}
		for path, content := range want {
			if path == content {
				delete(kept, path)
			}
		}
	}
	if len(kept) > 0 {
		t.Errorf("lost %v", kept)
	}
}
