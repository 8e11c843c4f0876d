package collfs

import "context"

// TrashEmpty puts c in the trash if it has nothing in it, else the error is
// ErrNotEmpty. more is done after it, in the same transaction. What is put into c
// just then is either seen here or fails with fs.ErrNotExist. check is asked about
// the root first.
func (f *FS) TrashEmpty(ctx context.Context, c *Collection, check Check, more ...RecordOp) error {
	t := &transfer{fs: f, all: []*Collection{c}}
	t.build = func(tx *Tx) ([]part, error) {
		if err := c.checkLocked(check, ""); err != nil {
			return nil, err
		}
		op, err := c.trashEmptyLocked()
		tx.Records = append([]RecordOp{op}, more...)
		return nil, err
	}
	return t.run(ctx)
}

// trashEmptyLocked returns what puts c in the trash as long as nobody, here or
// elsewhere, has put anything into it: plan says at which revision that is.
func (c *Collection) trashEmptyLocked() (RecordOp, error) {
	switch {
	case c.ReadOnly():
		return RecordOp{}, pathError("remove", "", ErrReadOnly)
	case c.tree.root.kids.n > 0:
		return RecordOp{}, pathError("remove", "", ErrNotEmpty)
	}
	return RecordOp{Kind: Trash, UUID: c.key.id, Still: true}, nil
}
