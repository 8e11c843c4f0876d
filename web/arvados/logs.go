package arvados

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"

	"keepdav/collfs"
	"keepdav/collfs/query"
	"keepdav/web/arvados/eventbus"
)

// LogStore is the log of events and of clients' notes.
type LogStore interface {
	// QueryLog returns the entries that q asks for and, if it counts, how many there
	// are in all.
	QueryLog(ctx context.Context, q query.Query) ([]query.Log, int, error)
	AddNote(ctx context.Context, n query.Note) (query.Log, error)
}

// Logs is what the endpoints of the log work with.
type Logs struct {
	Store   LogStore
	Folders collfs.Folders
}

type logs struct {
	conf Logs
	api  *API
}

// AddLogs adds the endpoints of the log. What the event bus tells is in it under the same
// numbers, so that clients can ask for what is later than the last one that they know.
func (a *API) AddLogs(conf Logs) {
	l := &logs{conf, a}
	a.Add(
		Endpoint{Method: http.MethodGet, Path: "logs", Do: l.list},
		Endpoint{Method: http.MethodGet, Path: "logs/{uuid}", Do: l.get},
		Endpoint{Method: http.MethodPost, Path: "logs", Record: "log", Do: l.create},
	)
}

// may says whether the maker of a request may see an entry: an event if they may
// read what it is about, or could read where it was; a note if it is their own or they
// manage what it is about.
func (l *logs) may(ctx context.Context, req *Request, e query.Log) (bool, error) {
	if req.User.Admin || e.Note != nil && e.Note.User == req.User.UUID {
		return true, nil
	}
	need, ids := collfs.CanRead, []collfs.UUID{e.UUID, e.Owner}
	switch {
	case e.Note != nil:
		need, ids = collfs.CanManage, ids[:1]
	case e.Kind == collfs.Deleted:
		ids = ids[1:]
	}
	for _, id := range ids {
		level, err := l.conf.Folders.Access(ctx, req.User.UUID, id)
		if err == nil {
			return level >= need, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

func (l *logs) item(ctx context.Context, e query.Log) (Item, error) {
	i := Item{
		"kind": "arvados#log", "id": e.Seq, "uuid": eventbus.LogUUID(l.api.conf.Cluster, e.Seq), "owner_uuid": string(l.api.systemUser()),
		"modified_by_user_uuid": string(l.api.systemUser()), "object_uuid": orNull(string(e.UUID)), "object_owner_uuid": orNull(string(e.Owner)),
		"event_at": Time(e.At), "created_at": Time(e.At), "modified_at": Time(e.At),
	}
	if n := e.Note; n != nil {
		i["event_type"], i["summary"], i["properties"] = n.Type, orNull(n.Summary), n.Properties
		i["owner_uuid"], i["modified_by_user_uuid"] = string(n.User), string(n.User)
		return i.WithETag(), nil
	}
	i["event_type"] = eventbus.EventType(e.Kind)
	i["summary"] = i["event_type"].(string) + " of " + string(e.UUID)
	var entry collfs.Entry
	if e.Kind != collfs.Deleted {
		var err error
		if entry, err = l.conf.Folders.Entry(ctx, e.UUID); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	var was, is collfs.PDH
	if c := entry.Collection; c != nil && c.Revision == e.Revision { // else it is another content's
		is = c.PDH
		if e.Kind != collfs.ContentChanged {
			was = is
		}
	}
	i["properties"] = eventbus.Describe(e.Event, entry, was, is)
	return i.WithETag(), nil
}

// Limits of reading the log for somebody who may not see all of it.
const (
	logPage = 1000
	maxLog  = 100_000 // entries that are looked at for one answer
)

func (l *logs) list(ctx context.Context, req *Request) (any, error) {
	q, err := req.Query(query.LogAttrs)
	if err != nil {
		return nil, err
	}
	selected, err := req.Select(nil)
	if err != nil {
		return nil, err
	}
	q.Filters = l.byNumber(q.Filters)
	for i, o := range q.Order {
		if o.Attr == "uuid" { // which are in the same order
			q.Order[i].Attr = "id"
		}
	}
	found, n, err := l.find(ctx, req, q)
	if err != nil {
		return nil, err
	}
	list := List{Kind: "arvados#logList", Query: q, Available: n}
	for _, e := range found {
		i, err := l.item(ctx, e)
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, i.Selected(selected))
	}
	if q.Distinct {
		list.Items = distinct(list.Items)
	}
	return list.Body(), nil
}

// byNumber makes filters by UUID filters by the number that it stands for.
func (l *logs) byNumber(filters []query.Filter) []query.Filter {
	number := func(v any) any {
		uuid, _ := v.(string)
		if seq, ok := eventbus.LogID(l.api.conf.Cluster, uuid); ok {
			return float64(seq)
		}
		return float64(-1) // which none has
	}
	for i, f := range filters {
		if f.Attr != "uuid" {
			continue
		}
		switch f.Op {
		case query.IsA:
			continue // refused below: it is of no use in a log
		case query.In, query.NotIn:
			list, _ := f.Operand.([]any)
			numbers := make([]any, len(list))
			for k, v := range list {
				numbers[k] = number(v)
			}
			f.Operand = numbers
		default:
			f.Operand = number(f.Operand)
		}
		f.Attr, f.Type = "id", query.Number
		filters[i] = f
	}
	return filters
}

// find returns the entries that a query asks for and that the maker of a request may
// see, and how many there are: for others than administrators, as far as the log was looked at.
func (l *logs) find(ctx context.Context, req *Request, q query.Query) (found []query.Log, n int, err error) {
	if req.User.Admin {
		return l.conf.Store.QueryLog(ctx, q)
	}
	ask := q
	ask.Count, ask.Offset, ask.Limit = false, 0, logPage
	for ; ask.Offset < maxLog; ask.Offset += logPage {
		rows, _, err := l.conf.Store.QueryLog(ctx, ask)
		if err != nil {
			return nil, 0, err
		}
		for _, e := range rows {
			ok, err := l.may(ctx, req, e)
			if err != nil {
				return nil, 0, err
			}
			if !ok {
				continue
			}
			if n++; n > q.Offset && len(found) < q.Limit {
				found = append(found, e)
			}
		}
		if len(rows) < logPage || len(found) == q.Limit && !q.Count {
			break
		}
	}
	return found, n, nil
}

func (l *logs) get(ctx context.Context, req *Request) (any, error) {
	seq, ok := eventbus.LogID(l.api.conf.Cluster, string(req.UUID))
	if !ok {
		return nil, notFound()
	}
	rows, _, err := l.find(ctx, req, query.Query{Limit: 1, Filters: []query.Filter{{Attr: "id", Type: query.Number, Op: query.Equal, Operand: float64(seq)}}})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, notFound()
	}
	i, err := l.item(ctx, rows[0])
	if err != nil {
		return nil, err
	}
	return req.selected(i)
}

// maxNote is how long the parts of a note may be, in bytes.
const maxNote = 64 << 10

func (l *logs) create(ctx context.Context, req *Request) (any, error) {
	var f struct {
		Type       string                     `json:"event_type"`
		Object     collfs.UUID                `json:"object_uuid"`
		Summary    string                     `json:"summary"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := req.decode(&f); err != nil {
		return nil, err
	}
	n := query.Note{Type: f.Type, User: req.User.UUID, Object: f.Object, Summary: f.Summary}
	switch f.Type {
	case "":
		return nil, unprocessable("an entry of the log needs an event_type")
	case "create", "update", "delete":
		return nil, unprocessable("the log has what really happened under event_type %s", f.Type)
	}
	if f.Object != "" {
		if err := l.about(ctx, req, &n); err != nil {
			return nil, err
		}
	}
	if f.Properties != nil {
		var err error
		if n.Properties, err = json.Marshal(f.Properties); err != nil {
			return nil, err
		}
	}
	if len(n.Type) > 100 || len(n.Summary) > maxNote || len(n.Properties) > maxNote {
		return nil, unprocessable("an entry of the log may have %d bytes of summary and properties each", maxNote)
	}
	e, err := l.conf.Store.AddNote(ctx, n)
	if err != nil {
		return nil, err
	}
	if len(e.Note.Properties) == 0 {
		e.Note.Properties = json.RawMessage(`{}`)
	}
	i, err := l.item(ctx, e)
	if err != nil {
		return nil, err
	}
	return req.selected(i)
}

// about notes where the object of a note lies, which its maker has to be able to read.
func (l *logs) about(ctx context.Context, req *Request, n *query.Note) error {
	level, err := l.conf.Folders.Access(ctx, req.User.UUID, n.Object)
	if errors.Is(err, fs.ErrNotExist) || err == nil && level < collfs.CanRead {
		return unprocessable("there is no %.40s", n.Object)
	}
	if err != nil {
		return err
	}
	entry, err := l.conf.Folders.Entry(ctx, n.Object)
	switch {
	case err != nil:
		return err
	case entry.Collection != nil:
		n.Owner = entry.Collection.Owner
	case entry.Project != nil:
		n.Owner = entry.Project.Owner
	}
	return nil
}
