package sqlite

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"keepdav/keepio"
)

// The disk may lack what can be read, when a sync failed before.
func TestCarriedBytesAreWrittenAlsoWhereTheyCanBeRead(t *testing.T) {
	s := openStore(t, Config{})
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	missing, err := s.restoreFile(path, []keepio.Extent{{From: 2, To: 5, Data: []byte("234")}})
	if missing != 0 || err != nil {
		t.Errorf("restoreFile() = %d, %v; want 0, nil", missing, err)
	}
	if st, err := os.Stat(path); err != nil || !st.ModTime().After(old) {
		t.Errorf("nothing was written: %v, %v", st, err)
	}
	if got, err := os.ReadFile(path); string(got) != "0123456789" || err != nil {
		t.Errorf("the file has %q, %v", got, err)
	}
}
