package collfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keepdav/keepio"
)

func TestDirIsLikeASortedMapAndSnapshotsStay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d, m := new(dir), make(map[string]*node)
		type snapshot struct {
			view dirView
			want []string
		}
		var snapshots []snapshot
		names := func(v dirView) (out []string) {
			for name, n := range v.all {
				out = append(out, fmt.Sprintf("%s %p", name, n))
			}
			return out
		}
		for range rapid.IntRange(1, 3).Draw(rt, "phases") {
			n := rapid.IntRange(0, 1500).Draw(rt, "n")
			stride := rapid.SampledFrom([]int{1, 7919}).Draw(rt, "stride")
			remove := rapid.Bool().Draw(rt, "remove")
			for i := range n {
				name := fmt.Sprintf("é%05d", i*stride%3000)[i%2*2:]
				if remove && i%3 > 0 {
					if got, want := d.remove(name), m[name] != nil; got != want {
						rt.Fatalf("remove(%q) = %v; want %v", name, got, want)
					}
					delete(m, name)
					continue
				}
				m[name] = new(node)
				d.set(name, m[name])
				if i%500 == 7 {
					v := d.snapshot()
					snapshots = append(snapshots, snapshot{v, names(v)})
				}
			}
		}
		var want []string
		nonASCII := 0
		for _, name := range slices.Sorted(maps.Keys(m)) {
			want = append(want, fmt.Sprintf("%s %p", name, m[name]))
			if d.get(name) != m[name] {
				rt.Fatalf("get(%q) is another node", name)
			}
			if !isASCII(name) {
				nonASCII++
			}
		}
		if got := names(d.view()); !slices.Equal(got, want) || d.n != len(m) || d.nonASCII != nonASCII {
			rt.Fatalf("%d entries, n %d, %d non-ASCII; want %d, %d", len(got), d.n, d.nonASCII, len(want), nonASCII)
		}
		for i, s := range snapshots {
			if !slices.Equal(names(s.view), s.want) {
				rt.Fatalf("snapshot %d changed", i)
			}
		}
	})
}

func TestNamesMatchByNormalFormAndCase(t *testing.T) {
	tree := treeOf(t, "Caf\u00e9", "Caf\u00e9/x=1", "nfd-e\u0301=2", "Read.me=3", "a=4", "A=5", "both\u00e9=6", "bothe\u0301=7")
	for _, tt := range []struct {
		path string
		m    Match
		want string
		ok   bool
	}{
		{"Cafe\u0301/x", MatchNFC, "Caf\u00e9/x", true},
		{"Cafe\u0301/x", MatchExact, "Cafe\u0301/x", false},
		{"Cafe\u0301/new", MatchNFC, "Caf\u00e9/new", false},
		{"nfd-\u00e9", MatchNFC, "nfd-e\u0301", true},
		{"both\u00e9", MatchNFC, "both\u00e9", true},
		{"bothe\u0301", MatchNFC, "bothe\u0301", true},
		{"READ.ME", MatchNFC, "READ.ME", false},
		{"READ.ME", MatchFold, "Read.me", true},
		{"caFE\u0301/X", MatchFold, "Caf\u00e9/x", true},
		{"a", MatchFold, "a", true},
		{"A", MatchFold, "A", true},
		{"\u212aelvin", MatchNFC, "\u212aelvin", false},
	} {
		if got, ok := tree.Resolve(tt.path, tt.m); got != tt.want || ok != tt.ok {
			t.Errorf("Resolve(%q, %v) = %q, %v; want %q, %v", tt.path, tt.m, got, ok, tt.want, tt.ok)
		}
	}
	// The indexes follow changes.
	changesOf(t, tree, "put new\u00e9=8", "rm Read.me", "put README=9", "put readme=9")
	for path, want := range map[string]string{"newe\u0301": "new\u00e9", "READ.ME": "", "ReadMe": ""} {
		got, ok := tree.Resolve(path, MatchFold)
		if ok != (want != "") || ok && got != want {
			t.Errorf("Resolve(%q) = %q, %v; want %q", path, got, ok, want)
		}
	}
}

func TestTreeRefuses(t *testing.T) {
	for _, tt := range []struct {
		op   string
		want error
	}{
		{"put nope/x=1", fs.ErrNotExist}, {"put f/x=1", ErrNotDir}, {"put d=1", ErrIsDir}, {"put d", fs.ErrExist}, {"put f", fs.ErrExist},
		{"rm nope", fs.ErrNotExist}, {"mv nope x", fs.ErrNotExist}, {"mv d d/x", ErrIntoItself}, {"cp d d/e/x", ErrIntoItself},
		{"mv d f", ErrNotDir}, {"mv f d", fs.ErrExist}, {"cp d d2", fs.ErrExist}, {"put .=1", ErrNameInvalid}, {"put d/..=1", ErrNameInvalid}, {"put a\x00=1", ErrNameInvalid},
		{"ln d x", ErrIsDir}, {"ln f d", fs.ErrExist}, {"ln f f", fs.ErrExist}, {"ln nope x", fs.ErrNotExist}, {"ln f nope/x", fs.ErrNotExist}, {"ln f ..", ErrNameInvalid},
		{"mv f f", nil}, {"mv d/e e", nil}, {"mode d", nil},
	} {
		tree := treeOf(t, "f=1", "d", "d/e", "d2")
		before := show(tree)
		err := tree.Apply(opOf(tt.op))
		if !errors.Is(err, tt.want) {
			t.Errorf("%s = %v; want %v", tt.op, err, tt.want)
		}
		if err != nil && !slices.Equal(show(tree), before) {
			t.Errorf("%s failed and changed the tree", tt.op)
		}
	}
}

// bytesOf reads spans from a model of blocks: byte i of block b is b*31+i.
func bytesOf(list []span, blocks map[*keepio.Block]byte) (out []byte) {
	for _, s := range list {
		for i := range s.Len {
			if s.Block == nil {
				out = append(out, 0)
			} else {
				out = append(out, blocks[s.Block]*31+byte(s.Off+i))
			}
		}
	}
	return out
}

func TestSpansAreLikeBytes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		blocks := make(map[*keepio.Block]byte)
		var handles []*keepio.Block
		for i := range 3 {
			b := keepio.NewStoredBlock([16]byte{byte(i)}, keepio.BlockSize)
			blocks[b] = byte(i + 1)
			handles = append(handles, b)
		}
		s, want := makeSpans(nil), []byte{}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			if rapid.IntRange(0, 3).Draw(rt, "truncate") == 0 {
				size := rapid.IntRange(0, 120).Draw(rt, "size")
				s.truncate(int64(size))
				want = append(want, make([]byte, max(0, size-len(want)))...)[:size]
			} else {
				off := rapid.IntRange(0, 100).Draw(rt, "off")
				var segs []keepio.Segment
				for range rapid.IntRange(1, 2).Draw(rt, "segments") {
					segs = append(segs, keepio.Segment{Block: rapid.SampledFrom(handles).Draw(rt, "block"), Off: uint32(rapid.IntRange(0, 50).Draw(rt, "at")), Len: uint32(rapid.IntRange(1, 20).Draw(rt, "len"))})
				}
				s.write(int64(off), segs)
				data := bytesOf(slices.Collect(makeSpans(segs).all), blocks)
				want = append(want, make([]byte, max(0, off+len(data)-len(want)))...)
				copy(want[off:], data)
			}
			if got := bytesOf(slices.Collect(s.all), blocks); !bytes.Equal(got, want) || s.size != int64(len(want)) {
				rt.Fatalf("spans %v hold %v; want %v", s.segments(), got, want)
			}
			if err := s.check(); err != nil {
				rt.Fatalf("%v: %v", err, s.segments())
			}
			from, n := rapid.Int64Range(0, 130).Draw(rt, "from"), rapid.Int64Range(0, 130).Draw(rt, "n")
			part := bytesOf(s.read(from, n), blocks)
			if lo, hi := min(from, s.size), min(from+n, s.size); !bytes.Equal(part, want[lo:hi]) {
				rt.Fatalf("read(%d, %d) = %v; want %v", from, n, part, want[lo:hi])
			}
		}
	})
}

// check tells what is wrong with s.
func (s *spans) check() error {
	at, n, last, holes := int64(0), 0, span{}, int64(0)
	for sp := range s.all {
		switch {
		case sp.start != at || sp.Len == 0:
			return fmt.Errorf("span %d begins at %d, not %d, with %d bytes", n, sp.start, at, sp.Len)
		case n > 0 && joins(last.Segment, sp.Segment):
			return fmt.Errorf("spans %d and %d should be one", n-1, n)
		}
		at, last = sp.end(), sp
		holes += sp.hole()
		n++
	}
	if s.holes != holes {
		return fmt.Errorf("%d bytes of holes are counted as %d", holes, s.holes)
	}
	if s.n != n || s.size != at {
		return fmt.Errorf("%d spans of %d bytes are counted as %d of %d", n, at, s.n, s.size)
	}
	for i, c := range s.chunks {
		if len(c) == 0 || len(c) > spanChunk {
			return fmt.Errorf("chunk %d has %d spans", i, len(c))
		}
	}
	return nil
}

// A file of many segments has its spans in many chunks.
func TestSpansOfAnySizeAgreeWithPlainBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	blocks := make(map[*keepio.Block]byte)
	var handles []*keepio.Block
	for i := range 200 {
		b := keepio.NewStoredBlock([16]byte{byte(i)}, keepio.BlockSize)
		blocks[b] = byte(i + 1)
		handles = append(handles, b)
	}
	const size = 6000
	s, want := makeSpans(nil), make([]byte, 0, size)
	for step := range 30_000 {
		switch off, n := r.IntN(size-400), 1+r.IntN(4); {
		case step%5000 == 4999:
			to := r.IntN(size)
			s.truncate(int64(to))
			want = append(want, make([]byte, max(0, to-len(want)))...)[:to]
		default:
			if step%500 == 0 {
				n = r.IntN(400)
			}
			seg := keepio.Segment{Block: handles[r.IntN(len(handles))], Off: uint32(r.IntN(50)), Len: uint32(max(n, 1))}
			s.write(int64(off), []keepio.Segment{seg})
			want = append(want, make([]byte, max(0, off+int(seg.Len)-len(want)))...)
			for i := range int(seg.Len) {
				want[off+i] = blocks[seg.Block]*31 + byte(seg.Off+uint32(i))
			}
		}
		if step%100 != 0 {
			continue
		}
		if err := s.check(); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if got := bytesOf(slices.Collect(s.all), blocks); !bytes.Equal(got, want) {
			t.Fatalf("step %d: the spans hold other bytes than were written", step)
		}
		if again := makeSpans(s.segments()); again.check() != nil || again.size != s.size {
			t.Fatalf("step %d: made of its segments: %v", step, again.check())
		}
	}
	if len(s.chunks) < 8 {
		t.Errorf("%d spans in %d chunks: this tests nothing", s.n, len(s.chunks))
	}
}

func TestAWriteJoinsWhatFollowsIt(t *testing.T) {
	b := keepio.NewStoredBlock([16]byte{1}, keepio.BlockSize)
	s := makeSpans([]keepio.Segment{{Len: 9}, {Block: b, Off: 4, Len: 3}})
	s.write(5, []keepio.Segment{{Block: b, Len: 4}})
	if got, want := s.segments(), []keepio.Segment{{Len: 5}, {Block: b, Len: 7}}; !slices.Equal(got, want) {
		t.Errorf("the segments are %v; want %v", got, want)
	}
}

func TestManifestClashIsAnError(t *testing.T) {
	for _, text := range []string{
		". acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:a 0:3:a/b\n",
		". acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:a\n./a acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:b\n",
		"./a acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:b\n. acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:a\n",
		". acbd18db4cc2f85cedef654fccc4a4d8+3 0:4:a\n",
	} {
		if tree, err := ParseManifest([]byte(text), newFakeBlocks()); err == nil {
			t.Errorf("ParseManifest(%q) = %v; want an error", text, show(tree))
		}
	}
}

func TestFileOfAManifestIsAllItsSpans(t *testing.T) {
	text := ". acbd18db4cc2f85cedef654fccc4a4d8+3 37b51d194a7513e45b56f6524f2d51f2+3 1:4:d/f 0:0:empty 0:0:e/.\n" +
		"./d 37b51d194a7513e45b56f6524f2d51f2+3 0:2:f\n"
	tree, err := ParseManifest([]byte(text), newFakeBlocks())
	if err != nil {
		t.Fatal(err)
	}
	c, err := tree.Content("d/f")
	if err != nil || c.Size != 6 || len(c.Segments) != 3 {
		t.Errorf("d/f = %+v, %v", c, err)
	}
	if e, _ := tree.Stat("empty"); e.ID != EmptyID {
		t.Errorf("empty file has id %x", e.ID)
	}
	if tree.Files() != 2 || tree.Dirs() != 2 || tree.Bytes() != 6 {
		t.Errorf("sums = %d, %d, %d", tree.Files(), tree.Dirs(), tree.Bytes())
	}
	if _, err := tree.Stat("e"); err != nil {
		t.Errorf("empty directory: %v", err)
	}
}

func TestHolesPrintAsZeros(t *testing.T) {
	tree := NewTree()
	if err := tree.Apply(Op{Kind: OpPut, Path: "f", Content: Content{ID: ContentID{1}, Size: 150, Segments: []keepio.Segment{{Len: 150}}}}); err != nil {
		t.Fatal(err)
	}
	text, err := tree.AppendManifest(nil, func() ([16]byte, uint32, error) { return [16]byte{0xee}, 64, nil })
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseManifest(text, newFakeBlocks())
	if err != nil || again.Bytes() != 150 {
		t.Errorf("ParseManifest(%q) = %v, %v", text, again, err)
	}
	id := keepio.Block{}
	tree = NewTree()
	_ = tree.Apply(Op{Kind: OpPut, Path: "open", Content: Content{ID: ContentID{2}, Size: 1, Segments: []keepio.Segment{{Block: &id, Len: 1}}}})
	if _, err := tree.AppendManifest(nil, nil); !errors.Is(err, ErrNotStored) {
		t.Errorf("AppendManifest = %v; want ErrNotStored", err)
	}
}

func FuzzDecodeTree(f *testing.F) {
	timed := bigTree(1, 2)
	for i, op := range []Op{{Kind: OpPut, Path: "fifo", Attr: Attr{Posix: &Posix{HasOwner: true, UID: 1, GID: 2, Type: 0o10000, Rdev: 3, Atime: 4}}}, opOf("put d"), opOf("put d/f=1"), opOf("ln d/f d/g"), opOf("ln d/f h"), opOf("mv d e"), {Kind: OpAttr, Attr: Attr{Mtime: 5, Ctime: 7}}} {
		op.Time = int64(1700000000000000000 + i)
		_ = timed.Apply(op)
	}
	for _, tree := range []*Tree{NewTree(), bigTree(3, 4), timed} {
		data := AppendTree(nil, tree)
		f.Add(data[len(treeMagic) : len(data)-4])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// The checksum would keep the fuzzer out.
		d := &decoder{data: data}
		tree, err := d.tree(newFakeBlocks())
		if err != nil {
			return
		}
		again, err := DecodeTree(AppendTree(nil, tree), newFakeBlocks())
		if err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		if !slices.Equal(show(again), show(tree)) {
			t.Fatal("another tree")
		}
	})
}

func FuzzDecodeOps(f *testing.F) {
	f.Add(AppendOps(nil, nil))
	f.Add(AppendOps(nil, []Op{opOf("put a"), opOf("put a/b=1"), opOf("ln a/b a/c"), opOf("ln a/b d"), opOf("mv a c"), opOf("put d=2"), opOf("rm c"), {Kind: OpPut, Path: "h", Content: Content{ID: ContentID{1}, Size: 9, Segments: []keepio.Segment{{Len: 9}}}, Attr: Attr{Mode: 1, Mtime: 2, Extra: map[string]string{"a": "b"}}}}))
	f.Add(AppendOps(nil, []Op{{Kind: OpMkdir, Path: "d", Attr: Attr{Mtime: 3, Ctime: 4}}, {Kind: OpMkdir, Path: "e", Time: 1700000000000000000}}))
	f.Add(AppendOps(nil, []Op{{Kind: OpAttr, Attr: Attr{Posix: &Posix{HasOwner: true, UID: 1, GID: 2, Type: 0o10000, Rdev: 3, Atime: 4}}}}))
	f.Add(AppendOps(nil, []Op{{Kind: OpAttr, Attr: Attr{Mtime: math.MinInt64}, Time: math.MaxInt64}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		ops, err := DecodeOps(data, newFakeBlocks())
		if err != nil {
			return
		}
		again := AppendOps(nil, ops)
		if ops2, err := DecodeOps(again, newFakeBlocks()); err != nil || !bytes.Equal(AppendOps(nil, ops2), again) {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		tree := NewTree()
		for _, op := range ops {
			_ = tree.Apply(op) // may be refused, must not panic
		}
		_, _ = DecodeTree(AppendTree(nil, tree), newFakeBlocks())
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(". acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:a 0:0:d/.\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tree, err := ParseManifest(text, newFakeBlocks())
		if err != nil {
			return
		}
		printed, err := tree.AppendManifest(nil, nil)
		if err != nil {
			t.Fatalf("AppendManifest: %v", err)
		}
		again, err := ParseManifest(printed, newFakeBlocks())
		if err != nil {
			t.Fatalf("ParseManifest(%q) = %v", printed, err)
		}
		if a, b := show(again), show(tree); len(a) != len(b) || strings.Count(strings.Join(a, ""), "/") != strings.Count(strings.Join(b, ""), "/") {
			t.Fatalf("%q parses to another tree", printed)
		}
	})
}
