package stress

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// A Report says what was done and what was found.
type Report struct {
	Sandbox     string      `json:"sandbox"`
	Seed        uint64      `json:"seed"`
	Processes   int         `json:"processes"`
	Walkers     int         `json:"walkers"`
	Rounds      int         `json:"rounds"` // that were finished
	Seconds     float64     `json:"seconds"`
	Total       uint64      `json:"operations"`
	PerSecond   float64     `json:"per_second"`
	Operations  []Operation `json:"kinds"`
	Unsupported []string    `json:"unsupported"`
	Findings    []*Finding  `json:"findings"`
	Interrupted bool        `json:"interrupted"`
	Removed     bool        `json:"removed"` // nothing of the sandbox is left
}

// An Operation is a kind of operation; its latencies are in microseconds.
type Operation struct {
	Kind      string  `json:"kind"`
	Count     uint64  `json:"count"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Max       float64 `json:"max_us"`
	Errors    uint64  `json:"errors"`
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func (r *Report) count(all map[string]*latencies) {
	seconds := max(r.Seconds, 1e-9)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		l := all[k]
		r.Total += l.Count
		r.Operations = append(r.Operations, Operation{
			Kind: k, Count: l.Count, PerSecond: float64(l.Count) / seconds, Errors: l.Errors,
			P50: microseconds(l.quantile(0.5)), P99: microseconds(l.quantile(0.99)), Max: microseconds(l.Max),
		})
	}
	r.PerSecond = float64(r.Total) / seconds
}

// Print writes the report for people.
func (r *Report) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "operation\tcount\tper s\tp50\tp99\tmax\terrors\t")
	us := func(f float64) time.Duration { return time.Duration(f * 1e3).Round(time.Microsecond) }
	for _, o := range r.Operations {
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%v\t%v\t%v\t%d\t\n", o.Kind, o.Count, o.PerSecond, us(o.P50), us(o.P99), us(o.Max), o.Errors)
	}
	fmt.Fprintf(w, "all\t%d\t%.0f\t\t\t\t\t\n", r.Total, r.PerSecond)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, u := range r.Unsupported {
		fmt.Fprintf(out, "not supported here, left out: %s\n", u)
	}
	for i, f := range r.Findings {
		fmt.Fprintf(out, "DEFECT %d: %v\n", i+1, f)
	}
	left := "nothing is left over"
	if !r.Removed {
		left = "the sandbox " + r.Sandbox + " could not be removed"
	}
	_, err := fmt.Fprintf(out, "%d rounds of %d processes and %d walkers in %.1f s, seed %d; defects: %d; %s\n",
		r.Rounds, r.Processes, r.Walkers, r.Seconds, r.Seed, len(r.Findings), left)
	return err
}
