package collfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"keepdav/keepio"
)

// Blocks finds the handles of blocks that a stored form names. *keepio.Spool
// is one.
type Blocks interface {
	// ByID returns the handle of a block made in this store.
	ByID(id keepio.BlockID) (*keepio.Block, error)
	// ByHash returns the handle of a block known by its content.
	ByHash(hash [16]byte, size uint32) *keepio.Block
}

// ErrBadEncoding is the failure of stored bytes that should be a tree or
// operations and aren't.
var ErrBadEncoding = errors.New("stored form is damaged")

// A block table holds the blocks of one stored form, each once: as its locator
// if it has one, else as its id.
type blockTable struct {
	index map[*keepio.Block]uint64
	names map[blockName]uint64 // of those that are stored: there may be several handles on one
	n     uint64
	last  *keepio.Block
	lastN uint64
	buf   []byte
}

const (
	blockByID   = 0
	blockByHash = 1
)

// ref returns how segments name b: 0 is a hole.
func (t *blockTable) ref(b *keepio.Block) uint64 {
	if b == nil {
		return 0
	}
	if b == t.last {
		return t.lastN
	}
	n, ok := t.index[b]
	if !ok {
		if t.index == nil {
			t.index = make(map[*keepio.Block]uint64)
			t.names = make(map[blockName]uint64)
		}
		n = t.add(b)
		t.index[b] = n
	}
	t.last, t.lastN = b, n
	return n
}

// add returns the number of a block that is not in index.
func (t *blockTable) add(b *keepio.Block) uint64 {
	name, stored := nameOf(b)
	if n, ok := t.names[name]; ok && stored {
		return n
	}
	t.n++
	if stored {
		t.names[name] = t.n
		t.buf = append(t.buf, blockByHash)
		t.buf = append(t.buf, name.hash[:]...)
		t.buf = binary.AppendUvarint(t.buf, uint64(name.size))
	} else {
		t.buf = append(t.buf, blockByID)
		t.buf = binary.AppendUvarint(t.buf, uint64(b.ID()))
	}
	return t.n
}

// appendTo appends the number of blocks and the blocks.
func (t *blockTable) appendTo(buf []byte) []byte {
	return append(binary.AppendUvarint(buf, t.n), t.buf...)
}

// A decoder reads what the appenders wrote. The first failure sticks; all reads
// after it return zeros.
type decoder struct {
	data   []byte
	err    error
	first  bool            // data is of the first version
	owner  *Posix          // the one read last: many files have the same
	blocks []*keepio.Block // by ref - 1
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrBadEncoding, fmt.Sprintf(format, args...))
	}
	d.data = nil
}

func (d *decoder) uvarint() uint64 {
	if len(d.data) > 0 && d.data[0] < 0x80 {
		v := d.data[0]
		d.data = d.data[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.fail("cut number")
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data)
	if n <= 0 {
		d.fail("cut number")
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) byte() byte {
	if len(d.data) == 0 {
		d.fail("cut")
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return b
}

// bytes returns the next n bytes, which belong to the input.
func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.data)) {
		d.fail("cut")
		return nil
	}
	b := d.data[:n:n]
	d.data = d.data[n:]
	return b
}

func (d *decoder) string() string { return string(d.bytes(d.uvarint())) }

func (d *decoder) id() (id ContentID) {
	copy(id[:], d.bytes(16))
	return id
}

// count reads how many things follow that take at least each bytes of input, so
// that bad input can't make us allocate more than a multiple of its length.
func (d *decoder) count(each int) int {
	n := d.uvarint()
	if n > uint64(len(d.data)/each) {
		d.fail("more things announced than there is room for")
		return 0
	}
	return int(n)
}

// table reads a block table.
func (d *decoder) table(blocks Blocks) {
	n := d.count(2)
	d.blocks = make([]*keepio.Block, 0, n)
	for range n {
		var b *keepio.Block
		switch kind := d.byte(); kind {
		case blockByHash:
			var hash [16]byte
			copy(hash[:], d.bytes(16))
			size := d.uvarint()
			if size > keepio.BlockSize {
				d.fail("block of %d bytes", size)
			}
			if d.err == nil {
				b = blocks.ByHash(hash, uint32(size))
			}
		case blockByID:
			id := keepio.BlockID(d.uvarint())
			if d.err == nil {
				var err error
				if b, err = blocks.ByID(id); err != nil {
					d.err = fmt.Errorf("block file %016x: %w", uint64(id), err)
				}
			}
		default:
			d.fail("block of kind %d", kind)
		}
		if d.err != nil {
			return
		}
		d.blocks = append(d.blocks, b)
	}
}

// segment reads one segment.
func (d *decoder) segment() (s keepio.Segment) {
	ref, off, n := d.uvarint(), uint64(0), uint64(0)
	if ref != 0 {
		off = d.uvarint()
	}
	n = d.uvarint()
	return d.checkSegment(ref, off, n)
}

func (d *decoder) checkSegment(ref, off, n uint64) (s keepio.Segment) {
	switch {
	case d.err != nil:
		return
	case ref > uint64(len(d.blocks)):
		d.fail("segment of an unknown block")
	case n == 0 || n > 1<<32-1:
		d.fail("segment of %d bytes", n)
	case ref != 0 && (off > keepio.BlockSize || n > keepio.BlockSize || off+n > keepio.BlockSize):
		d.fail("segment past the end of a block")
	default:
		s = keepio.Segment{Off: uint32(off), Len: uint32(n)}
		if ref == 0 {
			return s
		}
		s.Block = d.blocks[ref-1]
		if _, size, ok := s.Block.Stored(); ok && off+n > uint64(size) {
			d.fail("segment past the end of its block")
		}
	}
	return s
}

func appendSegment(buf []byte, t *blockTable, s keepio.Segment) []byte {
	ref := t.ref(s.Block)
	buf = binary.AppendUvarint(buf, ref)
	if ref != 0 {
		buf = binary.AppendUvarint(buf, uint64(s.Off))
	}
	return binary.AppendUvarint(buf, uint64(s.Len))
}

// Flags say which attributes, and what else, follow. The first version had a byte
// for them, of which the highest bit was never set.
const (
	hasMode = 1 << iota
	hasMtime
	hasExtra
	lowBits  // to 1<<6: flags that are not of attributes
	hasCtime = 1 << 7
	hasPosix = 1 << 8
	highBits = 1 << 9 // more that are not of attributes
)

func attrFlags(a Attr) (f uint64) {
	if a.Mode != 0 {
		f |= hasMode
	}
	if a.Mtime != 0 {
		f |= hasMtime
	}
	if len(a.Extra) > 0 {
		f |= hasExtra
	}
	if a.Ctime != 0 {
		f |= hasCtime
	}
	if posixOf(a.Posix) != (Posix{}) {
		f |= hasPosix
	}
	return f
}

// flags reads flags: those that a has, with others of which known has the bits.
func (d *decoder) flags(known uint64) uint64 {
	f := d.uvarint()
	known |= hasMode | hasMtime | hasExtra | hasCtime | hasPosix
	if d.first {
		known &= 1<<7 - 1
	}
	if f&^known != 0 {
		d.fail("flags %x", f)
	}
	return f
}

func appendAttr(buf []byte, a Attr) []byte {
	if a.Mode != 0 {
		buf = binary.AppendUvarint(buf, uint64(a.Mode))
	}
	if a.Mtime != 0 {
		buf = binary.AppendVarint(buf, a.Mtime)
	}
	if len(a.Extra) > 0 {
		buf = binary.AppendUvarint(buf, uint64(len(a.Extra)))
		for _, k := range slices.Sorted(maps.Keys(a.Extra)) {
			buf = appendString(buf, k)
			buf = appendString(buf, a.Extra[k])
		}
	}
	if a.Ctime != 0 { // most often the same as Mtime
		buf = binary.AppendVarint(buf, a.Ctime-a.Mtime)
	}
	if p := posixOf(a.Posix); p != (Posix{}) {
		buf = appendPosix(buf, p, a.Mtime)
	}
	return buf
}

// Flags of a Posix.
const (
	hasOwner = 1 << iota
	hasType
	hasAtime
	posixFlags = hasOwner | hasType | hasAtime
)

func appendPosix(buf []byte, p Posix, mtime int64) []byte {
	at := len(buf)
	buf = append(buf, 0)
	if p.HasOwner {
		buf[at] |= hasOwner
		buf = binary.AppendUvarint(binary.AppendUvarint(buf, uint64(p.UID)), uint64(p.GID))
	}
	if p.Type != 0 || p.Rdev != 0 {
		buf[at] |= hasType
		buf = binary.AppendUvarint(binary.AppendUvarint(buf, uint64(p.Type)), uint64(p.Rdev))
	}
	if p.Atime != 0 {
		buf[at] |= hasAtime
		buf = binary.AppendVarint(buf, p.Atime-mtime)
	}
	return buf
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > math.MaxUint32 {
		d.fail("number %d of 32 bits", v)
	}
	return uint32(v)
}

func (d *decoder) posix(mtime int64) *Posix {
	var p Posix
	flags := d.byte()
	if flags&^posixFlags != 0 {
		d.fail("flags %x of an owner", flags)
	}
	if flags&hasOwner != 0 {
		p.HasOwner, p.UID, p.GID = true, d.uint32(), d.uint32()
	}
	if flags&hasType != 0 {
		p.Type, p.Rdev = d.uint32(), d.uint32()
	}
	if flags&hasAtime != 0 {
		p.Atime = mtime + d.varint()
	}
	if d.err != nil || p == (Posix{}) {
		return nil
	}
	if d.owner == nil || *d.owner != p {
		d.owner = &p
	}
	return d.owner
}

func (d *decoder) attr(flags uint64) (a Attr) {
	if flags&hasMode != 0 {
		if m := d.uvarint(); m > 0o7777 && m != ModeNone {
			d.fail("mode %o", m)
		} else {
			a.Mode = uint32(m)
		}
	}
	if flags&hasMtime != 0 {
		a.Mtime = d.varint()
	}
	if flags&hasExtra != 0 {
		n := d.count(2)
		a.Extra = make(map[string]string, n)
		for range n {
			k := d.string()
			a.Extra[k] = d.string()
		}
	}
	if flags&hasCtime != 0 {
		a.Ctime = a.Mtime + d.varint()
	}
	if flags&hasPosix != 0 {
		a.Posix = d.posix(a.Mtime)
	}
	return a
}

func appendString(buf []byte, s string) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(s))), s...)
}
