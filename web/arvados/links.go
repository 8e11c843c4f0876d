package arvados

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"

	"keepdav/collfs"
	"keepdav/collfs/query"
)

// LinkStore is where links are kept. What isn't there is fs.ErrNotExist.
type LinkStore interface {
	// Links returns the links that filters may select: not less, but maybe more.
	Links(ctx context.Context, filters []query.Filter) ([]query.Link, error)
	FindLink(ctx context.Context, id collfs.UUID) (query.Link, error)
	// PutLink makes a link, or changes the name and properties of one. There is one permission
	// of a head for a tail.
	PutLink(ctx context.Context, l query.Link) (query.Link, error)
	DeleteLink(ctx context.Context, l query.Link) error
}

// Links is what the endpoints of links work with.
type Links struct {
	Store   LinkStore
	Folders collfs.Folders
	// Changed is called after a permission was given or taken.
	Changed func()
}

// links are the endpoints of links: of permissions, by which projects and collections are
// shared, and of tags.
type links struct {
	conf Links
	api  *API
}

// AddLinks adds the endpoints of links.
func (a *API) AddLinks(conf Links) {
	l := &links{conf, a}
	for _, e := range []Endpoint{
		{Method: http.MethodGet, Path: "links", Do: l.list},
		{Method: http.MethodPost, Path: "links", Do: l.create},
		{Method: http.MethodGet, Path: "links/{uuid}", Do: l.get},
		{Method: http.MethodPatch, Path: "links/{uuid}", Do: l.update},
		{Method: http.MethodDelete, Path: "links/{uuid}", Do: l.delete},
		{Method: http.MethodGet, Path: "permissions/{uuid}", Do: l.permissions},
	} {
		e.Record = "link"
		l.api.Add(e)
	}
}

func (l *links) item(k query.Link) Item {
	props := any(map[string]any{})
	if len(k.Properties) > 0 {
		props = k.Properties
	}
	// Who makes a tag owns it; permissions belong to what is shared.
	by := k.Owner
	if !isUser(by) {
		by = l.api.systemUser()
	}
	return Item{
		"kind": "arvados#link", "uuid": string(k.UUID), "owner_uuid": string(k.Owner), "link_class": k.Class, "name": k.Name,
		"head_uuid": string(k.Head), "tail_uuid": orNull(string(k.Tail)), "head_kind": query.KindOf(string(k.Head)), "tail_kind": query.KindOf(string(k.Tail)),
		"properties": props, "created_at": Time(k.CreatedAt), "modified_at": Time(k.ModifiedAt), "modified_by_user_uuid": string(by),
	}.WithETag()
}

// orNull is text, but null when there is none.
func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func (l *links) level(ctx context.Context, req *Request, id collfs.UUID) (collfs.Level, error) {
	level, err := l.conf.Folders.Access(ctx, req.User.UUID, id)
	if errors.Is(err, fs.ErrNotExist) {
		return collfs.NoAccess, nil
	}
	return level, err
}

// may says what the maker of a request may do with a link. A permission shows itself to
// whom it is for, and belongs to those who manage what is shared. A tag shows itself to all who can
// read what has it, and belongs to those who can write that.
func (l *links) may(ctx context.Context, req *Request, k query.Link) (see, change bool, err error) {
	level, err := l.level(ctx, req, k.Head)
	if err != nil {
		return false, false, err
	}
	if k.Class == query.PermissionLink {
		change = level >= collfs.CanManage
		return change || k.Tail == req.User.UUID, change, nil
	}
	mine := k.Owner == req.User.UUID || req.User.Admin
	return mine || level >= collfs.CanRead, mine || level >= collfs.CanWrite, nil
}

// find returns the link that a request is about.
func (l *links) find(ctx context.Context, req *Request, change bool) (query.Link, error) {
	k, err := l.conf.Store.FindLink(ctx, req.UUID)
	if err != nil {
		return k, err
	}
	see, may, err := l.may(ctx, req, k)
	switch {
	case err != nil:
		return k, err
	case !see:
		return k, notFound()
	case change && !may:
		return k, forbidden()
	}
	return k, nil
}

func (l *links) get(ctx context.Context, req *Request) (any, error) {
	k, err := l.find(ctx, req, false)
	if err != nil {
		return nil, err
	}
	return req.selected(l.item(k))
}

func (l *links) list(ctx context.Context, req *Request) (any, error) {
	q, err := req.Query(query.LinkAttrs)
	if err != nil {
		return nil, err
	}
	return l.listOf(ctx, req, q.Filters)
}

// permissions lists who may do what with a record, for those who manage it.
func (l *links) permissions(ctx context.Context, req *Request) (any, error) {
	level, err := l.level(ctx, req, req.UUID)
	switch {
	case err != nil:
		return nil, err
	case level < collfs.CanRead:
		return nil, notFound()
	case level < collfs.CanManage:
		return nil, forbidden()
	}
	return l.listOf(ctx, req, []query.Filter{
		{Attr: "head_uuid", Type: query.Text, Op: query.Equal, Operand: string(req.UUID)},
		{Attr: "link_class", Type: query.Text, Op: query.Equal, Operand: query.PermissionLink},
	})
}

func (l *links) listOf(ctx context.Context, req *Request, filters []query.Filter) (any, error) {
	all, err := l.conf.Store.Links(ctx, filters)
	if err != nil {
		return nil, err
	}
	var items []Item
	for _, k := range all {
		see, _, err := l.may(ctx, req, k)
		if err != nil {
			return nil, err
		}
		i := l.item(k)
		if see && (query.Query{Filters: filters}).Match(i.Get) {
			items = append(items, i)
		}
	}
	return req.ListOf("arvados#linkList", query.LinkAttrs, items)
}

// linkFields are the attributes of a link that a request brings.
type linkFields struct {
	Class      *string                    `json:"link_class"`
	Name       *string                    `json:"name"`
	Head       *collfs.UUID               `json:"head_uuid"`
	Tail       *collfs.UUID               `json:"tail_uuid"`
	Properties map[string]json.RawMessage `json:"properties"`
}

// into puts what f says into k, and checks it.
func (f *linkFields) into(k *query.Link) error {
	if f.Name != nil {
		k.Name = *f.Name
	}
	if f.Properties != nil {
		var err error
		if k.Properties, err = json.Marshal(f.Properties); err != nil {
			return err
		}
		if len(k.Properties) > maxProperties {
			return unprocessable("properties are longer than %d bytes", maxProperties)
		}
	}
	switch k.Class {
	case query.PermissionLink:
		if query.PermissionLevel(k.Name) == collfs.NoAccess {
			return unprocessable("a permission is called can_read, can_write or can_manage")
		}
		if !isUser(k.Tail) {
			return unprocessable("permissions are for users: there are no groups of users")
		}
	case query.TagLink:
		if k.Name == "" || len(k.Name) > 1000 {
			return unprocessable("a tag needs a name of at most 1000 bytes")
		}
	default:
		return unprocessable("there are links of the classes permission and tag only")
	}
	return nil
}

func (l *links) create(ctx context.Context, req *Request) (any, error) {
	var f linkFields
	if err := req.decode(&f); err != nil {
		return nil, err
	}
	k := query.Link{Owner: req.User.UUID}
	for _, p := range []struct {
		dst *string
		src *string
	}{{&k.Class, f.Class}, {(*string)(&k.Head), (*string)(f.Head)}, {(*string)(&k.Tail), (*string)(f.Tail)}} {
		if p.src != nil {
			*p.dst = *p.src
		}
	}
	if err := f.into(&k); err != nil {
		return nil, err
	}
	level, err := l.level(ctx, req, k.Head)
	need := collfs.CanWrite
	if k.Class == query.PermissionLink {
		need = collfs.CanManage
	}
	switch {
	case err != nil:
		return nil, err
	case level < collfs.CanRead:
		return nil, unprocessable("there is no %.40s to link to", k.Head)
	case level < need:
		return nil, forbidden()
	}
	return l.put(ctx, req, k)
}

func (l *links) put(ctx context.Context, req *Request, k query.Link) (any, error) {
	k, err := l.conf.Store.PutLink(ctx, k)
	if errors.Is(err, fs.ErrNotExist) {
		err = &Error{Status: http.StatusUnprocessableEntity, Text: "there is no such user, project or collection", Cause: err}
	}
	if err != nil {
		return nil, err
	}
	if k.Class == query.PermissionLink {
		l.conf.Changed()
	}
	return req.selected(l.item(k))
}

func (l *links) update(ctx context.Context, req *Request) (any, error) {
	k, err := l.find(ctx, req, true)
	if err != nil {
		return nil, err
	}
	var f linkFields
	if err := req.decode(&f); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		given *string
		is    string
	}{{f.Class, k.Class}, {(*string)(f.Head), string(k.Head)}, {(*string)(f.Tail), string(k.Tail)}} {
		if p.given != nil && *p.given != p.is {
			return nil, unprocessable("what a link links stays as it is: make another one")
		}
	}
	if err := f.into(&k); err != nil {
		return nil, err
	}
	return l.put(ctx, req, k)
}

func (l *links) delete(ctx context.Context, req *Request) (any, error) {
	k, err := l.find(ctx, req, true)
	if err != nil {
		return nil, err
	}
	if err := l.conf.Store.DeleteLink(ctx, k); err != nil {
		return nil, err
	}
	if k.Class == query.PermissionLink {
		l.conf.Changed()
	}
	return req.selected(l.item(k))
}
