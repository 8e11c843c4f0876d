package stress

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"sync"
	"time"
)

// The coordinator and a process talk in JSON: the configuration, then requests,
// each of which gets one answer. Beats and hangs come from the process unasked.

type request struct {
	Number int64     `json:"n"`
	Name   string    `json:"name"` // of a step; "halt" ends the steps up to Number early and has no answer
	Round  int       `json:"round"`
	Parity int       `json:"parity,omitempty"`
	Peer   *snapshot `json:"peer,omitempty"`
}

type reply struct {
	Number   int64                 `json:"n"`
	Beat     *beat                 `json:"beat,omitempty"` // no answer
	Hang     *inFlight             `json:"hang,omitempty"` // no answer
	Finding  *Finding              `json:"finding,omitempty"`
	Snapshot *snapshot             `json:"snapshot,omitempty"`
	Wins     []string              `json:"wins,omitempty"`
	Stats    map[string]*latencies `json:"stats,omitempty"`
}

type beat struct {
	Count uint64 `json:"count"`
}

const (
	halt = "halt"
	// askStats is answered even while a step hangs.
	askStats = "stats"
)

var steps = map[string]func(*worker) error{
	"homes":             (*worker).stepHomes,
	"files":             (*worker).stepFiles,
	"peer":              (*worker).stepPeer,
	"collection":        (*worker).stepCollection,
	"remove collection": (*worker).stepRemoveCollection,
	"same make":         (*worker).stepSameMake,
	"same":              (*worker).stepSame,
	"same read":         (*worker).stepSameRead,
	"same remove":       (*worker).stepSameRemove,
	"moves make":        (*worker).stepMovesMake,
	"moves":             (*worker).stepMoves,
	"moves check":       (*worker).stepMovesCheck,
	"moves remove":      (*worker).stepMovesRemove,
	"contest":           (*worker).stepContest,
	"contest move":      (*worker).stepContestMove,
	"churn":             (*worker).stepChurn,
	"churn check":       (*worker).stepChurnCheck,
	"big":               (*worker).stepBig,
	"big change":        (*worker).stepBigChange,
	"big remove":        (*worker).stepBigRemove,
	"walk":              (*worker).stepWalk,
	"remove":            (*worker).stepRemove,
}

// workerEnv tells a program that it is a process of a stress.
const workerEnv = "KEEP_MOUNT_STRESS_WORKER"

// Main makes this program a process of a stress if a stress started it as one.
// Call it first in main, and leave if it reports true.
func Main() bool {
	if os.Getenv(workerEnv) == "" {
		return false
	}
	if err := serve(os.Stdin, os.Stdout, osDisk{}); err != nil {
		fmt.Fprintln(os.Stderr, "stress:", err)
		os.Exit(1)
	}
	return true
}

// serve is a process: it does what it is asked for until in ends.
func serve(in io.Reader, out io.Writer, d disk) error {
	dec := json.NewDecoder(in)
	var cfg workerConfig
	if err := dec.Decode(&cfg); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	w := newWorker(cfg, d)
	var mu sync.Mutex // guards out
	send := func(r *reply) error {
		mu.Lock()
		defer mu.Unlock()
		return json.NewEncoder(out).Encode(r)
	}
	requests, ended := make(chan *request, 4), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(requests)
		defer w.halted.Store(math.MaxInt64)
		for {
			r := new(request)
			if dec.Decode(r) != nil {
				return // nobody is there any more
			}
			switch r.Name {
			case halt:
				w.halted.Store(r.Number)
			case askStats:
				if send(&reply{Number: r.Number, Stats: w.t.latencies()}) != nil {
					return
				}
			default:
				requests <- r
			}
		}
	})
	wg.Go(func() { w.watch(ended, send) })
	err := w.loop(requests, send)
	close(ended)
	for range requests {
		continue // until in ends
	}
	wg.Wait()
	return err
}

func (w *worker) loop(requests <-chan *request, send func(*reply) error) error {
	runtime.LockOSThread() // so that it can be said where it hangs
	defer runtime.UnlockOSThread()
	for r := range requests {
		if err := send(w.perform(r)); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return nil
}

func (w *worker) perform(r *request) *reply {
	w.step = r
	out := &reply{Number: r.Number}
	do, ok := steps[r.Name]
	if !ok {
		out.Finding = w.sign(&Finding{Kind: died, Got: "an unknown step: the processes are of another program"})
		return out
	}
	if err := do(w); err != nil {
		out.Finding = w.must("", "", err).(*Finding)
	}
	switch r.Name {
	case "homes", "files":
		out.Snapshot = w.tree.snapshot()
	case "collection", "big", "big change":
		out.Snapshot = w.made.snapshot()
	case "contest", "contest move":
		out.Wins = w.wins
	}
	return out
}

// watch tells how far w is, and of an operation that takes too long, once.
func (w *worker) watch(ended <-chan struct{}, send func(*reply) error) {
	stall := time.Duration(w.cfg.Stall)
	tick := time.NewTicker(min(time.Second, stall/4))
	defer tick.Stop()
	var told time.Time
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		now, count := w.t.state()
		r := &reply{Beat: &beat{count}}
		if now.Kind != "" && time.Since(now.Since) >= stall && !now.Since.Equal(told) {
			told = now.Since
			r = &reply{Hang: &now}
		}
		if send(r) != nil {
			return // nobody is there any more; the other end of the pipe tells the reader
		}
	}
}
