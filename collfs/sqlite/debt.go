package sqlite

import (
	"context"
	"fmt"

	"keepdav/collfs"
	"keepdav/keepio"
)

// A debt is what commits that weren't durable rely on in block files, for
// records that such commits have joined. A durable commit of one of them first
// has it synced: in recovery it stands for all commits before it.
type debt struct {
	blocks  map[keepio.BlockID]uint64 // the last entry that relies on each
	members []collfs.UUID
}

// debts are the debts of all records. Store.mu guards them.
type debts map[collfs.UUID]*debt

// join notes that an entry that isn't durable ties refs together and relies on ids.
func (ds debts) join(seq uint64, refs []collfs.UUID, ids []keepio.BlockID) {
	var d *debt
	for _, ref := range refs {
		other := ds[ref]
		switch {
		case other == nil || other == d:
		case d == nil:
			d = other
		default:
			for id, s := range other.blocks {
				d.blocks[id] = max(d.blocks[id], s)
			}
			for _, m := range other.members {
				ds[m] = d
			}
			d.members = append(d.members, other.members...)
		}
	}
	if d == nil && len(ids) == 0 {
		return
	}
	if d == nil {
		d = &debt{blocks: make(map[keepio.BlockID]uint64)}
	}
	for _, ref := range refs {
		if ds[ref] == nil {
			ds[ref] = d
			d.members = append(d.members, ref)
		}
	}
	for _, id := range ids {
		d.blocks[id] = seq
	}
}

// of returns what refs owe, with the last entry that relies on each.
func (ds debts) of(refs []collfs.UUID) map[keepio.BlockID]uint64 {
	var all map[keepio.BlockID]uint64
	for _, ref := range refs {
		if d := ds[ref]; d != nil {
			if all == nil {
				all = make(map[keepio.BlockID]uint64, len(d.blocks))
			}
			for id, seq := range d.blocks {
				all[id] = max(all[id], seq)
			}
		}
	}
	return all
}

// paid notes that the block of a debt was synced for all entries up to seq.
func (ds debts) paid(refs []collfs.UUID, blocks map[keepio.BlockID]uint64) {
	for _, ref := range refs {
		d := ds[ref]
		if d == nil {
			continue
		}
		for id, seq := range d.blocks {
			if s, ok := blocks[id]; ok && seq <= s {
				delete(d.blocks, id)
			}
		}
		ds.drop(d)
	}
}

// applied notes that entries up to seq are in the database: their blocks were synced.
func (ds debts) applied(seq uint64) {
	for _, d := range ds {
		for id, s := range d.blocks {
			if s <= seq {
				delete(d.blocks, id)
			}
		}
		ds.drop(d)
	}
}

// drop forgets d if nothing is owed any more.
func (ds debts) drop(d *debt) {
	if len(d.blocks) == 0 {
		for _, m := range d.members {
			delete(ds, m)
		}
	}
}

// payDebts has synced what refs owe.
func (s *Store) payDebts(ctx context.Context, refs []collfs.UUID) error {
	s.mu.Lock()
	blocks := s.debts.of(refs)
	s.mu.Unlock()
	if len(blocks) == 0 || s.cfg.SyncIDs == nil {
		return nil
	}
	ids := make([]keepio.BlockID, 0, len(blocks))
	for id := range blocks {
		ids = append(ids, id)
	}
	if err := s.cfg.SyncIDs(ctx, ids); err != nil {
		return fmt.Errorf("sync block files of earlier commits: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.debts.paid(refs, blocks)
	return nil
}
