package cluster

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"keepdav/test/target"
)

// number is a number from the environment.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// seedOf is what the dice of a test begin with: KEEPDAV_TEST_SEED, or another every time.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(number("KEEPDAV_TEST_SEED", int(time.Now().UnixNano())))
	t.Logf("KEEPDAV_TEST_SEED=%d", seed)
	return seed
}

// A day is what happens in a test.
type day struct {
	plain  bool // the server is an Arvados
	server bool // it is killed now and then
	mounts bool // so are mounts
	others bool // a client of Arvados replaces what it has not seen
	outage bool // the server is away for longer than anybody tries
}

// Two mounts, a keep-dav in front and one who talks to the server itself change files in
// the same directories, while everything that can fail does. Whatever was acknowledged is
// there at the end, and all see the same.
func TestNothingAcknowledgedIsLostOnABadDay(t *testing.T) { day{server: true, mounts: true}.run(t) }

// What a client of Arvados overwrites, as it may, is in the versions of the collection.
func TestNothingAcknowledgedIsLostByAClientOfArvados(t *testing.T) { day{others: true}.run(t) }

func TestNothingAcknowledgedIsLostOnAPlainArvados(t *testing.T) { day{plain: true}.run(t) }

// The long proofs have one trouble each, beside the network's.
func TestNothingAcknowledgedIsLostInTheLongRun(t *testing.T) {
	if !target.Long() {
		t.Skip("takes minutes: KEEPDAV_LONG")
	}
	for name, day := range map[string]day{
		"network": {}, "server": {server: true}, "mounts": {mounts: true}, "outage": {outage: true},
		"plain and others": {plain: true, others: true}, "plain and mounts": {plain: true, mounts: true},
	} {
		t.Run(name, day.run)
	}
}

func (day day) run(t *testing.T) {
	t.Parallel() // they wait, most of the time
	seed := seedOf(t)
	s := newServer(t, seed, day.plain)
	direct := s.direct()
	for _, dir := range []string{"shared", "other", "shared/sub"} {
		if err := direct.mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	var dirs []string
	for i := range 3 {
		dirs = append(dirs, fmt.Sprintf("shared/d%d", i))
		if err := direct.mkdir(dirs[i]); err != nil {
			t.Fatal(err)
		}
	}
	one, two := s.mount(t), s.mount(t)
	workers := []*worker{{name: "a mount", on: one}, {name: "another mount", on: two}, {name: "a keep-dav in front", on: s.front(t)}, {name: "the server itself", on: direct}}
	if day.others {
		a, err := s.arvados("shared")
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, &worker{name: "a client of Arvados", on: a})
	}
	steps := 10
	if target.Long() {
		steps = 1000
	}
	steps = number("KEEPDAV_TEST_STEPS", steps)
	s.proxy.SetRate(number("KEEPDAV_TEST_FAULTS", 6))
	ctx, stop := context.WithCancel(t.Context())
	var disturbing, working sync.WaitGroup
	disturbing.Go(func() { s.disturb(ctx, seed) })
	for i, w := range workers {
		w.id, w.dirs, w.dice = i, dirs, rand.New(rand.NewPCG(seed, uint64(i)))
		w.moveTo = []string{"shared", "shared", "shared/sub", "other", ""}
		working.Go(func() {
			for range steps {
				began := time.Now()
				w.step()
				w.longest = max(w.longest, time.Since(began))
			}
		})
	}
	crashed := day.crashes(t, s, one, two, &working)
	stop()
	disturbing.Wait()
	s.proxy.SetRate(0)
	s.proxy.Down(false)
	if t.Failed() {
		return
	}
	all := agree(t, "", one, two)
	for late := time.Now().Add(30 * time.Second); day.plain && time.Now().Before(late) && missing(workers, all) > 0; {
		time.Sleep(time.Second) // what somebody overwrote is brought back by who made it, once he hears of it
		all = agree(t, "", one, two)
	}
	was := all
	if day.others {
		was = maps.Clone(all)
		a, err := s.arvados("shared")
		if err == nil {
			err = a.history(was)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range workers {
		t.Logf("%s: %d changes acknowledged, %d refused or unclear; the longest took %v", w.name, w.acked, w.fails, w.longest)
		if w.acked == 0 {
			t.Errorf("%s: nothing was acknowledged", w.name)
		}
		for _, lost := range w.missing(was) {
			t.Errorf("lost: %s", lost)
		}
		if day.plain || day.others {
			continue // attributes are in one property, of which the last update wins
		}
		for _, lost := range w.unmarked(one.disk, all) {
			t.Errorf("lost an attribute: %s", lost)
		}
	}
	t.Logf("faults: %s; %d times something ended or was away", s.proxy.Seen(), crashed)
	one.end(t)
	two.end(t)
	// Who comes later sees the same.
	third := s.mount(t)
	later, _, err := third.tree("")
	if err != nil {
		t.Fatal(err)
	}
	for sum, names := range all {
		if len(later[sum]) < len(names) {
			t.Errorf("a new mount finds %v of %v", later[sum], names)
		}
	}
	third.end(t)
}

// missing counts what of the workers' files is nowhere.
func missing(workers []*worker, all map[string][]string) (n int) {
	for _, w := range workers {
		n += len(w.missing(all))
	}
	return n
}

// crashes waits until all have done their work, and has programs crash meanwhile.
func (day day) crashes(t *testing.T, s *server, one, two *mount, working *sync.WaitGroup) (n int) {
	over := make(chan struct{})
	go func() {
		working.Wait()
		close(over)
	}()
	defer func() { <-over }()
	pause := 200 * time.Millisecond // at first: a short test is over soon
	for {
		select {
		case <-over:
			return n
		case <-time.After(pause):
		}
		if n > 0 {
			pause = 1500 * time.Millisecond
		}
		if day.outage {
			s.proxy.Down(true)
			s.away.Store(true)
			select {
			case <-over:
			case <-time.After(40 * time.Second):
			}
			s.away.Store(false)
			s.proxy.Down(false)
			day.outage = false
		}
		if day.server || day.mounts || day.outage {
			n++
		}
		if day.server && n%2 == 0 || day.server && !day.mounts {
			if err := s.crash(t); err != nil {
				t.Error(err)
			}
		}
		if day.mounts && n%2 == 1 || day.mounts && !day.server {
			[]*mount{one, two}[n/2%2].crash(t)
		}
	}
}

// disturb makes the server unreachable, and ends the event bus, now and then.
func (s *server) disturb(ctx context.Context, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 99))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(300+dice.IntN(1500)) * time.Millisecond):
		}
		if dice.IntN(2) == 0 {
			s.proxy.DropEvents()
			continue
		}
		s.proxy.Down(true)
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(100+dice.IntN(900)) * time.Millisecond):
		}
		if !s.away.Load() {
			s.proxy.Down(false)
		}
	}
}
