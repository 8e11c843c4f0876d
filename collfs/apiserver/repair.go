package apiserver

import (
	"context"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
)

type journal struct{}

func (j *journal) add(k *commit, got *api.Collection) {}

func (e *entry) takeRestored() [][bindSize]byte { return nil }

func (a *attributes) addRestored(ids [][bindSize]byte) {}

func (c *Catalog) repairLost(ctx context.Context, e *entry, rec *collfs.Record, b **base) error {
	return nil
}

// overtaken is for an update that is a fact, but on top of what somebody else made:
// what the collection is now has yet to be loaded.
func (k *commit) overtaken(ctx context.Context, got *api.Collection, after *collfs.Tree) (collfs.Record, error) {
	rec, err := k.accept(got)
	if err != nil {
		return rec, err
	}
	e := k.e
	e.mu.Lock()
	e.base = nil
	e.revision++
	tell := []collfs.Event{k.c.event(e.uuid, collfs.ContentChanged, e.revision, &e.record)}
	e.mu.Unlock()
	k.c.events.tell(tell)
	return rec, nil
}
