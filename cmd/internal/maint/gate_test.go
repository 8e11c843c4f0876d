package maint

import (
	"context"
	"testing"

	"keepdav/collfs"
	"keepdav/keepio"
)

// catalog is one whose Commit waits until it is let go.
type catalog struct {
	collfs.Catalog
	began, end chan struct{}
}

func (c *catalog) Commit(context.Context, collfs.Tx) ([]collfs.Record, error) {
	c.began <- struct{}{}
	<-c.end
	return nil, nil
}

func naming(b *keepio.Block) collfs.Tx {
	return collfs.Tx{Changes: []collfs.Change{{Ops: []collfs.Op{{Kind: collfs.OpPut, Path: "f",
		Content: collfs.Content{Segments: []keepio.Segment{{Block: b, Len: 1}, {Len: 5}}}}}}}}
}

func TestClosedGateWaitsForCommitsAndKnowsWhatTheyName(t *testing.T) {
	c := &catalog{began: make(chan struct{}), end: make(chan struct{})}
	g := NewGate(c)
	before := keepio.NewStoredBlock([16]byte{1}, 1)
	during := keepio.NewStoredBlock([16]byte{2}, 1)
	commit := func(b *keepio.Block) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := g.Commit(t.Context(), naming(b))
			done <- err
		}()
		<-c.began
		return done
	}
	first := commit(before)
	c.end <- struct{}{}
	<-first
	stop := g.watch()
	defer stop()
	second := commit(during)
	closed := make(chan map[[16]byte]struct{}, 1)
	go g.closed(func(named map[[16]byte]struct{}) error {
		closed <- named
		return nil
	})
	select {
	case <-closed:
		t.Error("the gate closed while a commit was under way")
	default:
	}
	c.end <- struct{}{}
	<-second
	named := <-closed
	if _, ok := named[[16]byte{2}]; !ok || len(named) != 1 {
		t.Errorf("named are %v; want what the second commit named", named)
	}
}
