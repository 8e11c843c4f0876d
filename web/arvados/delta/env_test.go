package delta

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keepdav/collfs"
	wire "keepdav/collfs/apiserver/delta"
	"keepdav/collfs/memcatalog"
	"keepdav/keepio"
	"keepdav/keepio/memstore"
)

const (
	writer, reader, nobody = "v2/zzzzz-gj3su-000000000000001/writer", "v2/zzzzz-gj3su-000000000000002/reader", "v2/zzzzz-gj3su-000000000000003/nobody"
	key                    = "a key for signatures"
	ttl                    = 14 * 24 * time.Hour
)

// An env is a server with one collection, and what clients of it need.
type env struct {
	t       testing.TB
	catalog *memcatalog.Catalog
	home    collfs.UUID
	id      collfs.UUID
	store   *memstore.Store // what a Keep service has
	local   *keepio.Spool   // the server's
	fs      *collfs.FS      // the server's
	handler *Handler
	srv     *httptest.Server
	sent    atomic.Int64 // bytes of requests
	touched atomic.Int64
	now     atomic.Int64
	lose    atomic.Int32 // replies that get lost
}

func newEnv(t testing.TB) *env {
	t.Helper()
	e := &env{t: t, store: new(memstore.Store)}
	e.now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	e.catalog, e.home = memcatalog.New()
	e.catalog.Now = e.clock
	e.id = e.catalog.Create(e.home, "a")
	e.local = e.spool(100)
	e.fs = e.newFS(e.catalog, e.local)
	e.handler = New(Config{FS: e.fs, Access: e, Signer: e, Touch: e.touch})
	e.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.sent.Add(max(r.ContentLength, 0))
		if r.Method == http.MethodPost && e.lose.Add(-1) >= 0 {
			e.handler.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		e.handler.ServeHTTP(w, r)
	}))
	t.Cleanup(e.srv.Close)
	return e
}

func (e *env) clock() time.Time { return time.Unix(0, e.now.Add(int64(time.Millisecond))) }

// Who is Access.
func (e *env) Who(r *http.Request, id collfs.UUID) (Caller, error) {
	switch token := r.Header.Get("Authorization"); token {
	case "Bearer " + writer:
		return Caller{"writer", collfs.CanWrite, writer}, nil
	case "Bearer " + reader:
		return Caller{"reader", collfs.CanRead, reader}, nil
	case "Bearer " + nobody:
		return Caller{"nobody", collfs.NoAccess, nobody}, nil
	}
	return Caller{}, ErrToken
}

// Sign is Signer.
func (e *env) Sign(loc keepio.Locator, token string) keepio.Locator {
	return keepio.SignLocator(loc, key, token, time.Now().Add(ttl), ttl)
}

// Verify is Signer.
func (e *env) Verify(loc keepio.Locator, token string) error {
	return keepio.VerifySignature(loc, key, token, time.Now(), ttl)
}

func (e *env) touch(ctx context.Context, hash [16]byte, size uint32) error {
	e.touched.Add(1)
	var p [1]byte
	_, err := e.store.ReadBlock(ctx, hash, size, p[:], 0)
	return err
}

func (e *env) spool(first uint64) *keepio.Spool {
	e.t.Helper()
	var id atomic.Uint64
	id.Store(first)
	s, err := keepio.OpenSpool(keepio.SpoolConfig{
		Dir: e.t.TempDir() + "/open", Store: e.store, NoSync: true,
		NextID: func() (keepio.BlockID, error) { return keepio.BlockID(id.Add(1)), nil },
	})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			e.t.Error(err)
		}
	})
	return s
}

func (e *env) newFS(catalog collfs.Catalog, spool *keepio.Spool) *collfs.FS {
	f := collfs.NewFS(collfs.Config{Catalog: catalog, Spool: spool, Now: e.clock, HashSeed: 42})
	e.t.Cleanup(func() { _ = f.Close(context.Background()) })
	return f
}

// A remote is a catalog on another machine.
type remote struct {
	*memcatalog.Catalog // for records and events
	client              *wire.Client
	learned             locators
}

// locators are what a client was told.
type locators struct {
	mu  sync.Mutex // guards all
	all map[[16]byte]keepio.Locator
}

func (l *locators) learn(_ string, locs []keepio.Locator) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, loc := range locs {
		l.all[loc.Hash()] = loc
	}
}

func (r *remote) Load(ctx context.Context, id collfs.UUID, version int) (collfs.Record, collfs.Saved, error) {
	return r.client.Tree(ctx, id)
}

func (r *remote) Since(ctx context.Context, id collfs.UUID, revision int64) (collfs.Record, [][]byte, bool, error) {
	return r.client.Changes(ctx, id, revision)
}

func (r *remote) Commit(ctx context.Context, tx collfs.Tx) ([]collfs.Record, error) {
	if len(tx.Changes) == 0 {
		return nil, nil
	}
	ch := tx.Changes[0]
	rec, err := r.client.Commit(ctx, wire.Commit{Collection: ch.Collection, Base: ch.Base, Ops: ch.Ops})
	if err != nil {
		return nil, err
	}
	return []collfs.Record{rec}, nil
}

// client returns a client; change may change what it works with.
func (e *env) client(token string, spool *keepio.Spool, change ...func(*wire.Config)) *remote {
	r := &remote{Catalog: e.catalog, learned: locators{all: make(map[[16]byte]keepio.Locator)}}
	conf := wire.Config{
		URL: e.srv.URL, Token: token, HTTP: e.srv.Client(), Learn: r.learned.learn,
		Locator: func(_ context.Context, hash [16]byte, size uint32) (keepio.Locator, error) {
			r.learned.mu.Lock()
			defer r.learned.mu.Unlock()
			if loc, ok := r.learned.all[hash]; ok {
				return loc, nil
			}
			return e.Sign(keepio.MakeLocator(hash, int64(size)), token), nil // as the Keep service signs what was just PUT
		},
		RetryFor: 5 * time.Second,
	}
	if spool != nil {
		conf.Reader, conf.Store = spool, spool.Store
	}
	for _, f := range change {
		f(&conf)
	}
	r.client = wire.New(conf)
	return r
}

// mount returns a file system on another machine, and its collection.
func (e *env) mount(first uint64, change ...func(*wire.Config)) (*collfs.FS, *collfs.Collection, *remote) {
	spool := e.spool(first)
	r := e.client(writer, spool, change...)
	f := e.newFS(r, spool)
	return f, e.open(f), r
}

func (e *env) open(f *collfs.FS) *collfs.Collection {
	e.t.Helper()
	c, err := f.Open(context.Background(), e.id)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(c.Release)
	return c
}

func put(t testing.TB, c *collfs.Collection, path, content string) {
	t.Helper()
	if err := tryPut(c, path, content); err != nil {
		t.Fatal(err)
	}
}

func tryPut(c *collfs.Collection, path, content string) error {
	s, err := c.NewStage(int64(len(content)))
	if err != nil {
		return err
	}
	defer s.Abort()
	if _, err := s.Write(context.Background(), []byte(content)); err != nil {
		return err
	}
	_, _, err = c.Link(s, path, collfs.LinkOptions{})
	return err
}

func commit(t testing.TB, c *collfs.Collection) {
	t.Helper()
	if err := c.Commit(context.Background(), true); err != nil {
		t.Fatalf("Commit() = %v", err)
	}
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
		infos := make([]collfs.NodeInfo, 100)
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
