package fusefs_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"keepdav/davfs/fusefs"
	"keepdav/test/apps"
	"keepdav/test/fsx"
	"keepdav/test/posix"
)

// The ways to mount that differ in what the kernel does itself.
var ways = map[string]func(*fusefs.Options){
	"Default":      func(*fusefs.Options) {},
	"Posix":        asPosix,
	"WriteThrough": func(o *fusefs.Options) { asPosix(o); o.WriteCache = false },
}

func asPosix(o *fusefs.Options) { o.Posix, o.AllowOther = true, true }

// What cannot hold, and why. docs/mount.md tells users.
const (
	sameProcess = "wants record locks of one process to exclude each other, which POSIX does not, nor a local disk"
	unseenHoles = "what the kernel has not written yet would look like a hole, so a file that is open for writing tells nothing of its holes"
	oldBlocks   = "the blocks of a file that is being written are a second old"
	farFuture   = "times are kept in nanoseconds of 64 bits, which end in 2262"
)

var (
	posixtestSkip = map[string]string{"FcntlFlockLocksFile": sameProcess}
	suiteSkip     = map[string]string{"utimensat/2400": farFuture}
	// with the kernel's write-back cache
	posixtestCachedSkip = map[string]string{"LseekEnxioCheck": unseenHoles, "LseekHoleSeeksToEOF": unseenHoles}
	suiteCachedSkip     = map[string]string{
		"seek/SEEK_DATA-and-SEEK_HOLE-tell-no-data-a-hole": unseenHoles,
		"seek/SEEK_HOLE-finds-holes":                       unseenHoles,
		"seek/SEEK_HOLE-without-holes-is-the-end":          unseenHoles,
		"stat/blocks-and-device-are-plausible":             oldBlocks,
	}
)

func cachedToo(t *testing.T, always, cached map[string]string) map[string]string {
	skip := maps.Clone(always)
	if filepath.Base(t.Name()) != "WriteThrough" {
		maps.Copy(skip, cached)
	}
	return skip
}

func TestPosixtest(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			m := newMount(t, way)
			skip := cachedToo(t, posixtestSkip, posixtestCachedSkip)
			for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
				t.Run(name, func(t *testing.T) {
					if why, ok := skip[name]; ok {
						t.Skip(why)
					}
					dir := filepath.Join(m.dir, name)
					if err := os.Mkdir(dir, 0o755); err != nil {
						t.Fatal(err)
					}
					posixtest.All[name](t, dir)
				})
			}
		})
	}
}

func TestPosixSuite(t *testing.T) {
	if testing.Short() {
		t.Skip("short: a thousand cases one after the other find no races that random operations do not")
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			m := newMount(t, way)
			o := posix.Options{Skip: cachedToo(t, suiteSkip, suiteCachedSkip), Without: posix.Atime}
			if name == "Default" { // nobody else may use it
				o.Without |= posix.Root | posix.Owners | posix.Specials
			}
			posix.Run(t, m.dir, o)
		})
	}
}

// TestRandomOperations tries 300,000 operations, and ten million if KEEPDAV_LONG is set.
func TestRandomOperations(t *testing.T) {
	ops := 50_000
	switch {
	case testing.Short():
		ops = 3_000
	case os.Getenv("KEEPDAV_LONG") != "":
		ops = 1_700_000
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			m := newMount(t, way)
			without, err := fsx.Unsupported(m.dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, files := range []int{1, 3} {
				if err := fsx.Run(fsx.Options{Dir: m.dir, Seed: uint64(files), Ops: ops, Files: files, Without: without, Remount: m.forget}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("short: programs take half a minute, and find no other races than the suites")
	}
	m := newMount(t)
	for _, x := range apps.Run(t, m.dir, apps.Options{}) {
		t.Logf("%+v", x)
	}
}
