package fsx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what to try and where. Dir is all that must be set.
type Options struct {
	Dir     string        // gets directories of its own, which go when they are no longer needed
	Seed    uint64        // gives the operations
	Ops     int           // how many; 100,000 if 0
	Files   int           // how many at a time; 1 if 0
	Size    int64         // largest size of a file in bytes, 8 KiB at least; 512 KiB if 0
	Without []string      // kinds of operations that are left out, such as Unsupported gives
	Remount func() error  // makes the file system forget what it cached while all files are closed; may be nil
	Shrink  time.Duration // spent at most on a shorter list that fails too; a minute if 0

	calls *calls // what tests break
}

func (o Options) filled() Options {
	if o.Ops == 0 {
		o.Ops = 100_000
	}
	if o.Files == 0 {
		o.Files = 1
	}
	if o.Size == 0 {
		o.Size = 512 << 10
	}
	o.Size = max(o.Size, 8<<10)
	if o.Shrink == 0 {
		o.Shrink = time.Minute
	}
	if o.calls == nil {
		o.calls = &calls{unix.Ftruncate, unix.Fallocate, unix.Write}
	}
	return o
}

// A Failure is what a run found.
type Failure struct {
	Seed  uint64
	Op    int    // index of the operation that failed, in the list that the seed gives
	Err   error  // what it saw
	Trace string // a short list that fails too, for Replay; the last operation is the one that sees it
	Short error  // what the short list saw, nil if only the whole list fails
}

func (f *Failure) Error() string {
	if f.Short == nil {
		return fmt.Sprintf("seed %d, operation %d: %v; it fails only after all the operations before it, or by chance", f.Seed, f.Op, f.Err)
	}
	return fmt.Sprintf("seed %d, operation %d: %v\nshorter: %v\n%s", f.Seed, f.Op, f.Err, f.Short, f.Trace)
}

func (f *Failure) Unwrap() error { return f.Err }

// Run tries the operations that the seed gives. What it finds is a *Failure;
// another error says that it could not begin.
func Run(o Options) error {
	o = o.filled()
	s := o.source()
	w, err := newWorld(o, "run")
	if err != nil {
		return err
	}
	var failed error
	i := 0
	for ; i < o.Ops && failed == nil; i++ {
		failed = w.do(s.next())
	}
	if failed == nil {
		failed = w.end()
	}
	if failed == nil {
		return w.close()
	}
	f := &Failure{Seed: o.Seed, Op: i - 1, Err: errors.Join(failed, w.close())}
	if ops, short := shrink(o, i); short != nil {
		f.Trace, f.Short = text(ops), short
	}
	return f
}

// Replay tries a list of operations as a Failure has it; lines that begin with #
// are skipped. The seed does not matter, and Files and Size must be those of the run.
func Replay(o Options, trace string) error {
	ops, err := parse(trace)
	if err != nil {
		return err
	}
	o = o.filled()
	for _, op := range ops {
		if !o.allow(op) {
			return fmt.Errorf("operation %q needs more files than %d, or larger ones than %d", op, o.Files, o.Size)
		}
	}
	return replay(o, ops)
}

// allow tells whether an operation stays within the files and the size of a run.
func (o Options) allow(op op) bool {
	size := o.Size
	if op.kind == opDirect {
		size += 4096 // it reads whole blocks
	}
	return op.file < o.Files && op.file2 < o.Files && op.off <= size && op.n <= size-op.off && op.off2 <= o.Size-min(op.n, o.Size)
}

func (o Options) source() *source {
	without := make(map[kind]bool)
	for _, k := range o.Without {
		without[kind(k)] = true
	}
	if o.Remount == nil {
		without[opRemount] = true
	}
	return newSource(o.Seed, o.Files, o.Size, without)
}

func replay(o Options, ops []op) error {
	w, err := newWorld(o, "replay")
	if err != nil {
		return err
	}
	for i, op := range ops {
		if err := w.do(op); err != nil {
			return errors.Join(fmt.Errorf("line %d: %w", i+1, err), w.close())
		}
	}
	return errors.Join(w.end(), w.close())
}

func text(ops []op) string {
	var s strings.Builder
	for _, op := range ops {
		fmt.Fprintln(&s, op)
	}
	return s.String()
}

// shrink finds a short list that fails, from the first n operations of the seed.
func shrink(o Options, n int) ([]op, error) {
	deadline := time.Now().Add(o.Shrink)
	var ops []op
	for s := o.source(); len(ops) < n; {
		ops = append(ops, s.next())
	}
	var seen error
	// The end of the list fails often by itself, and is quick to try.
	for tail := 64; seen == nil && time.Now().Before(deadline); tail *= 8 {
		last := ops[max(0, len(ops)-tail):]
		if seen = replay(o, last); seen != nil {
			ops = last
		} else if len(last) == len(ops) {
			return nil, nil
		}
	}
	if seen == nil {
		return nil, nil
	}
	for piece := (len(ops) + 1) / 2; piece > 0; {
		removed := false
		for at := 0; at < len(ops) && time.Now().Before(deadline); {
			rest := append(append([]op(nil), ops[:at]...), ops[min(at+piece, len(ops)):]...)
			if err := replay(o, rest); err != nil {
				ops, seen, removed = rest, err, true
			} else {
				at += piece
			}
		}
		switch {
		case !time.Now().Before(deadline):
			piece = 0
		case piece > 1:
			piece = (piece + 1) / 2
		case !removed:
			piece = 0
		}
	}
	return ops, seen
}

// Unsupported is the kinds of operations that the file system of dir refuses.
func Unsupported(dir string) ([]string, error) {
	path := filepath.Join(dir, "fsx-probe")
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	_, err = unix.Write(fd, make([]byte, 8192))
	var refused []string
	try := func(k kind, err error) {
		if err != nil {
			refused = append(refused, string(k))
		}
	}
	try(opGrow, unix.Fallocate(fd, 0, 0, 10000))
	try(opReserve, unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, 20000))
	try(opPunch, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096))
	try(opZero, unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 0, 4096))
	direct, derr := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	try(opDirect, derr)
	if derr == nil {
		err = errors.Join(err, unix.Close(direct))
	}
	m, merr := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	try(opMapWrite, merr)
	if merr == nil {
		err = errors.Join(err, unix.Munmap(m))
	}
	return refused, errors.Join(err, unix.Close(fd), os.Remove(path))
}
