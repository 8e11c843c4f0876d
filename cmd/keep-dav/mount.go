package main

import (
	"context"
	"errors"
	"os"
	"time"

	"keepdav/cmd/internal/fusemount"
	"keepdav/cmd/internal/mounting"
)

// mountFlags have the server mount its own store.
type mountFlags struct {
	Mount           string `env:"KEEPDAV_MOUNT" type:"path" default:"" placeholder:"DIR" group:"Mount" help:"Mount the store at DIR as well, read-only. (keep-mount does it beside a running server, with more choices.)"`
	MountUser       string `env:"KEEPDAV_MOUNT_USER" default:"admin" placeholder:"NAME" group:"Mount" help:"Whose /home and rights are meant. Default: ${default}."`
	MountReadWrite  bool   `env:"KEEPDAV_MOUNT_READ_WRITE" group:"Mount" help:"Allow changes through the mount."`
	MountAllowOther bool   `env:"KEEPDAV_MOUNT_ALLOW_OTHER" group:"Mount" help:"Let other users of this machine in, as the permission bits say."`
}

// Validate refuses what would mean nothing.
func (f mountFlags) Validate() error {
	if f.Mount == "" && (f.MountReadWrite || f.MountAllowOther) {
		return errors.New("--mount-read-write and --mount-allow-other are of no use without --mount")
	}
	return nil
}

func (f mountFlags) request(dir, store string) mounting.Request {
	return mounting.Request{
		Dir: dir, User: f.MountUser, Layout: mounting.Everything(),
		ReadOnly: !f.MountReadWrite, AllowOther: f.MountAllowOther, CommitOnClose: true,
		WriteCache: mounting.WriteCacheAuto, ReadAhead: mounting.DefaultReadAhead,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Source: store, Subtype: mounting.Subtype,
	}
}

// An ownMount is the mount of the server itself.
type ownMount struct {
	*mounting.Mount
	endpoint *mounting.Endpoint // nil: nobody can ask
	over     chan struct{}      // closed when the mount is finished
	stop     chan struct{}      // closed to finish it
}

// mountOwn mounts the store, if the flags say so; else the mount is nil.
func (c *serveCmd) mountOwn(ctx context.Context, srv *server) (*ownMount, error) {
	if c.Mount == "" {
		return nil, nil
	}
	dir, err := fusemount.Resolve(c.Mount)
	if err != nil {
		return nil, err
	}
	m, err := srv.host.Mount(ctx, dir, c.mountFlags.request(dir, srv.s.Dir), nil)
	if err != nil {
		return nil, err
	}
	own := &ownMount{Mount: m, over: make(chan struct{}), stop: make(chan struct{})}
	if own.endpoint, err = m.Listen(); err != nil {
		srv.log.Warn().Err(err).Msg("keep-mount --unmount will not be able to wait for the end of the mount")
	}
	srv.log.Info().Str("dir", dir).Bool("read_only", !c.MountReadWrite).Msg("mounted")
	return own, nil
}

// mountPatience is how long programs that use the mount are waited for.
const mountPatience = 2 * time.Second

// attend waits until the mount is to end, and ends it. The server goes on.
func (m *ownMount) attend(srv *server) {
	defer close(m.over)
	var asks <-chan *mounting.Ask
	if m.endpoint != nil {
		defer m.endpoint.Close()
		asks = m.endpoint.Asks()
	}
	var ask *mounting.Ask
	select {
	case <-m.stop:
	case <-m.Ended():
	case ask = <-asks:
	}
	tell := func(d mounting.Dirty) {
		if ask != nil {
			ask.Tell(d)
		}
	}
	err := m.Finish(context.Background(), mountPatience, tell)
	if ask != nil {
		ask.Answer(err)
		ask.Close()
	}
	if err != nil {
		srv.log.Error().Err(err).Str("dir", m.Dir).Msg("unmounted, but not everything could be written down")
		return
	}
	srv.log.Info().Str("dir", m.Dir).Msg("unmounted: everything is written down")
}

// finish ends the mount, if there is one, and waits for that.
func (m *ownMount) finish() {
	if m == nil {
		return
	}
	close(m.stop)
	<-m.over
}
