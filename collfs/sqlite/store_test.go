package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"keepdav/collfs"
	"keepdav/keepio"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Fprintln(os.Stderr, victim(dir)) // it should have been killed
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// fakeBlocks knows every block.
type fakeBlocks struct{}

func (fakeBlocks) ByID(id keepio.BlockID) (*keepio.Block, error) {
	return keepio.NewStoredBlock([16]byte{byte(id), byte(id >> 8)}, keepio.BlockSize), nil
}
func (fakeBlocks) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return keepio.NewStoredBlock(hash, size)
}

func openStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = 64 << 10
	}
	if cfg.Reserve == 0 {
		cfg.Reserve = -1
	}
	if cfg.Blocks == nil {
		cfg.Blocks = fakeBlocks{}
	}
	cfg.Log = zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newUser(t testing.TB, s *Store, name string, admin bool) collfs.UUID {
	t.Helper()
	u, err := s.CreateUser(t.Context(), name, name, "", admin)
	if err != nil {
		t.Fatal(err)
	}
	return u.UUID
}

func newCollection(t testing.TB, s *Store, owner collfs.UUID, name string) collfs.UUID {
	t.Helper()
	id := s.NewCollectionUUID()
	_, err := s.Commit(t.Context(), collfs.Tx{Durable: true, Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: owner, Name: name}}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mkdir(path string) []collfs.Op { return []collfs.Op{{Kind: collfs.OpMkdir, Path: path}} }

func TestCommitsAreThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, Config{Dir: dir})
	home := newUser(t, s, "ann", false)
	id := newCollection(t, s, home, "data")
	for i := range int64(100) {
		recs, err := s.Commit(t.Context(), collfs.Tx{Durable: i%2 == 0, Changes: []collfs.Change{{Collection: id, Base: i, Ops: mkdir(string(rune('a'+i%26)) + string(rune('a'+i/26)))}}})
		if err != nil || recs[0].Revision != i+1 {
			t.Fatal(recs, err)
		}
	}
	if _, err := s.Commit(t.Context(), collfs.Tx{Changes: []collfs.Change{{Collection: id, Base: 7}}}); !errors.Is(err, collfs.ErrStale) {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, Config{Dir: dir})
	rec, saved, err := s.Load(t.Context(), id, 0)
	if err != nil || rec.Revision != 100 {
		t.Fatal(rec, err)
	}
	tree, err := collfs.Load(saved, fakeBlocks{})
	if err != nil || tree.Dirs() != 100 {
		t.Fatal(tree, err)
	}
	e, err := s.Lookup(t.Context(), home, "data")
	if err != nil || e.Collection.UUID != id {
		t.Fatal(e, err)
	}
	if _, err := s.Lookup(t.Context(), home, "other"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestTokensStandForActiveUsers(t *testing.T) {
	now := time.Now()
	s := openStore(t, Config{Now: func() time.Time { return now }})
	ann := newUser(t, s, "ann", false)
	token, tok, err := s.CreateToken(t.Context(), ann, nil, "laptop", now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	u, until, err := s.LookupToken(t.Context(), token)
	if err != nil || u.UUID != ann || !until.Equal(now.Add(time.Hour)) {
		t.Fatal(u, until, err)
	}
	for _, bad := range []string{"", "v2", token[:len(token)-1], token + "x", "v2/" + string(tok.UUID) + "/"} {
		if _, _, err := s.LookupToken(t.Context(), bad); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("LookupToken(%q) = %v; want fs.ErrNotExist", bad, err)
		}
	}
	if err := s.SetActive(t.Context(), ann, false); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.LookupToken(t.Context(), token); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LookupToken for an inactive user = %v; want fs.ErrNotExist", err)
	}
	if err := s.SetActive(t.Context(), ann, true); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	if _, _, err := s.LookupToken(t.Context(), token); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LookupToken of an expired token = %v; want fs.ErrNotExist", err)
	}
}

// What says that a block file may go, or that a token was revoked, is not to be
// believed when SQLite's log may have a hole before it.
func TestNothingIsCalledDurableAfterAFailedSyncOfTheDatabase(t *testing.T) {
	s := openStore(t, Config{})
	home := newUser(t, s, "ann", false)
	id := newCollection(t, s, home, "data")
	s.distrust(errors.New("sync failed"))
	if err := s.BlockStored(t.Context(), []keepio.Stored{{ID: 1, Size: 1}}); !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("BlockStored = %v", err)
	}
	if err := s.Ready(); err == nil {
		t.Error("Ready = nil")
	}
	commit(t, s, id, mkdir("d")...) // the journal is another file
	if err := s.Close(t.Context()); err == nil {
		t.Error("Close = nil")
	}
	s = openStore(t, Config{Dir: s.Dir()})
	if rec, err := s.Record(t.Context(), id); err != nil || rec.Revision != 1 {
		t.Errorf("Record = %+v, %v after a restart", rec, err)
	}
}

func TestDurableCommitsAreOnDiskWhenTheyReturn(t *testing.T) {
	s := openStore(t, Config{ApplyDelay: time.Hour})
	s.Start()
	id := newCollection(t, s, newUser(t, s, "ann", false), "data")
	lazy := func(rev int64) {
		t.Helper()
		if _, err := s.Commit(t.Context(), collfs.Tx{Changes: []collfs.Change{{Collection: id, Base: rev, Ops: mkdir(fmt.Sprint("d", rev))}}}); err != nil {
			t.Fatal(err)
		}
		if s.journal.Durable() == s.journal.Last() {
			t.Fatal("a commit that is not durable was synced: the test proves nothing")
		}
	}
	for what, tx := range map[string]func(rev int64) collfs.Tx{
		"a change": func(rev int64) collfs.Tx {
			return collfs.Tx{Durable: true, Changes: []collfs.Change{{Collection: id, Base: rev, Ops: mkdir(fmt.Sprint("d", rev))}}}
		},
		"a record": func(rev int64) collfs.Tx {
			return collfs.Tx{Durable: true, Records: []collfs.RecordOp{{Kind: collfs.Update, UUID: id, Desc: fmt.Sprint(rev)}}}
		},
		"a barrier": func(int64) collfs.Tx { return collfs.Tx{Durable: true} },
	} {
		rec, err := s.Record(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		lazy(rec.Revision)
		if _, err := s.Commit(t.Context(), tx(rec.Revision+1)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if durable, last := s.journal.Durable(), s.journal.Last(); durable != last {
			t.Errorf("after %s the journal is durable up to record %d; want %d", what, durable, last)
		}
	}
}
