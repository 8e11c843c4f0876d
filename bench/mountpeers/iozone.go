package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"time"

	"keepdav/bench/meter"
)

// iozone is what `iozone -s512m -l1 -u1` and `-s128m -l4 -u4` do: write,
// rewrite, read, read again, read and write at random, through the page cache
// and without a sync; then a new file and random writes with an fsync that
// counts. Closing does not count, as it does not there. A random phase is a
// rate over what it got done in its time.
func iozone(z sizes, record, files int) group {
	name := fmt.Sprintf("iz_%dk_p%d", record/kib, files)
	row := func(phase string) string { return name + "_" + phase }
	straight, random := bar{0.9, loopbacks}, bar{0.8, loopbacks}
	g := group{
		name: name,
		what: fmt.Sprintf("%d MiB in %d files at once, records of %d KiB", z.iozone/mib, files, record/kib),
		rows: slices.Concat(
			rates("MiB/s", straight, row("write"), row("rewrite"), row("read"), row("reread")),
			rates("MiB/s", random, row("randread"), row("randwrite")),
			rates("MiB/s", straight, row("write_fsync")),
			rates("MiB/s", random, row("randwrite_fsync")),
		),
	}
	g.run = func(s *server, r *recorder) error {
		each := z.iozone / int64(files)
		phase := func(name string, flags int, f func(io *ioFile) error) func() error {
			return func() error {
				return r.measure(row(name), func() (float64, error) { return together(s, files, flags, record, each, f) })
			}
		}
		write := func(io *ioFile) error { return io.sequential(syscall.Pwrite) }
		read := func(io *ioFile) error { return io.sequential(syscall.Pread) }
		randRead := func(io *ioFile) error { return io.random(syscall.Pread, z.random) }
		randWrite := func(io *ioFile) error { return io.random(syscall.Pwrite, z.random) }
		const over = syscall.O_RDWR
		return chain(
			phase("write", over|syscall.O_CREAT|syscall.O_EXCL, write),
			phase("rewrite", over, write),
			phase("read", syscall.O_RDONLY, read),
			phase("reread", syscall.O_RDONLY, read),
			phase("randread", syscall.O_RDONLY, randRead),
			phase("randwrite", over, randWrite),
			s.reset,
			phase("write_fsync", over|syscall.O_CREAT|syscall.O_EXCL, synced(write)),
			phase("randwrite_fsync", over, synced(randWrite)),
		)
	}
	return g
}

// An ioFile is one open file of a phase and the buffer for its records.
type ioFile struct {
	fd     int
	size   int64
	record []byte
	done   int64 // bytes
}

// together runs f on each of the files at once and returns MiB/s of all.
func together(s *server, files, flags, record int, size int64, f func(io *ioFile) error) (v float64, err error) {
	open := make([]*ioFile, files)
	for i := range open {
		fd, err := syscall.Open(s.path(numbered("iz.", i)), flags, 0o644)
		if err != nil {
			return 0, os.NewSyscallError("open", err)
		}
		defer func() { err = errors.Join(err, syscall.Close(fd)) }()
		open[i] = &ioFile{fd: fd, size: size, record: make([]byte, record)}
		meter.FillRandom(open[i].record)
	}
	t := time.Now()
	err = meter.Spread(files, files, func(i int) error { return f(open[i]) })
	took := time.Since(t)
	var n int64
	for _, o := range open {
		n += o.done
	}
	return float64(n) / mib / took.Seconds(), err
}

type transfer func(fd int, p []byte, off int64) (int, error)

// at moves one record, with fresh bytes in case it is written.
func (io *ioFile) at(off int64, move transfer) error {
	p := io.record[:min(int64(len(io.record)), io.size-off)]
	meter.Stamp(p)
	n, err := move(io.fd, p, off)
	if err != nil {
		return err
	}
	if n != len(p) {
		return fmt.Errorf("%d of %d bytes at %d", n, len(p), off)
	}
	io.done += int64(n)
	return nil
}

func (io *ioFile) sequential(move transfer) error {
	for off := int64(0); off < io.size; off += int64(len(io.record)) {
		if err := io.at(off, move); err != nil {
			return err
		}
	}
	return nil
}

func (io *ioFile) random(move transfer, most time.Duration) error {
	records := io.size / int64(len(io.record))
	rng := rand.New(rand.NewPCG(uint64(io.fd), meter.Unique()))
	began := time.Now()
	for range records {
		if err := io.at(rng.Int64N(records)*int64(len(io.record)), move); err != nil {
			return err
		}
		if time.Since(began) > most {
			break
		}
	}
	return nil
}

// synced is f and an fsync after it.
func synced(f func(io *ioFile) error) func(io *ioFile) error {
	return func(io *ioFile) error {
		if err := f(io); err != nil {
			return err
		}
		return os.NewSyscallError("fsync", syscall.Fsync(io.fd))
	}
}
