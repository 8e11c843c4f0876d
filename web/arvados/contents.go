package arvados

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"keepdav/collfs"
	"keepdav/collfs/query"
)

// contents lists what lies in a project, or in a user's home: projects first, then
// collections, each in the order that is asked for.
func (g *groups) contents(ctx context.Context, req *Request) (any, error) {
	scope := req.ReadScope()
	if req.UUID != "" {
		if err := g.mayList(ctx, req); err != nil {
			return nil, err
		}
		scope.Readers = nil // who may read a project may read all that is in it
		if req.Params.Bool("recursive") {
			scope.Below = req.UUID
		} else {
			scope.In = req.UUID
		}
	}
	q, ask, err := req.contentsQuery()
	if err != nil {
		return nil, err
	}
	selected, err := req.Select(nil)
	if err != nil {
		return nil, err
	}
	list := contentsList{g: g, req: req, q: q, scope: scope, selected: selected, items: []Item{}}
	for i, add := range []func(context.Context, *query.Query) error{list.addProjects, list.addCollections} {
		if ask[i] == nil {
			continue
		}
		if err := add(ctx, ask[i]); err != nil {
			return nil, err
		}
	}
	body := map[string]any{"kind": "arvados#objectList", "items": list.items, "offset": q.Offset, "limit": q.Limit}
	if q.Count {
		body["items_available"] = list.available
	}
	body["included"], err = g.included(ctx, req, list.owners)
	return body, err
}

// mayList checks that the maker of a request may see what is in a project or home.
func (g *groups) mayList(ctx context.Context, req *Request) error {
	if kind := query.KindOf(string(req.UUID)); kind != "arvados#group" && kind != "arvados#user" {
		return notFound()
	}
	ok, err := g.readable(ctx, req, req.UUID)
	if err == nil && !ok {
		err = notFound()
	}
	if err != nil {
		return err
	}
	e, err := g.conf.Folders.Entry(ctx, req.UUID)
	if err == nil && (e.Project == nil || !e.Project.TrashAt.IsZero() && !req.Params.Bool("include_trash")) {
		err = notFound()
	}
	return err
}

// A contentsList is a list of projects and collections in the making.
type contentsList struct {
	g        *groups
	req      *Request
	q        query.Query // of all
	scope    query.Scope
	selected []string

	items     []Item
	owners    []collfs.UUID
	available int // of what was added so far, if it was counted
}

// page is where the page of a part begins and how long it may be.
func (l *contentsList) page(ask *query.Query) {
	ask.Offset, ask.Limit = max(0, l.q.Offset-l.available), l.q.Limit-len(l.items)
	ask.Count = l.q.Count
}

func (l *contentsList) addProjects(ctx context.Context, ask *query.Query) error {
	l.page(ask)
	ask.Count = ask.Count || l.q.Offset > 0 // the collections begin after them
	rows, n, err := l.g.conf.Projects.QueryProjects(ctx, *ask, l.scope)
	if err != nil {
		return err
	}
	l.available += n
	for _, p := range rows {
		i, err := l.g.item(ctx, l.req, p)
		if err != nil {
			return err
		}
		l.items = append(l.items, i.Selected(l.selected))
		l.owners = append(l.owners, p.Owner)
	}
	return nil
}

func (l *contentsList) addCollections(ctx context.Context, ask *query.Query) error {
	l.page(ask)
	rows, n, err := l.g.conf.Records.QueryCollections(ctx, *ask, l.scope)
	if err == nil && wants(l.selected, "portable_data_hash", true) {
		err = l.g.conf.Records.FillPDH(ctx, rows)
	}
	if err != nil {
		return err
	}
	l.available += n
	for _, c := range rows {
		l.items = append(l.items, CollectionItem(c, l.g.api.Now()).WithETag().Selected(l.selected))
		l.owners = append(l.owners, c.Owner)
	}
	return nil
}

// contentsQuery returns what a request for contents asks for, and what of that is
// for projects and for collections: nil if none of them can match.
func (req *Request) contentsQuery() (q query.Query, ask [2]*query.Query, err error) {
	any := maps.Clone(query.CollectionAttrs)
	maps.Copy(any, query.ProjectAttrs)
	// The filters are of two kinds, and of both.
	all := *req
	all.Params = maps.Clone(req.Params)
	delete(all.Params, "filters")
	if q, err = all.Query(any); err != nil {
		return q, ask, err
	}
	q.Distinct = false // no two records are the same
	for i, kind := range []struct {
		table string
		attrs query.Attrs
	}{{"groups", query.ProjectAttrs}, {"collections", query.CollectionAttrs}} {
		filters, possible, err := req.filtersOf(kind.table, kind.attrs, any)
		if err != nil {
			return q, ask, err
		}
		if !possible {
			continue
		}
		one := query.Query{Filters: filters}
		for _, o := range q.Order {
			if kind.attrs[o.Attr] != 0 {
				one.Order = append(one.Order, o)
			}
		}
		if req.Params.Bool("exclude_home_project") {
			one.Filters = append(one.Filters, query.Filter{Attr: "owner_uuid", Type: query.Text, Op: query.NotEqual, Operand: string(req.User.UUID)})
		}
		ask[i] = &one
	}
	return q, ask, nil
}

// filtersOf returns the filters that are for one kind of record: those that name its
// table, and those that name none. possible is false if one names an attribute that
// only the other kind has: then no record of this kind is meant.
func (req *Request) filtersOf(table string, attrs, any query.Attrs) (filters []query.Filter, possible bool, err error) {
	text := req.Params.Text("filters")
	if text == nil {
		return nil, true, nil
	}
	if err := checkValues(text); err != nil {
		return nil, false, err
	}
	var all []json.RawMessage
	if json.Unmarshal(text, &all) != nil {
		return nil, false, fmt.Errorf("%w: filters must be an array", query.ErrInvalid)
	}
	mine := []json.RawMessage{}
	for _, raw := range all {
		var parts []json.RawMessage
		var attr string
		if json.Unmarshal(raw, &parts) != nil || len(parts) == 0 || json.Unmarshal(parts[0], &attr) != nil {
			mine = append(mine, raw) // which is found to be malformed
			continue
		}
		head, rest, dotted := strings.Cut(attr, ".")
		if dotted && attrs[head] == 0 && any[head] == 0 {
			switch head {
			case table:
				parts[0], _ = json.Marshal(rest) // a string is no trouble
				raw, _ = json.Marshal(parts)
			case "groups", "collections":
				continue
			}
		} else if attrs[head] == 0 && any[head] != 0 {
			return nil, false, nil
		}
		mine = append(mine, raw)
	}
	text, err = json.Marshal(mine)
	if err != nil {
		return nil, false, err
	}
	filters, err = query.ReadFilters(text, attrs)
	return filters, true, err
}
