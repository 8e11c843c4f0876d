package journal

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
)

// A DamageError says that a record that had been made durable cannot be read.
type DamageError struct {
	Path    string // the segment
	Offset  int64
	Seq     uint64 // the first record that is missing
	Durable uint64 // what a later record says was durable
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("journal is damaged: record %d at offset %d of %s cannot be read, but records up to %d had been made durable; "+
		"nothing was changed: restore the journal and the database of the store from the same backup, or copy the store and "+
		"move this file out of the journal directory to go on without the commits from record %d on",
		e.Seq, e.Offset, e.Path, e.Durable, e.Seq)
}

// A segmentFile is a segment found in the directory.
type segmentFile struct {
	segmentID
	path string
}

// segments lists the segments in dir in the order in which they were written.
func segments(dir string) ([]segmentFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []segmentFile
	for _, e := range entries {
		if id, ok := parseSegmentID(e.Name()); ok && e.Type().IsRegular() {
			all = append(all, segmentFile{id, filepath.Join(dir, e.Name())})
		}
	}
	slices.SortFunc(all, func(a, b segmentFile) int { return a.compare(b.segmentID) })
	return all, nil
}

// replay calls fn for each record after the one numbered after, in order,
// without gaps, and returns the number of the last record of the log, which is
// after when there is none. Payloads are valid during the call only.
//
// A record may be in several segments, always with the same payload.
func replay(dir string, after uint64, fn func(seq uint64, payload []byte) error) (last uint64, err error) {
	files, err := segments(dir)
	if err != nil {
		return after, err
	}
	last = after
	stopped := DamageError{Path: dir, Seq: after + 1}
	for _, f := range files {
		data, err := os.ReadFile(f.path)
		if err != nil {
			return last, err
		}
		before := last
		end, err := readSegment(data, f.first, last, func(r record) error {
			last = r.seq
			return fn(r.seq, r.payload)
		})
		if err != nil {
			return last, err
		}
		if last > before {
			stopped = DamageError{Path: f.path, Offset: end, Seq: last + 1}
		}
	}
	// Here the log ends, if nothing proves the contrary.
	if stopped.Durable = evidence(files); stopped.Durable > last {
		stopped.Seq = last + 1
		return last, &stopped
	}
	return last, nil
}

// readSegment calls fn for the records after the one numbered last, as long as
// they follow each other, and returns the offset where it stopped. Records that
// are known already may be damaged: they are stepped over.
func readSegment(data []byte, first, last uint64, fn func(record) error) (end int64, err error) {
	s := parseSegment(data, first)
	if s == nil {
		return 0, nil
	}
	for pos := int64(headerSize); ; {
		r, ok := s.record(pos)
		switch {
		case !ok:
			if pos, ok = s.nextRecord(pos, last+1); !ok {
				return pos, nil
			}
			continue
		case r.seq == last+1:
			if err := fn(r); err != nil {
				return pos, err
			}
			last = r.seq
		case r.seq > last:
			return pos, nil
		}
		pos += recordSize(len(r.payload))
	}
}

// nextRecord looks for the next good record behind a bad one at pos. If its
// number is at most seq, then nothing between was needed and it returns its
// offset, else pos and false.
func (s *segmentData) nextRecord(pos int64, seq uint64) (int64, bool) {
	for p := pos + 8; p+recordHeader <= int64(len(s.data)); p += 8 {
		if r, ok := s.record(p); ok {
			if r.seq <= seq {
				return p, true
			}
			break
		}
	}
	return pos, false
}

// evidence returns the highest number that a record says was durable.
func evidence(files []segmentFile) (durable uint64) {
	for _, f := range files {
		// A segment that cannot be read proves nothing.
		if data, err := os.ReadFile(f.path); err == nil {
			durable = max(durable, segmentEvidence(data, f.first))
		}
	}
	return durable
}

// segmentEvidence is evidence for one segment.
func segmentEvidence(data []byte, first uint64) (durable uint64) {
	for _, r := range parseSegment(data, first).anywhere() {
		durable = max(durable, r.synced)
	}
	return durable
}

// anywhere yields all records of a segment, those behind bad ones too, with their
// offsets.
func (s *segmentData) anywhere() iter.Seq2[int64, record] {
	return func(yield func(int64, record) bool) {
		if s == nil {
			return
		}
		for pos := int64(headerSize); pos+recordHeader <= int64(len(s.data)); {
			r, ok := s.record(pos)
			if !ok {
				pos += 8
				continue
			}
			if !yield(pos, r) {
				return
			}
			pos += recordSize(len(r.payload))
		}
	}
}

// forget takes away the records of a segment after the one numbered last, with
// which the log ends: they lie behind a torn one, and their numbers are given to
// others. A reader that has these from the database would take them for what
// follows.
func forget(fs files, f segmentFile, last uint64) error {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	for pos, r := range parseSegment(data, f.first).anywhere() {
		if r.seq <= last {
			continue
		}
		file, err := fs.open(f.path)
		if err != nil {
			return err
		}
		_, err = file.WriteAt(make([]byte, int64(len(data))-pos), pos)
		return errors.Join(err, file.Close())
	}
	return nil
}
