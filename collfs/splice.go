package collfs

import (
	"crypto/rand"
	"fmt"
	"io/fs"
)

// SpliceOptions say how a staged piece gets into a file.
type SpliceOptions struct {
	MaxHole int64               // how far beyond the file's end the piece may begin
	Attr    func(old Attr) Attr // the file's new attributes; nil keeps them. A zero Mtime becomes the present time
	Check   Check
}

// Splice writes a staged piece over the bytes of a file from offset off on, -1
// being its end; what is between the end and off becomes a hole. The file has
// the new content in one step. The stage is used up if Splice succeeds.
func (c *Collection) Splice(s *Stage, path string, off int64, o SpliceOptions) (NodeInfo, error) {
	if s.done || s.c != c {
		return NodeInfo{}, pathError("write", path, ErrClosed)
	}
	piece, err := s.finish()
	if err != nil {
		return NodeInfo{}, err
	}
	if err := c.begin(nil); err != nil {
		return NodeInfo{}, pathError("write", path, err)
	}
	defer c.end()
	if err := c.checkLocked(o.Check, path); err != nil {
		return NodeInfo{}, err
	}
	n, err := c.tree.find(path)
	if err == nil && n.isDir() {
		err = ErrIsDir
	}
	if err != nil {
		return NodeInfo{}, pathError("write", path, err)
	}
	c.settleLocked(n)
	n = c.tree.lookup(path)
	if off < 0 {
		off = n.size
	}
	if off-n.size > o.MaxHole || off > MaxFile-piece.Size {
		return NodeInfo{}, pathError("write", path, fmt.Errorf("offset %d is too far beyond the end, %d: %w", off, n.size, fs.ErrInvalid))
	}
	if err := c.roomForHolesLocked(off - n.size); err != nil {
		return NodeInfo{}, pathError("write", path, err)
	}
	if piece.Size == 0 {
		s.end()
		return n.infoAt(path), nil
	}
	spans := makeSpans(n.segs)
	spans.write(off, piece.Segments)
	content := Content{Size: spans.size, Segments: spans.segments()}
	_, _ = rand.Read(content.ID[:])
	info, _, err := c.linkLocked(content, path, func(old Attr, _ bool) Attr {
		if o.Attr != nil {
			return o.Attr(old)
		}
		return old
	})
	if err == nil {
		s.end()
	}
	return info, err
}
