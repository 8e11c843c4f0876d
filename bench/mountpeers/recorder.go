package main

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"keepdav/bench/meter"
)

// disturbed is the share of the machine above which other processes spoil a figure.
const disturbed = 0.1

// A phase is one repetition of a row on one mount.
type phase struct {
	value, cpu, rss float64
	others          float64 // share of the machine, 0 to 1
}

// A recorder measures the rows of a group while it runs on a mount.
type recorder struct {
	server *server
	phases map[string]phase
}

func newRecorder(s *server) *recorder { return &recorder{s, map[string]phase{}} }

// measure runs f, which returns the row's figure, and records what it took.
func (r *recorder) measure(row string, f func() (float64, error)) error {
	pid := r.server.pid()
	meter.ResetPeaks(pid)
	cpu, other, began := meter.TreeCPU(pid), meter.OtherProcesses(os.Getpid()), time.Now()
	v, err := f()
	if err != nil {
		return err
	}
	p := phase{value: v, cpu: max(0, meter.TreeCPU(pid)-cpu), rss: meter.TreePeakRSS(pid)}
	p.others = share(meter.OtherProcesses(os.Getpid())-other, time.Since(began))
	r.phases[row] = p
	return nil
}

// share is which part of the machine so many CPU seconds are in that time.
func share(cpu float64, wall time.Duration) float64 {
	const clockTicks = 0.03 // a few ticks of the kernel's coarse clock are nothing
	if cpu <= clockTicks {
		return 0
	}
	return cpu / wall.Seconds() / float64(runtime.NumCPU())
}

func (r *recorder) worst() (most float64) {
	for _, p := range r.phases {
		most = max(most, p.others)
	}
	return most
}

// The figures that rows have.

func (r *recorder) mibPerSecond(row string, n int64, f func() error) error {
	return r.measure(row, func() (float64, error) {
		t := time.Now()
		err := f()
		return float64(n) / mib / time.Since(t).Seconds(), err
	})
}

func (r *recorder) perSecond(row string, n int, f func() error) error {
	return r.measure(row, func() (float64, error) {
		t := time.Now()
		err := f()
		return float64(n) / time.Since(t).Seconds(), err
	})
}

func (r *recorder) seconds(row string, f func() error) error {
	return r.measure(row, func() (float64, error) {
		t := time.Now()
		err := f()
		return time.Since(t).Seconds(), err
	})
}

// settle writes everything out, so that a row does not pay for what was
// written before it.
func settle() { syscall.Sync() }

// chain runs the steps until one fails.
func chain(steps ...func() error) error {
	for _, f := range steps {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}
