package davfs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/davfs"
	"keepdav/davfs/fstest"
	"keepdav/keepio"
	"keepdav/keepio/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig is a site over a catalog in memory, with an admin.
type rig struct {
	t       testing.TB
	ctx     context.Context
	catalog *memcatalog.Catalog
	spool   *keepio.Spool
	files   *collfs.FS
	side    *fstest.SideStore
	site    *davfs.Site
	admin   collfs.User
	change  []func(*davfs.Config)
	fault   atomic.Pointer[error] // what commits fail with
	*davfs.FS
}

func newRig(t testing.TB, change ...func(*davfs.Config)) *rig {
	r := &rig{t: t, ctx: t.Context(), side: fstest.NewSideStore(), change: change}
	var home collfs.UUID
	r.catalog, home = memcatalog.New()
	r.catalog.Fault = func(context.Context, collfs.Tx) (o memcatalog.Outcome) {
		if err := r.fault.Load(); err != nil {
			o.Err = *err
		}
		return o
	}
	r.admin = collfs.User{UUID: home, Name: "admin", FullName: "admin", Admin: true, Active: true}
	var last atomic.Uint64
	var err error
	r.spool, err = keepio.OpenSpool(keepio.SpoolConfig{
		Dir: t.TempDir(), Store: new(memstore.Store), NoSync: true,
		NextID: func() (keepio.BlockID, error) { return keepio.BlockID(last.Add(1)), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.open(t)
	t.Cleanup(func() {
		r.site.Close()
		if err := r.files.Close(context.Background()); err != nil {
			t.Errorf("close files: %v", err)
		}
		if err := r.spool.Close(context.Background()); err != nil {
			t.Errorf("close spool: %v", err)
		}
	})
	return r
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

// user makes another user of the site.
func (r *rig) user(name string) (collfs.User, *davfs.FS) {
	u := collfs.User{UUID: r.catalog.AddUser(name, false), Name: name, FullName: name, Active: true}
	return u, r.site.User(u)
}

// project makes a project.
func (r *rig) project(owner collfs.UUID, name string) collfs.UUID {
	r.t.Helper()
	id := memcatalog.NewUUID("j7d0g")
	_, err := r.catalog.Commit(r.ctx, collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateProject, UUID: id, Owner: owner, Name: name}}})
	if err != nil {
		r.t.Fatal(err)
	}
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

func TestContract(t *testing.T) {
	fstest.Run(t, func(t *testing.T) (davfs.FileSystem, string) {
		r := newRig(t)
		r.mkdir("/home/c", "/home/c/dir")
		return r.FS, "/home/c/dir"
	})
}

func TestContractAtTheRootOfACollection(t *testing.T) {
	fstest.Run(t, func(t *testing.T) (davfs.FileSystem, string) {
		r := newRig(t)
		r.mkdir("/home/c")
		return r.FS, "/home/c"
	})
}

func TestContractThroughByID(t *testing.T) {
	fstest.Run(t, func(t *testing.T) (davfs.FileSystem, string) {
		r := newRig(t)
		r.mkdir("/home/c")
		return r.FS, path.Join("/by_id", string(r.entry(r.admin.UUID, "c").Collection.UUID))
	})
}

// In a project itself, directories are collections and files are loose.
func TestContractInAProject(t *testing.T) {
	fstest.Run(t, func(t *testing.T) (davfs.FileSystem, string) {
		r := newRig(t)
		r.project(r.admin.UUID, "p")
		return r.FS, "/home/p"
	})
}

func TestSideStoreInMemory(t *testing.T) {
	fstest.RunSide(t, func(*testing.T) davfs.SideStore { return fstest.NewSideStore() })
}
