package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"keepdav/keepio"
)

// blockFileName is what keepio.Spool calls the file of a block.
func blockFileName(id keepio.BlockID) string { return fmt.Sprintf("%016x", uint64(id)) }

// restoreCarried brings the bytes that entries carry to their block files, which
// may have lost them, and makes them durable. What a record carries was frozen,
// so nothing else can have been written there since: doing it again, or for
// entries that are dropped, does no harm. A block that is stored has them.
//
// They are written even where they can be read: a sync may have failed before the
// process ended, and then the kernel has them in memory, does not know that the
// disk has not, and would sync nothing.
func (s *Store) restoreCarried(entries []*entry) error {
	carried := make(map[keepio.BlockID][]keepio.Extent)
	for _, e := range entries {
		for _, ch := range e.changes {
			for _, x := range ch.extents {
				if x.Data != nil {
					carried[x.Block] = append(carried[x.Block], x)
				}
			}
		}
	}
	if len(carried) == 0 {
		return nil
	}
	dir := filepath.Join(s.cfg.Dir, "open")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return storageError(err)
	}
	restored := 0
	for id, extents := range carried {
		stored, err := s.isStored(id, extents[len(extents)-1].To)
		if err != nil {
			return err
		}
		if stored {
			continue
		}
		n, err := s.restoreFile(filepath.Join(dir, blockFileName(id)), extents)
		if err != nil {
			return fmt.Errorf("restore block file %d from the journal: %w", id, storageError(err))
		}
		restored += n
	}
	if restored > 0 {
		s.log.Info().Int("bytes", restored).Msg("block files got back from the journal what a loss of power took from them")
	}
	if s.cfg.NoSync {
		return nil
	}
	return errors.Join(syncDir(dir), syncDir(s.cfg.Dir))
}

// restoreFile writes extents, in order, to the file at path, and reports how many
// bytes were missing.
func (s *Store) restoreFile(path string, extents []keepio.Extent) (n int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if extents[0].From > 0 {
			s.log.Warn().Str("path", path).Msg("a block file is gone, of which the journal holds only the end")
			return 0, nil // if anything needs the rest, the spool will say that it is missing
		}
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := st.Size()
	var is []byte
	for _, x := range extents {
		if size < int64(x.From) {
			s.log.Warn().Str("path", path).Int64("size", size).Uint32("from", x.From).Msg("a block file lacks what lies before bytes in the journal")
			break // a hole would pass for what is missing
		}
		is = slices.Grow(is[:0], len(x.Data))[:len(x.Data)]
		if k, _ := f.ReadAt(is, int64(x.From)); !bytes.Equal(is[:k], x.Data) { // also where it cannot be read
			n += len(x.Data)
		}
		if _, err := f.WriteAt(x.Data, int64(x.From)); err != nil {
			return n, err
		}
		size = max(size, int64(x.To))
	}
	if s.cfg.NoSync {
		return n, nil
	}
	return n, f.Sync()
}
