package apiserver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zeebo/xxh3"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// A plan is a change set as the API takes it: what each path that changes is made
// of. All sources are of the tree before the request, so operations that build on
// each other are reduced to what they come to.
type plan struct {
	targets  map[string]string // replace_files: "/path" to a source
	contents []collfs.Content  // what the sources of fragment are, by number
	emptyDir bool              // the fragment has an empty directory, too

	next *collfs.Tree // what the collection is, when it is done
}

// fragmentDir is the source of an empty directory.
const fragmentDir = "manifest_text/e"

// fragmentFile is the source of the content with a number. Names are in byte order.
func fragmentFile(i int) string { return "manifest_text/" + fragmentName(i) }

func fragmentName(i int) string { return fmt.Sprintf("%09d", i) }

// A part is what a path is made of while operations are reduced.
type part struct {
	isBase bool             // it is what base has at the path from, but for kids
	from   string           //
	dir    bool             //
	kids   map[string]*part // of a directory: what changes; nil: it goes
	file   *collfs.Content  // a content that base may not have
}

func (n *part) set(name string, k *part) {
	if n.kids == nil {
		n.kids = make(map[string]*part)
	}
	n.kids[name] = k
}

func (n *part) clone() *part {
	if n == nil {
		return nil
	}
	c := *n
	c.kids = maps.Clone(n.kids)
	for name, k := range c.kids {
		c.kids[name] = k.clone()
	}
	return &c
}

// A planner reduces operations.
type planner struct {
	base *collfs.Tree
	next *collfs.Tree // base with the operations so far
	root *part

	plan    *plan
	numbers map[collfs.ContentID]int // of contents in the plan, by spansID
}

// makePlan reduces ops, which are made to base. base stays as it is.
func makePlan(base *collfs.Tree, ops []collfs.Op) (*plan, error) {
	p := &planner{
		base: base, next: base.Clone(), root: &part{isBase: true, dir: true},
		plan: &plan{targets: make(map[string]string)}, numbers: make(map[collfs.ContentID]int),
	}
	for i := range ops {
		if err := p.apply(&ops[i]); err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
	}
	if slices.ContainsFunc(ops, func(op collfs.Op) bool { return op.Kind == collfs.OpLink }) || hasLinks(base) {
		if err := p.followLinks(); err != nil {
			return nil, err
		}
	}
	if err := p.emitRoot(); err != nil {
		return nil, err
	}
	p.plan.next = p.next
	return p.plan, nil
}

func (p *planner) apply(op *collfs.Op) error {
	src, dst := p.get(op.Src), p.get(op.Path)
	if err := p.next.Apply(*op); err != nil {
		return err
	}
	switch op.Kind {
	case collfs.OpPut, collfs.OpPatch, collfs.OpRepack:
		c, err := p.next.Content(op.Path)
		if err != nil {
			return nil // a repack of what is gone
		}
		p.set(op.Path, &part{file: &c})
	case collfs.OpMkdir:
		p.set(op.Path, &part{dir: true})
	case collfs.OpDelete:
		p.set(op.Path, nil)
	case collfs.OpRename:
		if op.Src != op.Path {
			p.set(op.Src, nil)
			p.set(op.Path, src)
		}
	case collfs.OpCopy, collfs.OpLink:
		if op.Src != op.Path {
			p.set(op.Path, src.clone())
		}
	case collfs.OpExchange:
		if op.Src != op.Path {
			p.set(op.Src, dst)
			p.set(op.Path, src)
		}
	}
	return nil
}

// child returns what n has under a name; nil: nothing.
func (p *planner) child(n *part, name string) *part {
	if k, ok := n.kids[name]; ok {
		return k
	}
	if !n.isBase {
		return nil
	}
	from := join(n.from, name)
	info, err := p.base.Stat(from)
	if err != nil {
		return nil
	}
	return &part{isBase: true, from: from, dir: info.Dir}
}

func (p *planner) get(path string) *part {
	n := p.root
	for rest := path; rest != "" && n != nil; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		n = p.child(n, name)
	}
	return n
}

// set makes path k, in a directory that is there; nil: nothing.
func (p *planner) set(path string, k *part) {
	if path == "" {
		if k == nil {
			k = &part{dir: true}
		}
		p.root = k
		return
	}
	n := p.root
	for rest := path; ; {
		name, more, deeper := strings.Cut(rest, "/")
		if !deeper {
			n.set(name, k)
			return
		}
		next := p.child(n, name)
		n.set(name, next)
		n, rest = next, more
	}
}

// followLinks puts right what an operation has done to other names of a file than
// the one that it names.
func (p *planner) followLinks() error {
	return p.next.Walk(func(path string, info collfs.NodeInfo, c collfs.Content) error {
		if info.Dir {
			return nil
		}
		n := p.get(path)
		var has collfs.Content
		if n.file != nil {
			has = *n.file
		} else {
			var err error
			if has, err = p.base.Content(n.from); err != nil {
				return err
			}
		}
		if !sameSpans(has.Segments, c.Segments) {
			p.set(path, &part{file: &c})
		}
		return nil
	})
}

// hasLinks reports whether a file of t has several names.
func hasLinks(t *collfs.Tree) (has bool) {
	_ = t.Walk(func(_ string, info collfs.NodeInfo, _ collfs.Content) error {
		has = has || !info.Dir && info.Links > 1
		return nil
	}) // which has no error of its own
	return has
}

func (p *planner) emitRoot() error {
	if !p.root.isBase { // it was emptied first
		entries, err := p.base.ReadDir("")
		if err != nil {
			return err
		}
		for e := range entries {
			if _, ok := p.root.kids[e.Name]; !ok {
				p.root.set(e.Name, nil)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.root.kids)) {
		if err := p.emit(p.root.kids[name], name, false); err != nil {
			return err
		}
	}
	return nil
}

// emit says what path is made of. cleared says that a directory above is emptied by
// the same request.
func (p *planner) emit(n *part, path string, cleared bool) error {
	there := false
	if !cleared {
		_, err := p.base.Stat(path)
		there = err == nil
	}
	if n == nil {
		if there {
			return p.target(path, "")
		}
		return nil
	}
	switch inPlace := n.isBase && n.from == path && !cleared; {
	case n.file != nil:
		return p.target(path, p.source(*n.file))
	case inPlace:
		for _, name := range slices.Sorted(maps.Keys(n.kids)) {
			if err := p.emit(n.kids[name], join(path, name), false); err != nil {
				return err
			}
		}
		return nil
	case n.isBase && len(n.kids) == 0:
		return p.target(path, "current/"+n.from)
	}
	return p.emitDir(n, path, there)
}

// emitDir says what a directory is made of that is new, or was elsewhere and has
// changed: the path itself cannot have a source then, as paths below it have.
func (p *planner) emitDir(n *part, path string, there bool) error {
	kids := make(map[string]*part)
	if n.isBase {
		entries, err := p.base.ReadDir(n.from)
		if err != nil {
			return err
		}
		for e := range entries {
			kids[e.Name] = &part{isBase: true, from: join(n.from, e.Name), dir: e.Dir}
		}
	}
	for name, k := range n.kids {
		if delete(kids, name); k != nil {
			kids[name] = k
		}
	}
	if len(kids) == 0 {
		p.plan.emptyDir = true
		return p.target(path, fragmentDir)
	}
	if there {
		if err := p.target(path, ""); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(kids)) {
		if err := p.emit(kids[name], join(path, name), true); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) target(path, source string) error {
	if !utf8.ValidString(path) || !utf8.ValidString(source) {
		return fmt.Errorf("%w: %q is not UTF-8, which a cluster cannot keep", collfs.ErrNameInvalid, path)
	}
	p.plan.targets["/"+path] = source
	return nil
}

// source returns the source of a content in the fragment.
func (p *planner) source(c collfs.Content) string {
	id := handleID(c.Segments)
	i, ok := p.numbers[id]
	if !ok {
		i = len(p.plan.contents)
		p.numbers[id] = i
		p.plan.contents = append(p.plan.contents, c)
	}
	return fragmentFile(i)
}

// handleID tells contents apart by the handles of their blocks, which need no
// locator for that.
func handleID(segs []keepio.Segment) collfs.ContentID {
	var buf []byte
	for _, s := range segs {
		buf = fmt.Appendf(buf, "%p", s.Block)
		buf = binary.LittleEndian.AppendUint32(buf, s.Off)
		buf = binary.LittleEndian.AppendUint32(buf, s.Len)
	}
	return xxh3.Hash128(buf).Bytes()
}

// blocks returns the blocks of the plan's contents, each once, and whether they
// have holes.
func (p *plan) blocks() (blocks []*keepio.Block, holes bool) {
	seen := make(map[*keepio.Block]bool)
	for _, c := range p.contents {
		for _, s := range c.Segments {
			switch {
			case s.Block == nil:
				holes = true
			case !seen[s.Block]:
				seen[s.Block] = true
				blocks = append(blocks, s.Block)
			}
		}
	}
	return blocks, holes
}

// A locate returns the locator, signed if need be, of a stored block.
type locate func(b *keepio.Block) (keepio.Locator, error)

// fragment prints what the plan has of new contents; "" if there is nothing. zero
// is the locator of the block of zeros that stands for holes.
func (p *plan) fragment(at locate, zero keepio.Locator) (string, error) {
	if len(p.contents) == 0 && !p.emptyDir {
		return "", nil
	}
	var out bytes.Buffer
	w := manifest.NewWriter(&out)
	if len(p.contents) > 0 {
		if err := w.Dir(""); err != nil {
			return "", err
		}
	}
	var spans []manifest.Segment
	for i, c := range p.contents {
		spans = spans[:0]
		for _, s := range c.Segments {
			if s.Block == nil {
				for rest := int64(s.Len); rest > 0; rest -= zero.Size() {
					if zero.IsZero() || zero.Size() == 0 {
						return "", fmt.Errorf("hole: %w", collfs.ErrNotStored)
					}
					spans = append(spans, manifest.Segment{Locator: zero, Length: min(rest, zero.Size())})
				}
				continue
			}
			loc, err := at(s.Block)
			if err != nil {
				return "", err
			}
			spans = append(spans, manifest.Segment{Locator: loc, Offset: int64(s.Off), Length: int64(s.Len)})
		}
		if err := w.File(fragmentName(i), spans); err != nil {
			return "", err
		}
	}
	if p.emptyDir {
		if err := w.Dir("e"); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return out.String(), nil
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
