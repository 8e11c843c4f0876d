package collfs_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keepdav/collfs"
	"keepdav/collfs/sqlite"
	"keepdav/keepio"
	"keepdav/keepio/dirstore"
)

// realStore is a store on disk, as the server has it.
type realStore struct {
	dir    string
	sql    *sqlite.Store
	blocks *dirstore.Store
	spool  *keepio.Spool
}

// ByID and ByHash are those of the spool, which is opened after the catalog.
func (s *realStore) ByID(id keepio.BlockID) (*keepio.Block, error) { return s.spool.ByID(id) }
func (s *realStore) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return s.spool.ByHash(hash, size)
}

func openRealStore(ctx context.Context, dir string, noSync bool, change ...func(*sqlite.Config)) (s *realStore, err error) {
	s = &realStore{dir: dir}
	s.blocks, err = dirstore.Open(dirstore.Config{
		Dir: filepath.Join(dir, "blocks"), Sums: filepath.Join(dir, "sums"), Trash: filepath.Join(dir, "trash"), NoSync: noSync,
	})
	if err != nil {
		return nil, err
	}
	s.spool, err = keepio.OpenSpool(keepio.SpoolConfig{
		Dir: filepath.Join(dir, "open"), Store: s.blocks, NoSync: noSync,
		NextID:   func() (keepio.BlockID, error) { return s.sql.NextBlockID() },
		OnStored: func(ctx context.Context, b []keepio.Stored) error { return s.sql.BlockStored(ctx, b) },
	})
	if err != nil {
		return nil, err
	}
	cfg := sqlite.Config{
		Dir: dir, Blocks: s, NoSync: noSync,
		SyncIDs:      s.spool.SyncIDs,
		VerifyExtent: s.spool.VerifyExtent,
		StoreBlocks:  s.spool.Store,
		Zero:         s.spool.Zero,
	}
	for _, f := range change {
		f(&cfg)
	}
	s.sql, err = sqlite.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	err = s.sql.StoredBlocks(ctx, func(b keepio.Stored) error {
		s.spool.Known(b.ID, b.Hash, b.Size)
		return nil
	})
	if err != nil {
		return nil, err
	}
	open, err := s.sql.OpenBlocks(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.spool.Recover(ctx, open); err != nil {
		return nil, err
	}
	s.sql.Start()
	return s, nil
}

func (s *realStore) close(ctx context.Context) error {
	return errors.Join(s.spool.Close(ctx), s.sql.Close(ctx), s.blocks.Close())
}

// storeMachine is the model test on a store on disk, which is restarted at times.
type storeMachine struct {
	*machine
	store *realStore
}

func (s *storeMachine) use(store *realStore) {
	s.store = store
	s.catalog, s.spool.Spool = store.sql, store.spool
}

func (s *storeMachine) Restart(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "often") > 0 {
		t.Skip("takes long")
	}
	ctx := context.Background()
	s.closeFS()
	if err := s.store.close(ctx); err != nil {
		t.Fatalf("close: %v", err)
	}
	store, err := openRealStore(ctx, s.store.dir, true)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	s.use(store)
	s.openFS()
}

func TestCollectionInAStoreIsLikeAMap(t *testing.T) {
	ctx := context.Background()
	store, err := openRealStore(ctx, t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.close(ctx); err != nil {
			t.Error(err)
		}
	}()
	user, err := store.sql.CreateUser(ctx, "user", "User", "", false)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := &storeMachine{machine: &machine{T: rt, spool: new(faultySpool), faults: new(faults), m: make(model), id: store.sql.NewCollectionUUID()}}
		s.use(store)
		_, err = store.sql.Commit(ctx, collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: s.id, Owner: user.UUID, Name: string(s.id)}}})
		if err != nil {
			rt.Fatal(err)
		}
		s.openFS()
		defer func() {
			s.c.Release()
			_ = s.fs.Close(ctx)
			store = s.store
		}()
		rt.Repeat(rapid.StateMachineActions(s))
		s.closeFS()
		s.openFS()
		s.Check(rt)
	})
}

// BenchmarkStoreCommitOneByte is what a durable PUT of one byte costs below HTTP,
// by the size of the collection.
func BenchmarkStoreCommitOneByte(b *testing.B) {
	ctx := context.Background()
	for _, dirs := range []int{0, 10000} {
		b.Run(fmt.Sprint("files=", dirs*100), func(b *testing.B) {
			store, err := openRealStore(ctx, b.TempDir(), false)
			if err != nil {
				b.Fatal(err)
			}
			defer store.close(ctx)
			user, err := store.sql.CreateUser(ctx, "user", "User", "", false)
			if err != nil {
				b.Fatal(err)
			}
			id := store.sql.NewCollectionUUID()
			_, err = store.sql.Commit(ctx, collfs.Tx{
				Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: user.UUID, Name: "c"}},
				Changes: []collfs.Change{{Collection: id, Ops: bigOps(store.spool.ByHash([16]byte{1}, keepio.BlockSize), dirs, 100)}},
			})
			if err != nil {
				b.Fatal(err)
			}
			f := collfs.NewFS(collfs.Config{Catalog: store.sql, Spool: store.spool})
			defer f.Close(ctx)
			began := time.Now()
			c, err := f.Open(ctx, id)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(began).Seconds()*1000, "ms/open")
			defer c.Release()
			for i := 0; b.Loop(); i++ {
				put(b, c, fmt.Sprint("new", i%1000), "x")
				commit(b, c)
			}
		})
	}
}

// BenchmarkStoreConcurrentCommits is about callers who each put 4 KiB and wait
// until that is durable.
func BenchmarkStoreConcurrentCommits(b *testing.B) {
	ctx := context.Background()
	content := strings.Repeat("x", 4096)
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			store, err := openRealStore(ctx, b.TempDir(), false)
			if err != nil {
				b.Fatal(err)
			}
			defer store.close(ctx)
			user, err := store.sql.CreateUser(ctx, "user", "User", "", false)
			if err != nil {
				b.Fatal(err)
			}
			id := store.sql.NewCollectionUUID()
			_, err = store.sql.Commit(ctx, collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: user.UUID, Name: "c"}}})
			if err != nil {
				b.Fatal(err)
			}
			f := collfs.NewFS(collfs.Config{Catalog: store.sql, Spool: store.spool})
			defer f.Close(ctx)
			c, err := f.Open(ctx, id)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Release()
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						put(b, c, fmt.Sprint("f", i), content)
						commit(b, c)
					}
				})
			}
			wg.Wait()
			rec, _ := c.Record(ctx)
			b.ReportMetric(float64(b.N)/float64(rec.Revision), "puts/commit")
		})
	}
}

func TestCheckpointsAndChangesNameStoredBlocksOnly(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	c := e.open(f, e.catalog.Create(e.home, "a"))
	put(t, c, "f", "content")
	commit(t, c)
	put(t, c, "g", "more")
	put(t, c, "h", "of all")
	for _, what := range []string{"checkpoint", "changes"} {
		named := make(map[[16]byte]uint32)
		visit := func(hash [16]byte, size uint32) { named[hash] = size }
		saved := collfs.Saved{}
		rec, err := collfs.Record{}, error(nil)
		if what == "checkpoint" {
			rec, saved.Checkpoint, err = c.Checkpoint(ctx, visit)
		} else {
			put(t, c, "i", "")
			kept := false
			if rec, saved.Changes, kept, err = c.Since(ctx, 0, visit); !kept {
				t.Fatalf("Since(0) = kept %v, %v", kept, err)
			}
		}
		if err != nil || c.Dirty() {
			t.Fatalf("%s: %v, dirty %v", what, err, c.Dirty())
		}
		if now, _ := e.catalog.Record(ctx, c.UUID()); rec.Revision != now.Revision {
			t.Errorf("%s is of revision %d; want %d", what, rec.Revision, now.Revision)
		}
		tree, err := collfs.Load(saved, onlyStored{t})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got, want := tree.Bytes(), int64(17); got != want {
			t.Errorf("%s has %d bytes; want %d", what, got, want)
		}
		tree.Blocks(func(s keepio.Segment) {
			hash, size, _ := s.Block.Stored()
			if named[hash] != size {
				t.Errorf("%s has a block that was not told", what)
			}
		})
	}
}

// onlyStored knows no block files.
type onlyStored struct{ t *testing.T }

func (o onlyStored) ByID(keepio.BlockID) (*keepio.Block, error) { return nil, keepio.ErrNotFound }
func (o onlyStored) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return keepio.NewStoredBlock(hash, size)
}
