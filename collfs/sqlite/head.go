package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"keepdav/collfs"
)

// maxHeads bounds how many records stay in memory.
const maxHeads = 50_000

// A head is the record of a collection as the last accepted commit left it.
// Store.mu guards it.
type head struct {
	rec     collfs.Record
	last    uint64 // the last entry that changes it; it is pending if that isn't applied
	deleted bool   // by an entry that isn't applied yet
}

// Kinds of rows in table record.
const (
	kindCollection = 1
	kindProject    = 2
	kindHome       = 3
)

const recordColumns = `uuid, owner, name, description, properties, revision, version, files, bytes, created, modified, trash_at, delete_at,
	iif(pdh_revision = revision, pdh, '')`

// scanRecord reads recordColumns, and more columns into rest.
func scanRecord(row scanner, rest ...any) (collfs.Record, error) {
	var r collfs.Record
	var props []byte
	var created, modified, trash, del int64
	err := row.Scan(append([]any{&r.UUID, &r.Owner, &r.Name, &r.Description, &props, &r.Revision, &r.Version, &r.Files, &r.Bytes,
		&created, &modified, &trash, &del, &r.PDH}, rest...)...)
	if props != nil {
		r.Properties = json.RawMessage(props)
	}
	r.CreatedAt, r.ModifiedAt, r.TrashAt, r.DeleteAt = timeOf(created), timeOf(modified), timeOf(trash), timeOf(del)
	return r, err
}

// loadHead makes sure that the record of a collection is in memory, and
// returns it.
func (s *Store) loadHead(ctx context.Context, id collfs.UUID) (collfs.Record, error) {
	for {
		s.mu.Lock()
		if h := s.heads[id]; h != nil {
			defer s.mu.Unlock()
			if h.deleted {
				return collfs.Record{}, noRecord(id)
			}
			return h.rec, nil
		}
		gen := s.headGen
		s.mu.Unlock()
		rec, err := scanRecord(s.readers.row(ctx, `SELECT `+recordColumns+` FROM record WHERE uuid = ? AND kind = 1`, id))
		if errors.Is(err, sql.ErrNoRows) {
			return collfs.Record{}, noRecord(id)
		}
		if err != nil {
			return collfs.Record{}, storageError(err)
		}
		s.mu.Lock()
		if s.heads[id] == nil && s.headGen == gen {
			s.roomLocked()
			s.heads[id] = &head{rec: rec}
		}
		s.mu.Unlock()
	}
}

// roomLocked drops heads that aren't pending when there are too many. s.mu must be held.
func (s *Store) roomLocked() {
	if len(s.heads) < maxHeads {
		return
	}
	s.headGen++
	for id, h := range s.heads {
		if h.last <= s.applied {
			delete(s.heads, id)
		}
		if len(s.heads) < maxHeads*3/4 {
			return
		}
	}
}

func noRecord(id collfs.UUID) error { return fmt.Errorf("record %s: %w", id, fs.ErrNotExist) }

// Record is collfs.Catalog.
func (s *Store) Record(ctx context.Context, id collfs.UUID) (collfs.Record, error) {
	if err := ctx.Err(); err != nil {
		return collfs.Record{}, err
	}
	return s.loadHead(ctx, id)
}
