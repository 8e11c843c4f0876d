package collfs_test

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/keepio"
)

// twoCollections returns collections a, with files in d, and b.
func twoCollections(t *testing.T, e *env, f *collfs.FS) (a, b *collfs.Collection) {
	t.Helper()
	a, b = e.open(f, e.catalog.Create(e.home, "a")), e.open(f, e.catalog.Create(e.home, "b"))
	if _, err := a.Mkdir("d", collfs.Attr{Mode: 0o700}, nil); err != nil {
		t.Fatal(err)
	}
	put(t, a, "d/x", "x")
	put(t, a, "d/y", "y")
	put(t, a, "z", "z")
	return a, b
}

var allOfA = map[string]string{"d/": "", "d/x": "x", "d/y": "y", "z": "z"}

func TestMoveBetweenCollections(t *testing.T) {
	ctx := context.Background()
	for _, fault := range []memcatalog.Outcome{{}, {Err: collfs.ErrUnknownOutcome, Done: true}, {Err: collfs.ErrUnknownOutcome}, {Err: errInjected}} {
		e := newEnv(t)
		f := e.fs()
		a, b := twoCollections(t, e, f)
		put(t, b, "old", "old")
		h, _, err := a.OpenFile("d/x", collfs.OpenOptions{Flags: os.O_RDWR})
		if err != nil {
			t.Fatal(err)
		}
		once := true
		e.catalog.Fault = func(_ context.Context, tx collfs.Tx) memcatalog.Outcome {
			if len(tx.Changes) == 2 && once {
				once = false
				return fault
			}
			return memcatalog.Outcome{}
		}
		created, err := f.Transfer(ctx, a, "d", b, "moved", collfs.TransferOptions{Move: true})
		if errors.Is(fault.Err, errInjected) {
			if !errors.Is(err, errInjected) {
				t.Fatalf("Transfer() = %v", err)
			}
			if got := files(t, a); !reflect.DeepEqual(got, allOfA) {
				t.Errorf("after a failed move the source is %v", got)
			}
			if err := h.Close(ctx); err != nil {
				t.Error(err)
			}
			commit(t, a)
			commit(t, b)
			if got := files(t, e.open(e.fs(), b.UUID())); len(got) != 1 {
				t.Errorf("after a failed move the target is %v", got)
			}
			continue
		}
		if err != nil || !created {
			t.Fatalf("%v: Transfer() = %v, %v", fault, created, err)
		}
		if _, err := h.WriteAt(ctx, []byte("XX"), 0); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(ctx); err != nil {
			t.Fatal(err)
		}
		for _, f := range []*collfs.FS{f, e.fs()} {
			if got, want := files(t, e.open(f, a.UUID())), (map[string]string{"z": "z"}); !reflect.DeepEqual(got, want) {
				t.Errorf("%v: source = %v; want %v", fault, got, want)
			}
			want := map[string]string{"old": "old", "moved/": "", "moved/x": "XX", "moved/y": "y"}
			if got := files(t, e.open(f, b.UUID())); !reflect.DeepEqual(got, want) {
				t.Errorf("%v: target = %v; want %v", fault, got, want)
			}
		}
		if i, _ := b.Stat("moved"); i.Attr.Mode != 0o700 {
			t.Errorf("attributes did not come along: %+v", i)
		}
	}
}

// A transfer whose sync failed may be there now and gone after a loss of power.
func TestATransferIsNotAcknowledgedBeforeItIsDurable(t *testing.T) {
	ctx := context.Background()
	for name, op := range map[string]func(e *env, f *collfs.FS, a, b *collfs.Collection) error{
		"move": func(_ *env, f *collfs.FS, a, b *collfs.Collection) error {
			_, err := f.Transfer(ctx, a, "d", b, "moved", collfs.TransferOptions{Move: true})
			return err
		},
		"extract": func(e *env, f *collfs.FS, a, _ *collfs.Collection) error {
			_, err := f.Extract(ctx, a, "d", e.home, "new", collfs.TransferOptions{})
			return err
		},
		"extract of a version": func(e *env, f *collfs.FS, a, _ *collfs.Collection) error {
			old, err := f.OpenVersion(ctx, a.UUID(), 1)
			if err != nil {
				return err
			}
			defer old.Release()
			_, err = f.Extract(ctx, old, "d", e.home, "new", collfs.TransferOptions{})
			return err
		},
	} {
		e := newEnv(t)
		f := e.fs()
		a, b := twoCollections(t, e, f)
		commit(t, a)
		broken := false
		e.catalog.Fault = func(_ context.Context, tx collfs.Tx) memcatalog.Outcome {
			switch {
			case len(tx.Changes) > 0:
				broken = true
				return memcatalog.Outcome{Err: collfs.ErrUnknownOutcome, Done: true}
			case broken && tx.Durable:
				return memcatalog.Outcome{Err: collfs.ErrUnknownOutcome}
			}
			return memcatalog.Outcome{}
		}
		if err := op(e, f, a, b); !errors.Is(err, collfs.ErrUnknownOutcome) {
			t.Errorf("%s: a transfer that cannot be made durable = %v", name, err)
		}
		if err := a.Commit(ctx, true); err == nil && name != "extract of a version" {
			t.Errorf("%s: a durable commit after it = nil", name)
		}
		e.catalog.Fault = nil
		commit(t, a)
		commit(t, b)
	}
}

func TestLostReplyOfAnEmptyNewCollection(t *testing.T) {
	ctx := context.Background()
	for _, done := range []bool{true, false} {
		e := newEnv(t)
		f := e.fs()
		a := e.open(f, e.catalog.Create(e.home, "a"))
		once := true
		e.catalog.Fault = func(_ context.Context, tx collfs.Tx) memcatalog.Outcome {
			if len(tx.Records) > 0 && once {
				once = false
				return memcatalog.Outcome{Err: collfs.ErrUnknownOutcome, Done: done}
			}
			return memcatalog.Outcome{}
		}
		rec, err := f.Extract(ctx, a, "", e.home, "new", collfs.TransferOptions{})
		if err != nil || rec.Name != "new" {
			t.Errorf("done %v: Extract() = %+v, %v; want the collection", done, rec, err)
		}
	}
}

func TestTransferRules(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	a, b := twoCollections(t, e, f)
	put(t, b, "file", "x")
	if _, err := b.Mkdir("full", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	put(t, b, "full/x", "x")
	deny := errors.New("denied")
	for _, tt := range []struct {
		from, to string
		o        collfs.TransferOptions
		want     error
	}{
		{"nope", "x", collfs.TransferOptions{}, fs.ErrNotExist},
		{"d", "nope/x", collfs.TransferOptions{}, fs.ErrNotExist},
		{"d", "file", collfs.TransferOptions{}, fs.ErrExist},
		{"d", "file", collfs.TransferOptions{CopyOptions: collfs.CopyOptions{Replace: collfs.ReplacePOSIX}}, collfs.ErrNotDir},
		{"z", "full", collfs.TransferOptions{CopyOptions: collfs.CopyOptions{Replace: collfs.ReplacePOSIX}}, collfs.ErrIsDir},
		{"d", "full", collfs.TransferOptions{CopyOptions: collfs.CopyOptions{Replace: collfs.ReplacePOSIX}}, collfs.ErrNotEmpty},
		{"d", "x/../y", collfs.TransferOptions{}, collfs.ErrNameInvalid},
		{"d", "new", collfs.TransferOptions{CopyOptions: collfs.CopyOptions{Check: func(collfs.NodeInfo, bool) error { return deny }}}, deny},
		{"d", "new", collfs.TransferOptions{CopyOptions: collfs.CopyOptions{CheckSrc: func(collfs.NodeInfo, bool) error { return deny }}}, deny},
		{"d", "full", collfs.TransferOptions{CopyOptions: collfs.CopyOptions{Replace: collfs.ReplaceAny}}, nil},
		{"d", "shallow", collfs.TransferOptions{CopyOptions: collfs.CopyOptions{Shallow: true}}, nil},
	} {
		if _, err := f.Transfer(ctx, a, tt.from, b, tt.to, tt.o); !errors.Is(err, tt.want) {
			t.Errorf("Transfer(%q, %q) = %v; want %v", tt.from, tt.to, err, tt.want)
		}
	}
	want := map[string]string{"file": "x", "full/": "", "full/x": "x", "full/y": "y", "shallow/": ""}
	if got := files(t, e.open(e.fs(), b.UUID())); !reflect.DeepEqual(got, want) {
		t.Errorf("target = %v; want %v", got, want)
	}
}

func TestSubtreeBecomesACollectionAndBack(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	a, b := twoCollections(t, e, f)
	rec, err := f.Extract(ctx, a, "d", e.home, "b", collfs.TransferOptions{Move: true, Unique: true})
	if err != nil {
		t.Fatal(err)
	}
	if rec.Name != "b (2)" || rec.Files != 2 || rec.Bytes != 2 {
		t.Errorf("record = %+v", rec)
	}
	c := e.open(f, rec.UUID)
	if got, want := files(t, c), (map[string]string{"x": "x", "y": "y"}); !reflect.DeepEqual(got, want) {
		t.Errorf("new collection = %v; want %v", got, want)
	}
	if got := files(t, a); len(got) != 1 {
		t.Errorf("source = %v", got)
	}
	if _, err := f.Absorb(ctx, c, b, "back", collfs.TransferOptions{Move: true}); err != nil {
		t.Fatal(err)
	}
	if got, want := files(t, b), (map[string]string{"back/": "", "back/x": "x", "back/y": "y"}); !reflect.DeepEqual(got, want) {
		t.Errorf("target = %v; want %v", got, want)
	}
	if _, err := c.Mkdir("late", collfs.Attr{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("change of an absorbed collection = %v; want fs.ErrNotExist", err)
	}
	if rec, err := e.catalog.Record(ctx, rec.UUID); err != nil || rec.TrashAt.IsZero() {
		t.Errorf("the collection that was moved is not in the trash: %+v, %v", rec, err)
	}
	// A name that is taken fails the whole transaction.
	if _, err := f.Extract(ctx, b, "back", e.home, "a", collfs.TransferOptions{Move: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Extract() = %v; want fs.ErrExist", err)
	}
	if got := files(t, b); len(got) != 3 {
		t.Errorf("source after a failed Extract = %v", got)
	}
}

func TestRepackFreesGarbage(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	e.catalog.Blocks = e.spool
	id := e.catalog.Create(e.home, "c")
	f := e.fs()
	c := e.open(f, id)
	// Files of 64 KiB, of which every other goes: half of the block is garbage.
	for i := range 64 {
		put(t, c, string(rune('A'+i)), string(make([]byte, 64<<10-1))+string(rune('A'+i)))
	}
	commit(t, c)
	if _, err := c.Manifest(ctx); err != nil { // stores the block
		t.Fatal(err)
	}
	if _, err := c.Copy("A", "copy", collfs.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 64; i += 2 {
		if err := c.Remove(string(rune('A'+i)), nil); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, c)
	before, err := c.PDH(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := files(t, c)
	info, _ := c.Stat("A")
	report, err := f.Repack(ctx, e.catalog, collfs.RepackOptions{})
	if err != nil || report.Blocks != 1 || report.Copied != 32*64<<10 {
		t.Fatalf("Repack() = %+v, %v", report, err)
	}
	if got := files(t, c); !reflect.DeepEqual(got, want) {
		t.Error("repacking changed contents")
	}
	if got, _ := c.Stat("A"); got.ID != info.ID {
		t.Error("repacking changed a content id")
	}
	if after, err := c.PDH(ctx); err != nil || after == before {
		t.Errorf("PDH = %v, %v; want another than before", after, err)
	}
	if report, err := f.Repack(ctx, e.catalog, collfs.RepackOptions{}); err != nil || report.Blocks != 0 {
		t.Errorf("second Repack() = %+v, %v; want nothing to do", report, err)
	}
	if got := files(t, e.open(e.fs(), id)); !reflect.DeepEqual(got, want) {
		t.Error("what was committed differs")
	}
}

// TestRandomRewritesDoNotFillTheStore rewrites a file many times at random
// places: after a repack, the blocks that are used are not much more than the file.
func TestRandomRewritesDoNotFillTheStore(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	e.catalog.Blocks = e.spool
	id := e.catalog.Create(e.home, "c")
	f := e.fs()
	c := e.open(f, id)
	const size, piece = 24 << 20, 64 << 10
	buf := make([]byte, size)
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, buf, 0); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 6 * size / piece {
		at := r.IntN(size/piece) * piece
		p := buf[at : at+piece]
		p[0], p[1], p[piece-1] = byte(i), byte(i>>8), byte(i)
		if _, err := h.WriteAt(ctx, p, int64(at)); err != nil {
			t.Fatal(err)
		}
		if i%16 == 0 {
			if err := h.Sync(ctx, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second takes what was not stored yet at the first
		if err := e.spool.StoreAll(ctx); err != nil {
			t.Fatal(err)
		}
		e.catalog.ExpireVersions()
		if _, err := f.Repack(ctx, e.catalog, collfs.RepackOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.spool.StoreAll(ctx); err != nil {
		t.Fatal(err)
	}
	used := make(map[[16]byte]uint32)
	if err := e.catalog.Roots(ctx, func(_ collfs.UUID, _ bool, s keepio.Segment) error {
		hash, n, _ := s.Block.Stored()
		used[hash] = n
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var sum uint32
	for _, n := range used {
		sum += n
	}
	if sum > size*13/10 {
		t.Errorf("%d MiB of blocks for a file of %d MiB", sum>>20, size>>20)
	}
	if got := get(t, e.open(e.fs(), id), "f"); got != string(buf) {
		t.Error("content changed")
	}
}

// A version can be of changes that were committed, but not durably.
func TestCopyOfAVersionIsDurable(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	spool := &faultySpool{Spool: e.spool}
	f := e.fs(func(cfg *collfs.Config) { cfg.Spool = spool })
	c := e.open(f, e.catalog.Create(e.home, "c"))
	for _, content := range []string{"old", "new"} {
		put(t, c, "f", content)
		if err := c.Commit(ctx, false); err != nil {
			t.Fatal(err)
		}
		e.now.Add(int64(2 * memcatalog.VersionIdle))
	}
	old, err := f.OpenVersion(ctx, c.UUID(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Release()
	spool.failSync.Store(true)
	if _, err := f.Extract(ctx, old, "", e.home, "copy", collfs.TransferOptions{}); !errors.Is(err, errInjected) {
		t.Errorf("Extract() while nothing can be synced = %v", err)
	}
	spool.failSync.Store(false)
	rec, err := f.Extract(ctx, old, "", e.home, "copy", collfs.TransferOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, e.open(f, rec.UUID), "f"); got != "old" {
		t.Errorf("the copy has %q", got)
	}
}

// What a handle writes to a file that has moved on is in its new place.
func TestHandleGoesAlongIntoANewCollection(t *testing.T) {
	ctx := context.Background()
	for _, fault := range []memcatalog.Outcome{{}, {Err: collfs.ErrUnknownOutcome, Done: true}, {Err: collfs.ErrUnknownOutcome}} {
		e := newEnv(t)
		f := e.fs()
		a, _ := twoCollections(t, e, f)
		h, _, err := a.OpenFile("d/x", collfs.OpenOptions{Flags: os.O_RDWR})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.WriteAt(ctx, []byte("X"), 0); err != nil {
			t.Fatal(err)
		}
		if err := h.Sync(ctx, true); err != nil {
			t.Fatal(err)
		}
		once := true
		e.catalog.Fault = func(_ context.Context, tx collfs.Tx) memcatalog.Outcome {
			if len(tx.Records) > 0 && once {
				once = false
				return fault
			}
			return memcatalog.Outcome{}
		}
		rec, err := f.Extract(ctx, a, "d", e.home, "new", collfs.TransferOptions{Move: true})
		if err != nil {
			t.Fatal(err)
		}
		if rec.Name != "new" {
			t.Errorf("the record's name is %q", rec.Name)
		}
		if _, err := h.Append(ctx, []byte("more")); err != nil {
			t.Errorf("append = %v", err)
		}
		if _, err := h.SetAttr(func(i collfs.NodeInfo) (collfs.Attr, error) { i.Attr.Mode = 0o600; return i.Attr, nil }); err != nil {
			t.Errorf("setattr = %v", err)
		}
		if path, ok := h.Path(); path != "x" || !ok {
			t.Errorf("the handle's path = %q, %v", path, ok)
		}
		if err := h.Close(ctx); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if got, want := files(t, e.open(f, rec.UUID)), (map[string]string{"x": "Xmore", "y": "y"}); !reflect.DeepEqual(got, want) {
			t.Errorf("the new collection has %v; want %v", got, want)
		}
		if got, want := files(t, e.open(e.fs(), rec.UUID)), (map[string]string{"x": "Xmore", "y": "y"}); !reflect.DeepEqual(got, want) {
			t.Errorf("the catalog has %v; want %v", got, want)
		}
	}
}

// A move within a collection and a change of records are one transaction: both
// or none of them is a fact.
func TestMoveWithinACollectionWithRecords(t *testing.T) {
	ctx := context.Background()
	for _, fault := range []memcatalog.Outcome{{}, {Err: collfs.ErrUnknownOutcome, Done: true}, {Err: collfs.ErrUnknownOutcome}, {Err: errInjected}} {
		e := newEnv(t)
		f := e.fs()
		a, b := twoCollections(t, e, f)
		commit(t, a)
		h, _, err := a.OpenFile("z", collfs.OpenOptions{Flags: os.O_RDWR})
		if err != nil {
			t.Fatal(err)
		}
		once := true
		e.catalog.Fault = func(_ context.Context, tx collfs.Tx) memcatalog.Outcome {
			if len(tx.Records) > 0 && once {
				once = false
				return fault
			}
			return memcatalog.Outcome{}
		}
		o := collfs.TransferOptions{
			CopyOptions: collfs.CopyOptions{Replace: collfs.ReplaceAny}, Move: true,
			Records: []collfs.RecordOp{{Kind: collfs.Trash, UUID: b.UUID()}},
		}
		if _, err := f.Transfer(ctx, a, "d", a, "d/e", o); !errors.Is(err, collfs.ErrIntoItself) {
			t.Errorf("Transfer() into itself = %v", err)
		}
		created, err := f.Transfer(ctx, a, "z", a, "d/y", o)
		want, place, failed := map[string]string{"d/": "", "d/x": "x", "d/y": "Z"}, "d/y", errors.Is(fault.Err, errInjected)
		if failed {
			want, place = map[string]string{"d/": "", "d/x": "x", "d/y": "y", "z": "Z"}, "z"
		}
		if failed != errors.Is(err, errInjected) || !failed && err != nil || created {
			t.Fatalf("%v: Transfer() = %v, %v", fault, created, err)
		}
		if _, err := h.WriteAt(ctx, []byte("Z"), 0); err != nil {
			t.Error(err)
		}
		if p, ok := h.Path(); !ok || p != place {
			t.Errorf("%v: the handle is at %q, %v; want %q", fault, p, ok, place)
		}
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
		if got := files(t, a); !reflect.DeepEqual(got, want) {
			t.Errorf("%v: files = %v; want %v", fault, got, want)
		}
		if got := files(t, e.open(e.fs(), a.UUID())); !reflect.DeepEqual(got, want) {
			t.Errorf("%v: committed files = %v; want %v", fault, got, want)
		}
		if rec, err := a.Record(ctx); err != nil || rec.Files != int64(len(want)-1) {
			t.Errorf("%v: %d files, %v; want %d", fault, rec.Files, err, len(want)-1)
		}
		if rec, err := e.catalog.Record(ctx, b.UUID()); err != nil || rec.TrashAt.IsZero() == !failed {
			t.Errorf("%v: trash time %v, %v", fault, rec.TrashAt, err)
		}
		o.Move, o.Records = false, []collfs.RecordOp{{Kind: collfs.Update, UUID: a.UUID(), Desc: "new"}}
		if created, err := f.Transfer(ctx, a, "d/x", a, "copy", o); err != nil || !created {
			t.Errorf("%v: copy = %v, %v", fault, created, err)
		}
		want["copy"] = "x"
		if got := files(t, e.open(e.fs(), a.UUID())); !reflect.DeepEqual(got, want) {
			t.Errorf("%v: files after a copy = %v; want %v", fault, got, want)
		}
	}
}
