package stress

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"sync/atomic"
	"syscall"
)

// A worker is one client of the directory: a process with one thread of
// operations. Its steps stop at their first finding.
type worker struct {
	cfg    workerConfig
	t      *tracer
	rng    *rand.Rand
	step   *request
	halted atomic.Int64 // steps up to this number are to end early

	seq, files uint32
	tree       model    // its homes and what is in them
	made       model    // what a variant made, until it removes it
	wins       []string // what only one could do, and w did
}

// workerConfig is what a process is told first.
type workerConfig struct {
	Index     int      `json:"index"`
	Walker    bool     `json:"walker,omitempty"`
	Root      string   `json:"root"` // put before every name
	Processes int      `json:"processes"`
	Tops      int      `json:"tops"`
	Ops       int      `json:"ops"`
	Small     int64    `json:"small"`
	Big       int64    `json:"big"`
	Seed      uint64   `json:"seed"`
	Stall     int64    `json:"stall"` // nanoseconds
	Can       features `json:"can"`
}

// features are what was found out before the processes start.
type features struct {
	Link      bool `json:"link"`
	Symlink   bool `json:"symlink"`
	Lock      bool `json:"lock"`
	CrossMove bool `json:"cross_move"` // a rename from one top-level directory into another
}

const coordinator = -1

func newWorker(cfg workerConfig, d disk) *worker {
	return &worker{
		cfg: cfg, t: newTracer(d, cfg.Root), step: &request{},
		rng:  rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Index+1))),
		tree: model{},
	}
}

func (w *worker) name() string {
	switch {
	case w.cfg.Index == coordinator:
		return "the coordinator"
	case w.cfg.Walker:
		return fmt.Sprintf("walker %d", w.cfg.Index)
	default:
		return fmt.Sprintf("process %d", w.cfg.Index)
	}
}

func (w *worker) stopped() bool { return w.halted.Load() >= w.step.Number }

// bad makes a finding of what w noticed.
func (w *worker) bad(kind, op, path, expected, got string) error {
	w.t.failed(op)
	return w.sign(&Finding{Kind: kind, Operation: op, Path: path, Expected: expected, Got: got})
}

func (w *worker) sign(f *Finding) *Finding {
	f.Process, f.Round, f.Step = w.name(), w.step.Round, w.step.Name
	return f
}

// must takes any error for a finding.
func (w *worker) must(op, path string, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Finding](err); ok {
		if f.Process != "" {
			return f
		}
		f.Operation, f.Path = op, path
		w.t.failed(op)
		return w.sign(f)
	}
	return w.bad(wrongError, op, path, "no error", plain(err))
}

// mustFail wants err to be one of want.
func (w *worker) mustFail(op, path string, err error, want ...syscall.Errno) error {
	for _, e := range want {
		if errors.Is(err, e) {
			return nil
		}
	}
	got := "no error"
	if err != nil {
		got = plain(err)
	}
	return w.bad(wrongError, op, path, want[0].Error(), got)
}

// plain is an error without the name, which is said beside it.
func plain(err error) string {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return fmt.Sprintf("%v (errno %d)", e, int(e))
	}
	return err.Error()
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// newContent is that of a file that w makes.
func (w *worker) newContent() *content {
	w.files++
	return &content{ID: w.files}
}

func (w *worker) nextVersion(c *content) version {
	w.seq++
	return version{Writer: uint32(w.cfg.Index), Round: uint32(w.step.Round), Seq: w.seq, File: c.ID}
}

// writeRange writes n new bytes at off of an open file, in pieces of odd sizes.
func (w *worker) writeRange(f *tracedFile, c *content, off, n int64) error {
	v := w.nextVersion(c)
	buf := make([]byte, min(n, int64(w.rng.IntN(128<<10)+1)))
	for done := int64(0); done < n; {
		p := buf[:min(int64(len(buf)), n-done)]
		v.fill(p, off+done)
		if err := f.writeAt(p, off+done); err != nil {
			return w.must("write", f.name, err)
		}
		done += int64(len(p))
	}
	c.write(off, n, v)
	return nil
}

// with opens a file, does something with it, makes that durable if sync, and closes it.
func (w *worker) with(name string, flag int, sync bool, do func(*tracedFile) error) error {
	kind := "open"
	if flag&os.O_CREATE != 0 {
		kind = "create"
	}
	f, err := w.t.open(name, flag)
	if err != nil {
		return w.must(kind, name, err)
	}
	err = do(f)
	if err == nil && sync {
		err = w.must("fsync", name, f.sync())
	}
	if cerr := f.close(); err == nil {
		err = w.must("close", name, cerr)
	}
	return err
}

// writeNew makes a file of n bytes that must not be there yet.
func (w *worker) writeNew(name string, n int64, sync bool) (*content, error) {
	c := w.newContent()
	err := w.with(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, sync, func(f *tracedFile) error {
		if n == 0 {
			return nil
		}
		return w.writeRange(f, c, 0, n)
	})
	return c, err
}

// check reads all of a file that nobody changes meanwhile.
func (w *worker) check(name string, c *content) error {
	fi, err := w.t.lstat(name)
	if gone(err) {
		return w.bad(lostName, "stat", name, fmt.Sprintf("a file of %d bytes", c.Size), "no such name")
	} else if err != nil {
		return w.must("stat", name, err)
	}
	if !fi.Mode().IsRegular() {
		return w.bad(wrongType, "stat", name, "a file", fi.Mode().Type().String())
	}
	if fi.Size() != c.Size {
		return w.bad(wrongSize, "stat", name, fmt.Sprintf("%d bytes", c.Size), fmt.Sprintf("%d bytes", fi.Size()))
	}
	return w.with(name, os.O_RDONLY, false, func(f *tracedFile) error {
		return w.must("read", name, c.compare(f))
	})
}

// absent wants a name not to be there.
func (w *worker) absent(name string) error {
	_, err := w.t.lstat(name)
	if err == nil {
		return w.bad(leftOver, "stat", name, "no such name", "it is there")
	}
	return w.mustFail("stat", name, err, syscall.ENOENT)
}

// moved looks at both names of a rename that was answered.
func (w *worker) moved(from, to string) error {
	_, ferr := w.t.lstat(from)
	_, terr := w.t.lstat(to)
	both := from + " to " + to
	switch {
	case ferr == nil && gone(terr):
		return w.bad(lostRename, "rename", both, "the new name only", "the old name only, though the rename was answered without an error")
	case ferr == nil && terr == nil:
		return w.bad(bothNames, "rename", both, "the new name only", "both names")
	case gone(ferr) && gone(terr):
		return w.bad(neither, "rename", both, "the new name only", "neither name")
	case terr != nil:
		return w.must("stat", to, terr)
	case !gone(ferr):
		return w.must("stat", from, ferr)
	}
	return nil
}

// rename moves what is there and looks at both names.
func (w *worker) rename(from, to string) error {
	if err := w.t.rename(from, to); err != nil {
		return w.must("rename", from+" to "+to, err)
	}
	return w.moved(from, to)
}

// checkTree wants exactly the model at and below its directories.
func (w *worker) checkTree(m model) error {
	for _, d := range m.dirs() {
		if err := w.checkDir(m, d); err != nil {
			return err
		}
	}
	for _, p := range m.names(nil) {
		n := m[p]
		var err error
		switch {
		case n.File != nil:
			err = w.check(p, n.File)
		case n.Target != "":
			err = w.checkLink(p, n.Target)
		}
		if err != nil {
			return err
		}
		if w.stopped() {
			return nil
		}
	}
	return nil
}

func (w *worker) checkLink(name, target string) error {
	got, err := w.t.readlink(name)
	if err == nil && got != target {
		return w.bad(damaged, "readlink", name, target, got)
	}
	return w.must("readlink", name, err)
}

// checkDir wants a directory to list exactly what the model has in it.
func (w *worker) checkDir(m model, dir string) error {
	entries, err := w.t.list(dir)
	if err != nil {
		return w.must("list", dir, err)
	}
	return w.compareList(dir, entries, m.children(dir), func(name string) fs.FileMode {
		switch n := m[path.Join(dir, name)]; {
		case n.Dir:
			return fs.ModeDir
		case n.Target != "":
			return fs.ModeSymlink
		}
		return 0
	})
}

// compareList compares sorted entries with the sorted names wanted.
func (w *worker) compareList(dir string, entries []fs.DirEntry, want []string, typeOf func(string) fs.FileMode) error {
	wanted, seen := map[string]bool{}, map[string]bool{}
	for _, n := range want {
		wanted[n] = true
	}
	for _, e := range entries {
		name := e.Name()
		p := path.Join(dir, name)
		switch {
		case seen[name]:
			return w.bad(wrongList, "list", dir, "every name once", name+" twice")
		case !wanted[name]:
			return w.bad(leftOver, "list", p, "no such name", "it is listed")
		case typeOf != nil && e.Type() != typeOf(name):
			return w.bad(wrongType, "list", p, typeName(typeOf(name)), typeName(e.Type()))
		}
		seen[name] = true
	}
	for _, n := range want {
		if !seen[n] {
			return w.bad(lostName, "list", path.Join(dir, n), "it is listed", "it is not")
		}
	}
	return nil
}

func typeName(m fs.FileMode) string {
	switch m & fs.ModeType {
	case 0:
		return "a file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	}
	return m.Type().String()
}

// remove takes away a model's tree, by its names: nothing else may be in it.
func (w *worker) remove(m model) error {
	names := m.names(nil)
	for i := len(names) - 1; i >= 0; i-- {
		p := names[i]
		if m[p].Dir {
			if err := w.must("rmdir", p, w.t.rmdir(p)); err != nil {
				return err
			}
		} else if err := w.must("unlink", p, w.t.unlink(p)); err != nil {
			return err
		}
	}
	return nil
}
