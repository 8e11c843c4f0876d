package collfs

import (
	"encoding/binary"
	"fmt"
	"math"

	"keepdav/keepio"
)

// opsVersion is the first byte of a stored change set. Version 1, which is read
// too, knows
// no times but Mtime, no Posix and no links.
const opsVersion = 2

// AppendOps appends the stored form of a change set to buf.
func AppendOps(buf []byte, ops []Op) []byte {
	var table blockTable
	body := make([]byte, 0, 64*len(ops))
	for i := range ops {
		body = appendOp(body, &table, &ops[i])
	}
	buf = append(buf, opsVersion)
	buf = table.appendTo(buf)
	buf = binary.AppendUvarint(buf, uint64(len(ops)))
	return append(buf, body...)
}

// Flags of an operation beside those of its attributes.
const (
	opHasOld = lowBits << iota
	opHasID
	opHasContent
	opHasTime = highBits
	opFlags   = opHasOld | opHasID | opHasContent | opHasTime
)

func (k OpKind) hasSrc() bool { return k == OpRename || k == OpCopy || k == OpLink || k == OpExchange }

// lastOp is the last operation of the version that is read.
func (d *decoder) lastOp() OpKind {
	if d.first {
		return OpPatch
	}
	return lastOp
}

func appendOp(buf []byte, t *blockTable, op *Op) []byte {
	attr := op.Attr
	if op.Time != 0 { // the Ctime, then
		attr.Ctime = 0
	}
	flags := attrFlags(attr)
	if op.Time != 0 {
		flags |= opHasTime
	}
	if op.Old != (ContentID{}) {
		flags |= opHasOld
	}
	if op.Content.ID != (ContentID{}) {
		flags |= opHasID
	}
	if len(op.Content.Segments) > 0 {
		flags |= opHasContent
	}
	buf = binary.AppendUvarint(append(buf, byte(op.Kind)), flags)
	buf = appendString(buf, op.Path)
	if op.Kind.hasSrc() {
		buf = appendString(buf, op.Src)
	}
	if flags&opHasOld != 0 {
		buf = append(buf, op.Old[:]...)
	}
	if flags&opHasID != 0 {
		buf = append(buf, op.Content.ID[:]...)
	}
	if flags&opHasContent != 0 {
		buf = binary.AppendUvarint(buf, uint64(len(op.Content.Segments)))
		for _, s := range op.Content.Segments {
			buf = appendSegment(buf, t, s)
		}
	}
	if op.Kind == OpPatch {
		buf = binary.AppendUvarint(buf, uint64(op.Off))
		buf = binary.AppendUvarint(buf, uint64(op.Content.Size))
	}
	buf = appendAttr(buf, attr)
	if op.Time != 0 { // most often the same as Mtime
		buf = binary.AppendVarint(buf, op.Time-attr.Mtime)
	}
	return buf
}

// DecodeOps reads what AppendOps wrote. It never panics, and allocates no more
// than a multiple of the length of data.
func DecodeOps(data []byte, blocks Blocks) ([]Op, error) {
	return DecodeOpsMax(data, blocks, math.MaxInt)
}

// DecodeOpsMax is DecodeOps for at most so many operations; more are ErrTooManyEntries.
// An operation takes 3 bytes in data and some 70 times that in memory.
func DecodeOpsMax(data []byte, blocks Blocks, limit int) ([]Op, error) {
	d := &decoder{data: data}
	v := d.byte()
	if (v == 0 || v > opsVersion) && d.err == nil {
		d.fail("change set of version %d", v)
	}
	d.first = v == 1
	d.table(blocks)
	n := d.count(3)
	if n > limit {
		return nil, fmt.Errorf("%d operations: %w", n, ErrTooManyEntries)
	}
	ops := make([]Op, 0, n)
	for range n {
		op := d.op()
		if d.err != nil {
			break
		}
		ops = append(ops, op)
	}
	if len(d.data) > 0 {
		d.fail("%d bytes after the end", len(d.data))
	}
	if d.err != nil {
		return nil, d.err
	}
	return ops, nil
}

func (d *decoder) op() (op Op) {
	op.Kind = OpKind(d.byte())
	if last := d.lastOp(); op.Kind == OpInvalid || op.Kind > last {
		d.fail("operation %d", op.Kind)
	}
	flags := d.flags(opFlags)
	op.Path = d.string()
	if op.Kind.hasSrc() {
		op.Src = d.string()
	}
	if flags&opHasOld != 0 {
		op.Old = d.id()
	}
	if flags&opHasID != 0 {
		op.Content.ID = d.id()
	}
	if flags&opHasContent != 0 {
		n := d.count(2)
		op.Content.Segments = make([]keepio.Segment, n)
		for i := range op.Content.Segments {
			op.Content.Segments[i] = d.segment()
		}
		op.Content.Size = sizeOf(op.Content.Segments)
	}
	if op.Kind == OpPatch {
		off, size := d.uvarint(), d.uvarint()
		if off > MaxFile || size > MaxFile {
			d.fail("patch of a file that is too large")
		}
		op.Off, op.Content.Size = int64(off), int64(size)
	}
	op.Attr = d.attr(flags)
	if flags&opHasTime != 0 {
		op.Time = op.Attr.Mtime + d.varint()
	}
	return op
}
