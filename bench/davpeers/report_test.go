package main

import (
	"strings"
	"testing"
)

func TestCountClosingKnowsEveryPrefix(t *testing.T) {
	const body = `<D:multistatus><D:response><D:href>/response></D:href></D:response><response></response>` +
		`<lp1:response></lp1:response><D:responsedescription>x</D:responsedescription></D:multistatus>`
	if n := countClosing([]byte(body), "response>"); n != 3 {
		t.Errorf("countClosing = %d, want 3", n)
	}
}

func row1(higher bool, mine, peer float64) *rowResult {
	return &rowResult{Higher: higher, By: map[string]*result{
		keepdavName: {Values: []float64{mine}, Extra: map[string][]float64{"side": {2 * mine}}, CPU: 1},
		"xdav":      {Values: []float64{peer}, CPU: 0.5},
		"nginx":     {Err: "failed"},
	}}
}

func TestBarsJudgeSpeed(t *testing.T) {
	for name, c := range map[string]struct {
		bar  bar
		row  *rowResult
		met  bool
		open bool // can't be judged
	}{
		"rate, fast enough":         {best("", 1.2, "", "", "xdav", "nginx"), row1(true, 130, 100), true, false},
		"rate, too slow":            {best("", 1.2, "", "", "xdav"), row1(true, 110, 100), false, false},
		"time, fast enough":         {best("", 6, "", "", "xdav"), row1(false, 1, 7), true, false},
		"time, too slow":            {best("", 6, "", "", "xdav"), row1(false, 1, 5), false, false},
		"no peer":                   {best("", 1, "", "", "nginx"), row1(true, 1, 1), false, true},
		"bound kept":                {atMost("", 3, ""), row1(false, 2, 1), true, false},
		"bound broken by a side":    {atMost("", 3, "side"), row1(false, 2, 1), false, false},
		"CPU within":                {cpuBar(100*mib, "xdav"), row1(true, 1, 1), true, false},
		"CPU above":                 {cpuBar(10*mib, "xdav"), row1(true, 1, 1), false, false},
		"own ratio":                 {ratioAtMost("", 3, "side", ""), row1(true, 1, 1), true, false},
		"a figure that isn't there": {atMost("", 3, "none"), row1(true, 1, 1), false, true},
	} {
		v := c.bar.judge(c.row, 100)
		if v.Met != c.met || (v.Why != "") != c.open {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestReportNamesWhatIsMissing(t *testing.T) {
	rep := &report{Missing: map[string]string{"rclone": "not installed"}, servers: []string{keepdavName, "xdav", "rclone"}, Rows: []*rowResult{row1(true, 2, 1)}}
	var b strings.Builder
	rep.writeMarkdown(&b)
	for _, want := range []string{"**Not measured: rclone** (not installed)", "**2.00** (xdav 2.00)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}
