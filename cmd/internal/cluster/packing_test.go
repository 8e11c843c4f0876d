package cluster

import (
	"context"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"keepdav/davfs"
)

// blocksOf counts the blocks that a collection's manifest names.
func blocksOf(t *testing.T, fs *davfs.FS, name string) int {
	t.Helper()
	meta, _, err := fs.Meta(t.Context(), name+"/.arvados#collection")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, loc := range regexp.MustCompile(`\b[0-9a-f]{32}\+[0-9]+`).FindAll(meta, -1) {
		seen[string(loc)] = true
	}
	return len(seen) - 1 // the data hash looks like one
}

func TestWhatSmallCommitsLeaveIsPackedOnceItIsQuiet(t *testing.T) {
	f := newFakeCluster(t)
	s := f.session()
	defer s.Close(t.Context())
	mustMkdir(t, s.FS(), "/home/work")
	for i := range 40 {
		if err := putFile(t, s.FS(), fmt.Sprintf("/home/work/%d", i), fmt.Sprintf("file %d", i)); err != nil {
			t.Fatal(err)
		}
		if err := s.Spool.StoreAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := blocksOf(t, s.FS(), "/home/work"); n != 40 {
		t.Fatalf("%d blocks before; the test wants 40", n)
	}
	at, err := s.FS().Locate(t.Context(), "/home/work")
	if err != nil {
		t.Fatal(err)
	}
	at.Collection.Release()
	p := newPacking(time.Millisecond, zerolog.Nop())
	p.committed(at.Collection.UUID())
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.run(ctx, s.Files)
	}()
	defer func() { stop(); <-ended }()
	for late := time.Now().Add(20 * time.Second); blocksOf(t, s.FS(), "/home/work") > 2; {
		if time.Now().After(late) {
			t.Fatalf("%d blocks are left; want 2 at most", blocksOf(t, s.FS(), "/home/work"))
		}
		time.Sleep(5 * time.Millisecond) // the packing works by itself
	}
	for i := range 40 {
		if got, err := readFile(t, s.FS(), fmt.Sprintf("/home/work/%d", i)); err != nil || got != fmt.Sprintf("file %d", i) {
			t.Errorf("file %d: %q, %v", i, got, err)
		}
	}
}
