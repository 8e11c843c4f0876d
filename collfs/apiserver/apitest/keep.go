package apitest

import (
	"context"
	"sync"

	"keepdav/keepio"
)

// Locators are the locators that a client has learned. What it has not, is signed as
// if it had been stored just now. It is apiserver.Locators.
type Locators struct {
	Server *Server
	Token  string

	mu    sync.Mutex // guards the field below
	known map[[16]byte]keepio.Locator
}

// Learn implements apiserver.Locators.
func (l *Locators) Learn(_ string, locs []keepio.Locator) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = make(map[[16]byte]keepio.Locator)
	}
	for _, loc := range locs {
		l.known[loc.Hash()] = loc
	}
}

// Forget implements apiserver.Locators.
func (l *Locators) Forget(string) {}

// Locator implements apiserver.Locators.
func (l *Locators) Locator(_ context.Context, hash [16]byte, size uint32) (keepio.Locator, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if loc, ok := l.known[hash]; ok {
		return loc, nil
	}
	return l.Server.Sign(l.Token, hash, size), nil
}
