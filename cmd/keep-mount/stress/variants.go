package stress

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
)

// The variant "collections": each process makes a collection of its own, copies
// a file into it, makes that durable, writes other data, and reads what another
// process has just made.

func (w *worker) collection(process int) string {
	return fmt.Sprintf("n%d-w%d", w.step.Round, process)
}

func (w *worker) stepCollection() error {
	dir := w.collection(w.cfg.Index)
	w.made = model{dir: {Dir: true}}
	if err := w.must("mkdir", dir, w.t.mkdir(dir)); err != nil {
		return err
	}
	source, err := w.writeNew(dir+"/source", w.cfg.Small, false)
	if err != nil {
		return err
	}
	copied := &content{ID: source.ID}
	err = w.with(dir+"/source", os.O_RDONLY, false, func(from *tracedFile) error {
		return w.with(dir+"/copy", os.O_CREATE|os.O_EXCL|os.O_RDWR, true, func(to *tracedFile) error {
			buf := make([]byte, 16<<10)
			for off := int64(0); off < source.Size; {
				n, err := from.ReadAt(buf, off)
				if n == 0 || err != nil && err != io.EOF {
					return w.must("read", from.name, err)
				}
				if err := to.writeAt(buf[:n], off); err != nil {
					return w.must("write", to.name, err)
				}
				off += int64(n)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	copied.Size, copied.Extents, copied.Past = source.Size, slices.Clone(source.Extents), slices.Clone(source.Past)
	err = w.with(dir+"/copy", os.O_RDWR, true, func(f *tracedFile) error {
		return w.writeRange(f, copied, copied.Size/4, copied.Size/2+1)
	})
	w.made[dir+"/source"], w.made[dir+"/copy"] = &node{File: source}, &node{File: copied}
	return err
}

func (w *worker) stepPeer() error { return w.checkTree(w.step.Peer.model()) }

func (w *worker) stepRemoveCollection() error {
	err := w.remove(w.made)
	if err == nil {
		err = w.absent(w.collection(w.cfg.Index))
	}
	w.made = nil
	return err
}

// The variant "same": all processes write one file. Each has a region of its own,
// they take turns under a lock, and they append to another file.

const (
	regionSize = 10007 // no multiple of anything: neighbours share pages
	appends    = 8     // of each process in a round
	recordSize = cellSize
	increments = 10
)

func (w *worker) same(what string) string {
	return fmt.Sprintf("c%d/%s-%d", w.step.Round%w.cfg.Tops, what, w.step.Round)
}

// first tells whether w does what only one may.
func (w *worker) first() bool { return w.step.Round%w.cfg.Processes == w.cfg.Index }

func (w *worker) stepSameMake() error {
	if !w.first() {
		return nil
	}
	for _, what := range []string{"regions", "locked", "appended"} {
		if err := w.with(w.same(what), os.O_CREATE|os.O_EXCL|os.O_RDWR, true, func(*tracedFile) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// sameVersion is known to all: File tells the purpose.
func (w *worker) sameVersion(process, file, n int) version {
	return version{uint32(process), uint32(w.step.Round), known + uint32(n), known + uint32(file)}
}

func (w *worker) stepSame() error {
	err := w.with(w.same("regions"), os.O_RDWR, true, func(f *tracedFile) error {
		off := int64(w.cfg.Index) * regionSize
		buf := make([]byte, regionSize)
		w.sameVersion(w.cfg.Index, 0, 0).fill(buf, off)
		for p := buf; len(p) > 0; {
			n := min(len(p), w.rng.IntN(4000)+1)
			if err := f.writeAt(p[:n], off); err != nil {
				return w.must("write", f.name, err)
			}
			p, off = p[n:], off+int64(n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = w.with(w.same("appended"), os.O_WRONLY|os.O_APPEND, true, func(f *tracedFile) error {
		var rec [recordSize]byte
		for i := range appends {
			w.sameVersion(w.cfg.Index, 1, i).cell(&rec, 0)
			if err := f.append(rec[:]); err != nil {
				return w.must("append", f.name, err)
			}
		}
		return nil
	})
	if err != nil || !w.cfg.Can.Lock {
		return err
	}
	return w.with(w.same("locked"), os.O_RDWR, false, func(f *tracedFile) error {
		for range increments {
			if err := w.increment(f); err != nil {
				return err
			}
		}
		return nil
	})
}

// increment adds 1 to the counter of the locked file: a number, and what the
// process that wrote it has there.
func (w *worker) increment(f *tracedFile) error {
	if err := w.must("lock", f.name, f.lock(0, recordSize+8)); err != nil {
		return err
	}
	n, err := w.counter(f)
	if err == nil {
		var rec [8 + recordSize]byte
		var c [cellSize]byte
		binary.LittleEndian.PutUint64(rec[:], n+1)
		w.sameVersion(w.cfg.Index, 2, int(n+1)).cell(&c, 0)
		copy(rec[8:], c[:])
		err = w.must("write", f.name, f.writeAt(rec[:], 0))
	}
	if uerr := w.must("unlock", f.name, f.unlock(0, recordSize+8)); err == nil {
		err = uerr
	}
	return err
}

func (w *worker) counter(f *tracedFile) (uint64, error) {
	var rec [8 + recordSize]byte
	n, err := f.ReadAt(rec[:], 0)
	if n == 0 && err == io.EOF {
		return 0, nil
	}
	if err != nil && err != io.EOF {
		return 0, w.must("read", f.name, err)
	}
	count := binary.LittleEndian.Uint64(rec[:])
	v, _, ok := parseCell(rec[8:])
	var c [cellSize]byte
	v.cell(&c, 0)
	if n < len(rec) || !ok || string(c[:]) != string(rec[8:]) {
		return 0, w.bad(tornWrite, "read", f.name, fmt.Sprintf("a whole record of %d bytes, under the lock", len(rec)), fmt.Sprintf("%d bytes, the head of the record in order: %v", n, ok))
	}
	if v.Seq != known+uint32(count) {
		return 0, w.bad(tornWrite, "read", f.name, fmt.Sprintf("the record of increment %d, under the lock", count), v.String())
	}
	return count, nil
}

func (w *worker) stepSameRead() error {
	c := &content{}
	for i := range w.cfg.Processes {
		c.write(int64(i)*regionSize, regionSize, w.sameVersion(i, 0, 0))
	}
	if err := w.check(w.same("regions"), c); err != nil {
		return err
	}
	if err := w.checkAppended(); err != nil || !w.cfg.Can.Lock {
		return err
	}
	return w.with(w.same("locked"), os.O_RDONLY, false, func(f *tracedFile) error {
		n, err := w.counter(f)
		if want := uint64(w.cfg.Processes * increments); err == nil && n != want {
			err = w.bad(lostUpdate, "read", f.name, fmt.Sprintf("a counter at %d", want), fmt.Sprint(n))
		}
		return err
	})
}

// checkAppended wants every record once, each process's in order.
func (w *worker) checkAppended() error {
	name := w.same("appended")
	want := w.cfg.Processes * appends
	return w.with(name, os.O_RDONLY, false, func(f *tracedFile) error {
		all := make([]byte, (want+1)*recordSize)
		n, err := f.ReadAt(all, 0)
		if err != nil && err != io.EOF {
			return w.must("read", name, err)
		}
		next := make([]int, w.cfg.Processes)
		for off := 0; off+recordSize <= n; off += recordSize {
			rec := all[off : off+recordSize]
			v, _, ok := parseCell(rec)
			var c [cellSize]byte
			v.cell(&c, 0)
			if !ok || string(c[:]) != string(rec) || int(v.Writer) >= len(next) {
				return w.bad(tornWrite, "append", name, fmt.Sprintf("a whole record at byte %d", off), fmt.Sprintf("%x", rec[:24]))
			}
			if wanted := w.sameVersion(int(v.Writer), 1, next[v.Writer]); v != wanted {
				return w.bad(lostUpdate, "append", name, fmt.Sprintf("at byte %d %v", off, wanted), v.String())
			}
			next[v.Writer]++
		}
		if n != want*recordSize {
			return w.bad(lostUpdate, "append", name, fmt.Sprintf("%d records of %d bytes", want, recordSize), fmt.Sprintf("%d bytes", n))
		}
		return nil
	})
}

func (w *worker) stepSameRemove() error {
	if !w.first() {
		return nil
	}
	for _, what := range []string{"regions", "locked", "appended"} {
		if err := w.must("unlink", w.same(what), w.t.unlink(w.same(what))); err != nil {
			return err
		}
	}
	return nil
}

// The variant "big": files of several MiB, written, changed and read by others.

func (w *worker) bigName() string {
	return fmt.Sprintf("c%d/big-w%d", w.step.Round%w.cfg.Tops, w.cfg.Index)
}

func (w *worker) stepBig() error {
	name := w.bigName()
	c, err := w.writeNew(name, w.cfg.Big-w.rng.Int64N(w.cfg.Big/4+1), true)
	w.made = model{name: {File: c}}
	return err
}

func (w *worker) stepBigChange() error {
	name := w.bigName()
	c := w.made[name].File
	return w.with(name, os.O_RDWR, true, func(f *tracedFile) error {
		for range 6 {
			if err := w.writeRange(f, c, w.rng.Int64N(c.Size), w.rng.Int64N(c.Size/8+1)+1); err != nil {
				return err
			}
		}
		if err := w.must("truncate", name, f.truncate(c.Size*3/4)); err != nil {
			return err
		}
		c.truncate(c.Size * 3 / 4)
		return w.writeRange(f, c, c.Size+70000, 5000)
	})
}

func (w *worker) stepBigRemove() error {
	err := w.remove(w.made)
	if err == nil {
		err = w.absent(w.bigName())
	}
	w.made = nil
	return err
}

// The variant "contest": all try what only one can do.

const contests = 6

func (w *worker) contestName(i int, from string) string {
	return fmt.Sprintf("c%d/contest-%d%s", i%w.cfg.Tops, i, from)
}

func (w *worker) try(op, name string, err error, lost syscall.Errno) error {
	if err == nil {
		w.wins = append(w.wins, op+" "+name)
		return nil
	}
	return w.mustFail(op, name, err, lost)
}

func (w *worker) stepContest() error {
	w.wins = nil
	for i := range contests {
		name := w.contestName(i, "")
		f, err := w.t.open(name, os.O_CREATE|os.O_EXCL|os.O_RDWR)
		if err == nil {
			err = w.must("close", name, f.close())
		}
		if err := w.try("create", name, err, syscall.EEXIST); err != nil {
			return err
		}
		dir := w.contestName(i, ".d")
		if err := w.try("mkdir", dir, w.t.mkdir(dir), syscall.EEXIST); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) stepContestMove() error {
	w.wins = nil
	for i := range contests {
		from, to := w.contestName(i, ""), w.contestName(i, fmt.Sprintf(".w%d", w.cfg.Index))
		err := w.t.rename(from, to)
		if err := w.try("rename", from, err, syscall.ENOENT); err != nil {
			return err
		}
		if err == nil {
			if err := w.moved(from, to); err != nil {
				return err
			}
			if err := w.must("unlink", to, w.t.unlink(to)); err != nil {
				return err
			}
		}
		dir := w.contestName(i, ".d")
		if err := w.try("rmdir", dir, w.t.rmdir(dir), syscall.ENOENT); err != nil {
			return err
		}
	}
	return nil
}
