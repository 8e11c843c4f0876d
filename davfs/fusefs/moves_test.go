package fusefs_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The kernel knows the file by its inode: what has become another file by a move would
// show the changes of the one that it was.
func TestANameIsNotMovedAwayFromItsFile(t *testing.T) {
	m := newMount(t)
	m.do("mkdir", "/home/e", "")
	m.write("a", "old")
	if err := os.Mkdir(filepath.Join(m.dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(m.dir, "a"), filepath.Join(m.dir, "d/b")); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"a": "a", "d": "d/b"} {
		for _, to := range []string{"/home/e/", "/home/"} {
			if err := os.Rename(filepath.Join(m.dir, name), m.top+to+name); !errors.Is(err, syscall.EXDEV) {
				t.Errorf("rename %s to %s = %v; want EXDEV", name, to, err)
				continue
			}
			m.write(file, "new"+to)
			if got := m.do("get", "/home/c/a", ""); got != "new"+to {
				t.Errorf("the file has %q", got)
			}
		}
	}
	m.do("remove", "/home/c/d/b", "")
	if err := os.Rename(filepath.Join(m.dir, "d"), m.top+"/home/e/d"); err != nil {
		t.Errorf("rename of a directory whose files have no other names = %v", err)
	}
}
