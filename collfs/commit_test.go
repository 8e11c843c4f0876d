package collfs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/keepio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConcurrentCommitsJoin(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	first, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	e.catalog.Fault = func(context.Context, collfs.Tx) memcatalog.Outcome {
		once.Do(func() {
			close(first)
			<-release
		})
		return memcatalog.Outcome{}
	}
	put(t, c, "first", "x")
	before := e.catalog.Commits()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Commit(ctx, true); err != nil {
			t.Error(err)
		}
	})
	<-first
	const callers = 64
	var ready sync.WaitGroup
	ready.Add(callers)
	for i := range callers {
		wg.Go(func() {
			put(t, c, fmt.Sprint(i), "x")
			ready.Done()
			if err := c.Commit(ctx, true); err != nil {
				t.Error(err)
			}
		})
	}
	ready.Wait()
	close(release)
	wg.Wait()
	// Those who asked while the first was under way share the second; a straggler
	// between ready and its Commit may need one more.
	if n := e.catalog.Commits() - before; n > 10 {
		t.Errorf("%d commits for %d callers", n, callers+1)
	}
	if c.Dirty() {
		t.Error("dirty after all commits returned nil")
	}
}

func TestEveryCommitFailsUntilTheDataIsCommitted(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	c := e.open(e.fs(), id)
	down := true
	e.catalog.Fault = func(context.Context, collfs.Tx) memcatalog.Outcome {
		if down {
			return memcatalog.Outcome{Err: errInjected}
		}
		return memcatalog.Outcome{}
	}
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, []byte("precious"), 0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := h.Sync(ctx, true); !errors.Is(err, errInjected) {
			t.Fatalf("Sync() = %v; want the failure each time", err)
		}
	}
	if err := c.Err(); !errors.Is(err, errInjected) {
		t.Errorf("Err() = %v", err)
	}
	if err := h.Close(ctx); !errors.Is(err, errInjected) {
		t.Fatalf("Close() = %v; want the failure", err)
	}
	if got := get(t, c, "f"); got != "precious" {
		t.Errorf("after a failed commit the file is %q", got)
	}
	down = false
	commit(t, c)
	if err := c.Err(); err != nil {
		t.Errorf("Err() = %v after a commit", err)
	}
	if got := get(t, e.open(e.fs(), id), "f"); got != "precious" {
		t.Errorf("committed: %q", got)
	}
}

func TestLostReplyIsNotCommittedTwice(t *testing.T) {
	for _, done := range []bool{true, false} {
		t.Run(fmt.Sprint("done ", done), func(t *testing.T) {
			e := newEnv(t)
			id := e.catalog.Create(e.home, "c")
			c := e.open(e.fs(), id)
			put(t, c, "a", "1")
			commit(t, c)
			once := true
			e.catalog.Fault = func(context.Context, collfs.Tx) memcatalog.Outcome {
				if once {
					once = false
					return memcatalog.Outcome{Err: collfs.ErrUnknownOutcome, Done: done}
				}
				return memcatalog.Outcome{}
			}
			// Replayed, the rename would move the new a away.
			if _, err := c.Rename("a", "b", collfs.CopyOptions{}); err != nil {
				t.Fatal(err)
			}
			put(t, c, "a", "2")
			commit(t, c)
			want := map[string]string{"a": "2", "b": "1"}
			if got := files(t, c); !reflect.DeepEqual(got, want) {
				t.Errorf("files = %v; want %v", got, want)
			}
			if got := files(t, e.open(e.fs(), id)); !reflect.DeepEqual(got, want) {
				t.Errorf("committed = %v; want %v", got, want)
			}
		})
	}
}

// A durable commit whose record is there, though the reply was lost, isn't known
// to be on disk until a later one says so.
func TestLostReplyOfADurableCommitIsNotTakenForDurable(t *testing.T) {
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	var txs []collfs.Tx
	e.catalog.Fault = func(_ context.Context, tx collfs.Tx) memcatalog.Outcome {
		if txs = append(txs, tx); len(txs) == 1 {
			return memcatalog.Outcome{Err: collfs.ErrUnknownOutcome, Done: true}
		}
		return memcatalog.Outcome{}
	}
	put(t, c, "a", "1")
	commit(t, c)
	if len(txs) != 2 || !txs[1].Durable || len(txs[1].Changes) > 0 {
		t.Errorf("the catalog was asked for %+v; want a barrier after the lost reply", txs)
	}
}

func TestFailedDurableCommitForgetsNoBlockOfOnesBefore(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	spool := &syncedSpool{faultySpool: &faultySpool{Spool: e.spool}}
	c := e.open(e.fs(func(cfg *collfs.Config) { cfg.Spool = spool }), e.catalog.Create(e.home, "c"))
	put(t, c, "a", "1")
	if err := c.Commit(ctx, false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Mkdir("d", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	spool.failSync.Store(true)
	if err := c.Commit(ctx, true); !errors.Is(err, errInjected) {
		t.Fatalf("Commit() = %v", err)
	}
	spool.failSync.Store(false)
	commit(t, c)
	if spool.blocks != 1 {
		t.Errorf("the durable commit after a failed one has synced %d blocks; want that of the commit before both", spool.blocks)
	}
}

// syncedSpool counts the blocks that were synced well. It is for one commit at a time.
type syncedSpool struct {
	*faultySpool
	blocks int
}

func (s *syncedSpool) Sync(ctx context.Context, blocks []*keepio.Block) error {
	err := s.faultySpool.Sync(ctx, blocks)
	if err == nil {
		s.blocks += len(blocks)
	}
	return err
}

func TestStaleCommitMergesAndTellsOfConflicts(t *testing.T) {
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	quiet := func(cfg *collfs.Config) { cfg.Catalog = quietCatalog{e.catalog} }
	f1, f2 := e.fs(quiet), e.fs(quiet)
	one, two := e.open(f1, id), e.open(f2, id)
	var notices []collfs.Notice
	defer f2.Subscribe(func(n collfs.Notice) {
		if n.Conflict != "" {
			notices = append(notices, n)
		}
	})()
	put(t, one, "f", "one")
	put(t, one, "g", "one")
	commit(t, one)
	put(t, two, "f", "two")
	commit(t, two)
	got := files(t, two)
	if len(notices) != 1 || notices[0].Path != "f" || notices[0].Collection != id || f2.Conflicts() != 1 {
		t.Fatalf("notices = %v", notices)
	}
	want := map[string]string{"f": "two", "g": "one", notices[0].Conflict: "one"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("files = %v; want %v", got, want)
	}
}

func TestSupersededFileComesBackWhenItIsWrittenTo(t *testing.T) {
	ctx := context.Background()
	for _, theirs := range []string{"changed", "deleted"} {
		t.Run(theirs, func(t *testing.T) {
			e := newEnv(t)
			id := e.catalog.Create(e.home, "c")
			quiet := func(cfg *collfs.Config) { cfg.Catalog = quietCatalog{e.catalog} }
			one, two := e.open(e.fs(quiet), id), e.open(e.fs(quiet), id)
			put(t, one, "d", "x")
			put(t, one, "f", "base")
			commit(t, one)
			if err := two.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
			h, _, err := two.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR})
			if err != nil {
				t.Fatal(err)
			}
			if theirs == "changed" {
				put(t, one, "f", "theirs")
			} else if err := one.Remove("f", nil); err != nil {
				t.Fatal(err)
			}
			commit(t, one)
			if err := two.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 4)
			if _, err := h.ReadAt(ctx, buf, 0); err != nil || string(buf) != "base" {
				t.Errorf("handle reads %q, %v; want what it opened", buf, err)
			}
			if _, err := h.WriteAt(ctx, []byte("B"), 0); err != nil {
				t.Fatal(err)
			}
			if err := h.Close(ctx); err != nil {
				t.Fatal(err)
			}
			got := files(t, two)
			if got["f"] != "Base" {
				t.Errorf("f = %q; want what was written", got["f"])
			}
			delete(got, "f")
			delete(got, "d")
			for name, content := range got {
				if theirs != "changed" || content != "theirs" || !strings.HasSuffix(name, "~conflict~") {
					t.Errorf("%q = %q", name, content)
				}
			}
			if want := map[string]int{"changed": 1, "deleted": 0}[theirs]; len(got) != want {
				t.Errorf("%d conflict files; want %d", len(got), want)
			}
		})
	}
}

func TestChangeElsewhereShowsUp(t *testing.T) {
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	f2 := e.fs()
	one, two := e.open(e.fs(), id), e.open(f2, id)
	changed := make(chan struct{}, 10)
	defer f2.Subscribe(func(collfs.Notice) { changed <- struct{}{} })()
	put(t, one, "f", "x")
	commit(t, one)
	<-changed
	if got := get(t, two, "f"); got != "x" {
		t.Errorf("content = %q", got)
	}
}

func TestUnlinkedFileStaysUsableAndIsNotCommitted(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	c := e.open(e.fs(), id)
	put(t, c, "f", "content")
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Remove("f", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, []byte("C"), 0); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 7)
	if _, err := h.ReadAt(ctx, buf, 0); err != nil || string(buf) != "Content" {
		t.Errorf("read %q, %v", buf, err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if got := files(t, e.open(e.fs(), id)); len(got) != 0 {
		t.Errorf("committed %v; want nothing", got)
	}
}

func TestReaderKeepsWhatItOpened(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, []byte("old old"), 0); err != nil {
		t.Fatal(err)
	}
	r, err := c.OpenRead("f")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := h.WriteAt(ctx, []byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if n, err := r.WriteRange(ctx, &out, 0, 7); n != 7 || err != nil || out.String() != "old old" {
		t.Errorf("reader has %q, %v; want what it opened", out.String(), err)
	}
	if got := get(t, c, "f"); got != "new old" {
		t.Errorf("file is %q", got)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestOneWriteLargerThanABlock(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	c := e.open(e.fs(), id)
	h, _, err := c.OpenFile("big", collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 70<<20)
	for i := 0; i < len(data); i += 4096 {
		data[i] = byte(i >> 12)
	}
	if n, err := h.WriteAt(ctx, data, 5); n != len(data) || err != nil {
		t.Fatalf("WriteAt() = %d, %v", n, err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if got := get(t, e.open(e.fs(), id), "big"); got != "\x00\x00\x00\x00\x00"+string(data) {
		t.Error("read back something else")
	}
}

func TestChecksDecideUnderTheLock(t *testing.T) {
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	deny := errors.New("denied")
	info := put(t, c, "f", "x")
	check := func(i collfs.NodeInfo, ok bool) error {
		if !ok || i.ID != info.ID {
			t.Errorf("check got %+v, %v", i, ok)
		}
		return deny
	}
	for name, err := range map[string]error{
		"Remove": c.Remove("f", check),
		"Mkdir":  func() error { _, err := c.Mkdir("f", collfs.Attr{}, check); return err }(),
		"Rename": func() error { _, err := c.Rename("f", "g", collfs.CopyOptions{CheckSrc: check}); return err }(),
		"Copy":   func() error { _, err := c.Copy("f", "f", collfs.CopyOptions{Check: check}); return err }(),
	} {
		if err != deny {
			t.Errorf("%s = %v; want the check's error as it is", name, err)
		}
	}
	if got := files(t, c); len(got) != 1 {
		t.Errorf("files = %v", got)
	}
}

func TestLoadsOnceAndUnloadsWhatNobodyUses(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	other := e.catalog.Create(e.home, "other")
	f := e.fs(func(c *collfs.Config) { c.CacheBytes = 1 })
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[*collfs.Collection]bool)
	for range 20 {
		wg.Go(func() {
			c, err := f.Open(ctx, id)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			seen[c] = true
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(seen) != 1 {
		t.Fatalf("%d collections for one UUID", len(seen))
	}
	for c := range seen {
		put(t, c, "f", "x")
		for range 20 {
			c.Release()
		}
		if c2 := e.open(f, other); c2 == nil {
			t.Fatal("nothing")
		}
		again := e.open(f, id)
		if again != c {
			t.Fatal("a dirty collection was unloaded")
		}
		commit(t, c)
	}
	if _, err := f.Open(ctx, "memry-4zz18-000000000000000"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of nothing = %v", err)
	}
}

// To look for what to unload is to look at everything that is loaded.
func TestUnloadingMakesRoomForMoreThanOne(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	const fit = 32
	probe := e.fs()
	e.open(probe, e.catalog.Create(e.home, "probe"))
	f := e.fs(func(c *collfs.Config) { c.CacheBytes = fit * probe.CachedBytes() })
	loaded, searches, last := 0, 0, collfs.UUID("")
	for i := range 4 * fit {
		last = e.catalog.Create(e.home, fmt.Sprint(i))
		c, err := f.Open(ctx, last)
		if err != nil {
			t.Fatal(err)
		}
		c.Release()
		cs, done := f.Loaded()
		if done(); len(cs) <= loaded {
			searches++
		}
		if loaded = len(cs); loaded > fit || i >= fit && loaded < fit/2 {
			t.Fatalf("%d collections are loaded; %d fit", loaded, fit)
		}
		if !slices.ContainsFunc(cs, func(c *collfs.Collection) bool { return c.UUID() == last }) {
			t.Fatal("what was used last is not loaded any more")
		}
	}
	if searches > fit {
		t.Errorf("%d searches for what to unload; want one for several collections", searches)
	}
}

func TestCloseCommitsAndReports(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	f := e.fs()
	put(t, e.open(f, id), "f", "x")
	if err := f.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if got := files(t, e.open(e.fs(), id)); len(got) != 1 {
		t.Errorf("committed %v", got)
	}
	f = e.fs()
	put(t, e.open(f, id), "g", "x")
	e.catalog.Fault = func(context.Context, collfs.Tx) memcatalog.Outcome { return memcatalog.Outcome{Err: errInjected} }
	if err := f.Close(ctx); !errors.Is(err, errInjected) {
		t.Errorf("Close() = %v; want what could not be committed", err)
	}
}

func TestOldVersionsAreReadOnly(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	f := e.fs()
	c := e.open(f, id)
	put(t, c, "f", "one")
	commit(t, c)
	e.now.Add(int64(2 * memcatalog.VersionIdle))
	put(t, c, "f", "two")
	commit(t, c)
	old, err := f.OpenVersion(ctx, id, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Release()
	if got := get(t, old, "f"); got != "one" {
		t.Errorf("version 1 has %q", got)
	}
	if err := old.Remove("f", nil); !errors.Is(err, collfs.ErrReadOnly) {
		t.Errorf("Remove() = %v; want ErrReadOnly", err)
	}
	if _, err := old.NewStage(1); !errors.Is(err, collfs.ErrReadOnly) {
		t.Errorf("NewStage() = %v; want ErrReadOnly", err)
	}
}

func TestPutOverAnOpenFileKeepsWhatItsHandleWrites(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	c := e.open(e.fs(), id)
	put(t, c, "f", "base")
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR})
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, "f", "put")
	if got := get(t, c, "f"); got != "put" {
		t.Errorf("f = %q", got)
	}
	if _, err := h.Append(ctx, []byte("+")); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, content := range files(t, e.open(e.fs(), id)) {
		got[content] = true
	}
	if want := map[string]bool{"base+": true, "put": true}; !reflect.DeepEqual(got, want) {
		t.Errorf("contents = %v; want %v", got, want)
	}
}

func TestReadOnlyHandlesRefuseWrites(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	put(t, c, "f", "x")
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDONLY})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, []byte("y"), 0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("WriteAt() = %v", err)
	}
	if err := h.Truncate(0); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Truncate() = %v", err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(ctx); !errors.Is(err, collfs.ErrClosed) {
		t.Errorf("second Close() = %v", err)
	}
	if _, err := h.ReadAt(ctx, make([]byte, 1), 0); !errors.Is(err, collfs.ErrClosed) {
		t.Errorf("ReadAt() after Close = %v", err)
	}
}

func TestRecordFollowsChangesOfTheRecord(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	c := e.open(e.fs(), id)
	seen := make(chan collfs.Event, 10)
	defer e.catalog.Watch(func(ev collfs.Event) { seen <- ev })() // told after the FS
	if _, err := e.catalog.Commit(ctx, collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.Move, UUID: id, Owner: e.home, Name: "new"}}}); err != nil {
		t.Fatal(err)
	}
	<-seen
	for {
		rec, err := c.Record(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if rec.Name == "new" {
			break
		}
		runtime.Gosched() // the FS follows events on its own
	}
	put(t, c, "f", "x")
	commit(t, c)
	if rec, err := c.Record(ctx); err != nil || rec.Name != "new" || rec.Files != 1 || rec.Revision != 1 {
		t.Errorf("Record() = %+v, %v", rec, err)
	}
}

// A copy that cannot be made must leave what it was to replace.
func TestFailedCopyKeepsItsTarget(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	spool := &faultySpool{Spool: e.spool}
	c := e.open(e.fs(func(cfg *collfs.Config) { cfg.Spool = spool }), e.catalog.Create(e.home, "c"))
	if _, err := c.Mkdir("dir", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	put(t, c, "dir/precious", "x")
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close(ctx)
	if _, err := h.WriteAt(ctx, []byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	spool.failFreeze.Store(true)
	if _, err := c.Copy("f", "dir", collfs.CopyOptions{Replace: collfs.ReplaceAny}); !errors.Is(err, errInjected) {
		t.Fatalf("Copy() = %v; want the failure", err)
	}
	spool.failFreeze.Store(false)
	if got := get(t, c, "dir/precious"); got != "x" {
		t.Errorf("after a failed copy the target has %q", got)
	}
}

// An old version may lie in the block that the present one writes to. To read it, by
// whatever way, takes nothing from what the next commit has to say of that block.
func TestReadingAnOldVersionTakesNoExtents(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	c := e.open(f, e.catalog.Create(e.home, "c"))
	for _, content := range []string{"old", "new"} {
		put(t, c, "f", content)
		commit(t, c)
		e.now.Add(int64(2 * memcatalog.VersionIdle))
	}
	old, err := f.OpenVersion(ctx, c.UUID(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Release()
	h, _, err := old.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDONLY})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close(ctx)
	put(t, c, "g", "text")
	if got := get(t, old, "f"); got != "old" {
		t.Errorf("the version has %q", got)
	}
	said := uint32(0)
	e.catalog.Fault = func(_ context.Context, tx collfs.Tx) memcatalog.Outcome {
		for _, x := range tx.Changes[0].Extents {
			said += x.To - x.From
		}
		return memcatalog.Outcome{}
	}
	commit(t, c)
	if said != uint32(len("text")) {
		t.Errorf("the commit says of %d bytes that it relies on them; want %d", said, len("text"))
	}
}
