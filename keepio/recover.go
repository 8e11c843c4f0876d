package keepio

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// VerifyExtent reports whether the bytes that a journal record relies on are
// there: in the block file, or in the store if the block is Known. It may be
// called before Recover.
func (s *Spool) VerifyExtent(e Extent) error {
	if b, err := s.ByID(e.Block); err == nil {
		if _, size, ok := b.Stored(); ok && e.To <= size {
			return nil // it was durable before it was stored
		}
	}
	f, err := s.fs.Open(s.pathOf(e.Block))
	if err != nil {
		return fmt.Errorf("block file %d: %w: %w", e.Block, ErrNotFound, err)
	}
	defer f.Close()
	var sum uint32
	buf := make([]byte, ChunkSize)
	for off := e.From; off < e.To; {
		p := buf[:min(uint32(len(buf)), e.To-off)]
		if _, err := f.ReadAt(p, int64(off)); err != nil {
			return fmt.Errorf("block file %d: %w: %w", e.Block, ErrCorrupt, err)
		}
		sum = updateSum(sum, p)
		off += uint32(len(p))
	}
	if sum != e.CRC {
		return fmt.Errorf("block file %d: bytes %d to %d: %w", e.Block, e.From, e.To, ErrCorrupt)
	}
	return nil
}

// Recover takes up the block files that a process before this one left: of each
// of rows the committed bytes, which are stored in the background; all other
// files in the directory go. It is called once, before anything is appended. An
// error tells of committed bytes that are missing (ErrNotFound, ErrCorrupt): the
// rest is taken up all the same, what is left of such a file stays where it is,
// and to read its block is ErrNotFound.
func (s *Spool) Recover(ctx context.Context, rows []OpenBlock) error {
	entries, err := s.fs.ReadDir(s.cfg.Dir)
	if err != nil {
		return fmt.Errorf("recover spool: %w", err)
	}
	wanted := make(map[string]bool)
	var errs []error
	for _, row := range rows {
		if b, err := s.ByID(row.ID); err == nil {
			if _, _, ok := b.Stored(); ok {
				continue
			}
		}
		if row.End == 0 {
			continue
		}
		wanted[fmt.Sprintf("%016x", uint64(row.ID))] = true
		if err := s.recoverFile(ctx, row); err != nil {
			errs = append(errs, err)
			s.lose(row.ID)
		}
	}
	for _, e := range entries {
		if name := e.Name(); !wanted[name] && isFileName(name) {
			if err := s.fs.Remove(s.cfg.Dir + "/" + name); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// lose makes a handle on a block whose bytes are gone, so that trees that name it can
// be read and only the files in it cannot.
func (s *Spool) lose(id BlockID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blocks[id] == nil {
		s.blocks[id] = &Block{id: id}
	}
}

// isFileName reports whether name is one that the spool gives to files.
func isFileName(name string) bool {
	name = strings.TrimSuffix(name, newSuffix)
	if len(name) != 16 {
		return false
	}
	return strings.Trim(name, "0123456789abcdef") == ""
}

// recoverFile takes up one file.
func (s *Spool) recoverFile(ctx context.Context, row OpenBlock) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path := s.pathOf(row.ID)
	f, err := s.fs.Open(path)
	if err != nil {
		return fmt.Errorf("block file %d: %w: %w", row.ID, ErrNotFound, err)
	}
	if f, err = s.cutFile(f, path, row); err != nil {
		return fmt.Errorf("block file %d: %w", row.ID, err)
	}
	bf := &blockFile{
		spool: s, path: path, block: &Block{id: row.ID}, f: f,
		end: row.End, frozen: row.End, settled: row.End,
	}
	bf.block.file.Store(bf)
	if !s.register(bf) {
		return errClosed
	}
	s.budget.add(int64(row.End))
	bf.mu.Lock()
	defer bf.mu.Unlock()
	bf.sealLocked()
	return nil
}

// cutFile removes what was not committed from a file. One that the store has
// taken over already is copied: its bytes belong to a block.
func (s *Spool) cutFile(f file, path string, row OpenBlock) (file, error) {
	size, links, err := f.Size()
	switch {
	case err != nil:
	case size < int64(row.End):
		err = fmt.Errorf("has %d bytes, %d were committed: %w", size, row.End, ErrCorrupt)
	case size == int64(row.End):
		return f, nil
	case links > 1:
		var cut file
		if cut, _, err = s.copyFile(f, path, row.End, nil); err == nil {
			_ = f.Close()
			return cut, nil
		}
	default:
		if err = f.Truncate(int64(row.End)); err == nil {
			return f, nil
		}
	}
	_ = f.Close()
	return nil, err
}
