package collfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"keepdav/keepio"
)

// randomOp returns an operation on few names, which may or may not apply to t.
func randomOp(r *rand.Rand, t *Tree) Op {
	path := func() string {
		p := fmt.Sprintf("%c", 'a'+r.IntN(4))
		for range r.IntN(3) {
			p += fmt.Sprintf("/%c", 'a'+r.IntN(4))
		}
		return p
	}
	op := Op{Kind: OpKind(1 + r.IntN(int(lastOp))), Path: path(), Src: path()}
	if r.IntN(2) == 0 {
		op.Time = r.Int64N(1 << 40)
	}
	op.Attr.Mode, op.Attr.Mtime = r.Uint32N(512), r.Int64N(1<<40)
	n := t.lookup(op.Path)
	switch op.Kind {
	case OpPut, OpPatch:
		op.Content = Content{ID: ContentID{1, byte(r.IntN(256)), byte(r.IntN(256))}, Size: 7}
		op.Content.Segments = []keepio.Segment{{Block: keepio.NewStoredBlock([16]byte{byte(r.IntN(3))}, 100), Len: 5}, {Len: 2}}
		if op.Kind == OpPatch && n != nil {
			op.Old, op.Off, op.Content.Size = n.id, r.Int64N(10), r.Int64N(20)
		}
	case OpAttr:
		if n != nil {
			op.Content.ID = n.id
		}
	case OpDelete:
		if r.IntN(20) == 0 {
			op.Path = ""
		}
	}
	return op
}

func TestATreeIsAsItWasAfterATrialOfOperations(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	tree := NewTree()
	applied, refused := 0, 0
	for i := range 5000 {
		if i%500 == 0 {
			tree = NewTree()
		}
		var ops []Op
		for range 1 + r.IntN(3) {
			ops = append(ops, randomOp(r, tree))
		}
		tree.Resolve("A/B", MatchFold) // makes indexes
		before, view := AppendTree(nil, tree), tree.root.kids.snapshot()
		snap := fmt.Sprint(view)
		after, err := tree.tryAll(ops)
		if got := AppendTree(nil, tree); !bytes.Equal(got, before) {
			t.Fatalf("%d: a trial of %+v has changed the tree", i, ops)
		}
		if got := fmt.Sprint(view); got != snap {
			t.Fatalf("%d: a trial of %+v has changed a snapshot", i, ops)
		}
		if err := tree.checkSums(); err != nil {
			t.Fatalf("%d: after a trial of %+v: %v", i, ops, err)
		}
		checkPlaces(t, tree)
		copied := tree.Clone()
		var real error
		for _, op := range ops {
			if real = tree.Apply(op); real != nil {
				break
			}
		}
		if fmt.Sprint(real) != fmt.Sprint(err) {
			t.Fatalf("%d: trial = %v; in earnest %v", i, err, real)
		}
		if real != nil {
			refused++
			tree = copied
			continue
		}
		applied++
		if after.files != tree.files || after.bytes != tree.bytes || after.holes != tree.holes {
			t.Fatalf("%d: sums of the trial are %d, %d, %d; want %d, %d, %d", i, after.files, after.bytes, after.holes, tree.files, tree.bytes, tree.holes)
		}
		if found, ok := tree.Resolve("A", MatchFold); ok != (tree.lookup("a") != nil) {
			t.Fatalf("%d: Resolve(A) = %q, %v", i, found, ok)
		}
	}
	if applied < 300 || refused < 300 {
		t.Errorf("%d lists of operations applied, %d did not", applied, refused)
	}
}

// checkPlaces says which names of t are not known to what they lead to.
func checkPlaces(t *testing.T, tree *Tree) {
	t.Helper()
	for it := range tree.root.walk("") {
		found := it.path == "" && it.node == tree.root
		for _, p := range it.node.paths() {
			found = found || p == it.path
			if tree.lookup(p) != it.node {
				t.Fatalf("%s is not at %s", it.path, p)
			}
		}
		if !found {
			t.Fatalf("%s does not know its name", it.path)
		}
	}
}
