package davfs_test

import (
	"fmt"
	"io/fs"
	"sync"
	"testing"

	"keepdav/collfs"
	"keepdav/davfs"
)

func TestRmdirTakesWhatIsEmpty(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.mkdir("/home/c", "/home/c/d", "/home/c/d/e", "/home/p/c")
	r.put("/home/c/f", "data")
	r.put("/home/p/loose", "data")
	c, inP := r.entry(r.admin.UUID, "c").Collection.UUID, r.entry(p, "c").Collection.UUID
	refuse := func(name string, want error) {
		t.Helper()
		wantErr(t, "Rmdir "+name, r.Rmdir(r.ctx, name), want)
	}
	take := func(name string) {
		t.Helper()
		if err := r.Rmdir(r.ctx, name); err != nil {
			t.Errorf("Rmdir(%s) = %v", name, err)
		}
		r.wantGone(name)
	}
	for _, name := range []string{"/", "/home", "/users", "/users/admin", "/by_id", "/shared", "/by_id/" + string(c), "/by_id/" + string(p)} {
		refuse(name, collfs.ErrReadOnly)
	}
	for _, name := range []string{"/home/nothing", "/home/c/nothing", "/home/p/nothing", "/nothing", "/home/nothing/c"} {
		refuse(name, fs.ErrNotExist)
	}
	for _, name := range []string{"/home/c/f", "/home/p/loose", "/home/c/.arvados#collection", "/home/.arvados#project"} {
		refuse(name, collfs.ErrNotDir)
	}
	for _, name := range []string{"/home/c", "/home/c/d", "/home/p"} {
		refuse(name, collfs.ErrNotEmpty)
	}
	take("/home/c/d/e")
	refuse("/home/c", collfs.ErrNotEmpty)
	take("/home/c/d")
	refuse("/home/c", collfs.ErrNotEmpty)
	r.must(r.Remove(r.ctx, "/home/c/f", nil))
	take("/home/c")
	refuse("/home/p", collfs.ErrNotEmpty)
	take("/home/p/c")
	refuse("/home/p", collfs.ErrNotEmpty)
	r.must(r.Remove(r.ctx, "/home/p/loose", nil))
	r.wantList("/home/p")
	take("/home/p")
	r.wantList("/home")
	for _, id := range []collfs.UUID{c, inP} {
		if rec, err := r.catalog.Record(r.ctx, id); err != nil || rec.TrashAt.IsZero() {
			t.Errorf("record of a removed collection: %+v, %v; want it in the trash", rec, err)
		}
	}
	e, err := r.catalog.Entry(r.ctx, p)
	if err != nil || e.Project == nil || e.Project.TrashAt.IsZero() {
		t.Errorf("entry of the removed project: %+v, %v; want it in the trash", e, err)
	}
	r.mkdir("/home/c") // the names are free
	r.project(r.admin.UUID, "p")
	r.wantList("/home", "c/", "p/")
	r.reopen()
	r.wantList("/home", "c/", "p/")
}

func TestRmdirOfAnEmptyProjectThatNeverHadAFile(t *testing.T) {
	r := newRig(t)
	p := r.project(r.admin.UUID, "p")
	r.project(p, "q")
	wantErr(t, "Rmdir of a project with one in it", r.Rmdir(r.ctx, "/home/p"), collfs.ErrNotEmpty)
	for _, name := range []string{"/home/p/q", "/home/p"} {
		if err := r.Rmdir(r.ctx, name); err != nil {
			t.Errorf("Rmdir(%s) = %v", name, err)
		}
		r.wantGone(name)
	}
}

func TestRmdirOfADirectoryAmongLooseFiles(t *testing.T) {
	r := newRig(t)
	r.put("/home/f", "makes the collection")
	r.mkdir("/home/Loose files/d")
	r.wantList("/home", "d/", "f")
	if err := r.Rmdir(r.ctx, "/home/d"); err != nil {
		t.Errorf("Rmdir() = %v", err)
	}
	r.wantList("/home", "f")
	r.want("/home/f", "makes the collection")
}

func TestRmdirNeedsTheRightToTakeAway(t *testing.T) {
	r := newRig(t)
	u, f := r.user("other")
	p := r.project(r.admin.UUID, "p")
	r.mkdir("/home/p/c", "/home/p/full", "/home/p/full/d")
	r.grant(u.UUID, p, collfs.CanRead)
	at := "/by_id/" + string(p)
	wantErr(t, "Rmdir by a reader", f.Rmdir(r.ctx, at+"/c"), collfs.ErrReadOnly)
	wantErr(t, "Rmdir of a directory by a reader", f.Rmdir(r.ctx, at+"/full/d"), collfs.ErrReadOnly)
	r.grant(u.UUID, p, collfs.CanWrite)
	r.site.ForgetAccess()
	if err := f.Rmdir(r.ctx, at+"/c"); err != nil {
		t.Errorf("Rmdir by a writer = %v", err)
	}
	r.wantList("/home/p", "full/")
}

func TestRmdirDoesNotCountWhatTheClientDoesNotSee(t *testing.T) {
	r := newRig(t)
	apple := davfs.WithClient(r.ctx, davfs.Client{Apple: true})
	r.project(r.admin.UUID, "p")
	r.mkdir("/home/c", "/home/d", "/home/d/d")
	for _, name := range []string{"/home/c", "/home/d/d", "/home/p"} {
		r.put(name+"/.DS_Store", "litter")
		wantErr(t, "Rmdir for who sees the litter in "+name, r.Rmdir(apple, name), collfs.ErrNotEmpty)
		r.wantList(name)
		if err := r.Rmdir(r.ctx, name); err != nil {
			t.Errorf("Rmdir(%s) = %v", name, err)
		}
		r.wantGone(name)
	}
}

// Either the directory goes, or what is put into it is there.
func TestRmdirTakesNothingThatIsJustPutThere(t *testing.T) {
	for what, way := range map[string]struct {
		make func(r *rig, name string)
		put  func(r *rig, name string) error
		at   string
	}{
		"a file into a collection": {
			make: func(r *rig, name string) { r.mkdir("/home/" + name) },
			put: func(r *rig, name string) error {
				_, err := putFile(r.ctx, r.FS, "/home/"+name+"/f", "data")
				return err
			},
			at: "/f",
		},
		"a loose file into a project": {
			make: func(r *rig, name string) { r.project(r.admin.UUID, name) },
			put: func(r *rig, name string) error {
				_, err := putFile(r.ctx, r.FS, "/home/"+name+"/f", "data")
				return err
			},
			at: "/f",
		},
		"a collection into a project": {
			make: func(r *rig, name string) { r.project(r.admin.UUID, name) },
			put: func(r *rig, name string) error {
				_, err := r.Mkdir(r.ctx, "/home/"+name+"/c", davfs.AttrChange{})
				return err
			},
			at: "/c",
		},
		"another file into the loose files of a project": {
			make: func(r *rig, name string) {
				r.project(r.admin.UUID, name)
				r.put("/home/"+name+"/old", "data")
				r.must(r.Remove(r.ctx, "/home/"+name+"/old", nil))
			},
			put: func(r *rig, name string) error {
				_, err := putFile(r.ctx, r.FS, "/home/"+name+"/f", "data")
				return err
			},
			at: "/f",
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t)
			for i := range 20 {
				name := fmt.Sprint("c", i)
				way.make(r, name)
				var wg sync.WaitGroup
				var put, removed error
				wg.Go(func() { put = way.put(r, name) })
				wg.Go(func() { removed = r.Rmdir(r.ctx, "/home/"+name) })
				wg.Wait()
				_, err := r.Stat(r.ctx, "/home/"+name+way.at)
				switch {
				case put == nil:
					wantErr(t, "Rmdir after the put", removed, collfs.ErrNotEmpty)
					if err != nil {
						t.Errorf("what was put: %v", err)
					}
				case removed != nil:
					// The collection of the loose files may have been there for a moment.
					if what == "a collection into a project" || what == "a file into a collection" {
						t.Errorf("neither: put %v, Rmdir %v", put, removed)
					}
				default:
					wantErr(t, "put into what is gone", put, fs.ErrNotExist)
					r.wantGone("/home/" + name)
				}
			}
		})
	}
}

// Another process makes a collection between our look and our commit.
func TestRmdirOfAProjectTakesNothingOfOthers(t *testing.T) {
	for _, loose := range []bool{false, true} {
		r := newRig(t)
		mem := r.inMemory()
		p := r.project(r.admin.UUID, "p")
		if loose {
			r.put("/home/p/f", "data")
			r.must(r.Remove(r.ctx, "/home/p/f", nil))
		}
		r.during(func(tx collfs.Tx) bool { return len(tx.Records) > 0 && tx.Records[0].Kind == collfs.Trash }, func() { mem.Create(p, "theirs") })
		wantErr(t, "Rmdir", r.Rmdir(r.ctx, "/home/p"), collfs.ErrNotEmpty)
		r.wantList("/home/p", "theirs/")
	}
}

// during calls do once, just before the catalog in memory gets a transaction.
func (r *rig) during(which func(collfs.Tx) bool, do func()) {
	var once sync.Once
	r.faulty = func(tx collfs.Tx) bool {
		if which(tx) {
			once.Do(do)
		}
		return false
	}
	never := error(fs.ErrInvalid)
	r.fault.Store(&never)
}
