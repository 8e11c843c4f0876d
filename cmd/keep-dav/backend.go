package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rs/zerolog"

	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/embedded"
	"keepdav/cmd/internal/mounting"
)

// An operation is something that an administration command does to a store. It
// runs in the process that has the store open, which may not be the one of the
// command, so what goes in and comes out is JSON.
type operation func(ctx context.Context, s *store, args json.RawMessage, tell func(control.Progress)) (any, error)

// op makes an operation of a function.
func op[A, R any](f func(ctx context.Context, s *store, args A, tell func(control.Progress)) (R, error)) operation {
	return func(ctx context.Context, s *store, raw json.RawMessage, tell func(control.Progress)) (any, error) {
		var args A
		if err := control.Unmarshal(raw, &args); err != nil {
			return nil, fmt.Errorf("arguments: %w", err)
		}
		result, err := f(ctx, s, args, tell)
		if err != nil {
			return nil, inWords(err)
		}
		return result, nil
	}
}

// none is the result of an operation that has none.
type none struct{}

// serveControl answers the administration commands of others, and serves their mounts.
func serveControl(s *store, host *mounting.Host, log zerolog.Logger) (*control.Server, error) {
	find := func(name string) control.Operation {
		run, ok := operations[name]
		if !ok {
			return nil
		}
		return func(ctx context.Context, args json.RawMessage, tell func(control.Progress)) (any, error) {
			return run(ctx, s, args, tell)
		}
	}
	return control.Serve(s.Dir, control.Handlers{Operation: find, Talk: host.Talks}, log)
}

// call runs the operation called name on the store of c: in the server that has
// it open, else in this process.
func call[R any](ctx context.Context, c *cli, name string, args any) (R, error) {
	var result R
	if err := c.local(); err != nil {
		return result, err
	}
	raw, err := control.Marshal(args)
	if err != nil {
		return result, err
	}
	bar := newBar(os.Stderr, c.JSON)
	defer bar.end()
	answer, err := control.Call(ctx, c.dir(), name, raw, bar.show)
	if errors.Is(err, control.ErrNoServer) {
		answer, err = callHere(ctx, c.dir(), name, raw, bar.show)
	}
	if err != nil {
		return result, err
	}
	return result, control.Unmarshal(answer, &result)
}

// callHere opens the store for one operation.
func callHere(ctx context.Context, dir, name string, args json.RawMessage, tell func(control.Progress)) (_ json.RawMessage, err error) {
	if there, err := embedded.Exists(dir); err == nil && !there {
		return nil, fmt.Errorf("there is no store in %s: \"keep-dav serve\" makes one, --store names another", dir)
	}
	s, err := openStore(ctx, embedded.Config{Dir: dir, Log: commandLog()})
	if err != nil {
		return nil, err
	}
	defer func() {
		closing, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
		defer stop()
		err = errors.Join(err, s.Close(closing))
	}()
	result, err := operations[name](ctx, s, args, tell)
	if err != nil {
		return nil, err
	}
	return control.Marshal(result)
}

// commandLog is where an administration command says what people should know.
func commandLog() zerolog.Logger {
	return zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.TimeOnly}).Level(zerolog.WarnLevel).With().Timestamp().Logger()
}
