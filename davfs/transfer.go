package davfs

import (
	"context"
	"io/fs"

	"keepdav/collfs"
)

// Copy implements FileSystem.
func (f *FS) Copy(ctx context.Context, src, dst string, o CopyOptions) (bool, error) {
	return f.transfer(ctx, "copy", src, dst, o)
}

// Move implements FileSystem.
func (f *FS) Move(ctx context.Context, src, dst string, o CopyOptions) (bool, error) {
	return f.transfer(ctx, "move", src, dst, o)
}

func (f *FS) transfer(ctx context.Context, op, src, dst string, o CopyOptions) (created bool, err error) {
	from, err := f.resolve(ctx, src)
	if err != nil {
		return false, pathError(op, src, err)
	}
	_ = from
	return false, collfs.ErrNotSupported
}

var _ = fs.ErrExist
