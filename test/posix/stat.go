package posix

import (
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func lstat(path string) unix.Stat_t {
	var st unix.Stat_t
	do(unix.Lstat(path, &st))
	return st
}

func stat(path string) unix.Stat_t {
	var st unix.Stat_t
	do(unix.Stat(path, &st))
	return st
}

func fstat(fd int) unix.Stat_t {
	var st unix.Stat_t
	do(unix.Fstat(fd, &st))
	return st
}

func missing(path string) {
	var st unix.Stat_t
	want(unix.Lstat(path, &st), unix.ENOENT)
}

// perm is what chmod sets.
func perm(st unix.Stat_t) uint32 { return st.Mode & 0o7777 }

func kind(st unix.Stat_t) uint32 { return st.Mode & unix.S_IFMT }

func links(path string) int { return int(lstat(path).Nlink) }

// file makes a file with content, which must not be there yet.
func file(path, content string) {
	fd := must(unix.Open(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644))
	writeAll(fd, content)
	do(unix.Close(fd))
}

func writeAll(fd int, content string) {
	for b := []byte(content); len(b) > 0; {
		n := must(unix.Write(fd, b))
		b = b[n:]
	}
}

func writeAt(fd int, content string, off int64) {
	equal("bytes written", must(unix.Pwrite(fd, []byte(content), off)), len(content))
}

// content is all of a file.
func content(path string) string {
	fd := must(unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0))
	s := readAll(fd)
	do(unix.Close(fd))
	return s
}

// readAll is all of an open file, whatever its position.
func readAll(fd int) string {
	var s strings.Builder
	b := make([]byte, 64<<10)
	for off := int64(0); ; {
		n := must(unix.Pread(fd, b, off))
		if n == 0 {
			return s.String()
		}
		s.Write(b[:n])
		off += int64(n)
	}
}

// readAt is up to n bytes of an open file.
func readAt(fd, n int, off int64) string {
	b := make([]byte, n)
	return string(b[:must(unix.Pread(fd, b, off))])
}

func mkdir(path string) { do(unix.Mkdir(path, 0o755)) }

func symlink(target, path string) { do(unix.Symlink(target, path)) }

func fifo(path string) { do(unix.Mkfifo(path, 0o644)) }

// A sort is a type of directory entry.
type sort struct {
	name  string
	needs Needs
	mode  uint32
	make  func(path string)
}

var (
	aFile    = sort{"file", 0, unix.S_IFREG, func(p string) { file(p, "content of "+p) }}
	aDir     = sort{"dir", 0, unix.S_IFDIR, mkdir}
	aFullDir = sort{"full-dir", 0, unix.S_IFDIR, func(p string) { mkdir(p); file(p+"/in", "it") }}
	aSymlink = sort{"symlink", Symlinks, unix.S_IFLNK, func(p string) { symlink("nowhere", p) }}
	aFifo    = sort{"fifo", Specials, unix.S_IFIFO, fifo}
	aSocket  = sort{"socket", Specials, unix.S_IFSOCK, func(p string) { do(unix.Mknod(p, unix.S_IFSOCK|0o644, 0)) }}

	sorts = []sort{aFile, aDir, aSymlink, aFifo, aSocket}
)

// times are those that a step moves.
type times uint8

const (
	still times = 0
	atime times = 1 << iota // looked at only if named: a lookup may move it
	mtime
	ctime
)

// at names paths and how their times move.
type at map[string]times

// moves runs f and checks which times it moved to now, and that no other moved.
func moves(how at, f func()) {
	before := make(map[string]unix.Stat_t)
	for p := range how {
		before[p] = lstat(p)
	}
	from := tick()
	f()
	to := tick()
	for p, moved := range how {
		now := lstat(p)
		was := before[p]
		one := func(what string, which times, was, now unix.Timespec) {
			switch {
			case moved&which == 0 && was != now:
				failf("%s of %s moved from %v to %v", what, p, stamp(was), stamp(now))
			case moved&which != 0 && (stamp(now).Before(from) || stamp(now).After(to)):
				failf("%s of %s = %v (before it was %v); want one between %v and %v", what, p, stamp(now), stamp(was), from, to)
			}
		}
		one("mtime", mtime, was.Mtim, now.Mtim)
		one("ctime", ctime, was.Ctim, now.Ctim)
		if moved&atime != 0 {
			one("atime", atime, was.Atim, now.Atim)
		}
	}
}

func stamp(ts unix.Timespec) time.Time { return time.Unix(ts.Sec, ts.Nsec) }

// tick waits until the clock that stamps files has passed now, and returns it.
func tick() time.Time {
	now := time.Now()
	for {
		var ts unix.Timespec
		do(unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &ts))
		if t := stamp(ts); t.After(now) {
			return t
		}
		runtime.Gosched()
	}
}

// name is a name of n bytes.
func name(n int) string { return strings.Repeat("n", n) }
