package collfs_test

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"

	"keepdav/collfs"
	"keepdav/keepio"
)

// slowLoads is a catalog whose loads take until they are let go.
type slowLoads struct {
	collfs.Catalog
	let chan struct{}
}

func (s slowLoads) Load(ctx context.Context, id collfs.UUID, version int) (collfs.Record, collfs.Saved, error) {
	rec, saved, err := s.Catalog.Load(ctx, id, version)
	<-s.let
	return rec, saved, err
}

// A version that is just being opened may expire meanwhile: then nobody else
// refers to its blocks.
func TestWhatIsJustBeingLoadedIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		f := e.fs()
		id := e.catalog.Create(e.home, "a")
		c := e.open(f, id)
		put(t, c, "f", "content")
		commit(t, c)

		let := make(chan struct{})
		f = e.fs(func(cfg *collfs.Config) { cfg.Catalog = slowLoads{e.catalog, let} })
		opened := make(chan *collfs.Collection)
		go func() {
			c, err := f.Open(context.Background(), id)
			if err != nil {
				t.Error(err)
			}
			opened <- c
		}()
		synctest.Wait()
		held := make(chan int)
		go func() {
			n := 0
			f.Held(func(collfs.UUID, keepio.Segment) { n++ })
			held <- n
		}()
		synctest.Wait()
		close(let)
		if n := <-held; n != 1 {
			t.Errorf("%d segments are held; want that of the file", n)
		}
		(<-opened).Release()
	})
}

// An upload may come to its end when its collection is in the trash.
func TestWhatIsDeletedIsNotHeldForWhatWasNotCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		f := e.fs()
		id := e.catalog.Create(e.home, "a")
		c, err := f.Open(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		put(t, c, "f", "content")
		for _, kind := range []collfs.RecordOpKind{collfs.Trash, collfs.DeleteNow} {
			if _, err := e.catalog.Commit(context.Background(), collfs.Tx{Records: []collfs.RecordOp{{Kind: kind, UUID: id}}}); err != nil {
				t.Fatal(err)
			}
			if err := c.Commit(context.Background(), true); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Commit() = %v; want ErrNotExist", err)
			}
		}
		c.Release()
		synctest.Wait()
		f.Unload(func(collfs.UUID, int) bool { return true })
		n := 0
		f.Held(func(collfs.UUID, keepio.Segment) { n++ })
		if n != 0 {
			t.Errorf("%d segments of a deleted collection are held", n)
		}
	})
}
