package keepio

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// A Packer packs the data of one collection into blocks: no block is shared
// with another collection. Small pieces share one open block; large uploads use
// a Stream. All methods may be called concurrently.
type Packer struct {
	g       *group
	reserve bool // draws on the budget's reserve
	closed  sync.Once
}

// A group is what packers of the same collection share.
type group struct {
	spool *Spool
	name  string

	refs  int // packers; guarded by Spool.mu
	files int // that are neither stored nor dropped; guarded by Spool.mu

	mu     sync.Mutex // guards the fields below; comes before blockFile.mu
	shared *blockFile
	spare  []*blockFile // open blocks that streams left, for the next stream
}

// Append puts data into the collection's shared open block, or several, and
// returns where it lies. The bytes can be read at once; they survive the end of
// this process once Freeze and a commit have named them, and a loss of power
// after Sync. A full disk is ErrFull. After an error none of data counts.
func (p *Packer) Append(ctx context.Context, data []byte) ([]Segment, error) {
	s := p.g.spool
	s.active.enter()
	defer s.active.leave()
	if err := s.admit(ctx, len(data), p.reserve); err != nil {
		return nil, err
	}
	var segs []Segment
	for len(data) > 0 {
		bf, err := p.g.sharedFile()
		if err != nil {
			s.budget.release(int64(len(data)))
			return nil, err
		}
		off, n, kept, err := bf.append(data)
		if err != nil {
			s.budget.release(int64(len(data) - kept))
			return nil, err
		}
		if n > 0 {
			segs = append(segs, Segment{Block: bf.block, Off: off, Len: uint32(n)})
			data = data[n:]
		}
		if len(data) > 0 {
			p.g.leave(bf)
		}
	}
	return segs, nil
}

// Overwrite replaces bytes of seg, starting off bytes into it, in place. It
// reports false, and does nothing, if they are not above the frozen offset of an
// open block any more; then Append them instead. The segment must have one
// owner. After an error with true the bytes may be old or new.
func (p *Packer) Overwrite(ctx context.Context, seg Segment, off uint32, data []byte) (bool, error) {
	if int64(off)+int64(len(data)) > int64(seg.Len) {
		return false, errors.New("keepio: overwrite reaches beyond its segment")
	}
	if seg.Block == nil || len(data) == 0 {
		return false, ctx.Err()
	}
	bf := seg.Block.file.Load()
	if bf == nil {
		return false, ctx.Err()
	}
	return bf.overwrite(seg.Off+off, data)
}

// NewStream starts an upload that is, or may become, large.
func (p *Packer) NewStream() *Stream { return &Stream{g: p.g, reserve: p.reserve} }

// NewFileStream is NewStream for what a program writes to a file, which may never
// be synced: less of it is sent to the disk before that.
func (p *Packer) NewFileStream() *Stream { return &Stream{g: p.g, reserve: p.reserve, lazy: true} }

// Close ends the use of p. Its open blocks stay with the spool and are taken up
// by the next packer of the same collection.
func (p *Packer) Close() { p.closed.Do(func() { p.g.spool.leaveGroup(p.g) }) }

// sharedFile returns the block file that small pieces go to.
func (g *group) sharedFile() (*blockFile, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shared == nil {
		bf, err := g.spool.newFile(g)
		if err != nil {
			return nil, err
		}
		g.shared = bf
	}
	return g.shared, nil
}

// leave makes the next piece go to another file than bf, which takes no more.
func (g *group) leave(bf *blockFile) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shared == bf {
		g.shared = nil
	}
	g.spare = slices.DeleteFunc(g.spare, func(x *blockFile) bool { return x == bf })
}

// streamFile returns an open block file for a stream alone.
func (g *group) streamFile() (*blockFile, error) {
	g.mu.Lock()
	if n := len(g.spare); n > 0 {
		bf := g.spare[n-1]
		g.spare = g.spare[:n-1]
		g.mu.Unlock()
		return bf, nil
	}
	g.mu.Unlock()
	return g.spool.newFile(g)
}

// handBack keeps bf for the next stream, if it takes more.
func (g *group) handBack(bf *blockFile) {
	bf.mu.Lock()
	open := bf.state == fileOpen
	bf.mu.Unlock()
	if open {
		g.mu.Lock()
		g.spare = append(g.spare, bf)
		g.mu.Unlock()
	}
}
