package stress

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// The variant "churn": all processes make and remove names in one directory,
// while they and the walkers look up and list it. File systems that tell the
// kernel about changes have come to a stop here.

const (
	churnDir   = "c0/churn"
	churnNames = 8 // of each process
)

func (w *worker) churnName(process, n int) string {
	return fmt.Sprintf("%s/w%d-%d", churnDir, process, n)
}

func (w *worker) stepChurn() error {
	mine := map[int]bool{} // whether it is a directory, by number
	for range w.cfg.Ops * 2 {
		if w.stopped() {
			break
		}
		n := w.rng.IntN(churnNames)
		name := w.churnName(w.cfg.Index, n)
		dir, there := mine[n]
		var err error
		switch {
		case there && dir:
			err = w.must("rmdir", name, w.t.rmdir(name))
			delete(mine, n)
		case there && w.sometimes():
			to := w.churnName(w.cfg.Index, churnNames+n)
			if err = w.rename(name, to); err == nil {
				err = w.must("unlink", to, w.t.unlink(to))
			}
			delete(mine, n)
		case there:
			err = w.must("unlink", name, w.t.unlink(name))
			delete(mine, n)
		case n%4 == 3: // a name is always of the same type: the walkers compare it
			err = w.must("mkdir", name, w.t.mkdir(name))
			mine[n] = true
		default:
			_, err = w.writeNew(name, w.rng.Int64N(100), false)
			mine[n] = false
		}
		if err == nil && there {
			err = w.absent(name)
		}
		if err == nil {
			err = w.glance(mine)
		}
		if err != nil {
			return err
		}
	}
	for n, dir := range mine {
		if name := w.churnName(w.cfg.Index, n); dir {
			if err := w.must("rmdir", name, w.t.rmdir(name)); err != nil {
				return err
			}
		} else if err := w.must("unlink", name, w.t.unlink(name)); err != nil {
			return err
		}
	}
	return nil
}

// glance looks up somebody's name, and lists the directory at times.
func (w *worker) glance(mine map[int]bool) error {
	other := w.churnName(w.rng.IntN(w.cfg.Processes), w.rng.IntN(churnNames))
	if _, err := w.t.lstat(other); err != nil && !gone(err) {
		return w.must("stat", other, err)
	}
	if !w.sometimes() {
		return nil
	}
	entries, err := w.t.list(churnDir)
	if err != nil {
		return w.must("list", churnDir, err)
	}
	prefix := path.Base(w.churnName(w.cfg.Index, 0))
	prefix = prefix[:len(prefix)-1]
	var own []fs.DirEntry
	for _, e := range entries {
		if e.Name() == anchor || strings.HasPrefix(e.Name(), prefix) {
			own = append(own, e)
		}
	}
	want := []string{anchor}
	for n := range mine {
		want = append(want, path.Base(w.churnName(w.cfg.Index, n)))
	}
	return w.compareList(churnDir, own, want, nil)
}

func (w *worker) stepChurnCheck() error {
	entries, err := w.t.list(churnDir)
	if err != nil {
		return w.must("list", churnDir, err)
	}
	return w.compareList(churnDir, entries, []string{anchor}, nil)
}

// Every collection, and the directory of the churn, has a file that stays as it is.
const anchor = "anchor"

func anchorContent() *content {
	c := &content{}
	c.write(0, 3000, version{Writer: 1<<32 - 1, Seq: 1, File: 1<<32 - 1})
	return c
}

// stepWalk does `ls -l` of everything, again and again, until it is told to stop.
func (w *worker) stepWalk() error {
	for !w.stopped() {
		dirs := []string{churnDir, fmt.Sprintf("c%d", w.rng.IntN(w.cfg.Tops)), w.collection(w.rng.IntN(w.cfg.Processes))}
		for _, d := range dirs {
			if err := w.walk(d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *worker) walk(dir string) error {
	if w.stopped() {
		return nil
	}
	entries, err := w.t.list(dir)
	if gone(err) && dir[0] != 'c' {
		return nil // a collection of a moment
	} else if gone(err) && strings.Count(dir, "/") > 0 && dir != churnDir {
		return nil
	} else if err != nil {
		return w.must("list", dir, err)
	}
	anchors := 0
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		fi, err := w.t.lstat(p)
		if gone(err) && e.Name() != anchor {
			continue
		} else if err != nil {
			return w.must("stat", p, err)
		}
		if fi.Mode().Type() != e.Type() {
			return w.bad(wrongType, "stat", p, typeName(e.Type())+", as listed", typeName(fi.Mode().Type()))
		}
		if e.Name() == anchor {
			anchors++
			if err := w.check(p, anchorContent()); err != nil {
				return err
			}
		}
		if e.IsDir() {
			if err := w.walk(p); err != nil {
				return err
			}
		}
	}
	if (dir == churnDir || dir[0] == 'c' && !strings.Contains(dir, "/")) && anchors != 1 {
		return w.bad(wrongList, "list", dir, "the file "+anchor+" once", fmt.Sprintf("%d times among %d names", anchors, len(entries)))
	}
	return nil
}

// stepRemove takes away all that w has in the sandbox.
func (w *worker) stepRemove() error { return w.remove(w.tree) }
