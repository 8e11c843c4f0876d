package stress

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"time"
)

// Cmd is the command for kong. Its program calls Main first of all.
type Cmd struct {
	Dir string `arg:"" help:"Directory to work in: of a mount, or any other. A sandbox is made in it and removed again."`

	Small       bool          `xor:"preset" help:"A stress of a few seconds, for automatic tests."`
	Big         bool          `xor:"preset" help:"A stress of ten minutes with 20 processes."`
	Processes   int           `short:"n" placeholder:"N" help:"Processes that work at the same time. Default: 8."`
	Walkers     int           `placeholder:"N" help:"Processes that list everything meanwhile, like ls -lR. Default: a fifth as many; -1: none."`
	Rounds      int           `short:"r" placeholder:"N" help:"Rounds. Default: 10."`
	Duration    time.Duration `short:"d" placeholder:"TIME" help:"Go on for this time, like 5m, instead of a number of rounds."`
	Ops         int           `placeholder:"N" help:"Operations of each process in a step. Default: 100."`
	Tops        int           `placeholder:"N" help:"Top-level directories. Default: 3."`
	SmallBytes  int64         `placeholder:"BYTES" help:"Largest size of small files. Default: 65536."`
	BigBytes    int64         `placeholder:"BYTES" help:"Largest size of big files, up to 64 MiB. Default: 8 MiB."`
	Variants    []string      `placeholder:"NAME" help:"Only these kinds of work: files, collections, same, moves, contest, churn, big."`
	Collections bool          `help:"Make the top-level directories in DIR itself, all with one prefix, rather than in a directory of their own. Where mkdir makes a collection, each is one, and moves between them are moves between collections."`
	Seed        uint64        `placeholder:"N" help:"Make the choices of an earlier run, which has printed its seed."`
	Stall       time.Duration `default:"60s" help:"An operation that takes longer hangs: it is reported and the stress ends."`
	JSON        bool          `name:"json" help:"Print the report as JSON; its course goes to standard error."`
}

// Options are those of the command line.
func (c *Cmd) Options() Options {
	o := Options{Dir: c.Dir}
	switch {
	case c.Small:
		o = Small(c.Dir)
	case c.Big:
		o = Big(c.Dir)
	}
	set(&o.Processes, c.Processes)
	set(&o.Walkers, c.Walkers)
	if c.Rounds != 0 {
		o.Rounds, o.Duration = c.Rounds, 0
	}
	set(&o.Duration, c.Duration)
	set(&o.Ops, c.Ops)
	set(&o.Tops, c.Tops)
	set(&o.Small, c.SmallBytes)
	set(&o.Big, c.BigBytes)
	set(&o.Seed, c.Seed)
	set(&o.Stall, c.Stall)
	if len(c.Variants) > 0 {
		o.Variants = c.Variants
	}
	o.Collections = c.Collections
	return o
}

func set[T comparable](p *T, v T) {
	var zero T
	if v != zero {
		*p = v
	}
}

// Run does the stress and prints its report.
func (c *Cmd) Run(ctx context.Context) error {
	var course io.Writer = os.Stdout
	if c.JSON {
		course = os.Stderr
	}
	report, err := Run(ctx, c.Options(), course)
	if c.JSON && report.Sandbox != "" {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		if jerr := e.Encode(report); err == nil {
			err = jerr
		}
	}
	return err
}
