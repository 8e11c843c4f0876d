package posix

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A pathCall is a system call as seen by the rules that hold for all paths. It
// works in a directory that has the file "src".
type pathCall struct {
	name   string
	needs  Needs
	target *sort // what has to be there; nil if the call makes it
	writes bool  // changes the directory that the name is in
	follow bool  // follows a symbolic link at the end
	call   func(path string) error
}

func (c pathCall) makes() bool { return c.target == nil }

// prepare makes what the call works on.
func (c pathCall) prepare(path string) {
	if !c.makes() {
		c.target.make(path)
	}
}

var pathCalls = []pathCall{
	{"mkdir", 0, nil, true, false, func(p string) error { return unix.Mkdir(p, 0o755) }},
	{"mkfifo", Specials, nil, true, false, func(p string) error { return unix.Mkfifo(p, 0o644) }},
	{"mknod", Specials, nil, true, false, func(p string) error { return unix.Mknod(p, unix.S_IFREG|0o644, 0) }},
	{"symlink", Symlinks, nil, true, false, func(p string) error { return unix.Symlink("src", p) }},
	{"link-to", Links, nil, true, false, func(p string) error { return unix.Link("src", p) }},
	{"rename-to", 0, nil, true, false, func(p string) error { return unix.Rename("src", p) }},
	{"open-create", 0, nil, true, false, func(p string) error { return openClose(p, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR) }},
	{"open", 0, &aFile, false, true, func(p string) error { return openClose(p, unix.O_RDONLY) }},
	{"open-write", 0, &aFile, false, true, func(p string) error { return openClose(p, unix.O_WRONLY) }},
	{"open-truncate", 0, &aFile, false, true, func(p string) error { return openClose(p, unix.O_WRONLY|unix.O_TRUNC) }},
	{"opendir", 0, &aDir, false, true, func(p string) error { return openClose(p, unix.O_RDONLY|unix.O_DIRECTORY) }},
	{"unlink", 0, &aFile, true, false, unix.Unlink},
	{"rmdir", 0, &aDir, true, false, unix.Rmdir},
	{"rename-from", 0, &aFile, true, false, func(p string) error { return unix.Rename(p, "dst") }},
	{"link-from", Links, &aFile, false, false, func(p string) error { return unix.Link(p, "dst") }},
	{"stat", 0, &aFile, false, true, func(p string) error { var st unix.Stat_t; return unix.Stat(p, &st) }},
	{"lstat", 0, &aFile, false, false, func(p string) error { var st unix.Stat_t; return unix.Lstat(p, &st) }},
	{"access", 0, &aFile, false, true, func(p string) error { return unix.Access(p, unix.F_OK) }},
	{"statfs", 0, &aFile, false, true, func(p string) error { var st unix.Statfs_t; return unix.Statfs(p, &st) }},
	{"chmod", Modes, &aFile, false, true, func(p string) error { return unix.Chmod(p, 0o600) }},
	{"chown", Owners, &aFile, false, true, func(p string) error { return unix.Chown(p, unix.Getuid(), -1) }},
	{"lchown", Owners, &aFile, false, false, func(p string) error { return unix.Lchown(p, unix.Getuid(), -1) }},
	{"truncate", 0, &aFile, false, true, func(p string) error { return unix.Truncate(p, 1) }},
	{"utimensat", 0, &aFile, false, true, func(p string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, p, make([]unix.Timespec, 2), 0) }},
	{"readlink", Symlinks, &aSymlink, false, false, func(p string) error { _, err := unix.Readlink(p, make([]byte, 100)); return err }},
	{"setxattr", Xattr, &aFile, false, true, func(p string) error { return unix.Setxattr(p, "user.a", []byte("v"), 0) }},
	{"listxattr", Xattr, &aFile, false, true, func(p string) error { _, err := unix.Listxattr(p, nil); return err }},
}

func openClose(p string, flags int) error {
	fd, err := unix.Open(p, flags|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// A pathRule is what holds for every call, or for those that it applies to.
type pathRule struct {
	name  string
	needs Needs
	holds func(c pathCall) bool // nil: for all
	run   func(e *Env, c pathCall)
}

var pathRules = []pathRule{
	{"file-as-directory-is-ENOTDIR", 0, nil, func(e *Env, c pathCall) {
		file("f", "")
		want(c.call("f/x"), unix.ENOTDIR)
		want(c.call("f/."), unix.ENOTDIR)
		want(c.call("f/../src"), unix.ENOTDIR)
	}},
	{"symlink-to-file-as-directory-is-ENOTDIR", Symlinks, nil, func(e *Env, c pathCall) {
		symlink("src", "s")
		want(c.call("s/x"), unix.ENOTDIR)
	}},
	{"name-of-256-bytes-is-ENAMETOOLONG", 0, nil, func(e *Env, c pathCall) {
		want(c.call(name(256)), unix.ENAMETOOLONG)
		want(c.call(name(256)+"/x"), unix.ENAMETOOLONG)
		mkdir("d")
		want(c.call("d/"+name(300)), unix.ENAMETOOLONG)
	}},
	{"name-of-255-bytes-works", 0, nil, func(e *Env, c pathCall) {
		mkdir(name(255))
		p := name(255) + "/" + strings.Repeat("m", 255)
		c.prepare(p)
		do(c.call(p))
	}},
	{"path-of-4096-bytes-is-ENAMETOOLONG", 0, nil, func(e *Env, c pathCall) {
		c.prepare("pp")
		want(c.call(strings.Repeat("./", 2047)+"pp"), unix.ENAMETOOLONG)
	}},
	{"path-of-4095-bytes-works", 0, nil, func(e *Env, c pathCall) {
		c.prepare("p")
		do(c.call(strings.Repeat("./", 2047) + "p"))
	}},
	{"missing-directory-is-ENOENT", 0, nil, func(e *Env, c pathCall) {
		want(c.call("none/x"), unix.ENOENT)
		want(c.call("none/../src"), unix.ENOENT)
	}},
	{"missing-name-is-ENOENT", 0, func(c pathCall) bool { return !c.makes() }, func(e *Env, c pathCall) {
		want(c.call("none"), unix.ENOENT)
		mkdir("d")
		want(c.call("d/none"), unix.ENOENT)
	}},
	{"empty-path-is-ENOENT", 0, nil, func(e *Env, c pathCall) { want(c.call(""), unix.ENOENT) }},
	{"dangling-symlink-in-path-is-ENOENT", Symlinks, nil, func(e *Env, c pathCall) {
		symlink("nowhere", "s")
		want(c.call("s/x"), unix.ENOENT)
	}},
	{"dangling-symlink-at-end-is-ENOENT", Symlinks, func(c pathCall) bool { return c.follow }, func(e *Env, c pathCall) {
		symlink("nowhere", "s")
		want(c.call("s"), unix.ENOENT)
	}},
	{"symlink-loop-in-path-is-ELOOP", Symlinks, nil, func(e *Env, c pathCall) {
		symlink("b", "a")
		symlink("a", "b")
		want(c.call("a/x"), unix.ELOOP)
	}},
	{"symlink-loop-at-end-is-ELOOP", Symlinks, func(c pathCall) bool { return c.follow }, func(e *Env, c pathCall) {
		symlink("b", "a")
		symlink("a", "b")
		symlink("self", "self")
		want(c.call("a"), unix.ELOOP)
		want(c.call("self"), unix.ELOOP)
	}},
	{"forty-symlinks-work-and-more-are-ELOOP", Symlinks, nil, func(e *Env, c pathCall) {
		mkdir("s0")
		for i := range 41 {
			symlink(fmt.Sprintf("s%d", i), fmt.Sprintf("s%d", i+1))
		}
		c.prepare("s0/x")
		want(c.call("s41/x"), unix.ELOOP)
		do(c.call("s40/x"))
	}},
	{"symlink-in-path-is-followed", Symlinks, nil, func(e *Env, c pathCall) {
		mkdir("d")
		mkdir("d/e")
		symlink("d/e", "s")
		c.prepare("d/e/x")
		do(c.call("s/x"))
	}},
	{"symlink-at-end-is-followed", Symlinks, func(c pathCall) bool { return c.follow }, func(e *Env, c pathCall) {
		mkdir("d")
		c.prepare("d/x")
		symlink("d/x", "s")
		do(c.call("s"))
		equal("type of the link", kind(lstat("s")), unix.S_IFLNK)
	}},
	{"no-search-permission-is-EACCES", Root | Owners, nil, func(e *Env, c pathCall) {
		mkdir("d")
		c.prepare("d/x")
		do(unix.Chmod("src", 0o666))
		for _, mode := range []uint32{0o766, 0o666, 0o000} {
			do(unix.Chmod("d", mode))
			e.as(alice, func() { want(c.call("d/x"), unix.EACCES) })
		}
		do(unix.Chown("d", alice.uid, alice.gid))
		for _, mode := range []uint32{0o677, 0o600, 0o077} {
			do(unix.Chmod("d", mode))
			e.as(alice, func() { want(c.call("d/x"), unix.EACCES) })
		}
	}},
	{"no-search-permission-further-up-is-EACCES", Root | Owners, nil, func(e *Env, c pathCall) {
		mkdir("d")
		mkdir("d/e")
		c.prepare("d/e/x")
		do(unix.Chmod("d/e", 0o777))
		do(unix.Chmod("d", 0o766))
		e.as(alice, func() { want(c.call("d/e/x"), unix.EACCES) })
	}},
	{"no-write-permission-on-directory-is-EACCES", Root | Owners, func(c pathCall) bool { return c.writes }, func(e *Env, c pathCall) {
		mkdir("d")
		c.prepare("d/x")
		do(unix.Chown("src", alice.uid, alice.gid))
		e.as(alice, func() { want(c.call("d/x"), unix.EACCES) })
		do(unix.Chown("d", alice.uid, alice.gid))
		do(unix.Chmod("d", 0o577))
		e.as(alice, func() { want(c.call("d/x"), unix.EACCES) })
		do(unix.Chown("d", 0, alice.gid))
		do(unix.Chmod("d", 0o757))
		e.as(alice, func() { want(c.call("d/x"), unix.EACCES) })
		do(unix.Chmod("d", 0o773))
		if c.target == nil || c.target.mode != unix.S_IFLNK {
			e.as(alice, func() { do(c.call("d/x")) })
		}
	}},
	{"existing-name-is-EEXIST", 0, func(c pathCall) bool { return c.makes() && c.name != "rename-to" }, func(e *Env, c pathCall) {
		file("f", "kept")
		mkdir("d")
		want(c.call("f"), unix.EEXIST)
		want(c.call("d"), unix.EEXIST)
		equal("content", content("f"), "kept")
	}},
	{"existing-symlink-is-EEXIST", Symlinks, func(c pathCall) bool { return c.makes() && c.name != "rename-to" }, func(e *Env, c pathCall) {
		mkdir("d")
		symlink("d", "s")
		symlink("nowhere", "dangling")
		symlink("loop", "loop")
		want(c.call("s"), unix.EEXIST)
		want(c.call("dangling"), unix.EEXIST)
		want(c.call("loop"), unix.EEXIST)
		missing("nowhere")
	}},
	{"existing-fifo-is-EEXIST", Specials, func(c pathCall) bool { return c.makes() && c.name != "rename-to" }, func(e *Env, c pathCall) {
		fifo("p")
		want(c.call("p"), unix.EEXIST)
	}},
	{"trailing-slash-after-file-is-ENOTDIR", 0, func(c pathCall) bool { return c.target == &aFile }, func(e *Env, c pathCall) {
		c.prepare("f")
		want(c.call("f/"), unix.ENOTDIR)
	}},
	{"trailing-slash-after-directory-works", 0, func(c pathCall) bool { return c.target == &aDir || c.name == "mkdir" }, func(e *Env, c pathCall) {
		c.prepare("d")
		do(c.call("d//"))
	}},
	{"repeated-slashes-and-dots-are-nothing", 0, nil, func(e *Env, c pathCall) {
		mkdir("d")
		mkdir("d/e")
		c.prepare("d/x")
		do(c.call(".//d/./e/..///x"))
	}},
	{"removed-working-directory-is-ENOENT", 0, func(c pathCall) bool { return c.name != "link-from" && c.name != "rename-from" }, func(e *Env, c pathCall) {
		mkdir("d")
		do(unix.Chdir("d"))
		do(unix.Rmdir("../d"))
		want(c.call("x"), unix.ENOENT)
	}},
	{"directory-descriptor-works", 0, func(c pathCall) bool { return c.name != "link-to" && c.name != "rename-to" }, func(e *Env, c pathCall) {
		mkdir("d")
		c.prepare("d/x")
		fd := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		do(unix.Rename("d", "moved"))
		do(unix.Fchdir(fd))
		do(c.call("x"))
	}},
}

func pathCases() []Case {
	var all []Case
	for _, c := range pathCalls {
		for _, r := range pathRules {
			if r.holds != nil && !r.holds(c) {
				continue
			}
			all = append(all, Case{"path/" + c.name + "/" + r.name, c.needs | r.needs, func(e *Env) {
				file("src", "source")
				r.run(e, c)
			}})
		}
	}
	return append(all, badAddresses())
}

// badAddresses is one case only: the kernel reads paths before a file system sees them.
func badAddresses() Case {
	return Case{"path/bad-address-is-EFAULT", 0, func(e *Env) {
		const bad = 1
		for _, nr := range []uintptr{unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_UNLINK, unix.SYS_CHMOD, unix.SYS_TRUNCATE, unix.SYS_OPEN,
			unix.SYS_LINK, unix.SYS_RENAME, unix.SYS_SYMLINK, unix.SYS_STAT, unix.SYS_READLINK} {
			_, _, errno := unix.Syscall(nr, bad, bad, 1)
			want(errno, unix.EFAULT)
		}
		file("f", "content")
		fd := e.open("f", unix.O_RDWR, 0)
		_, _, errno := unix.Syscall(unix.SYS_READ, uintptr(fd), bad, 7)
		want(errno, unix.EFAULT)
		_, _, errno = unix.Syscall(unix.SYS_WRITE, uintptr(fd), bad, 7)
		want(errno, unix.EFAULT)
		equal("content", content("f"), "content")
	}}
}
