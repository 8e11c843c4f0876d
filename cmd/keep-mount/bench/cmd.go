package bench

import (
	"context"
	"encoding/json"
	"io"
	"os"
)

// Cmd is the command for kong.
type Cmd struct {
	Dir string `arg:"" help:"Directory to measure: of a mount, or any other. The files are made in a directory of their own there and removed again."`

	Quick   bool     `help:"Small files and two repetitions: a few seconds, and figures that tell little."`
	Reps    int      `short:"r" placeholder:"N" help:"Repetitions, of which the median counts. Default: 3."`
	Only    []string `placeholder:"NAME" help:"Only these groups of measurements: iozone, dd, small."`
	Single  int64    `placeholder:"MIB" help:"Size of the file of one client. Default: 512 MiB."`
	Several int64    `placeholder:"MIB" help:"Size of each file of four clients. Default: 128 MiB."`
	Stream  int64    `placeholder:"MIB" help:"Size of the file that is written and read in one go. Default: 2048 MiB."`
	Files   int      `placeholder:"N" help:"Number of small files. Default: 2000."`
	PID     int      `name:"pid" placeholder:"PID" help:"Tell how much CPU this process uses meanwhile: the mount's."`
	JSON    bool     `name:"json" help:"Print the report as JSON; its course goes to standard error."`
}

// Options are those of the command line.
func (c *Cmd) Options() Options {
	o := Options{Dir: c.Dir}
	if c.Quick {
		o = Quick(c.Dir)
	}
	for p, n := range map[*int64]int64{&o.Single: c.Single, &o.Several: c.Several, &o.Stream: c.Stream} {
		if n != 0 {
			*p = n * mib
		}
	}
	for p, n := range map[*int]int{&o.Reps: c.Reps, &o.Files: c.Files} {
		if n != 0 {
			*p = n
		}
	}
	o.PID = c.PID
	if len(c.Only) > 0 {
		o.Groups = c.Only
	}
	return o
}

// Run measures and prints the report.
func (c *Cmd) Run(ctx context.Context) error {
	var course io.Writer = os.Stdout
	if c.JSON {
		course = os.Stderr
	}
	report, err := Run(ctx, c.Options(), course)
	if c.JSON && report.Dir != "" {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		if jerr := e.Encode(report); err == nil {
			err = jerr
		}
	}
	return err
}
