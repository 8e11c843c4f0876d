package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// latin1 is a name that is not UTF-8.
const latin1 = "caf\xe9"

type named struct {
	Name      string
	NameBytes []byte `json:",omitempty"`
}

// serve answers with what run says, for every name but "nothing".
func serve(t *testing.T, run Operation) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := Serve(dir, Handlers{Operation: func(name string) Operation {
		if name == "nothing" {
			return nil
		}
		return run
	}}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	return dir
}

func TestCallGivesWhatTheOperationGives(t *testing.T) {
	dir := serve(t, func(_ context.Context, args json.RawMessage, tell func(Progress)) (any, error) {
		var n named
		if err := Unmarshal(args, &n); err != nil {
			return nil, err
		}
		tell(Progress{What: "working", Done: 1})
		return n, nil
	})
	args, err := Marshal(named{Name: latin1})
	if err != nil {
		t.Fatal(err)
	}
	var told []Progress
	answer, err := Call(t.Context(), dir, "echo", args, func(p Progress) { told = append(told, p) })
	if err != nil {
		t.Fatal(err)
	}
	var n named
	if err := Unmarshal(answer, &n); err != nil || n.Name != latin1 {
		t.Errorf("the answer is %q, %v; want %q", n.Name, err, latin1)
	}
	if len(told) != 1 || told[0].What != "working" {
		t.Errorf("told %v; want one report", told)
	}
}

func TestErrorsComeThroughTheSocketToTheByte(t *testing.T) {
	dir := serve(t, func(context.Context, json.RawMessage, func(Progress)) (any, error) {
		return nil, &fs.PathError{Op: "open", Path: latin1, Err: fs.ErrNotExist}
	})
	_, err := Call(t.Context(), dir, "fail", nil, nil)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), latin1) {
		t.Errorf("Call = %q; want the error with the name", err)
	}
}

func TestPanicOfAnOperationIsAnError(t *testing.T) {
	dir := serve(t, func(context.Context, json.RawMessage, func(Progress)) (any, error) { panic("oops") })
	if _, err := Call(t.Context(), dir, "fail", nil, nil); err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("Call = %v; want an error with the panic", err)
	}
}

func TestUnknownOperationIsRefused(t *testing.T) {
	dir := serve(t, nil)
	if _, err := Call(t.Context(), dir, "nothing", nil, nil); err == nil || !strings.Contains(err.Error(), "does not know") {
		t.Errorf("Call of what there is not: %v", err)
	}
}

func TestNobodyAnswersWithoutAServer(t *testing.T) {
	dir := serve(t, nil)
	if err := os.Rename(socketPath(dir), filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	if _, err := Call(t.Context(), dir, "x", nil, nil); !errors.Is(err, ErrNoServer) {
		t.Errorf("without a socket: %v; want ErrNoServer", err)
	}
	if err := os.WriteFile(socketPath(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Call(t.Context(), dir, "x", nil, nil); !errors.Is(err, ErrNoServer) {
		t.Errorf("with what a crash left of a socket: %v; want ErrNoServer", err)
	}
}

// talkTo starts a server that has a conversation and dials it.
func talkTo(t *testing.T, talk Talk) (*Server, *Stream) {
	t.Helper()
	dir := t.TempDir()
	s, err := Serve(dir, Handlers{
		Operation: func(string) Operation { return nil },
		Talk:      func(string) Talk { return talk },
	}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	c, err := Dial(t.Context(), dir, "talk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return s, c
}

func TestDescriptorsGoThroughTheSocket(t *testing.T) {
	_, c := talkTo(t, func(_ context.Context, s *Stream) error {
		var n named
		f, err := s.ReceiveFile(&n)
		if err != nil {
			return s.Send(named{Name: err.Error()})
		}
		defer f.Close()
		if _, err := f.WriteString("for " + n.Name); err != nil {
			return err
		}
		return s.Send(named{Name: "written"})
	})
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := c.SendFile(named{Name: latin1}, f); err != nil {
		t.Fatal(err)
	}
	var n named
	if err := c.Receive(&n); err != nil || n.Name != "written" {
		t.Fatalf("the answer is %q, %v", n.Name, err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || string(got) != "for "+latin1 {
		t.Errorf("the file has %q, %v", got, err)
	}
}

func TestConversationEndsWhenTheServerStops(t *testing.T) {
	s, c := talkTo(t, func(ctx context.Context, s *Stream) error {
		<-ctx.Done()
		return s.Send(named{Name: "bye"})
	})
	s.Stop(context.Background())
	var n named
	if err := c.Receive(&n); err != nil || n.Name != "bye" {
		t.Errorf("the last word is %q, %v; want bye", n.Name, err)
	}
	if err := c.Receive(&n); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v; want EOF", err)
	}
}

func TestServerNoticesThatTheClientIsGone(t *testing.T) {
	gone := make(chan error, 1)
	_, c := talkTo(t, func(_ context.Context, s *Stream) error {
		var n named
		gone <- s.Receive(&n)
		return nil
	})
	c.Close()
	if err := <-gone; !errors.Is(err, io.EOF) {
		t.Errorf("Receive = %v; want EOF", err)
	}
}

func TestMessageWithoutADescriptorIsToldApart(t *testing.T) {
	_, c := talkTo(t, func(_ context.Context, s *Stream) error {
		var n named
		_, err := s.ReceiveFile(&n)
		return s.Send(named{Name: err.Error()})
	})
	if err := c.Send(named{}); err != nil {
		t.Fatal(err)
	}
	var n named
	if err := c.Receive(&n); err != nil || !strings.Contains(n.Name, "descriptor is expected") {
		t.Errorf("the answer is %q, %v", n.Name, err)
	}
}

func TestConversationThatGoesOnIsCutOff(t *testing.T) {
	heard := make(chan error, 1)
	s, c := talkTo(t, func(_ context.Context, s *Stream) error {
		var n named
		heard <- s.Receive(&n)
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.Stop(ctx)
	if err := <-heard; err == nil {
		t.Error("the conversation got a message that nobody sent")
	}
	var n named
	if err := c.Receive(&n); !errors.Is(err, io.EOF) {
		t.Errorf("the client is told %v; want EOF", err)
	}
}
