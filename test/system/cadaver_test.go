package system

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keepdav/test/target"
)

// TestCadaver runs a session of the command line client.
func TestCadaver(t *testing.T) {
	cadaver := target.Tool(t, "cadaver")
	s := target.Start(t, target.Options{})
	c := s.MakeCollection(t, "cadaver")
	dir := t.TempDir()
	data := randomBytes(200_000)
	if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	machine := strings.TrimPrefix(s.URL, "http://")
	host, _, _ := strings.Cut(machine, ":")
	netrc := fmt.Sprintf("machine %s login %s password \"%s\"\n", host, target.User, target.Password)
	if err := os.WriteFile(filepath.Join(dir, ".netrc"), []byte(netrc), 0o600); err != nil {
		t.Fatal(err)
	}
	props := s.Kind == target.KeepDAV // the reference server stores no properties
	script := []string{
		"put file", "put file second", "ls", "mkcol sub", "move second sub/moved", "copy file sub/copied",
		"lock file", "discover file", "unlock file",
		"get sub/moved back1", "cd sub", "get copied back2", "cd ..", "delete file", "ls sub",
	}
	if props {
		script = append(script, "propset sub/moved colour green", "propget sub/moved colour")
	}
	script = append(script, "quit")
	cmd := exec.CommandContext(t.Context(), cadaver, s.URL+c)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "LC_ALL=C")
	cmd.Stdin = strings.NewReader(strings.Join(script, "\n") + "\n")
	cmd.WaitDelay = time.Minute
	raw, err := cmd.CombinedOutput()
	out := string(raw)
	if err != nil {
		t.Fatalf("cadaver: %v\n%s", err, out)
	}
	for _, bad := range []string{"failed", "Could not", "Failed", "rror:"} {
		if strings.Contains(out, bad) {
			t.Errorf("cadaver says %q:\n%s", bad, out)
		}
	}
	if props && !strings.Contains(out, "green") {
		t.Errorf("propget doesn't show the property:\n%s", out)
	}
	for _, name := range []string{"back1", "back2"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v; want what was put", name, len(got), err)
		}
	}
	s.Must(t, []int{404}, "GET", c+"file", nil)
	s.Must(t, []int{404}, "GET", c+"second", nil)
	if got := s.Must(t, []int{200}, "GET", c+"sub/copied", nil).Body; !bytes.Equal(got, data) {
		t.Error("the copy has other bytes")
	}
	if t.Failed() {
		t.Logf("the session:\n%s", out)
	}
}
