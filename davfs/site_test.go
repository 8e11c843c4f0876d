package davfs_test

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/davfs"
)

func TestRootShowsTheFolders(t *testing.T) {
	r := newRig(t)
	r.wantList("/", "by_id/", "home/", "shared/", "users/")
	r.wantList("/by_id")
	r.wantList("/users", "admin/")
	r.wantList("/shared")
	for _, name := range []string{"/", "/by_id", "/shared", "/users"} {
		i, err := r.Stat(r.ctx, name)
		if err != nil || !i.Dir || !i.ReadOnly || i.Name != path.Base(name) {
			t.Errorf("Stat(%s) = %+v, %v; want a read-only folder", name, i, err)
		}
	}
	if i, err := r.Stat(r.ctx, "/home"); err != nil || !i.Dir || i.ReadOnly || i.Name != "home" {
		t.Errorf("Stat(/home) = %+v, %v; want a folder to write to", i, err)
	}
}

func TestFoldersAboveProjectsAreReadOnly(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/f", "x")
	for _, dir := range []string{"/", "/by_id", "/shared", "/users"} {
		name := path.Join(dir, "new")
		_, err := r.Mkdir(r.ctx, name, davfs.AttrChange{})
		wantErr(t, "Mkdir "+name, err, collfs.ErrReadOnly)
		_, err = r.Put(r.ctx, name, davfs.PutOptions{})
		wantErr(t, "Put "+name, err, collfs.ErrReadOnly)
		_, err = r.Move(r.ctx, "/home/c/f", name, davfs.CopyOptions{})
		wantErr(t, "Move to "+name, err, collfs.ErrReadOnly)
		_, err = r.Put(r.ctx, dir, davfs.PutOptions{})
		wantErr(t, "Put "+dir, err, collfs.ErrIsDir)
		_, err = r.Mkdir(r.ctx, dir, davfs.AttrChange{})
		wantErr(t, "Mkdir "+dir, err, fs.ErrExist)
		_, err = r.Put(r.ctx, path.Join(name, "f"), davfs.PutOptions{})
		wantErr(t, "Put below "+name, err, davfs.ErrNoParent)
		r.wantGone(name)
	}
	for _, name := range []string{"/", "/home", "/by_id", "/by_id/" + string(r.entry(r.admin.UUID, "c").Collection.UUID), "/users/admin"} {
		wantErr(t, "Remove "+name, r.Remove(r.ctx, name, nil), collfs.ErrReadOnly)
		_, err := r.Move(r.ctx, name, "/home/c/x", davfs.CopyOptions{})
		if err == nil {
			t.Errorf("Move of %s: no error", name)
		}
	}
	r.want("/home/c/f", "x")
}

func TestByIDResolvesWhatHasAnID(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.mkdir("/home/p/c", "/home/p/c/d")
	r.put("/home/p/c/d/f", "x")
	c := r.entry(p, "c").Collection.UUID
	r.want("/by_id/"+string(c)+"/d/f", "x")
	r.want("/by_id/"+string(p)+"/c/d/f", "x")
	r.want("/by_id/"+string(r.admin.UUID)+"/p/c/d/f", "x")
	r.want("/users/admin/p/c/d/f", "x")
	r.put("/by_id/"+string(c)+"/g", "written by id")
	r.want("/home/p/c/g", "written by id")
	r.wantGone("/by_id/zzzzz-4zz18-000000000000000")
	r.wantGone("/by_id/d41d8cd98f00b204e9800998ecf8427e+0")
	r.wantGone("/by_id/nonsense")
	if err := r.Remove(r.ctx, "/home/p/c", nil); err != nil {
		t.Fatal(err)
	}
	r.wantGone("/by_id/" + string(c))
	r.wantGone("/by_id/" + string(c) + "/d/f")
}

func TestContentIsFoundByItsHash(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c", "/home/c/d")
	r.put("/home/c/d/f", "some data")
	meta, err := getFile(r.ctx, r.FS, "/home/c/.arvados#collection")
	if err != nil {
		t.Fatal(err)
	}
	var rec struct {
		UUID collfs.UUID `json:"uuid"`
		PDH  string      `json:"portable_data_hash"`
		Text string      `json:"manifest_text"`
	}
	if err := json.Unmarshal([]byte(meta), &rec); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("./d %x+9 0:9:f\n", md5.Sum([]byte("some data")))
	if rec.Text != want || rec.PDH != fmt.Sprintf("%x+%d", md5.Sum([]byte(want)), len(want)) || rec.UUID != r.entry(r.admin.UUID, "c").Collection.UUID {
		t.Errorf("record = %+v; want the manifest %q and its hash", rec, want)
	}
	if !strings.HasSuffix(meta, "}\n") || strings.Count(meta, "\n") != 1 {
		t.Errorf("record ends in %q; want one newline", meta[len(meta)-3:])
	}
	r.inMemory().SetPDH(func(id collfs.UUID, _ collfs.Saved) (collfs.PDH, error) {
		c, err := r.files.Open(t.Context(), id)
		if err != nil {
			return "", err
		}
		defer c.Release()
		return c.PDH(t.Context())
	})
	for _, id := range []string{rec.PDH, strings.Replace(rec.PDH, "+", "-", 1)} {
		r.want("/by_id/"+id+"/d/f", "some data")
		_, err := r.Put(r.ctx, "/by_id/"+id+"/d/f", davfs.PutOptions{})
		wantErr(t, "Put below a hash", err, collfs.ErrReadOnly)
		_, err = r.Mkdir(r.ctx, "/by_id/"+id+"/x", davfs.AttrChange{})
		wantErr(t, "Mkdir below a hash", err, collfs.ErrReadOnly)
		wantErr(t, "Remove below a hash", r.Remove(r.ctx, "/by_id/"+id+"/d/f", nil), collfs.ErrReadOnly)
		_, err = r.SetAttr(r.ctx, "/by_id/"+id+"/d/f", davfs.AttrChange{})
		wantErr(t, "SetAttr below a hash", err, collfs.ErrReadOnly)
	}

	l, err := r.List(r.ctx, "/by_id/"+rec.PDH+"/d")
	r.must(err)
	defer l.Close()
	r.put("/home/c/d/f", "other data")
	infos := make([]davfs.Info, 2)
	if n, err := l.Next(infos); n != 1 || err != nil || infos[0].Size != 9 {
		t.Errorf("what is listed below a hash = %d, %v, size %d; want the size 9 that it had", n, err, infos[0].Size)
	}

	// What has a hash now can be copied within its collection.
	now, err := r.files.Open(r.ctx, rec.UUID)
	r.must(err)
	defer now.Release()
	pdh, err := now.PDH(r.ctx)
	r.must(err)
	r.copy("/by_id/"+string(pdh)+"/d/f", "/home/c/copy")
	r.want("/home/c/copy", "other data")
	_, bob := r.user("bob")
	_, err = bob.Stat(r.ctx, "/by_id/"+rec.PDH)
	wantErr(t, "Stat of a hash by who may not read it", err, fs.ErrNotExist)
	r.put("/home/c/d/f", "other data")
	r.wantGone("/by_id/" + rec.PDH + "/d/f")
}

func TestOldVersionsAreReadOnly(t *testing.T) {
	now := time.Now()
	r := newRig(t)
	r.inMemory().Now = func() time.Time { return now }
	r.mkdir("/home/c")
	r.put("/home/c/f", "first")
	now = now.Add(time.Minute)
	r.put("/home/c/f", "second")
	id := string(r.entry(r.admin.UUID, "c").Collection.UUID)
	r.want("/by_id/"+id+"@1/f", "first")
	r.want("/by_id/"+id+"/f", "second")
	r.wantGone("/by_id/" + id + "@99")
	r.wantGone("/by_id/" + id + "@0")
	_, err := r.Put(r.ctx, "/by_id/"+id+"@1/f", davfs.PutOptions{})
	wantErr(t, "Put into a version", err, collfs.ErrReadOnly)
	wantErr(t, "Remove in a version", r.Remove(r.ctx, "/by_id/"+id+"@1/f", nil), collfs.ErrReadOnly)
	r.copy("/by_id/"+id+"@1/f", "/home/c/restored")
	r.want("/home/c/restored", "first")
	r.copy("/by_id/"+id+"@1", "/home/old")
	r.want("/home/old/f", "first")
}

func TestMetaFilesShowRecords(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.mkdir("/home/p/c")
	r.put("/home/p/c/f", "x")
	r.wantList("/home/p/c", "f")
	r.wantList("/home/p", "c/")
	for name, want := range map[string]collfs.UUID{"/home/p/.arvados#project": p, "/home/p/c/.arvados#collection": r.entry(p, "c").Collection.UUID} {
		data, err := getFile(r.ctx, r.FS, name)
		var rec struct{ UUID collfs.UUID }
		if err != nil || json.Unmarshal([]byte(data), &rec) != nil || rec.UUID != want {
			t.Errorf("get %s = %q, %v; want the record of %s", name, data, err, want)
		}
		i, err := r.Stat(r.ctx, name)
		if err != nil || i.Size != int64(len(data)) || i.Dir || !i.ReadOnly {
			t.Errorf("Stat(%s) = %+v, %v; want a read-only file of size %d", name, i, err, len(data))
		}
		_, err = r.Put(r.ctx, name, davfs.PutOptions{})
		wantErr(t, "Put "+name, err, collfs.ErrReadOnly)
		wantErr(t, "Remove "+name, r.Remove(r.ctx, name, nil), collfs.ErrReadOnly)
		_, err = r.Move(r.ctx, "/home/p/c/f", name, davfs.CopyOptions{Overwrite: true})
		if err == nil {
			t.Errorf("Move to %s: no error", name)
		}
		_, err = r.Mkdir(r.ctx, name, davfs.AttrChange{})
		if err == nil {
			t.Errorf("Mkdir %s: no error", name)
		}
	}
	r.want("/home/p/c/f", "x")
}

func TestRemoveOfACollectionTrashesIt(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/f", "precious")
	id := r.entry(r.admin.UUID, "c").Collection.UUID
	if err := r.Remove(r.ctx, "/home/c", nil); err != nil {
		t.Fatal(err)
	}
	r.wantGone("/home/c")
	r.wantList("/home")
	rec, err := r.catalog.Record(r.ctx, id)
	if err != nil || rec.TrashAt.IsZero() || rec.Files != 1 {
		t.Fatalf("record of a removed collection = %+v, %v; want it in the trash with its file", rec, err)
	}
	r.mkdir("/home/c")
	r.records(collfs.RecordOp{Kind: collfs.Untrash, UUID: id, Name: "back"})
	r.want("/home/back/f", "precious")
}

func TestRemoveOfAProjectTrashesIt(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.mkdir("/home/p/c")
	r.put("/home/p/c/f", "x")
	r.put("/home/p/loose", "y")
	refused := errors.New("refused")
	wantErrAsIs(t, r.Remove(r.ctx, "/home/p", func(i davfs.Info, ok bool) error {
		if !ok || !i.Dir || i.Collection != p {
			t.Errorf("check saw %+v, %v; want the project", i, ok)
		}
		return refused
	}), refused)
	r.want("/home/p/c/f", "x")
	if err := r.Remove(r.ctx, "/home/p", nil); err != nil {
		t.Fatal(err)
	}
	r.wantGone("/home/p/c/f")
	r.wantGone("/by_id/" + string(p))
}

func wantErrAsIs(t *testing.T, err, want error) {
	t.Helper()
	if err != want {
		t.Errorf("error %v; want what the check returned, as it is", err)
	}
}

func TestRecordsMoveBetweenProjects(t *testing.T) {
	r := newRig(t)
	p, q := r.project(r.admin.UUID, "p"), r.project(r.admin.UUID, "q")
	r.mkdir("/home/p/c")
	r.put("/home/p/c/f", "x")
	id := r.entry(p, "c").Collection.UUID
	r.move("/home/p/c", "/home/p/renamed")
	r.want("/home/p/renamed/f", "x")
	r.wantGone("/home/p/c")
	r.move("/home/p/renamed", "/home/q/d")
	r.want("/home/q/d/f", "x")
	r.wantList("/home/p")
	if rec, err := r.catalog.Record(r.ctx, id); err != nil || rec.Owner != q || rec.Name != "d" {
		t.Errorf("record = %+v, %v; want the same one in q", rec, err)
	}
	r.move("/home/q", "/home/p/inner")
	r.want("/home/p/inner/d/f", "x")
	_, err := r.Move(r.ctx, "/home/p", "/home/p/inner/p", davfs.CopyOptions{})
	wantErr(t, "Move of a project into itself", err, collfs.ErrIntoItself)
	r.want("/home/p/inner/d/f", "x")
}

func TestMoveOverARecordTrashesIt(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/a", "/home/b")
	r.put("/home/a/f", "a")
	r.put("/home/b/f", "b")
	old := r.entry(r.admin.UUID, "b").Collection.UUID
	_, err := r.Move(r.ctx, "/home/a", "/home/b", davfs.CopyOptions{})
	wantErr(t, "Move over a collection", err, fs.ErrExist)
	created, err := r.Move(r.ctx, "/home/a", "/home/b", davfs.CopyOptions{Overwrite: true})
	if err != nil || created {
		t.Fatalf("Move = created %v, %v; want it replaced", created, err)
	}
	r.wantList("/home", "b/")
	r.want("/home/b/f", "a")
	if rec, err := r.catalog.Record(r.ctx, old); err != nil || rec.TrashAt.IsZero() {
		t.Errorf("the replaced collection's record = %+v, %v; want it in the trash", rec, err)
	}
	r.mkdir("/home/c")
	r.put("/home/c/f", "c")
	old = r.entry(r.admin.UUID, "b").Collection.UUID
	if created, err = r.Copy(r.ctx, "/home/c", "/home/b", davfs.CopyOptions{Overwrite: true}); err != nil || created {
		t.Fatalf("Copy = created %v, %v; want it replaced", created, err)
	}
	r.want("/home/b/f", "c")
	r.want("/home/c/f", "c")
	if rec, err := r.catalog.Record(r.ctx, old); err != nil || rec.TrashAt.IsZero() {
		t.Errorf("the replaced collection's record = %+v, %v; want it in the trash", rec, err)
	}
}

// A move that puts a record in the trash and fails at that moves nothing.
func TestFileMovedOverARecordIsOneStep(t *testing.T) {
	r := newRig(t)
	r.inMemory()
	r.mkdir("/home/a", "/home/c")
	r.put("/home/a/f", "from a collection")
	r.put("/home/loose", "loose")
	r.put("/home/c/g", "replaced")
	old := r.entry(r.admin.UUID, "c").Collection.UUID
	full := errors.New("no room")
	r.faulty = func(tx collfs.Tx) bool {
		return slices.ContainsFunc(tx.Records, func(op collfs.RecordOp) bool { return op.Kind == collfs.Trash })
	}
	over := davfs.CopyOptions{Overwrite: true}
	for _, src := range []string{"/home/a/f", "/home/loose"} {
		was, err := getFile(r.ctx, r.FS, src)
		r.must(err)
		r.fault.Store(&full)
		_, err = r.Move(r.ctx, src, "/home/c", over)
		wantErr(t, "move of "+src, err, full)
		_, err = r.Copy(r.ctx, src, "/home/c", over)
		wantErr(t, "copy of "+src, err, full)
		r.fault.Store(nil)
		r.want(src, was)
		r.want("/home/c/g", "replaced")
		r.wantGone("/home/Loose files/c")
		for _, do := range []func(context.Context, string, string, davfs.CopyOptions) (bool, error){r.Copy, r.Move} {
			if created, err := do(r.ctx, src, "/home/c", over); err != nil || created {
				t.Errorf("%s over a collection = created %v, %v; want it replaced", src, created, err)
			}
			r.want("/home/c", was)
			if rec, err := r.catalog.Record(r.ctx, old); err != nil || rec.TrashAt.IsZero() {
				t.Errorf("the replaced collection's record = %+v, %v; want it in the trash", rec, err)
			}
			r.must(r.Remove(r.ctx, "/home/c", nil))
			r.mkdir("/home/c")
			r.put("/home/c/g", "replaced")
			old = r.entry(r.admin.UUID, "c").Collection.UUID
		}
		r.wantGone(src)
		r.reopen()
		r.wantGone(src)
	}
}

// The collection that the file would be kept in cannot make way for it.
func TestFileMovedOverTheLooseFilesIsRefused(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/a")
	r.put("/home/a/f", "f")
	r.put("/home/loose", "loose")
	_, err := r.Move(r.ctx, "/home/a/f", "/home/Loose files", davfs.CopyOptions{Overwrite: true})
	wantErr(t, "move over the collection of loose files", err, collfs.ErrIntoItself)
	r.want("/home/a/f", "f")
	r.want("/home/loose", "loose")
}

func TestDirectoryMovedIntoAProjectBecomesACollection(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.mkdir("/home/c", "/home/c/d", "/home/c/d/e")
	r.put("/home/c/d/f", "f")
	r.put("/home/c/d/e/g", "g")
	r.put("/home/c/stays", "s")
	r.copy("/home/c/d", "/home/p/copied")
	r.move("/home/c/d", "/home/p/moved")
	for _, name := range []string{"copied", "moved"} {
		r.want("/home/p/"+name+"/f", "f")
		r.want("/home/p/"+name+"/e/g", "g")
		if r.entry(p, name).Collection == nil {
			t.Errorf("%s is not a collection", name)
		}
	}
	r.wantList("/home/c", "stays")
	r.put("/home/p/copied/f", "changed")
	r.want("/home/p/moved/f", "f")
}

func TestCollectionMovedIntoACollectionBecomesADirectory(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/a", "/home/a/d", "/home/b")
	r.put("/home/a/d/f", "f")
	r.put("/home/b/g", "g")
	id := r.entry(r.admin.UUID, "a").Collection.UUID
	r.copy("/home/a", "/home/b/copy")
	r.move("/home/a", "/home/b/sub")
	r.want("/home/b/sub/d/f", "f")
	r.want("/home/b/copy/d/f", "f")
	r.want("/home/b/g", "g")
	r.wantList("/home", "b/")
	if rec, err := r.catalog.Record(r.ctx, id); err != nil || rec.TrashAt.IsZero() {
		t.Errorf("record of the moved collection = %+v, %v; want it in the trash", rec, err)
	}
	_, err := r.Move(r.ctx, "/home/b", "/home/b/sub/b", davfs.CopyOptions{})
	wantErr(t, "Move of a collection into itself", err, collfs.ErrIntoItself)
	r.want("/home/b/sub/d/f", "f")
}

func TestMovesBetweenCollections(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/a", "/home/a/d", "/home/b")
	r.put("/home/a/f", "f")
	r.put("/home/a/d/g", "g")
	r.put("/home/b/old", "old")
	r.move("/home/a/f", "/home/b/f")
	r.want("/home/b/f", "f")
	r.wantGone("/home/a/f")
	r.copy("/home/a/d", "/home/b/d")
	r.move("/home/a/d", "/home/b/e")
	r.want("/home/b/d/g", "g")
	r.want("/home/b/e/g", "g")
	r.wantList("/home/a")
	_, err := r.Move(r.ctx, "/home/b/d", "/home/a/no/d", davfs.CopyOptions{})
	wantErr(t, "Move without a parent", err, davfs.ErrNoParent)
	_, err = r.Move(r.ctx, "/home/b/f", "/home/b/old", davfs.CopyOptions{})
	wantErr(t, "Move over a file", err, fs.ErrExist)
	r.put("/home/a/old", "older")
	if created, err := r.Move(r.ctx, "/home/b/old", "/home/a/old", davfs.CopyOptions{Overwrite: true}); err != nil || created {
		t.Errorf("Move = created %v, %v; want it replaced", created, err)
	}
	r.want("/home/a/old", "old")
	refused := errors.New("refused")
	_, err = r.Move(r.ctx, "/home/b/f", "/home/a/f", davfs.CopyOptions{CheckSrc: func(i davfs.Info, ok bool) error {
		if !ok || i.Size != 1 || i.Path != "f" {
			t.Errorf("check of the source saw %+v, %v", i, ok)
		}
		return refused
	}})
	wantErrAsIs(t, err, refused)
	r.want("/home/b/f", "f")
}

func TestProjectsAreCopiedWhole(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.project(p, "sub")
	r.mkdir("/home/p/c", "/home/p/sub/d")
	r.put("/home/p/c/f", "f")
	r.put("/home/p/sub/d/g", "g")
	r.put("/home/p/loose", "l")
	r.copy("/home/p", "/home/q")
	r.want("/home/q/c/f", "f")
	r.want("/home/q/sub/d/g", "g")
	r.want("/home/q/loose", "l")
	r.put("/home/q/c/f", "changed")
	r.want("/home/p/c/f", "f")
	_, err := r.Copy(r.ctx, "/home/p", "/home/p/sub/p", davfs.CopyOptions{})
	wantErr(t, "Copy of a project into itself", err, collfs.ErrIntoItself)
	r.mkdir("/home/coll")
	_, err = r.Move(r.ctx, "/home/p", "/home/coll/p", davfs.CopyOptions{})
	wantErr(t, "Move of a project into a collection", err, collfs.ErrNotSupported)
	r.want("/home/p/c/f", "f")
}

func TestFailedCopyOfAProjectKeepsWhatItWasToReplace(t *testing.T) {
	r := newRig(t)
	p, q := r.project(r.admin.UUID, "p"), r.project(r.admin.UUID, "q")
	r.mkdir("/home/p/c", "/home/q/d")
	r.put("/home/q/d/f", "precious")
	failure := errors.New("no room")
	r.inMemory().Fault = func(_ context.Context, tx collfs.Tx) (o memcatalog.Outcome) {
		for _, op := range tx.Records {
			if op.Kind == collfs.CreateCollection && op.Name == "c" {
				o.Err = failure
			}
		}
		return o
	}
	_, err := r.Copy(r.ctx, "/home/p", "/home/q", davfs.CopyOptions{Overwrite: true})
	wantErr(t, "Copy over a project", err, failure)
	r.want("/home/q/d/f", "precious")
	r.wantList("/home", "p/", "q/")
	if e := r.entry(r.admin.UUID, "q"); e.Project.UUID != q || r.entry(r.admin.UUID, "p").Project.UUID != p {
		t.Errorf("q is %+v; want what it was", e.Project)
	}
}

func TestFilesInAProjectAreLoose(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/a.txt", "a")
	r.put("/home/z.txt", "z")
	r.want("/home/a.txt", "a")
	r.wantList("/home", "a.txt", "c/", "z.txt")
	r.wantList("/home/Loose files", "a.txt", "z.txt")
	r.want("/home/Loose files/a.txt", "a")
	by := "/by_id/" + string(r.entry(r.admin.UUID, "Loose files").Collection.UUID)
	r.want(by+"/a.txt", "a")
	r.put("/home/a.txt", "changed")
	r.want("/home/Loose files/a.txt", "changed")
	if _, err := r.WriteAt(r.ctx, "/home/a.txt", 0, 1, strings.NewReader("C"), nil); err != nil {
		t.Fatal(err)
	}
	r.want("/home/a.txt", "Changed")
	r.move("/home/a.txt", "/home/b.txt")
	r.move("/home/b.txt", "/home/c/in")
	r.want("/home/c/in", "Changed")
	r.copy("/home/c/in", "/home/out")
	r.want("/home/out", "Changed")
	when := time.Unix(1_000_000_000, 0)
	if i, err := r.SetAttr(r.ctx, "/home/out", davfs.AttrChange{ModTime: &when}); err != nil || !i.ModTime.Equal(when) {
		t.Errorf("SetAttr = %v, %v", i.ModTime, err)
	}
	if err := r.Remove(r.ctx, "/home/out", nil); err != nil {
		t.Fatal(err)
	}
	r.wantList("/home", "c/", "z.txt")
	if n, err := r.Count(r.ctx, "/home", 100); err != nil || n != 4 {
		t.Errorf("Count(/home) = %d, %v; want 4: itself, c, c/in, z.txt", n, err)
	}
	r.wantGone("/home/no/file")
	_, err := r.Put(r.ctx, "/home/no/file", davfs.PutOptions{})
	wantErr(t, "Put", err, davfs.ErrNoParent)
	_, err = r.Put(r.ctx, "/home/z.txt/file", davfs.PutOptions{})
	wantErr(t, "Put below a loose file", err, collfs.ErrNotDir)
	if _, err := r.SetAttr(r.ctx, "/home", davfs.AttrChange{Extra: map[string]string{"dav:{x}y": "z"}}); err != nil {
		t.Fatal(err)
	}
	if i, err := r.Stat(r.ctx, "/home"); err != nil || i.Attr.Extra["dav:{x}y"] != "z" {
		t.Errorf("Stat(/home) = %+v, %v; want the property that was set", i, err)
	}
}

func TestLooseFileHasOnePlaceBeforeAndAfterItIsMade(t *testing.T) {
	r := newRig(t)
	c1, p1, err := r.Where(r.ctx, "/home/new.txt")
	if err != nil {
		t.Fatal(err)
	}
	r.put("/home/new.txt", "x")
	byID := "/by_id/" + string(r.entry(r.admin.UUID, "Loose files").Collection.UUID)
	for _, name := range []string{"/home/new.txt", "/home/Loose files/new.txt", "/users/admin/new.txt", byID + "/new.txt"} {
		if c, p, err := r.Where(r.ctx, name); err != nil || c != c1 || p != p1 {
			t.Errorf("Where(%s) = %s %s, %v; want %s %s as before it was made", name, c, p, err, c1, p1)
		}
	}
}

func TestRecordsComeBeforeLooseFiles(t *testing.T) {
	r := newRig(t)
	r.put("/home/x", "loose")
	_, err := r.Mkdir(r.ctx, "/home/x", davfs.AttrChange{})
	wantErr(t, "Mkdir over a loose file", err, fs.ErrExist)
	// Another client makes a collection of that name.
	r.collection(r.admin.UUID, "x")
	r.wantList("/home", "x/")
	if i, err := r.Stat(r.ctx, "/home/x"); err != nil || !i.Dir {
		t.Errorf("Stat = %+v, %v; want the collection", i, err)
	}
	r.want("/home/Loose files/x", "loose")
	_, err = r.Put(r.ctx, "/home/x", davfs.PutOptions{})
	wantErr(t, "Put over a collection", err, collfs.ErrIsDir)
	r.move("/home/x", "/home/y")
	r.want("/home/x", "loose")
}

func TestCollectionCalledLooseFilesIsTheUsers(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/Loose files")
	r.put("/home/Loose files/mine", "mine")
	r.put("/home/f", "loose")
	r.wantList("/home", "Loose files/", "f")
	r.wantList("/home/Loose files", "mine")
	r.want("/home/Loose files (2)/f", "loose")
	// Renamed, it is a collection like others.
	r.move("/home/Loose files (2)", "/home/kept")
	r.wantList("/home", "Loose files/", "kept/")
	r.put("/home/g", "again")
	r.wantList("/home", "Loose files/", "g", "kept/")
}

func TestConcurrentFirstFilesOfAProjectShareACollection(t *testing.T) {
	r := newRig(t)
	errs := make(chan error)
	for n := range 8 {
		go func() {
			_, err := putFile(r.ctx, r.FS, fmt.Sprintf("/home/f%d", n), "x")
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	got, err := listNames(r.ctx, r.FS, "/home/Loose files")
	if err != nil || len(got) != 8 {
		t.Errorf("loose files = %q, %v; want 8", got, err)
	}
	entries, err := r.catalog.List(r.ctx, r.admin.UUID)
	if err != nil || len(entries) != 1 {
		t.Errorf("the project has %d records, %v; want one", len(entries), err)
	}
}

func TestWhatMayNotBeReadDoesNotExist(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/f", "secret")
	id := r.entry(r.admin.UUID, "c").Collection.UUID
	bobUser, bob := r.user("bob")
	for _, name := range []string{"/by_id/" + string(id), "/by_id/" + string(id) + "/f", "/users/admin", "/users/admin/c/f", "/shared/admin/c", "/by_id/" + string(r.admin.UUID)} {
		_, err := bob.Stat(r.ctx, name)
		wantErr(t, "Stat "+name, err, fs.ErrNotExist)
		_, err = bob.Open(r.ctx, name)
		wantErr(t, "Open "+name, err, fs.ErrNotExist)
		_, err = bob.List(r.ctx, name)
		wantErr(t, "List "+name, err, fs.ErrNotExist)
		wantErr(t, "Remove "+name, bob.Remove(r.ctx, name, nil), fs.ErrNotExist)
	}
	_ = bobUser
	wantList(r.ctx, t, bob, "/home")
}

func TestGrantsActAtTheirLevel(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.mkdir("/home/p/c", "/home/p/d", "/home/mine")
	r.put("/home/p/c/f", "x")
	r.put("/home/p/loose", "y")
	bobUser, bob := r.user("bob")
	r.grant(bobUser.UUID, p, collfs.CanRead)
	r.grant(bobUser.UUID, r.entry(p, "d").Collection.UUID, collfs.CanWrite)
	wantList(r.ctx, t, bob, "/shared", "admin/")
	wantList(r.ctx, t, bob, "/shared/admin", "p/")
	wantList(r.ctx, t, bob, "/shared/admin/p", "c/", "d/", "loose")
	base := "/shared/admin/p"
	wantFile(r.ctx, t, bob, base+"/c/f", "x")
	wantFile(r.ctx, t, bob, base+"/loose", "y")
	_, err := bob.Put(r.ctx, base+"/c/f", davfs.PutOptions{})
	wantErr(t, "Put", err, collfs.ErrReadOnly)
	_, err = bob.Put(r.ctx, base+"/new", davfs.PutOptions{})
	wantErr(t, "Put of a loose file", err, collfs.ErrReadOnly)
	_, err = bob.Mkdir(r.ctx, base+"/new", davfs.AttrChange{})
	wantErr(t, "Mkdir", err, collfs.ErrReadOnly)
	wantErr(t, "Remove", bob.Remove(r.ctx, base+"/c", nil), collfs.ErrReadOnly)
	_, err = bob.Move(r.ctx, base+"/c/f", "/home/f", davfs.CopyOptions{})
	wantErr(t, "Move", err, collfs.ErrReadOnly)
	_, err = bob.SetAttr(r.ctx, base+"/c/f", davfs.AttrChange{})
	wantErr(t, "SetAttr", err, collfs.ErrReadOnly)
	_, err = bob.WriteAt(r.ctx, base+"/c/f", 0, 1, strings.NewReader("y"), nil)
	wantErr(t, "WriteAt", err, collfs.ErrReadOnly)
	if _, err := bob.Copy(r.ctx, base+"/c/f", "/home/f", davfs.CopyOptions{}); err != nil {
		t.Errorf("Copy from what may be read: %v", err)
	}
	wantFile(r.ctx, t, bob, "/home/f", "x")
	if _, err := putFile(r.ctx, bob, base+"/d/f", "by bob"); err != nil {
		t.Errorf("put where bob may write: %v", err)
	}
	r.want("/home/p/d/f", "by bob")
	// To write to d is not to write to p, which d lies in.
	wantErr(t, "Remove of d", bob.Remove(r.ctx, base+"/d", nil), collfs.ErrReadOnly)
	_, err = bob.Move(r.ctx, base+"/d", base+"/renamed", davfs.CopyOptions{})
	wantErr(t, "Move of d", err, collfs.ErrReadOnly)
	_, err = bob.Move(r.ctx, base+"/d", "/home/d", davfs.CopyOptions{})
	wantErr(t, "Move of d to the own home", err, collfs.ErrReadOnly)
	for _, what := range []string{"/home/f", base + "/c", "/home/mine"} {
		if what == "/home/mine" {
			if _, err := bob.Mkdir(r.ctx, what, davfs.AttrChange{}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = bob.Copy(r.ctx, what, base+"/d", davfs.CopyOptions{Overwrite: true})
		wantErr(t, "Copy of "+what+" over d", err, collfs.ErrReadOnly)
	}
	wantFile(r.ctx, t, bob, base+"/d/f", "by bob")
	wantList(r.ctx, t, bob, base, "c/", "d/", "loose")
	if i, err := bob.Stat(r.ctx, base+"/d"); err != nil || i.ReadOnly {
		t.Errorf("Stat = %+v, %v; want it writable", i, err)
	}
	if i, err := bob.Stat(r.ctx, base+"/c/f"); err != nil || !i.ReadOnly {
		t.Errorf("Stat = %+v, %v; want it read-only", i, err)
	}
}

func TestRevokedGrantActsWithinSeconds(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/f", "x")
	id := r.entry(r.admin.UUID, "c").Collection.UUID
	bobUser, bob := r.user("bob")
	r.grant(bobUser.UUID, id, collfs.CanRead)
	name := "/by_id/" + string(id) + "/f"
	wantFile(r.ctx, t, bob, name, "x")
	r.grant(bobUser.UUID, id, collfs.NoAccess)
	deadline := time.Now().Add(2 * time.Second)
	for {
		late := time.Now().After(deadline) // before it looks: a busy machine may be slow to look
		_, err := bob.Stat(r.ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if late {
			t.Fatalf("two seconds after the grant was revoked Stat = %v; want fs.ErrNotExist", err)
		}
		time.Sleep(20 * time.Millisecond) // the wait is what is tested
	}
}

func TestChangesByOthersAreSeen(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/f", "x")
	r.wantGone("/home/later")
	r.collection(r.admin.UUID, "later")
	if _, err := r.Stat(r.ctx, "/home/later"); err != nil {
		t.Errorf("Stat of a collection that another client made: %v", err)
	}
	id := r.entry(r.admin.UUID, "c").Collection.UUID
	r.records(collfs.RecordOp{Kind: collfs.Move, UUID: id, Owner: r.admin.UUID, Name: "renamed"})
	r.wantGone("/home/c/f")
	r.want("/home/renamed/f", "x")
}

func TestNamesOfRecordsFold(t *testing.T) {
	const nfc, nfd = "M\u00fcll", "Mu\u0308ll"
	r := newRig(t)
	r.mkdir("/home/" + nfd)
	r.put("/home/"+nfc+"/f", "x")
	r.want("/home/"+nfd+"/f", "x")
	_, err := r.Mkdir(r.ctx, "/home/"+nfc, davfs.AttrChange{})
	wantErr(t, "Mkdir of an equal name", err, fs.ErrExist)
	r.wantList("/home", nfd+"/")
	r.put("/home/loo\u0301se", "l")
	r.put("/home/lo\u00f3se", "l2")
	r.wantList("/home", nfd+"/", "loo\u0301se")
	r.want("/home/loo\u0301se", "l2")
}

// A move to another form of a name is none to itself.
func TestNamesAreRespelled(t *testing.T) {
	const nfc, nfd = "M\u00fcll", "Mu\u0308ll"
	r := newRig(t)
	r.mkdir("/home/c", "/home/c/"+nfc, "/home/c/"+nfc+"/"+nfc, "/home/"+nfc+"2")
	r.project(r.admin.UUID, nfc+"3")
	r.put("/home/c/"+nfc+"/f", "in a directory")
	r.put("/home/c/"+nfc+"1", "file")
	r.put("/home/c/._"+nfc+"1", "fork")
	r.put("/home/"+nfc+"2/f", "in a collection")
	r.put("/home/"+nfc+"3/f", "in a project")
	r.put("/home/"+nfc+"4", "loose")
	want := func(form string) {
		t.Helper()
		r.wantList("/home/c", form+"/", form+"1")
		r.wantList("/home/c/"+form, form+"/", "f")
		r.wantList("/home", form+"2/", form+"3/", form+"4", "c/")
		r.want("/home/c/"+form+"/f", "in a directory")
		r.want("/home/c/"+form+"1", "file")
		r.want("/home/c/._"+form+"1", "fork")
		r.want("/home/"+form+"2/f", "in a collection")
		r.want("/home/"+form+"3/f", "in a project")
		r.want("/home/"+form+"4", "loose")
	}
	names := []string{"/home/c/%s/%[1]s", "/home/c/%s", "/home/c/%s1", "/home/%s2", "/home/%s3", "/home/%s4"}
	for _, to := range []string{nfd, nfc} {
		from := map[string]string{nfc: nfd, nfd: nfc}[to]
		for _, name := range names {
			src, dst := fmt.Sprintf(name, from), fmt.Sprintf(name, to)
			_, err := r.Copy(r.ctx, src, dst, davfs.CopyOptions{Overwrite: true})
			wantErr(t, "copy to another form", err, collfs.ErrIntoItself)
			check := func(_ davfs.Info, ok bool) error {
				if ok {
					t.Errorf("move to %s: there is something", dst)
				}
				return nil
			}
			created, err := r.Move(r.ctx, src, dst, davfs.CopyOptions{Overwrite: to == nfc, Check: check})
			if err != nil || !created {
				t.Errorf("Move(%+q, %+q) = %v, %v", src, dst, created, err)
			}
			_, err = r.Move(r.ctx, src, dst, davfs.CopyOptions{Overwrite: true})
			wantErr(t, "move to the form that it has", err, collfs.ErrIntoItself)
		}
		want(to)
		r.reopen()
		want(to)
	}
}

func TestCaseFoldsForWindowsOnly(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/Docs", "/home/Docs/Sub")
	r.put("/home/Docs/Sub/Read Me.TXT", "x")
	r.put("/home/Loose.txt", "l")
	r.wantGone("/home/docs/sub/read me.txt")
	win := davfs.WithClient(r.ctx, davfs.Client{FoldCase: true})
	wantFile(win, t, r.FS, "/home/docs/SUB/read me.txt", "x")
	wantFile(win, t, r.FS, "/home/LOOSE.TXT", "l")
	r.put("/home/Docs/Sub/read me.txt", "another")
	wantFile(win, t, r.FS, "/home/docs/sub/read me.txt", "another")
	if _, err := r.Stat(win, "/home/docs/sub/READ ME.TXT"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of a name that folds to two: %v; want fs.ErrNotExist", err)
	}
	if _, err := putFile(win, r.FS, "/home/DOCS/new", "n"); err != nil {
		t.Fatal(err)
	}
	r.want("/home/Docs/new", "n")
}

func TestUsageCountsTheCollection(t *testing.T) {
	r := newRig(t, func(c *davfs.Config) {
		c.Space = func(context.Context) (davfs.Usage, error) { return davfs.Usage{Used: 1000, Available: 5}, nil }
	})
	r.mkdir("/home/c")
	r.put("/home/c/f", "12345")
	if u, err := r.Usage(r.ctx, "/home"); err != nil || u != (davfs.Usage{Used: 1000, Available: 5}) {
		t.Errorf("Usage(/home) = %+v, %v", u, err)
	}
	if u, err := r.Usage(r.ctx, "/home/c/f"); err != nil || u != (davfs.Usage{Used: 5, Available: 5}) {
		t.Errorf("Usage(/home/c/f) = %+v, %v; want the collection's bytes", u, err)
	}
}

func TestMoveBetweenCollectionsIsOneTransaction(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/a", "/home/b", "/home/a/d")
	r.put("/home/a/d/f", "f")
	before := r.inMemory().Commits()
	for n, move := range [][2]string{{"/home/a/d/f", "/home/b/f"}, {"/home/a/d", "/home/e"}, {"/home/e", "/home/b/e"}, {"/home/b/f", "/home/b/g"}} {
		r.move(move[0], move[1])
		if got := r.inMemory().Commits() - before; got != n+1 {
			t.Errorf("%d moves took %d transactions", n+1, got)
		}
	}
}

// One thing has many names: by UUID, below /users, below /home.
func TestTransfersIntoItselfByAnotherName(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.project(p, "q")
	r.mkdir("/home/p/c", "/home/p/c/d")
	r.put("/home/p/c/d/f", "f")
	r.put("/home/p/l", "l")
	c := "/by_id/" + string(r.entry(p, "c").Collection.UUID)
	for _, names := range [][2]string{
		{"/home/p/c", "/users/admin/p/c"}, {"/home/p/c/d", "/users/admin/p/c"}, {"/home/p/c/d", c + "/d"}, {"/home/p/c/d", c + "/d/e"},
		{"/home/p/c", c + "/e"}, {"/home/p/c/d/f", c + "/d/f"}, {"/home/p/c/d/f", c + "/d"}, {"/home/p", "/users/admin/p"},
		{"/home/p/c", "/users/admin/p"}, {"/home/p/c/d", "/users/admin/p"}, {"/home/p/q", "/users/admin/p"}, {"/home/p/c/d/f", "/users/admin/p"},
		{"/home/p/l", "/users/admin/p"}, {"/home/p", "/users/admin/p/q"}, {"/home/p", "/users/admin/p/c"},
		{"/home/p", "/users/admin/p/x"}, {"/home/p", "/users/admin/p/q/x"}, {"/home/p", "/by_id/" + string(p) + "/x"},
	} {
		_, err := r.Copy(r.ctx, names[0], names[1], davfs.CopyOptions{Overwrite: true})
		wantErr(t, "Copy "+names[0]+" to "+names[1], err, collfs.ErrIntoItself)
		_, err = r.Move(r.ctx, names[0], names[1], davfs.CopyOptions{Overwrite: true})
		wantErr(t, "Move "+names[0]+" to "+names[1], err, collfs.ErrIntoItself)
		r.want("/home/p/c/d/f", "f")
		r.want("/home/p/l", "l")
	}
	r.wantList("/home", "p/")
	r.wantList("/home/p", "c/", "l", "q/")
	r.wantList("/home/p/q")
	r.wantList("/home/p/c", "d/")
}

// revokes is a body at whose end the grant of its sender is gone.
type revokes struct {
	io.Reader
	revoke func()
}

func (b *revokes) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.revoke != nil {
		b.revoke()
		b.revoke = nil
	}
	return n, err
}

func TestUploadEndsWithTheGrantThatItBeganUnder(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/f", "old")
	id := r.entry(r.admin.UUID, "c").Collection.UUID
	bobUser, bob := r.user("bob")
	name, fork := "/by_id/"+string(id)+"/f", "/by_id/"+string(id)+"/._f"
	r.put("/home/c/._f", "old")
	put := func(name string) func(body io.Reader) error {
		return func(body io.Reader) error {
			up, err := bob.Put(r.ctx, name, davfs.PutOptions{Size: 3})
			if err != nil {
				return err
			}
			defer up.Abort()
			if _, err := up.ReadFrom(body); err != nil {
				return err
			}
			_, _, err = up.Commit(r.ctx)
			return err
		}
	}
	write := func(name string) func(body io.Reader) error {
		return func(body io.Reader) error {
			_, err := bob.WriteAt(r.ctx, name, 0, 3, body, nil)
			return err
		}
	}
	for what, write := range map[string]func(body io.Reader) error{
		"put": put(name), "write": write(name), "put of a side file": put(fork), "write to a side file": write(fork),
	} {
		r.grant(bobUser.UUID, id, collfs.CanWrite)
		for {
			if i, err := bob.Stat(r.ctx, name); err == nil && !i.ReadOnly {
				break
			}
			time.Sleep(20 * time.Millisecond) // what is known of a grant may be a second old
		}
		err := write(&revokes{strings.NewReader("new"), func() {
			r.grant(bobUser.UUID, id, collfs.NoAccess)
			for {
				if _, err := bob.Stat(r.ctx, name); errors.Is(err, fs.ErrNotExist) {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}})
		wantErr(t, what+" after the grant was revoked", err, collfs.ErrReadOnly)
		r.want("/home/c/f", "old")
		r.want("/home/c/._f", "old")
	}
}

func TestSharesOfOneNameAreToldApart(t *testing.T) {
	r := newRig(t)
	bobUser, bob := r.user("bob")
	var names []string
	for _, project := range []string{"p", "q"} {
		id := r.collection(r.project(r.admin.UUID, project), "x")
		r.put("/home/"+project+"/x/f", "of "+project)
		r.grant(bobUser.UUID, id, collfs.CanRead)
		names = append(names, "x ("+string(id)+")")
	}
	wantFile(r.ctx, t, bob, "/shared/"+names[0]+"/f", "of p")
	wantFile(r.ctx, t, bob, "/shared/"+names[1]+"/f", "of q")
	_, err := bob.Stat(r.ctx, "/shared/x")
	wantErr(t, "Stat of a name that two have", err, fs.ErrNotExist)
	slices.Sort(names)
	wantList(r.ctx, t, bob, "/shared", names[0]+"/", names[1]+"/")
}
