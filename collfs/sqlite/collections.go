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
	"slices"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/query"
)

// versionUUID returns the UUID of a version of a collection. It is always the same
// for one store, and nobody but it knows which version it is.
func (s *Store) versionUUID(id collfs.UUID, version int64) collfs.UUID {
	h := sha256.New()
	fmt.Fprintf(h, "version %s %d ", id, version)
	h.Write(s.meta.Secret)
	text := strings.Repeat("0", 15) + new(big.Int).SetBytes(h.Sum(nil)).Text(36)
	return collfs.UUID(s.meta.Cluster + "-4zz18-" + text[len(text)-15:])
}

// nameVersions gives UUIDs to versions of a store from before they had any.
func (s *Store) nameVersions() error {
	type version struct {
		id collfs.UUID
		n  int64
	}
	var all []version
	err := s.writer.query(func(row scanner) error {
		var v version
		err := row.Scan(&v.id, &v.n)
		all = append(all, v)
		return err
	}, `SELECT collection, version FROM version WHERE uuid = ''`)
	if err != nil || len(all) == 0 {
		return storageError(err)
	}
	return s.writer.tx(func() error {
		for _, v := range all {
			if _, err := s.writer.exec(`UPDATE version SET uuid = ? WHERE collection = ? AND version = ?`, s.versionUUID(v.id, v.n), v.id, v.n); err != nil {
				return err
			}
		}
		return nil
	})
}

// Of a collection in the trash the time is that of the record, else the one that
// is to come.
const (
	apiColumns = `r.owner AS owner, r.name AS name, nullif(r.description, '') AS description, cast(r.properties AS TEXT) AS properties, r.created AS created,
		nullif(iif(r.trash_at <> 0, r.trash_at, coalesce(c.trash_due, 0)), 0) AS trash, nullif(iif(r.trash_at <> 0, r.delete_at, coalesce(c.delete_due, 0)), 0) AS del,
		nullif(c.modified_by, '') AS modified_by, coalesce(c.preserve, 0) AS preserve, nullif(c.replication, 0) AS replication, c.classes AS classes`
	presentRows = `SELECT r.uuid AS uuid, r.uuid AS current, r.version AS version, r.revision AS revision, r.files AS files, r.bytes AS bytes, r.modified AS modified,
		iif(r.pdh_revision = r.revision, r.pdh, '') AS pdh, ` + apiColumns + `
		FROM record r LEFT JOIN api_collection c ON c.uuid = r.uuid WHERE r.kind = 1`
	versionRows = `SELECT v.uuid AS uuid, v.collection AS current, v.version AS version, v.revision AS revision, v.files AS files, v.bytes AS bytes, v.modified AS modified,
		v.pdh AS pdh, ` + apiColumns + `
		FROM version v JOIN record r ON r.uuid = v.collection LEFT JOIN api_collection c ON c.uuid = r.uuid`
	rowColumns = `uuid, current, version, revision, files, bytes, modified, pdh, owner, name, coalesce(description, ''), properties, created,
		coalesce(trash, 0), coalesce(del, 0), coalesce(modified_by, ''), preserve, coalesce(replication, 0), classes`
)

func scanCollection(row scanner) (query.Collection, error) {
	var c query.Collection
	var props, classes sql.NullString
	var modified, created, trash, del int64
	err := row.Scan(&c.UUID, &c.Current, &c.Version, &c.Revision, &c.Files, &c.Bytes, &modified, &c.PDH, &c.Owner, &c.Name, &c.Description, &props, &created,
		&trash, &del, &c.ModifiedBy, &c.Preserve, &c.Replication, &classes)
	if props.Valid {
		c.Properties = json.RawMessage(props.String)
	}
	if err == nil && classes.Valid {
		err = json.Unmarshal([]byte(classes.String), &c.Classes)
	}
	c.ModifiedAt, c.CreatedAt, c.TrashAt, c.DeleteAt = timeOf(modified), timeOf(created), timeOf(trash), timeOf(del)
	return c, err
}

// columnOf has the columns of the attributes that queries may name.
var columnOf = map[string]string{
	"uuid": "uuid", "current_version_uuid": "current", "owner_uuid": "owner", "name": "name", "description": "description", "properties": "properties",
	"version": "version", "portable_data_hash": "pdh", "file_count": "files", "file_size_total": "bytes",
	"created_at": "created", "modified_at": "modified", "trash_at": "trash", "delete_at": "del", "is_trashed": "(trash IS NOT NULL AND trash <= :now)",
	"modified_by_user_uuid": "modified_by", "preserve_version": "preserve", "replication_desired": "replication", "storage_classes_desired": "classes",
}

// applyAll waits until what is committed is applied.
func (s *Store) applyAll(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.waitApplied(ctx, s.journal.Last())
}

// QueryCollections returns the collections that a query asks for, as far as scope
// goes, and, if the query counts, how many there are in all. Distinct is left to the
// caller. A portable data hash that nobody has asked for yet is "", but for a query
// that filters by it: then those that are pending are computed first.
func (s *Store) QueryCollections(ctx context.Context, q query.Query, scope query.Scope) (rows []query.Collection, available int, err error) {
	if slices.ContainsFunc(q.Filters, func(f query.Filter) bool { return f.Attr == "portable_data_hash" }) {
		if err := s.computePending(ctx, q, scope); err != nil {
			return nil, 0, err
		}
	}
	if err := s.applyAll(ctx); err != nil {
		return nil, 0, err
	}
	from, args, err := s.selection(q.Filters, scope)
	if err != nil {
		return nil, 0, err
	}
	err = s.readers.snapshot(ctx, func(r snapshot) error {
		if q.Count {
			row := r.c.conn.QueryRowContext(ctx, from(`count(*)`), args...)
			if err := row.Scan(&available); err != nil {
				return err
			}
		}
		if q.Limit == 0 {
			return nil
		}
		order, err := orderBy(columnOf, q.Order, "modified DESC, uuid")
		if err != nil {
			return err
		}
		args = append(args, sql.Named("limit", q.Limit), sql.Named("offset", q.Offset))
		// What is sorted is the UUIDs alone: whole rows would be copied around.
		var ids []collfs.UUID
		err = eachRow(func(row scanner) error {
			var id collfs.UUID
			err := row.Scan(&id)
			ids = append(ids, id)
			return err
		})(r.c.conn.QueryContext(ctx, from(`uuid`)+order+" LIMIT :limit OFFSET :offset", args...))
		if err == nil {
			rows, err = collectionsOf(r, ids, scope.Old)
		}
		return err
	})
	return rows, available, err
}

// collectionsOf returns the collections, and versions if old, with some UUIDs, in that order.
func collectionsOf(q snapshot, ids []collfs.UUID, old bool) ([]query.Collection, error) {
	list, err := json.Marshal(ids)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	at := make(map[collfs.UUID]int, len(ids))
	for i, id := range ids {
		at[id] = i
	}
	rows := make([]query.Collection, len(ids))
	read := func(text string) error {
		return q.query(func(row scanner) error {
			c, err := scanCollection(row)
			if i, ok := at[c.UUID]; ok && err == nil {
				rows[i] = c
			}
			return err
		}, `SELECT `+rowColumns+` FROM (`+text+`) WHERE uuid IN (SELECT value FROM json_each(?))`, string(list))
	}
	if err = read(presentRows); err == nil && old {
		err = read(versionRows)
	}
	return rows, err
}

// selection returns what selects columns of the collections in question. The text differs
// from query to query: it is not to be kept prepared.
func (s *Store) selection(filters []query.Filter, scope query.Scope) (from func(columns string) string, args []any, err error) {
	live := ""
	if !scope.Trash {
		// The index of names is of use to who asks for a name in a project, and only to
		// them: the plus sign hides it from others, for whom it is a detour.
		hide := "+"
		if asks(filters, "name") && (asks(filters, "owner_uuid") || scope.In != "") {
			hide = ""
		}
		live = ` AND ` + hide + `r.trash_at = 0 AND r.uuid NOT IN (SELECT uuid FROM api_collection WHERE trash_due <> 0 AND trash_due <= :now)`
		scope.Trash = true
	}
	rows := presentRows + live
	if scope.Old {
		rows += " UNION ALL " + versionRows + " WHERE 1" + live
	}
	return s.selectionOf(rows, columnOf, filters, scope)
}

// asks reports whether filters want an attribute to be equal to something.
func asks(filters []query.Filter, attr string) bool {
	return slices.ContainsFunc(filters, func(f query.Filter) bool { return f.Attr == attr && f.Op == query.Equal && f.Operand != nil })
}

// notInTrash goes with the condition on column trash: there is an index for it.
const notInTrash = ` AND r.trash_at = 0`

// selectionOf is selection among rows that have columns current, owner and trash.
func (s *Store) selectionOf(rows string, columns map[string]string, filters []query.Filter, scope query.Scope) (from func(columns string) string, args []any, err error) {
	b := sqlBuilder{columns: columns, args: []any{sql.Named("now", nanos(s.now()))}}
	var with []string
	where := []string{"1"}
	if scope.Readers != nil {
		readers, err := json.Marshal(scope.Readers)
		if err != nil {
			return nil, nil, err
		}
		b.args = append(b.args, sql.Named("readers", string(readers)))
		with = append(with, `readable(id) AS (SELECT value FROM json_each(:readers)
			UNION SELECT target FROM share WHERE level >= 1 AND user IN (SELECT value FROM json_each(:readers))
			UNION SELECT p.uuid FROM record p JOIN readable ON p.owner = readable.id WHERE p.kind <> 1)`)
		if scope.SharedWith == "" {
			where = append(where, `(owner IN (SELECT id FROM readable) OR current IN (SELECT id FROM readable))`)
		} else { // nothing else can be at the top of what is shared
			const shares = `(SELECT target FROM share WHERE level >= 1 AND user IN (SELECT value FROM json_each(:readers))`
			where = append(where, `(current IN `+shares+`) OR owner IN `+shares+` AND substr(target, 7, 5) = 'tpzed'))`)
		}
	}
	if scope.In != "" {
		where = append(where, `owner = `+b.arg(string(scope.In)))
	}
	if scope.Below != "" {
		present := ` AND p.trash_at = 0`
		if scope.Trash {
			present = ""
		}
		with = append(with, `below(id) AS (SELECT `+b.arg(string(scope.Below))+`
			UNION SELECT p.uuid FROM record p JOIN below ON p.owner = below.id WHERE p.kind <> 1`+present+`)`)
		where = append(where, `owner IN (SELECT id FROM below)`)
	}
	if scope.SharedWith != "" {
		top := `owner <> ` + b.arg(string(scope.SharedWith)) + ` AND (substr(owner, 7, 5) = 'tpzed'`
		if scope.Readers != nil {
			top += ` OR owner NOT IN (SELECT id FROM readable)`
		}
		where = append(where, top+`)`)
	}
	if !scope.Trash {
		where = append(where, `(trash IS NULL OR trash > :now)`)
	}
	for _, f := range filters {
		text, err := b.filter(f)
		if err != nil {
			return nil, nil, err
		}
		where = append(where, text)
	}
	recursive := ""
	if len(with) > 0 {
		recursive = `WITH RECURSIVE ` + strings.Join(with, ", ") + ` `
	}
	return func(columns string) string {
		return recursive + `SELECT ` + columns + ` FROM (` + rows + `) WHERE ` + strings.Join(where, " AND ")
	}, b.args, nil
}

// orderBy is the part of a text that sorts as a query says.
func orderBy(columns map[string]string, orders []query.Order, without string) (string, error) {
	var list []string
	for _, o := range orders {
		column := columns[o.Attr]
		switch {
		case column == "":
			return "", fmt.Errorf("order by %q: %w", o.Attr, fs.ErrInvalid)
		case o.Desc:
			column += " DESC NULLS FIRST"
		case column != "uuid" && column != "id": // which have an index
			column += " ASC NULLS LAST"
		}
		list = append(list, column)
	}
	if len(list) == 0 {
		list = []string{without}
	}
	return " ORDER BY " + strings.Join(list, ", "), nil
}

// A sqlBuilder collects the arguments of a text.
type sqlBuilder struct {
	columns map[string]string // of attributes
	args    []any
}

func (b *sqlBuilder) arg(v any) string {
	name := fmt.Sprintf("p%d", len(b.args))
	b.args = append(b.args, sql.Named(name, sqlValue(v)))
	return ":" + name
}

// sqlValue is an operand as the database has such values.
func sqlValue(v any) any {
	switch x := v.(type) {
	case time.Time:
		return nanos(x)
	case bool:
		if x {
			return 1
		}
		return 0
	case float64:
		if x == float64(int64(x)) {
			return int64(x)
		}
	}
	return v
}

// filter returns the condition that f is.
func (b *sqlBuilder) filter(f query.Filter) (string, error) {
	column := b.columns[f.Attr]
	if column == "" {
		return "", fmt.Errorf("filter by %q: %w", f.Attr, fs.ErrInvalid)
	}
	if f.Key != "" {
		return b.property(f)
	}
	switch f.Op {
	case query.Contains:
		return `EXISTS (SELECT 1 FROM json_each(coalesce(` + column + `, '["default"]')) WHERE value = ` + b.arg(f.Operand) + `)`, nil
	case query.IsA:
		list, _ := f.Operand.([]any)
		infixes := make([]any, 0, len(list))
		for _, k := range list {
			kind, _ := k.(string)
			infixes = append(infixes, query.Infix(kind))
		}
		text, err := b.list(infixes)
		return `substr(` + column + `, 7, 5) IN ` + text, err
	}
	return b.compare(column, f)
}

// compare is the condition of f on an expression.
func (b *sqlBuilder) compare(expr string, f query.Filter) (string, error) {
	switch f.Op {
	case query.Equal:
		if f.Operand == nil {
			return expr + ` IS NULL`, nil
		}
		return expr + ` = ` + b.arg(f.Operand), nil
	case query.NotEqual:
		if f.Operand == nil {
			return expr + ` IS NOT NULL`, nil
		}
		return expr + ` IS NOT ` + b.arg(f.Operand), nil
	case query.Less, query.LessOrEqual, query.Greater, query.GreaterOrEqual:
		return expr + ` ` + f.Op + ` ` + b.arg(f.Operand), nil
	case query.Like:
		pattern, _ := f.Operand.(string)
		return expr + ` GLOB ` + b.arg(globOf(pattern)), nil
	case query.ILike:
		return expr + ` LIKE ` + b.arg(f.Operand) + ` ESCAPE '\'`, nil
	case query.In, query.NotIn:
		return b.in(expr, f)
	}
	return "", fmt.Errorf("filter with %q: %w", f.Op, fs.ErrInvalid)
}

func (b *sqlBuilder) in(expr string, f query.Filter) (string, error) {
	list, _ := f.Operand.([]any)
	values := slices.DeleteFunc(slices.Clone(list), func(v any) bool { return v == nil })
	null := len(values) < len(list)
	text, err := b.list(values)
	switch {
	case f.Op == query.In && null:
		return `(` + expr + ` IN ` + text + ` OR ` + expr + ` IS NULL)`, err
	case f.Op == query.In:
		return expr + ` IN ` + text, err
	case null:
		return `(` + expr + ` NOT IN ` + text + ` AND ` + expr + ` IS NOT NULL)`, err
	}
	return `(` + expr + ` NOT IN ` + text + ` OR ` + expr + ` IS NULL)`, err
}

// list makes one argument of many values.
func (b *sqlBuilder) list(values []any) (string, error) {
	plain := make([]any, len(values))
	for i, v := range values {
		plain[i] = sqlValue(v)
	}
	text, err := json.Marshal(plain)
	return `(SELECT value FROM json_each(` + b.arg(string(text)) + `))`, err
}

// property is the condition of f on a member of the properties.
func (b *sqlBuilder) property(f query.Filter) (string, error) {
	key := b.arg(f.Key)
	member := func(condition string) string {
		return `EXISTS (SELECT 1 FROM json_each(properties) j WHERE j.key = ` + key + ` AND ` + condition + `)`
	}
	switch f.Op {
	case query.Exists:
		if f.Operand == true {
			return member(`1`), nil
		}
		return `NOT ` + member(`1`), nil
	case query.Contains:
		if f.Operand == nil {
			return `0`, nil
		}
		v := b.arg(f.Operand)
		return member(`iif(j.type = 'array', EXISTS (SELECT 1 FROM json_each(j.value) k WHERE k.value = ` + v + `), j.value = ` + v + `)`), nil
	case query.Less, query.LessOrEqual, query.Greater, query.GreaterOrEqual:
		types := `('integer', 'real')`
		switch f.Operand.(type) {
		case string:
			types = `('text')`
		case nil:
			return `0`, nil
		}
		return member(`j.type IN ` + types + ` AND j.value ` + f.Op + ` ` + b.arg(f.Operand)), nil
	}
	return b.compare(`(SELECT j.value FROM json_each(properties) j WHERE j.key = `+key+`)`, f)
}

// globOf makes a pattern of GLOB, which minds the case, of one of LIKE.
func globOf(like string) string {
	var out strings.Builder
	escaped := false
	for _, r := range like {
		switch {
		case !escaped && r == '\\':
			escaped = true
			continue
		case !escaped && r == '%':
			out.WriteByte('*')
		case !escaped && r == '_':
			out.WriteByte('?')
		case r == '*' || r == '?' || r == '[':
			out.WriteString("[" + string(r) + "]")
		default:
			out.WriteRune(r)
		}
		escaped = false
	}
	return out.String()
}

// computePending computes the data hashes that a query by them depends on.
func (s *Store) computePending(ctx context.Context, q query.Query, scope query.Scope) error {
	rest := slices.DeleteFunc(slices.Clone(q.Filters), func(f query.Filter) bool { return f.Attr == "portable_data_hash" })
	rest = append(rest, query.Filter{Attr: "portable_data_hash", Type: query.Text, Op: query.Equal, Operand: ""})
	pending, _, err := s.QueryPending(ctx, rest, scope)
	for _, c := range pending {
		if err == nil {
			_, err = s.hashOf(ctx, c)
		}
	}
	return err
}

// QueryPending returns the collections that filters select and that have no data
// hash yet.
func (s *Store) QueryPending(ctx context.Context, filters []query.Filter, scope query.Scope) (rows []query.Collection, n int, err error) {
	if err := s.applyAll(ctx); err != nil {
		return nil, 0, err
	}
	from, args, err := s.selection(filters, scope)
	if err != nil {
		return nil, 0, err
	}
	err = s.readers.snapshot(ctx, func(r snapshot) error {
		return eachRow(func(row scanner) error {
			c, err := scanCollection(row)
			rows = append(rows, c)
			return err
		})(r.c.conn.QueryContext(ctx, from(rowColumns), args...))
	})
	return rows, len(rows), err
}

// hashOf returns the portable data hash of a collection or a version of one. One
// that is gone meanwhile has none.
func (s *Store) hashOf(ctx context.Context, c query.Collection) (collfs.PDH, error) {
	version := 0
	if c.Old() {
		version = c.Version
	}
	pdh, err := s.PDH(ctx, c.Current, version)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return pdh, err
}

// FillPDH computes the data hashes that rows lack. They are those of the rows'
// revisions only if nothing was committed meanwhile.
func (s *Store) FillPDH(ctx context.Context, rows []query.Collection) error {
	for i := range rows {
		if rows[i].PDH != "" {
			continue
		}
		pdh, err := s.hashOf(ctx, rows[i])
		if err != nil {
			return err
		}
		rows[i].PDH = pdh
	}
	return nil
}

// FindCollection returns a collection by its UUID, or an old version by its own.
func (s *Store) FindCollection(ctx context.Context, id collfs.UUID) (query.Collection, error) {
	if err := s.applyAll(ctx); err != nil {
		return query.Collection{}, err
	}
	for _, text := range []string{
		`SELECT ` + rowColumns + ` FROM (` + presentRows + `) WHERE uuid = ?`,
		`SELECT ` + rowColumns + ` FROM (` + versionRows + `) WHERE uuid = ?`,
	} {
		c, err := scanCollection(s.readers.row(ctx, text, id))
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return c, storageError(err)
		}
	}
	return query.Collection{}, noRecord(id)
}

// ChangeCollection changes what only the API shows of a collection.
func (s *Store) ChangeCollection(ctx context.Context, id collfs.UUID, ch query.CollectionChange) error {
	if err := s.applyAll(ctx); err != nil { // it may have been created just now
		return err
	}
	return s.write(ctx, func(w *writer) error {
		if _, err := readRow(w, id); err != nil {
			return err
		}
		_, err := w.exec(`INSERT INTO api_collection (uuid) VALUES (?) ON CONFLICT DO NOTHING`, id)
		set := func(column string, value any) {
			if err == nil {
				_, err = w.exec(`UPDATE api_collection SET `+column+` = ? WHERE uuid = ?`, value, id)
			}
		}
		if ch.ModifiedBy != nil {
			set("modified_by", *ch.ModifiedBy)
		}
		if ch.Preserve != nil {
			set("preserve", sqlValue(*ch.Preserve))
		}
		if ch.Replication != nil {
			set("replication", *ch.Replication)
		}
		if ch.Classes != nil {
			var text any
			if *ch.Classes != nil {
				list, merr := json.Marshal(*ch.Classes)
				if err = errors.Join(err, merr); err == nil {
					text = string(list)
				}
			}
			set("classes", text)
		}
		if ch.TrashAt != nil {
			set("trash_due", nanos(*ch.TrashAt))
		}
		if ch.DeleteAt != nil {
			set("delete_due", nanos(*ch.DeleteAt))
		}
		return err
	})
}

// TrashDue puts in the trash what was to be by now.
func (s *Store) TrashDue(ctx context.Context, now time.Time) error {
	var ids []collfs.UUID
	err := s.readers.query(ctx, func(row scanner) error {
		var id collfs.UUID
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT c.uuid FROM api_collection c JOIN record r ON r.uuid = c.uuid WHERE c.trash_due <> 0 AND c.trash_due <= ? AND r.trash_at = 0`, nanos(now))
	if err != nil {
		return storageError(err)
	}
	var errs []error
	never := time.Time{}
	for _, id := range ids {
		_, err := s.Commit(ctx, collfs.Tx{Durable: true, Records: []collfs.RecordOp{{Kind: collfs.Trash, UUID: id}}})
		if err == nil {
			err = s.ChangeCollection(ctx, id, query.CollectionChange{TrashAt: &never, DeleteAt: &never})
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
