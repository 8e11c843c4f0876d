package collfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
	"unsafe"

	"keepdav/keepio"
)

// fakeBlocks is a Blocks that knows every block.
type fakeBlocks struct {
	ids    map[keepio.BlockID]*keepio.Block
	hashes map[[16]byte]*keepio.Block
}

func newFakeBlocks() *fakeBlocks {
	return &fakeBlocks{make(map[keepio.BlockID]*keepio.Block), make(map[[16]byte]*keepio.Block)}
}

func (f *fakeBlocks) ByID(id keepio.BlockID) (*keepio.Block, error) {
	if b := f.ids[id]; b != nil {
		return b, nil
	}
	return nil, keepio.ErrNotFound
}

func (f *fakeBlocks) ByHash(hash [16]byte, size uint32) *keepio.Block {
	b := f.hashes[hash]
	if b == nil {
		b = keepio.NewStoredBlock(hash, size)
		f.hashes[hash] = b
	}
	return b
}

func (f *fakeBlocks) block(n int) *keepio.Block {
	return f.ByHash([16]byte{byte(n), byte(n >> 8), 1}, keepio.BlockSize)
}

// bigTree has dirs directories of files files each.
func bigTree(dirs, files int) *Tree {
	blocks := newFakeBlocks()
	t := NewTree()
	off, blk := uint32(0), 0
	for d := range dirs {
		dir := fmt.Sprintf("dir%05d", d)
		if dirs == 1 {
			dir = ""
		} else if err := t.Apply(Op{Kind: OpMkdir, Path: dir}); err != nil {
			panic(err)
		}
		for f := range files {
			if off+4096 > keepio.BlockSize {
				off = 0
				blk++
			}
			c := Content{ID: ContentID{byte(d), byte(d >> 8), byte(f), byte(f >> 8), byte(f >> 16), 1}, Size: 4096,
				Segments: []keepio.Segment{{Block: blocks.block(blk), Off: off, Len: 4096}}}
			off += 4096
			if err := t.Apply(Op{Kind: OpPut, Path: joinPath(dir, fmt.Sprintf("file-%07d.dat", f)), Content: c, Attr: Attr{Mtime: 1700000000000000000 + int64(f)}}); err != nil {
				panic(err)
			}
		}
	}
	return t
}

// dump lists everything in a tree.
func dump(t *Tree) map[string]any {
	out := make(map[string]any)
	_ = t.Walk(func(path string, i NodeInfo, c Content) error {
		if len(i.Attr.Extra) == 0 {
			i.Attr.Extra = nil
		}
		if len(c.Segments) == 0 {
			c.Segments = nil
		}
		out[path] = struct {
			NodeInfo
			Content
		}{i, c}
		return nil
	})
	out["\x00sums"] = [6]int64{t.files, t.dirs, t.bytes, t.segs, t.names, t.holes}
	return out
}

func checkSame(t testing.TB, what string, got, want *Tree) {
	t.Helper()
	if err := errors.Join(got.checkSums(), want.checkSums()); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	g, w := dump(got), dump(want)
	if reflect.DeepEqual(g, w) {
		return
	}
	for k, v := range w {
		if !reflect.DeepEqual(g[k], v) {
			t.Errorf("%s: %q = %+v; want %+v", what, k, g[k], v)
		}
	}
	for k, v := range g {
		if _, ok := w[k]; !ok {
			t.Errorf("%s: %q = %+v; want nothing", what, k, v)
		}
	}
	t.FailNow()
}

func TestCheckpointKeepsTheTree(t *testing.T) {
	for _, tree := range []*Tree{NewTree(), bigTree(1, 3), bigTree(1, 5000), bigTree(20, 30)} {
		r := rand.New(rand.NewPCG(1, 2))
		_ = tree.Apply(Op{Kind: OpMkdir, Path: "empty", Attr: Attr{Mode: 0o700, Extra: map[string]string{"dav:{x}y": "z", "xattr:a": "\x00"}}})
		_ = tree.Apply(Op{Kind: OpPut, Path: "fifo", Content: Content{ID: EmptyID}, Attr: Attr{Mtime: 7, Ctime: 9, Posix: &Posix{HasOwner: true, UID: 1000, GID: 1 << 31, Type: 0o10000, Atime: 8}}})
		_ = tree.Apply(Op{Kind: OpPut, Path: "device", Content: Content{ID: EmptyID}, Attr: Attr{Posix: &Posix{Type: 0o20000, Rdev: 1<<32 - 1}}, Time: 9})
		_ = tree.Apply(Op{Kind: OpPut, Path: "empty/ünï\xff", Content: Content{ID: EmptyID}})
		_ = tree.Apply(Op{Kind: OpPut, Path: "hole", Content: Content{ID: ContentID{9}, Size: 1<<32 - 1 + 7, Segments: []keepio.Segment{
			{Len: 1<<32 - 1}, {Block: keepio.NewStoredBlock([16]byte{byte(r.Int())}, 9), Off: 2, Len: 7}}}})
		_ = tree.Apply(Op{Kind: OpLink, Src: "hole", Path: "empty/link"})
		_ = tree.Apply(Op{Kind: OpLink, Src: "empty/link", Path: "another"})
		blocks := newFakeBlocks()
		data := AppendTree([]byte("x"), tree)[1:]
		got, err := DecodeTree(data, blocks)
		if err != nil {
			t.Fatalf("DecodeTree() = %v", err)
		}
		again := AppendTree(nil, got)
		if string(again) != string(data) {
			t.Errorf("AppendTree(DecodeTree(x)) differs from x")
		}
		if got.Files() != tree.Files() || got.Bytes() != tree.Bytes() {
			t.Errorf("sums = %d, %d; want %d, %d", got.Files(), got.Bytes(), tree.Files(), tree.Bytes())
		}
		third, err := DecodeTree(again, blocks)
		if err != nil {
			t.Fatal(err)
		}
		checkSame(t, "decoded twice", third, got)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestMillionFilesFitInMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("a million files take a second")
	}
	data := AppendTree(nil, bigTree(10000, 100))
	blocks := newFakeBlocks()
	before := heap()
	tree, err := DecodeTree(data, blocks)
	if err != nil {
		t.Fatal(err)
	}
	each := float64(heap()-before) / 1e6
	t.Logf("%.0f B of heap a file, estimate %.0f; checkpoint %.0f B a file", each, float64(tree.MemSize())/1e6, float64(len(data))/1e6)
	if each > 300 {
		t.Errorf("%.0f bytes of heap a file; want at most 300", each)
	}
	runtime.KeepAlive(tree)
}

func BenchmarkDecodeMillion(b *testing.B) {
	data := AppendTree(nil, bigTree(10000, 100))
	b.ResetTimer()
	for b.Loop() {
		if _, err := DecodeTree(data, newFakeBlocks()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeMillion(b *testing.B) {
	t := bigTree(10000, 100)
	for b.Loop() {
		AppendTree(nil, t)
	}
}

// Every file of a collection that is open costs a node.
func TestNodesAreSmall(t *testing.T) {
	if size := unsafe.Sizeof(node{}); size > 128 {
		t.Errorf("a node has %d bytes; want at most 128", size)
	}
}
