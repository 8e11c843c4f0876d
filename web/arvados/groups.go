package arvados

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/query"
	"keepdav/davfs"
)

// ProjectRecords is what a catalog knows of projects for the API. The errors are
// those of collfs.Catalog.
type ProjectRecords interface {
	// QueryProjects returns the projects that q asks for, as far as scope goes, and, if q
	// counts, how many there are in all.
	QueryProjects(ctx context.Context, q query.Query, scope query.Scope) ([]query.Project, int, error)
	FindProject(ctx context.Context, id collfs.UUID) (query.Project, error)
}

// Groups is what the endpoints of projects work with.
type Groups struct {
	Catalog  collfs.Catalog // all changes of records go through it
	Folders  collfs.Folders
	Projects ProjectRecords
	Records  Records // of collections, for contents; and who has changed what
}

// groups are the endpoints of projects, which Arvados calls groups of class project.
// There are no groups of other classes.
type groups struct {
	conf Groups
	api  *API
}

// AddGroups adds the endpoints of projects.
func (a *API) AddGroups(conf Groups) {
	g := &groups{conf, a}
	const path, one = "groups", "groups/{uuid}"
	for _, e := range []Endpoint{
		{Method: http.MethodGet, Path: "groups/shared", Do: g.shared},
		{Method: http.MethodGet, Path: "groups/contents", Do: g.contents},
		{Method: http.MethodGet, Path: one + "/contents", Do: g.contents},
		{Method: http.MethodGet, Path: path, Do: g.list},
		{Method: http.MethodPost, Path: path, Do: g.create},
		{Method: http.MethodGet, Path: one, Do: g.get},
		{Method: http.MethodPatch, Path: one, Do: g.update},
		{Method: http.MethodDelete, Path: one, Do: g.trash},
		{Method: http.MethodPost, Path: one + "/trash", Do: g.trash},
		{Method: http.MethodPost, Path: one + "/untrash", Do: g.untrash},
	} {
		e.Record = "group"
		a.Add(e)
	}
}

// groupAttrs are what selects and filters may name.
var groupAttrs = func() query.Attrs {
	all := maps.Clone(query.ProjectAttrs)
	for _, a := range []string{"can_write", "can_manage", "writable_by"} {
		all[a] = query.Text
	}
	return all
}()

// item shows a project to the maker of a request.
func (g *groups) item(ctx context.Context, req *Request, p query.Project) (Item, error) {
	level, err := g.level(ctx, req.User.UUID, p.UUID)
	if err != nil {
		return nil, err
	}
	i := Item{
		"kind": "arvados#group", "uuid": p.UUID, "owner_uuid": p.Owner, "name": p.Name, "description": nil, "properties": map[string]any{},
		"group_class": "project", "created_at": Time(p.CreatedAt), "modified_at": Time(p.ModifiedAt), "modified_by_user_uuid": p.ModifiedBy,
		"trash_at": Time(p.TrashAt), "delete_at": Time(p.DeleteAt), "is_trashed": p.Trashed(g.api.Now()), "frozen_by_uuid": nil,
		"can_write": level >= collfs.CanWrite, "can_manage": level >= collfs.CanManage, "writable_by": []collfs.UUID{p.Owner},
	}
	if level >= collfs.CanWrite {
		i["writable_by"] = []collfs.UUID{p.Owner, req.User.UUID}
	}
	if p.Description != "" {
		i["description"] = p.Description
	}
	if len(p.Properties) > 0 {
		i["properties"] = p.Properties
	}
	if p.ModifiedBy == "" { // by a drive: it is the owner, if that is a user
		i["modified_by_user_uuid"] = g.api.systemUser()
		if isUser(p.Owner) {
			i["modified_by_user_uuid"] = p.Owner
		}
	}
	return i.WithETag(), nil
}

func isUser(id collfs.UUID) bool { return query.KindOf(string(id)) == "arvados#user" }

// level returns what a user may do with a record; with one that is not there, nothing.
func (g *groups) level(ctx context.Context, user, id collfs.UUID) (collfs.Level, error) {
	level, err := g.conf.Folders.Access(ctx, user, id)
	if errors.Is(err, fs.ErrNotExist) {
		return collfs.NoAccess, nil
	}
	return level, err
}

// readable says whether a request is made for somebody who may read a record.
func (g *groups) readable(ctx context.Context, req *Request, id collfs.UUID) (bool, error) {
	for _, user := range req.Readers() {
		level, err := g.level(ctx, user, id)
		if err != nil || level >= collfs.CanRead {
			return err == nil, err
		}
	}
	return false, nil
}

// find returns the project that a request is about, if its maker may do with it what need says.
func (g *groups) find(ctx context.Context, req *Request, need collfs.Level, trash bool) (query.Project, error) {
	if query.KindOf(string(req.UUID)) != "arvados#group" {
		return query.Project{}, notFound()
	}
	p, err := g.conf.Projects.FindProject(ctx, req.UUID)
	if err != nil {
		return p, err
	}
	ok, err := g.readable(ctx, req, p.UUID)
	switch {
	case err != nil:
		return p, err
	case !ok, p.Trashed(g.api.Now()) && !trash:
		return p, notFound()
	case need <= collfs.CanRead:
		return p, nil
	}
	level, err := g.level(ctx, req.User.UUID, p.UUID)
	if err == nil && level < need {
		err = forbidden()
	}
	return p, err
}

// answer is a project after a change, or as it is.
func (g *groups) answer(ctx context.Context, req *Request, id collfs.UUID) (any, error) {
	p, err := g.conf.Projects.FindProject(ctx, id)
	if err != nil {
		return nil, err
	}
	return g.show(ctx, req, p)
}

func (g *groups) show(ctx context.Context, req *Request, p query.Project) (any, error) {
	selected, err := req.Select(groupAttrs)
	if err != nil {
		return nil, err
	}
	i, err := g.item(ctx, req, p)
	if err != nil {
		return nil, err
	}
	return i.Selected(selected), nil
}

func (g *groups) get(ctx context.Context, req *Request) (any, error) {
	p, err := g.find(ctx, req, collfs.CanRead, req.Params.Bool("include_trash"))
	if err != nil {
		return nil, err
	}
	return g.show(ctx, req, p)
}

func (g *groups) list(ctx context.Context, req *Request) (any, error) {
	return g.listIn(ctx, req, req.ReadScope(), nil)
}

// listIn answers a list request from what is in scope; more, if not nil, adds to the answer.
func (g *groups) listIn(ctx context.Context, req *Request, scope query.Scope, more func(body map[string]any, rows []query.Project) error) (any, error) {
	q, err := req.Query(query.ProjectAttrs)
	if err != nil {
		return nil, err
	}
	selected, err := req.Select(groupAttrs)
	if err != nil {
		return nil, err
	}
	ask := q
	if q.Distinct {
		ask.Offset, ask.Limit = 0, maxDistinct
	}
	rows, n, err := g.conf.Projects.QueryProjects(ctx, ask, scope)
	if err != nil {
		return nil, err
	}
	l := List{Kind: "arvados#groupList", Query: q, Available: n}
	for _, p := range rows {
		i, err := g.item(ctx, req, p)
		if err != nil {
			return nil, err
		}
		l.Items = append(l.Items, i.Selected(selected))
	}
	if q.Distinct {
		l.Items = distinct(l.Items)
		l.Available = len(l.Items)
		l.Items = l.Items[min(q.Offset, len(l.Items)):]
		l.Items = l.Items[:min(q.Limit, len(l.Items))]
	}
	body := l.Body()
	if more != nil {
		err = more(body, rows)
	}
	return body, err
}

// shared lists the projects of others that the maker of a request can read and
// reaches through no other project.
func (g *groups) shared(ctx context.Context, req *Request) (any, error) {
	scope := req.ReadScope()
	scope.SharedWith = req.User.UUID
	return g.listIn(ctx, req, scope, func(body map[string]any, rows []query.Project) error {
		owners := make([]collfs.UUID, len(rows))
		for i, p := range rows {
			owners[i] = p.Owner
		}
		var err error
		body["included"], err = g.included(ctx, req, owners)
		return err
	})
}

// included shows the owners of records, if the request wants them: of users whose
// things are shared with its maker the name, of projects those that can be read.
func (g *groups) included(ctx context.Context, req *Request, owners []collfs.UUID) ([]Item, error) {
	items := []Item{}
	if text := string(req.Params.Text("include")); !strings.Contains(text, "owner_uuid") {
		return items, nil
	}
	slices.Sort(owners)
	for _, id := range slices.Compact(owners) {
		if isUser(id) {
			u, err := g.owner(ctx, id)
			if err != nil {
				return nil, err
			}
			if u != nil {
				items = append(items, g.api.userItem(*u, req.User))
			}
			continue
		}
		ok, err := g.readable(ctx, req, id)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		p, err := g.conf.Projects.FindProject(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		i, err := g.item(ctx, req, p)
		if err != nil {
			return nil, err
		}
		items = append(items, i)
	}
	return items, nil
}

// owner returns a user who owns something, nil if there is none any more.
func (g *groups) owner(ctx context.Context, id collfs.UUID) (*collfs.User, error) {
	e, err := g.conf.Folders.Entry(ctx, id)
	if err == nil && e.Project != nil {
		var u collfs.User
		u, err = g.conf.Folders.UserByName(ctx, e.Name)
		if err == nil && u.UUID == id {
			return &u, nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return nil, err
}

// A groupChange is what a request wants of a project.
type groupChange struct {
	Owner      *collfs.UUID               `json:"owner_uuid"`
	Name       *string                    `json:"name"`
	Desc       *string                    `json:"description"`
	Class      *string                    `json:"group_class"`
	Frozen     *string                    `json:"frozen_by_uuid"`
	Trashed    *bool                      `json:"is_trashed"`
	Properties map[string]json.RawMessage `json:"properties"`
	TrashAt    json.RawMessage            `json:"trash_at"`

	props []byte // the text of Properties; nil: not given
}

func (req *Request) groupChange() (ch groupChange, err error) {
	if err := req.decode(&ch); err != nil {
		return ch, err
	}
	switch {
	case ch.Class != nil && *ch.Class != "project":
		return ch, unprocessable("there are groups of class project only")
	case ch.Frozen != nil && *ch.Frozen != "":
		return ch, unprocessable("projects cannot be frozen here")
	case ch.Name != nil:
		err = davfs.CheckRecordName(*ch.Name)
	}
	if err == nil && ch.Desc != nil && len(*ch.Desc) > maxDescription {
		err = unprocessable("description is longer than %d bytes", maxDescription)
	}
	if err == nil && ch.Properties != nil {
		ch.props, err = json.Marshal(ch.Properties)
		if len(ch.props) > maxProperties {
			err = unprocessable("properties are longer than %d bytes", maxProperties)
		}
	}
	return ch, err
}

// mayWriteIn checks that the maker of a request may put something into a project.
func (g *groups) mayWriteIn(ctx context.Context, req *Request, owner collfs.UUID) error {
	c := &collections{conf: Collections{Folders: g.conf.Folders}}
	return c.mayWriteIn(ctx, req, owner)
}

// commit makes operations on a project facts, and notes who made them. If a name is
// taken and the request asks for a free one, it gets one.
func (g *groups) commit(ctx context.Context, req *Request, id collfs.UUID, ops ...collfs.RecordOp) error {
	tx := collfs.Tx{Durable: true, Records: ops}
	_, err := g.conf.Catalog.Commit(ctx, tx)
	if errors.Is(err, fs.ErrExist) && req.Params.Bool("ensure_unique_name") && ops[0].Name != "" {
		ops[0].Name, ops[0].Unique = uniqueName(ops[0].Name, id), true
		_, err = g.conf.Catalog.Commit(ctx, tx)
	}
	if err != nil {
		return err
	}
	return g.conf.Records.ChangeCollection(ctx, id, query.CollectionChange{ModifiedBy: &req.User.UUID})
}

func (g *groups) create(ctx context.Context, req *Request) (any, error) {
	ch, err := req.groupChange()
	if err != nil {
		return nil, err
	}
	if ch.Name == nil {
		return nil, unprocessable("a project needs a name")
	}
	op := collfs.RecordOp{Kind: collfs.CreateProject, UUID: g.api.uuid("j7d0g", randomText(15)), Owner: req.User.UUID, Name: *ch.Name, Properties: ch.props}
	if ch.Owner != nil && *ch.Owner != "" {
		op.Owner = *ch.Owner
	}
	if ch.Desc != nil {
		op.Desc = *ch.Desc
	}
	if err := g.mayWriteIn(ctx, req, op.Owner); err != nil {
		return nil, err
	}
	if err := g.commit(ctx, req, op.UUID, op); err != nil {
		return nil, err
	}
	return g.answer(ctx, req, op.UUID)
}

// trashing is what a change says of the trash.
type trashing int

const (
	leave trashing = iota
	intoTrash
	outOfTrash
)

// trashing reads what a change says of the trash: a time that is to come is refused.
func (ch *groupChange) trashing(now time.Time) (trashing, error) {
	switch text := string(ch.TrashAt); text {
	case "":
		switch {
		case ch.Trashed == nil:
			return leave, nil
		case *ch.Trashed:
			return intoTrash, nil
		}
		return outOfTrash, nil
	case "null", `""`:
		return outOfTrash, nil
	}
	var at time.Time
	if json.Unmarshal(ch.TrashAt, &at) != nil {
		return leave, unprocessable("trash_at must be a time as RFC 3339 says")
	}
	if at.After(now.Add(time.Minute)) {
		return leave, unprocessable("a project is trashed at once, not later")
	}
	return intoTrash, nil
}

func (g *groups) update(ctx context.Context, req *Request) (any, error) {
	p, err := g.find(ctx, req, collfs.CanWrite, true)
	if err != nil {
		return nil, err
	}
	ch, err := req.groupChange()
	if err != nil {
		return nil, err
	}
	where, err := ch.trashing(g.api.Now())
	if err != nil {
		return nil, err
	}
	trashed := p.Trashed(g.api.Now())
	if trashed && where != outOfTrash {
		return nil, notFound()
	}
	var ops []collfs.RecordOp
	if trashed {
		ops = append(ops, collfs.RecordOp{Kind: collfs.Untrash, UUID: p.UUID})
	}
	owner, name := p.Owner, p.Name
	if ch.Owner != nil && *ch.Owner != "" {
		owner = *ch.Owner
	}
	if ch.Name != nil {
		name = *ch.Name
	}
	if owner != p.Owner {
		if err := g.mayMove(ctx, req, p, owner); err != nil {
			return nil, err
		}
	}
	if owner != p.Owner || name != p.Name {
		// First, where a free name may be looked for.
		ops = slices.Insert(ops, 0, collfs.RecordOp{Kind: collfs.Move, UUID: p.UUID, Owner: owner, Name: name})
		if trashed { // what is in the trash doesn't move, it comes out where it is to be
			ops = []collfs.RecordOp{{Kind: collfs.Untrash, UUID: p.UUID, Owner: owner, Name: name}}
		}
	}
	if ch.Desc != nil || ch.props != nil {
		op := collfs.RecordOp{Kind: collfs.Update, UUID: p.UUID, Desc: p.Description, Properties: p.Properties}
		if ch.Desc != nil {
			op.Desc = *ch.Desc
		}
		if ch.props != nil {
			op.Properties = ch.props
		}
		ops = append(ops, op)
	}
	if where == intoTrash {
		ops = append(ops, collfs.RecordOp{Kind: collfs.Trash, UUID: p.UUID})
	}
	if len(ops) > 0 {
		if err := g.commit(ctx, req, p.UUID, ops...); err != nil {
			return nil, err
		}
	}
	return g.answer(ctx, req, p.UUID)
}

// mayMove checks that the maker of a request may take a project from where it is, and put
// it somewhere else.
func (g *groups) mayMove(ctx context.Context, req *Request, p query.Project, owner collfs.UUID) error {
	level, err := g.level(ctx, req.User.UUID, p.Owner)
	if err == nil && level < collfs.CanWrite {
		err = forbidden()
	}
	if err != nil {
		return err
	}
	return g.mayWriteIn(ctx, req, owner)
}

func (g *groups) trash(ctx context.Context, req *Request) (any, error) {
	p, err := g.find(ctx, req, collfs.CanWrite, true)
	if err != nil {
		return nil, err
	}
	if !p.Trashed(g.api.Now()) {
		if err := g.commit(ctx, req, p.UUID, collfs.RecordOp{Kind: collfs.Trash, UUID: p.UUID}); err != nil {
			return nil, err
		}
	}
	return g.answer(ctx, req, p.UUID)
}

func (g *groups) untrash(ctx context.Context, req *Request) (any, error) {
	p, err := g.find(ctx, req, collfs.CanWrite, true)
	if err != nil {
		return nil, err
	}
	if !p.Trashed(g.api.Now()) {
		return nil, unprocessable("the project is not in the trash")
	}
	op := collfs.RecordOp{Kind: collfs.Untrash, UUID: p.UUID, Owner: p.Owner, Name: p.Name}
	if err := g.commit(ctx, req, p.UUID, op); err != nil {
		return nil, err
	}
	return g.answer(ctx, req, p.UUID)
}
