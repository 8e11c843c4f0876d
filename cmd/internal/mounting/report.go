package mounting

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"keepdav/cmd/internal/systemd"
	"keepdav/web/browse"
)

// A Report shows people, and systemd, how far writing down is: one line on a
// terminal that changes, elsewhere a line now and then. It may be used concurrently.
type Report struct {
	out   *os.File
	on    bool // a terminal
	every time.Duration

	mu    sync.Mutex // guards the fields below
	start time.Time
	last  time.Time
	most  int64 // the largest amount that was left
	shown bool
}

// Times between two lines.
const (
	linesEvery = 5 * time.Second
	terminal   = 100 * time.Millisecond
)

// NewReport returns a report to out.
func NewReport(out *os.File) *Report {
	now := time.Now()
	r := &Report{out: out, on: term.IsTerminal(int(out.Fd())), every: linesEvery, start: now, last: now}
	if r.on {
		r.every = terminal
	}
	return r
}

// Tell takes what is left.
func (r *Report) Tell(d Dirty) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.most = max(r.most, d.Bytes)
	now := time.Now()
	if now.Sub(r.last) < r.every {
		return
	}
	r.last = now
	line := leftLine(d, r.most, now.Sub(r.start))
	systemd.Notify("STATUS=" + line)
	systemd.Extend(time.Minute)
	if r.on {
		r.shown = true
		fmt.Fprintf(r.out, "\r\x1b[K%.110s", line)
		return
	}
	fmt.Fprintln(r.out, line)
}

// End clears the line.
func (r *Report) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shown {
		fmt.Fprint(r.out, "\r\x1b[K")
	}
}

func leftLine(d Dirty, most int64, took time.Duration) string {
	rate := float64(most-d.Bytes) / max(took.Seconds(), 0.001)
	return fmt.Sprintf("writing down: %s left, %s/s, %s so far", browse.Size(d.Bytes), browse.Size(int64(rate)), took.Round(time.Second))
}
