package collfs

import (
	"context"

	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// printed is the manifest of a tree, kept until the tree changes.
type printed struct {
	changes int64 // what Collection.changes was
	pdh     PDH
}

// Manifest returns the manifest of the collection as it is now, storing the
// blocks that it names. What is changed meanwhile is not in it.
func (c *Collection) Manifest(ctx context.Context) ([]byte, error) {
	f, err := c.freeze()
	if err != nil {
		return nil, err
	}
	defer f.release()
	return c.print(ctx, f)
}

// print makes the manifest of f.
func (c *Collection) print(ctx context.Context, f *frozen) ([]byte, error) {
	tree := f.tree
	var blocks []*keepio.Block
	hole := false
	seen := make(map[*keepio.Block]struct{})
	tree.Blocks(func(s keepio.Segment) {
		if s.Block == nil {
			hole = true
			return
		}
		if _, _, stored := s.Block.Stored(); stored {
			return
		}
		if _, ok := seen[s.Block]; !ok {
			seen[s.Block] = struct{}{}
			blocks = append(blocks, s.Block)
		}
	})
	if err := c.fs.cfg.Spool.Store(ctx, blocks); err != nil {
		return nil, err
	}
	var zero ZeroBlock
	if hole {
		hash, size, err := c.fs.cfg.Spool.Zero(ctx)
		if err != nil {
			return nil, err
		}
		zero = func() ([16]byte, uint32, error) { return hash, size, nil }
	}
	text, err := tree.AppendManifest(nil, zero)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.printed = printed{f.changes, PDH(manifest.PDH(text))}
	return text, nil
}

// frozen is a copy of a collection's tree, of which no byte is overwritten in
// place. What it refers to counts as in use until its release.
type frozen struct {
	c       *Collection
	tree    *Tree
	changes int64 // how many had been made
}

func (c *Collection) freeze() (*frozen, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.opened {
		c.showLocked(n)
	}
	if err := c.freezeBelowLocked(c.tree.root); err != nil {
		return nil, err
	}
	f := &frozen{c, c.tree.Clone(), c.changes}
	c.roots.add(f)
	return f, nil
}

func (f *frozen) release() { f.c.roots.remove(f) }

func (f *frozen) eachSegment(visit func(keepio.Segment)) { f.tree.Blocks(visit) }

// PDH returns the portable data hash of the collection as it is now.
func (c *Collection) PDH(ctx context.Context) (PDH, error) {
	c.mu.RLock()
	p, now := c.printed, c.changes
	c.mu.RUnlock()
	if p.pdh != "" && p.changes == now {
		return p.pdh, nil
	}
	text, err := c.Manifest(ctx)
	if err != nil {
		return "", err
	}
	return PDH(manifest.PDH(text)), nil
}
