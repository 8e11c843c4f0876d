package collfs

import (
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/text/unicode/norm"
)

// nameIndexes finds the names of a directory by a normal form.
type nameIndexes struct {
	nfc  nameIndex // names that aren't ASCII, by their NFC
	fold nameIndex // all names, by their folded NFC
}

// A nameIndex is one of nameIndexes. A lookup that needs it makes it, changes
// keep it up to date.
type nameIndex struct {
	form func(name string) (key string, in bool)
	held *atomic.Int64 // Tree.indexed of the tree that the directory is in

	mu     sync.Mutex          // guards the fields below
	names  map[string][]string // nil: it isn't made
	bytes  int64               // what held counts for it
	making chan struct{}       // closed when it is made; nil: nobody makes it
	since  []nameChange        // while it is made
	gone   bool                // the directory has left the tree
}

// A nameChange is a name that came into a directory or went.
type nameChange struct {
	name string
	gone bool
}

// manyNames is the size of a directory whose indexes are not made under the lock
// of the collection: for a million names that takes a second.
const manyNames = 8 << 10

func newNameIndexes(held *atomic.Int64) *nameIndexes {
	return &nameIndexes{
		nfc: nameIndex{held: held, form: func(name string) (string, bool) {
			if isASCII(name) {
				return "", false
			}
			return norm.NFC.String(name), true
		}},
		fold: nameIndex{held: held, form: func(name string) (string, bool) { return foldName(name), true }},
	}
}

// changed tells x of a name that came or went.
func (x *nameIndexes) changed(ch nameChange) {
	x.nfc.changed(ch)
	x.fold.changed(ch)
}

// leave tells x that the directory leaves the tree.
func (x *nameIndexes) leave() {
	x.nfc.leave()
	x.fold.leave()
}

func (x *nameIndex) changed(ch nameChange) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.making != nil:
		x.since = append(x.since, ch)
	case x.names != nil:
		was := x.bytes
		x.applyLocked(ch)
		x.countLocked(was)
	}
}

func (x *nameIndex) leave() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.held.Add(-x.bytes)
	x.gone, x.bytes = true, 0
}

// applyLocked makes a change of names.
func (x *nameIndex) applyLocked(ch nameChange) {
	key, in := x.form(ch.name)
	if !in {
		return
	}
	cost := int64(112 + len(key)) // an entry of the map with a slice of one
	if !ch.gone {
		x.names[key] = append(x.names[key], ch.name)
		x.bytes += cost
		return
	}
	old := x.names[key]
	rest := slices.DeleteFunc(slices.Clone(old), func(s string) bool { return s == ch.name })
	if x.names[key] = rest; len(rest) == 0 {
		delete(x.names, key)
	}
	x.bytes -= cost * int64(len(old)-len(rest))
}

// countLocked tells held that bytes are not what they were.
func (x *nameIndex) countLocked(was int64) {
	if x.gone {
		x.bytes = 0
		return
	}
	x.held.Add(x.bytes - was)
}

// find returns the names of d that have a key. If the index is missing and d has
// more than limit names, it returns what to do, without locks, before the next try.
func (x *nameIndex) find(d *dir, key string, limit int) (same []string, first func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.names != nil {
		return x.names[key], nil
	}
	if making := x.making; making != nil {
		return nil, func() { <-making }
	}
	if d.n > limit {
		x.making = make(chan struct{})
		view := d.snapshot()
		return nil, func() { x.build(view) }
	}
	x.fillLocked(d.view())
	x.countLocked(0)
	return x.names[key], nil
}

func (x *nameIndex) fillLocked(v dirView) {
	x.names = make(map[string][]string)
	for name := range v.all {
		x.applyLocked(nameChange{name: name})
	}
}

// build makes the index of a directory that was v when making was set.
func (x *nameIndex) build(v dirView) {
	made := nameIndex{form: x.form}
	made.fillLocked(v) // nobody else knows it
	x.mu.Lock()
	defer x.mu.Unlock()
	x.names, x.bytes = made.names, made.bytes
	for _, ch := range x.since {
		x.applyLocked(ch)
	}
	x.countLocked(0)
	close(x.making)
	x.making, x.since = nil, nil
}

// match finds the name in d that equals name under m; exact bytes win. limit and
// first are those of nameIndex.find; held is Tree.indexed.
func (d *dir) match(name string, m Match, held *atomic.Int64, limit int) (found string, n *node, first func()) {
	if n := d.get(name); n != nil {
		return name, n, nil
	}
	if m == MatchExact || m == MatchNFC && d.nonASCII == 0 {
		return "", nil, nil
	}
	x := d.index.Load()
	if x == nil {
		x = newNameIndexes(held)
		if !d.index.CompareAndSwap(nil, x) {
			x = d.index.Load()
		}
	}
	if found, first = d.indexed(x, name, m, limit); found == "" {
		return "", nil, first
	}
	return found, d.get(found), nil
}

// indexed looks name up in the indexes.
func (d *dir) indexed(x *nameIndexes, name string, m Match, limit int) (found string, first func()) {
	if d.nonASCII > 0 {
		same, first := x.nfc.find(d, norm.NFC.String(name), limit)
		if first != nil || len(same) > 0 {
			return least(same), first
		}
	}
	if m != MatchFold {
		return "", nil
	}
	same, first := x.fold.find(d, foldName(name), limit)
	if len(same) == 1 {
		return same[0], nil
	}
	return "", first
}

func least(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return slices.Min(names)
}
