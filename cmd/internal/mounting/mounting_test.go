package mounting

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"keepdav/cmd/internal/fusemount"
	"keepdav/davfs/fusefs"
)

func TestWhoAsksHearsHowItGoes(t *testing.T) {
	e, err := listen("test:" + t.Name())
	if err != nil {
		t.Fatal(err)
	}
	failure := errors.New("the disk is full at caf\xe9")
	served := make(chan struct{})
	go func() {
		defer close(served)
		ask := <-e.Asks()
		ask.Tell(Dirty{Bytes: 5})
		ask.Answer(failure)
		ask.Tell(Dirty{Bytes: 6}) // comes too late and is not told
		e.Close()
		ask.Close() // as the end of the process does
	}()
	var told []Dirty
	err = AskUnmount(t.Context(), fusemount.Entry{Device: "test:" + t.Name(), Point: "/mnt", User: os.Geteuid()}, func(d Dirty) { told = append(told, d) })
	<-served
	if err == nil || err.Error() != failure.Error() {
		t.Errorf("AskUnmount = %q; want %q", err, failure)
	}
	if len(told) != 1 || told[0].Bytes != 5 {
		t.Errorf("told %v; want the one thing said before the end", told)
	}
	if err := AskUnmount(t.Context(), fusemount.Entry{Device: "test:" + t.Name()}, nil); !errors.Is(err, ErrNoProcess) {
		t.Errorf("AskUnmount after the end = %v; want ErrNoProcess", err)
	}
}

func TestNameOfAMountThatIsEndingIsTakenOver(t *testing.T) {
	device := "test:" + t.Name()
	old, err := listen(device)
	if err != nil {
		t.Fatal(err)
	}
	next, err := listen(device)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	old.Close()
	go func() {
		ask := <-next.Asks()
		ask.Answer(nil)
		ask.Close()
	}()
	for {
		err := AskUnmount(t.Context(), fusemount.Entry{Device: device, User: os.Geteuid()}, nil)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrNoProcess) { // the name is free for a moment
			t.Fatal(err)
		}
	}
}

func TestProcessThatDiesWithoutAWordIsAnError(t *testing.T) {
	e, err := listen("test:" + t.Name())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		ask := <-e.Asks()
		ask.Close()
		e.Close()
	}()
	err = AskUnmount(t.Context(), fusemount.Entry{Device: "test:" + t.Name(), Point: "/mnt", User: os.Geteuid()}, nil)
	if err == nil || !strings.Contains(err.Error(), "before everything was written down") {
		t.Errorf("AskUnmount = %v", err)
	}
}

func TestSomebodyElsesProcessIsNotBelieved(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root is always believed")
	}
	e, err := listen("test:" + t.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	err = AskUnmount(t.Context(), fusemount.Entry{Device: "test:" + t.Name(), User: os.Geteuid() + 1}, nil)
	if !errors.Is(err, ErrNoProcess) {
		t.Errorf("AskUnmount = %v; want ErrNoProcess", err)
	}
}

func TestWriteCacheIsForTheOnlyWayIn(t *testing.T) {
	request := func(cache string, readOnly bool) *Request { return &Request{WriteCache: cache, ReadOnly: readOnly} }
	for _, c := range []struct {
		name   string
		shared bool
		others []*Request
		r      *Request
		want   string // "" for an error
	}{
		{"alone", false, nil, request("auto", false), "on"},
		{"alone, not wanted", false, nil, request("off", false), "off"},
		{"read-only", false, nil, request("on", true), "off"},
		{"beside HTTP", true, nil, request("auto", false), "off"},
		{"beside HTTP, wanted", true, nil, request("on", false), ""},
		{"beside one with the cache", false, []*Request{request("auto", false)}, request("auto", false), ""},
		{"to read beside one with the cache", false, []*Request{request("auto", false)}, request("auto", true), "off"},
		{"beside one without", false, []*Request{request("off", false)}, request("auto", false), "off"},
		{"beside one that reads", false, []*Request{request("auto", true)}, request("auto", false), "on"},
	} {
		h := NewHost(nil, nil, c.shared, zerolog.Nop())
		for _, r := range c.others {
			if _, err := h.admit(r); err != nil {
				t.Fatal(err)
			}
		}
		_, err := h.admit(c.r)
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s: it may use %s; want an error", c.name, c.r.WriteCache)
		case c.want != "" && (err != nil || c.r.WriteCache != c.want):
			t.Errorf("%s: %s, %v; want %s", c.name, c.r.WriteCache, err, c.want)
		}
	}
	h := NewHost(nil, nil, false, zerolog.Nop())
	release, err := h.admit(request("auto", false))
	if err != nil {
		t.Fatal(err)
	}
	release()
	if r := request("auto", false); func() bool { _, err := h.admit(r); return err != nil || r.WriteCache != "on" }() {
		t.Error("a mount that has ended stands in the way of the cache")
	}
}

func TestNamesAtTheMountPointAreChecked(t *testing.T) {
	for name, ok := range map[string]bool{"home": true, "": false, ".": false, "..": false, "\xff": false, "a/b": false} {
		r := Request{WriteCache: WriteCacheOff, Layout: fusefs.Layout{Entries: []fusefs.Entry{{Name: name, Target: "/home"}}}}
		if err := r.Check(); (err == nil) != ok {
			t.Errorf("Check of %q = %v", name, err)
		}
	}
}

// fakeSide is a side that fails in the same way each time.
type fakeSide struct {
	over chan struct{}
	err  error
	done []string
}

func (f *fakeSide) ended() <-chan struct{} { return f.over }
func (f *fakeSide) leave() <-chan struct{} { return nil }
func (f *fakeSide) flush(context.Context, func(Dirty)) error {
	f.done = append(f.done, "flush")
	return f.err
}
func (f *fakeSide) close(context.Context) error {
	f.done = append(f.done, "close")
	return nil
}

func TestUnmountedMountIsWrittenDownAndAFailureToldOnce(t *testing.T) {
	side := &fakeSide{over: make(chan struct{}), err: errors.New("full")}
	close(side.over)
	m := &Mount{Dir: t.TempDir(), device: "0:0", side: side}
	if err := m.Finish(t.Context(), time.Second, func(Dirty) {}); err == nil || err.Error() != "full" {
		t.Errorf("Finish = %v; want full", err)
	}
	if got := strings.Join(side.done, " "); got != "flush close" {
		t.Errorf("done: %s", got)
	}
}

func TestLineSaysWhatIsLeft(t *testing.T) {
	got := leftLine(Dirty{Bytes: 1 << 20}, 3<<20, 2*time.Second)
	for _, want := range []string{"1.0 MiB left", "1.0 MiB/s", "2s so far"} {
		if !strings.Contains(got, want) {
			t.Errorf("the line is %q; want %q in it", got, want)
		}
	}
}
