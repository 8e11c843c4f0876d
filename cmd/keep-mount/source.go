package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/embedded"
	"keepdav/cmd/internal/maint"
	"keepdav/cmd/internal/mounting"
	"keepdav/collfs/sqlite"
)

// A source is where mounts come from: a store that this process has open, or the
// process that has.
type source struct {
	dir     string // of the store
	user    string // whose site is mounted
	log     zerolog.Logger
	store   *embedded.Store // nil: another process has it open
	host    *mounting.Host
	control *control.Server
	garbage sync.WaitGroup // collecting it
	leave   context.CancelFunc
	cluster *clusterSource // instead of all that but the host; nil: a store
}

// How long a program that has the lock of the store, and does not answer, may take to begin or to
// end; and one that has said that it is about to end.
const (
	lockPatience  = 3 * time.Second
	leavePatience = time.Minute
	lockPause     = 50 * time.Millisecond
)

// openSource opens the store, or finds who has it open. It has to be closed.
func openSource(ctx context.Context, c *mountCmd, serve mounting.Serve, patience time.Duration, log zerolog.Logger) (*source, error) {
	if c.cluster != nil {
		return openCluster(ctx, c, serve, log)
	}
	dir, err := filepath.Abs(c.storeDir())
	if err != nil {
		return nil, err
	}
	if err := c.checkStore(dir); err != nil {
		return nil, err
	}
	s := &source{dir: dir, user: c.User, log: log}
	for late := time.Now().Add(patience); ; {
		if answers, err := control.Answers(ctx, dir); answers || err != nil {
			return s, err
		}
		s.store, err = embedded.Open(ctx, embedded.Config{Dir: dir, Log: log, TreeBytes: int64(c.DirectoryCache)})
		if _, inUse := errors.AsType[*sqlite.InUseError](err); !inUse {
			break
		}
		if time.Now().After(late) {
			return nil, fmt.Errorf("%w, and that does not answer on %s: a keep-dav command may be at work; wait for its end, or end it", err, filepath.Join(dir, "control.sock"))
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := s.beHost(ctx, serve); err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// checkStore refuses to make a store where nobody expects one.
func (c *mountCmd) checkStore(dir string) error {
	there, err := embedded.Exists(dir)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if !there && !c.ReadWrite {
		return fmt.Errorf("there is no store in %s: --store names another; \"keep-dav serve\", or keep-mount with --read-write, makes one", dir)
	}
	return nil
}

// errOnlyMounts is what administration commands are told.
var errOnlyMounts = errors.New("keep-mount has the store open, and does nothing but mounts: unmount first, or let \"keep-dav serve\" run before you mount")

// beHost has other processes of this store served.
func (s *source) beHost(ctx context.Context, serve mounting.Serve) (err error) {
	if _, err := s.store.FirstUser(ctx, ""); err != nil {
		return err
	}
	collecting, leave := context.WithCancel(context.Background())
	s.leave = leave
	s.garbage.Go(func() { s.store.Maint.CollectEvery(collecting, maint.DefaultEvery, maint.DefaultCollect()) })
	s.host = mounting.NewHost(s.store, serve, false, s.log)
	s.control, err = control.Serve(s.dir, control.Handlers{
		Operation: func(string) control.Operation {
			return func(context.Context, json.RawMessage, func(control.Progress)) (any, error) { return nil, errOnlyMounts }
		},
		Talk: s.host.Talks,
	}, s.log)
	return err
}

// mount mounts at dir.
func (s *source) mount(ctx context.Context, dir string, r mounting.Request, crunchstat io.Writer) (*mounting.Mount, error) {
	if s.store == nil && s.cluster == nil {
		return mounting.Attach(ctx, s.dir, dir, r, crunchstat)
	}
	return s.host.Mount(ctx, dir, r, crunchstat)
}

// closeDoor takes no mounts of other processes any more, if there are none or by force. It
// reports whether there are none.
func (s *source) closeDoor(force bool) bool { return s.store == nil || s.host.Close(force) }

// guestsGone is closed when no other process has a mount here.
func (s *source) guestsGone() <-chan struct{} {
	if s.store == nil {
		none := make(chan struct{})
		close(none)
		return none
	}
	return s.host.NoGuests()
}

// guestPatience is how long mounts of other processes may take to end, once they are asked to:
// a command after --exec may be at work.
const guestPatience = 30 * time.Second

// close asks mounts of other processes to end, waits for that, and writes everything down.
func (s *source) close(ctx context.Context) error {
	if s.cluster != nil {
		return s.cluster.close(ctx)
	}
	if s.store == nil {
		return nil
	}
	if s.control != nil {
		waiting, stop := context.WithTimeout(ctx, guestPatience)
		defer stop()
		s.control.Stop(waiting)
	}
	if s.leave != nil {
		s.leave()
		s.garbage.Wait()
	}
	return s.store.Close(ctx)
}
