package davfs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
)

// snapshot is all that a user sees below a directory, with contents.
func snapshot(t *testing.T, r *rig, dir string) string {
	t.Helper()
	names, err := listNames(r.ctx, r.FS, dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, n := range names {
		if strings.HasSuffix(n, "/") {
			fmt.Fprintf(&b, "%s/%s\n%s", dir, n, snapshot(t, r, dir+"/"+strings.TrimSuffix(n, "/")))
			continue
		}
		i, err := r.Stat(r.ctx, dir+"/"+n)
		if err != nil {
			t.Fatal(err)
		}
		data, err := getFile(r.ctx, r.FS, dir+"/"+n)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s/%s %v %v %q\n", dir, n, i.Attr.Extra, i.ModTime, data)
	}
	return b.String()
}

// A reader tries every change, by every name that leads to what he may read.
func TestReaderChangesNothingByAnyName(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	sub := r.project(p, "sub")
	r.mkdir("/home/p/c", "/home/p/c/d", "/home/p/sub/e", "/home/private")
	r.put("/home/p/c/f", "f")
	r.put("/home/p/c/d/g", "g")
	r.put("/home/p/loose", "loose")
	r.put("/home/p/sub/e/h", "h")
	r.put("/home/private/secret", "secret")
	r.put("/home/p/c/._f", "fork")
	r.put("/home/p/._loose", "fork")
	c := r.entry(p, "c").Collection
	e := r.entry(sub, "e").Collection
	secret := r.entry(r.admin.UUID, "private").Collection
	looseFiles := r.entry(p, "Loose files").Collection
	pdhOf := func(id collfs.UUID) string {
		col, err := r.files.Open(r.ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		defer col.Release()
		pdh, err := col.PDH(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		return string(pdh)
	}
	cPDH, secretPDH := pdhOf(c.UUID), pdhOf(secret.UUID)
	bobUser, bob := r.user("bob")
	r.grant(bobUser.UUID, p, collfs.CanRead)
	if _, err := bob.Mkdir(r.ctx, "/home/mine", davfs.AttrChange{}); err != nil {
		t.Fatal(err)
	}
	if _, err := putFile(r.ctx, bob, "/home/mine/own", "own"); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, r, "/home")

	var roots []string
	for _, base := range []string{"/by_id/" + string(p), "/shared/admin/p", "/users/admin/p"} {
		roots = append(roots, base, base+"/c", base+"/sub", base+"/sub/e", base+"/Loose files")
	}
	for _, id := range []collfs.UUID{c.UUID, e.UUID, sub, looseFiles.UUID} {
		roots = append(roots, "/by_id/"+string(id))
	}
	roots = append(roots, "/by_id/"+string(c.UUID)+"@1", "/by_id/"+string(c.UUID)+"@2", "/by_id/"+cPDH, "/by_id", "/shared", "/shared/admin", "/users", "/users/admin", "/")
	names := slices.Clone(roots)
	for _, root := range roots {
		for _, n := range []string{"f", "d", "d/g", "d/new", "new", "loose", "c", "sub", "h", "._f", "._loose", "._new", ".DS_Store", ".arvados#collection", ".arvados#project", "Loose files"} {
			names = append(names, strings.TrimSuffix(root, "/")+"/"+n)
		}
	}
	text := "bob was here"
	extra := davfs.AttrChange{Extra: map[string]string{"dav:{x}y": "z"}}
	over := davfs.CopyOptions{Overwrite: true}
	for _, apple := range []bool{false, true} {
		ctx := davfs.WithClient(r.ctx, davfs.Client{Apple: apple, FoldCase: !apple})
		for _, n := range names {
			tries := map[string]error{}
			_, tries["put"] = putFile(ctx, bob, n, text)
			_, tries["mkdir"] = bob.Mkdir(ctx, n, davfs.AttrChange{})
			tries["remove"] = bob.Remove(ctx, n, nil)
			_, tries["setattr"] = bob.SetAttr(ctx, n, extra)
			_, tries["write"] = bob.WriteAt(ctx, n, 0, int64(len(text)), strings.NewReader(text), nil)
			_, tries["append"] = bob.WriteAt(ctx, n, -1, int64(len(text)), strings.NewReader(text), nil)
			_, tries["move away"] = bob.Move(ctx, n, "/home/stolen", over)
			_, tries["move away into a collection"] = bob.Move(ctx, n, "/home/mine/stolen", over)
			for _, src := range []string{"/home/mine", "/home/mine/own"} {
				_, tries["copy "+src+" there"] = bob.Copy(ctx, src, n, over)
				_, tries["move "+src+" there"] = bob.Move(ctx, src, n, over)
			}
			for _, other := range []string{"/by_id/" + string(p) + "/c/f", "/by_id/" + string(p) + "/c/d", "/by_id/" + string(p) + "/c"} {
				_, tries["copy "+other+" there"] = bob.Copy(ctx, other, n, over)
				_, tries["move "+other+" there"] = bob.Move(ctx, other, n, over)
			}
			for what, err := range tries {
				if err == nil {
					t.Errorf("bob may %s: %s", what, n)
				}
			}
		}
	}
	// Reading is allowed, of what he was given only.
	for _, n := range []string{
		"/by_id/" + string(secret.UUID), "/by_id/" + string(secret.UUID) + "/secret", "/by_id/" + string(secret.UUID) + "/.arvados#collection", "/by_id/" + string(secret.UUID) + "@1/secret",
		"/by_id/" + secretPDH + "/secret", "/by_id/" + secretPDH + "/.arvados#collection", "/by_id/" + string(r.admin.UUID), "/users/admin/private", "/shared/admin/private",
		"/by_id/" + string(r.admin.UUID) + "/private/secret", "/by_id/" + string(r.admin.UUID) + "/.arvados#project",
	} {
		if _, err := bob.Stat(r.ctx, n); err == nil {
			t.Errorf("bob may see %s", n)
		}
		if _, err := bob.Open(r.ctx, n); err == nil {
			t.Errorf("bob may open %s", n)
		}
		if _, err := bob.List(r.ctx, n); err == nil {
			t.Errorf("bob may list %s", n)
		}
		if _, err := bob.Sum(r.ctx, n, "MD5"); err == nil {
			t.Errorf("bob may sum %s", n)
		}
		if _, err := bob.Copy(r.ctx, n, "/home/stolen", over); err == nil {
			t.Errorf("bob may copy %s", n)
		}
		if _, err := bob.Count(r.ctx, n, 10); err == nil {
			t.Errorf("bob may count %s", n)
		}
	}
	if after := snapshot(t, r, "/home"); after != before {
		t.Errorf("bob has changed something:\n%s\nwas:\n%s", after, before)
	}
	wantList(r.ctx, t, bob, "/home", "mine/")
	wantList(r.ctx, t, bob, "/home/mine", "own")
}

func TestFewLargeMetaFilesAreInMemoryAtOnce(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c", "/home/c/d0")
	for i := range 100 {
		r.put(fmt.Sprintf("/home/c/d0/f%d", i), "x")
	}
	for i := range 100 {
		r.copy("/home/c/d0", fmt.Sprintf("/home/c/d%d", i+1))
	}
	const name = "/home/c/.arvados#collection"
	var open []davfs.File
	for range 4 {
		f, err := r.Open(r.ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	ctx, stop := context.WithTimeout(r.ctx, 500*time.Millisecond) // far longer than it takes
	defer stop()
	if _, err := r.Open(ctx, name); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one more: %v; want it to wait until its request ends", err)
	}
	for _, f := range open {
		f.Close()
		f.Close()
	}
	if _, err := r.Stat(r.ctx, name); err != nil {
		t.Errorf("after the others were closed: %v", err)
	}
}

// finds is a catalog that counts the searches for contents under way.
type finds struct {
	collfs.Folders
	now, most atomic.Int32
}

func (f *finds) FindPDH(ctx context.Context, user collfs.UUID, pdh collfs.PDH) (collfs.UUID, int, error) {
	n := f.now.Add(1)
	defer f.now.Add(-1)
	for most := f.most.Load(); n > most && !f.most.CompareAndSwap(most, n); most = f.most.Load() {
	}
	for range 1000 {
		runtime.Gosched()
	}
	return f.Folders.FindPDH(ctx, user, pdh)
}

func TestFewContentsAreSearchedForAtOnce(t *testing.T) {
	count := &finds{}
	r := newRig(t, func(c *davfs.Config) {
		count.Folders = c.Folders
		c.Folders = count
	})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if _, err := r.Stat(r.ctx, fmt.Sprintf("/by_id/%032x+100", i)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Stat of a content that is nowhere = %v", err)
			}
		})
	}
	wg.Wait()
	if n := count.most.Load(); n > 2 {
		t.Errorf("%d searches ran at once; want 2 at most", n)
	}
}
