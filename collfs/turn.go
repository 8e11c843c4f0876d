package collfs

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"keepdav/keepio"
)

// Turn returns the operations that turn a tree into another one, which was made
// elsewhere, such as from a manifest: its content ids mean nothing here. What has
// the same bytes in both, by the blocks they are in, is left as it is, with its id and
// its attributes; a file that went from one path to another is renamed. at is the
// time of the operations, in nanoseconds since 1970. All blocks of from that matter
// must be stored, else their files count as changed. The cost is that of both trees.
func Turn(from, to *Tree, at int64) ([]Op, error) {
	to = to.Clone()
	to.align(from)
	changes, err := turn(from.Clone(), to, at)
	if err != nil {
		return nil, err
	}
	return opsOf(changes), nil
}

// TurnMerged is Turn for what somebody made of an older state than the one that is
// there: the operations bring what turned base into to to the tree theirs, by the
// rules of merges (see merge.go), and conflicts are what they put beside. theirsAt is
// when theirs was made.
func TurnMerged(theirs, base, to *Tree, theirsAt time.Time, at int64) (ops []Op, conflicts []Notice, err error) {
	base, to = base.Clone(), to.Clone()
	base.align(theirs)
	to.align(base)
	to.align(theirs)
	changes, err := turn(base.Clone(), to, at)
	if err != nil {
		return nil, nil, err
	}
	m := newMerger(theirs.Clone(), theirsAt, changes)
	m.replayAll()
	if m.err != nil {
		return nil, nil, m.err
	}
	return opsOf(m.out), m.conflicts, nil
}

// align gives files of t the content ids that files with the same bytes have in
// known: at the same path, or else anywhere.
func (t *Tree) align(known *Tree) {
	var rest []*node
	alignBelow(t.root, known.root, &rest)
	if len(rest) == 0 {
		return
	}
	byBytes := make(map[xxh3.Uint128]ContentID)
	known.root.eachEntry("", func(_ string, n *node) {
		if !n.isDir() && n.size > 0 {
			if key, ok := bytesKey(n.segs); ok {
				byBytes[key] = n.id
			}
		}
	})
	for _, n := range rest {
		if key, ok := bytesKey(n.segs); ok {
			if id, ok := byBytes[key]; ok {
				n.id = id
			}
		}
	}
}

// alignBelow is align for what is at the same paths in two directories. The other
// files that have bytes come into rest. known may be nil.
func alignBelow(n, known *node, rest *[]*node) {
	for name, k := range n.kids.view().all {
		var other *node
		if known != nil {
			other = known.kids.get(name)
		}
		switch {
		case k.isDir():
			if other != nil && !other.isDir() {
				other = nil
			}
			alignBelow(k, other, rest)
		case other != nil && !other.isDir() && sameBytes(k.segs, other.segs):
			k.id = other.id
		case k.size > 0:
			*rest = append(*rest, k)
		}
	}
}

// sameBytes reports whether two say the same about where the bytes are.
func sameBytes(a, b []keepio.Segment) bool {
	if slices.EqualFunc(a, b, sameSegment) {
		return true
	}
	x, ok1 := bytesKey(a)
	y, ok2 := bytesKey(b)
	return ok1 && ok2 && x == y
}

func sameSegment(a, b keepio.Segment) bool {
	switch {
	case a.Off != b.Off || a.Len != b.Len:
		return false
	case a.Block == b.Block:
		return true
	case a.Block == nil || b.Block == nil:
		return false
	}
	ha, _, ok1 := a.Block.Stored()
	hb, _, ok2 := b.Block.Stored()
	return ok1 && ok2 && ha == hb
}

// bytesKey identifies what segs say where the bytes are; ok is false if a block
// has no name yet. Holes are spans of the block of zeros; how a span is cut into
// segments makes no difference.
func bytesKey(segs []keepio.Segment) (key xxh3.Uint128, ok bool) {
	h := xxh3.New()
	var last struct {
		hash     [16]byte
		off, end int64
	}
	var buf [32]byte
	flush := func() {
		if last.end == last.off {
			return
		}
		copy(buf[:16], last.hash[:])
		binary.LittleEndian.PutUint64(buf[16:], uint64(last.off))
		binary.LittleEndian.PutUint64(buf[24:], uint64(last.end))
		h.Write(buf[:])
	}
	for _, s := range segs {
		var hash [16]byte // of a hole
		off, zeros := int64(0), s.Block == nil
		if !zeros {
			var size uint32
			if hash, size, ok = s.Block.Stored(); !ok {
				return key, false
			}
			zeros = keepio.IsZeroBlock(hash, size)
			off = int64(s.Off)
		}
		if zeros {
			hash, off = [16]byte{}, 0
			if last.hash == hash && last.end > last.off {
				off = last.end
			}
		}
		if hash != last.hash || off != last.end {
			flush()
			last.hash, last.off, last.end = hash, off, off
		}
		last.end += int64(s.Len)
	}
	flush()
	return h.Sum128(), true
}

// A turner makes the changes that turn one tree, from, into another.
type turner struct {
	from *Tree // changes with what is found
	to   *Tree
	at   int64
	out  []change
	err  error

	gone  []string               // to be deleted, each with all below it
	lost  map[ContentID][]string // files among them, by content
	dirs  []string               // to be made
	files []walkItem             // to be put
}

// turn returns the changes that turn from, which it uses up, into to. Contents are
// the same if their ids are.
func turn(from, to *Tree, at int64) ([]change, error) {
	t := turner{from: from, to: to, at: at, lost: make(map[ContentID][]string)}
	t.compare("", from.root, to.root)
	for _, path := range t.dirs {
		t.do(Op{Kind: OpMkdir, Path: path})
	}
	for _, it := range t.files {
		t.put(it.path, it.node)
	}
	for _, path := range t.gone {
		if n := t.from.lookup(path); n != nil { // else it was renamed
			t.do(Op{Kind: OpDelete, Path: path, Old: n.id})
		}
	}
	return t.out, t.err
}

// compare notes what is to be done in a directory that both have. What changes
// from a file to a directory or back is deleted at once.
func (t *turner) compare(path string, from, to *node) {
	type pair struct {
		path     string
		from, to *node
	}
	var both []pair
	var replaced []string
	for name, k := range from.kids.view().all {
		p, other := joinPath(path, name), to.kids.get(name)
		switch {
		case other == nil:
			t.gone = append(t.gone, p)
			for it := range k.walk(p) {
				if !it.node.isDir() && it.node.size > 0 {
					t.lost[it.node.id] = append(t.lost[it.node.id], it.path)
				}
			}
		case k.isDir() && other.isDir():
			both = append(both, pair{p, k, other})
		case k.isDir() != other.isDir():
			replaced = append(replaced, p)
		case k.id != other.id:
			t.files = append(t.files, walkItem{p, other})
		}
	}
	for name, k := range to.kids.view().all {
		if other := from.kids.get(name); other == nil || other.isDir() != k.isDir() {
			t.add(joinPath(path, name), k)
		}
	}
	for _, b := range both {
		t.compare(b.path, b.from, b.to)
	}
	for _, p := range replaced {
		t.do(Op{Kind: OpDelete, Path: p, Old: t.from.lookup(p).id})
	}
}

// add notes that n, with all below it, is to be made at path.
func (t *turner) add(path string, n *node) {
	for it := range n.walk(path) {
		if it.node.isDir() {
			t.dirs = append(t.dirs, it.path)
		} else {
			t.files = append(t.files, it)
		}
	}
}

// put makes the file at path what n is: by renaming one that goes, if it has the
// same content, else by a put.
func (t *turner) put(path string, n *node) {
	old := t.from.lookup(path)
	if old == nil {
		if src := t.takeLost(path, n.id); src != "" {
			t.do(Op{Kind: OpRename, Src: src, Path: path, Content: Content{ID: n.id}})
			return
		}
	}
	op := Op{Kind: OpPut, Path: path, Content: n.content(), Attr: Attr{Mtime: t.at}}
	if old != nil {
		if old.id == n.id { // by a put under another of its names
			return
		}
		op.Old = old.id
		op.Attr.Mode = old.attr.Mode
		if !t.allBecome(old, n.id) {
			t.do(Op{Kind: OpDelete, Path: path, Old: old.id})
			op.Old = ContentID{}
		}
	}
	t.do(op)
}

// allBecome reports whether a file has the content id under all its names in the end:
// a put changes it under all of them.
func (t *turner) allBecome(n *node, id ContentID) bool {
	if n.links() == 1 {
		return true
	}
	for _, path := range n.paths() {
		if m := t.to.lookup(path); m == nil || m.isDir() || m.id != id {
			return false
		}
	}
	return true
}

// takeLost returns where a file that is to be deleted has a content; one with the
// same name is preferred.
func (t *turner) takeLost(path string, id ContentID) string {
	paths := t.lost[id]
	if len(paths) == 0 {
		return ""
	}
	_, name := splitPath(path)
	i := max(0, slices.IndexFunc(paths, func(p string) bool { return p == name || strings.HasSuffix(p, "/"+name) }))
	src := paths[i]
	if n := t.from.lookup(src); n == nil || n.links() > 1 {
		return ""
	}
	t.lost[id] = slices.Delete(paths, i, i+1)
	return src
}

// do makes an operation in from and keeps it.
func (t *turner) do(op Op) {
	if t.err != nil {
		return
	}
	op.Time = t.at
	ch := change{Op: op}
	if n := t.from.lookup(op.Path); n != nil {
		ch.was = n.attr
	}
	n, err := t.from.apply(op)
	if err != nil {
		t.err = pathError(op.Kind.String(), op.Path, err)
		return
	}
	switch op.Kind {
	case OpDelete, OpRename:
		ch.node = n
	}
	t.out = append(t.out, ch)
}
