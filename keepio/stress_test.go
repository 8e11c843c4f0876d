package keepio_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/storetest"
)

// TestWritersReadersAndStoringShareASpool has uploads, aborts, commits, reads
// and storing go on at once over real files, with a budget that is far too small.
func TestWritersReadersAndStoringShareASpool(t *testing.T) {
	s := openDirSpool(t, func(cfg *keepio.SpoolConfig) { cfg.Budget = 2 << 20 })
	type file struct {
		segs []keepio.Segment
		seed uint64
		size int
	}
	var mu sync.Mutex
	var files []file
	fail := func(err error) bool {
		if err != nil {
			t.Error(err)
		}
		return err != nil
	}
	upload := func(p *keepio.Packer, r *rand.Rand) {
		f := file{seed: r.Uint64N(1 << 20), size: 1 + r.IntN(300000)}
		data := storetest.Data(f.seed, f.size)
		if f.size < 100000 {
			segs, err := p.Append(context.Background(), data)
			if fail(err) {
				return
			}
			f.segs = segs
		} else {
			st := p.NewStream()
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+r.IntN(100000))
				segs, err := st.Append(context.Background(), rest[:n])
				if fail(err) {
					return
				}
				f.segs, rest = keepio.JoinSegments(f.segs, segs...), rest[n:]
			}
			if r.IntN(3) == 0 {
				st.Abort()
				return
			}
			st.Close()
		}
		var blocks []*keepio.Block
		for _, seg := range f.segs {
			blocks = append(blocks, seg.Block)
		}
		if _, err := s.Freeze("c", blocks); fail(err) {
			return
		}
		if r.IntN(4) == 0 && fail(s.Sync(context.Background(), blocks)) {
			return
		}
		if r.IntN(10) == 0 && fail(s.Store(context.Background(), blocks)) {
			return
		}
		mu.Lock()
		files = append(files, f)
		mu.Unlock()
	}
	check := func(f file, r *rand.Rand) {
		var out bytes.Buffer
		for _, seg := range f.segs {
			if r.IntN(2) == 0 {
				_, err := s.WriteRange(context.Background(), &out, seg.Block, int64(seg.Off), int64(seg.Len))
				fail(err)
				continue
			}
			p := make([]byte, seg.Len)
			_, err := s.ReadBlock(context.Background(), seg.Block, p, int64(seg.Off))
			fail(err)
			out.Write(p)
		}
		if !bytes.Equal(out.Bytes(), storetest.Data(f.seed, f.size)) {
			t.Errorf("a file of %d bytes has other bytes", f.size)
		}
	}
	var writers, readers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			p := s.NewPacker(fmt.Sprint("c", i%2))
			defer p.Close()
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for range 60 {
				upload(p, r)
			}
		})
	}
	done := make(chan struct{})
	for i := range 2 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			for {
				select {
				case <-done:
					return
				default:
				}
				mu.Lock()
				var f file
				if len(files) > 0 {
					f = files[r.IntN(len(files))]
				}
				mu.Unlock()
				if f.size > 0 {
					check(f, r)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if err := s.StoreAll(context.Background()); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Waiting != 0 || st.Open+st.Sealed+st.Failed != 0 {
		t.Errorf("Stats after StoreAll = %+v; want nothing left", st)
	}
	r := rand.New(rand.NewPCG(9, 9))
	for _, f := range files {
		check(f, r)
	}
}
