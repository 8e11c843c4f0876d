package apps

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"keepdav/test/posix"
)

func runGit(ctx context.Context, e *env) error {
	origin := filepath.Join(e.local, "origin")
	if err := e.plant(origin); err != nil {
		return err
	}
	if err := e.all(ctx, origin, []string{"git", "init", "-q", "-b", "main"}, []string{"git", "add", "-A"}, []string{"git", "commit", "-qm", "first"}); err != nil {
		return err
	}
	for i := range 5 {
		if err := os.WriteFile(filepath.Join(origin, fmt.Sprint("new", i)), []byte(strings.Repeat("x\n", i*1000)), 0o644); err != nil {
			return err
		}
		if err := e.all(ctx, origin, []string{"git", "add", "-A"}, []string{"git", "commit", "-qm", fmt.Sprint("change ", i)}); err != nil {
			return err
		}
	}
	e.times = nil // what came before was on another disk
	clone := filepath.Join(e.dir, "clone")
	if err := e.all(ctx, e.dir, []string{"git", "clone", "-q", "--no-local", origin, "clone"}); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"git", "status", "--porcelain"},
		{"git", "fsck", "--full", "--strict"},
		{"git", "checkout", "-q", "HEAD~4"},
		{"git", "status", "--porcelain"},
		{"git", "checkout", "-q", "main"},
		{"git", "gc", "-q", "--prune=now"},
		{"git", "fsck", "--full", "--strict"},
		{"git", "status", "--porcelain"},
		{"git", "diff", "--stat", "HEAD"},
	} {
		if err := e.quiet(ctx, clone, args...); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(clone, "ours"), []byte("ours\n"), 0o644); err != nil {
		return err
	}
	if err := e.all(ctx, clone, []string{"git", "add", "ours"}, []string{"git", "commit", "-qm", "ours"}, []string{"git", "push", "-q", "origin", "main:ours"},
		[]string{"git", "worktree", "add", "-q", "../tree", "HEAD~2"}, []string{"git", "repack", "-adq"}); err != nil {
		return err
	}
	theirs, err := e.do(ctx, origin, "git", "rev-parse", "ours")
	if err != nil {
		return err
	}
	ours, err := e.do(ctx, clone, "git", "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	if ours != theirs {
		return fmt.Errorf("the origin got %q; want %q", theirs, ours)
	}
	return e.quiet(ctx, origin, "git", "fsck", "--full", "--strict")
}

func runTar(ctx context.Context, e *env) error {
	module, err := e.do(ctx, ".", "go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/text")
	if err != nil {
		return err
	}
	module = strings.TrimSpace(module)
	archive := filepath.Join(e.local, "module.tar")
	if err := e.all(ctx, module, []string{"tar", "cf", archive, "."}); err != nil {
		return err
	}
	e.times = nil
	out := filepath.Join(e.dir, "module")
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	if err := e.all(ctx, out, []string{"tar", "xf", archive}); err != nil {
		return err
	}
	if err := e.quiet(ctx, e.dir, "diff", "-r", module, out); err != nil {
		return err
	}
	// Times, and modes where they are kept, are those of the archive.
	compare := []string{"tar", "df", archive}
	if !e.has(posix.Owners) || !e.has(posix.Modes) {
		return e.all(ctx, out, []string{"tar", "cf", filepath.Join(e.dir, "again.tar"), "."})
	}
	return e.quiet(ctx, out, compare...)
}

func runGo(ctx context.Context, e *env) error {
	module := filepath.Join(e.dir, "module")
	for path, text := range map[string]string{
		"go.mod":       "module example.com/small\n\ngo 1.24\n",
		"main.go":      "package main\n\nimport (\n\t\"os\"\n\n\t\"example.com/small/a\"\n\t\"example.com/small/b\"\n)\n\nfunc main() { os.Stdout.WriteString(a.Text() + b.Text()) }\n",
		"a/a.go":       "// Package a is one.\npackage a\n\nimport \"strconv\"\n\nfunc Text() string { return strconv.Itoa(6 * 7) }\n",
		"b/b.go":       "// Package b is another.\npackage b\n\nimport \"example.com/small/a\"\n\nfunc Text() string { return a.Text() + \"!\" }\n",
		"b/data/x.txt": "x",
	} {
		path = filepath.Join(module, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	program := filepath.Join(module, "small")
	if err := e.all(ctx, module, []string{"go", "build", "./..."}, []string{"go", "build", "-o", program, "."}, []string{"go", "list", "./..."}); err != nil {
		return err
	}
	if !e.has(posix.Modes) {
		return nil // the program may not be one that can be executed
	}
	out, err := e.do(ctx, module, program)
	if err != nil {
		return err
	}
	if out != "4242!" {
		return fmt.Errorf("the program says %q; want %q", out, "4242!")
	}
	stale, err := e.do(ctx, module, "go", "build", "-n", "./...")
	if err != nil {
		return err
	}
	if strings.Contains(stale, "compile -o") {
		return fmt.Errorf("a second build compiles again:\n%s", stale)
	}
	return nil
}

func runRsync(ctx context.Context, e *env) error {
	from, to := filepath.Join(e.local, "from"), filepath.Join(e.dir, "to")
	if err := e.plant(from); err != nil {
		return err
	}
	flags := "-rt"
	for _, f := range []struct {
		need posix.Needs
		flag string
	}{{posix.Symlinks, "l"}, {posix.Modes, "p"}, {posix.Owners, "og"}, {posix.Links, "H"}} {
		if e.has(f.need) {
			flags += f.flag
		}
	}
	if err := e.all(ctx, e.dir, []string{"rsync", flags, from + "/", to}); err != nil {
		return err
	}
	for _, more := range []string{"i", "in", "inc"} {
		if err := e.quiet(ctx, e.dir, "rsync", flags+more, "--delete", from+"/", to); err != nil {
			return err
		}
	}
	if err := e.quiet(ctx, e.dir, "diff", "-r", "--no-dereference", from, to); err != nil {
		return err
	}
	// A change of one file is a transfer of one file, and comes back as well.
	changed := filepath.Join("dir1", "sub1", "file 1")
	if err := os.WriteFile(filepath.Join(from, changed), []byte("changed"), 0o644); err != nil {
		return err
	}
	out, err := e.do(ctx, e.dir, "rsync", flags+"i", from+"/", to)
	if err != nil {
		return err
	}
	if n := strings.Count(out, ">f"); n != 1 {
		return fmt.Errorf("rsync transfers %d files after a change of one:\n%s", n, out)
	}
	if err := e.all(ctx, e.dir, []string{"rsync", flags, "--inplace", "--delete", to + "/", from + "-back"}); err != nil {
		return err
	}
	return e.quiet(ctx, e.dir, "diff", "-r", "--no-dereference", from, from+"-back")
}

func runCp(ctx context.Context, e *env) error {
	from := filepath.Join(e.local, "from")
	if err := e.plant(from); err != nil {
		return err
	}
	flags := "-a"
	if !e.has(posix.Owners) || !e.has(posix.Modes) || !e.has(posix.Links) {
		flags = "-dR"
	}
	for _, step := range []struct{ from, to string }{{from, "first"}, {"first", "second"}, {"second", from + "-back"}} {
		if err := e.all(ctx, e.dir, []string{"cp", flags, step.from, step.to}); err != nil {
			return err
		}
		if err := e.quiet(ctx, e.dir, "diff", "-r", "--no-dereference", step.from, step.to); err != nil {
			return err
		}
	}
	return e.all(ctx, e.dir, []string{"mv", "first", "third"}, []string{"diff", "-r", "--no-dereference", from, "third"})
}
