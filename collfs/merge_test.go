package collfs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// treeOf makes a tree of "path" (a directory), "path=content" (a file), "ln a b".
func treeOf(t testing.TB, specs ...string) *Tree {
	t.Helper()
	tree := NewTree()
	for _, s := range specs {
		if !strings.HasPrefix(s, "ln ") {
			s = "put " + s
		}
		if err := tree.Apply(opOf(s)); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return tree
}

func idOf(content string) (id ContentID) {
	if content == "" {
		return id
	}
	copy(id[:], content)
	return id
}

// opOf reads "put path=content", "put path" (mkdir), "rm path", "mv a b",
// "cp a b", "ln a b", "mode path".
func opOf(s string) Op {
	kind, rest, _ := strings.Cut(s, " ")
	a, b, two := strings.Cut(rest, " ")
	path, content, file := strings.Cut(a, "=")
	switch kind {
	case "put":
		if !file {
			return Op{Kind: OpMkdir, Path: path}
		}
		return Op{Kind: OpPut, Path: path, Content: Content{ID: idOf(content)}}
	case "rm":
		return Op{Kind: OpDelete, Path: a}
	case "mv":
		return Op{Kind: OpRename, Src: a, Path: b}
	case "cp":
		return Op{Kind: OpCopy, Src: a, Path: b}
	case "ln":
		return Op{Kind: OpLink, Src: a, Path: b}
	case "mode":
		return Op{Kind: OpAttr, Path: a, Attr: Attr{Mode: 0o600}}
	}
	panic(fmt.Sprint(s, two))
}

// changesOf applies ops to t like a collection does and returns the changes.
func changesOf(t testing.TB, tree *Tree, specs ...string) (changes []change) {
	t.Helper()
	for _, s := range specs {
		ch := change{Op: opOf(s)}
		if n := tree.lookup(ch.Path); n != nil {
			ch.Old, ch.was = n.id, n.attr
			if ch.Kind == OpAttr {
				ch.Content.ID, ch.Old = n.id, ContentID{}
			}
		}
		if ch.Kind.hasSrc() {
			ch.Content.ID = tree.lookup(ch.Src).id
		}
		n, err := tree.apply(ch.Op)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		ch.node = n
		switch ch.Kind {
		case OpLink:
			ch.node = n.clone()
		case OpPut, OpAttr:
			ch.also = n.pathsBut(ch.Path)
		}
		changes = append(changes, ch)
	}
	return changes
}

// show lists a tree as treeOf reads it.
func show(tree *Tree) (out []string) {
	_ = tree.Walk(func(path string, i NodeInfo, c Content) error {
		switch {
		case path == "":
		case i.Dir:
			out = append(out, path)
		default:
			mode := ""
			if i.Attr.Mode != 0 {
				mode = fmt.Sprintf(" %o", i.Attr.Mode)
			}
			line := path + "=" + strings.TrimRight(string(c.ID[:]), "\x00") + mode
			if i.Links > 1 {
				line += fmt.Sprint(" x", i.Links)
			}
			out = append(out, line)
		}
		return nil
	})
	slices.Sort(out)
	return out
}

const conflictAt = "~20260102-030405~conflict~"

func TestMergeTable(t *testing.T) {
	for _, tt := range []struct {
		name               string
		base, ours, theirs []string
		want               []string
		conflicts          int
	}{
		{name: "only theirs changed", base: []string{"f=1"}, theirs: []string{"put f=2"}, want: []string{"f=2"}},
		{name: "only theirs added and deleted", base: []string{"f=1"}, theirs: []string{"rm f", "put g=2"}, want: []string{"g=2"}},
		{name: "only ours changed", base: []string{"f=1"}, ours: []string{"put f=2"}, want: []string{"f=2"}},
		{name: "only ours deleted", base: []string{"f=1", "g=1"}, ours: []string{"rm f"}, want: []string{"g=1"}},
		{name: "disjoint", base: []string{"f=1"}, ours: []string{"put a=1"}, theirs: []string{"put b=2"}, want: []string{"a=1", "b=2", "f=1"}},
		{name: "both changed alike", base: []string{"f=1"}, ours: []string{"put f=2"}, theirs: []string{"put f=2"}, want: []string{"f=2"}},
		{name: "both changed", base: []string{"f=1"}, ours: []string{"put f=2"}, theirs: []string{"put f=3"}, want: []string{"f" + conflictAt + "=3", "f=2"}, conflicts: 1},
		{name: "both added", ours: []string{"put f=2"}, theirs: []string{"put f=3"}, want: []string{"f" + conflictAt + "=3", "f=2"}, conflicts: 1},
		{name: "ours changed twice", base: []string{"f=1"}, ours: []string{"put f=2", "put f=4"}, theirs: []string{"put f=3"}, want: []string{"f" + conflictAt + "=3", "f=4"}, conflicts: 1},
		{name: "theirs put what ours puts elsewhere", base: []string{"f=1"}, ours: []string{"put f=2", "put g=3"}, theirs: []string{"put f=3"},
			want: []string{"f" + conflictAt + "=3", "f=2", "g=3"}, conflicts: 1},
		{name: "suffixes do not stack", base: []string{"f" + conflictAt + "=1"}, ours: []string{"put f" + conflictAt + "=2"}, theirs: []string{"put f" + conflictAt + "=3"},
			want: []string{"f" + conflictAt + "=2", "f~20260102-030405~2~conflict~=3"}, conflicts: 1},
		{name: "a taken conflict name", base: []string{"f=1", "f" + conflictAt + "=9"}, ours: []string{"put f=2"}, theirs: []string{"put f=3"},
			want: []string{"f" + conflictAt + "=9", "f=2", "f~20260102-030405~2~conflict~=3"}, conflicts: 1},
		{name: "ours deleted, theirs changed", base: []string{"f=1"}, ours: []string{"rm f"}, theirs: []string{"put f=2"}, want: []string{"f=2"}},
		{name: "ours changed, theirs deleted", base: []string{"f=1"}, ours: []string{"put f=2"}, theirs: []string{"rm f"}, want: []string{"f=2"}},
		{name: "both deleted", base: []string{"f=1"}, ours: []string{"rm f"}, theirs: []string{"rm f"}},
		{name: "ours file, theirs directory", ours: []string{"put f=2"}, theirs: []string{"put f", "put f/x=1"}, want: []string{"f", "f" + conflictAt + "=2", "f/x=1"}, conflicts: 1},
		{name: "ours directory, theirs file", ours: []string{"put f", "put f/x=1"}, theirs: []string{"put f=2"}, want: []string{"f", "f" + conflictAt + "=2", "f/x=1"}, conflicts: 1},
		{name: "both made a directory", ours: []string{"put d", "put d/a=1"}, theirs: []string{"put d", "put d/b=2"}, want: []string{"d", "d/a=1", "d/b=2"}},
		{name: "ours added below what theirs deleted", base: []string{"d", "d/x=1"}, ours: []string{"put d/a=1"}, theirs: []string{"rm d"}, want: []string{"d", "d/a=1"}},
		{name: "ours deleted a directory that theirs added to", base: []string{"d", "d/x=1", "d/e", "d/e/y=1"}, ours: []string{"rm d"}, theirs: []string{"put d/new=2"}, want: []string{"d", "d/new=2"}},
		{name: "ours deleted a directory in which theirs changed a file", base: []string{"d", "d/x=1", "d/e", "d/e/y=1"}, ours: []string{"rm d"}, theirs: []string{"put d/e/y=2"}, want: []string{"d", "d/e", "d/e/y=2"}},
		{name: "a directory move takes what theirs put in it", base: []string{"d", "d/x=1"}, ours: []string{"mv d e"}, theirs: []string{"put d/new=2", "put d/x=3"}, want: []string{"e", "e/new=2", "e/x=3"}},
		{name: "ours moved a file that theirs changed", base: []string{"f=1"}, ours: []string{"mv f g"}, theirs: []string{"put f=2"}, want: []string{"g=2"}},
		{name: "ours moved a file that theirs deleted", base: []string{"f=1"}, ours: []string{"mv f g"}, theirs: []string{"rm f"}, want: []string{"g=1"}},
		{name: "ours moved a directory that theirs deleted", base: []string{"d", "d/x=1"}, ours: []string{"mv d e"}, theirs: []string{"rm d"}, want: []string{"e", "e/x=1"}},
		{name: "ours moved a directory that theirs moved", base: []string{"d", "d/x=1"}, ours: []string{"mv d e"}, theirs: []string{"mv d g"}, want: []string{"e", "e/x=1", "g", "g/x=1"}},
		{name: "both moved to one name", base: []string{"f=1", "g=2"}, ours: []string{"mv f h"}, theirs: []string{"mv g h"}, want: []string{"h" + conflictAt + "=2", "h=1"}, conflicts: 1},
		{name: "both moved the same", base: []string{"f=1"}, ours: []string{"mv f h"}, theirs: []string{"mv f h"}, want: []string{"h=1"}},
		{name: "ours moved over a file that theirs changed", base: []string{"f=1", "g=2"}, ours: []string{"mv f g"}, theirs: []string{"put g=3"}, want: []string{"g" + conflictAt + "=3", "g=1"}, conflicts: 1},
		{name: "ours moved over a file", base: []string{"f=1", "g=2"}, ours: []string{"mv f g"}, theirs: []string{"put x=3"}, want: []string{"g=1", "x=3"}},
		{name: "ours moved a directory where theirs made one", base: []string{"d", "d/x=1"}, ours: []string{"mv d e"}, theirs: []string{"put e", "put e/x=2", "put e/y=3"}, want: []string{"e", "e/x" + conflictAt + "=2", "e/x=1", "e/y=3"}, conflicts: 1},
		{name: "ours moved a file where theirs made a directory", base: []string{"f=1"}, ours: []string{"mv f e"}, theirs: []string{"put e"}, want: []string{"e", "e" + conflictAt + "=1"}, conflicts: 1},
		{name: "moved, then changed twice, theirs deleted", base: []string{"d", "d/x=1"}, ours: []string{"mv d e", "put e/x=2", "put e/x=3"}, theirs: []string{"rm d"}, want: []string{"e", "e/x=3"}},
		{name: "ours copied what theirs changed", base: []string{"f=1"}, ours: []string{"cp f g"}, theirs: []string{"put f=2"}, want: []string{"f=2", "g=1"}},
		{name: "ours copied a directory", base: []string{"d", "d/x=1"}, ours: []string{"cp d e"}, theirs: []string{"put y=2"}, want: []string{"d", "d/x=1", "e", "e/x=1", "y=2"}},
		{name: "ours copied to where theirs put", base: []string{"f=1"}, ours: []string{"cp f g"}, theirs: []string{"put g=2"}, want: []string{"f=1", "g" + conflictAt + "=2", "g=1"}, conflicts: 1},
		{name: "attributes of what theirs left alone", base: []string{"f=1"}, ours: []string{"mode f"}, theirs: []string{"put g=2"}, want: []string{"f=1 600", "g=2"}},
		{name: "attributes are of a content", base: []string{"f=1"}, ours: []string{"mode f"}, theirs: []string{"put f=2"}, want: []string{"f=2"}},
		{name: "a link of what theirs left alone", base: []string{"f=1"}, ours: []string{"ln f g", "put g=2"}, theirs: []string{"put x=3"}, want: []string{"f=2 x2", "g=2 x2", "x=3"}},
		{name: "both made a link", base: []string{"f=1"}, ours: []string{"ln f g"}, theirs: []string{"ln f g"}, want: []string{"f=1 x2", "g=1 x2"}},
		{name: "both made another link", base: []string{"f=1"}, ours: []string{"ln f g"}, theirs: []string{"ln f h"}, want: []string{"f=1 x3", "g=1 x3", "h=1 x3"}},
		{name: "a link of what theirs changed", base: []string{"f=1"}, ours: []string{"ln f g"}, theirs: []string{"put f=2"}, want: []string{"f=2", "g=1"}},
		{name: "a link of what theirs changed, written to", base: []string{"f=1"}, ours: []string{"ln f g", "put f=2"}, theirs: []string{"put f=3"}, want: []string{"f" + conflictAt + "=3", "f=2", "g=2"}, conflicts: 1},
		{name: "a link of what theirs changed, written to, and the first name gone", base: []string{"f=1"}, ours: []string{"ln f g", "put f=2", "rm f"}, theirs: []string{"put f=3"}, want: []string{"f" + conflictAt + "=3", "g=2"}, conflicts: 1},
		{name: "a link of what theirs deleted", base: []string{"f=1"}, ours: []string{"ln f g"}, theirs: []string{"rm f"}, want: []string{"g=1"}},
		{name: "a link of what theirs moved", base: []string{"f=1"}, ours: []string{"ln f g", "put g=2"}, theirs: []string{"mv f h"}, want: []string{"f=2 x2", "g=2 x2", "h=1"}},
		{name: "a link where theirs put", base: []string{"f=1"}, ours: []string{"ln f g"}, theirs: []string{"put g=2"}, want: []string{"f=1 x2", "g" + conflictAt + "=2", "g=1 x2"}, conflicts: 1},
		{name: "a link where theirs made a directory", base: []string{"f=1"}, ours: []string{"ln f g"}, theirs: []string{"put g"}, want: []string{"f=1 x2", "g", "g" + conflictAt + "=1 x2"}, conflicts: 1},
		{name: "a link in a directory that theirs deleted", base: []string{"f=1", "d"}, ours: []string{"ln f d/g"}, theirs: []string{"rm d"}, want: []string{"d", "d/g=1 x2", "f=1 x2"}},
		{name: "a linked file that theirs left alone", base: []string{"f=1", "ln f g"}, ours: []string{"put f=2", "mode g"}, theirs: []string{"put x=3"}, want: []string{"f=2 600 x2", "g=2 600 x2", "x=3"}},
		{name: "both wrote under two names", base: []string{"f=1", "ln f g"}, ours: []string{"put f=2"}, theirs: []string{"put g=3"}, want: []string{"f" + conflictAt + "=3", "f=2 x2", "g=2 x2"}, conflicts: 1},
		{name: "ours wrote, theirs took a name", base: []string{"f=1", "ln f g"}, ours: []string{"put f=2"}, theirs: []string{"rm g"}, want: []string{"f=2 x2", "g=2 x2"}},
		{name: "ours wrote, theirs took the name it was written to by", base: []string{"f=1", "ln f g"}, ours: []string{"put f=2"}, theirs: []string{"rm f"}, want: []string{"f=2", "g=2"}},
		{name: "ours took a name, theirs wrote", base: []string{"f=1", "ln f g"}, ours: []string{"rm g"}, theirs: []string{"put f=2"}, want: []string{"f=2 x2", "g=2 x2"}},
		{name: "each took a name", base: []string{"f=1", "ln f g", "ln f h"}, ours: []string{"rm g"}, theirs: []string{"rm h"}, want: []string{"f=1"}},
		{name: "ours moved a name, theirs wrote", base: []string{"f=1", "ln f g"}, ours: []string{"mv g h"}, theirs: []string{"put f=2"}, want: []string{"f=2 x2", "h=2 x2"}},
		{name: "ours moved over a name, theirs wrote", base: []string{"f=1", "ln f g", "x=3"}, ours: []string{"mv x g"}, theirs: []string{"put f=2"}, want: []string{"f=2 x2", "g" + conflictAt + "=2 x2", "g=3"}, conflicts: 1},
		{name: "ours deleted a directory with a name, theirs wrote under the other", base: []string{"d", "d/f=1", "ln d/f g"}, ours: []string{"rm d"}, theirs: []string{"put g=2"}, want: []string{"d", "d/f=2 x2", "g=2 x2"}},
		{name: "ours moved a directory of links that theirs deleted", base: []string{"d", "d/f=1", "ln d/f d/g", "ln d/f h"}, ours: []string{"mv d e"}, theirs: []string{"rm d"}, want: []string{"e", "e/f=1 x2", "e/g=1 x2", "h=1"}},
		{name: "attributes of theirs stay with ours", base: []string{"f=1"}, ours: []string{"put f=2"}, theirs: []string{"mode f"}, want: []string{"f=2 600"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ours, theirs := treeOf(t, tt.base...), treeOf(t, tt.base...)
			changes := changesOf(t, ours, tt.ours...)
			changesOf(t, theirs, tt.theirs...)
			again := theirs.Clone()
			m := newMerger(theirs, time.Date(2026, 1, 2, 4, 4, 5, 0, time.FixedZone("", 3600)), changes)
			m.replayAll()
			if m.err != nil {
				t.Fatal(m.err)
			}
			slices.Sort(tt.want)
			if got := show(theirs); !slices.Equal(got, tt.want) {
				t.Errorf("merged: %q; want %q", got, tt.want)
			}
			if len(m.conflicts) != tt.conflicts {
				t.Errorf("%d conflicts: %v; want %d", len(m.conflicts), m.conflicts, tt.conflicts)
			}
			for _, ch := range m.out {
				if err := again.Apply(ch.Op); err != nil {
					t.Fatalf("the changes of a merge do not apply: %v", err)
				}
			}
			checkSame(t, "the changes of a merge make", again, theirs)
			// A commit whose reply was lost is merged with itself: nothing must happen.
			twice := newMerger(ours.Clone(), time.Now(), changes)
			twice.replayAll()
			if got := show(twice.t); !slices.Equal(got, show(ours)) {
				t.Errorf("merged with itself: %q; want %q", got, show(ours))
			}
		})
	}
}

// A merge may be the first of many: its changes are merged like those it was given.
func TestMergedChangesOfLinkedFilesMergeAgain(t *testing.T) {
	for _, specs := range [][]string{{"ln f g", "put f=2", "rm f"}, {"ln f g", "put g=2", "mode f", "rm f"}} {
		ours, theirs, later := treeOf(t, "f=1"), treeOf(t, "f=1"), treeOf(t, "f=3", "x=9")
		changes := changesOf(t, ours, specs...)
		changesOf(t, theirs, "put x=9")
		m := newMerger(theirs, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), changes)
		m.replayAll()
		again := newMerger(later, m.at, m.out)
		again.replayAll()
		if got := strings.Join(show(later), " "); m.err != nil || again.err != nil || !strings.Contains(got, "g=2") {
			t.Errorf("%q merged twice: %s, %v, %v; want g=2", specs, got, m.err, again.err)
		}
	}
}

// What ours put is skipped when ours replaces it later on, unless it has gone
// elsewhere until then.
func TestMergeKeepsWhatOursMovesAwayBeforeItPutsTheSameAsTheirs(t *testing.T) {
	ours, theirs := treeOf(t, "f=1"), treeOf(t, "f=1")
	changes := changesOf(t, ours, "put f=2", "mv f g", "put f=3")
	changesOf(t, theirs, "put f=3")
	m := newMerger(theirs, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), changes)
	m.replayAll()
	want := []string{"f" + conflictAt + "=3", "f=3", "g=2"}
	slices.Sort(want)
	if got := show(theirs); m.err != nil || !slices.Equal(got, want) {
		t.Errorf("merged: %q, %v; want %q", got, m.err, want)
	}
}

func TestMergedAttributesKeepWhatEachSideSet(t *testing.T) {
	was := Attr{Mode: 0o644, Mtime: 1, Extra: map[string]string{"a": "1", "gone": "x", "both": "0"}}
	ours := Attr{Mode: 0o644, Mtime: 2, Extra: map[string]string{"a": "2", "ours": "o", "both": "1"}}
	theirs := Attr{Mode: 0o600, Mtime: 3, Extra: map[string]string{"a": "1", "gone": "x", "theirs": "t", "both": "2"}}
	got := mergeAttr(was, ours, theirs)
	want := Attr{Mode: 0o600, Mtime: 2, Extra: map[string]string{"a": "2", "ours": "o", "theirs": "t", "both": "1"}}
	if !sameAttr(got, want) {
		t.Errorf("mergeAttr() = %+v; want %+v", got, want)
	}
	if maps.Equal(theirs.Extra, got.Extra) {
		t.Error("mergeAttr changed its argument")
	}
}

func TestMergedPosixAttributesKeepWhatEachSideSet(t *testing.T) {
	for _, tt := range []struct{ was, ours, theirs, want *Posix }{
		{nil, nil, &Posix{Type: 1}, &Posix{Type: 1}},
		{nil, &Posix{}, &Posix{Type: 1}, &Posix{Type: 1}},
		{nil, &Posix{Atime: 5}, nil, &Posix{Atime: 5}},
		{&Posix{Atime: 5}, nil, &Posix{Atime: 5}, nil},
		{&Posix{HasOwner: true, UID: 1}, &Posix{HasOwner: true, UID: 2}, &Posix{HasOwner: true, UID: 1, Atime: 6}, &Posix{HasOwner: true, UID: 2, Atime: 6}},
		{&Posix{HasOwner: true, UID: 1}, nil, &Posix{HasOwner: true, UID: 1, Type: 7, Rdev: 8}, &Posix{Type: 7, Rdev: 8}},
		{&Posix{Atime: 1}, &Posix{Atime: 2}, &Posix{Atime: 3}, &Posix{Atime: 2}},
		{&Posix{Type: 1}, &Posix{Type: 2, Rdev: 2}, &Posix{Type: 3, Rdev: 3}, &Posix{Type: 2, Rdev: 2}},
	} {
		got := mergeAttr(Attr{Posix: tt.was}, Attr{Posix: tt.ours}, Attr{Posix: tt.theirs})
		if !sameAttr(got, Attr{Posix: tt.want}) || (got.Posix == nil) != (tt.want == nil) {
			t.Errorf("mergeAttr of %+v, %+v, %+v = %+v; want %+v", tt.was, tt.ours, tt.theirs, got.Posix, tt.want)
		}
	}
}

func TestConflictNamesFit(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	free := func(string) bool { return false }
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.StringN(1, 255, 255).Draw(rt, "name")
		got := conflictName(name, at, free)
		if len(got) > MaxName || !strings.HasSuffix(got, conflictAt) {
			rt.Fatalf("conflictName(%q) = %q", name, got)
		}
		if again := conflictName(got, at, free); again != got {
			rt.Fatalf("conflictName(%q) = %q: stacked", got, again)
		}
	})
}

func TestMergedDirectoriesKeepTheLaterTimes(t *testing.T) {
	for _, tt := range []struct {
		name         string
		ours, theirs []Op
		want         map[string]Attr
	}{
		{
			name:   "theirs was later",
			ours:   []Op{{Kind: OpPut, Path: "d/a", Time: 10}},
			theirs: []Op{{Kind: OpPut, Path: "d/b", Time: 20}},
			want:   map[string]Attr{"d": {Mtime: 20, Ctime: 20}},
		},
		{
			name:   "ours was later",
			ours:   []Op{{Kind: OpPut, Path: "d/a", Time: 20}},
			theirs: []Op{{Kind: OpPut, Path: "d/b", Time: 10}},
			want:   map[string]Attr{"d": {Mtime: 20, Ctime: 20}, "d/a": {Ctime: 20}, "d/b": {Ctime: 10}},
		},
		{
			name:   "ours set a mode, theirs was later",
			ours:   []Op{{Kind: OpAttr, Path: "d", Attr: Attr{Mode: 0o700, Mtime: 1}, Time: 10}},
			theirs: []Op{{Kind: OpPut, Path: "d/b", Time: 20}},
			want:   map[string]Attr{"d": {Mode: 0o700, Mtime: 20, Ctime: 20}},
		},
		{
			name:   "both made it",
			ours:   []Op{{Kind: OpMkdir, Path: "e", Attr: Attr{Mtime: 10}, Time: 10}},
			theirs: []Op{{Kind: OpMkdir, Path: "e", Time: 15}, {Kind: OpPut, Path: "e/b", Time: 20}},
			want:   map[string]Attr{"e": {Mtime: 20, Ctime: 20}, "": {Mtime: 15, Ctime: 15}},
		},
		{
			name:   "a rename between two directories",
			ours:   []Op{{Kind: OpRename, Src: "d/f", Path: "g", Time: 10}},
			theirs: []Op{{Kind: OpPut, Path: "d/b", Time: 20}},
			want:   map[string]Attr{"d": {Mtime: 20, Ctime: 20}, "": {Mtime: 20, Ctime: 20}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ours, theirs := treeOf(t, "d", "d/f=1"), treeOf(t, "d", "d/f=1")
			for _, tree := range []*Tree{ours, theirs} {
				tree.lookup("d").attr.Mtime = 1
			}
			var changes []change
			for _, op := range tt.ours {
				ch := change{Op: op}
				if n := ours.lookup(op.Path); n != nil {
					ch.was = n.attr
				}
				var err error
				if ch.node, err = ours.apply(op); err != nil {
					t.Fatal(err)
				}
				changes = append(changes, ch)
			}
			for _, op := range tt.theirs {
				if err := theirs.Apply(op); err != nil {
					t.Fatal(err)
				}
			}
			again := theirs.Clone()
			m := newMerger(theirs, time.Unix(0, 0), changes)
			m.replayAll()
			if m.err != nil {
				t.Fatal(m.err)
			}
			for path, want := range tt.want {
				if got := theirs.lookup(path).attr; got.Mtime != want.Mtime || got.Ctime != want.Ctime || got.Mode != want.Mode {
					t.Errorf("%q has %+v; want %+v", path, got, want)
				}
			}
			for _, ch := range m.out {
				if err := again.Apply(ch.Op); err != nil {
					t.Fatal(err)
				}
			}
			checkSame(t, "the changes of a merge make", again, theirs)
		})
	}
}
