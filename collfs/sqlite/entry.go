package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"keepdav/collfs"
	"keepdav/keepio"
)

// An entry is one transaction in the journal and in the queue of the applier.
type entry struct {
	seq     uint64
	at      int64 // nanoseconds since 1970
	durable bool
	records []collfs.RecordOp // with the names they got
	changes []change
	events  []collfs.Event   // made when it was accepted
	carried []keepio.BlockID // of which it carries bytes
	size    int64            // what it counts for in the queue
}

// A change is the change set of one collection.
type change struct {
	collection   collfs.UUID
	base         int64
	mark         bool // the state before it is kept as a version
	keep         bool // it is, whatever the time; not in the journal, which has mark
	repack       bool // it leaves all contents as they are: no version, no modification
	files, bytes int64
	extents      []keepio.Extent
	ops          []byte // made by collfs.AppendOps
}

// The payload of a journal record:
//
//	format u8, flags u8, at i64
//	number of records, each: kind u8, flags u8, uuid, owner, name, properties, description
//	number of changes, each: flags u8, collection, base, files, bytes,
//	    number of extents, each: block, from, to, crc u32, (data);  ops
//
// Numbers are varints where no size is given; strings have a length in front.
// Extents have data, empty or of their length, in the second format, which is
// written where one carries its bytes; nothing else differs.
const (
	entryFormat   = 1
	carryFormat   = 2
	entryHeader   = 10
	carriedWeight = 4 // so many bytes that are carried count as one in the queue: they take room in the journal, not in memory

	flagDurable = 1 // of an entry
	flagUnique  = 1 // of a record
	flagProps   = 2 // of a record: properties aren't nil
	flagMark    = 1 // of a change
	flagRepack  = 2 // of a change
)

// encode returns the payload of an entry for tx, and where the flags of its
// changes are: whether a version is marked is known when it is accepted.
func encode(tx *collfs.Tx) (payload []byte, flags []int) {
	data := 0
	for _, ch := range tx.Changes {
		for _, x := range ch.Extents {
			data += len(x.Data)
		}
	}
	buf := make([]byte, entryHeader, 512+data)
	buf[0] = entryFormat
	if data > 0 {
		buf[0] = carryFormat
	}
	if tx.Durable {
		buf[1] = flagDurable
	}
	buf = binary.AppendUvarint(buf, uint64(len(tx.Records)))
	for _, op := range tx.Records {
		f := byte(0)
		if op.Unique {
			f |= flagUnique
		}
		if op.Properties != nil {
			f |= flagProps
		}
		buf = append(buf, byte(op.Kind), f)
		buf = appendString(buf, op.UUID)
		buf = appendString(buf, op.Owner)
		buf = appendString(buf, op.Name)
		buf = appendString(buf, op.Properties)
		buf = appendString(buf, op.Desc)
	}
	buf = binary.AppendUvarint(buf, uint64(len(tx.Changes)))
	var ops []byte
	for _, ch := range tx.Changes {
		flags = append(flags, len(buf))
		f := byte(0)
		if isRepack(ch.Ops) {
			f = flagRepack
		}
		buf = append(buf, f)
		buf = appendString(buf, ch.Collection)
		buf = binary.AppendVarint(buf, ch.Base)
		buf = binary.AppendVarint(buf, ch.Files)
		buf = binary.AppendVarint(buf, ch.Bytes)
		buf = binary.AppendUvarint(buf, uint64(len(ch.Extents)))
		for _, x := range ch.Extents {
			buf = binary.AppendUvarint(buf, uint64(x.Block))
			buf = binary.AppendUvarint(buf, uint64(x.From))
			buf = binary.AppendUvarint(buf, uint64(x.To))
			buf = binary.LittleEndian.AppendUint32(buf, x.CRC)
			if data > 0 {
				buf = appendString(buf, x.Data)
			}
		}
		ops = collfs.AppendOps(ops[:0], ch.Ops)
		buf = appendString(buf, ops)
	}
	return buf, flags
}

func isRepack(ops []collfs.Op) bool {
	others := func(op collfs.Op) bool { return op.Kind != collfs.OpRepack && op.Kind != collfs.OpCommit }
	return len(ops) > 0 && !slices.ContainsFunc(ops, others)
}

func setTime(payload []byte, at int64) { binary.LittleEndian.PutUint64(payload[2:], uint64(at)) }

func appendString[S ~string | ~[]byte](buf []byte, s S) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(s))), s...)
}

var errEntry = errors.New("journal record is malformed")

// decode is the inverse of encode. The entry refers to payload.
func decode(payload []byte) (*entry, error) {
	if len(payload) < entryHeader {
		return nil, errEntry
	}
	if payload[0] != entryFormat && payload[0] != carryFormat {
		return nil, fmt.Errorf("journal record of format %d: %w", payload[0], ErrFormat)
	}
	e := &entry{durable: payload[1]&flagDurable != 0, at: int64(binary.LittleEndian.Uint64(payload[2:])), size: int64(len(payload))}
	d := decoder{data: payload[entryHeader:]}
	for range d.count(7) {
		op := collfs.RecordOp{Kind: collfs.RecordOpKind(d.byte())}
		flags := d.byte()
		op.Unique = flags&flagUnique != 0
		op.UUID, op.Owner, op.Name = collfs.UUID(d.bytes()), collfs.UUID(d.bytes()), string(d.bytes())
		if p := d.bytes(); flags&flagProps != 0 {
			op.Properties = p
		}
		op.Desc = string(d.bytes())
		e.records = append(e.records, op)
	}
	for range d.count(7) {
		flags := d.byte()
		ch := change{mark: flags&flagMark != 0, repack: flags&flagRepack != 0}
		ch.collection, ch.base, ch.files, ch.bytes = collfs.UUID(d.bytes()), d.varint(), d.varint(), d.varint()
		for range d.count(7) {
			x := keepio.Extent{Block: keepio.BlockID(d.uvarint()), From: uint32(d.uvarint()), To: uint32(d.uvarint()), CRC: d.uint32()}
			if payload[0] == carryFormat {
				if data := d.bytes(); len(data) > 0 {
					if uint32(len(data)) != x.To-x.From {
						return nil, errEntry
					}
					x.Data = data
					e.carried = append(e.carried, x.Block)
					e.size -= int64(len(data) - len(data)/carriedWeight)
				}
			}
			ch.extents = append(ch.extents, x)
		}
		ch.ops = d.bytes()
		e.changes = append(e.changes, ch)
	}
	if d.failed || len(d.data) > 0 {
		return nil, errEntry
	}
	return e, nil
}

// detach ends e's reference to the payload that it was decoded from, if that is
// large for what it carries. The bytes are gone then.
func (e *entry) detach() {
	if len(e.carried) == 0 {
		return
	}
	for i := range e.records {
		e.records[i].Properties = bytes.Clone(e.records[i].Properties)
	}
	for i := range e.changes {
		ch := &e.changes[i]
		ch.ops = bytes.Clone(ch.ops)
		for k := range ch.extents {
			ch.extents[k].Data = nil
		}
	}
}

// A decoder takes values from the front of data until one fails.
type decoder struct {
	data   []byte
	failed bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.data) {
		d.failed, d.data = true, nil
		return nil
	}
	p := d.data[:n:n]
	d.data = d.data[n:]
	return p
}

func (d *decoder) byte() byte {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if p := d.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.take(-1)
		return 0
	}
	d.take(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data)
	if n <= 0 {
		d.take(-1)
		return 0
	}
	d.take(n)
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		return d.take(-1)
	}
	return d.take(int(n))
}

// count returns a number of items of which each takes at least size bytes.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.data)/size) {
		d.take(-1)
		return 0
	}
	return int(n)
}

// appendFrame appends one change set to the data of a row of table change: its
// length, then its bytes.
func appendFrame(buf, ops []byte) []byte { return appendString(buf, ops) }

// frames is the inverse of a number of appendFrames.
func frames(data []byte) ([][]byte, error) {
	d := decoder{data: data}
	var all [][]byte
	for len(d.data) > 0 {
		all = append(all, d.bytes())
	}
	if d.failed {
		return nil, fmt.Errorf("change log: %w", keepio.ErrCorrupt)
	}
	return all, nil
}

// refs returns all records that an entry relies on: what it changes, and the
// projects in which it puts something.
func (e *entry) refs() []collfs.UUID {
	ids := e.members()
	for _, op := range e.records {
		if op.Owner != "" {
			ids = append(ids, op.Owner)
		}
	}
	return ids
}

// members returns the records that an entry changes.
func (e *entry) members() []collfs.UUID {
	var ids []collfs.UUID
	for _, op := range e.records {
		ids = append(ids, op.UUID)
	}
	for _, ch := range e.changes {
		ids = append(ids, ch.collection)
	}
	return ids
}

// unsynced returns the block files that have to be synced before e is applied:
// for a durable entry those that it carries the bytes of.
func (e *entry) unsynced() []keepio.BlockID {
	if e.durable {
		return e.carried
	}
	return e.blockIDs()
}

// blockIDs returns the block files that an entry relies on.
func (e *entry) blockIDs() []keepio.BlockID {
	var ids []keepio.BlockID
	for _, ch := range e.changes {
		for _, x := range ch.extents {
			ids = append(ids, x.Block)
		}
	}
	return ids
}
