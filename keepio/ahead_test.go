package keepio

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

// A prefetcher notes what it is asked to get.
type prefetcher struct {
	LocalStore
	log []string
}

func (p *prefetcher) Prefetch(_ context.Context, hash [16]byte, _ uint32) func() {
	p.log = append(p.log, fmt.Sprint("get ", hash[0]))
	return func() { p.log = append(p.log, fmt.Sprint("leave ", hash[0])) }
}

func TestAheadGetsWhatIsWantedAndLeavesTheRest(t *testing.T) {
	p := new(prefetcher)
	m := openMemSpool(t, newMemFiles(), nil, func(cfg *SpoolConfig) { p.LocalStore, cfg.Store = cfg.Store, p })
	defer m.Close(context.Background())
	ctx := context.Background()
	var b []*Block
	for i := range 4 {
		b = append(b, NewStoredBlock([16]byte{byte(i)}, 10))
	}
	local := mustAppend(t, m.NewPacker("c"), []byte("x"))[0].Block
	a := m.NewAhead()
	check := func(what string, want ...string) {
		t.Helper()
		slices.Sort(p.log)
		if !slices.Equal(p.log, want) {
			t.Errorf("%s: %q; want %q", what, p.log, want)
		}
		p.log = nil
	}
	a.Want(ctx, []*Block{b[0], b[1], nil, local, b[1]})
	check("at first", "get 0", "get 1")
	a.Want(ctx, []*Block{b[1], b[2]})
	check("one further", "get 2", "leave 0")
	a.Close()
	check("at the end", "leave 1", "leave 2")
	a.Want(ctx, b)
	check("after the end")
}

func TestAStoreWithAllBlocksAtHandNeedsNoAhead(t *testing.T) {
	m := openModel(t, nil)
	a := m.NewAhead()
	if a != nil {
		t.Error("NewAhead over such a store is not nil")
	}
	a.Want(context.Background(), nil)
	a.Close()
}
