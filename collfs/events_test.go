package collfs_test

import (
	"context"
	"os"
	"testing"

	"keepdav/collfs"
)

// Who takes a notice may have to wait for something that a writer holds.
func TestNoticesAreDeliveredWithoutTheWritersLock(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	c := e.open(f, e.catalog.Create(e.home, "c"))
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	if err != nil {
		t.Fatal(err)
	}
	what, notices := "", 0
	defer f.Subscribe(func(collfs.Notice) {
		notices++
		if h.Writing() {
			t.Errorf("%s: a notice comes with the lock", what)
		}
	})()
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"write", func() error { _, err := h.WriteAt(ctx, []byte("content"), 0); return err }},
		{"overwrite", func() error { _, err := h.WriteAt(ctx, []byte("C"), 0); return err }},
		{"truncate", func() error { return h.Truncate(3) }},
	} {
		what, notices = step.what, 0
		if err := step.do(); err != nil || notices == 0 {
			t.Errorf("%s = %v, with %d notices", what, err, notices)
		}
	}
	what = "close"
	if err := h.Close(ctx); err != nil {
		t.Error(err)
	}
}
