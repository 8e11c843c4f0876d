package crash

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"

	"keepdav/test/target"
)

// TestFullDiskRefusesAndRecovers fills the file system of the store. Uploads are
// refused with 507, what was acknowledged stays, reading and deleting go on, and
// when there is room again uploads work without a restart.
func TestFullDiskRefusesAndRecovers(t *testing.T) {
	target.NeedRoot(t)
	target.Binary(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	store := filepath.Join(dir, "store")
	s := target.Start(t, target.Options{Kind: target.KeepDAV, Store: store})
	c := s.MakeCollection(t, "full")

	// Every size meets the end of the room at another place: one that large
	// uploads leave is still enough for many small ones.
	kept := map[string][]byte{}
	n := 0
	fill := func(size int) (refused int) {
		for refused < 3 {
			n++
			name, data := fmt.Sprintf("%sf%d", c, n), make([]byte, size)
			rand.Read(data)
			resp, err := s.Do("PUT", name, data)
			if err != nil {
				t.Fatalf("PUT of %d bytes as the disk fills up: %v", size, err)
			}
			switch resp.StatusCode {
			case http.StatusCreated:
				kept[name] = data
			case http.StatusInsufficientStorage:
				refused++
				s.Must(t, []int{404}, "GET", name, nil)
			default:
				t.Fatalf("PUT of %d bytes on a full disk = %d; want 507\n%.300s", size, resp.StatusCode, resp.Body)
			}
			if n > 100000 {
				t.Fatal("the disk never fills up")
			}
		}
		return refused
	}
	for _, size := range []int{8 << 20, 1 << 20, 64 << 10, 4096} {
		fill(size)
	}
	t.Logf("%d files until it was full", len(kept))
	check := func(when string) {
		t.Helper()
		for name, data := range kept {
			if got := s.Must(t, []int{200}, "GET", name, nil).Body; !bytes.Equal(got, data) {
				t.Fatalf("%s: %s has other bytes than were acknowledged", when, name)
			}
		}
	}
	check("on the full disk")

	// An overwrite that finds no room leaves the old content.
	for name, data := range kept {
		if len(data) == 8<<20 {
			s.Must(t, []int{507}, "PUT", name, make9MiB(t))
			break
		}
	}
	check("after an overwrite that was refused")

	deleted := 0
	for name := range kept {
		resp, err := s.Do("DELETE", name, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch resp.StatusCode {
		case http.StatusNoContent:
			delete(kept, name)
			deleted++
		case http.StatusInsufficientStorage: // not a byte is left even to note it
		default:
			t.Fatalf("DELETE on a full disk = %d", resp.StatusCode)
		}
		if deleted == 3 {
			break
		}
	}
	if deleted == 0 {
		t.Error("nothing can be deleted on a full disk: its user has no way out")
	}

	if err := syscall.Mount("", dir, "tmpfs", syscall.MS_REMOUNT, "size=256m"); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		name, data := fmt.Sprintf("%safter%d", c, i), make([]byte, 3<<20)
		rand.Read(data)
		s.Must(t, []int{201}, "PUT", name, data)
		kept[name] = data
	}
	check("with room again")
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if err := target.Fsck(t, target.KeepDAV, store); err != nil {
		t.Error(err)
	}
	s = target.Start(t, target.Options{Kind: target.KeepDAV, Store: store})
	check("after a restart")
}

func make9MiB(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 9<<20)
	rand.Read(b)
	return b
}
