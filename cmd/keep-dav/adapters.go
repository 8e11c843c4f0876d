package main

import (
	"context"
	"encoding/json"
	"fmt"

	"keepdav/collfs"
	"keepdav/collfs/sqlite"
	"keepdav/davfs"
	"keepdav/web/dav"
)

// lockStore keeps the locks of WebDAV clients.
type lockStore struct{ sql *sqlite.Store }

func (s *store) locks() dav.LockStore { return lockStore{s.sql} }

func (l lockStore) Load(ctx context.Context) ([]dav.Lock, error) {
	rows, err := l.sql.LoadLocks(ctx)
	if err != nil {
		return nil, err
	}
	locks := make([]dav.Lock, len(rows))
	for i, r := range rows {
		if err := json.Unmarshal(r.Data, &locks[i]); err != nil {
			return nil, fmt.Errorf("a lock is damaged: %w", err)
		}
	}
	return locks, nil
}

func (l lockStore) Put(ctx context.Context, lock dav.Lock) error {
	data, err := json.Marshal(lock)
	if err != nil {
		return err
	}
	return l.sql.PutLock(ctx, sqlite.LockRow{Token: lock.Token, Data: data, Expires: lock.Expires})
}

func (l lockStore) Remove(ctx context.Context, token string) error {
	return l.sql.RemoveLock(ctx, token)
}

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
