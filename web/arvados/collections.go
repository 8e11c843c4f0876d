package arvados

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/collfs/query"
	"keepdav/keepio"
	"keepdav/web/arvados/signing"
)

// Records is what a catalog knows of collections for the API. The errors are those
// of collfs.Catalog.
type Records interface {
	// QueryCollections returns the collections that q asks for, as far as scope goes,
	// and, if q counts, how many there are in all. Data hashes may be missing.
	QueryCollections(ctx context.Context, q query.Query, scope query.Scope) ([]query.Collection, int, error)
	// FillPDH computes data hashes that are missing.
	FillPDH(ctx context.Context, rows []query.Collection) error
	// FindCollection returns a collection by its UUID, or an old version by its own.
	FindCollection(ctx context.Context, id collfs.UUID) (query.Collection, error)
	// ChangeCollection changes what only the API shows.
	ChangeCollection(ctx context.Context, id collfs.UUID, change query.CollectionChange) error
	// Manifest returns the manifest of a version, 0 being the present one, and its
	// record. ManifestAt does it for a revision, which may be gone.
	Manifest(ctx context.Context, id collfs.UUID, version int) ([]byte, collfs.Record, error)
	ManifestAt(ctx context.Context, id collfs.UUID, revision int64) ([]byte, error)
	// KeepManifest keeps the text that a client has sent for a revision.
	KeepManifest(ctx context.Context, id collfs.UUID, revision int64, text []byte) error
}

// Blocks are the blocks of the store. *keepio.Spool is such.
type Blocks interface {
	collfs.Blocks
	keepio.Reader
}

// Collections is what the collections' endpoints work with.
type Collections struct {
	Files   *collfs.FS     // all changes of contents go through it
	Catalog collfs.Catalog // all changes of records do
	Folders collfs.Folders
	Records Records
	Blocks  Blocks
	Signer  *signing.Signer
}

// collections are the endpoints of collections.
type collections struct {
	conf  Collections
	now   func() time.Time
	given given
	texts texts
}

// AddCollections adds the endpoints of collections.
func (a *API) AddCollections(conf Collections) {
	c := &collections{conf: conf, now: a.conf.Now}
	const path, one = "collections", "collections/{uuid}"
	for _, e := range []Endpoint{
		{Method: http.MethodGet, Path: path, Do: c.list},
		{Method: http.MethodPost, Path: path, Do: c.create},
		{Method: http.MethodGet, Path: one, Do: c.get},
		{Method: http.MethodPatch, Path: one, Do: c.update},
		{Method: http.MethodDelete, Path: one, Do: c.trash},
		{Method: http.MethodPost, Path: one + "/trash", Do: c.trash},
		{Method: http.MethodPost, Path: one + "/untrash", Do: c.untrash},
	} {
		e.Record = "collection"
		a.Add(e)
	}
}

var (
	collectionForm = regexp.MustCompile(`^[a-z0-9]{5}-4zz18-[a-z0-9]{15}$`)
	pdhForm        = regexp.MustCompile(`^[0-9a-f]{32}\+[0-9]+$`)
)

// emptyPDH is that of the empty collection.
const emptyPDH = "d41d8cd98f00b204e9800998ecf8427e+0"

// selectable are the attributes that a select may name.
var selectable = func() query.Attrs {
	all := maps.Clone(query.CollectionAttrs)
	for _, a := range []string{"manifest_text", "unsigned_manifest_text", "replication_confirmed", "replication_confirmed_at",
		"storage_classes_confirmed", "storage_classes_confirmed_at"} {
		all[a] = query.Text
	}
	return all
}()

// CollectionItem shows a collection without its manifest. It has no etag yet.
func CollectionItem(c query.Collection, now time.Time) Item {
	i := Item{
		"kind": "arvados#collection", "uuid": c.UUID, "current_version_uuid": c.Current, "owner_uuid": c.Owner, "name": c.Name,
		"description": nil, "properties": map[string]any{}, "version": c.Version, "portable_data_hash": c.PDH,
		"file_count": c.Files, "file_size_total": c.Bytes, "created_at": Time(c.CreatedAt), "modified_at": Time(c.ModifiedAt),
		"modified_by_user_uuid": c.ModifiedBy, "trash_at": Time(c.TrashAt), "delete_at": Time(c.DeleteAt), "is_trashed": c.Trashed(now),
		"preserve_version": c.Preserve, "replication_desired": nil, "replication_confirmed": nil, "replication_confirmed_at": nil,
		"storage_classes_desired": []string{"default"}, "storage_classes_confirmed": []string{}, "storage_classes_confirmed_at": nil,
	}
	if c.Description != "" {
		i["description"] = c.Description
	}
	if len(c.Properties) > 0 {
		i["properties"] = c.Properties
	}
	if c.Replication > 0 {
		i["replication_desired"] = c.Replication
	}
	if c.Classes != nil {
		i["storage_classes_desired"] = c.Classes
	}
	if c.ModifiedBy == "" { // by a drive: it is the owner, if that is a user
		i["modified_by_user_uuid"] = collfs.UUID(string(c.UUID[:5]) + "-tpzed-000000000000000")
		if len(c.Owner) == 27 && c.Owner[6:11] == "tpzed" {
			i["modified_by_user_uuid"] = c.Owner
		}
	}
	return i
}

// level returns what the maker of a request may do with a record; readers count if
// it is to be read only.
func (c *collections) level(ctx context.Context, req *Request, id collfs.UUID) (collfs.Level, error) {
	best := collfs.NoAccess
	for _, user := range req.Readers() {
		l, err := c.conf.Folders.Access(ctx, user, id)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return best, err
		}
		if err == nil {
			best = max(best, l)
		}
	}
	return best, nil
}

// find returns the collection that a request is about, if its maker may do with it
// what need says.
func (c *collections) find(ctx context.Context, req *Request, need collfs.Level, trash bool) (query.Collection, error) {
	if !collectionForm.MatchString(string(req.UUID)) {
		return query.Collection{}, notFound()
	}
	rec, err := c.conf.Records.FindCollection(ctx, req.UUID)
	if err != nil {
		return rec, err
	}
	level, err := c.level(ctx, req, rec.Current)
	switch {
	case err != nil:
		return rec, err
	case level < collfs.CanRead, rec.Trashed(c.now()) && !trash:
		return rec, notFound()
	case level < need:
		return rec, forbidden()
	}
	return rec, nil
}

// text returns the manifest of a collection, without signatures. If something was
// committed since rec was read, rec becomes the record that belongs to the text.
func (c *collections) text(ctx context.Context, rec *query.Collection) ([]byte, error) {
	if text, ok := c.texts.get(textKey{rec.Current, rec.Revision}); ok {
		rec.PDH = collfs.PDH(manifest.PDH(text))
		return text, nil
	}
	version := 0
	if rec.Old() {
		version = rec.Version
	}
	text, is, err := c.conf.Records.Manifest(ctx, rec.Current, version)
	if err != nil {
		return nil, err
	}
	if !rec.Old() {
		rec.Revision, rec.Version, rec.Files, rec.Bytes, rec.ModifiedAt = is.Revision, is.Version, is.Files, is.Bytes, is.ModifiedAt
	}
	rec.PDH = collfs.PDH(manifest.PDH(text))
	c.texts.put(textKey{rec.Current, rec.Revision}, text, false)
	return text, nil
}

// wants says whether a request selects an attribute; by default what it is without
// a select.
func wants(selected []string, attr string, without bool) bool {
	if selected == nil {
		return without
	}
	return slices.Contains(selected, attr)
}

// show returns a collection as it is sent. one says that it is the only one: then
// its manifest is sent unless something else is selected.
func (c *collections) show(ctx context.Context, req *Request, rec query.Collection, selected []string, one bool) (Item, error) {
	signed, unsigned := wants(selected, "manifest_text", one), wants(selected, "unsigned_manifest_text", false)
	var text []byte
	if signed || unsigned {
		var err error
		if text, err = c.text(ctx, &rec); err != nil {
			return nil, err
		}
		if !rec.Old() && !req.based {
			c.given.gave(req, rec.Current, rec.Revision)
		}
	}
	if rec.PDH == "" && wants(selected, "portable_data_hash", true) {
		rows := []query.Collection{rec}
		if err := c.conf.Records.FillPDH(ctx, rows); err != nil {
			return nil, err
		}
		rec.PDH = rows[0].PDH
	}
	i := CollectionItem(rec, c.now()).WithETag()
	i["manifest_text"], i["unsigned_manifest_text"] = "", ""
	if unsigned {
		i["unsigned_manifest_text"] = string(manifest.Strip(text))
	}
	if signed {
		i["manifest_text"] = string(text)
		if !rec.Trashed(c.now()) {
			out, err := signText(c.conf.Signer, text, req.Token, rec.TrashAt)
			if err != nil {
				return nil, err
			}
			i["manifest_text"] = out
		}
	}
	return i.Selected(selected), nil
}

func (c *collections) get(ctx context.Context, req *Request) (any, error) {
	selected, err := req.Select(selectable)
	if err != nil {
		return nil, err
	}
	if pdhForm.MatchString(string(req.UUID)) {
		return c.getPDH(ctx, req, collfs.PDH(req.UUID), selected)
	}
	rec, err := c.find(ctx, req, collfs.CanRead, req.Params.Bool("include_trash"))
	if err == nil && rec.Old() && rec.Trashed(c.now()) && !req.Params.Bool("include_trash") {
		err = notFound()
	}
	if err != nil {
		return nil, err
	}
	return c.show(ctx, req, rec, selected, true)
}

// textOfPDH returns the manifest with a data hash, if the maker of the request may
// read a collection, or a version of one, that has it.
func (c *collections) textOfPDH(ctx context.Context, req *Request, pdh collfs.PDH) ([]byte, error) {
	if pdh == emptyPDH {
		return []byte{}, nil
	}
	for _, user := range req.Readers() {
		id, version, err := c.conf.Folders.FindPDH(ctx, user, pdh)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		text, _, err := c.conf.Records.Manifest(ctx, id, version)
		if err == nil && collfs.PDH(manifest.PDH(text)) == pdh {
			return text, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, &Error{Status: http.StatusNotFound, Text: "not found"}
}

func (c *collections) getPDH(ctx context.Context, req *Request, pdh collfs.PDH, selected []string) (any, error) {
	text, err := c.textOfPDH(ctx, req, pdh)
	if err != nil {
		return nil, err
	}
	signed, err := signText(c.conf.Signer, text, req.Token, time.Time{})
	if err != nil {
		return nil, err
	}
	i := Item{
		"kind": "arvados#collection", "etag": "", "uuid": pdh, "portable_data_hash": pdh, "manifest_text": signed, "unsigned_manifest_text": "",
		"current_version_uuid": "", "owner_uuid": "", "name": "", "description": nil, "properties": nil, "version": 0, "file_count": 0, "file_size_total": 0,
		"created_at": nil, "modified_at": nil, "modified_by_user_uuid": "", "trash_at": nil, "delete_at": nil, "is_trashed": false,
		"preserve_version": false, "replication_desired": nil, "replication_confirmed": nil, "replication_confirmed_at": nil,
		"storage_classes_desired": nil, "storage_classes_confirmed": nil, "storage_classes_confirmed_at": nil,
	}
	if wants(selected, "unsigned_manifest_text", false) {
		i["unsigned_manifest_text"] = string(manifest.Strip(text))
	}
	return i.Selected(selected), nil
}

// maxListText is how many bytes of manifests one list may hold: then its page ends.
const maxListText = 128 << 20

// maxDistinct is how many records are looked at for distinct ones.
const maxDistinct = 200_000

// ReadScope is what the maker of a request may see in lists.
func (req *Request) ReadScope() query.Scope {
	s := query.Scope{Readers: req.Readers(), Trash: req.Params.Bool("include_trash"), Old: req.Params.Bool("include_old_versions")}
	admin := req.User.Admin
	for _, u := range req.readers {
		admin = admin || u.Admin
	}
	if admin {
		s.Readers = nil
	}
	return s
}

func (c *collections) list(ctx context.Context, req *Request) (any, error) {
	q, err := req.Query(query.CollectionAttrs)
	if err != nil {
		return nil, err
	}
	selected, err := req.Select(selectable)
	if err != nil {
		return nil, err
	}
	ask := q
	if q.Distinct {
		ask.Offset, ask.Limit = 0, maxDistinct
	}
	rows, n, err := c.conf.Records.QueryCollections(ctx, ask, req.ReadScope())
	if err != nil {
		return nil, err
	}
	if wants(selected, "portable_data_hash", true) {
		if err := c.conf.Records.FillPDH(ctx, rows); err != nil {
			return nil, err
		}
	}
	l := List{Kind: "arvados#collectionList", Query: q, Available: n}
	size := 0
	for _, rec := range rows {
		i, err := c.show(ctx, req, rec, selected, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is gone by now
		}
		if err != nil {
			return nil, err
		}
		for _, attr := range []string{"manifest_text", "unsigned_manifest_text"} {
			text, _ := i[attr].(string)
			size += len(text)
		}
		if size > maxListText && len(l.Items) > 0 {
			break
		}
		l.Items = append(l.Items, i)
	}
	if q.Distinct {
		l.Items = distinct(l.Items)
		l.Available = len(l.Items)
		l.Items = l.Items[min(q.Offset, len(l.Items)):]
		l.Items = l.Items[:min(q.Limit, len(l.Items))]
	}
	return l.Body(), nil
}

// trash puts a collection in the trash, by DELETE or by POST …/trash.
func (c *collections) trash(ctx context.Context, req *Request) (any, error) {
	selected, err := req.Select(selectable)
	if err != nil {
		return nil, err
	}
	rec, err := c.find(ctx, req, collfs.CanWrite, true)
	if err != nil {
		return nil, err
	}
	if rec.Old() {
		return nil, pastVersion()
	}
	if !rec.Trashed(c.now()) {
		if err := c.commit(ctx, collfs.RecordOp{Kind: collfs.Trash, UUID: rec.UUID}); err != nil {
			return nil, err
		}
		if err := c.modified(ctx, req, rec.UUID, query.CollectionChange{TrashAt: new(time.Time), DeleteAt: new(time.Time)}); err != nil {
			return nil, err
		}
	}
	return c.again(ctx, req, rec.UUID, selected)
}

func (c *collections) untrash(ctx context.Context, req *Request) (any, error) {
	selected, err := req.Select(selectable)
	if err != nil {
		return nil, err
	}
	rec, err := c.find(ctx, req, collfs.CanWrite, true)
	switch {
	case err != nil:
		return nil, err
	case rec.Old():
		return nil, pastVersion()
	case rec.TrashAt.IsZero():
		return nil, unprocessable("the collection is not in the trash")
	}
	if err := c.takeOut(ctx, req, rec); err != nil {
		return nil, err
	}
	return c.again(ctx, req, rec.UUID, selected)
}

// takeOut takes a collection out of the trash.
func (c *collections) takeOut(ctx context.Context, req *Request, rec query.Collection) error {
	op := collfs.RecordOp{Kind: collfs.Untrash, UUID: rec.UUID}
	err := c.commit(ctx, op)
	if errors.Is(err, fs.ErrExist) && req.Params.Bool("ensure_unique_name") {
		op.Name, op.Unique = uniqueName(rec.Name, rec.UUID), true
		err = c.commit(ctx, op)
	}
	if errors.Is(err, fs.ErrInvalid) { // it only was to be trashed
		err = nil
	}
	if err != nil {
		return err
	}
	return c.modified(ctx, req, rec.UUID, query.CollectionChange{TrashAt: new(time.Time), DeleteAt: new(time.Time)})
}

func pastVersion() error {
	return unprocessable("past versions cannot be updated")
}

// uniqueName is a name that no other collection has.
func uniqueName(name string, id collfs.UUID) string {
	return name + " (" + string(id[12:]) + ")"
}

// commit makes operations on records facts.
func (c *collections) commit(ctx context.Context, ops ...collfs.RecordOp) error {
	_, err := c.conf.Catalog.Commit(ctx, collfs.Tx{Durable: true, Records: ops})
	return err
}

// modified notes who has changed a collection, with more.
func (c *collections) modified(ctx context.Context, req *Request, id collfs.UUID, ch query.CollectionChange) error {
	ch.ModifiedBy = &req.User.UUID
	return c.conf.Records.ChangeCollection(ctx, id, ch)
}

// again shows a collection after a change.
func (c *collections) again(ctx context.Context, req *Request, id collfs.UUID, selected []string) (any, error) {
	rec, err := c.conf.Records.FindCollection(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.show(ctx, req, rec, selected, true)
}

// attrJSON decodes an attribute.
func attrJSON(attrs map[string]json.RawMessage, name string, dst any) (given bool, err error) {
	raw, ok := attrs[name]
	if !ok {
		return false, nil
	}
	if json.Unmarshal(raw, dst) != nil {
		return true, unprocessable("attribute %q has not the form that it should have", name)
	}
	return true, nil
}
