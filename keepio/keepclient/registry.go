package keepclient

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"keepdav/keepio"
)

// pushedSource is the source of blocks that were stored and are in no record
// that we know of.
const pushedSource = 0

// A registry knows the locators of blocks, with their signatures, by hash and
// size. It takes some 64 bytes a locator.
//
// Entries lie in chunks and are named by their number. A table with open
// addressing leads from a block to its first entry; the entries of one block,
// one for each source that has it, are chained by same, so that a block which
// very many collections share costs no more than others. The entries of a source
// are chained by next.
type registry struct {
	mu      sync.RWMutex // guards the fields below
	chunks  []*[chunkLen]entry
	used    uint32 // entries that were ever in use
	free    uint32 // first of a chain by next, +1
	live    int
	pushed  int      // of live
	dead    int      // entries that wait to be freed
	table   []uint32 // entry numbers +1; a power of two
	heads   int      // slots in use
	seed    uint64
	sources map[string]*knownSource
	byID    map[uint32]*knownSource
	nextID  uint32
	wake    time.Time         // when the refresher looks again
	hints   map[uint32]string // hints other than a usual +A, with their pluses, where there are any
}

const (
	chunkLen = 256
	minTable = 64
	// learnStep is how many locators are learned under one lock: reads wait for it.
	learnStep = 4096
	// unsignedExpiry stands for no signature.
	unsignedExpiry = 0
	// deadSize marks an entry that is gone but still in its source's chain.
	deadSize = 1<<32 - 1
)

// An entry is a block as one source knows it.
type entry struct {
	hash   [16]byte
	mac    [20]byte
	size   uint32
	expiry uint32 // seconds of Unix time, or unsignedExpiry
	source uint32
	same   uint32 // next entry of the same block, +1
	next   uint32 // next entry of the same source, or free one, +1
}

// A knownSource is a collection, or whatever locators come from.
type knownSource struct {
	name  string
	id    uint32
	first uint32    // of its entries, +1
	due   time.Time // when to load it again, by the cluster's clock; zero: never
}

func (r *registry) init() {
	r.seed = rand.Uint64()
	r.table = make([]uint32, minTable)
	r.sources = make(map[string]*knownSource)
	r.byID = make(map[uint32]*knownSource)
	r.hints = make(map[uint32]string)
	r.byID[pushedSource] = &knownSource{}
	r.nextID = pushedSource + 1
}

// learn notes the locators of a source. A source that is not known yet becomes
// so. It returns the earliest end of a signature among them, 0 if none has one.
func (r *registry) learn(name string, locs []keepio.Locator) (earliest uint32) {
	for part := range slices.Chunk(locs, learnStep) {
		if e := r.learnPart(name, part); e != 0 && (earliest == 0 || e < earliest) {
			earliest = e
		}
	}
	return earliest
}

// learnPart is learn of a few.
func (r *registry) learnPart(name string, locs []keepio.Locator) (earliest uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	src := r.sources[name]
	if src == nil {
		src = &knownSource{name: name, id: r.nextID}
		r.nextID++
		r.sources[name] = src
		r.byID[src.id] = src
	}
	for _, loc := range locs {
		if loc.IsZero() || loc.Size() == 0 {
			continue
		}
		if e := r.putLocked(src, loc); e.expiry != unsignedExpiry && (earliest == 0 || e.expiry < earliest) {
			earliest = e.expiry
		}
	}
	if r.dead > r.pushed+chunkLen {
		r.pruneLocked(r.byID[pushedSource], func(*entry) bool { return true })
	}
	return earliest
}

// putLocked notes a locator of a source. r.mu must be held.
func (r *registry) putLocked(src *knownSource, loc keepio.Locator) *entry {
	hash, size := loc.Hash(), uint32(loc.Size())
	slot := r.slotLocked(hash, size)
	var mine uint32
	for at := r.table[slot]; at != 0; {
		e := r.at(at)
		next := e.same
		switch {
		case e.source == src.id:
			mine = at
		case e.source == pushedSource && (loc.Signed() || e.expiry == unsignedExpiry):
			r.dropLocked(slot, at) // a record names it now
		}
		at = next
	}
	// dropLocked may have emptied the slot, and moved others.
	if mine == 0 {
		slot = r.slotLocked(hash, size)
		mine = r.addLocked(slot, src, hash, size)
	}
	e := r.at(mine)
	r.signLocked(mine, e, loc)
	return e
}

// signLocked takes over a locator's signature and other hints. One without a
// signature, as the API has them while a collection is in the trash, leaves the
// old one: it is good until it ends. r.mu must be held.
func (r *registry) signLocked(at uint32, e *entry, loc keepio.Locator) {
	if loc.Signed() {
		e.mac, e.expiry = [20]byte{}, unsignedExpiry
	}
	delete(r.hints, at)
	var others strings.Builder
	for hint := range hints(loc.String()) {
		// A signature of a form that we do not know may be good all the same.
		if mac, expiry, ok := splitSignature(hint); ok {
			e.mac, e.expiry = mac, expiry
		} else {
			others.WriteString("+" + hint)
		}
	}
	if others.Len() > 0 {
		r.hints[at] = others.String()
	}
}

// splitSignature takes a hint A<40 hex digits>@<8 hex digits> apart.
func splitSignature(hint string) (mac [20]byte, expiry uint32, ok bool) {
	if len(hint) != 1+40+1+8 || hint[0] != 'A' || hint[41] != '@' {
		return mac, 0, false
	}
	if _, err := hex.Decode(mac[:], []byte(hint[1:41])); err != nil {
		return mac, 0, false
	}
	n, err := strconv.ParseUint(hint[42:], 16, 32)
	return mac, uint32(n), err == nil && n != unsignedExpiry
}

// forget drops all that a source told.
func (r *registry) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	src := r.sources[name]
	if src == nil {
		return
	}
	r.pruneLocked(src, func(*entry) bool { return false })
	delete(r.sources, name)
	delete(r.byID, src.id)
	if r.live == 0 { // give the memory back
		r.chunks, r.used, r.free, r.dead, r.heads = nil, 0, 0, 0, 0
		r.table = make([]uint32, minTable)
		r.byID[pushedSource].first = 0
	}
}

// pruneLocked drops those entries of a source that are not worth keeping, and
// frees those that are dead. r.mu must be held.
func (r *registry) pruneLocked(src *knownSource, keep func(*entry) bool) {
	link := &src.first
	for *link != 0 {
		at := *link
		e := r.at(at)
		if e.size != deadSize && keep(e) {
			link = &e.next
			continue
		}
		if e.size != deadSize {
			r.dropLocked(r.slotLocked(e.hash, e.size), at)
		}
		*link = e.next
		e.next, r.free = r.free, at
		r.dead--
	}
}

// best returns the locator of a block whose signature ends last, unless one is
// found before that is good until after. source is what told it.
func (r *registry) best(hash [16]byte, size uint32, after time.Time) (loc keepio.Locator, source string, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var found uint32
	for at := r.table[r.slotLocked(hash, size)]; at != 0; at = r.at(at).same {
		if found == 0 || r.at(at).expiry > r.at(found).expiry {
			found = at
		}
		if int64(r.at(found).expiry) > after.Unix() {
			break
		}
	}
	if found == 0 {
		return keepio.Locator{}, "", false
	}
	return r.locatorLocked(found), r.byID[r.at(found).source].name, true
}

// locatorLocked makes the locator of an entry. r.mu must be held.
func (r *registry) locatorLocked(at uint32) keepio.Locator {
	e := r.at(at)
	bare := keepio.MakeLocator(e.hash, int64(e.size))
	extra := r.hints[at]
	if e.expiry == unsignedExpiry && extra == "" {
		return bare
	}
	b := make([]byte, 0, 128)
	b = append(b, bare.String()...)
	b = append(b, extra...)
	if e.expiry != unsignedExpiry {
		b = append(b, "+A"...)
		b = hex.AppendEncode(b, e.mac[:])
		b = append(b, '@')
		b = hex.AppendEncode(b, binary.BigEndian.AppendUint32(nil, e.expiry))
	}
	loc, err := keepio.ParseLocator(string(b))
	if err != nil {
		return bare // cannot be: it is made of a locator's parts
	}
	return loc
}

// count returns the numbers of locators and, of these, of pushed blocks.
func (r *registry) count() (all, pushed int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.live, r.pushed
}

// at returns the entry with number at-1.
func (r *registry) at(at uint32) *entry {
	return &r.chunks[(at-1)/chunkLen][(at-1)%chunkLen]
}

// addLocked makes an entry, unsigned, and puts it before the others of its block,
// whose slot is given. r.mu must be held.
func (r *registry) addLocked(slot int, src *knownSource, hash [16]byte, size uint32) uint32 {
	at := r.free
	if at != 0 {
		r.free = r.at(at).next
	} else {
		if int(r.used) == len(r.chunks)*chunkLen {
			r.chunks = append(r.chunks, new([chunkLen]entry))
		}
		r.used++
		at = r.used
	}
	*r.at(at) = entry{hash: hash, size: size, source: src.id, same: r.table[slot], next: src.first}
	src.first = at
	if r.table[slot] == 0 {
		r.heads++
	}
	r.table[slot] = at
	r.live++
	if src.id == pushedSource {
		r.pushed++
	}
	if r.heads > len(r.table)/8*7 {
		r.growLocked()
	}
	return at
}

// dropLocked takes an entry out of its block's chain, which begins at slot, and
// marks it dead. It stays in its source's chain. r.mu must be held.
func (r *registry) dropLocked(slot int, at uint32) {
	e := r.at(at)
	link := &r.table[slot]
	for *link != at {
		link = &r.at(*link).same
	}
	*link = e.same
	delete(r.hints, at)
	r.live--
	r.dead++
	if e.source == pushedSource {
		r.pushed--
	}
	if r.table[slot] == 0 {
		r.heads--
		r.closeGapLocked(slot)
	}
	e.size, e.same = deadSize, 0
}

// slotLocked returns the slot of a block, or the free one where it would go.
// r.mu must be held.
func (r *registry) slotLocked(hash [16]byte, size uint32) int {
	slot := r.home(hash, size)
	for r.table[slot] != 0 {
		if e := r.at(r.table[slot]); e.hash == hash && e.size == size {
			break
		}
		slot = (slot + 1) & (len(r.table) - 1)
	}
	return slot
}

// home is where the search for a block begins. Hashes are spread as they are, but
// whoever stores blocks can choose them; the seed is ours.
func (r *registry) home(hash [16]byte, size uint32) int {
	const odd = 0x9e3779b97f4a7c15
	h := (binary.LittleEndian.Uint64(hash[:]) ^ r.seed) * odd
	h = (h ^ h>>32 ^ binary.LittleEndian.Uint64(hash[8:]) ^ uint64(size)) * odd
	return int(h>>33) & (len(r.table) - 1)
}

// growLocked doubles the table. r.mu must be held.
func (r *registry) growLocked() {
	old := r.table
	r.table = make([]uint32, 2*len(old))
	for _, at := range old {
		if at != 0 {
			e := r.at(at)
			r.table[r.slotLocked(e.hash, e.size)] = at
		}
	}
}

// closeGapLocked moves entries into a slot that has become free, where the search
// for them would end too early. r.mu must be held.
func (r *registry) closeGapLocked(gap int) {
	mask := len(r.table) - 1
	for slot := (gap + 1) & mask; r.table[slot] != 0; slot = (slot + 1) & mask {
		e := r.at(r.table[slot])
		home := r.home(e.hash, e.size)
		if (slot-home)&mask >= (slot-gap)&mask {
			r.table[gap], r.table[slot] = r.table[slot], 0
			gap = slot
		}
	}
}
