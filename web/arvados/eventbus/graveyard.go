package eventbus

import (
	"context"
	"errors"
	"io/fs"
	"sync"

	"keepdav/collfs"
)

// maxGone is how many deleted records are remembered.
const maxGone = 10_000

// A graveyard remembers where deleted records were: when a project goes for good,
// so do those who could say who may know of its contents.
type graveyard struct {
	mu     sync.Mutex // guards the fields below
	owners map[collfs.UUID]collfs.UUID
	order  []collfs.UUID // a ring, once it is full
	next   int
}

func (g *graveyard) add(id, owner collfs.UUID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.owners == nil {
		g.owners = make(map[collfs.UUID]collfs.UUID)
	}
	if _, ok := g.owners[id]; ok {
		g.owners[id] = owner
		return
	}
	g.owners[id] = owner
	if len(g.order) < maxGone {
		g.order = append(g.order, id)
		return
	}
	delete(g.owners, g.order[g.next])
	g.order[g.next] = id
	g.next = (g.next + 1) % maxGone
}

func (g *graveyard) owner(id collfs.UUID) (collfs.UUID, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	owner, ok := g.owners[id]
	return owner, ok
}

// mayRead says whether a user may know of what happens to a record. Of one that is gone,
// who may read the project that it was in.
func (b *Bus) mayRead(ctx context.Context, user collfs.User, id, owner collfs.UUID) (bool, error) {
	for range maxGone {
		level, err := b.conf.Catalog.Access(ctx, user.UUID, id)
		if err == nil {
			return level >= collfs.CanRead, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, errors.Join(errNotTold, err)
		}
		if owner == "" {
			var ok bool
			if owner, ok = b.gone.owner(id); !ok {
				break
			}
		}
		id, owner = owner, ""
	}
	return user.Admin, nil // nobody else can be told to be one who could have read it
}
