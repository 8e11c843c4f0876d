package davfs_test

import (
	"context"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
)

func TestAppleLitterStaysOutOfCollections(t *testing.T) {
	r := newRig(t)
	mac := davfs.WithClient(r.ctx, davfs.Client{Apple: true})
	r.mkdir("/home/c", "/home/c/d")
	r.put("/home/c/f", "main")
	for _, name := range []string{"/home/c/._f", "/home/c/.DS_Store", "/home/c/d/._x", "/home/._c", "/home/.DS_Store"} {
		if _, err := putFile(mac, r.FS, name, "litter of "+name); err != nil {
			t.Fatal(err)
		}
		wantFile(mac, t, r.FS, name, "litter of "+name)
		r.want(name, "litter of "+name)
	}
	r.wantList("/home/c", "d/", "f")
	r.wantList("/home/c/d")
	r.wantList("/home", "c/")
	wantList(mac, t, r.FS, "/home/c", ".DS_Store", "._f", "d/", "f")
	wantList(mac, t, r.FS, "/home/c/d", "._x")
	wantList(mac, t, r.FS, "/home", ".DS_Store", "._c", "c/")
	if rec := r.entry(r.admin.UUID, "c").Collection; rec.Files != 1 {
		t.Errorf("the collection has %d files; want 1", rec.Files)
	}
	if _, err := putFile(mac, r.FS, "/home/c/._f", "new"); err != nil {
		t.Fatal(err)
	}
	r.want("/home/c/._f", "new")
	_, err := r.Put(mac, "/home/c/no/._f", davfs.PutOptions{})
	wantErr(t, "Put without a parent", err, davfs.ErrNoParent)
	if err := r.Remove(mac, "/home/c/._f", nil); err != nil {
		t.Error(err)
	}
	r.wantGone("/home/c/._f")
}

func TestAppleLitterFollowsItsFile(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c", "/home/c/d", "/home/e")
	r.put("/home/c/f", "main")
	r.put("/home/c/._f", "fork")
	r.put("/home/c/d/.DS_Store", "view")
	r.move("/home/c/f", "/home/c/g")
	r.want("/home/c/._g", "fork")
	r.wantGone("/home/c/._f")
	r.move("/home/c/g", "/home/e/h")
	r.want("/home/e/._h", "fork")
	r.move("/home/c/d", "/home/e/d")
	r.want("/home/e/d/.DS_Store", "view")
	r.move("/home/e/h", "/home/loose")
	r.want("/home/._loose", "fork")
	if err := r.Remove(r.ctx, "/home/loose", nil); err != nil {
		t.Fatal(err)
	}
	r.wantGone("/home/._loose")
	if err := r.Remove(r.ctx, "/home/e/d", nil); err != nil {
		t.Fatal(err)
	}
	r.mkdir("/home/e/d")
	r.wantGone("/home/e/d/.DS_Store")
}

func TestAppleLitterMovesByItself(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c", "/home/c/d")
	r.put("/home/c/._f", "fork")
	r.move("/home/c/._f", "/home/c/d/._g")
	r.want("/home/c/d/._g", "fork")
	r.wantGone("/home/c/._f")
	r.copy("/home/c/d/._g", "/home/c/._h")
	r.want("/home/c/._h", "fork")
	// Under a name that is none of litter it is a file.
	r.move("/home/c/._h", "/home/c/data")
	r.want("/home/c/data", "fork")
	r.wantGone("/home/c/._h")
	r.wantList("/home/c", "d/", "data")
	_, err := r.Move(r.ctx, "/home/c/d/._g", "/home/c/data", davfs.CopyOptions{})
	wantErr(t, "Move over a file", err, fs.ErrExist)
}

func TestLargeResourceForksAreStoredAsFiles(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	big := strings.Repeat("x", 16<<20+1)
	r.put("/home/c/._known", big)
	up, err := r.Put(r.ctx, "/home/c/._unknown", davfs.PutOptions{Size: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Abort()
	if _, err := up.ReadFrom(strings.NewReader(big)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := up.Commit(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.wantList("/home/c", "._known", "._unknown")
	r.want("/home/c/._unknown", big)
	// What is in the collection stays there, whatever its size.
	r.put("/home/c/._known", "small")
	r.wantList("/home/c", "._known", "._unknown")
	r.want("/home/c/._known", "small")
}

func TestApplePolicies(t *testing.T) {
	store := newRig(t, func(c *davfs.Config) { c.Apple = davfs.AppleStore })
	store.mkdir("/home/c")
	store.put("/home/c/._f", "fork")
	store.wantList("/home/c", "._f")
	discard := newRig(t, func(c *davfs.Config) { c.Apple = davfs.AppleDiscard })
	discard.mkdir("/home/c")
	discard.put("/home/c/._f", "fork")
	discard.wantList("/home/c")
	discard.wantGone("/home/c/._f")
	none := newRig(t, func(c *davfs.Config) { c.Side = nil })
	none.mkdir("/home/c")
	none.put("/home/c/._f", "fork")
	none.wantList("/home/c", "._f")
}

// A file that a user gives such a name is still the user's.
func TestFileMovedToTheNameOfAppleLitterIsKept(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/f", "one")
	r.put("/home/c/g", "two")
	r.put("/home/c/h", "three")
	for _, names := range [][2]string{{"/home/c/f", "/home/._f"}, {"/home/c/g", "/home/c/._g"}, {"/home/c/h", "/home/.DS_Store"}} {
		if _, err := r.Move(r.ctx, names[0], names[1], davfs.CopyOptions{}); err != nil {
			t.Errorf("Move to %s = %v", names[1], err)
		}
	}
	r.want("/home/._f", "one")
	r.want("/home/c/._g", "two")
	r.want("/home/.DS_Store", "three")
	r.wantList("/home", ".DS_Store", "._f", "c/")
}

// What happens while a side file comes in counts when it is linked.
func TestSideFileIsLinkedWhereItCanBeSeen(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c", "/home/c/d")
	begin := func(name string) davfs.Upload {
		up, err := r.Put(r.ctx, name, davfs.PutOptions{Size: 3})
		r.must(err)
		t.Cleanup(up.Abort)
		_, err = up.Write([]byte("new"))
		r.must(err)
		return up
	}
	up := begin("/home/c/d/._f")
	r.must(r.Remove(r.ctx, "/home/c/d", nil))
	_, _, err := up.Commit(r.ctx)
	wantErr(t, "Commit after the directory went", err, davfs.ErrNoParent)
	r.mkdir("/home/c/d")
	r.wantGone("/home/c/d/._f")

	r.put("/home/c/f", "file")
	for _, name := range []string{"/home/c/._f", "/home/._f"} {
		up := begin(name)
		r.copy("/home/c/f", name) // to the collection
		if _, created, err := up.Commit(r.ctx); err != nil || created {
			t.Errorf("Commit over a file = created %v, %v", created, err)
		}
		r.want(name, "new")
		r.must(r.Remove(r.ctx, name, nil))
		r.wantGone(name)
	}
}

// hookedSide lets a test in when a side file has been read or written.
type hookedSide struct {
	davfs.SideStore
	got func()
	put func(key collfs.UUID, f davfs.SideFile)
}

func (s hookedSide) GetSide(ctx context.Context, key collfs.UUID, p string) (davfs.SideFile, error) {
	f, err := s.SideStore.GetSide(ctx, key, p)
	if s.got != nil {
		s.got()
	}
	return f, err
}

func (s hookedSide) PutSide(ctx context.Context, key collfs.UUID, f davfs.SideFile) error {
	err := s.SideStore.PutSide(ctx, key, f)
	if err == nil && s.put != nil {
		s.put(key, f)
	}
	return err
}

func TestConcurrentChangesOfLitterAreAllThere(t *testing.T) {
	r := newRig(t, func(conf *davfs.Config) {
		conf.Side = hookedSide{SideStore: conf.Side, got: func() {
			for range 10 {
				runtime.Gosched()
			}
		}}
	})
	r.mkdir("/home/c")
	r.put("/home/c/._f", "")
	const writers, each = 4, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				piece := fmt.Sprintf("<%d %d>", w, n)
				if _, err := r.WriteAt(r.ctx, "/home/c/._f", -1, int64(len(piece)), strings.NewReader(piece), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for n := range each {
			at := time.Unix(int64(n), 0)
			if _, err := r.SetAttr(r.ctx, "/home/c/._f", davfs.AttrChange{ModTime: &at}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	got, err := getFile(r.ctx, r.FS, "/home/c/._f")
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for w := range writers {
		for n := range each {
			if !strings.Contains(got, fmt.Sprintf("<%d %d>", w, n)) {
				lost++
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged writes are lost", lost, writers*each)
	}
}

func TestLitterMovedToItselfByAnotherNameStays(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/._f", "fork")
	alias := "/by_id/" + string(r.entry(r.admin.UUID, "c").Collection.UUID) + "/._f"
	for _, move := range []func(context.Context, string, string, davfs.CopyOptions) (bool, error){r.Move, r.Copy} {
		_, err := move(r.ctx, "/home/c/._f", alias, davfs.CopyOptions{Overwrite: true})
		wantErr(t, "onto itself", err, collfs.ErrIntoItself)
		r.want("/home/c/._f", "fork")
	}
}

func TestLitterPutWhileTheOldOneIsMovedStays(t *testing.T) {
	r := newRig(t, func(conf *davfs.Config) {
		side := conf.Side
		conf.Side = hookedSide{SideStore: side, put: func(key collfs.UUID, f davfs.SideFile) {
			if f.Path != "._g" {
				return
			}
			data := []byte("put meanwhile")
			f.Path, f.Data, f.Size, f.Content = "._f", data, int64(len(data)), collfs.ContentID{1}
			if err := side.PutSide(t.Context(), key, f); err != nil {
				t.Error(err)
			}
		}}
	})
	r.mkdir("/home/c")
	r.put("/home/c/._f", "fork")
	r.move("/home/c/._f", "/home/c/._g")
	r.want("/home/c/._g", "fork")
	r.want("/home/c/._f", "put meanwhile")
}
