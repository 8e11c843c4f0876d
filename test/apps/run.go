package apps

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keepdav/test/posix"
)

// Options say what is not tried.
type Options struct {
	Skip    map[string]string // name of a case → why it cannot hold here
	Without posix.Needs       // what the file system does not promise: it decides what rsync and cp keep
}

// A Time is how long a step of a case took.
type Time struct {
	Case, Step string
	Took       time.Duration
}

func (t Time) String() string {
	return fmt.Sprintf("%s: %s: %v", t.Case, t.Step, t.Took.Round(time.Millisecond))
}

// A Case is a program that is tried.
type Case struct {
	Name  string
	tools []string
	run   func(ctx context.Context, e *env) error
}

// Cases returns all cases, in the order in which Run runs them.
func Cases() []Case {
	return []Case{
		{"git", []string{"git"}, runGit},
		{"tar", []string{"tar", "diff", "go"}, runTar},
		{"go", []string{"go"}, runGo},
		{"rsync", []string{"rsync", "diff"}, runRsync},
		{"cp", []string{"cp", "diff"}, runCp},
		{"sqlite-journal", nil, func(ctx context.Context, e *env) error { return runSQLite(ctx, e, "delete") }},
		{"sqlite-wal", nil, func(ctx context.Context, e *env) error { return runSQLite(ctx, e, "wal") }},
	}
}

// Run tries the programs in directories of their own below dir, and returns how
// long their steps took. A program that is not installed is a skip that names it.
func Run(t *testing.T, dir string, o Options) []Time {
	t.Helper()
	if !childAsked {
		t.Fatal("TestMain does not call apps.Child")
	}
	var times []Time
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			if why, ok := o.Skip[c.Name]; ok {
				t.Skip(why)
			}
			for _, tool := range c.tools {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("%s is not installed", tool)
				}
			}
			took, err := c.In(t.Context(), filepath.Join(dir, "apps-"+c.Name), t.TempDir(), o.Without)
			if err != nil {
				t.Error(err)
			}
			times = append(times, took...)
		})
	}
	return times
}

// In tries the case in a new directory dir, which it removes, with a local one
// for what it compares with.
func (c Case) In(ctx context.Context, dir, local string, without posix.Needs) (_ []Time, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	e := &env{name: c.Name, dir: dir, local: local, without: without}
	defer func() {
		start := time.Now()
		if rm := os.RemoveAll(dir); rm != nil && err == nil {
			err = fmt.Errorf("remove what %s made: %w", c.Name, rm)
		}
		e.took("rm -r", start)
	}()
	err = c.run(ctx, e)
	return e.times, err
}

// env is what a case works with.
type env struct {
	name    string
	dir     string // to be tried
	local   string // on a disk that is trusted
	without posix.Needs
	times   []Time
}

func (e *env) took(step string, start time.Time) {
	e.times = append(e.times, Time{e.name, step, time.Since(start)})
}

// has tells whether the file system promises all of need.
func (e *env) has(need posix.Needs) bool { return e.without&need == 0 }

// do runs a program in dir, returns what it printed, and notes its time.
func (e *env) do(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
		"GOCACHE="+filepath.Join(e.dir, "cache"), "GOPROXY=off", "GOFLAGS=-p=2", "GOWORK=off", "GOTOOLCHAIN=local")
	var errText bytes.Buffer
	cmd.Stderr = &errText
	start := time.Now()
	out, err := cmd.Output()
	e.took(step(args), start)
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out, errText.Bytes())
	}
	return string(out), nil
}

// step is a command without what is different each time.
func step(args []string) string {
	words := []string{filepath.Base(args[0])}
	for _, a := range args[1:] {
		if !strings.Contains(a, "/") {
			words = append(words, a)
		}
	}
	return strings.Join(words[:min(3, len(words))], " ")
}

// quiet is do for programs that must have nothing to say.
func (e *env) quiet(ctx context.Context, dir string, args ...string) error {
	out, err := e.do(ctx, dir, args...)
	if err == nil && out != "" {
		err = fmt.Errorf("%s says\n%s", strings.Join(args, " "), out)
	}
	return err
}

// all runs programs one after the other.
func (e *env) all(ctx context.Context, dir string, commands ...[]string) error {
	for _, args := range commands {
		if _, err := e.do(ctx, dir, args...); err != nil {
			return err
		}
	}
	return nil
}

// plant makes a tree of files of many kinds and sizes.
func (e *env) plant(root string) error {
	for i := range 300 {
		dir := filepath.Join(root, fmt.Sprintf("dir%d", i%7), fmt.Sprintf("sub%d", i%3))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		path := filepath.Join(dir, fmt.Sprintf("file %d", i))
		text := strings.Repeat(fmt.Sprintf("line %d of a file\n", i), i*i%4000)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
		if e.has(posix.Modes) {
			if err := os.Chmod(path, []os.FileMode{0o644, 0o600, 0o755, 0o444, 0o640}[i%5]); err != nil {
				return err
			}
		}
		when := time.Unix(1_500_000_000+int64(i)*86_400, int64(i)*1_000_003)
		if err := os.Chtimes(path, when, when); err != nil {
			return err
		}
		if i%10 == 0 && e.has(posix.Symlinks) {
			if err := os.Symlink(fmt.Sprintf("file %d", i), path+" link"); err != nil {
				return err
			}
		}
		if i%15 == 0 && e.has(posix.Links) {
			if err := os.Link(path, path+" again"); err != nil {
				return err
			}
		}
	}
	return os.MkdirAll(filepath.Join(root, "empty"), 0o755)
}
