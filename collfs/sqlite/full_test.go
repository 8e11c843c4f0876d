package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"keepdav/collfs"
	"keepdav/keepio"
)

// smallDisk mounts a file system of some size.
func smallDisk(t *testing.T, size string) (dir string) {
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all space that is left, and returns how to give it back.
func fill(t *testing.T, dir string) (release func()) {
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			t.Error(err)
		}
	}
}

func TestAFullDiskLosesNothing(t *testing.T) {
	disk := smallDisk(t, "24m")
	dir := filepath.Join(disk, "store")
	s := openStore(t, Config{Dir: dir, Reserve: 2 << 20, SegmentSize: 256 << 10, ApplyDelay: time.Millisecond})
	home := newUser(t, s, "ann", false)
	id := newCollection(t, s, home, "data")
	if err := s.Ready(); err != nil {
		t.Errorf("Ready = %v before the disk is full", err)
	}
	release := fill(t, disk)
	rev := int64(0)
	big := make([]byte, 20<<10)
	change := func() error {
		_, err := s.Commit(t.Context(), collfs.Tx{Durable: true, Changes: []collfs.Change{{Collection: id, Base: rev,
			Ops: []collfs.Op{{Kind: collfs.OpMkdir, Path: fmt.Sprint("d", rev), Attr: collfs.Attr{Extra: map[string]string{"xattr:x": string(big)}}}}}}})
		if err == nil {
			rev++
		}
		return err
	}
	var err error
	for err == nil {
		err = change()
	}
	if !errors.Is(err, keepio.ErrFull) {
		t.Fatalf("commit on a full disk: %v; want keepio.ErrFull", err)
	}
	if rev < 2<<20/(20<<10)/4 {
		t.Errorf("only %d commits went on while there was a reserve", rev)
	}
	if err := s.Ready(); !errors.Is(err, keepio.ErrFull) {
		t.Errorf("Ready = %v; want keepio.ErrFull", err)
	}
	if rec, err := s.Record(t.Context(), id); err != nil || rec.Revision != rev {
		t.Errorf("record has revision %d, %v; want %d", rec.Revision, err, rev)
	}
	for range 3 {
		if err := change(); !errors.Is(err, keepio.ErrFull) {
			t.Errorf("commit on a full disk: %v; want keepio.ErrFull", err)
		}
	}
	_, err = s.Commit(t.Context(), collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateProject, UUID: s.NewProjectUUID(), Owner: home, Name: "p"}}})
	if !errors.Is(err, keepio.ErrFull) || errors.Is(err, collfs.ErrUnknownOutcome) {
		t.Errorf("new project on a full disk: %v; want keepio.ErrFull and a known outcome", err)
	}
	release()
	s.reserve.restore()
	for range 20 {
		if err := change(); err != nil {
			t.Fatalf("commit after space was freed: %v", err)
		}
	}
	if err := s.waitApplied(t.Context(), s.journal.Last()); err != nil {
		// The applier may be waiting before it tries again.
		t.Log(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Log(err)
	}
	s = openStore(t, Config{Dir: dir, Reserve: 2 << 20, SegmentSize: 256 << 10})
	if got := tree(t, s, id, 0); len(got) < int(rev)*len(big) {
		t.Errorf("a tree of %d bytes is left; want %d directories", len(got), rev)
	}
	if rec, err := s.Record(t.Context(), id); err != nil || rec.Revision != rev {
		t.Errorf("record has revision %d, %v; want %d", rec.Revision, err, rev)
	}
	if err := s.Ready(); err != nil {
		t.Errorf("Ready = %v after space was freed", err)
	}
}
