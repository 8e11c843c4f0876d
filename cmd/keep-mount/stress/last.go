package stress

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// lastLook wants the tree to be exactly what the processes made of it, and has
// them remove it.
func (r *run) lastLook(ctx context.Context) {
	if !r.clean() || ctx.Err() != nil {
		return
	}
	r.self.step = &request{Number: 1 << 62, Name: "last look", Round: r.round}
	total := r.fixed()
	for _, t := range r.trees {
		maps.Copy(total, t)
	}
	err := r.self.checkTree(total)
	if err == nil {
		err = r.checkRoot(r.tops())
	}
	if err != nil {
		r.found(r.self.must("", "", err).(*Finding))
		return
	}
	r.step(ctx, "remove", nil)
}

// fixed is what the coordinator made.
func (r *run) fixed() model {
	m := model{}
	for _, d := range append(r.tops(), churnDir) {
		m[d] = &node{Dir: true}
		m[d+"/"+anchor] = &node{File: anchorContent()}
	}
	return m
}

// rootNames are the names at the top of the sandbox.
func (r *run) rootNames() (names []string, err error) {
	dir, prefix := path.Split(r.self.cfg.Root)
	err = r.self.t.do("list", dir, func() error {
		entries, err := r.self.t.disk.List(filepath.Clean(dir))
		for _, e := range entries {
			if name, ok := strings.CutPrefix(e.Name(), prefix); ok {
				names = append(names, name)
			}
		}
		return err
	})
	slices.Sort(names)
	return names, err
}

func (r *run) checkRoot(want []string) error {
	names, err := r.rootNames()
	if err != nil {
		return r.self.must("list", "the sandbox", err)
	}
	if !slices.Equal(names, want) {
		return r.self.bad(leftOver, "list", "the sandbox", fmt.Sprintf("%q", want), fmt.Sprintf("%q", names))
	}
	return nil
}

// removeAll removes the sandbox: name by name after a run without a finding, so
// that anything else in it is one; with all that is in it after another one.
func (r *run) removeAll(ctx context.Context) error {
	w := r.self
	w.step = &request{Number: 1 << 62, Name: "remove all", Round: r.round}
	if r.clean() && ctx.Err() == nil && r.trees != nil {
		err := w.remove(r.fixed())
		if err == nil && r.o.Collections {
			err = r.checkRoot(nil)
		} else if err == nil {
			err = w.must("rmdir", "the sandbox", w.t.do("rmdir", "the sandbox", func() error { return w.t.disk.Rmdir(r.report.Sandbox) }))
		}
		if err != nil {
			r.found(w.must("", "", err).(*Finding))
		}
	}
	if err := r.forceAway(); err != nil {
		return fmt.Errorf("remove the sandbox %s: %w", r.report.Sandbox, err)
	}
	r.report.Removed = true
	return nil
}

func (r *run) forceAway() error {
	w := r.self
	if _, err := w.t.disk.Lstat(r.report.Sandbox); !r.o.Collections && gone(err) {
		return nil
	}
	names, err := r.rootNames()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := w.forceAway(n); err != nil {
			return err
		}
	}
	if r.o.Collections {
		return nil
	}
	return w.t.do("rmdir", "the sandbox", func() error { return w.t.disk.Rmdir(r.report.Sandbox) })
}

// forceAway removes a name and all below it.
func (w *worker) forceAway(name string) error {
	fi, err := w.t.lstat(name)
	if gone(err) {
		return nil
	} else if err != nil {
		return err
	}
	if !fi.IsDir() {
		return ignoreGone(w.t.unlink(name))
	}
	entries, err := w.t.list(name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.forceAway(path.Join(name, e.Name())); err != nil {
			return err
		}
	}
	return ignoreGone(w.t.rmdir(name))
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
