package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"sync"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

// Contents and records change, trees are loaded and folded, all at once; then
// everything is as it was told.
func TestManyCallersAtOnce(t *testing.T) {
	s := openStore(t, Config{ApplyDelay: time.Millisecond, SegmentSize: 16 << 10})
	s.Start()
	home := newUser(t, s, "ann", false)
	const writers, commits = 4, 120
	var last int64
	events := make(map[collfs.UUID]int64)
	stop := s.Watch(func(e collfs.Event) {
		if e.Seq <= last {
			t.Errorf("event %d after %d", e.Seq, last)
		}
		last = e.Seq
		if e.Kind == collfs.ContentChanged {
			if e.Revision != events[e.UUID]+1 {
				t.Errorf("%s: revision %d after %d", e.UUID, e.Revision, events[e.UUID])
			}
			events[e.UUID] = e.Revision
		}
	})
	ids := make([]collfs.UUID, writers)
	for i := range ids {
		ids[i] = newCollection(t, s, home, fmt.Sprint("c", i))
	}
	var wg, readers sync.WaitGroup
	done := make(chan struct{})
	for i, id := range ids {
		wg.Go(func() {
			for n := range int64(commits) {
				recs, err := s.Commit(t.Context(), collfs.Tx{Durable: n%3 == 0, Changes: []collfs.Change{{Collection: id, Base: n, Ops: mkdir(fmt.Sprint("d", n))}}})
				if err != nil || recs[0].Revision != n+1 {
					t.Errorf("commit %d = %v, %v", n, recs, err)
					return
				}
				if _, err := s.Commit(t.Context(), collfs.Tx{Changes: []collfs.Change{{Collection: id, Base: n}}}); !errors.Is(err, collfs.ErrStale) {
					t.Errorf("commit to an old revision = %v; want ErrStale", err)
				}
				if rec, err := s.Record(t.Context(), id); err != nil || rec.Revision != n+1 {
					t.Errorf("record has revision %d, %v; want %d", rec.Revision, err, n+1)
				}
				if n%40 == 39 {
					if err := s.Fold(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
			}
		})
		readers.Go(func() {
			for {
				rec, saved, err := s.Load(t.Context(), id, 0)
				if err != nil {
					t.Error(err)
					return
				}
				tree, err := collfs.Load(saved, fakeBlocks{})
				if err != nil || tree.Dirs() != rec.Revision {
					t.Errorf("revision %d has %d directories, %v", rec.Revision, tree.Dirs(), err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
		wg.Go(func() { // the name goes to and fro
			for n := range 10 {
				name := fmt.Sprint("c", i, "-", n)
				if _, err := s.Commit(t.Context(), collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.Move, UUID: id, Owner: home, Name: name}}}); err != nil {
					t.Error(err)
					return
				}
				if e, err := s.Lookup(t.Context(), home, name); err != nil || e.Collection.UUID != id || e.Collection.Name != name {
					t.Errorf("Lookup(%q) = %v, %v", name, e, err)
				}
			}
			name := fmt.Sprint("c", i, "-", 8)
			if _, err := s.Lookup(t.Context(), home, name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Lookup of an old name = %v; want fs.ErrNotExist", err)
			}
		})
	}
	wg.Wait()
	close(done)
	readers.Wait()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	for _, id := range ids {
		if events[id] != commits {
			t.Errorf("events told of %d commits; want %d", events[id], commits)
		}
	}
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	tx := collfs.Tx{Durable: true,
		Records: []collfs.RecordOp{
			{Kind: collfs.CreateCollection, UUID: "u", Owner: "o", Name: "n", Unique: true, Properties: []byte{}, Desc: "d"},
			{Kind: collfs.DeleteNow, UUID: "v"},
		},
		Changes: []collfs.Change{
			{Collection: "u", Base: -1, Files: 1 << 40, Bytes: 3, Ops: mkdir("x"), Extents: []keepio.Extent{{Block: 1 << 63, From: 1, To: 2, CRC: 3}, {}}},
			{Collection: "w", Ops: mkdir("y")},
		},
	}
	payload, flags := encode(&tx)
	setTime(payload, -5)
	payload[flags[1]] = flagMark
	e, err := decode(payload)
	if err != nil {
		t.Fatal(err)
	}
	want := &entry{at: -5, durable: true, size: int64(len(payload)), records: tx.Records, changes: []change{
		{collection: "u", base: -1, files: 1 << 40, bytes: 3, extents: tx.Changes[0].Extents, ops: collfs.AppendOps(nil, mkdir("x"))},
		{collection: "w", mark: true, ops: collfs.AppendOps(nil, mkdir("y"))},
	}}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("decode(encode(tx)) = %+v; want %+v", e, want)
	}
}

func FuzzEntry(f *testing.F) {
	payload, _ := encode(&collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.Move, UUID: "u"}},
		Changes: []collfs.Change{{Collection: "u", Ops: mkdir("x"), Extents: []keepio.Extent{{Block: 1}}}}})
	f.Add(payload)
	f.Add(bytes.Repeat([]byte{1, 255}, 20))
	f.Fuzz(func(t *testing.T, payload []byte) {
		e, err := decode(payload)
		if err == nil && len(e.refs()) < len(e.members()) {
			t.Error("refs are fewer than members")
		}
	})
}
