package fusefs_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"keepdav/collfs"
	"keepdav/davfs/fusefs"
)

// What docs/ticket-3198.md names rows of, and no other test says of a mount.

var locator = regexp.MustCompile(`[0-9a-f]{32}\+\d+`)

func (m *mount) manifest() string {
	m.t.Helper()
	return m.do("manifest", "/home/"+m.name, "")
}

// T03
func TestOpenForWritingWithoutAWriteCommitsNothing(t *testing.T) {
	m := newMount(t)
	m.write("f", "hello")
	m.must(syncDir(m.dir)) // what creating it has committed in the background is over
	commits, manifest := m.do("commits", "", ""), m.manifest()
	for _, flags := range []int{os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_CREATE} {
		f, err := os.OpenFile(m.path("f"), flags, 0o644)
		m.must(err)
		m.must(f.Close())
	}
	m.must(syncDir(m.dir))
	if got := m.do("commits", "", ""); got != commits {
		t.Errorf("there were %s commits; want %s as before", got, commits)
	}
	if got := m.manifest(); got != manifest {
		t.Errorf("the manifest is %q; want %q", got, manifest)
	}
}

// T08, T12
func TestSmallFilesShareABlockAndKeepItWhenRenamed(t *testing.T) {
	m := newMount(t)
	for i := range 100 {
		m.write(fmt.Sprintf("f%03d", i), strings.Repeat(fmt.Sprint(i%10), 1024))
	}
	blocks := locator.FindAllString(m.manifest(), -1)
	if len(blocks) != 1 {
		t.Fatalf("100 files of 1 KiB are in the blocks %q; want one", blocks)
	}
	m.must(os.Mkdir(m.path("d"), 0o755))
	for i := range 100 {
		m.must(os.Rename(m.path(fmt.Sprintf("f%03d", i)), m.path(fmt.Sprintf("d/%03d", 99-i))))
	}
	if got := locator.FindAllString(m.manifest(), -1); len(got) != 1 || got[0] != blocks[0] {
		t.Errorf("after renames the blocks are %q; want %q", got, blocks)
	}
}

// T09
func TestEmptyDirectoryIsInTheManifestAndInNoListing(t *testing.T) {
	m := newMount(t)
	m.must(os.MkdirAll(m.path("a/b"), 0o755))
	if got, want := m.manifest(), "./a/b d41d8cd98f00b204e9800998ecf8427e+0 0:0:\\056\n"; !strings.HasSuffix(got, want) {
		t.Errorf("the manifest is %q; want %q at its end", got, want)
	}
	if es, err := os.ReadDir(m.path("a/b")); err != nil || len(es) > 0 {
		t.Errorf("an empty directory has %v, %v", es, err)
	}
}

// T10, T40, T41
func TestConditionsAreErrnos(t *testing.T) {
	m := newMount(t, func(o *fusefs.Options) {
		o.Layout.Entries = append(o.Layout.Entries, fusefs.Entry{Name: "users", Target: "/users"})
	})
	m.write("f", "x")
	m.must(os.Mkdir(m.path("d"), 0o755))
	m.write("d/f", "x")
	for _, c := range []struct {
		what string
		got  error
		want error
	}{
		{"mkdir of a directory", os.Mkdir(m.path("d"), 0o755), syscall.EEXIST},
		{"mkdir of a file", os.Mkdir(m.path("f"), 0o755), syscall.EEXIST},
		{"mkdir of all to a file", os.MkdirAll(m.path("f/x"), 0o755), syscall.ENOTDIR},
		{"mkdir of a collection", os.Mkdir(m.dir, 0o755), syscall.EEXIST},
		{"rmdir of what is not empty", syscall.Rmdir(m.path("d")), syscall.ENOTEMPTY},
		{"rmdir of a collection that is not", syscall.Rmdir(m.dir), syscall.ENOTEMPTY},
		{"rmdir of a file", syscall.Rmdir(m.path("f")), syscall.ENOTDIR},
		{"unlink of a directory", syscall.Unlink(m.path("d")), syscall.EISDIR},
		{"writing to a directory", os.WriteFile(m.path("d"), nil, 0o644), syscall.EISDIR},
		{"a file below a file", os.WriteFile(m.path("f/x"), nil, 0o644), syscall.ENOTDIR},
		{"truncating what is not there", os.Truncate(m.path("none"), 0), syscall.ENOENT},
		{"mkdir where nothing may be made", os.Mkdir(filepath.Join(m.top, "x"), 0o755), syscall.EROFS},
		{"a file where none can be", os.WriteFile(filepath.Join(m.top, "by_id/x"), nil, 0o644), syscall.EROFS},
		{"a link to another collection", os.Link(m.path("f"), filepath.Join(m.top, "home/f")), syscall.EXDEV},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s = %v; want %v", c.what, c.got, c.want)
		}
	}
}

// T41
func TestEveryKindOfErrorHasAnErrno(t *testing.T) {
	for _, k := range collfs.Kinds() {
		if fusefs.Errnos[k] == 0 {
			t.Errorf("kind %d has no number", k)
		}
	}
	if n := len(collfs.Kinds()); len(fusefs.Errnos) != n {
		t.Errorf("the table has %d rows for %d kinds", len(fusefs.Errnos), n)
	}
}

// T65
func TestConflictNamesAreFoundByScripts(t *testing.T) {
	m := newMount(t)
	m.write("f.txt", "old")
	f, err := os.OpenFile(m.path("f.txt"), os.O_RDWR, 0)
	m.must(err)
	m.do("put", m.at("f.txt"), "THEIRS")
	within(t, "theirs", func() bool { return m.has("f.txt", "THEIRS") })
	_, err = f.WriteAt([]byte("OURS"), 0)
	m.must(err)
	m.must(f.Close())
	within(t, "both", func() bool { return len(strings.Fields(m.names())) == 2 })
	name := strings.Fields(m.names())[1]
	if !regexp.MustCompile(`^f\.txt~\d{8}-\d{6}~conflict~$`).MatchString(name) || strings.Contains(name, ":") {
		t.Errorf("the file of the conflict is called %q", name)
	}
	if out, err := exec.Command("sh", "-c", "rm -- "+m.dir+"/*~conflict~").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := m.names(); got != "f.txt" || !m.has("f.txt", "OURS") {
		t.Errorf("left are %s; want ours alone", got)
	}
}
