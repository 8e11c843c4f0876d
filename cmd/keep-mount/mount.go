package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/fusemount"
	"keepdav/cmd/internal/mounting"
	"keepdav/cmd/internal/systemd"
)

// Run mounts, or unmounts.
func (c *mountCmd) Run(p *program) error {
	switch {
	case c.UnmountAll:
		return c.unmountAll(p)
	case c.Unmount:
		return c.unmount(p)
	}
	if err := c.choose(os.LookupEnv); err != nil {
		return err
	}
	waiting, err := whoStarted()
	if err != nil {
		return err
	}
	if waiting == nil && !c.Foreground && c.command == nil {
		return background(p.args, p.signals)
	}
	// Whoever reads what we say may go. A signal that is ignored would be ignored by a command that we start, too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	switch {
	case signal.Ignored(syscall.SIGHUP): // by nohup
	case waiting != nil: // there is no terminal
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	default: // the terminal is closed
		signal.Notify(p.signals, syscall.SIGHUP)
	}
	r := &run{mountCmd: c, program: p, hurry: make(chan struct{})}
	if err := r.begin(waiting); err != nil {
		return err
	}
	return r.goOn()
}

// A run is a mount from its beginning to its end.
type run struct {
	*mountCmd
	*program
	log      zerolog.Logger
	out      *os.File // the log file; nil: none
	source   *source
	mount    *mounting.Mount
	endpoint *mounting.Endpoint // nil: nobody can ask us
	command  *child
	askers   askers
	hurry    chan struct{} // closed by the first signal that is about the end of the mount
}

// begin mounts, or fails and leaves nothing behind.
func (r *run) begin(waiting *starter) (err error) {
	if err := r.openLog(); err != nil {
		return err
	}
	ctx, stop := r.untilSignal()
	defer stop()
	if r.Replace {
		if err := r.replace(ctx); err != nil {
			return err
		}
	}
	if err := fusemount.Check(r.Dir); err != nil {
		return err
	}
	dir, err := fusemount.Resolve(r.Dir)
	if err != nil {
		return err
	}
	if err := r.mountAt(ctx, dir); err != nil {
		return err
	}
	if r.endpoint, err = r.mount.Listen(); err != nil {
		r.log.Warn().Err(err).Msg("--unmount will not be able to wait for this process")
	}
	systemd.Notify("READY=1\nSTATUS=mounted at " + dir)
	if err := waiting.ready(r.out); err != nil {
		return errors.Join(err, r.finish())
	}
	return nil
}

// mountAt opens the store, or finds who has, and mounts.
func (r *run) mountAt(ctx context.Context, dir string) (err error) {
	for patience := lockPatience; ; patience = leavePatience {
		if r.source, err = openSource(ctx, r.mountCmd, r.serve, patience, r.log); err != nil {
			return err
		}
		if r.mount, err = r.source.mount(ctx, dir, r.request(dir, r.source.user), r.stderr()); err == nil {
			return nil
		}
		if !errors.Is(err, mounting.ErrLeaving) && !errors.Is(err, control.ErrNoServer) {
			return errors.Join(err, r.source.close(context.Background()))
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// untilSignal is a context that ends when we are told to leave.
func (r *run) untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	started, over := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop, or a signal
		defer close(over)
		select {
		case sig := <-r.signals:
			cancel(&exitError{code: 1, err: fmt.Errorf("told to leave (%s) before the mount was ready", sig)})
		case <-started:
		}
	}()
	return ctx, func() {
		close(started)
		<-over
		cancel(nil)
	}
}

// openLog opens the log: a file, else standard error, with less in it.
func (r *run) openLog() error {
	level, out := zerolog.WarnLevel, os.Stderr
	if r.Logfile != "" {
		f, err := os.OpenFile(r.Logfile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return fmt.Errorf("--logfile: %w", err)
		}
		level, out, r.out = zerolog.InfoLevel, f, f
	}
	if r.Debug {
		level = zerolog.DebugLevel
	}
	console := zerolog.ConsoleWriter{Out: out, TimeFormat: time.DateTime, NoColor: true}
	r.log = zerolog.New(zerolog.SyncWriter(console)).Level(level).With().Timestamp().Logger()
	return nil
}

// stderr is where figures go.
func (r *run) stderr() io.Writer {
	if r.out != nil {
		return r.out
	}
	return os.Stderr
}

// request is what is to be mounted, as user sees it.
func (c *mountCmd) request(dir, user string) mounting.Request {
	layout, _ := c.layout() // Validate has seen to it
	source := c.source
	of := c.storeDir()
	if c.cluster != nil {
		of = c.cluster.Name()
	}
	for _, s := range []string{c.Fsns, of} {
		if source == "" {
			source = s
		}
	}
	return mounting.Request{
		Dir: dir, User: user, Layout: layout,
		ReadOnly: !c.ReadWrite, AllowOther: c.AllowOther, Posix: c.Posix,
		CommitOnClose: c.Commit == "close", WriteCache: c.WriteCache, ReadAhead: c.ReadAhead,
		DirectoryCache: int64(c.DirectoryCache), UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		Source: source, Subtype: c.Subtype, StorageClasses: c.classes(), Crunchstat: time.Duration(c.Crunchstat), Debug: c.Debug,
	}
}

// goOn runs the command, if there is one, and waits for the end of the mount.
func (r *run) goOn() error {
	if r.mountCmd.command == nil {
		r.wait()
		return r.finish()
	}
	var err error
	if r.command, err = startCommand(r.mountCmd.command); err != nil {
		return errors.Join(err, r.finish())
	}
	r.waitCommand()
	result := r.command.result()
	if err := r.finish(); err != nil {
		if exit, ok := errors.AsType[*exitError](result); ok { // its code says more
			return &exitError{code: exit.code, err: errors.Join(exit.err, err)}
		}
		return errors.Join(result, err)
	}
	return result
}

// wait returns when the mount is to end, or has.
func (r *run) wait() {
	select {
	case sig := <-r.signals:
		r.log.Info().Stringer("signal", sig).Msg("unmounting: writing everything down first")
		close(r.hurry)
	case ask := <-r.asks():
		r.askers.add(ask)
		r.log.Info().Msg("unmounting, as asked: writing everything down first")
	case <-r.mount.Leave():
		r.log.Warn().Msg("the server that has the store open is to end: unmounting")
	case <-r.mount.Ended():
		r.log.Info().Msg("unmounted: writing everything down")
	}
}

// waitCommand returns when the command has ended. Until then the mount stays, if it
// is up to us.
func (r *run) waitCommand() {
	ended, leave, asks := r.mount.Ended(), r.mount.Leave(), r.asks()
	for {
		select {
		case <-r.command.done:
			return
		case sig := <-r.signals:
			r.command.pass(sig)
		case ask := <-asks:
			r.askers.add(ask)
			r.log.Warn().Msg("the mount is to end: it does with the command")
		case <-leave:
			r.log.Warn().Msg("the server that has the store open waits for the end of the command")
			leave = nil
		case <-ended:
			r.log.Error().Msg("the mount has ended before the command")
			ended = nil
		}
	}
}

func (r *run) asks() <-chan *mounting.Ask {
	if r.endpoint == nil {
		return nil
	}
	return r.endpoint.Asks()
}

// askers are those who want the mount to end and to hear how that goes.
type askers struct {
	mu  sync.Mutex // guards all
	all []*mounting.Ask
}

func (a *askers) add(ask *mounting.Ask) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, ask)
}

func (a *askers) each(f func(*mounting.Ask)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ask := range a.all {
		f(ask)
	}
}
