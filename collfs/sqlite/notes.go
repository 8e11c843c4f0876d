package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"keepdav/collfs"
	"keepdav/collfs/query"
)

// maxNotes is how many notes of clients are kept.
const maxNotes = 100_000

// logRows are the entries of the log: events, and notes of clients. The types are the
// same in both halves: else SQLite reads all of it to sort it.
const logRows = `SELECT seq AS id, kind AS kind, uuid AS object, owner AS owner, old_owner AS old_owner, revision AS revision, at AS at,
		cast(CASE kind WHEN 1 THEN 'create' WHEN 6 THEN 'delete' ELSE 'update' END AS TEXT) AS type, cast(NULL AS TEXT) AS user, cast('' AS TEXT) AS summary,
		cast('{}' AS TEXT) AS properties FROM event
	UNION ALL SELECT seq, cast(0 AS INTEGER), object, owner, cast('' AS TEXT), cast(0 AS INTEGER), at, type, user, summary, properties FROM note`

// logColumns has the columns of the attributes that queries for the log may name. A uuid
// is a number in disguise, which the caller knows.
var logColumns = map[string]string{
	"id": "id", "event_type": "type", "object_uuid": "object", "object_owner_uuid": "owner", "owner_uuid": "user", "summary": "summary",
	"event_at": "at", "created_at": "at", "modified_at": "at",
}

// QueryLog returns the entries of the log that a query asks for. If the query counts, it
// tells how many there are in all. It has all that happened before the call.
func (s *Store) QueryLog(ctx context.Context, q query.Query) (rows []query.Log, available int, err error) {
	if err := s.applyAll(ctx); err != nil {
		return nil, 0, err
	}
	from, args, err := s.selectionOf(logRows, logColumns, q.Filters, query.Scope{Trash: true})
	if err != nil {
		return nil, 0, err
	}
	order, err := orderBy(logColumns, q.Order, "id DESC")
	if err != nil {
		return nil, 0, err
	}
	available, err = s.page(ctx, q, from, `id, kind, object, owner, old_owner, revision, at, type, user, summary, properties`, order, args, func(row scanner) error {
		var l query.Log
		var n query.Note
		var at int64
		var user sql.NullString
		var props string
		err := row.Scan(&l.Seq, &l.Kind, &l.UUID, &l.Owner, &l.OldOwner, &l.Revision, &at, &n.Type, &user, &n.Summary, &props)
		l.At = timeOf(at)
		if l.Kind == 0 {
			n.User, n.Object, n.Owner, n.Properties = collfs.UUID(user.String), l.UUID, l.Owner, json.RawMessage(props)
			l.Note = &n
		}
		rows = append(rows, l)
		return err
	})
	return rows, available, err
}

// AddNote puts a note of a client into the log. Of too many, the oldest go.
func (s *Store) AddNote(ctx context.Context, n query.Note) (query.Log, error) {
	if n.Properties == nil {
		n.Properties = json.RawMessage(`{}`)
	}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return query.Log{}, fmt.Errorf("store: %w", collfs.ErrClosed)
	}
	s.eventSeq++
	l := query.Log{Event: collfs.Event{Seq: s.eventSeq, UUID: n.Object, Owner: n.Owner, At: s.now()}, Note: &n}
	s.mu.Unlock()
	return l, s.write(ctx, func(w *writer) error {
		_, err := w.exec(`INSERT INTO note (seq, type, user, object, owner, summary, properties, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			l.Seq, n.Type, n.User, n.Object, n.Owner, n.Summary, string(n.Properties), nanos(l.At))
		if err == nil {
			_, err = w.exec(`DELETE FROM note WHERE seq <= (SELECT seq FROM note ORDER BY seq DESC LIMIT 1 OFFSET ?)`, maxNotes)
		}
		if err == nil {
			_, err = w.exec(`UPDATE meta SET value = max(value, ?) WHERE key = 'event seq'`, l.Seq)
		}
		return err
	})
}
