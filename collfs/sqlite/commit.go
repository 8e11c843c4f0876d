package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"keepdav/collfs"
)

const (
	// versionIdle is how long a collection must have been left alone for its
	// state to be kept as a version when it is changed.
	versionIdle = 10 * time.Second

	// maxQueue bounds what may wait to be applied, in bytes: then a commit waits
	// for the applier. While the applier cannot work, commits go on up to
	// maxStuckQueue.
	maxQueue      = 16 << 20
	maxStuckQueue = 128 << 20

	// recordRoom is the space that a change of records needs on the disk. Its
	// record in the journal is short and may still find a place where the database,
	// which has to write the pages and has to have it before it is answered, doesn't.
	recordRoom = 256 << 10
)

// Commit is collfs.Catalog.
func (s *Store) Commit(ctx context.Context, tx collfs.Tx) ([]collfs.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	seen := make(map[collfs.UUID]bool, len(tx.Changes))
	for _, ch := range tx.Changes {
		if seen[ch.Collection] {
			return nil, fmt.Errorf("commit has two changes of %s: %w", ch.Collection, fs.ErrInvalid)
		}
		seen[ch.Collection] = true
	}
	if err := s.waitForRoom(ctx); err != nil {
		return nil, err
	}
	if len(tx.Records) > 0 {
		return s.commitRecords(ctx, tx, nil)
	}
	if len(tx.Changes) == 0 {
		return nil, s.barrier(ctx, tx.Durable)
	}
	e, payload, flags, err := newEntry(&tx)
	if err != nil {
		return nil, err
	}
	records, err := s.accept(ctx, e, payload, flags, nil)
	if err != nil {
		return nil, err
	}
	s.wakeApplier(false)
	return records, s.settle(e)
}

// newEntry returns the entry for tx with its payload; see encode.
func newEntry(tx *collfs.Tx) (e *entry, payload []byte, flags []int, err error) {
	payload, flags = encode(tx)
	if e, err = decode(payload); err != nil {
		return nil, nil, nil, err
	}
	e.detach()
	for i := range tx.Changes {
		e.changes[i].keep = tx.Changes[i].Keep
	}
	return e, payload, flags, nil
}

// barrier makes durable all that became facts before it.
func (s *Store) barrier(ctx context.Context, durable bool) error {
	if !durable || s.cfg.NoSync {
		return nil
	}
	s.mu.Lock()
	refs := slices.Collect(maps.Keys(s.debts))
	s.mu.Unlock()
	if err := s.payDebts(ctx, refs); err != nil {
		return err
	}
	if err := s.journal.Sync(s.journal.Last()); err != nil {
		return fmt.Errorf("%w: %w", collfs.ErrUnknownOutcome, err)
	}
	return nil
}

// settle makes an accepted entry durable, if it is to be.
func (s *Store) settle(e *entry) error {
	if !e.durable || s.cfg.NoSync {
		return nil
	}
	if err := s.journal.Sync(e.seq); err != nil {
		return fmt.Errorf("%w: %w", collfs.ErrUnknownOutcome, err)
	}
	return nil
}

// waitForRoom waits while too much waits to be applied.
func (s *Store) waitForRoom(ctx context.Context) error {
	for {
		s.mu.Lock()
		size, stuck, progress := s.queueSize, s.applyErr, s.progress
		s.mu.Unlock()
		switch {
		case size < maxQueue || stuck != nil && size < maxStuckQueue:
			return nil
		case stuck != nil:
			return fmt.Errorf("too many commits wait for the database: %w", stuck)
		}
		s.wakeApplier(true)
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// accept checks the changes of e against the records in memory and appends it
// to the journal: then it is a fact. trial is what a trial of its record
// operations did, nil if it has none.
func (s *Store) accept(ctx context.Context, e *entry, payload []byte, flags []int, trial *recordEffects) ([]collfs.Record, error) {
	refs := e.refs()
	for {
		if e.durable {
			if err := s.payDebts(ctx, refs); err != nil {
				return nil, err
			}
		}
		for _, ch := range e.changes {
			if trial != nil && trial.created[ch.collection] {
				continue
			}
			if _, err := s.loadHead(ctx, ch.collection); err != nil {
				return nil, err
			}
		}
		if trial != nil {
			for id := range trial.still {
				if _, err := s.loadHead(ctx, id); err != nil {
					return nil, err
				}
			}
		}
		s.journal.Relieve() // tryAccept holds Store.mu, for which all readers wait
		records, retry, err := s.tryAccept(e, refs, payload, flags, trial)
		if !retry {
			return records, err
		}
	}
}

// tryAccept is one attempt of accept; retry tells that a head was dropped or a
// debt made meanwhile.
func (s *Store) tryAccept(e *entry, refs []collfs.UUID, payload []byte, flags []int, trial *recordEffects) (records []collfs.Record, retry bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, false, fmt.Errorf("store: %w", collfs.ErrClosed)
	}
	if e.durable && s.cfg.SyncIDs != nil && len(s.debts.of(refs)) > 0 {
		return nil, true, nil
	}
	now := s.now()
	if trial != nil {
		now = trial.at
		for id, revision := range trial.still {
			switch h := s.heads[id]; {
			case h == nil:
				return nil, true, nil
			case h.rec.Revision != revision:
				return nil, false, stale(id, h.rec.Revision, revision)
			}
		}
	}
	e.at = nanos(now)
	heads := make([]*head, len(e.changes))
	for i := range e.changes {
		ch := &e.changes[i]
		h := s.heads[ch.collection]
		if h == nil && trial != nil && trial.created[ch.collection] {
			h = &head{rec: collfs.Record{UUID: ch.collection, Version: 1, CreatedAt: now, ModifiedAt: now}}
		}
		switch {
		case h == nil:
			return nil, true, nil
		case h.deleted:
			return nil, false, noRecord(ch.collection)
		case !h.rec.TrashAt.IsZero() || s.trashing[ch.collection] > 0:
			return nil, false, fmt.Errorf("collection %s is in the trash: %w", ch.collection, fs.ErrNotExist)
		case h.rec.Revision != ch.base:
			return nil, false, stale(ch.collection, h.rec.Revision, ch.base)
		}
		ch.mark = h.rec.Revision > 0 && !ch.repack && (ch.keep || now.Sub(h.rec.ModifiedAt) >= versionIdle)
		payload[flags[i]] &^= flagMark
		if ch.mark {
			payload[flags[i]] |= flagMark
		}
		heads[i] = h
	}
	setTime(payload, e.at)
	if e.seq, err = s.append(payload); err != nil {
		return nil, false, err
	}
	for i, ch := range e.changes {
		h := heads[i]
		h.rec.Revision++
		if ch.mark {
			h.rec.Version++
		}
		h.rec.Files, h.rec.Bytes, h.rec.PDH = ch.files, ch.bytes, ""
		if !ch.repack {
			h.rec.ModifiedAt = now
		}
		h.last = e.seq
		s.heads[ch.collection] = h
		records = append(records, h.rec)
	}
	if trial != nil {
		for _, ev := range trial.events {
			if ev.Kind == collfs.Trashed {
				s.trashing[ev.UUID] = e.seq
			}
			if h := s.heads[ev.UUID]; h != nil && !trial.created[ev.UUID] {
				ev.Revision = h.rec.Revision // the database may be behind
				h.deleted = ev.Kind == collfs.Deleted
			}
			s.addEventLocked(e, ev)
		}
	}
	for _, rec := range records {
		s.addEventLocked(e, collfs.Event{UUID: rec.UUID, Owner: rec.Owner, Kind: collfs.ContentChanged, Revision: rec.Revision})
	}
	if !e.durable {
		s.debts.join(e.seq, refs, e.blockIDs())
	}
	s.queue = append(s.queue, e)
	s.queueSize += e.size
	s.events.add(e)
	return records, false, nil
}

func stale(id collfs.UUID, is, base int64) error {
	return fmt.Errorf("collection %s is at revision %d, not %d: %w", id, is, base, collfs.ErrStale)
}

// append puts a record in the journal; on a full disk it gives up the reserve
// for it.
func (s *Store) append(payload []byte) (seq uint64, err error) {
	err = s.reserve.spend(func() error {
		seq, err = s.journal.Append(payload)
		return err
	})
	return seq, err
}

func (s *Store) addEventLocked(e *entry, ev collfs.Event) {
	s.eventSeq++
	ev.Seq, ev.At = s.eventSeq, timeOf(e.at)
	e.events = append(e.events, ev)
}

// commitRecords commits a transaction that changes records: they are tried,
// journaled and applied. check, if not nil, is called before, when no record can
// change any more.
func (s *Store) commitRecords(ctx context.Context, tx collfs.Tx, check func() error) ([]collfs.Record, error) {
	s.recordMu.Lock()
	e, err := s.commitRecordsLocked(ctx, &tx, check)
	s.recordMu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := s.settle(e); err != nil {
		return nil, err
	}
	records := make([]collfs.Record, 0, len(e.changes))
	for _, ch := range e.changes {
		rec, err := s.loadHead(ctx, ch.collection)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", collfs.ErrUnknownOutcome, err)
		}
		records = append(records, rec)
	}
	return records, nil
}

// commitRecordsLocked accepts tx and waits until it is applied. s.recordMu must be held.
func (s *Store) commitRecordsLocked(ctx context.Context, tx *collfs.Tx, check func() error) (*entry, error) {
	// One that was given up on may still be under way.
	if err := s.waitApplied(ctx, s.lastRecord); err != nil {
		return nil, err
	}
	// Better no than an outcome that nobody knows.
	s.mu.Lock()
	stuck, queued := s.applyErr, s.queueSize
	s.mu.Unlock()
	room := s.reserve.room(recordRoom + 2*queued)
	if stuck != nil || room != nil {
		if err := s.waitApplied(ctx, s.journal.Last()); err != nil {
			return nil, err
		}
		room = s.reserve.room(recordRoom)
	}
	if room != nil {
		return nil, room
	}
	if check != nil {
		if err := check(); err != nil {
			return nil, err
		}
	}
	trial, err := s.try(tx.Records)
	if err != nil {
		return nil, err
	}
	tx.Records = trial.ops
	e, payload, flags, err := newEntry(tx)
	if err != nil {
		return nil, err
	}
	if _, err := s.accept(ctx, e, payload, flags, trial); err != nil {
		return nil, err
	}
	s.lastRecord = e.seq
	if err := s.waitApplied(ctx, e.seq); err != nil {
		return nil, fmt.Errorf("%w: %w", collfs.ErrUnknownOutcome, err)
	}
	return e, nil
}

// try finds out what record operations would do, in a transaction that is
// rolled back.
func (s *Store) try(ops []collfs.RecordOp) (eff *recordEffects, err error) {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	err = s.reserve.spend(func() error {
		eff = newEffects(s.now())
		return s.writer.tx(func() error {
			for _, op := range ops {
				if err := eff.apply(s.writer, op); err != nil {
					return err
				}
			}
			return errRollback
		})
	})
	if errors.Is(err, errRollback) {
		return eff, nil
	}
	return nil, err
}

// wakeApplier tells the applier that there is work; urgent: somebody waits.
func (s *Store) wakeApplier(urgent bool) {
	if urgent {
		s.mu.Lock()
		s.urgent = true
		s.mu.Unlock()
	}
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// waitApplied waits until the database holds all entries up to seq.
func (s *Store) waitApplied(ctx context.Context, seq uint64) error {
	for first := true; ; first = false {
		s.mu.Lock()
		applied, progress, stuck := s.applied, s.progress, s.applyErr
		s.mu.Unlock()
		if applied >= seq {
			return nil
		}
		if stuck != nil && !first {
			return fmt.Errorf("commits cannot be applied: %w", stuck)
		}
		s.wakeApplier(true)
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return fmt.Errorf("store: %w", collfs.ErrClosed)
		}
	}
}
