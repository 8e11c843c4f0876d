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

// Nobody tells of names in folders.
func TestNamesInFoldersAreLookedUpAgain(t *testing.T) {
	for _, how := range []string{"made", "moved there", "directory"} {
		m := newMount(t)
		f := m.top + "/home/f"
		switch how {
		case "made":
			if err := os.WriteFile(f, []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
		case "moved there":
			m.write("f", "old")
			if err := os.Rename(filepath.Join(m.dir, "f"), f); err != nil {
				t.Fatal(err)
			}
		case "directory":
			if err := os.Mkdir(filepath.Join(m.dir, "f"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(m.dir, "f"), f); err != nil {
				t.Fatal(err)
			}
		}
		h, err := os.Open(f) // else the kernel may forget the name by itself
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		m.do("move", "/home/f", "/home/g")
		eventually(t, how+": the old name is gone", func() bool { _, err := os.Stat(f); return os.IsNotExist(err) })
	}
}

// What is found by its hash, or as an old version, has the UUID of what is there now.
func TestNothingMovesInOrOutOfWhatCannotChange(t *testing.T) {
	m := newMount(t)
	m.write("f", "content")
	m.do("put", "/home/loose", "loose")
	frozen := m.top + "/by_id/" + m.do("pdh", "/home/c", "")
	if _, err := os.Stat(frozen + "/f"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(frozen+"/f", m.top+"/home/taken"); !errors.Is(err, syscall.EROFS) {
		t.Errorf("rename out of it = %v; want EROFS", err)
	}
	if err := os.Rename(m.top+"/home/loose", frozen+"/put"); !errors.Is(err, syscall.EROFS) {
		t.Errorf("rename into it = %v; want EROFS", err)
	}
	if got := m.names(); got != "f" {
		t.Errorf("the collection has %q; want f", got)
	}
}

func TestWhatIsMadeInAFolderIsCommitted(t *testing.T) {
	m := newMount(t)
	if err := os.Symlink("target", m.top+"/home/l"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process sees the symlink", func() bool { _, err := m.another().try("get", "/home/l", ""); return err == nil })
}
