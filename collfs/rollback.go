package collfs

import "maps"

// A rollback takes back operations on a tree. What they are going to change is saved
// before each: its cost is that of the operations, not of the tree.
type rollback struct {
	t     *Tree
	was   Tree // its sums and its root
	nodes map[*node]node
	dirs  map[*dir]savedDir
}

// A savedDir is what a directory had in it.
type savedDir struct {
	view           dirView
	topGen         uint64
	dirs, nonASCII int
	index          *nameIndexes
	linked         map[*node][]place
}

func newRollback(t *Tree) *rollback {
	return &rollback{t: t, was: *t, nodes: make(map[*node]node), dirs: make(map[*dir]savedDir)}
}

// maxGrowth is how many entries operations that are tried may add.
const maxGrowth = 4 << 20

// tryAll applies ops to t and returns what its sums are then. It leaves the tree as
// it was, with those indexes of names that are not of directories that went. The
// error is that of the first operation that does not apply.
func (t *Tree) tryAll(ops []Op) (after Tree, err error) {
	r := newRollback(t)
	defer r.undo()
	for i := range ops {
		r.save(&ops[i])
		if err := t.Apply(ops[i]); err != nil {
			return Tree{}, err
		}
		if t.files+t.dirs > r.was.files+r.was.dirs+maxGrowth { // each copy may double what is there
			return Tree{}, pathError(ops[i].Kind.String(), ops[i].Path, ErrTooManyEntries)
		}
	}
	return *t, nil
}

// save keeps what op may change.
func (r *rollback) save(op *Op) {
	if op.Kind == OpCommit {
		return
	}
	r.path(op.Path)
	if op.Kind.hasSrc() {
		r.path(op.Src)
	}
	if !r.t.linked || op.Kind != OpDelete {
		return
	}
	if n := r.t.lookup(op.Path); n != nil && n.isDir() { // files with names inside and outside become two
		for f := range n.linkedBelow() {
			r.node(f)
		}
	}
}

// path keeps what is at a path, and the directory that it is in.
func (r *rollback) path(path string) {
	if n := r.t.lookup(path); n != nil {
		r.node(n)
	}
	dir, _ := splitPath(path)
	if up := r.t.lookup(dir); up != nil {
		r.node(up)
	}
}

// node keeps n, and the directories in which it has names.
func (r *rollback) node(n *node) {
	if _, ok := r.nodes[n]; ok {
		return
	}
	r.nodes[n] = *n
	if d := n.kids; d != nil {
		r.dirs[d] = savedDir{
			topGen: d.topGen, view: d.snapshot(), dirs: d.dirs, nonASCII: d.nonASCII,
			index: d.index.Swap(nil), linked: maps.Clone(d.linked),
		}
	}
	for _, p := range n.places() {
		r.node(p.up)
	}
}

// undo makes the tree what it was.
func (r *rollback) undo() {
	for n, was := range r.nodes {
		*n = was
	}
	for d, was := range r.dirs {
		d.chunks, d.n, d.topGen = was.view.chunks, was.view.n, was.topGen
		d.dirs, d.nonASCII, d.linked = was.dirs, was.nonASCII, was.linked
		d.index.Store(was.index)
	}
	*r.t = r.was
}
