package collfs_test

import (
	"context"
	"reflect"
	"testing"

	"keepdav/collfs"
)

func TestPosixAttributesGoWithTheirFile(t *testing.T) {
	ctx := context.Background()
	e := newEnv(t)
	f := e.fs()
	c, other := e.open(f, e.catalog.Create(e.home, "c")), e.open(f, e.catalog.Create(e.home, "other"))
	fifo := collfs.Posix{HasOwner: true, UID: 1000, GID: 100, Type: 0o10000, Atime: 77}
	put(t, c, "plain", "")
	plain, err := c.PDH(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.SetAttr("plain", func(i collfs.NodeInfo) (collfs.Attr, error) {
		i.Attr.Posix = &fifo
		return i.Attr, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if pdh, err := c.PDH(ctx); err != nil || pdh != plain {
		t.Errorf("PDH of a FIFO = %q, %v; want that of an empty file, %q", pdh, err, plain)
	}
	mustMkdir(t, c, "d", collfs.Attr{Posix: &collfs.Posix{HasOwner: true, UID: 7}})
	check := func(c *collfs.Collection, path string, want collfs.Posix) {
		t.Helper()
		commit(t, c)
		for _, c := range []*collfs.Collection{c, e.open(e.fs(), c.UUID())} {
			if i, err := c.Stat(path); err != nil || !reflect.DeepEqual(i.Attr.Posix, &want) {
				t.Errorf("%s has %+v, %v; want %+v", path, i.Attr.Posix, err, want)
			}
		}
	}
	check(c, "plain", fifo)
	if _, err := c.Rename("plain", "d/moved", collfs.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	check(c, "d/moved", fifo)
	if _, err := c.Copy("d", "copy", collfs.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	check(c, "copy/moved", fifo)
	check(c, "copy", collfs.Posix{HasOwner: true, UID: 7})
	if _, err := f.Transfer(ctx, c, "copy", other, "x", collfs.TransferOptions{Move: true}); err != nil {
		t.Fatal(err)
	}
	check(other, "x/moved", fifo)
	put(t, other, "x/moved", "content")
	check(other, "x/moved", fifo)
}
