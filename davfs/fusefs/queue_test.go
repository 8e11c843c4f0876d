package fusefs_test

import (
	"context"
	"fmt"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/davfs/fusefs"
	"keepdav/keepio"
	"keepdav/keepio/memstore"
)

// A kernel may hold up notices for long, while others go on writing.
func TestNoticesThatWaitAreBoundedByWhatIsHeld(t *testing.T) {
	ctx := context.Background()
	spool, err := keepio.OpenSpool(keepio.SpoolConfig{
		Dir: t.TempDir() + "/open", Store: new(memstore.Store), NoSync: true,
		NextID: func() (keepio.BlockID, error) { return 1, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	cat, home := memcatalog.New()
	files := collfs.NewFS(collfs.Config{Catalog: cat, Spool: spool})
	t.Cleanup(func() {
		if err := files.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := spool.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	c, err := files.Open(ctx, cat.Create(home, "c"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	v := files.NewView(func(collfs.Notice) {})
	defer v.Close()
	root := v.Root(c)
	defer root.Forget(1)
	var all []collfs.Notice
	for i := range 1000 {
		all = append(all,
			collfs.Notice{Path: "f", At: root.Key()},                    // written to
			collfs.Notice{Path: "f", In: root.Key()},                    // replaced
			collfs.Notice{Path: fmt.Sprintf("d/%d", i)},                 // held by nobody
			collfs.Notice{Path: fmt.Sprintf("d/%d", i), At: root.Key()}) // of several names
	}
	if got := fusefs.QueuedOf(all...); got != 2 {
		t.Errorf("of %d notices %d wait; want 2", len(all), got)
	}
}
