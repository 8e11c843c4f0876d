package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// file is an operation that makes a file of one segment.
func file(path string, block byte) collfs.Op {
	return collfs.Op{Kind: collfs.OpPut, Path: path, Content: collfs.Content{
		ID: collfs.ContentID{block}, Size: 10, Segments: []keepio.Segment{{Block: keepio.NewStoredBlock([16]byte{block}, 100), Len: 10}}}}
}

// commit commits ops to a collection.
func commit(t testing.TB, s *Store, id collfs.UUID, ops ...collfs.Op) collfs.Record {
	t.Helper()
	rec, err := s.Record(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	recs, err := s.Commit(t.Context(), collfs.Tx{Durable: true, Changes: []collfs.Change{{Collection: id, Base: rec.Revision, Ops: ops, Files: 1, Bytes: 10}}})
	if err != nil {
		t.Fatal(err)
	}
	return recs[0]
}

// tree returns the encoded tree of a version.
func tree(t testing.TB, s *Store, id collfs.UUID, version int) string {
	t.Helper()
	_, saved, err := s.Load(t.Context(), id, version)
	if err != nil {
		t.Fatalf("Load of version %d: %v", version, err)
	}
	tr, err := collfs.Load(saved, fakeBlocks{})
	if err != nil {
		t.Fatal(err)
	}
	return string(collfs.AppendTree(nil, tr))
}

func TestFoldingKeepsEveryVersion(t *testing.T) {
	c := &clock{now: time.Now()}
	s := openStore(t, Config{Now: c.Now})
	id := newCollection(t, s, newUser(t, s, "ann", false), "data")
	rnd := rand.New(rand.NewPCG(1, 2))
	want := make(map[int]string) // by version
	model := collfs.NewTree()
	for step := range 300 {
		switch rnd.IntN(12) {
		case 0:
			if err := s.Fold(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		case 1:
			before := c.Now().Add(-time.Duration(rnd.IntN(400)) * time.Second)
			if _, err := s.ExpireVersions(t.Context(), before); err != nil {
				t.Fatal(err)
			}
		default:
			c.Advance(time.Duration(rnd.IntN(20)) * time.Second)
			op := file(fmt.Sprint("f", rnd.IntN(20)), byte(step))
			rec := commit(t, s, id, op)
			if err := model.Apply(op); err != nil {
				t.Fatal(err)
			}
			want[rec.Version] = string(collfs.AppendTree(nil, model))
		}
		versions, err := s.Versions(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for i, rec := range versions {
			if i > 3 && rnd.IntN(4) > 0 {
				continue
			}
			if rec.Revision > 0 && tree(t, s, id, rec.Version) != want[rec.Version] {
				t.Fatalf("step %d: version %d of %d differs", step, rec.Version, versions[0].Version)
			}
		}
	}
	if s.folds.Load() == 0 {
		t.Error("nothing was folded")
	}
	// Without versions one checkpoint is left, and no change.
	if _, err := s.ExpireVersions(t.Context(), c.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	commit(t, s, id, mkdir("last")...)
	if err := s.Fold(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	var checkpoints, changes int
	err := s.readers.row(t.Context(), `SELECT (SELECT count(*) FROM checkpoint), (SELECT count(*) FROM change)`).Scan(&checkpoints, &changes)
	if err != nil || checkpoints != 1 || changes != 0 {
		t.Errorf("%d checkpoints and %d changes are left, %v; want one and none", checkpoints, changes, err)
	}
}

func TestALongLogIsFoldedInTheBackground(t *testing.T) {
	s := openStore(t, Config{ApplyDelay: time.Millisecond})
	id := newCollection(t, s, newUser(t, s, "ann", false), "data")
	commit(t, s, id, collfs.Op{Kind: collfs.OpMkdir, Path: "d", Attr: collfs.Attr{Extra: map[string]string{"xattr:x": strings.Repeat("x", 3<<20)}}})
	before := tree(t, s, id, 0)
	s.Start()
	if err := s.waitFold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := tree(t, s, id, 0); after != before {
		t.Error("folding changed the tree")
	}
}

// A countdown is a context that ends after it was asked so often.
type countdown struct {
	context.Context
	left atomic.Int64
}

func (c *countdown) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

func TestAFoldThatFailsLeavesNothingBehind(t *testing.T) {
	s := openStore(t, Config{})
	id := newCollection(t, s, newUser(t, s, "ann", false), "data")
	commit(t, s, id, collfs.Op{Kind: collfs.OpMkdir, Path: "d", Attr: collfs.Attr{Extra: map[string]string{"xattr:x": strings.Repeat("x", 3<<20)}}})
	begun := 0
	for n := range int64(1000) {
		ctx := &countdown{Context: t.Context()}
		ctx.left.Store(n)
		err := s.Fold(ctx, id)
		var left int
		if err := s.readers.row(t.Context(), `SELECT count(*) FROM checkpoint_part p JOIN checkpoint c ON c.id = checkpoint WHERE NOT complete`).Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left > 0 {
			t.Errorf("Fold() = %v at the %dth look at its context; %d parts of a checkpoint are left", err, n, left)
		}
		if err == nil {
			break
		}
		begun++
	}
	if s.folds.Load() != 1 || begun < 4 {
		t.Errorf("%d folds were cut short, and %d were made; want four or more, and one", begun, s.folds.Load())
	}
}

// waitFold waits until something was folded.
func (s *Store) waitFold(ctx context.Context) error {
	for s.folds.Load() == 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		runtime.Gosched()
	}
	return nil
}

func TestRootsAreWhatVersionsAndTheTrashNeed(t *testing.T) {
	c := &clock{now: time.Now()}
	s := openStore(t, Config{Now: c.Now})
	home := newUser(t, s, "ann", false)
	id := newCollection(t, s, home, "data")
	commit(t, s, id, file("f", 1)) // superseded within ten seconds: no version
	commit(t, s, id, file("f", 2))
	c.Advance(time.Minute)
	commit(t, s, id, file("f", 3))
	trashed := newCollection(t, s, home, "old")
	commit(t, s, trashed, file("f", 4))
	if _, err := s.Commit(t.Context(), collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.Trash, UUID: trashed}}}); err != nil {
		t.Fatal(err)
	}
	roots := func() (present, older string) {
		var now, old []string
		err := s.Roots(t.Context(), func(_ collfs.UUID, current bool, seg keepio.Segment) error {
			hash, _, _ := seg.Block.Stored()
			if current {
				now = append(now, fmt.Sprint(hash[0]))
			} else {
				old = append(old, fmt.Sprint(hash[0]))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(now)
		return strings.Join(now, " "), strings.Join(old, " ")
	}
	if now, old := roots(); now != "3 4" || old != "2" {
		t.Errorf("roots are %q and %q; want 3 4 and 2", now, old)
	}
	c.Advance(31 * 24 * time.Hour)
	if err := s.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, old := roots(); now != "3" || old != "" {
		t.Errorf("after a month roots are %q and %q; want 3 and none", now, old)
	}
	failed := errors.New("enough")
	if err := s.Roots(t.Context(), func(collfs.UUID, bool, keepio.Segment) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("Roots = %v; want the error of visit", err)
	}
}

func TestDataHashesAreThoseOfTheManifest(t *testing.T) {
	c := &clock{now: time.Now()}
	stored := 0
	s := openStore(t, Config{Now: c.Now,
		StoreBlocks: func(context.Context, []*keepio.Block) error { stored++; return nil },
		Zero:        func(context.Context) ([16]byte, uint32, error) { return [16]byte{0xee}, 64 << 20, nil },
	})
	ann, bob := newUser(t, s, "ann", false), newUser(t, s, "bob", false)
	id := newCollection(t, s, ann, "data")
	commit(t, s, id, file("f", 1))
	c.Advance(time.Minute)
	hole := collfs.Op{Kind: collfs.OpPut, Path: "h", Content: collfs.Content{ID: collfs.ContentID{9}, Size: 5, Segments: []keepio.Segment{{Len: 5}}}}
	commit(t, s, id, hole)
	pdhs := make(map[int]collfs.PDH)
	for version, want := range map[int]string{
		1: ". 01000000000000000000000000000000+100 0:10:f\n",
		0: ". 01000000000000000000000000000000+100 ee000000000000000000000000000000+67108864 0:10:f 100:5:h\n",
	} {
		text, _, err := s.Manifest(t.Context(), id, version)
		if err != nil || string(text) != want {
			t.Errorf("manifest of version %d is %q, %v; want %q", version, text, err, want)
		}
		pdhs[version] = collfs.PDH(manifest.PDH([]byte(want)))
	}
	for version, pdh := range pdhs {
		for range 2 {
			got, v, err := s.FindPDH(t.Context(), ann, pdh)
			if err != nil || got != id || v != version {
				t.Errorf("FindPDH = %s, %d, %v; want version %d", got, v, err, version)
			}
		}
		if _, _, err := s.FindPDH(t.Context(), bob, pdh); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("FindPDH by a stranger = %v; want fs.ErrNotExist", err)
		}
	}
	if rec, err := s.Record(t.Context(), id); err != nil || rec.PDH != pdhs[0] {
		t.Errorf("record has data hash %q, %v; want %q", rec.PDH, err, pdhs[0])
	}
	commit(t, s, id, file("f", 2))
	if rec, err := s.Record(t.Context(), id); err != nil || rec.PDH != "" {
		t.Errorf("after a change the record has data hash %q, %v; want none", rec.PDH, err)
	}
	if _, _, err := s.FindPDH(t.Context(), ann, pdhs[0]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("FindPDH of what was changed within ten seconds = %v; want fs.ErrNotExist", err)
	}
}

func TestMarksWaitForRealTime(t *testing.T) {
	defer func(was func() (time.Duration, string)) { machineTime = was }(machineTime)
	var up time.Duration
	boot := "one"
	machineTime = func() (time.Duration, string) { return up, boot }
	c := &clock{now: time.Now()}
	s := openStore(t, Config{Now: c.Now})
	hash := [16]byte{1}
	if _, err := s.Marks(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.SetMarks(t.Context(), nil, [][16]byte{hash}, c.Now()); err != nil {
		t.Fatal(err)
	}
	waited := func(want time.Duration) {
		t.Helper()
		marks, err := s.Marks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Now().Sub(marks[hash]).Round(time.Second); got != want {
			t.Errorf("the mark has waited for %v; want %v", got, want)
		}
	}
	waited(0)
	up, _ = up+time.Hour, 0
	c.Advance(time.Hour)
	waited(time.Hour)
	c.Advance(100 * time.Hour) // the clock is set
	waited(time.Hour)
	c.Advance(-200 * time.Hour)
	waited(time.Hour)
	up += time.Hour
	waited(2 * time.Hour)
	boot, up = "two", 10*time.Minute // off for a while
	c.Advance(24 * time.Hour)
	waited(2*time.Hour + 10*time.Minute)
	boot, up = "three", 48*time.Hour
	c.Advance(20 * time.Hour)
	waited(22*time.Hour + 10*time.Minute)
	if err := s.SetMarks(t.Context(), [][16]byte{hash}, [][16]byte{hash}, c.Now()); err != nil {
		t.Fatal(err)
	}
	waited(0)
}

func TestDeletingAProjectSparesWhatWasTrashedBefore(t *testing.T) {
	c := &clock{now: time.Now()}
	s := openStore(t, Config{Now: c.Now})
	home := newUser(t, s, "ann", false)
	project := s.NewProjectUUID()
	do := func(ops ...collfs.RecordOp) {
		t.Helper()
		if _, err := s.Commit(t.Context(), collfs.Tx{Records: ops}); err != nil {
			t.Fatal(err)
		}
	}
	do(collfs.RecordOp{Kind: collfs.CreateProject, UUID: project, Owner: home, Name: "p"})
	early, late := newCollection(t, s, project, "early"), newCollection(t, s, project, "late")
	do(collfs.RecordOp{Kind: collfs.Trash, UUID: early})
	do(collfs.RecordOp{Kind: collfs.Trash, UUID: project})
	if trash, err := s.Trash(t.Context()); err != nil || len(trash) != 2 {
		t.Errorf("Trash = %v, %v; want two entries", trash, err)
	}
	do(collfs.RecordOp{Kind: collfs.DeleteNow, UUID: project})
	if _, err := s.Record(t.Context(), late); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Record of what went along = %v; want fs.ErrNotExist", err)
	}
	do(collfs.RecordOp{Kind: collfs.Untrash, UUID: early})
	if e, err := s.Lookup(t.Context(), home, "early"); err != nil || e.Collection.UUID != early {
		t.Errorf("Lookup = %v, %v; want it in the project above", e, err)
	}
}

func TestSideFilesMoveWithTheirDirectories(t *testing.T) {
	s := openStore(t, Config{})
	ctx := t.Context()
	a, b := collfs.UUID("a"), collfs.UUID("b")
	for _, p := range []string{"d", "d/x", "d/e/y", "d-", "d0", "z"} {
		if err := s.PutSide(ctx, a, SideFile{Path: p, Size: 1, Data: []byte(p)}); err != nil {
			t.Fatal(err)
		}
	}
	list := func(key collfs.UUID, dir string) (paths []string) {
		t.Helper()
		files, err := s.ListSide(ctx, key, dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			paths = append(paths, f.Path)
		}
		return paths
	}
	if err := s.PutSide(ctx, b, SideFile{Path: "t/old"}); err != nil {
		t.Fatal(err)
	}
	if err := s.RenameSide(ctx, a, "d", b, "t"); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(list(a, ""), list(b, ""), list(b, "t"), list(b, "t/e")); got != "[d- d0 z] [t] [t/x] [t/e/y]" {
		t.Errorf("after the move there is %s", got)
	}
	if err := s.RenameSide(ctx, b, "t", b, "t/u"); err != nil {
		t.Fatal(err)
	}
	if f, err := s.GetSide(ctx, b, "t/u/e/y"); err != nil || string(f.Data) != "d/e/y" {
		t.Errorf("GetSide = %q, %v", f.Data, err)
	}
	if err := s.RemoveSide(ctx, b, "t"); err != nil {
		t.Fatal(err)
	}
	if has, err := s.HasSide(ctx, b); has || err != nil {
		t.Errorf("HasSide = %v, %v; want false", has, err)
	}
	if _, err := s.GetSide(ctx, b, "t"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("GetSide = %v; want fs.ErrNotExist", err)
	}
}

func TestDamageIsFound(t *testing.T) {
	s := openStore(t, Config{})
	id := newCollection(t, s, newUser(t, s, "ann", false), "data")
	commit(t, s, id, file("f", 1))
	if found, err := s.CheckDatabase(t.Context()); err != nil || len(found) > 0 {
		t.Fatal(found, err)
	}
	for _, statement := range []string{
		`UPDATE record SET owner = 'nobody' WHERE kind = 1`,
		`INSERT INTO change (collection, first, last, data) VALUES ('nothing', 1, 1, x'00')`,
		`INSERT INTO blockfile (id, committed_end, md5, size) VALUES (1, 10, zeroblob(16), 9)`,
	} {
		if err := s.write(t.Context(), func(w *writer) error { _, err := w.exec(statement); return err }); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := s.CheckDatabase(t.Context()); err != nil || len(found) != 3 {
		t.Errorf("CheckDatabase = %q, %v; want three faults", found, err)
	}
}

func TestRepackingMakesNoVersion(t *testing.T) {
	c := &clock{now: time.Now()}
	s := openStore(t, Config{Now: c.Now})
	id := newCollection(t, s, newUser(t, s, "ann", false), "data")
	put := file("f", 1)
	before := commit(t, s, id, put)
	c.Advance(time.Hour)
	repack := put
	repack.Kind = collfs.OpRepack
	after := commit(t, s, id, repack)
	if after.Revision != before.Revision+1 || after.Version != before.Version || !after.ModifiedAt.Equal(before.ModifiedAt) {
		t.Errorf("after repacking: revision %d, version %d, modified %v; want %d, %d, %v",
			after.Revision, after.Version, after.ModifiedAt, before.Revision+1, before.Version, before.ModifiedAt)
	}
	c.Advance(time.Hour)
	if rec := commit(t, s, id, file("g", 2)); rec.Version != before.Version+1 {
		t.Errorf("a change after it: version %d; want %d", rec.Version, before.Version+1)
	}
	if stored, err := s.Record(t.Context(), id); err != nil || stored.Version != before.Version+1 {
		t.Errorf("Record() = version %d, %v; want %d", stored.Version, err, before.Version+1)
	}
}
