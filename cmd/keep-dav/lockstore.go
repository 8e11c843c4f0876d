package main

import (
	"context"
	"encoding/json"
	"fmt"

	"keepdav/collfs/sqlite"
	"keepdav/web/dav"
)

// lockStore keeps the locks of WebDAV clients.
type lockStore struct{ sql *sqlite.Store }

func (s *store) locks() dav.LockStore { return lockStore{s.SQL} }

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
