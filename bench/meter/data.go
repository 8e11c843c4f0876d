package meter

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Page is how often Stamp stamps.
const Page = 4096

var stampCounter atomic.Uint64

func init() { stampCounter.Store(uint64(time.Now().UnixNano())) }

// Stamp makes every page of b unlike any written before, so that neither a
// server nor a disk gains by finding it again.
func Stamp(b []byte) {
	first := stampCounter.Add(uint64(len(b)/Page+1)) - uint64(len(b)/Page+1)
	for i := 0; i+8 <= len(b); i += Page {
		binary.LittleEndian.PutUint64(b[i:], first+uint64(i/Page))
	}
}

// FillRandom makes b incompressible and new.
func FillRandom(b []byte) {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], stampCounter.Add(1))
	rand.NewChaCha8(seed).Read(b)
}

// Unique is a number that no stamp of this process has.
func Unique() uint64 { return stampCounter.Add(1) }

// Spread runs jobs 0..n-1 on c goroutines until one fails.
func Spread(n, c int, job func(i int) error) error {
	var next atomic.Int64
	errs := make([]error, c)
	var failed atomic.Bool
	var wg sync.WaitGroup
	for w := range c {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
				if errs[w] = job(i); errs[w] != nil {
					failed.Store(true)
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
