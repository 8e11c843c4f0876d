package davfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/collfs/sqlite"
	"keepdav/davfs"
	"keepdav/davfs/fstest"
	"keepdav/keepio"
	"keepdav/keepio/dirstore"
	"keepdav/keepio/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A backend keeps records and contents.
type backend interface {
	collfs.Catalog
	collfs.Folders
}

// A rig is a site with an admin: over a catalog in memory, or in tests below
// TestOnSQLite over SQLite and a directory.
type rig struct {
	t       testing.TB
	ctx     context.Context
	catalog backend
	mem     *memcatalog.Catalog // or
	sql     *sqlite.Store
	spool   *keepio.Spool
	store   *memstore.Store // under the spool, in memory
	files   *collfs.FS
	side    davfs.SideStore
	site    *davfs.Site
	admin   collfs.User
	change  []func(*davfs.Config)
	fault   atomic.Pointer[error] // what commits in memory fail with
	faulty  func(collfs.Tx) bool  // which; nil: all
	*davfs.FS
}

func newRig(t testing.TB, change ...func(*davfs.Config)) *rig {
	r := &rig{t: t, ctx: t.Context(), side: fstest.NewSideStore(), change: change}
	if strings.HasPrefix(t.Name(), "TestOnSQLite/") {
		r.useSQLite()
	} else {
		r.useMemory()
	}
	r.open(t)
	return r
}

func (r *rig) useMemory() {
	var home collfs.UUID
	r.mem, home = memcatalog.New()
	r.catalog = r.mem
	r.mem.Fault = func(_ context.Context, tx collfs.Tx) (o memcatalog.Outcome) {
		if err := r.fault.Load(); err != nil && (r.faulty == nil || r.faulty(tx)) {
			o.Err = *err
		}
		return o
	}
	r.admin = collfs.User{UUID: home, Name: "admin", FullName: "admin", Admin: true, Active: true}
	var last atomic.Uint64
	var err error
	r.store = new(memstore.Store)
	r.spool, err = keepio.OpenSpool(keepio.SpoolConfig{
		Dir: r.t.TempDir(), Store: r.store, NoSync: true,
		NextID: func() (keepio.BlockID, error) { return keepio.BlockID(last.Add(1)), nil },
	})
	r.must(err)
	r.t.Cleanup(func() {
		r.shut()
		r.must(r.spool.Close(context.Background()))
	})
}

func (r *rig) useSQLite() {
	dir := r.t.TempDir()
	var err error
	r.sql, err = sqlite.Open(r.ctx, sqlite.Config{
		Dir: dir, NoSync: true, Reserve: -1, Blocks: lateBlocks{r},
		SyncIDs:     func(ctx context.Context, ids []keepio.BlockID) error { return r.spool.SyncIDs(ctx, ids) },
		StoreBlocks: func(ctx context.Context, blocks []*keepio.Block) error { return r.spool.Store(ctx, blocks) },
		Zero:        func(ctx context.Context) ([16]byte, uint32, error) { return r.spool.Zero(ctx) },
	})
	r.must(err)
	r.catalog, r.side = r.sql, sideStore{r.sql}
	blocks, err := dirstore.Open(dirstore.Config{
		Dir: filepath.Join(dir, "blocks"), Sums: filepath.Join(dir, "sums"), Trash: filepath.Join(dir, "trash"), NoSync: true,
	})
	r.must(err)
	r.spool, err = keepio.OpenSpool(keepio.SpoolConfig{
		Dir: filepath.Join(dir, "open"), Store: blocks, NoSync: true,
		NextID:   func() (keepio.BlockID, error) { return r.sql.NextBlockID() },
		OnStored: func(ctx context.Context, b []keepio.Stored) error { return r.sql.BlockStored(ctx, b) },
	})
	r.must(err)
	r.sql.Start()
	r.admin, err = r.sql.CreateUser(r.ctx, "admin", "admin", "", true)
	r.must(err)
	r.t.Cleanup(func() {
		r.shut()
		r.must(r.spool.Close(context.Background()))
		r.must(r.sql.Close(context.Background()))
		r.must(blocks.Close())
	})
}

// lateBlocks are the blocks of a spool that is opened after the catalog.
type lateBlocks struct{ r *rig }

func (l lateBlocks) ByID(id keepio.BlockID) (*keepio.Block, error) { return l.r.spool.ByID(id) }
func (l lateBlocks) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return l.r.spool.ByHash(hash, size)
}

// open makes the site over what the catalog has.
func (r *rig) open(t testing.TB) {
	r.files = collfs.NewFS(collfs.Config{Catalog: r.catalog, Spool: r.spool, HashSeed: 7})
	conf := davfs.Config{Files: r.files, Folders: r.catalog, Catalog: r.catalog, Side: r.side}
	for _, f := range r.change {
		f(&conf)
	}
	var err error
	if r.site, err = davfs.NewSite(conf); err != nil {
		t.Fatal(err)
	}
	r.FS = r.site.User(r.admin)
}

// shut ends the site.
func (r *rig) shut() {
	r.site.Close()
	if err := r.files.Close(context.Background()); err != nil {
		r.t.Errorf("close files: %v", err)
	}
}

// reopen makes a site that has nothing in memory.
func (r *rig) reopen() {
	r.shut()
	r.open(r.t)
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// inMemory returns the catalog in memory for a test that needs its clock, its
// faults or its counts, which SQLite hasn't.
func (r *rig) inMemory() *memcatalog.Catalog {
	if r.mem == nil {
		r.t.Skip("the test turns a knob of the catalog in memory")
	}
	return r.mem
}

// user makes another user of the site.
func (r *rig) user(name string) (collfs.User, *davfs.FS) {
	r.t.Helper()
	var u collfs.User
	if r.mem != nil {
		u = collfs.User{UUID: r.mem.AddUser(name, false), Name: name, FullName: name, Active: true}
	} else {
		var err error
		u, err = r.sql.CreateUser(r.ctx, name, name, "", false)
		r.must(err)
	}
	return u, r.site.User(u)
}

func (r *rig) grant(user, id collfs.UUID, level collfs.Level) {
	r.t.Helper()
	switch {
	case r.mem != nil:
		r.mem.Grant(user, id, level)
	case level == collfs.NoAccess:
		r.must(r.sql.Revoke(r.ctx, user, id))
	default:
		r.must(r.sql.Grant(r.ctx, user, id, level))
	}
}

// records changes records as another client does, and waits for the news.
func (r *rig) records(ops ...collfs.RecordOp) {
	r.t.Helper()
	heard := make(chan struct{}, 100)
	stop := r.catalog.Watch(func(e collfs.Event) { // after the site's
		if e.UUID == ops[len(ops)-1].UUID {
			heard <- struct{}{}
		}
	})
	defer stop()
	_, err := r.catalog.Commit(r.ctx, collfs.Tx{Records: ops})
	r.must(err)
	<-heard
}

// project makes a project.
func (r *rig) project(owner collfs.UUID, name string) collfs.UUID {
	r.t.Helper()
	id := r.files.NewUUID("j7d0g")
	r.records(collfs.RecordOp{Kind: collfs.CreateProject, UUID: id, Owner: owner, Name: name})
	return id
}

// collection makes a collection.
func (r *rig) collection(owner collfs.UUID, name string) collfs.UUID {
	r.t.Helper()
	id := r.files.NewUUID("4zz18")
	r.records(collfs.RecordOp{Kind: collfs.CreateCollection, UUID: id, Owner: owner, Name: name})
	return id
}

func (r *rig) mkdir(names ...string) {
	r.t.Helper()
	for _, name := range names {
		if _, err := r.Mkdir(r.ctx, name, davfs.AttrChange{}); err != nil {
			r.t.Fatalf("Mkdir(%s) = %v", name, err)
		}
	}
}

func (r *rig) put(name, data string) davfs.Info {
	r.t.Helper()
	i, err := putFile(r.ctx, r.FS, name, data)
	if err != nil {
		r.t.Fatalf("put %s: %v", name, err)
	}
	return i
}

func putFile(ctx context.Context, f davfs.FileSystem, name, data string) (davfs.Info, error) {
	up, err := f.Put(ctx, name, davfs.PutOptions{Size: int64(len(data))})
	if err != nil {
		return davfs.Info{}, err
	}
	defer up.Abort()
	if _, err := io.Copy(up, strings.NewReader(data)); err != nil {
		return davfs.Info{}, err
	}
	i, _, err := up.Commit(ctx)
	return i, err
}

func getFile(ctx context.Context, f davfs.FileSystem, name string) (string, error) {
	file, err := f.Open(ctx, name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var b bytes.Buffer
	_, err = file.WriteRange(ctx, &b, 0, file.Info().Size)
	return b.String(), err
}

func listNames(ctx context.Context, f davfs.FileSystem, dir string) ([]string, error) {
	l, err := f.List(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var all []string
	batch := make([]davfs.Info, 7)
	for {
		n, err := l.Next(batch)
		if err != nil || n == 0 {
			return all, err
		}
		for _, i := range batch[:n] {
			if i.Dir {
				i.Name += "/"
			}
			all = append(all, i.Name)
		}
	}
}

func (r *rig) want(name, data string) {
	r.t.Helper()
	wantFile(r.ctx, r.t, r.FS, name, data)
}

func wantFile(ctx context.Context, t testing.TB, f davfs.FileSystem, name, data string) {
	t.Helper()
	got, err := getFile(ctx, f, name)
	if err != nil || got != data {
		t.Errorf("get %s = %.80q, %v; want %.80q", name, got, err, data)
	}
	if i, err := f.Stat(ctx, name); err != nil || i.Dir || i.Size != int64(len(data)) {
		t.Errorf("Stat(%s) = dir %v, size %d, %v; want a file of size %d", name, i.Dir, i.Size, err, len(data))
	}
}

func (r *rig) wantList(dir string, want ...string) {
	r.t.Helper()
	wantList(r.ctx, r.t, r.FS, dir, want...)
}

func wantList(ctx context.Context, t testing.TB, f davfs.FileSystem, dir string, want ...string) {
	t.Helper()
	got, err := listNames(ctx, f, dir)
	if err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("list %s = %q, %v; want %q", dir, got, err, want)
	}
}

func (r *rig) wantGone(name string) {
	r.t.Helper()
	_, err := r.Stat(r.ctx, name)
	wantErr(r.t, "Stat("+name+")", err, fs.ErrNotExist)
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v; want one that matches %v", what, err, want)
	}
	var pe *fs.PathError
	if err != nil && !errors.As(err, &pe) {
		t.Errorf("%s: error %#v is not an *fs.PathError", what, err)
	}
}

func (r *rig) move(src, dst string) {
	r.t.Helper()
	if _, err := r.Move(r.ctx, src, dst, davfs.CopyOptions{}); err != nil {
		r.t.Fatalf("Move(%s, %s) = %v", src, dst, err)
	}
}

func (r *rig) copy(src, dst string) {
	r.t.Helper()
	if _, err := r.Copy(r.ctx, src, dst, davfs.CopyOptions{}); err != nil {
		r.t.Fatalf("Copy(%s, %s) = %v", src, dst, err)
	}
}

// entry finds the record of a name in a project.
func (r *rig) entry(project collfs.UUID, name string) collfs.Entry {
	r.t.Helper()
	e, err := r.catalog.Lookup(r.ctx, project, name)
	if err != nil {
		r.t.Fatalf("Lookup(%s, %q) = %v", project, name, err)
	}
	return e
}

// contract runs the suite, each case in a directory that dir makes.
func contract(t *testing.T, dir func(r *rig, name string) string) {
	r := newRig(t)
	n := 0
	fstest.Run(t, func(*testing.T) (davfs.FileSystem, string) {
		n++
		return r.FS, dir(r, fmt.Sprint("c", n))
	})
}

func TestContract(t *testing.T) {
	contract(t, func(r *rig, name string) string {
		r.mkdir("/home/"+name, "/home/"+name+"/dir")
		return "/home/" + name + "/dir"
	})
}

func TestContractAtTheRootOfACollection(t *testing.T) {
	contract(t, func(r *rig, name string) string {
		r.mkdir("/home/" + name)
		return "/home/" + name
	})
}

func TestContractThroughByID(t *testing.T) {
	contract(t, func(r *rig, name string) string {
		return "/by_id/" + string(r.collection(r.admin.UUID, name))
	})
}

// In a project itself, directories are collections and files are loose.
func TestContractInAProject(t *testing.T) {
	contract(t, func(r *rig, name string) string {
		r.project(r.admin.UUID, name)
		return "/home/" + name
	})
}

// sideStore makes a davfs.SideStore of the one in SQLite.
type sideStore struct{ *sqlite.Store }

func (s sideStore) PutSide(ctx context.Context, key collfs.UUID, f davfs.SideFile) error {
	return s.Store.PutSide(ctx, key, sqlite.SideFile(f))
}

func (s sideStore) GetSide(ctx context.Context, key collfs.UUID, p string) (davfs.SideFile, error) {
	f, err := s.Store.GetSide(ctx, key, p)
	return davfs.SideFile(f), err
}

func (s sideStore) StatSide(ctx context.Context, key collfs.UUID, p string) (davfs.SideFile, error) {
	f, err := s.Store.StatSide(ctx, key, p)
	return davfs.SideFile(f), err
}

func (s sideStore) ListSide(ctx context.Context, key collfs.UUID, dir string) ([]davfs.SideFile, error) {
	rows, err := s.Store.ListSide(ctx, key, dir)
	files := make([]davfs.SideFile, len(rows))
	for i, row := range rows {
		files[i] = davfs.SideFile(row)
	}
	return files, err
}

func TestSideStore(t *testing.T) {
	fstest.RunSide(t, func(t *testing.T) davfs.SideStore { return newRig(t).side })
}
