package collfs_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/keepio"
)

// ops returns a build that returns ops.
func ops(all ...collfs.Op) func(*collfs.Tree) ([]collfs.Op, error) {
	return func(*collfs.Tree) ([]collfs.Op, error) { return all, nil }
}

func mkdirOp(path string) collfs.Op { return collfs.Op{Kind: collfs.OpMkdir, Path: path, Time: 7} }
func deleteOp(path string) collfs.Op {
	return collfs.Op{Kind: collfs.OpDelete, Path: path, Time: 7}
}

// oneFile returns a collection with the file f, committed.
func oneFile(t *testing.T) (*env, *collfs.FS, *collfs.Collection, collfs.Record) {
	t.Helper()
	e := newEnv(t)
	f := e.fs()
	c := e.open(f, e.catalog.Create(e.home, "a"))
	put(t, c, "f", "content")
	commit(t, c)
	rec, err := c.Record(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return e, f, c, rec
}

func TestApplyIsAllOrNothing(t *testing.T) {
	ctx := context.Background()
	e, _, c, rec := oneFile(t)
	_, err := c.Apply(ctx, 0, ops(mkdirOp("d"), deleteOp("f"), deleteOp("f")))
	if pe, ok := errors.AsType[*fs.PathError](err); !ok || pe.Path != "f" || pe.Err != fs.ErrNotExist {
		t.Fatalf("Apply() of what does not apply = %v", err)
	}
	want := map[string]string{"f": "content"}
	if got := files(t, c); !reflect.DeepEqual(got, want) || c.Dirty() {
		t.Errorf("after a refused change there is %v, dirty %v", got, c.Dirty())
	}
	commit(t, c)
	if now, _ := e.catalog.Record(ctx, c.UUID()); now.Revision != rec.Revision {
		t.Errorf("a refused change was committed")
	}
	got, err := c.Apply(ctx, rec.Revision, ops(mkdirOp("d"), deleteOp("f")))
	if err != nil || got.Revision != rec.Revision+1 || got.Files != 0 || got.Bytes != 0 {
		t.Fatalf("Apply() = %+v, %v", got, err)
	}
	for _, c := range []*collfs.Collection{c, e.open(e.fs(), c.UUID())} {
		if got, want := files(t, c), (map[string]string{"d/": ""}); !reflect.DeepEqual(got, want) {
			t.Errorf("files = %v; want %v", got, want)
		}
	}
}

func TestApplyToAnotherRevisionIsStale(t *testing.T) {
	ctx := context.Background()
	e, _, c, rec := oneFile(t)
	put(t, c, "g", "not committed")
	if _, err := c.Apply(ctx, rec.Revision, ops(mkdirOp("d"))); !errors.Is(err, collfs.ErrStale) {
		t.Fatalf("Apply() for what was there before a local change = %v; want ErrStale", err)
	}
	if c.Dirty() {
		t.Error("what was pending was not committed first")
	}
	other := e.open(e.fs(), c.UUID())
	rec, _ = c.Record(ctx)
	put(t, other, "h", "of another process")
	commit(t, other)
	if _, err := c.Apply(ctx, rec.Revision, ops(mkdirOp("d"))); !errors.Is(err, collfs.ErrStale) {
		t.Fatalf("Apply() for what was there before a change elsewhere = %v; want ErrStale", err)
	}
	calls := 0
	put(t, other, "i", "")
	commit(t, other)
	_, err := c.Apply(ctx, 0, func(t *collfs.Tree) ([]collfs.Op, error) {
		calls++
		return []collfs.Op{mkdirOp("d")}, nil
	})
	if err != nil {
		t.Fatalf("Apply() to whatever is there = %v", err)
	}
	if _, err := c.Stat("i"); err != nil {
		t.Errorf("the change elsewhere isn't there: %v", err)
	}
	if _, err := c.Apply(ctx, 0, func(*collfs.Tree) ([]collfs.Op, error) { return nil, fs.ErrPermission }); err != fs.ErrPermission {
		t.Errorf("Apply() = %v; want the error of build", err)
	}
	before, _ := c.Record(ctx)
	if got, err := c.Apply(ctx, 0, ops()); err != nil || got.Revision != before.Revision {
		t.Errorf("Apply() of nothing = %+v, %v", got, err)
	}
}

func TestApplyFails(t *testing.T) {
	ctx := context.Background()
	for _, fault := range []memcatalog.Outcome{{Err: collfs.ErrUnknownOutcome, Done: true}, {Err: collfs.ErrUnknownOutcome}, {Err: keepio.ErrFull}} {
		e, _, c, rec := oneFile(t)
		once := true
		e.catalog.Fault = func(_ context.Context, tx collfs.Tx) memcatalog.Outcome {
			if len(tx.Changes) > 0 && once {
				once = false
				return fault
			}
			return memcatalog.Outcome{}
		}
		got, err := c.Apply(ctx, rec.Revision, ops(mkdirOp("d")))
		if errors.Is(fault.Err, keepio.ErrFull) {
			if !errors.Is(err, keepio.ErrFull) {
				t.Errorf("Apply() on a full disk = %v", err)
			}
			if _, err := c.Stat("d"); err == nil || c.Dirty() {
				t.Error("what was refused is there")
			}
			put(t, c, "g", "")
			commit(t, c)
			if _, err := e.open(e.fs(), c.UUID()).Stat("d"); err == nil {
				t.Error("what was refused was committed later")
			}
			continue
		}
		if err != nil || got.Revision != rec.Revision+1 {
			t.Fatalf("%+v: Apply() = %+v, %v", fault, got, err)
		}
		for _, c := range []*collfs.Collection{c, e.open(e.fs(), c.UUID())} {
			if _, err := c.Stat("d"); err != nil {
				t.Errorf("%+v: what was acknowledged: %v", fault, err)
			}
			if now, _ := c.Record(ctx); now.Revision != rec.Revision+1 {
				t.Errorf("%+v: it was committed %d times", fault, now.Revision-rec.Revision)
			}
		}
	}
}

// cutOff is a catalog that cannot be reached for a while.
type cutOff struct {
	collfs.Catalog
	cut atomic.Bool
}

func (c *cutOff) Load(ctx context.Context, id collfs.UUID, version int) (collfs.Record, collfs.Saved, error) {
	if c.cut.Load() {
		return collfs.Record{}, collfs.Saved{}, keepio.ErrUnavailable
	}
	return c.Catalog.Load(ctx, id, version)
}

func TestApplySaysThatItDoesNotKnow(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	catalog := &cutOff{Catalog: e.catalog}
	f := e.fs(func(cfg *collfs.Config) { cfg.Catalog = catalog })
	c := e.open(f, e.catalog.Create(e.home, "a"))
	put(t, c, "f", "content")
	commit(t, c)
	e.catalog.Fault = func(_ context.Context, tx collfs.Tx) memcatalog.Outcome {
		catalog.cut.Store(true)
		return memcatalog.Outcome{Err: collfs.ErrUnknownOutcome, Done: true}
	}
	if _, err := c.Apply(ctx, 1, ops(mkdirOp("d"))); !errors.Is(err, collfs.ErrUnknownOutcome) {
		t.Fatalf("Apply() = %v; want ErrUnknownOutcome", err)
	}
	if _, err := c.Stat("d"); err == nil {
		t.Error("what is not known to be a fact is there")
	}
	e.catalog.Fault = nil
	catalog.cut.Store(false)
	put(t, c, "g", "")
	commit(t, c)
	if _, err := c.Stat("d"); err != nil {
		t.Errorf("the fact did not come with the next refresh: %v", err)
	}
}

func TestApplyIsAChangeOfOthersForHandles(t *testing.T) {
	ctx := context.Background()
	e, f, c, rec := oneFile(t)
	put(t, c, "g", "goes")
	put(t, c, "m", "moves")
	commit(t, c)
	notices := make(chan collfs.Notice, 100) // whoever publishes next tells of them
	v := f.NewView(func(n collfs.Notice) { notices <- n })
	defer v.Close()
	root := v.Root(c)
	defer root.Forget(1)
	handles := make(map[string]*collfs.Handle)
	for _, name := range []string{"f", "g", "m"} {
		r, _, err := root.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Forget(1)
		if handles[name], err = r.Open(os.O_RDWR); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.NewStage(3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(ctx, []byte("new")); err != nil {
		t.Fatal(err)
	}
	content, _ := s.Content()
	_, err = c.ApplyWith(ctx, collfs.ApplyOptions{Base: rec.Revision + 1, Stages: []*collfs.Stage{s}}, ops(
		collfs.Op{Kind: collfs.OpPut, Path: "f", Content: content, Time: 7},
		deleteOp("g"),
		collfs.Op{Kind: collfs.OpRename, Src: "m", Path: "n", Time: 7},
	))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"f": "content", "g": "goes", "m": "moves"} {
		buf := make([]byte, len(want))
		if _, err := handles[name].ReadAt(ctx, buf, 0); err != nil || string(buf) != want {
			t.Errorf("the handle of %s reads %q, %v; want %q", name, buf, err, want)
		}
	}
	want := map[string]bool{"f": true, "g": true, "m": true, "n": true}
	told := make(map[string]bool)
	for late := time.After(10 * time.Second); !reflect.DeepEqual(told, want); {
		select {
		case n := <-notices:
			told[n.Path] = told[n.Path] || n.In == root.Key()
		case <-late:
			t.Fatalf("notices of %v; want %v", told, want)
		}
	}
	for name, h := range handles {
		if _, err := h.WriteAt(ctx, []byte("W"), 0); err != nil {
			t.Errorf("write to %s: %v", name, err)
		}
		if err := h.Close(ctx); err != nil {
			t.Errorf("close of %s: %v", name, err)
		}
	}
	got := files(t, e.open(e.fs(), c.UUID()))
	kept := 0
	for name, content := range got {
		if len(name) > 1 && content == "new" {
			kept++
			delete(got, name)
		}
	}
	if want := map[string]string{"f": "Wontent", "g": "Woes", "n": "Woves"}; !reflect.DeepEqual(got, want) || kept != 1 {
		t.Errorf("files = %v, %d conflicts; want %v and a conflict", got, kept, want)
	}
}

func TestApplyKeepsWhatItReplacesAsAVersion(t *testing.T) {
	ctx := context.Background()
	for _, keep := range []bool{false, true} {
		e, f, c, rec := oneFile(t)
		got, err := c.ApplyWith(ctx, collfs.ApplyOptions{Keep: keep}, ops(deleteOp("f")))
		if err != nil {
			t.Fatal(err)
		}
		if kept := got.Version > rec.Version; kept != keep {
			t.Errorf("Keep %v: version %d after %d", keep, got.Version, rec.Version)
		}
		if !keep {
			continue
		}
		old, err := f.OpenVersion(ctx, c.UUID(), rec.Version)
		if err != nil {
			t.Fatal(err)
		}
		defer old.Release()
		if got := files(t, old); got["f"] != "content" {
			t.Errorf("the version has %v", got)
		}
		_ = e
	}
}

func TestApplyDoesNotMakeTooLargeHoles(t *testing.T) {
	_, _, c, _ := oneFile(t)
	_, err := c.Apply(context.Background(), 0, ops(collfs.Op{
		Kind: collfs.OpPatch, Path: "f", Old: id(t, c, "f"),
		Content: collfs.Content{ID: collfs.ContentID{1}, Size: collfs.MaxFile + 8},
	}))
	if !errors.Is(err, collfs.ErrTooSparse) {
		t.Errorf("Apply() = %v; want ErrTooSparse", err)
	}
}

func id(t *testing.T, c *collfs.Collection, path string) collfs.ContentID {
	t.Helper()
	i, err := c.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return i.ID
}

// What changes one file of many must not take the time of all of them.
func BenchmarkApplyToOneOfMany(b *testing.B) {
	e := newEnv(b)
	f := e.fs()
	c := e.open(f, e.catalog.Create(e.home, "a"))
	var all []collfs.Op
	for _, dir := range []string{"a", "b"} {
		all = append(all, mkdirOp(dir))
		for i := range 50_000 {
			all = append(all, collfs.Op{Kind: collfs.OpPut, Path: dir + "/" + time.Duration(i).String(), Content: collfs.Content{ID: collfs.EmptyID}})
		}
	}
	if _, err := c.Apply(b.Context(), 0, ops(all...)); err != nil {
		b.Fatal(err)
	}
	i := int64(0)
	for b.Loop() {
		i++
		if _, err := c.Apply(b.Context(), 0, ops(collfs.Op{Kind: collfs.OpPut, Path: "a/3ns", Content: collfs.Content{ID: collfs.EmptyID}, Attr: collfs.Attr{Mtime: i}})); err != nil {
			b.Fatal(err)
		}
	}
}

func TestApplyAgainUnderOneIDIsOneCommit(t *testing.T) {
	ctx := context.Background()
	e, _, c, rec := oneFile(t)
	first := collfs.ApplyOptions{ID: collfs.ContentID{1}, Base: rec.Revision}
	for i := range 3 {
		got, err := c.ApplyWith(ctx, first, ops(mkdirOp("d")))
		if err != nil || got.Revision != rec.Revision+1 {
			t.Fatalf("Apply() under one id, time %d = %+v, %v; want revision %d", i+1, got, err, rec.Revision+1)
		}
		put(t, c, "f", "changed since")
		commit(t, c)
	}
	c = e.open(e.fs(), c.UUID()) // as after a restart
	if got, err := c.ApplyWith(ctx, first, ops(mkdirOp("d"))); err != nil || got.Revision != rec.Revision+1 {
		t.Errorf("Apply() under one id after a restart = %+v, %v", got, err)
	}
	first.ID[1]++
	if _, err := c.ApplyWith(ctx, first, ops(mkdirOp("e"))); !errors.Is(err, collfs.ErrStale) {
		t.Errorf("Apply() under another id on the same base = %v; want ErrStale", err)
	}
}
