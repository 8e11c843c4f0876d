package stress

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// Every content is made of cells that say of themselves who wrote them, when,
// and for which place of which file. Cells lie at multiples of cellSize in the
// file, whatever the range of the write: one that starts or ends in the middle
// of a cell leaves a part of it.
const (
	cellSize = 512
	headSize = 40
	magic    = 0x6b737473
)

// known is where the numbers of versions begin that other processes foresee.
const known = 1 << 31

// A version names one write. Seq counts the writes of a process, from 1; File
// counts the files that it made. The zero version is a hole.
type version struct {
	Writer uint32 `json:"w,omitempty"`
	Round  uint32 `json:"r,omitempty"`
	Seq    uint32 `json:"s,omitempty"`
	File   uint32 `json:"f,omitempty"`
}

func (v version) String() string {
	if v.Seq == 0 {
		return "a hole (zeros)"
	}
	if v.Seq >= known {
		return fmt.Sprintf("version %d of process %d in round %d, made for purpose %d", v.Seq-known, v.Writer, v.Round, v.File-known)
	}
	return fmt.Sprintf("write %d of process %d in round %d to its file %d", v.Seq, v.Writer, v.Round, v.File)
}

func (v version) cell(c *[cellSize]byte, off int64) {
	if v.Seq == 0 {
		clear(c[:])
		return
	}
	le := binary.LittleEndian
	le.PutUint32(c[0:], magic)
	le.PutUint32(c[4:], v.Writer)
	le.PutUint32(c[8:], v.Round)
	le.PutUint32(c[12:], v.Seq)
	le.PutUint32(c[16:], v.File)
	le.PutUint32(c[20:], 0)
	le.PutUint64(c[24:], uint64(off))
	sum := crc32.ChecksumIEEE(c[:32])
	le.PutUint32(c[32:], sum)
	le.PutUint32(c[36:], ^sum)
	x := uint64(sum)<<32 ^ uint64(off)
	for i := headSize; i < cellSize; i += 8 {
		x += 0x9e3779b97f4a7c15 // splitmix64
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		le.PutUint64(c[i:], z^z>>31)
	}
}

// parseCell reads the head of a cell; ok tells whether it is a whole one.
func parseCell(b []byte) (v version, off int64, ok bool) {
	if len(b) < headSize {
		return v, 0, false
	}
	le := binary.LittleEndian
	sum := crc32.ChecksumIEEE(b[:32])
	if le.Uint32(b) != magic || le.Uint32(b[32:]) != sum || le.Uint32(b[36:]) != ^sum {
		return v, 0, false
	}
	return version{le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:]), le.Uint32(b[16:])}, int64(le.Uint64(b[24:])), true
}

// fill makes the bytes that v has from offset off on.
func (v version) fill(p []byte, off int64) {
	var c [cellSize]byte
	for len(p) > 0 {
		start := off - off%cellSize
		v.cell(&c, start)
		n := copy(p, c[off-start:])
		p, off = p[n:], off+int64(n)
	}
}

// An extent is a range of a file that one write left there.
type extent struct {
	From int64   `json:"a"`
	To   int64   `json:"b"`
	V    version `json:"v"`
}

// A content is what a file holds, as the extents of the writes that made it.
type content struct {
	ID      uint32    `json:"id"`
	Size    int64     `json:"size"`
	Extents []extent  `json:"x,omitempty"` // without gaps, in order, up to Size
	Past    []version `json:"p,omitempty"` // what is or was in it, latest last
}

const remembered = 16

// write lays v over [off, off+n), with a hole before it if it starts behind the end.
func (c *content) write(off, n int64, v version) {
	if n <= 0 {
		return
	}
	if off > c.Size {
		c.truncate(off)
	}
	end := off + n
	var out []extent
	for _, e := range c.Extents {
		if e.From < off {
			out = append(out, extent{e.From, min(e.To, off), e.V})
		}
	}
	out = append(out, extent{off, end, v})
	for _, e := range c.Extents {
		if e.To > end {
			out = append(out, extent{max(e.From, end), e.To, e.V})
		}
	}
	c.Extents, c.Size = out, max(c.Size, end)
	if !slices.Contains(c.Past, v) {
		c.Past = append(c.Past, v)
		c.Past = c.Past[max(0, len(c.Past)-remembered):]
	}
}

func (c *content) truncate(size int64) {
	if size > c.Size {
		c.Extents = append(c.Extents, extent{c.Size, size, version{}})
	}
	out := c.Extents[:0]
	for _, e := range c.Extents {
		if e.To = min(e.To, size); e.From < e.To {
			out = append(out, e)
		}
	}
	c.Extents, c.Size = out, size
}

// fill makes the bytes from off on. They lie within the size.
func (c *content) fill(p []byte, off int64) {
	for _, e := range c.Extents {
		a, b := max(e.From, off), min(e.To, off+int64(len(p)))
		if a < b {
			e.V.fill(p[a-off:b-off], a)
		}
	}
}

// at is the extent that holds off.
func (c *content) at(off int64) extent {
	for _, e := range c.Extents {
		if e.From <= off && off < e.To {
			return e
		}
	}
	return extent{}
}

// compare reads r from its start to its end. A difference is a *Finding with
// kind, expected and got; any other error is r's.
func (c *content) compare(r io.ReaderAt) error {
	got, want := make([]byte, 128<<10), make([]byte, 128<<10)
	for off := int64(0); ; {
		n, err := io.ReadFull(io.NewSectionReader(r, off, int64(len(got))), got)
		ended := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !ended {
			return err
		}
		want := want[:min(int64(n), max(0, c.Size-off))]
		c.fill(want, off)
		if len(want) < n || !bytes.Equal(want, got[:n]) || ended && off+int64(n) != c.Size {
			whole, err := io.ReadAll(io.NewSectionReader(r, 0, 64<<20))
			if err != nil {
				return err
			}
			if f := c.explain(whole); f != nil {
				return f
			}
			return &Finding{Kind: staleRead, Expected: "one content", Got: "another one in the first read than in the second, while nobody wrote"}
		}
		if ended {
			return nil
		}
		off += int64(n)
	}
}

// explain says what is wrong with got, nil if nothing is.
func (c *content) explain(got []byte) *Finding {
	want := make([]byte, c.Size)
	c.fill(want, 0)
	d := difference(want, got)
	if d < 0 {
		return nil
	}
	off := int64(d)
	if d == len(want) || d == len(got) {
		f := &Finding{Kind: wrongSize, Expected: fmt.Sprintf("%d bytes", len(want)), Got: fmt.Sprintf("%d bytes", len(got))}
		if d == len(got) {
			f.Expected += fmt.Sprintf(", from byte %d on %v", off, c.at(off).V)
		}
		return f
	}
	e := c.at(off)
	f := &Finding{Expected: fmt.Sprintf("at byte %d %v (bytes %d to %d)", off, e.V, e.From, e.To)}
	tail := got[d:min(int64(len(got)), e.To)]
	cellStart := off - off%cellSize
	old, isOld := c.pastAt(tail, off, e.V)
	v, at, isCell := parseCell(got[cellStart:])
	switch {
	case isOld:
		f.Kind, f.Got = staleRead, old.String()
	case zeros(tail[:min(len(tail), 64)]):
		f.Kind, f.Got = lostWrite, "zeros"
	case isCell && at != cellStart:
		f.Kind, f.Got = misplaced, fmt.Sprintf("what %v has at byte %d", v, at)
	case isCell && v == e.V:
		f.Kind, f.Got = tornWrite, fmt.Sprintf("the head of it, but other bytes from %d on", off)
	case isCell && (v.File != e.V.File || v.Writer != e.V.Writer):
		f.Kind, f.Got = swapped, v.String()
	case isCell && v.Seq < e.V.Seq:
		f.Kind, f.Got = staleRead, v.String()
	case isCell:
		f.Kind, f.Got = damaged, v.String()
	default:
		f.Kind, f.Got = damaged, fmt.Sprintf("%x", tail[:min(len(tail), 24)])
	}
	// A write of which a part is there was torn.
	if f.Kind == staleRead || f.Kind == lostWrite {
		if n := agreeing(want[e.From:e.To], got[e.From:min(int64(len(got)), e.To)]); n > 0 {
			f.Kind = tornWrite
			f.Got += fmt.Sprintf(", while %d of the %d bytes of that write are there", n, e.To-e.From)
		}
	}
	return f
}

// pastAt finds the earlier version that wrote p at off.
func (c *content) pastAt(p []byte, off int64, but version) (version, bool) {
	p = p[:min(len(p), 64)]
	b := make([]byte, len(p))
	for _, v := range slices.Backward(c.Past) {
		if v == but {
			continue
		}
		v.fill(b, off)
		if bytes.Equal(b, p) {
			return v, true
		}
	}
	return version{}, false
}

// difference is where a and b differ first, or the shorter one ends; -1 when they are equal.
func difference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}

// agreeing counts the bytes of those pieces of 64 that are equal in a and b.
func agreeing(a, b []byte) (n int) {
	for i := 0; i+64 <= len(b); i += 64 {
		if bytes.Equal(a[i:i+64], b[i:i+64]) {
			n += 64
		}
	}
	return n
}

func zeros(p []byte) bool { return len(bytes.Trim(p, "\x00")) == 0 }
