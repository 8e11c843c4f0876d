package apiserver

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/apitest"
	"keepdav/keepio"
)

// handles makes one handle for each block.
type handles map[[16]byte]*keepio.Block

func (h handles) ByID(keepio.BlockID) (*keepio.Block, error) { return nil, keepio.ErrNotFound }

func (h handles) ByHash(hash [16]byte, size uint32) *keepio.Block {
	if h[hash] == nil {
		h[hash] = keepio.NewStoredBlock(hash, size)
	}
	return h[hash]
}

// content is a content that is known by n; 0: the empty one.
func (h handles) content(n int) collfs.Content {
	if n == 0 {
		return collfs.Content{ID: collfs.EmptyID}
	}
	segs := []keepio.Segment{{Block: h.ByHash([16]byte{byte(n), byte(n >> 8), 1}, 1000), Off: uint32(n % 500), Len: 7}}
	return collfs.Content{ID: spansID(segs), Size: 7, Segments: segs}
}

func (h handles) tree(t *testing.T, paths ...string) *collfs.Tree {
	t.Helper()
	tree := collfs.NewTree()
	for i, p := range paths {
		op := collfs.Op{Kind: collfs.OpPut, Path: p, Content: h.content(i + 1)}
		if dir, ok := strings.CutSuffix(p, "/"); ok {
			op = collfs.Op{Kind: collfs.OpMkdir, Path: dir}
		}
		if err := tree.Apply(op); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

func printed(t *testing.T, tree *collfs.Tree) string {
	t.Helper()
	text, err := tree.AppendManifest(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// served returns what a server makes of a plan.
func served(base string, p *plan) (string, error) {
	current, err := apitest.ParseTree(base)
	if err != nil {
		return "", err
	}
	bare := func(b *keepio.Block) (keepio.Locator, error) {
		hash, size, _ := b.Stored()
		return keepio.MakeLocator(hash, int64(size)), nil
	}
	text, err := p.fragment(bare, keepio.Locator{})
	if err != nil {
		return "", err
	}
	var given *apitest.Node
	if text != "" {
		if given, err = apitest.ParseTree(text); err != nil {
			return "", err
		}
	}
	if len(p.targets) == 0 {
		return base, nil
	}
	noPDH := func(string) (*apitest.Node, error) { return nil, fmt.Errorf("no other collection is named") }
	after, err := apitest.ReplaceFiles(current, given, noPDH, p.targets)
	if err != nil {
		return "", err
	}
	return after.Print(), nil
}

func TestPlansMakeWhatTheOperationsMake(t *testing.T) {
	op := func(kind collfs.OpKind, path string, src ...string) collfs.Op {
		o := collfs.Op{Kind: kind, Path: path}
		if len(src) > 0 {
			o.Src = src[0]
		}
		return o
	}
	h := make(handles)
	put := func(path string, n int) collfs.Op {
		return collfs.Op{Kind: collfs.OpPut, Path: path, Content: h.content(n)}
	}
	for _, c := range []struct {
		name string
		base []string
		ops  []collfs.Op
		want map[string]string // nil: only the result is compared
	}{
		{"Put", []string{"a"}, []collfs.Op{put("b", 50)}, map[string]string{"/b": "manifest_text/000000000"}},
		{"Delete", []string{"a", "b"}, []collfs.Op{op(collfs.OpDelete, "a")}, map[string]string{"/a": ""}},
		{"PutAndDelete", []string{"a"}, []collfs.Op{put("b", 50), op(collfs.OpDelete, "b")}, map[string]string{}},
		{"DeleteAndPutAgain", []string{"a"}, []collfs.Op{op(collfs.OpDelete, "a"), put("a", 50)}, map[string]string{"/a": "manifest_text/000000000"}},
		{"Rename", []string{"a"}, []collfs.Op{op(collfs.OpRename, "b", "a")}, map[string]string{"/a": "", "/b": "current/a"}},
		{"RenameChain", []string{"a"}, []collfs.Op{op(collfs.OpRename, "b", "a"), op(collfs.OpRename, "c", "b")}, map[string]string{"/a": "", "/c": "current/a"}},
		{"RenameThereAndBack", []string{"a"}, []collfs.Op{op(collfs.OpRename, "b", "a"), op(collfs.OpRename, "a", "b")}, map[string]string{}},
		{"SwapByThreeRenames", []string{"a", "b"}, []collfs.Op{op(collfs.OpRename, "t", "a"), op(collfs.OpRename, "a", "b"), op(collfs.OpRename, "b", "t")}, map[string]string{"/a": "current/b", "/b": "current/a"}},
		{"Exchange", []string{"a", "b"}, []collfs.Op{op(collfs.OpExchange, "b", "a")}, map[string]string{"/a": "current/b", "/b": "current/a"}},
		{"RenameDirectory", []string{"d/", "d/a", "d/b"}, []collfs.Op{op(collfs.OpRename, "e", "d")}, map[string]string{"/d": "", "/e": "current/d"}},
		{"RenameDirectoryAndChangeBelow", []string{"d/", "d/a", "d/b", "d/s/", "d/s/x"}, []collfs.Op{op(collfs.OpRename, "e", "d"), put("e/a", 50)},
			map[string]string{"/d": "", "/e/a": "manifest_text/000000000", "/e/b": "current/d/b", "/e/s": "current/d/s"}},
		{"ChangeBelowAndRenameDirectory", []string{"d/", "d/a", "d/b"}, []collfs.Op{put("d/a", 50), op(collfs.OpRename, "e", "d")}, nil},
		{"RenameIntoDeletedDirectory", []string{"d/", "d/a", "b"}, []collfs.Op{op(collfs.OpDelete, "d"), op(collfs.OpMkdir, "d"), op(collfs.OpRename, "d/b", "b")},
			map[string]string{"/b": "", "/d": "", "/d/b": "current/b"}},
		{"TakeOutDeleteAndPutBack", []string{"d/", "d/a", "d/b"}, []collfs.Op{op(collfs.OpRename, "a", "d/a"), op(collfs.OpDelete, "d"), op(collfs.OpMkdir, "d"), op(collfs.OpRename, "d/a", "a")},
			map[string]string{"/d": "", "/d/a": "current/d/a"}},
		{"FileBecomesDirectory", []string{"a"}, []collfs.Op{op(collfs.OpRename, "t", "a"), op(collfs.OpMkdir, "a"), op(collfs.OpRename, "a/t", "t")}, map[string]string{"/a": "", "/a/t": "current/a"}},
		{"DirectoryBecomesFile", []string{"d/", "d/a"}, []collfs.Op{op(collfs.OpDelete, "d"), put("d", 50)}, map[string]string{"/d": "manifest_text/000000000"}},
		{"EmptyDirectory", nil, []collfs.Op{op(collfs.OpMkdir, "d")}, map[string]string{"/d": "manifest_text/e"}},
		{"DirectoryIsEmptied", []string{"d/", "d/a"}, []collfs.Op{op(collfs.OpDelete, "d/a")}, map[string]string{"/d/a": ""}},
		{"CopyThenChangeSource", []string{"a"}, []collfs.Op{op(collfs.OpCopy, "b", "a"), put("a", 50)}, map[string]string{"/a": "manifest_text/000000000", "/b": "current/a"}},
		{"CopyOfCopyOfDirectory", []string{"d/", "d/a"}, []collfs.Op{op(collfs.OpCopy, "e", "d"), put("e/n", 50), op(collfs.OpCopy, "f", "e")}, nil},
		{"AllGoes", []string{"a", "d/", "d/a"}, []collfs.Op{op(collfs.OpDelete, "")}, map[string]string{"/a": "", "/d": ""}},
		{"AllGoesAndSomeComesBack", []string{"a", "d/", "d/a"}, []collfs.Op{op(collfs.OpDelete, ""), put("a", 50)}, map[string]string{"/a": "manifest_text/000000000", "/d": ""}},
		{"LinkAndChangeOne", []string{"a"}, []collfs.Op{op(collfs.OpLink, "b", "a"), put("b", 50)}, map[string]string{"/a": "manifest_text/000000000", "/b": "manifest_text/000000000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := h.tree(t, c.base...)
			p, err := makePlan(base, c.ops)
			if err != nil {
				t.Fatal(err)
			}
			if c.want != nil && fmt.Sprint(p.targets) != fmt.Sprint(c.want) {
				t.Errorf("targets = %v; want %v", p.targets, c.want)
			}
			got, err := served(printed(t, base), p)
			if want := printed(t, p.next); err != nil || got != want {
				t.Errorf("the server makes %q of %v, %v; want %q", got, p.targets, err, want)
			}
		})
	}
}

func TestPlansOfRandomOperationsMakeWhatTheyMake(t *testing.T) {
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		h := make(handles)
		base := randomTree(rnd, h, 25)
		if seed%4 == 0 { // with files that have several names, as after commits of this process
			randomOps(rnd, h, base, 10)
		}
		before := printed(t, base)
		ops := randomOps(rnd, h, base.Clone(), 1+rnd.IntN(25))
		p, err := makePlan(base, ops)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if after := printed(t, base); after != before {
			t.Fatalf("seed %d: the base has changed", seed)
		}
		got, err := served(before, p)
		if want := printed(t, p.next); err != nil || got != want {
			t.Fatalf("seed %d: base %q\nops %s\ntargets %v\ngot  %q, %v\nwant %q", seed, before, opsText(ops), p.targets, got, err, want)
		}
	}
}

func opsText(ops []collfs.Op) string {
	var s []string
	for _, o := range ops {
		s = append(s, fmt.Sprintf("%s %q %q", o.Kind, o.Src, o.Path))
	}
	return strings.Join(s, "; ")
}

func randomTree(rnd *rand.Rand, h handles, n int) *collfs.Tree {
	tree := collfs.NewTree()
	randomOpsOf(rnd, h, tree, n, []collfs.OpKind{collfs.OpPut, collfs.OpMkdir})
	// As it comes from a server: one file a path.
	text, err := tree.AppendManifest(nil, nil)
	if err == nil {
		tree, err = collfs.ParseManifest(text, h)
	}
	if err != nil {
		panic(err)
	}
	return tree
}

func randomOps(rnd *rand.Rand, h handles, tree *collfs.Tree, n int) []collfs.Op {
	return randomOpsOf(rnd, h, tree, n, []collfs.OpKind{
		collfs.OpPut, collfs.OpPut, collfs.OpMkdir, collfs.OpDelete, collfs.OpRename, collfs.OpRename, collfs.OpRename,
		collfs.OpCopy, collfs.OpExchange, collfs.OpLink, collfs.OpPatch, collfs.OpAttr,
	})
}

// randomOpsOf applies operations to tree, and returns those that worked.
func randomOpsOf(rnd *rand.Rand, h handles, tree *collfs.Tree, n int, kinds []collfs.OpKind) (ops []collfs.Op) {
	path := func() string {
		var p []string
		for range 1 + rnd.IntN(3) {
			p = append(p, string(rune('a'+rnd.IntN(4))))
		}
		return strings.Join(p, "/")
	}
	for len(ops) < n {
		op := collfs.Op{Kind: kinds[rnd.IntN(len(kinds))], Path: path(), Src: path(), Content: h.content(rnd.IntN(200))}
		switch op.Kind {
		case collfs.OpDelete:
			if rnd.IntN(20) == 0 {
				op.Path = ""
			}
		case collfs.OpAttr, collfs.OpPatch:
			info, err := tree.Stat(op.Path)
			if err != nil || op.Kind == collfs.OpPatch && (info.Dir || info.Size == 0) {
				continue
			}
			if op.Kind == collfs.OpAttr {
				op.Content = collfs.Content{ID: info.ID}
				op.Attr.Mode = 0o600
				break
			}
			part := h.content(1 + rnd.IntN(200)).Segments
			op.Old, op.Off = info.ID, 0
			op.Content = collfs.Content{ID: collfs.ContentID{byte(rnd.IntN(256)), 9, byte(len(ops))}, Size: max(7, info.Size), Segments: part}
		}
		if tree.Apply(op) == nil {
			ops = append(ops, op)
		}
	}
	return ops
}

func TestPairsCoverEachSegment(t *testing.T) {
	h := make(handles)
	a, b, c := h.ByHash([16]byte{1}, 100), h.ByHash([16]byte{2}, 100), h.ByHash([16]byte{3}, 100)
	was := []keepio.Segment{{Block: a, Off: 5, Len: 10}, {Block: b, Len: 20}, {Block: a, Off: 50, Len: 5}}
	got := pairs(was, []keepio.Segment{{Block: c, Off: 3, Len: 25}, {Block: c, Off: 60, Len: 10}})
	want := []pair{
		{was[0], keepio.Segment{Block: c, Off: 3, Len: 10}},
		{was[1], keepio.Segment{Block: c, Off: 13, Len: 15}}, // shorter: it would have to become two
		{was[2], keepio.Segment{Block: c, Off: 65, Len: 5}},
	}
	if !slices.Equal(got, want) {
		t.Errorf("pairs = %v; want %v", got, want)
	}
}
