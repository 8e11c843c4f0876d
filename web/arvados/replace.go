package arvados

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"keepdav/collfs"
	"keepdav/keepio"
)

// A replacement is one entry of replace_files: what is to be at a path. Paths are
// those of collfs, "" being the root.
type replacement struct {
	target string
	from   source
	path   string       // in from
	tree   *collfs.Tree // that it is in; nil: the collection's own, as it was before
	pdh    collfs.PDH   // of which tree is
}

// A source says where a replacement comes from.
type source int

const (
	fromNothing source = iota // the target is deleted
	fromCurrent
	fromManifest
	fromPDH
)

// maxReplacements is how many entries replace_files may have.
const maxReplacements = 1_000_000

// maxSteps bounds how long it takes to look at all directories above all paths: each path counts as
// its length times its depth. A million paths of usual length and depth are within it.
const maxSteps = 4 << 30

// readReplacements checks the parameter replace_files, sorted by target.
func readReplacements(files map[string]string) ([]replacement, error) {
	if len(files) > maxReplacements {
		return nil, badRequest("replace_files: more than %d targets", maxReplacements)
	}
	var steps int64
	for target, src := range files {
		steps += int64(len(target)*strings.Count(target, "/") + len(src)*strings.Count(src, "/"))
	}
	if steps > maxSteps {
		return nil, badRequest("replace_files: its paths have too many directories")
	}
	all := make([]replacement, 0, len(files))
	for _, target := range slices.Sorted(maps.Keys(files)) {
		r, err := readReplacement(target, files[target])
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	filled := make(map[string]bool) // targets that are not only deleted
	for _, r := range all {
		filled[r.target] = r.from != fromNothing
	}
	for _, r := range all {
		for up := r.target; up != ""; {
			up = parentOf(up)
			if filled[up] {
				return nil, badRequest("replace_files: cannot operate on target %q inside non-empty target %q", "/"+r.target, "/"+up)
			}
		}
	}
	return all, nil
}

func parentOf(p string) string { return p[:max(0, strings.LastIndexByte(p, '/'))] }

func readReplacement(target, src string) (r replacement, err error) {
	if !strings.HasPrefix(target, "/") || path.Clean(target) != target {
		return r, badRequest("invalid replace_files target: %q", target)
	}
	r.target = target[1:]
	if len(r.target) > collfs.MaxPath || strings.ContainsRune(r.target, 0) {
		return r, badRequest("invalid replace_files target: %q", target)
	}
	if src == "" {
		return r, nil
	}
	head, rest, _ := strings.Cut(src, "/")
	switch {
	case head == "current":
		r.from = fromCurrent
	case head == "manifest_text":
		r.from = fromManifest
	case pdhForm.MatchString(head):
		r.from, r.pdh = fromPDH, collfs.PDH(head)
	default:
		return r, badRequest(`invalid source %q for replace_files[%q]: must be "" or "SRC" or "SRC/path" where SRC is "current", "manifest_text", or a portable data hash`, src, target)
	}
	if rest = strings.TrimSuffix(rest, "/"); rest != "" && path.Clean("/"+rest) != "/"+rest {
		return r, badRequest("invalid source %q for replace_files[%q]: its path is not clean", src, target)
	}
	r.path = rest
	return r, nil
}

// spelled is how a client spells the source of r.
func (r *replacement) spelled() string {
	return [...]string{"", "current", "manifest_text", string(r.pdh)}[r.from] + "/" + r.path
}

// loadSources gives replacements the trees that they come from.
func (c *collections) loadSources(ctx context.Context, req *Request, all []replacement, sent *sentManifest) error {
	trees := make(map[collfs.PDH]*collfs.Tree)
	used := false
	for i := range all {
		r := &all[i]
		switch r.from {
		case fromManifest:
			if sent == nil {
				return badRequest("replace_files: %q is given, but no manifest_text", r.spelled())
			}
			used, r.tree = true, sent.tree
		case fromPDH:
			if trees[r.pdh] == nil {
				text, err := c.textOfPDH(ctx, req, r.pdh)
				if err != nil {
					return err
				}
				if trees[r.pdh], err = collfs.ParseManifest(text, c.conf.Blocks); err != nil {
					return err
				}
			}
			r.tree = trees[r.pdh]
		}
		if r.tree == nil {
			continue
		}
		info, err := r.tree.Stat(r.path)
		if err != nil {
			return badRequest("error getting snapshot of %q from %q: file does not exist", r.path, strings.TrimSuffix(r.spelled(), "/"+r.path))
		}
		if r.target == "" && !info.Dir {
			return badRequest("replace_files: a file cannot replace the root")
		}
	}
	if sent != nil && !used {
		return badRequest("replace_files: manifest_text was given, but is no source")
	}
	return nil
}

// A replacer makes the operations of a set of replacements.
type replacer struct {
	t    *collfs.Tree // as it was before; not changed
	at   int64
	ops  []collfs.Op
	made map[string]bool // directories made by ops
	gone map[string]bool // deleted or moved away by ops, with all below
}

// replaceOps returns the operations that make replacements of t. Sources in t are
// what was there before all of them.
func replaceOps(t *collfs.Tree, all []replacement, at int64) ([]collfs.Op, error) {
	r := replacer{t: t, at: at, made: make(map[string]bool), gone: make(map[string]bool)}
	for i := range all {
		a := &all[i]
		if a.from != fromCurrent {
			continue
		}
		info, err := t.Stat(a.path)
		if err != nil {
			return nil, badRequest("replace_files: nonexistent source %q", "current/"+a.path)
		}
		if a.target == "" && !info.Dir {
			return nil, badRequest("replace_files: a file cannot replace the root")
		}
	}
	moves := r.moves(all)
	if err := r.checkAmount(all, moves); err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.from == fromNothing && moves[a.target] == "" {
			r.delete(a.target)
		}
	}
	// What only moves goes first: its source is there as it was.
	for _, a := range all {
		if a.from == fromCurrent && moves[a.path] == a.target && a.target != "" {
			if err := r.move(a.path, a.target); err != nil {
				return nil, err
			}
		}
	}
	for _, a := range all {
		if a.from == fromNothing || a.from == fromCurrent && moves[a.path] == a.target && a.target != "" {
			continue
		}
		src := a.tree
		if src == nil {
			src = t
		}
		if err := r.put(src, a.path, a.target, a.tree == nil); err != nil {
			return nil, err
		}
	}
	return r.ops, nil
}

// maxPut is how many files and directories one request may put somewhere by
// replace_files: a directory may be the source of any number of targets.
const maxPut = 2 << 20

// checkAmount refuses to make more operations than memory should be taken for.
func (r *replacer) checkAmount(all []replacement, moves map[string]string) error {
	type place struct {
		t    *collfs.Tree
		path string
	}
	known := make(map[place]int) // what is below them
	left := maxPut
	for _, a := range all {
		if a.from == fromNothing || a.from == fromCurrent && moves[a.path] == a.target && a.target != "" {
			continue
		}
		src := a.tree
		if src == nil {
			src = r.t
		}
		left--
		n, ok := known[place{src, a.path}]
		if !ok {
			n = left - countDown(src, a.path, left)
			known[place{src, a.path}] = n
		}
		if left -= n; left < 0 {
			return unprocessable("replace_files: more than %d files and directories are put somewhere", maxPut)
		}
	}
	return nil
}

// countDown takes the number of entries below p from left, until that is less than 0.
func countDown(t *collfs.Tree, p string, left int) int {
	info, err := t.Stat(p)
	if err != nil || !info.Dir {
		return left
	}
	entries, err := t.ReadDir(p)
	if err != nil {
		return left
	}
	for e := range entries {
		if left--; left < 0 {
			break
		}
		if e.Dir {
			left = countDown(t, path.Join(p, e.Name), left)
		}
	}
	return left
}

// moves finds what is only given another name: what is deleted and is the source
// of one target, when nothing else is done in it. The result has the target by the
// source.
func (r *replacer) moves(all []replacement) map[string]string {
	deleted := make(map[string]bool)
	sources := make(map[string]int)
	busy := make(map[string]int) // how often something is done at or below a path
	for _, a := range all {
		deleted[a.target] = deleted[a.target] || a.from == fromNothing
		seen := map[string]bool{a.target: true}
		busy[a.target]++
		for up := a.target; up != ""; {
			up = parentOf(up)
			busy[up]++
			seen[up] = true
		}
		if a.from == fromCurrent {
			sources[a.path]++
			for up := a.path; ; up = parentOf(up) {
				if !seen[up] {
					busy[up]++
				}
				if up == "" {
					break
				}
			}
		}
	}
	out := make(map[string]string)
	for _, a := range all {
		if a.from != fromCurrent || a.path == "" || a.target == "" || !deleted[a.path] || sources[a.path] != 1 || busy[a.path] != 2 {
			continue // 2: it is deleted, and is a source
		}
		above := false // a directory above it goes, or is a source
		for up := parentOf(a.path); !above; up = parentOf(up) {
			above = deleted[up] || sources[up] > 0
			if up == "" {
				break
			}
		}
		// The target must be free or a file: what is there would have to go first.
		info, err := r.t.Stat(a.target)
		within := strings.HasPrefix(a.target, a.path+"/") || strings.HasPrefix(a.path, a.target+"/")
		sourceToo := sources[a.target] > 0
		if !above && !within && !sourceToo && (err != nil || !info.Dir) {
			out[a.path] = a.target
		}
	}
	return out
}

func (r *replacer) do(op collfs.Op) {
	op.Time = r.at
	r.ops = append(r.ops, op)
}

// stat describes what is at a path after the operations so far.
func (r *replacer) stat(p string) (collfs.NodeInfo, bool) {
	if r.made[p] {
		return collfs.NodeInfo{Dir: true}, true
	}
	for up := p; ; up = parentOf(up) {
		if r.gone[up] {
			return collfs.NodeInfo{}, false
		}
		if up == "" {
			break
		}
	}
	info, err := r.t.Stat(p)
	return info, err == nil
}

func (r *replacer) delete(p string) {
	info, ok := r.stat(p)
	if !ok {
		return
	}
	r.do(collfs.Op{Kind: collfs.OpDelete, Path: p, Old: info.ID})
	r.gone[p] = true
}

// parents makes the directories above a path.
func (r *replacer) parents(p string) error {
	if p == "" {
		return nil
	}
	return r.mkdir(parentOf(p), collfs.Attr{})
}

func (r *replacer) mkdir(p string, a collfs.Attr) error {
	if p == "" {
		return nil
	}
	info, ok := r.stat(p)
	switch {
	case ok && info.Dir:
		return nil
	case ok:
		return badRequest("replace_files: %q is a file", "/"+p)
	}
	if err := r.mkdir(parentOf(p), collfs.Attr{}); err != nil {
		return err
	}
	r.do(collfs.Op{Kind: collfs.OpMkdir, Path: p, Attr: a})
	r.made[p] = true
	return nil
}

func (r *replacer) move(src, dst string) error {
	if err := r.parents(dst); err != nil {
		return err
	}
	info, _ := r.stat(src)
	old, ok := r.stat(dst)
	if ok && info.Dir { // a directory replaces no file
		r.delete(dst)
		old.ID = collfs.ContentID{}
	}
	r.do(collfs.Op{Kind: collfs.OpRename, Src: src, Path: dst, Old: old.ID, Content: collfs.Content{ID: info.ID}})
	r.gone[src] = true
	delete(r.gone, dst)
	r.taken(dst)
	return nil
}

// taken notes that something new is at a path, which stat can't describe. Nothing
// else is done there.
func (r *replacer) taken(p string) { r.made[p] = true }

// put makes dst what is at p in src; own says that src is the collection as it was.
func (r *replacer) put(src *collfs.Tree, p, dst string, own bool) error {
	info, err := src.Stat(p)
	if err != nil {
		return err
	}
	now, there := r.stat(dst)
	if own && p == dst && there && !r.made[dst] {
		return nil // it is that
	}
	if err := r.parents(dst); err != nil {
		return err
	}
	if !info.Dir {
		return r.putFile(src, p, dst, now, there)
	}
	if there {
		r.delete(dst)
	}
	if dst != "" {
		r.do(collfs.Op{Kind: collfs.OpMkdir, Path: dst, Attr: info.Attr})
		r.made[dst] = true
	}
	return r.putBelow(src, p, dst)
}

func (r *replacer) putFile(src *collfs.Tree, p, dst string, now collfs.NodeInfo, there bool) error {
	content, err := src.Content(p)
	if err != nil {
		return err
	}
	info, err := src.Stat(p)
	if err != nil {
		return err
	}
	if there && (now.Dir || now.Links > 1) { // other names of a file stay what they are
		r.delete(dst)
		now.ID = collfs.ContentID{}
	}
	if info.Attr.Mtime == 0 {
		info.Attr.Mtime = r.at
	}
	r.do(collfs.Op{Kind: collfs.OpPut, Path: dst, Old: now.ID, Content: content, Attr: info.Attr})
	return nil
}

// putBelow puts all that is in directory p of src into the directory dst, which is
// empty.
func (r *replacer) putBelow(src *collfs.Tree, p, dst string) error {
	entries, err := src.ReadDir(p)
	if err != nil {
		return err
	}
	for e := range entries {
		from, to := path.Join(p, e.Name), path.Join(dst, e.Name)
		if !e.Dir {
			if err := r.putFile(src, from, to, collfs.NodeInfo{}, false); err != nil {
				return err
			}
			continue
		}
		r.do(collfs.Op{Kind: collfs.OpMkdir, Path: to, Attr: e.Attr})
		if err := r.putBelow(src, from, to); err != nil {
			return err
		}
	}
	return nil
}

// A span is a part of a block.
type span struct {
	hash     [16]byte
	off, len uint32
}

// A segmentSet is what replace_segments asks for.
type segmentSet map[span]*substitute

// A substitute is what is to replace a segment.
type substitute struct {
	keepio.Segment
	size uint32 // of the block that has the segment
	same bool   // it was compared with that, see compare
}

// readSegments checks the parameter replace_segments.
func (c *collections) readSegments(ctx context.Context, req *Request, given map[string]string) (segmentSet, error) {
	set := make(segmentSet, len(given))
	for old, with := range given {
		from, size, _, err := readSpan(old)
		if err != nil {
			return nil, err
		}
		to, toSize, loc, err := readSpan(with)
		switch {
		case err != nil:
			return nil, err
		case from.len != to.len:
			return nil, badRequest("replace_segments: the lengths of %q and its replacement differ", withoutHints(old))
		case uint64(to.off)+uint64(to.len) > uint64(toSize):
			return nil, badRequest("replace_segments: the replacement %q ends beyond its block", withoutHints(with))
		case uint64(from.off)+uint64(from.len) > uint64(size):
			return nil, badRequest("replace_segments: %q ends beyond its block", withoutHints(old))
		}
		if err := c.mayRead(req, loc); err != nil {
			return nil, err
		}
		if err := c.hasBlock(ctx, to.hash, toSize); err != nil {
			return nil, err
		}
		seg := keepio.Segment{Block: c.conf.Blocks.ByHash(to.hash, toSize), Off: to.off, Len: to.len}
		set[from] = &substitute{Segment: seg}
	}
	return set, nil
}

// withoutHints is a text without what follows the size of a locator.
func withoutHints(s string) string {
	if i := strings.Index(s, "+A"); i >= 0 {
		return s[:i] + "…"
	}
	return s
}

// readSpan reads "LOCATOR offset length".
func readSpan(s string) (sp span, size uint32, loc keepio.Locator, err error) {
	words := strings.Split(s, " ")
	bad := badRequest("replace_segments: %q is no segment", withoutHints(s))
	if len(words) != 3 {
		return sp, 0, loc, bad
	}
	if loc, err = keepio.ParseLocator(words[0]); err != nil || loc.Size() > keepio.BlockSize {
		return sp, 0, loc, bad
	}
	off, err1 := strconv.ParseUint(words[1], 10, 32)
	n, err2 := strconv.ParseUint(words[2], 10, 32)
	if errors.Join(err1, err2) != nil || n == 0 {
		return sp, 0, loc, bad
	}
	return span{loc.Hash(), uint32(off), uint32(n)}, uint32(loc.Size()), loc, nil
}

// compare checks that what replaces segments of trees has their bytes. Only segments of
// trees that the client may read are looked at: else it could find out what is in a block
// by asking for replacements of it.
func (c *collections) compare(ctx context.Context, set segmentSet, trees ...*collfs.Tree) error {
	var all []span
	for _, t := range trees {
		t.Blocks(func(s keepio.Segment) {
			if sp, ok := spanOf(s); ok && set[sp] != nil && !set[sp].same {
				_, set[sp].size, _ = s.Block.Stored() // whatever the client says
				set[sp].same = true
				all = append(all, sp)
			}
		})
	}
	for _, sp := range all {
		if err := c.sameBytes(ctx, sp, set[sp].size, set[sp].Segment); err != nil {
			return err
		}
	}
	return nil
}

// compareWith is compare for a change of a collection, whose present tree is t.
func (c *collections) compareWith(ctx context.Context, ch *change, t *collfs.Tree) error {
	trees := []*collfs.Tree{t}
	if ch.sent != nil {
		trees = append(trees, ch.sent.tree)
	}
	for _, r := range ch.files {
		if r.tree != nil && !slices.Contains(trees, r.tree) {
			trees = append(trees, r.tree)
		}
	}
	return c.compare(ctx, ch.segments, trees...)
}

// ops returns the operations that replace segments of files in t. An entry that
// matches nothing is left out, with all others that lead to the same block; so is one that
// was not compared, for what it is to replace has only just come.
func (set segmentSet) ops(t *collfs.Tree, at int64) ([]collfs.Op, error) {
	found := make(map[span]bool)
	err := t.Walk(func(_ string, info collfs.NodeInfo, content collfs.Content) error {
		for _, s := range content.Segments {
			if sp, ok := spanOf(s); ok && set[sp] != nil && set[sp].same {
				found[sp] = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	useless := make(map[[16]byte]bool)
	for sp, with := range set {
		if !found[sp] {
			hash, _, _ := with.Block.Stored()
			useless[hash] = true
		}
	}
	var ops []collfs.Op
	err = t.Walk(func(p string, info collfs.NodeInfo, content collfs.Content) error {
		var segs []keepio.Segment
		changed := false
		for _, s := range content.Segments {
			if sp, ok := spanOf(s); ok {
				if with := set[sp]; with != nil {
					if hash, _, _ := with.Block.Stored(); !useless[hash] {
						s, changed = with.Segment, true
					}
				}
			}
			segs = keepio.JoinSegments(segs, s)
		}
		if changed {
			ops = append(ops, collfs.Op{Kind: collfs.OpRepack, Path: p, Content: collfs.Content{ID: content.ID, Size: content.Size, Segments: segs}})
		}
		return nil
	})
	return ops, err
}

func spanOf(s keepio.Segment) (span, bool) {
	if s.Block == nil {
		return span{}, false
	}
	hash, _, ok := s.Block.Stored()
	return span{hash, s.Off, s.Len}, ok
}

// sameBytes checks that what replaces a segment has its bytes: the files stay what
// they are. What is not there any more is not compared.
func (c *collections) sameBytes(ctx context.Context, from span, size uint32, with keepio.Segment) error {
	const chunk = 1 << 20
	a, b := make([]byte, min(chunk, from.len)), make([]byte, min(chunk, from.len))
	old := c.conf.Blocks.ByHash(from.hash, size)
	for at := uint32(0); at < from.len; {
		n := min(chunk, from.len-at)
		err := c.readFull(ctx, old, a[:n], int64(from.off+at))
		if errors.Is(err, keepio.ErrNotFound) {
			return nil
		}
		if err == nil {
			err = c.readFull(ctx, with.Block, b[:n], int64(with.Off+at))
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return badRequest("replace_segments: what is to replace a segment of block %x has other bytes", from.hash)
		}
		at += n
	}
	return nil
}

func (c *collections) readFull(ctx context.Context, b *keepio.Block, p []byte, off int64) error {
	n, err := c.conf.Blocks.ReadBlock(ctx, b, p, off)
	if err == nil && n < len(p) {
		err = fmt.Errorf("block is too short: %w", fs.ErrInvalid)
	}
	return err
}
