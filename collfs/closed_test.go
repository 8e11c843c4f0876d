package collfs_test

import (
	"errors"
	"os"
	"testing"

	"keepdav/collfs"
)

// A write and the end of its handle wait for the same lock. By the time that the
// write has it, what the handles of the file shared may be gone.
func TestAWriteThatWaitedForTheEndOfItsHandleFails(t *testing.T) {
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	if err != nil {
		t.Fatal(err)
	}
	h.Drop()
	err = h.Change(func() error {
		t.Error("the file is changed")
		return nil
	})
	if !errors.Is(err, collfs.ErrClosed) {
		t.Errorf("a change after the end = %v; want %v", err, collfs.ErrClosed)
	}
}
