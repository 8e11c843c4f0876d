package arvados

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/sqlite"
	"keepdav/keepio"
	"keepdav/keepio/dirstore"
	"keepdav/web/arvados/signing"
)

// An env is an API over a store in a directory, with the users alice, bob and root,
// who is an administrator.
type env struct {
	t      testing.TB
	api    *API
	conf   Collections
	sql    *sqlite.Store
	files  *collfs.FS
	blocks *dirstore.Store
	signer *signing.Signer
	tokens map[string]string
	users  map[string]collfs.UUID

	mu  sync.Mutex // guards now
	now time.Time
}

// sqlAuth is the Auth that a store is.
type sqlAuth struct{ s *sqlite.Store }

func (a sqlAuth) Authenticate(ctx context.Context, token string) (Caller, error) {
	u, t, err := a.s.TokenUser(ctx, token)
	return Caller{User: u, Token: t.UUID, Scopes: t.Scopes, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}, err
}

func newEnv(t testing.TB) *env {
	e := &env{t: t, tokens: make(map[string]string), users: make(map[string]collfs.UUID), now: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)}
	clock := func() time.Time {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.now = e.now.Add(time.Microsecond)
		return e.now
	}
	dir := t.TempDir()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	var err error
	e.blocks, err = dirstore.Open(dirstore.Config{Dir: filepath.Join(dir, "blocks"), Sums: filepath.Join(dir, "sums"), Trash: filepath.Join(dir, "trash"), NoSync: true})
	must(err)
	var spool *keepio.Spool
	e.sql, err = sqlite.Open(t.Context(), sqlite.Config{
		Dir: dir, Cluster: "zzzzz", NoSync: true, Now: clock, ApplyDelay: time.Millisecond, Reserve: -1,
		Blocks:      lateSpool{&spool},
		StoreBlocks: func(ctx context.Context, b []*keepio.Block) error { return spool.Store(ctx, b) },
		Zero:        func(ctx context.Context) ([16]byte, uint32, error) { return spool.Zero(ctx) },
	})
	must(err)
	spool, err = keepio.OpenSpool(keepio.SpoolConfig{
		Dir: filepath.Join(dir, "open"), Store: e.blocks, NoSync: true,
		NextID:   func() (keepio.BlockID, error) { return e.sql.NextBlockID() },
		OnStored: func(ctx context.Context, b []keepio.Stored) error { return e.sql.BlockStored(ctx, b) },
	})
	must(err)
	e.files = collfs.NewFS(collfs.Config{Catalog: e.sql, Spool: spool, HashSeed: e.sql.Meta().HashSeed, Cluster: "zzzzz", Now: clock})
	t.Cleanup(func() {
		ctx := context.Background()
		for _, close := range []func() error{
			func() error { return e.files.Close(ctx) }, func() error { return spool.Close(ctx) }, func() error { return e.sql.Close(ctx) }, e.blocks.Close,
		} {
			if err := close(); err != nil {
				t.Error(err)
			}
		}
	})
	e.signer = signing.New(e.sql.Meta().Secret).At(clock)
	for _, name := range []string{"root", "alice", "bob"} {
		u, err := e.sql.CreateUser(t.Context(), name, name+" Tester", "", name == "root")
		must(err)
		e.users[name] = u.UUID
		e.tokens[name], _, err = e.sql.CreateToken(t.Context(), u.UUID, nil, "", time.Time{})
		must(err)
	}
	e.api = New(Config{Cluster: "zzzzz", Auth: sqlAuth{e.sql}, Now: clock})
	e.conf = Collections{Files: e.files, Catalog: e.sql, Folders: e.sql, Records: e.sql, Blocks: spool, Signer: e.signer}
	e.api.AddCollections(e.conf)
	return e
}

type lateSpool struct{ s **keepio.Spool }

func (l lateSpool) ByID(id keepio.BlockID) (*keepio.Block, error) { return (*l.s).ByID(id) }
func (l lateSpool) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return keepio.NewStoredBlock(hash, size)
}

// wait lets time pass.
func (e *env) wait(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = e.now.Add(d)
}

// block stores data and returns its locator, signed for a user.
func (e *env) block(user, data string) string {
	e.t.Helper()
	hash, err := e.blocks.WriteBlock(e.t.Context(), []byte(data))
	if err != nil {
		e.t.Fatal(err)
	}
	return e.signer.Sign(keepio.MakeLocator(hash, int64(len(data))), e.tokens[user]).String()
}

func locatorOf(data string) string { return fmt.Sprintf("%x+%d", md5.Sum([]byte(data)), len(data)) }

// project makes a project.
func (e *env) project(owner collfs.UUID, name string) collfs.UUID {
	e.t.Helper()
	id := e.sql.NewProjectUUID()
	_, err := e.sql.Commit(e.t.Context(), collfs.Tx{Durable: true, Records: []collfs.RecordOp{{Kind: collfs.CreateProject, UUID: id, Owner: owner, Name: name}}})
	if err != nil {
		e.t.Fatal(err)
	}
	return id
}

// do sends a request; body is JSON, "" for none.
func (e *env) do(user, method, path, body string) (int, map[string]any) {
	e.t.Helper()
	r := newRequest(method, prefix+path, "application/json", body)
	r.Header.Set("Authorization", "Bearer "+e.tokens[user])
	status, _, got := call(e.t, e.api, r)
	return status, got
}

// want sends a request that has to succeed.
func (e *env) want(user, method, path, body string) map[string]any {
	e.t.Helper()
	status, got := e.do(user, method, path, body)
	if status != http.StatusOK {
		e.t.Fatalf("%s %s %s = %d %v", method, path, body, status, got)
	}
	return got
}

func quoted(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// create makes a collection with a manifest.
func (e *env) create(user, name, text string) string {
	e.t.Helper()
	got := e.want(user, "POST", "collections", `{"collection":{"name":`+quoted(name)+`,"manifest_text":`+quoted(text)+`}}`)
	return got["uuid"].(string)
}

var signatures = regexp.MustCompile(`\+A[0-9a-f]{40}@[0-9a-f]{8}`)

// manifest returns the manifest of a collection, without signatures.
func (e *env) manifest(user, id string) string {
	e.t.Helper()
	got := e.want(user, "GET", "collections/"+id, "")
	return signatures.ReplaceAllString(got["manifest_text"].(string), "")
}

// write writes a file as a drive does.
func (e *env) write(id, path, data string) {
	e.t.Helper()
	c, err := e.files.Open(e.t.Context(), collfs.UUID(id))
	if err != nil {
		e.t.Fatal(err)
	}
	defer c.Release()
	h, _, err := c.OpenFile(path, collfs.OpenOptions{Flags: os.O_WRONLY | os.O_CREATE | os.O_TRUNC})
	if err == nil {
		_, err = h.WriteAt(e.t.Context(), []byte(data), 0)
	}
	if err == nil {
		err = h.Close(e.t.Context())
	}
	if err == nil {
		err = c.Commit(e.t.Context(), true)
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// read returns what a file contains, as a drive shows it.
func (e *env) read(id, path string) string {
	e.t.Helper()
	c, err := e.files.Open(e.t.Context(), collfs.UUID(id))
	if err != nil {
		e.t.Fatal(err)
	}
	defer c.Release()
	h, _, err := c.OpenFile(path, collfs.OpenOptions{Flags: os.O_RDONLY})
	if err != nil {
		return err.Error()
	}
	defer h.Close(e.t.Context())
	buf := make([]byte, 1000)
	n, _ := h.ReadAt(e.t.Context(), buf, 0)
	return string(buf[:n])
}

// files lists what is in a manifest: the names of files and directories' markers.
func filesOf(text string) string {
	var all []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		for _, w := range words[1:] {
			if _, name, ok := strings.Cut(w, ":"); ok {
				_, name, _ = strings.Cut(name, ":")
				all = append(all, strings.TrimPrefix(words[0]+"/"+name, "./"))
			}
		}
	}
	return strings.Join(all, " ")
}

func parseLocator(s string) (keepio.Locator, error) { return keepio.ParseLocator(s) }
