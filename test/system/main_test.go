// Package system runs real clients against the built server: litmus, davfs2,
// rclone, cadaver and curl. Each client skips only where it can't run.
package system

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keepdav/test/target"
)

func TestMain(m *testing.M) { target.Main(m) }

// run runs a program with a deadline and returns all it printed.
func run(t *testing.T, limit time.Duration, dir string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit) // t.Context() has ended when a test cleans up
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// mustRun is run for programs that have to succeed.
func mustRun(t *testing.T, limit time.Duration, dir string, env []string, name string, args ...string) string {
	t.Helper()
	out, err := run(t, limit, dir, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// writeTree fills dir with files of many sizes and awkward names, with times in
// the past, and returns their contents.
func writeTree(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{
		"empty":                      {},
		"one":                        randomBytes(1),
		"page":                       randomBytes(4096),
		"big.bin":                    randomBytes(3<<20 + 17),
		"with space & percent %41":   randomBytes(100),
		"ümlaut-日本語.txt":             []byte("text\n"),
		"sub/plus+hash#question?":    randomBytes(5000),
		"sub/deep/er/file":           randomBytes(70000),
		"sub/deep/er/[brackets]{}":   randomBytes(10),
		"sub/semi;colon,comma=~!'()": randomBytes(10),
	}
	when := time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, data := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, when, when); err != nil {
			t.Fatal(err)
		}
		when = when.Add(time.Hour)
	}
	return files
}

// checkTree compares the files below dir with want; nothing else may be there.
func checkTree(t *testing.T, dir string, want map[string][]byte) {
	t.Helper()
	for _, p := range problems(t, dir, want) {
		t.Error(p)
	}
}

// checkTreeSoon is checkTree for a client that shows old sizes for a moment.
func checkTreeSoon(t *testing.T, dir string, want map[string][]byte) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); len(problems(t, dir, want)) > 0 && time.Now().Before(end); {
		<-tick.C
	}
	checkTree(t, dir, want)
}

func problems(t *testing.T, dir string, want map[string][]byte) (list []string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.IsDir() {
			if rel == "lost+found" { // davfs2 shows one of its own
				return filepath.SkipDir
			}
			return nil
		}
		data, ok := want[rel]
		if !ok {
			list = append(list, fmt.Sprintf("unexpected file %q", rel))
			return nil
		}
		seen++
		got, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, data) {
			list = append(list, fmt.Sprintf("%q: other bytes than were written (%d, want %d)", rel, len(got), len(data)))
		}
		return nil
	})
	if err != nil {
		list = append(list, err.Error())
	}
	if seen != len(want) {
		list = append(list, fmt.Sprintf("%d files, want %d", seen, len(want)))
	}
	return list
}
