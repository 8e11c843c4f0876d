package collfs_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/keepio"
	"keepdav/keepio/memstore"
)

// An env is a catalog and a spool, and file systems over them.
type env struct {
	t       testing.TB
	catalog *memcatalog.Catalog
	home    collfs.UUID
	spool   *keepio.Spool
	now     atomic.Int64
}

func newEnv(t testing.TB) *env {
	t.Helper()
	e := &env{t: t}
	e.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	e.catalog, e.home = memcatalog.New()
	e.catalog.Now = e.clock
	e.spool = openSpool(t)
	return e
}

func (e *env) clock() time.Time { return time.Unix(0, e.now.Add(int64(time.Millisecond))) }

func openSpool(t testing.TB) *keepio.Spool {
	t.Helper()
	dir := t.TempDir()
	store := new(memstore.Store)
	var id atomic.Uint64
	s, err := keepio.OpenSpool(keepio.SpoolConfig{
		Dir: dir + "/open", Store: store, NoSync: true,
		NextID: func() (keepio.BlockID, error) { return keepio.BlockID(id.Add(1)), nil },
	})
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

// fs returns a new FS, closed at the end of the test.
func (e *env) fs(change ...func(*collfs.Config)) *collfs.FS {
	cfg := collfs.Config{Catalog: e.catalog, Spool: e.spool, Now: e.clock, HashSeed: 42}
	for _, f := range change {
		f(&cfg)
	}
	f := collfs.NewFS(cfg)
	e.t.Cleanup(func() { _ = f.Close(context.Background()) })
	return f
}

func (e *env) open(f *collfs.FS, id collfs.UUID) *collfs.Collection {
	e.t.Helper()
	c, err := f.Open(context.Background(), id)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(c.Release)
	return c
}

// put makes or replaces a file.
func put(t testing.TB, c *collfs.Collection, path, content string) collfs.NodeInfo {
	t.Helper()
	s, err := c.NewStage(int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	if _, err := s.Write(context.Background(), []byte(content)); err != nil {
		t.Fatal(err)
	}
	info, _, err := c.Link(s, path, collfs.LinkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func get(t testing.TB, c *collfs.Collection, path string) string {
	t.Helper()
	r, err := c.OpenRead(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, r.Info().Size)
	if _, err := r.ReadAt(context.Background(), buf, 0); err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return string(buf)
}

func commit(t testing.TB, c *collfs.Collection) {
	t.Helper()
	if err := c.Commit(context.Background(), true); err != nil {
		t.Fatalf("Commit() = %v", err)
	}
}

// files returns the content of all files; directories end in a slash.
func files(t testing.TB, c *collfs.Collection) map[string]string {
	t.Helper()
	out := make(map[string]string)
	var walk func(dir string)
	walk = func(dir string) {
		l, err := c.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		infos := make([]collfs.NodeInfo, 3)
		for n := l.Next(infos); n > 0; n = l.Next(infos) {
			for _, i := range infos[:n] {
				path := i.Name
				if dir != "" {
					path = dir + "/" + i.Name
				}
				if i.Dir {
					out[path+"/"] = ""
					walk(path)
				} else {
					out[path] = get(t, c, path)
				}
			}
		}
	}
	walk("")
	return out
}
