package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A mount bears many processes, and has no more open, and hardly more memory, when
// they are gone. KEEPDAV_LONG makes it ten minutes with 20 processes.
func TestStressOfAMount(t *testing.T) {
	preset := "--small"
	if os.Getenv("KEEPDAV_LONG") != "" {
		preset = "--big"
	}
	p := newPlace(t)
	f := p.start(t, "--read-write", "--home", p.dir)
	sh(t, "mkdir "+p.dir+"/c && echo one > "+p.dir+"/c/f && rm -r "+p.dir+"/c") // what stays open for good is open then
	before, atWork := openFiles(t, f.Process.Pid), goroutines(t, p.dir)
	if out, err := keepMount(t.Context(), "stress", preset, "--collections", p.dir).CombinedOutput(); err != nil {
		t.Fatalf("stress %s: %v\n%s", preset, err, out)
	}
	t.Logf("%s: %d descriptors before, %d after; %d goroutines before, %d after; %s",
		preset, before, openFiles(t, f.Process.Pid), atWork, goroutines(t, p.dir), peakMemory(t, f.Process.Pid))
	if after := openFiles(t, f.Process.Pid); after > before+8 {
		t.Errorf("%d descriptors after the stress, %d before", after, before)
	}
	if after := goroutines(t, p.dir); after > atWork+16 { // readers of requests come with the load and stay
		t.Errorf("%d goroutines after the stress, %d before", after, atWork)
	}
	if left := sh(t, "ls -A "+p.dir); left != "" {
		t.Errorf("the stress leaves %s", left)
	}
	p.must(t, "--unmount", p.dir)
	f.end(t, 0)
	if strings.Contains(f.said.String(), "DATA RACE") || strings.Contains(f.said.String(), "panic") {
		t.Errorf("the mount says: %s", f.said)
	}
	p.free(t)
}

// goroutines counts those of the program that serves a mount.
func goroutines(t *testing.T, dir string) int {
	t.Helper()
	l, err := lookAt(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l.stats.Goroutines
}

// openFiles counts the descriptors of a process, without those of block files and of
// the database, which come and go.
func openFiles(t *testing.T, pid int) (n int) {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		to, _ := os.Readlink(filepath.Join(dir, e.Name()))
		if !strings.Contains(to, "/store/") {
			n++
		}
	}
	return n
}

// peakMemory is the line of a process about the most memory that it has had.
func peakMemory(t *testing.T, pid int) string {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM:") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return "memory unknown"
}
