package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"keepdav/keepio"
)

// maxTail bounds what is kept in memory, and written again in the next segment,
// because it isn't known to be durable: an Append that finds more of it syncs, and
// a Relieve that finds half as much.
const maxTail = 2 << 20

// Options say how a log is kept. Dir is needed.
type Options struct {
	Dir         string // made when missing
	SegmentSize int64  // 0: 8 MiB
	NoSync      bool   // for tests and throw-away stores: nothing is synced

	files files // nil: the file system
}

// A Log is an open log. All methods may be called concurrently.
type Log struct {
	o Options

	mu       sync.Mutex // guards the fields below
	cur      segment    // holds all records that are not known to be durable
	old      []segment  // the others, oldest first
	next     uint64     // number of the next record
	synced   uint64     // records up to this number are durable
	tail     [][]byte   // payloads of the records after synced
	tailSize int64
	ordinal  uint32
	spare    bool          // the file for the next segment is ready
	syncing  chan struct{} // closed when the sync under way ends; nil: none
	syncFile file          // what is being synced
	bad      bool          // syncing cur failed: it is neither synced nor written again
	buf      []byte
	making   chan struct{} // closed when the spare that is being made is ready or failed; nil: none
	closed   bool
}

// A segment is one file of the log.
type segment struct {
	segmentID
	f        file // nil once it is full
	salt     uint64
	pos      int64
	last     uint64 // its last record
	dirDirty bool   // its name isn't known to be durable
}

// Open opens the log in o.Dir, creating it when it is missing, and calls fn for
// every record after the one numbered after, in order. The next record gets the
// number after the last one, or after after. What is torn at the end of the log
// is left out for good; damage elsewhere is a *DamageError.
func Open(o Options, after uint64, fn func(seq uint64, payload []byte) error) (*Log, error) {
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSize
	}
	if o.files == nil {
		o.files = osFiles{o.NoSync}
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := o.files.syncDir(filepath.Dir(o.Dir)); err != nil {
		return nil, err
	}
	last, err := replay(o.Dir, after, fn)
	if err != nil {
		return nil, err
	}
	l := &Log{o: o, next: last + 1, synced: last}
	files, err := segments(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := o.files.syncDir(o.Dir); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := forget(o.files, f, last); err != nil {
			return nil, fmt.Errorf("journal: %w", full(err))
		}
		// What was replayed may be in the page cache only, and the next
		// record will say that it is durable.
		if err := o.files.syncPath(f.path); err != nil {
			return nil, fmt.Errorf("sync journal: %w", full(err))
		}
		l.old = append(l.old, segment{segmentID: f.segmentID, last: last})
		l.ordinal = max(l.ordinal, f.ordinal)
	}
	if _, err := os.Stat(l.sparePath()); err == nil {
		l.spare = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.startLocked(); err != nil {
		return nil, err
	}
	return l, nil
}

// Append adds a record, which then survives the end of the process, and
// returns its number. It keeps payload, which must not be empty nor be changed.
// On an error nothing was added; a full disk is keepio.ErrFull.
func (l *Log) Append(payload []byte) (uint64, error) {
	if len(payload) == 0 || len(payload) > maxPayload {
		return 0, fmt.Errorf("journal record of %d bytes: %w", len(payload), keepio.ErrTooLarge)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tailSize > l.maxTail() && !l.bad {
		l.mu.Unlock()
		_ = l.Sync(l.Last()) // see Relieve
		l.mu.Lock()
	}
	size := recordSize(len(payload))
	for !l.closed && (l.bad || l.cur.last >= l.cur.first && l.cur.pos+size > l.o.SegmentSize) {
		err := l.startLocked()
		if err == nil {
			break // even when the tail and this record are larger than a segment
		}
		if !errors.Is(err, errWaited) {
			return 0, err
		}
	}
	if l.closed {
		return 0, os.ErrClosed
	}
	if err := l.writeLocked(&l.cur, l.next, payload); err != nil {
		return 0, fmt.Errorf("journal: %w", full(err))
	}
	seq := l.next
	l.next++
	l.tail = append(l.tail, payload)
	l.tailSize += size
	return seq, nil
}

func (l *Log) maxTail() int64 { return min(maxTail, l.o.SegmentSize/4) }

// Relieve syncs the log if much of it isn't durable, so that the next Append need
// not: for callers of Append that hold a lock. Whether it succeeds is for those to
// hear who wait for durability.
func (l *Log) Relieve() {
	l.mu.Lock()
	much, last := l.tailSize > l.maxTail()/2 && !l.bad, l.next-1
	l.mu.Unlock()
	if much {
		_ = l.Sync(last)
	}
}

// writeLocked writes a record at the end of s. A failure leaves s as it was: the next
// record is written over what was written of this one. l.mu must be held.
func (l *Log) writeLocked(s *segment, seq uint64, payload []byte) error {
	l.buf = appendRecord(l.buf[:0], s.salt, seq, min(l.synced, seq-1), payload)
	if _, err := s.f.WriteAt(l.buf, s.pos); err != nil {
		return err
	}
	s.pos += int64(len(l.buf))
	s.last = seq
	if cap(l.buf) > 1<<20 {
		l.buf = nil
	}
	return nil
}

// startLocked starts a new segment with what isn't known to be durable. l.mu
// must be held. If it has to wait for the spare, it releases l.mu meanwhile and
// returns errWaited: the caller looks again whether a new segment is needed.
func (l *Log) startLocked() error {
	if err := l.takeSpareLocked(); err != nil {
		return err
	}
	id := segmentID{l.synced + 1, l.ordinal + 1}
	path := filepath.Join(l.o.Dir, id.String())
	if err := os.Rename(l.sparePath(), path); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	l.spare = false
	f, err := l.o.files.open(path)
	if err != nil {
		return fmt.Errorf("journal: %w", full(err))
	}
	var salt [8]byte
	rand.Read(salt[:])
	s := segment{segmentID: id, f: f, salt: binary.LittleEndian.Uint64(salt[:]), pos: headerSize, last: l.synced, dirDirty: true}
	_, err = f.WriteAt(appendHeader(nil, id.first, s.salt), 0)
	for i, payload := range l.tail {
		if err == nil {
			err = l.writeLocked(&s, id.first+uint64(i), payload)
		}
	}
	if err != nil {
		err = errors.Join(err, f.Close(), os.Remove(path))
		return fmt.Errorf("journal: %w", full(err))
	}
	if l.cur.f != nil {
		if l.cur.f != l.syncFile {
			l.cur.f.Close() // what matters of it has been synced, or is in s
		}
		l.cur.f = nil
		l.old = append(l.old, l.cur)
	}
	l.cur, l.ordinal, l.bad = s, id.ordinal, false
	l.prepareLocked()
	return nil
}

// Sync makes durable all records up to seq.
func (l *Log) Sync(seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for attempt := 0; l.synced < seq; {
		if seq >= l.next {
			return fmt.Errorf("journal: record %d does not exist", seq)
		}
		if wait := l.syncing; wait != nil {
			l.mu.Unlock()
			<-wait
			l.mu.Lock()
			continue
		}
		if l.bad {
			if err := l.startLocked(); errors.Is(err, errWaited) {
				continue
			} else if err != nil {
				return err
			}
		}
		if err := l.syncLocked(); err != nil {
			if attempt++; attempt == 2 {
				return fmt.Errorf("sync journal: %w", full(err))
			}
		}
	}
	return nil
}

// syncLocked syncs what is written so far. l.mu must be held; it is released
// meanwhile. No other sync may be under way.
func (l *Log) syncLocked() error {
	f, target, dir := l.cur.f, l.next-1, l.cur.dirDirty
	done := make(chan struct{})
	l.syncing, l.syncFile = done, f
	l.mu.Unlock()
	var err error
	if dir {
		err = l.o.files.syncDir(l.o.Dir)
	}
	if err == nil {
		err = f.Sync()
	}
	l.mu.Lock()
	l.syncing, l.syncFile = nil, nil
	close(done)
	if f != l.cur.f {
		f.Close() // it was replaced meanwhile
	}
	switch {
	case err == nil:
		l.durableLocked(target)
		if f == l.cur.f {
			l.cur.dirDirty = false
		}
	case f == l.cur.f:
		l.bad = true
	}
	return err
}

// durableLocked notes that records up to seq are durable. l.mu must be held.
func (l *Log) durableLocked(seq uint64) {
	if seq <= l.synced {
		return
	}
	n := int(seq - l.synced)
	for _, p := range l.tail[:n] {
		l.tailSize -= recordSize(len(p))
	}
	rest := copy(l.tail, l.tail[n:])
	clear(l.tail[rest:])
	l.tail = l.tail[:rest]
	l.synced = seq
}

// Last returns the number of the last record.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next - 1
}

// Durable returns the number up to which all records are known to be durable.
func (l *Log) Durable() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.synced
}

// Droppable reports how many full segments hold no record after seq.
func (l *Log) Droppable(seq uint64) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.old {
		if s.last <= seq {
			n++
		}
	}
	return n
}

// Drop deletes the segments that hold no record after seq, except the one that
// is being written.
func (l *Log) Drop(seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	kept := l.old[:0]
	for _, s := range l.old {
		path := filepath.Join(l.o.Dir, s.String())
		if s.last > seq {
			kept = append(kept, s)
			continue
		}
		err := error(nil)
		if !l.spare && l.making == nil && l.reusable(path) {
			if err = os.Rename(path, l.sparePath()); err == nil {
				l.spare = true
			}
		} else {
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	l.old = kept
	return errors.Join(errs...)
}

// Close syncs the log and closes it.
func (l *Log) Close() error {
	err := l.Sync(l.Last())
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	if !closed {
		err = errors.Join(err, l.cur.f.Close())
	}
	making := l.making
	l.mu.Unlock()
	if making != nil {
		<-making
	}
	return err
}

// full makes a lack of space known as such.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", keepio.ErrFull, err)
	}
	return err
}
