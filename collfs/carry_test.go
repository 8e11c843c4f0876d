package collfs_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/sqlite"
	"keepdav/keepio"
)

// countingSpool counts what collections have synced.
type countingSpool struct {
	*keepio.Spool
	syncs atomic.Int32
}

func (s *countingSpool) Sync(ctx context.Context, blocks []*keepio.Block) error {
	s.syncs.Add(1)
	return s.Spool.Sync(ctx, blocks)
}

// failingCatalog fails the next commit when told.
type failingCatalog struct {
	collfs.Catalog
	fail atomic.Bool
}

func (c *failingCatalog) Commit(ctx context.Context, tx collfs.Tx) ([]collfs.Record, error) {
	if c.fail.Swap(false) {
		return nil, errInjected
	}
	return c.Catalog.Commit(ctx, tx)
}

type carryEnv struct {
	store   *realStore
	spool   *countingSpool
	catalog *failingCatalog
	fs      *collfs.FS
	held    atomic.Bool // block files cannot be synced for the catalog
	ids     [2]collfs.UUID
	c       [2]*collfs.Collection
}

func newCarryEnv(t *testing.T) *carryEnv {
	ctx := context.Background()
	e := new(carryEnv)
	store, err := openRealStore(ctx, t.TempDir(), false, func(cfg *sqlite.Config) {
		sync := cfg.SyncIDs
		cfg.SyncIDs = func(ctx context.Context, ids []keepio.BlockID) error {
			if e.held.Load() {
				return errInjected
			}
			return sync(ctx, ids)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	e.store, e.spool, e.catalog = store, &countingSpool{Spool: store.spool}, &failingCatalog{Catalog: store.sql}
	user, err := store.sql.CreateUser(ctx, "user", "User", "", false)
	if err != nil {
		t.Fatal(err)
	}
	e.fs = collfs.NewFS(collfs.Config{Catalog: e.catalog, Spool: e.spool})
	t.Cleanup(func() {
		e.held.Store(false)
		if err := errors.Join(e.fs.Close(ctx), store.close(ctx)); err != nil {
			t.Error(err)
		}
	})
	for i := range e.c {
		e.ids[i] = store.sql.NewCollectionUUID()
		_, err = store.sql.Commit(ctx, collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: e.ids[i], Owner: user.UUID, Name: fmt.Sprint(i)}}})
		if err != nil {
			t.Fatal(err)
		}
		if e.c[i], err = e.fs.Open(ctx, e.ids[i]); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.c[i].Release)
	}
	return e
}

// synced commits and reports whether the blocks were synced first.
func (e *carryEnv) synced(t *testing.T, c *collfs.Collection) bool {
	t.Helper()
	before := e.spool.syncs.Load()
	commit(t, c)
	return e.spool.syncs.Load() > before
}

func TestSmallDurableCommitsNeedNoSyncOfTheirBlocks(t *testing.T) {
	e := newCarryEnv(t)
	c := e.c[0]
	for n := range 3 {
		put(t, c, fmt.Sprint("small", n), "some text")
		if e.synced(t, c) {
			t.Errorf("commit %d had its block synced", n)
		}
	}
	if _, err := c.Copy("small0", "copy", collfs.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if e.synced(t, c) {
		t.Error("a copy of what is durable had its block synced")
	}
	put(t, c, "large", strings.Repeat("x", 200<<10))
	if !e.synced(t, c) {
		t.Error("much data was put into the journal")
	}
	put(t, c, "after", "some text")
	if e.synced(t, c) {
		t.Error("small data after large data had its block synced")
	}

	put(t, c, "passing", "not durable")
	if err := c.Commit(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	put(t, c, "on top", "some text")
	if !e.synced(t, c) {
		t.Error("a commit that is not durable was ignored by the durable one after it")
	}

	put(t, c, "failed", "some text")
	e.catalog.fail.Store(true)
	if err := c.Commit(t.Context(), true); !errors.Is(err, errInjected) {
		t.Fatalf("Commit() = %v", err)
	}
	put(t, c, "again", "some text")
	if e.synced(t, c) {
		t.Error("the second attempt had its block synced")
	}
}

// What was never synced is lost in many ways.
func TestCarriedBytesSurviveTheLossOfTheirBlockFiles(t *testing.T) {
	losses := map[string]func(path string, size int64) error{
		"empty": func(path string, _ int64) error { return os.Truncate(path, 0) },
		"gone":  func(path string, _ int64) error { return os.Remove(path) },
		"zeros": func(path string, size int64) error { return errors.Join(os.Truncate(path, 0), os.Truncate(path, size)) },
		"half":  func(path string, size int64) error { return os.Truncate(path, size/2) },
		"none":  func(string, int64) error { return nil },
	}
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			e := newCarryEnv(t)
			e.held.Store(true)
			for n := range 20 {
				put(t, e.c[0], fmt.Sprint("f", n), strings.Repeat(fmt.Sprint(n), 1000))
				commit(t, e.c[0])
			}
			if _, err := e.fs.Transfer(ctx, e.c[0], "f3", e.c[1], "moved", collfs.TransferOptions{Move: true}); err != nil {
				t.Fatal(err)
			}
			put(t, e.c[1], "own", "some text")
			commit(t, e.c[1])
			if n := e.spool.syncs.Load(); n > 0 {
				t.Fatalf("%d syncs: the test is about none", n)
			}
			want := []map[string]string{files(t, e.c[0]), files(t, e.c[1])}

			copied := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(copied, os.DirFS(e.store.dir)); err != nil {
				t.Fatal(err)
			}
			open, err := filepath.Glob(filepath.Join(copied, "open", "*"))
			if err != nil || len(open) != 2 {
				t.Fatal(open, err)
			}
			for _, path := range open {
				st, err := os.Stat(path)
				if err == nil {
					err = lose(path, st.Size())
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			again, err := openRealStore(ctx, copied, false)
			if err != nil {
				t.Fatal(err)
			}
			defer again.close(ctx)
			f := collfs.NewFS(collfs.Config{Catalog: again.sql, Spool: again.spool})
			defer f.Close(ctx)
			for i, id := range e.ids {
				c, err := f.Open(ctx, id)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Release()
				if got := files(t, c); !maps.Equal(got, want[i]) {
					t.Errorf("collection %d has %d files; want %d, with their bytes", i, len(got), len(want[i]))
				}
			}
		})
	}
}

// A collection that has a copy of another's file refers to the open block of
// that other one. What that one has yet to commit is not for it to announce.
func TestACommitDoesNotSpeakForTheOpenBlockOfAnotherCollection(t *testing.T) {
	ctx := context.Background()
	e := newCarryEnv(t)
	e.held.Store(true)
	owner, other := e.c[0], e.c[1]
	put(t, owner, "f", "some text")
	if _, err := e.fs.Transfer(ctx, owner, "f", other, "f", collfs.TransferOptions{}); err != nil {
		t.Fatal(err)
	}
	put(t, owner, "new", "more text")

	s, err := other.NewStage(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(ctx, []byte("S")); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Splice(s, "f", 0, collfs.SpliceOptions{}); err != nil {
		t.Fatal(err)
	}
	e.catalog.fail.Store(true)
	if err := other.Commit(ctx, true); !errors.Is(err, errInjected) {
		t.Fatalf("Commit() = %v", err)
	}
	commit(t, owner)
	want := files(t, owner)

	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(e.store.dir)); err != nil {
		t.Fatal(err)
	}
	again, err := openRealStore(ctx, copied, false)
	if err != nil {
		t.Fatal(err)
	}
	defer again.close(ctx)
	f := collfs.NewFS(collfs.Config{Catalog: again.sql, Spool: again.spool})
	defer f.Close(ctx)
	c, err := f.Open(ctx, e.ids[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	if got := files(t, c); !maps.Equal(got, want) {
		t.Errorf("after a restart the files are %v; want %v", got, want)
	}
}
