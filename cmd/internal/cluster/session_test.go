package cluster

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/davfs"
	"keepdav/keepio"
	"keepdav/keepio/memstore"
)

var errDown = errors.New("the cluster is down")

// downCatalog commits nothing while it is down.
type downCatalog struct {
	*memcatalog.Catalog
	down atomic.Bool
}

func (c *downCatalog) Commit(ctx context.Context, tx collfs.Tx) ([]collfs.Record, error) {
	if c.down.Load() && len(tx.Changes) > 0 {
		return nil, errDown
	}
	return c.Catalog.Commit(ctx, tx)
}

// fakeCluster is what stays when sessions end.
type fakeCluster struct {
	t       *testing.T
	root    string
	blocks  *memstore.Store
	catalog *downCatalog
	user    collfs.User
}

func newFakeCluster(t *testing.T) *fakeCluster {
	mem, home := memcatalog.New()
	return &fakeCluster{t: t, root: t.TempDir(), blocks: new(memstore.Store), catalog: &downCatalog{Catalog: mem}, user: collfs.User{UUID: home, Name: "ann", Active: true}}
}

func (f *fakeCluster) session(change ...func(*SessionConfig)) *Session {
	f.t.Helper()
	conf := SessionConfig{Log: zerolog.Nop(), CommitAfter: time.Hour}
	for _, c := range change {
		c(&conf)
	}
	s, err := openSession(f.t.Context(), f.root, parts{
		user: f.user, cluster: "zzzzz", blocks: f.blocks,
		catalog: func(*keepio.Spool, func(collfs.UUID)) (Catalog, error) { return f.catalog, nil },
		close:   func(context.Context) error { return nil },
	}, conf)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func putFile(t *testing.T, fs *davfs.FS, name, content string) error {
	t.Helper()
	up, err := fs.Put(t.Context(), name, davfs.PutOptions{Size: int64(len(content))})
	if err != nil {
		return err
	}
	defer up.Abort()
	if _, err := up.Write([]byte(content)); err != nil {
		return err
	}
	_, _, err = up.Commit(t.Context())
	return err
}

func readFile(t *testing.T, fs *davfs.FS, name string) (string, error) {
	t.Helper()
	f, err := fs.Open(t.Context(), name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, f.Info().Size))
	return string(data), err
}

// waitClean waits until nothing of earlier sessions is left.
func waitClean(t *testing.T, s *Session) {
	t.Helper()
	for late := time.Now().Add(10 * time.Second); s.Dirty(); {
		if time.Now().After(late) {
			t.Fatal("what an earlier session left is not taken up")
		}
		time.Sleep(time.Millisecond)
	}
}

func mustMkdir(t *testing.T, fs *davfs.FS, name string) {
	t.Helper()
	if _, err := fs.Mkdir(t.Context(), name, davfs.AttrChange{}); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsNotCommittedAtTheEndIsTakenUpByTheNextSession(t *testing.T) {
	f := newFakeCluster(t)
	s := f.session()
	mustMkdir(t, s.FS(), "/home/work")
	if err := putFile(t, s.FS(), "/home/work/first", "before"); err != nil {
		t.Fatal(err)
	}
	f.catalog.down.Store(true)
	if err := putFile(t, s.FS(), "/home/work/second", "while it is down"); !errors.Is(err, errDown) {
		t.Fatalf("put on a cluster that is down: %v", err)
	}
	err := s.Close(t.Context())
	kept, ok := errors.AsType[*KeptError](err)
	if !ok || !errors.Is(err, errDown) || len(kept.Collections) != 1 || !strings.HasPrefix(kept.Dir, f.root) || !strings.Contains(err.Error(), kept.Dir) {
		t.Fatalf("Close() = %v; want an error that names the place", err)
	}

	s = f.session() // it is still down
	if !s.Dirty() {
		t.Error("a session with something left is not dirty")
	}
	if err := s.Close(t.Context()); err == nil {
		t.Error("a session ends well while something is left that it took up")
	}

	f.catalog.down.Store(false)
	s = f.session()
	waitClean(t, s)
	if got, err := readFile(t, s.FS(), "/home/work/second"); err != nil || got != "while it is down" {
		t.Errorf("what could not be committed = %q, %v", got, err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(f.root, "*", "leftover", "*")); len(left) > 0 {
		t.Errorf("%q is left of what is committed", left)
	}
}

// What is taken up is tried again as a part of the collection, not from the beginning: that
// would undo what was made of the same files meanwhile.
func TestWhatIsTakenUpIsTakenUpOnce(t *testing.T) {
	for _, ends := range []bool{false, true} {
		f := newFakeCluster(t)
		s := f.session()
		mustMkdir(t, s.FS(), "/home/work")
		if err := putFile(t, s.FS(), "/home/work/removed", "content"); err != nil {
			t.Fatal(err)
		}
		f.catalog.down.Store(true)
		_ = putFile(t, s.FS(), "/home/work/file", "old")
		_ = s.FS().Remove(t.Context(), "/home/work/removed", nil)
		if err := s.Close(t.Context()); err == nil {
			t.Fatal("Close() = nil")
		}
		s = f.session() // it tries, and the cluster is down
		f.catalog.down.Store(false)
		for name, content := range map[string]string{"file": "new", "removed": "content"} {
			if err := putFile(t, s.FS(), "/home/work/"+name, content); err != nil {
				t.Fatal(err)
			}
		}
		if ends {
			if err := s.Close(t.Context()); err != nil {
				t.Errorf("Close() = %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(f.root, "*", "leftover", "*")); len(left) > 0 {
				t.Errorf("%q is left of what is committed", left)
			}
			continue
		}
		waitClean(t, s)
		for name, want := range map[string]string{"file": "new", "removed": "content"} {
			if got, err := readFile(t, s.FS(), "/home/work/"+name); err != nil || got != want {
				t.Errorf("ends %v: %s = %q, %v; want %q", ends, name, got, err, want)
			}
		}
		if n := s.Files.Conflicts(); n > 0 {
			t.Errorf("ends %v: %d conflicts with itself", ends, n)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
}

// A block that is stored has no local file any more; the leftover knows it by its id.
func TestWhatIsLeftIsFoundAfterItsBlocksWereStored(t *testing.T) {
	f := newFakeCluster(t)
	s := f.session()
	mustMkdir(t, s.FS(), "/home/work")
	f.catalog.down.Store(true)
	if err := putFile(t, s.FS(), "/home/work/file", "content"); err == nil {
		t.Fatal("put on a cluster that is down")
	}
	if err := s.Close(t.Context()); err == nil {
		t.Fatal("Close() = nil")
	}
	for range 2 {
		s = f.session()
		for late := time.Now().Add(10 * time.Second); s.Waiting() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(late) {
				t.Fatal("the block is not stored")
			}
		}
		// As after kill -9: nothing is written down at the end.
		s.stop()
		s.wg.Wait()
		s.Site.Close()
		s.Spool.Close(t.Context())
		s.place.release()
	}
	f.catalog.down.Store(false)
	s = f.session()
	defer s.Close(t.Context())
	waitClean(t, s)
	if got, err := readFile(t, s.FS(), "/home/work/file"); err != nil || got != "content" {
		t.Errorf("what could not be committed = %q, %v", got, err)
	}
}

func TestSessionsOfOneUserHavePlacesOfTheirOwn(t *testing.T) {
	f := newFakeCluster(t)
	a, b := f.session(), f.session()
	if a.place.dir == b.place.dir {
		t.Errorf("two sessions in %s", a.place.dir)
	}
	for _, s := range []*Session{a, b} {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	c := f.session()
	defer c.Close(t.Context())
	if c.place.dir != a.place.dir {
		t.Errorf("the place %s is not used again; got %s", a.place.dir, c.place.dir)
	}
}

func TestADamagedLeftoverIsLeftAlone(t *testing.T) {
	f := newFakeCluster(t)
	bad := filepath.Join(f.root, "1", "leftover", "zzzzz-4zz18-000000000000000")
	if err := os.MkdirAll(filepath.Dir(bad), 0o700); err != nil {
		t.Fatal(err)
	}
	block := filepath.Join(f.root, "1", "open", "0000000000000001")
	for _, p := range []string{bad, block} {
		os.MkdirAll(filepath.Dir(p), 0o700)
		if err := os.WriteFile(p, []byte(leftMagic+"damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := f.session()
	defer s.Close(t.Context())
	if filepath.Base(s.place.dir) == "1" {
		t.Error("a place with something damaged is used")
	}
	for _, p := range []string{bad, block} {
		if _, err := os.Stat(p); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatNobodyCommitsIsCommittedAfterAWhile(t *testing.T) {
	f := newFakeCluster(t)
	s := f.session(func(c *SessionConfig) { c.CommitAfter = 10 * time.Millisecond })
	defer s.Close(t.Context())
	mustMkdir(t, s.FS(), "/home/work")
	id, _, err := s.FS().Where(t.Context(), "/home/work/x")
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Files.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	if _, err := c.Mkdir("dir", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	waitClean(t, s)
}

func FuzzLeftover(f *testing.F) {
	good, err := encodeLeftover(collfs.Leftover{Collection: "zzzzz-4zz18-000000000000000", Name: "a\nb", Changes: 1, Data: []byte("data"), Open: []keepio.OpenBlock{{ID: 1, End: 2}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-5])
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := decodeLeftover(data)
		if err != nil {
			return
		}
		again, err := encodeLeftover(l)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := decodeLeftover(again); err != nil || string(m.Data) != string(l.Data) || m.Name != l.Name {
			t.Errorf("%+v becomes %+v, %v", l, m, err)
		}
	})
}
