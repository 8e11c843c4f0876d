package collfs

import (
	"fmt"
	"testing"
)

// wideTree has one directory, d, of n names.
func wideTree(t *testing.T, n int) *Tree {
	tree := NewTree()
	apply := func(op Op) {
		if err := tree.Apply(op); err != nil {
			t.Fatal(err)
		}
	}
	apply(Op{Kind: OpMkdir, Path: "d"})
	for i := range n {
		apply(Op{Kind: OpPut, Path: fmt.Sprintf("d/Name%06d", i), Content: Content{ID: EmptyID}})
	}
	return tree
}

func TestIndexesOfNamesAreCounted(t *testing.T) {
	const names = 1000
	tree := wideTree(t, names)
	plain := tree.MemSize()
	if got, ok := tree.Resolve("d/name000007", MatchFold); !ok || got != "d/Name000007" {
		t.Errorf("Resolve() = %q, %v", got, ok)
	}
	indexed := tree.MemSize()
	if indexed < plain+100*names {
		t.Errorf("MemSize() = %d; want the index counted on top of %d", indexed, plain)
	}
	if clone := tree.Clone(); clone.MemSize() != plain {
		t.Errorf("MemSize() of a copy, which has no index, = %d; want %d", clone.MemSize(), plain)
	}
	if _, err := tree.put("d/x\u00e4", Content{ID: EmptyID}, Attr{}, 0); err != nil {
		t.Fatal(err)
	}
	if got, ok := tree.Resolve("d/XA\u0308", MatchFold); !ok || got != "d/x\u00e4" {
		t.Errorf("Resolve() = %q, %v", got, ok)
	}
	if got := tree.MemSize(); got <= indexed {
		t.Errorf("MemSize() = %d after a name was added; want more than %d", got, indexed)
	}
	if _, err := tree.remove("d/x\u00e4", 0); err != nil {
		t.Fatal(err)
	}
	if got := tree.MemSize(); got != indexed {
		t.Errorf("MemSize() = %d after the name went; want %d", got, indexed)
	}
	if _, err := tree.rename("d", "e", 0); err != nil {
		t.Fatal(err)
	}
	if got := tree.MemSize(); got != indexed {
		t.Errorf("MemSize() = %d after the directory was moved; want %d", got, indexed)
	}
	if _, err := tree.remove("e", 0); err != nil {
		t.Fatal(err)
	}
	if got, want := tree.MemSize(), NewTree().MemSize(); got != want {
		t.Errorf("MemSize() = %d after the directory went; want %d", got, want)
	}
}

// What changes while an index is made without the lock is in it.
func TestLargeDirectoryIsIndexedWithoutTheLock(t *testing.T) {
	const names = 1000
	for name, leaves := range map[string]bool{"it stays": false, "it leaves the tree": true} {
		tree := wideTree(t, names)
		plain := tree.MemSize()
		_, _, first := tree.resolve("d/name000007", MatchFold, names-1)
		if first == nil {
			t.Fatalf("%s: a directory of %d names is indexed at once", name, names)
		}
		_, _, second := tree.resolve("d/name000007", MatchFold, names-1)
		if second == nil || tree.MemSize() != plain {
			t.Fatalf("%s: the index is there before it was made", name)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			second()
		}()
		if _, err := tree.put("d/New", Content{ID: EmptyID}, Attr{}, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := tree.remove("d/Name000007", 0); err != nil {
			t.Fatal(err)
		}
		if leaves {
			if _, err := tree.remove("d", 0); err != nil {
				t.Fatal(err)
			}
		}
		first()
		<-done
		if leaves {
			if got := tree.indexed.Load(); got != 0 {
				t.Errorf("%s: %d bytes are counted; want none", name, got)
			}
			continue
		}
		for path, want := range map[string]bool{"d/name000007": false, "d/new": true, "d/NAME000008": true} {
			if _, ok, first := tree.resolve(path, MatchFold, names-1); ok != want || first != nil {
				t.Errorf("resolve(%q) = %v; want %v, at once", path, ok, want)
			}
		}
		if tree.MemSize() < plain+100*names {
			t.Errorf("MemSize() = %d; want the index counted on top of %d", tree.MemSize(), plain)
		}
	}
}
