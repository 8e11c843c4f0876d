package fstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"testing/iotest"

	"keepdav/collfs"
	"keepdav/davfs"
)

func putIsReadBack(ctx context.Context, f davfs.FileSystem, dir string) error {
	for _, size := range []int{1, 100, 64 << 10, 1<<20 + 1, 3 << 20} {
		name := fmt.Sprintf("%s/f%d", dir, size)
		data := strings.Repeat("0123456789abcde\n", size/16+1)[:size]
		i, created, err := put(ctx, f, name, data)
		if err != nil || !created || i.Size != int64(size) || i.Dir {
			return fmt.Errorf("put %s = size %d, created %v, %v; want it made", name, i.Size, created, err)
		}
		if err := wantContent(ctx, f, name, data); err != nil {
			return err
		}
	}
	return nil
}

func emptyFileIsAFile(ctx context.Context, f davfs.FileSystem, dir string) error {
	return first(mustPut(ctx, f, dir+"/empty", ""), wantContent(ctx, f, dir+"/empty", ""), wantNames(ctx, f, dir, "empty"))
}

func putReplaces(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/f"
	if err := mustPut(ctx, f, name, strings.Repeat("long", 1000)); err != nil {
		return err
	}
	_, created, err := put(ctx, f, name, "short")
	if err != nil || created {
		return fmt.Errorf("second put = created %v, %v; want it replaced", created, err)
	}
	return first(wantContent(ctx, f, name, "short"), wantNames(ctx, f, dir, "f"))
}

func uploadUnseen(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/f"
	up, err := f.Put(ctx, name, davfs.PutOptions{Size: -1})
	if err != nil {
		return err
	}
	defer up.Abort()
	if _, err := up.Write([]byte("data")); err != nil {
		return err
	}
	if err := first(wantMissing(ctx, f, name), wantNames(ctx, f, dir)); err != nil {
		return err
	}
	if _, _, err := up.Commit(ctx); err != nil {
		return err
	}
	up.Abort()
	return wantContent(ctx, f, name, "data")
}

func abortedUpload(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := mustPut(ctx, f, dir+"/old", "old"); err != nil {
		return err
	}
	for _, name := range []string{dir + "/old", dir + "/new"} {
		up, err := f.Put(ctx, name, davfs.PutOptions{Size: -1})
		if err != nil {
			return err
		}
		if _, err := up.ReadFrom(strings.NewReader(strings.Repeat("x", 100_000))); err != nil {
			return err
		}
		up.Abort()
		up.Abort()
	}
	return first(wantContent(ctx, f, dir+"/old", "old"), wantNames(ctx, f, dir, "old"))
}

func shortBody(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := mustPut(ctx, f, dir+"/old", "old"); err != nil {
		return err
	}
	for _, name := range []string{dir + "/old", dir + "/new"} {
		_, _, err := putWith(ctx, f, name, "12345", davfs.PutOptions{Size: 6})
		if err := wantErr("put of 5 bytes of 6", err, collfs.ErrShortBody); err != nil {
			return err
		}
		up, err := f.Put(ctx, name, davfs.PutOptions{Size: 6})
		if err != nil {
			return err
		}
		broken := errors.New("connection broke")
		_, err = up.ReadFrom(io.MultiReader(strings.NewReader("123"), iotest.ErrReader(broken)))
		up.Abort()
		if err := wantErr("ReadFrom a body that breaks", err, broken); err != nil {
			return err
		}
	}
	return first(wantContent(ctx, f, dir+"/old", "old"), wantNames(ctx, f, dir, "old"))
}

func longBody(ctx context.Context, f davfs.FileSystem, dir string) error {
	_, _, err := putWith(ctx, f, dir+"/f", "1234567", davfs.PutOptions{Size: 6})
	if err == nil {
		return errors.New("put of 7 bytes of 6: no error")
	}
	return wantNames(ctx, f, dir)
}

func putWithoutParent(ctx context.Context, f davfs.FileSystem, dir string) error {
	check := func(what, parent string, err error) error {
		var pe *fs.PathError
		if !errors.Is(err, davfs.ErrNoParent) || !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &pe) || pe.Path != parent {
			return fmt.Errorf("%s: error %v; want ErrNoParent of %s", what, err, parent)
		}
		return nil
	}
	_, _, err := put(ctx, f, dir+"/no/f", "x")
	if err := check("put", dir+"/no", err); err != nil {
		return err
	}
	_, err = f.Mkdir(ctx, dir+"/no/d", davfs.AttrChange{})
	if err := check("mkdir", dir+"/no", err); err != nil {
		return err
	}
	if err := mustPut(ctx, f, dir+"/f", "x"); err != nil {
		return err
	}
	_, err = f.Copy(ctx, dir+"/f", dir+"/no/f", davfs.CopyOptions{})
	if err := check("copy", dir+"/no", err); err != nil {
		return err
	}
	_, err = f.Move(ctx, dir+"/f", dir+"/no/f", davfs.CopyOptions{})
	if err := check("move", dir+"/no", err); err != nil {
		return err
	}
	_, _, err = f.Where(ctx, dir+"/no/f")
	if err := check("where", dir+"/no", err); err != nil {
		return err
	}
	return first(wantMissing(ctx, f, dir+"/no"), wantContent(ctx, f, dir+"/f", "x"))
}

func putOnDirectory(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := first(mustMkdir(ctx, f, dir+"/d"), mustPut(ctx, f, dir+"/d/f", "x")); err != nil {
		return err
	}
	_, _, err := put(ctx, f, dir+"/d", "data")
	return first(wantErr("put on a directory", err, collfs.ErrIsDir), wantContent(ctx, f, dir+"/d/f", "x"))
}

func putThroughFile(ctx context.Context, f davfs.FileSystem, dir string) error {
	if err := mustPut(ctx, f, dir+"/f", "x"); err != nil {
		return err
	}
	_, _, err := put(ctx, f, dir+"/f/g", "data")
	_, err2 := f.Mkdir(ctx, dir+"/f/g", davfs.AttrChange{})
	return first(wantErr("put below a file", err, collfs.ErrNotDir), wantErr("mkdir below a file", err2, collfs.ErrNotDir),
		wantContent(ctx, f, dir+"/f", "x"))
}

func checkDecidesOverPut(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/f"
	refused := errors.New("refused")
	var seen davfs.Info
	var there bool
	o := davfs.PutOptions{Size: -1, Check: func(i davfs.Info, ok bool) error {
		seen, there = i, ok
		return refused
	}}
	_, _, err := putWith(ctx, f, name, "data", o)
	if err := first(wantErr("put", err, refused), wantMissing(ctx, f, name)); err != nil {
		return err
	}
	if there {
		return errors.New("check of a new file saw one")
	}
	i, _, err := put(ctx, f, name, "old")
	if err != nil {
		return err
	}
	_, _, err = putWith(ctx, f, name, "data", o)
	if err := first(wantErr("put", err, refused), wantContent(ctx, f, name, "old")); err != nil {
		return err
	}
	if !there || seen.ETag() != i.ETag() || seen.Size != 3 {
		return fmt.Errorf("check saw %+v, %v; want the old file", seen, there)
	}
	return nil
}

// checkAtCommit lets another upload come first, after this one has begun.
func checkAtCommit(ctx context.Context, f davfs.FileSystem, dir string) error {
	up, err := f.Put(ctx, dir+"/f", davfs.PutOptions{Size: -1, Check: func(_ davfs.Info, ok bool) error {
		if ok {
			return collfs.ErrCondition
		}
		return nil
	}})
	if err != nil {
		return err
	}
	defer up.Abort()
	if _, err := up.Write([]byte("late")); err != nil {
		return err
	}
	if err := mustPut(ctx, f, dir+"/f", "first"); err != nil {
		return err
	}
	_, _, err = up.Commit(ctx)
	return first(wantErr("commit of the later upload", err, collfs.ErrCondition), wantContent(ctx, f, dir+"/f", "first"))
}

func missingIsBare(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/missing"
	_, statErr := f.Stat(ctx, name)
	_, openErr := f.Open(ctx, name)
	_, listErr := f.List(ctx, name)
	_, attrErr := f.SetAttr(ctx, name, davfs.AttrChange{})
	for what, err := range map[string]error{"stat": statErr, "open": openErr, "list": listErr,
		"remove": f.Remove(ctx, name, nil), "setattr": attrErr} {
		var pe *fs.PathError
		if !errors.As(err, &pe) || pe.Err != fs.ErrNotExist || !os.IsNotExist(err) || pe.Path != name {
			return fmt.Errorf("%s of a missing file: %#v; want fs.ErrNotExist in an *fs.PathError of %s", what, err, name)
		}
	}
	return nil
}

func tagFollowsContent(ctx context.Context, f davfs.FileSystem, dir string) error {
	a, _, err := put(ctx, f, dir+"/a", "one")
	if err != nil {
		return err
	}
	b, _, err := put(ctx, f, dir+"/a", "two")
	if err != nil {
		return err
	}
	if a.ETag() == b.ETag() || a.ETag() == "" {
		return fmt.Errorf("tags of two contents: %s, %s; want two", a.ETag(), b.ETag())
	}
	if _, err := f.SetAttr(ctx, dir+"/a", davfs.AttrChange{Extra: map[string]string{collfs.ExtraDAV + "{x:}y": "z"}}); err != nil {
		return err
	}
	if _, err := f.Move(ctx, dir+"/a", dir+"/b", davfs.CopyOptions{}); err != nil {
		return err
	}
	i, err := f.Stat(ctx, dir+"/b")
	if err != nil || i.ETag() != b.ETag() {
		return fmt.Errorf("tag after a rename = %s, %v; want %s", i.ETag(), err, b.ETag())
	}
	return nil
}

func writeAtMiddle(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/f"
	old, _, err := put(ctx, f, name, "0123456789")
	if err != nil {
		return err
	}
	i, err := f.WriteAt(ctx, name, 3, 4, strings.NewReader("abcd"), nil)
	if err != nil || i.Size != 10 || i.ETag() == old.ETag() {
		return fmt.Errorf("WriteAt = size %d, %v; want 10 and another tag", i.Size, err)
	}
	if err := wantContent(ctx, f, name, "012abcd789"); err != nil {
		return err
	}
	refused := errors.New("refused")
	_, err = f.WriteAt(ctx, name, 0, 1, strings.NewReader("x"), func(davfs.Info, bool) error { return refused })
	return first(wantErr("WriteAt with a check", err, refused), wantContent(ctx, f, name, "012abcd789"))
}

func writeAtAppends(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/f"
	if err := mustPut(ctx, f, name, "head"); err != nil {
		return err
	}
	for range 3 {
		if _, err := f.WriteAt(ctx, name, -1, 5, strings.NewReader("-tail"), nil); err != nil {
			return err
		}
	}
	return wantContent(ctx, f, name, "head-tail-tail-tail")
}

func writeAtBeyond(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/f"
	if err := mustPut(ctx, f, name, "head"); err != nil {
		return err
	}
	if _, err := f.WriteAt(ctx, name, 10, 4, strings.NewReader("tail"), nil); err != nil {
		return err
	}
	if err := wantContent(ctx, f, name, "head\x00\x00\x00\x00\x00\x00tail"); err != nil {
		return err
	}
	if _, err := f.WriteAt(ctx, name, 1<<60, 4, strings.NewReader("tail"), nil); err == nil {
		return errors.New("WriteAt an exabyte beyond the end: no error")
	}
	return nil
}

func writeAtCut(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/f"
	if err := mustPut(ctx, f, name, "0123456789"); err != nil {
		return err
	}
	if _, err := f.WriteAt(ctx, name, 3, 4, strings.NewReader("ab"), nil); err == nil {
		return errors.New("WriteAt of 2 bytes of 4: no error")
	}
	return wantContent(ctx, f, name, "0123456789")
}

func writeAtMissing(ctx context.Context, f davfs.FileSystem, dir string) error {
	_, err := f.WriteAt(ctx, dir+"/f", 0, 1, strings.NewReader("x"), nil)
	if err := wantErr("WriteAt of a missing file", err, fs.ErrNotExist); err != nil {
		return err
	}
	if err := mustMkdir(ctx, f, dir+"/d"); err != nil {
		return err
	}
	_, err = f.WriteAt(ctx, dir+"/d", 0, 1, strings.NewReader("x"), nil)
	return wantErr("WriteAt of a directory", err, collfs.ErrIsDir)
}

func concurrentPuts(ctx context.Context, f davfs.FileSystem, dir string) error {
	const writers = 8
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() { errs[w] = mustPut(ctx, f, dir+"/f", strings.Repeat(string(rune('a'+w)), 50_000)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	got, err := get(ctx, f, dir+"/f")
	if err != nil {
		return err
	}
	if len(got) != 50_000 || strings.Trim(got, got[:1]) != "" {
		return fmt.Errorf("after concurrent puts the file is %s; want one of them whole", short(got))
	}
	return nil
}

func concurrentNames(ctx context.Context, f davfs.FileSystem, dir string) error {
	const writers, files = 8, 12
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			for n := range files {
				name := fmt.Sprintf("%s/f%d-%d", dir, w, n)
				errs[w] = errors.Join(errs[w], mustPut(ctx, f, name, name))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for w := range writers {
		for n := range files {
			name := fmt.Sprintf("%s/f%d-%d", dir, w, n)
			if err := wantContent(ctx, f, name, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func checksExclusive(ctx context.Context, f davfs.FileSystem, dir string) error {
	const writers = 8
	var wg sync.WaitGroup
	made := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			o := davfs.PutOptions{Size: -1, Check: func(_ davfs.Info, ok bool) error {
				if ok {
					return collfs.ErrCondition
				}
				return nil
			}}
			_, _, made[w] = putWith(ctx, f, dir+"/f", fmt.Sprint(w), o)
		})
	}
	wg.Wait()
	winner := -1
	for w, err := range made {
		switch {
		case err == nil && winner >= 0:
			return fmt.Errorf("writers %d and %d both made the file", winner, w)
		case err == nil:
			winner = w
		case !errors.Is(err, collfs.ErrCondition):
			return err
		}
	}
	if winner < 0 {
		return errors.New("nobody made the file")
	}
	return wantContent(ctx, f, dir+"/f", fmt.Sprint(winner))
}

func openKeepsContent(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/f"
	if err := mustPut(ctx, f, name, "first"); err != nil {
		return err
	}
	file, err := f.Open(ctx, name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := mustPut(ctx, f, name, "second, longer"); err != nil {
		return err
	}
	if _, err := f.WriteAt(ctx, name, 0, 1, strings.NewReader("S"), nil); err != nil {
		return err
	}
	if err := f.Remove(ctx, name, nil); err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := file.WriteRange(ctx, &b, 0, file.Info().Size); err != nil || b.String() != "first" {
		return fmt.Errorf("open file reads %q, %v after it was replaced and removed; want %q", b.String(), err, "first")
	}
	return nil
}

func readAtContract(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/f"
	if err := mustPut(ctx, f, name, "0123456789"); err != nil {
		return err
	}
	file, err := f.Open(ctx, name)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, c := range []struct {
		off  int64
		len  int
		want string
		err  error
	}{{0, 10, "0123456789", nil}, {3, 4, "3456", nil}, {8, 4, "89", io.EOF}, {10, 1, "", io.EOF}, {99, 1, "", io.EOF}} {
		p := make([]byte, c.len)
		n, err := file.ReadAt(p, c.off)
		if err == io.EOF && n == c.len { // allowed at the very end
			err = c.err
		}
		if string(p[:n]) != c.want || err != c.err {
			return fmt.Errorf("ReadAt(%d bytes, %d) = %q, %v; want %q, %v", c.len, c.off, p[:n], err, c.want, c.err)
		}
	}
	return nil
}

func writeRange(ctx context.Context, f davfs.FileSystem, dir string) error {
	name := dir + "/f"
	data := strings.Repeat("0123456789abcdef", 20_000)
	if err := mustPut(ctx, f, name, data); err != nil {
		return err
	}
	file, err := f.Open(ctx, name)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, r := range [][2]int64{{0, 1}, {5, 70_000}, {int64(len(data)) - 3, 3}, {17, 0}} {
		var b bytes.Buffer
		n, err := file.WriteRange(ctx, &b, r[0], r[1])
		if err != nil || n != r[1] || b.String() != data[r[0]:r[0]+r[1]] {
			return fmt.Errorf("WriteRange(%d, %d) = %d bytes, %v; want exactly those", r[0], r[1], n, err)
		}
	}
	return nil
}

func namesAreBytes(ctx context.Context, f davfs.FileSystem, dir string) error {
	odd := []string{"a b", "%41", "ü", "日本語", "a\\b", "con", "x:y*?", "tab\there", ".hidden", "-dash", "quote'\"", "a+b&c=d;e", "\u202e", "~"}
	for _, name := range odd {
		if err := first(mustPut(ctx, f, dir+"/"+name, name), wantContent(ctx, f, dir+"/"+name, name)); err != nil {
			return err
		}
	}
	got, err := names(ctx, f, dir)
	if err != nil || len(got) != len(odd) {
		return fmt.Errorf("list = %q, %v; want %d names", got, err, len(odd))
	}
	have := map[string]bool{}
	for _, name := range got {
		have[name] = true
	}
	for _, name := range odd {
		if !have[name] {
			return fmt.Errorf("list = %q; %q is missing", got, name)
		}
	}
	return nil
}

func namesHaveALimit(ctx context.Context, f davfs.FileSystem, dir string) error {
	long := strings.Repeat("n", 255)
	if err := first(mustPut(ctx, f, path.Join(dir, long), "x"), wantContent(ctx, f, path.Join(dir, long), "x")); err != nil {
		return err
	}
	_, _, err := put(ctx, f, path.Join(dir, long+"n"), "x")
	if err := wantErr("put of a name of 256 bytes", err, collfs.ErrNameTooLong); err != nil {
		return err
	}
	_, _, err = put(ctx, f, dir+"/a\x00b", "x")
	return wantErr("put of a name with a NUL", err, collfs.ErrNameInvalid)
}

func composedNames(ctx context.Context, f davfs.FileSystem, dir string) error {
	const nfc, nfd = "Müll.txt", "Mu\u0308ll.txt"
	if err := first(mustPut(ctx, f, dir+"/"+nfd, "mac"), mustMkdir(ctx, f, dir+"/\u00e9"), mustPut(ctx, f, dir+"/e\u0301/f", "x")); err != nil {
		return err
	}
	got, err := get(ctx, f, dir+"/"+nfc)
	if err != nil || got != "mac" {
		return fmt.Errorf("get by the composed name = %q, %v; want %q", got, err, "mac")
	}
	if _, created, err := put(ctx, f, dir+"/"+nfc, "linux"); err != nil || created {
		return fmt.Errorf("put by the composed name = created %v, %v; want it replaced", created, err)
	}
	if err := wantContent(ctx, f, dir+"/"+nfd, "linux"); err != nil {
		return err
	}
	return first(wantNames(ctx, f, dir, nfd, "\u00e9/"), wantContent(ctx, f, dir+"/\u00e9/f", "x"))
}
