package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"keepdav/cmd/internal/control"
	"keepdav/web/browse"
)

// every passes progress on at most that often, so that telling costs nothing.
const every = 100 * time.Millisecond

// throttled is tell, called at most every so often. It may be called concurrently.
func throttled(tell func(control.Progress)) func(control.Progress) {
	var mu sync.Mutex // guards last, and calls of tell
	var last time.Time
	return func(p control.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last) >= every {
			last = now
			tell(p)
		}
	}
}

// A bar is one line on a terminal that shows progress; elsewhere it is nothing.
type bar struct {
	out   io.Writer
	on    bool
	shown bool
	start time.Time
}

func newBar(f *os.File, quiet bool) *bar {
	return &bar{out: f, on: !quiet && term.IsTerminal(int(f.Fd())), start: time.Now()}
}

func (b *bar) show(p control.Progress) {
	if !b.on {
		return
	}
	b.shown = true
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %d", p.What, p.Done)
	if p.Total > 0 {
		fmt.Fprintf(&s, " of %d (%d %%)", p.Total, 100*p.Done/p.Total)
	}
	if p.Bytes > 0 {
		rate := float64(p.Bytes) / max(time.Since(b.start).Seconds(), 0.001)
		fmt.Fprintf(&s, ", %s, %s/s", browse.Size(p.Bytes), browse.Size(int64(rate)))
	}
	fmt.Fprintf(b.out, "\r\x1b[K%.110s", s.String())
}

func (b *bar) end() {
	if b.shown {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}
