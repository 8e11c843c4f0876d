package journal

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"keepdav/keepio"
)

// A segment starts with a header:
//
//	magic [4] version u32 first u64 salt u64 zero u32 crc u32
//
// and then holds records, each starting at a multiple of eight bytes:
//
//	length u32, crc u32, seq u64, synced u64, payload [length], padding
//
// All numbers are little-endian. The CRC-32C of a record covers the salt, the
// length, seq, synced and the payload. A length of zero ends the segment.
const (
	magic        = "KDJ\x01"
	version      = 1
	headerSize   = 32
	recordHeader = 24
	maxPayload   = 1 << 30
	defaultSize  = 8 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A segmentID names a segment: the number of the first record it may hold, and
// an ordinal, for a log may start over at the same record.
type segmentID struct {
	first   uint64
	ordinal uint32
}

func (id segmentID) String() string { return fmt.Sprintf("%016x-%08x", id.first, id.ordinal) }

// parseSegmentID is the inverse of String.
func parseSegmentID(name string) (id segmentID, ok bool) {
	first, ordinal, ok := strings.Cut(name, "-")
	if !ok {
		return id, false
	}
	f, err1 := strconv.ParseUint(first, 16, 64)
	o, err2 := strconv.ParseUint(ordinal, 16, 32)
	id = segmentID{f, uint32(o)}
	return id, err1 == nil && err2 == nil && id.String() == name
}

// compare orders segments as they were written.
func (id segmentID) compare(other segmentID) int {
	return cmp.Or(cmp.Compare(id.first, other.first), cmp.Compare(id.ordinal, other.ordinal))
}

// recordSize returns how much room a record takes.
func recordSize(payload int) int64 { return int64(recordHeader+payload+7) &^ 7 }

// appendHeader appends the header of a segment to buf.
func appendHeader(buf []byte, first, salt uint64) []byte {
	start := len(buf)
	buf = append(buf, magic...)
	buf = binary.LittleEndian.AppendUint32(buf, version)
	buf = binary.LittleEndian.AppendUint64(buf, first)
	buf = binary.LittleEndian.AppendUint64(buf, salt)
	buf = binary.LittleEndian.AppendUint32(buf, 0)
	return binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf[start:], castagnoli))
}

// parseHeader returns what the header of a segment says.
func parseHeader(data []byte) (first, salt uint64, ok bool) {
	if len(data) < headerSize || string(data[:4]) != magic ||
		binary.LittleEndian.Uint32(data[4:]) != version ||
		binary.LittleEndian.Uint32(data[28:]) != crc32.Checksum(data[:28], castagnoli) {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(data[8:]), binary.LittleEndian.Uint64(data[16:]), true
}

// appendRecord appends a record, padded, to buf.
func appendRecord(buf []byte, salt, seq, synced uint64, payload []byte) []byte {
	start := len(buf)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(payload)))
	buf = binary.LittleEndian.AppendUint32(buf, 0)
	buf = binary.LittleEndian.AppendUint64(buf, seq)
	buf = binary.LittleEndian.AppendUint64(buf, synced)
	buf = append(buf, payload...)
	for (len(buf)-start)%8 != 0 {
		buf = append(buf, 0)
	}
	binary.LittleEndian.PutUint32(buf[start+4:], checksum(salt, buf[start:start+recordHeader+len(payload)]))
	return buf
}

// checksum returns the CRC of an unpadded record, leaving out its CRC field.
func checksum(salt uint64, record []byte) uint32 {
	return crc32.Update(headerChecksum(salt, record), castagnoli, record[recordHeader:])
}

// headerChecksum is checksum up to the payload.
func headerChecksum(salt uint64, record []byte) uint32 {
	var s [8]byte
	binary.LittleEndian.PutUint64(s[:], salt)
	crc := crc32.Update(0, castagnoli, s[:])
	crc = crc32.Update(crc, castagnoli, record[:4])
	return crc32.Update(crc, castagnoli, record[8:recordHeader])
}

// A record is one record of a segment. Its payload aliases the segment's bytes.
type record struct {
	seq, synced uint64
	payload     []byte
}

// segmentData is what a segment holds.
type segmentData struct {
	data        []byte
	first, salt uint64

	wasted int      // bytes that were summed and were no record
	sums   []uint32 // CRC-32C of data up to each multiple of eight, made when needed
}

// parseSegment returns nil for data that is not of a segment with that first
// record.
func parseSegment(data []byte, first uint64) *segmentData {
	named, salt, ok := parseHeader(data)
	if !ok || named != first {
		return nil
	}
	return &segmentData{data: data, first: first, salt: salt}
}

// record returns the record at pos, a multiple of eight, if there is one.
func (s *segmentData) record(pos int64) (r record, ok bool) {
	data := s.data[pos:]
	if len(data) < recordHeader {
		return r, false
	}
	n := binary.LittleEndian.Uint32(data)
	if n == 0 || n > maxPayload || recordSize(int(n)) > int64(len(data)) {
		return r, false
	}
	r.seq = binary.LittleEndian.Uint64(data[8:])
	r.synced = binary.LittleEndian.Uint64(data[16:])
	if r.seq <= r.synced || r.seq-s.first > 1<<32 {
		return r, false // keeps a search through arbitrary bytes from summing most of them
	}
	whole := data[:recordHeader+int(n)]
	if s.checksum(pos, whole) != binary.LittleEndian.Uint32(data[4:]) {
		s.wasted += len(whole)
		return r, false
	}
	r.payload = whole[recordHeader:]
	return r, true
}

// checksum is that of the record at pos. What lies behind the last record of a
// segment is left of an earlier use of the file and may be what a user wrote: bytes
// that look like the start of a record at every place. After some of these, sums
// follow by arithmetic from those of the whole.
func (s *segmentData) checksum(pos int64, record []byte) uint32 {
	if s.wasted <= len(s.data) {
		return checksum(s.salt, record)
	}
	if s.sums == nil {
		s.sums = make([]uint32, 1, len(s.data)/8+1)
		for i := 8; i <= len(s.data); i += 8 {
			s.sums = append(s.sums, crc32.Update(s.sums[i/8-1], castagnoli, s.data[i-8:i]))
		}
	}
	from, to := pos+recordHeader, pos+int64(len(record))
	upTo := crc32.Update(s.sums[to/8], castagnoli, s.data[to&^7:to])
	return keepio.JoinSums(headerChecksum(s.salt, record)^s.sums[from/8], upTo, uint32(to-from))
}
