package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

const (
	// maxBatch bounds how much is applied in one transaction, in bytes.
	maxBatch = 8 << 20
	// applyAt is how much may wait, in bytes, before the applier starts at once.
	applyAt = 1 << 20
	// checkpointAt is the size of SQLite's log that asks for a checkpoint.
	checkpointAt = 16 << 20
	// pageSize is that of the database, SQLite's default.
	pageSize = 4096
	// maxRow bounds the change sets in one row of table change, in bytes.
	maxRow = 1 << 20
)

// runApplier applies the queue until the store closes.
func (s *Store) runApplier() {
	var delay time.Duration // after a failure
	for s.awaitWork(delay) {
		err := s.applyQueue()
		switch {
		case err == nil:
			delay = 0
		case s.ctx.Err() != nil:
			return
		default:
			delay = min(max(2*delay, 50*time.Millisecond), 5*time.Second)
			s.setStuck(err)
		}
	}
}

// awaitWork waits until the queue should be applied: soon after something came
// into it, at once when somebody waits or when it is long, but not before delay
// is over. It returns false when the store closes.
func (s *Store) awaitWork(delay time.Duration) bool {
	var alarm <-chan time.Time
	for {
		s.mu.Lock()
		waiting, hurry := len(s.queue) > 0, s.urgent || s.closing || s.queueSize >= applyAt
		s.mu.Unlock()
		if waiting && hurry && delay == 0 {
			return s.ctx.Err() == nil
		}
		if waiting && alarm == nil {
			timer := time.NewTimer(max(delay, s.cfg.ApplyDelay))
			defer timer.Stop()
			alarm = timer.C
		}
		select {
		case <-alarm:
			return true
		case <-s.kick:
		case <-s.ctx.Done():
			return false
		}
	}
}

// setStuck notes that the applier cannot get on.
func (s *Store) setStuck(err error) {
	s.log.Error().Err(err).Msg("commits are safe in the journal, but cannot be brought to the database; trying again")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applyErr = err
	close(s.progress)
	s.progress = make(chan struct{})
}

// applyQueue applies one batch of the queue.
func (s *Store) applyQueue() error {
	s.mu.Lock()
	s.urgent = false
	n, size := 0, int64(0)
	for n < len(s.queue) && size < maxBatch {
		size += s.queue[n].size
		n++
	}
	entries := s.queue[:n:n]
	s.mu.Unlock()
	if n == 0 {
		return nil
	}
	if err := s.syncBlocks(entries); err != nil {
		return err
	}
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	var b *batch
	err := s.reserve.spend(func() (err error) {
		b, err = s.applyLocked(entries, entries[n-1].seq, s.writer.tx, false)
		return err
	})
	if err != nil {
		return err
	}
	s.finish(b, n, size)
	s.tidyLocked()
	return nil
}

// syncBlocks has made durable what entries rely on, but for what was made durable
// before them.
//
// While a block file cannot be synced, nothing is applied from the batch on in which
// an entry relies on it, of other collections neither. The database remembers how far it
// has followed the journal as one number, and a start replays what comes after: to
// go on beyond a gap, it would have to know the entries beyond that it has. Their
// order matters, too: one may change several collections, and the names of records
// that others rely on. So the entries wait in the journal, where they are safe, and
// commits go on up to maxStuckQueue.
func (s *Store) syncBlocks(entries []*entry) error {
	if s.cfg.SyncIDs == nil {
		return nil
	}
	var ids []keepio.BlockID
	seen := make(map[keepio.BlockID]bool)
	for _, e := range entries {
		for _, id := range e.unsynced() {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return s.cfg.SyncIDs(s.ctx, ids)
}

// finish notes that the first n entries of the queue are in the database.
func (s *Store) finish(b *batch, n int, size int64) {
	if b.records != nil {
		s.names.forget() // before anybody hears of progress
	}
	s.mu.Lock()
	s.applied = b.last
	clear(s.queue[:n])
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	s.queueSize -= size
	s.urgent = s.urgent || len(s.queue) > 0 // who waits may wait for a later batch
	for id, rec := range b.records {
		h := s.heads[id]
		switch {
		case h == nil:
		case rec == nil:
			delete(s.heads, id)
			s.headGen++
		default:
			h.rec.Owner, h.rec.Name, h.rec.Description, h.rec.Properties = rec.Owner, rec.Name, rec.Description, rec.Properties
			h.rec.TrashAt, h.rec.DeleteAt, h.rec.CreatedAt = rec.TrashAt, rec.DeleteAt, rec.CreatedAt
			if rec.ModifiedAt.After(h.rec.ModifiedAt) {
				h.rec.ModifiedAt = rec.ModifiedAt
			}
		}
	}
	for id, seq := range s.trashing {
		if seq <= s.applied {
			delete(s.trashing, id)
		}
	}
	if b.records != nil {
		s.headGen++ // a record that is being read may be one of before
	}
	s.debts.applied(b.last)
	s.applyErr = nil
	close(s.progress)
	s.progress = make(chan struct{})
	s.mu.Unlock()
	s.foldable.add(b.long)
	if len(b.long) > 0 {
		s.wakeTidy()
	}
}

// A batch is what one transaction brings to the database.
type batch struct {
	w           *writer
	versionUUID func(id collfs.UUID, version int64) collfs.UUID
	log         func(format string, args ...any)
	lenient     bool  // recovery: what cannot be done because an earlier entry was cut is left out
	seq         int64 // recovery: of the last event, for entries come without

	last    uint64
	states  map[collfs.UUID]*state
	ends    map[keepio.BlockID]blockEnd
	events  []collfs.Event
	content map[collfs.UUID]int // index in events of the last change of content

	records map[collfs.UUID]*collfs.Record // what record operations changed; nil: deleted
	long    []collfs.UUID                  // collections whose log is long
}

type blockEnd struct {
	collection collfs.UUID
	end        uint32
}

// A state is what a batch knows of a collection, and the row of changes that
// it is filling.
type state struct {
	owner                                     collfs.UUID
	revision, version, files, bytes, modified int64
	pdh                                       string
	logBytes, checkpointBytes                 int64

	first int64 // revision that the first of data leads to
	data  []byte
}

// applyLocked applies entries in one transaction of the writer, made by tx, and
// notes that all up to last were dealt with. s.writeMu must be held.
func (s *Store) applyLocked(entries []*entry, last uint64, tx func(func() error) error, lenient bool) (*batch, error) {
	b := &batch{
		w: s.writer, versionUUID: s.versionUUID, lenient: lenient, last: last,
		log:    func(format string, args ...any) { s.log.Warn().Msgf(format, args...) },
		states: make(map[collfs.UUID]*state), ends: make(map[keepio.BlockID]blockEnd), content: make(map[collfs.UUID]int),
	}
	if lenient {
		b.seq = s.eventSeq // nobody else is here yet
	}
	err := tx(func() error {
		for _, e := range entries {
			if err := b.add(e); err != nil {
				return fmt.Errorf("apply journal record %d: %w", e.seq, err)
			}
		}
		return b.flush()
	})
	return b, err
}

func (b *batch) add(e *entry) error {
	if len(e.records) > 0 {
		if err := b.addRecords(e); err != nil {
			return err
		}
	}
	for i := range e.changes {
		if err := b.addChange(e, &e.changes[i]); err != nil {
			return err
		}
	}
	for _, ev := range e.events {
		if b.lenient {
			b.seq++
			ev.Seq, ev.At = b.seq, timeOf(e.at)
		}
		if ev.Kind == collfs.ContentChanged {
			if i, ok := b.content[ev.UUID]; ok {
				b.events[i].Seq = 0 // the later one says as much
			}
			b.content[ev.UUID] = len(b.events)
		}
		b.events = append(b.events, ev)
	}
	return nil
}

func (b *batch) addRecords(e *entry) error {
	if err := b.flushStates(); err != nil {
		return err
	}
	f := newEffects(timeOf(e.at))
	for _, op := range e.records {
		if b.lenient {
			op.Unique = true
		}
		err := f.apply(b.w, op)
		if err != nil && b.lenient && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, collfs.ErrIntoItself)) {
			b.log("record operation of %s is left out: %v", op.UUID, err)
			continue
		}
		if err != nil {
			return err
		}
	}
	if b.records == nil {
		b.records = make(map[collfs.UUID]*collfs.Record)
	}
	for _, ev := range f.events {
		rec, err := scanRecord(b.w.row(`SELECT `+recordColumns+` FROM record WHERE uuid = ?`, ev.UUID))
		switch {
		case err == nil:
			b.records[ev.UUID] = &rec
		case errors.Is(noRows(err, ev.UUID), fs.ErrNotExist):
			b.records[ev.UUID] = nil
		default:
			return err
		}
	}
	if b.lenient {
		e.events = f.events
	}
	return nil
}

// state returns what the batch knows of a collection; nil: there is none.
func (b *batch) state(id collfs.UUID) (*state, error) {
	if st := b.states[id]; st != nil {
		return st, nil
	}
	st := new(state)
	err := b.w.row(`SELECT owner, revision, version, files, bytes, modified, iif(pdh_revision = revision, pdh, ''), log_bytes, checkpoint_bytes
		FROM record WHERE uuid = ? AND kind = 1`, id).
		Scan(&st.owner, &st.revision, &st.version, &st.files, &st.bytes, &st.modified, &st.pdh, &st.logBytes, &st.checkpointBytes)
	if err := noRows(err, id); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	b.states[id] = st
	return st, nil
}

func (b *batch) addChange(e *entry, ch *change) error {
	st, err := b.state(ch.collection)
	if err != nil {
		return err
	}
	if st == nil {
		// It was deleted by an entry before this one, which no check could see.
		b.log("change of %s is left out: it was deleted", ch.collection)
		return nil
	}
	if st.revision != ch.base {
		return fmt.Errorf("change of %s is based on revision %d, the database has %d: %w", ch.collection, ch.base, st.revision, keepio.ErrCorrupt)
	}
	if ch.mark {
		if err := b.flushChanges(ch.collection, st); err != nil {
			return err
		}
		_, err := b.w.exec(`INSERT INTO version (collection, version, revision, modified, until, files, bytes, pdh, uuid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			ch.collection, st.version, st.revision, st.modified, e.at, st.files, st.bytes, st.pdh, b.versionUUID(ch.collection, st.version))
		if err != nil {
			return err
		}
		st.version++
	}
	if len(st.data)+len(ch.ops) > maxRow {
		if err := b.flushChanges(ch.collection, st); err != nil {
			return err
		}
	}
	st.revision++
	if b.lenient {
		e.events = append(e.events, collfs.Event{UUID: ch.collection, Owner: st.owner, Kind: collfs.ContentChanged, Revision: st.revision})
	}
	if len(st.data) == 0 {
		st.first = st.revision
	}
	st.data = appendFrame(st.data, ch.ops)
	st.files, st.bytes, st.pdh = ch.files, ch.bytes, ""
	if !ch.repack {
		st.modified = e.at
	}
	for _, x := range ch.extents {
		b.ends[x.Block] = blockEnd{ch.collection, max(b.ends[x.Block].end, x.To)}
	}
	return nil
}

// flushChanges writes the row of changes that st is filling.
func (b *batch) flushChanges(id collfs.UUID, st *state) error {
	if len(st.data) == 0 {
		return nil
	}
	_, err := b.w.exec(`INSERT INTO change (collection, first, last, data) VALUES (?, ?, ?, ?)`, id, st.first, st.revision, st.data)
	st.logBytes += int64(len(st.data))
	st.data = st.data[:0]
	return err
}

// flushStates writes what the batch knows of collections, and forgets it.
func (b *batch) flushStates() error {
	for id, st := range b.states {
		if err := b.flushChanges(id, st); err != nil {
			return err
		}
		_, err := b.w.exec(`UPDATE record SET revision = ?, version = ?, files = ?, bytes = ?, modified = max(modified, ?), log_bytes = ? WHERE uuid = ?`,
			st.revision, st.version, st.files, st.bytes, st.modified, st.logBytes, id)
		if err != nil {
			return err
		}
		if st.logBytes > foldAt(st.checkpointBytes) {
			b.long = append(b.long, id)
		}
	}
	clear(b.states)
	return nil
}

// flush writes all that is left of the batch.
func (b *batch) flush() error {
	if err := b.flushStates(); err != nil {
		return err
	}
	for id, x := range b.ends {
		_, err := b.w.exec(`INSERT INTO blockfile (id, collection, committed_end) VALUES (?1, ?2, ?3)
			ON CONFLICT (id) DO UPDATE SET collection = ?2, committed_end = max(committed_end, ?3)`, int64(id), x.collection, x.end)
		if err != nil {
			return err
		}
	}
	for _, ev := range b.events {
		if ev.Seq == 0 {
			continue
		}
		_, err := b.w.exec(`INSERT INTO event (seq, uuid, owner, old_owner, kind, revision, at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			ev.Seq, ev.UUID, ev.Owner, ev.OldOwner, ev.Kind, ev.Revision, nanos(ev.At))
		if err != nil {
			return err
		}
		// A note may have a later number than an event that is applied after it.
		if _, err := b.w.exec(`UPDATE meta SET value = max(value, ?) WHERE key = 'event seq'`, ev.Seq); err != nil {
			return err
		}
	}
	return b.setMeta("applied", int64(b.last))
}

func (b *batch) setMeta(key string, value int64) error {
	_, err := b.w.exec(`UPDATE meta SET value = ? WHERE key = ?`, value, key)
	return err
}

// tidyLocked brings SQLite's log to the database when it is long or when a
// segment of the journal can be deleted then. s.writeMu must be held.
func (s *Store) tidyLocked() {
	s.mu.Lock()
	applied, broken := s.applied, s.broken
	s.mu.Unlock()
	if broken != nil || s.journal.Droppable(applied) == 0 && s.walBacklog() < checkpointAt {
		return
	}
	if err := s.checkpointLocked(context.Background(), "PASSIVE"); err != nil {
		s.log.Warn().Err(err).Msg("the journal is kept: no checkpoint of the database")
	}
}

// walBacklog returns how much of SQLite's log isn't in the database file yet, as
// the index of the log says: https://sqlite.org/walformat.html.
func (s *Store) walBacklog() int64 {
	const maxFrame, backfilled = 16, 96
	f, err := os.Open(filepath.Join(s.cfg.Dir, "keepdav.db-shm"))
	if err != nil {
		return 0
	}
	defer f.Close()
	var index [backfilled + 4]byte
	if _, err := f.ReadAt(index[:], 0); err != nil {
		return 0
	}
	frames := int64(binary.NativeEndian.Uint32(index[maxFrame:])) - int64(binary.NativeEndian.Uint32(index[backfilled:]))
	return frames * pageSize
}

// checkpointLocked brings SQLite's log to the database file, and if all of it
// is there and on disk, deletes what the journal holds of it. s.writeMu must be held.
func (s *Store) checkpointLocked(ctx context.Context, mode string) error {
	s.mu.Lock()
	applied, broken := s.applied, s.broken
	s.mu.Unlock()
	var busy, log, done int
	err := s.writer.conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(`+mode+`)`).Scan(&busy, &log, &done)
	switch {
	case err != nil:
		err = storageError(err)
		if errors.Is(err, keepio.ErrUnavailable) && isIOError(err) {
			s.distrust(err)
		}
		return err
	case busy != 0 || log != done:
		return nil // a reader is in the way; next time
	case broken != nil:
		return broken
	}
	return s.journal.Drop(applied)
}
