package dirstore

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"
)

// TestADirectoryWhoseNameIsNotDurableIsMadeAgain lets the sync fail that makes
// the name of a directory durable.
func TestADirectoryWhoseNameIsNotDurableIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: filepath.Join(dir, "blocks"), Sums: filepath.Join(dir, "sums"), Trash: filepath.Join(dir, "trash")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	syncs := 0
	s.syncDir = func(path string) error {
		if syncs++; syncs == 1 {
			return syscall.EIO
		}
		return syncPath(path)
	}
	data := []byte("some bytes")
	if _, err := s.WriteBlock(t.Context(), data); !errors.Is(err, syscall.EIO) {
		t.Fatalf("WriteBlock = %v", err)
	}
	if _, err := s.WriteBlock(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	if syncs != 2 {
		t.Errorf("the name of the directory was synced %d times; want once more after the failure", syncs)
	}
}
