package maint

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"keepdav/collfs"
	"keepdav/keepio"
	"keepdav/keepio/dirstore"
)

// CheckOptions say how thorough a check is.
type CheckOptions struct {
	Quick   bool
	Repair  bool
	Workers int
	Tell    func(what string, done, total, bytes int64) `json:"-"`
}

// A Problem is something that a check found.
type Problem struct {
	Kind       string      `json:"kind"` // database, corrupt-block, lost-block, bad-reference, unreadable-tree, wrong-count
	Collection collfs.UUID `json:"collection,omitempty"`
	Version    int         `json:"version,omitempty"` // 0: the present state
	Path       string      `json:"path,omitempty"`
	PathBytes  []byte      `json:"path_base64,omitempty"` // set where JSON is made of it, if Path is not UTF-8; so is TextBytes
	Block      string      `json:"block,omitempty"`
	Text       string      `json:"text"`
	TextBytes  []byte      `json:"text_base64,omitempty"`
	Repaired   bool        `json:"repaired,omitempty"`
}

func (p Problem) String() string {
	where := ""
	if p.Collection != "" {
		where = " collection " + string(p.Collection)
		if p.Version != 0 {
			where += fmt.Sprintf("@%d", p.Version)
		}
		if p.Path != "" {
			where += fmt.Sprintf(", %q", p.Path)
		}
		where += ":"
	}
	if p.Block != "" {
		where += " block " + p.Block + ":"
	}
	s := p.Kind + ":" + where + " " + p.Text
	if p.Repaired {
		s += " (repaired)"
	}
	return s
}

// maxProblems bounds how many problems a report lists.
const maxProblems = 1000

// A Report is what a check found.
type Report struct {
	Problems          []Problem `json:"problems"`
	More              int       `json:"more_problems,omitempty"` // beyond those listed
	Unrepaired        int       `json:"unrepaired"`
	Collections       int       `json:"collections"`
	Versions          int       `json:"versions"`
	Files             int64     `json:"files"`
	References        int64     `json:"references"`
	Blocks            int       `json:"blocks"` // that something refers to
	Verified          int       `json:"verified_blocks"`
	Bytes             int64     `json:"verified_bytes"`
	Open              int       `json:"open_blocks"`
	Unreferenced      int       `json:"unreferenced_blocks"`
	UnreferencedBytes int64     `json:"unreferenced_bytes"`
}

// Sound reports whether all is well, or is now.
func (r *Report) Sound() bool { return r.Unrepaired == 0 }

func (r *Report) add(p Problem) {
	if !p.Repaired {
		r.Unrepaired++
	}
	if len(r.Problems) >= maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, p)
}

// A check is one run of Check.
type check struct {
	k *Keeper
	o CheckOptions

	mu     sync.Mutex // guards the fields below
	report Report
	stored map[[16]byte]*blockState
	open   map[*keepio.Block]error // blocks without a name that were read
}

// blockState is what is known of a stored block.
type blockState struct {
	size int64
	bad  error // nil: it is whole, or was not read
	used bool
}

// Check verifies the store. It can run while the store is used.
func (k *Keeper) Check(ctx context.Context, o CheckOptions) (Report, error) {
	if o.Tell == nil {
		o.Tell = func(string, int64, int64, int64) {}
	}
	c := &check{k: k, o: o, stored: map[[16]byte]*blockState{}, open: map[*keepio.Block]error{}}
	c.report.Problems = []Problem{}
	if err := c.database(ctx); err != nil {
		return c.report, err
	}
	if !o.Quick {
		// What is in the making gets its name first, so that its bytes are
		// verified like all others. A disk without room for names shows below.
		if err := k.Spool.StoreAll(ctx); err != nil && ctx.Err() != nil {
			return c.report, err
		}
	}
	if err := c.blocks(ctx); err != nil {
		return c.report, err
	}
	if err := c.contents(ctx); err != nil {
		return c.report, err
	}
	for hash, b := range c.stored {
		if !b.used && hash != zeros {
			c.report.Unreferenced++
			c.report.UnreferencedBytes += b.size
		}
	}
	c.report.Open = len(c.open)
	return c.report, nil
}

func (c *check) database(ctx context.Context) error {
	c.o.Tell("checking the database", 0, 0, 0)
	faults, err := c.k.Catalog.CheckDatabase(ctx)
	if err != nil {
		return fmt.Errorf("check the database: %w", err)
	}
	for _, f := range faults {
		c.report.add(Problem{Kind: "database", Text: f})
	}
	return nil
}

// blocks lists the stored blocks and, unless it is to be quick, reads them.
func (c *check) blocks(ctx context.Context) error {
	var all []dirstore.Info
	var total int64
	err := c.k.Blocks.Walk(ctx, func(i dirstore.Info) error {
		all = append(all, i)
		total += i.Size
		c.stored[i.Hash] = &blockState{size: i.Size}
		return nil
	})
	if err != nil || c.o.Quick {
		return err
	}
	jobs := make(chan dirstore.Info)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(jobs)
		for _, i := range all {
			select {
			case jobs <- i:
			case <-gctx.Done():
				return gctx.Err()
			}
		}
		return nil
	})
	for range min(max(c.o.Workers, 1), 64) {
		g.Go(func() error {
			for i := range jobs {
				if err := c.verify(gctx, i, int64(len(all))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (c *check) verify(ctx context.Context, i dirstore.Info, of int64) error {
	err := c.k.Blocks.Verify(ctx, i.Hash, uint32(i.Size))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, keepio.ErrNotFound) { // taken away meanwhile; references will tell whether rightly
		c.mu.Lock()
		delete(c.stored, i.Hash)
		c.mu.Unlock()
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Verified++
	c.report.Bytes += i.Size
	if err != nil {
		c.report.add(Problem{Kind: "corrupt-block", Block: hex.EncodeToString(i.Hash[:]), Text: err.Error()})
		c.stored[i.Hash].bad = err
	}
	c.o.Tell("verifying blocks", int64(c.report.Verified), of, c.report.Bytes)
	return nil
}

// contents looks at every file of every collection and version.
func (c *check) contents(ctx context.Context) error {
	blocks := map[*keepio.Block]struct{}{}
	done := int64(0)
	err := c.k.Catalog.States(ctx, func(rec collfs.Record, current bool, tree *collfs.Tree, err error) error {
		st := place{collection: rec.UUID}
		done++
		c.o.Tell("checking collections", done, 0, 0)
		if current {
			c.report.Collections++
		} else {
			c.report.Versions++
			st.version = rec.Version
		}
		if err != nil {
			c.report.add(Problem{Kind: "unreadable-tree", Collection: st.collection, Version: st.version, Text: err.Error()})
			return nil
		}
		if tree.Files() != rec.Files || tree.Bytes() != rec.Bytes {
			c.report.add(Problem{Kind: "wrong-count", Collection: st.collection, Version: st.version,
				Text: fmt.Sprintf("the record says %d files with %d bytes, there are %d with %d", rec.Files, rec.Bytes, tree.Files(), tree.Bytes())})
		}
		return tree.Walk(func(path string, info collfs.NodeInfo, content collfs.Content) error {
			if info.Dir {
				return nil
			}
			c.report.Files++
			st.path = path
			return c.file(ctx, st, content, blocks)
		})
	})
	c.report.Blocks = len(blocks)
	return err
}

// place is where a file lies.
type place struct {
	collection collfs.UUID
	version    int // 0: the present state
	path       string
}

// file looks at the segments of one file.
func (c *check) file(ctx context.Context, st place, content collfs.Content, blocks map[*keepio.Block]struct{}) error {
	var size int64
	for _, seg := range content.Segments {
		size += int64(seg.Len)
		if seg.Block == nil {
			continue
		}
		c.report.References++
		blocks[seg.Block] = struct{}{}
		kind, err := c.segment(ctx, seg)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			name := fmt.Sprintf("#%d", seg.Block.ID())
			repaired := false
			if hash, n, ok := seg.Block.Stored(); ok {
				name = fmt.Sprintf("%x+%d", hash, n)
				if kind == "lost-block" && c.o.Repair && c.k.restore(ctx, hash, n) {
					repaired = true
					c.stored[hash] = &blockState{size: int64(n), used: true}
				}
			}
			c.report.add(Problem{Kind: kind, Collection: st.collection, Version: st.version, Path: st.path, Block: name, Text: err.Error(), Repaired: repaired})
		}
	}
	if size != content.Size {
		c.report.add(Problem{Kind: "bad-reference", Collection: st.collection, Version: st.version, Path: st.path,
			Text: fmt.Sprintf("the file has %d bytes, its segments %d", content.Size, size)})
	}
	return nil
}

// segment looks at the block of a segment.
func (c *check) segment(ctx context.Context, seg keepio.Segment) (kind string, err error) {
	hash, size, ok := seg.Block.Stored()
	if !ok {
		return "lost-block", c.openSegment(ctx, seg)
	}
	if uint64(seg.Off)+uint64(seg.Len) > uint64(size) {
		return "bad-reference", fmt.Errorf("bytes %d to %d of a block of %d", seg.Off, uint64(seg.Off)+uint64(seg.Len), size)
	}
	b := c.stored[hash]
	if b == nil { // perhaps it was stored after the blocks were listed
		if err := c.k.Blocks.Verify(ctx, hash, size); err != nil {
			return "lost-block", err
		}
		b = &blockState{size: int64(size)}
		c.stored[hash] = b
	}
	b.used = true
	switch {
	case b.bad != nil:
		return "corrupt-block", b.bad
	case b.size != int64(size):
		return "corrupt-block", fmt.Errorf("its file has %d bytes", b.size)
	}
	return "", nil
}

// openSegment reads a segment of a block that has no name yet.
func (c *check) openSegment(ctx context.Context, seg keepio.Segment) error {
	if err, known := c.open[seg.Block]; known && err != nil {
		return err
	}
	p := make([]byte, 1<<20)
	var err error
	for off, left := int64(seg.Off), int64(seg.Len); left > 0 && err == nil; {
		var n int
		n, err = c.k.Spool.ReadBlock(ctx, seg.Block, p[:min(left, int64(len(p)))], off)
		if n == 0 && err == nil {
			err = keepio.ErrCorrupt
		}
		off, left = off+int64(n), left-int64(n)
		if left > 0 && err == nil && n == 0 {
			err = keepio.ErrCorrupt
		}
	}
	c.open[seg.Block] = err
	return err
}
