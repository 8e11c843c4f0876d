package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"strings"

	"keepdav/collfs"
	"keepdav/collfs/query"
)

// shareUUID returns the UUID of the link that shows a share. It is always the same for
// a user and a target.
func (s *Store) shareUUID(user, target collfs.UUID) collfs.UUID {
	h := sha256.New()
	fmt.Fprintf(h, "share %s %s ", user, target)
	h.Write(s.meta.Secret)
	text := strings.Repeat("0", 15) + new(big.Int).SetBytes(h.Sum(nil)).Text(36)
	return collfs.UUID(s.meta.Cluster + "-o0j2j-" + text[len(text)-15:])
}

// nameShares gives UUIDs to shares of a store from before they had any.
func (s *Store) nameShares() error {
	var all []Share
	err := s.writer.query(func(row scanner) error {
		var sh Share
		err := row.Scan(&sh.User, &sh.Target)
		all = append(all, sh)
		return err
	}, `SELECT user, target FROM share WHERE uuid = ''`)
	if err != nil || len(all) == 0 {
		return storageError(err)
	}
	return s.writer.tx(func() error {
		for _, sh := range all {
			if _, err := s.writer.exec(`UPDATE share SET uuid = ? WHERE user = ? AND target = ?`, s.shareUUID(sh.User, sh.Target), sh.User, sh.Target); err != nil {
				return err
			}
		}
		return nil
	})
}

// linkRows are all links: shares belong to who owns what is shared.
const linkRows = `SELECT s.uuid AS uuid, 'permission' AS class, CASE s.level WHEN 1 THEN 'can_read' WHEN 2 THEN 'can_write' ELSE 'can_manage' END AS name,
		s.target AS head, s.user AS tail, coalesce(nullif(r.owner, ''), s.target) AS owner, '{}' AS properties, s.created AS created, s.created AS modified
		FROM share s LEFT JOIN record r ON r.uuid = s.target
	UNION ALL SELECT uuid, class, name, head, tail, owner, properties, created, modified FROM link`

// linkColumns has the columns of attributes by which links are looked for; others are
// the business of whoever knows who may see which.
var linkColumns = map[string]string{"uuid": "uuid", "link_class": "class", "name": "name", "head_uuid": "head", "tail_uuid": "tail"}

// maxLinks bounds how many links are read at once.
const maxLinks = 200_000

func scanLink(row scanner) (query.Link, error) {
	var l query.Link
	var props string
	var created, modified int64
	err := row.Scan(&l.UUID, &l.Class, &l.Name, &l.Head, &l.Tail, &l.Owner, &props, &created, &modified)
	l.Properties = json.RawMessage(props)
	l.CreatedAt, l.ModifiedAt = timeOf(created), timeOf(modified)
	return l, err
}

const linkRow = `uuid, class, name, head, tail, owner, properties, created, modified`

// Links returns the links that filters may select: of those, all that compare a UUID, a class
// or a name are used.
func (s *Store) Links(ctx context.Context, filters []query.Filter) ([]query.Link, error) {
	if err := s.applyAll(ctx); err != nil {
		return nil, err
	}
	b := sqlBuilder{columns: linkColumns}
	where := []string{"1"}
	for _, f := range filters {
		if linkColumns[f.Attr] == "" || f.Op != query.Equal && f.Op != query.In {
			continue
		}
		text, err := b.filter(f)
		if err != nil {
			return nil, err
		}
		where = append(where, text)
	}
	var all []query.Link
	err := s.readers.snapshot(ctx, func(r snapshot) error {
		return eachRow(func(row scanner) error {
			l, err := scanLink(row)
			if all = append(all, l); len(all) > maxLinks {
				return fmt.Errorf("links: %w", collfs.ErrTooManyEntries)
			}
			return err
		})(r.c.conn.QueryContext(ctx, `SELECT `+linkRow+` FROM (`+linkRows+`) WHERE `+strings.Join(where, " AND "), b.args...))
	})
	return all, err
}

// FindLink returns a link by its UUID; a missing one is fs.ErrNotExist.
func (s *Store) FindLink(ctx context.Context, id collfs.UUID) (query.Link, error) {
	l, err := scanLink(s.readers.row(ctx, `SELECT `+linkRow+` FROM (`+linkRows+`) WHERE uuid = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return l, fmt.Errorf("link %s: %w", id, fs.ErrNotExist)
	}
	return l, storageError(err)
}

// PutLink makes a link, or changes its name and properties. A permission link is a
// share: of one with the same head and tail it changes the level. It returns the
// link as it is then.
func (s *Store) PutLink(ctx context.Context, l query.Link) (query.Link, error) {
	if l.Class == query.PermissionLink {
		level := query.PermissionLevel(l.Name)
		if level == collfs.NoAccess {
			return l, fmt.Errorf("permission %q: %w", l.Name, fs.ErrInvalid)
		}
		if err := s.Grant(ctx, l.Tail, l.Head, level); err != nil {
			return l, err
		}
		return s.FindLink(ctx, s.shareUUID(l.Tail, l.Head))
	}
	if l.UUID == "" {
		l.UUID = s.newUUID("o0j2j")
	}
	if l.Properties == nil {
		l.Properties = json.RawMessage(`{}`)
	}
	if err := s.applyAll(ctx); err != nil { // the head may have been made just now
		return l, err
	}
	err := s.write(ctx, func(w *writer) error {
		if _, err := readRow(w, l.Head); err != nil {
			return err
		}
		_, err := w.exec(`INSERT INTO link (uuid, class, name, head, tail, owner, properties, created, modified) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)
			ON CONFLICT DO UPDATE SET name = ?3, properties = ?7, modified = ?8`,
			l.UUID, l.Class, l.Name, l.Head, l.Tail, l.Owner, string(l.Properties), nanos(s.now()))
		return err
	})
	if err != nil {
		return l, err
	}
	return s.FindLink(ctx, l.UUID)
}

// DeleteLink deletes a link; a permission is taken back with it.
func (s *Store) DeleteLink(ctx context.Context, l query.Link) error {
	if l.Class == query.PermissionLink {
		return s.Revoke(ctx, l.Tail, l.Head)
	}
	return s.write(ctx, func(w *writer) error {
		_, err := w.exec(`DELETE FROM link WHERE uuid = ?`, l.UUID)
		return err
	})
}
