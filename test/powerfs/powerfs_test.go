package powerfs

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite"
)

// mounted is a new disk on a short path (Unix sockets have no room for long ones).
func mounted(t *testing.T) (*Disk, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts a file system: needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("mounts a file system: this machine has no /dev/fuse")
	}
	dir, err := os.MkdirTemp("", "powerfs-")
	if err != nil {
		t.Fatal(err)
	}
	d := NewDisk()
	m, err := Mount(dir, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(); err != nil {
			t.Error(err)
		}
		os.Remove(dir)
	})
	return d, dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fsync(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

const draws = 60

// after draws images and hands each, as a directory, to see.
func after(t *testing.T, d *Disk, see func(dir string)) {
	t.Helper()
	for seed := range uint64(draws) {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(seed))
		must(t, d.Image(seed).WriteTo(dir))
		see(dir)
	}
}

func filled(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

// outcome names what a file became, given its whole old and new contents.
func outcome(path string, old, now []byte) string {
	got, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "missing"
	case err != nil:
		return err.Error()
	case now != nil && bytes.Equal(got, now):
		return "new"
	case old != nil && bytes.Equal(got, old):
		return "old"
	}
	return "torn"
}

func wantOutcomes(t *testing.T, seen map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if seen[w] == 0 {
			t.Errorf("outcomes of %d draws: %v; want %q among them", draws, seen, w)
		}
		delete(seen, w)
	}
	if len(seen) > 0 {
		t.Errorf("outcomes %v besides the allowed %v", seen, want)
	}
}

func TestUnsyncedFileMayBeLostOrTorn(t *testing.T) {
	d, dir := mounted(t)
	now := filled('n', 20*pageSize+5)
	must(t, os.WriteFile(dir+"/a", now, 0o644))
	seen := map[string]int{}
	after(t, d, func(dir string) { seen[outcome(dir+"/a", nil, now)]++ })
	wantOutcomes(t, seen, "missing", "torn", "new")
}

func TestFsyncOfAFileDoesNotKeepItsName(t *testing.T) {
	d, dir := mounted(t)
	now := filled('n', 3*pageSize)
	must(t, os.WriteFile(dir+"/a", now, 0o644))
	fsync(t, dir+"/a")
	seen := map[string]int{}
	after(t, d, func(dir string) { seen[outcome(dir+"/a", nil, now)]++ })
	wantOutcomes(t, seen, "missing", "new")
}

func TestFsyncOfFileAndDirectoryKeepsBoth(t *testing.T) {
	d, dir := mounted(t)
	now := filled('n', 3*pageSize)
	must(t, os.WriteFile(dir+"/a", now, 0o644))
	fsync(t, dir+"/a")
	fsync(t, dir)
	seen := map[string]int{}
	after(t, d, func(dir string) { seen[outcome(dir+"/a", nil, now)]++ })
	wantOutcomes(t, seen, "new")
}

func TestFsyncOfDirectoryDoesNotKeepData(t *testing.T) {
	d, dir := mounted(t)
	now := filled('n', 8*pageSize)
	must(t, os.WriteFile(dir+"/a", now, 0o644))
	fsync(t, dir)
	seen := map[string]int{}
	after(t, d, func(dir string) { seen[outcome(dir+"/a", nil, now)]++ })
	wantOutcomes(t, seen, "torn", "new") // torn: also the empty file
}

func TestRenameOfSyncedFileReplacesWhole(t *testing.T) {
	d, dir := mounted(t)
	old, now := filled('o', 5*pageSize), filled('n', 7*pageSize)
	must(t, os.WriteFile(dir+"/a", old, 0o644))
	must(t, os.Mkdir(dir+"/tmp", 0o755))
	fsync(t, dir+"/a")
	fsync(t, dir)
	must(t, os.WriteFile(dir+"/tmp/new", now, 0o644))
	fsync(t, dir+"/tmp/new")
	must(t, os.Rename(dir+"/tmp/new", dir+"/a"))
	seen := map[string]int{}
	after(t, d, func(dir string) { seen[outcome(dir+"/a", old, now)]++ })
	wantOutcomes(t, seen, "old", "new")

	fsync(t, dir+"/tmp") // either side brings the whole rename
	after(t, d, func(dir string) {
		if got := outcome(dir+"/a", old, now); got != "new" {
			t.Errorf("after the fsync of the directory that it left: %s", got)
		}
	})
}

func TestRenameOfUnsyncedFileMayTear(t *testing.T) {
	d, dir := mounted(t)
	old, now := filled('o', 5*pageSize), filled('n', 7*pageSize)
	must(t, os.WriteFile(dir+"/a", old, 0o644))
	fsync(t, dir+"/a")
	fsync(t, dir)
	must(t, os.WriteFile(dir+"/b", now, 0o644))
	must(t, os.Rename(dir+"/b", dir+"/a"))
	fsync(t, dir)
	seen := map[string]int{}
	after(t, d, func(dir string) { seen[outcome(dir+"/a", old, now)]++ })
	wantOutcomes(t, seen, "torn", "new")
}

func TestOverwriteInPlaceMixesPages(t *testing.T) {
	d, dir := mounted(t)
	old, now := filled('o', 6*pageSize), filled('n', 6*pageSize)
	must(t, os.WriteFile(dir+"/a", old, 0o644))
	fsync(t, dir+"/a")
	fsync(t, dir)
	f, err := os.OpenFile(dir+"/a", os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(now, 0)
	must(t, err)
	must(t, f.Close())
	seen := map[string]int{}
	after(t, d, func(dir string) {
		got, err := os.ReadFile(dir + "/a")
		must(t, err)
		if len(got) != len(old) {
			t.Errorf("the size became %d", len(got))
		}
		for i := 0; i < len(got); i += pageSize {
			if p := got[i : i+pageSize]; !bytes.Equal(p, old[:pageSize]) && !bytes.Equal(p, now[:pageSize]) {
				t.Errorf("page %d is neither old nor new", i/pageSize)
			}
		}
		seen[outcome(dir+"/a", old, now)]++
	})
	wantOutcomes(t, seen, "old", "torn", "new")
}

func TestRemovalNeedsAnFsyncToo(t *testing.T) {
	d, dir := mounted(t)
	old := filled('o', pageSize)
	must(t, os.WriteFile(dir+"/a", old, 0o644))
	fsync(t, dir+"/a")
	fsync(t, dir)
	must(t, os.Remove(dir+"/a"))
	seen := map[string]int{}
	after(t, d, func(dir string) { seen[outcome(dir+"/a", old, nil)]++ })
	wantOutcomes(t, seen, "old", "missing")
	fsync(t, dir)
	after(t, d, func(dir string) {
		if got := outcome(dir+"/a", old, nil); got != "missing" {
			t.Errorf("after fsync: %s", got)
		}
	})
}

func TestImagesAreSnapshots(t *testing.T) {
	d, dir := mounted(t)
	old := filled('o', 2*pageSize)
	must(t, os.WriteFile(dir+"/a", old, 0o644))
	fsync(t, dir+"/a")
	fsync(t, dir)
	im := d.Image(1)
	f, err := os.OpenFile(dir+"/a", os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(filled('n', 2*pageSize), 0)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	out := filepath.Join(t.TempDir(), "image")
	must(t, im.WriteTo(out))
	if got := outcome(out+"/a", old, nil); got != "old" {
		t.Errorf("an image taken before the write has: %s", got)
	}
}

func TestNothingWorksAfterTheCut(t *testing.T) {
	d, dir := mounted(t)
	f, err := os.Create(dir + "/a")
	must(t, err)
	defer f.Close()
	d.Cut()
	if _, err := f.Write([]byte("x")); !errors.Is(err, syscall.EIO) {
		t.Errorf("write: %v; want EIO", err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync: %v; want EIO", err)
	}
	if err := os.Mkdir(dir+"/d", 0o755); !errors.Is(err, syscall.EIO) {
		t.Errorf("mkdir: %v; want EIO", err)
	}
}

// A model: random writes, holes and truncations read back as from a plain slice.
func TestReadsBackWhatWasWritten(t *testing.T) {
	_, dir := mounted(t)
	f, err := os.Create(dir + "/a")
	must(t, err)
	defer f.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	var model []byte
	for step := range 2000 {
		off := rng.IntN(40 * pageSize)
		n := 1 + rng.IntN(3*pageSize)
		switch rng.IntN(6) {
		case 0:
			must(t, f.Truncate(int64(off)))
			model = append(model, make([]byte, max(0, off-len(model)))...)[:off]
		case 1:
			must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, int64(off), int64(n)))
			if off < len(model) {
				clear(model[off:min(len(model), off+n)])
			}
		default:
			data := filled(byte(step), n)
			_, err := f.WriteAt(data, int64(off))
			must(t, err)
			model = append(model, make([]byte, max(0, off+n-len(model)))...)
			copy(model[off:], data)
		}
		if step%50 == 0 {
			must(t, f.Sync())
		}
	}
	got, err := os.ReadFile(dir + "/a")
	must(t, err)
	if !bytes.Equal(got, model) {
		t.Error("the file differs from its model")
	}
}

func TestHasWhatAServerNeeds(t *testing.T) {
	_, dir := mounted(t)
	f, err := os.Create(dir + "/a")
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(2*pageSize))
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	must(t, syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK, Len: 10}))
	must(t, unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE))
	// In a process of its own: a page fault stops a Go program's thread in a
	// place where the collector waits for it, and we are the file system.
	if out, err := child("mmap", dir+"/a").CombinedOutput(); err != nil {
		t.Fatalf("mmap: %v\n%s", err, out)
	}
	got := make([]byte, 6)
	_, err = f.ReadAt(got, pageSize)
	must(t, err)
	if string(got) != "mapped" {
		t.Errorf("after a write by mmap: %q", got)
	}
	must(t, os.Link(dir+"/a", dir+"/b"))
	must(t, os.Symlink("a", dir+"/c"))
	must(t, os.Remove(dir+"/a"))
	if info, err := os.Stat(dir + "/b"); err != nil || info.Size() != 2*pageSize {
		t.Errorf("the other link: %v, %v", info, err)
	}
	l, err := net.Listen("unix", dir+"/socket")
	must(t, err)
	c, err := net.Dial("unix", dir+"/socket")
	must(t, err)
	must(t, c.Close())
	must(t, l.Close())
	must(t, unix.Statfs(dir, new(unix.Statfs_t)))
}

// TestSQLiteSurvivesWithFullSync is the proof of the whole: a database that
// syncs keeps what it has acknowledged at every cut, and one that doesn't is
// caught.
func TestSQLiteSurvivesWithFullSync(t *testing.T) {
	if damaged := cutSQLite(t, "FULL"); len(damaged) > 0 {
		t.Errorf("synchronous=FULL lost something at %d cuts, the first: %s", len(damaged), damaged[0])
	}
}

func TestSQLiteWithoutSyncIsCaught(t *testing.T) {
	if damaged := cutSQLite(t, "OFF"); len(damaged) == 0 {
		t.Error("synchronous=OFF came through every cut: the disk forgets nothing")
	}
}

func cutSQLite(t *testing.T, synchronous string) (damaged []string) {
	d, dir := mounted(t)
	type cut struct {
		image *Image
		rows  int64
	}
	var cuts []cut
	var acknowledged atomic.Int64
	rng := rand.New(rand.NewPCG(7, 7))
	cmd := child("sqlite", fmt.Sprintf(dsn, dir, synchronous))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "0" { // the table is there
			fsync(t, dir)
			d.Before(func(op int64, image func(uint64) *Image) {
				if rng.IntN(12) == 0 {
					cuts = append(cuts, cut{image(rng.Uint64()), acknowledged.Load()})
				}
			})
		} else {
			acknowledged.Add(1)
		}
		_, err := in.Write([]byte{'\n'})
		must(t, err)
	}
	must(t, cmd.Wait())
	d.Before(nil)
	if len(cuts) < 10 || acknowledged.Load() != rowsWritten {
		t.Fatalf("only %d cuts, %d rows", len(cuts), acknowledged.Load())
	}
	for i, c := range cuts {
		out := filepath.Join(t.TempDir(), fmt.Sprint(i))
		must(t, c.image.WriteTo(out))
		if err := checkSQLite(t.Context(), fmt.Sprintf(dsn, out, synchronous), c.rows); err != nil {
			damaged = append(damaged, fmt.Sprintf("cut %d: %v", i, err))
		}
	}
	t.Logf("synchronous=%s: %d of %d cuts lost something", synchronous, len(damaged), len(cuts))
	return damaged
}

const (
	dsn         = "file:%s/db?_pragma=journal_mode(wal)&_pragma=synchronous(%s)&_pragma=wal_autocheckpoint(20)"
	rowsWritten = 60
)

// writeRows prints a line for each row that is committed, after one for the
// table, and waits for a line before it goes on.
func writeRows(ctx context.Context, dsn string) error {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)"); err != nil {
		return err
	}
	said := bufio.NewScanner(os.Stdin)
	fmt.Println(0)
	said.Scan()
	for i := range rowsWritten {
		if _, err := db.ExecContext(ctx, "INSERT INTO t VALUES (?, ?)", i, filled(byte(i), 3000)); err != nil {
			return err
		}
		fmt.Println(i + 1)
		said.Scan()
	}
	return nil
}

func writeByMapping(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := syscall.Mmap(int(f.Fd()), 0, 2*pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m[pageSize:], "mapped")
	return errors.Join(unix.Msync(m, unix.MS_SYNC), syscall.Munmap(m))
}

// child is this test binary, doing one thing with a file on the disk.
func child(what, arg string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "POWERFS_CHILD="+what, "POWERFS_ARG="+arg)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func TestMain(m *testing.M) {
	var err error
	switch arg := os.Getenv("POWERFS_ARG"); os.Getenv("POWERFS_CHILD") {
	case "sqlite":
		err = writeRows(context.Background(), arg)
	case "mmap":
		err = writeByMapping(arg)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func checkSQLite(ctx context.Context, dsn string, rows int64) error {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		return fmt.Errorf("integrity: %q, %w", verdict, err)
	}
	var n int64
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM t").Scan(&n); err != nil {
		return err
	}
	if n != rows && n != rows+1 {
		return fmt.Errorf("%d rows, %d were acknowledged", n, rows)
	}
	return nil
}
