package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"keepdav/bench/meter"
)

// A result is what one row gave on one server.
type result struct {
	Server string               `json:"server"`
	Values []float64            `json:"values,omitempty"`
	Extra  map[string][]float64 `json:"extra,omitempty"`
	CPU    float64              `json:"server_cpu_s"` // median of the repetitions
	RSS    float64              `json:"server_peak_rss_mib"`
	Others float64              `json:"others_share"` // of the machine's CPU, mean
	Err    string               `json:"error,omitempty"`

	cpus, others []float64
}

// metric is the median of an extra figure, or of the row's own for "".
func (r *result) metric(name string) (float64, bool) {
	if r == nil {
		return 0, false
	}
	v := r.Values
	if name != "" {
		v = r.Extra[name]
	}
	if len(v) == 0 {
		return 0, false
	}
	return meter.Median(v), true
}

type rowResult struct {
	Row    string             `json:"row"`
	Unit   string             `json:"unit"`
	What   string             `json:"what"`
	Higher bool               `json:"higher_is_better"`
	By     map[string]*result `json:"by_server"`
	Bars   []verdict          `json:"bars,omitempty"`
}

type verdict struct {
	Bar  string  `json:"bar"`
	Got  float64 `json:"got"`
	Need float64 `json:"need"`
	Met  bool    `json:"met"`
	Why  string  `json:"why_not_judged,omitempty"`
}

// A bar is a promise about a row.
type bar struct {
	text  string
	judge func(r *rowResult, hasher float64) verdict
}

// best asks for factor times the best of the peers: ours is keep-dav's metric,
// theirs the peers'. Times (lower is better) are compared the other way round.
func best(text string, factor float64, ours, theirs string, peers ...string) bar {
	return bar{text, func(r *rowResult, _ float64) verdict {
		v := verdict{Need: factor}
		mine, ok := r.By[keepdavName].metric(ours)
		if !ok {
			v.Why = "keep-dav has no figure"
			return v
		}
		var theirBest float64
		for _, p := range peers {
			if x, ok := r.By[p].metric(theirs); ok && (theirBest == 0 || (x > theirBest) == r.Higher) {
				theirBest = x
			}
		}
		if theirBest == 0 {
			v.Why = "no peer has a figure"
			return v
		}
		if v.Got = mine / theirBest; !r.Higher {
			v.Got = theirBest / mine
		}
		v.Met = v.Got >= factor
		return v
	}}
}

// atMost bounds a figure of keep-dav.
func atMost(text string, most float64, name string) bar {
	return bar{text, func(r *rowResult, _ float64) verdict {
		x, ok := r.By[keepdavName].metric(name)
		if !ok {
			return verdict{Need: most, Why: "keep-dav has no figure"}
		}
		return verdict{Got: x, Need: most, Met: x <= most}
	}}
}

// ratioOf compares two figures of keep-dav's own.
func ratioOf(text string, least float64, over, under string) bar {
	return bar{text, func(r *rowResult, _ float64) verdict {
		a, ok1 := r.By[keepdavName].metric(over)
		b, ok2 := r.By[keepdavName].metric(under)
		if !ok1 || !ok2 {
			return verdict{Need: least, Why: "keep-dav has no figure"}
		}
		return verdict{Got: a / b, Need: least, Met: a/b >= least}
	}}
}

func ratioAtMost(text string, most float64, over, under string) bar {
	b := ratioOf(text, most, over, under)
	return bar{text, func(r *rowResult, h float64) verdict {
		v := b.judge(r, h)
		v.Met = v.Why == "" && v.Got <= most
		return v
	}}
}

// cpuBar bounds keep-dav's CPU by that of the most frugal peer and what eight
// lanes of MD5 take for n bytes.
func cpuBar(n int64, peers ...string) bar {
	return bar{"server CPU s ≤ the least of the peers' + MD5 of the bytes in 8 lanes", func(r *rowResult, hasher float64) verdict {
		mine := r.By[keepdavName]
		if _, ok := mine.metric(""); !ok {
			return verdict{Why: "keep-dav has no figure"}
		}
		least := -1.0
		for _, p := range peers {
			if x, ok := r.By[p]; ok && len(x.Values) > 0 && (least < 0 || x.CPU < least) {
				least = x.CPU
			}
		}
		if least < 0 {
			return verdict{Why: "no peer has a figure"}
		}
		need := least + float64(n)/mib/hasher
		return verdict{Got: mine.CPU, Need: need, Met: mine.CPU <= need}
	}}
}

// A report is a run.
type report struct {
	When    string            `json:"when"`
	Machine string            `json:"machine"`
	Quick   bool              `json:"quick"`
	Hasher  float64           `json:"md5_8_lanes_mib_per_cpu_s"`
	Missing map[string]string `json:"missing,omitempty"`
	Seconds float64           `json:"seconds"`
	Rows    []*rowResult      `json:"rows"`

	servers []string
}

func (rep *report) writeMarkdown(w io.Writer) {
	fmt.Fprintf(w, "%s, %s. Clients and servers share the machine, over loopback, data on one disk. ", rep.When, rep.Machine)
	fmt.Fprintf(w, "The servers take turns within each row; a cell is the median [min..max] of the repetitions, then server CPU seconds and peak RSS. ")
	fmt.Fprintf(w, "keep-dav answers when data is durable, the others (but xdav-fsync) before; to_disk is with a sync(2) after the answer. ")
	fmt.Fprintf(w, "CPU of keep-dav counts until nothing waits to be hashed. MD5 in 8 lanes: %s MiB per CPU second.\n\n", meter.Short(rep.Hasher))
	for _, name := range slices.Sorted(maps.Keys(rep.Missing)) {
		fmt.Fprintf(w, "**Not measured: %s** (%s).\n\n", name, rep.Missing[name])
	}
	fmt.Fprintf(w, "| row | unit |")
	line := "|---|---|"
	for _, s := range rep.servers {
		fmt.Fprintf(w, " %s |", s)
		line += "---|"
	}
	fmt.Fprintf(w, " keep-dav ÷ best |\n%s---|\n", line)
	for _, r := range rep.Rows {
		fmt.Fprintf(w, "| %s | %s |", r.Row, r.Unit)
		for _, s := range rep.servers {
			fmt.Fprintf(w, " %s |", r.cell(s))
		}
		fmt.Fprintf(w, " %s |\n", r.ratios(rep.servers))
	}
	fmt.Fprintf(w, "\nRatios are of speeds: above 1 keep-dav is faster, also where a time is measured.\n")
	for _, r := range rep.Rows {
		fmt.Fprintf(w, "\n* **%s**: %s.", r.Row, r.What)
		for _, v := range r.Bars {
			switch {
			case v.Why != "":
				fmt.Fprintf(w, "\n  * not judged: %s (%s)", v.Bar, v.Why)
			case v.Met:
				fmt.Fprintf(w, "\n  * met: %s; %s", v.Bar, meter.Short(v.Got))
			default:
				fmt.Fprintf(w, "\n  * **missed**: %s; %s, needed %s", v.Bar, meter.Short(v.Got), meter.Short(v.Need))
			}
		}
	}
	fmt.Fprintln(w)
}

func (r *rowResult) cell(name string) string {
	x := r.By[name]
	if x == nil {
		return "–"
	}
	if len(x.Values) == 0 {
		return "failed: " + strings.ReplaceAll(x.Err, "\n", " ")
	}
	c := fmt.Sprintf("%s [%s..%s]; %s s, %s MiB", meter.Short(meter.Median(x.Values)), meter.Short(slices.Min(x.Values)), meter.Short(slices.Max(x.Values)), meter.Short(x.CPU), meter.Short(x.RSS))
	for _, k := range slices.Sorted(maps.Keys(x.Extra)) {
		c += fmt.Sprintf("; %s %s", k, meter.Short(meter.Median(x.Extra[k])))
	}
	if x.Err != "" {
		c += "; then failed: " + strings.ReplaceAll(x.Err, "\n", " ")
	}
	return c
}

// ratios is keep-dav's speed over the best peer's, then over each peer's.
func (r *rowResult) ratios(servers []string) string {
	mine, ok := r.By[keepdavName].metric("")
	if !ok || mine == 0 {
		return "–"
	}
	var each []string
	var least float64
	for _, s := range servers {
		x, ok := r.By[s].metric("")
		if s == keepdavName || !ok {
			continue
		}
		q := mine / x
		if !r.Higher {
			q = x / mine
		}
		each = append(each, s+" "+meter.Short(q))
		if s != "xdav-fsync" && (least == 0 || q < least) {
			least = q
		}
	}
	if len(each) == 0 {
		return "–"
	}
	return fmt.Sprintf("**%s** (%s)", meter.Short(least), strings.Join(each, ", "))
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
