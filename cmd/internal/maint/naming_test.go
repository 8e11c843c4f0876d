package maint

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/collfs/sqlite"
	"keepdav/keepio"
	"keepdav/keepio/dirstore"
)

// lateBlocks are the blocks of a spool that is opened later.
type lateBlocks struct{ spool **keepio.Spool }

func (l lateBlocks) ByID(id keepio.BlockID) (*keepio.Block, error) { return (*l.spool).ByID(id) }
func (l lateBlocks) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return keepio.NewStoredBlock(hash, size)
}

// newKeeper returns the keeper of a new store. Before it notes names of blocks,
// which are in the store by then, the store calls onStored.
func newKeeper(t *testing.T, onStored func(k *Keeper)) *Keeper {
	t.Helper()
	dir := t.TempDir()
	k := &Keeper{TrashDir: filepath.Join(dir, "trash"), Log: zerolog.Nop()}
	var err error
	k.Blocks, err = dirstore.Open(dirstore.Config{Dir: filepath.Join(dir, "blocks"), Sums: filepath.Join(dir, "sums"), Trash: k.TrashDir, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	k.Catalog, err = sqlite.Open(t.Context(), sqlite.Config{Dir: dir, Blocks: lateBlocks{&k.Spool}, NoSync: true, Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	k.Spool, err = keepio.OpenSpool(keepio.SpoolConfig{
		Dir: filepath.Join(dir, "open"), Store: k.Blocks, NextID: k.Catalog.NextBlockID, NoSync: true,
		OnStored: func(ctx context.Context, b []keepio.Stored) error {
			onStored(k)
			return k.Catalog.BlockStored(ctx, b)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	k.Gate = NewGate(k.Catalog)
	k.Files = collfs.NewFS(collfs.Config{Catalog: k.Gate, Spool: k.Spool})
	t.Cleanup(func() {
		ctx := context.Background()
		for _, close := range []func(context.Context) error{k.Files.Close, k.Spool.Close, k.Catalog.Close} {
			if err := close(ctx); err != nil {
				t.Error(err)
			}
		}
		_ = k.Blocks.Close()
	})
	return k
}

// openCollection makes a collection and opens it.
func openCollection(t *testing.T, k *Keeper) *collfs.Collection {
	t.Helper()
	user, err := k.Catalog.CreateUser(t.Context(), "u", "", "", false)
	if err != nil {
		t.Fatal(err)
	}
	id := k.Files.NewUUID("4zz18")
	_, err = k.Gate.Commit(t.Context(), collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: user.UUID, Name: "c"}}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := k.Files.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Release)
	return c
}

// put commits a file.
func put(t *testing.T, c *collfs.Collection, path, content string) {
	t.Helper()
	stage, err := c.NewStage(int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stage.Write(t.Context(), []byte(content)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Link(stage, path, collfs.LinkOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(t.Context(), true); err != nil {
		t.Fatal(err)
	}
}

// Between the moment when a block gets its name in the store and the one when
// its handle knows it, garbage is collected without any grace.
func TestABlockThatIsJustBeingNamedIsNoGarbage(t *testing.T) {
	ctx := t.Context()
	k := newKeeper(t, func(k *Keeper) {
		if _, err := k.Collect(t.Context(), CollectOptions{}); err != nil {
			t.Error(err)
		}
	})
	c := openCollection(t, k)
	put(t, c, "f", "bytes")
	if err := k.Spool.StoreAll(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := c.OpenRead("f")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := make([]byte, 5)
	if _, err := r.ReadAt(ctx, p, 0); err != nil || string(p) != "bytes" {
		t.Errorf("the file reads %q, %v", p, err)
	}
}

func TestWhatWasNamedAfterACollectionOfGarbageIsGarbageLater(t *testing.T) {
	k := newKeeper(t, func(*Keeper) {})
	c := openCollection(t, k)
	collect := func() Collected {
		t.Helper()
		r, err := k.Collect(t.Context(), CollectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	collect()
	put(t, c, "f", "some bytes")
	if err := k.Spool.StoreAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove("f", nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	would, err := k.Collect(t.Context(), CollectOptions{DryRun: true})
	if err != nil || would.Trashed != 1 {
		t.Errorf("Collect() without changes = %+v, %v; want one block that would go", would, err)
	}
	if r := collect(); r.Trashed != 1 {
		t.Errorf("Collect() = %+v; want the block of the removed file in the trash", r)
	}
}

func TestADryRunCountsWhatIsOver(t *testing.T) {
	k := newKeeper(t, func(*Keeper) {})
	rec, err := openCollection(t, k).Record(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Gate.Commit(t.Context(), collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.Trash, UUID: rec.UUID}}}); err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, true, false} {
		if r, err := k.Collect(t.Context(), CollectOptions{DryRun: dry}); err != nil || r.Collections != 1 {
			t.Errorf("Collect() = %+v, %v with dry run %v; want one collection", r, err, dry)
		}
	}
}

// garbage stores a block that nothing refers to but the reader it returns.
func garbage(t *testing.T, k *Keeper) *collfs.Reader {
	t.Helper()
	c := openCollection(t, k)
	put(t, c, "f", "bytes")
	if err := k.Spool.StoreAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := c.OpenRead("f")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Remove("f", nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatAReaderHasOpenIsNoGarbage(t *testing.T) {
	k := newKeeper(t, func(*Keeper) {})
	r := garbage(t, k)
	if got, err := k.Collect(t.Context(), CollectOptions{}); err != nil || got.Trashed != 0 {
		t.Errorf("Collect() = %+v, %v; want nothing in the trash", got, err)
	}
	p := make([]byte, 5)
	if _, err := r.ReadAt(t.Context(), p, 0); err != nil || string(p) != "bytes" {
		t.Errorf("the file that was open reads %q, %v", p, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := k.Collect(t.Context(), CollectOptions{}); err != nil || got.Trashed != 1 {
		t.Errorf("Collect() after it was closed = %+v, %v; want its block in the trash", got, err)
	}
}

func TestGarbageStaysForItsGrace(t *testing.T) {
	k := newKeeper(t, func(*Keeper) {})
	garbage(t, k).Close()
	// Its file is old, as of data that was deleted long after it was written.
	files, err := filepath.Glob(filepath.Join(filepath.Dir(k.TrashDir), "blocks", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	old := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(files[0], old, old); err != nil {
		t.Fatal(err)
	}
	for look := range 3 {
		if got, err := k.Collect(t.Context(), CollectOptions{Grace: time.Hour}); err != nil || got.Unreferenced != 1 || got.Trashed != 0 {
			t.Errorf("look %d: Collect() = %+v, %v; want a block that waits", look, got, err)
		}
	}
	if got, err := k.Collect(t.Context(), CollectOptions{}); err != nil || got.Trashed != 1 {
		t.Errorf("Collect() without grace = %+v, %v; want the block in the trash", got, err)
	}
}
