package posix

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func dirCases() []Case {
	return []Case{
		{"mkdir/makes-an-empty-directory", 0, func(e *Env) {
			mkdir("d")
			equal("type", kind(lstat("d")), unix.S_IFDIR)
			equal("names", len(must(os.ReadDir("d"))), 0)
		}},
		{"mkdir/link-counts", DirLinks, func(e *Env) {
			before := links(".")
			mkdir("d")
			equal("links of the new one", links("d"), 2)
			equal("links of its parent", links("."), before+1)
			mkdir("d/e")
			file("d/f", "")
			equal("links", links("d"), 3)
			do(unix.Rmdir("d/e"))
			equal("links", links("d"), 2)
		}},
		{"mkdir/moves-times-of-parent", DirTimes | Ctime, func(e *Env) {
			moves(at{".": mtime | ctime}, func() { mkdir("d") })
			moves(at{"d": mtime | ctime, ".": still}, func() { mkdir("d/e") })
			moves(at{"d": still, ".": still}, func() { want(unix.Mkdir("d/e", 0o755), unix.EEXIST) })
		}},
		{"mkdir/dot-names-are-EEXIST", 0, func(e *Env) {
			for _, p := range []string{".", "..", "/", "./", "../"} {
				want(unix.Mkdir(p, 0o755), unix.EEXIST)
			}
		}},
		{"mkdir/has-one-winner", 0, func(e *Env) {
			won := make([]bool, 8)
			e.together(8, func(i int) {
				err := unix.Mkdir("d", 0o755)
				if won[i] = err == nil; !won[i] {
					want(err, unix.EEXIST)
				}
			})
			equal("winners", strings.Count(fmt.Sprint(won), "true"), 1)
		}},
		{"mkdir/a-thousand-levels-deep", 0, func(e *Env) {
			for range 1000 {
				mkdir("level")
				do(unix.Chdir("level"))
			}
			file("f", "deep")
			for range 1000 {
				do(unix.Chdir(".."))
			}
			equal("inode of where we are", lstat(".").Ino, lstat(e.dir).Ino)
			do(unix.Chdir(strings.Repeat("level/", 600)))
			do(unix.Chdir(strings.Repeat("level/", 400)))
			equal("content", content("f"), "deep")
		}},
		{"rmdir/removes", 0, func(e *Env) {
			mkdir("d")
			do(unix.Rmdir("d"))
			missing("d")
			mkdir("d")
		}},
		{"rmdir/moves-times-of-parent", DirTimes | Ctime, func(e *Env) {
			mkdir("d")
			moves(at{".": mtime | ctime}, func() { do(unix.Rmdir("d")) })
		}},
		{"rmdir/not-empty-is-ENOTEMPTY", 0, func(e *Env) {
			for _, s := range []sort{aFile, aDir, aFullDir} {
				mkdir("d")
				s.make("d/x")
				want(unix.Rmdir("d"), unix.ENOTEMPTY, unix.EEXIST)
				lstat("d/x")
				do(os.RemoveAll("d"))
			}
		}},
		{"rmdir/holding-a-symlink-or-fifo-is-ENOTEMPTY", Symlinks | Specials, func(e *Env) {
			for _, s := range []sort{aSymlink, aFifo, aSocket} {
				mkdir("d")
				s.make("d/x")
				want(unix.Rmdir("d"), unix.ENOTEMPTY, unix.EEXIST)
				do(unix.Unlink("d/x"))
				do(unix.Rmdir("d"))
			}
		}},
		{"rmdir/failed-one-moves-no-times", DirTimes | Ctime, func(e *Env) {
			aFullDir.make("d")
			moves(at{".": still, "d": still}, func() { want(unix.Rmdir("d"), unix.ENOTEMPTY, unix.EEXIST) })
		}},
		{"rmdir/other-types-are-ENOTDIR", Symlinks | Specials, func(e *Env) {
			mkdir("d")
			symlink("d", "s")
			want(unix.Rmdir("s"), unix.ENOTDIR)
			for _, s := range sorts {
				if s.mode != unix.S_IFDIR {
					s.make(s.name)
					want(unix.Rmdir(s.name), unix.ENOTDIR)
					lstat(s.name)
				}
			}
			lstat("d")
		}},
		{"rmdir/dot-is-EINVAL-and-dot-dot-ENOTEMPTY", 0, func(e *Env) {
			mkdir("d")
			mkdir("d/e")
			want(unix.Rmdir("d/e/."), unix.EINVAL)
			want(unix.Rmdir("."), unix.EINVAL)
			want(unix.Rmdir("d/e/.."), unix.ENOTEMPTY)
		}},
		{"rmdir/open-directory-is-empty-and-takes-nothing", 0, func(e *Env) {
			mkdir("d")
			fd := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			do(unix.Rmdir("d"))
			noNames(fd)
			_, err := unix.Openat(fd, "f", unix.O_CREAT|unix.O_RDWR, 0o644)
			want(err, unix.ENOENT)
			want(unix.Mkdirat(fd, "d", 0o755), unix.ENOENT)
			want(unix.Fstatat(fd, "f", new(unix.Stat_t), 0), unix.ENOENT)
			equal("type", kind(fstat(fd)), unix.S_IFDIR)
		}},
		{"rmdir/open-directory-has-no-links", DirLinks, func(e *Env) {
			mkdir("d")
			fd := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			do(unix.Rmdir("d"))
			equal("links", int(fstat(fd).Nlink), 0)
		}},
		{"rmdir/new-directory-of-the-name-is-another", 0, func(e *Env) {
			mkdir("d")
			fd := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			do(unix.Rmdir("d"))
			mkdir("d")
			file("d/f", "")
			noNames(fd)
			check(fstat(fd).Ino != lstat("d").Ino, "both have inode %d", lstat("d").Ino)
		}},
		{"rmdir/working-directory", 0, func(e *Env) {
			mkdir("d")
			do(unix.Chdir("d"))
			do(unix.Rmdir("../d"))
			want(unix.Mkdir("x", 0o755), unix.ENOENT)
			_, err := unix.Getcwd(make([]byte, 4096))
			want(err, unix.ENOENT)
			equal("type", kind(stat(".")), unix.S_IFDIR)
			do(unix.Chdir(e.dir))
			missing("d")
		}},
	}
}

func unlinkCases() []Case {
	all := []Case{
		{"unlink/directory-is-EISDIR", 0, func(e *Env) {
			mkdir("d")
			want(unix.Unlink("d"), unix.EISDIR)
			lstat("d")
		}},
		{"unlink/symlink-leaves-its-target", Symlinks, func(e *Env) {
			file("f", "content")
			mkdir("d")
			symlink("f", "s")
			symlink("d", "t")
			do(unix.Unlink("s"))
			do(unix.Unlink("t"))
			equal("content", content("f"), "content")
			lstat("d")
		}},
		{"unlink/moves-ctime-of-what-has-other-links", Links | Ctime | DirTimes, func(e *Env) {
			mkdir("d")
			file("d/f", "content")
			do(unix.Link("d/f", "g"))
			moves(at{"d": mtime | ctime, "g": ctime, ".": still}, func() { do(unix.Unlink("d/f")) })
			equal("links", links("g"), 1)
			equal("content", content("g"), "content")
		}},
		{"unlink/open-file-lives-on", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Unlink("f"))
			missing("f")
			equal("links", int(fstat(fd).Nlink), 0)
			equal("content", readAll(fd), "content")
			writeAt(fd, "more", 7)
			equal("content", readAll(fd), "contentmore")
			do(unix.Ftruncate(fd, 3))
			equal("size", fstat(fd).Size, 3)
			do(unix.Ftruncate(fd, 5))
			equal("content", readAll(fd), "con\x00\x00")
			do(unix.Fsync(fd))
			equal("content", readAll(fd), "con\x00\x00")
			missing("f")
		}},
		{"unlink/open-file-takes-attributes", Modes, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Unlink("f"))
			do(unix.Fchmod(fd, 0o600))
			equal("mode", perm(fstat(fd)), 0o600)
			do(futimens(fd, unix.Timespec{Sec: 1}, unix.Timespec{Sec: 2}))
			equal("mtime", fstat(fd).Mtim.Sec, 2)
		}},
		{"unlink/open-file-takes-an-owner", Root | Owners, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Unlink("f"))
			do(unix.Fchown(fd, 1, 2))
			equal("owner", int(fstat(fd).Uid), 1)
		}},
		{"unlink/open-file-opened-again-by-descriptor", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Unlink("f"))
			again := e.open(procPath(fd), unix.O_RDWR, 0)
			equal("content", readAll(again), "content")
			writeAt(again, "C", 0)
			equal("content", readAll(fd), "Content")
		}},
		{"unlink/new-file-of-the-name-is-another", 0, func(e *Env) {
			file("f", "old")
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Unlink("f"))
			file("f", "new one")
			check(lstat("f").Ino != fstat(fd).Ino, "both have inode %d", fstat(fd).Ino)
			writeAt(fd, "OLD", 0)
			equal("old content", readAll(fd), "OLD")
			equal("new content", content("f"), "new one")
			e.closeNow(fd)
			equal("new content", content("f"), "new one")
		}},
		{"unlink/last-close-frees-the-room", 0, func(e *Env) {
			for range 3 {
				fd := e.open("f", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o644)
				writeAll(fd, strings.Repeat("x", 1<<20))
				do(unix.Unlink("f"))
				equal("size", fstat(fd).Size, 1<<20)
				e.closeNow(fd)
			}
			equal("names", len(must(os.ReadDir("."))), 0)
		}},
		{"unlink/dot-is-an-error", 0, func(e *Env) {
			mkdir("d")
			want(unix.Unlink("d/."), unix.EISDIR, unix.EPERM, unix.EINVAL)
			want(unix.Unlink("d/.."), unix.EISDIR, unix.EPERM, unix.EINVAL)
		}},
		{"unlink/of-a-file-without-permissions-works", Root | Owners, func(e *Env) {
			file("f", "")
			do(unix.Chmod("f", 0))
			e.as(alice, func() { do(unix.Unlink("f")) }) // the directory decides
		}},
	}
	for _, s := range sorts {
		if s.mode == unix.S_IFDIR {
			continue
		}
		all = append(all, Case{"unlink/removes-" + s.name, s.needs | DirTimes | Ctime, func(e *Env) {
			s.make("x")
			moves(at{".": mtime | ctime}, func() { do(unix.Unlink("x")) })
			missing("x")
			s.make("x")
		}})
	}
	return all
}

func linkCases() []Case {
	all := []Case{
		{"link/shares-everything", Links, func(e *Env) {
			file("f", "content")
			mkdir("d")
			do(unix.Link("f", "d/g"))
			equal("links", links("f"), 2)
			equal("stat", fmt.Sprint(lstat("f")), fmt.Sprint(lstat("d/g")))
			fd := e.open("d/g", unix.O_RDWR, 0)
			writeAt(fd, "C", 0)
			equal("content", content("f"), "Content")
			do(unix.Truncate("f", 3))
			equal("content", readAll(fd), "Con")
			do(unix.Chmod("f", 0o600))
			equal("mode", perm(lstat("d/g")), 0o600)
			do(unix.Unlink("f"))
			equal("links", links("d/g"), 1)
			equal("content", content("d/g"), "Con")
		}},
		{"link/moves-ctime-and-times-of-directory", Links | Ctime | DirTimes, func(e *Env) {
			file("f", "content")
			mkdir("d")
			moves(at{"f": ctime, "d": mtime | ctime, ".": still}, func() { do(unix.Link("f", "d/g")) })
			moves(at{"f": still, "d": still}, func() { want(unix.Link("f", "d/g"), unix.EEXIST) })
		}},
		{"link/two-thousand-of-one-file", Links, func(e *Env) {
			file("f", "content")
			mkdir("d")
			for i := range 2000 {
				do(unix.Link("f", fmt.Sprintf("d/%d", i)))
			}
			equal("links", links("f"), 2001)
			equal("links", links("d/1999"), 2001)
			equal("names", len(must(os.ReadDir("d"))), 2000)
			for i := range 2000 {
				do(unix.Unlink(fmt.Sprintf("d/%d", i)))
			}
			equal("links", links("f"), 1)
		}},
		{"link/directory-is-EPERM", Links, func(e *Env) {
			mkdir("d")
			want(unix.Link("d", "e"), unix.EPERM)
			missing("e")
		}},
		{"link/symlink-itself", Links | Symlinks, func(e *Env) {
			file("f", "content")
			symlink("f", "s")
			do(unix.Link("s", "t"))
			equal("type", kind(lstat("t")), unix.S_IFLNK)
			equal("inode", lstat("t").Ino, lstat("s").Ino)
			equal("links", links("s"), 2)
			equal("links of its target", links("f"), 1)
		}},
		{"link/target-of-symlink-if-told", Links | Symlinks, func(e *Env) {
			file("f", "content")
			symlink("f", "s")
			do(unix.Linkat(unix.AT_FDCWD, "s", unix.AT_FDCWD, "t", unix.AT_SYMLINK_FOLLOW))
			equal("inode", lstat("t").Ino, lstat("f").Ino)
		}},
		{"link/open-file-by-descriptor", Links, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Linkat(unix.AT_FDCWD, procPath(fd), unix.AT_FDCWD, "g", unix.AT_SYMLINK_FOLLOW))
			equal("links", links("f"), 2)
		}},
		{"link/removed-file-is-ENOENT", Links, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			do(unix.Unlink("f"))
			want(unix.Linkat(unix.AT_FDCWD, procPath(fd), unix.AT_FDCWD, "g", unix.AT_SYMLINK_FOLLOW), unix.ENOENT)
		}},
		{"link/onto-itself-is-EEXIST", Links, func(e *Env) {
			file("f", "content")
			want(unix.Link("f", "f"), unix.EEXIST)
			equal("links", links("f"), 1)
		}},
		{"link/needs-write-permission-on-the-new-directory-only", Links | Root | Owners, func(e *Env) {
			mkdir("from")
			file("from/f", "content")
			do(unix.Chown("from/f", alice.uid, alice.gid))
			mkdir("to")
			do(unix.Chown("to", alice.uid, alice.gid))
			e.as(alice, func() {
				do(unix.Link("from/f", "to/f"))
				want(unix.Link("to/f", "from/g"), unix.EACCES)
			})
		}},
		{"link/written-through-all-names-at-once", Links, func(e *Env) {
			file("f", "")
			do(unix.Link("f", "g"))
			e.together(2, func(i int) {
				fd := must(unix.Open([]string{"f", "g"}[i], unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0))
				for range 200 {
					writeAll(fd, "x")
				}
				do(unix.Close(fd))
			})
			equal("size", lstat("f").Size, 400)
			equal("size", lstat("g").Size, 400)
		}},
	}
	for _, s := range []sort{aFifo, aSocket} {
		all = append(all, Case{"link/" + s.name, Links | Specials, func(e *Env) {
			s.make("x")
			do(unix.Link("x", "y"))
			equal("links", links("x"), 2)
			equal("type", kind(lstat("y")), s.mode)
			do(unix.Unlink("x"))
			equal("links", links("y"), 1)
		}})
	}
	return all
}

func symlinkCases() []Case {
	readlink := func(p string) string {
		b := make([]byte, 5000)
		return string(b[:must(unix.Readlink(p, b))])
	}
	return []Case{
		{"symlink/keeps-its-target-byte-for-byte", Symlinks, func(e *Env) {
			for i, target := range []string{"a", "/", "..", ".", "a//b/", "/none/such", "\xff\xfe", "line\nbreak", " ", "ü", strings.Repeat("long/", 200)} {
				p := fmt.Sprint(i)
				symlink(target, p)
				equal("target", readlink(p), target)
				equal("size", lstat(p).Size, int64(len(target)))
				equal("type", kind(lstat(p)), unix.S_IFLNK)
				equal("links", links(p), 1)
			}
		}},
		{"symlink/target-lengths", Symlinks, func(e *Env) {
			for _, n := range []int{1, 59, 60, 61, 127, 128, 255, 256, 1023, 1024, 4000, 4094, 4095} {
				target := strings.Repeat("t", n)
				symlink(target, fmt.Sprint(n))
				equal("target", readlink(fmt.Sprint(n)), target)
			}
		}},
		{"symlink/target-of-4096-bytes-is-ENAMETOOLONG", Symlinks, func(e *Env) {
			want(unix.Symlink(strings.Repeat("t", 4096), "s"), unix.ENAMETOOLONG)
			missing("s")
		}},
		{"symlink/empty-target-is-ENOENT", Symlinks, func(e *Env) { want(unix.Symlink("", "s"), unix.ENOENT) }},
		{"symlink/readlink-cuts-at-the-buffer", Symlinks, func(e *Env) {
			symlink("target", "s")
			b := []byte("......")
			equal("n", must(unix.Readlink("s", b[:3])), 3)
			equal("buffer", string(b), "tar...")
		}},
		{"symlink/readlink-of-others-is-EINVAL", Symlinks, func(e *Env) {
			file("f", "")
			mkdir("d")
			for _, p := range []string{"f", "d"} {
				_, err := unix.Readlink(p, make([]byte, 10))
				want(err, unix.EINVAL)
			}
		}},
		{"symlink/moves-times-of-directory", Symlinks | DirTimes | Ctime, func(e *Env) {
			moves(at{".": mtime | ctime}, func() { symlink("x", "s") })
		}},
		{"symlink/is-relative-to-where-it-is", Symlinks, func(e *Env) {
			mkdir("a")
			mkdir("b")
			file("a/f", "in a")
			file("b/f", "in b")
			symlink("f", "a/s")
			equal("content", content("a/s"), "in a")
			do(unix.Rename("a/s", "b/s"))
			equal("content", content("b/s"), "in b")
			symlink("../a/f", "b/t")
			equal("content", content("b/t"), "in a")
			do(unix.Rename("b", "a/b"))
			_, err := unix.Open("a/b/t", unix.O_RDONLY, 0)
			want(err, unix.ENOENT)
		}},
		{"symlink/to-a-directory-leads-there", Symlinks, func(e *Env) {
			mkdir("d")
			symlink("d", "s")
			file("s/f", "content")
			equal("content", content("d/f"), "content")
			equal("names", len(must(os.ReadDir("s"))), 1)
			want(unix.Rmdir("s"), unix.ENOTDIR)
		}},
		{"symlink/has-times-of-its-own", Symlinks, func(e *Env) {
			file("f", "")
			symlink("f", "s")
			was := lstat("f").Mtim
			do(unix.UtimesNanoAt(unix.AT_FDCWD, "s", []unix.Timespec{{Sec: 100, Nsec: 1}, {Sec: 200, Nsec: 2}}, unix.AT_SYMLINK_NOFOLLOW))
			equal("mtime of link", lstat("s").Mtim, unix.Timespec{Sec: 200, Nsec: 2})
			equal("mtime of target", lstat("f").Mtim, was)
		}},
		{"symlink/replaced-by-rename-at-once", Symlinks, func(e *Env) {
			file("one", "1")
			file("two", "2")
			symlink("one", "s")
			symlink("two", "new")
			do(unix.Rename("new", "s"))
			equal("target", readlink("s"), "two")
			equal("content", content("s"), "2")
		}},
	}
}
