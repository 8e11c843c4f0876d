package collfs

import "context"

// SmallOptions say which blocks are small, and how many of them are too many.
type SmallOptions struct {
	Below  int64 // blocks of less than so many bytes; 0: 1 MiB
	Blocks int   // it is left alone while it has fewer of them; 0: 16
}

const (
	defaultSmall       = 1 << 20
	defaultSmallBlocks = 16
)

// RepackSmall copies what a collection has in small blocks into larger ones, if there
// are many: each commit to a store elsewhere stores the blocks that it is made of, so
// that many small commits leave as many small blocks. Contents keep their ids. What the
// blocks hold besides does not matter, and they stay for others who refer to them.
func (f *FS) RepackSmall(ctx context.Context, id UUID, o SmallOptions) (RepackReport, error) {
	if o.Below == 0 {
		o.Below = defaultSmall
	}
	if o.Blocks == 0 {
		o.Blocks = defaultSmallBlocks
	}
	c, err := f.Open(ctx, id)
	if err != nil {
		return RepackReport{}, err
	}
	defer c.Release()
	small := c.smallBlocks(o.Below)
	if len(small) < o.Blocks {
		return RepackReport{}, nil
	}
	copied, err := f.repackCollection(ctx, repackWork{id, small}, 0)
	return RepackReport{Blocks: len(small), Copied: copied}, err
}

// smallBlocks returns the stored blocks of c of less than a number of bytes.
func (c *Collection) smallBlocks(below int64) map[blockName]bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	small := make(map[blockName]bool)
	for it := range c.tree.root.walk("") {
		for _, s := range it.node.segs {
			if name, ok := nameOf(s.Block); ok && int64(name.size) < below {
				small[name] = true
			}
		}
	}
	return small
}
