package posix_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"keepdav/test/posix"
)

// faults are what a server can get wrong, and the cases that must tell: names,
// or the beginnings of names with a star behind.
var faults = []struct {
	fault string
	found []string
}{
	{"ctime is mtime", []string{"chmod/moves-ctime-only", "chown/moves-ctime-only", "unlink/moves-ctime-of-what-has-other-links",
		"link/moves-ctime-and-times-of-directory", "rename/full-dir-moves-its-ctime", "rename/file-moves-its-ctime", "rename/dir-moves-its-ctime",
		"rename/symlink-moves-its-ctime", "rename/fifo-moves-its-ctime", "rename/socket-moves-its-ctime", "rename/replaced-file-loses-a-link",
		"utimensat/moves-ctime", "xattr/moves-ctime-only-*"}},
	{"one link each", []string{"open/O_TMPFILE-exclusive-cannot-be-linked", "unlink/open-file-lives-on", "link/shares-everything",
		"link/two-thousand-of-one-file", "link/symlink-itself", "link/open-file-by-descriptor", "link/removed-file-is-ENOENT", "link/fifo",
		"link/socket", "rename/replaced-open-file-lives-on", "rename/hard-links-of-one-file-are-left"}},
	{"set-id bits are never cleared", []string{"suid/write-by-a-user-clears-it", "suid/write-by-the-owner-clears-it", "suid/pwrite-by-a-user-clears-it",
		"suid/pwrite-by-the-owner-clears-it", "suid/append-by-a-user-clears-it", "suid/append-by-the-owner-clears-it", "suid/truncate-by-a-user-clears-it",
		"suid/truncate-by-the-owner-clears-it", "suid/ftruncate-by-a-user-clears-it", "suid/ftruncate-by-the-owner-clears-it",
		"suid/open-truncate-by-a-user-clears-it", "suid/open-truncate-by-the-owner-clears-it", "suid/fallocate-by-a-user-clears-it",
		"suid/fallocate-by-the-owner-clears-it", "suid/copy-file-range-clears-it"}},
	{"times have no nanoseconds", []string{"symlink/has-times-of-its-own", "utimensat/omit-leaves-one-time", "utimensat/now-sets-the-time-of-now",
		"utimensat/by-descriptor", "utimensat/after-write-on-the-same-descriptor-stays", "utimensat/symlink-is-followed-or-not",
		"utimensat/sets-nanoseconds-of-*", "utimensat/the-epoch", "utimensat/before-the-epoch", "utimensat/1901", "utimensat/2038",
		"utimensat/after-2038", "utimensat/after-2106", "utimensat/2400"}},
	{"chmod forgets the sticky bit", []string{"chmod/sets-every-mode", "chmod/sets-every-mode-of-directory", "chmod/by-descriptor",
		"suid/write-by-a-user-clears-it", "suid/pwrite-by-a-user-clears-it", "suid/append-by-a-user-clears-it", "suid/truncate-by-a-user-clears-it",
		"suid/ftruncate-by-a-user-clears-it", "suid/open-truncate-by-a-user-clears-it", "suid/fallocate-by-a-user-clears-it",
		"exchange/in-a-sticky-directory-is-EPERM", "xattr/of-a-stranger's-sticky-directory-is-EPERM"}},
	{"mkdir lets the group write", []string{"umask/mkdir"}},
	{"rmdir of a full directory is EPERM", []string{"rmdir/not-empty-is-ENOTEMPTY", "rmdir/holding-a-symlink-or-fifo-is-ENOTEMPTY",
		"rmdir/failed-one-moves-no-times"}},
	{"rename replaces full directories", []string{"rename/dir-over-full-dir*", "rename/full-dir-over-full-dir*"}},
	{"exchange replaces", []string{"exchange/file-and-*", "exchange/dir-and-*", "exchange/full-dir-and-*", "exchange/symlink-and-*",
		"exchange/fifo-and-*", "exchange/contents-stay-with-their-inodes", "exchange/moves-link-counts"}},
	{"symlinks are cut", []string{"symlink/target-lengths"}},
	{"setxattr knows no flags", []string{"xattr/create-and-replace-flags-of-*"}},
	{"the hundredth name is not listed", []string{"link/two-thousand-of-one-file", "readdir/ten-thousand-names", "readdir/offsets-lead-back",
		"readdir/offsets-hold-after-removals", "readdir/removing-while-reading-removes-all", "readdir/stable-names-come-once-while-others-change",
		"readdir/two-handles-have-two-positions", "name/single-bytes"}},
}

// TestFaultsAreFoundByTheCasesMeant runs the table on servers that are wrong in
// one way each: the areas of the cases that are meant to tell, and all areas
// with KEEPDAV_LONG. What takes long, and the rules that all path calls share,
// are left out.
func TestFaultsAreFoundByTheCasesMeant(t *testing.T) {
	for _, f := range faults {
		t.Run(f.fault, func(t *testing.T) {
			dir := mounted(t, "/dev/shm", f.fault)
			areas := make(map[string]bool)
			for _, pattern := range f.found {
				areas[area(pattern)] = true
			}
			meant := func(name string) bool {
				return slices.ContainsFunc(f.found, func(pattern string) bool {
					start, star := strings.CutSuffix(pattern, "*")
					return name == pattern || star && strings.HasPrefix(name, start)
				})
			}
			var found int
			for i, c := range posix.Cases() {
				if loopbackSkips[c.Name] != "" || c.Needs&(posix.Big|posix.ZeroRange) != 0 || !areas[area(c.Name)] && os.Getenv("KEEPDAV_LONG") == "" ||
					slices.Contains([]string{"path", "sticky", "storm"}, area(c.Name)) ||
					c.Name == "open/truncate-empties-and-moves-times" { // a loopback over tmpfs does not, if the file is empty
					continue
				}
				err := c.In(dir, fmt.Sprint(i))
				switch {
				case err == nil && meant(c.Name):
					t.Errorf("%s does not find it", c.Name)
				case err != nil && !meant(c.Name) && !strings.Contains(err.Error(), "remove what the case made"):
					t.Errorf("%s fails too: %v", c.Name, err)
				case err != nil:
					found++
				}
			}
			if found < len(f.found) {
				t.Errorf("%d cases found it; want at least %d", found, len(f.found))
			}
		})
	}
}

// area is the first part of a case's name.
func area(name string) string {
	a, _, _ := strings.Cut(name, "/")
	return a
}
