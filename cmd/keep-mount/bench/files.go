package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// clients of iozone's second line.
const clients = 4

// withFile does something with an open file; its closing counts.
func withFile(name string, flag int, do func(*os.File) (int64, error)) (int64, error) {
	f, err := os.OpenFile(name, flag, 0o644)
	if err != nil {
		return 0, err
	}
	n, err := do(f)
	return n, errors.Join(err, f.Close())
}

// offsets are those of the records of a file: one after the other, or as many
// anywhere.
func offsets(size int64, record int, random bool) func(yield func(int64) bool) {
	return func(yield func(int64) bool) {
		records := size / int64(record)
		for i := range records {
			if random {
				i = rand.Int64N(records)
			}
			if !yield(i * int64(record)) {
				return
			}
		}
	}
}

// write writes a whole file's worth of records. With O_SYNC among the flags it
// ends with one fsync instead.
func (b *bench) write(ctx context.Context, name string, flag int, size int64, record int, random bool) (int64, error) {
	buf := b.pages.buffer(record)
	return withFile(name, flag&^os.O_SYNC, func(f *os.File) (n int64, err error) {
		for off := range offsets(size, record, random) {
			if ctx.Err() != nil {
				return n, ctx.Err()
			}
			b.pages.stamp(buf, off)
			if _, err := f.WriteAt(buf, off); err != nil {
				return n, err
			}
			n += int64(len(buf))
		}
		if flag&os.O_SYNC != 0 {
			return n, f.Sync()
		}
		return n, nil
	})
}

// read reads as many records.
func (b *bench) read(ctx context.Context, name string, size int64, record int, random bool) (int64, error) {
	buf := make([]byte, record)
	return withFile(name, os.O_RDONLY, func(f *os.File) (n int64, err error) {
		for off := range offsets(size, record, random) {
			if ctx.Err() != nil {
				return n, ctx.Err()
			}
			if _, err := f.ReadAt(buf, off); err != nil {
				return n, err
			}
			if err := b.pages.check(buf, off); err != nil {
				return n, err
			}
			n += int64(len(buf))
		}
		return n, nil
	})
}

// iozone does one repetition of its two lines.
func (b *bench) iozone(ctx context.Context) error {
	for _, line := range []struct {
		options string
		n       int
		size    int64
		ticket  map[string]float64
	}{
		{"-s512m -l1 -u1", 1, b.o.Single, map[string]float64{"write 4 KiB": 65, "rewrite 4 KiB": 50, "read 128 KiB": 65}},
		{"-s128m -l4 -u4", clients, b.o.Several, map[string]float64{"write 4 KiB": 60, "read 128 KiB": 60}},
	} {
		for _, record := range []int{4 * kib, 128 * kib} {
			if err := b.iozoneLine(ctx, line.options, line.n, line.size, record, line.ticket); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) iozoneLine(ctx context.Context, options string, n int, size int64, record int, ticket map[string]float64) error {
	name := func(client int) string { return b.path(fmt.Sprintf("iozone-%d", client)) }
	write := func(flag int, random bool) func(context.Context, int) (int64, error) {
		return func(ctx context.Context, i int) (int64, error) {
			return b.write(ctx, name(i), flag, size, record, random)
		}
	}
	read := func(random bool) func(context.Context, int) (int64, error) {
		return func(ctx context.Context, i int) (int64, error) { return b.read(ctx, name(i), size, record, random) }
	}
	for _, t := range []struct {
		what string
		do   func(context.Context, int) (int64, error)
	}{
		{"write", write(os.O_WRONLY|os.O_CREATE|os.O_EXCL, false)}, {"rewrite", write(os.O_WRONLY, false)},
		{"read", read(false)}, {"reread", read(false)},
		{"random read", read(true)}, {"random write", write(os.O_WRONLY, true)},
	} {
		what := fmt.Sprintf("%s %d KiB", t.what, record/kib)
		row := Row{Name: fmt.Sprintf("iozone %s, %s", options, what), Unit: "MiB/s", Ticket: ticket[what]}
		if actual := fmt.Sprintf("%d × %d MiB", n, size/mib); size != 512*mib && n == 1 || size != 128*mib && n > 1 {
			row.Note = actual
		} else if n > 1 && row.Ticket > 0 {
			row.Note = "all files together; 2015: 15 each"
		}
		if err := b.measure(ctx, row, n, mib, t.do); err != nil {
			return err
		}
	}
	for i := range n {
		if err := os.Remove(name(i)); err != nil {
			return err
		}
	}
	return nil
}

// What is said to be loaded in 10 to 20 minutes.
const load = 70 * gib

// dd does one repetition of the large file.
func (b *bench) dd(ctx context.Context) error {
	const record = mib
	size := fmt.Sprintf("%d MiB", b.o.Stream/mib)
	name := b.path("dd")
	err := b.measure(ctx, Row{Name: "dd write", Unit: "MiB/s", Ticket: 108, Note: size + "; 2015: of zeros"}, 1, mib, func(ctx context.Context, _ int) (int64, error) {
		return b.write(ctx, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, b.o.Stream, record, false)
	})
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil {
		return err
	}
	v, cpu, err := b.rate(ctx, 1, func(ctx context.Context, _ int) (int64, error) {
		return b.write(ctx, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_SYNC, b.o.Stream, record, false)
	})
	if err != nil {
		return fmt.Errorf("dd write with fsync: %w", err)
	}
	b.report.add(Row{Name: "dd write, fsync", Unit: "MiB/s", Note: size}, v/mib, cpu)
	b.report.add(Row{Name: "loading 70 GiB", Unit: "min", Lower: true, Ticket: 10, Note: "from the row before; 2015: 10 to 20"}, load/v/60, cpu)
	how, err := b.dropped(name)
	if err != nil {
		return err
	}
	err = b.measure(ctx, Row{Name: "dd read", Unit: "MiB/s", Ticket: 140, Note: size + "; " + how}, 1, mib, func(ctx context.Context, _ int) (int64, error) {
		return b.read(ctx, name, b.o.Stream, record, false)
	})
	if err != nil {
		return err
	}
	return os.Remove(name)
}

// small does one repetition of the small files.
func (b *bench) small(ctx context.Context) error {
	dir := b.path("small")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	name := func(i int64) string { return fmt.Sprintf("%s/f%06d", dir, i) }
	each := func(do func(name string) error) func(context.Context, int) (int64, error) {
		return func(ctx context.Context, _ int) (int64, error) {
			for i := range int64(b.o.Files) {
				if ctx.Err() != nil {
					return i, ctx.Err()
				}
				if err := do(name(i)); err != nil {
					return i, err
				}
			}
			return int64(b.o.Files), nil
		}
	}
	buf, got := b.pages.buffer(4*kib), make([]byte, 4*kib)
	for _, t := range []struct {
		what string
		do   func(context.Context, int) (int64, error)
	}{
		{"create, write, close", each(func(name string) error {
			b.pages.stamp(buf, 0)
			_, err := withFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, func(f *os.File) (int64, error) {
				_, err := f.Write(buf)
				return 0, err
			})
			return err
		})},
		{"stat", each(func(name string) error {
			fi, err := os.Lstat(name)
			if err == nil && fi.Size() != 4*kib {
				err = fmt.Errorf("%w: %s has %d bytes", ErrWrongBytes, name, fi.Size())
			}
			return err
		})},
		{"open, read, close", each(func(name string) error {
			_, err := withFile(name, os.O_RDONLY, func(f *os.File) (int64, error) {
				_, err := io.ReadFull(f, got)
				return 0, err
			})
			return errors.Join(err, b.pages.check(got, 0))
		})},
		{"readdir", func(context.Context, int) (int64, error) {
			entries, err := os.ReadDir(dir)
			if err == nil && len(entries) != b.o.Files {
				err = fmt.Errorf("%w: %d files are listed, want %d", ErrWrongBytes, len(entries), b.o.Files)
			}
			return int64(len(entries)), err
		}},
		{"unlink", each(os.Remove)},
	} {
		row := Row{Name: "small files, " + t.what, Unit: "files/s", Note: fmt.Sprintf("%d of 4 KiB", b.o.Files)}
		if err := b.measure(ctx, row, 1, 1, t.do); err != nil {
			return err
		}
	}
	return os.Remove(dir)
}
