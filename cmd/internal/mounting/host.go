package mounting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/fusemount"
	"keepdav/davfs"
	"keepdav/davfs/fusefs"
)

// Mounted is what fusefs.Mount returns.
type Mounted interface {
	Wait()
	Flush(ctx context.Context, durable bool) error
	Stats() fusefs.Stats
}

// Serve serves a mount; ServeFUSE is the one to use.
type Serve func(dir string, site *davfs.FS, o fusefs.Options) (Mounted, error)

// ServeFUSE is fusefs.Mount.
func ServeFUSE(dir string, site *davfs.FS, o fusefs.Options) (Mounted, error) {
	m, err := fusefs.Mount(dir, site, o)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// A Store is what mounts are of. *embedded.Store is one. All methods may be called
// concurrently.
type Store interface {
	// MountSite returns the site as the user called name sees it. The error tells
	// people what they can do.
	MountSite(ctx context.Context, name string) (*davfs.FS, error)

	// Waiting is how many bytes are written and not stored as blocks yet.
	Waiting() int64
}

// A Host serves mounts of an open store. Its methods may be called concurrently.
type Host struct {
	store  Store
	serve  Serve
	shared bool // other clients write into the store, too
	log    zerolog.Logger

	mu     sync.Mutex // guards the fields below
	closed bool       // no guests are taken any more
	guests int        // mounts of other processes
	empty  chan struct{}
	cached bool // a mount uses the kernel's write-back cache
	writes int  // mounts that may write
}

// NewHost returns a host. shared says that others than its mounts write into the store.
func NewHost(s Store, serve Serve, shared bool, log zerolog.Logger) *Host {
	h := &Host{store: s, serve: serve, shared: shared, log: log, empty: make(chan struct{})}
	close(h.empty)
	return h
}

// NoGuests is closed while no other process has a mount here.
func (h *Host) NoGuests() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.empty
}

// Close takes no guests any more, and reports whether there are none. Without force it
// does nothing while there are some.
func (h *Host) Close(force bool) (empty bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = h.closed || force || h.guests == 0
	return h.guests == 0
}

// enter counts a guest, unless the host is closed.
func (h *Host) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	if h.guests == 0 {
		h.empty = make(chan struct{})
	}
	h.guests++
	return true
}

func (h *Host) exit() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.guests--; h.guests == 0 {
		close(h.empty)
	}
}

// admit decides about the write-back cache of a mount that may write. With it the
// kernel keeps what was written to itself until a file is closed, so nobody else
// may write: then what they write and what the kernel has could not be told apart.
func (h *Host) admit(r *Request) (release func(), err error) {
	if r.ReadOnly {
		r.WriteCache = WriteCacheOff
		return func() {}, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	alone := !h.shared && h.writes == 0
	switch {
	case h.cached:
		return nil, errors.New("another mount of this store uses the kernel's write cache, so this one cannot write: mount it --read-only, or start the other one with --write-cache=off")
	case r.WriteCache == WriteCacheOn && !alone:
		return nil, errors.New("--write-cache=on is for the only way into a store, and others write to this one")
	case r.WriteCache == WriteCacheAuto:
		r.WriteCache = WriteCacheOff
		if alone {
			r.WriteCache = WriteCacheOn
		}
	}
	cached := r.WriteCache == WriteCacheOn
	h.cached = cached
	h.writes++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.writes--
		h.cached = h.cached && !cached
	}, nil
}

// Mount mounts at dir and serves it in this process. crunchstat may be nil.
func (h *Host) Mount(ctx context.Context, dir string, r Request, crunchstat io.Writer) (*Mount, error) {
	site, err := h.prepare(ctx, &r)
	if err != nil {
		return nil, err
	}
	release, err := h.admit(&r)
	if err != nil {
		return nil, err
	}
	m, err := h.mount(dir, site, &r, crunchstat, release)
	if err != nil {
		release()
	}
	return m, err
}

func (h *Host) mount(dir string, site *davfs.FS, r *Request, crunchstat io.Writer, release func()) (*Mount, error) {
	dev, err := fusemount.Mount(dir, kernelOptions(r))
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	device, err := attachKernel(dir)
	if err == nil {
		var side *local
		if side, err = h.start(dir, device, site, dev, r, crunchstat); err == nil {
			side.release = release
			return &Mount{Dir: dir, device: device, side: side}, nil
		}
	}
	return nil, errors.Join(err, fusemount.Unmount(dir, true))
}

// prepare says why r cannot be served, or returns the site of its user.
func (h *Host) prepare(ctx context.Context, r *Request) (*davfs.FS, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	site, err := h.store.MountSite(ctx, r.User)
	if err != nil {
		return nil, err
	}
	if root := r.Layout.Root; root != "" {
		if err := checkRoot(ctx, site, r.User, root); err != nil {
			return nil, err
		}
	}
	return site, nil
}

// checkRoot says why the name of the site called root cannot be mounted.
func checkRoot(ctx context.Context, site *davfs.FS, user, root string) error {
	info, err := site.Stat(ctx, root)
	what := "the store has no " + root
	if id, ok := strings.CutPrefix(root, "/by_id/"); ok {
		what = "there is no collection or project " + id
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s that user %q may read", what, user)
	case err != nil:
		return fmt.Errorf("%s cannot be read: %w", root, err)
	case !info.Dir:
		return fmt.Errorf("%s is a file: a collection or a project can be mounted", root)
	}
	return nil
}

// local is a mount that this process serves.
type local struct {
	m           Mounted
	dir, device string
	log         zerolog.Logger
	over        chan struct{}
	release     func()
}

// start serves a descriptor. It takes one of its own; dev stays open.
func (h *Host) start(dir, device string, site *davfs.FS, dev *os.File, r *Request, crunchstat io.Writer) (*local, error) {
	fd, err := unix.FcntlInt(dev.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	o := r.options()
	o.Device = fd // fusefs closes it
	o.Log = h.log.With().Str("mount", dir).Logger()
	o.Crunchstat = crunchstat
	o.Waiting = h.store.Waiting
	m, err := h.serve(dir, site, o)
	if err != nil {
		return nil, err
	}
	l := &local{m: m, dir: dir, device: device, log: o.Log, over: make(chan struct{})}
	go func() { // ends with the mount, which the kernel keeps as long as somebody uses it
		m.Wait()
		close(l.over)
	}()
	return l, nil
}

func (l *local) ended() <-chan struct{} { return l.over }
func (l *local) leave() <-chan struct{} { return nil }

func (l *local) flush(ctx context.Context, tell func(Dirty)) error {
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				st := l.m.Stats()
				tell(Dirty{Bytes: st.DirtyBytes, Collections: st.Dirty})
			}
		}
	})
	err := l.m.Flush(ctx, true)
	close(done)
	telling.Wait()
	return err
}

// progressEvery is how often is told what is left to write down.
const progressEvery = 200 * time.Millisecond

func (l *local) close(context.Context) error {
	defer l.release()
	select {
	case <-l.over:
		return nil
	default: // somebody has files open, which nobody will serve any more
	}
	if err := fusemount.Abort(l.device); err != nil {
		l.log.Info().Err(err).Msg("programs that have files of the mount open find out by themselves that it has ended")
		return nil
	}
	<-l.over
	return nil
}

// Talks is for control.Handlers.
func (h *Host) Talks(name string) control.Talk {
	if name == TalkName {
		return h.talk
	}
	return nil
}

// talk serves a mount of another process.
func (h *Host) talk(ctx context.Context, s *control.Stream) error {
	if ctx.Err() != nil || !h.enter() {
		return s.Send(fromServer{Leave: true})
	}
	defer h.exit()
	var first toServer
	if err := s.Receive(&first); err != nil {
		return err
	}
	if first.Request == nil {
		return errors.New("a request is expected first")
	}
	r := first.Request
	site, err := h.prepare(ctx, r)
	if err != nil {
		return s.Send(fromServer{Error: err.Error()})
	}
	release, err := h.admit(r)
	if err != nil {
		return s.Send(fromServer{Error: err.Error()})
	}
	side, err := h.take(s, site, r, release)
	if err != nil {
		release()
		return errors.Join(err, s.Send(fromServer{Error: err.Error()}))
	}
	h.log.Info().Str("mount", r.Dir).Str("user", r.User).Bool("read_only", r.ReadOnly).Msg("mounted for another process")
	defer h.log.Info().Str("mount", r.Dir).Msg("mount of another process has ended")
	return h.converse(ctx, s, side, r)
}

// take takes the descriptor and serves it.
func (h *Host) take(s *control.Stream, site *davfs.FS, r *Request, release func()) (*local, error) {
	if err := s.Send(fromServer{Prepared: true}); err != nil {
		return nil, err
	}
	var msg toServer
	dev, err := s.ReceiveFile(&msg)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	side, err := h.start(r.Dir, msg.Serve, site, dev, r, sayLines{s})
	if err != nil {
		return nil, err
	}
	side.release = release
	if err := s.Send(fromServer{Ready: true}); err != nil {
		h.abandon(side) // its end is the end of the request
		return nil, err
	}
	return side, nil
}

// sayLines sends crunchstat's lines to the process of the command.
type sayLines struct{ s *control.Stream }

func (w sayLines) Write(p []byte) (int, error) {
	return len(p), w.s.Send(fromServer{Crunchstat: strings.ToValidUTF8(string(p), "?")})
}

// converse does what the process of the command asks for, until it has closed the mount or
// is gone; then the mount is taken away.
func (h *Host) converse(ctx context.Context, s *control.Stream, side *local, r *Request) error {
	over := make(chan struct{})
	var events sync.WaitGroup
	defer events.Wait()
	defer close(over)
	events.Go(func() {
		leave, ended := ctx.Done(), side.ended()
		for leave != nil || ended != nil {
			var event fromServer
			select {
			case <-over:
				return
			case <-leave:
				event.Leave, leave = true, nil
			case <-ended:
				event.Ended, ended = true, nil
			}
			if s.Send(event) != nil { // who is gone is noticed by Receive
				return
			}
		}
	})
	work := context.WithoutCancel(ctx) // a server that stops still writes everything down
	for {
		var msg toServer
		if err := s.Receive(&msg); err != nil {
			h.log.Warn().Str("mount", r.Dir).Msg("the process that mounted it is gone: unmounting")
			return errors.Join(err, h.abandon(side))
		}
		switch {
		case msg.Flush:
			err := side.flush(work, func(d Dirty) {
				s.Send(fromServer{Dirty: &d}) // who is gone is noticed by Receive
			})
			if err := s.Send(fromServer{Flushed: true, Error: textOf(err)}); err != nil {
				return errors.Join(err, h.abandon(side))
			}
		case msg.Close:
			err := errors.Join(side.m.Flush(work, true), side.close(work))
			return errors.Join(err, s.Send(fromServer{Closed: true, Error: textOf(err)}))
		}
	}
}

// abandon ends a mount whose process is gone.
func (h *Host) abandon(side *local) error {
	ctx := context.Background()
	err := side.m.Flush(ctx, true)
	select {
	case <-side.ended():
	default:
		if e, there, terr := fusemount.At(side.dir); terr == nil && there && e.Device == side.device {
			terr = fusemount.Unmount(side.dir, true)
			if terr != nil {
				h.log.Warn().Err(terr).Str("mount", side.dir).Msg("the mount point stays until somebody unmounts it")
			}
		}
	}
	return distinct([]error{err, side.m.Flush(ctx, true), side.close(ctx)})
}
