package stress

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"
)

// drive is the whole run: sandbox, processes, rounds, the last look, removal.
// The latencies of the processes are added to stats.
func (r *run) drive(ctx context.Context, stats map[string]*latencies) error {
	if _, err := r.self.t.disk.Lstat(r.o.Dir); err != nil {
		r.report.Removed = true // it was not made
		return fmt.Errorf("the directory to work in: %w", err)
	}
	err := r.setUp()
	if err == nil {
		if err = r.startAll(); err == nil {
			r.rounds(ctx)
			r.lastLook(ctx)
			r.collect(stats)
		}
		r.endAll()
	}
	return errors.Join(err, r.removeAll(ctx))
}

// setUp makes the sandbox and finds out what the directory can do.
func (r *run) setUp() error {
	w := r.self
	if !r.o.Collections {
		if err := w.t.do("mkdir", r.report.Sandbox, func() error { return w.t.disk.Mkdir(r.report.Sandbox) }); err != nil {
			return fmt.Errorf("make the sandbox %s: %w", r.report.Sandbox, err)
		}
	}
	for _, d := range append(r.tops(), churnDir) {
		if err := w.t.mkdir(d); err != nil {
			return fmt.Errorf("make %s: %w", w.cfg.Root+d, err)
		}
		if err := w.put(d+"/"+anchor, anchorContent(), true); err != nil {
			return err
		}
	}
	return r.probe()
}

func (r *run) tops() (names []string) {
	for i := range r.o.Tops {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	return names
}

// probe tries what not every file system has.
func (r *run) probe() error {
	w, can := r.self, &r.self.cfg.Can
	lacks := func(what string, err error) bool {
		for _, e := range []syscall.Errno{syscall.ENOSYS, syscall.ENOTSUP, syscall.EPERM, syscall.EXDEV, syscall.EMLINK, syscall.EINVAL, syscall.ENOLCK} {
			if errors.Is(err, e) {
				r.report.Unsupported = append(r.report.Unsupported, fmt.Sprintf("%s (%v)", what, plain(err)))
				return true
			}
		}
		return false
	}
	const probe, other = "c0/probe", "c0/probe-2"
	if err := w.put(probe, anchorContent(), true); err != nil {
		return err
	}
	for _, p := range []struct {
		what string
		can  *bool
		try  func() error
		undo string
	}{
		{"hard links", &can.Link, func() error { return w.t.link(probe, other) }, other},
		{"symbolic links", &can.Symlink, func() error { return w.t.symlink("probe", other) }, other},
		{"locks of ranges", &can.Lock, func() error {
			f, err := w.t.open(probe, syscall.O_RDWR)
			if err != nil {
				return err
			}
			err = f.lock(0, 10)
			if err == nil {
				err = f.unlock(0, 10)
			}
			return errors.Join(err, f.close())
		}, ""},
		{"renames from one top-level directory into another", &can.CrossMove, func() error {
			if r.o.Tops == 1 {
				return nil
			}
			if err := w.t.rename(probe, "c1/probe"); err != nil {
				return err
			}
			return w.t.rename("c1/probe", probe)
		}, ""},
	} {
		err := p.try()
		if err != nil && !lacks(p.what, err) {
			return fmt.Errorf("try %s: %w", p.what, err)
		}
		if *p.can = err == nil; *p.can && p.undo != "" {
			if err := w.t.unlink(p.undo); err != nil {
				return fmt.Errorf("try %s: %w", p.what, err)
			}
		}
	}
	if err := w.t.unlink(probe); err != nil {
		return fmt.Errorf("remove the probe: %w", err)
	}
	return nil
}

func (r *run) startAll() error {
	for i := range r.o.Processes + r.o.Walkers {
		cfg := r.self.cfg
		cfg.Index, cfg.Walker = i, i >= r.o.Processes
		if cfg.Walker {
			cfg.Index -= r.o.Processes
		}
		c, err := start(cfg, r.o, &r.group, r.answers, r.abandon)
		if c != nil {
			r.mu.Lock()
			r.clients = append(r.clients, c)
			r.mu.Unlock()
			if !cfg.Walker {
				r.workers = append(r.workers, c)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// afterKill is how long those that were killed are waited for.
const afterKill = 3 * time.Second

// endAll lets the processes end and waits for them; those that do not are killed.
func (r *run) endAll() {
	for _, c := range r.clients {
		c.close()
	}
	ended := make(chan struct{})
	go func() {
		r.group.Wait()
		close(ended)
	}()
	late, abandon := time.After(r.o.Stall), r.abandon
	var over <-chan time.Time
	for {
		select {
		case <-ended:
			return
		case a := <-r.answers:
			r.take(a)
		case <-abandon:
			abandon, over = nil, time.After(afterKill)
		case <-over:
			return // one that hangs in the kernel cannot be killed
		case <-late:
			r.hangs(&Finding{Kind: hang, Step: "end", Process: "a process", Got: fmt.Sprintf("it does not end within %v", r.o.Stall)})
			late = nil
		}
	}
}

// rounds goes on until there is a finding, ctx ends, or all is done.
func (r *run) rounds(ctx context.Context) {
	homes, ok := r.step(ctx, "homes", nil)
	r.keep(homes)
	for round := 0; ok && (r.o.Duration > 0 && time.Since(r.began) < r.o.Duration || r.o.Duration == 0 && round < r.o.Rounds); round++ {
		r.mu.Lock()
		r.round = round
		r.mu.Unlock()
		walkers := r.startWalkers()
		for _, v := range Variants {
			if ok && slices.Contains(r.o.Variants, v) && (r.o.Duration == 0 || time.Since(r.began) < r.o.Duration) {
				ok = r.variant(ctx, v)
			}
		}
		r.haltAll()
		r.await(ctx, walkers, r.stuck)
		if ok = ok && r.clean(); ok {
			r.mu.Lock()
			r.finished++
			r.mu.Unlock()
		}
	}
}

func (r *run) startWalkers() []*client {
	r.number++
	var walkers []*client
	for _, c := range r.clients {
		if c.cfg.Walker {
			walkers = append(walkers, c)
			r.ask(c, &request{Number: r.number, Name: "walk", Round: r.round}) // until the next halt
		}
	}
	return walkers
}

func (r *run) keep(replies []*reply) {
	r.trees = make([]model, r.o.Processes)
	for i := range r.trees {
		r.trees[i] = model{}
		if i < len(replies) && replies[i] != nil && replies[i].Snapshot != nil {
			r.trees[i] = replies[i].Snapshot.model()
		}
	}
}

// variant does one of Variants.
func (r *run) variant(ctx context.Context, name string) bool {
	inOrder := func(names ...string) bool {
		for _, n := range names {
			if _, ok := r.step(ctx, n, nil); !ok {
				return false
			}
		}
		return true
	}
	// checked does a step and has another process look at what came of it.
	checked := func(n string) ([]*reply, bool) {
		replies, ok := r.step(ctx, n, nil)
		if !ok {
			return nil, false
		}
		_, ok = r.step(ctx, "peer", func(i int, q *request) {
			shift := 0
			if n := r.o.Processes; n > 1 {
				shift = 1 + r.round%(n-1)
			}
			q.Peer = replies[(i+shift)%r.o.Processes].Snapshot
		})
		return replies, ok
	}
	switch name {
	case "files":
		replies, ok := checked("files")
		if ok {
			r.keep(replies)
		}
		return ok
	case "collections":
		_, ok := checked("collection")
		return ok && inOrder("remove collection")
	case "same":
		return inOrder("same make", "same", "same read", "same remove")
	case "moves":
		if !inOrder("moves make") {
			return false
		}
		for parity := range 2 {
			if _, ok := r.step(ctx, "moves", func(_ int, q *request) { q.Parity = parity }); !ok {
				return false
			}
		}
		return inOrder("moves check", "moves remove")
	case "contest":
		return r.contest(ctx, "contest") && r.contest(ctx, "contest move")
	case "churn":
		return inOrder("churn", "churn check")
	case "big":
		_, ok := checked("big")
		if ok {
			_, ok = checked("big change")
		}
		return ok && inOrder("big remove")
	}
	return false
}

// contest wants each thing to have been done by one process.
func (r *run) contest(ctx context.Context, step string) bool {
	replies, ok := r.step(ctx, step, nil)
	if !ok {
		return false
	}
	winners := map[string][]int{}
	for i, a := range replies {
		for _, won := range a.Wins {
			winners[won] = append(winners[won], i)
		}
	}
	for _, won := range slices.Sorted(maps.Keys(winners)) {
		if len(winners[won]) != 1 {
			op, name, _ := strings.Cut(won, " ")
			r.found(&Finding{Kind: notOneWon, Operation: op, Path: name, Process: r.self.name(), Round: r.round, Step: step,
				Expected: "success in one process", Got: fmt.Sprintf("success in the processes %v", winners[won])})
		}
	}
	if want := 2 * contests; len(winners) != want {
		r.found(&Finding{Kind: notOneWon, Process: r.self.name(), Round: r.round, Step: step,
			Expected: fmt.Sprintf("%d things done by somebody", want), Got: fmt.Sprint(len(winners))})
	}
	return r.clean()
}

// collect gets the latencies of the processes, as far as they still answer.
func (r *run) collect(stats map[string]*latencies) {
	r.number++
	for _, c := range r.clients {
		r.ask(c, &request{Number: r.number, Name: askStats})
	}
	for _, a := range r.await(context.Background(), r.clients, r.abandon) {
		if a != nil {
			for k, l := range a.Stats {
				merge(stats, k, l)
			}
		}
	}
}
