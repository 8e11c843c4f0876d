package collfs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"

	"keepdav/collfs"
)

func TestCommitIsSeenByAnotherFS(t *testing.T) {
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	c := e.open(e.fs(), id)
	put(t, c, "a", "hello")
	if _, err := c.Mkdir("d", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	put(t, c, "d/b", strings.Repeat("x", 3<<20))
	commit(t, c)
	got := files(t, e.open(e.fs(), id))
	want := map[string]string{"a": "hello", "d/": "", "d/b": strings.Repeat("x", 3<<20)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("files = %v; want %v", keys(got), keys(want))
	}
}

func keys(m map[string]string) (ks []string) {
	for k := range m {
		ks = append(ks, k)
	}
	return ks
}

func TestHandlesBelongToFiles(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	id := e.catalog.Create(e.home, "c")
	c := e.open(e.fs(), id)
	if _, err := c.Mkdir("d", collfs.Attr{}, nil); err != nil {
		t.Fatal(err)
	}
	put(t, c, "d/f", "0123456789")
	h, created, err := c.OpenFile("d/f", collfs.OpenOptions{Flags: os.O_RDWR})
	if err != nil || created {
		t.Fatalf("OpenFile = %v, %v", created, err)
	}
	if _, err := c.Rename("d", "e", collfs.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, []byte("AB"), 3); err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, []byte("Z"), 14); err != nil {
		t.Fatal(err)
	}
	if got, want := get(t, c, "e/f"), "012AB56789\x00\x00\x00\x00Z"; got != want {
		t.Errorf("content = %q; want %q", got, want)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := get(t, e.open(e.fs(), id), "e/f"), "012AB56789\x00\x00\x00\x00Z"; got != want {
		t.Errorf("committed content = %q; want %q", got, want)
	}
}

func TestOpenForWritingWithoutChangeCommitsNothing(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	put(t, c, "f", "x")
	commit(t, c)
	before := e.catalog.Commits()
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	commit(t, c)
	if n := e.catalog.Commits() - before; n != 0 {
		t.Errorf("%d commits; want 0", n)
	}
}

func TestMissingFileIsBareErrNotExist(t *testing.T) {
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	_, err := c.Stat("nope")
	var pe *fs.PathError
	if !errors.As(err, &pe) || pe.Err != fs.ErrNotExist || !os.IsNotExist(err) {
		t.Errorf("Stat() = %#v; want a PathError with fs.ErrNotExist itself", err)
	}
}

func TestChecksumsGoWithTheirContent(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	put(t, c, "f", "x")
	if _, err := c.SetAttr("f", func(collfs.NodeInfo) (collfs.Attr, error) {
		return collfs.Attr{Extra: map[string]string{collfs.ExtraSum + "MD5": "00", collfs.ExtraXattr + "user.a": "b"}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	h, _, err := c.OpenFile("f", collfs.OpenOptions{Flags: os.O_RDWR})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(ctx, []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(ctx); err != nil {
		t.Fatal(err)
	}
	i, err := c.Stat("f")
	if want := map[string]string{collfs.ExtraXattr + "user.a": "b"}; err != nil || !reflect.DeepEqual(i.Attr.Extra, want) {
		t.Errorf("attributes of a changed file = %v, %v; want %v", i.Attr.Extra, err, want)
	}
}

// The cache has to make room for what lookups have built.
func TestIndexesOfNamesCountInTheCache(t *testing.T) {
	e := newEnv(t)
	f := e.fs()
	c := e.open(f, e.catalog.Create(e.home, "c"))
	for i := range 200 {
		if _, err := c.Mkdir(fmt.Sprint("Dir", i), collfs.Attr{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	before := f.CachedBytes()
	if _, ok := c.Resolve("nothing", collfs.MatchFold); ok {
		t.Error("Resolve() finds nothing")
	}
	if got := f.CachedBytes(); got < before+200*100 {
		t.Errorf("CachedBytes() = %d after %d; want the index counted", got, before)
	}
}
