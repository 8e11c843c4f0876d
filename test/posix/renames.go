package posix

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func rename2(from, to string, flags uint) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags)
}

// overCases rename each type over each, within a directory and from another.
func overCases() []Case {
	var all []Case
	isDir := func(s sort) bool { return s.mode == unix.S_IFDIR }
	from := []sort{aFile, aDir, aFullDir, aSymlink, aFifo, aSocket}
	for _, a := range from {
		for _, b := range from {
			var errnos []unix.Errno
			switch {
			case isDir(a) && !isDir(b):
				errnos = []unix.Errno{unix.ENOTDIR}
			case !isDir(a) && isDir(b):
				errnos = []unix.Errno{unix.EISDIR}
			case b.name == aFullDir.name:
				errnos = []unix.Errno{unix.ENOTEMPTY, unix.EEXIST}
			}
			for where, to := range map[string]string{"": "y", "-elsewhere": "dir/y"} {
				verb := "replaces"
				if errnos != nil {
					verb = "over"
				}
				all = append(all, Case{fmt.Sprintf("rename/%s-%s-%s%s", a.name, verb, b.name, where), a.needs | b.needs, func(e *Env) {
					mkdir("dir")
					a.make("x")
					b.make(to)
					was, is := lstat("x"), lstat(to)
					err := unix.Rename("x", to)
					if errnos != nil {
						want(err, errnos...)
						equal("inode of the one", lstat("x").Ino, was.Ino)
						equal("inode of the other", lstat(to).Ino, is.Ino)
						return
					}
					do(err)
					missing("x")
					equal("inode", lstat(to).Ino, was.Ino)
					equal("type", kind(lstat(to)), a.mode)
				}})
			}
			all = append(all, Case{fmt.Sprintf("rename/NOREPLACE-%s-over-%s-is-EEXIST", a.name, b.name), a.needs | b.needs, func(e *Env) {
				a.make("x")
				b.make("y")
				was, is := lstat("x"), lstat("y")
				want(rename2("x", "y", unix.RENAME_NOREPLACE), unix.EEXIST)
				equal("inode of the one", lstat("x").Ino, was.Ino)
				equal("inode of the other", lstat("y").Ino, is.Ino)
			}})
		}
	}
	return all
}

func renameCases() []Case {
	all := overCases()
	for _, s := range append([]sort{aFullDir}, sorts...) {
		all = append(all,
			Case{"rename/" + s.name + "-moves-times-of-directories", s.needs | DirTimes, func(e *Env) {
				mkdir("a")
				mkdir("b")
				s.make("a/x")
				before := lstat("a/x").Mtim
				tick()
				was := at{"a": mtime, "b": mtime, ".": still}
				movesMtime(was, func() { do(unix.Rename("a/x", "b/y")) })
				equal("mtime of it", lstat("b/y").Mtim, before)
				movesMtime(at{"b": mtime}, func() { do(unix.Rename("b/y", "b/z")) })
			}},
			Case{"rename/" + s.name + "-moves-its-ctime", s.needs | Ctime, func(e *Env) {
				s.make("x")
				from := tick()
				do(unix.Rename("x", "y"))
				check(!stamp(lstat("y").Ctim).Before(from), "ctime = %v; want one after %v", stamp(lstat("y").Ctim), from)
			}},
			Case{"rename/" + s.name + "-NOREPLACE-to-a-free-name-works", s.needs, func(e *Env) {
				s.make("x")
				ino := lstat("x").Ino
				do(rename2("x", "y", unix.RENAME_NOREPLACE))
				equal("inode", lstat("y").Ino, ino)
				missing("x")
			}},
			Case{"rename/" + s.name + "-onto-itself-is-nothing", s.needs, func(e *Env) {
				s.make("x")
				moves(at{"x": still, ".": still}, func() {
					do(unix.Rename("x", "x"))
					do(unix.Rename("x", "./x"))
				})
			}},
		)
	}
	return append(all,
		Case{"rename/keeps-content-and-attributes", Modes, func(e *Env) {
			file("f", "content")
			do(unix.Chmod("f", 0o640))
			mkdir("d")
			do(unix.Rename("f", "d/g"))
			equal("content", content("d/g"), "content")
			equal("mode", perm(lstat("d/g")), 0o640)
		}},
		Case{"rename/directory-takes-its-tree-along", 0, func(e *Env) {
			mkdir("a")
			mkdir("a/b")
			file("a/b/f", "content")
			mkdir("to")
			do(unix.Rename("a", "to/c"))
			equal("content", content("to/c/b/f"), "content")
			missing("a")
			do(unix.Chdir("to/c"))
			equal("inode of ..", lstat("..").Ino, lstat(e.dir+"/to").Ino)
		}},
		Case{"rename/directory-moves-a-link-count", DirLinks, func(e *Env) {
			mkdir("a")
			mkdir("b")
			mkdir("a/d")
			do(unix.Rename("a/d", "b/d"))
			equal("links of the old parent", links("a"), 2)
			equal("links of the new parent", links("b"), 3)
			mkdir("a/d")
			do(unix.Rename("b/d", "a/d"))
			equal("links of the old parent", links("b"), 2)
			equal("links of the new parent", links("a"), 3)
		}},
		Case{"rename/replaced-file-loses-a-link", Links | Ctime, func(e *Env) {
			file("a", "a")
			file("b", "b")
			do(unix.Link("b", "kept"))
			from := tick()
			do(unix.Rename("a", "b"))
			equal("links", links("kept"), 1)
			equal("content", content("kept"), "b")
			check(!stamp(lstat("kept").Ctim).Before(from), "ctime of what was replaced did not move")
		}},
		Case{"rename/replaced-open-file-lives-on", 0, func(e *Env) {
			file("a", "new")
			file("b", "old")
			fd := e.open("b", unix.O_RDWR, 0)
			do(unix.Rename("a", "b"))
			equal("links", int(fstat(fd).Nlink), 0)
			writeAt(fd, "OLD", 0)
			equal("old", readAll(fd), "OLD")
			equal("new", content("b"), "new")
		}},
		Case{"rename/replaced-open-directory-is-gone", 0, func(e *Env) {
			mkdir("a")
			mkdir("b")
			fd := e.open("b", unix.O_RDONLY, 0)
			do(unix.Rename("a", "b"))
			want(unix.Mkdirat(fd, "x", 0o755), unix.ENOENT)
			mkdir("b/x")
		}},
		Case{"rename/open-file-follows", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			mkdir("d")
			do(unix.Rename("f", "d/g"))
			writeAt(fd, "C", 0)
			equal("content", content("d/g"), "Content")
			file("f", "another")
			writeAt(fd, "T", 6)
			equal("content", content("d/g"), "ContenT")
			equal("content", content("f"), "another")
		}},
		Case{"rename/hard-links-of-one-file-are-left", Links, func(e *Env) {
			file("f", "content")
			mkdir("d")
			do(unix.Link("f", "d/g"))
			do(unix.Rename("f", "d/g"))
			equal("links", links("f"), 2)
			equal("inode", lstat("d/g").Ino, lstat("f").Ino)
		}},
		Case{"rename/into-itself-is-EINVAL", 0, func(e *Env) {
			mkdir("d")
			mkdir("d/e")
			want(unix.Rename("d", "d/x"), unix.EINVAL)
			want(unix.Rename("d", "d/e/x"), unix.EINVAL)
			want(unix.Rename("d", "d/e"), unix.EINVAL)
			lstat("d/e")
		}},
		Case{"rename/over-an-ancestor-is-ENOTEMPTY", 0, func(e *Env) {
			mkdir("d")
			mkdir("d/e")
			file("d/f", "")
			want(unix.Rename("d/e", "d"), unix.ENOTEMPTY, unix.EEXIST)
			want(unix.Rename("d/f", "d"), unix.ENOTEMPTY, unix.EISDIR, unix.EEXIST)
		}},
		Case{"rename/dot-names-are-errors", 0, func(e *Env) {
			mkdir("d")
			mkdir("e")
			want(unix.Rename("d/.", "x"), unix.EBUSY, unix.EINVAL)
			want(unix.Rename("d/..", "x"), unix.EBUSY, unix.EINVAL)
			want(unix.Rename("e", "d/."), unix.EBUSY, unix.EINVAL)
			want(unix.Rename("e", "d/.."), unix.EBUSY, unix.EINVAL, unix.ENOTEMPTY)
		}},
		Case{"rename/trailing-slash-is-for-directories", 0, func(e *Env) {
			file("f", "")
			mkdir("d")
			want(unix.Rename("f", "x/"), unix.ENOTDIR)
			want(unix.Rename("f/", "x"), unix.ENOTDIR)
			do(unix.Rename("d/", "x/"))
			lstat("x")
		}},
		Case{"rename/symlink-and-not-its-target", Symlinks, func(e *Env) {
			file("f", "content")
			symlink("f", "s")
			do(unix.Rename("s", "t"))
			equal("type", kind(lstat("t")), unix.S_IFLNK)
			file("x", "new")
			do(unix.Rename("x", "t"))
			equal("content of the old target", content("f"), "content")
			equal("type", kind(lstat("t")), unix.S_IFREG)
		}},
		Case{"rename/over-a-symlink-to-a-directory", Symlinks, func(e *Env) {
			mkdir("d")
			symlink("d", "s")
			mkdir("e")
			want(unix.Rename("e", "s"), unix.ENOTDIR)
			file("f", "")
			do(unix.Rename("f", "s"))
			lstat("d")
		}},
		Case{"rename/needs-write-permission-on-both-directories", Root | Owners, func(e *Env) {
			mkdir("open")
			mkdir("shut")
			do(unix.Chmod("open", 0o777))
			for _, p := range []string{"open/f", "shut/f"} {
				file(p, "")
				do(unix.Chown(p, alice.uid, alice.gid))
			}
			e.as(alice, func() {
				want(unix.Rename("open/f", "shut/g"), unix.EACCES)
				want(unix.Rename("shut/f", "open/g"), unix.EACCES)
				want(unix.Rename("shut/f", "shut/g"), unix.EACCES)
				do(unix.Rename("open/f", "open/g"))
			})
		}},
		Case{"rename/directory-to-another-parent-needs-write-permission-on-it", Root | Owners, func(e *Env) {
			for _, p := range []string{"a", "b"} {
				mkdir(p)
				do(unix.Chmod(p, 0o777))
			}
			mkdir("a/d")
			e.as(alice, func() {
				want(unix.Rename("a/d", "b/d"), unix.EACCES)
				do(unix.Rename("a/d", "a/e")) // its .. stays
			})
		}},
		Case{"rename/unknown-flags-are-EINVAL", 0, func(e *Env) {
			file("f", "")
			want(rename2("f", "g", 1<<20), unix.EINVAL)
			want(rename2("f", "g", unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE), unix.EINVAL)
			lstat("f")
		}},
		Case{"rename/missing-over-existing-leaves-it", 0, func(e *Env) {
			file("f", "content")
			moves(at{"f": still, ".": still}, func() { want(unix.Rename("none", "f"), unix.ENOENT) })
			equal("content", content("f"), "content")
		}},
		Case{"rename/directory-of-an-open-handle-and-a-working-directory", 0, func(e *Env) {
			mkdir("a")
			mkdir("a/b")
			dir := e.open("a/b", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			fd := e.open("a/b/f", unix.O_CREAT|unix.O_RDWR, 0o644)
			do(unix.Chdir("a/b"))
			do(unix.Rename(e.dir+"/a", e.dir+"/moved"))
			file("here", "by working directory")
			g := must(unix.Openat(dir, "there", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644))
			writeAll(g, "by handle")
			do(unix.Close(g))
			writeAll(fd, "by file")
			do(unix.Chdir(e.dir))
			equal("content", content("moved/b/here"), "by working directory")
			equal("content", content("moved/b/there"), "by handle")
			equal("content", content("moved/b/f"), "by file")
			missing("a")
		}},
	)
}

// movesMtime is moves for file systems that keep no ctime.
func movesMtime(how at, f func()) {
	before := make(map[string]unix.Timespec)
	for p := range how {
		before[p] = lstat(p).Mtim
	}
	from := tick()
	f()
	for p, moved := range how {
		now := lstat(p).Mtim
		if moved&mtime == 0 {
			equal("mtime of "+p, now, before[p])
		} else {
			check(!stamp(now).Before(from), "mtime of %s = %v; want one after %v", p, stamp(now), from)
		}
	}
}

func exchangeCases() []Case {
	var all []Case
	types := []sort{aFile, aDir, aFullDir, aSymlink, aFifo}
	for _, a := range types {
		for _, b := range types {
			all = append(all, Case{fmt.Sprintf("exchange/%s-and-%s", a.name, b.name), Exchange | a.needs | b.needs, func(e *Env) {
				mkdir("dir")
				a.make("x")
				b.make("dir/y")
				was, is := lstat("x"), lstat("dir/y")
				do(rename2("x", "dir/y", unix.RENAME_EXCHANGE))
				equal("inode", lstat("dir/y").Ino, was.Ino)
				equal("inode", lstat("x").Ino, is.Ino)
				equal("type", kind(lstat("dir/y")), a.mode)
				equal("type", kind(lstat("x")), b.mode)
			}})
		}
	}
	return append(all,
		Case{"exchange/missing-is-ENOENT", Exchange, func(e *Env) {
			file("f", "")
			want(rename2("f", "none", unix.RENAME_EXCHANGE), unix.ENOENT)
			want(rename2("none", "f", unix.RENAME_EXCHANGE), unix.ENOENT)
			lstat("f")
		}},
		Case{"exchange/with-what-is-inside-is-EINVAL", Exchange, func(e *Env) {
			mkdir("d")
			mkdir("d/e")
			want(rename2("d", "d/e", unix.RENAME_EXCHANGE), unix.EINVAL)
			want(rename2("d/e", "d", unix.RENAME_EXCHANGE), unix.EINVAL)
		}},
		Case{"exchange/contents-stay-with-their-inodes", Exchange, func(e *Env) {
			file("a", "was a")
			file("b", "was b")
			fd := e.open("a", unix.O_RDWR, 0)
			do(rename2("a", "b", unix.RENAME_EXCHANGE))
			writeAt(fd, "W", 0)
			equal("a", content("a"), "was b")
			equal("b", content("b"), "Was a")
		}},
		Case{"exchange/moves-link-counts", Exchange | DirLinks, func(e *Env) {
			mkdir("a")
			mkdir("b")
			mkdir("a/d")
			file("b/f", "")
			do(rename2("a/d", "b/f", unix.RENAME_EXCHANGE))
			equal("links", links("a"), 2)
			equal("links", links("b"), 3)
			do(unix.Chdir("b/f"))
			equal("inode of ..", lstat("..").Ino, lstat("../../b").Ino)
		}},
		Case{"exchange/moves-times", Exchange | DirTimes | Ctime, func(e *Env) {
			mkdir("a")
			mkdir("b")
			file("a/x", "")
			file("b/y", "")
			moves(at{"a": mtime | ctime, "b": mtime | ctime}, func() { do(rename2("a/x", "b/y", unix.RENAME_EXCHANGE)) })
		}},
		Case{"exchange/in-a-sticky-directory-is-EPERM", Exchange | Root | Owners, func(e *Env) {
			do(unix.Mkdir("d", 0o777))
			do(unix.Chmod("d", 0o1777))
			file("d/f", "")
			e.as(alice, func() {
				file("d/mine", "")
				want(rename2("d/mine", "d/f", unix.RENAME_EXCHANGE), unix.EPERM)
			})
		}},
	)
}
