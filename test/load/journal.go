package load

import (
	"maps"
	"sync"
)

// Journal is what happened, in order: requests that began, and their outcomes.
// A request is in it before its first byte is sent, and acknowledged in it
// after its whole answer has come.
type Journal struct {
	mu     sync.Mutex // guards events
	base   []State    // of each worker, before the first event
	events []event
}

type event struct {
	worker  int
	op      Op
	outcome outcome
}

type outcome int

const (
	begun outcome = iota
	acknowledged
	refused // by an answer that says that nothing was changed
)

// NewJournal begins with what each worker's names hold already.
func NewJournal(base []State) *Journal { return &Journal{base: base} }

func (j *Journal) add(worker int, op Op, o outcome) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event{worker, op, o})
}

// Position is a moment, for At. It waits for nothing but other calls of Journal.
func (j *Journal) Position() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.events)
}

// Expected is what one worker's names may hold: State, or, with a request in
// flight, what that would have made of it.
type Expected struct {
	State    State
	InFlight *Op
}

// At is what is to be expected at a position.
func (j *Journal) At(position int) []Expected {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]Expected, len(j.base))
	for w, s := range j.base {
		out[w].State = maps.Clone(s)
	}
	for _, e := range j.events[:position] {
		x := &out[e.worker]
		switch e.outcome {
		case begun:
			x.InFlight = &e.op
		case acknowledged:
			x.State.apply(e.op)
			x.InFlight = nil
		case refused:
			x.InFlight = nil
		}
	}
	return out
}

// Acknowledged counts the requests that had succeeded at a position.
func (j *Journal) Acknowledged(position int) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.events[:position] {
		if e.outcome == acknowledged {
			n++
		}
	}
	return n
}
