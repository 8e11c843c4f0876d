package web

import (
	"context"
	"io"

	"keepdav/collfs"
	"keepdav/davfs"
)

// below is fs seen from one of its directories.
func below(fs davfs.FileSystem, dir string) davfs.FileSystem { return &subFS{fs, dir} }

type subFS struct {
	fs  davfs.FileSystem
	dir string
}

func (s *subFS) name(n string) string {
	if n == "/" {
		return s.dir
	}
	return s.dir + n
}

func (s *subFS) Stat(ctx context.Context, name string) (davfs.Info, error) {
	return s.fs.Stat(ctx, s.name(name))
}

func (s *subFS) Where(ctx context.Context, name string) (collfs.UUID, string, error) {
	return s.fs.Where(ctx, s.name(name))
}

func (s *subFS) Owner(ctx context.Context, id collfs.UUID) (collfs.UUID, error) {
	return s.fs.Owner(ctx, id)
}

func (s *subFS) List(ctx context.Context, name string) (davfs.Listing, error) {
	return s.fs.List(ctx, s.name(name))
}

func (s *subFS) Count(ctx context.Context, name string, limit int) (int, error) {
	return s.fs.Count(ctx, s.name(name), limit)
}

func (s *subFS) Open(ctx context.Context, name string) (davfs.File, error) {
	return s.fs.Open(ctx, s.name(name))
}

func (s *subFS) Put(ctx context.Context, name string, o davfs.PutOptions) (davfs.Upload, error) {
	return s.fs.Put(ctx, s.name(name), o)
}

func (s *subFS) WriteAt(ctx context.Context, name string, off, n int64, body io.Reader, check davfs.Check) (davfs.Info, error) {
	return s.fs.WriteAt(ctx, s.name(name), off, n, body, check)
}

func (s *subFS) Mkdir(ctx context.Context, name string, attr davfs.AttrChange) (davfs.Info, error) {
	return s.fs.Mkdir(ctx, s.name(name), attr)
}

func (s *subFS) Remove(ctx context.Context, name string, check davfs.Check) error {
	return s.fs.Remove(ctx, s.name(name), check)
}

func (s *subFS) Copy(ctx context.Context, src, dst string, o davfs.CopyOptions) (bool, error) {
	return s.fs.Copy(ctx, s.name(src), s.name(dst), o)
}

func (s *subFS) Move(ctx context.Context, src, dst string, o davfs.CopyOptions) (bool, error) {
	return s.fs.Move(ctx, s.name(src), s.name(dst), o)
}

func (s *subFS) SetAttr(ctx context.Context, name string, c davfs.AttrChange) (davfs.Info, error) {
	return s.fs.SetAttr(ctx, s.name(name), c)
}

func (s *subFS) Usage(ctx context.Context, name string) (davfs.Usage, error) {
	return s.fs.Usage(ctx, s.name(name))
}

func (s *subFS) Sum(ctx context.Context, name, algorithm string) (string, error) {
	return s.fs.Sum(ctx, s.name(name), algorithm)
}
