package posix

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func owner(path string, uid, gid int) {
	st := lstat(path)
	equal("owner of "+path, int(st.Uid), uid)
	equal("group of "+path, int(st.Gid), gid)
}

func ownerCases() []Case {
	all := []Case{
		{"chown/root-gives-anything-to-anybody", Root | Owners, func(e *Env) {
			for _, s := range sorts {
				s.make(s.name)
				do(unix.Lchown(s.name, 123, 456))
				owner(s.name, 123, 456)
				do(unix.Lchown(s.name, -1, 7))
				owner(s.name, 123, 7)
				do(unix.Lchown(s.name, 8, -1))
				owner(s.name, 8, 7)
			}
		}},
		{"chown/large-numbers", Root | Owners, func(e *Env) {
			file("f", "")
			for _, id := range []int{65535, 65536, 1 << 31, 1<<32 - 2} {
				do(unix.Chown("f", id, id))
				owner("f", id, id)
			}
		}},
		{"chown/by-descriptor", Root | Owners, func(e *Env) {
			file("f", "")
			do(unix.Fchown(e.open("f", unix.O_RDONLY, 0), 1, 2))
			owner("f", 1, 2)
		}},
		{"chown/follows-symlink-and-lchown-does-not", Root | Owners | Symlinks, func(e *Env) {
			file("f", "")
			symlink("f", "s")
			do(unix.Chown("s", 1, 2))
			owner("f", 1, 2)
			owner("s", 0, 0)
			do(unix.Lchown("s", 3, 4))
			owner("f", 1, 2)
			owner("s", 3, 4)
		}},
		{"chown/moves-ctime-only", Root | Owners | Ctime, func(e *Env) {
			file("f", "")
			mkdir("d")
			moves(at{"f": ctime, ".": still}, func() { do(unix.Chown("f", 1, 2)) })
			moves(at{"d": ctime, ".": still}, func() { do(unix.Chown("d", 1, 2)) })
		}},
		{"chown/owner-gives-to-a-group-of-theirs", Root | Owners, func(e *Env) {
			e.as(user{alice.uid, alice.gid, []uint32{team, team + 1}}, func() {
				file("f", "")
				do(unix.Chown("f", -1, team))
				owner("f", alice.uid, team)
				do(unix.Chown("f", alice.uid, team+1))
				owner("f", alice.uid, team+1)
				do(unix.Chown("f", -1, alice.gid))
				owner("f", alice.uid, alice.gid)
			})
		}},
		{"chown/owner-to-a-foreign-group-is-EPERM", Root | Owners, func(e *Env) {
			e.as(alice, func() {
				file("f", "")
				want(unix.Chown("f", -1, team), unix.EPERM)
				want(unix.Chown("f", alice.uid, 0), unix.EPERM)
				owner("f", alice.uid, alice.gid)
			})
		}},
		{"chown/owner-gives-nothing-away", Root | Owners, func(e *Env) {
			e.as(alice, func() {
				file("f", "")
				want(unix.Chown("f", bob.uid, -1), unix.EPERM)
				want(unix.Chown("f", 0, alice.gid), unix.EPERM)
			})
		}},
		{"chown/of-another-owner-is-EPERM-and-changes-nothing", Root | Owners | Ctime, func(e *Env) {
			file("f", "")
			do(unix.Chmod("f", 0o777))
			moves(at{"f": still}, func() {
				e.as(alice, func() {
					want(unix.Chown("f", alice.uid, alice.gid), unix.EPERM)
					want(unix.Chown("f", -1, alice.gid), unix.EPERM)
					want(unix.Chown("f", 0, -1), unix.EPERM)
				})
			})
			owner("f", 0, 0)
		}},
		{"chown/new-owner-has-the-rights", Root | Owners, func(e *Env) {
			file("f", "content")
			do(unix.Chmod("f", 0o600))
			e.as(alice, func() { want(openClose("f", unix.O_RDONLY), unix.EACCES) })
			do(unix.Chown("f", alice.uid, -1))
			e.as(alice, func() { equal("content", content("f"), "content") })
		}},
	}
	for _, s := range sorts {
		all = append(all,
			Case{"owner/new-" + s.name + "-belongs-to-its-maker", s.needs | Root | Owners, func(e *Env) {
				e.as(alice, func() { s.make("x") })
				owner("x", alice.uid, alice.gid)
				e.as(user{bob.uid, team, []uint32{65502}}, func() { s.make("y") })
				owner("y", bob.uid, team)
			}},
			Case{"owner/new-" + s.name + "-in-a-set-group-id-directory-has-its-group", s.needs | Root | Owners, func(e *Env) {
				mkdir("d")
				do(unix.Chown("d", 0, team))
				do(unix.Chmod("d", 0o2777))
				e.as(alice, func() { s.make("d/x") })
				owner("d/x", alice.uid, team)
				inherits := perm(lstat("d/x"))&unix.S_ISGID != 0
				equal("set-group-id bit", inherits, s.mode == unix.S_IFDIR)
			}},
		)
	}
	return append(all,
		Case{"owner/set-group-id-goes-down-the-tree", Root | Owners, func(e *Env) {
			mkdir("d")
			do(unix.Chown("d", 0, team))
			do(unix.Chmod("d", 0o2777))
			unix.Umask(0)
			do(unix.Mkdir("d/a", 0o777))
			do(unix.Mkdir("d/a/b", 0o777))
			file("d/a/b/f", "")
			equal("mode", perm(lstat("d/a/b")), 0o2777)
			owner("d/a/b/f", 0, team)
		}},
		Case{"owner/set-group-id-file-of-a-stranger-loses-the-bit", Root | Owners, func(e *Env) {
			mkdir("d")
			do(unix.Chown("d", 0, team))
			do(unix.Chmod("d", 0o2777))
			e.as(alice, func() { e.open("d/f", unix.O_CREAT|unix.O_RDWR, 0o2755) })
			equal("mode", perm(lstat("d/f")), 0o755)
		}},
	)
}

// stickyCases: in a sticky directory, only the owner of an entry, of the
// directory, or root takes an entry away.
func stickyCases() []Case {
	var all []Case
	remove := func(s sort, p string) error {
		if s.mode == unix.S_IFDIR {
			return unix.Rmdir(p)
		}
		return unix.Unlink(p)
	}
	for _, s := range sorts {
		type attempt struct {
			name string
			do   func(p string) error
			set  func() // puts the other name there
		}
		for _, a := range []attempt{
			{"remove", func(p string) error { return remove(s, p) }, func() {}},
			{"rename-away", func(p string) error { return unix.Rename(p, "dir/away") }, func() {}},
			{"rename-out", func(p string) error { return unix.Rename(p, "other") }, func() {}},
			{"rename-over", func(p string) error { return unix.Rename("dir/mine", p) }, func() { s.make("dir/mine"); do(unix.Lchown("dir/mine", bob.uid, bob.gid)) }},
		} {
			set := func(dirOwner, fileOwner user) string {
				do(unix.Mkdir("dir", 0o777))
				a.set()
				s.make("dir/x")
				do(unix.Lchown("dir/x", fileOwner.uid, fileOwner.gid))
				if s.mode == unix.S_IFDIR {
					do(unix.Chmod("dir/x", 0o777))
				}
				do(unix.Chown("dir", dirOwner.uid, dirOwner.gid))
				do(unix.Chmod("dir", 0o1777))
				return "dir/x"
			}
			all = append(all,
				Case{fmt.Sprintf("sticky/%s-%s-of-a-stranger-is-EPERM", a.name, s.name), s.needs | Root | Owners, func(e *Env) {
					p := set(user{}, alice)
					e.as(bob, func() { want(a.do(p), unix.EPERM) })
					lstat(p)
				}},
				Case{fmt.Sprintf("sticky/%s-%s-by-its-owner-works", a.name, s.name), s.needs | Root | Owners, func(e *Env) {
					p := set(user{}, bob)
					e.as(bob, func() { do(a.do(p)) })
				}},
				Case{fmt.Sprintf("sticky/%s-%s-by-the-directory-owner-works", a.name, s.name), s.needs | Root | Owners, func(e *Env) {
					p := set(bob, alice)
					e.as(bob, func() { do(a.do(p)) })
				}},
			)
		}
	}
	return append(all, Case{"sticky/root-may", Root | Owners, func(e *Env) {
		do(unix.Mkdir("dir", 0o777))
		do(unix.Chmod("dir", 0o1777))
		do(unix.Chown("dir", bob.uid, bob.gid))
		e.as(alice, func() { file("dir/x", "") })
		do(unix.Rename("dir/x", "dir/y"))
		do(unix.Unlink("dir/y"))
	}})
}

// suidCases: set-id bits do not survive a change by somebody without the
// privilege to set them.
func suidCases() []Case {
	changes := []struct {
		name  string
		needs Needs
		do    func(e *Env)
	}{
		{"write", 0, func(e *Env) { writeAll(e.open("f", unix.O_WRONLY, 0), "x") }},
		{"pwrite", 0, func(e *Env) { writeAt(e.open("f", unix.O_WRONLY, 0), "x", 2) }},
		{"append", 0, func(e *Env) { writeAll(e.open("f", unix.O_WRONLY|unix.O_APPEND, 0), "x") }},
		{"truncate", 0, func(e *Env) { do(unix.Truncate("f", 1)) }},
		{"ftruncate", 0, func(e *Env) { do(unix.Ftruncate(e.open("f", unix.O_WRONLY, 0), 1)) }},
		{"open-truncate", 0, func(e *Env) { e.open("f", unix.O_WRONLY|unix.O_TRUNC, 0) }},
		{"fallocate", Allocate, func(e *Env) { do(unix.Fallocate(e.open("f", unix.O_WRONLY, 0), 0, 0, 10000)) }},
	}
	var all []Case
	for _, c := range changes {
		all = append(all,
			Case{"suid/" + c.name + "-by-a-user-clears-it", c.needs | Root | Owners, func(e *Env) {
				for mode, left := range map[uint32]uint32{0o4777: 0o777, 0o2777: 0o777, 0o6777: 0o777, 0o4666: 0o666, 0o1777: 0o1777} {
					file("f", "content")
					do(unix.Chmod("f", mode))
					e.as(alice, func() { c.do(e) })
					equal(fmt.Sprintf("mode after %04o", mode), perm(lstat("f")), left)
					do(unix.Unlink("f"))
				}
			}},
			Case{"suid/" + c.name + "-by-the-owner-clears-it", c.needs | Root | Owners, func(e *Env) {
				file("f", "content")
				do(unix.Chown("f", alice.uid, alice.gid))
				do(unix.Chmod("f", 0o6755))
				e.as(alice, func() { c.do(e) })
				equal("mode", perm(lstat("f")), 0o755)
			}},
			Case{"suid/" + c.name + "-by-root-keeps-it", c.needs | Root | Owners, func(e *Env) {
				file("f", "content")
				do(unix.Chmod("f", 0o6755))
				c.do(e)
				equal("mode", perm(lstat("f")), 0o6755)
			}},
		)
	}
	return append(all,
		Case{"suid/chown-clears-it", Root | Owners, func(e *Env) {
			file("f", "")
			do(unix.Chown("f", alice.uid, alice.gid))
			do(unix.Chmod("f", 0o6755))
			e.as(user{alice.uid, alice.gid, []uint32{team}}, func() { do(unix.Chown("f", -1, team)) })
			equal("mode", perm(lstat("f")), 0o755)
			do(unix.Chmod("f", 0o6755))
			do(unix.Chown("f", 0, 0))
			equal("mode after root's", perm(lstat("f")), 0o755)
		}},
		Case{"suid/chown-keeps-it-on-directories", Root | Owners, func(e *Env) {
			mkdir("d")
			do(unix.Chown("d", alice.uid, alice.gid))
			do(unix.Chmod("d", 0o6755))
			e.as(user{alice.uid, alice.gid, []uint32{team}}, func() { do(unix.Chown("d", -1, team)) })
			equal("mode", perm(lstat("d")), 0o6755)
		}},
		Case{"suid/copy-file-range-clears-it", Root | Owners, func(e *Env) {
			file("a", "source")
			file("f", "content")
			do(unix.Chmod("f", 0o6777))
			e.as(alice, func() {
				must(unix.CopyFileRange(e.open("a", unix.O_RDONLY, 0), nil, e.open("f", unix.O_WRONLY, 0), nil, 3, 0))
			})
			equal("mode", perm(lstat("f")), 0o777)
			equal("content", content("f"), "soutent")
		}},
		Case{"suid/reading-and-empty-writes-keep-it", Root | Owners, func(e *Env) {
			file("f", "content")
			do(unix.Chmod("f", 0o6777))
			e.as(alice, func() {
				fd := e.open("f", unix.O_RDWR, 0)
				readAll(fd)
				must(unix.Write(fd, nil))
			})
			equal("mode", perm(lstat("f")), 0o6777)
		}},
		Case{"suid/rename-and-link-keep-it", Modes | Links, func(e *Env) {
			file("f", "content")
			do(unix.Chmod("f", 0o6711))
			do(unix.Link("f", "g"))
			do(unix.Rename("f", "h"))
			equal("mode", perm(lstat("g")), 0o6711)
			equal("mode", perm(lstat("h")), 0o6711)
		}},
	)
}
