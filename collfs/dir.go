package collfs

import (
	"slices"
	"sort"
	"sync/atomic"
)

// chunkMax is the most entries a chunk of a directory holds. An insertion moves
// at most that many entries; a directory of a million has some 4,000 chunks.
const chunkMax = 512

// An entry is a name in a directory. The name is kept beside the node, because
// a snapshot shows the names of its moment while nodes go on to be renamed.
type entry struct {
	name string
	node *node
}

// A chunk is a run of entries in byte order of their names, never empty. It is
// changed in place only while gen is the directory's epoch.
type chunk struct {
	gen   uint64
	items []entry
}

// A dir is the list of a directory's entries in byte order: chunks that are
// copied before they are written when a snapshot may see them. Snapshots may be
// taken concurrently with each other and with lookups; a change needs the
// dir for itself.
type dir struct {
	chunks   []chunk
	n        int
	dirs     int           // entries that are directories
	epoch    atomic.Uint64 // counts snapshots; what is of an older epoch belongs to them too
	topGen   uint64        // epoch of the slice chunks
	nonASCII int           // entries with a byte above 0x7f in their name
	index    atomic.Pointer[nameIndexes]
	linked   map[*node][]place // see links.go
}

// A dirView is a directory at one moment.
type dirView struct {
	chunks []chunk
	n      int
}

// snapshot returns what d holds now, in constant time.
func (d *dir) snapshot() dirView {
	d.epoch.Add(1)
	return dirView{d.chunks, d.n}
}

// search returns where name is, or where it would be inserted.
func (d *dir) search(name string) (c, i int, found bool) {
	// The last chunk whose first name is not above name.
	c = sort.Search(len(d.chunks), func(i int) bool { return d.chunks[i].items[0].name > name }) - 1
	if c < 0 {
		return 0, 0, false
	}
	items := d.chunks[c].items
	lo, hi := 0, len(items)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if items[m].name < name {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return c, lo, lo < len(items) && items[lo].name == name
}

// get returns the node called name, or nil.
func (d *dir) get(name string) *node {
	if c, i, ok := d.search(name); ok {
		return d.chunks[c].items[i].node
	}
	return nil
}

// own makes chunk c writable.
func (d *dir) own(c int) *chunk {
	e := d.epoch.Load()
	if d.topGen != e {
		d.chunks = slices.Clone(d.chunks)
		d.topGen = e
	}
	if c == len(d.chunks) {
		return nil
	}
	k := &d.chunks[c]
	if k.gen != e {
		k.items = append(make([]entry, 0, len(k.items)+1), k.items...)
		k.gen = e
	}
	return k
}

// set gives name to n, in place of what had it.
func (d *dir) set(name string, n *node) {
	c, i, found := d.search(name)
	if found {
		e := &d.own(c).items[i]
		d.countDirs(e.node, -1)
		d.countDirs(n, 1)
		e.node = n
		return
	}
	d.n++
	d.countDirs(n, 1)
	if !isASCII(name) {
		d.nonASCII++
	}
	if x := d.index.Load(); x != nil {
		x.changed(nameChange{name: name})
	}
	e := entry{name, n}
	k := d.own(c)
	if k == nil {
		d.chunks = append(d.chunks, chunk{d.topGen, []entry{e}})
		return
	}
	if len(k.items) < chunkMax {
		k.items = slices.Insert(k.items, i, e)
		return
	}
	if c == len(d.chunks)-1 && i == len(k.items) { // names come in order: leave full chunks behind
		d.chunks = append(d.chunks, chunk{d.topGen, append(make([]entry, 0, 16), e)})
		return
	}
	half := len(k.items) / 2
	right := append(make([]entry, 0, chunkMax), k.items[half:]...)
	clear(k.items[half:])
	k.items = k.items[:half]
	if i <= half {
		k.items = slices.Insert(k.items, i, e)
	} else {
		right = slices.Insert(right, i-half, e)
	}
	d.chunks = slices.Insert(d.chunks, c+1, chunk{d.topGen, right})
}

func (d *dir) countDirs(n *node, sign int) {
	if n.isDir() {
		d.dirs += sign
	}
}

// remove takes name away and reports whether it was there.
func (d *dir) remove(name string) bool {
	c, i, found := d.search(name)
	if !found {
		return false
	}
	k := d.own(c)
	d.countDirs(k.items[i].node, -1)
	k.items = slices.Delete(k.items, i, i+1)
	if len(k.items) == 0 {
		d.chunks = slices.Delete(d.chunks, c, c+1)
	}
	d.n--
	if !isASCII(name) {
		d.nonASCII--
	}
	if x := d.index.Load(); x != nil {
		x.changed(nameChange{name: name, gone: true})
	}
	return true
}

// view returns what d holds now for use until the next change.
func (d *dir) view() dirView { return dirView{d.chunks, d.n} }

// all yields the entries in byte order.
func (v dirView) all(yield func(string, *node) bool) {
	for _, c := range v.chunks {
		for _, e := range c.items {
			if !yield(e.name, e.node) {
				return
			}
		}
	}
}
