package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
)

const pageSize = 4096

// pages makes bytes that were never written before: random ones, of which every
// page gets a stamp with the run's number, its own, and its place.
type pages struct {
	run  uint64
	next atomic.Uint64
}

const stampSize = 24

// buffer is memory for n bytes to be stamped.
func (p *pages) buffer(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(p.run), byte(p.run >> 8), byte(p.run >> 16), byte(p.next.Add(1))})
	_, _ = r.Read(b) // never fails
	return b
}

// stamp makes b, a multiple of pages for off, new.
func (p *pages) stamp(b []byte, off int64) {
	n := p.next.Add(uint64(len(b)/pageSize)) - uint64(len(b)/pageSize)
	for i := 0; i+stampSize <= len(b); i += pageSize {
		binary.LittleEndian.PutUint64(b[i:], p.run)
		binary.LittleEndian.PutUint64(b[i+8:], n+uint64(i/pageSize))
		binary.LittleEndian.PutUint64(b[i+16:], uint64(off)+uint64(i))
	}
}

// check wants b to be what some stamp made for off.
func (p *pages) check(b []byte, off int64) error {
	for i := 0; i+stampSize <= len(b); i += pageSize {
		run, at := binary.LittleEndian.Uint64(b[i:]), binary.LittleEndian.Uint64(b[i+16:])
		if run != p.run || at != uint64(off)+uint64(i) {
			return fmt.Errorf("%w: at byte %d is a page of run %x made for byte %d, want one of run %x", ErrWrongBytes, off+int64(i), run, at, p.run)
		}
	}
	return nil
}
