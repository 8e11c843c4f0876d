package control

import (
	"context"
	"encoding/json"
	"errors"
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
	s, err := Serve(dir, func(name string) Operation {
		if name == "nothing" {
			return nil
		}
		return run
	}, zerolog.Nop())
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
