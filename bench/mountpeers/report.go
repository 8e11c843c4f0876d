package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"keepdav/bench/meter"
)

// A result is what one row gave on one mount.
type result struct {
	Values []float64 `json:"values,omitempty"`
	CPU    float64   `json:"server_cpu_s"` // median of the repetitions
	RSS    float64   `json:"server_peak_rss_mib"`
	Others float64   `json:"others_share"`     // of the machine's CPU, mean
	Noisy  int       `json:"disturbed_values"` // values taken although others used too much
	Err    string    `json:"error,omitempty"`

	phases []phase
}

func (x *result) finish() {
	var cpu []float64
	for _, p := range x.phases {
		x.Values, cpu = append(x.Values, p.value), append(cpu, p.cpu)
		x.RSS = max(x.RSS, p.rss)
		x.Others += p.others / float64(len(x.phases))
		if p.others > disturbed {
			x.Noisy++
		}
	}
	x.CPU = meter.Median(cpu)
}

type rowResult struct {
	Row    string             `json:"row"`
	Unit   string             `json:"unit"`
	Higher bool               `json:"higher_is_better"`
	By     map[string]*result `json:"by_mount"`

	row row
}

func (r *rowResult) of(mount string) *result {
	if r.By[mount] == nil {
		r.By[mount] = &result{}
	}
	return r.By[mount]
}

func (r *rowResult) add(mount string, p phase) {
	x := r.of(mount)
	x.phases = append(x.phases, p)
}

func (r *rowResult) median(mount string) (float64, bool) {
	x := r.By[mount]
	if x == nil || len(x.Values) == 0 {
		return 0, false
	}
	return meter.Median(x.Values), true
}

// ratio is the speed of keep-mount over that of the fastest of the mounts, also
// where a time is measured.
func (r *rowResult) ratio(mounts []string) (float64, error) {
	mine, ok := r.median(keepName)
	if !ok || mine == 0 {
		return 0, errors.New("keep-mount has no figure")
	}
	least := 0.0
	for _, m := range mounts {
		x, ok := r.median(m)
		if !ok || x == 0 {
			continue
		}
		q := mine / x
		if !r.Higher {
			q = x / mine
		}
		if least == 0 || q < least {
			least = q
		}
	}
	if least == 0 {
		return 0, errors.New("no figure of " + strings.Join(mounts, " or "))
	}
	return least, nil
}

// verdict is what the report says about the row's bar. It names the mounts that
// were compared with: one of the two loopbacks alone is less than the bar means.
func (r *rowResult) verdict() string {
	if r.row.bar.least == 0 {
		return "–"
	}
	against := slices.DeleteFunc(slices.Clone(r.row.bar.against), func(m string) bool { _, ok := r.median(m); return !ok })
	if len(against) == 0 {
		against = r.row.bar.against
	}
	text := fmt.Sprintf("%s × %s", meter.Short(r.row.bar.least), strings.Join(against, " or "))
	q, err := r.ratio(against)
	switch {
	case err != nil:
		return text
	case q >= r.row.bar.least:
		return text + ": met"
	}
	return text + ": **missed**"
}

// A report is a run.
type report struct {
	When    string            `json:"when"`
	Machine string            `json:"machine"`
	Quick   bool              `json:"quick"`
	Missing map[string]string `json:"missing,omitempty"`
	Seconds float64           `json:"seconds"`
	Rows    []*rowResult      `json:"rows"`

	servers []string
}

func (rep *report) writeMarkdown(w io.Writer) {
	fmt.Fprintf(w, "%s, %s. Programs, mounts and kernel share the machine, all data is on one disk. ", rep.When, rep.Machine)
	fmt.Fprintf(w, "The mounts take turns; a cell is the median [min..max] of the repetitions, then CPU seconds and peak RSS of the mount's server. ")
	fmt.Fprintf(w, "Ratios are of speeds: above 1 keep-mount is faster, also where a time is measured. ~ marks cells with figures that other processes disturbed.\n\n")
	for _, name := range slices.Sorted(maps.Keys(rep.Missing)) {
		fmt.Fprintf(w, "**Not measured: %s** (%s).\n\n", name, rep.Missing[name])
	}
	fmt.Fprintf(w, "| row | unit |")
	line := "|---|---|"
	for _, s := range rep.servers {
		fmt.Fprintf(w, " %s |", s)
		line += "---|"
	}
	fmt.Fprintf(w, " ÷ best loopback | ÷ ext4 | bar |\n%s--:|--:|---|\n", line)
	for _, r := range rep.Rows {
		fmt.Fprintf(w, "| %s | %s |", r.Row, r.Unit)
		for _, s := range rep.servers {
			fmt.Fprintf(w, " %s |", r.cell(s))
		}
		fmt.Fprintf(w, " %s | %s | %s |\n", quotient(r.ratio(loopbacks)), quotient(r.ratio(disk)), r.verdict())
	}
}

func quotient(q float64, err error) string {
	if err != nil {
		return "–"
	}
	return meter.Short(q)
}

func (r *rowResult) cell(mount string) string {
	x := r.By[mount]
	if x == nil {
		return "–"
	}
	fault := strings.ReplaceAll(strings.TrimSpace(x.Err), "\n", " ")
	if len(x.Values) == 0 {
		return "failed: " + fault
	}
	c := fmt.Sprintf("%s [%s..%s]", meter.Short(meter.Median(x.Values)), meter.Short(slices.Min(x.Values)), meter.Short(slices.Max(x.Values)))
	if x.RSS > 0 {
		c += fmt.Sprintf("; %s s, %s MiB", meter.Short(x.CPU), meter.Short(x.RSS))
	}
	if x.Noisy > 0 {
		c += " ~"
	}
	if fault != "" {
		c += "; then failed: " + fault
	}
	return c
}

func (rep *report) save(began time.Time, markdown, jsonFile string) error {
	rep.Seconds = time.Since(began).Seconds()
	if markdown != "" {
		var b strings.Builder
		rep.writeMarkdown(&b)
		if err := os.WriteFile(markdown, []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	if jsonFile != "" {
		b, err := json.MarshalIndent(rep, "", " ")
		if err != nil {
			return err
		}
		return os.WriteFile(jsonFile, b, 0o644)
	}
	return nil
}
