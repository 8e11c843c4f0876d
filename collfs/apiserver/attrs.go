package apiserver

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"keepdav/collfs"
	"keepdav/keepio"
)

// attributesKey is the key of a record's properties that has the attributes.
const attributesKey = "keepdav_attributes"

// attributesOf takes the attributes out of a record's properties. rest is nil if
// nothing else is in them.
func attributesOf(properties json.RawMessage) (attrs string, rest json.RawMessage) {
	if s := string(properties); s == "" || s == "null" || s == "{}" {
		return "", nil
	}
	if !bytes.Contains(properties, []byte(attributesKey)) {
		return "", properties
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(properties, &all) != nil {
		return "", properties
	}
	raw, ok := all[attributesKey]
	if !ok {
		return "", properties
	}
	delete(all, attributesKey)
	if json.Unmarshal(raw, &attrs) != nil {
		attrs = ""
	}
	if len(all) == 0 {
		return attrs, nil
	}
	rest, _ = json.Marshal(all) // of what was JSON
	return attrs, rest
}

// withAttributes is the inverse of attributesOf.
func withAttributes(rest json.RawMessage, attrs string) (json.RawMessage, error) {
	all := make(map[string]json.RawMessage)
	if len(rest) > 0 && string(rest) != "null" {
		if err := json.Unmarshal(rest, &all); err != nil {
			return nil, fmt.Errorf("properties are not a JSON object: %w", err)
		}
	}
	delete(all, attributesKey)
	if attrs != "" {
		text, err := json.Marshal(attrs)
		if err != nil {
			return nil, err
		}
		all[attributesKey] = text
	}
	return json.Marshal(all)
}

// An attrEntry is what is kept of one path.
type attrEntry struct {
	path string
	dir  bool
	bind [bindSize]byte // of a file: the beginning of the id derived from its spans
	attr collfs.Attr    // without Ctime
}

// bindSize is how many bytes tell what content attributes are of.
const bindSize = 6

func bindOf(segs []keepio.Segment) (b [bindSize]byte) {
	id := spansID(segs)
	copy(b[:], id[:])
	return b
}

// Attributes are what a record's properties have besides the properties.
type attributes struct {
	entries  []attrEntry      // by path
	restored [][bindSize]byte // contents that were brought back once: see repair.go
}

// The stored form is "1" and the base64, without padding, of the deflated body: how
// many entries there are; each as how many bytes of its path are those of the one
// before, the rest of it, flags and what they announce; how many contents were
// restored, and which. Paths are in byte order, times are differences.
const attributesVersion = "1"

// maxBody is how large the body may be when it is unpacked.
const maxBody = 16 << 20

// maxRestored is how many restored contents are remembered.
const maxRestored = 256

const (
	entryDir = 1 << iota
	entryMode
	entryMtime
	entryExtra
	entryOwner
	entrySpecial
	entryFlags = 1<<iota - 1
)

var errAttributes = errors.New("attributes in the properties are damaged")

func (a *attributes) isEmpty() bool { return len(a.entries) == 0 && len(a.restored) == 0 }

// encode returns the stored form; "" of nothing.
func (a *attributes) encode() string {
	if a.isEmpty() {
		return ""
	}
	var packed bytes.Buffer
	packed.WriteString(attributesVersion)
	b64 := base64.NewEncoder(base64.RawURLEncoding, &packed)
	z := flaters.Get().(*flate.Writer)
	defer flaters.Put(z)
	z.Reset(b64)
	_, _ = z.Write(a.body()) // to memory
	_ = z.Close()
	_ = b64.Close()
	return packed.String()
}

// flaters are large to make.
var flaters = sync.Pool{New: func() any {
	z, _ := flate.NewWriter(io.Discard, flate.DefaultCompression) // which is a level that there is
	return z
}}

func (a *attributes) body() []byte {
	buf := binary.AppendUvarint(nil, uint64(len(a.entries)))
	before, mtime := "", int64(0)
	for i := range a.entries {
		e := &a.entries[i]
		same := commonPrefix(before, e.path)
		buf = binary.AppendUvarint(buf, uint64(same))
		buf = appendText(buf, e.path[same:])
		before = e.path
		flags := uint64(0)
		for _, f := range []struct {
			is   bool
			flag uint64
		}{
			{e.dir, entryDir}, {e.attr.Mode != 0, entryMode}, {e.attr.Mtime != 0, entryMtime}, {len(e.attr.Extra) > 0, entryExtra},
			{e.attr.Posix != nil && e.attr.Posix.HasOwner, entryOwner}, {e.attr.Posix != nil && (e.attr.Posix.Type != 0 || e.attr.Posix.Rdev != 0), entrySpecial},
		} {
			if f.is {
				flags |= f.flag
			}
		}
		buf = binary.AppendUvarint(buf, flags)
		if !e.dir {
			buf = append(buf, e.bind[:]...)
		}
		if flags&entryMode != 0 {
			buf = binary.AppendUvarint(buf, uint64(e.attr.Mode))
		}
		if flags&entryMtime != 0 {
			buf = binary.AppendVarint(buf, e.attr.Mtime-mtime)
			mtime = e.attr.Mtime
		}
		if flags&entryExtra != 0 {
			buf = binary.AppendUvarint(buf, uint64(len(e.attr.Extra)))
			for _, k := range slices.Sorted(maps.Keys(e.attr.Extra)) {
				buf = appendText(appendText(buf, k), e.attr.Extra[k])
			}
		}
		if flags&entryOwner != 0 {
			buf = binary.AppendUvarint(binary.AppendUvarint(buf, uint64(e.attr.Posix.UID)), uint64(e.attr.Posix.GID))
		}
		if flags&entrySpecial != 0 {
			buf = binary.AppendUvarint(binary.AppendUvarint(buf, uint64(e.attr.Posix.Type)), uint64(e.attr.Posix.Rdev))
		}
	}
	buf = binary.AppendUvarint(buf, uint64(len(a.restored)))
	for _, id := range a.restored {
		buf = append(buf, id[:]...)
	}
	return buf
}

func appendText(buf []byte, s string) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(s))), s...)
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// decodeAttributes reads the stored form. Bad input is errAttributes; what it takes
// is bounded by maxBody.
func decodeAttributes(text string) (*attributes, error) {
	a := new(attributes)
	if text == "" {
		return a, nil
	}
	packed, ok := strings.CutPrefix(text, attributesVersion)
	if !ok {
		return nil, fmt.Errorf("%w: of a version that is not known", errAttributes)
	}
	z := flate.NewReader(base64.NewDecoder(base64.RawURLEncoding, strings.NewReader(packed)))
	body, err := io.ReadAll(io.LimitReader(z, maxBody+1))
	if err != nil || len(body) > maxBody {
		return nil, fmt.Errorf("%w: cannot be unpacked", errAttributes)
	}
	d := &attrDecoder{data: body}
	before, mtime := "", int64(0)
	for n := d.count(3); n > 0 && !d.bad; n-- {
		e := d.entry(before, &mtime)
		if d.bad || len(a.entries) > 0 && e.path <= before {
			d.bad = true
			break
		}
		before = e.path
		a.entries = append(a.entries, e)
	}
	for n := d.count(bindSize); n > 0 && !d.bad; n-- {
		var id [bindSize]byte
		copy(id[:], d.bytes(bindSize))
		a.restored = append(a.restored, id)
	}
	if d.bad || len(d.data) > 0 {
		return nil, errAttributes
	}
	return a, nil
}

type attrDecoder struct {
	data []byte
	bad  bool
}

func (d *attrDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.bad, d.data = true, nil
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *attrDecoder) uint32() uint32 {
	v := d.uvarint()
	d.bad = d.bad || v > math.MaxUint32
	return uint32(v)
}

func (d *attrDecoder) varint() int64 {
	v, n := binary.Varint(d.data)
	if n <= 0 {
		d.bad, d.data = true, nil
		return 0
	}
	d.data = d.data[n:]
	return v
}

// count reads how many things follow that take at least each bytes.
func (d *attrDecoder) count(each int) int {
	n := d.uvarint()
	if n > uint64(len(d.data)/each) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *attrDecoder) bytes(n uint64) []byte {
	if n > uint64(len(d.data)) {
		d.bad, d.data = true, nil
		return nil
	}
	b := d.data[:n]
	d.data = d.data[n:]
	return b
}

func (d *attrDecoder) text() string { return string(d.bytes(d.uvarint())) }

func (d *attrDecoder) entry(before string, mtime *int64) (e attrEntry) {
	same := d.uvarint()
	if same > uint64(len(before)) {
		d.bad = true
		return e
	}
	e.path = before[:same] + d.text()
	flags := d.uvarint()
	if flags&^entryFlags != 0 || len(e.path) > 2*collfs.MaxPath {
		d.bad = true
		return e
	}
	if e.dir = flags&entryDir != 0; !e.dir {
		copy(e.bind[:], d.bytes(bindSize))
	}
	if flags&entryMode != 0 {
		m := d.uvarint()
		d.bad = d.bad || m > 0o7777 && m != collfs.ModeNone
		e.attr.Mode = uint32(m)
	}
	if flags&entryMtime != 0 {
		*mtime += d.varint()
		e.attr.Mtime = *mtime
	}
	if flags&entryExtra != 0 {
		n := d.count(2)
		e.attr.Extra = make(map[string]string, n)
		for ; n > 0 && !d.bad; n-- {
			k := d.text()
			e.attr.Extra[k] = d.text()
		}
	}
	if flags&(entryOwner|entrySpecial) != 0 {
		e.attr.Posix = new(collfs.Posix)
	}
	if flags&entryOwner != 0 {
		e.attr.Posix.HasOwner, e.attr.Posix.UID, e.attr.Posix.GID = true, d.uint32(), d.uint32()
	}
	if flags&entrySpecial != 0 {
		e.attr.Posix.Type, e.attr.Posix.Rdev = d.uint32(), d.uint32()
	}
	return e
}

// attributesOfTree collects the attributes of a tree whose blocks are all stored.
func attributesOfTree(t *collfs.Tree, zero *keepio.Block) *attributes {
	a := new(attributes)
	_ = t.Walk(func(path string, info collfs.NodeInfo, k collfs.Content) error {
		attr := info.Attr
		attr.Ctime = 0
		if p := attr.Posix; p != nil {
			kept := *p
			if kept.Atime = 0; !kept.HasOwner {
				kept.UID, kept.GID = 0, 0
			}
			if attr.Posix = &kept; kept == (collfs.Posix{}) {
				attr.Posix = nil
			}
		}
		if attr.Mode == 0 && attr.Mtime == 0 && len(attr.Extra) == 0 && attr.Posix == nil {
			return nil
		}
		e := attrEntry{path: path, dir: info.Dir, attr: attr}
		if !info.Dir {
			e.bind = bindOf(noHoles(k.Segments, zero))
		}
		a.entries = append(a.entries, e)
		return nil
	}) // which has no error of its own
	slices.SortFunc(a.entries, func(x, y attrEntry) int { return cmp.Compare(x.path, y.path) })
	return a
}

// applyTo gives the files and directories of a tree, whose ids are those derived
// from spans, the attributes that are of what they are.
func (a *attributes) applyTo(t *collfs.Tree) error {
	for i := range a.entries {
		e := &a.entries[i]
		info, err := t.Stat(e.path)
		if err != nil || info.Dir != e.dir || !e.dir && !bytes.Equal(info.ID[:bindSize], e.bind[:]) {
			continue // another client's
		}
		op := collfs.Op{Kind: collfs.OpAttr, Path: e.path, Content: collfs.Content{ID: info.ID}, Attr: e.attr}
		if err := t.Apply(op); err != nil {
			return err
		}
	}
	return nil
}

// fit encodes a in at most limit bytes. What may be dropped for that are times and
// modes, those of what was changed longest ago first; dropped says of how many. If
// that is not enough it is keepio.ErrFull.
func (a *attributes) fit(limit int) (text string, dropped int, err error) {
	try := func(keep int) string {
		b := attributes{restored: a.restored}
		byAge := make([]int, 0, len(a.entries))
		for i := range a.entries {
			byAge = append(byAge, i)
		}
		slices.SortStableFunc(byAge, func(x, y int) int { return cmp.Compare(a.entries[y].attr.Mtime, a.entries[x].attr.Mtime) })
		old := make(map[int]bool, len(byAge))
		for _, i := range byAge[min(keep, len(byAge)):] {
			old[i] = true
		}
		for i, e := range a.entries {
			if old[i] {
				e.attr.Mode, e.attr.Mtime = 0, 0
				if len(e.attr.Extra) == 0 && e.attr.Posix == nil {
					continue
				}
			}
			b.entries = append(b.entries, e)
		}
		return b.encode()
	}
	most := len(a.entries)
	if most*minEntry <= limit {
		if text = a.encode(); len(text) <= limit {
			return text, 0, nil
		}
	}
	for keep := min(most, limit/minEntry); keep > 0; keep = keep * 3 / 4 {
		if text = try(keep); len(text) <= limit {
			return text, most - keep, nil
		}
	}
	if text = try(0); len(text) <= limit {
		return text, most, nil
	}
	return "", 0, fmt.Errorf("attributes of the collection take %d bytes, more than the %d that the record has room for: %w", len(text), limit, keepio.ErrFull)
}

// minEntry is less than what an entry with a time takes, packed.
const minEntry = 9
