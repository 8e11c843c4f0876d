package system

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"keepdav/test/target"
)

var (
	litmusSummary = regexp.MustCompile(`<- summary for .(\w+).: of (\d+) tests run: (\d+) passed, (\d+) failed`)
	litmusLine    = regexp.MustCompile(`^ *\d+\. +(\w+)\.+ +(pass|FAIL|WARNING|SKIPPED|XFAIL)`)
)

// TestLitmusPassesWholly runs the five suites over http and https. A warning
// fails it as well: each would be a promise we don't keep.
func TestLitmusPassesWholly(t *testing.T) {
	litmus := target.Tool(t, "litmus")
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			s := target.Start(t, target.Options{})
			if scheme == "https" && s.Kind != target.KeepDAV {
				t.Skip("the reference server has no https")
			}
			base := s.URL
			if scheme == "https" {
				base = s.TLSURL
			}
			s.MakeCollection(t, "litmus")
			for _, suite := range []string{"basic", "copymove", "props", "locks", "http"} {
				t.Run(suite, func(t *testing.T) {
					// Its directory is its own: it leaves a debug.log there.
					out, err := run(t, 2*time.Minute, t.TempDir(), []string{"TESTS=" + suite}, litmus, "-k", base+"/home/litmus/", target.User, target.Password)
					checkLitmus(t, suite, out)
					if err != nil {
						t.Errorf("litmus: %v", err)
					}
				})
			}
		})
	}
}

func checkLitmus(t *testing.T, suite, out string) {
	t.Helper()
	m := litmusSummary.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no summary in the output:\n%s", out)
	}
	t.Logf("%s: %s tests, %s passed, %s failed", suite, m[2], m[3], m[4])
	for _, line := range strings.Split(out, "\n") {
		// A test prints over its own line with carriage returns.
		line = line[strings.LastIndexByte(line, '\r')+1:]
		if strings.Contains(line, "WARNING:") && !strings.Contains(line, "summary") || strings.Contains(line, "FAIL") {
			t.Errorf("%s: %s", suite, strings.TrimSpace(line))
		} else if r := litmusLine.FindStringSubmatch(line); r != nil && r[2] != "pass" && !strings.Contains(line, "skipping for SSL server") {
			t.Errorf("%s: %s", suite, strings.TrimSpace(line))
		}
	}
	if m[2] != m[3] || m[4] != "0" {
		t.Errorf("%s: %s of %s passed", suite, m[3], m[2])
	}
	if t.Failed() {
		t.Logf("all of its output:\n%s", out)
	}
}
