// Command clusterbars measures keep-mount on a keep-dav in another process, over the
// protocols of a cluster on the loopback interface, beside the limits of the machine:
// the MD5 of one core in the same run, and ext4 from the page cache.
//
//	go build -o /tmp/bin/ ./cmd/keep-dav ./cmd/keep-mount
//	go run ./bench/clusterbars -bin /tmp/bin -dir /var/tmp
//
// It prints a Markdown table. With -quick it shows that everything works and measures nothing.
package main

import (
	"crypto/md5"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"keepdav/bench/meter"
)

type config struct {
	bin, dir, rows string
	reps           int
	big            int64 // MiB
	small, many    int
}

func main() {
	var c config
	var quick bool
	flag.StringVar(&c.bin, "bin", "", "directory with keep-dav and keep-mount")
	flag.StringVar(&c.dir, "dir", "/var/tmp", "where the data goes, in a directory that is removed")
	flag.StringVar(&c.rows, "rows", "", "regexp of the groups to run: stream, small, many, seen")
	flag.IntVar(&c.reps, "reps", 7, "repetitions")
	flag.Int64Var(&c.big, "big", 2048, "MiB of the large file")
	flag.IntVar(&c.small, "small", 1000, "how many small files")
	flag.IntVar(&c.many, "many", 100_000, "files of the large collection")
	flag.BoolVar(&quick, "quick", false, "small sizes and 2 repetitions")
	flag.Parse()
	if quick {
		c.reps, c.big, c.small, c.many = 2, 64, 50, 1000
	}
	if c.bin == "" {
		fmt.Fprintln(os.Stderr, "clusterbars: -bin names the directory of keep-dav and keep-mount")
		os.Exit(2)
	}
	if err := run(c); err != nil {
		fmt.Fprintln(os.Stderr, "clusterbars:", err)
		os.Exit(1)
	}
}

// A table collects the figures of rows, in the order in which they come.
type table struct {
	names []string
	unit  map[string]string
	got   map[string][]float64
}

func (t *table) add(name, unit string, v float64) {
	if _, ok := t.got[name]; !ok {
		t.names = append(t.names, name)
		t.unit[name] = unit
	}
	t.got[name] = append(t.got[name], v)
}

func (t *table) print(title string) {
	fmt.Printf("\n%s\n\n| | median | spread | unit |\n|---|---|---|---|\n", title)
	for _, name := range t.names {
		v := t.got[name]
		fmt.Printf("| %s | %s | %s to %s | %s |\n", name, meter.Short(meter.Median(v)), meter.Short(slices.Min(v)), meter.Short(slices.Max(v)), t.unit[name])
	}
}

func run(c config) (err error) {
	rows, err := regexp.Compile(c.rows)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.dir, "clusterbars-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t := &table{unit: make(map[string]string), got: make(map[string][]float64)}
	for _, g := range []struct {
		name string
		once bool // it repeats by itself
		run  func(*bench, *table) error
	}{{"stream", false, (*bench).stream}, {"small", false, (*bench).smallFiles}, {"many", true, (*bench).manyFiles}, {"seen", true, (*bench).seen}} {
		if !rows.MatchString(g.name) {
			continue
		}
		reps := c.reps
		if g.once {
			reps = 1
		}
		for rep := range reps {
			b, err := newBench(c, filepath.Join(dir, fmt.Sprintf("%s%d", g.name, rep)))
			if err != nil {
				return err
			}
			err = g.run(b, t)
			b.close()
			if err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
			fmt.Fprintf(os.Stderr, "%s %d of %d: %s\n", g.name, rep+1, reps, time.Now().Format(time.TimeOnly))
		}
	}
	t.print("keep-mount on a keep-dav in another process; " + meter.Machine())
	return nil
}

// md5Speed is how many MiB a second one core hashes.
func md5Speed() float64 {
	buf := make([]byte, 64<<20)
	meter.FillRandom(buf)
	began := time.Now()
	const n = 8
	for range n {
		md5.Sum(buf)
	}
	return n * 64 / time.Since(began).Seconds()
}

func trimmed(b []byte) string { return strings.TrimSpace(string(b)) }
