package posix

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Needs is a set of what a file system can do.
type Needs uint32

const (
	Root      Needs = 1 << iota // the test is root and may act as any user
	Owners                      // files have owners and groups, and permission bits are enforced
	Modes                       // permission bits are kept, set-id bits and the sticky bit too
	Ctime                       // the time of the last change of attributes is kept
	Atime                       // reading updates the access time, at least as relatime does
	DirTimes                    // directories have times that follow their entries
	DirLinks                    // a directory's link count is two and one more for each subdirectory
	Links                       // hard links
	Symlinks                    // symbolic links
	Specials                    // FIFOs, sockets and device nodes
	Xattr                       // extended attributes in the user namespace
	Mmap                        // shared writable mappings
	Allocate                    // fallocate in its default mode and KEEP_SIZE
	Punch                       // fallocate PUNCH_HOLE
	ZeroRange                   // fallocate ZERO_RANGE
	SeekHole                    // SEEK_HOLE finds a hole of a megabyte, not only the end
	Tmpfile                     // O_TMPFILE
	Exchange                    // RENAME_EXCHANGE
	Direct                      // O_DIRECT
	Big                         // sparse files beyond 4 GiB, 200 MiB of room
)

var needNames = []string{"Root", "Owners", "Modes", "Ctime", "Atime", "DirTimes", "DirLinks", "Links", "Symlinks", "Specials",
	"Xattr", "Mmap", "Allocate", "Punch", "ZeroRange", "SeekHole", "Tmpfile", "Exchange", "Direct", "Big"}

func (n Needs) String() string {
	var names []string
	for i, name := range needNames {
		if n&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// A Case is one claim about a file system.
type Case struct {
	Name  string // area/claim
	Needs Needs
	run   func(e *Env)
}

// Check tries the case in dir, an existing directory that it makes a mess of.
func (c Case) Check(dir string) error {
	e := &Env{dir: dir}
	defer e.close()
	return onThread(dir, nil, func() { c.run(e) })
}

// Cases returns all cases, in the order in which Run runs them.
func Cases() []Case {
	return slices.Concat(pathCases(), modeCases(), ownerCases(), stickyCases(), suidCases(), openCases(), truncateCases(),
		dirCases(), unlinkCases(), linkCases(), symlinkCases(), specialCases(), renameCases(), exchangeCases(), timeCases(),
		xattrCases(), readdirCases(), nameCases(), dataCases(), holeCases(), copyCases(), mmapCases(), lockCases(), stormCases())
}

// Options says which cases are not run.
type Options struct {
	Skip    map[string]string // name of a case → why it cannot hold here
	Without Needs             // what the file system does not promise
}

// Run checks the file system of dir, each case in a directory of its own below
// it, and removes those. The options must not name a case that does not exist.
// TestMain of the calling package calls Child.
func Run(t *testing.T, dir string, o Options) {
	t.Helper()
	if !childAsked {
		t.Fatal("TestMain does not call posix.Child")
	}
	if os.Geteuid() != 0 {
		o.Without |= Root
	}
	cases := Cases()
	for name := range o.Skip {
		if !slices.ContainsFunc(cases, func(c Case) bool { return c.Name == name }) {
			t.Errorf("Options.Skip names %q, which is no case", name)
		}
	}
	for i, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if missing := c.Needs & o.Without; missing != 0 {
				t.Skipf("needs %v", missing)
			}
			if why, ok := o.Skip[c.Name]; ok {
				t.Skip(why)
			}
			if err := c.In(dir, fmt.Sprintf("case%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
}

// In checks the case in a new directory of that name in dir, and removes it.
func (c Case) In(dir, name string) error {
	d := filepath.Join(dir, name)
	if err := os.Mkdir(d, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(d, 0o777); err != nil {
		return err
	}
	err := c.Check(d)
	if rm := removeAll(d); rm != nil && err == nil {
		err = fmt.Errorf("remove what the case made: %w", rm)
	}
	return err
}

// removeAll removes a tree, also one whose directories nobody may search.
func removeAll(dir string) error {
	if os.Geteuid() != 0 {
		// Errors show in RemoveAll.
		_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if d != nil && d.IsDir() {
				_ = unix.Chmod(p, 0o700)
			}
			return nil
		})
	}
	return os.RemoveAll(dir)
}
