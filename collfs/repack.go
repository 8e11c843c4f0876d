package collfs

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"keepdav/keepio"
)

// RepackOptions say what is worth repacking.
type RepackOptions struct {
	Threshold float64 // blocks of which less than this part is live; 0: 0.8
	MaxBytes  int64   // copy no more than about this; 0: no limit
}

// A RepackReport says what Repack did.
type RepackReport struct {
	Blocks  int   // blocks of which nothing is used any more
	Copied  int64 // bytes
	Garbage int64 // bytes in those blocks that nobody refers to
	Skipped int   // blocks worth repacking that are shared by collections or needed by a version
}

const defaultThreshold = 0.8

// Repack copies what is live in blocks that are mostly garbage into new blocks,
// so that the old ones are used by nobody and can be collected. Contents keep
// their ids. A block that a version refers to stays, as does one that more
// collections refer to, or one without a record: copying would not free it. It fails with the first
// collection that can't be repacked; what was done until then stays.
func (f *FS) Repack(ctx context.Context, roots Roots, o RepackOptions) (RepackReport, error) {
	if o.Threshold == 0 {
		o.Threshold = defaultThreshold
	}
	u := make(usages)
	err := roots.Roots(ctx, func(id UUID, current bool, s keepio.Segment) error {
		u.add(id, !current, s)
		return ctx.Err()
	})
	if err != nil {
		return RepackReport{}, fmt.Errorf("repack: %w", err)
	}
	f.heldHere(func(id UUID, s keepio.Segment) { u.add(id, false, s) })
	for _, t := range f.allTmp() { // whose blocks are not worth it
		t.files.heldHere(func(id UUID, s keepio.Segment) { u.add(id, true, s) })
	}
	report, work := u.choose(o)
	for _, w := range work {
		if o.MaxBytes > 0 && report.Copied >= o.MaxBytes {
			break
		}
		n, err := f.repackCollection(ctx, w, max(0, o.MaxBytes-report.Copied))
		report.Copied += n
		if err != nil {
			return report, fmt.Errorf("repack collection %s: %w", w.id, err)
		}
	}
	return report, nil
}

// A blockName is a stored block: handles on it may be several.
type blockName struct {
	hash [16]byte
	size uint32
}

func nameOf(b *keepio.Block) (blockName, bool) {
	if b == nil {
		return blockName{}, false
	}
	hash, size, ok := b.Stored()
	return blockName{hash, size}, ok
}

// A usage is what is used of a block.
type usage struct {
	spans  []usedSpan
	owner  UUID // a collection that refers to it
	shared bool // others do too
	kept   bool // a version does, or a collection without a record
}

type usedSpan struct{ from, to uint32 }

type usages map[blockName]*usage

func (u usages) add(id UUID, version bool, s keepio.Segment) {
	name, ok := nameOf(s.Block)
	if !ok {
		return
	}
	b := u[name]
	if b == nil {
		b = &usage{owner: id}
		u[name] = b
	}
	b.shared = b.shared || b.owner != id
	b.kept = b.kept || version
	sp := usedSpan{s.Off, s.Off + s.Len}
	if n := len(b.spans); n > 0 && b.spans[n-1].to == sp.from {
		b.spans[n-1].to = sp.to
		return
	}
	b.spans = append(b.spans, sp)
}

// live returns how many bytes are used.
func (b *usage) live() (n int64) {
	slices.SortFunc(b.spans, func(x, y usedSpan) int { return cmp.Compare(x.from, y.from) })
	end := uint32(0)
	for _, s := range b.spans {
		if s.to > end {
			n += int64(s.to - max(s.from, end))
			end = s.to
		}
	}
	return n
}

// repackWork is what is to be rewritten of one collection.
type repackWork struct {
	id     UUID
	blocks map[blockName]bool
}

// choose says which blocks of which collections are worth repacking.
func (u usages) choose(o RepackOptions) (report RepackReport, work []repackWork) {
	byID := make(map[UUID]map[blockName]bool)
	for name, b := range u {
		live := b.live()
		if float64(live) >= o.Threshold*float64(name.size) {
			continue
		}
		if b.shared || b.kept {
			report.Skipped++
			continue
		}
		report.Blocks++
		report.Garbage += int64(name.size) - live
		if byID[b.owner] == nil {
			byID[b.owner] = make(map[blockName]bool)
		}
		byID[b.owner][name] = true
	}
	for id, blocks := range byID {
		work = append(work, repackWork{id, blocks})
	}
	slices.SortFunc(work, func(a, b repackWork) int { return cmp.Compare(a.id, b.id) })
	return report, work
}

// repackBatch is how many bytes are copied before they are committed.
const repackBatch = keepio.BlockSize

// A repacker rewrites files of one collection.
type repacker struct {
	c      *Collection
	work   repackWork
	packer *keepio.Packer
	stream *keepio.Stream
	copied int64
	moved  map[keepio.Segment][]keepio.Segment // what is shared stays shared
	buf    []byte
}

// repackFile is a file that has spans in blocks to be rewritten.
type repackFile struct {
	path string
	old  Content
	segs []keepio.Segment
}

func (f *FS) repackCollection(ctx context.Context, w repackWork, limit int64) (copied int64, err error) {
	c, err := f.Open(ctx, w.id)
	if err != nil {
		return 0, err
	}
	defer c.Release()
	r := &repacker{c: c, work: w, packer: f.cfg.Spool.NewRepacker(string(w.id)), moved: make(map[keepio.Segment][]keepio.Segment), buf: make([]byte, streamFrom)}
	defer r.packer.Close()
	r.stream = r.packer.NewStream()
	defer r.stream.Close()
	err = r.run(ctx, limit)
	return r.copied, err
}

func (r *repacker) run(ctx context.Context, limit int64) error {
	var batch []repackFile
	start := r.copied
	for _, file := range r.files() {
		if err := r.rewrite(ctx, &file); err != nil {
			return err
		}
		batch = append(batch, file)
		if r.copied-start >= repackBatch {
			if err := r.commit(ctx, batch); err != nil {
				return err
			}
			batch, start = nil, r.copied
		}
		if limit > 0 && r.copied >= limit {
			break
		}
	}
	return r.commit(ctx, batch)
}

// files returns the files that have spans in the blocks to be rewritten.
func (r *repacker) files() (files []repackFile) {
	r.c.mu.RLock()
	defer r.c.mu.RUnlock()
	for it := range r.c.tree.root.walk("") {
		if slices.ContainsFunc(it.node.segs, r.wanted) {
			files = append(files, repackFile{path: it.path, old: it.node.content()})
		}
	}
	return files
}

func (r *repacker) wanted(s keepio.Segment) bool {
	name, ok := nameOf(s.Block)
	return ok && r.work.blocks[name]
}

// rewrite copies the spans of file that have to go elsewhere.
func (r *repacker) rewrite(ctx context.Context, file *repackFile) error {
	for _, s := range file.old.Segments {
		if !r.wanted(s) {
			file.segs = keepio.JoinSegments(file.segs, s)
			continue
		}
		segs, ok := r.moved[s]
		if !ok {
			var err error
			if segs, err = r.copySegment(ctx, s); err != nil {
				return pathError("repack", file.path, err)
			}
			r.moved[s] = segs
		}
		file.segs = keepio.JoinSegments(file.segs, segs...)
	}
	return nil
}

func (r *repacker) copySegment(ctx context.Context, s keepio.Segment) (segs []keepio.Segment, err error) {
	for done := uint32(0); done < s.Len; {
		p := r.buf[:min(uint32(len(r.buf)), s.Len-done)]
		n, err := r.c.fs.cfg.Spool.ReadBlock(ctx, s.Block, p, int64(s.Off+done))
		if err == nil && n < len(p) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		more, err := r.stream.Append(ctx, p)
		if err != nil {
			return nil, err
		}
		segs = keepio.JoinSegments(segs, more...)
		done += uint32(n)
	}
	r.copied += int64(s.Len)
	return segs, nil
}

// commit gives files their new segments, but for those that were changed or
// opened meanwhile, or have them under another name already.
func (r *repacker) commit(ctx context.Context, files []repackFile) error {
	if len(files) == 0 {
		return nil
	}
	c := r.c
	if err := c.begin(nil); err != nil {
		return err
	}
	for _, f := range files {
		n := c.tree.lookup(f.path)
		if n == nil || n.isDir() || n.hasHandles() || n.id != f.old.ID || !slices.Equal(n.segs, f.old.Segments) {
			continue
		}
		content := Content{f.old.ID, f.old.Size, f.segs}
		c.tree.repack(f.path, content)
		c.pending = append(c.pending, change{Op: Op{Kind: OpRepack, Path: f.path, Content: content}})
		c.changes++
	}
	c.end()
	return c.Commit(ctx, true)
}
