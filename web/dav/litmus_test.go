package dav

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestLitmusPasses(t *testing.T) {
	bin, err := exec.LookPath("litmus")
	if err != nil && os.Getenv("KEEPDAV_TEST_STRICT") != "" {
		t.Fatal("litmus is not installed")
	} else if err != nil {
		t.Skip("litmus is not installed; `make test` installs it")
	}
	s := newServer(t)
	cmd := exec.CommandContext(t.Context(), bin, "-k", s.url+"/home/coll/", "ann", "pw")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil || strings.Contains(text, "FAIL") || strings.Contains(text, "WARNING") || strings.Count(text, "100.0%") != 5 {
		t.Errorf("litmus: %v\n%s", err, text)
	}
}
