// Davpeers measures keep-dav against other WebDAV servers on this machine, in
// one run: x/net/webdav over a directory (with and without fsync), rclone serve
// webdav, nginx with dav-ext, and Apache mod_dav. It builds keep-dav, starts
// every server on loopback with its data on the same disk, lets them take turns
// in each row, and writes a table with ratios and with what the servers used.
//
//	go run ./bench/davpeers [-quick] [-rows REGEXP] [-servers LIST] [-o FILE]
//
// What isn't installed is reported as missing. It exits with an error when a
// row fails on keep-dav, not when a bar is missed: one run on a busy machine is
// no verdict.
//
// Start reading at rows.go, which has the workloads and their bars.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	md5simd "github.com/minio/md5-simd"

	"keepdav/bench/meter"
)

type config struct {
	keepDav, dir, markdown, json string
	only                         *regexp.Regexp
	servers                      []string
	reps                         int
	rowBudget                    time.Duration
	quick, keep                  bool
	sizes                        sizes
}

func main() {
	if arg := os.Getenv("DAVPEERS_XDAV"); arg != "" { // a child of ours
		f := strings.SplitN(arg, "|", 3)
		fmt.Fprintln(os.Stderr, serveXdav(f[0], f[2], f[1] == "true"))
		os.Exit(1)
	}
	c := parseFlags()
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "davpeers:", err)
		os.Exit(1)
	}
}

func parseFlags() *config {
	c := &config{sizes: sizes{
		big: 512 * mib, small: 2000, dir: 10000, treeN: 100000, million: 1000000,
		each: gib, long: 16 * gib, rate: 1500 * time.Millisecond, idle: 3 * time.Second,
	}}
	quick := sizes{
		big: 32 * mib, small: 200, dir: 1000, treeN: 1000, million: 2000,
		each: 16 * mib, long: 64 * mib, rate: 200 * time.Millisecond, idle: 500 * time.Millisecond,
	}
	var rows, servers string
	flag.BoolVar(&c.quick, "quick", false, "small sizes and 2 repetitions, under a minute: shows that everything works, measures nothing")
	flag.StringVar(&rows, "rows", "", "regexp of the rows to run")
	flag.StringVar(&servers, "servers", strings.Join(serverNames, ","), "which servers")
	flag.IntVar(&c.reps, "reps", 7, "repetitions")
	flag.DurationVar(&c.rowBudget, "row-budget", 60*time.Second, "a server gets no more repetitions of a row once it has taken so long in it")
	flag.StringVar(&c.dir, "dir", "/var/tmp", "where the servers' data goes (in a directory that is removed)")
	flag.StringVar(&c.markdown, "o", "", "write the Markdown table to this file (default: standard output)")
	flag.StringVar(&c.json, "json", "", "write the figures to this file as JSON")
	flag.StringVar(&c.keepDav, "keep-dav", "", "measure this binary (default: build ./cmd/keep-dav)")
	flag.BoolVar(&c.keep, "keep", false, "leave the data and logs there")
	flag.IntVar(&c.sizes.million, "million", c.sizes.million, "files of the huge collection")
	flag.IntVar(&c.sizes.treeN, "tree", c.sizes.treeN, "files of the tree that is moved and copied")
	bigMiB := flag.Int64("big", c.sizes.big/mib, "MiB of the large file")
	eachMiB := flag.Int64("each", c.sizes.each/mib, "MiB of each of the eight files at once")
	longMiB := flag.Int64("sustained", c.sizes.long/mib, "MiB of the sustained upload")
	flag.Parse()
	c.sizes.big, c.sizes.each, c.sizes.long = *bigMiB*mib, *eachMiB*mib, *longMiB*mib
	if c.quick {
		c.sizes, c.reps, c.rowBudget = quick, 2, 2*time.Second
	}
	c.only = regexp.MustCompile(rows)
	c.servers = strings.Split(servers, ",")
	return c
}

func (c *config) run() (err error) {
	began := time.Now()
	dir, err := os.MkdirTemp(c.dir, "davpeers-")
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // Apache works as another user
		return err
	}
	var servers []*server
	cleanUp := func() {
		for _, s := range servers {
			s.stop()
		}
		if !c.keep {
			os.RemoveAll(dir)
		}
	}
	defer cleanUp()
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-stopped
		cleanUp()
		os.Exit(1)
	}()

	if c.keepDav == "" && slices.Contains(c.servers, keepdavName) {
		if c.keepDav, err = buildKeepDav(dir); err != nil {
			return err
		}
	}
	rep := &report{When: began.UTC().Format("2006-01-02"), Machine: meter.Machine(), Quick: c.quick, Hasher: hashRate(c.quick), Missing: map[string]string{}, servers: c.servers}
	for _, name := range c.servers {
		s := newServer(name, dir, c.keepDav)
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
	list, closeRows, err := rows(c.sizes)
	if err != nil {
		return err
	}
	defer closeRows()
	var failed error
	for _, r := range list {
		if !c.only.MatchString(r.name) {
			continue
		}
		progress("%s (%s): %s", r.name, r.unit, r.what)
		res := c.runRow(r, servers)
		for _, b := range r.bars {
			v := b.judge(res, rep.Hasher)
			v.Bar = b.text
			res.Bars = append(res.Bars, v)
		}
		for _, s := range servers {
			if x := res.By[s.name]; x != nil {
				progress("  %-10s %s (others %.0f %%)", s.name, res.cell(s.name), 100*x.Others)
				if x.Err != "" && s.name == keepdavName {
					failed = errors.Join(failed, fmt.Errorf("%s on keep-dav: %s", r.name, x.Err))
				}
			}
		}
		rep.Rows = append(rep.Rows, res)
		if err := rep.save(began, c.markdown, c.json); err != nil {
			return err
		}
	}
	if c.markdown == "" {
		rep.writeMarkdown(os.Stdout)
	}
	return failed
}

// runRow lets the servers take turns until each has its repetitions.
func (c *config) runRow(r row, servers []*server) *rowResult {
	res := &rowResult{Row: r.name, Unit: r.unit, What: r.what, Higher: r.higher, By: map[string]*result{}}
	reps := c.reps
	if r.reps > 0 {
		reps = min(reps, r.reps)
	}
	spent := map[string]time.Duration{}
	var taking []*server
	for _, s := range servers {
		if r.only != nil && !slices.Contains(r.only, s.name) {
			continue
		}
		x := &result{Server: s.name, Extra: map[string][]float64{}}
		res.By[s.name] = x
		if r.setup != nil {
			if err := r.setup(s); err != nil {
				x.Err = err.Error()
				continue
			}
		}
		taking = append(taking, s)
	}
	for range reps {
		for _, s := range taking {
			x := res.By[s.name]
			if x.Err != "" || spent[s.name] > c.rowBudget {
				continue
			}
			began := time.Now()
			if err := c.repetition(r, s, x); err != nil {
				x.Err = err.Error()
			}
			spent[s.name] += time.Since(began)
		}
	}
	for _, s := range taking {
		x := res.By[s.name]
		if r.after != nil {
			if err := r.after(s); err != nil && x.Err == "" {
				x.Err = "clean up: " + err.Error()
			}
		}
		x.CPU = meter.Median(x.cpus)
		for _, o := range x.others {
			x.Others += o / float64(len(x.others))
		}
	}
	return res
}

func (c *config) repetition(r row, s *server, x *result) error {
	if r.prep != nil {
		if err := r.prep(s); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	behind := r.idle && s.name == keepdavName
	if behind {
		meter.WaitIdle(s.pid(), c.sizes.idle)
	}
	syscall.Sync()
	meter.ResetPeaks(s.pid())
	cpu, busy, own, began := meter.TreeCPU(s.pid()), meter.BusySeconds(), meter.OwnCPU(), time.Now()
	v, err := r.run(s)
	if err != nil {
		return err
	}
	used := meter.TreeCPU(s.pid()) - cpu
	x.others = append(x.others, meter.OthersShare(meter.BusySeconds()-busy, meter.OwnCPU()-own, used, time.Since(began)))
	if behind {
		meter.WaitIdle(s.pid(), c.sizes.idle)
	}
	x.cpus = append(x.cpus, max(0, meter.TreeCPU(s.pid())-cpu))
	x.RSS = max(x.RSS, meter.TreePeakRSS(s.pid()))
	x.Values = append(x.Values, v.value)
	for k, e := range v.extra {
		x.Extra[k] = append(x.Extra[k], e)
	}
	return nil
}

// buildKeepDav returns "" when there is nothing to build.
func buildKeepDav(dir string) (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	if _, err := os.Stat(filepath.Join(root, "cmd/keep-dav")); err != nil {
		return "", nil
	}
	bin := filepath.Join(dir, "keep-dav.bin")
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "./cmd/keep-dav")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("keep-dav is not built: %w\n%s", err, out)
	}
	return bin, nil
}

// hashRate is how many MiB of MD5 a second of CPU gives in eight lanes.
func hashRate(quick bool) float64 {
	each := 32 * mib
	if quick {
		each = 4 * mib
	}
	data := make([]byte, each)
	meter.FillRandom(data)
	srv := md5simd.NewServer()
	defer srv.Close()
	before := meter.OwnCPU()
	err := meter.Spread(8, 8, func(int) error {
		h := srv.NewHash()
		defer h.Close()
		for n := 0; n < len(data); n += mib {
			h.Write(data[n : n+mib])
		}
		h.Sum(nil)
		return nil
	})
	if err != nil {
		return 0
	}
	return float64(8*each) / mib / max(meter.OwnCPU()-before, 0.001)
}
