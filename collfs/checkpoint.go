package collfs

import (
	"context"
	"io/fs"

	"keepdav/keepio"
)

// Checkpoint returns the record of the collection and its tree as AppendTree writes
// it, of what is committed at that moment. All blocks of it are stored; visit is
// called with each, before Checkpoint returns, and perhaps with some twice. What is
// not committed is committed first, and all is durable: nobody else is told of what a
// loss of power could take back.
func (c *Collection) Checkpoint(ctx context.Context, visit func(hash [16]byte, size uint32)) (Record, []byte, error) {
	if c.ReadOnly() {
		return Record{}, nil, ErrReadOnly
	}
	// Most of it, so that changes wait for the rest only.
	if err := c.storeUnstored(ctx); err != nil {
		return Record{}, nil, err
	}
	if err := c.takeTurn(ctx); err != nil {
		return Record{}, nil, err
	}
	defer c.publish()
	defer c.endTurn()
	c.gate.Lock()
	defer c.gate.Unlock()
	if err := c.commitTurn(ctx, true); err != nil {
		return Record{}, nil, err
	}
	if err := c.storeUnstored(ctx); err != nil {
		return Record{}, nil, err
	}
	rec, err := c.Record(ctx)
	if err != nil {
		return Record{}, nil, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.absorbed || c.deleted {
		return Record{}, nil, fs.ErrNotExist
	}
	var last *keepio.Block
	c.tree.Blocks(func(s keepio.Segment) {
		if s.Block == nil || s.Block == last {
			return
		}
		last = s.Block
		hash, size, _ := last.Stored()
		visit(hash, size)
	})
	return rec, AppendTree(nil, c.tree), nil
}

// storeUnstored stores what blocks of the tree are not stored yet.
func (c *Collection) storeUnstored(ctx context.Context) error {
	c.mu.RLock()
	var blocks []*keepio.Block
	seen := make(map[*keepio.Block]struct{})
	var last *keepio.Block
	c.tree.Blocks(func(s keepio.Segment) {
		if s.Block == nil || s.Block == last {
			return
		}
		last = s.Block
		if _, ok := seen[last]; ok {
			return
		}
		seen[last] = struct{}{}
		if _, _, stored := last.Stored(); !stored {
			blocks = append(blocks, last)
		}
	})
	c.mu.RUnlock()
	if len(blocks) == 0 {
		return nil
	}
	return c.fs.cfg.Spool.Store(ctx, blocks)
}

// Since is Deltas.Since for those who know stored blocks only: all blocks of the
// change sets are stored, and visit is called with each, perhaps with some twice.
// Like Checkpoint it tells only of what is durable. kept is false also if the catalog
// tells nobody.
func (c *Collection) Since(ctx context.Context, revision int64, visit func(hash [16]byte, size uint32)) (rec Record, changes [][]byte, kept bool, err error) {
	d, ok := c.fs.cfg.Catalog.(Deltas)
	if !ok || c.ReadOnly() {
		return Record{}, nil, false, nil
	}
	if err := c.Commit(ctx, true); err != nil {
		return Record{}, nil, false, err
	}
	rec, changes, kept, err = d.Since(ctx, c.key.id, revision)
	if err != nil || !kept {
		return Record{}, nil, false, err
	}
	if !rec.TrashAt.IsZero() {
		return Record{}, nil, false, fs.ErrNotExist
	}
	sets := make([][]Op, len(changes))
	for i, data := range changes {
		if sets[i], err = DecodeOps(data, c.fs.cfg.Spool); err != nil {
			return Record{}, nil, false, err
		}
		if blocks := unstored(sets[i]); len(blocks) > 0 {
			if err := c.fs.cfg.Spool.Store(ctx, blocks); err != nil {
				return Record{}, nil, false, err
			}
		}
	}
	// What was committed between the two is perhaps not durable.
	if err := c.Commit(ctx, true); err != nil {
		return Record{}, nil, false, err
	}
	for i, ops := range sets {
		for _, op := range ops {
			for _, s := range op.Content.Segments {
				if s.Block != nil {
					hash, size, _ := s.Block.Stored()
					visit(hash, size)
				}
			}
		}
		changes[i] = AppendOps(nil, ops)
	}
	return rec, changes, true, nil
}
