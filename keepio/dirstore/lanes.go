package dirstore

import (
	"crypto/md5"
	"hash"
	"sync"

	md5simd "github.com/minio/md5-simd"
)

const (
	// laneFrom is the number of blocks on their way in from which on the next ones
	// are hashed side by side: below, one after the other costs less.
	laneFrom = 4
	// laneHashes is how many hashes a server of lanes makes: it never forgets one.
	laneHashes = 1000
)

// lanes hashes blocks on their way in: side by side when many come at once, which takes
// less than half of the work.
type lanes struct {
	mu     sync.Mutex // guards the fields below
	active int        // blocks on their way in
	now    *laneServer
}

// A laneServer is a server of lanes that goes with the last of its hashes.
type laneServer struct {
	md5simd.Server
	made, active int
}

// A laneHash is the MD5 of one block on its way in.
type laneHash struct {
	hash.Hash
	l      *lanes
	server *laneServer // nil: it is hashed alone
}

// begin returns the hash of a block that comes in. It has to be ended.
func (l *lanes) begin() *laneHash {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active++
	if l.active < laneFrom {
		return &laneHash{Hash: md5.New(), l: l}
	}
	if l.now == nil || l.now.made == laneHashes {
		l.now = &laneServer{Server: md5simd.NewServer()}
	}
	s := l.now
	s.made++
	s.active++
	return &laneHash{Hash: s.NewHash(), l: l, server: s}
}

// end ends the use of h.
func (h *laneHash) end() {
	if h.server != nil {
		h.Hash.(md5simd.Hasher).Close()
	}
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	h.l.active--
	s := h.server
	if s == nil {
		return
	}
	if s.active--; s.active > 0 {
		return
	}
	if h.l.now == s {
		h.l.now = nil
	}
	s.Close()
}
