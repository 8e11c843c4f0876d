package collfs_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"keepdav/collfs"
	"keepdav/keepio"
)

// bigCollection makes a collection of dirs × files files and opens it.
func bigCollection(b *testing.B, dirs, files int) *collfs.Collection {
	b.Helper()
	e := newEnv(b)
	id := e.catalog.Create(e.home, "big")
	ops := bigOps(e.spool.ByHash([16]byte{1}, keepio.BlockSize), dirs, files)
	if _, err := e.catalog.Commit(context.Background(), collfs.Tx{Changes: []collfs.Change{{Collection: id, Ops: ops}}}); err != nil {
		b.Fatal(err)
	}
	return e.open(e.fs(), id)
}

// bigOps makes dirs × files files of 4 KiB in blk.
func bigOps(blk *keepio.Block, dirs, files int) (ops []collfs.Op) {
	n := 0
	for d := range dirs {
		dir := ""
		if dirs > 1 {
			dir = fmt.Sprintf("dir%05d/", d)
			ops = append(ops, collfs.Op{Kind: collfs.OpMkdir, Path: dir[:len(dir)-1]})
		}
		for f := range files {
			n++
			ops = append(ops, collfs.Op{Kind: collfs.OpPut, Path: fmt.Sprintf("%sfile%07d", dir, f), Content: collfs.Content{
				ID: collfs.ContentID{byte(n), byte(n >> 8), byte(n >> 16), 1}, Size: 4096,
				Segments: []keepio.Segment{{Block: blk, Off: uint32(n%16000) * 4096, Len: 4096}}}})
		}
	}
	return ops
}

func BenchmarkCommitOneByte(b *testing.B) {
	for _, dirs := range []int{0, 10000} {
		b.Run(fmt.Sprint("files=", dirs*100), func(b *testing.B) {
			c := bigCollection(b, dirs, 100)
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				put(b, c, fmt.Sprint("new", i%1000), "x")
				commit(b, c)
			}
		})
	}
}

func BenchmarkLookupMillion(b *testing.B) {
	for _, dirs := range []int{1, 10000} {
		b.Run(fmt.Sprint("dirs=", dirs), func(b *testing.B) {
			c := bigCollection(b, dirs, 1000000/dirs)
			paths := make([]string, 1000)
			for i := range paths {
				paths[i] = fmt.Sprintf("dir%05d/file%07d", i*7%10000, i%100)
				if dirs == 1 {
					paths[i] = fmt.Sprintf("file%07d", i*997)
				}
			}
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if _, err := c.Stat(paths[i%1000]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkListFlatMillion(b *testing.B) {
	c := bigCollection(b, 1, 1000000)
	infos := make([]collfs.NodeInfo, 256)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		l, err := c.List("")
		if err != nil {
			b.Fatal(err)
		}
		for l.Next(infos) > 0 {
		}
		l.Close()
	}
}

// BenchmarkInsertFlatMillion inserts into the middle of a directory that is
// snapshotted each time.
func BenchmarkInsertFlatMillion(b *testing.B) {
	c := bigCollection(b, 1, 1000000)
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		l, err := c.List("")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Mkdir(fmt.Sprintf("file%07d-%d", i*7919%1000000, i), collfs.Attr{}, nil); err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
}

func BenchmarkMoveTree100k(b *testing.B) {
	c := bigCollection(b, 1000, 100)
	if _, err := c.Mkdir("at", collfs.Attr{}, nil); err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		if _, err := c.Rename(fmt.Sprintf("dir%05d", i), fmt.Sprintf("at/d%d", i), collfs.CopyOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	commit(b, c)
	from, to := "at", "to"
	b.ResetTimer()
	for b.Loop() {
		if _, err := c.Rename(from, to, collfs.CopyOptions{}); err != nil {
			b.Fatal(err)
		}
		commit(b, c)
		from, to = to, from
	}
}

func BenchmarkCopyTree100k(b *testing.B) {
	c := bigCollection(b, 1000, 100)
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		if _, err := c.Mkdir("copies", collfs.Attr{}, nil); err != nil {
			b.Fatal(err)
		}
		for d := range 1000 {
			if _, err := c.Copy(fmt.Sprintf("dir%05d", d), fmt.Sprintf("copies/%d", d), collfs.CopyOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		commit(b, c)
		b.StopTimer()
		if err := c.RemoveAll("copies", nil); err != nil {
			b.Fatal(err)
		}
		commit(b, c)
		b.StartTimer()
	}
}

func BenchmarkTransferTree100k(b *testing.B) {
	e := newEnv(b)
	f := e.fs()
	dst := e.open(f, e.catalog.Create(e.home, "dst"))
	src := e.open(f, e.catalog.Create(e.home, "src"))
	if _, err := src.Mkdir("t", collfs.Attr{}, nil); err != nil {
		b.Fatal(err)
	}
	for i := range 100000 {
		if i%100 == 0 {
			_, _ = src.Mkdir(fmt.Sprintf("t/%d", i/100), collfs.Attr{}, nil)
		}
		put(b, src, fmt.Sprintf("t/%d/%d", i/100, i), "x")
	}
	commit(b, src)
	b.ResetTimer()
	for b.Loop() {
		if _, err := f.Transfer(context.Background(), src, "t", dst, "t", collfs.TransferOptions{Move: true}); err != nil {
			b.Fatal(err)
		}
		src, dst = dst, src
	}
}

func BenchmarkConcurrentCommits(b *testing.B) {
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			e := newEnv(b)
			c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
			before := e.catalog.Commits()
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for {
						i := next.Add(1)
						if i > int64(b.N) {
							return
						}
						put(b, c, fmt.Sprint("f", i%1000), "x")
						commit(b, c)
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/float64(e.catalog.Commits()-before), "changes/commit")
		})
	}
}

func BenchmarkStage(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			e := newEnv(b)
			c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				s, err := c.NewStage(int64(size))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Write(context.Background(), data); err != nil {
					b.Fatal(err)
				}
				s.Abort()
			}
		})
	}
}
