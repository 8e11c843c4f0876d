package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bench is a run.
type bench struct {
	o       Options
	out     io.Writer
	sandbox string
	pages   pages
	report  Report
}

// Run measures o.Dir in a directory of its own, which it removes, and prints its
// course and its report to out. When ctx ends, or something fails, the report has
// what was measured until then.
func Run(ctx context.Context, o Options, out io.Writer) (report Report, err error) {
	o, err = o.complete()
	if err != nil {
		return Report{}, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return Report{}, err
	}
	b := &bench{o: o, out: out, sandbox: filepath.Join(dir, fmt.Sprintf("keep-mount-bench-%s-%d", time.Now().Format("20060102-150405.000"), os.Getpid()))}
	b.pages.run = uint64(time.Now().UnixNano())
	b.report = Report{Dir: dir, CPUs: runtime.NumCPU(), Reps: o.Reps, PID: o.PID, Clients: "threads of one process", Rows: []*Row{}}
	if err := b.room(dir); err != nil {
		return Report{}, err
	}
	if err := os.Mkdir(b.sandbox, 0o755); err != nil {
		return Report{}, fmt.Errorf("make a directory to work in: %w", err)
	}
	began := time.Now()
	err = b.all(ctx)
	if rerr := os.RemoveAll(b.sandbox); rerr != nil {
		err = errors.Join(err, fmt.Errorf("remove %s: %w", b.sandbox, rerr))
	}
	b.report.finish(time.Since(began))
	return b.report, errors.Join(err, b.report.Print(out))
}

// room looks whether the files fit, where the file system says how much does.
func (b *bench) room(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	need := int64(0)
	if slices.Contains(b.o.Groups, "iozone") {
		need = max(b.o.Single, clients*b.o.Several)
	}
	if slices.Contains(b.o.Groups, "dd") {
		need = max(need, b.o.Stream)
	}
	if free := int64(s.Bavail) * s.Bsize; s.Blocks > 0 && free < need+need/10 {
		return fmt.Errorf("%s has %d MiB free, a file of %d MiB is to be made: choose a smaller one", dir, free/mib, need/mib)
	}
	return nil
}

func (b *bench) all(ctx context.Context) error {
	for _, g := range []struct {
		name string
		do   func(context.Context) error
	}{{"iozone", b.iozone}, {"dd", b.dd}, {"small", b.small}} {
		if !slices.Contains(b.o.Groups, g.name) {
			continue
		}
		for rep := range b.o.Reps {
			fmt.Fprintf(b.out, "%s, repetition %d of %d\n", g.name, rep+1, b.o.Reps)
			if err := g.do(ctx); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
		}
	}
	return nil
}

// settle gives what was written before to the disk.
func (b *bench) settle() error {
	f, err := os.Open(b.sandbox)
	if err != nil {
		return err
	}
	err = unix.Syncfs(int(f.Fd()))
	return errors.Join(err, f.Close())
}

// dropped makes reads cold as far as this user may, and says how far that was.
func (b *bench) dropped(name string) (how string, err error) {
	drop := b.o.dropCaches
	if drop == nil {
		drop = func() error { return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) }
	}
	if err := drop(); err == nil {
		return "cold for the kernel; a mount may have it in its own cache", nil
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	return "perhaps not cold: only root can make the kernel forget", errors.Join(err, f.Close())
}

// rate measures f, done by n threads at once, which returns how many bytes or
// things it has done. The result is per second, all together; cpu is what the
// mount used, in parts of one CPU.
func (b *bench) rate(ctx context.Context, n int, f func(ctx context.Context, client int) (int64, error)) (v, cpu float64, err error) {
	if err := b.settle(); err != nil {
		return 0, 0, fmt.Errorf("give earlier data to the disk: %w", err)
	}
	before, err := cpuTime(b.o.PID)
	if err != nil {
		return 0, 0, err
	}
	counts, errs := make([]int64, n), make([]error, n)
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		ready.Add(1)
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			<-start
			counts[i], errs[i] = f(ctx, i)
		})
	}
	ready.Wait()
	t := time.Now()
	close(start)
	done.Wait()
	took := max(time.Since(t), 1)
	after, err := cpuTime(b.o.PID)
	total := int64(0)
	for _, c := range counts {
		total += c
	}
	return float64(total) / took.Seconds(), (after - before).Seconds() / took.Seconds(), errors.Join(append(errs, err)...)
}

// measure adds the rate of f, divided by unit, to a row.
func (b *bench) measure(ctx context.Context, r Row, n int, unit float64, f func(ctx context.Context, client int) (int64, error)) error {
	v, cpu, err := b.rate(ctx, n, f)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	b.report.add(r, v/unit, cpu)
	return nil
}

func (b *bench) path(name string) string { return filepath.Join(b.sandbox, name) }
