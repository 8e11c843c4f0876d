package system

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keepdav/test/target"
)

// TestCurl does what people's scripts do: upload, conditional and ranged
// requests, and an upload that is continued where it was cut off.
func TestCurl(t *testing.T) {
	curl := target.Tool(t, "curl")
	s := target.Start(t, target.Options{})
	c := s.MakeCollection(t, "curl")
	dir := t.TempDir()
	data := randomBytes(3<<20 + 123)
	if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) string {
		t.Helper()
		return mustRun(t, time.Minute, dir, nil, curl, append([]string{"-sS", "-u", target.User + ":" + target.Password}, args...)...)
	}
	status := func(want string, args ...string) {
		t.Helper()
		if got := call(append([]string{"-o", "/dev/null", "-w", "%{http_code}"}, args...)...); got != want {
			t.Errorf("curl %s: %s, want %s", strings.Join(args, " "), got, want)
		}
	}
	status("201", "-T", "file", s.URL+c)
	if s.Kind == target.KeepDAV { // the stock handler says 201 again
		status("204", "-T", "file", s.URL+c)
	}
	if got := call(s.URL + c + "file"); got != string(data) {
		t.Errorf("GET: %d bytes, or others than were PUT", len(got))
	}
	if got := call("-r", "1000-1999", s.URL+c+"file"); got != string(data[1000:2000]) {
		t.Error("a range from the middle is wrong")
	}
	if got := call("-r", "-500", s.URL+c+"file"); got != string(data[len(data)-500:]) {
		t.Error("the last 500 bytes are wrong")
	}
	status("416", "-r", "99999999-", s.URL+c+"file")

	// A download that is continued.
	if err := os.WriteFile(filepath.Join(dir, "part"), data[:1<<20], 0o644); err != nil {
		t.Fatal(err)
	}
	call("-C", "-", "-o", "part", s.URL+c+"file")
	if got, err := os.ReadFile(filepath.Join(dir, "part")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the continued download has %d bytes, %v", len(got), err)
	}
	if s.Kind != target.KeepDAV {
		t.Skip("the reference server ignores preconditions and Content-Range")
	}
	status("412", "-T", "file", "-H", "If-None-Match: *", s.URL+c)
	status("412", "-T", "file", "-H", `If-Match: "no such tag"`, s.URL+c)
	etag := headerOf(call("-I", s.URL+c+"file"), "ETag")
	status("304", "-H", "If-None-Match: "+etag, s.URL+c+"file")
	status("204", "-T", "file", "-H", "If-Match: "+etag, s.URL+c)

	// An upload that is continued: the first part, then from where it ended.
	if err := os.WriteFile(filepath.Join(dir, "half"), data[:1<<20], 0o644); err != nil {
		t.Fatal(err)
	}
	status("201", "-T", "half", s.URL+c+"resumed")
	status("204", "-T", "file", "-C", "1048576", s.URL+c+"resumed")
	if got := call(s.URL + c + "resumed"); got != string(data) {
		t.Errorf("the continued upload has %d bytes, or others than were sent", len(got))
	}
	status("401", "-u", "admin:wrong", s.URL+c)
}

func headerOf(head, name string) string {
	for line := range strings.Lines(head) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
