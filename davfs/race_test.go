package davfs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"sync"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/memcatalog"
	"keepdav/davfs"
)

// Movers carry files between collections, directories and the project itself,
// while others turn directories into collections and back and move collections
// between projects. Each file is somewhere, once, all the time.
func TestConcurrentMovesLoseNothing(t *testing.T) {
	r := newRig(t)
	r.project(r.admin.UUID, "p")
	r.mkdir("/home/a", "/home/a/d", "/home/b", "/home/p/c")
	const files, movers, moves = 12, 4, 150
	for n := range files {
		r.put(fmt.Sprintf("/home/a/f%d", n), fmt.Sprint("content of ", n))
	}
	places := []string{"/home", "/home/a", "/home/a/d", "/home/b", "/home/p", "/home/p/c", "/home/wander", "/home/b/wander", "/home/a/wander", "/home/p/wander"}
	var wg sync.WaitGroup
	for m := range movers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(m), 1))
			for range moves {
				file := fmt.Sprintf("/f%d", rnd.IntN(files))
				src, dst := places[rnd.IntN(len(places))]+file, places[rnd.IntN(len(places))]+file
				_, err := r.Move(r.ctx, src, dst, davfs.CopyOptions{})
				expect(t, "move "+src+" to "+dst, err)
			}
		})
	}
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(9, 1))
		wanders := places[len(places)-4:]
		_, err := r.Mkdir(r.ctx, wanders[0], davfs.AttrChange{})
		expect(t, "mkdir", err)
		for range moves {
			src, dst := wanders[rnd.IntN(len(wanders))], wanders[rnd.IntN(len(wanders))]
			_, err := r.Move(r.ctx, src, dst, davfs.CopyOptions{})
			expect(t, "move "+src+" to "+dst, err)
			_, err = r.SetAttr(r.ctx, "/home/b", davfs.AttrChange{Extra: map[string]string{"dav:{}n": fmt.Sprint(rnd.Int())}})
			expect(t, "setattr", err)
		}
	})
	wg.Go(func() {
		for range moves {
			for _, dir := range places {
				_, err := listNames(r.ctx, r.FS, dir)
				expect(t, "list "+dir, err)
			}
			_, err := r.Count(r.ctx, "/home", 1000)
			expect(t, "count", err)
		}
	})
	wg.Wait()
	for range 2 {
		for n := range files {
			var at []string
			for _, dir := range places {
				name := fmt.Sprintf("%s/f%d", dir, n)
				if data, err := getFile(r.ctx, r.FS, name); err == nil && data == fmt.Sprint("content of ", n) {
					at = append(at, name)
				}
			}
			if len(at) != 1 {
				t.Errorf("file %d is at %q; want one place", n, at)
			}
		}
		r.reopen() // and the catalog agrees
	}
}

// expect allows what another's change explains.
func expect(t *testing.T, what string, err error) {
	t.Helper()
	switch collfs.KindOf(err) {
	case collfs.NotExist, collfs.Exist, collfs.IntoItself, collfs.NotDir, collfs.IsDir:
	default:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestFailedCommitIsToldAndLosesNothing(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/f", "old")
	full := errors.New("no room")
	r.inMemory()
	r.fault.Store(&full)
	for what, do := range map[string]func() error{
		"put":     func() error { _, err := putFile(r.ctx, r.FS, "/home/c/g", "new"); return err },
		"loose":   func() error { _, err := putFile(r.ctx, r.FS, "/home/l", "new"); return err },
		"mkdir":   func() error { _, err := r.Mkdir(r.ctx, "/home/d", davfs.AttrChange{}); return err },
		"remove":  func() error { return r.Remove(r.ctx, "/home/c", nil) },
		"move":    func() error { _, err := r.Move(r.ctx, "/home/c", "/home/e", davfs.CopyOptions{}); return err },
		"copy":    func() error { _, err := r.Copy(r.ctx, "/home/c", "/home/e", davfs.CopyOptions{}); return err },
		"extract": func() error { _, err := r.Copy(r.ctx, "/home/c/f", "/home/e", davfs.CopyOptions{}); return err },
	} {
		if err := do(); !errors.Is(err, full) {
			t.Errorf("%s while the catalog fails: %v; want its error", what, err)
		}
	}
	r.fault.Store(nil)
	r.want("/home/c/f", "old")
	r.put("/home/c/h", "after")
	r.wantGone("/home/e")
	r.wantGone("/home/d")
	r.reopen()
	r.want("/home/c/f", "old")
	r.want("/home/c/h", "after")
	r.want("/home/c/g", "new") // kept with the next change of its collection
}

func TestCancelledUploadIsAborted(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	ctx, cancel := context.WithCancel(r.ctx)
	up, err := r.Put(ctx, "/home/c/f", davfs.PutOptions{Size: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := up.Write([]byte("data")); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, _, err := up.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v; want context.Canceled", err)
	}
	up.Abort()
	r.wantGone("/home/c/f")
	if _, err := r.Stat(r.ctx, "/home/c"); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Who puts files into collections that others remove or move gets an error, or
// the file is there, or it is in the trash with the collection it was put into
// before that was removed.
func TestConcurrentPutsAndRemovesTellTheTruth(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/b")
	var wg sync.WaitGroup
	const writers, moves = 4, 30
	stop := make(chan struct{})
	var mu sync.Mutex
	acked := map[string]bool{}
	for w := range writers {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("f%d-%d", w, n)
				_, err := putFile(r.ctx, r.FS, "/home/c/"+name, name)
				expect(t, "put", err)
				if err == nil {
					mu.Lock()
					acked[name] = true
					mu.Unlock()
				}
			}
		})
	}
	wg.Go(func() {
		defer close(stop)
		some := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(acked) > 0
		}
		for n := 0; n < moves || !some() && n < 100*moves; n++ {
			_, err := r.Mkdir(r.ctx, "/home/c", davfs.AttrChange{})
			expect(t, "mkdir", err)
			_, err = r.Move(r.ctx, "/home/c", fmt.Sprintf("/home/b/d%d", n), davfs.CopyOptions{})
			expect(t, "move", err)
		}
	})
	wg.Wait()
	r.mkdir("/home/c")
	there := map[string]int{}
	dirs, err := listNames(r.ctx, r.FS, "/home/b")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range append(dirs, "../c") {
		files, err := listNames(r.ctx, r.FS, path.Join("/home/b", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			there[f]++
		}
	}
	if len(acked) == 0 {
		t.Error("no put succeeded: nothing was tried")
	}
	for name := range acked {
		if there[name] != 1 {
			t.Errorf("%s, whose put succeeded, is there %d times", name, there[name])
		}
	}
}

// A meanwhile does something once, after a name was looked up.
type meanwhile struct {
	collfs.Folders
	name string
	do   func()
}

func (m *meanwhile) Lookup(ctx context.Context, project collfs.UUID, name string) (collfs.Entry, error) {
	e, err := m.Folders.Lookup(ctx, project, name)
	if do := m.do; do != nil && name == m.name {
		m.do = nil
		do()
	}
	return e, err
}

// Between finding a record and changing it, somebody may have moved it: it must
// not go from where it is now.
func TestRecordThatWasMovedAwayMeanwhileStaysThere(t *testing.T) {
	for what, change := range map[string]func(r *rig) error{
		"remove": func(r *rig) error { return r.Remove(r.ctx, "/home/c", nil) },
		"move":   func(r *rig) error { _, err := r.Move(r.ctx, "/home/c", "/home/e", davfs.CopyOptions{}); return err },
		"move into a collection": func(r *rig) error {
			_, err := r.Move(r.ctx, "/home/c", "/home/other/e", davfs.CopyOptions{})
			return err
		},
		"move over it": func(r *rig) error {
			_, err := r.Move(r.ctx, "/home/other", "/home/c", davfs.CopyOptions{Overwrite: true})
			return err
		},
		"copy over it": func(r *rig) error {
			_, err := r.Copy(r.ctx, "/home/other", "/home/c", davfs.CopyOptions{Overwrite: true})
			return err
		},
		"move of a file over it": func(r *rig) error {
			_, err := r.Move(r.ctx, "/home/other/f", "/home/c", davfs.CopyOptions{Overwrite: true})
			return err
		},
	} {
		m := new(meanwhile)
		r := newRig(t, func(c *davfs.Config) {
			m.Folders = c.Folders
			c.Folders = m
		})
		p := r.project(r.admin.UUID, "p")
		r.mkdir("/home/c", "/home/other")
		r.put("/home/c/f", "precious")
		r.put("/home/other/f", "other")
		r.reopen() // nothing is known of names
		m.name, m.do = "c", func() { r.move("/home/c", "/home/p/d") }
		_ = change(r)
		if m.do != nil {
			t.Errorf("%s: nothing happened meanwhile", what)
		}
		if got, err := getFile(r.ctx, r.FS, "/home/p/d/f"); err != nil || got != "precious" {
			t.Errorf("%s: what was moved away is %q, %v", what, got, err)
		}
		if e, err := r.catalog.Lookup(r.ctx, p, "d"); err != nil || !e.Collection.TrashAt.IsZero() {
			t.Errorf("%s: the collection that was moved away is %+v, %v", what, e, err)
		}
	}
}

func TestFilePutUnderANameThatARecordTakesIsKept(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/in", "c")
	r.put("/home/x", "old")
	once := true
	r.inMemory().Fault = func(_ context.Context, tx collfs.Tx) (o memcatalog.Outcome) {
		if len(tx.Records) > 0 && once { // after the old one was looked at
			once = false
			r.put("/home/Loose files/x", "new")
		}
		return o
	}
	if _, err := r.Move(r.ctx, "/home/c", "/home/x", davfs.CopyOptions{Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	r.want("/home/x/in", "c")
	r.want("/home/Loose files/x", "new")
}

// Who may only read a project can have it copied for hours.
func TestCopyOfAProjectDoesNotHoldUpItsOwner(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.project(p, "sub")
	r.mkdir("/home/p/sub/c")
	bobUser, bob := r.user("bob")
	r.grant(bobUser.UUID, p, collfs.CanRead)
	copying, goOn := make(chan struct{}), make(chan struct{})
	r.inMemory().Fault = func(_ context.Context, tx collfs.Tx) (o memcatalog.Outcome) {
		for _, op := range tx.Records {
			if op.Kind == collfs.CreateCollection && op.Name == "c" {
				close(copying)
				<-goOn
			}
		}
		return o
	}
	copied, made := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := bob.Copy(r.ctx, "/shared/admin/p/sub", "/home/sub", davfs.CopyOptions{})
		copied <- err
	}()
	select {
	case <-copying:
	case err := <-copied:
		t.Fatalf("Copy = %v before anything was copied", err)
	}
	go func() {
		_, err := r.Mkdir(r.ctx, "/home/p/d", davfs.AttrChange{})
		made <- err
	}()
	select {
	case err := <-made:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a directory cannot be made while a reader copies its neighbour")
	}
	close(goOn)
	if err := <-copied; err != nil {
		t.Error(err)
	}
}
