package main

import (
	"context"
	"sync"

	"keepdav/cmd/internal/embedded"
	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/web/dav"
)

const adminName = embedded.AdminName

// A store is an open store and what this program adds to it.
type store struct {
	*embedded.Store
	url      string     // under which it is served; "" in a command
	davLocks *dav.Locks // of the server, set before anybody can call; nil in a command

	mu      sync.Mutex // guards the field below
	changed []func()   // called when accounts change
}

var applePolicies = map[string]davfs.ApplePolicy{"hide": davfs.AppleHide, "store": davfs.AppleStore, "discard": davfs.AppleDiscard}

// openStore opens the store in conf.Dir, or makes it. It has to be closed.
func openStore(ctx context.Context, conf embedded.Config) (*store, error) {
	s, err := embedded.Open(ctx, conf)
	if err != nil {
		return nil, err
	}
	return &store{Store: s, url: conf.URL}, nil
}

// user is the site as u sees it.
func (s *store) user(u collfs.User) davfs.FileSystem { return s.Site.User(u) }

// onAccountChange has f called when a password, a token or a user changes.
func (s *store) onAccountChange(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = append(s.changed, f)
}

func (s *store) accountsChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.changed {
		f()
	}
}
