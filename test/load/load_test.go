package load

import (
	"maps"
	"slices"
	"testing"
)

func TestAtGivesAcknowledgedAndInFlight(t *testing.T) {
	j := NewJournal([]State{{}, {"/d": {Dir: true}}})
	put := Op{Method: "PUT", Path: "/a", Content: Content{Size: 1}}
	move := Op{Method: "MOVE", Path: "/d", To: "/e"}
	j.add(0, put, begun)
	j.add(1, move, begun)
	between := j.Position()
	j.add(0, put, acknowledged)
	j.add(1, move, refused)

	x := j.At(between)
	if len(x[0].State) != 0 || x[0].InFlight == nil || *x[0].InFlight != put {
		t.Errorf("worker 0 between: %+v", x[0])
	}
	x = j.At(j.Position())
	if !maps.Equal(x[0].State, State{"/a": {Content: put.Content}}) || x[0].InFlight != nil {
		t.Errorf("worker 0 at the end: %+v", x[0])
	}
	if !maps.Equal(x[1].State, State{"/d": {Dir: true}}) || x[1].InFlight != nil {
		t.Errorf("worker 1, refused: %+v", x[1])
	}
	if n := j.Acknowledged(j.Position()); n != 1 {
		t.Errorf("Acknowledged = %d, want 1", n)
	}
}

func TestApplyDoesWhatTheServerDoes(t *testing.T) {
	f := func(n int) Entry { return Entry{Content: Content{Size: n}} }
	d := Entry{Dir: true}
	base := State{"/d": d, "/d/a": f(1), "/dd": f(2), "/x": f(3)}
	for _, c := range []struct {
		op   Op
		want State
	}{
		{Op{Method: "DELETE", Path: "/d"}, State{"/dd": f(2), "/x": f(3)}},
		{Op{Method: "MOVE", Path: "/d", To: "/n"}, State{"/n": d, "/n/a": f(1), "/dd": f(2), "/x": f(3)}},
		{Op{Method: "COPY", Path: "/d", To: "/n"}, State{"/d": d, "/d/a": f(1), "/n": d, "/n/a": f(1), "/dd": f(2), "/x": f(3)}},
		{Op{Method: "MOVE", Path: "/x", To: "/d/a"}, State{"/d": d, "/d/a": f(3), "/dd": f(2)}},
		{Op{Method: "PUT", Path: "/x", Content: Content{Size: 9}}, State{"/d": d, "/d/a": f(1), "/dd": f(2), "/x": f(9)}},
	} {
		if got := base.after(c.op); !maps.Equal(got, c.want) {
			t.Errorf("%v:\n%s", c.op, diff(got, c.want))
		}
	}
}

func TestCheckAcceptsBeforeAndAfterButNoMix(t *testing.T) {
	f := Entry{Content: Content{Size: 1}}
	x := Expected{State: State{"/a": f, "/b": f}, InFlight: &Op{Method: "MOVE", Path: "/a", To: "/c"}}
	for name, c := range map[string]struct {
		got State
		ok  bool
	}{
		"before":       {State{"/a": f, "/b": f}, true},
		"after":        {State{"/b": f, "/c": f}, true},
		"both names":   {State{"/a": f, "/b": f, "/c": f}, false},
		"neither":      {State{"/b": f}, false},
		"another lost": {State{"/a": f}, false},
	} {
		if err := x.check(0, c.got); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The same seed has to make the same requests, or no failure can be repeated.
func TestGeneratorRepeats(t *testing.T) {
	ops := func() (list []Op) {
		cfg := Config{Collections: []string{"/c"}, Workers: 1, Large: 1000}
		r := NewRunner(cfg, nil, cfg.Empty())
		g := r.generator(0, State{})
		for range 300 {
			op, _ := g.next()
			g.state.apply(op)
			list = append(list, op)
		}
		return list
	}
	a, b := ops(), ops()
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("request %d: %v, then %v", i, a[i], b[i])
		}
	}
	if !slices.ContainsFunc(a, func(op Op) bool { return op.Part > 0 }) {
		t.Error("no request writes into a file")
	}
}
