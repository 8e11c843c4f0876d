package delta

import (
	"fmt"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

// fill makes n files of the server's collection, as one commit.
func (e *env) fill(b *testing.B, n int) {
	b.Helper()
	block, err := e.store.WriteBlock(b.Context(), make([]byte, 1<<20))
	if err != nil {
		b.Fatal(err)
	}
	stored := keepio.NewStoredBlock(block, 1<<20)
	ops := make([]collfs.Op, 0, n+n/1000+1)
	for i := range n {
		dir := fmt.Sprintf("dir%03d", i/1000)
		if i%1000 == 0 {
			ops = append(ops, collfs.Op{Kind: collfs.OpMkdir, Path: dir})
		}
		ops = append(ops, collfs.Op{Kind: collfs.OpPut, Path: fmt.Sprintf("%s/file%06d", dir, i),
			Content: collfs.Content{ID: collfs.ContentID{byte(i), byte(i >> 8), byte(i >> 16), 1}, Size: 10, Segments: []keepio.Segment{{Block: stored, Off: uint32(10 * i % 1_000_000), Len: 10}}},
			Attr:    collfs.Attr{Mtime: int64(i + 1)}})
	}
	if _, err := e.open(e.fs).Apply(b.Context(), 0, func(*collfs.Tree) ([]collfs.Op, error) { return ops, nil }); err != nil {
		b.Fatal(err)
	}
}

// One byte changed in one of 100,000 files, committed: at most 10 KiB and 20 ms.
func BenchmarkCommitOneOfManyFiles(b *testing.B) {
	e := newEnv(b)
	e.fill(b, 100_000)
	_, c, _ := e.mount(1000)
	text := []byte("0123456789")
	e.sent.Store(0)
	for b.Loop() {
		text[0] = 'a' + text[0]%26
		put(b, c, "dir042/file042042", string(text))
		commit(b, c)
	}
	b.ReportMetric(float64(e.sent.Load())/float64(b.N), "B/request")
}

// A collection of 100,000 files opened on another machine, and one read: at most 0.3 s.
func BenchmarkOpenManyFiles(b *testing.B) {
	e := newEnv(b)
	e.fill(b, 100_000)
	spool := e.spool(1000)
	for b.Loop() {
		f := e.newFS(e.client(writer, spool), spool)
		c, err := f.Open(b.Context(), e.id)
		if err != nil {
			b.Fatal(err)
		}
		if get(b, c, "dir042/file042042") == "" {
			b.Fatal("nothing read")
		}
		c.Release()
		_ = f.Close(b.Context())
	}
}

// From the commit of one client to the notice of another.
func BenchmarkChangeSeenElsewhere(b *testing.B) {
	e := newEnv(b)
	e.fill(b, 100_000)
	_, one, _ := e.mount(1000)
	f, _, _ := e.mount(2000)
	told := make(chan collfs.Notice, 100)
	defer f.Subscribe(func(n collfs.Notice) { told <- n })()
	for b.Loop() {
		put(b, one, "dir042/file042042", time.Now().String())
		commit(b, one)
		for n := range told {
			if n.Path == "dir042/file042042" {
				break
			}
		}
	}
}

// Files of 4 KiB, each committed by itself: 1,000 take at most 3 s.
func BenchmarkCommitSmallFiles(b *testing.B) {
	e := newEnv(b)
	_, c, _ := e.mount(1000)
	data := string(make([]byte, 4<<10))
	i := 0
	for b.Loop() {
		i++
		put(b, c, fmt.Sprint("file", i), data)
		commit(b, c)
	}
	n := make(map[[16]byte]bool)
	if _, _, err := e.open(e.fs).Checkpoint(b.Context(), func(hash [16]byte, _ uint32) { n[hash] = true }); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(n)), "blocks")
}
