package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"keepdav/cmd/internal/flags"
	"keepdav/davfs/fusefs"
	"keepdav/web/browse"
)

type statusCmd struct {
	Dir      string        `arg:"" optional:"" name:"mountpoint" type:"path" help:"Mount point. Default: all mounts."`
	JSON     bool          `name:"json" help:"Print the figures as JSON, as MOUNTPOINT/.keep/stats has them."`
	Watch    bool          `short:"w" help:"Go on until interrupted."`
	Interval flags.Seconds `default:"1" placeholder:"SECONDS" help:"Time between two looks. Default: ${default}."`
	Subtype  string        `default:"keep" help:"The mounts are of type fuse.SUBTYPE. Default: ${default}."`
}

func (c *statusCmd) Help() string {
	return "Rates are per second since the look before; a single look takes an --interval. What is dirty is not committed yet."
}

// Validate refuses to look without a pause.
func (c *statusCmd) Validate() error {
	if c.Interval <= 0 {
		return errors.New("--interval has to be more than 0")
	}
	return nil
}

// A look is what a mount told at one time.
type look struct {
	at    time.Time
	stats fusefs.Stats
	raw   json.RawMessage
}

// statsFile is the hidden file of a mount with its figures.
func statsFile(dir string) string { return filepath.Join(dir, ".keep", "stats") }

func lookAt(dir string) (look, error) {
	raw, err := os.ReadFile(statsFile(dir))
	switch {
	case errors.Is(err, syscall.ENOTCONN):
		return look{}, fmt.Errorf("%s: the program of the mount is gone (transport endpoint is not connected): keep-mount --unmount takes it away", dir)
	case errors.Is(err, fs.ErrNotExist):
		return look{}, fmt.Errorf("%s is no mount of keep-mount", dir)
	case err != nil:
		return look{}, err
	}
	l := look{at: time.Now(), raw: raw}
	if err := json.Unmarshal(raw, &l.stats); err != nil {
		return look{}, fmt.Errorf("%s: %w", statsFile(dir), err)
	}
	return l, nil
}

// Run prints what mounts do.
func (c *statusCmd) Run(p *program) error {
	dirs := []string{c.Dir}
	if c.Dir == "" {
		var err error
		if dirs, err = mountsOf(c.Subtype); err != nil {
			return err
		}
		if len(dirs) == 0 && !c.JSON {
			return fmt.Errorf("there are no mounts of type fuse.%s", c.Subtype)
		}
	}
	before := map[string]look{}
	tick := time.NewTicker(time.Duration(c.Interval))
	defer tick.Stop()
	if !c.JSON { // a look to begin with, for the rates
		for _, dir := range dirs {
			if l, err := lookAt(dir); err == nil {
				before[dir] = l
			}
		}
		select {
		case <-tick.C:
		case <-p.signals:
			return nil
		}
	}
	for {
		err := c.show(os.Stdout, dirs, before)
		if err != nil || !c.Watch {
			return err
		}
		select {
		case <-tick.C:
		case <-p.signals:
			return nil
		}
	}
}

// show prints one look at all mounts. It fails when none could be looked at.
func (c *statusCmd) show(w io.Writer, dirs []string, before map[string]look) error {
	var errs []error
	all := map[string]look{}
	for _, dir := range dirs {
		l, err := lookAt(dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all[dir] = l
	}
	if c.JSON {
		figures := map[string]json.RawMessage{}
		for dir, l := range all {
			figures[dir] = l.raw
		}
		if err := json.NewEncoder(w).Encode(figures); err != nil {
			return err
		}
		return errors.Join(errs...)
	}
	if f, ok := w.(*os.File); ok && c.Watch && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(w, "\x1b[H\x1b[2J")
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "MOUNT\tOPS/S\tREAD/S\tWRITTEN/S\tOPEN\tCACHE\tDIRTY\tOLDEST\tCONFLICTS\tERRORS")
	for _, dir := range dirs {
		l, ok := all[dir]
		if !ok {
			continue
		}
		fmt.Fprintln(t, row(dir, l, before[dir]))
		for _, failing := range l.stats.Failing {
			fmt.Fprintf(t, "  not committed: %q\n", failing)
		}
		before[dir] = l
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return errors.Join(errs...)
}

// row is a line of the table.
func row(dir string, l, before look) string {
	seconds := max(l.at.Sub(before.at).Seconds(), 0.001)
	rates := !before.at.IsZero()
	rate := func(now, then int64, size bool) string {
		switch {
		case !rates:
			return "-"
		case size:
			return browse.Size(int64(float64(now-then) / seconds))
		}
		return fmt.Sprintf("%.0f", float64(now-then)/seconds)
	}
	oldest := "-"
	if l.stats.Dirty > 0 {
		oldest = time.Duration(l.stats.OldestDirty * float64(time.Second)).Round(100 * time.Millisecond).String()
	}
	return fmt.Sprintf("%q\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%d\t%d", dir,
		rate(count(l.stats), count(before.stats), false),
		rate(l.stats.Ops["read"].Bytes, before.stats.Ops["read"].Bytes, true),
		rate(l.stats.Ops["write"].Bytes, before.stats.Ops["write"].Bytes, true),
		l.stats.Open, browse.Size(l.stats.TreeBytes), browse.Size(l.stats.DirtyBytes), oldest, l.stats.Conflicts, l.stats.Errors)
}

// count is how many requests there were.
func count(s fusefs.Stats) (n int64) {
	for _, op := range s.Ops {
		n += op.Count
	}
	return n
}
