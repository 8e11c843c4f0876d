package keepio_test

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/dirstore"
)

// openDirSpool opens a spool over a store in a directory, as the server does.
func openDirSpool(b testing.TB, change func(*keepio.SpoolConfig)) *keepio.Spool {
	b.Helper()
	dir := b.TempDir()
	store, err := dirstore.Open(dirstore.Config{Dir: filepath.Join(dir, "blocks"), Sums: filepath.Join(dir, "sums"), Trash: filepath.Join(dir, "trash")})
	if err != nil {
		b.Fatal(err)
	}
	var last atomic.Uint64
	cfg := keepio.SpoolConfig{
		Dir: filepath.Join(dir, "open"), Store: store, Budget: 64 << 30,
		NextID: func() (keepio.BlockID, error) { return keepio.BlockID(last.Add(1)), nil },
	}
	if change != nil {
		change(&cfg)
	}
	s, err := keepio.OpenSpool(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = s.Close(context.Background())
		_ = store.Close()
	})
	return s
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := openDirSpool(b, nil)
			st := s.NewPacker("c").NewStream()
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if _, err := st.Append(context.Background(), data); err != nil {
					b.Fatal(err)
				}
				if n += size; n > 1<<30 {
					b.StopTimer()
					st.Abort()
					st, n = s.NewPacker("c").NewStream(), 0
					b.StartTimer()
				}
			}
			st.Abort()
		})
	}
}

// BenchmarkDurableUpload is the life of an uploaded file of 512 MiB up to the
// moment when it is safe; then, apart, until all of it is stored.
func BenchmarkDurableUpload(b *testing.B) {
	s := openDirSpool(b, nil)
	p := s.NewPacker("c")
	data := make([]byte, 1<<20)
	b.SetBytes(512 << 20)
	n := byte(0)
	for b.Loop() {
		st := p.NewStream()
		var segs []keepio.Segment
		for range 512 {
			n++
			data[0] = n
			got, err := st.Append(context.Background(), data)
			if err != nil {
				b.Fatal(err)
			}
			segs = keepio.JoinSegments(segs, got...)
		}
		st.Close()
		var blocks []*keepio.Block
		for _, seg := range segs {
			blocks = append(blocks, seg.Block)
		}
		if _, err := s.Freeze("c", blocks); err != nil {
			b.Fatal(err)
		}
		if err := s.Sync(context.Background(), blocks); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Store(context.Background(), blocks); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkSmallDurable has 8 callers append 4 KiB, freeze and sync, as uploads
// of small files do.
func BenchmarkSmallDurable(b *testing.B) {
	s := openDirSpool(b, nil)
	p := s.NewPacker("c")
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		data := make([]byte, 4096)
		for pb.Next() {
			segs, err := p.Append(context.Background(), data)
			if err != nil {
				b.Error(err)
				return
			}
			blocks := []*keepio.Block{segs[0].Block}
			if _, err = s.Freeze("c", blocks); err == nil {
				err = s.Sync(context.Background(), blocks)
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkHash measures hashing and storing per block, many at once and alone.
func BenchmarkHash(b *testing.B) {
	for _, n := range []int{1, 2, 4, 8, 16} {
		b.Run(fmt.Sprintf("%dblocks", n), func(b *testing.B) {
			s := openDirSpool(b, nil)
			data := make([]byte, 1<<20)
			b.SetBytes(int64(n) * keepio.BlockSize)
			seq := 0
			for b.Loop() {
				b.StopTimer()
				st := s.NewPacker("c").NewStream()
				var blocks []*keepio.Block
				for range n * 64 {
					seq++
					data[0], data[1], data[2] = byte(seq), byte(seq>>8), byte(seq>>16)
					segs, err := st.Append(context.Background(), data)
					if err != nil {
						b.Fatal(err)
					}
					blocks = append(blocks, segs[0].Block)
				}
				st.Close()
				if _, err := s.Freeze("c", blocks); err != nil {
					b.Fatal(err)
				}
				if err := s.Sync(context.Background(), blocks); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := s.Store(context.Background(), blocks); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	s := openDirSpool(b, nil)
	p := s.NewPacker("c")
	var blocks []*keepio.Block
	data := make([]byte, keepio.BlockSize)
	for i := range 4 {
		data[0] = byte(i)
		segs, err := p.Append(context.Background(), data)
		if err != nil {
			b.Fatal(err)
		}
		blocks = append(blocks, segs[0].Block)
	}
	read := func(b *testing.B) {
		b.Run("ReadBlock64KiB", func(b *testing.B) {
			buf := make([]byte, 64<<10)
			b.SetBytes(64 << 10)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := s.ReadBlock(context.Background(), blocks[i%4], buf, int64(i*7919%1000*ChunkStep)); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
		b.Run("WriteRange", func(b *testing.B) {
			b.SetBytes(keepio.BlockSize)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := s.WriteRange(context.Background(), struct{ io.Writer }{io.Discard}, blocks[i%4], 0, keepio.BlockSize); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
	b.Run("open", read)
	if err := s.Store(context.Background(), blocks); err != nil {
		b.Fatal(err)
	}
	b.Run("stored", read)
}

// ChunkStep spreads reads over a block without aligning them.
const ChunkStep = 65000
