package fusefs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"keepdav/davfs/fusefs"
)

// fillEnv makes trees larger: so many directories, and so many files in one.
const fillEnv = "KEEPDAV_FUSEFS_FILL"

func fillSize(t *testing.T) int {
	t.Helper()
	if s := os.Getenv(fillEnv); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 3000
}

func dropCaches(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
		t.Skip("the kernel's caches can be dropped by root only: ", err)
	}
}

// rss is the serving process's memory, in KiB.
func (m *mount) rss() (kib int) {
	m.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid))
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib
		}
	}
	return 0
}

// Whoever walks a large tree does not have all of it in the memory of the mount from
// then on; what programs use stays.
func TestWalkDoesNotFillTheMemory(t *testing.T) {
	for _, kernel := range []string{"new", "old"} {
		t.Run(kernel, func(t *testing.T) { walk(t, kernel == "old") })
	}
}

func walk(t *testing.T, old bool) {
	n := fillSize(t)
	const limit = 500
	m := newMount(t, func(o *fusefs.Options) { o.DirectoryCache = limit * 400 })
	if old {
		m.do("old kernel", "", "")
	}
	m.do("fill", "/home/c", "", n)
	held, err := os.Open(filepath.Join(m.dir, "000001/50/f"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	before, err := held.Stat()
	if err != nil {
		t.Fatal(err)
	}
	cwd := filepath.Join(m.dir, "000001/51")
	t.Chdir(cwd)
	start := m.rss()
	count, most := 0, 0
	err = filepath.WalkDir(m.dir, func(_ string, _ fs.DirEntry, err error) error {
		if count++; count%500 == 0 {
			most = max(most, m.stats().Inodes)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := 1 + n/100 + 2*n + 1 + n; count != want {
		t.Errorf("the walk met %d entries; want %d", count, want)
	}
	t.Logf("most inodes: %d; memory %d KiB before, %d KiB after; pruned %d", most, start, m.rss(), m.stats().Pruned)
	bound := 2 * limit
	if old {
		bound += 2 * (n + n/100) // directories stay
	}
	if most > 2*bound {
		t.Errorf("the mount had %d inodes; want about %d at most", most, bound)
	}
	eventually(t, "inodes are pruned", func() bool { return m.stats().Inodes <= bound })
	if after, err := held.Stat(); err != nil || !os.SameFile(before, after) {
		t.Errorf("an open file is another one: %v", err)
	}
	if _, err := os.Stat("f"); err != nil {
		t.Errorf("in the working directory: %v", err)
	}
	if got, err := os.Readlink("/proc/self/cwd"); err != nil || got != cwd {
		t.Errorf("the working directory is %q, %v; want %q", got, err, cwd)
	}
	t.Chdir("/")
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	dropCaches(t)
	eventually(t, "the kernel has forgotten all but the way in", func() bool {
		dropCaches(t)
		return m.stats().Inodes <= 5
	})
}
