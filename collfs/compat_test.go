package collfs

import (
	"os"
	"reflect"
	"testing"

	"keepdav/keepio"
)

// oldOps is the change set in testdata/ops.v1; it makes the tree in
// testdata/tree.v1.
func oldOps(blocks Blocks) []Op {
	block := func(n byte) *keepio.Block { return blocks.ByHash([16]byte{n}, 1000) }
	file := func(n byte, segs ...keepio.Segment) Content { return Content{ContentID{n}, sizeOf(segs), segs} }
	return []Op{
		{Kind: OpAttr, Attr: Attr{Mode: 0o2775, Mtime: 1700000000000000000}},
		{Kind: OpMkdir, Path: "dir", Attr: Attr{Mode: 0o700, Extra: map[string]string{"dav:{x}y": "z", "xattr:a": "\x00"}}},
		{Kind: OpMkdir, Path: "dir/\xff", Attr: Attr{Mtime: -5}},
		{Kind: OpPut, Path: "dir/a", Content: file(1, keepio.Segment{Block: block(1), Off: 10, Len: 90}), Attr: Attr{Mtime: 1700000000000000001}},
		{Kind: OpPut, Path: "dir/b", Content: file(2, keepio.Segment{Block: block(1), Off: 100, Len: 900}, keepio.Segment{Len: 7})},
		{Kind: OpPut, Path: "empty", Content: Content{ID: EmptyID}, Attr: Attr{Mode: 0o4755, Mtime: 1, Extra: map[string]string{"symlink": "to"}}},
		{Kind: OpCopy, Path: "copy", Src: "dir"},
		{Kind: OpRename, Path: "copy/c", Src: "copy/a", Content: Content{ID: ContentID{1}}},
		{Kind: OpDelete, Path: "copy/b", Old: ContentID{2}},
		{Kind: OpPatch, Path: "dir/b", Old: ContentID{2}, Off: 3, Content: Content{ID: ContentID{3}, Size: 950, Segments: []keepio.Segment{{Block: block(2), Off: 1, Len: 2}}}, Attr: Attr{Mtime: 3}},
		{Kind: OpRepack, Path: "dir/a", Content: file(1, keepio.Segment{Block: block(3), Len: 90})},
	}
}

// newOps is the change set in testdata/ops.v2; it makes the tree in
// testdata/tree.v2.
func newOps(blocks Blocks) []Op {
	const now = 1700000000000000000
	fifo := Attr{Mode: 0o600, Mtime: now, Posix: &Posix{HasOwner: true, UID: 1000, GID: 100, Type: 0o10000, Atime: now + 5}}
	return append(oldOps(blocks),
		Op{Kind: OpMkdir, Path: "new", Time: now},
		Op{Kind: OpPut, Path: "new/fifo", Content: Content{ID: EmptyID}, Attr: fifo, Time: now + 1},
		Op{Kind: OpPut, Path: "new/device", Content: Content{ID: EmptyID}, Attr: Attr{Mtime: 3, Ctime: 4, Posix: &Posix{Type: 0o60000, Rdev: 259}}},
		Op{Kind: OpLink, Path: "new/link", Src: "dir/b", Content: Content{ID: ContentID{3}}, Time: now + 2},
		Op{Kind: OpLink, Path: "another", Src: "new/fifo", Content: Content{ID: EmptyID}},
	)
}

func TestWhatEachVersionStoredIsRead(t *testing.T) {
	for version, ops := range map[string]func(Blocks) []Op{"v1": oldOps, "v2": newOps} {
		t.Run(version, func(t *testing.T) { checkStored(t, version, ops) })
	}
}

// checkStored checks that the files of a version hold ops, and the tree they make.
func checkStored(t *testing.T, version string, ops func(Blocks) []Op) {
	read := func(name string) []byte {
		data, err := os.ReadFile("testdata/" + name + "." + version)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	blocks := newFakeBlocks()
	decoded, err := DecodeOps(read("ops"), blocks)
	if want := ops(blocks); err != nil || !reflect.DeepEqual(decoded, want) {
		t.Errorf("DecodeOps() = %+v, %v; want %+v", decoded, err, want)
	}
	want := NewTree()
	for _, op := range ops(blocks) {
		if err := want.Apply(op); err != nil {
			t.Fatal(err)
		}
	}
	got, err := DecodeTree(read("tree"), blocks)
	if err != nil {
		t.Fatalf("DecodeTree() = %v", err)
	}
	checkSame(t, "tree."+version, got, want)
}
