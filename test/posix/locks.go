package posix

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// lockAsTold does "fcntl r|w|u START LEN", "wait w START LEN", "flock s|x|u",
// "close" (of another descriptor of the file).
func lockAsTold(fd int, order string) error {
	var call, how string
	var start, n int64
	if got, err := fmt.Sscan(order, &call, &how, &start, &n); got < 2 {
		return fmt.Errorf("order %q: %w", order, err)
	}
	switch call {
	case "fcntl":
		return record(fd, unix.F_SETLK, how, start, n)
	case "wait":
		return record(fd, unix.F_SETLKW, how, start, n)
	case "ofd":
		return record(fd, unix.F_OFD_SETLK, how, start, n)
	case "flock":
		return unix.Flock(fd, map[string]int{"s": unix.LOCK_SH, "x": unix.LOCK_EX, "u": unix.LOCK_UN}[how]|unix.LOCK_NB)
	}
	return fmt.Errorf("order %q is unknown", order)
}

var recordTypes = map[string]int16{"r": unix.F_RDLCK, "w": unix.F_WRLCK, "u": unix.F_UNLCK}

func record(fd, cmd int, how string, start, n int64) error {
	return unix.FcntlFlock(uintptr(fd), cmd, &unix.Flock_t{Type: recordTypes[how], Start: start, Len: n})
}

func lockCases() []Case {
	// both gives a file that is open here and in another process.
	both := func(e *Env) (int, func(order string) string) {
		file("f", "content")
		p := e.child("lock", "f")
		equal("the other process", p.line(), "open")
		return e.open("f", unix.O_RDWR, 0), func(order string) string {
			p.say(order)
			return p.line()
		}
	}
	return []Case{
		{"flock/between-opens", 0, func(e *Env) {
			file("f", "")
			a, b := e.open("f", unix.O_RDONLY, 0), e.open("f", unix.O_RDONLY, 0)
			do(lockAsTold(a, "flock s"))
			do(lockAsTold(b, "flock s"))
			want(lockAsTold(a, "flock x"), unix.EWOULDBLOCK)
			do(lockAsTold(b, "flock u"))
			do(lockAsTold(a, "flock x"))
			want(lockAsTold(b, "flock s"), unix.EWOULDBLOCK)
			e.closeNow(a)
			do(lockAsTold(b, "flock x"))
		}},
		{"flock/duplicate-holds-the-same-lock", 0, func(e *Env) {
			file("f", "")
			a, b := e.open("f", unix.O_RDWR, 0), e.open("f", unix.O_RDWR, 0)
			do(lockAsTold(a, "flock x"))
			dup := must(unix.Dup(a))
			e.closeNow(a)
			want(lockAsTold(b, "flock x"), unix.EWOULDBLOCK)
			do(unix.Close(dup))
			do(lockAsTold(b, "flock x"))
		}},
		{"flock/between-processes", 0, func(e *Env) {
			fd, other := both(e)
			do(lockAsTold(fd, "flock x"))
			equal("other's lock", other("flock x"), "EAGAIN")
			do(lockAsTold(fd, "flock u"))
			equal("other's lock", other("flock x"), "success")
			want(lockAsTold(fd, "flock s"), unix.EWOULDBLOCK)
			e.peers[0].kill()
			do(lockAsTold(fd, "flock s"))
		}},
		{"flock/follows-rename-and-unlink", 0, func(e *Env) {
			fd, other := both(e)
			do(lockAsTold(fd, "flock x"))
			do(unix.Rename("f", "g"))
			equal("other's lock", other("flock x"), "EAGAIN")
			do(unix.Unlink("g"))
			equal("other's lock", other("flock s"), "EAGAIN")
			file("f", "")
			do(lockAsTold(e.open("f", unix.O_RDWR, 0), "flock x"))
		}},
		{"fcntl/between-processes", 0, func(e *Env) {
			fd, other := both(e)
			do(lockAsTold(fd, "fcntl w 0 10"))
			equal("overlapping", other("fcntl w 9 1"), "EAGAIN")
			equal("reading", other("fcntl r 0 1"), "EAGAIN")
			equal("behind it", other("fcntl w 10 5"), "success")
			want(lockAsTold(fd, "fcntl r 14 1"), unix.EAGAIN, unix.EACCES)
			do(lockAsTold(fd, "fcntl u 3 2"))
			equal("in the middle", other("fcntl w 3 2"), "success")
			equal("beside the middle", other("fcntl w 5 1"), "EAGAIN")
			do(lockAsTold(fd, "fcntl r 0 3"))
			equal("shared", other("fcntl r 0 3"), "success")
			equal("not shared", other("fcntl w 0 1"), "EAGAIN")
		}},
		{"fcntl/end-of-a-process-frees", 0, func(e *Env) {
			fd, other := both(e)
			equal("all", other("fcntl w 0 0"), "success")
			want(lockAsTold(fd, "fcntl r 1000000 1"), unix.EAGAIN, unix.EACCES)
			e.peers[0].kill()
			do(lockAsTold(fd, "fcntl w 0 0"))
		}},
		{"fcntl/a-close-of-the-file-frees", 0, func(e *Env) {
			fd, other := both(e)
			do(lockAsTold(fd, "fcntl w 0 0"))
			equal("before", other("fcntl w 0 1"), "EAGAIN")
			e.closeNow(e.open("f", unix.O_RDONLY, 0)) // any descriptor of it
			equal("after", other("fcntl w 0 1"), "success")
		}},
		{"fcntl/tells-who-holds-it", 0, func(e *Env) {
			fd, other := both(e)
			equal("its lock", other("fcntl w 5 10"), "success")
			lk := unix.Flock_t{Type: unix.F_RDLCK}
			do(unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &lk))
			equal("holder", int(lk.Pid), e.peers[0].cmd.Process.Pid)
			equal("start", lk.Start, 5)
			equal("length", lk.Len, 10)
			equal("type", lk.Type, unix.F_WRLCK)
			lk = unix.Flock_t{Type: unix.F_WRLCK, Start: 15}
			do(unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &lk))
			equal("type where nobody is", lk.Type, unix.F_UNLCK)
		}},
		{"fcntl/one-process-does-not-stand-in-its-own-way", 0, func(e *Env) {
			file("f", "")
			a, b := e.open("f", unix.O_RDWR, 0), e.open("f", unix.O_RDWR, 0)
			do(lockAsTold(a, "fcntl w 0 10"))
			do(lockAsTold(b, "fcntl w 0 10"))
		}},
		{"fcntl/who-waits-gets-it", 0, func(e *Env) {
			fd, _ := both(e)
			p := e.peers[0]
			do(lockAsTold(fd, "fcntl w 0 10"))
			p.say("wait w 5 1")
			do(lockAsTold(fd, "fcntl u 0 10"))
			equal("after the wait", p.line(), "success")
			want(lockAsTold(fd, "fcntl w 5 1"), unix.EAGAIN, unix.EACCES)
		}},
		{"fcntl/needs-the-right-descriptor", 0, func(e *Env) {
			file("f", "")
			want(lockAsTold(e.open("f", unix.O_RDONLY, 0), "fcntl w 0 1"), unix.EBADF)
			want(lockAsTold(e.open("f", unix.O_WRONLY, 0), "fcntl r 0 1"), unix.EBADF)
			want(lockAsTold(e.open("f", unix.O_RDWR, 0), "fcntl w -1 1"), unix.EINVAL)
		}},
		{"fcntl/locks-of-open-files-are-apart", 0, func(e *Env) {
			file("f", "")
			a, b := e.open("f", unix.O_RDWR, 0), e.open("f", unix.O_RDWR, 0)
			do(lockAsTold(a, "ofd w 0 10"))
			want(lockAsTold(b, "ofd w 5 1"), unix.EAGAIN)
			do(lockAsTold(b, "ofd w 10 1"))
			e.closeNow(e.open("f", unix.O_RDWR, 0))
			want(lockAsTold(b, "ofd w 5 1"), unix.EAGAIN)
			e.closeNow(a)
			do(lockAsTold(b, "ofd w 5 1"))
		}},
	}
}
