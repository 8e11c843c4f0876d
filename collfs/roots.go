package collfs

import (
	"context"

	"keepdav/keepio"
)

// Roots tells what a catalog keeps. A Catalog whose store collects garbage
// implements it.
type Roots interface {
	// Roots calls visit with each segment, other than holes, of each tree that can
	// be loaded now or later: of each collection, also in the trash, the present
	// state (then current is true) and each version that is kept. A change that is
	// committed meanwhile may be missing. Roots ends with the first error of visit.
	Roots(ctx context.Context, visit func(id UUID, current bool, s keepio.Segment) error) error
}

// Held calls visit with each segment that is in use in this process: of the
// trees that are loaded, with changes that aren't committed, of files with
// handles, of readers and of staged uploads, and all of collections without a
// record. What is committed to a collection that isn't loaded is not among them.
func (f *FS) Held(visit func(id UUID, s keepio.Segment)) {
	f.heldHere(visit)
	for _, t := range f.allTmp() {
		t.files.heldHere(visit)
	}
}

// heldHere is Held without what is in collections without a record.
func (f *FS) heldHere(visit func(id UUID, s keepio.Segment)) {
	// What one that is being loaded has read may be gone from the catalog by now.
	cs, done := f.pinAll(true)
	defer done()
	for _, c := range cs {
		c.held(func(s keepio.Segment) {
			if s.Block != nil {
				visit(c.key.id, s)
			}
		})
	}
}

func (c *Collection) held(visit func(keepio.Segment)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	c.tree.Blocks(visit)
	for i := range c.pending {
		for _, s := range c.pending[i].Content.Segments {
			visit(s)
		}
		if c.pending[i].Kind == OpLink { // a merge may need what the file had then
			for _, s := range c.pending[i].node.segs {
				visit(s)
			}
		}
	}
	for n := range c.opened {
		for _, s := range n.segs {
			visit(s)
		}
		if n.open.spans != nil {
			for s := range n.open.spans.all {
				visit(s.Segment)
			}
		}
	}
	c.roots.each(visit)
}
