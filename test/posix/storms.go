package posix

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// whole is a version of a file that shows when it is cut or mixed.
func whole(i int) string { return strings.Repeat(string(rune('a'+i%26)), 5000) }

func stormCases() []Case {
	return []Case{
		{"storm/replaced-file-is-always-there-and-whole", 0, func(e *Env) {
			file("f", whole(0))
			p := e.child("witness", "f")
			equal("the other process", p.line(), "watching")
			for i := range 400 {
				file("new", whole(i))
				do(unix.Rename("new", "f"))
			}
			p.say("stop")
			equal("the other process", p.line(), "all well")
			p.end()
		}},
		{"storm/exchanged-files-are-always-there-and-whole", Exchange, func(e *Env) {
			file("f", whole(0))
			file("g", whole(1))
			p := e.child("witness", "f")
			q := e.child("witness", "g")
			equal("one process", p.line(), "watching")
			equal("another process", q.line(), "watching")
			for range 1000 {
				do(rename2("f", "g", unix.RENAME_EXCHANGE))
			}
			for _, p := range []*peer{p, q} {
				p.say("stop")
				equal("the other process", p.line(), "all well")
				p.end()
			}
		}},
		{"storm/replaced-symlink-always-leads-somewhere", Symlinks, func(e *Env) {
			for i := range 2 {
				mkdir(fmt.Sprint("v", i))
				file(fmt.Sprintf("v%d/f", i), whole(i))
			}
			symlink("v0", "current")
			p := e.child("witness", "current/f")
			equal("the other process", p.line(), "watching")
			for i := range 1000 {
				symlink(fmt.Sprint("v", i%2), "new")
				do(unix.Rename("new", "current"))
			}
			p.say("stop")
			equal("the other process", p.line(), "all well")
			p.end()
		}},
		{"storm/renames-of-many-lose-nothing", 0, func(e *Env) {
			const workers, files = 6, 20
			for i := range 3 {
				mkdir(fmt.Sprint("d", i))
			}
			for w := range workers {
				for i := range files {
					file(fmt.Sprintf("d0/%d-%d", w, i), fmt.Sprint(w, i))
				}
			}
			e.together(workers, func(w int) {
				for round := range 6 {
					for i := range files {
						from := fmt.Sprintf("d%d/%d-%d", round%3, w, i)
						do(unix.Rename(from, fmt.Sprintf("d%d/%d-%d", (round+1)%3, w, i)))
					}
				}
			})
			equal("names", len(must(os.ReadDir("d0"))), workers*files)
			for w := range workers {
				for i := range files {
					equal("content", content(fmt.Sprintf("d0/%d-%d", w, i)), fmt.Sprint(w, i))
				}
			}
		}},
		{"storm/directories-moved-into-each-other-make-no-loop", 0, func(e *Env) {
			mkdir("a")
			mkdir("b")
			e.together(2, func(i int) {
				from, to := "a", "b"
				if i == 1 {
					from, to = to, from
				}
				for range 300 {
					switch err := unix.Rename(from, to+"/"+from); err {
					case nil:
						do(unix.Rename(to+"/"+from, from))
					default: // it is inside what is to be moved
						want(err, unix.EINVAL, unix.ENOENT)
					}
				}
			})
			equal("type", kind(lstat("a")), unix.S_IFDIR)
			equal("type", kind(lstat("b")), unix.S_IFDIR)
			equal("names", len(must(os.ReadDir("."))), 2)
		}},
		{"storm/create-and-remove-of-one-name", 0, func(e *Env) {
			e.together(4, func(int) {
				for range 200 {
					if err := openClose("f", unix.O_CREAT|unix.O_WRONLY); err != nil {
						want(err, unix.ENOENT) // removed between the look and the making
					}
					if err := unix.Unlink("f"); err != nil {
						want(err, unix.ENOENT)
					}
				}
			})
			missing("f")
			file("f", "")
		}},
		{"storm/mkdir-rmdir-and-files-in-it", 0, func(e *Env) {
			e.together(4, func(i int) {
				p := fmt.Sprint("d/", i)
				for range 150 {
					if err := unix.Mkdir("d", 0o777); err != nil {
						want(err, unix.EEXIST)
					}
					switch err := openClose(p, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY); err {
					case nil:
						do(unix.Unlink(p))
					default:
						want(err, unix.ENOENT)
					}
					if err := unix.Rmdir("d"); err != nil {
						want(err, unix.ENOTEMPTY, unix.ENOENT)
					}
				}
			})
			equal("names", len(must(os.ReadDir("."))), 0)
		}},
		{"storm/links-and-unlinks-count-right", Links, func(e *Env) {
			file("f", "content")
			e.together(4, func(i int) {
				for j := range 150 {
					p := fmt.Sprintf("l%d-%d", i, j)
					do(unix.Link("f", p))
					if j%2 == 0 {
						do(unix.Unlink(p))
					}
				}
			})
			equal("links", links("f"), 1+4*75)
		}},
		{"storm/writes-to-one-file-at-different-places", 0, func(e *Env) {
			file("f", "")
			e.together(4, func(i int) {
				fd := must(unix.Open("f", unix.O_RDWR|unix.O_CLOEXEC, 0))
				s := strings.Repeat(fmt.Sprint(i), 1000)
				for j := range 100 {
					writeAt(fd, s, int64(j*4+i)*1000)
				}
				do(unix.Close(fd))
			})
			s := content("f")
			equal("size", len(s), 400000)
			for i := range s {
				equal(fmt.Sprint("byte ", i), s[i], byte('0'+i/1000%4))
			}
		}},
	}
}
