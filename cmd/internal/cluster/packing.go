package cluster

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"keepdav/collfs"
)

// packAfter is how long nothing of a collection is committed before what its commits have
// left in small blocks is packed.
const packAfter = 20 * time.Second

// A packing knows which collections were committed here and not packed since. Each small
// commit stores blocks of its own, unless the server takes its bytes along.
type packing struct {
	after time.Duration
	log   zerolog.Logger

	mu   sync.Mutex // guards last
	last map[collfs.UUID]time.Time
}

func newPacking(after time.Duration, log zerolog.Logger) *packing {
	return &packing{after: after, log: log, last: make(map[collfs.UUID]time.Time)}
}

// committed notes a commit.
func (p *packing) committed(id collfs.UUID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last[id] = time.Now()
}

// quiet returns the collections that were left alone for long enough, and forgets them.
func (p *packing) quiet() (ids []collfs.UUID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, at := range p.last {
		if time.Since(at) >= p.after {
			ids = append(ids, id)
			delete(p.last, id)
		}
	}
	return ids
}

// run packs until ctx ends.
func (p *packing) run(ctx context.Context, files *collfs.FS) {
	tick := time.NewTicker(max(p.after/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, id := range p.quiet() {
			if ctx.Err() != nil {
				return
			}
			p.pack(ctx, files, id)
		}
	}
}

// pack packs one collection. Its own commit counts as one, too: the next time there is
// nothing to do.
func (p *packing) pack(ctx context.Context, files *collfs.FS, id collfs.UUID) {
	_, err := files.RepackSmall(ctx, id, collfs.SmallOptions{})
	if err != nil && ctx.Err() == nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, collfs.ErrReadOnly) {
		p.log.Warn().Err(err).Str("collection", string(id)).Msg("small blocks cannot be packed at the moment")
	}
}
