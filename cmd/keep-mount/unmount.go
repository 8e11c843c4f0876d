package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"keepdav/cmd/internal/fusemount"
	"keepdav/cmd/internal/mounting"
)

// unmount has the mount at the mount point written down and unmounted.
func (c *mountCmd) unmount(p *program) error {
	e, there, err := fusemount.At(c.Dir)
	switch {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("nothing is mounted at %s", c.Dir)
	case !e.IsFUSE():
		return fmt.Errorf("what is mounted at %s is no FUSE mount, but %s", c.Dir, e.Type)
	}
	ctx, stop := (&run{program: p}).untilSignal()
	defer stop()
	return c.end(ctx, e)
}

// unmountAll does that for all mounts of our type at or below the directory. It goes
// on when one fails.
func (c *mountCmd) unmountAll(p *program) error {
	top, err := fusemount.Resolve(c.Dir)
	if err != nil {
		return err
	}
	all, err := fusemount.Table()
	if err != nil {
		return err
	}
	ctx, stop := (&run{program: p}).untilSignal()
	defer stop()
	var errs []error
	for _, e := range slices.Backward(all) { // what is mounted in another mount first
		below := top == "/" || e.Point == top || strings.HasPrefix(e.Point, top+"/")
		if below && e.IsFUSE() && e.Subtype() == c.Subtype && ctx.Err() == nil {
			errs = append(errs, c.end(ctx, e))
		}
	}
	return errors.Join(append(errs, context.Cause(ctx))...)
}

// replace takes away what is at the mount point, if that is a FUSE mount.
func (c *mountCmd) replace(ctx context.Context) error {
	for {
		e, there, err := fusemount.At(c.Dir)
		if err != nil || !there {
			return err
		}
		if !e.IsFUSE() {
			return fmt.Errorf("--replace: what is mounted at %s is no FUSE mount, but %s: unmount it by hand", c.Dir, e.Type)
		}
		if err := c.end(ctx, e); err != nil {
			return fmt.Errorf("--replace: %w", err)
		}
	}
}

// end ends a mount: its program does it, and is waited for. Of a mount whose
// program is gone or does not answer, the kernel is told.
func (c *mountCmd) end(ctx context.Context, e fusemount.Entry) error {
	report := mounting.NewReport(os.Stderr)
	err := mounting.AskUnmount(ctx, e, report.Tell)
	for !errors.Is(err, mounting.ErrNoProcess) && ctx.Err() == nil && present(e) {
		// That was the program of a mount that had the same device before.
		err = mounting.AskUnmount(ctx, e, report.Tell)
	}
	report.End()
	if !errors.Is(err, mounting.ErrNoProcess) {
		return err
	}
	late := time.Now().Add(c.patience())
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := fusemount.Unmount(e.Point, false)
		if !errors.Is(err, fusemount.ErrBusy) {
			return err
		}
		if time.Now().After(late) {
			return fusemount.Unmount(e.Point, true)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// present tells whether a mount is still where it was.
func present(e fusemount.Entry) bool {
	now, there, err := fusemount.At(e.Point)
	return err == nil && there && now.Device == e.Device
}

// mountsOf returns the mount points of our type, for status.
func mountsOf(subtype string) ([]string, error) {
	all, err := fusemount.Table()
	if err != nil {
		return nil, err
	}
	var points []string
	for _, e := range all {
		if e.IsFUSE() && e.Subtype() == subtype {
			points = append(points, filepath.Clean(e.Point))
		}
	}
	return points, nil
}
