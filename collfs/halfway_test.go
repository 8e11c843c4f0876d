package collfs_test

import (
	"context"
	"errors"
	"os"
	"reflect"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/keepio"
)

// A halfway catalog does what a transaction asks for in several requests, as that of a
// cluster does. Of the next one that has several it does the first, and the reply is lost.
type halfway struct {
	*memcatalog.Catalog
	armed bool
	stale func() // not the reply is lost, but this comes between the requests
}

func (h *halfway) Commit(ctx context.Context, tx collfs.Tx) ([]collfs.Record, error) {
	if !h.armed || len(tx.Changes) == 0 || len(tx.Changes) < 2 && len(tx.Records) == 0 {
		return h.Catalog.Commit(ctx, tx)
	}
	h.armed = false
	first := collfs.Tx{Durable: true, Changes: tx.Changes[:1]}
	for _, op := range tx.Records {
		if op.Kind != collfs.Trash {
			first.Records = append(first.Records, op)
		}
	}
	records, err := h.Catalog.Commit(ctx, first)
	if err != nil {
		return nil, err
	}
	if h.stale != nil {
		h.stale()
		return records, errors.Join(collfs.ErrPartly, collfs.ErrStale)
	}
	return nil, collfs.ErrUnknownOutcome
}

// What is known of a collection after half a move has to be what is there: else changes
// of others at the revision that the other half would have made are never seen.
func TestHalfAMoveIsACopy(t *testing.T) {
	ctx := context.Background()
	for name, move := range map[string]func(e *env, f *collfs.FS, a, b *collfs.Collection) error{
		"to another collection": func(_ *env, f *collfs.FS, a, b *collfs.Collection) error {
			_, err := f.Transfer(ctx, a, "d", b, "moved", collfs.TransferOptions{Move: true})
			return err
		},
		"to a new collection": func(e *env, f *collfs.FS, a, _ *collfs.Collection) error {
			_, err := f.Extract(ctx, a, "d", e.home, "new", collfs.TransferOptions{Move: true})
			return err
		},
		"all of a collection": func(_ *env, f *collfs.FS, a, b *collfs.Collection) error {
			_, err := f.Absorb(ctx, a, b, "moved", collfs.TransferOptions{Move: true})
			return err
		},
	} {
		e := newEnv(t)
		half := &halfway{Catalog: e.catalog}
		f := e.fs(func(c *collfs.Config) { c.Catalog = half })
		a, b := twoCollections(t, e, f)
		commit(t, a)
		half.armed = true
		if err := move(e, f, a, b); !errors.Is(err, keepio.ErrUnavailable) || half.armed {
			t.Errorf("%s: half a move = %v; want keepio.ErrUnavailable", name, err)
		}
		other := e.open(e.fs(), a.UUID())
		put(t, other, "theirs", "theirs")
		commit(t, other)
		put(t, a, "ours", "ours")
		commit(t, a)
		want := map[string]string{"d/": "", "d/x": "x", "d/y": "y", "z": "z", "ours": "ours", "theirs": "theirs"}
		for _, c := range []*collfs.Collection{a, e.open(e.fs(), a.UUID())} {
			if got := files(t, c); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: the source is %v; want %v", name, got, want)
			}
		}
	}
}

// Who changes the source of a move while it takes place does not make a copy of it, and
// loses nothing.
func TestAMoveTakesAwayWhatItHasSeen(t *testing.T) {
	ctx := context.Background()
	for name, move := range map[string]func(e *env, f *collfs.FS, a, b *collfs.Collection) (*collfs.Collection, error){
		"to another collection": func(_ *env, f *collfs.FS, a, b *collfs.Collection) (*collfs.Collection, error) {
			_, err := f.Transfer(ctx, a, "d", b, "moved", collfs.TransferOptions{Move: true})
			return b, err
		},
		"to a new collection": func(e *env, f *collfs.FS, a, _ *collfs.Collection) (*collfs.Collection, error) {
			rec, err := f.Extract(ctx, a, "d", e.home, "new", collfs.TransferOptions{Move: true})
			if err != nil {
				return nil, err
			}
			return e.open(f, rec.UUID), nil
		},
	} {
		e := newEnv(t)
		half := &halfway{Catalog: e.catalog}
		f := e.fs(func(c *collfs.Config) { c.Catalog = half })
		a, b := twoCollections(t, e, f)
		commit(t, a)
		h, _, err := a.OpenFile("d/y", collfs.OpenOptions{Flags: os.O_RDWR})
		if err != nil {
			t.Fatal(err)
		}
		other := e.open(e.fs(), a.UUID())
		half.armed, half.stale = true, func() {
			put(t, other, "d/x", "theirs")
			put(t, other, "d/late", "late")
			commit(t, other)
		}
		to, err := move(e, f, a, b)
		if err != nil || half.armed {
			t.Fatalf("%s: move = %v", name, err)
		}
		if _, err := h.WriteAt(ctx, []byte("Y"), 0); err != nil {
			t.Error(err)
		}
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
		commit(t, to)
		for _, c := range []*collfs.Collection{a, e.open(e.fs(), a.UUID())} {
			if got, want := files(t, c), (map[string]string{"d/": "", "d/x": "theirs", "d/late": "late", "z": "z"}); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: the source is %v; want %v", name, got, want)
			}
		}
		got := files(t, e.open(e.fs(), to.UUID()))
		dir := ""
		if to == b {
			dir = "moved/"
		}
		if got[dir+"x"] != "x" || got[dir+"y"] != "Y" {
			t.Errorf("%s: what was moved is %v", name, got)
		}
	}
}
