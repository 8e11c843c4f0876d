// Mountpeers measures keep-mount against go-fuse's loopback file system on this
// machine, in one run: as it is, with the kernel's write-back cache, and with
// FUSE passthrough; and against the disk's own file system. Every mount has its
// data on the same disk. The mounts take turns in each group of rows, and a
// table tells ratios and what the servers used.
//
//	go run ./bench/mountpeers -keep-mount BIN [-quick] [-rows REGEXP] [-servers LIST] [-o FILE]
//
// It needs root: it mounts, and empties the kernel's caches for cold rows. It
// exits with an error when a row fails, not when a bar is missed: one run on a
// busy machine is no verdict.
//
// Start reading at rows.go, which has the workloads and their bars.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"keepdav/bench/meter"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

type config struct {
	keepMount, keepArgs, dir, markdown, json string
	only                                     *regexp.Regexp
	servers                                  []string
	reps, retries                            int
	rowBudget                                time.Duration
	readAhead                                int
	quick, keep                              bool
	sizes                                    sizes
}

func main() {
	if arg := os.Getenv(loopbackEnv); arg != "" { // a child of ours
		if err := serveLoopback(arg); err != nil {
			fmt.Fprintln(os.Stderr, "mountpeers: loopback:", err)
			os.Exit(1)
		}
		return
	}
	// A system call into a mount waits for another process; goroutines that
	// come back from one must not wait for each other as well.
	runtime.GOMAXPROCS(max(16, runtime.NumCPU()))
	c := parseFlags()
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "mountpeers:", err)
		os.Exit(1)
	}
}

func parseFlags() *config {
	c := &config{sizes: fullSizes}
	var rows, servers string
	flag.BoolVar(&c.quick, "quick", false, "small sizes and 2 repetitions: shows that everything works, measures nothing")
	flag.StringVar(&rows, "rows", "", "regexp of the groups or rows to run")
	flag.StringVar(&servers, "servers", strings.Join(serverNames, ","), "which of the mounts")
	flag.IntVar(&c.reps, "reps", 7, "repetitions")
	flag.IntVar(&c.retries, "retries", 2, "how often a repetition is repeated that other processes disturbed")
	flag.DurationVar(&c.rowBudget, "row-budget", 60*time.Second, "a mount gets no more repetitions of a group once it has taken so long in it")
	flag.IntVar(&c.readAhead, "read-ahead", 0, "set read_ahead_kb of the loopbacks' mounts to this (default: leave the kernel's)")
	flag.StringVar(&c.dir, "dir", "/var/tmp", "where the data goes (in a directory that is removed)")
	flag.StringVar(&c.markdown, "o", "", "write the Markdown table to this file (default: standard output)")
	flag.StringVar(&c.json, "json", "", "write the figures to this file as JSON")
	flag.StringVar(&c.keepMount, "keep-mount", "", "the keep-mount binary to measure; without it there are no ratios")
	flag.StringVar(&c.keepArgs, "keep-mount-args", "--store {store} --read-write --foreground {mnt}", "its arguments")
	flag.BoolVar(&c.keep, "keep", false, "leave the data and logs there")
	bigMiB := flag.Int64("big", c.sizes.big/mib, "MiB of the large file")
	izMiB := flag.Int64("iozone", c.sizes.iozone/mib, "MiB that the iozone rows write, in one file or four")
	flag.IntVar(&c.sizes.small, "small", c.sizes.small, "how many small files")
	flag.IntVar(&c.sizes.dir, "entries", c.sizes.dir, "entries of the large directory")
	flag.Parse()
	c.sizes.big, c.sizes.iozone = *bigMiB*mib, *izMiB*mib
	if c.quick {
		c.sizes, c.reps, c.retries, c.rowBudget = quickSizes, 2, 0, 4*time.Second
	}
	c.only = regexp.MustCompile(rows)
	c.servers = strings.Split(servers, ",")
	return c
}

func (c *config) run() (err error) {
	began := time.Now()
	dir, err := os.MkdirTemp(c.dir, "mountpeers-")
	if err != nil {
		return err
	}
	var servers []*server
	cleanUp := func() (err error) {
		for _, s := range servers {
			err = errors.Join(err, s.stop())
		}
		if err == nil && !c.keep { // never remove what may still be mounted
			err = os.RemoveAll(dir)
		}
		return err
	}
	defer func() { err = errors.Join(err, cleanUp()) }()
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-stopped
		if err := cleanUp(); err != nil {
			fmt.Fprintln(os.Stderr, "mountpeers: clean up:", err)
		}
		os.Exit(1)
	}()

	rep := &report{When: began.UTC().Format("2006-01-02"), Machine: meter.Machine(), Quick: c.quick, Missing: map[string]string{}, servers: c.servers}
	for _, name := range c.servers {
		s := newServer(name, dir, c)
		if s.missing != "" {
			rep.Missing[name] = s.missing
			progress("NOT MEASURED: %s: %s", name, s.missing)
			continue
		}
		servers = append(servers, s)
		if err := s.start(); err != nil {
			return err
		}
	}
	if len(servers) == 0 {
		return errors.New("none of the mounts can be measured")
	}
	list, err := groups(c.sizes, filepath.Join(dir, "stage"))
	if err != nil {
		return err
	}
	var failed error
	for _, g := range list {
		if !g.matches(c.only) {
			continue
		}
		progress("%s: %s", g.name, g.what)
		for _, r := range c.runGroup(g, servers) {
			for _, s := range servers {
				if x := r.By[s.name]; x != nil {
					progress("  %-26s %-12s %s (others %.0f %%)", r.Row, s.name, r.cell(s.name), 100*x.Others)
					if x.Err != "" {
						failed = errors.Join(failed, fmt.Errorf("%s on %s: %s", r.Row, s.name, x.Err))
					}
				}
			}
			if c.only.MatchString(g.name) || c.only.MatchString(r.Row) {
				rep.Rows = append(rep.Rows, r)
			}
		}
		if err := rep.save(began, c.markdown, c.json); err != nil {
			return err
		}
	}
	if c.markdown == "" {
		rep.writeMarkdown(os.Stdout)
	}
	return failed
}

// runGroup lets the mounts take turns until each has its repetitions.
func (c *config) runGroup(g group, servers []*server) []*rowResult {
	rows := make([]*rowResult, len(g.rows))
	for i, r := range g.rows {
		rows[i] = &rowResult{Row: r.name, Unit: r.unit, Higher: r.higher, row: r, By: map[string]*result{}}
	}
	spent, broken := map[string]time.Duration{}, map[string]error{}
	for range c.reps {
		for _, s := range servers {
			if broken[s.name] != nil || spent[s.name] > c.rowBudget {
				continue
			}
			began := time.Now()
			rec, err := c.repetition(g, s)
			spent[s.name] += time.Since(began)
			broken[s.name] = err
			for _, r := range rows {
				if p, ok := rec.phases[r.Row]; ok {
					r.add(s.name, p)
				}
			}
		}
	}
	for _, r := range rows {
		for _, s := range servers {
			if err := broken[s.name]; err != nil {
				r.of(s.name).Err = err.Error()
			}
			r.of(s.name).finish()
		}
	}
	return rows
}

// repetition runs the group once on s, again while neighbours disturb it. The
// last try counts whatever happened.
func (c *config) repetition(g group, s *server) (*recorder, error) {
	for try := 0; ; try++ {
		rec := newRecorder(s)
		if err := g.run(s, rec); err != nil {
			return rec, errors.Join(fmt.Errorf("%s: %w", g.name, err), s.reset())
		}
		if err := s.reset(); err != nil {
			return rec, fmt.Errorf("%s: clean up: %w", g.name, err)
		}
		if worst := rec.worst(); worst <= disturbed || try == c.retries {
			return rec, nil
		} else {
			progress("  %s on %s: again, other processes took %.0f %% of the machine", g.name, s.name, 100*worst)
		}
	}
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
