package embedded

import (
	"context"

	"keepdav/collfs"
	"keepdav/collfs/sqlite"
	"keepdav/davfs"
)

// sideStore keeps the files that Apple clients write for themselves.
type sideStore struct{ *sqlite.Store }

func (s sideStore) PutSide(ctx context.Context, key collfs.UUID, f davfs.SideFile) error {
	return s.Store.PutSide(ctx, key, sqlite.SideFile(f))
}

func (s sideStore) GetSide(ctx context.Context, key collfs.UUID, p string) (davfs.SideFile, error) {
	f, err := s.Store.GetSide(ctx, key, p)
	return davfs.SideFile(f), err
}

func (s sideStore) StatSide(ctx context.Context, key collfs.UUID, p string) (davfs.SideFile, error) {
	f, err := s.Store.StatSide(ctx, key, p)
	return davfs.SideFile(f), err
}

func (s sideStore) ListSide(ctx context.Context, key collfs.UUID, dir string) ([]davfs.SideFile, error) {
	rows, err := s.Store.ListSide(ctx, key, dir)
	files := make([]davfs.SideFile, len(rows))
	for i, r := range rows {
		files[i] = davfs.SideFile(r)
	}
	return files, err
}
