package keepclient

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"keepdav/keepio"
)

// stored is what a server says about a PUT.
type stored struct {
	loc      keepio.Locator
	replicas int
	classes  map[string]int // replicas by storage class; nil: it does not say
}

// parseStored reads the reply to the PUT of a block.
func parseStored(want keepio.Locator, body []byte, h http.Header) (stored, error) {
	loc, err := keepio.ParseLocator(strings.TrimSpace(string(body)))
	if err != nil || loc.Bare() != want.Bare() {
		return stored{}, fmt.Errorf("locator of another block, or none: %w", errOtherReply)
	}
	got := stored{loc: loc, replicas: 1}
	if v := h.Get("X-Keep-Replicas-Stored"); v != "" {
		if got.replicas, err = strconv.Atoi(v); err != nil || got.replicas < 1 {
			return stored{}, fmt.Errorf("no replica was stored: %w", errOtherReply)
		}
	}
	got.classes = parseClasses(h.Get("X-Keep-Storage-Classes-Confirmed"))
	return got, nil
}

// parseClasses reads "a=1, b=2". What it does not understand says nothing: nil.
func parseClasses(v string) map[string]int {
	if v == "" {
		return nil
	}
	classes := make(map[string]int)
	for part := range strings.SplitSeq(v, ",") {
		name, n, _ := strings.Cut(strings.TrimSpace(part), "=")
		count, err := strconv.Atoi(n)
		if err != nil || count < 0 || !validClass(name) {
			return nil
		}
		classes[name] += count
	}
	return classes
}

// A tally counts what has been stored of a block against what is wanted.
type tally struct {
	replicas int            // still wanted
	classes  map[string]int // replicas still wanted, by storage class
	blind    bool           // a server does not report classes: replicas decide
	asked    int            // replicas wanted at first
}

func newTally(s settings) *tally {
	t := &tally{replicas: s.replicas, asked: s.replicas, classes: make(map[string]int)}
	for _, c := range s.classes {
		t.classes[c] = s.replicas
	}
	return t
}

// count takes a success off.
func (t *tally) count(s stored) {
	t.replicas -= s.replicas
	if s.classes == nil {
		t.blind = true
	}
	for name, n := range s.classes {
		if left, wanted := t.classes[name]; wanted {
			t.classes[name] = left - n
		}
		if t.classes[name] <= 0 {
			delete(t.classes, name)
		}
	}
}

// missing is how many replicas are still wanted.
func (t *tally) missing() int {
	n := max(t.replicas, 0)
	if !t.blind {
		for _, left := range t.classes {
			n = max(n, left)
		}
	}
	return n
}

func (t *tally) satisfied() bool { return t.missing() == 0 }

// classesLeft are the storage classes that still want replicas.
func (t *tally) classesLeft() []string {
	return slices.Sorted(maps.Keys(t.classes))
}

// String says how far it got, for errors.
func (t *tally) String() string {
	s := fmt.Sprintf("%d of %d replicas stored", t.asked-t.replicas, t.asked)
	if len(t.classes) > 0 && !t.blind {
		s += ", storage classes not confirmed: " + strings.Join(t.classesLeft(), ", ")
	}
	return s
}
