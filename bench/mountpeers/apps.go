package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite"

	"keepdav/bench/meter"
)

// A stage has what the applications start from, outside the mounts.
type stage struct {
	dir, tar, tree, repo string
	files                int
	bytes                int64
	packages             int
	library              bool
}

func newStage(z sizes, dir string) (*stage, error) {
	st := &stage{dir: dir, tar: filepath.Join(dir, "tree.tar"), tree: filepath.Join(dir, "tree"), repo: filepath.Join(dir, "repo"), packages: z.packages, library: z.library}
	if err := os.MkdirAll(st.tree, 0o755); err != nil {
		return nil, err
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	src := filepath.Join(strings.TrimSpace(string(root)), "src")
	err = chain(
		func() error { return st.sh(src, "tar", append([]string{"-cf", st.tar}, z.tree...)...) },
		func() error { return st.sh(st.tree, "tar", "-xf", st.tar) },
		func() error { return st.sh(dir, "cp", "-a", st.tree, st.repo) },
		func() error { return st.sh(st.repo, "git", "init", "-q") },
		func() error { return st.sh(st.repo, "git", "add", "-f", ".") },
		func() error { return st.sh(st.repo, "git", "commit", "-q", "-m", "the tree") },
		func() error { return st.sh(st.repo, "git", "repack", "-a", "-d", "-q") }, // so that a clone computes no deltas
	)
	if err != nil {
		return nil, err
	}
	return st, filepath.WalkDir(st.tree, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			st.files++
			st.bytes += info.Size()
		}
		return err
	})
}

// sh runs a program in dir, untouched by the user's settings.
func (st *stage) sh(dir, name string, args ...string) error { return st.shEnv(dir, nil, name, args...) }

func (st *stage) shEnv(dir string, env []string, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(append(os.Environ(), "LC_ALL=C", "HOME="+st.dir, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=bench", "GIT_AUTHOR_EMAIL=bench@localhost", "GIT_COMMITTER_NAME=bench", "GIT_COMMITTER_EMAIL=bench@localhost"), env...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// writeProgram writes the sources of a program that no build cache knows, and
// fills the build cache on the mount with the libraries that it uses.
func (st *stage) writeProgram(s *server) error {
	warm := filepath.Join(st.dir, "gocache")
	if _, err := os.Stat(warm); err != nil {
		if err := st.sources(filepath.Join(st.dir, "libraries"), 0); err != nil {
			return err
		}
		if err := st.goBuild(filepath.Join(st.dir, "libraries"), warm); err != nil {
			return err
		}
	}
	if err := st.sh(s.work, "cp", "-a", warm, s.path("gocache")); err != nil {
		return err
	}
	return st.sources(s.path("program"), st.packages)
}

func (st *stage) sources(dir string, packages int) error {
	imports, calls := "", ""
	if st.library {
		imports, calls = "import \"encoding/json\"\n", "\t_ = json.Valid(nil)\n"
	}
	write := func(name, text string) error {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(text), 0o644)
	}
	for i := range packages {
		p := numbered("p", i)
		imports += fmt.Sprintf("import \"bench/%s\"\n", p)
		calls += fmt.Sprintf("\tprintln(%s.F())\n", p)
		if err := write(filepath.Join(p, "p.go"), fmt.Sprintf("package %s\n\nfunc F() uint64 { return %d }\n", p, meter.Unique())); err != nil {
			return err
		}
	}
	if err := write("go.mod", "module bench\n\ngo 1.24\n"); err != nil {
		return err
	}
	return write("main.go", "package main\n\n"+imports+"\nfunc main() {\n"+calls+"}\n")
}

func (st *stage) build(s *server) error { return st.goBuild(s.path("program"), s.path("gocache")) }

func (st *stage) goBuild(dir, cache string) error {
	env := []string{"GOCACHE=" + cache, "GOTMPDIR=" + dir, "GOTOOLCHAIN=local", "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0"}
	return st.shEnv(dir, env, "go", "build", "-o", "program", ".")
}

// useDatabase commits n rows one by one, then 20,000 at once, and reads all.
func useDatabase(path string, n int) (err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(DELETE)&_pragma=synchronous(FULL)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ctx := context.Background()
	if _, err := db.ExecContext(ctx, "CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)"); err != nil {
		return err
	}
	const insert, many = "INSERT INTO t (v) VALUES (?)", 20000
	v := make([]byte, 100)
	for range n {
		meter.FillRandom(v)
		if _, err := db.ExecContext(ctx, insert, v); err != nil {
			return err
		}
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after the commit
	for range many {
		meter.FillRandom(v)
		if _, err := tx.ExecContext(ctx, insert, v); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	var rows int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM t WHERE length(v) = 100").Scan(&rows); err != nil {
		return err
	}
	if rows != n+many {
		return fmt.Errorf("%d rows, want %d", rows, n+many)
	}
	return nil
}
