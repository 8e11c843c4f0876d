package fsx

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A kind is what an operation does.
type kind string

// An operation's fields by kind; what is not named is unused.
const (
	opRead     kind = "read"     // n bytes at off, through fd
	opWrite    kind = "write"    // n bytes at off, through fd
	opAppend   kind = "append"   // n bytes, by a descriptor with O_APPEND
	opTruncate kind = "truncate" // to off
	opMapRead  kind = "mapread"  // n bytes at off, shared mapping
	opMapWrite kind = "mapwrite" // n bytes at off, shared mapping, within the file
	opGrow     kind = "grow"     // fallocate n bytes at off
	opReserve  kind = "reserve"  // the same with KEEP_SIZE
	opPunch    kind = "punch"    // a hole of n bytes at off
	opZero     kind = "zero"     // ZERO_RANGE of n bytes at off
	opCopy     kind = "copy"     // n bytes at off to off2 of file2
	opDirect   kind = "direct"   // read of n bytes at off with O_DIRECT, both in blocks
	opSync     kind = "sync"     // fsync through fd
	opReopen   kind = "reopen"   // close and open fd
	opDrop     kind = "drop"     // fsync and let go of cached pages
	opRemount  kind = "remount"  // close everything, Options.Remount, open everything
	opCheck    kind = "check"    // compare the whole file and its size
	opRename   kind = "rename"   // file to another name and back
	opReplace  kind = "replace"  // a new empty file takes the name, as O_TRUNC does not
)

// op is one operation; its text is "KIND FILE FD OFF N [FILE2 OFF2] FILL".
type op struct {
	kind     kind
	file, fd int
	off, n   int64
	file2    int
	off2     int64
	fill     byte // of the bytes written
}

func (o op) String() string {
	return fmt.Sprintf("%s %d %d %d %d %d %d %d", o.kind, o.file, o.fd, o.off, o.n, o.file2, o.off2, o.fill)
}

// parse reads a list of operations, one a line.
func parse(trace string) ([]op, error) {
	var ops []op
	for line := range strings.Lines(trace) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		var o op
		if _, err := fmt.Sscan(line, &o.kind, &o.file, &o.fd, &o.off, &o.n, &o.file2, &o.off2, &o.fill); err != nil {
			return nil, fmt.Errorf("operation %q: %w", line, err)
		}
		if _, known := weights[o.kind]; !known || o.file < 0 || o.file2 < 0 || o.fd < 0 || o.fd > 1 || o.off < 0 || o.n < 0 || o.off2 < 0 {
			return nil, fmt.Errorf("operation %q is out of range", line)
		}
		ops = append(ops, o)
	}
	return ops, nil
}

// weights are how often each kind comes, relative to the others. A sync is slow.
var weights = map[kind]int{
	opRead: 450, opWrite: 450, opAppend: 120, opTruncate: 180, opMapRead: 180, opMapWrite: 180, opGrow: 60, opReserve: 30, opPunch: 120,
	opZero: 90, opCopy: 120, opDirect: 60, opSync: 1, opReopen: 90, opDrop: 2, opRemount: 1, opCheck: 20, opRename: 30, opReplace: 9,
}

// kinds is the order in which weights count; a seed means the same list for ever.
var kinds = []kind{opRead, opWrite, opAppend, opTruncate, opMapRead, opMapWrite, opGrow, opReserve, opPunch, opZero, opCopy, opDirect,
	opSync, opReopen, opDrop, opRemount, opCheck, opRename, opReplace}

// A source makes operations.
type source struct {
	rng   *rand.Rand
	kinds []kind
	total int
	files int
	size  int64 // the largest size of a file
}

func newSource(seed uint64, files int, size int64, without map[kind]bool) *source {
	s := &source{rng: rand.New(rand.NewPCG(seed, 0x66737820)), files: files, size: size}
	for _, k := range kinds {
		if !without[k] {
			s.kinds = append(s.kinds, k)
			s.total += weights[k]
		}
	}
	return s
}

func (s *source) next() op {
	o := op{kind: s.kind(), file: s.rng.IntN(s.files), fd: s.rng.IntN(2), fill: byte(1 + s.rng.IntN(255))}
	o.off, o.n = s.span()
	switch o.kind {
	case opAppend:
		o.off, o.n = 0, 1+s.rng.Int64N(4000)
	case opTruncate:
		o.n = 0
	case opCopy:
		o.file2, o.off2 = s.rng.IntN(s.files), s.offset()
		o.off2 = min(o.off2, s.size-o.n)
	case opDirect:
		o.off, o.n = o.off&^4095, (o.n+4095)&^4095
	}
	return o
}

func (s *source) kind() kind {
	at := s.rng.IntN(s.total)
	for _, k := range s.kinds {
		if at -= weights[k]; at < 0 {
			return k
		}
	}
	return opCheck
}

// offset prefers the borders of pages and blocks, where mistakes are.
func (s *source) offset() int64 {
	off := s.rng.Int64N(s.size)
	switch s.rng.IntN(5) {
	case 0:
		off &^= 4095
	case 1:
		off = max(0, off&^4095-1+s.rng.Int64N(3))
	case 2:
		off %= 10000
	}
	return off
}

func (s *source) span() (off, n int64) {
	off = s.offset()
	switch s.rng.IntN(10) {
	case 0:
		n = s.size / 4 // rarely much
	case 1, 2, 3:
		n = 4096 * (1 + s.rng.Int64N(4))
	case 4, 5, 6:
		n = 300
	default:
		n = 20000
	}
	return off, min(1+s.rng.Int64N(n), s.size-off)
}
