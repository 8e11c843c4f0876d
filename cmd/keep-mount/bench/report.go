package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// A Report has the rows in the order in which they were measured.
type Report struct {
	Dir     string  `json:"dir"`
	CPUs    int     `json:"cpus"`
	Reps    int     `json:"repetitions"`
	PID     int     `json:"pid,omitempty"` // of the mount
	Clients string  `json:"clients"`       // what several clients were
	Seconds float64 `json:"seconds"`
	Rows    []*Row  `json:"rows"`
}

// A Row is one measurement.
type Row struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Lower  bool      `json:"lower_is_better,omitempty"`
	Values []float64 `json:"values"`
	Median float64   `json:"median"`
	Spread float64   `json:"spread"`               // between the smallest and the largest, as a part of the median
	Ticket float64   `json:"in_2015,omitempty"`    // 0: was not measured
	Ratio  float64   `json:"times_2015,omitempty"` // how many times as good as then
	CPU    []float64 `json:"cpu,omitempty"`        // that the mount used, in parts of one CPU
	Note   string    `json:"note,omitempty"`
}

// add adds a value to the row of that name.
func (r *Report) add(row Row, v, cpu float64) {
	i := slices.IndexFunc(r.Rows, func(have *Row) bool { return have.Name == row.Name })
	if i < 0 {
		i = len(r.Rows)
		r.Rows = append(r.Rows, &row)
	}
	r.Rows[i].Values = append(r.Rows[i].Values, v)
	if r.PID != 0 {
		r.Rows[i].CPU = append(r.Rows[i].CPU, cpu)
	}
}

func (r *Report) finish(took time.Duration) {
	r.Seconds = took.Seconds()
	for _, row := range r.Rows {
		row.Median = median(row.Values)
		if row.Median > 0 {
			row.Spread = (slices.Max(row.Values) - slices.Min(row.Values)) / row.Median
		}
		switch {
		case row.Ticket == 0 || row.Median == 0:
		case row.Lower:
			row.Ratio = row.Ticket / row.Median
		default:
			row.Ratio = row.Median / row.Ticket
		}
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Print writes the report for people.
func (r *Report) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "measurement\tmedian\tunit\tspread\t2015\ttimes\tmount's CPU\tnote")
	for _, row := range r.Rows {
		then, times, cpu := "", "", ""
		if len(row.CPU) > 0 {
			cpu = fmt.Sprintf("%.0f %%", median(row.CPU)*100)
		}
		if row.Ticket > 0 {
			then, times = fmt.Sprintf("%.0f", row.Ticket), fmt.Sprintf("%.1f", row.Ratio)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t±%.0f %%\t%s\t%s\t%s\t%s\n", row.Name, figure(row.Median), row.Unit, row.Spread*50, then, times, cpu, row.Note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "median of %d repetitions on %d CPUs in %.0f s; several clients are %s; 2015: a laptop with an SSD and its own cluster, the mount at 120 %% CPU in iozone and 95 %% in dd read\n",
		r.Reps, r.CPUs, r.Seconds, r.Clients)
	return err
}

func figure(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
