package fsx

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// calls are the system calls that tests get wrong on purpose.
type calls struct {
	ftruncate func(fd int, size int64) error
	fallocate func(fd int, mode uint32, off, n int64) error
	write     func(fd int, b []byte) (int, error) // of an appending descriptor
}

// A world is files and what they should be.
type world struct {
	o      Options
	dir    string
	files  []*opened
	mem    int    // a memory file, through which mapped memory is touched
	block  []byte // memory of whole pages, for reads
	source []byte // what is written
}

// opened is a file, open three times.
type opened struct {
	path     string
	fds      [2]int
	appender int
	model    file
}

func newWorld(o Options, name string) (_ *world, err error) {
	w := &world{o: o, mem: -1, source: make([]byte, o.Size)}
	if w.dir, err = os.MkdirTemp(o.Dir, "fsx-"+name+"-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.mem, err = unix.MemfdCreate("fsx", unix.MFD_CLOEXEC); err != nil {
		return nil, err
	}
	// A read asks for a page more than a file can have.
	if w.block, err = unix.Mmap(-1, 0, int(o.Size+16<<10)&^4095, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
		return nil, err
	}
	for i := range o.Files {
		f := &opened{path: filepath.Join(w.dir, fmt.Sprint("file", i)), fds: [2]int{-1, -1}, appender: -1, model: make(file, 0, o.Size)}
		w.files = append(w.files, f)
		if err := f.open(unix.O_CREAT | unix.O_EXCL); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// close lets go of everything, and removes it.
func (w *world) close() error {
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.close())
	}
	if w.mem >= 0 {
		errs = append(errs, unix.Close(w.mem))
	}
	if w.block != nil {
		errs = append(errs, unix.Munmap(w.block))
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

func (f *opened) open(flags int) (err error) {
	for i, flags := range []int{unix.O_RDWR | flags, unix.O_RDWR, unix.O_WRONLY | unix.O_APPEND} {
		fd, err := unix.Open(f.path, flags|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return &os.PathError{Op: "open", Path: f.path, Err: err}
		}
		if i < 2 {
			f.fds[i] = fd
		} else {
			f.appender = fd
		}
	}
	return nil
}

func (f *opened) close() error {
	var errs []error
	for _, fd := range []*int{&f.fds[0], &f.fds[1], &f.appender} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
		}
		*fd = -1
	}
	return errors.Join(errs...)
}

// do does an operation, and says what was wrong with it.
func (w *world) do(o op) error {
	f := w.files[o.file]
	if err := w.apply(o, f, f.fds[o.fd]); err != nil {
		return fmt.Errorf("%s: %w", o, err)
	}
	return nil
}

func (w *world) apply(o op, f *opened, fd int) error {
	switch o.kind {
	case opRead:
		return w.compare(f, fd, o.off, o.n)
	case opWrite:
		b := fill(w.source[:o.n], o.fill, o.off)
		f.model.write(o.off, b)
		return whole(len(b))(unix.Pwrite(fd, b, o.off))
	case opAppend:
		end := int64(len(f.model))
		if end+o.n > w.o.Size {
			return nil
		}
		b := fill(w.source[:o.n], o.fill, end)
		f.model.write(end, b)
		return whole(len(b))(w.o.calls.write(f.appender, b))
	case opTruncate:
		f.model.truncate(o.off)
		return w.o.calls.ftruncate(fd, o.off)
	case opMapRead, opMapWrite:
		return w.mapped(o, f, fd)
	case opGrow:
		f.model.to(o.off + o.n)
		return w.o.calls.fallocate(fd, 0, o.off, o.n)
	case opReserve:
		return w.o.calls.fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, o.off, o.n)
	case opPunch:
		f.model.zero(o.off, o.n)
		return w.o.calls.fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, o.off, o.n)
	case opZero:
		f.model.to(o.off + o.n)
		f.model.zero(o.off, o.n)
		return w.o.calls.fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, o.off, o.n)
	case opCopy:
		return w.copyRange(o, f, fd)
	case opDirect:
		return w.direct(o, f)
	case opSync:
		return unix.Fsync(fd)
	case opReopen:
		if err := unix.Close(fd); err != nil {
			return err
		}
		var err error
		f.fds[o.fd], err = unix.Open(f.path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		return err
	case opDrop:
		return errors.Join(unix.Fsync(fd), unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
	case opRemount:
		return w.remount()
	case opCheck:
		return w.check(f, fd)
	case opRename:
		return errors.Join(os.Rename(f.path, f.path+".away"), w.compare(f, fd, o.off, o.n), os.Rename(f.path+".away", f.path))
	case opReplace:
		return w.replace(f, fd)
	}
	return fmt.Errorf("unknown kind %q", o.kind)
}

// whole wants all bytes to be taken.
func whole(want int) func(n int, err error) error {
	return func(n int, err error) error {
		if err == nil && n != want {
			err = fmt.Errorf("%d bytes taken; want %d", n, want)
		}
		return err
	}
}

// compare reads through fd and compares with the model.
func (w *world) compare(f *opened, fd int, off, n int64) error {
	got := w.block[:0]
	for int64(len(got)) < n {
		m, err := unix.Pread(fd, w.block[len(got):n], off+int64(len(got)))
		if err != nil {
			return err
		}
		if m == 0 {
			break
		}
		got = w.block[:len(got)+m]
	}
	return same(got, f.model.read(off, n), off)
}

// same says where got is not what it should be.
func same(got, want []byte, off int64) error {
	if bytes.Equal(got, want) {
		return nil
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			n := 1
			for i+n < min(len(got), len(want)) && got[i+n] != want[i+n] {
				n++
			}
			return fmt.Errorf("byte %d = %#02x; want %#02x, and %d bytes there differ", off+int64(i), got[i], want[i], n)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("read at %d gave %d bytes; want %d", off, len(got), len(want))
	}
	return nil
}

// mapped reads or writes what of the span is in the file, through a mapping that
// begins at its page.
func (w *world) mapped(o op, f *opened, fd int) (err error) {
	span := f.model.read(o.off, o.n)
	if len(span) == 0 {
		return nil
	}
	page := o.off &^ 4095
	m, err := unix.Mmap(fd, page, int(o.off-page)+len(span), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Munmap(m)) }()
	mem := m[o.off-page:]
	if o.kind == opMapWrite {
		b := fill(w.source[:len(span)], o.fill, o.off)
		copy(span, b)
		if err := whole(len(b))(unix.Pwrite(w.mem, b, 0)); err != nil {
			return err
		}
		return whole(len(b))(unix.Pread(w.mem, mem, 0))
	}
	if err := whole(len(mem))(unix.Pwrite(w.mem, mem, 0)); err != nil {
		return err
	}
	if err := whole(len(mem))(unix.Pread(w.mem, w.block[:len(mem)], 0)); err != nil {
		return err
	}
	return same(w.block[:len(mem)], span, o.off)
}

func (w *world) copyRange(o op, f *opened, fd int) error {
	to := w.files[o.file2]
	b := w.source[:copy(w.source, f.model.read(o.off, o.n))]
	n := int64(len(b))
	if f == to && n > 0 && o.off2 < o.off+n && o.off < o.off2+n {
		from, at := o.off, o.off2
		if _, err := unix.CopyFileRange(fd, &from, to.fds[1-o.fd], &at, int(o.n), 0); !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("a copy onto itself: %v; want EINVAL", err)
		}
		return nil
	}
	if n > 0 {
		to.model.write(o.off2, b)
	}
	// It asks for more than there is only once: a copy to the end of the same file makes more.
	for from, at, ask := o.off, o.off2, o.n; ; ask = o.off + n - from {
		m, err := unix.CopyFileRange(fd, &from, to.fds[1-o.fd], &at, int(ask), 0)
		if err != nil {
			return err
		}
		if m == 0 || from >= o.off+n {
			if from != o.off+n {
				return fmt.Errorf("%d bytes copied; want %d", from-o.off, n)
			}
			return nil
		}
	}
}

func (w *world) direct(o op, f *opened) error {
	fd, err := unix.Open(f.path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	n, err := unix.Pread(fd, w.block[:o.n], o.off)
	if err == nil {
		err = same(w.block[:n], f.model.read(o.off, o.n), o.off)
	}
	return errors.Join(err, unix.Close(fd))
}

func (w *world) remount() error {
	if w.o.Remount == nil {
		return nil
	}
	for _, f := range w.files {
		if err := f.close(); err != nil {
			return err
		}
	}
	if err := w.o.Remount(); err != nil {
		return err
	}
	for _, f := range w.files {
		if err := f.open(0); err != nil {
			return err
		}
	}
	return nil
}

// replace gives the name to a new file; the old one is what it was until it is closed.
func (w *world) replace(f *opened, fd int) error {
	other := f.path + ".new"
	nfd, err := unix.Open(other, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(unix.Close(nfd), os.Rename(other, f.path))
	if err == nil {
		err = w.compare(f, fd, 0, w.o.Size)
	}
	if err != nil {
		return fmt.Errorf("after its name was taken: %w", err)
	}
	f.model.truncate(0)
	return errors.Join(f.close(), f.open(0))
}

// check compares all of a file, and its size in each way to ask for it.
func (w *world) check(f *opened, fd int) error {
	var byName, byFd unix.Stat_t
	if err := errors.Join(unix.Lstat(f.path, &byName), unix.Fstat(fd, &byFd)); err != nil {
		return err
	}
	if want := int64(len(f.model)); byName.Size != want || byFd.Size != want {
		return fmt.Errorf("size = %d by name, %d by descriptor; want %d", byName.Size, byFd.Size, want)
	}
	return w.compare(f, fd, 0, w.o.Size+4096)
}

// end compares everything, also as it is after closing and opening.
func (w *world) end() error {
	for _, f := range w.files {
		for _, fd := range f.fds {
			if err := w.check(f, fd); err != nil {
				return fmt.Errorf("%s at the end: %w", filepath.Base(f.path), err)
			}
		}
		if err := errors.Join(f.close(), f.open(0)); err != nil {
			return err
		}
		if err := w.check(f, f.fds[0]); err != nil {
			return fmt.Errorf("%s opened again: %w", filepath.Base(f.path), err)
		}
	}
	return nil
}
