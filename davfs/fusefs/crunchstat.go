package fusefs

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// crunchstat writes, each interval, what the mount has done since it was made and
// since the last time, in the lines that programs which watch Arvados' mounts read.
// Those about block servers are left out: there are none. It ends with stop.
func (m *Mounted) crunchstat(w io.Writer, every time.Duration, stop <-chan struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var before Stats
	for last := time.Now(); ; {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now, at := m.Stats(), time.Now()
		if _, err := io.WriteString(w, crunchstatLines(before, now, at.Sub(last))); err != nil {
			m.opt.Log.Warn().Err(err).Msg("figures cannot be written any more")
			return
		}
		before, last = now, at
	}
}

// crunchstatLines are the lines for what happened between two moments.
func crunchstatLines(before, now Stats, passed time.Duration) string {
	var b strings.Builder
	line := func(name, total, since string) {
		fmt.Fprintf(&b, "crunchstat: %s %s -- interval %.4f seconds %s\n", name, total, passed.Seconds(), since)
	}
	bytes := func(s Stats) (written, read int64) {
		return s.Ops[opNames[opWrite]].Bytes, s.Ops[opNames[opRead]].Bytes
	}
	calls := func(s Stats) (written, read int64) {
		return s.Ops[opNames[opWrite]].Count, s.Ops[opNames[opRead]].Count
	}
	pair := func(name string, of func(Stats) (int64, int64)) {
		w, r := of(now)
		w0, r0 := of(before)
		line(name, fmt.Sprintf("%d write %d read", w, r), fmt.Sprintf("%d write %d read", w-w0, r-r0))
	}
	pair("blkio:0:0", bytes)
	pair("fuseops", calls)
	for _, name := range opNames {
		if o := now.Ops[name]; o.Count > 0 {
			o0 := before.Ops[name]
			line("fuseop:"+name, fmt.Sprintf("%d count %.6f time", o.Count, o.Seconds),
				fmt.Sprintf("%d count %.6f time", o.Count-o0.Count, o.Seconds-o0.Seconds))
		}
	}
	return b.String()
}
