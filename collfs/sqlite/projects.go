package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"keepdav/collfs"
	"keepdav/collfs/query"
)

const (
	projectRows = `SELECT r.uuid AS uuid, r.uuid AS current, r.owner AS owner, r.name AS name, nullif(r.description, '') AS description,
		cast(r.properties AS TEXT) AS properties, r.created AS created, r.modified AS modified,
		nullif(iif(r.trash_at <> 0, r.trash_at, coalesce(c.trash_due, 0)), 0) AS trash, nullif(iif(r.trash_at <> 0, r.delete_at, coalesce(c.delete_due, 0)), 0) AS del,
		nullif(c.modified_by, '') AS modified_by
		FROM record r LEFT JOIN api_collection c ON c.uuid = r.uuid WHERE r.kind = 2 AND r.kind <> 1` // for the index of projects
	projectRow = `uuid, owner, name, coalesce(description, ''), properties, created, modified, coalesce(trash, 0), coalesce(del, 0), coalesce(modified_by, '')`
)

// projectColumns has the columns of the attributes that queries for projects may name.
var projectColumns = map[string]string{
	"uuid": "uuid", "owner_uuid": "owner", "name": "name", "description": "description", "properties": "properties", "group_class": "'project'",
	"frozen_by_uuid": "NULL", "created_at": "created", "modified_at": "modified", "trash_at": "trash", "delete_at": "del",
	"is_trashed": "(trash IS NOT NULL AND trash <= :now)", "modified_by_user_uuid": "modified_by",
}

func scanProject(row scanner) (query.Project, error) {
	var p query.Project
	var props sql.NullString
	var created, modified, trash, del int64
	err := row.Scan(&p.UUID, &p.Owner, &p.Name, &p.Description, &props, &created, &modified, &trash, &del, &p.ModifiedBy)
	if props.Valid {
		p.Properties = json.RawMessage(props.String)
	}
	p.CreatedAt, p.ModifiedAt, p.TrashAt, p.DeleteAt = timeOf(created), timeOf(modified), timeOf(trash), timeOf(del)
	return p, err
}

// QueryProjects returns the projects that a query asks for, as far as scope goes, and,
// if the query counts, how many there are in all. Distinct is left to the caller.
func (s *Store) QueryProjects(ctx context.Context, q query.Query, scope query.Scope) (rows []query.Project, available int, err error) {
	if err := s.applyAll(ctx); err != nil {
		return nil, 0, err
	}
	text := projectRows
	if !scope.Trash {
		text += notInTrash
	}
	from, args, err := s.selectionOf(text, projectColumns, q.Filters, scope)
	if err != nil {
		return nil, 0, err
	}
	order, err := orderBy(projectColumns, q.Order, "modified DESC, uuid")
	if err != nil {
		return nil, 0, err
	}
	available, err = s.page(ctx, q, from, projectRow, order, args, func(row scanner) error {
		p, err := scanProject(row)
		rows = append(rows, p)
		return err
	})
	return rows, available, err
}

// page calls each for the rows of a page of a query, and counts all if it is to.
func (s *Store) page(ctx context.Context, q query.Query, from func(columns string) string, columns, order string, args []any, each func(scanner) error) (available int, err error) {
	err = s.readers.snapshot(ctx, func(r snapshot) error {
		if q.Count {
			if err := r.c.conn.QueryRowContext(ctx, from(`count(*)`), args...).Scan(&available); err != nil {
				return err
			}
		}
		if q.Limit == 0 {
			return nil
		}
		text := from(columns) + order + " LIMIT :limit OFFSET :offset"
		return eachRow(each)(r.c.conn.QueryContext(ctx, text, append(args, sql.Named("limit", q.Limit), sql.Named("offset", q.Offset))...))
	})
	return available, err
}

// FindProject returns a project by its UUID; a home is none.
func (s *Store) FindProject(ctx context.Context, id collfs.UUID) (query.Project, error) {
	if err := s.applyAll(ctx); err != nil {
		return query.Project{}, err
	}
	p, err := scanProject(s.readers.row(ctx, `SELECT `+projectRow+` FROM (`+projectRows+`) WHERE uuid = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return p, noRecord(id)
	}
	return p, storageError(err)
}
