package collfs

import (
	"encoding/binary"
	"hash/crc32"

	"keepdav/keepio"
)

// A checkpoint is: magic; how many files, directories and segments there are;
// the block table; all names, one after the other; then the directories in
// breadth-first order, the root first, each as its attributes and its entries in
// byte order; and the CRC-32C of all that. Breadth first, so that a decoder
// needs no stack. A file with several names is written with the first of them; the
// others say the how many-th such file it is. Segments are counted once a file.
//
// A checkpoint of the first version is read, too: it knows no times but Mtime, no
// Posix and no links.
const (
	treeMagic      = "KDtree2\n"
	firstTreeMagic = "KDtree1\n"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Flags of an entry beside those of its attributes.
const (
	nodeIsDir = lowBits << iota
	nodeHasID
	nodeHasContent
	nodeFollows                 // its one segment begins where the one before ended
	nodeShared  = highBits      // a file with several names
	nodeLink    = highBits << 1 // another name of one: only its number follows
	nodeFlags   = nodeIsDir | nodeHasID | nodeHasContent | nodeFollows | nodeShared | nodeLink
)

// AppendTree appends the checkpoint of t to buf.
func AppendTree(buf []byte, t *Tree) []byte {
	var table blockTable
	names := make([]byte, 0, t.names)
	body := make([]byte, 0, 32*(t.files+t.dirs)+8*t.segs)
	var last keepio.Segment
	segs := 0
	shared := make(map[*node]uint64)
	queue := make([]*node, 1, t.dirs+1)
	queue[0] = t.root
	for ; len(queue) > 0; queue = queue[1:] {
		up := queue[0]
		body = binary.AppendUvarint(body, uint64(up.kids.n))
		for name, n := range up.kids.view().all {
			names = append(names, name...)
			body = binary.AppendUvarint(body, uint64(len(name)))
			flags := attrFlags(n.attr)
			if t.linked && !n.isDir() && n.links() > 1 {
				if i, ok := shared[n]; ok {
					body = binary.AppendUvarint(binary.AppendUvarint(body, nodeLink), i)
					continue
				}
				shared[n] = uint64(len(shared))
				flags |= nodeShared
			}
			segs += len(n.segs)
			follows := len(n.segs) == 1 && last.Block != nil && n.segs[0].Block == last.Block && n.segs[0].Off == last.Off+last.Len
			switch {
			case n.isDir():
				flags |= nodeIsDir
				queue = append(queue, n)
			case follows:
				flags |= nodeFollows | nodeHasContent
			case len(n.segs) > 0:
				flags |= nodeHasContent
			}
			if n.id != (ContentID{}) {
				flags |= nodeHasID
			}
			body = binary.AppendUvarint(body, flags)
			body = appendAttr(body, n.attr)
			if flags&nodeHasID != 0 {
				body = append(body, n.id[:]...)
			}
			if follows {
				body = binary.AppendUvarint(body, uint64(n.segs[0].Len))
			} else if len(n.segs) > 0 {
				body = binary.AppendUvarint(body, uint64(len(n.segs)))
				for _, s := range n.segs {
					body = appendSegment(body, &table, s)
				}
			}
			if len(n.segs) > 0 {
				last = n.segs[len(n.segs)-1]
			}
		}
	}
	start := len(buf)
	buf = append(buf, treeMagic...)
	for _, v := range []int64{t.files, t.dirs, int64(segs)} {
		buf = binary.AppendUvarint(buf, uint64(v))
	}
	buf = table.appendTo(buf)
	buf = binary.AppendUvarint(buf, uint64(len(names)))
	buf = append(buf, names...)
	buf = binary.AppendUvarint(buf, attrFlags(t.root.attr))
	buf = appendAttr(buf, t.root.attr)
	buf = append(buf, body...)
	return binary.LittleEndian.AppendUint32(buf, crc32.Checksum(buf[start:], castagnoli))
}

// DecodeTree reads what AppendTree wrote. Bad input is ErrBadEncoding; it never
// panics, and allocates no more than a multiple of the length of data, which it
// doesn't keep.
func DecodeTree(data []byte, blocks Blocks) (*Tree, error) {
	d := &decoder{data: data}
	if len(data) < len(treeMagic)+4 {
		d.fail("not a tree")
		return nil, d.err
	}
	switch string(data[:len(treeMagic)]) {
	case treeMagic:
	case firstTreeMagic:
		d.first = true
	default:
		d.fail("not a tree")
		return nil, d.err
	}
	end := len(data) - 4
	if crc32.Checksum(data[:end], castagnoli) != binary.LittleEndian.Uint32(data[end:]) {
		d.fail("checksum of a tree")
		return nil, d.err
	}
	d.data = data[len(treeMagic):end]
	return d.tree(blocks)
}

// A treeDecoder makes nodes, entries and segments from slabs.
type treeDecoder struct {
	*decoder
	tree  *Tree
	names string
	segs  []keepio.Segment
	last  keepio.Segment
	ref   uint64 // of last
	queue []*node
	files []*node // with several names
}

func (d *decoder) tree(blocks Blocks) (*Tree, error) {
	files, dirs, segs := d.count(2), d.count(2), d.count(1)
	d.table(blocks)
	t := &treeDecoder{decoder: d, tree: NewTree(), names: d.string()}
	if files+dirs > len(d.data)/2 || segs > len(d.data) {
		d.fail("more things announced than there is room for")
		return nil, d.err
	}
	t.segs = make([]keepio.Segment, 0, segs)
	t.tree.names = int64(len(t.names))
	t.tree.root.attr = d.attr(d.flags(0))
	t.queue = append(make([]*node, 0, dirs+1), t.tree.root)
	for i := 0; i < len(t.queue) && d.err == nil; i++ {
		t.dir(t.queue[i])
	}
	switch {
	case d.err != nil:
	case len(d.data) > 0 || len(t.names) > 0 || t.tree.files != int64(files) || t.tree.dirs != int64(dirs) || len(t.segs) != segs:
		d.fail("sums of a tree")
	}
	if d.err != nil {
		return nil, d.err
	}
	t.tree.segs += int64(segs)
	return t.tree, nil
}

// dir reads the entries of one directory.
func (t *treeDecoder) dir(up *node) {
	n := t.count(2)
	if n == 0 {
		return
	}
	d := up.kids
	d.n = n
	d.chunks = make([]chunk, 0, (n+chunkMax-1)/chunkMax)
	before := ""
	for n > 0 && t.err == nil {
		k := min(n, chunkMax)
		n -= k
		slab := make([]node, k)
		items := make([]entry, k)
		for i := range slab {
			slab[i].up = up
			n := t.node(&slab[i])
			name := slab[i].name
			if t.err == nil && name <= before {
				t.fail("names are not in order")
			}
			if t.err != nil {
				return
			}
			if !isASCII(name) {
				d.nonASCII++
			}
			items[i] = entry{name, n}
			d.countDirs(n, 1)
			before = name
		}
		d.chunks = append(d.chunks, chunk{0, items})
	}
}

// node reads one entry into n and returns its node: n, or that of another entry.
func (t *treeDecoder) node(n *node) *node {
	size := t.uvarint()
	if size > uint64(len(t.names)) {
		t.fail("cut names")
		return n
	}
	n.name, t.names = t.names[:size], t.names[size:]
	if t.err == nil && !validName(n.name) {
		t.fail("name %q", n.name)
		return n
	}
	flags := t.flags(nodeFlags)
	if flags&nodeLink != 0 {
		if flags != nodeLink {
			t.fail("link with a content")
		}
		return t.link(n)
	}
	n.attr = t.decoder.attr(flags)
	if flags&nodeHasID != 0 {
		n.id = t.id()
	}
	if flags&nodeIsDir != 0 {
		if flags&(nodeHasID|nodeHasContent|nodeFollows|nodeShared) != 0 {
			t.fail("directory with content")
		}
		n.kids = new(dir)
		t.queue = append(t.queue, n)
		t.tree.dirs++
		return n
	}
	t.tree.files++
	if flags&nodeShared != 0 {
		t.files = append(t.files, n)
	}
	if flags&nodeHasContent == 0 {
		return n
	}
	from := len(t.segs)
	if flags&nodeFollows != 0 {
		if t.ref == 0 {
			t.fail("segment follows nothing")
		}
		t.addSegment(t.ref, uint64(t.last.Off)+uint64(t.last.Len), t.uvarint())
	} else {
		for range t.count(2) {
			ref, off := t.uvarint(), uint64(0)
			if ref != 0 {
				off = t.uvarint()
			}
			t.addSegment(ref, off, t.uvarint())
		}
	}
	if n.segs = t.segs[from:len(t.segs):len(t.segs)]; len(n.segs) > 0 {
		n.size = sizeOf(n.segs)
		t.tree.bytes += n.size
		t.tree.holes += holesIn(n.segs)
	}
	return n
}

// link reads the number of a file of which n is another name, and returns it.
func (t *treeDecoder) link(n *node) *node {
	i := t.uvarint()
	if t.err == nil && i >= uint64(len(t.files)) {
		t.fail("link to an unknown file")
	}
	if t.err != nil {
		return n
	}
	f := t.files[i]
	f.setMore(append(f.more(), place{n.up, n.name}))
	t.tree.linked = true
	t.tree.files++
	t.tree.bytes += f.size
	t.tree.segs += int64(len(f.segs))
	t.tree.holes += holesIn(f.segs)
	return f
}

func (t *treeDecoder) addSegment(ref, off, n uint64) {
	if len(t.segs) == cap(t.segs) {
		t.fail("more segments than announced")
	}
	s := t.checkSegment(ref, off, n)
	if t.err == nil {
		t.segs = append(t.segs, s)
		t.last, t.ref = s, ref
	}
}
