package apiserver_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/apitest"
	"keepdav/collfs/manifest"
)

// blocksIn returns how many different blocks a manifest has, but the empty one.
func blocksIn(text string) int {
	seen := make(map[[16]byte]bool)
	_ = manifest.Scan(text, func(s *manifest.Stream) error {
		for _, l := range s.Locators {
			if l.Size() > 0 {
				seen[l.Hash()] = true
			}
		}
		return nil
	})
	return len(seen)
}

func TestManySmallCommitsEndInFewBlocks(t *testing.T) {
	e, k := newEnv(t, apitest.Options{NoWebsocket: true}), new(keep)
	id := e.create("c")
	n := e.node(k)
	c := e.open(n, id)
	const files = 60
	for i := range files {
		put(t, c, fmt.Sprintf("f%02d", i), fmt.Sprintf("content of file %d", i))
	}
	before, err := c.Stat("f00")
	if err != nil {
		t.Fatal(err)
	}
	if got := blocksIn(e.server.Manifest(id)); got != files {
		t.Fatalf("%d blocks before; want one a commit", got)
	}
	// Somebody adds a file while it is packed: nothing of that is undone.
	f := e.foreign(id)
	f.load()
	e.between(func() { f.save(func(root *apitest.Node) { root.Kids["theirs"] = block(1) }) })
	var segments atomic.Bool
	hook := func(r *http.Request, body []byte) {
		if r.Method == http.MethodPatch && strings.Contains(string(body), "replace_segments") && !strings.Contains(string(body), "replace_files") {
			segments.Store(true)
		}
	}
	e.alsoHook(hook)
	if _, err := n.RepackSmall(t.Context(), collfs.UUID(id), collfs.SmallOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := blocksIn(e.server.Manifest(id)); got > 3 || !segments.Load() {
		t.Errorf("%d blocks after, by replace_segments: %v; want theirs and at most 2", got, segments.Load())
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := names(c)
	if len(got) != files+1 || !slices.Contains(got, "theirs") {
		t.Errorf("%d files; want %d and theirs: %v", len(got), files, got)
	}
	for i := range files {
		if text, err := read(c, fmt.Sprintf("f%02d", i)); err != nil || text != fmt.Sprintf("content of file %d", i) {
			t.Errorf("file %d has %q, %v", i, text, err)
		}
	}
	if after, err := c.Stat("f00"); err != nil || after.ID != before.ID {
		t.Errorf("the id of a content has changed: %x, %x, %v", before.ID, after.ID, err)
	}
	if n.Conflicts() != 0 {
		t.Errorf("%d conflicts", n.Conflicts())
	}
}
