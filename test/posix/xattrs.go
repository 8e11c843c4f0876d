package posix

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func setx(p, name, value string, flags int) error {
	return unix.Lsetxattr(p, name, []byte(value), flags)
}

func getx(p, name string) string {
	b := make([]byte, 70000)
	return string(b[:must(unix.Lgetxattr(p, name, b))])
}

func noX(p, name string) {
	_, err := unix.Lgetxattr(p, name, make([]byte, 100))
	want(err, unix.ENODATA)
}

// listx is the sorted names in the user namespace; others, like labels, may be there.
func listx(p string) []string {
	b := make([]byte, 70000)
	var all []string
	for name := range strings.SplitSeq(string(b[:must(unix.Llistxattr(p, b))]), "\x00") {
		if strings.HasPrefix(name, "user.") {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func xattrCases() []Case {
	both := func(name string, needs Needs, run func(p string)) []Case {
		var all []Case
		for _, s := range []sort{aFile, aDir} {
			all = append(all, Case{"xattr/" + name + "-of-" + s.name, Xattr | needs, func(e *Env) {
				s.make("x")
				run("x")
			}})
		}
		return all
	}
	return slices.Concat(
		both("set-get-list-remove", 0, func(p string) {
			noX(p, "user.a")
			do(setx(p, "user.a", "one", 0))
			do(setx(p, "user.b", "", 0))
			do(setx(p, "user.binary", "\x00\xff\n\x00", 0))
			equal("value", getx(p, "user.a"), "one")
			equal("value", getx(p, "user.b"), "")
			equal("value", getx(p, "user.binary"), "\x00\xff\n\x00")
			equal("names", fmt.Sprint(listx(p)), "[user.a user.b user.binary]")
			do(setx(p, "user.a", "another, longer", 0))
			equal("value", getx(p, "user.a"), "another, longer")
			do(unix.Lremovexattr(p, "user.a"))
			noX(p, "user.a")
			equal("names", fmt.Sprint(listx(p)), "[user.b user.binary]")
			want(unix.Lremovexattr(p, "user.a"), unix.ENODATA)
		}),
		both("create-and-replace-flags", 0, func(p string) {
			want(setx(p, "user.a", "x", unix.XATTR_REPLACE), unix.ENODATA)
			noX(p, "user.a")
			do(setx(p, "user.a", "one", unix.XATTR_CREATE))
			want(setx(p, "user.a", "two", unix.XATTR_CREATE), unix.EEXIST)
			equal("value", getx(p, "user.a"), "one")
			do(setx(p, "user.a", "three", unix.XATTR_REPLACE))
			equal("value", getx(p, "user.a"), "three")
			want(setx(p, "user.a", "x", 64), unix.EINVAL)
		}),
		both("sizes-are-asked-for", 0, func(p string) {
			do(setx(p, "user.a", "value", 0))
			equal("size", must(unix.Lgetxattr(p, "user.a", nil)), 5)
			_, err := unix.Lgetxattr(p, "user.a", make([]byte, 4))
			want(err, unix.ERANGE)
			check(must(unix.Llistxattr(p, nil)) >= len("user.a\x00"), "the list is too short")
			_, err = unix.Llistxattr(p, make([]byte, 2))
			want(err, unix.ERANGE)
		}),
		both("moves-ctime-only", Ctime, func(p string) {
			moves(at{p: ctime, ".": still}, func() { do(setx(p, "user.a", "v", 0)) })
			moves(at{p: ctime}, func() { do(setx(p, "user.a", "w", 0)) })
			moves(at{p: still}, func() { getx(p, "user.a"); listx(p) })
			moves(at{p: ctime}, func() { do(unix.Lremovexattr(p, "user.a")) })
		}),
		both("follows-rename", 0, func(p string) {
			do(setx(p, "user.a", "v", 0))
			mkdir("d")
			do(unix.Rename(p, "d/y"))
			equal("value", getx("d/y", "user.a"), "v")
			mkdir(p)
			noX(p, "user.a")
		}),
		both("fifty", 0, func(p string) {
			for i := range 50 {
				do(setx(p, fmt.Sprintf("user.name%02d", i), fmt.Sprint("value", i), 0))
			}
			equal("names", len(listx(p)), 50)
			for i := range 50 {
				equal("value", getx(p, fmt.Sprintf("user.name%02d", i)), fmt.Sprint("value", i))
			}
		}),
		both("names-and-values-of-the-largest-size", 0, func(p string) {
			long := "user." + strings.Repeat("n", 250)
			do(setx(p, long, "v", 0))
			equal("value", getx(p, long), "v")
			want(setx(p, long+"n", "v", 0), unix.ERANGE)
			want(setx(p, "user.", "v", 0), unix.EINVAL)
			big := strings.Repeat("v", 3000)
			do(setx(p, "user.big", big, 0))
			equal("value", getx(p, "user.big"), big)
			want(setx(p, "user.big", strings.Repeat("v", 65537), 0), unix.E2BIG, unix.ENOSPC)
			equal("value", getx(p, "user.big"), big)
			if err := setx(p, "user.big", strings.Repeat("w", 65536), 0); err != nil {
				want(err, unix.E2BIG, unix.ENOSPC)
				equal("value", getx(p, "user.big"), big)
			} else {
				equal("value", getx(p, "user.big"), strings.Repeat("w", 65536))
			}
		}),
		[]Case{
			{"xattr/is-case-sensitive-and-takes-any-bytes", Xattr, func(e *Env) {
				file("f", "")
				for i, n := range []string{"user.a", "user.A", "user.\xff\xfe", "user.ü", "user. ", "user.a.b"} {
					do(setx("f", n, fmt.Sprint(i), unix.XATTR_CREATE))
				}
				equal("names", len(listx("f")), 6)
				equal("value", getx("f", "user.\xff\xfe"), "2")
			}},
			{"xattr/hard-links-share", Xattr | Links, func(e *Env) {
				file("f", "")
				do(unix.Link("f", "g"))
				do(setx("g", "user.a", "v", 0))
				equal("value", getx("f", "user.a"), "v")
				do(unix.Unlink("g"))
				equal("value", getx("f", "user.a"), "v")
			}},
			{"xattr/a-replaced-file-has-those-of-the-new-one", Xattr, func(e *Env) {
				file("a", "")
				file("b", "")
				do(setx("a", "user.a", "of a", 0))
				do(setx("b", "user.b", "of b", 0))
				do(unix.Rename("a", "b"))
				equal("names", fmt.Sprint(listx("b")), "[user.a]")
			}},
			{"xattr/a-new-file-of-an-old-name-has-none", Xattr, func(e *Env) {
				file("f", "")
				do(setx("f", "user.a", "v", 0))
				do(unix.Unlink("f"))
				file("f", "")
				equal("names", len(listx("f")), 0)
			}},
			{"xattr/by-descriptor-of-a-removed-file", Xattr, func(e *Env) {
				fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
				do(unix.Fsetxattr(fd, "user.a", []byte("v"), 0))
				equal("value", getx("f", "user.a"), "v")
				do(unix.Unlink("f"))
				b := make([]byte, 10)
				equal("value", string(b[:must(unix.Fgetxattr(fd, "user.a", b))]), "v")
				do(unix.Fremovexattr(fd, "user.a"))
				_, err := unix.Fgetxattr(fd, "user.a", b)
				want(err, unix.ENODATA)
			}},
			{"xattr/survives-write-truncate-chmod", Xattr | Modes, func(e *Env) {
				file("f", "content")
				do(setx("f", "user.a", "v", 0))
				fd := e.open("f", unix.O_RDWR|unix.O_TRUNC, 0)
				writeAll(fd, "new")
				do(unix.Fchmod(fd, 0o600))
				e.closeNow(fd)
				equal("value", getx("f", "user.a"), "v")
			}},
			{"xattr/of-symlinks-and-fifos-is-EPERM", Xattr | Symlinks | Specials, func(e *Env) {
				symlink("x", "s")
				fifo("p")
				want(setx("s", "user.a", "v", 0), unix.EPERM)
				want(setx("p", "user.a", "v", 0), unix.EPERM)
			}},
			{"xattr/through-symlink-is-of-the-target", Xattr | Symlinks, func(e *Env) {
				file("f", "")
				symlink("f", "s")
				do(unix.Setxattr("s", "user.a", []byte("v"), 0))
				equal("value", getx("f", "user.a"), "v")
			}},
			{"xattr/unknown-namespace-is-EOPNOTSUPP", Xattr, func(e *Env) {
				file("f", "")
				want(setx("f", "nonsense.a", "v", 0), unix.EOPNOTSUPP)
				want(setx("f", "plain", "v", 0), unix.EOPNOTSUPP)
			}},
			{"xattr/needs-permission", Xattr | Root | Owners, func(e *Env) {
				file("f", "")
				do(setx("f", "user.a", "v", 0))
				e.as(alice, func() {
					want(setx("f", "user.a", "w", 0), unix.EACCES)
					want(unix.Lremovexattr("f", "user.a"), unix.EACCES)
					equal("value", getx("f", "user.a"), "v")
				})
				do(unix.Chmod("f", 0o600))
				e.as(alice, func() {
					_, err := unix.Lgetxattr("f", "user.a", make([]byte, 10))
					want(err, unix.EACCES)
				})
				do(unix.Chmod("f", 0o666))
				e.as(alice, func() { do(setx("f", "user.a", "w", 0)) })
			}},
			{"xattr/of-a-stranger's-sticky-directory-is-EPERM", Xattr | Root | Owners, func(e *Env) {
				do(unix.Mkdir("d", 0o777))
				do(unix.Chmod("d", 0o1777))
				e.as(alice, func() { want(setx("d", "user.a", "w", 0), unix.EPERM) })
			}},
		},
	)
}
