package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"keepdav/collfs"
	"keepdav/collfs/sqlite/journal"
	"keepdav/keepio"
)

// recover opens the journal and brings the database up to date with it.
func (s *Store) recover(ctx context.Context) error {
	var entries []*entry
	err := s.reserve.spend(func() (err error) {
		entries, err = s.openJournal()
		return err
	})
	if err != nil {
		return err
	}
	if err := s.reserve.spend(func() error { return s.restoreCarried(entries) }); err != nil {
		return err
	}
	for _, e := range entries {
		e.detach()
	}
	kept, spared, err := s.cut(entries)
	if err != nil {
		return err
	}
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if err := s.reserve.spend(func() error { return s.prepareReplay(spared) }); err != nil {
		return err
	}
	if len(entries) > 0 {
		if err := s.replay(ctx, kept, entries[len(entries)-1].seq, len(kept) < len(entries)); err != nil {
			return err
		}
		s.log.Info().Int("commits", len(kept)).Int("cut", len(entries)-len(kept)).Msg("brought the database up to date with the journal")
	}
	if err := s.checkpointLocked(ctx, "TRUNCATE"); err != nil {
		// The journal stays as it is, and what it has from here on follows on.
		s.log.Warn().Err(err).Msg("the journal is kept: no checkpoint of the database")
	}
	return nil
}

// openJournal opens the journal and returns what it has beyond the database.
func (s *Store) openJournal() (entries []*entry, err error) {
	s.journal, err = journal.Open(journal.Options{
		Dir: filepath.Join(s.cfg.Dir, "journal"), SegmentSize: s.cfg.SegmentSize, NoSync: s.cfg.NoSync,
	}, s.applied, func(seq uint64, payload []byte) error {
		e, err := decode(bytes.Clone(payload))
		if err != nil {
			return fmt.Errorf("record %d: %w", seq, err)
		}
		e.seq = seq
		entries = append(entries, e)
		return nil
	})
	return entries, err
}

// prepareReplay removes checkpoints that a crash left incomplete, and notes how
// far block files are relied on by commits that were cut.
func (s *Store) prepareReplay(spared []keepio.Extent) error {
	if _, err := s.writer.exec(`DELETE FROM checkpoint_part WHERE checkpoint IN (SELECT id FROM checkpoint WHERE NOT complete)`); err != nil {
		return storageError(err)
	}
	if _, err := s.writer.exec(`DELETE FROM checkpoint WHERE NOT complete`); err != nil {
		return storageError(err)
	}
	for _, x := range spared {
		_, err := s.writer.exec(`INSERT INTO blockfile (id, committed_end) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET committed_end = max(committed_end, ?2)`,
			int64(x.Block), x.To)
		if err != nil {
			return storageError(err)
		}
	}
	return nil
}

// replay applies entries, and notes that all up to last were dealt with. If some were
// cut, that is one transaction, and on disk when it returns: else the next recovery
// might find commits that follow a cut one without that, or new commits, durable
// ones, that would call good what was cut.
func (s *Store) replay(ctx context.Context, entries []*entry, last uint64, cut bool) error {
	if err := s.syncRecovered(entries); err != nil {
		return err
	}
	tx := s.writer.tx
	if cut {
		tx = s.writer.durably
	}
	for s.applied < last {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, size := 0, int64(0)
		for n < len(entries) && (cut || size < maxBatch) {
			size += entries[n].size
			n++
		}
		upTo := last
		if n < len(entries) {
			upTo = entries[n-1].seq
		}
		var b *batch
		err := s.reserve.spend(func() (err error) {
			for _, e := range entries[:n] {
				e.events = nil // of an attempt that failed
			}
			b, err = s.applyLocked(entries[:n], upTo, tx, true)
			return err
		})
		if err != nil {
			return err
		}
		s.applied, s.eventSeq = b.last, b.seq
		s.foldable.add(b.long)
		entries = entries[n:]
	}
	return nil
}

// cut returns those of entries that can be relied on, and spared, what the others
// say of block files and is true: an entry that is kept may refer to these bytes
// without saying so, because another had.
//
// A durable commit stands for all commits before it that its records have
// joined in, for their block files were synced first. The extents of the others
// are verified. When one is bad, then the records it changes are cut there:
// this entry and all later ones that change them are dropped, and those that
// put something into a project that was made by one that is dropped.
func (s *Store) cut(entries []*entry) (kept []*entry, spared []keepio.Extent, err error) {
	trusted := make([]bool, len(entries))
	proven := make(map[collfs.UUID]bool)
	for i := len(entries) - 1; i >= 0; i-- {
		e := entries[i]
		trusted[i] = e.durable
		for _, id := range e.members() {
			trusted[i] = trusted[i] || proven[id]
		}
		if trusted[i] {
			for _, id := range e.refs() {
				proven[id] = true
			}
		}
	}
	cut := make(map[collfs.UUID]bool)    // changed by an entry that is dropped
	unmade := make(map[collfs.UUID]bool) // made by one
	kept = make([]*entry, 0, len(entries))
	for i, e := range entries {
		bad := error(nil)
		for _, id := range e.members() {
			if cut[id] {
				bad = fmt.Errorf("it follows one of %s that was dropped", id)
			}
		}
		for _, op := range e.records {
			if unmade[op.Owner] {
				bad = fmt.Errorf("project %s was not made", op.Owner)
			}
		}
		if bad == nil && !trusted[i] {
			if bad, err = s.verify(e); err != nil {
				return nil, nil, err
			}
		}
		if bad == nil {
			kept = append(kept, e)
			continue
		}
		s.log.Warn().Err(bad).Uint64("record", e.seq).Time("at", timeOf(e.at)).Strs("of", texts(e.members())).
			Msg("a commit that was not yet durable when power was lost is dropped")
		for _, ch := range e.changes {
			for _, x := range ch.extents {
				bad, err := s.verifyExtent(x)
				if err != nil {
					return nil, nil, err
				}
				if bad == nil {
					spared = append(spared, x)
				}
			}
		}
		for _, id := range e.members() {
			cut[id] = true
		}
		for _, op := range e.records {
			if op.Kind == collfs.CreateCollection || op.Kind == collfs.CreateProject {
				unmade[op.UUID] = true
			}
		}
	}
	return kept, spared, nil
}

func texts(ids []collfs.UUID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

// verify returns what is bad about the extents of e, if anything.
func (s *Store) verify(e *entry) (bad, err error) {
	for _, ch := range e.changes {
		for _, x := range ch.extents {
			if bad, err := s.verifyExtent(x); bad != nil || err != nil {
				return bad, err
			}
		}
	}
	return nil, nil
}

// verifyExtent returns what is bad about x, if anything.
func (s *Store) verifyExtent(x keepio.Extent) (bad, err error) {
	if s.cfg.VerifyExtent == nil {
		return nil, nil
	}
	stored, err := s.isStored(x.Block, x.To)
	if err != nil || stored {
		return nil, err // it was durable before it was stored
	}
	return s.cfg.VerifyExtent(x), nil
}

// isStored reports whether a block is known to be stored, with at least size bytes.
func (s *Store) isStored(id keepio.BlockID, size uint32) (stored bool, err error) {
	err = s.writer.row(`SELECT count(*) FROM blockfile WHERE id = ? AND md5 IS NOT NULL AND size >= ?`, int64(id), size).Scan(&stored)
	return stored, storageError(err)
}

// syncRecovered makes durable what entries rely on in block files: the process
// that wrote them may have ended before it did.
func (s *Store) syncRecovered(entries []*entry) error {
	if s.cfg.NoSync {
		return nil
	}
	dir := filepath.Join(s.cfg.Dir, "open")
	seen := make(map[keepio.BlockID]bool)
	for _, e := range entries {
		for _, id := range e.blockIDs() {
			if e.durable || seen[id] {
				continue
			}
			seen[id] = true
			f, err := os.OpenFile(filepath.Join(dir, blockFileName(id)), os.O_RDWR, 0)
			if errors.Is(err, os.ErrNotExist) {
				continue // it is stored
			}
			if err == nil {
				err = errors.Join(f.Sync(), f.Close())
			}
			if err != nil {
				return fmt.Errorf("block file %d: %w", id, err)
			}
		}
	}
	if len(seen) == 0 {
		return nil
	}
	if err := syncDir(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
