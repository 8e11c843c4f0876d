package collfs

import (
	"context"
	"errors"

	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// printed is the manifest of a tree, kept until the tree changes.
type printed struct {
	changes int64 // what Collection.changes was
	pdh     PDH
}

// Manifest returns the manifest of the collection as it is now, storing the
// blocks that it names.
func (c *Collection) Manifest(ctx context.Context) ([]byte, error) {
	zero := ZeroBlock(func() (hash [16]byte, size uint32, err error) { return hash, 0, ErrNotStored })
	for {
		hole := false
		var blocks []*keepio.Block
		c.mu.Lock()
		for n := range c.opened {
			c.showLocked(n)
		}
		seen := make(map[*keepio.Block]struct{})
		c.tree.Blocks(func(s keepio.Segment) {
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
		c.mu.Unlock()
		if err := c.fs.cfg.Spool.Store(ctx, blocks); err != nil {
			return nil, err
		}
		if hole {
			hash, size, err := c.fs.cfg.Spool.Zero(ctx)
			if err != nil {
				return nil, err
			}
			zero = func() ([16]byte, uint32, error) { return hash, size, nil }
		}
		c.mu.RLock()
		text, err := c.tree.AppendManifest(nil, zero)
		if err == nil {
			pdh := PDH(manifest.PDH(text))
			changes := c.changes
			c.mu.RUnlock()
			c.mu.Lock()
			c.printed = printed{changes, pdh}
			c.mu.Unlock()
			return text, nil
		}
		c.mu.RUnlock()
		if !errors.Is(err, ErrNotStored) { // else something came in between
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

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
