package collfs

import (
	"fmt"
	"io/fs"
	"iter"
	"math"
	"strings"
	"sync/atomic"

	"keepdav/keepio"
)

// A Tree is the content of a collection: directories and files with their
// attributes and segments. It is not for concurrent use while it changes.
type Tree struct {
	root  *node
	files int64
	dirs  int64 // without the root
	bytes int64
	segs  int64 // segments of all files
	names int64 // bytes of all names
	holes int64 // bytes of all holes

	linked bool // false: no file has more than one name

	indexed *atomic.Int64 // bytes of the directories' indexes; lookups change it, too
}

// A node is a file or a directory. Its place (up, name) changes by renames;
// handles refer to nodes, not to names. A file may have more places: see links.go.
type node struct {
	up   *node // the directory it is in; nil: the root, or in no tree
	name string
	attr Attr
	kids *dir // nil: a file

	// Of a file:
	id   ContentID
	size int64
	segs []keepio.Segment // never changed in place
	open *openFile        // while a handle for writing is open
}

// NodeInfo describes a node at one moment.
type NodeInfo struct {
	Name    string // the last element of its path, as it is spelled; "" for the root
	Dir     bool
	Size    int64
	ID      ContentID // of a file
	Attr    Attr
	Entries int    // of a directory
	Dirs    int    // how many of them are directories
	Links   uint32 // how many names a file has: 0 if it was unlinked while it is open; 1 for a directory
	Data    int64  // bytes of a file that are no hole; only a Ref tells
}

// NewTree returns an empty tree.
func NewTree() *Tree { return &Tree{root: &node{kids: new(dir)}, indexed: new(atomic.Int64)} }

// Files returns the number of files. A file counts under each of its names, here
// and in all other sums.
func (t *Tree) Files() int64 { return t.files }

// Dirs returns the number of directories below the root.
func (t *Tree) Dirs() int64 { return t.dirs }

// Bytes returns the sum of the files' sizes.
func (t *Tree) Bytes() int64 { return t.bytes }

// MemSize estimates the bytes of heap that t occupies: a node and its entry
// (152), its name, 16 a segment, 200 for what else a directory has, and indexes.
func (t *Tree) MemSize() int64 {
	return 1024 + 156*(t.files+t.dirs) + t.names + 16*t.segs + 200*t.dirs + t.indexed.Load()
}

func (n *node) isDir() bool { return n.kids != nil }

func (n *node) info() NodeInfo {
	i := NodeInfo{Name: n.name, Dir: n.isDir(), Size: n.size, ID: n.id, Attr: n.attr}
	if i.Dir {
		i.Entries, i.Dirs, i.Links = n.kids.n, n.kids.dirs, 1
	} else {
		i.Links = uint32(n.links())
	}
	return i
}

// infoAt is info for n at a path, one of those it has.
func (n *node) infoAt(path string) NodeInfo {
	i := n.info()
	_, i.Name = splitPath(path)
	return i
}

func (n *node) content() Content { return Content{n.id, n.size, n.segs} }

// path returns where n is in its tree.
func (n *node) path() string {
	if n.up == nil {
		return n.name
	}
	size, depth := 0, 0
	for m := n; m.up != nil; m = m.up {
		size += len(m.name) + 1
		depth++
	}
	b := make([]byte, size)
	at := size
	for m := n; m.up != nil; m = m.up {
		at -= len(m.name)
		copy(b[at:], m.name)
		if at--; at >= 0 {
			b[at] = '/'
		}
	}
	return string(b[1:])
}

// find returns the node at a clean path: fs.ErrNotExist if there is none,
// ErrNotDir if a file is in the way.
func (t *Tree) find(path string) (*node, error) {
	n := t.root
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if !n.isDir() {
			return nil, ErrNotDir
		}
		if n = n.kids.get(name); n == nil {
			return nil, fs.ErrNotExist
		}
	}
	return n, nil
}

// lookup is find without an error.
func (t *Tree) lookup(path string) *node {
	n, _ := t.find(path)
	return n
}

// Stat describes what is at a clean path.
func (t *Tree) Stat(path string) (NodeInfo, error) {
	n, err := t.find(path)
	if err != nil {
		return NodeInfo{}, pathError("stat", path, err)
	}
	return n.infoAt(path), nil
}

// Content returns the content of the file at a clean path.
func (t *Tree) Content(path string) (Content, error) {
	n, err := t.find(path)
	if err == nil && n.isDir() {
		err = ErrIsDir
	}
	if err != nil {
		return Content{}, pathError("open", path, err)
	}
	return n.content(), nil
}

// Resolve returns the path that is meant by path when names are compared as m
// says, element by element. The elements that aren't there stay as they are
// spelled; ok says whether all are there.
func (t *Tree) Resolve(path string, m Match) (resolved string, ok bool) {
	resolved, ok, _ = t.resolve(path, m, math.MaxInt)
	return resolved, ok
}

// resolve is Resolve that does not index a directory of more than limit names
// itself: see nameIndex.find.
func (t *Tree) resolve(path string, m Match, limit int) (resolved string, ok bool, first func()) {
	n := t.root
	for rest := path; rest != ""; {
		name, more, _ := strings.Cut(rest, "/")
		var found string
		var next *node
		if n.isDir() {
			if found, next, first = n.kids.match(name, m, t.indexed, limit); first != nil {
				return "", false, first
			}
		}
		if next == nil {
			return joinPath(resolved, rest), false, nil
		}
		n, rest = next, more
		resolved = joinPath(resolved, found)
	}
	return resolved, true, nil
}

// ReadDir returns what is in the directory at a clean path, in byte order.
func (t *Tree) ReadDir(path string) (iter.Seq[NodeInfo], error) {
	n, err := t.find(path)
	if err == nil && !n.isDir() {
		err = ErrNotDir
	}
	if err != nil {
		return nil, pathError("readdir", path, err)
	}
	return func(yield func(NodeInfo) bool) {
		for name, k := range n.kids.view().all {
			if !yield(k.infoAt(name)) {
				return
			}
		}
	}, nil
}

// A walkItem is a node with its path.
type walkItem struct {
	path string
	node *node
}

// walk yields n, at path, and all below it, each directory before what is in
// it, entries in byte order, a file under each of its names.
func (n *node) walk(path string) iter.Seq[walkItem] {
	return func(yield func(walkItem) bool) { n.visit(path, yield) }
}

func (n *node) visit(path string, yield func(walkItem) bool) bool {
	if !yield(walkItem{path, n}) {
		return false
	}
	if n.isDir() {
		for name, k := range n.kids.view().all {
			if !k.visit(joinPath(path, name), yield) {
				return false
			}
		}
	}
	return true
}

// Walk calls fn for the root, then for all below it, each directory before its
// entries, those in byte order. It ends with the first error of fn.
func (t *Tree) Walk(fn func(path string, info NodeInfo, c Content) error) error {
	for it := range t.root.walk("") {
		if err := fn(it.path, it.node.infoAt(it.path), it.node.content()); err != nil {
			return err
		}
	}
	return nil
}

// Blocks calls visit with each segment of each file; holes have no block.
func (t *Tree) Blocks(visit func(keepio.Segment)) {
	t.root.eachEntry("", func(_ string, n *node) {
		for _, s := range n.segs {
			visit(s)
		}
	})
}

// eachEntry calls fn for n, by the name it has here, and all below it, a file
// under each of its names.
func (n *node) eachEntry(name string, fn func(name string, n *node)) {
	fn(name, n)
	if n.isDir() {
		for name, k := range n.kids.view().all {
			k.eachEntry(name, fn)
		}
	}
}

// count adds what is called name, with all below it, to t's sums, sign times.
func (t *Tree) count(name string, n *node, sign int64) {
	n.eachEntry(name, func(name string, m *node) { t.countOne(name, m, sign) })
}

func (t *Tree) countOne(name string, n *node, sign int64) {
	if n.isDir() {
		t.dirs += sign
		if x := n.kids.index.Load(); x != nil && sign < 0 {
			n.kids.index.Store(nil)
			x.leave()
		}
	} else {
		t.files += sign
	}
	t.bytes += sign * n.size
	t.segs += sign * int64(len(n.segs))
	t.names += sign * int64(len(name))
	t.holes += sign * holesIn(n.segs)
}

// holesIn returns how many bytes of segs are holes.
func holesIn(segs []keepio.Segment) (n int64) {
	for _, s := range segs {
		if s.Block == nil {
			n += int64(s.Len)
		}
	}
	return n
}

// link puts n, which is in no tree, under name into directory up, in place of
// what is there, which the caller has taken out of the sums.
func (t *Tree) link(up *node, name string, n *node) {
	n.up, n.name = up, name
	up.kids.set(name, n)
}

// setContent gives a file of t another content.
func (t *Tree) setContent(n *node, c Content) {
	names := int64(n.links())
	t.bytes += names * (c.Size - n.size)
	t.segs += names * int64(len(c.Segments)-len(n.segs))
	t.holes += names * (holesIn(c.Segments) - holesIn(n.segs))
	n.id, n.size, n.segs = c.ID, c.Size, c.Segments
}

// clone copies n and all below it, in no tree and without handles. What is one
// file under several names there is one in the copy.
func (n *node) clone() *node {
	c := &node{name: n.name, attr: n.attr, id: n.id, size: n.size, segs: n.segs}
	if n.isDir() {
		n.cloneEntries(c, make(map[*node]*node))
	}
	return c
}

// cloneEntries gives c copies of n's entries. made has the copies of files with
// several names. Nodes come from one slab a directory.
func (n *node) cloneEntries(c *node, made map[*node]*node) {
	d := n.kids
	c.kids = &dir{n: d.n, dirs: d.dirs, nonASCII: d.nonASCII, chunks: make([]chunk, len(d.chunks))}
	for i, from := range d.chunks {
		slab := make([]node, len(from.items))
		items := make([]entry, len(from.items))
		for j, e := range from.items {
			k := e.node
			linked := !k.isDir() && (place{n, e.name}).hasMore(k)
			if m := made[k]; m != nil && linked {
				m.setMore(append(m.more(), place{c, e.name}))
				items[j] = entry{e.name, m}
				continue
			}
			m := &slab[j]
			*m = node{up: c, name: e.name, attr: k.attr, id: k.id, size: k.size, segs: k.segs}
			if k.isDir() {
				k.cloneEntries(m, made)
			} else if linked {
				made[k] = m
			}
			items[j] = entry{e.name, m}
		}
		c.kids.chunks[i] = chunk{0, items}
	}
}

// Clone returns a copy of t.
func (t *Tree) Clone() *Tree {
	c := *t
	c.root, c.indexed = t.root.clone(), new(atomic.Int64)
	return &c
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	if path == "" {
		path = "."
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// checkPath says what is wrong with a path that a user wants to make, if
// anything. Only the last name may be too long: the others are there already, or
// will be found missing.
func checkPath(path string) error {
	if path == "" {
		return fs.ErrInvalid
	}
	if len(path) > MaxPath {
		return fmt.Errorf("%w: path of %d bytes", ErrNameTooLong, len(path))
	}
	dir, name := splitPath(path)
	if dir != "" {
		for s := range strings.SplitSeq(dir, "/") {
			if !validName(s) {
				return fmt.Errorf("%w: %q", ErrNameInvalid, s)
			}
		}
	}
	return CheckName(name)
}

func (o OpKind) String() string {
	names := [...]string{"invalid", "put", "mkdir", "remove", "rename", "copy", "setattr", "repack", "patch", "link", "exchange", "commit"}
	if int(o) < len(names) {
		return names[o]
	}
	return fmt.Sprintf("op %d", o)
}
