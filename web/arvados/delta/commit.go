package delta

import (
	"crypto/md5"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"

	"keepdav/collfs"
	wire "keepdav/collfs/apiserver/delta"
	"keepdav/keepio"
)

// maxOps is the most operations of a commit. They take some 200 bytes of memory each.
const maxOps = 2 << 20

// A change is a commit that was read.
type change struct {
	wire.Header
	id    collfs.ContentID
	ops   []collfs.Op
	named *named
	data  []byte // the block that comes along
}

// named are the blocks that a commit may name. It is collfs.Blocks.
type named struct {
	blocks map[block]*keepio.Block // nil: not named yet
	along  *keepio.Block           // the one that comes along
	other  bool                    // another one was named
}

// ByID is collfs.Blocks. Nobody elsewhere has block files of ours.
func (n *named) ByID(keepio.BlockID) (*keepio.Block, error) {
	return nil, keepio.ErrNotFound
}

// ByHash is collfs.Blocks.
func (n *named) ByHash(hash [16]byte, size uint32) *keepio.Block {
	if n.along != nil {
		if h, s, _ := n.along.Stored(); h == hash && s == size {
			return n.along
		}
	}
	b, ok := n.blocks[block{hash, size}]
	if b == nil {
		b = keepio.NewStoredBlock(hash, size)
		n.other = n.other || !ok
		n.blocks[block{hash, size}] = b
	}
	return b
}

func (h *Handler) commit(w http.ResponseWriter, r call) error {
	release, err := h.makeRoom(r)
	if err != nil {
		return err
	}
	defer release()
	ch, err := h.readChange(r)
	if err != nil {
		return err
	}
	o := collfs.ApplyOptions{ID: ch.id, Base: ch.Base, Exact: true, Keep: ch.Keep}
	if err := h.checkBlocks(r, ch); err != nil {
		return err
	}
	if len(ch.data) > 0 {
		stage, err := r.c.NewStage(int64(len(ch.data)))
		if err != nil {
			return err
		}
		defer stage.Abort()
		if err := ch.put(r, stage); err != nil {
			return err
		}
		o.Stages = []*collfs.Stage{stage}
	}
	rec, err := r.c.ApplyWith(r.Context(), o, func(*collfs.Tree) ([]collfs.Op, error) { return ch.ops, nil })
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return refusal{http.StatusUnprocessableEntity, wire.Refusal{Error: pe.Error(), Path: pe.Path}}
	}
	if errors.Is(err, collfs.ErrTooSparse) {
		return refusal{http.StatusUnprocessableEntity, wire.Refusal{Error: err.Error()}}
	}
	if err != nil {
		return err
	}
	return h.reply(w, r, rec, nil, nil)
}

// readChange reads a commit and checks all that can be said of it without the tree.
func (h *Handler) readChange(r call) (*change, error) {
	m, err := h.readMessage(r)
	if err != nil {
		return nil, err
	}
	ch := &change{data: m.Data, named: &named{blocks: make(map[block]*keepio.Block)}}
	if err := json.Unmarshal(m.Header, &ch.Header); err != nil {
		return nil, badRequest("header: %v", err)
	}
	if ch.id, err = ch.ParseID(); err != nil {
		return nil, badRequest("%v", err)
	}
	if len(m.Changes) != 1 || m.Tree != nil || ch.Base < 0 {
		return nil, badRequest("a commit has one change set and a base")
	}
	for _, loc := range m.Locators {
		if err := h.conf.Signer.Verify(loc, r.token); err != nil {
			return nil, refusal{http.StatusForbidden, wire.Refusal{Error: loc.Bare() + ": " + err.Error(), Kind: wire.KindSignature}}
		}
		ch.named.blocks[block{loc.Hash(), uint32(loc.Size())}] = nil
	}
	if len(ch.data) > 0 {
		ch.named.along = keepio.NewStoredBlock(md5.Sum(ch.data), uint32(len(ch.data)))
	}
	ch.ops, err = collfs.DecodeOpsMax(m.Changes[0], ch.named, maxOps)
	if errors.Is(err, collfs.ErrTooManyEntries) {
		return nil, refusal{http.StatusRequestEntityTooLarge, wire.Refusal{Error: err.Error()}}
	}
	if err != nil {
		return nil, badRequest("%v", err)
	}
	if ch.named.other {
		return nil, refusal{http.StatusForbidden, wire.Refusal{Error: "a block is named without its locator", Kind: wire.KindSignature}}
	}
	if len(ch.ops) == 0 {
		return nil, badRequest("no operations")
	}
	for _, op := range ch.ops {
		if err := collfs.CheckOp(op); err != nil {
			said := wire.Refusal{Error: err.Error()}
			if pe, ok := errors.AsType[*fs.PathError](err); ok {
				said.Path = pe.Path
			}
			return nil, refusal{http.StatusUnprocessableEntity, said}
		}
	}
	return ch, nil
}

// checkBlocks makes sure that the blocks that are named are there, and stay.
func (h *Handler) checkBlocks(r call, ch *change) error {
	for name, b := range ch.named.blocks {
		if b == nil {
			continue // shown, but not named
		}
		err := h.conf.Touch(r.Context(), name.hash, name.size)
		if errors.Is(err, keepio.ErrNotFound) {
			bare := keepio.MakeLocator(name.hash, int64(name.size)).Bare()
			return refusal{http.StatusUnprocessableEntity, wire.Refusal{Error: "block " + bare + " is not there", Kind: wire.KindBlock}}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// put writes the block that comes along to stage, and has the operations refer to
// where its bytes are then.
func (ch *change) put(r call, stage *collfs.Stage) error {
	if _, err := stage.Write(r.Context(), ch.data); err != nil {
		return err
	}
	content, err := stage.Content()
	if err != nil {
		return err
	}
	for i := range ch.ops {
		segs := ch.ops[i].Content.Segments
		var moved []keepio.Segment
		for _, s := range segs {
			if s.Block == nil || s.Block != ch.named.along {
				moved = keepio.JoinSegments(moved, s)
				continue
			}
			moved = keepio.JoinSegments(moved, span(content.Segments, s.Off, s.Len)...)
		}
		ch.ops[i].Content.Segments = moved
	}
	return nil
}

// span returns n bytes from off on of what segs are one after the other.
func span(segs []keepio.Segment, off, n uint32) (out []keepio.Segment) {
	for _, s := range segs {
		if off >= s.Len {
			off -= s.Len
			continue
		}
		part := keepio.Segment{Block: s.Block, Off: s.Off + off, Len: min(n, s.Len-off)}
		out = append(out, part)
		if off, n = 0, n-part.Len; n == 0 {
			break
		}
	}
	return out
}
