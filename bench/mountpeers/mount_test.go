package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The test binary serves loopbacks as the program does.
func TestMain(m *testing.M) {
	if arg := os.Getenv(loopbackEnv); arg != "" {
		if err := serveLoopback(arg); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var tinySizes = sizes{
	big: 3*mib + 5, iozone: mib, small: 20, synced: 3, dir: 300, random: 10 * time.Millisecond, tree: []string{"unicode"}, insert: 2, packages: 2,
}

func testServer(t *testing.T, name string) *server {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it mounts and empties the kernel's caches")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil && name != diskName {
		t.Skip("needs /dev/fuse: ", err)
	}
	s := newServer(name, t.TempDir(), &config{})
	if s.missing != "" {
		t.Fatal(s.missing)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryRowGetsAFigureOnEveryMount(t *testing.T) {
	list, err := groups(tinySizes, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, groups := range map[string]*regexp.Regexp{
		loopbackName:    regexp.MustCompile(""),
		writeBackName:   regexp.MustCompile("^big$|^iz_4k_p4$"), // they only differ in how bytes go
		passthroughName: regexp.MustCompile("^big$|^iz_4k_p4$"),
		diskName:        regexp.MustCompile("^small$"), // for it is no server
	} {
		t.Run(name, func(t *testing.T) {
			s := testServer(t, name)
			c := &config{reps: 1, rowBudget: time.Minute}
			for _, g := range list {
				if !groups.MatchString(g.name) || g.name == "go_build" { // which compiles the run-time library first
					continue
				}
				for _, r := range c.runGroup(g, []*server{s}) {
					if x := r.By[name]; len(x.Values) != 1 || x.Values[0] <= 0 || x.Err != "" {
						t.Errorf("%s: values %v, error %q; want one figure", r.Row, x.Values, x.Err)
					}
				}
				if left, err := os.ReadDir(s.work); err != nil || len(left) > 0 {
					t.Errorf("%s left %v behind (%v)", g.name, left, err)
				}
			}
		})
	}
}

func TestLoopbackShowsItsDirectoryAndLeavesNoMount(t *testing.T) {
	s := testServer(t, loopbackName)
	if err := writeFile(s.path("f"), 10, mib, closeOnly); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(s.data, "bench", "f")); err != nil || info.Size() != 10 {
		t.Errorf("in the directory: %v, %v; want a file of 10 bytes", info, err)
	}
	if err := s.cold(); err != nil {
		t.Fatal(err)
	}
	if err := readFile(s.path("f"), 10, mib); err != nil {
		t.Error(err)
	}
	if err := s.stop(); err != nil || mounted(s.mnt) {
		t.Errorf("stop() = %v, mounted %v; want no mount", err, mounted(s.mnt))
	}
}

func TestServerThatEndsAtOnceIsAnErrorWithItsLog(t *testing.T) {
	dir := t.TempDir()
	s := newServer(keepName, dir, &config{keepMount: "/bin/sh", keepArgs: "-c missing-program-{mnt}"})
	if err := s.start(); err == nil || !strings.Contains(err.Error(), "missing-program") {
		t.Errorf("start() = %v; want the program's message", err)
	}
	if err := s.stop(); err != nil {
		t.Errorf("stop() = %v", err)
	}
}

func TestReadersNoticeMissingBytesAndEntries(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "f")
	if err := writeFile(p, 5000, 4*kib, fsyncToo); err != nil {
		t.Fatal(err)
	}
	if err := readFile(p, 5000, 4*kib); err != nil {
		t.Error(err)
	}
	if err := readFile(p, 5001, 4*kib); err == nil {
		t.Error("readFile() = nil for a file that lacks a byte")
	}
	if err := listDir(dir, 1, true); err != nil {
		t.Error(err)
	}
	if err := listDir(dir, 2, false); err == nil {
		t.Error("listDir() = nil for a directory that lacks an entry")
	}
}

func TestArgumentsKeepPathsWhole(t *testing.T) {
	got := keepMountArgs("--store {store} --opt={mnt} {mnt}", "/a b", "/m n")
	if want := []string{"--store", "/a b", "--opt=/m n", "/m n"}; !reflect.DeepEqual(got, want) {
		t.Errorf("keepMountArgs() = %q; want %q", got, want)
	}
}

func TestGroupsAreChosenByNameOrRow(t *testing.T) {
	g := bigFile(tinySizes)
	for re, want := range map[string]bool{"": true, "^big$": true, "dd_read_warm": true, "iz_": false} {
		if got := g.matches(regexp.MustCompile(re)); got != want {
			t.Errorf("matches(%q) = %v; want %v", re, got, want)
		}
	}
}
