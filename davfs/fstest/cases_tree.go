package fstest

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
)

func mkdirMakes(ctx context.Context, f davfs.FileSystem, dir string) error {
	when := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	i, err := f.Mkdir(ctx, dir+"/d", davfs.AttrChange{ModTime: &when})
	if err != nil || !i.Dir || i.Name != "d" {
		return fmt.Errorf("mkdir = %+v, %v; want a directory d", i, err)
	}
	if i, err = f.Stat(ctx, dir+"/d"); err != nil || !i.Dir || !i.ModTime.Equal(when) {
		return fmt.Errorf("stat = dir %v, time %v, %v; want a directory of %v", i.Dir, i.ModTime, err, when)
	}
	return first(wantNames(ctx, f, dir, "d/"), wantNames(ctx, f, dir+"/d"))
}

func mkdirOverSomething(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := first(mustPut(ctx, f, dir+"/f", "x"), mustMkdir(ctx, f, dir+"/d"), mustPut(ctx, f, dir+"/d/g", "y")); err != nil {
		return err
	}
	_, err1 := f.Mkdir(ctx, dir+"/f", davfs.AttrChange{})
	_, err2 := f.Mkdir(ctx, dir+"/d", davfs.AttrChange{})
	return first(wantErr("mkdir over a file", err1, fs.ErrExist), wantErr("mkdir over a directory", err2, fs.ErrExist),
		wantContent(ctx, f, dir+"/f", "x"), wantContent(ctx, f, dir+"/d/g", "y"))
}

func listSorted(ctx context.Context, f davfs.FileSystem, dir string) error {
	var want []string
	for n := range 40 {
		name := fmt.Sprintf("%c%d", 'a'+(n*7)%26, n)
		if err := mustPut(ctx, f, dir+"/"+name, name); err != nil {
			return err
		}
		want = append(want, name)
	}
	if err := mustMkdir(ctx, f, dir+"/m-dir"); err != nil {
		return err
	}
	slices.Sort(append(want, "m-dir"))
	got, err := names(ctx, f, dir)
	if err != nil || !slices.IsSorted(got) || len(got) != 41 || !slices.Contains(got, "m-dir/") {
		return fmt.Errorf("list = %q, %v; want 41 names, sorted", got, err)
	}
	l, err := f.List(ctx, dir)
	if err != nil {
		return err
	}
	defer l.Close()
	batch := make([]davfs.Info, 100)
	n, err := l.Next(batch)
	if err != nil {
		return err
	}
	for _, i := range batch[:n] {
		s, err := f.Stat(ctx, dir+"/"+i.Name)
		if err != nil || s.Size != i.Size || s.Content != i.Content || s.Dir != i.Dir || !s.ModTime.Equal(i.ModTime) || s.Collection != i.Collection || s.Path != i.Path {
			return fmt.Errorf("listed %+v; stat says %+v, %v", i, s, err)
		}
	}
	return nil
}

func listSnapshot(ctx context.Context, f davfs.FileSystem, dir string) error {
	for _, name := range []string{"a", "b", "c"} {
		if err := mustPut(ctx, f, dir+"/"+name, name); err != nil {
			return err
		}
	}
	l, err := f.List(ctx, dir)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := first(f.Remove(ctx, dir+"/b", nil), mustPut(ctx, f, dir+"/b2", "x"), mustPut(ctx, f, dir+"/c", "longer")); err != nil {
		return err
	}
	batch := make([]davfs.Info, 10)
	var got []string
	for {
		n, err := l.Next(batch)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		for _, i := range batch[:n] {
			got = append(got, i.Name)
		}
	}
	if strings.Join(got, "") != "abc" {
		return fmt.Errorf("listing from before the changes = %q; want a, b, c", got)
	}
	return wantNames(ctx, f, dir, "a", "b2", "c")
}

func listOfFile(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := mustPut(ctx, f, dir+"/f", "x"); err != nil {
		return err
	}
	_, err := f.List(ctx, dir+"/f")
	_, err2 := f.Open(ctx, dir)
	return first(wantErr("list of a file", err, collfs.ErrNotDir), wantErr("open of a directory", err2, collfs.ErrIsDir))
}

// plant makes a small tree: dir/t with a, d/b, d/e/ (empty).
func plant(ctx context.Context, f davfs.FileSystem, dir string) error {
	return first(mustMkdir(ctx, f, dir+"/t"), mustPut(ctx, f, dir+"/t/a", "aa"), mustMkdir(ctx, f, dir+"/t/d"),
		mustPut(ctx, f, dir+"/t/d/b", "bb"), mustMkdir(ctx, f, dir+"/t/d/e"))
}

func wantPlanted(ctx context.Context, f davfs.FileSystem, t string) error {
	return first(wantNames(ctx, f, t, "a", "d/"), wantNames(ctx, f, t+"/d", "b", "e/"), wantNames(ctx, f, t+"/d/e"),
		wantContent(ctx, f, t+"/a", "aa"), wantContent(ctx, f, t+"/d/b", "bb"))
}

func removeTree(ctx context.Context, f davfs.FileSystem, dir string) error {
	return first(plant(ctx, f, dir), mustPut(ctx, f, dir+"/stays", "x"), f.Remove(ctx, dir+"/t/a", nil), wantMissing(ctx, f, dir+"/t/a"),
		f.Remove(ctx, dir+"/t", nil), wantMissing(ctx, f, dir+"/t/d/b"), wantNames(ctx, f, dir, "stays"))
}

func removeCheck(ctx context.Context, f davfs.FileSystem, dir string) error {
	i, _, err := put(ctx, f, dir+"/f", "x")
	if err != nil {
		return err
	}
	refused := errors.New("refused")
	err = f.Remove(ctx, dir+"/f", func(got davfs.Info, ok bool) error {
		if !ok || got.ETag() != i.ETag() {
			return fmt.Errorf("check saw %+v, %v", got, ok)
		}
		return refused
	})
	return first(wantErr("remove", err, refused), wantContent(ctx, f, dir+"/f", "x"))
}

func moveKeeps(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := first(mustPut(ctx, f, dir+"/a", "data"), mustMkdir(ctx, f, dir+"/d")); err != nil {
		return err
	}
	created, err := f.Move(ctx, dir+"/a", dir+"/d/b", davfs.CopyOptions{})
	if err != nil || !created {
		return fmt.Errorf("move = created %v, %v; want it made", created, err)
	}
	return first(wantMissing(ctx, f, dir+"/a"), wantContent(ctx, f, dir+"/d/b", "data"))
}

func moveTree(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := first(plant(ctx, f, dir), mustMkdir(ctx, f, dir+"/into")); err != nil {
		return err
	}
	if _, err := f.Move(ctx, dir+"/t", dir+"/into/u", davfs.CopyOptions{}); err != nil {
		return err
	}
	return first(wantNames(ctx, f, dir, "into/"), wantPlanted(ctx, f, dir+"/into/u"))
}

func moveOver(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := first(plant(ctx, f, dir), mustPut(ctx, f, dir+"/a", "one"), mustPut(ctx, f, dir+"/b", "two")); err != nil {
		return err
	}
	for _, dst := range []string{dir + "/b", dir + "/t"} {
		_, err := f.Move(ctx, dir+"/a", dst, davfs.CopyOptions{})
		_, err2 := f.Copy(ctx, dir+"/a", dst, davfs.CopyOptions{})
		if err := first(wantErr("move over something", err, fs.ErrExist), wantErr("copy over something", err2, fs.ErrExist)); err != nil {
			return err
		}
	}
	if err := first(wantContent(ctx, f, dir+"/a", "one"), wantContent(ctx, f, dir+"/b", "two"), wantPlanted(ctx, f, dir+"/t")); err != nil {
		return err
	}
	if created, err := f.Move(ctx, dir+"/a", dir+"/b", davfs.CopyOptions{Overwrite: true}); err != nil || created {
		return fmt.Errorf("move over a file = created %v, %v; want it replaced", created, err)
	}
	if err := first(wantMissing(ctx, f, dir+"/a"), wantContent(ctx, f, dir+"/b", "one")); err != nil {
		return err
	}
	if created, err := f.Move(ctx, dir+"/b", dir+"/t", davfs.CopyOptions{Overwrite: true}); err != nil || created {
		return fmt.Errorf("move of a file over a directory = created %v, %v; want it replaced", created, err)
	}
	if err := first(wantNames(ctx, f, dir, "t"), wantContent(ctx, f, dir+"/t", "one"), mustMkdir(ctx, f, dir+"/d"), mustPut(ctx, f, dir+"/d/x", "x")); err != nil {
		return err
	}
	if created, err := f.Move(ctx, dir+"/d", dir+"/t", davfs.CopyOptions{Overwrite: true}); err != nil || created {
		return fmt.Errorf("move of a directory over a file = created %v, %v; want it replaced", created, err)
	}
	return first(wantNames(ctx, f, dir, "t/"), wantContent(ctx, f, dir+"/t/x", "x"))
}

func moveIntoItself(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := plant(ctx, f, dir); err != nil {
		return err
	}
	for _, dst := range []string{dir + "/t/x", dir + "/t/d/x", dir + "/t/d"} {
		_, err := f.Move(ctx, dir+"/t", dst, davfs.CopyOptions{Overwrite: true})
		if err := wantErr("move of t to "+dst, err, collfs.ErrIntoItself); err != nil {
			return err
		}
	}
	for _, over := range []string{dir + "/t", dir + "/t/d"} {
		if _, err := f.Move(ctx, dir+"/t/d/b", over, davfs.CopyOptions{Overwrite: true}); err == nil {
			return fmt.Errorf("move of t/d/b over %s, which it lies in: no error", over)
		}
	}
	return wantPlanted(ctx, f, dir+"/t")
}

func moveOfNothing(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := mustPut(ctx, f, dir+"/b", "two"); err != nil {
		return err
	}
	_, err := f.Move(ctx, dir+"/a", dir+"/b", davfs.CopyOptions{Overwrite: true})
	_, err2 := f.Copy(ctx, dir+"/a", dir+"/b", davfs.CopyOptions{Overwrite: true})
	return first(wantErr("move of nothing", err, fs.ErrNotExist), wantErr("copy of nothing", err2, fs.ErrNotExist), wantContent(ctx, f, dir+"/b", "two"))
}

func copyIndependent(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := mustPut(ctx, f, dir+"/a", "original"); err != nil {
		return err
	}
	if created, err := f.Copy(ctx, dir+"/a", dir+"/b", davfs.CopyOptions{}); err != nil || !created {
		return fmt.Errorf("copy = created %v, %v; want it made", created, err)
	}
	if err := wantContent(ctx, f, dir+"/b", "original"); err != nil {
		return err
	}
	if _, err := f.WriteAt(ctx, dir+"/b", 0, 1, strings.NewReader("O"), nil); err != nil {
		return err
	}
	if err := first(wantContent(ctx, f, dir+"/a", "original"), wantContent(ctx, f, dir+"/b", "Original")); err != nil {
		return err
	}
	return first(f.Remove(ctx, dir+"/a", nil), wantContent(ctx, f, dir+"/b", "Original"))
}

func copyTree(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := plant(ctx, f, dir); err != nil {
		return err
	}
	if _, err := f.Copy(ctx, dir+"/t", dir+"/u", davfs.CopyOptions{}); err != nil {
		return err
	}
	if err := first(wantPlanted(ctx, f, dir+"/t"), wantPlanted(ctx, f, dir+"/u"), mustPut(ctx, f, dir+"/u/a", "changed"), wantPlanted(ctx, f, dir+"/t")); err != nil {
		return err
	}
	// A copy into itself is one of the state before.
	_, err := f.Copy(ctx, dir+"/t", dir+"/t/d/copy", davfs.CopyOptions{})
	if err == nil {
		return wantPlanted(ctx, f, dir+"/t/d/copy")
	}
	return first(wantErr("copy into itself", err, collfs.ErrIntoItself), wantPlanted(ctx, f, dir+"/t"))
}

func shallowCopy(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := plant(ctx, f, dir); err != nil {
		return err
	}
	if _, err := f.Copy(ctx, dir+"/t", dir+"/u", davfs.CopyOptions{Shallow: true}); err != nil {
		return err
	}
	return first(wantNames(ctx, f, dir, "t/", "u/"), wantNames(ctx, f, dir+"/u"))
}

func copyOver(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := first(plant(ctx, f, dir), mustMkdir(ctx, f, dir+"/u"), mustPut(ctx, f, dir+"/u/other", "x")); err != nil {
		return err
	}
	created, err := f.Copy(ctx, dir+"/t", dir+"/u", davfs.CopyOptions{Overwrite: true})
	if err != nil || created {
		return fmt.Errorf("copy over a directory = created %v, %v; want it replaced", created, err)
	}
	return first(wantPlanted(ctx, f, dir+"/u"), wantPlanted(ctx, f, dir+"/t"))
}

func copyToItself(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := first(plant(ctx, f, dir), mustPut(ctx, f, dir+"/f", "x")); err != nil {
		return err
	}
	for _, name := range []string{dir + "/t", dir + "/f"} {
		_, err := f.Copy(ctx, name, name, davfs.CopyOptions{Overwrite: true})
		_, err2 := f.Move(ctx, name, name, davfs.CopyOptions{Overwrite: true})
		if err := first(wantErr("copy to itself", err, collfs.ErrIntoItself), wantErr("move to itself", err2, collfs.ErrIntoItself)); err != nil {
			return err
		}
	}
	return first(wantPlanted(ctx, f, dir+"/t"), wantContent(ctx, f, dir+"/f", "x"))
}

var someExtra = map[string]string{
	collfs.ExtraDAV + "{http://example.com/}color": "<b>red</b>",
	collfs.ExtraWin32 + "FileAttributes":           "00000020",
}

func setSome(ctx context.Context, f davfs.FileSystem, name string) error {
	when, mode := time.Date(2011, 1, 2, 3, 4, 5, 678, time.UTC), uint32(0o755)
	_, err := f.SetAttr(ctx, name, davfs.AttrChange{ModTime: &when, Mode: &mode, Extra: someExtra})
	return err
}

func wantSome(ctx context.Context, f davfs.FileSystem, name string) error {
	i, err := f.Stat(ctx, name)
	if err != nil {
		return err
	}
	if !maps.Equal(i.Attr.Extra, someExtra) || i.Mode().Perm() != 0o755 || i.ModTime.UTC() != time.Date(2011, 1, 2, 3, 4, 5, 678, time.UTC) {
		return fmt.Errorf("attributes of %s = %+v, mode %v, time %v; want those that were set", name, i.Attr, i.Mode(), i.ModTime)
	}
	return nil
}

func attributesKept(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := first(mustPut(ctx, f, dir+"/f", "x"), mustMkdir(ctx, f, dir+"/d")); err != nil {
		return err
	}
	for _, name := range []string{dir + "/f", dir + "/d"} {
		if err := first(setSome(ctx, f, name), wantSome(ctx, f, name)); err != nil {
			return err
		}
	}
	i, err := f.SetAttr(ctx, dir+"/f", davfs.AttrChange{Extra: map[string]string{collfs.ExtraWin32 + "FileAttributes": ""}})
	if err != nil || len(i.Attr.Extra) != 1 {
		return fmt.Errorf("after one key is deleted: %+v, %v; want the other", i.Attr.Extra, err)
	}
	refused := errors.New("refused")
	mode := uint32(0o600)
	_, err = f.SetAttr(ctx, dir+"/d", davfs.AttrChange{Mode: &mode, Check: func(davfs.Info, bool) error { return refused }})
	return first(wantErr("setattr", err, refused), wantSome(ctx, f, dir+"/d"))
}

func attributesFollow(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := first(plant(ctx, f, dir), setSome(ctx, f, dir+"/t/d/b"), setSome(ctx, f, dir+"/t/d")); err != nil {
		return err
	}
	if _, err := f.Copy(ctx, dir+"/t", dir+"/u", davfs.CopyOptions{}); err != nil {
		return err
	}
	if _, err := f.Move(ctx, dir+"/t/d", dir+"/moved", davfs.CopyOptions{}); err != nil {
		return err
	}
	return first(wantSome(ctx, f, dir+"/u/d/b"), wantSome(ctx, f, dir+"/u/d"), wantSome(ctx, f, dir+"/moved/b"), wantSome(ctx, f, dir+"/moved"))
}

func attributesDie(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := first(mustPut(ctx, f, dir+"/f", "x"), setSome(ctx, f, dir+"/f"), f.Remove(ctx, dir+"/f", nil), mustPut(ctx, f, dir+"/f", "x")); err != nil {
		return err
	}
	i, err := f.Stat(ctx, dir+"/f")
	if err != nil || len(i.Attr.Extra) != 0 {
		return fmt.Errorf("a new file has the attributes %v of a removed one (%v)", i.Attr.Extra, err)
	}
	return nil
}

func replacedKeepsExtra(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/f"
	if err := first(mustPut(ctx, f, name, "x"), setSome(ctx, f, name)); err != nil {
		return err
	}
	if _, err := f.SetAttr(ctx, name, davfs.AttrChange{Extra: map[string]string{collfs.ExtraSum + "MD5": "00"}}); err != nil {
		return err
	}
	i, _, err := putWith(ctx, f, name, "y", davfs.PutOptions{Size: -1, Extra: map[string]string{"xattr:user.a": "b", collfs.ExtraWin32 + "FileAttributes": ""}})
	want := map[string]string{collfs.ExtraDAV + "{http://example.com/}color": "<b>red</b>", "xattr:user.a": "b"}
	if err != nil || !maps.Equal(i.Attr.Extra, want) {
		return fmt.Errorf("attributes after the file was replaced = %v, %v; want %v", i.Attr.Extra, err, want)
	}
	if since := time.Since(i.ModTime); since < -time.Minute || since > time.Hour {
		return fmt.Errorf("modification time of a replaced file is %v; want now", i.ModTime)
	}
	return nil
}

func sumsAreRight(ctx context.Context, f davfs.FileSystem, dir string) error {
	data := strings.Repeat("some bytes ", 30_000)
	if err := mustPut(ctx, f, dir+"/f", data); err != nil {
		return err
	}
	for range 2 {
		m, err := f.Sum(ctx, dir+"/f", "MD5")
		s, err2 := f.Sum(ctx, dir+"/f", "SHA1")
		if m != fmt.Sprintf("%x", md5.Sum([]byte(data))) || s != fmt.Sprintf("%x", sha1.Sum([]byte(data))) {
			return fmt.Errorf("sums = %s, %s (%v, %v); want those of the content", m, s, err, err2)
		}
	}
	if err := mustPut(ctx, f, dir+"/f", "other"); err != nil {
		return err
	}
	if m, err := f.Sum(ctx, dir+"/f", "MD5"); m != fmt.Sprintf("%x", md5.Sum([]byte("other"))) {
		return fmt.Errorf("sum after a change = %s, %v; want that of the new content", m, err)
	}
	_, err := f.Sum(ctx, dir+"/f", "CRC7")
	return wantErr("an unknown algorithm", err, collfs.ErrNotSupported)
}

func countLimit(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := plant(ctx, f, dir); err != nil {
		return err
	}
	for _, c := range []struct {
		name        string
		limit, want int
	}{{"/t", 100, 5}, {"/t", 3, 3}, {"/t/a", 100, 1}, {"/t/d", 100, 3}} {
		if n, err := f.Count(ctx, dir+c.name, c.limit); err != nil || n != c.want {
			return fmt.Errorf("Count(%s, %d) = %d, %v; want %d", c.name, c.limit, n, err, c.want)
		}
	}
	return nil
}

func whereIsInfo(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := plant(ctx, f, dir); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, name := range []string{"", "/t", "/t/a", "/t/d", "/t/d/b"} {
		i, err := f.Stat(ctx, dir+name)
		if err != nil {
			return err
		}
		c, p, err := f.Where(ctx, dir+name)
		if err != nil || c != i.Collection || p != i.Path {
			return fmt.Errorf("Where(%s) = %s %q, %v; Stat says %s %q", name, c, p, err, i.Collection, i.Path)
		}
		seen[string(c)+":"+p] = true
	}
	if len(seen) != 5 {
		return fmt.Errorf("5 names are at %d places", len(seen))
	}
	before, p, err := f.Where(ctx, dir+"/new")
	if err != nil {
		return err
	}
	i, _, err := put(ctx, f, dir+"/new", "x")
	if err != nil || i.Collection != before || i.Path != p {
		return fmt.Errorf("a new file is at %s %q (%v); Where said %s %q", i.Collection, i.Path, err, before, p)
	}
	return nil
}
