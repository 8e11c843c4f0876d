package stress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// ErrDefects is Run's error when it found some; the report has them.
var ErrDefects = errors.New("the directory failed")

// run is the coordinator.
type run struct {
	o       Options
	out     io.Writer
	report  *Report
	began   time.Time
	self    *worker // the coordinator's own operations
	clients []*client
	workers []*client // those of clients that do steps
	number  int64     // of the last request
	trees   []model   // of the processes, as they last were
	group   sync.WaitGroup
	answers chan answer
	pending map[*client]int64 // those that owe an answer, and to which request
	dead    map[*client]bool

	stuck     chan struct{} // closed when steps are not waited for any more
	abandon   chan struct{} // closed when nothing is
	abandoned sync.Once
	hung      chan *Finding

	mu       sync.Mutex // guards the fields below, and writing to out
	findings []*Finding
	round    int
	doing    string
	finished int
}

// Run does a stress in o.Dir and prints its course and its report to out. The
// error is ErrDefects if it found any, ctx's if that ended first, or what kept it
// from working. It has removed the sandbox then, if that could be done.
func Run(ctx context.Context, o Options, out io.Writer) (Report, error) {
	o, err := o.complete()
	if err != nil {
		return Report{}, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return Report{}, err
	}
	o.Dir = dir
	sandbox := filepath.Join(dir, fmt.Sprintf("keep-mount-stress-%s-%d", time.Now().Format("20060102-150405.000"), os.Getpid()))
	r := &run{
		o: o, out: out, began: time.Now(), answers: make(chan answer), pending: map[*client]int64{}, dead: map[*client]bool{},
		stuck: make(chan struct{}), abandon: make(chan struct{}), hung: make(chan *Finding, o.Processes+o.Walkers+2),
		report: &Report{Sandbox: sandbox, Seed: o.Seed, Processes: o.Processes, Walkers: o.Walkers, Unsupported: []string{}, Findings: []*Finding{}},
	}
	root := sandbox + "/"
	if o.Collections {
		root = sandbox + "-"
	}
	r.self = newWorker(workerConfig{Index: coordinator, Root: root, Processes: o.Processes, Tops: o.Tops, Ops: o.Ops,
		Small: o.Small, Big: o.Big, Seed: o.Seed, Stall: int64(o.Stall)}, o.disk)
	r.self.step = &request{Number: math.MaxInt64 - 1, Name: "set up"}
	return r.all(ctx)
}

// all runs drive, and waits for it unless something hangs.
func (r *run) all(ctx context.Context) (Report, error) {
	ended, done := make(chan struct{}), make(chan error, 1)
	var watchers sync.WaitGroup
	watchers.Go(func() { r.watch(ended) })
	stats := map[string]*latencies{}
	go func() { done <- r.drive(ctx, stats) }()
	var err error
	waited := true
	select {
	case err = <-done:
	case f := <-r.hung:
		r.found(f)
		close(r.stuck)
		r.otherHangs()
		r.giveUp()
		select {
		case err = <-done:
		case <-time.After(r.o.Stall + 5*time.Second):
			waited = false // it hangs itself; its goroutine is left behind
		}
	}
	close(ended)
	watchers.Wait()
	r.giveUp()
	report := Report{}
	r.mu.Lock()
	defer r.mu.Unlock()
	if waited {
		report = *r.report
	} else {
		report = Report{Sandbox: r.report.Sandbox, Seed: r.o.Seed, Processes: r.o.Processes, Walkers: r.o.Walkers, Unsupported: []string{}}
		stats = map[string]*latencies{}
	}
	report.Rounds, report.Findings = r.finished, append([]*Finding{}, r.findings...)
	report.Seconds = time.Since(r.began).Seconds()
	for k, l := range r.self.t.latencies() {
		merge(stats, k, l)
	}
	report.count(stats)
	report.Interrupted = ctx.Err() != nil
	if perr := report.Print(r.out); perr != nil && err == nil {
		err = perr
	}
	switch {
	case len(report.Findings) > 0:
		err = errors.Join(fmt.Errorf("%w: %w", ErrDefects, report.Findings[0]), err)
	case err == nil:
		err = ctx.Err()
	}
	return report, err
}

// otherHangs waits for those that hang since about the same time: in a deadlock
// they tell what is waiting for what.
func (r *run) otherHangs() {
	for late := time.After(min(3*time.Second, r.o.Stall)); ; {
		select {
		case f := <-r.hung:
			r.found(f)
		case <-late:
			return
		}
	}
}

func merge(into map[string]*latencies, kind string, l *latencies) {
	if into[kind] == nil {
		into[kind] = &latencies{Buckets: map[int]uint64{}}
	}
	into[kind].merge(l)
}

// found adds a defect and has all steps end early.
func (r *run) found(f *Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.findings = append(r.findings, f)
	fmt.Fprintf(r.out, "DEFECT: %v\n", f)
}

func (r *run) clean() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.findings) == 0
}

// giveUp ends the processes by force and lets nobody wait for them.
func (r *run) giveUp() {
	r.abandoned.Do(func() {
		close(r.abandon)
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range r.clients {
			c.kill()
		}
	})
}

// watch prints how it goes, and notices when the coordinator itself hangs or a
// process says nothing any more.
func (r *run) watch(ended <-chan struct{}) {
	tick := time.NewTicker(min(time.Second, r.o.Stall/4))
	defer tick.Stop()
	printed, lastCount := time.Now(), uint64(0)
	told := map[string]bool{} // whose hangs
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		if now, _ := r.self.t.state(); now.Kind != "" && time.Since(now.Since) >= r.o.Stall && !told[r.self.name()] {
			told[r.self.name()] = true
			r.hangs(r.hangOf(r.self.name(), os.Getpid(), &now))
		}
		r.mu.Lock()
		clients := r.clients
		round, doing := r.round, r.doing
		r.mu.Unlock()
		_, count := r.self.t.state()
		for _, c := range clients {
			n, heard, _ := c.said()
			count += n
			if time.Since(heard) > r.o.Stall+10*time.Second && !told[c.name()] {
				told[c.name()] = true
				r.hangs(&Finding{Kind: hang, Process: c.name(), Round: round, Step: doing,
					Got: fmt.Sprintf("no word of it for %v; process %d: %s", time.Since(heard).Round(time.Second), c.pid, waitsFor(c.pid, c.pid))})
			}
		}
		if since := time.Since(printed); r.o.Progress > 0 && since >= r.o.Progress {
			r.mu.Lock()
			fmt.Fprintf(r.out, "%6.0f s  round %d  %-17s %9d operations  %7.0f per s\n",
				time.Since(r.began).Seconds(), round, doing, count, float64(count-min(lastCount, count))/since.Seconds())
			r.mu.Unlock()
			printed, lastCount = time.Now(), count
		}
	}
}

func (r *run) hangs(f *Finding) {
	select {
	case r.hung <- f:
	default: // there are enough
	}
}

func (r *run) hangOf(who string, pid int, op *inFlight) *Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Finding{Kind: hang, Operation: op.Kind, Path: op.Path, Process: who, Round: r.round, Step: r.doing,
		Expected: fmt.Sprintf("an answer within %v", r.o.Stall),
		Got:      fmt.Sprintf("none for %v; process %d, thread %d: %s", time.Since(op.Since).Round(100*time.Millisecond), pid, op.TID, waitsFor(pid, op.TID))}
}

// step has all workers do a step and waits for them. It reports whether the run
// can go on.
func (r *run) step(ctx context.Context, name string, with func(i int, q *request)) ([]*reply, bool) {
	r.mu.Lock()
	r.doing = name
	r.mu.Unlock()
	if !r.clean() || ctx.Err() != nil {
		return nil, false
	}
	r.number++
	for i, c := range r.workers {
		q := &request{Number: r.number, Name: name, Round: r.round}
		if with != nil {
			with(i, q)
		}
		r.ask(c, q)
	}
	replies := r.await(ctx, r.workers, r.stuck)
	return replies, r.clean() && ctx.Err() == nil
}

// ask sends a request that is answered, unless c is dead.
func (r *run) ask(c *client, q *request) {
	if !r.dead[c] {
		r.pending[c] = q.Number
		c.send(q)
	}
}

// await waits until none of cs owes an answer, or until is closed. When ctx ends or one has a
// finding, the others are told to end their step early.
func (r *run) await(ctx context.Context, cs []*client, until <-chan struct{}) []*reply {
	replies := make([]*reply, len(cs))
	interrupted := ctx.Done()
	owed := func() bool {
		for _, c := range cs {
			if r.pending[c] != 0 {
				return true
			}
		}
		return false
	}
	for owed() {
		select {
		case <-interrupted:
			interrupted = nil
			r.haltAll()
		case <-until:
			clear(r.pending)
		case a := <-r.answers:
			if i := slices.Index(cs, a.from); i >= 0 && a.reply != nil && a.reply.Number == r.pending[a.from] {
				replies[i] = a.reply
			}
			r.take(a)
		}
	}
	return replies
}

func (r *run) haltAll() {
	for _, c := range r.clients {
		c.send(&request{Number: r.number, Name: halt})
	}
}

func (r *run) take(a answer) {
	switch {
	case a.reply == nil:
		delete(r.pending, a.from)
		r.dead[a.from] = true
		_, _, stderr := a.from.said()
		r.found(&Finding{Kind: died, Process: a.from.name(), Round: r.round, Step: r.doing, Got: "it ended by itself: " + stderr})
		r.haltAll()
	case a.reply.Hang != nil:
		r.hangs(r.hangOf(a.from.name(), a.from.pid, a.reply.Hang))
	default:
		if a.reply.Number == r.pending[a.from] {
			delete(r.pending, a.from)
		}
		if f := a.reply.Finding; f != nil {
			r.found(f)
			r.haltAll()
		}
	}
}
