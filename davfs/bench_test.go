package davfs_test

import (
	"fmt"
	"testing"

	"keepdav/collfs"
	"keepdav/davfs"
)

func benchRig(b *testing.B) *rig {
	r := newRig(b)
	r.mkdir("/home/coll", "/home/coll/a")
	r.put("/home/coll/a/b", "x")
	r.put("/home/loose", "x")
	return r
}

func BenchmarkStat(b *testing.B) {
	r := benchRig(b)
	p := r.project(r.admin.UUID, "p")
	r.mkdir("/home/p/c", "/home/p/c/a")
	r.put("/home/p/c/a/b", "x")
	id := r.entry(p, "c").Collection.UUID
	bob, bobs := r.user("bob")
	r.grant(bob.UUID, p, collfs.CanRead)
	for _, c := range []struct {
		name string
		fs   *davfs.FS
		path string
		ok   bool
	}{
		{"file", r.FS, "/home/coll/a/b", true},
		{"dir", r.FS, "/home/coll/a", true},
		{"collection", r.FS, "/home/coll", true},
		{"loose", r.FS, "/home/loose", true},
		{"missing", r.FS, "/home/coll/a/missing", false},
		{"byID", r.FS, "/by_id/" + string(id) + "/a/b", true},
		{"shared", bobs, "/shared/admin/p/c/a/b", true},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.fs.Stat(r.ctx, c.path); (err == nil) != c.ok {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := r.Stat(r.ctx, "/home/coll/a/b"); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func BenchmarkOpenFile(b *testing.B) {
	r := benchRig(b)
	b.ReportAllocs()
	for b.Loop() {
		f, err := r.Open(r.ctx, "/home/coll/a/b")
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func BenchmarkPut4K(b *testing.B) {
	r := benchRig(b)
	data := string(make([]byte, 4096))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		r.put(fmt.Sprintf("/home/coll/a/f%d", n), data)
		n++
	}
}

func BenchmarkList10000(b *testing.B) {
	r := benchRig(b)
	for n := range 10_000 {
		r.put(fmt.Sprintf("/home/coll/a/file-%05d.dat", n), "")
	}
	infos := make([]davfs.Info, 256)
	b.ReportAllocs()
	for b.Loop() {
		l, err := r.List(r.ctx, "/home/coll/a")
		if err != nil {
			b.Fatal(err)
		}
		for {
			n, err := l.Next(infos)
			if err != nil {
				b.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
		l.Close()
	}
}
