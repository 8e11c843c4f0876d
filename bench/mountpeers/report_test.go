package main

import (
	"strings"
	"testing"
	"time"
)

// row1 is a row with keep-mount at 100 and the others as given.
func row1(higher bool, least float64, against []string, others map[string]float64) *rowResult {
	r := &rowResult{Row: "some_row", Unit: "MiB/s", Higher: higher, row: row{bar: bar{least, against}}, By: map[string]*result{}}
	r.add(keepName, phase{value: 100, cpu: 1, rss: 20})
	for name, v := range others {
		r.add(name, phase{value: v})
	}
	for _, x := range r.By {
		x.finish()
	}
	return r
}

func TestBarsAskForTheBetterLoopback(t *testing.T) {
	for name, c := range map[string]struct {
		row  *rowResult
		want string
	}{
		"rate above":    {row1(true, 0.9, loopbacks, map[string]float64{loopbackName: 50, writeBackName: 110}), "0.9 × loopback or loopback-wb: met"},
		"rate below":    {row1(true, 0.9, loopbacks, map[string]float64{loopbackName: 50, writeBackName: 120}), "0.9 × loopback or loopback-wb: **missed**"},
		"time short":    {row1(false, 0.9, loopbacks, map[string]float64{loopbackName: 95, writeBackName: 900}), "0.9 × loopback or loopback-wb: met"},
		"time long":     {row1(false, 0.9, loopbacks, map[string]float64{loopbackName: 80, writeBackName: 900}), "0.9 × loopback or loopback-wb: **missed**"},
		"against ext4":  {row1(true, 0.8, disk, map[string]float64{loopbackName: 1000, diskName: 120}), "0.8 × ext4: met"},
		"one loopback":  {row1(true, 0.9, loopbacks, map[string]float64{writeBackName: 200}), "0.9 × loopback-wb: **missed**"},
		"no loopback":   {row1(true, 0.9, loopbacks, map[string]float64{diskName: 1}), "0.9 × loopback or loopback-wb"},
		"no bar at all": {row1(true, 0, nil, nil), "–"},
	} {
		if got := c.row.verdict(); got != c.want {
			t.Errorf("%s: verdict() = %q; want %q", name, got, c.want)
		}
	}
}

func TestReportNamesWhatIsMissingDisturbedOrFailed(t *testing.T) {
	r := row1(true, 0.9, loopbacks, map[string]float64{loopbackName: 50, diskName: 400})
	r.add(writeBackName, phase{value: 7, others: 0.5})
	r.of(writeBackName).finish()
	r.of(passthroughName).Err = "no such\ndevice"
	rep := &report{Missing: map[string]string{"x": "not there"}, servers: serverNames, Rows: []*rowResult{r}}
	var b strings.Builder
	rep.writeMarkdown(&b)
	for _, want := range []string{
		"**Not measured: x** (not there)", "| 100 [100..100]; 1.00 s, 20.0 MiB |", "| 7.00 [7.00..7.00] ~ |", "| failed: no such device |",
		"| 2.00 | 0.25 | 0.9 × loopback or loopback-wb: met |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}

func TestShareOverlooksTheClockGrain(t *testing.T) {
	if got := share(0.02, 10*time.Millisecond); got != 0 {
		t.Errorf("share(0.02 s of 10 ms) = %v; want 0", got)
	}
	if got := share(2, time.Second); got <= disturbed {
		t.Errorf("share(2 s of 1 s) = %v; want more than %v", got, disturbed)
	}
}
