package keepio

import (
	"errors"
	"fmt"
	"os"
)

// Carry makes a Sync of blocks unnecessary before a journal record with extents:
// it fills the Data of those that are not durable, if together with what is
// durable already they are all that is frozen in blocks. Else, or if that takes
// more than limit bytes, it fills nothing and reports false: then Sync. Once the
// record is durable, say so by Carried.
func (s *Spool) Carry(blocks []*Block, extents []Extent, limit int) (bool, error) {
	if s.cfg.NoSync || s.cfg.Remote {
		return false, nil // there is no sync to be saved
	}
	type filling struct {
		bf   *blockFile
		e    *Extent
		data []byte
	}
	var fill []filling
	total := 0
	for _, bf := range filesOf(blocks) {
		missing, ok := bf.missing(extents)
		if !ok {
			return false, nil
		}
		for _, e := range missing {
			if total += int(e.To - e.From); total > limit {
				return false, nil
			}
			fill = append(fill, filling{bf: bf, e: e})
		}
	}
	buf := make([]byte, total)
	for i := range fill {
		f := &fill[i]
		n := int(f.e.To - f.e.From)
		f.data, buf = buf[:n:n], buf[n:]
		if err := f.bf.readExtent(*f.e, f.data); errors.Is(err, os.ErrClosed) {
			return false, nil // stored or replaced meanwhile
		} else if err != nil {
			return false, err
		}
	}
	for _, f := range fill {
		f.e.Data = f.data
	}
	return true, nil
}

// Carried notes that a record with these extents is durable: what it carries
// needs no Sync before another commit. The block files do, before the record goes.
func (s *Spool) Carried(extents []Extent) {
	for _, e := range extents {
		if e.Data == nil {
			continue
		}
		b, err := s.ByID(e.Block)
		if err != nil {
			continue
		}
		if bf := b.file.Load(); bf != nil {
			bf.mu.Lock()
			if e.From <= bf.durableLocked() {
				bf.carried = max(bf.carried, e.To)
			}
			bf.mu.Unlock()
		}
	}
}

// durableLocked says up to where no commit has to care for the bytes.
func (bf *blockFile) durableLocked() uint32 { return max(bf.synced, bf.carried) }

// missing returns those of extents, which are in order, that have to be durable
// for all that is frozen to be durable; ok is false if these don't do.
func (bf *blockFile) missing(extents []Extent) (missing []*Extent, ok bool) {
	bf.mu.Lock()
	defer bf.mu.Unlock()
	if bf.lost != nil || bf.unsyncable {
		return nil, false
	}
	durable := bf.durableLocked()
	for i := range extents {
		e := &extents[i]
		if e.Block != bf.block.id || e.To <= durable {
			continue
		}
		if e.From > durable {
			return nil, false
		}
		missing = append(missing, e)
		durable = e.To
	}
	return missing, durable >= bf.settled
}

// readExtent reads the bytes of e into p and compares them with its sum.
func (bf *blockFile) readExtent(e Extent, p []byte) error {
	f, _ := bf.present()
	if _, err := f.ReadAt(p, int64(e.From)); err != nil {
		return fmt.Errorf("block file %d: %w", e.Block, err)
	}
	if Sum(p) != e.CRC {
		return fmt.Errorf("block file %d: bytes %d to %d: %w", e.Block, e.From, e.To, ErrCorrupt)
	}
	return nil
}
