package main

import (
	"fmt"
	"os"
	"regexp"
	"time"
)

// sizes of a run; -quick has smaller ones.
type sizes struct {
	big    int64
	iozone int64 // written by each sequential phase
	small  int
	synced int // files that are created with an fsync
	dir    int
	random time.Duration // a random phase ends after so long, if it isn't done
	tree   []string      // parts of Go's standard library, for the applications
	insert int           // transactions of the database

	packages int  // of the program that is built
	library  bool // it uses some of the standard library
}

var (
	fullSizes = sizes{
		big: 2048 * mib, iozone: 512 * mib, small: 2000, synced: 500, dir: 10000, random: 3 * time.Second,
		tree: []string{"net", "crypto", "encoding", "go", "internal", "runtime", "os", "archive", "compress"}, insert: 200,
		packages: 40, library: true,
	}
	quickSizes = sizes{
		big: 16 * mib, iozone: 4 * mib, small: 50, synced: 10, dir: 200, random: 100 * time.Millisecond,
		tree: []string{"archive"}, insert: 5, packages: 3,
	}
)

// A row is a figure and the bar for it.
type row struct {
	name, unit string
	higher     bool // is better
	bar        bar  // of keep-mount; the zero bar is none
}

// A bar asks for least times the speed of the better of the mounts against.
type bar struct {
	least   float64
	against []string
}

var (
	loopbacks = []string{loopbackName, writeBackName}
	disk      = []string{diskName}
)

// A group is a workload whose steps need each other, so one mount does all of
// them before the next has its turn. It works in the empty directory s.work,
// which is emptied afterwards.
type group struct {
	name, what string
	rows       []row
	run        func(s *server, r *recorder) error
}

// matches tells whether the group, or a row of it, is asked for.
func (g group) matches(only *regexp.Regexp) bool {
	for _, r := range g.rows {
		if only.MatchString(r.name) {
			return true
		}
	}
	return only.MatchString(g.name)
}

func rates(unit string, b bar, names ...string) (list []row) {
	for _, n := range names {
		list = append(list, row{n, unit, true, b})
	}
	return list
}

func times(b bar, names ...string) (list []row) {
	for _, n := range names {
		list = append(list, row{n, "s", false, b})
	}
	return list
}

// groups lists the workloads; stage is a directory outside the mounts for what
// they start from.
func groups(z sizes, stage string) ([]group, error) {
	list := []group{bigFile(z)}
	for _, record := range []int{4 * kib, 128 * kib} {
		for _, files := range []int{1, 4} {
			list = append(list, iozone(z, record, files))
		}
	}
	list = append(list, smallFiles(z), smallAtOnce(z), smallSynced(z), directory(z))
	apps, err := applications(z, stage)
	return append(list, apps...), err
}

func bigFile(z sizes) group {
	write := bar{0.9, loopbacks}
	return group{
		name: "big",
		what: fmt.Sprintf("a file of %d MiB, 1 MiB a call; cold is after a new mount and with empty caches", z.big/mib),
		rows: append(rates("MiB/s", write, "dd_write_close", "dd_write_fsync_close", "dd_read_cold"),
			rates("MiB/s", bar{0.8, disk}, "dd_read_warm")...),
		run: func(s *server, r *recorder) error {
			path := s.path("big")
			read := func() error { return readFile(path, z.big, mib) }
			return chain(
				func() error {
					return r.mibPerSecond("dd_write_close", z.big, func() error { return writeFile(path, z.big, mib, closeOnly) })
				},
				func() error { return os.Remove(path) },
				func() error { settle(); return nil },
				func() error {
					return r.mibPerSecond("dd_write_fsync_close", z.big, func() error { return writeFile(path, z.big, mib, fsyncToo) })
				},
				func() error { settle(); return s.cold() },
				func() error { return r.mibPerSecond("dd_read_cold", z.big, read) },
				func() error { return r.mibPerSecond("dd_read_warm", z.big, read) },
			)
		},
	}
}

func smallFiles(z sizes) group {
	small := bar{0.8, loopbacks}
	return group{
		name: "small",
		what: fmt.Sprintf("%d files of 4 KiB in a directory: each is created, written and closed; then each of them is met, read, renamed, removed", z.small),
		rows: rates("files/s", small, "create_4k", "stat_warm", "read_4k_warm", "stat_cold", "read_4k_cold", "rename", "unlink"),
		run: func(s *server, r *recorder) error {
			each := func(row string, f func(path string) error) func() error {
				return func() error {
					settle()
					return r.perSecond(row, z.small, func() error { return forEach(z.small, 1, s.path("d"), f) })
				}
			}
			stat := func(p string) error { _, err := os.Lstat(p); return err }
			read := func(p string) error { return readFile(p, 4*kib, 4*kib) }
			return chain(
				func() error { return os.Mkdir(s.path("d"), 0o755) },
				each("create_4k", func(p string) error { return writeFile(p, 4*kib, 4*kib, closeOnly) }),
				each("stat_warm", stat),
				each("read_4k_warm", read),
				s.cold,
				each("stat_cold", stat),
				s.cold,
				each("read_4k_cold", read),
				each("rename", func(p string) error { return os.Rename(p, p+"-renamed") }),
				each("unlink", func(p string) error { return os.Remove(p + "-renamed") }),
			)
		},
	}
}

func smallAtOnce(z sizes) group {
	return group{
		name: "small_t8", what: fmt.Sprintf("%d files of 4 KiB created, written and closed by 8 threads in one directory", z.small),
		rows: rates("files/s", bar{0.8, loopbacks}, "create_4k_t8"),
		run: func(s *server, r *recorder) error {
			return r.perSecond("create_4k_t8", z.small, func() error {
				return forEach(z.small, 8, s.work, func(p string) error { return writeFile(p, 4*kib, 4*kib, closeOnly) })
			})
		},
	}
}

func smallSynced(z sizes) group {
	return group{
		name: "small_fsync", what: fmt.Sprintf("%d files of 4 KiB, each created, written, synced and closed", z.synced),
		rows: rates("files/s", bar{0.8, loopbacks}, "create_fsync_4k"),
		run: func(s *server, r *recorder) error {
			return r.perSecond("create_fsync_4k", z.synced, func() error {
				return forEach(z.synced, 1, s.work, func(p string) error { return writeFile(p, 4*kib, 4*kib, fsyncToo) })
			})
		},
	}
}

func directory(z sizes) group {
	return group{
		name: "dir", what: fmt.Sprintf("a directory of %d empty files: made, listed by name, listed with a stat of each", z.dir),
		rows: append(rates("files/s", bar{0.8, loopbacks}, "fill_dir"),
			times(bar{0.8, loopbacks}, "readdir_warm", "ls_l_warm", "readdir_cold", "ls_l_cold")...),
		run: func(s *server, r *recorder) error {
			dir := s.path("d")
			list := func(row string, stat bool) func() error {
				return func() error { return r.seconds(row, func() error { return listDir(dir, z.dir, stat) }) }
			}
			return chain(
				func() error { return os.Mkdir(dir, 0o755) },
				func() error {
					return r.perSecond("fill_dir", z.dir, func() error {
						return forEach(z.dir, 1, dir, func(p string) error { return writeFile(p, 0, mib, closeOnly) })
					})
				},
				func() error { settle(); return nil },
				list("readdir_warm", false), list("ls_l_warm", true),
				s.cold, list("readdir_cold", false),
				s.cold, list("ls_l_cold", true),
			)
		},
	}
}

// applications are programs that people run on a mount.
func applications(z sizes, stage string) ([]group, error) {
	st, err := newStage(z, stage)
	if err != nil {
		return nil, err
	}
	b := bar{1 / 1.5, loopbacks}
	one := func(name, what string, prepare, f func(s *server) error) group {
		return group{name: name, what: what, rows: times(b, name), run: func(s *server, r *recorder) error {
			if prepare != nil {
				if err := prepare(s); err != nil {
					return err
				}
				settle()
			}
			return r.seconds(name, func() error { return f(s) })
		}}
	}
	git := group{
		name: "git", what: "git clone of a repository of the tree, its fsck, its gc", rows: times(b, "git_clone", "git_fsck", "git_gc"),
		run: func(s *server, r *recorder) error {
			return chain(
				func() error {
					return r.seconds("git_clone", func() error { return st.sh(s.work, "git", "clone", "-q", "--no-local", "file://"+st.repo, "clone") })
				},
				func() error {
					return r.seconds("git_fsck", func() error { return st.sh(s.path("clone"), "git", "fsck", "--full", "--no-progress") })
				},
				func() error {
					return r.seconds("git_gc", func() error { return st.sh(s.path("clone"), "git", "gc", "-q", "--aggressive", "--prune=now") })
				},
			)
		},
	}
	rsync := func(s *server) error { return st.sh(s.work, "rsync", "-a", st.tree+"/", "copy/") }
	return []group{
		one("tar_x", fmt.Sprintf("tar -x of %d files, %d MiB", st.files, st.bytes/mib), nil,
			func(s *server) error { return st.sh(s.work, "tar", "-xf", st.tar) }),
		git,
		one("go_build", fmt.Sprintf("go build of a program of %d packages on the mount, with the build cache (that has the standard library), temporary files and result there as well", z.packages+1),
			st.writeProgram, st.build),
		one("rsync", "rsync -a of the tree", nil, rsync),
		one("rsync_again", "the same, when nothing has changed", rsync, rsync),
		one("sqlite", fmt.Sprintf("%d transactions of one row, one of 20,000, and a scan, in SQLite with a rollback journal", z.insert), nil,
			func(s *server) error { return useDatabase(s.path("db"), z.insert) }),
	}, nil
}
