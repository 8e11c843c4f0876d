package memcatalog_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/catalogtest"
	"keepdav/collfs/manifest"
	"keepdav/collfs/memcatalog"
	"keepdav/keepio"
)

// anyBlocks knows every block.
type anyBlocks struct{}

func (anyBlocks) ByID(keepio.BlockID) (*keepio.Block, error) { return nil, keepio.ErrNotFound }
func (anyBlocks) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return keepio.NewStoredBlock(hash, size)
}

func open(*testing.T) *catalogtest.Env {
	c, _ := memcatalog.New()
	var ahead atomic.Int64
	c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	c.SetPDH(func(_ collfs.UUID, s collfs.Saved) (collfs.PDH, error) {
		tree, err := collfs.Load(s, anyBlocks{})
		if err != nil {
			return "", err
		}
		text, err := tree.AppendManifest(nil, nil)
		return collfs.PDH(manifest.PDH(text)), err
	})
	e := &catalogtest.Env{
		Catalog: c, Folders: c, Blocks: anyBlocks{}, NewUUID: memcatalog.NewUUID, Name: "user",
		User: c.AddUser("user", false), Stranger: c.AddUser("stranger", false),
		Advance: func(d time.Duration) { ahead.Add(int64(d)) },
	}
	e.Grant = func(user, item collfs.UUID, level collfs.Level) error {
		c.Grant(user, item, level)
		return nil
	}
	return e
}

func TestMemcatalogIsACatalog(t *testing.T) { catalogtest.Run(t, open) }

// broken is a catalog with one fault.
type broken struct {
	collfs.Catalog
	collfs.Folders
	fault string
}

func (b *broken) Commit(ctx context.Context, tx collfs.Tx) ([]collfs.Record, error) {
	switch b.fault {
	case "base is not checked":
		for i := range tx.Changes {
			if r, err := b.Catalog.Record(ctx, tx.Changes[i].Collection); err == nil {
				tx.Changes[i].Base = r.Revision
			}
		}
	case "changes one by one":
		if len(tx.Changes) > 1 {
			for i := range tx.Changes {
				one := collfs.Tx{Changes: tx.Changes[i : i+1]}
				if i == 0 {
					one.Records = tx.Records
				}
				if _, err := b.Catalog.Commit(ctx, one); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}
	case "names are never taken":
		for i := range tx.Records {
			tx.Records[i].Unique = true
		}
	case "records in another order":
		recs, err := b.Catalog.Commit(ctx, tx)
		if len(recs) > 1 {
			recs[0], recs[1] = recs[1], recs[0]
		}
		return recs, err
	case "trash without a look":
		for i := range tx.Records {
			tx.Records[i].Still = false
		}
	case "attributes are lost":
		for _, ch := range tx.Changes {
			for i := range ch.Ops {
				ch.Ops[i].Attr = collfs.Attr{}
			}
		}
	case "empty tx fails":
		if len(tx.Changes)+len(tx.Records) == 0 {
			return nil, collfs.ErrNotSupported
		}
	}
	return b.Catalog.Commit(ctx, tx)
}

func (b *broken) Load(ctx context.Context, id collfs.UUID, version int) (collfs.Record, collfs.Saved, error) {
	if b.fault == "versions are ignored" {
		version = 0
	}
	rec, saved, err := b.Catalog.Load(ctx, id, version)
	if b.fault == "last change is lost" && len(saved.Changes) > 0 {
		saved.Changes = saved.Changes[:len(saved.Changes)-1]
	}
	return rec, saved, err
}

func (b *broken) Record(ctx context.Context, id collfs.UUID) (collfs.Record, error) {
	if b.fault == "context is ignored" {
		ctx = context.WithoutCancel(ctx)
	}
	rec, err := b.Catalog.Record(ctx, id)
	if b.fault == "trash is not shown" {
		rec.TrashAt = time.Time{}
	}
	return rec, err
}

func (b *broken) Watch(notify func(collfs.Event)) func() {
	stop := b.Catalog.Watch(func(e collfs.Event) {
		if b.fault == "old owner is missing" {
			e.OldOwner = ""
		}
		notify(e)
	})
	if b.fault == "stop does nothing" {
		return func() {}
	}
	return stop
}

func (b *broken) List(ctx context.Context, id collfs.UUID) ([]collfs.Entry, error) {
	entries, err := b.Folders.List(ctx, id)
	if b.fault == "list is not sorted" && len(entries) > 1 {
		entries[0], entries[1] = entries[1], entries[0]
	}
	return entries, err
}

func (b *broken) Access(ctx context.Context, user, id collfs.UUID) (collfs.Level, error) {
	if b.fault == "everybody may read" {
		return collfs.CanRead, nil
	}
	return b.Folders.Access(ctx, user, id)
}

func (b *broken) FindPDH(ctx context.Context, user collfs.UUID, pdh collfs.PDH) (collfs.UUID, int, error) {
	if b.fault == "data hashes are open to all" {
		user = ""
		id, v, err := b.Folders.FindPDH(ctx, user, pdh)
		if err != nil && pdh != "00000000000000000000000000000000+1" {
			return "memry-4zz18-aaaaaaaaaaaaaaa", v, nil
		}
		return id, v, err
	}
	return b.Folders.FindPDH(ctx, user, pdh)
}

func TestSuiteFindsBrokenCatalogs(t *testing.T) {
	for _, fault := range []string{
		"base is not checked", "changes one by one", "names are never taken", "records in another order", "attributes are lost",
		"empty tx fails", "versions are ignored", "last change is lost", "context is ignored", "trash is not shown",
		"old owner is missing", "stop does nothing", "list is not sorted", "everybody may read", "data hashes are open to all",
		"trash without a look",
	} {
		t.Run(fault, func(t *testing.T) {
			found := 0
			for _, c := range catalogtest.Cases() {
				e := open(t)
				b := &broken{Catalog: e.Catalog, Folders: e.Folders, fault: fault}
				e.Catalog, e.Folders = b, b
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				if c.Check(ctx, e) != nil {
					found++
				}
				cancel()
			}
			if found == 0 {
				t.Error("no case fails")
			}
		})
	}
}
