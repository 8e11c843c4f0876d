package posix

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func specialCases() []Case {
	all := []Case{
		{"fifo/passes-bytes", Specials, func(e *Env) {
			fifo("p")
			r := e.open("p", unix.O_RDONLY|unix.O_NONBLOCK, 0)
			w := e.open("p", unix.O_WRONLY|unix.O_NONBLOCK, 0)
			writeAll(w, "through the pipe")
			b := make([]byte, 100)
			n := must(unix.Read(r, b))
			equal("bytes", string(b[:n]), "through the pipe")
			_, err := unix.Read(r, b)
			want(err, unix.EAGAIN)
			e.closeNow(w)
			equal("bytes after the writer left", must(unix.Read(r, b)), 0)
			equal("size", lstat("p").Size, 0)
		}},
		{"fifo/blocking-opens-meet", Specials, func(e *Env) {
			fifo("p")
			e.together(2, func(i int) {
				if i == 0 {
					fd := must(unix.Open("p", unix.O_WRONLY|unix.O_CLOEXEC, 0))
					writeAll(fd, "met")
					do(unix.Close(fd))
					return
				}
				fd := must(unix.Open("p", unix.O_RDONLY|unix.O_CLOEXEC, 0))
				b := make([]byte, 10)
				equal("bytes", string(b[:must(unix.Read(fd, b))]), "met")
				do(unix.Close(fd))
			})
		}},
		{"fifo/between-processes", Specials, func(e *Env) {
			fifo("p")
			peer := e.child("cat", "p")
			fd := e.open("p", unix.O_WRONLY, 0)
			writeAll(fd, "to another process\n")
			e.closeNow(fd)
			equal("what it read", peer.line(), "to another process")
			peer.end()
		}},
		{"fifo/two-names-are-one-pipe", Specials | Links, func(e *Env) {
			fifo("p")
			do(unix.Link("p", "q"))
			r := e.open("p", unix.O_RDONLY|unix.O_NONBLOCK, 0)
			writeAll(e.open("q", unix.O_WRONLY|unix.O_NONBLOCK, 0), "x")
			equal("bytes", must(unix.Read(r, make([]byte, 10))), 1)
		}},
		{"fifo/write-only-without-a-reader-is-ENXIO", Specials, func(e *Env) {
			fifo("p")
			want(openClose("p", unix.O_WRONLY|unix.O_NONBLOCK), unix.ENXIO)
		}},
		{"fifo/survives-rename-while-open", Specials, func(e *Env) {
			fifo("p")
			r := e.open("p", unix.O_RDONLY|unix.O_NONBLOCK, 0)
			do(unix.Rename("p", "q"))
			writeAll(e.open("q", unix.O_WRONLY|unix.O_NONBLOCK, 0), "x")
			equal("bytes", must(unix.Read(r, make([]byte, 10))), 1)
		}},
		{"socket/binds-and-connects", Specials, func(e *Env) {
			l := must(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
			e.fds = append(e.fds, l)
			unix.Umask(0o027)
			do(unix.Bind(l, &unix.SockaddrUnix{Name: "sock"}))
			equal("type", kind(lstat("sock")), unix.S_IFSOCK)
			equal("mode", perm(lstat("sock")), 0o750)
			do(unix.Listen(l, 1))
			c := must(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
			e.fds = append(e.fds, c)
			do(unix.Connect(c, &unix.SockaddrUnix{Name: "sock"}))
			s, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
			do(err)
			e.fds = append(e.fds, s)
			writeAll(c, "hello")
			b := make([]byte, 10)
			equal("bytes", string(b[:must(unix.Read(s, b))]), "hello")
		}},
		{"socket/taken-name-is-EADDRINUSE", Specials, func(e *Env) {
			file("f", "")
			l := must(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
			e.fds = append(e.fds, l)
			want(unix.Bind(l, &unix.SockaddrUnix{Name: "f"}), unix.EADDRINUSE)
		}},
		{"socket/nobody-listening-is-ECONNREFUSED", Specials, func(e *Env) {
			aSocket.make("s")
			c := must(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
			e.fds = append(e.fds, c)
			want(unix.Connect(c, &unix.SockaddrUnix{Name: "s"}), unix.ECONNREFUSED)
			do(unix.Unlink("s"))
			want(unix.Connect(c, &unix.SockaddrUnix{Name: "s"}), unix.ENOENT)
		}},
		{"socket/open-is-ENXIO", Specials, func(e *Env) {
			aSocket.make("s")
			want(openClose("s", unix.O_RDONLY), unix.ENXIO)
		}},
		{"mknod/device-numbers", Root | Specials, func(e *Env) {
			for i, dev := range []uint64{unix.Mkdev(1, 3), unix.Mkdev(8, 255), unix.Mkdev(255, 256), unix.Mkdev(4095, 1<<20-1)} {
				for j, mode := range []uint32{unix.S_IFCHR, unix.S_IFBLK} {
					p := fmt.Sprintf("%d.%d", i, j)
					do(unix.Mknod(p, mode|0o600, int(dev)))
					st := lstat(p)
					equal("type", kind(st), mode)
					equal("device", st.Rdev, dev)
					equal("mode", perm(st), 0o600)
				}
			}
		}},
		{"mknod/device-by-a-user-is-EPERM", Root | Specials, func(e *Env) {
			e.as(alice, func() {
				want(unix.Mknod("c", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))), unix.EPERM)
				want(unix.Mknod("b", unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0))), unix.EPERM)
				do(unix.Mknod("p", unix.S_IFIFO|0o600, 0))
				do(unix.Mknod("f", unix.S_IFREG|0o600, 0))
			})
			missing("c")
		}},
		{"mknod/directory-is-EPERM", Specials, func(e *Env) { want(unix.Mknod("d", unix.S_IFDIR|0o700, 0), unix.EPERM) }},
		{"mknod/symlink-is-EINVAL", Specials, func(e *Env) { want(unix.Mknod("s", unix.S_IFLNK|0o700, 0), unix.EINVAL) }},
		{"mknod/file-is-a-file", Specials, func(e *Env) {
			do(unix.Mknod("f", 0o600, 0))
			fd := e.open("f", unix.O_RDWR, 0)
			writeAll(fd, "content")
			equal("content", content("f"), "content")
			equal("type", kind(fstat(fd)), unix.S_IFREG)
		}},
	}
	for _, s := range []sort{aFifo, aSocket} {
		all = append(all, Case{"mknod/" + s.name + "-sets-times", Specials | DirTimes | Ctime, func(e *Env) {
			from := tick()
			moves(at{".": mtime | ctime}, func() { s.make("x") })
			st := lstat("x")
			equal("type", kind(st), s.mode)
			equal("links", int(st.Nlink), 1)
			check(!stamp(st.Mtim).Before(from), "mtime = %v; want one after %v", stamp(st.Mtim), from)
			check(!stamp(st.Ctim).Before(from), "ctime = %v; want one after %v", stamp(st.Ctim), from)
		}})
	}
	return all
}
