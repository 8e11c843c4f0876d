package delta

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"keepdav/collfs"
	"keepdav/keepio"
)

// A Commit is a change set of a collection on its way to the server.
type Commit struct {
	Collection collfs.UUID
	Base       int64 // the revision that it is for
	Ops        []collfs.Op
	Keep       bool             // what it replaces is kept as a version
	ID         collfs.ContentID // zero: a new one
}

// Commit makes a fact of a change set, durable, and returns the record. If the base is
// not the present revision it is collfs.ErrStale. An error that matches
// collfs.ErrUnknownOutcome leaves open what has become of it: the same commit with the
// same ID tells. Blocks that operations name are stored first, or come along: those
// keep their handles, which stay good for whoever has the bytes.
func (c *Client) Commit(ctx context.Context, k Commit) (collfs.Record, error) {
	body, err := c.encode(ctx, &k)
	if err != nil {
		return collfs.Record{}, fmt.Errorf("commit of %s: %w", k.Collection, err)
	}
	m, err := c.send(ctx, request{id: k.Collection, what: "commit", body: body})
	if err != nil {
		return collfs.Record{}, err
	}
	rec, err := m.record()
	if err == nil && rec.Revision != k.Base+1 {
		err = ErrMessage
	}
	if err != nil {
		return collfs.Record{}, fmt.Errorf("commit of %s: %w: %w", k.Collection, collfs.ErrUnknownOutcome, err)
	}
	return rec, nil
}

// encode returns the message of k.
func (c *Client) encode(ctx context.Context, k *Commit) ([]byte, error) {
	if k.ID == (collfs.ContentID{}) {
		_, _ = rand.Read(k.ID[:])
	}
	ops, data, err := c.bring(ctx, k.Ops)
	if err != nil {
		return nil, err
	}
	locs, err := c.locators(ctx, ops, md5.Sum(data))
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := NewWriter(&buf)
	w.Header(Header{Base: k.Base, ID: hex.EncodeToString(k.ID[:]), Keep: k.Keep})
	if len(locs) > 0 {
		w.Section(LocatorSection, AppendLocators(nil, locs))
	}
	if len(data) > 0 {
		w.Section(DataSection, data)
	}
	w.Section(ChangeSection, collfs.AppendOps(nil, ops))
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// bring returns ops as they are sent, and the bytes that come along: what is in
// blocks that are not stored, if it is not too much. Else it has these stored.
func (c *Client) bring(ctx context.Context, ops []collfs.Op) ([]collfs.Op, []byte, error) {
	var spans []keepio.Segment
	var blocks []*keepio.Block
	size := 0
	for _, op := range ops {
		for _, s := range op.Content.Segments {
			if s.Block == nil {
				continue
			}
			if _, _, stored := s.Block.Stored(); stored {
				continue
			}
			spans = append(spans, s)
			size += int(s.Len)
			if !slices.Contains(blocks, s.Block) {
				blocks = append(blocks, s.Block)
			}
		}
	}
	if size == 0 {
		return ops, nil, nil
	}
	if c.conf.Reader == nil || size > c.conf.MaxData {
		if c.conf.Store == nil {
			return nil, nil, fmt.Errorf("%d blocks are not stored", len(blocks))
		}
		return ops, nil, c.conf.Store(ctx, blocks)
	}
	data := make([]byte, 0, size)
	for _, s := range spans {
		at := len(data)
		data = data[:at+int(s.Len)]
		n, err := c.conf.Reader.ReadBlock(ctx, s.Block, data[at:], int64(s.Off))
		if err == nil && n < int(s.Len) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return inPlaceOf(ops, spans, keepio.NewStoredBlock(md5.Sum(data), uint32(len(data)))), data, nil
}

// inPlaceOf returns ops with segments of block, one after the other, in the place of
// spans, which are those of ops in that order.
func inPlaceOf(ops []collfs.Op, spans []keepio.Segment, block *keepio.Block) []collfs.Op {
	ops = slices.Clone(ops)
	off := uint32(0)
	for i := range ops {
		cloned := false
		for k, s := range ops[i].Content.Segments {
			if len(spans) == 0 || s != spans[0] {
				continue
			}
			if !cloned {
				ops[i].Content.Segments = slices.Clone(ops[i].Content.Segments)
				cloned = true
			}
			ops[i].Content.Segments[k] = keepio.Segment{Block: block, Off: off, Len: s.Len}
			spans, off = spans[1:], off+s.Len
		}
	}
	return ops
}

// locators returns those of the blocks that ops name, but for the one that comes along.
func (c *Client) locators(ctx context.Context, ops []collfs.Op, along [16]byte) (locs []keepio.Locator, err error) {
	type name struct {
		hash [16]byte
		size uint32
	}
	seen := make(map[name]bool)
	for _, op := range ops {
		for _, s := range op.Content.Segments {
			if s.Block == nil {
				continue
			}
			hash, size, stored := s.Block.Stored()
			if !stored || hash == along || seen[name{hash, size}] {
				continue
			}
			seen[name{hash, size}] = true
			loc := keepio.MakeLocator(hash, int64(size))
			if c.conf.Locator != nil {
				if loc, err = c.conf.Locator(ctx, hash, size); err != nil {
					return nil, err
				}
			}
			locs = append(locs, loc)
		}
	}
	return locs, nil
}
