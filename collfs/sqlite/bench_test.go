package sqlite

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

// BenchmarkDurableCommit commits one small file at a time, as a PUT does.
func BenchmarkDurableCommit(b *testing.B) {
	for _, c := range []struct{ callers, collections int }{{1, 1}, {8, 8}, {8, 1}, {64, 64}} {
		b.Run(fmt.Sprintf("callers=%d,collections=%d", c.callers, c.collections), func(b *testing.B) {
			s := openStore(b, Config{SegmentSize: 8 << 20})
			s.Start()
			home := newUser(b, s, "ann", false)
			type target struct {
				mu   sync.Mutex // a collection's commits come one after the other
				id   collfs.UUID
				base int64
			}
			targets := make([]*target, c.collections)
			for i := range targets {
				targets[i] = &target{id: newCollection(b, s, home, fmt.Sprint("c", i))}
			}
			block := keepio.NewStoredBlock([16]byte{1}, 4096)
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for i := range c.callers {
				wg.Go(func() {
					for {
						k := n.Add(1)
						if k > int64(b.N) {
							return
						}
						t := targets[i%len(targets)]
						op := collfs.Op{Kind: collfs.OpPut, Path: fmt.Sprintf("dir/file-%d", k%1000), Content: collfs.Content{
							ID: collfs.ContentID{byte(k), byte(k >> 8), byte(k >> 16)}, Size: 4096, Segments: []keepio.Segment{{Block: block, Len: 4096}}}}
						if len(targets) == 1 {
							// Only the acceptance is in order: what waits for the disk joins.
							op.Path = fmt.Sprintf("dir/file-%d", k)
						}
						ops := []collfs.Op{op}
						t.mu.Lock()
						if t.base == 0 {
							ops = append(mkdir("dir"), ops...)
						}
						tx := collfs.Tx{Changes: []collfs.Change{{Collection: t.id, Base: t.base, Ops: ops, Files: 1, Bytes: 4096,
							Extents: []keepio.Extent{{Block: keepio.BlockID(k), From: 0, To: 4096, CRC: 7}}}}, Durable: true}
						_, err := s.Commit(b.Context(), tx)
						t.base++
						t.mu.Unlock()
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			b.StopTimer()
			start := time.Now()
			if err := s.waitApplied(b.Context(), s.journal.Last()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms-behind")
		})
	}
}

// BenchmarkRecovery opens a store whose process was killed with as much in the
// journal as may be there.
func BenchmarkRecovery(b *testing.B) {
	s := openStore(b, Config{SegmentSize: 8 << 20, ApplyDelay: time.Hour, NoSync: true})
	home := newUser(b, s, "ann", false)
	id := newCollection(b, s, home, "c")
	block := keepio.NewStoredBlock([16]byte{1}, 4096)
	n := 0
	s.writeMu.Lock() // nothing is applied
	for s.queueSize < maxQueue-1000 {
		ops := []collfs.Op{{Kind: collfs.OpPut, Path: fmt.Sprint("file-", n), Content: collfs.Content{
			ID: collfs.ContentID{byte(n), byte(n >> 8)}, Size: 4096, Segments: []keepio.Segment{{Block: block, Len: 4096}}}}}
		if _, err := s.Commit(b.Context(), collfs.Tx{Durable: n%2 == 0, Changes: []collfs.Change{{Collection: id, Base: int64(n), Ops: ops,
			Extents: []keepio.Extent{{Block: keepio.BlockID(n / 1000), To: uint32(n%1000 + 1)}}}}}); err != nil {
			b.Fatal(err)
		}
		n++
	}
	var copies []string
	for range b.N {
		dir := b.TempDir() + "/store"
		if err := os.CopyFS(dir, os.DirFS(s.Dir())); err != nil {
			b.Fatal(err)
		}
		copies = append(copies, dir)
	}
	s.writeMu.Unlock()
	b.ResetTimer()
	for _, dir := range copies {
		again, err := Open(b.Context(), Config{Dir: dir, Reserve: -1, SegmentSize: 8 << 20})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if rec, err := again.Record(b.Context(), id); err != nil || rec.Revision != int64(n) {
			b.Fatal(rec, err)
		}
		again.Close(b.Context())
		b.StartTimer()
	}
	b.ReportMetric(float64(n), "commits")
}

// BenchmarkLoad loads what a tree of a million files is made from, and makes it.
func BenchmarkLoad(b *testing.B) {
	s := openStore(b, Config{SegmentSize: 8 << 20, NoSync: true})
	id := newCollection(b, s, newUser(b, s, "ann", false), "c")
	block := keepio.NewStoredBlock([16]byte{1}, keepio.BlockSize)
	const dirs, each = 10_000, 100
	for d := range dirs {
		ops := mkdir(fmt.Sprintf("dir%05d", d))
		for f := range each {
			ops = append(ops, collfs.Op{Kind: collfs.OpPut, Path: fmt.Sprintf("dir%05d/file%03d", d, f), Content: collfs.Content{
				ID: collfs.ContentID{byte(f), byte(d), byte(d >> 8)}, Size: 50, Segments: []keepio.Segment{{Block: block, Off: uint32(f * 50), Len: 50}}},
				Attr: collfs.Attr{Mtime: int64(d)}})
		}
		if _, err := s.Commit(b.Context(), collfs.Tx{Changes: []collfs.Change{{Collection: id, Base: int64(d), Ops: ops}}}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Fold(b.Context(), id); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var read time.Duration
	var size int
	for b.Loop() {
		start := time.Now()
		_, saved, err := s.Load(b.Context(), id, 0)
		if err != nil {
			b.Fatal(err)
		}
		read += time.Since(start)
		size = len(saved.Checkpoint)
		if _, err := collfs.Load(saved, fakeBlocks{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(read.Milliseconds())/float64(b.N), "ms-read/op")
	b.ReportMetric(float64(size)/1e6, "MB")
}

// BenchmarkCreate makes collections, as MKCOL in a project does.
func BenchmarkCreate(b *testing.B) {
	for _, callers := range []int{1, 8} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			s := openStore(b, Config{SegmentSize: 8 << 20})
			home := newUser(b, s, "ann", false)
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for k := n.Add(1); k <= int64(b.N); k = n.Add(1) {
						newCollection(b, s, home, fmt.Sprint("c", k))
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkLookup finds a collection and asks what a user may do with it, as
// each request does.
func BenchmarkLookup(b *testing.B) {
	s := openStore(b, Config{})
	home := newUser(b, s, "ann", false)
	newCollection(b, s, home, "c")
	b.ReportAllocs()
	for b.Loop() {
		e, err := s.Lookup(b.Context(), home, "c")
		if err == nil {
			_, err = s.Access(b.Context(), home, e.Collection.UUID)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
