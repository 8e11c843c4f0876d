package arvados

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/collfs/query"
)

// What an update does with the content:
//
//	manifest_text                    the collection becomes that
//	manifest_text, replace_files     paths are replaced, by parts of the text among others
//	replace_files                    paths are replaced
//	replace_segments                 after these; files keep their bytes
//
// A client that sends a manifest_text has read the collection before, changed what it
// has read and sends all of it. If somebody else has committed since, the text is
// merged with that by the rules that commits merge by: base is the revision that the
// client was given last. If it was given none that we remember, its text replaces
// what is there.
//
// Whatever is replaced or deleted by an update that does not say what it expects to be
// there (if_version, if_portable_data_hash) is kept as a version, however new it is.

// A change is what a request wants of a collection.
type change struct {
	name, owner *string
	desc        *string
	props       json.RawMessage // nil: as it was
	trashAt     *time.Time      // zero: not in the trash
	deleteAt    *time.Time
	side        query.CollectionChange

	sent     *sentManifest
	files    []replacement
	hasFiles bool
	segments segmentSet

	ifVersion int // 0: any
	ifPDH     collfs.PDH
}

// ignored are attributes that only the server sets, or that mean nothing here.
var ignored = []string{
	"etag", "kind", "uuid", "current_version_uuid", "version", "created_at", "modified_at", "modified_by_user_uuid", "modified_by_client_uuid",
	"file_count", "file_size_total", "is_trashed", "replication_confirmed", "replication_confirmed_at", "storage_classes_confirmed",
	"storage_classes_confirmed_at", "unsigned_manifest_text", "href", "self_link", "file_names",
}

// readChange reads what a request wants, and checks it as far as it can be checked
// without the collection.
func (c *collections) readChange(ctx context.Context, req *Request) (*change, error) {
	attrs, strict, err := req.Attrs()
	if err != nil {
		return nil, err
	}
	ch := new(change)
	for _, a := range slices.Sorted(maps.Keys(attrs)) {
		switch a {
		case "name":
			err = ch.readText(attrs, a, &ch.name)
		case "owner_uuid":
			err = ch.readText(attrs, a, &ch.owner)
		case "description":
			err = ch.readText(attrs, a, &ch.desc)
		case "properties":
			err = ch.readProperties(attrs[a])
		case "preserve_version":
			ch.side.Preserve = new(bool)
			_, err = attrJSON(attrs, a, ch.side.Preserve)
		case "replication_desired":
			ch.side.Replication = new(int)
			_, err = attrJSON(attrs, a, ch.side.Replication)
			if err == nil && *ch.side.Replication < 0 {
				err = unprocessable("replication_desired must not be negative")
			}
		case "storage_classes_desired":
			err = ch.readClasses(attrs)
		case "trash_at":
			ch.trashAt = new(time.Time)
			err = readTimeAttr(attrs, a, ch.trashAt)
		case "delete_at":
			ch.deleteAt = new(time.Time)
			err = readTimeAttr(attrs, a, ch.deleteAt)
		case "manifest_text", "portable_data_hash": // together, below
		default:
			if strict && !slices.Contains(ignored, a) {
				err = unprocessable("a collection has no attribute %q", a)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if err := ch.readConditions(req); err != nil {
		return nil, err
	}
	return ch, c.readContent(ctx, req, attrs, ch)
}

func (ch *change) readText(attrs map[string]json.RawMessage, name string, dst **string) error {
	s := new(string)
	if _, err := attrJSON(attrs, name, s); err != nil {
		return err
	}
	if strings.ContainsRune(*s, 0) || name == "name" && (strings.ContainsRune(*s, '/') || *s == "." || *s == "..") {
		return unprocessable("attribute %q has characters that it must not have", name)
	}
	if len(*s) > maxDescription {
		return unprocessable("attribute %q is longer than %d bytes", name, maxDescription)
	}
	*dst = s
	return nil
}

// maxDescription is how long a description may be, in bytes: lists have a thousand of them.
const maxDescription = 512 << 10

// maxProperties is how long the properties of a collection may be, in bytes.
const maxProperties = 1 << 20

func (ch *change) readProperties(raw json.RawMessage) error {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return unprocessable("properties must be an object")
	}
	if len(raw) > maxProperties {
		return unprocessable("properties are longer than %d bytes", maxProperties)
	}
	if m == nil {
		m = map[string]json.RawMessage{}
	}
	var err error
	ch.props, err = json.Marshal(m)
	return err
}

func (ch *change) readClasses(attrs map[string]json.RawMessage) error {
	var list []string
	if _, err := attrJSON(attrs, "storage_classes_desired", &list); err != nil {
		return err
	}
	if slices.Contains(list, "") || len(list) > 100 {
		return unprocessable("storage_classes_desired must be an array of names")
	}
	ch.side.Classes = &list
	return nil
}

func readTimeAttr(attrs map[string]json.RawMessage, name string, dst *time.Time) error {
	var text string
	if _, err := attrJSON(attrs, name, &text); err != nil || text == "" {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return unprocessable("attribute %q must be a time as RFC 3339 says", name)
	}
	*dst = t
	return nil
}

// readConditions reads what a client expects to be there.
func (ch *change) readConditions(req *Request) (err error) {
	if ch.ifVersion, err = req.Params.Int("if_version", 0); err != nil {
		return err
	}
	pdh, err := req.Params.String("if_portable_data_hash")
	if err == nil && pdh != "" && !pdhForm.MatchString(pdh) {
		err = unprocessable("if_portable_data_hash is no portable data hash")
	}
	ch.ifPDH = collfs.PDH(pdh)
	return err
}

// readContent reads what a request wants of the content.
func (c *collections) readContent(ctx context.Context, req *Request, attrs map[string]json.RawMessage, ch *change) error {
	var text, pdh *string
	if _, err := attrJSON(attrs, "manifest_text", &text); err != nil {
		return err
	}
	if _, err := attrJSON(attrs, "portable_data_hash", &pdh); err != nil {
		return err
	}
	var err error
	if text != nil {
		if ch.sent, err = c.readManifest(ctx, req, *text); err != nil {
			return err
		}
		if pdh != nil && *pdh != "" && cutHash(*pdh) != cutHash(string(ch.sent.pdh)) {
			return unprocessable("Portable data hash '%.80s' does not match computed hash '%s'", *pdh, ch.sent.pdh)
		}
	}
	var files, segments map[string]string
	if err := req.Params.JSON("replace_files", &files); err != nil {
		return badRequest("replace_files must be an object of strings")
	}
	if err := req.Params.JSON("replace_segments", &segments); err != nil {
		return badRequest("replace_segments must be an object of strings")
	}
	if len(files) > 0 {
		ch.hasFiles = true
		if ch.files, err = readReplacements(files); err != nil {
			return err
		}
		if err := c.loadSources(ctx, req, ch.files, ch.sent); err != nil {
			return err
		}
	}
	if len(segments) > 0 {
		if ch.segments, err = c.readSegments(ctx, req, segments); err != nil {
			return err
		}
	}
	return nil
}

// cutHash is the part of a portable data hash that is compared.
func cutHash(pdh string) string {
	hash, _, _ := strings.Cut(pdh, "+")
	return hash
}

// content reports whether ch changes the content.
func (ch *change) content() bool { return ch.sent != nil || ch.hasFiles || ch.segments != nil }

// whole reports whether ch sends all of the content.
func (ch *change) whole() bool { return ch.sent != nil && !ch.hasFiles }

// build returns the operations of ch on a tree, when nobody has to be merged with.
func (ch *change) build(t *collfs.Tree, at int64) (ops []collfs.Op, err error) {
	switch {
	case ch.whole():
		ops, err = collfs.Turn(t, ch.sent.tree, at)
	case len(ch.files) == 1 && ch.files[0].target == "" && ch.files[0].tree != nil && ch.files[0].path == "":
		ops, err = collfs.Turn(t, ch.files[0].tree, at)
	case ch.hasFiles:
		ops, err = replaceOps(t, ch.files, at)
	}
	if err != nil {
		return nil, err
	}
	return ch.withSegments(t, ops, at)
}

// withSegments adds what replaces segments after ops.
func (ch *change) withSegments(t *collfs.Tree, ops []collfs.Op, at int64) ([]collfs.Op, error) {
	if ch.segments == nil {
		return ops, nil
	}
	if len(ops) > 0 {
		t = t.Clone()
		for _, op := range ops {
			if err := t.Apply(op); err != nil {
				return nil, err
			}
		}
	}
	more, err := ch.segments.ops(t, at)
	return append(ops, more...), err
}

func (c *collections) create(ctx context.Context, req *Request) (any, error) {
	selected, err := req.Select(selectable)
	if err != nil {
		return nil, err
	}
	ch, err := c.readChange(ctx, req)
	if err != nil {
		return nil, err
	}
	op := collfs.RecordOp{Kind: collfs.CreateCollection, UUID: c.conf.Files.NewUUID("4zz18"), Owner: req.User.UUID, Properties: ch.props}
	if ch.owner != nil && *ch.owner != "" {
		op.Owner = collfs.UUID(*ch.owner)
	}
	if ch.desc != nil {
		op.Desc = *ch.desc
	}
	if ch.name != nil {
		op.Name = *ch.name
	}
	if err := c.mayWriteIn(ctx, req, op.Owner); err != nil {
		return nil, err
	}
	unique := req.Params.Bool("ensure_unique_name")
	if op.Name == "" { // records have names here
		op.Name, unique = "New collection", true
	}
	tx := collfs.Tx{Durable: true, Records: []collfs.RecordOp{op}}
	if len(ch.segments) > 0 {
		if err := c.compareWith(ctx, ch, collfs.NewTree()); err != nil {
			return nil, err
		}
	}
	if ch.content() {
		first, err := c.firstChange(op.UUID, ch)
		if err != nil {
			return nil, err
		}
		if len(first.Ops) > 0 {
			tx.Changes = []collfs.Change{first}
		}
	}
	made, err := c.conf.Catalog.Commit(ctx, tx)
	if errors.Is(err, fs.ErrExist) && unique {
		tx.Records[0].Name, tx.Records[0].Unique = uniqueName(op.Name, op.UUID), true
		made, err = c.conf.Catalog.Commit(ctx, tx)
	}
	if err != nil {
		return nil, err
	}
	if len(made) > 0 {
		if err := c.keepText(ctx, ch, made[0]); err != nil {
			return nil, err
		}
	}
	if err := c.modified(ctx, req, op.UUID, ch.side); err != nil {
		return nil, err
	}
	if err := c.setTrash(ctx, req, op.UUID, ch); err != nil {
		return nil, err
	}
	return c.again(ctx, req, op.UUID, selected)
}

// firstChange is the change of a collection that is just being made.
func (c *collections) firstChange(id collfs.UUID, ch *change) (collfs.Change, error) {
	at := c.now().UnixNano()
	t := collfs.NewTree()
	ops, err := ch.build(t, at)
	if err != nil {
		return collfs.Change{}, err
	}
	for _, op := range ops {
		if err := t.Apply(op); err != nil {
			return collfs.Change{}, err
		}
	}
	return collfs.Change{Collection: id, Ops: ops, Files: t.Files(), Bytes: t.Bytes()}, nil
}

// mayWriteIn checks that the maker of a request may put something into a project.
func (c *collections) mayWriteIn(ctx context.Context, req *Request, owner collfs.UUID) error {
	level, err := c.conf.Folders.Access(ctx, req.User.UUID, owner)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && level < collfs.CanRead:
		return unprocessable("there is no project %.40s", owner)
	case err != nil:
		return err
	case level < collfs.CanWrite:
		return forbidden()
	}
	e, err := c.conf.Folders.Entry(ctx, owner)
	if err == nil && (e.Project == nil || !e.Project.TrashAt.IsZero()) {
		err = unprocessable("%.40s is no project", owner)
	}
	return err
}

// mayTake checks that the maker of a request may take something out of a project: who may
// write in a collection alone leaves it where its owner finds it. A project that is gone is
// nobody's.
func (c *collections) mayTake(ctx context.Context, req *Request, owner collfs.UUID) error {
	level, err := c.conf.Folders.Access(ctx, req.User.UUID, owner)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && level < collfs.CanWrite:
		return forbidden()
	}
	return err
}

func (c *collections) update(ctx context.Context, req *Request) (any, error) {
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
	ch, err := c.readChange(ctx, req)
	if err != nil {
		return nil, err
	}
	if rec.Trashed(c.now()) {
		if ch.trashAt == nil || ch.content() {
			return nil, notFound()
		}
		if err := c.setTrash(ctx, req, rec.UUID, ch); err != nil {
			return nil, err
		}
		if rec, err = c.conf.Records.FindCollection(ctx, rec.UUID); err != nil {
			return nil, err
		}
	}
	ops, err := c.recordOps(ctx, req, rec, ch)
	if err != nil {
		return nil, err
	}
	if ch.content() {
		if err := c.changeContent(ctx, req, rec, ch); err != nil {
			return nil, err
		}
	} else if err := c.checkConditions(ctx, &rec, ch); err != nil {
		return nil, err
	}
	if len(ops) > 0 {
		if err := c.commit(ctx, ops...); err != nil {
			return nil, err
		}
	}
	if err := c.modified(ctx, req, rec.UUID, ch.side); err != nil {
		return nil, err
	}
	if err := c.setTrash(ctx, req, rec.UUID, ch); err != nil {
		return nil, err
	}
	return c.again(ctx, req, rec.UUID, selected)
}

// recordOps returns what is to be done with the record, and checks it: what it
// refuses must not happen by half.
func (c *collections) recordOps(ctx context.Context, req *Request, rec query.Collection, ch *change) (ops []collfs.RecordOp, err error) {
	move := collfs.RecordOp{Kind: collfs.Move, UUID: rec.UUID, Owner: rec.Owner, Name: rec.Name}
	if ch.owner != nil && *ch.owner != "" {
		move.Owner = collfs.UUID(*ch.owner)
	}
	if ch.name != nil && *ch.name != "" {
		move.Name = *ch.name
	}
	if move.Owner != rec.Owner {
		if err := c.mayTake(ctx, req, rec.Owner); err != nil {
			return nil, err
		}
		if err := c.mayWriteIn(ctx, req, move.Owner); err != nil {
			return nil, err
		}
	}
	if move.Owner != rec.Owner || move.Name != rec.Name {
		_, err := c.conf.Folders.Lookup(ctx, move.Owner, move.Name)
		switch {
		case err == nil && req.Params.Bool("ensure_unique_name"):
			move.Name, move.Unique = uniqueName(move.Name, rec.UUID), true
		case err == nil:
			return nil, fmt.Errorf("%q in %s: %w", move.Name, move.Owner, fs.ErrExist)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		ops = append(ops, move)
	}
	if ch.desc != nil || ch.props != nil {
		op := collfs.RecordOp{Kind: collfs.Update, UUID: rec.UUID, Desc: rec.Description, Properties: rec.Properties}
		if ch.desc != nil {
			op.Desc = *ch.desc
		}
		if ch.props != nil {
			op.Properties = ch.props
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// setTrash does what trash_at and delete_at say.
func (c *collections) setTrash(ctx context.Context, req *Request, id collfs.UUID, ch *change) error {
	if ch.trashAt == nil {
		return nil
	}
	rec, err := c.conf.Records.FindCollection(ctx, id)
	if err != nil {
		return err
	}
	switch at := *ch.trashAt; {
	case at.IsZero():
		if rec.TrashAt.IsZero() {
			return nil
		}
		return c.takeOut(ctx, req, rec)
	case !at.After(c.now()):
		if rec.Trashed(c.now()) {
			return nil
		}
		if err := c.commit(ctx, collfs.RecordOp{Kind: collfs.Trash, UUID: id}); err != nil {
			return err
		}
		return c.modified(ctx, req, id, query.CollectionChange{TrashAt: new(time.Time), DeleteAt: new(time.Time)})
	default:
		if rec.Trashed(c.now()) {
			if err := c.takeOut(ctx, req, rec); err != nil {
				return err
			}
		}
		del := at.Add(trashTime)
		if ch.deleteAt != nil && ch.deleteAt.After(at) {
			del = *ch.deleteAt
		}
		return c.modified(ctx, req, id, query.CollectionChange{TrashAt: &at, DeleteAt: &del})
	}
}

// trashTime is how long what was trashed is kept.
const trashTime = 14 * 24 * time.Hour

// checkConditions checks what a client expects of the present state, which rec
// becomes.
func (c *collections) checkConditions(ctx context.Context, rec *query.Collection, ch *change) error {
	if ch.ifVersion == 0 && ch.ifPDH == "" {
		return nil
	}
	is, err := c.conf.Records.FindCollection(ctx, rec.UUID)
	if err != nil {
		return err
	}
	*rec = is
	failed := &Error{Status: http.StatusPreconditionFailed, Text: "the collection is not as it was expected to be"}
	if ch.ifVersion != 0 && ch.ifVersion != rec.Version {
		return failed
	}
	if ch.ifPDH != "" {
		text, err := c.text(ctx, rec)
		if err != nil {
			return err
		}
		if collfs.PDH(manifest.PDH(text)) != ch.ifPDH {
			return failed
		}
	}
	return nil
}

// errReplaces says that an update takes away what the client may not have seen.
var errReplaces = errors.New("something is replaced")

// maxTries is how often a conditional update is tried when others commit just then.
const maxTries = 20

// changeContent applies what ch wants of the content.
func (c *collections) changeContent(ctx context.Context, req *Request, rec query.Collection, ch *change) error {
	coll, err := c.conf.Files.Open(ctx, rec.UUID)
	if err != nil {
		return err
	}
	defer coll.Release()
	if len(ch.segments) > 0 {
		now := rec
		text, err := c.text(ctx, &now)
		if err != nil {
			return err
		}
		t, err := collfs.ParseManifest(text, c.conf.Blocks)
		if err != nil {
			return err
		}
		if err := c.compareWith(ctx, ch, t); err != nil {
			return err
		}
	}
	keep := rec.Preserve || ch.side.Preserve != nil && *ch.side.Preserve
	var done collfs.Record
	merged := false
	if ch.ifVersion != 0 || ch.ifPDH != "" {
		done, err = c.applyIf(ctx, coll, &rec, ch, keep)
	} else if base := c.baseOf(ctx, req, rec, ch); base != nil {
		done, merged, err = c.applyMerged(ctx, coll, ch, base, keep)
	} else {
		done, err = c.applyAny(ctx, coll, ch, keep)
	}
	if err != nil {
		return err
	}
	if rec.Preserve && ch.side.Preserve == nil && done.Version > rec.Version {
		ch.side.Preserve = new(bool) // the version was made
	}
	if merged {
		// Whether the client takes over what we answer or goes on with what it has
		// sent: its next text is based on this one, at least.
		c.texts.put(textKey{rec.UUID, c.given.gaveSent(req, rec.UUID)}, ch.sent.text, true)
		req.based = true
		return nil
	}
	if ch.whole() {
		c.given.gave(req, rec.UUID, done.Revision)
	}
	return c.keepText(ctx, ch, done)
}

// apply applies what build wants. What that replaces is kept as a version, whatever
// its client is thought to have seen: several may use one token in one place. If it only
// adds something, none is needed.
func (c *collections) apply(ctx context.Context, coll *collfs.Collection, base int64, keep bool, build func(t *collfs.Tree) ([]collfs.Op, error)) (collfs.Record, error) {
	rec, err := coll.ApplyWith(ctx, collfs.ApplyOptions{Base: base, Keep: keep}, func(t *collfs.Tree) ([]collfs.Op, error) {
		ops, err := build(t)
		if err == nil && !keep && replaces(t, ops) {
			err = errReplaces
		}
		return ops, err
	})
	if errors.Is(err, errReplaces) {
		rec, err = coll.ApplyWith(ctx, collfs.ApplyOptions{Base: base, Keep: true}, build)
	}
	return rec, err
}

// applyAny applies ch to whatever is there.
func (c *collections) applyAny(ctx context.Context, coll *collfs.Collection, ch *change, keep bool) (collfs.Record, error) {
	return c.apply(ctx, coll, 0, keep, func(t *collfs.Tree) ([]collfs.Op, error) { return ch.build(t, c.now().UnixNano()) })
}

// replaces reports whether operations take away or replace the content of a file that
// is in t.
func replaces(t *collfs.Tree, ops []collfs.Op) bool {
	return slices.ContainsFunc(ops, func(op collfs.Op) bool {
		switch op.Kind {
		case collfs.OpDelete:
			return true
		case collfs.OpPut, collfs.OpCopy, collfs.OpRename, collfs.OpPatch:
			_, err := t.Stat(op.Path)
			return err == nil
		}
		return false
	})
}

// applyIf applies ch if the collection is as ch expects it.
func (c *collections) applyIf(ctx context.Context, coll *collfs.Collection, rec *query.Collection, ch *change, keep bool) (done collfs.Record, err error) {
	for range maxTries {
		if err := c.checkConditions(ctx, rec, ch); err != nil {
			return done, err
		}
		o := collfs.ApplyOptions{Base: rec.Revision, Keep: keep}
		if rec.Revision == 0 { // which stands for any: there is nothing to lose
			o.Base = 0
		}
		done, err = coll.ApplyWith(ctx, o, func(t *collfs.Tree) ([]collfs.Op, error) {
			if rec.Revision == 0 && t.Files()+t.Dirs() > 0 {
				return nil, collfs.ErrStale
			}
			return ch.build(t, c.now().UnixNano())
		})
		if !errors.Is(err, collfs.ErrStale) {
			return done, err
		}
	}
	return done, err
}

// A base is what a client had before it changed it.
type base struct {
	revision int64 // negative: what it has sent itself, which is no revision
	tree     *collfs.Tree
}

// baseOf returns what the client of a whole manifest has based it on; nil if that is
// not known.
func (c *collections) baseOf(ctx context.Context, req *Request, rec query.Collection, ch *change) *base {
	if !ch.whole() {
		return nil
	}
	revision, ok := c.given.last(req, rec.UUID)
	if !ok || revision > rec.Revision {
		return nil
	}
	text, ok := c.texts.get(textKey{rec.UUID, revision})
	if !ok && revision < 0 {
		return nil
	}
	if !ok {
		var err error
		if text, err = c.conf.Records.ManifestAt(ctx, rec.UUID, revision); err != nil {
			return nil // it is gone: what is there is kept as a version instead
		}
	}
	tree, err := collfs.ParseManifest(text, c.conf.Blocks)
	if err != nil {
		return nil
	}
	return &base{revision, tree}
}

// applyMerged applies a whole manifest, merged with what others have committed since
// its base.
func (c *collections) applyMerged(ctx context.Context, coll *collfs.Collection, ch *change, b *base, keep bool) (done collfs.Record, merged bool, err error) {
	at := c.now().UnixNano()
	if b.revision >= 0 {
		done, err = c.apply(ctx, coll, b.revision, keep, func(t *collfs.Tree) ([]collfs.Op, error) {
			if b.revision == 0 && t.Files()+t.Dirs() > 0 { // as a base, 0 is any revision
				return nil, collfs.ErrStale
			}
			return ch.build(t, at)
		})
		if !errors.Is(err, collfs.ErrStale) {
			return done, false, err
		}
	}
	rec, err := coll.Record(ctx)
	if err != nil {
		return done, false, err
	}
	done, err = c.apply(ctx, coll, 0, keep, func(t *collfs.Tree) ([]collfs.Op, error) {
		ops, _, err := collfs.TurnMerged(t, b.tree, ch.sent.tree, rec.ModifiedAt, at)
		if err != nil {
			return nil, err
		}
		return ch.withSegments(t, ops, at)
	})
	return done, true, err
}

// keepText keeps the text that a client has sent as that of the revision it has made.
func (c *collections) keepText(ctx context.Context, ch *change, rec collfs.Record) error {
	if !ch.whole() || ch.segments != nil || !ch.sent.keepsText() {
		return nil
	}
	if err := c.conf.Records.KeepManifest(ctx, rec.UUID, rec.Revision, ch.sent.text); err != nil {
		return err
	}
	c.texts.put(textKey{rec.UUID, rec.Revision}, ch.sent.text, true)
	return nil
}
