package maint

import (
	"context"
	"sync"
	"sync/atomic"

	"keepdav/collfs"
	"keepdav/keepio"
)

// A Gate lets commits pass, except while blocks are taken away, and notes what
// they refer to while somebody looks for garbage. Every commit of the process
// has to go through it. All methods may be called concurrently.
type Gate struct {
	collfs.Catalog

	commits, failed atomic.Int64

	pass sync.RWMutex // held for reading by commits, for writing while blocks go

	mu    sync.Mutex // guards the fields below
	taps  int        // how many look
	named map[*keepio.Block]struct{}
}

// NewGate returns a gate in front of c.
func NewGate(c collfs.Catalog) *Gate { return &Gate{Catalog: c} }

// Commit is collfs.Catalog.
func (g *Gate) Commit(ctx context.Context, tx collfs.Tx) ([]collfs.Record, error) {
	g.pass.RLock()
	defer g.pass.RUnlock()
	g.note(tx)
	records, err := g.Catalog.Commit(ctx, tx)
	g.commits.Add(1)
	if err != nil {
		g.failed.Add(1)
	}
	return records, err
}

// Since is collfs.Deltas, if the catalog behind the gate is.
func (g *Gate) Since(ctx context.Context, id collfs.UUID, revision int64) (rec collfs.Record, changes [][]byte, kept bool, err error) {
	if d, ok := g.Catalog.(collfs.Deltas); ok {
		return d.Since(ctx, id, revision)
	}
	return collfs.Record{}, nil, false, nil
}

// Commits counts the commits that passed, and those of them that failed.
func (g *Gate) Commits() (all, failed int64) { return g.commits.Load(), g.failed.Load() }

// note remembers the blocks that tx names. It comes before the commit, so that
// what was committed is known to whoever closes the gate.
func (g *Gate) note(tx collfs.Tx) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taps == 0 {
		return
	}
	for _, c := range tx.Changes {
		for _, op := range c.Ops {
			for _, seg := range op.Content.Segments {
				if seg.Block != nil {
					g.named[seg.Block] = struct{}{}
				}
			}
		}
	}
}

// watch begins to note what commits refer to, until done is called.
func (g *Gate) watch() (done func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taps == 0 {
		g.named = map[*keepio.Block]struct{}{}
	}
	g.taps++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.taps--; g.taps == 0 {
			g.named = nil
		}
	}
}

// closed calls f while no commit is under way. f gets the blocks with names that
// commits have named since watch.
func (g *Gate) closed(f func(named map[[16]byte]struct{}) error) error {
	g.pass.Lock()
	defer g.pass.Unlock()
	g.mu.Lock()
	named := make(map[[16]byte]struct{}, len(g.named))
	for b := range g.named {
		if hash, _, ok := b.Name(); ok {
			named[hash] = struct{}{}
		}
	}
	g.mu.Unlock()
	return f(named)
}
