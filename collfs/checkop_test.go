package collfs

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"keepdav/keepio"
)

// storedOnly finds stored blocks.
type storedOnly struct{}

func (storedOnly) ByID(keepio.BlockID) (*keepio.Block, error) { return nil, keepio.ErrNotFound }
func (storedOnly) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return keepio.NewStoredBlock(hash, size)
}

// What CheckOp and a trial let pass makes a tree that can be stored and loaded, and the
// same one when its change set is.
func FuzzCheckedOperationsMakeALoadableTree(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	tree := NewTree()
	for range 200 {
		var ops []Op
		for range 4 {
			op := randomOp(r, tree)
			if tree.Apply(op) == nil {
				ops = append(ops, op)
			}
		}
		f.Add(AppendOps(nil, ops))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ops, err := DecodeOps(data, storedOnly{})
		if err != nil {
			return
		}
		for _, op := range ops {
			if CheckOp(op) != nil {
				return
			}
		}
		tree := NewTree()
		for _, op := range []Op{{Kind: OpMkdir, Path: "a"}, {Kind: OpMkdir, Path: "a/b"}, {Kind: OpPut, Path: "b", Content: Content{ID: ContentID{1}}}, {Kind: OpPut, Path: "a/c", Content: Content{ID: ContentID{2}}}} {
			if err := tree.Apply(op); err != nil {
				t.Fatal(err)
			}
		}
		before := AppendTree(nil, tree)
		after, err := tree.tryAll(ops)
		if got := AppendTree(nil, tree); !bytes.Equal(got, before) {
			t.Fatal("the trial has changed the tree")
		}
		if err != nil || after.holes > maxHoles {
			return
		}
		loaded, err := Load(Saved{Checkpoint: before, Changes: [][]byte{AppendOps(nil, ops)}}, storedOnly{})
		if err != nil {
			t.Fatalf("what was let pass cannot be loaded: %v", err)
		}
		if err := loaded.checkSums(); err != nil {
			t.Fatal(err)
		}
		text := AppendTree(nil, loaded)
		again, err := DecodeTree(text, storedOnly{})
		if err != nil {
			t.Fatalf("what was let pass cannot be stored: %v", err)
		}
		if !bytes.Equal(AppendTree(nil, again), text) {
			t.Fatal("stored and loaded it is another tree")
		}
	})
}

func TestChangeSetsHaveBounds(t *testing.T) {
	data := AppendOps(nil, make([]Op, 0))
	if _, err := DecodeOpsMax(data, storedOnly{}, 0); err != nil {
		t.Errorf("DecodeOpsMax() of nothing = %v", err)
	}
	data = AppendOps(nil, []Op{{Kind: OpMkdir, Path: "a"}, {Kind: OpMkdir, Path: "b"}})
	if _, err := DecodeOpsMax(data, storedOnly{}, 1); !errors.Is(err, ErrTooManyEntries) {
		t.Errorf("DecodeOpsMax() of too many = %v", err)
	}
}
