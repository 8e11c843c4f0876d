package davfs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"keepdav/collfs"
	"keepdav/davfs"
)

var posix = davfs.CopyOptions{POSIX: true, Overwrite: true}

// things makes one of each below a project of their own, called by what they are.
func (r *rig) things(name string) (dir string) {
	r.t.Helper()
	p := r.project(r.admin.UUID, name)
	dir = "/home/" + name
	r.mkdir(dir+"/c", dir+"/c/dir", dir+"/c/empty dir", dir+"/collection", dir+"/empty collection")
	r.put(dir+"/c/file", "file")
	r.put(dir+"/c/dir/mark", "dir")
	r.put(dir+"/collection/mark", "collection")
	r.put(dir+"/loose", "loose")
	r.project(p, "project")
	r.mkdir(dir + "/project/c")
	r.put(dir+"/project/mark", "project")
	r.project(p, "empty project")
	r.project(p, "emptied project")
	r.put(dir+"/emptied project/f", "f")
	r.must(r.Remove(r.ctx, dir+"/emptied project/f", nil))
	r.mkdir(dir+"/Loose files/loose dir", dir+"/Loose files/empty loose dir")
	r.put(dir+"/loose dir/mark", "loose dir")
	return dir
}

// mark reads what tells things apart.
func (r *rig) mark(name string) string {
	r.t.Helper()
	i, err := r.Stat(r.ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "nothing"
	case err != nil:
		r.t.Fatalf("Stat(%s) = %v", name, err)
	case !i.Dir:
		data, err := getFile(r.ctx, r.FS, name)
		r.must(err)
		return data
	}
	data, err := getFile(r.ctx, r.FS, name+"/mark")
	if errors.Is(err, fs.ErrNotExist) {
		return "empty"
	}
	r.must(err)
	return data
}

func TestRenameReplacesWhatPOSIXReplaces(t *testing.T) {
	r := newRig(t)
	sources := map[string]bool{ // whether it is a directory
		"c/file": false, "loose": false, "c/dir": true, "loose dir": true, "collection": true, "project": true,
	}
	targets := map[string]struct {
		dir, full bool
		path      bool // in a collection
	}{
		"new": {}, "c/new": {path: true}, "c/file": {full: true, path: true}, "loose": {full: true},
		"c/dir": {dir: true, full: true, path: true}, "c/empty dir": {dir: true, path: true},
		"loose dir": {dir: true, full: true}, "empty loose dir": {dir: true},
		"collection": {dir: true, full: true}, "empty collection": {dir: true},
		"project": {dir: true, full: true}, "empty project": {dir: true}, "emptied project": {dir: true},
	}
	n, a, b := 0, "", "" // made anew after each rename that took place
	for source, srcDir := range sources {
		for target, to := range targets {
			var want error
			free := strings.HasSuffix(target, "new")
			switch {
			case source == "project" && to.path:
				want = collfs.ErrNotSupported
			case free:
			case srcDir && !to.dir:
				want = collfs.ErrNotDir
			case !srcDir && to.dir:
				want = collfs.ErrIsDir
			case srcDir && to.full:
				want = collfs.ErrNotEmpty
			}
			if a == "" {
				n += 2
				a, b = r.things(fmt.Sprint("t", n)), r.things(fmt.Sprint("t", n+1))
			}
			src, dst := a+"/"+source, b+"/"+target
			what := fmt.Sprintf("rename of %q to %q", source, target)
			was, there := r.mark(src), r.mark(dst)
			if !free {
				_, err := r.Move(r.ctx, src, dst, davfs.CopyOptions{POSIX: true})
				if want != collfs.ErrNotSupported {
					wantErr(t, what+" without replacing", err, fs.ErrExist)
				}
				if r.mark(src) != was || r.mark(dst) != there {
					t.Errorf("%s that was refused: source %q, target %q", what, r.mark(src), r.mark(dst))
				}
			}
			created, err := r.Move(r.ctx, src, dst, posix)
			if want != nil {
				wantErr(t, what, err, want)
				if r.mark(src) != was || r.mark(dst) != there {
					t.Errorf("%s that was refused: source %q, target %q", what, r.mark(src), r.mark(dst))
				}
				continue
			}
			a = ""
			if err != nil || created != free {
				t.Errorf("%s: created %v, %v; want %v", what, created, err, free)
			}
			if r.mark(src) != "nothing" || r.mark(dst) != was {
				t.Errorf("%s: source %q, target %q; want %q there", what, r.mark(src), r.mark(dst), was)
			}
			parent, base := path.Split(dst)
			names, err := listNames(r.ctx, r.FS, path.Clean(parent))
			seen := 0
			for _, name := range names {
				if strings.TrimSuffix(name, "/") == base {
					seen++
				}
			}
			if err != nil || seen != 1 {
				t.Errorf("%s: it is listed %d times, %v", what, seen, err)
			}
		}
	}
}

func TestRenameToItselfDoesNothing(t *testing.T) {
	r := newRig(t)
	dir := r.things("p")
	p := "/by_id/" + string(r.entry(r.admin.UUID, "p").Project.UUID)
	for _, name := range []string{"/c", "/c/file", "/c/dir", "/loose", "/loose dir", "/empty loose dir", "/collection", "/project", "/empty project"} {
		was := r.mark(dir + name)
		for _, other := range []string{dir + name, p + name} {
			if created, err := r.Move(r.ctx, dir+name, other, posix); created || err != nil {
				t.Errorf("rename of %s to %s = %v, %v", name, other, created, err)
			}
			_, err := r.Move(r.ctx, dir+name, other, davfs.CopyOptions{POSIX: true})
			wantErr(t, "rename of "+name+" to itself without replacing", err, fs.ErrExist)
			if r.mark(dir+name) != was {
				t.Errorf("rename of %s to %s: %q is there; it was %q", name, other, r.mark(dir+name), was)
			}
		}
	}
	for _, names := range [][2]string{
		{"/c", "/c/x"}, {"/c/dir", "/c/dir/x"}, {"/project", "/project/x"}, {"/collection", "/collection/mark/x"},
	} {
		_, err := r.Move(r.ctx, dir+names[0], dir+names[1], posix)
		if err == nil {
			t.Errorf("rename of %s to %s: no error", names[0], names[1])
		}
		_, err = r.Move(r.ctx, dir+names[0], p+names[1], posix)
		if err == nil {
			t.Errorf("rename of %s to %s by another name: no error", names[0], names[1])
		}
	}
	for _, names := range [][2]string{{"/c/dir", "/c"}, {"/project/c", "/project"}, {"/c/dir"}} {
		for _, base := range []string{dir, p} {
			_, err := r.Move(r.ctx, dir+names[0], base+names[1], posix)
			if base == dir || names[1] != "" {
				wantErr(t, "rename of "+names[0]+" to what it lies in, "+base+names[1], err, collfs.ErrNotEmpty)
			}
		}
	}
	for _, names := range [][2]string{{"/c/file", "/c"}, {"/loose"}, {"/project/mark", "/project"}} {
		_, err := r.Move(r.ctx, dir+names[0], dir+names[1], posix)
		wantErr(t, "rename of "+names[0]+" to what it lies in", err, collfs.ErrIsDir)
	}
	if r.mark(dir+"/c/file") != "file" || r.mark(dir+"/loose") != "loose" {
		t.Error("a refused rename took something away")
	}
}

// In a rename, names are bytes.
func TestRenameBesideTheOtherFormOfAName(t *testing.T) {
	r := newRig(t)
	composed, decomposed := "/home/Caf\u00e9", "/home/Cafe\u0301"
	r.mkdir(composed, "/home/c")
	r.put(composed+"/f", "1")
	if created, err := r.Move(r.ctx, "/home/c", decomposed, posix); err != nil || !created {
		t.Errorf("rename to the other form = %v, %v; want a second one", created, err)
	}
	exact := davfs.WithClient(r.ctx, davfs.Client{Exact: true})
	wantFile(exact, t, r.FS, composed+"/f", "1")
	wantList(exact, t, r.FS, decomposed)
}

// What is put into the target just then stays.
func TestRenameReplacesNothingThatIsJustPutThere(t *testing.T) {
	for _, source := range []string{"c/dir", "collection", "project"} {
		for _, target := range []string{"empty collection", "empty project", "emptied project"} {
			r := newRig(t)
			mem := r.inMemory()
			dir := r.things("p")
			to := r.locate(dir + "/" + target)
			is := func(tx collfs.Tx) bool { return len(tx.Records) > 0 && tx.Records[0].Kind == collfs.Trash }
			if to.Folder {
				r.during(is, func() { mem.Create(to.UUID, "theirs") })
			} else {
				r.during(is, func() {
					_, err := mem.Commit(r.ctx, collfs.Tx{Changes: []collfs.Change{{
						Collection: to.UUID, Ops: []collfs.Op{{Kind: collfs.OpMkdir, Path: "theirs"}},
					}}})
					r.must(err)
				})
			}
			was := r.mark(dir + "/" + source)
			_, err := r.Move(r.ctx, dir+"/"+source, dir+"/"+target, posix)
			wantErr(t, "rename of "+source+" to "+target, err, collfs.ErrNotEmpty)
			r.wantList(dir+"/"+target, "theirs/")
			if got := r.mark(dir + "/" + source); got != was {
				t.Errorf("%s = %q after a refused rename; want %q", source, got, was)
			}
		}
	}
}

// handle opens a file for reading and writing, as a mount does.
func (r *rig) handle(name string) *collfs.Handle {
	r.t.Helper()
	l, err := r.Locate(r.ctx, name)
	if err != nil {
		r.t.Fatalf("Locate(%s) = %v", name, err)
	}
	defer l.Collection.Release()
	h, _, err := l.Collection.OpenFile(l.Path, collfs.OpenOptions{Flags: os.O_RDWR})
	if err != nil {
		r.t.Fatalf("OpenFile(%s) = %v", name, err)
	}
	return h
}

// An open file goes on under its new name, dirty or not, and no block is read or
// stored for that.
func TestOpenFilesFollowRenames(t *testing.T) {
	for what, way := range map[string]struct {
		file     string // below the source; "": the source
		src, dst string
	}{
		"a collection is renamed":                         {"/mark", "collection", "renamed"},
		"a collection to another project":                 {"/mark", "collection", "empty project/moved"},
		"a collection over an empty one":                  {"/mark", "collection", "empty collection"},
		"a directory becomes a collection":                {"/mark", "c/dir", "new"},
		"a directory becomes one over an empty one":       {"/mark", "c/dir", "empty collection"},
		"a collection becomes a directory":                {"/mark", "collection", "c/new"},
		"a collection becomes a directory over another":   {"/mark", "collection", "c/empty dir"},
		"a file goes to another collection":               {"", "c/file", "collection/file"},
		"a file goes over one in another collection":      {"", "c/file", "collection/mark"},
		"a directory goes to another collection":          {"/mark", "c/dir", "collection/dir"},
		"a file becomes a loose one":                      {"", "c/file", "new"},
		"a file becomes a loose one of another project":   {"", "c/file", "empty project/new"},
		"a file goes over a loose one":                    {"", "c/file", "loose"},
		"a loose file goes into a collection":             {"", "loose", "c/new"},
		"a loose file is renamed":                         {"", "loose", "new"},
		"a loose file goes to another project":            {"", "loose", "project/new"},
		"a loose file goes over one in a collection":      {"", "loose", "c/file"},
		"a directory among loose files goes to a project": {"/mark", "loose dir", "project/new"},
		"a project goes to another":                       {"/mark", "project", "empty project/moved"},
		"a project goes over an empty one":                {"/mark", "project", "empty project"},
	} {
		t.Run(what, func(t *testing.T) {
			for _, dirty := range []bool{false, true} {
				r := newRig(t)
				dir := r.things("p")
				src, dst := dir+"/"+way.src, dir+"/"+way.dst
				r.storeAll()
				want := []byte(r.mark(src))
				h := r.handle(src + way.file)
				if dirty {
					write(t, h, "D", 0)
					want[0] = 'D'
				}
				r.withoutBlocks(func() {
					if _, err := r.Move(r.ctx, src, dst, posix); err != nil {
						t.Fatalf("rename = %v", err)
					}
				})
				r.want(dst+way.file, string(want))
				wantHandle(t, h, string(want))
				write(t, h, "after", int64(len(want)))
				wantHandle(t, h, string(want)+"after")
				r.must(h.Sync(r.ctx, true))
				r.want(dst+way.file, string(want)+"after")
				r.wantGone(src)
				write(t, h, "!", int64(len(want))+5)
				r.must(h.Close(r.ctx))
				r.reopen()
				r.want(dst+way.file, string(want)+"after!")
				r.wantGone(src)
			}
		})
	}
}

// The file that is replaced lives on for those who have it open.
func TestOpenFilesOutliveWhatReplacesThem(t *testing.T) {
	for _, way := range [][2]string{{"loose", "c/file"}, {"c/file", "loose"}, {"c/file", "collection/mark"}} {
		r := newRig(t)
		dir := r.things("p")
		was, moved := r.mark(dir+"/"+way[1]), r.mark(dir+"/"+way[0])
		if way[1] == "collection/mark" {
			was = "collection"
		}
		h := r.handle(dir + "/" + way[1])
		if _, err := r.Move(r.ctx, dir+"/"+way[0], dir+"/"+way[1], posix); err != nil {
			t.Fatalf("rename of %s to %s = %v", way[0], way[1], err)
		}
		wantHandle(t, h, was)
		write(t, h, "late", 0)
		wantHandle(t, h, "late"+was[min(4, len(was)):])
		r.must(h.Close(r.ctx))
		r.want(dir+"/"+way[1], moved)
		r.wantGone(dir + "/" + way[0])
	}
}

func write(t *testing.T, h *collfs.Handle, data string, off int64) {
	t.Helper()
	if _, err := h.WriteAt(t.Context(), []byte(data), off); err != nil {
		t.Errorf("WriteAt(%q, %d) = %v", data, off, err)
	}
}

func wantHandle(t *testing.T, h *collfs.Handle, want string) {
	t.Helper()
	got := make([]byte, len(want)+10)
	n, err := h.ReadAt(t.Context(), got, 0)
	if string(got[:n]) != want || err != io.EOF {
		t.Errorf("an open file reads %q, %v; want %q", got[:n], err, want)
	}
}

// storeAll brings all blocks to the store.
func (r *rig) storeAll() {
	r.t.Helper()
	cs, done := r.files.Loaded()
	defer done()
	for _, c := range cs {
		if _, err := c.Manifest(context.Background()); err != nil {
			r.t.Fatal(err)
		}
	}
}

// withoutBlocks calls do while the store refuses everything.
func (r *rig) withoutBlocks(do func()) {
	if r.store != nil {
		r.store.SetFault(errors.New("a block is read or stored"))
		defer r.store.SetFault(nil)
	}
	do()
}
