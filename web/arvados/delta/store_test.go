package delta

import (
	"context"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"keepdav/collfs"
	wire "keepdav/collfs/apiserver/delta"
	"keepdav/collfs/sqlite"
	"keepdav/keepio"
	"keepdav/keepio/dirstore"
)

// A diskStore is a store as servers have it.
type diskStore struct {
	blocks *dirstore.Store
	spool  *keepio.Spool
	sql    *sqlite.Store
}

func (s *diskStore) ByID(id keepio.BlockID) (*keepio.Block, error) { return s.spool.ByID(id) }
func (s *diskStore) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return s.spool.ByHash(hash, size)
}

func openDisk(t testing.TB, dir string, noSync bool) (s *diskStore, closeStore func()) {
	t.Helper()
	ctx := context.Background()
	s = new(diskStore)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	s.blocks, err = dirstore.Open(dirstore.Config{Dir: filepath.Join(dir, "blocks"), Sums: filepath.Join(dir, "sums"), Trash: filepath.Join(dir, "trash"), NoSync: noSync})
	check(err)
	s.spool, err = keepio.OpenSpool(keepio.SpoolConfig{
		Dir: filepath.Join(dir, "open"), Store: s.blocks, NoSync: noSync,
		NextID:   func() (keepio.BlockID, error) { return s.sql.NextBlockID() },
		OnStored: func(ctx context.Context, b []keepio.Stored) error { return s.sql.BlockStored(ctx, b) },
	})
	check(err)
	s.sql, err = sqlite.Open(ctx, sqlite.Config{
		Dir: dir, Blocks: s, NoSync: noSync, SyncIDs: s.spool.SyncIDs, VerifyExtent: s.spool.VerifyExtent, StoreBlocks: s.spool.Store, Zero: s.spool.Zero,
	})
	check(err)
	check(s.sql.StoredBlocks(ctx, func(b keepio.Stored) error {
		s.spool.Known(b.ID, b.Hash, b.Size)
		return nil
	}))
	open, err := s.sql.OpenBlocks(ctx)
	check(err)
	check(s.spool.Recover(ctx, open))
	s.sql.Start()
	return s, func() {
		t.Helper()
		check(s.spool.Close(ctx))
		check(s.sql.Close(ctx))
		check(s.blocks.Close())
	}
}

// serve returns a server over s, and how to end it.
func (e *env) serve(s *diskStore) (srv *httptest.Server, stop func()) {
	f := collfs.NewFS(collfs.Config{Catalog: s.sql, Spool: s.spool, HashSeed: 42})
	srv = httptest.NewServer(New(Config{FS: f, Access: e, Signer: e, Touch: func(ctx context.Context, hash [16]byte, size uint32) error {
		var p [1]byte
		_, err := s.blocks.ReadBlock(ctx, hash, size, p[:], 0)
		return err
	}}))
	return srv, func() {
		srv.Close()
		if err := f.Close(context.Background()); err != nil {
			e.t.Error(err)
		}
	}
}

// onDisk makes a store on disk with one collection.
func onDisk(t testing.TB, dir string, noSync bool) (s *diskStore, closeStore func(), id collfs.UUID) {
	t.Helper()
	s, closeStore = openDisk(t, dir, noSync)
	u, err := s.sql.CreateUser(t.Context(), "ann", "Ann", "", false)
	if err != nil {
		t.Fatal(err)
	}
	id = s.sql.NewCollectionUUID()
	if _, err := s.sql.Commit(t.Context(), collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: u.UUID, Name: "c"}}}); err != nil {
		t.Fatal(err)
	}
	return s, closeStore, id
}

func TestACommitIsOneAcrossARestartOfTheServer(t *testing.T) {
	dir := t.TempDir()
	s, closeStore, id := onDisk(t, dir, true)
	e := &env{t: t}
	commits := []wire.Commit{
		{Collection: id, Base: 0, ID: collfs.ContentID{1}, Ops: []collfs.Op{{Kind: collfs.OpMkdir, Path: "a"}}},
		{Collection: id, Base: 1, ID: collfs.ContentID{2}, Ops: []collfs.Op{{Kind: collfs.OpRename, Src: "a", Path: "b"}}},
		{Collection: id, Base: 2, ID: collfs.ContentID{3}, Ops: []collfs.Op{{Kind: collfs.OpMkdir, Path: "a"}}},
	}
	for range 3 {
		srv, stop := e.serve(s)
		client := wire.New(wire.Config{URL: srv.URL, Token: writer, HTTP: srv.Client()})
		for _, k := range commits {
			if rec, err := client.Commit(t.Context(), k); err != nil || rec.Revision != k.Base+1 {
				t.Fatalf("commit %d = revision %d, %v", k.Base, rec.Revision, err)
			}
		}
		rec, changes, kept, err := client.Changes(t.Context(), id, 0)
		if err != nil || !kept || rec.Revision != 3 || len(changes) != 3 {
			t.Fatalf("changes: revision %d, %d, kept %v, %v; want 3", rec.Revision, len(changes), kept, err)
		}
		stop()
		closeStore()
		s, closeStore = openDisk(t, dir, true)
	}
	closeStore()
}

// The same as BenchmarkCommitSmallFiles and BenchmarkCommitOneOfManyFiles on a disk,
// synced.
func BenchmarkOnDisk(b *testing.B) {
	for _, many := range []bool{false, true} {
		b.Run(map[bool]string{false: "small files", true: "one of many"}[many], func(b *testing.B) {
			s, closeStore, id := onDisk(b, b.TempDir(), false)
			e := &env{t: b}
			srv, stop := e.serve(s)
			spool, err := keepio.OpenSpool(keepio.SpoolConfig{
				Dir: b.TempDir(), Store: s.blocks, NoSync: true, NextID: func() (keepio.BlockID, error) { return s.sql.NextBlockID() },
			})
			if err != nil {
				b.Fatal(err)
			}
			client := wire.New(wire.Config{URL: srv.URL, Token: writer, HTTP: srv.Client(), Reader: spool, Store: spool.Store})
			base := int64(0)
			if many {
				var ops []collfs.Op
				for i := range 100_000 {
					if i%1000 == 0 {
						ops = append(ops, collfs.Op{Kind: collfs.OpMkdir, Path: fmt.Sprint("d", i/1000)})
					}
					ops = append(ops, collfs.Op{Kind: collfs.OpPut, Path: fmt.Sprint("d", i/1000, "/f", i), Content: collfs.Content{ID: collfs.EmptyID}})
				}
				if _, err := client.Commit(b.Context(), wire.Commit{Collection: id, Ops: ops}); err != nil {
					b.Fatal(err)
				}
				base++
			}
			packer := spool.NewPacker("p")
			data := make([]byte, 4<<10)
			for b.Loop() {
				segs, err := packer.Append(b.Context(), data)
				if err != nil {
					b.Fatal(err)
				}
				path := fmt.Sprint("file", base)
				if many {
					path = "d42/f42042"
				}
				op := collfs.Op{Kind: collfs.OpPut, Path: path, Content: collfs.Content{ID: collfs.ContentID{byte(base), byte(base >> 8), 1}, Size: 4 << 10, Segments: segs}}
				if _, err := client.Commit(b.Context(), wire.Commit{Collection: id, Base: base, Ops: []collfs.Op{op}}); err != nil {
					b.Fatal(err)
				}
				base++
			}
			packer.Close()
			stop()
			if err := spool.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
			closeStore()
		})
	}
}
