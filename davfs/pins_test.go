package davfs_test

import (
	"io/fs"
	"testing"
	"testing/synctest"

	"keepdav/collfs"
	"keepdav/davfs"
)

// What is in use cannot be unloaded.
func TestRefusedTransferLetsGoOfItsTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.mkdir("/home/c")
		r.put("/home/f", "loose")
		_, err := r.Move(r.ctx, "/home/c", "/home/f", davfs.CopyOptions{})
		wantErr(t, "Move over a loose file", err, fs.ErrExist)
		synctest.Wait()
		r.files.Unload(func(collfs.UUID, int) bool { return true })
		cs, done := r.files.Loaded()
		defer done()
		for _, c := range cs {
			t.Errorf("%s is in use after the transfer", c.UUID())
		}
	})
}
