package posix

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func modeCases() []Case {
	all := []Case{
		{"chmod/sets-every-mode", Modes, func(e *Env) {
			file("f", "")
			for mode := uint32(0); mode <= 0o7777; mode += 0o33 {
				do(unix.Chmod("f", mode))
				equal("mode", perm(lstat("f")), mode)
				equal("type", kind(lstat("f")), unix.S_IFREG)
			}
		}},
		{"chmod/sets-every-mode-of-directory", Modes, func(e *Env) {
			mkdir("d")
			for mode := uint32(0); mode <= 0o7777; mode += 0o151 {
				do(unix.Chmod("d", mode))
				equal("mode", perm(lstat("d")), mode)
				equal("type", kind(lstat("d")), unix.S_IFDIR)
			}
		}},
		{"chmod/sets-mode-of-fifo", Modes | Specials, func(e *Env) {
			fifo("p")
			do(unix.Chmod("p", 0o421))
			equal("mode", perm(lstat("p")), 0o421)
			equal("type", kind(lstat("p")), unix.S_IFIFO)
		}},
		{"chmod/by-descriptor", Modes, func(e *Env) {
			file("f", "")
			fd := e.open("f", unix.O_RDONLY, 0)
			do(unix.Fchmod(fd, 0o321))
			equal("mode", perm(lstat("f")), 0o321)
			mkdir("d")
			do(unix.Fchmod(e.open("d", unix.O_RDONLY, 0), 0o1711))
			equal("mode", perm(lstat("d")), 0o1711)
		}},
		{"chmod/follows-symlink", Modes | Symlinks, func(e *Env) {
			file("f", "")
			symlink("f", "s")
			do(unix.Chmod("s", 0o640))
			equal("mode of target", perm(lstat("f")), 0o640)
			equal("mode of link", perm(lstat("s")), 0o777)
		}},
		{"chmod/moves-ctime-only", Modes | Ctime, func(e *Env) {
			file("f", "content")
			mkdir("d")
			moves(at{"f": ctime, ".": still}, func() { do(unix.Chmod("f", 0o600)) })
			moves(at{"d": ctime, ".": still}, func() { do(unix.Chmod("d", 0o700)) })
			moves(at{"f": ctime}, func() { do(unix.Fchmod(e.open("f", unix.O_RDONLY, 0), 0o640)) })
		}},
		{"chmod/keeps-size-and-content", Modes, func(e *Env) {
			file("f", "content")
			do(unix.Chmod("f", 0o600))
			equal("content", content("f"), "content")
		}},
		{"chmod/of-another-owner-is-EPERM-and-changes-nothing", Root | Owners | Ctime, func(e *Env) {
			for _, s := range []sort{aFile, aDir} {
				s.make(s.name)
				do(unix.Chmod(s.name, 0o777))
				moves(at{s.name: still}, func() {
					e.as(alice, func() { want(unix.Chmod(s.name, 0o700), unix.EPERM) })
				})
				equal("mode", perm(lstat(s.name)), 0o777)
			}
		}},
		{"chmod/of-group-member-is-EPERM", Root | Owners, func(e *Env) {
			file("f", "")
			do(unix.Chown("f", 0, alice.gid))
			e.as(alice, func() { want(unix.Chmod("f", 0o700), unix.EPERM) })
		}},
		{"chmod/of-owner-works", Root | Owners, func(e *Env) {
			e.as(alice, func() {
				file("f", "")
				do(unix.Chmod("f", 0))
				equal("mode", perm(lstat("f")), 0)
				want(openClose("f", unix.O_RDONLY), unix.EACCES)
				do(unix.Chmod("f", 0o444))
				do(openClose("f", unix.O_RDONLY))
			})
		}},
		{"chmod/set-group-id-is-dropped-outside-the-group", Root | Owners, func(e *Env) {
			file("f", "")
			do(unix.Chown("f", alice.uid, team))
			e.as(alice, func() { do(unix.Chmod("f", 0o2755)) })
			equal("mode", perm(lstat("f")), 0o755)
			e.as(user{alice.uid, alice.gid, []uint32{team}}, func() { do(unix.Chmod("f", 0o2755)) })
			equal("mode", perm(lstat("f")), 0o2755)
		}},
		{"chmod/set-group-id-of-directory-is-dropped-outside-the-group", Root | Owners, func(e *Env) {
			mkdir("d")
			do(unix.Chown("d", alice.uid, team))
			e.as(alice, func() { do(unix.Chmod("d", 0o2755)) })
			equal("mode", perm(lstat("d")), 0o755)
		}},
		{"chmod/open-descriptor-keeps-its-rights", Root | Owners, func(e *Env) {
			e.as(alice, func() {
				file("f", "content")
				fd := e.open("f", unix.O_RDWR, 0)
				do(unix.Chmod("f", 0))
				equal("content", readAll(fd), "content")
				writeAt(fd, "C", 0)
				do(unix.Ftruncate(fd, 3))
				equal("content", readAll(fd), "Con")
			})
		}},
		{"chmod/path-descriptor-is-EBADF", Modes, func(e *Env) {
			file("f", "")
			want(unix.Fchmod(e.open("f", unix.O_PATH, 0), 0o600), unix.EBADF)
		}},
		{"umask/open-keeps-it-for-existing-files", Modes, func(e *Env) {
			file("f", "")
			do(unix.Chmod("f", 0o612))
			unix.Umask(0)
			fd := e.open("f", unix.O_CREAT|unix.O_RDWR, 0o777)
			equal("mode", perm(fstat(fd)), 0o612)
		}},
		{"mode/new-symlink-has-all-bits", Symlinks, func(e *Env) {
			unix.Umask(0o077)
			symlink("x", "s")
			equal("mode", perm(lstat("s")), 0o777)
		}},
		{"mode/mkdir-keeps-sticky-bit", Modes, func(e *Env) {
			do(unix.Mkdir("d", 0o1777))
			equal("mode", perm(lstat("d")), 0o1755)
		}},
		{"mode/open-keeps-set-id-bits", Modes, func(e *Env) {
			equal("mode", perm(fstat(e.open("f", unix.O_CREAT|unix.O_RDWR, 0o6711))), 0o6711)
		}},
	}
	all = append(all, umaskCases()...)
	return append(all, accessCases()...)
}

func umaskCases() []Case {
	var all []Case
	makers := []struct {
		name  string
		needs Needs
		make  func(p string, mode uint32) error
	}{
		{"open", 0, func(p string, mode uint32) error {
			fd, err := unix.Open(p, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, mode)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}},
		{"mkdir", 0, unix.Mkdir},
		{"mkfifo", Specials, unix.Mkfifo},
		{"mknod-file", Specials, func(p string, mode uint32) error { return unix.Mknod(p, unix.S_IFREG|mode, 0) }},
		{"mknod-socket", Specials, func(p string, mode uint32) error { return unix.Mknod(p, unix.S_IFSOCK|mode, 0) }},
	}
	for _, m := range makers {
		all = append(all, Case{"umask/" + m.name, m.needs | Modes, func(e *Env) {
			for i, mask := range []uint32{0, 0o022, 0o027, 0o077, 0o111, 0o700, 0o777} {
				for j, mode := range []uint32{0o777, 0o666, 0o640, 0o151, 0} {
					p := fmt.Sprintf("x%d.%d", i, j)
					unix.Umask(int(mask))
					err := m.make(p, mode)
					unix.Umask(0o022)
					do(err)
					equal(fmt.Sprintf("mode of %04o under the mask %04o", mode, mask), perm(lstat(p)), mode&^mask)
				}
			}
		}})
	}
	return all
}

// accessCases try who may do what by the permission bits: the first class that
// a user is of decides, not the most generous one.
func accessCases() []Case {
	var all []Case
	classes := []struct {
		name  string
		shift uint
		who   user
	}{
		{"owner", 6, alice},
		{"group", 3, user{uid: bob.uid, gid: team}},
		{"extra-group", 3, user{bob.uid, bob.gid, []uint32{team + 1, team}}},
		{"others", 0, bob},
	}
	for _, c := range classes {
		all = append(all, Case{"access/bits-of-" + c.name + "-decide", Root | Owners, func(e *Env) {
			file("f", "content")
			mkdir("d")
			file("d/in", "")
			for _, p := range []string{"f", "d"} {
				do(unix.Chown(p, alice.uid, team))
			}
			for bits := range uint32(8) {
				others := uint32(0o777) &^ (7 << c.shift)
				for _, mode := range []uint32{bits << c.shift, bits<<c.shift | others} {
					do(unix.Chmod("f", mode))
					do(unix.Chmod("d", mode))
					e.as(c.who, func() {
						granted := func(needs uint32, err error) {
							if bits&needs == needs {
								do(err)
							} else {
								want(err, unix.EACCES)
							}
						}
						granted(4, openClose("f", unix.O_RDONLY))
						granted(2, openClose("f", unix.O_WRONLY))
						granted(6, openClose("f", unix.O_RDWR))
						granted(2, unix.Truncate("f", 3))
						granted(6, openClose("f", unix.O_RDONLY|unix.O_TRUNC))
						granted(4, unix.Access("f", unix.R_OK))
						granted(2, unix.Access("f", unix.W_OK))
						granted(1, unix.Access("f", unix.X_OK))
						granted(4, openClose("d", unix.O_RDONLY))
						granted(1, unix.Access("d/in", unix.F_OK))
						granted(3, unix.Mkdir("d/new", 0o755))
						if bits&3 == 3 {
							do(unix.Rmdir("d/new"))
						}
					})
				}
			}
		}})
	}
	return append(all,
		Case{"access/root-needs-an-execute-bit-to-execute", Root | Owners, func(e *Env) {
			file("f", "")
			do(unix.Chmod("f", 0o600))
			want(unix.Access("f", unix.X_OK), unix.EACCES)
			do(unix.Chmod("f", 0o001))
			do(unix.Access("f", unix.R_OK|unix.W_OK|unix.X_OK))
		}},
		Case{"access/root-may-read-and-write-anything", Root | Owners, func(e *Env) {
			e.as(alice, func() {
				file("f", "content")
				mkdir("d")
				do(unix.Chmod("f", 0))
				do(unix.Chmod("d", 0))
			})
			equal("content", content("f"), "content")
			file("d/in", "x")
		}},
	)
}
