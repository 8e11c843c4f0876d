package posix

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	nowTime  = unix.Timespec{Nsec: unix.UTIME_NOW}
	omitTime = unix.Timespec{Nsec: unix.UTIME_OMIT}
)

func utimens(p string, a, m unix.Timespec) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{a, m}, 0)
}

func futimens(fd int, a, m unix.Timespec) error {
	ts := [2]unix.Timespec{a, m}
	if _, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// touch sets both times to now, as utimensat does without times.
func touch(p string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, p, nil, 0) }

func timeCases() []Case {
	some := unix.Timespec{Sec: 1000000000, Nsec: 123456789}
	all := []Case{
		{"utimensat/omit-leaves-one-time", 0, func(e *Env) {
			file("f", "")
			do(utimens("f", some, some))
			do(utimens("f", omitTime, unix.Timespec{Sec: 7}))
			equal("atime", lstat("f").Atim, some)
			equal("mtime", lstat("f").Mtim, unix.Timespec{Sec: 7})
			do(utimens("f", unix.Timespec{Sec: 8}, omitTime))
			equal("atime", lstat("f").Atim, unix.Timespec{Sec: 8})
			equal("mtime", lstat("f").Mtim, unix.Timespec{Sec: 7})
		}},
		{"utimensat/omit-of-both-is-nothing", 0, func(e *Env) {
			file("f", "")
			moves(at{"f": still}, func() { do(utimens("f", omitTime, omitTime)) })
		}},
		{"utimensat/now-sets-the-time-of-now", Ctime, func(e *Env) {
			file("f", "")
			moves(at{"f": atime | mtime | ctime}, func() { do(utimens("f", nowTime, nowTime)) })
			moves(at{"f": atime | mtime | ctime}, func() { do(touch("f")) })
			do(utimens("f", some, some))
			from := tick()
			do(utimens("f", some, nowTime))
			equal("atime", lstat("f").Atim, some)
			check(!stamp(lstat("f").Mtim).Before(from), "mtime = %v; want one after %v", stamp(lstat("f").Mtim), from)
		}},
		{"utimensat/moves-ctime", Ctime, func(e *Env) {
			file("f", "")
			from := tick()
			do(utimens("f", some, some))
			check(!stamp(lstat("f").Ctim).Before(from), "ctime = %v; want one after %v", stamp(lstat("f").Ctim), from)
		}},
		{"utimensat/nanoseconds-out-of-range-are-EINVAL", 0, func(e *Env) {
			file("f", "")
			moves(at{"f": still}, func() {
				want(utimens("f", unix.Timespec{Nsec: 1000000000}, omitTime), unix.EINVAL)
				want(utimens("f", omitTime, unix.Timespec{Nsec: -1}), unix.EINVAL)
			})
		}},
		{"utimensat/keeps-size-and-content", 0, func(e *Env) {
			file("f", "content")
			do(utimens("f", some, some))
			equal("content", content("f"), "content")
			equal("size", lstat("f").Size, 7)
		}},
		{"utimensat/by-descriptor", 0, func(e *Env) {
			file("f", "")
			fd := e.open("f", unix.O_RDONLY, 0)
			do(futimens(fd, unix.Timespec{Sec: 5}, some))
			equal("mtime", lstat("f").Mtim, some)
			equal("mtime", fstat(fd).Mtim, some)
		}},
		{"utimensat/after-write-on-the-same-descriptor-stays", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			writeAll(fd, "content")
			do(futimens(fd, some, some))
			equal("mtime", fstat(fd).Mtim, some)
			e.closeNow(fd)
			equal("mtime after close", lstat("f").Mtim, some)
			fd = e.open("f", unix.O_RDWR, 0)
			do(unix.Fsync(fd))
			equal("mtime after fsync", fstat(fd).Mtim, some)
		}},
		{"utimensat/write-after-it-moves-mtime", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			do(futimens(fd, some, some))
			from := tick()
			writeAll(fd, "content")
			check(!stamp(fstat(fd).Mtim).Before(from), "mtime = %v; want one after %v", stamp(fstat(fd).Mtim), from)
			e.closeNow(fd)
			check(!stamp(lstat("f").Mtim).Before(from), "mtime after close = %v; want one after %v", stamp(lstat("f").Mtim), from)
		}},
		{"utimensat/symlink-is-followed-or-not", Symlinks, func(e *Env) {
			file("f", "")
			symlink("f", "s")
			do(utimens("s", some, some))
			equal("mtime of target", lstat("f").Mtim, some)
			check(lstat("s").Mtim != some, "the link has its target's mtime")
		}},
		{"utimensat/owner-needs-no-write-permission", Root | Owners, func(e *Env) {
			e.as(alice, func() {
				file("f", "")
				do(unix.Chmod("f", 0))
				do(utimens("f", some, some))
				do(utimens("f", nowTime, omitTime))
				do(touch("f"))
			})
		}},
		{"utimensat/writer-may-touch-and-not-choose", Root | Owners, func(e *Env) {
			file("f", "")
			do(unix.Chmod("f", 0o666))
			e.as(alice, func() {
				do(touch("f"))
				do(utimens("f", nowTime, nowTime))
				want(utimens("f", some, some), unix.EPERM)
				want(utimens("f", nowTime, omitTime), unix.EPERM)
				want(utimens("f", omitTime, nowTime), unix.EPERM)
				want(utimens("f", nowTime, some), unix.EPERM)
				do(utimens("f", omitTime, omitTime))
			})
		}},
		{"utimensat/stranger-may-not-touch", Root | Owners, func(e *Env) {
			file("f", "")
			moves(at{"f": still}, func() {
				e.as(alice, func() {
					want(touch("f"), unix.EACCES)
					want(utimens("f", nowTime, nowTime), unix.EACCES)
					want(utimens("f", some, some), unix.EPERM)
				})
			})
		}},
		{"utimensat/root-may", Root | Owners, func(e *Env) {
			e.as(alice, func() { file("f", ""); do(unix.Chmod("f", 0)) })
			do(utimens("f", some, some))
			do(touch("f"))
		}},
	}
	for _, s := range sorts {
		all = append(all, Case{"utimensat/sets-nanoseconds-of-" + s.name, s.needs, func(e *Env) {
			s.make("x")
			do(unix.UtimesNanoAt(unix.AT_FDCWD, "x", []unix.Timespec{{Sec: 1, Nsec: 999999999}, some}, unix.AT_SYMLINK_NOFOLLOW))
			equal("atime", lstat("x").Atim, unix.Timespec{Sec: 1, Nsec: 999999999})
			equal("mtime", lstat("x").Mtim, some)
		}})
	}
	for _, t := range []struct {
		name string
		sec  int64
	}{{"the-epoch", 0}, {"before-the-epoch", -1}, {"1901", -1<<31 + 1}, {"2038", 1<<31 - 1}, {"after-2038", 1 << 31}, {"after-2106", 1<<32 + 1}, {"2400", 13569465600}} {
		all = append(all, Case{"utimensat/" + t.name, 0, func(e *Env) {
			file("f", "")
			ts := unix.Timespec{Sec: t.sec, Nsec: 1}
			do(utimens("f", ts, ts))
			equal("mtime", lstat("f").Mtim, ts)
			equal("atime", lstat("f").Atim, ts)
			mkdir("d")
			do(utimens("d", ts, ts))
			equal("mtime of directory", lstat("d").Mtim, ts)
		}})
	}
	return append(all,
		Case{"times/write-moves-mtime-and-ctime", Ctime, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			moves(at{"f": mtime | ctime, ".": still}, func() { writeAt(fd, "x", 0) })
			moves(at{"f": mtime | ctime}, func() { writeAt(fd, "x", 10000) })
			moves(at{"f": mtime | ctime}, func() { writeAt(fd, "x", 0); e.closeNow(fd) })
		}},
		Case{"times/empty-write-moves-nothing", 0, func(e *Env) {
			file("f", "content")
			fd := e.open("f", unix.O_RDWR, 0)
			moves(at{"f": still}, func() { must(unix.Write(fd, nil)) })
		}},
		Case{"times/close-and-fsync-move-nothing", 0, func(e *Env) {
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
			writeAll(fd, "content")
			moves(at{"f": still}, func() { do(unix.Fsync(fd)) })
			moves(at{"f": still}, func() { e.closeNow(fd) })
		}},
		Case{"times/read-moves-atime-only", Atime, func(e *Env) {
			file("f", "content")
			moves(at{"f": atime}, func() { content("f") })
		}},
		Case{"times/failed-open-for-writing-moves-nothing", Root | Owners, func(e *Env) {
			file("f", "content")
			moves(at{"f": still, ".": still}, func() { e.as(alice, func() { want(openClose("f", unix.O_RDWR|unix.O_TRUNC), unix.EACCES) }) })
		}},
		Case{"times/listing-moves-no-mtime", 0, func(e *Env) {
			mkdir("d")
			file("d/f", "")
			moves(at{"d": still}, func() { names(e.open("d", unix.O_RDONLY, 0)) })
		}},
		Case{"times/directory-of-a-written-file-does-not-move", DirTimes, func(e *Env) {
			mkdir("d")
			file("d/f", "content")
			moves(at{"d": still}, func() {
				fd := e.open("d/f", unix.O_RDWR|unix.O_TRUNC, 0)
				writeAll(fd, "new")
				e.closeNow(fd)
				do(unix.Truncate("d/f", 1))
			})
		}},
		Case{"times/order-of-writes-is-the-order-of-mtimes", 0, func(e *Env) {
			var last unix.Timespec
			for _, p := range []string{"a", "b", "c", "d"} {
				tick()
				file(p, p)
				now := lstat(p).Mtim
				check(stamp(now).After(stamp(last)), "mtime of %s = %v; want one after %v", p, stamp(now), stamp(last))
				last = now
			}
		}},
	)
}
