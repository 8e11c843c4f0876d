package dav

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRequestPathsAreCleanedOnce(t *testing.T) {
	for _, c := range []struct{ in, prefix, want string }{
		{"/", "", "/ slash"},
		{"/a/b", "", "/a/b"},
		{"/a/b/", "", "/a/b slash"},
		{"//a///b//", "", "/a/b slash"},
		{"/a/./b/../c", "", "/a/c"},
		{"/../../etc/passwd", "", "/etc/passwd"},
		{"/a/%2e%2e/%2e%2E/x", "", "/x"},
		{"/a/.%2e/x", "", "/x"},
		{"/a/b/..", "", "/a slash"},
		{"/a%20b/%C3%A9", "", "/a b/é"},
		{"/a%2520b", "", "/a%20b"},
		{"/a/...", "", "/a/..."},
		{"/.hidden", "", "/.hidden"},
		{"/a%2Fb", "", "error"},
		{"/a%2f..%2fb", "", "error"},
		{"/a%00b", "", "error"},
		{"/a%zz", "", "error"},
		{"/a%", "", "error"},
		{"/dav/a", "/dav", "/a"},
		{"/dav", "/dav", "/"},
		{"/dav/", "/dav", "/ slash"},
		{"/davx/a", "/dav", "error"},
		{"/dav/../other", "/dav", "error"},
		{"/x/../dav/a", "/dav", "/a"},
	} {
		p, err := cleanEscaped(c.in)
		if err == nil {
			p, err = stripPrefix(p, c.prefix)
		}
		got := p.Name
		if p.Slash {
			got += " slash"
		}
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("path %q below %q = %q; want %q", c.in, c.prefix, got, c.want)
		}
	}
}

func TestDestinationHostIsIgnored(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"http://example.com/dav/a", "/a"},
		{"https://other:8443/dav/a%20b/", "/a b"},
		{"HTTP://x/dav", "/"},
		{"/dav/a", "/a"},
		{"//dav/a", "/a"}, // what a rewriting proxy makes of it
		{"http://h/dav/../dav/%2e%2e/dav/x", "/x"},
		{"http://h/dav/%2e%2e/secret", "error"},
		{"http://h/other/a", "error"},
		{"http://h/dav/a?x=1", "error"},
		{"http://h/dav/a#b", "error"},
		{"http://h/dav/a%23b", "/a#b"},
		{"http://h/dav/a%2Fb", "error"},
		{"http://h/dav/a%00", "error"},
		{"relative/path", "error"},
		{"", "error"},
		{"http://h", "error"},
	} {
		p, err := ParseDestination(c.in, "/dav")
		got := p.Name
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("ParseDestination(%q) = %q (%v); want %q", c.in, got, err, c.want)
		}
	}
}

func FuzzDestination(f *testing.F) {
	for _, s := range []string{"http://h/a/../b", "/a%2e%2e/b", "//x//y", "/%e9", "http://[::1]:80/a;b=c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseDestination(s, "")
		if err != nil {
			return
		}
		checkClean(t, p.Name)
		back, err := ParseDestination(Href("", p.Name, p.Slash), "")
		if err != nil || back.Name != p.Name {
			t.Errorf("href of %q reads as %q, %v", p.Name, back.Name, err)
		}
	})
}

func checkClean(t *testing.T, p string) {
	if p == "/" {
		return
	}
	if p == "" || p[0] != '/' || strings.Contains(p, "\x00") {
		t.Fatalf("path %q is not clean", p)
	}
	for seg := range strings.SplitSeq(p[1:], "/") {
		if seg == "" || seg == "." || seg == ".." {
			t.Fatalf("path %q is not clean", p)
		}
	}
}

func TestHrefsAreEscapedExactlyOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		dir  bool
		want string
	}{
		{"/", true, "/dav/"},
		{"/a b/c&d", false, "/dav/a%20b/c%26d"},
		{"/a%20b", false, "/dav/a%2520b"},
		{"/é", true, "/dav/%C3%A9/"},
		{"/\xff\x01", false, "/dav/%FF%01"},
		{"/x(1)+y=z", false, "/dav/x(1)+y=z"},
		{"/<'\"#?;>", false, "/dav/%3C%27%22%23%3F%3B%3E"},
	} {
		if got := Href("/dav", c.name, c.dir); got != c.want {
			t.Errorf("Href(%q, %v) = %q; want %q", c.name, c.dir, got, c.want)
		}
	}
}

func TestSmallHeaders(t *testing.T) {
	for in, want := range map[string]Depth{"": DepthMissing, "0": Depth0, "1": Depth1, "infinity": DepthInfinity, "Infinity": DepthInfinity, " INFINITY ": DepthInfinity} {
		if got, err := ParseDepth(in); got != want || err != nil {
			t.Errorf("ParseDepth(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"2", "-1", "1,noroot", "x"} {
		if _, err := ParseDepth(in); err == nil {
			t.Errorf("ParseDepth(%q) succeeds", in)
		}
	}
	for in, want := range map[string]bool{"": true, "T": true, "t": true, "F": false, "f": false} {
		if got, err := ParseOverwrite(in); got != want || err != nil {
			t.Errorf("ParseOverwrite(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	if _, err := ParseOverwrite("yes"); err == nil {
		t.Error(`ParseOverwrite("yes") succeeds`)
	}
	for in, want := range map[string]time.Duration{
		"": time.Hour, "Infinite": time.Hour, "Second-600": 10 * time.Minute, "second-60": time.Minute, "Second-4100000000": time.Hour,
		"Second-99999999999999999999": time.Hour, "Infinite, Second-4100000000": time.Hour, "Extend, Second-30": 30 * time.Second,
		"Second-0": time.Second, "junk": time.Hour, "Second--1": time.Hour,
	} {
		if got := ParseTimeout(in, time.Hour); got != want {
			t.Errorf("ParseTimeout(%q) = %v; want %v", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"1700000000": "2023-11-14T22:13:20Z", "1700000000.5": "2023-11-14T22:13:20.5Z", "-1": "1969-12-31T23:59:59Z", "": "none",
		"0": "1970-01-01T00:00:00.000000001Z", "32503680000": "2262-04-11T23:47:16.854775807Z", "-32503680000": "1677-09-21T00:12:43.145224192Z",
		"x": "error", "99999999999999": "error", "1.x": "error", "1.-5": "error",
	} {
		at, ok, err := ParseOCMtime(in)
		got := at.UTC().Format(time.RFC3339Nano)
		if err != nil {
			got = "error"
		} else if !ok {
			got = "none"
		}
		if got != want {
			t.Errorf("ParseOCMtime(%q) = %s; want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{"<urn:uuid:1>": "urn:uuid:1", "urn:uuid:1": "urn:uuid:1", " <a:b> ": "a:b", "": "", "<a": "", "<>": "", "a b": "", "<a><b>": ""} {
		if got, ok := ParseLockToken(in); got != want || ok != (want != "") {
			t.Errorf("ParseLockToken(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
}

// fakeState has lock tokens and entity tags by path.
type fakeState struct{ tokens, etags map[string]string }

func (s fakeState) CurrentETag(p string) string      { return s.etags[p] }
func (s fakeState) TokenCovers(token, p string) bool { return s.tokens[p] == token }

func TestIfHeaderIsEvaluatedInFull(t *testing.T) {
	st := fakeState{
		tokens: map[string]string{"/a": "urn:uuid:1", "/b": "urn:uuid:2"},
		etags:  map[string]string{"/a": `"x"`, "/b": `"y"`},
	}
	for _, c := range []struct{ in, want string }{
		{``, "true"},
		{`(<urn:uuid:1>)`, "true"},
		{`(<urn:uuid:2>)`, "false"},
		{`(<urn:uuid:9>)`, "false"},
		{`(<urn:uuid:2>) (<urn:uuid:1>)`, "true"},
		{`(<urn:uuid:1> ["x"])`, "true"},
		{`(<urn:uuid:1> ["y"])`, "false"},
		{`(["x"])`, "true"},
		{`([W/"x"])`, "true"},
		{`(Not ["x"])`, "false"},
		{`(Not ["y"])`, "true"},
		{`(not <urn:uuid:9>)`, "true"},
		{`(Not <DAV:no-lock>)`, "true"},
		{`(<DAV:no-lock>)`, "false"},
		{`(<urn:uuid:1> Not <DAV:no-lock>)`, "true"},
		{`(<urn:uuid:1>) (Not <DAV:no-lock>)`, "true"},
		{`(<urn:uuid:9> ["x"]) (Not ["x"] <urn:uuid:1>)`, "false"},
		{`<http://elsewhere/b> (<urn:uuid:2>)`, "true"},
		{`</b> (<urn:uuid:2>)`, "true"},
		{`</b> (<urn:uuid:1>)`, "false"},
		{`</b> (<urn:uuid:1>) (["y"])`, "true"},
		{`</b> (<urn:uuid:1>) </a> (<urn:uuid:1>)`, "true"},
		{`<http://h/%2e%2e/b/> (["y"])`, "true"},
		{`</a%2Fb> (Not <DAV:no-lock>)`, "false"},
		{`</none> (["x"])`, "false"},
		{"(<urn:uuid:1>\r\n\t[\"x\"])", "true"},
		{`(["a ]b"])`, "false"},
		{`(`, "error"}, {`()`, "error"}, {`(Not)`, "error"}, {`(Not Not ["x"])`, "error"}, {`(<a)`, "error"}, {`(["x)`, "error"},
		{`([x])`, "error"}, {`(["x"]`, "error"}, {`</b>`, "error"}, {`</b> </a> (["x"])`, "error"}, {`junk`, "error"}, {`(<>)`, "error"},
		{`(["x"]) junk`, "error"}, {strings.Repeat(`(["x"])`, maxIfConds+1), "error"}, {`(<` + strings.Repeat("a", maxIfBytes) + `>)`, "error"},
	} {
		h, err := ParseIf(c.in)
		got := "error"
		if err == nil {
			got = fmt.Sprint(h.Eval("/a", func(tag string) (string, bool) {
				p, err := ParseDestination(tag, "")
				return p.Name, err == nil
			}, st))
		}
		if got != c.want {
			t.Errorf("If: %.60s = %s; want %s", c.in, got, c.want)
		}
	}
	h, _ := ParseIf(`</b> (<urn:uuid:2> Not <x:y>) (["e"])`)
	if got, want := h.Tokens(), []string{"urn:uuid:2", "x:y"}; !slices.Equal(got, want) {
		t.Errorf("Tokens = %v; want %v", got, want)
	}
}

func FuzzIf(f *testing.F) {
	for _, s := range []string{`(<a:b> ["x"]) (Not <c:d>)`, `</x> (["W/"])`, `(Not [W/"x"])`, `((`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseIf(s)
		if err != nil {
			return
		}
		h.Eval("/a", func(string) (string, bool) { return "/b", true }, fakeState{})
		for _, tok := range h.Tokens() {
			if tok == "" {
				t.Error("an empty token was submitted")
			}
		}
	})
}

func TestConditionsFollowTheirOrder(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 500, time.UTC)
	before, same, after := "Wed, 31 Dec 2025 23:59:59 GMT", "Thu, 01 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 2026 00:00:01 GMT"
	here := Current{Exists: true, ETag: `"x"`, ModTime: at}
	for _, c := range []struct {
		method, headers string
		cur             Current
		want            Verdict
	}{
		{"PUT", "", here, Proceed},
		{"PUT", `If-Match: "x"`, here, Proceed},
		{"PUT", `If-Match: "y"`, here, PreconditionFailed},
		{"PUT", `If-Match: "y", "x"`, here, Proceed},
		{"PUT", `If-Match: W/"x"`, here, PreconditionFailed},
		{"PUT", `If-Match: *`, here, Proceed},
		{"PUT", `If-Match: *`, Current{}, PreconditionFailed},
		{"PUT", `If-Match: "x"`, Current{}, PreconditionFailed},
		{"PUT", `If-Match: x`, here, PreconditionFailed},
		{"PUT", `If-Match: `, here, PreconditionFailed},
		{"PUT", "If-Match: *\nIf-Match: *", here, Proceed},
		{"PUT", "If-None-Match: *\nIf-None-Match: *", here, PreconditionFailed},
		{"PUT", `If-None-Match: "y", *`, here, PreconditionFailed},
		{"PUT", "If-None-Match: ", here, Proceed},
		{"PUT", "If-None-Match: no-such-tag", here, Proceed},
		{"PUT", `If-None-Match: *`, here, PreconditionFailed},
		{"PUT", `If-None-Match: *`, Current{}, Proceed},
		{"PUT", `If-None-Match: "x"`, here, PreconditionFailed},
		{"PUT", `If-None-Match: W/"x"`, here, PreconditionFailed},
		{"PUT", `If-None-Match: "y"`, here, Proceed},
		{"PUT", "If-Unmodified-Since: " + before, here, PreconditionFailed},
		{"PUT", "If-Unmodified-Since: " + same, here, Proceed},
		{"PUT", "If-Unmodified-Since: junk", here, Proceed},
		{"PUT", "If-Unmodified-Since: " + before + "\nIf-Match: \"x\"", here, Proceed},
		{"GET", `If-None-Match: "x"`, here, NotModified},
		{"HEAD", `If-None-Match: W/"x"`, here, NotModified},
		{"GET", `If-None-Match: "a", "b,c", "x"`, here, NotModified},
		{"GET", "If-Modified-Since: " + same, here, NotModified},
		{"GET", "If-Modified-Since: " + after, here, NotModified},
		{"GET", "If-Modified-Since: " + before, here, Proceed},
		{"GET", "If-Modified-Since: " + after + "\nIf-None-Match: \"y\"", here, Proceed},
		{"PUT", "If-Modified-Since: " + after, here, Proceed},
		{"GET", `If-None-Match: "y"` + "\n" + `If-None-Match: "x"`, here, NotModified},
	} {
		h := http.Header{}
		for line := range strings.SplitSeq(c.headers, "\n") {
			if k, v, ok := strings.Cut(line, ": "); ok {
				h.Add(k, v)
			}
		}
		if got := EvalConditions(h, c.method, c.cur); got != c.want {
			t.Errorf("%s %q (exists %v) = %v; want %v", c.method, c.headers, c.cur.Exists, got, c.want)
		}
	}
	for in, want := range map[string]bool{"": true, `"x"`: true, `W/"x"`: false, `"y"`: false, same: false, before: false, after: false, "junk": false} {
		if got := IfRangeHolds(http.Header{"If-Range": {in}}, here); got != want {
			t.Errorf("If-Range: %s = %v; want %v", in, got, want)
		}
	}
}

func TestRanges(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"bytes=0-4", "[{0 5}]"}, {"bytes=5-", "[{5 5}]"}, {"bytes=-3", "[{7 3}]"}, {"bytes=-30", "[{0 10}]"}, {"bytes=0-99", "[{0 10}]"},
		{"Bytes=0-0", "[{0 1}]"}, {"bytes=0-1,4-5", "[{0 2} {4 2}]"}, {"bytes=0-1, ,8-", "[{0 2} {8 2}]"}, {"bytes=20-30,0-0", "[{0 1}]"},
		{"bytes=9-9", "[{9 1}]"}, {"bytes=0-99999999999999999999", "[{0 10}]"},
		{"bytes=10-", "416"}, {"bytes=20-30", "416"}, {"bytes=-0", "416"},
		{"bytes=0-9,0-9", "[]"}, {"bytes=5-2", "[]"}, {"bytes=a-b", "[]"}, {"bytes=-", "[]"}, {"bytes=", "[]"}, {"items=0-1", "[]"}, {"0-1", "[]"},
		{"bytes=+1-2", "[]"}, {"bytes=--1", "[]"}, {"bytes=" + strings.Repeat("0-0,", maxRanges+1), "[]"},
	} {
		spans, err := ParseRange(c.in, 10)
		got := fmt.Sprint(spans)
		if err != nil {
			got = "416"
		}
		if got != c.want {
			t.Errorf("ParseRange(%.40q, 10) = %s; want %s", c.in, got, c.want)
		}
	}
	for _, c := range []struct{ in, want string }{
		{"bytes 0-4/10", "{0 5 10 false false}"}, {"bytes 5-9/*", "{5 5 -1 false false}"}, {"bytes=5-9/*", "{5 5 -1 false false}"},
		{"bytes */10", "error"}, {"bytes 5-4/10", "error"}, {"bytes 0-10/10", "error"}, {"bytes 0-4", "error"}, {"", "error"},
		{"bytes 0-99999999999999999999/*", "error"}, {"items 0-4/10", "error"},
	} {
		w, err := ParseContentRange(c.in)
		got := fmt.Sprint(w)
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("ParseContentRange(%q) = %s; want %s", c.in, got, c.want)
		}
	}
	for _, c := range []struct{ in, want string }{
		{"append", "{0 -1 -1 true false}"}, {"bytes=3-6", "{3 4 -1 false false}"}, {"bytes=4-", "{4 -1 -1 false false}"}, {"bytes=-5", "{5 -1 -1 false true}"},
		{"bytes=6-3", "error"}, {"3-6", "error"}, {"", "error"}, {"bytes=", "error"}, {"bytes=-", "error"},
	} {
		w, err := ParseUpdateRange(c.in)
		got := fmt.Sprint(w)
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("ParseUpdateRange(%q) = %s; want %s", c.in, got, c.want)
		}
	}
}

func FuzzRange(f *testing.F) {
	f.Add("bytes=0-1,-5,7-", int64(10))
	f.Add("bytes=-0", int64(0))
	f.Fuzz(func(t *testing.T, s string, size int64) {
		if size < 0 {
			return
		}
		spans, _ := ParseRange(s, size)
		for _, sp := range spans {
			if sp.Off < 0 || sp.Len <= 0 || sp.Len > size || sp.Off > size-sp.Len {
				t.Errorf("ParseRange(%q, %d) gives %v", s, size, sp)
			}
		}
		if w, err := ParseContentRange(s); err == nil && (w.Off < 0 || w.Len <= 0 || w.Off+w.Len < 0) {
			t.Errorf("ParseContentRange(%q) = %v", s, w)
		}
		_, _ = ParseUpdateRange(s)
	})
}

func TestQuirksKnowTheClients(t *testing.T) {
	for ua, want := range map[string]Quirks{
		"WebDAVFS/3.0.0 (03008000) Darwin/24.4.0 (arm64)": {Mac: true, OmitQuota: true},
		"WebDAVLib/1.3":                                                {Mac: true, OmitQuota: true},
		"Microsoft-WebDAV-MiniRedir/10.0.19045":                        {Windows: true},
		"Microsoft Office Existence Discovery":                         {Windows: true, OmitLockRoot: true},
		"Microsoft Office/16.0 (Windows NT 10.0; Microsoft Word 16.0)": {Windows: true, OmitLockRoot: true},
		"Microsoft Office Word/16.80 (Macintosh; Mac OS X 14)":         {OmitLockRoot: true},
		"gvfs/1.54.0": {}, "davfs2/1.7.0 neon/0.33.0": {}, "rclone/v1.76": {}, "Mozilla/5.0 (compatible; Konqueror)": {}, "": {},
	} {
		if got := QuirksOf(ua); got != want {
			t.Errorf("QuirksOf(%q) = %+v; want %+v", ua, got, want)
		}
	}
}

func TestWindowsNamesMapThereAndBack(t *testing.T) {
	for _, name := range []string{"plain.txt", "é", "a:b", `a<>:"|?*\b`, "trailing.", "trailing ", "dots..", "\x01\x1f", "CON", "con.txt", "Com1.x", "LPT9", "bad\xff\xfeutf8", "nul", " ", "...", "x\x7f"} {
		m := toWindowsName(name)
		if needsWindowsMapping(m) {
			t.Errorf("toWindowsName(%q) = %q, which Windows does not allow", name, m)
		}
		if back := fromWindowsPath("/d/" + m + "/x"); back != "/d/"+name+"/x" {
			t.Errorf("%q maps to %q and back to %q", name, m, back)
		}
	}
	if got := toWindowsName("a:b"); got != "a\uf03ab" {
		t.Errorf("toWindowsName(a:b) = %q", got)
	}
}

func TestMappedNamesAreNoPaths(t *testing.T) {
	for _, in := range []string{"/a/\uf0ae\uf0ae/b", "/a/.\uf029/b", "/a/\uf029/b", "/a\uf0afb", "/a\uf080b"} {
		if out := fromWindowsPath(in); strings.Contains(out, "\x00") || strings.Count(out, "/") != strings.Count(in, "/") || path.Clean(out) != out {
			t.Errorf("%q becomes %q", in, out)
		}
	}
}

func FuzzWindowsNames(f *testing.F) {
	f.Add("a:b.")
	f.Add("COM1")
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" || name == "." || name == ".." || strings.Contains(name, "/") || strings.Contains(name, "\x00") || hasPUA(name) {
			return
		}
		m := toWindowsName(name)
		if needsWindowsMapping(m) {
			t.Errorf("toWindowsName(%q) = %q, which Windows does not allow", name, m)
		}
		if back := fromWindowsPath("/" + m); back != "/"+name {
			t.Errorf("%q maps to %q and back to %q", name, m, back)
		}
	})
}

func TestRequestPathIgnoresHowItIsWritten(t *testing.T) {
	for _, target := range []string{"/dav/a%20b", "/dav/x/../a%20b", "http://h/dav//a%20b"} {
		p, err := RequestPath(httptest.NewRequest("GET", target, nil), "/dav")
		if err != nil || p.Name != "/a b" {
			t.Errorf("RequestPath(%s) = %q, %v", target, p.Name, err)
		}
	}
}
