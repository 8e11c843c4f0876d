package sqlite

import (
	"context"
	"fmt"
	"sync"

	"keepdav/keepio"
)

// idRange is how many block ids are reserved at once.
const idRange = 1 << 12

// blockIDs hands out ids for block files from a range that is reserved on disk.
type blockIDs struct {
	mu        sync.Mutex // guards the fields below, held while a range is reserved
	next, end keepio.BlockID
}

// NextBlockID returns an id that was never returned before.
func (s *Store) NextBlockID() (keepio.BlockID, error) {
	b := &s.blocks
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == b.end {
		var next int64
		err := s.write(context.Background(), func(w *writer) error {
			if err := w.row(`SELECT value FROM meta WHERE key = 'next block'`).Scan(&next); err != nil {
				return err
			}
			_, err := w.exec(`UPDATE meta SET value = ? WHERE key = 'next block'`, next+idRange)
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("reserve block ids: %w", err)
		}
		b.next, b.end = keepio.BlockID(next), keepio.BlockID(next+idRange)
	}
	id := b.next
	b.next++
	return id, nil
}

// BlockStored notes what blocks are called from now on. It is on disk when it
// returns: the block files may go.
func (s *Store) BlockStored(ctx context.Context, blocks []keepio.Stored) error {
	return s.write(ctx, func(w *writer) error {
		for _, b := range blocks {
			_, err := w.exec(`INSERT INTO blockfile (id, md5, size) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET md5 = ?2, size = ?3`,
				int64(b.ID), b.Hash[:], b.Size)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// OpenBlocks returns the block files that commits rely on.
func (s *Store) OpenBlocks(ctx context.Context) ([]keepio.OpenBlock, error) {
	var all []keepio.OpenBlock
	err := s.readers.query(ctx, func(row scanner) error {
		var b keepio.OpenBlock
		err := row.Scan(&b.ID, &b.End)
		all = append(all, b)
		return err
	}, `SELECT id, committed_end FROM blockfile WHERE md5 IS NULL AND committed_end > 0 ORDER BY id`)
	return all, storageError(err)
}

// StoredBlocks calls each for all blocks made here that are stored.
func (s *Store) StoredBlocks(ctx context.Context, each func(keepio.Stored) error) error {
	return storageError(s.readers.query(ctx, func(row scanner) error {
		var b keepio.Stored
		var hash []byte
		if err := row.Scan(&b.ID, &hash, &b.Size); err != nil {
			return err
		}
		if copy(b.Hash[:], hash) != len(b.Hash) {
			return fmt.Errorf("block file %d: %w", b.ID, keepio.ErrCorrupt)
		}
		return each(b)
	}, `SELECT id, md5, size FROM blockfile WHERE md5 IS NOT NULL ORDER BY id`))
}
