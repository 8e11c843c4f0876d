package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"keepdav/cmd/internal/control"
	"keepdav/collfs"
	"keepdav/web/dav"
)

type locksCmd struct {
	List  locksListCmd  `cmd:"" help:"List the locks that WebDAV clients hold."`
	Break locksBreakCmd `cmd:"" help:"Take a lock away from whoever holds it."`
}

// lockInfo is a lock as commands show it.
type lockInfo struct {
	Token     string    `json:"token"`
	Path      string    `json:"path"` // as its holder sees it
	PathBytes []byte    `json:"path_base64,omitempty"`
	User      string    `json:"user"`
	Scope     string    `json:"scope"`
	Depth     string    `json:"depth"`
	Expires   time.Time `json:"expires_at"`
}

type locksListCmd struct{}

func (c *locksListCmd) Run(ctx context.Context, root *cli) error {
	locks, err := call[[]lockInfo](ctx, root, "locks.list", none{})
	if err != nil {
		return err
	}
	return show(root, locks, func(w io.Writer) {
		t := newTable(w, "TOKEN", "USER", "SCOPE", "DEPTH", "UNTIL", "PATH")
		for _, l := range locks {
			t.row(l.Token, l.User, l.Scope, l.Depth, l.Expires.Local().Format(time.DateTime), l.Path)
		}
		t.end()
	})
}

// lockTable is the table of the server, or one of this process's own.
func (s *store) lockTable(ctx context.Context) (*dav.Locks, error) {
	if s.davLocks != nil {
		return s.davLocks, nil
	}
	return dav.NewLocks(ctx, dav.LockConfig{Store: s.locks()})
}

func listLocks(ctx context.Context, s *store, _ none, _ func(control.Progress)) ([]lockInfo, error) {
	table, err := s.lockTable(ctx)
	if err != nil {
		return nil, err
	}
	infos := []lockInfo{}
	for _, l := range table.List() {
		i := lockInfo{Token: l.Token, Path: l.Place.Name, User: l.User, Scope: "exclusive", Depth: "0", Expires: l.Expires}
		if u, err := s.SQL.User(ctx, collfs.UUID(l.User)); err == nil { // else one who is gone
			i.User = u.Name
		}
		if l.Shared {
			i.Scope = "shared"
		}
		if l.Infinite {
			i.Depth = "infinity"
		}
		infos = append(infos, i)
	}
	return infos, nil
}

type locksBreakCmd struct {
	Token string `arg:"" help:"As locks list shows it."`
}

func (c *locksBreakCmd) Help() string {
	return "The client that holds it will be refused when it goes on to write with it, instead of overwriting what others do from now on."
}

type lockArgs struct {
	Token string
}

func (c *locksBreakCmd) Run(ctx context.Context, root *cli) error {
	l, err := call[lockInfo](ctx, root, "locks.break", lockArgs{c.Token})
	if err != nil {
		return err
	}
	return show(root, l, func(w io.Writer) { fmt.Fprintf(w, "lock %s is gone\n", l.Token) })
}

func breakLock(ctx context.Context, s *store, a lockArgs, _ func(control.Progress)) (lockInfo, error) {
	table, err := s.lockTable(ctx)
	if err != nil {
		return lockInfo{}, err
	}
	return lockInfo{Token: a.Token}, table.Break(ctx, a.Token)
}
