package collfs

import (
	"fmt"
	"io/fs"
	"math"

	"keepdav/keepio"
)

// MaxExtra is the most bytes that keys and values of the Extra of one operation may
// have together, if it comes from outside.
const MaxExtra = 1 << 20

// The bits of Posix.Type.
const (
	typeFIFO, typeChar, typeBlock, typeSocket = 0x1000, 0x2000, 0x6000, 0xc000
)

// CheckOp says what is wrong with an operation that somebody else has sent, whatever
// tree it is for: nothing that it lets pass makes a tree that cannot be stored, loaded
// or shown. That it applies, Tree.Apply says.
func CheckOp(op Op) error {
	if op.Kind == OpInvalid || op.Kind >= OpCommit {
		return fmt.Errorf("operation %d: %w", op.Kind, fs.ErrInvalid)
	}
	switch op.Kind {
	case OpPut, OpMkdir, OpRename, OpCopy, OpLink: // they may make a name
		if err := checkPath(op.Path); err != nil {
			return pathError(op.Kind.String(), op.Path, err)
		}
	}
	if err := checkContent(&op); err != nil {
		return pathError(op.Kind.String(), op.Path, err)
	}
	return pathError(op.Kind.String(), op.Path, checkAttr(op.Attr))
}

func checkContent(op *Op) error {
	c := op.Content
	size := int64(0)
	for _, s := range c.Segments {
		if s.Len == 0 || s.Block != nil && int64(s.Off)+int64(s.Len) > keepio.BlockSize || s.Block == nil && s.Off != 0 {
			return fmt.Errorf("segment: %w", fs.ErrInvalid)
		}
		if size += int64(s.Len); size > MaxFile {
			return fmt.Errorf("size: %w", fs.ErrInvalid)
		}
	}
	switch op.Kind {
	case OpPut, OpRepack:
		if c.Size != size || c.ID == (ContentID{}) {
			return fmt.Errorf("content: %w", fs.ErrInvalid)
		}
	case OpPatch:
		if c.ID == (ContentID{}) || c.Size < 0 || c.Size > MaxFile || op.Off < 0 || op.Off > MaxFile-size {
			return fmt.Errorf("content: %w", fs.ErrInvalid)
		}
	default:
		if len(c.Segments) > 0 || c.Size != 0 {
			return fmt.Errorf("content: %w", fs.ErrInvalid)
		}
	}
	return nil
}

func checkAttr(a Attr) error {
	if a.Mode > 0o7777 && a.Mode != ModeNone {
		return fmt.Errorf("mode: %w", fs.ErrInvalid)
	}
	size := 0
	for k, v := range a.Extra {
		if size += len(k) + len(v); k == "" || len(k) > math.MaxUint16 || size > MaxExtra {
			return fmt.Errorf("attributes: %w", fs.ErrInvalid)
		}
	}
	if a.Posix == nil {
		return nil
	}
	switch a.Posix.Type {
	case 0, typeFIFO, typeChar, typeBlock, typeSocket:
		return nil
	}
	return fmt.Errorf("kind of file: %w", fs.ErrInvalid)
}
