package collfs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"keepdav/keepio"
)

// hashBlocks makes handles of stored blocks.
type hashBlocks struct{}

func (hashBlocks) ByID(keepio.BlockID) (*keepio.Block, error) { return nil, keepio.ErrNotFound }
func (hashBlocks) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return keepio.NewStoredBlock(hash, size)
}

func parseTree(t *testing.T, text string) *Tree {
	t.Helper()
	tree, err := ParseManifest([]byte(text), hashBlocks{})
	if err != nil {
		t.Fatalf("ParseManifest(%q): %v", text, err)
	}
	return tree
}

func printTree(t *testing.T, tree *Tree) string {
	t.Helper()
	text, err := tree.AppendManifest(nil, func() ([16]byte, uint32, error) { return [16]byte{}, 0, nil })
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func kindsOf(ops []Op) string {
	var words []string
	for _, op := range ops {
		word := op.Kind.String() + " " + op.Path
		if op.Src != "" {
			word = op.Kind.String() + " " + op.Src + ">" + op.Path
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

const (
	blockA = "acbd18db4cc2f85cedef654fccc4a4d8+3"
	blockB = "37b51d194a7513e45b56f6524f2d51f2+3"
	blockE = "d41d8cd98f00b204e9800998ecf8427e+0"
)

func TestTurnMakesTheFewestOperations(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"", "", ""},
		{". " + blockA + " 0:3:a\n", ". " + blockA + " 0:3:a\n", ""},
		{". " + blockA + " 0:3:a\n", ". " + blockA + " " + blockB + " 0:3:a 3:3:b\n", "put b"},
		{". " + blockA + " 0:3:a\n", ". " + blockA + " 0:1:a 1:2:a\n", ""}, // the same bytes, cut otherwise
		{". " + blockA + " 0:3:a\n", ". " + blockB + " 0:3:a\n", "put a"},
		{". " + blockA + " 0:3:a\n", ". " + blockA + " 0:3:b\n", "rename a>b"},
		{". " + blockA + " 0:3:a\n", "./d " + blockA + " 0:3:a\n", "mkdir d, rename a>d/a"},
		{"./d " + blockA + " 0:3:a 0:0:e\n", "", "remove d"},
		{"./d " + blockA + " 0:3:a\n", "./e " + blockA + " 0:3:a\n", "mkdir e, rename d/a>e/a, remove d"},
		{". " + blockA + " 0:3:a\n", "./a " + blockE + " 0:0:\\056\n", "remove a, mkdir a"},
		{"./a " + blockA + " 0:3:x\n", ". " + blockB + " 0:3:a\n", "remove a, put a"},
		{". " + blockA + " 0:3:a 0:3:b\n", ". " + blockA + " 0:3:c\n", "rename a>c, remove b"},
	} {
		from, to := parseTree(t, c.from), parseTree(t, c.to)
		ops, err := Turn(from, to, 7)
		if err != nil || kindsOf(ops) != c.want {
			t.Errorf("Turn(%q, %q) = %s, %v; want %s", c.from, c.to, kindsOf(ops), err, c.want)
		}
		for _, op := range ops {
			if err := from.Apply(op); err != nil {
				t.Errorf("Turn(%q, %q): %v", c.from, c.to, err)
			}
		}
		if got, want := printTree(t, from), printTree(t, to); got != want {
			t.Errorf("Turn(%q, %q) makes %q; want %q", c.from, c.to, got, want)
		}
	}
}

func TestTurnLeavesAttributesOfWhatStays(t *testing.T) {
	from := parseTree(t, ". "+blockA+" 0:3:a 0:3:moves 0:0:empty\n")
	for _, path := range []string{"a", "moves", "empty"} {
		n := from.lookup(path)
		n.id = ContentID{9} // as one that was written here
		n.attr = Attr{Mtime: 5, Mode: 0o600, Extra: map[string]string{"dav:x": "y"}}
	}
	ops, err := Turn(from, parseTree(t, ". "+blockA+" 0:3:a 0:0:empty\n./d "+blockA+" 0:3:moved\n"), 7)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ops {
		if err := from.Apply(op); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"a", "d/moved", "empty"} {
		if n := from.lookup(path); n == nil || n.id != (ContentID{9}) || n.attr.Mtime != 5 || n.attr.Extra["dav:x"] != "y" {
			t.Errorf("%s is %+v after %s", path, n, kindsOf(ops))
		}
	}
}

func TestTurnOfAnOlderStateIsMerged(t *testing.T) {
	base := ". " + blockA + " 0:3:both 0:3:mine 0:3:theirs 0:3:deleted 0:3:kept\n"
	theirs := ". " + blockA + " " + blockB + " 4:1:both 0:3:mine 3:3:theirs 3:3:added 3:3:deleted\n"
	mine := ". " + blockA + " " + blockB + " 5:1:both 3:3:mine 0:3:theirs 3:3:new 0:3:kept\n"
	t1 := parseTree(t, theirs)
	ops, conflicts, err := TurnMerged(t1, parseTree(t, base), parseTree(t, mine), time.Unix(0, 0), 7)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ops {
		if err := t1.Apply(op); err != nil {
			t.Fatal(err)
		}
	}
	want := ". " + blockB + " 0:3:added 2:1:both 1:1:both~19700101-000000~conflict~ 0:3:deleted 0:3:mine 0:3:new 0:3:theirs\n"
	if got := printTree(t, t1); got != want || len(conflicts) != 1 {
		t.Errorf("merged = %q with %d conflicts; want %q with one", got, len(conflicts), want)
	}
}

// randomManifest is a tree of few names, so that two have much in common.
func randomManifest(r *rand.Rand) string {
	var out strings.Builder
	for _, dir := range []string{".", "./a", "./a/b", "./c"} {
		if r.IntN(3) == 0 {
			continue
		}
		fmt.Fprintf(&out, "%s %s %s", dir, blockA, blockB)
		for _, name := range []string{"x", "y", "z", "b", "w"} {
			switch {
			case r.IntN(2) == 0, name == "b" && dir == "./a":
			default:
				fmt.Fprintf(&out, " %d:%d:%s", r.IntN(3), r.IntN(4), name)
			}
		}
		out.WriteString(" 0:0:\\056\n")
	}
	return out.String()
}

func TestTurnMakesAnyTreeOfAnyOther(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 800 {
		a, b := randomManifest(r), randomManifest(r)
		from, to := parseTree(t, a), parseTree(t, b)
		ops, err := Turn(from, to, 7)
		if err != nil {
			t.Fatalf("Turn(%q, %q): %v", a, b, err)
		}
		for _, op := range ops {
			if err := from.Apply(op); err != nil {
				t.Fatalf("Turn(%q, %q): %v", a, b, err)
			}
		}
		if got, want := printTree(t, from), printTree(t, to); got != want {
			t.Fatalf("Turn(%q, %q) makes %q; want %q", a, b, got, want)
		}
		theirs := parseTree(t, randomManifest(r))
		ops, _, err = TurnMerged(theirs, parseTree(t, a), to, time.Unix(0, 0), 7)
		if err != nil {
			t.Fatalf("TurnMerged of %q and %q: %v", a, b, err)
		}
		for _, op := range ops {
			if err := theirs.Apply(op); err != nil {
				t.Fatalf("TurnMerged of %q and %q: %v", a, b, err)
			}
		}
	}
}

// A manifest has a file of two names twice. Changing one of them leaves the other.
func TestTurnMindsOtherNamesOfAFile(t *testing.T) {
	const both = ". " + blockA + " 0:3:a 0:3:b 0:3:c\n"
	for _, c := range []struct{ to, want string }{
		{both, ""},
		{". " + blockA + " " + blockB + " 3:3:a 0:3:b 0:3:c\n", "remove a, put a"},
		{". " + blockB + " 0:3:a 0:3:b 0:3:c\n", "put a"},
		{". " + blockA + " 0:3:a 0:3:c\n", "remove b"},
	} {
		from := parseTree(t, ". "+blockA+" 0:3:a\n")
		for _, path := range []string{"b", "c"} {
			if err := from.Apply(Op{Kind: OpLink, Src: "a", Path: path, Content: Content{ID: from.lookup("a").id}}); err != nil {
				t.Fatal(err)
			}
		}
		ops, err := Turn(from, parseTree(t, c.to), 7)
		if err != nil || kindsOf(ops) != c.want {
			t.Errorf("Turn to %q = %s, %v; want %s", c.to, kindsOf(ops), err, c.want)
		}
		for _, op := range ops {
			if err := from.Apply(op); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := printTree(t, from), printTree(t, parseTree(t, c.to)); got != want {
			t.Errorf("Turn makes %q; want %q", got, want)
		}
	}
}
