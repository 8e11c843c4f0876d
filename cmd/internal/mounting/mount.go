package mounting

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keepdav/cmd/internal/fusemount"
)

// served is the side of a mount that answers the kernel.
type served interface {
	// ended is closed when the kernel has let go of the mount, or nobody serves it.
	ended() <-chan struct{}
	// leave is closed when whoever serves it wants to stop; nil: never.
	leave() <-chan struct{}
	// flush writes everything down, to survive a loss of power. One call at a time.
	flush(ctx context.Context, tell func(Dirty)) error
	// close is called once, last. It writes down what is left and lets go.
	close(ctx context.Context) error
}

// A Mount is served at Dir.
type Mount struct {
	Dir    string
	device string // of the mount table
	side   served
}

// Ended is closed when the mount is gone: unmounted, or its server died.
func (m *Mount) Ended() <-chan struct{} { return m.side.ended() }

// Leave is closed when the server that serves it wants to stop: call Finish then.
func (m *Mount) Leave() <-chan struct{} { return m.side.leave() }

// Device names the mount, see fusemount.Entry.
func (m *Mount) Device() string { return m.device }

// Flush writes everything down, to survive a loss of power.
func (m *Mount) Flush(ctx context.Context, tell func(Dirty)) error { return m.side.flush(ctx, tell) }

// Finish ends the mount. It writes everything down while the mount still works,
// unmounts, and writes down what came meanwhile. While programs use the mount it waits
// for patience; after that it is taken out of the tree, and what they still have open
// fails. The error says what could not be written down. Finish has to be called
// for each Mount, once, also when it has ended.
func (m *Mount) Finish(ctx context.Context, patience time.Duration, tell func(Dirty)) error {
	var errs []error
	switch {
	case !m.gone():
		errs = append(errs, m.side.flush(ctx, tell), m.unmount(ctx, patience))
	case m.present(): // nobody serves it any more
		errs = append(errs, fusemount.Unmount(m.Dir, true))
	}
	errs = append(errs, m.side.flush(ctx, tell), m.side.close(ctx))
	return distinct(errs)
}

// distinct joins errors; one that comes again because nothing has changed is told once.
func distinct(errs []error) error {
	var kept []error
	told := map[string]bool{}
	for _, err := range errs {
		if err != nil && !told[err.Error()] {
			told[err.Error()] = true
			kept = append(kept, err)
		}
	}
	return errors.Join(kept...)
}

func (m *Mount) gone() bool {
	select {
	case <-m.Ended():
		return true
	default:
		return false
	}
}

// present tells whether the mount is still the one at its place.
func (m *Mount) present() bool {
	e, there, err := fusemount.At(m.Dir)
	return err == nil && there && e.Device == m.device
}

// Pauses between attempts to unmount what is in use.
const (
	firstPause = 10 * time.Millisecond
	maxPause   = 200 * time.Millisecond
)

// unmount takes the mount away; if it is in use for longer than patience, out of the tree.
func (m *Mount) unmount(ctx context.Context, patience time.Duration) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for pause := firstPause; m.present(); pause = min(2*pause, maxPause) {
		err := fusemount.Unmount(m.Dir, false)
		if err == nil || !errors.Is(err, fusemount.ErrBusy) {
			if err != nil && m.present() {
				return err
			}
			break
		}
		select {
		case <-time.After(pause):
			continue
		case <-m.Ended():
			return nil
		case <-late.C:
		case <-ctx.Done():
		}
		if err := fusemount.Unmount(m.Dir, true); err != nil && m.present() {
			return err
		}
		return nil // whoever has files open keeps the kernel from ending it
	}
	select {
	case <-m.Ended():
	case <-ctx.Done():
		return fmt.Errorf("unmount %s: %w", m.Dir, context.Cause(ctx))
	case <-late.C: // mounted a second time somewhere, by bind or in another name space
	}
	return nil
}

// attachKernel finds the mount that was just made at dir.
func attachKernel(dir string) (device string, err error) {
	e, there, err := fusemount.At(dir)
	if err == nil && !there {
		err = fmt.Errorf("%s was unmounted at once by somebody", dir)
	}
	return e.Device, err
}

func kernelOptions(r *Request) fusemount.Options {
	return fusemount.Options{
		Source: r.Source, Subtype: r.Subtype, ReadOnly: r.ReadOnly,
		AllowOther: r.AllowOther, CheckModes: r.AllowOther || r.Posix, Devices: r.Posix, ReadAhead: r.ReadAhead,
	}
}
