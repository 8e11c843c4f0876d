package apps_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"keepdav/test/apps"
)

func TestMain(m *testing.M) {
	apps.Child()
	os.Exit(m.Run())
}

func TestProgramsWorkOnADisk(t *testing.T) {
	for _, took := range apps.Run(t, t.TempDir(), apps.Options{}) {
		t.Log(took)
	}
}

// What goes wrong after a program did its work is what a bad disk does.
func TestWrongResultsAreFound(t *testing.T) {
	for program, damage := range map[string]string{
		"cp":    `echo x >> "$last/dir1/sub1/file 1"`,
		"rsync": `touch -d @1 "$last/dir1/sub1/file 1"`,
		"tar":   `case $1 in xf) rm README.md;; esac`,
	} {
		t.Run(program, func(t *testing.T) {
			path, err := exec.LookPath(program)
			if err != nil {
				t.Skipf("%s is not installed", program)
			}
			bin := t.TempDir()
			script := fmt.Sprintf("#!/bin/sh\n%s \"$@\" || exit\nfor last; do :; done\n%s\n", path, damage)
			if err := os.WriteFile(filepath.Join(bin, program), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			for _, c := range apps.Cases() {
				if c.Name != program {
					continue
				}
				if _, err := c.In(t.Context(), filepath.Join(t.TempDir(), "x"), t.TempDir(), 0); err == nil {
					t.Errorf("after %q all is well; want an error", damage)
				}
			}
		})
	}
}
