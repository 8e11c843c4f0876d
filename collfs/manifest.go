package collfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/zeebo/xxh3"

	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// EmptyID is the id of the content that has no bytes.
var EmptyID = ContentID(xxh3.Hash128(nil).Bytes())

// ErrNotStored is the failure to print a manifest of blocks that have no
// locator yet.
var ErrNotStored = errors.New("block has no locator yet")

// ParseManifest makes the tree of a manifest. A path that is used as a file and
// as a directory, and all else that manifest.Scan refuses, is ErrMalformed. The
// id of a content is derived from the spans it is made of.
func ParseManifest(text []byte, blocks Blocks) (*Tree, error) {
	p := manifestParser{tree: NewTree(), blocks: blocks, handles: make(map[keepio.Locator]*keepio.Block)}
	if err := manifest.Scan(text, p.stream); err != nil {
		return nil, err
	}
	p.finish()
	return p.tree, nil
}

type manifestParser struct {
	tree    *Tree
	blocks  Blocks
	handles map[keepio.Locator]*keepio.Block
	files   []*node
	spans   []manifest.Span
	line    int
}

func (p *manifestParser) stream(s *manifest.Stream) (err error) {
	p.line++
	handles := make([]*keepio.Block, len(s.Locators))
	for i, l := range s.Locators {
		h, ok := p.handles[l]
		if !ok {
			h = p.blocks.ByHash(l.Hash(), uint32(l.Size()))
			p.handles[l] = h
		}
		handles[i] = h
	}
	base, err := p.dir(p.tree.root, s.Dir())
	if err != nil {
		return err
	}
	for _, f := range s.Files {
		if rel, ok := f.Marker(); ok {
			if _, err := p.dir(base, rel); err != nil {
				return err
			}
			continue
		}
		n, err := p.file(base, f.Name)
		if err != nil {
			return err
		}
		if p.spans, err = s.Resolve(p.spans[:0], f.Pos, f.Size); err != nil {
			return err
		}
		for _, sp := range p.spans {
			n.segs = keepio.JoinSegments(n.segs, keepio.Segment{Block: handles[sp.Block], Off: uint32(sp.Offset), Len: uint32(sp.Length)})
		}
	}
	return nil
}

// dir returns the directory at path below up, making what is missing.
func (p *manifestParser) dir(up *node, path string) (*node, error) {
	for path != "" {
		var name string
		name, path, _ = strings.Cut(path, "/")
		n := up.kids.get(name)
		if n == nil {
			n = &node{kids: new(dir)}
			p.tree.link(up, name, n)
		}
		if !n.isDir() {
			return nil, p.clash(n)
		}
		up = n
	}
	return up, nil
}

func (p *manifestParser) file(base *node, path string) (*node, error) {
	rel, name := splitPath(path)
	up, err := p.dir(base, rel)
	if err != nil {
		return nil, err
	}
	n := up.kids.get(name)
	if n == nil {
		n = new(node)
		p.tree.link(up, name, n)
		p.files = append(p.files, n)
	}
	if n.isDir() {
		return nil, p.clash(n)
	}
	return n, nil
}

func (p *manifestParser) clash(n *node) error {
	return fmt.Errorf("%w: line %d: %q is a file and a directory", manifest.ErrMalformed, p.line, n.path())
}

// finish gives the files their sizes and ids and counts the tree.
func (p *manifestParser) finish() {
	var buf []byte
	for _, n := range p.files {
		n.size = sizeOf(n.segs)
		n.id = EmptyID
		if len(n.segs) == 0 {
			continue
		}
		buf = buf[:0]
		for _, s := range n.segs {
			hash, _, _ := s.Block.Stored()
			buf = append(buf, hash[:]...)
			buf = binary.LittleEndian.AppendUint32(buf, s.Off)
			buf = binary.LittleEndian.AppendUint32(buf, s.Len)
		}
		n.id = xxh3.Hash128(buf).Bytes()
	}
	p.tree.count("", p.tree.root, 1)
	p.tree.dirs-- // the root
}

// A ZeroBlock names the stored block of zeros that stands for holes.
type ZeroBlock func() (hash [16]byte, size uint32, err error)

// AppendManifest appends the manifest of t to buf, in the order of Arvados' Go
// writers. All blocks must be stored, else the error is ErrNotStored. Holes
// become spans of the zero block; zero may be nil if there are none.
func (t *Tree) AppendManifest(buf []byte, zero ZeroBlock) ([]byte, error) {
	out := bytes.NewBuffer(buf)
	p := manifestPrinter{w: manifest.NewWriter(out), zero: zero, locators: make(map[*keepio.Block]keepio.Locator)}
	if err := p.dir("", t.root); err != nil {
		return nil, err
	}
	if err := p.w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

type manifestPrinter struct {
	w        *manifest.Writer
	zero     ZeroBlock
	locators map[*keepio.Block]keepio.Locator // nil: the zero block
	spans    []manifest.Segment
}

func (p *manifestPrinter) dir(path string, n *node) error {
	if err := p.w.Dir(path); err != nil {
		return err
	}
	for name, k := range n.kids.view().all {
		if !k.isDir() {
			if err := p.file(name, k); err != nil {
				return pathError("print", joinPath(path, name), err)
			}
		}
	}
	for name, k := range n.kids.view().all {
		if k.isDir() {
			if err := p.dir(joinPath(path, name), k); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *manifestPrinter) file(name string, n *node) error {
	p.spans = p.spans[:0]
	for _, s := range n.segs {
		loc, err := p.locator(s.Block)
		if err != nil {
			return err
		}
		if s.Block != nil {
			p.spans = append(p.spans, manifest.Segment{Locator: loc, Offset: int64(s.Off), Length: int64(s.Len)})
			continue
		}
		for rest := int64(s.Len); rest > 0; rest -= loc.Size() {
			p.spans = append(p.spans, manifest.Segment{Locator: loc, Length: min(rest, loc.Size())})
		}
	}
	return p.w.File(name, p.spans)
}

func (p *manifestPrinter) locator(b *keepio.Block) (keepio.Locator, error) {
	if loc, ok := p.locators[b]; ok {
		return loc, nil
	}
	var hash [16]byte
	var size uint32
	if b == nil {
		if p.zero == nil {
			return keepio.Locator{}, fmt.Errorf("zero block: %w", ErrNotStored)
		}
		var err error
		if hash, size, err = p.zero(); err != nil {
			return keepio.Locator{}, fmt.Errorf("zero block: %w", err)
		}
		if size == 0 {
			return keepio.Locator{}, fs.ErrInvalid
		}
	} else {
		var ok bool
		if hash, size, ok = b.Stored(); !ok {
			return keepio.Locator{}, ErrNotStored
		}
	}
	loc := keepio.MakeLocator(hash, int64(size))
	p.locators[b] = loc
	return loc, nil
}
