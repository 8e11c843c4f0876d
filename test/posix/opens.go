package posix

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

func openCases() []Case {
	return []Case{
		{"open/create-makes-an-empty-file", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o640)
			st := fstat(fd)
			equal("type", kind(st), unix.S_IFREG)
			equal("size", st.Size, 0)
			equal("link count", int(st.Nlink), 1)
			equal("inode of the name", lstat("f").Ino, st.Ino)
		}},
		{"open/create-keeps-an-existing-file", 0, func(e *Env) {
			file("f", "content")
			moves(at{"f": still, ".": still}, func() { e.open("f", unix.O_CREAT|unix.O_RDWR, 0o640) })
			equal("content", content("f"), "content")
		}},
		{"open/create-sets-times-of-file-and-directory", DirTimes | Ctime, func(e *Env) {
			from := tick()
			moves(at{".": mtime | ctime}, func() { e.open("f", unix.O_CREAT|unix.O_RDWR, 0o640) })
			to := tick()
			st := lstat("f")
			for what, ts := range map[string]unix.Timespec{"atime": st.Atim, "mtime": st.Mtim, "ctime": st.Ctim} {
				check(!stamp(ts).Before(from) && !stamp(ts).After(to), "%s = %v; want one between %v and %v", what, stamp(ts), from, to)
			}
		}},
		{"open/exclusive-create-never-opens-what-is-there", Symlinks, func(e *Env) {
			const flags = unix.O_CREAT | unix.O_EXCL | unix.O_RDWR
			file("f", "content")
			mkdir("d")
			symlink("f", "s")
			symlink("nowhere", "dangling")
			for _, p := range []string{"f", "d", "s", "dangling"} {
				want(openClose(p, flags), unix.EEXIST)
				want(openClose(p, flags|unix.O_TRUNC), unix.EEXIST)
			}
			missing("nowhere")
			equal("content", content("f"), "content")
		}},
		{"open/exclusive-create-has-one-winner", 0, func(e *Env) {
			for round := range 20 {
				var won atomic.Int32
				e.together(8, func(int) {
					err := openClose(fmt.Sprint(round), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR)
					if err == nil {
						won.Add(1)
					} else {
						want(err, unix.EEXIST)
					}
				})
				equal("winners", won.Load(), 1)
			}
		}},
		{"open/create-by-many-is-one-file", 0, func(e *Env) {
			for round := range 20 {
				inodes := make([]uint64, 8)
				e.together(8, func(i int) {
					fd := must(unix.Open(fmt.Sprint(round), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644))
					inodes[i] = fstat(fd).Ino
					writeAt(fd, "x", int64(i))
					do(unix.Close(fd))
				})
				for _, ino := range inodes {
					equal("inode", ino, inodes[0])
				}
				equal("content", content(fmt.Sprint(round)), "xxxxxxxx")
			}
		}},
		{"open/create-through-dangling-symlink-makes-its-target", Symlinks, func(e *Env) {
			symlink("target", "s")
			e.open("s", unix.O_CREAT|unix.O_RDWR, 0o644)
			equal("type of target", kind(lstat("target")), unix.S_IFREG)
			equal("type of link", kind(lstat("s")), unix.S_IFLNK)
		}},
		{"open/truncate-empties-and-moves-times", Ctime, func(e *Env) {
			file("f", "content")
			moves(at{"f": mtime | ctime, ".": still}, func() { e.open("f", unix.O_WRONLY|unix.O_TRUNC, 0) })
			equal("size", lstat("f").Size, 0)
			moves(at{"f": mtime | ctime}, func() { e.open("f", unix.O_WRONLY|unix.O_TRUNC|unix.O_CREAT, 0o644) })
		}},
		{"open/truncate-of-read-only-open-empties", 0, func(e *Env) {
			file("f", "content")
			e.open("f", unix.O_RDONLY|unix.O_TRUNC, 0)
			equal("size", lstat("f").Size, 0)
		}},
		{"open/truncate-is-seen-by-open-descriptors", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			equal("content", readAll(fd), "content")
			e.open("f", unix.O_WRONLY|unix.O_TRUNC, 0)
			equal("content", readAll(fd), "")
			equal("size", fstat(fd).Size, 0)
			writeAt(fd, "x", 3)
			equal("content", content("f"), "\x00\x00\x00x")
		}},
		{"open/directory-for-writing-is-EISDIR", 0, func(e *Env) {
			mkdir("d")
			for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_RDONLY | unix.O_TRUNC, unix.O_RDONLY | unix.O_CREAT} {
				want(openClose("d", flags), unix.EISDIR)
			}
		}},
		{"open/create-with-trailing-slash-is-EISDIR", 0, func(e *Env) {
			want(openClose("f/", unix.O_CREAT|unix.O_RDWR), unix.EISDIR)
			missing("f")
		}},
		{"open/O_DIRECTORY-wants-a-directory", Symlinks, func(e *Env) {
			file("f", "")
			mkdir("d")
			symlink("d", "s")
			want(openClose("f", unix.O_RDONLY|unix.O_DIRECTORY), unix.ENOTDIR)
			do(openClose("d", unix.O_RDONLY|unix.O_DIRECTORY))
			do(openClose("s", unix.O_RDONLY|unix.O_DIRECTORY))
			want(openClose("s", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW), unix.ENOTDIR, unix.ELOOP)
		}},
		{"open/O_NOFOLLOW-on-symlink-is-ELOOP", Symlinks, func(e *Env) {
			file("f", "")
			symlink("f", "s")
			want(openClose("s", unix.O_RDONLY|unix.O_NOFOLLOW), unix.ELOOP)
			want(openClose("s", unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW), unix.ELOOP)
			do(openClose("f", unix.O_RDONLY|unix.O_NOFOLLOW))
			mkdir("d")
			file("d/f", "")
			symlink("d", "t")
			do(openClose("t/f", unix.O_RDONLY|unix.O_NOFOLLOW))
		}},
		{"open/O_PATH-opens-the-symlink-itself", Symlinks, func(e *Env) {
			symlink("nowhere", "s")
			fd := e.open("s", unix.O_PATH|unix.O_NOFOLLOW, 0)
			equal("type", kind(fstat(fd)), unix.S_IFLNK)
			b := make([]byte, 100)
			n := must(unix.Readlinkat(fd, "", b))
			equal("target", string(b[:n]), "nowhere")
		}},
		{"open/O_PATH-needs-no-permission-and-gives-none", Root | Owners, func(e *Env) {
			file("f", "content")
			do(unix.Chmod("f", 0))
			e.as(alice, func() {
				fd := e.open("f", unix.O_PATH, 0)
				equal("size", fstat(fd).Size, 7)
				_, err := unix.Read(fd, make([]byte, 1))
				want(err, unix.EBADF)
				_, err = unix.Write(fd, make([]byte, 1))
				want(err, unix.EBADF)
				want(unix.Ftruncate(fd, 0), unix.EBADF, unix.EINVAL)
				want(openClose(fmt.Sprintf("/proc/self/task/%d/fd/%d", unix.Gettid(), fd), unix.O_RDONLY), unix.EACCES)
			})
		}},
		{"open/access-mode-is-kept-to", 0, func(e *Env) {
			file("f", "content")
			r := e.open("f", unix.O_RDONLY, 0)
			w := e.open("f", unix.O_WRONLY, 0)
			_, err := unix.Write(r, []byte("x"))
			want(err, unix.EBADF)
			_, err = unix.Read(w, make([]byte, 1))
			want(err, unix.EBADF)
			equal("content", content("f"), "content")
		}},
		{"open/new-file-of-mode-0-can-be-used-by-its-maker", Root | Owners, func(e *Env) {
			e.as(alice, func() {
				fd := e.open("f", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0)
				writeAll(fd, "content")
				equal("content", readAll(fd), "content")
				want(openClose("f", unix.O_RDONLY), unix.EACCES)
			})
		}},
		{"open/append-writes-at-the-end-of-now", 0, func(e *Env) {
			a := e.open("f", unix.O_CREAT|unix.O_RDWR|unix.O_APPEND, 0o644)
			b := e.open("f", unix.O_WRONLY|unix.O_APPEND, 0)
			c := e.open("f", unix.O_WRONLY, 0)
			writeAll(a, "one ")
			writeAll(b, "two ")
			must(unix.Seek(a, 0, unix.SEEK_SET))
			writeAll(a, "three ")
			equal("position", must(unix.Seek(a, 0, unix.SEEK_CUR)), 14)
			writeAt(c, "ONE", 0)
			do(unix.Ftruncate(c, 8))
			writeAll(b, "four")
			equal("content", content("f"), "ONE two four")
		}},
		{"open/append-ignores-the-offset-of-pwrite", 0, func(e *Env) {
			file("f", "content")
			writeAt(e.open("f", unix.O_WRONLY|unix.O_APPEND, 0), "+", 2) // Linux, not POSIX
			equal("content", content("f"), "content+")
		}},
		{"open/append-can-be-switched", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			must(unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_APPEND))
			writeAll(fd, "+")
			must(unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0))
			writeAt(fd, "C", 0)
			equal("content", content("f"), "Content+")
		}},
		{"open/appends-of-many-lose-nothing", 0, func(e *Env) {
			const writers, records = 6, 150
			file("f", "")
			e.together(writers, func(i int) {
				fd := must(unix.Open("f", unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0))
				for j := range records {
					writeAll(fd, fmt.Sprintf("%d %0*d\n", i, 30+j%50, j))
				}
				do(unix.Close(fd))
			})
			var next [writers]int
			for line := range strings.Lines(content("f")) {
				var i, j int
				if _, err := fmt.Sscanf(line, "%d %d\n", &i, &j); err != nil || i < 0 || i >= writers {
					failf("the record %q: %v", line, err)
				}
				equal(fmt.Sprintf("record of writer %d", i), j, next[i])
				next[i]++
			}
			for i, n := range next {
				equal(fmt.Sprintf("records of writer %d", i), n, records)
			}
		}},
		{"open/sync-flags-write", 0, func(e *Env) {
			for _, flag := range []int{unix.O_SYNC, unix.O_DSYNC} {
				fd := e.open("f", unix.O_CREAT|unix.O_TRUNC|unix.O_RDWR|flag, 0o644)
				writeAll(fd, "content")
				equal("content", content("f"), "content")
			}
		}},
		{"open/O_NOATIME-is-for-the-owner", Root | Owners, func(e *Env) {
			file("f", "content")
			e.as(alice, func() {
				want(openClose("f", unix.O_RDONLY|unix.O_NOATIME), unix.EPERM)
				file("mine", "content")
				do(openClose("mine", unix.O_RDONLY|unix.O_NOATIME))
			})
		}},
		{"open/direct-reads-and-writes", Direct, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR|unix.O_DIRECT, 0o644)
			block := must(unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)) // aligned
			for i := range block {
				block[i] = byte(i % 251)
			}
			equal("bytes written", must(unix.Pwrite(fd, block, 4096)), 8192)
			s := content("f")
			equal("content", s[4096:], string(block))
			writeAt(e.open("f", unix.O_WRONLY, 0), "buffered", 4096)
			equal("bytes read", must(unix.Pread(fd, block, 4096)), 8192)
			equal("content", string(block[:8]), "buffered")
			do(unix.Munmap(block))
		}},
		{"open/O_TMPFILE-has-no-name-until-linked", Tmpfile | Links, func(e *Env) {
			fd := e.open(".", unix.O_TMPFILE|unix.O_RDWR, 0o640)
			writeAll(fd, "content")
			equal("link count", int(fstat(fd).Nlink), 0)
			equal("names", len(must(os.ReadDir("."))), 0)
			do(unix.Linkat(unix.AT_FDCWD, procPath(fd), unix.AT_FDCWD, "f", unix.AT_SYMLINK_FOLLOW))
			equal("link count", int(fstat(fd).Nlink), 1)
			equal("content", content("f"), "content")
			equal("mode", perm(lstat("f")), 0o640)
		}},
		{"open/O_TMPFILE-exclusive-cannot-be-linked", Tmpfile | Links, func(e *Env) {
			fd := e.open(".", unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL, 0o640)
			want(unix.Linkat(unix.AT_FDCWD, procPath(fd), unix.AT_FDCWD, "f", unix.AT_SYMLINK_FOLLOW), unix.ENOENT)
		}},
		{"open/O_TMPFILE-reading-only-is-EINVAL", Tmpfile, func(e *Env) {
			want(openClose(".", unix.O_TMPFILE|unix.O_RDONLY), unix.EINVAL)
		}},
		{"open/running-program-is-ETXTBSY", Modes, func(e *Env) {
			program := must(exec.LookPath("sleep"))
			file("sleep", string(must(os.ReadFile(program))))
			do(unix.Chmod("sleep", 0o755))
			w := e.open("sleep", unix.O_WRONLY, 0)
			busy := e.child("run", "./sleep", "60")
			equal("running what is open for writing", busy.line(), "ETXTBSY")
			busy.end()
			e.closeNow(w)
			runs := e.child("run", "./sleep", "60")
			equal("running", runs.line(), "success")
			want(openClose("sleep", unix.O_WRONLY), unix.ETXTBSY)
			want(unix.Truncate("sleep", 0), unix.ETXTBSY)
			do(unix.Unlink("sleep"))
			runs.end()
		}},
		{"open/position-is-of-the-open-file", 0, func(e *Env) {
			file("f", "content")
			a := e.open("f", unix.O_RDONLY, 0)
			b := e.open("f", unix.O_RDONLY, 0)
			dup := must(unix.Dup(a))
			e.fds = append(e.fds, dup)
			buf := make([]byte, 3)
			must(unix.Read(a, buf))
			equal("position of another open", must(unix.Seek(b, 0, unix.SEEK_CUR)), 0)
			equal("position of a duplicate", must(unix.Seek(dup, 0, unix.SEEK_CUR)), 3)
		}},
		{"open/stays-usable-after-another-close", 0, func(e *Env) {
			file("f", "content")
			a := e.open("f", unix.O_RDWR, 0)
			b := e.open("f", unix.O_RDWR, 0)
			writeAt(b, "C", 0)
			e.closeNow(b)
			equal("content", readAll(a), "Content")
			writeAt(a, "T", 6)
			equal("content", content("f"), "ContenT")
		}},
	}
}

func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func truncateCases() []Case {
	kinds := []struct {
		name string
		do   func(p string, size int64) error
	}{
		{"truncate", unix.Truncate},
		{"ftruncate", func(p string, size int64) error {
			fd, err := unix.Open(p, unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return errors.Join(unix.Ftruncate(fd, size), unix.Close(fd))
		}},
	}
	var all []Case
	for _, k := range kinds {
		add := func(name string, needs Needs, run func(e *Env)) {
			all = append(all, Case{k.name + "/" + name, needs, run})
		}
		add("shrinks", 0, func(e *Env) {
			file("f", "content")
			for size := int64(7); size >= 0; size-- {
				do(k.do("f", size))
				equal("size", lstat("f").Size, size)
				equal("content", content("f"), "content"[:size])
			}
		})
		add("grows-with-zeros", 0, func(e *Env) {
			file("f", "content")
			for _, size := range []int64{8, 4095, 4096, 4097, 1 << 20, 1<<20 + 1} {
				do(k.do("f", size))
				equal("size", lstat("f").Size, size)
				equal("content", content("f"), "content"+strings.Repeat("\x00", int(size-7)))
			}
		})
		add("growing-again-does-not-bring-bytes-back", 0, func(e *Env) {
			file("f", strings.Repeat("x", 20000))
			for _, size := range []int64{19999, 16384, 9000, 4096, 4095, 1, 0} {
				do(k.do("f", size))
				do(k.do("f", 20000))
				equal("content", content("f"), strings.Repeat("x", int(size))+strings.Repeat("\x00", 20000-int(size)))
				fd := e.open("f", unix.O_WRONLY, 0)
				writeAt(fd, strings.Repeat("x", 20000), 0)
				e.closeNow(fd)
			}
		})
		add("moves-mtime-and-ctime", Ctime, func(e *Env) {
			file("f", "content")
			moves(at{"f": mtime | ctime, ".": still}, func() { do(k.do("f", 3)) })
			moves(at{"f": mtime | ctime, ".": still}, func() { do(k.do("f", 10)) })
		})
		add("negative-is-EINVAL", 0, func(e *Env) {
			file("f", "content")
			want(k.do("f", -1), unix.EINVAL)
			want(k.do("f", -1<<63), unix.EINVAL)
			equal("content", content("f"), "content")
		})
		add("too-large-is-EFBIG-or-works", 0, func(e *Env) {
			file("f", "content")
			if err := k.do("f", 1<<62); err != nil {
				want(err, unix.EFBIG, unix.EINVAL, unix.ENOSPC)
				equal("size", lstat("f").Size, 7)
			} else {
				equal("size", lstat("f").Size, 1<<62)
			}
		})
		add("beyond-4-GiB", Big, func(e *Env) {
			file("f", "content")
			const size = 5<<30 + 123
			do(k.do("f", size))
			fd := e.open("f", unix.O_RDONLY, 0)
			equal("size", fstat(fd).Size, size)
			equal("end", readAt(fd, 10, size-3), "\x00\x00\x00")
			do(k.do("f", 1<<32+1))
			equal("size", fstat(fd).Size, 1<<32+1)
			equal("start", readAt(fd, 8, 0), "content\x00")
		})
		add("is-seen-by-open-descriptors", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			equal("content", readAll(fd), "content")
			do(k.do("f", 3))
			equal("content", readAll(fd), "con")
			equal("size", fstat(fd).Size, 3)
			do(k.do("f", 5))
			equal("content", readAll(fd), "con\x00\x00")
		})
		add("of-many-sizes-while-writing", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			for i := range int64(300) {
				writeAt(fd, "0123456789", i*7%5000)
				do(k.do("f", i*31%6000))
				equal("size", fstat(fd).Size, i*31%6000)
			}
		})
	}
	return append(all,
		Case{"truncate/directory-is-EISDIR", 0, func(e *Env) {
			mkdir("d")
			want(unix.Truncate("d", 0), unix.EISDIR)
		}},
		Case{"truncate/fifo-is-EINVAL", Specials, func(e *Env) {
			fifo("p")
			want(unix.Truncate("p", 0), unix.EINVAL)
		}},
		Case{"truncate/follows-symlink", Symlinks, func(e *Env) {
			file("f", "content")
			symlink("f", "s")
			do(unix.Truncate("s", 3))
			equal("content", content("f"), "con")
		}},
		Case{"truncate/without-write-permission-is-EACCES-and-changes-nothing", Root | Owners, func(e *Env) {
			file("f", "content")
			moves(at{"f": still}, func() { e.as(alice, func() { want(unix.Truncate("f", 0), unix.EACCES) }) })
			equal("content", content("f"), "content")
		}},
		Case{"ftruncate/read-only-descriptor-is-EINVAL", 0, func(e *Env) {
			file("f", "content")
			want(unix.Ftruncate(e.open("f", unix.O_RDONLY, 0), 0), unix.EINVAL)
			equal("content", content("f"), "content")
		}},
		Case{"ftruncate/keeps-the-position", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			writeAll(fd, "content")
			do(unix.Ftruncate(fd, 2))
			equal("position", must(unix.Seek(fd, 0, unix.SEEK_CUR)), 7)
			writeAll(fd, "!")
			equal("content", content("f"), "co\x00\x00\x00\x00\x00!")
		}},
	)
}
