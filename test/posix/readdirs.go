package posix

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An entry is what getdents says of a name.
type entry struct {
	name string
	ino  uint64
	next int64 // the offset after it
	typ  byte
}

// getdents reads some entries, none at the end.
func getdents(fd, size int) []entry {
	b := make([]byte, size)
	b = b[:must(unix.Getdents(fd, b))]
	var all []entry
	for len(b) > 0 {
		n := int(binary.NativeEndian.Uint16(b[16:]))
		if n < 20 || n > len(b) {
			failf("getdents gave an entry of %d bytes with %d left", n, len(b))
		}
		name, _, _ := strings.Cut(string(b[19:n]), "\x00")
		all = append(all, entry{name, binary.NativeEndian.Uint64(b), int64(binary.NativeEndian.Uint64(b[8:])), b[18]})
		b = b[n:]
	}
	return all
}

// entries is all that is left in an open directory.
func entries(fd int) []entry {
	var all []entry
	for {
		some := getdents(fd, 4096)
		if len(some) == 0 {
			return all
		}
		all = append(all, some...)
	}
}

// names is all names of an open directory, sorted, without the dots.
func names(fd int) []string {
	must(unix.Seek(fd, 0, unix.SEEK_SET))
	var all []string
	for _, d := range entries(fd) {
		if d.name != "." && d.name != ".." {
			all = append(all, d.name)
		}
	}
	slices.Sort(all)
	return all
}

// noNames checks a directory that was removed: its end comes at once, as an
// error in Linux.
func noNames(fd int) {
	n, err := unix.Getdents(fd, make([]byte, 4096))
	if err != nil {
		want(err, unix.ENOENT)
		return
	}
	equal("bytes of names", n, 0)
}

func fill(dir string, n int) {
	for i := range n {
		do(openClose(fmt.Sprintf("%s/name-%05d", dir, i), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY))
	}
}

func readdirCases() []Case {
	return []Case{
		{"readdir/has-both-dots-once", 0, func(e *Env) {
			mkdir("d")
			file("d/f", "")
			mkdir("d/e")
			fd := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			var all []string
			for _, d := range entries(fd) {
				all = append(all, d.name)
			}
			slices.Sort(all)
			equal("names", fmt.Sprint(all), "[. .. e f]")
			equal("entries at the end", len(getdents(fd, 4096)), 0)
		}},
		{"readdir/inodes-and-types-are-those-of-stat", Symlinks | Specials, func(e *Env) {
			mkdir("d")
			for _, s := range sorts {
				s.make("d/" + s.name)
			}
			for _, d := range entries(e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)) {
				st := lstat("d/" + d.name)
				if d.name == ".." {
					continue
				}
				equal("inode of "+d.name, d.ino, st.Ino)
				if d.typ != unix.DT_UNKNOWN {
					equal("type of "+d.name, uint32(d.typ)<<12, kind(st))
				}
			}
		}},
		{"readdir/ten-thousand-names", 0, func(e *Env) {
			const workers, each = 5, 2000
			mkdir("d")
			path := func(i int) string { return fmt.Sprintf("d/name-%05d", i) }
			e.together(workers, func(w int) {
				for i := w * each; i < (w+1)*each; i++ {
					do(openClose(path(i), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY))
				}
			})
			fd := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			all := names(fd)
			equal("names", len(all), workers*each)
			for i, n := range all {
				equal("name", "d/"+n, path(i))
			}
			removeSome := func(removed func(i int) bool) {
				e.together(workers, func(w int) {
					for i := w * each; i < (w+1)*each; i++ {
						if removed(i) {
							do(unix.Unlink(path(i)))
						}
					}
				})
			}
			removeSome(func(i int) bool { return i%4 == 0 })
			equal("names", len(names(fd)), workers*each*3/4)
			removeSome(func(i int) bool { return i%4 != 0 })
			equal("names", len(names(fd)), 0)
			do(unix.Rmdir("d"))
		}},
		{"readdir/offsets-lead-back", 0, func(e *Env) {
			mkdir("d")
			fill("d", 500)
			fd := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			all := entries(fd)
			equal("entries", len(all), 502)
			for i := len(all) - 2; i >= 0; i -= 7 {
				must(unix.Seek(fd, all[i].next, unix.SEEK_SET))
				some := getdents(fd, 512)
				check(len(some) > 0, "nothing after the offset of entry %d", i)
				equal(fmt.Sprintf("name after entry %d", i), some[0].name, all[i+1].name)
			}
			must(unix.Seek(fd, all[len(all)-1].next, unix.SEEK_SET))
			equal("entries after the last", len(getdents(fd, 4096)), 0)
			must(unix.Seek(fd, 0, unix.SEEK_SET))
			equal("entries from the start", len(entries(fd)), 502)
		}},
		{"readdir/offsets-hold-after-removals", 0, func(e *Env) {
			mkdir("d")
			fill("d", 300)
			fd := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			all := entries(fd)
			for _, d := range all[:100] {
				if d.name[0] != '.' {
					do(unix.Unlink("d/" + d.name))
				}
			}
			must(unix.Seek(fd, all[149].next, unix.SEEK_SET))
			seen := make(map[string]bool)
			for _, d := range entries(fd) {
				check(!seen[d.name], "%s comes twice", d.name)
				seen[d.name] = true
			}
			for _, d := range all[150:] {
				check(seen[d.name], "%s does not come after the removal of others", d.name)
			}
		}},
		{"readdir/rewinding-sees-what-is-new", 0, func(e *Env) {
			mkdir("d")
			fd := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			equal("names", len(names(fd)), 0)
			file("d/f", "")
			equal("names", fmt.Sprint(names(fd)), "[f]")
			do(unix.Rename("d/f", "d/g"))
			equal("names", fmt.Sprint(names(fd)), "[g]")
			do(unix.Unlink("d/g"))
			equal("names", len(names(fd)), 0)
		}},
		{"readdir/removing-while-reading-removes-all", 0, func(e *Env) {
			mkdir("d")
			fill("d", 1000)
			fd := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			for {
				some := getdents(fd, 300)
				if len(some) == 0 {
					break
				}
				for _, d := range some {
					if d.name[0] != '.' {
						do(unix.Unlink("d/" + d.name))
					}
				}
			}
			do(unix.Rmdir("d"))
		}},
		{"readdir/stable-names-come-once-while-others-change", 0, func(e *Env) {
			mkdir("d")
			fill("d", 400)
			stop := make(chan struct{})
			e.together(2, func(i int) {
				if i == 1 {
					for j := 0; ; j++ {
						select {
						case <-stop:
							return
						default:
						}
						p := fmt.Sprintf("d/other-%d", j%50)
						do(openClose(p, unix.O_CREAT|unix.O_WRONLY))
						do(unix.Rename(p, p+"-renamed"))
						do(unix.Unlink(p + "-renamed"))
					}
				}
				defer close(stop)
				for range 30 {
					fd := must(unix.Open("d", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0))
					seen := make(map[string]int)
					for {
						some := getdents(fd, 1000)
						if len(some) == 0 {
							break
						}
						for _, d := range some {
							seen[d.name]++
						}
					}
					do(unix.Close(fd))
					for n := range 400 {
						name := fmt.Sprintf("name-%05d", n)
						equal("times that "+name+" came", seen[name], 1)
					}
				}
			})
		}},
		{"readdir/too-small-a-buffer-is-EINVAL", 0, func(e *Env) {
			_, err := unix.Getdents(e.open(".", unix.O_RDONLY|unix.O_DIRECTORY, 0), make([]byte, 8))
			want(err, unix.EINVAL)
		}},
		{"readdir/of-a-file-is-ENOTDIR", 0, func(e *Env) {
			file("f", "")
			_, err := unix.Getdents(e.open("f", unix.O_RDONLY, 0), make([]byte, 1000))
			want(err, unix.ENOTDIR)
		}},
		{"readdir/read-of-a-directory-is-EISDIR", 0, func(e *Env) {
			_, err := unix.Read(e.open(".", unix.O_RDONLY|unix.O_DIRECTORY, 0), make([]byte, 1000))
			want(err, unix.EISDIR)
		}},
		{"readdir/two-handles-have-two-positions", 0, func(e *Env) {
			mkdir("d")
			fill("d", 200)
			a := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			b := e.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
			first := len(getdents(a, 512))
			equal("entries of the other", len(entries(b)), 202)
			equal("entries", first+len(entries(a)), 202)
		}},
	}
}

func nameCases() []Case {
	sets := map[string][]string{
		"single-bytes":   nil,
		"dots-and-space": {"...", "....", ".hidden", " ", "  ", "a ", " a", "a.", "-", "--help", "~", "#", "*", "?", "\\", "con", "nul.txt", "a:b"},
		"case-differs":   {"readme", "README", "Readme"},
		"forms-differ":   {"\u00e9", "e\u0301", "\u00c5", "\u212b", "A\u030a"},
		"not-utf-8":      {"\xff", "\xfe\xff", "a\x80b", "\xc3", "\xed\xa0\x80", "\xf5\x80\x80\x80"},
		"control-bytes":  {"line\nbreak", "\r\n", "tab\t", "\x01", "\x7f", "\x1b[31m"},
		"lengths":        {name(1), name(127), name(128), name(254), name(255), strings.Repeat("ü", 127), strings.Repeat("\xff", 255)},
		"markers":        {"a~b", "x~20200101-000000~conflict~", ".#lock", ".fuse_hidden0000000100000001", ".nfs0001", "by_id", "%2F", "&amp;", "\\040", "\\072"},
	}
	for b := 1; b < 256; b++ {
		if b != '/' && b != '.' {
			sets["single-bytes"] = append(sets["single-bytes"], string([]byte{byte(b)}))
		}
	}
	var all []Case
	for set, list := range sets {
		all = append(all, Case{"name/" + set, 0, func(e *Env) {
			mkdir("f")
			mkdir("d")
			for i, n := range list {
				file("f/"+n, fmt.Sprint(i))
				mkdir("d/" + n)
			}
			sorted := slices.Sorted(slices.Values(list))
			for _, dir := range []string{"f", "d"} {
				got := names(e.open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0))
				check(slices.Equal(got, sorted), "names = %q; want %q", got, sorted)
			}
			for i, n := range list {
				equal(fmt.Sprintf("content of %q", n), content("f/"+n), fmt.Sprint(i))
				do(unix.Rename("f/"+n, "d/"+n+"/x"))
				do(unix.Rename("d/"+n+"/x", "f/"+n))
				do(unix.Rmdir("d/" + n))
				do(unix.Unlink("f/" + n))
			}
			equal("names left", len(must(os.ReadDir("f")))+len(must(os.ReadDir("d"))), 0)
		}})
	}
	slices.SortFunc(all, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	return all
}
