package stress

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"syscall"
)

// The variant "files": every process changes its own part of two collections
// at random and knows exactly what must be there, while others look at it.

const maxNodes = 40 // of one process

// homes are the directories of a process: other ones lie beside them in the
// same collections.
func homes(process, tops int) []string {
	a := fmt.Sprintf("c%d/w%d", process%tops, process)
	b := fmt.Sprintf("c%d/w%d", (process+1)%tops, process)
	if a == b {
		return []string{a}
	}
	return []string{a, b}
}

func (w *worker) stepHomes() error {
	for _, h := range homes(w.cfg.Index, w.cfg.Tops) {
		if err := w.must("mkdir", h, w.t.mkdir(h)); err != nil {
			return err
		}
		w.tree[h] = &node{Dir: true}
	}
	return nil
}

func (w *worker) stepFiles() error {
	kinds := []func() error{
		w.create, w.create, w.create, w.create, w.read, w.read, w.rewrite, w.rewrite, w.append, w.truncate, w.replaceContent,
		w.renameFile, w.renameFile, w.renameFile, w.renameDir, w.mkdir, w.mkdir, w.rmdir, w.remove1, w.remove1, w.link, w.symlink,
		w.unlinkOpen, w.renameOpen, w.listOne, w.refused, w.look, w.look, w.look,
	}
	for range w.cfg.Ops {
		if w.stopped() {
			return nil
		}
		if err := kinds[w.rng.IntN(len(kinds))](); err != nil {
			return err
		}
	}
	return nil
}

func pick(r *rand.Rand, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[r.IntN(len(names))]
}

func (w *worker) aFile() string { return pick(w.rng, w.tree.files()) }
func (w *worker) aDir() string  { return pick(w.rng, w.tree.dirs()) }

// newName is a name in one of w's directories, sometimes one that needs care.
func (w *worker) newName() string {
	w.files++
	odd := []string{"", "", "", "", " with spaces", "-ünï", ".txt", "%41", "\\b", "+&"}
	return fmt.Sprintf("%s/f%d%s", w.aDir(), w.files, odd[w.rng.IntN(len(odd))])
}

func (w *worker) size() int64 {
	switch w.rng.IntN(6) {
	case 0:
		return 0
	case 1:
		return w.rng.Int64N(300) + 1
	default:
		return w.rng.Int64N(w.cfg.Small) + 1
	}
}

func (w *worker) sometimes() bool { return w.rng.IntN(3) == 0 }

func (w *worker) create() error {
	if len(w.tree) >= maxNodes {
		return w.remove1()
	}
	name := w.newName()
	c, err := w.writeNew(name, w.size(), w.sometimes())
	if err != nil {
		return err
	}
	w.tree[name] = &node{File: c}
	return w.check(name, c)
}

func (w *worker) read() error {
	name := w.aFile()
	if name == "" {
		return w.create()
	}
	return w.check(name, w.tree[name].File)
}

// change opens one of w's files, changes it, and reads it back.
func (w *worker) change(flag int, do func(*tracedFile, *content) error) error {
	name := w.aFile()
	if name == "" {
		return w.create()
	}
	c := w.tree[name].File
	err := w.with(name, flag, w.sometimes(), func(f *tracedFile) error { return do(f, c) })
	if err != nil {
		return err
	}
	return w.check(name, c)
}

// rewrite writes into a file, at times behind its end.
func (w *worker) rewrite() error {
	return w.change(os.O_RDWR, func(f *tracedFile, c *content) error {
		for range 1 + w.rng.IntN(3) {
			off := w.rng.Int64N(c.Size + 1)
			if w.rng.IntN(5) == 0 {
				off = c.Size + w.rng.Int64N(5000)
			}
			if err := w.writeRange(f, c, off, w.rng.Int64N(min(w.cfg.Small, 20000))+1); err != nil {
				return err
			}
		}
		return w.must("read", f.name, c.compare(f)) // by the same handle
	})
}

func (w *worker) append() error {
	return w.change(os.O_WRONLY|os.O_APPEND, func(f *tracedFile, c *content) error {
		n := w.rng.Int64N(min(w.cfg.Small, 20000)) + 1
		v, p := w.nextVersion(c), make([]byte, n)
		v.fill(p, c.Size)
		if err := w.must("append", f.name, f.append(p)); err != nil {
			return err
		}
		c.write(c.Size, n, v)
		return nil
	})
}

func (w *worker) truncate() error {
	return w.change(os.O_RDWR, func(f *tracedFile, c *content) error {
		size := w.rng.Int64N(c.Size + 3000)
		if err := w.must("truncate", f.name, f.truncate(size)); err != nil {
			return err
		}
		c.truncate(size)
		return nil
	})
}

// replaceContent opens with truncation and writes all anew.
func (w *worker) replaceContent() error {
	return w.change(os.O_RDWR|os.O_TRUNC, func(f *tracedFile, c *content) error {
		c.truncate(0)
		return w.writeRange(f, c, 0, w.size())
	})
}

// mayMove keeps hard links in their collection, and moves between collections
// to where they are supported.
func (w *worker) mayMove(from, to string) bool {
	return top(from) == top(to) || w.cfg.Can.CrossMove && !w.tree.linked(from)
}

// renameFile moves a file to a new name or onto another file.
func (w *worker) renameFile() error {
	from, to := w.aFile(), w.newName()
	if w.rng.IntN(4) == 0 {
		to = w.aFile()
	}
	if from == "" || from == to || !w.mayMove(from, to) {
		return nil
	}
	if n := w.tree[to]; n != nil && n.File == w.tree[from].File {
		return nil // a rename onto a link of the same file does nothing
	}
	if err := w.rename(from, to); err != nil {
		return err
	}
	w.tree.move(from, to)
	return w.check(to, w.tree[to].File)
}

// isHome tells which directories stay.
func (w *worker) isHome(d string) bool { return strings.Count(d, "/") == 1 }

func (w *worker) renameDir() error {
	from, to := w.aDir(), w.newName()
	if w.isHome(from) || strings.HasPrefix(to, from+"/") || !w.mayMove(from, to) {
		return nil
	}
	if err := w.rename(from, to); err != nil {
		return err
	}
	w.tree.move(from, to)
	return w.checkDir(w.tree, to)
}

func (w *worker) mkdir() error {
	name := w.newName()
	if len(w.tree) >= maxNodes || strings.Count(name, "/") > 5 {
		return nil
	}
	if err := w.must("mkdir", name, w.t.mkdir(name)); err != nil {
		return err
	}
	w.tree[name] = &node{Dir: true}
	return w.checkDir(w.tree, name)
}

func (w *worker) rmdir() error {
	d := w.aDir()
	if len(w.tree.children(d)) > 0 {
		return w.mustFail("rmdir", d, w.t.rmdir(d), syscall.ENOTEMPTY, syscall.EEXIST)
	}
	if w.isHome(d) {
		return nil
	}
	if err := w.must("rmdir", d, w.t.rmdir(d)); err != nil {
		return err
	}
	delete(w.tree, d)
	return w.absent(d)
}

func (w *worker) remove1() error {
	p := pick(w.rng, w.tree.names(func(_ string, n *node) bool { return !n.Dir }))
	if p == "" {
		return nil
	}
	if err := w.must("unlink", p, w.t.unlink(p)); err != nil {
		return err
	}
	delete(w.tree, p)
	return w.absent(p)
}

// link makes a second name in the same collection; what is written by one name
// is read by the other.
func (w *worker) link() error {
	old, name := w.aFile(), w.newName()
	if !w.cfg.Can.Link || old == "" || top(old) != top(name) || len(w.tree) >= maxNodes {
		return nil
	}
	if err := w.must("link", name, w.t.link(old, name)); err != nil {
		return err
	}
	c := w.tree[old].File
	w.tree[name] = &node{File: c}
	return w.check(name, c)
}

func (w *worker) symlink() error {
	target, name := w.aFile(), w.newName()
	if !w.cfg.Can.Symlink || target == "" || len(w.tree) >= maxNodes {
		return nil
	}
	c := w.tree[target].File
	target, err := filepathRel(path.Dir(name), target)
	if err != nil || top(name) != top(path.Join(path.Dir(name), target)) {
		return err
	}
	if err := w.must("symlink", name, w.t.symlink(target, name)); err != nil {
		return err
	}
	w.tree[name] = &node{Target: target}
	if err := w.checkLink(name, target); err != nil {
		return err
	}
	return w.with(name, os.O_RDONLY, false, func(f *tracedFile) error { return w.must("read", name, c.compare(f)) })
}

// unlinkOpen uses a file that has no name any more.
func (w *worker) unlinkOpen() error {
	name := w.newName()
	c := w.newContent()
	return w.with(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, false, func(f *tracedFile) error {
		if err := w.writeRange(f, c, 0, w.size()+1); err != nil {
			return err
		}
		if err := w.must("unlink", name, w.t.unlink(name)); err != nil {
			return err
		}
		if err := w.absent(name); err != nil {
			return err
		}
		if err := w.writeRange(f, c, c.Size/2, 1000); err != nil {
			return err
		}
		return w.must("read", name+" (deleted, open)", c.compare(f))
	})
}

// renameOpen writes to a file by a handle from before it, or a directory above
// it, was renamed.
func (w *worker) renameOpen() error {
	from := w.aFile()
	if from == "" {
		return nil
	}
	c, old, to := w.tree[from].File, from, w.newName()
	if d := path.Dir(from); w.sometimes() && !w.isHome(d) && !strings.HasPrefix(to, d+"/") {
		old = d
	}
	if !w.mayMove(old, to) {
		return nil
	}
	err := w.with(from, os.O_RDWR, w.sometimes(), func(f *tracedFile) error {
		if err := w.rename(old, to); err != nil {
			return err
		}
		w.tree.move(old, to)
		if err := w.writeRange(f, c, c.Size/3, 700); err != nil {
			return err
		}
		return w.must("read", f.name+" (renamed, open)", c.compare(f))
	})
	if err != nil {
		return err
	}
	return w.check(to+strings.TrimPrefix(from, old), c)
}

func (w *worker) listOne() error { return w.checkDir(w.tree, w.aDir()) }

// refused does what must not succeed.
func (w *worker) refused() error {
	d := w.aDir()
	err := w.mustFail("mkdir", d, w.t.mkdir(d), syscall.EEXIST)
	name := w.newName()
	if err == nil {
		_, lerr := w.t.open(name, os.O_RDWR)
		err = w.mustFail("open", name, lerr, syscall.ENOENT)
	}
	if err == nil {
		err = w.mustFail("rename", name, w.t.rename(name, name+"x"), syscall.ENOENT)
	}
	if f := w.aFile(); err == nil && f != "" {
		_, oerr := w.t.open(f, os.O_CREATE|os.O_EXCL|os.O_RDWR)
		err = w.mustFail("create", f, oerr, syscall.EEXIST)
		if err == nil {
			_, serr := w.t.lstat(f + "/x")
			err = w.mustFail("stat", f+"/x", serr, syscall.ENOTDIR)
		}
	}
	return err
}

// look reads what another process is changing: anything may have come or gone,
// but nothing of a third one's is there, and no other error is.
func (w *worker) look() error {
	if w.cfg.Processes < 2 {
		return nil
	}
	other := (w.cfg.Index + 1 + w.rng.IntN(w.cfg.Processes-1)) % w.cfg.Processes
	dir := pick(w.rng, homes(other, w.cfg.Tops))
	for range 4 {
		entries, err := w.t.list(dir)
		if gone(err) {
			return nil
		} else if err != nil {
			return w.must("list", dir, err)
		}
		if len(entries) == 0 {
			return nil
		}
		e := entries[w.rng.IntN(len(entries))]
		p := path.Join(dir, e.Name())
		if e.IsDir() {
			dir = p
			continue
		}
		if e.Type() != 0 {
			return nil
		}
		return w.readForeign(p, other)
	}
	return nil
}

func (w *worker) readForeign(name string, owner int) error {
	f, err := w.t.open(name, os.O_RDONLY)
	if gone(err) {
		return nil
	} else if err != nil {
		return w.must("open", name, err)
	}
	buf := make([]byte, 64<<10)
	n, err := f.ReadAt(buf, 0)
	if err == io.EOF {
		err = nil
	}
	if err := errors.Join(w.must("read", name, err), w.must("close", name, f.close())); err != nil {
		return err
	}
	for off := 0; off+headSize <= n; off += cellSize {
		v, at, ok := parseCell(buf[off:n])
		if ok && (int(v.Writer) != owner || at != int64(off)) {
			return w.bad(swapped, "read", name, fmt.Sprintf("at byte %d what process %d wrote there", off, owner), fmt.Sprintf("%v, made for byte %d", v, at))
		}
	}
	return nil
}

// filepathRel is the way from a directory to a name, both relative to the sandbox.
func filepathRel(dir, name string) (string, error) {
	a, b := strings.Split(dir, "/"), strings.Split(name, "/")
	for len(a) > 0 && len(b) > 1 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	if len(b) == 0 {
		return "", fs.ErrInvalid
	}
	return strings.Repeat("../", len(a)) + strings.Join(b, "/"), nil
}
