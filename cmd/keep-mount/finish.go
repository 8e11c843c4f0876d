package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"keepdav/cmd/internal/mounting"
	"keepdav/cmd/internal/systemd"
)

// errCut says that the program left before it had finished.
var errCut = &exitError{code: exitCut, err: errors.New("left at once, as told: what programs were told is kept is safe and will be sorted out at the next start, other changes may be lost")}

// finish ends the mount and closes the store, and says what could not be done.
// After a signal that began the end, or one that comes while it is under way,
// another one makes the program leave at once.
func (r *run) finish() error {
	systemd.Notify("STOPPING=1")
	over := make(chan struct{})
	defer close(over)
	go systemd.KeepExtending(over) // ends with this function
	report := mounting.NewReport(os.Stderr)
	defer report.End()
	ctx, cut := context.WithCancelCause(context.Background())
	defer cut(nil)
	finished := make(chan error, 1)
	go func() { finished <- r.end(ctx, report) }() // its end is waited for, except when the process is to leave at once
	for {
		select {
		case err := <-finished:
			r.answer(err)
			return err
		case ask := <-r.asks():
			r.askers.add(ask)
		case sig := <-r.signals:
			if r.hurried() {
				cut(errCut)
				r.answer(errCut)
				return errCut
			}
			r.log.Warn().Stringer("signal", sig).Msg("everything is being written down; another signal makes it leave at once")
			close(r.hurry)
		}
	}
}

func (r *run) hurried() bool {
	select {
	case <-r.hurry:
		return true
	default:
		return false
	}
}

// end does the work of finish.
func (r *run) end(ctx context.Context, report *mounting.Report) error {
	tell := func(d mounting.Dirty) {
		report.Tell(d)
		r.askers.each(func(a *mounting.Ask) { a.Tell(d) })
	}
	err := r.mount.Finish(ctx, r.patience(), tell)
	if r.endpoint != nil {
		r.endpoint.Close() // its name may be that of another mount now
	}
	if !r.source.closeDoor(r.hurried()) && !r.hurried() { // with a signal they are asked to leave, too
		r.log.Warn().Msg("unmounted; other mounts of the store go on and are served by this process until they end")
		r.answer(r.worded(err))
		r.askers.each((*mounting.Ask).Close)
		for left := false; !left; {
			select {
			case <-r.source.guestsGone():
				left = r.source.closeDoor(false)
			case <-r.hurry:
				r.source.closeDoor(true)
				left = true
			}
		}
	}
	return r.worded(errors.Join(err, r.source.close(ctx)))
}

func (r *run) answer(err error) {
	r.askers.each(func(a *mounting.Ask) { a.Answer(err) })
}

// worded says what a failure to write everything down means.
func (r *run) worded(err error) error {
	if err == nil {
		return nil
	}
	if r.source.cluster != nil {
		return fmt.Errorf("not everything could be done at the end of the mount: %w", err)
	}
	return fmt.Errorf("not everything could be done at the end of the mount: %w\nwhat programs were told is kept lies in %s and %s and is taken up at the next start; what is named above may not be",
		err, filepath.Join(r.source.dir, "journal"), filepath.Join(r.source.dir, "open"))
}
