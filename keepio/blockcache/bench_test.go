package blockcache

import (
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/storetest"
)

// BenchmarkWarm compares ReadBlock of a block whose file is open with pread, and
// WriteRange to a connection.
func BenchmarkWarm(b *testing.B) {
	r := newRemote()
	s := open(b, Config{Remote: r})
	k := r.put(storetest.Data(1, keepio.BlockSize))
	if _, err := get(s, k); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(s.disk.path(k.hash))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{4 << 10, 128 << 10, 1 << 20} {
		p := make([]byte, size)
		read := func(b *testing.B, at func(off int64) (int, error)) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				if n, err := at(off); n != size || err != nil {
					b.Fatal(n, err)
				}
				off = (off + int64(size)) % keepio.BlockSize
			}
		}
		b.Run(fmt.Sprintf("pread/%dKiB", size>>10), func(b *testing.B) {
			read(b, func(off int64) (int, error) { return f.ReadAt(p, off) })
		})
		b.Run(fmt.Sprintf("ReadBlock/%dKiB", size>>10), func(b *testing.B) {
			read(b, func(off int64) (int, error) { return s.ReadBlock(b.Context(), k.hash, k.size, p, off) })
		})
	}
	b.Run("WriteRange", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if c, err := l.Accept(); err == nil {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}
		}()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(keepio.BlockSize)
		for b.Loop() {
			if _, err := s.WriteRange(b.Context(), c, k.hash, k.size, 0, keepio.BlockSize); err != nil {
				b.Fatal(err)
			}
		}
		_ = c.Close()
		<-done
	})
}

// A hashingRemote does what a client of a cluster does: it hashes what it gets.
type hashingRemote struct{ *memRemote }

func (r hashingRemote) Fetch(ctx context.Context, hash [16]byte, size uint32, sink keepio.Sink) error {
	h := md5.New()
	err := r.memRemote.Fetch(ctx, hash, size, hashingSink{sink, h})
	if err == nil && [16]byte(h.Sum(nil)) != hash {
		err = keepio.ErrCorrupt
	}
	return err
}

type hashingSink struct {
	keepio.Sink
	h io.Writer
}

func (s hashingSink) Write(p []byte) (int, error) {
	_, _ = s.h.Write(p)
	return s.Sink.Write(p)
}

// BenchmarkCold reads 512 MiB that are not in the cache, in order, 128 KiB at a
// time, with and without getting blocks ahead, beside the MD5 of as many bytes on
// one core.
func BenchmarkCold(b *testing.B) {
	const blocks = 8
	r := newRemote()
	r.piece = 256 << 10
	var ks []key
	for i := range blocks {
		ks = append(ks, r.put(storetest.Data(uint64(i), keepio.BlockSize)))
	}
	b.Run("md5", func(b *testing.B) {
		b.SetBytes(blocks * keepio.BlockSize)
		for b.Loop() {
			for _, k := range ks {
				if md5.Sum(r.blocks[k]) != k.hash {
					b.Fatal("other bytes")
				}
			}
		}
	})
	for _, ahead := range []int{0, 2} {
		b.Run(fmt.Sprintf("ahead=%d", ahead), func(b *testing.B) {
			b.SetBytes(blocks * keepio.BlockSize)
			p := make([]byte, 128<<10)
			for b.Loop() {
				b.StopTimer()
				s := open(b, Config{Remote: hashingRemote{r}, Limit: 4 << 30})
				b.StartTimer()
				for i, k := range ks {
					for j := i + 1; j < min(i+1+ahead, len(ks)); j++ {
						defer s.Prefetch(b.Context(), ks[j].hash, ks[j].size)()
					}
					for off := int64(0); off < keepio.BlockSize; off += int64(len(p)) {
						if _, err := s.ReadBlock(b.Context(), k.hash, k.size, p, off); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
		})
	}
}
