package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
)

// record does one operation on a record. made has the records of collections that
// were made with what is in them.
func (t *transaction) record(ctx context.Context, op *collfs.RecordOp, made map[collfs.UUID]collfs.Record) (err error) {
	switch op.Kind {
	case collfs.CreateCollection:
		var rec collfs.Record
		rec, err = t.createCollection(ctx, op, t.fresh[op.UUID])
		if t.fresh[op.UUID] != nil {
			made[op.UUID] = rec
		}
	case collfs.CreateProject:
		err = t.createProject(ctx, op)
	case collfs.Move:
		err = t.move(ctx, op)
	case collfs.Update:
		err = t.update(ctx, op)
	case collfs.Trash:
		err = t.trash(ctx, op)
	case collfs.Untrash:
		err = t.untrash(ctx, op)
	case collfs.DeleteNow:
		err = t.deleteNow(ctx, op)
	default:
		err = fs.ErrInvalid
	}
	return t.c.wrap("record", op.UUID, err)
}

// resource returns the resource that a record is of.
func resource(real string) (string, error) {
	switch kindOf(real) {
	case kindCollection:
		return "collections", nil
	case kindGroup:
		return "groups", nil
	}
	return "", fs.ErrNotExist
}

// freeName returns the name that a record is to have in a project: it is not taken,
// by a collection or a project, but perhaps by the record except itself.
func (t *transaction) freeName(ctx context.Context, op *collfs.RecordOp, owner, name, except string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("record name %q: %w", name, collfs.ErrNameInvalid)
	}
	for i := 1; ; i++ {
		try := name
		if i > 1 {
			try = fmt.Sprintf("%s (%d)", name, i)
		}
		taken, err := t.c.taken(ctx, owner, try, except)
		switch {
		case err != nil:
			return "", err
		case !taken:
			return try, nil
		case !op.Unique:
			return "", fmt.Errorf("%q in %s: %w", name, op.Owner, fs.ErrExist)
		}
	}
}

// taken reports whether a project has something called name, besides except.
func (c *Catalog) taken(ctx context.Context, owner, name, except string) (bool, error) {
	items, err := c.namedIn(ctx, owner, name)
	for _, i := range items {
		if i.UUID() != "" && i.UUID() != except {
			return true, nil
		}
	}
	return false, err
}

// named tries an update that gives a record its name, until the name is free or must
// not be changed. What is taken by somebody else meanwhile, the server refuses.
func (t *transaction) named(ctx context.Context, op *collfs.RecordOp, owner, except string, send func(name string) error) error {
	for range 5 {
		name, err := t.freeName(ctx, op, owner, t.c.names.encode(op.Name), except)
		if err != nil {
			return err
		}
		var refused *api.Error
		if err = send(name); err == nil || !errors.As(err, &refused) || refused.Status != http.StatusUnprocessableEntity {
			return err
		}
		if taken, terr := t.c.taken(ctx, owner, name, except); terr != nil || !taken {
			return err
		}
		if !op.Unique {
			return fmt.Errorf("%q in %s: %w", op.Name, op.Owner, fs.ErrExist)
		}
	}
	return fmt.Errorf("%q in %s: %w", op.Name, op.Owner, fs.ErrExist)
}

// uuidParam is the UUID that a new record is asked to get, of a server that lets its
// clients choose.
func (c *Catalog) uuidParam(ctx context.Context, id collfs.UUID) (string, error) {
	d, err := c.api.Discovery(ctx)
	if err != nil || len(d.Keepdav) == 0 {
		return "", err
	}
	return string(id), nil
}

func (t *transaction) createCollection(ctx context.Context, op *collfs.RecordOp, ch *collfs.Change) (collfs.Record, error) {
	owner := t.c.realID(op.Owner)
	uuid, err := t.c.uuidParam(ctx, op.UUID)
	if err != nil {
		return collfs.Record{}, err
	}
	if t.c.realID(op.UUID) != string(op.UUID) {
		return collfs.Record{}, fs.ErrExist
	}
	record := map[string]any{"owner_uuid": owner, "manifest_text": "", "description": op.Desc}
	if uuid != "" {
		record["uuid"] = uuid
	}
	d, err := t.c.extension(ctx)
	if err != nil {
		return collfs.Record{}, err
	}
	later := ch // what is committed once the record is there
	if d == nil {
		later = nil
	} else {
		ch = nil
	}
	k := &commit{c: t.c, e: &entry{}, base: &base{pdh: emptyPDH, tree: collfs.NewTree()}, plan: &plan{next: collfs.NewTree()}}
	if ch != nil {
		if record["manifest_text"], err = k.build(ctx, ch.Ops); err != nil {
			return collfs.Record{}, err
		}
		record["preserve_version"] = true
	}
	properties, err := withAttributes(op.Properties, k.attrs)
	if err != nil {
		return collfs.Record{}, err
	}
	record["properties"] = properties
	var got api.Collection
	err = t.named(ctx, op, owner, "", func(name string) error {
		record["name"] = name
		t.ends = append(t.ends, t.c.events.makes(place{owner, name}))
		err := t.c.api.Send(ctx, http.MethodPost, "collections", api.Params{"collection": record, "select": recordFields}, &got)
		if errors.Is(err, api.ErrUnclear) {
			if found := t.lookAgain(ctx, owner, name); found != nil {
				got = *found
				return nil
			}
		}
		return err
	})
	if err != nil {
		return collfs.Record{}, err
	}
	t.c.alias(op.UUID, got.UUID)
	t.undone(func(ctx context.Context) error {
		return t.c.api.Send(ctx, http.MethodPost, "collections/"+got.UUID+"/trash", nil, nil)
	})
	e := t.c.entry(got.UUID)
	e.remember(k.written())
	k.learned(got.UUID)
	e.mu.Lock()
	e.seen, e.record, e.attrs = true, got, k.attrs
	e.record.FileCount, e.record.FileSizeTotal = k.plan.next.Files(), k.plan.next.Bytes()
	e.base = &base{pdh: got.PDH, attrs: k.attrs, tree: k.plan.next}
	if e.revision = 0; ch != nil {
		e.revision = 1
	}
	rec := t.c.recordLocked(e)
	tell := []collfs.Event{t.c.event(got.UUID, collfs.Created, 0, &got)}
	if ch != nil {
		tell = append(tell, t.c.event(got.UUID, collfs.ContentChanged, 1, &got))
	}
	e.mu.Unlock()
	t.c.events.tell(tell)
	if later != nil {
		return t.c.commitExtended(ctx, d, e, later)
	}
	return rec, nil
}

const emptyPDH = "d41d8cd98f00b204e9800998ecf8427e+0"

// build makes the manifest of a new collection.
func (k *commit) build(ctx context.Context, ops []collfs.Op) (string, error) {
	for i := range ops {
		if err := k.plan.next.Apply(ops[i]); err != nil {
			return "", err
		}
	}
	err := k.plan.next.Walk(func(_ string, info collfs.NodeInfo, content collfs.Content) error {
		if !info.Dir {
			k.plan.contents = append(k.plan.contents, content)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	blocks, holes := k.plan.blocks()
	if len(blocks) > 0 && k.c.conf.StoreBlocks != nil {
		if err := k.c.conf.StoreBlocks(ctx, blocks); err != nil {
			return "", err
		}
	}
	if k.zero, err = k.c.zeroBlock(ctx, holes); err != nil {
		return "", err
	}
	if err := k.encodeAttributes(); err != nil {
		return "", err
	}
	var out bytes.Buffer
	p := &treePrinter{c: k.c, locator: k.locate(ctx), zero: k.zero}
	if err := p.print(&out, k.plan.next); err != nil {
		return "", err
	}
	return out.String(), nil
}

// lookAgain finds what a request has made whose reply was lost; nil if nothing.
func (t *transaction) lookAgain(ctx context.Context, owner, name string) *api.Collection {
	items, err := t.c.namedIn(ctx, owner, name)
	if err != nil {
		return nil
	}
	for _, i := range items {
		if i.Collection != nil {
			return i.Collection
		}
	}
	return nil
}

func (t *transaction) createProject(ctx context.Context, op *collfs.RecordOp) error {
	owner := t.c.realID(op.Owner)
	uuid, err := t.c.uuidParam(ctx, op.UUID)
	if err != nil {
		return err
	}
	if t.c.realID(op.UUID) != string(op.UUID) {
		return fs.ErrExist
	}
	record := map[string]any{"owner_uuid": owner, "group_class": "project"}
	if uuid != "" {
		record["uuid"] = uuid
	}
	var got api.Group
	err = t.named(ctx, op, owner, "", func(name string) error {
		record["name"] = name
		t.ends = append(t.ends, t.c.events.makes(place{owner, name}))
		err := t.c.api.Send(ctx, http.MethodPost, "groups", api.Params{"group": record}, &got)
		if errors.Is(err, api.ErrUnclear) {
			if items, lerr := t.c.namedIn(ctx, owner, name); lerr == nil {
				for _, i := range items {
					if i.Group != nil {
						got = *i.Group
						return nil
					}
				}
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	t.c.alias(op.UUID, got.UUID)
	t.undone(func(ctx context.Context) error {
		return t.c.api.Send(ctx, http.MethodPost, "groups/"+got.UUID+"/trash", nil, nil)
	})
	t.c.sawGroup(&got)
	return nil
}

// move gives a record an owner and a name.
func (t *transaction) move(ctx context.Context, op *collfs.RecordOp) error {
	real, owner := t.c.realID(op.UUID), t.c.realID(op.Owner)
	what, err := resource(real)
	if err != nil {
		return err
	}
	was, err := t.live(ctx, real)
	if err != nil {
		return err
	}
	if what == "groups" {
		if err := t.notBelow(ctx, real, owner); err != nil {
			return err
		}
	}
	put := func(ctx context.Context, owner, name string) error {
		return t.c.patch(ctx, real, map[string]any{"owner_uuid": owner, "name": name})
	}
	err = t.named(ctx, op, owner, real, func(name string) error { return put(ctx, owner, name) })
	if err != nil {
		return err
	}
	t.undone(func(ctx context.Context) error { return put(ctx, was.owner, was.name) })
	return nil
}

// patch changes attributes of a record and takes note of what it is then.
func (c *Catalog) patch(ctx context.Context, real string, attrs map[string]any) error {
	if kindOf(real) == kindGroup {
		var got api.Group
		err := c.api.Send(ctx, http.MethodPatch, "groups/"+real, api.Params{"group": attrs}, &got)
		if err == nil {
			c.sawGroup(&got)
		}
		return err
	}
	var got api.Collection
	err := c.api.Send(ctx, http.MethodPatch, "collections/"+real, api.Params{"collection": attrs, "select": recordFields}, &got)
	if err == nil {
		c.saw(&got)
	}
	return err
}

// act does what is not an update: trash, untrash, delete.
func (c *Catalog) act(ctx context.Context, method, real, action string, p api.Params) error {
	what, err := resource(real)
	if err != nil {
		return err
	}
	path := what + "/" + real
	if action != "" {
		path += "/" + action
	}
	if what == "groups" {
		var got api.Group
		err := c.api.Send(ctx, method, path, p, &got)
		if err == nil {
			c.sawGroup(&got)
		}
		return err
	}
	// The reply may have a manifest that is large; what it is now is asked for.
	if err := c.api.Send(ctx, method, path, p, nil); err != nil {
		return err
	}
	got, err := c.get(ctx, real, recordFields)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		c.saw(got)
	}
	return err
}

// A was is what a record was before it was changed.
type was struct {
	owner, name string
	trashed     bool
	properties  json.RawMessage
	description string
}

// look returns what a record is.
func (t *transaction) look(ctx context.Context, real string) (was, error) {
	switch kindOf(real) {
	case kindCollection:
		got, err := t.c.get(ctx, real, recordFields)
		if err != nil {
			return was{}, err
		}
		t.c.saw(got)
		return was{got.OwnerUUID, got.Name, got.IsTrashed, got.Properties, got.Description}, nil
	case kindGroup:
		got, err := t.c.group(ctx, real)
		if err != nil {
			return was{}, err
		}
		return was{got.OwnerUUID, got.Name, got.IsTrashed, got.Properties, ""}, nil
	}
	return was{}, fs.ErrNotExist
}

// live is look for what is not in the trash.
func (t *transaction) live(ctx context.Context, real string) (was, error) {
	w, err := t.look(ctx, real)
	if err == nil && w.trashed {
		err = fmt.Errorf("is in the trash: %w", fs.ErrNotExist)
	}
	return w, err
}

// notBelow checks that a project is not to be moved into itself.
func (t *transaction) notBelow(ctx context.Context, project, owner string) error {
	for range maxDepth {
		if owner == project {
			return collfs.ErrIntoItself
		}
		if kindOf(owner) != kindGroup {
			return nil
		}
		g, err := t.c.group(ctx, owner)
		if err != nil {
			return err
		}
		owner = g.OwnerUUID
	}
	return nil
}

// maxDepth is how deep projects are followed.
const maxDepth = 100

func (t *transaction) update(ctx context.Context, op *collfs.RecordOp) error {
	real := t.c.realID(op.UUID)
	w, err := t.look(ctx, real)
	if err != nil {
		return err
	}
	attrs, _ := attributesOf(w.properties)
	properties, err := withAttributes(op.Properties, attrs)
	if err != nil {
		return err
	}
	if err := t.c.patch(ctx, real, map[string]any{"properties": properties, "description": op.Desc}); err != nil {
		return err
	}
	t.undone(func(ctx context.Context) error {
		before := w.properties
		if len(before) == 0 {
			before = json.RawMessage("{}")
		}
		return t.c.patch(ctx, real, map[string]any{"properties": before, "description": w.description})
	})
	return nil
}

// checkStill finds out whether what is to go to the trash is as it was seen.
func (t *transaction) checkStill(ctx context.Context) error {
	going := make(map[string]bool)
	for i := range t.tx.Records {
		op := &t.tx.Records[i]
		if op.Kind != collfs.Trash {
			continue
		}
		real := t.c.realID(op.UUID)
		if op.Still {
			if err := t.stillIs(ctx, op, real, going); err != nil {
				return t.c.wrap("record", op.UUID, err)
			}
		}
		going[real] = true
	}
	return nil
}

// stillIs checks one operation; what is going already does not count.
func (t *transaction) stillIs(ctx context.Context, op *collfs.RecordOp, real string, going map[string]bool) error {
	if kindOf(real) == kindCollection {
		return t.c.checkBase(ctx, t.c.entry(real), op.Base)
	}
	for item, err := range t.c.contents(ctx, real, nil) {
		if err != nil {
			return err
		}
		if !going[item.UUID()] {
			return fmt.Errorf("has %s in it: %w", item.UUID(), collfs.ErrNotEmpty)
		}
	}
	return nil
}

func (t *transaction) trash(ctx context.Context, op *collfs.RecordOp) error {
	real := t.c.realID(op.UUID)
	if _, err := t.live(ctx, real); err != nil {
		return err
	}
	if err := t.c.act(ctx, http.MethodPost, real, "trash", nil); err != nil {
		return err
	}
	back := func(ctx context.Context) error {
		return t.c.act(ctx, http.MethodPost, real, "untrash", api.Params{"ensure_unique_name": true})
	}
	if op.Still && kindOf(real) == kindCollection {
		// Somebody may have changed it just before; then it was not what was seen.
		e := t.c.entry(real)
		e.mu.Lock()
		revision := e.revision
		e.mu.Unlock()
		if revision != op.Base {
			return errors.Join(collfs.ErrStale, back(ctx))
		}
	}
	t.undone(back)
	return nil
}

func (t *transaction) untrash(ctx context.Context, op *collfs.RecordOp) error {
	real := t.c.realID(op.UUID)
	w, err := t.look(ctx, real)
	if err != nil {
		return err
	}
	if !w.trashed {
		return fmt.Errorf("is not in the trash: %w", fs.ErrInvalid)
	}
	o := *op
	owner := w.owner
	if o.Owner != "" {
		owner = t.c.realID(o.Owner)
	}
	o.Owner = t.c.shownID(owner)
	if o.Name == "" {
		o.Name = t.c.names.decode(w.name)
	}
	t.undone(func(ctx context.Context) error { return t.c.act(ctx, http.MethodPost, real, "trash", nil) })
	return t.named(ctx, &o, owner, real, func(name string) error {
		// Under the name that it had it may be in somebody's way now.
		other := name != w.name || owner != w.owner
		if err := t.c.act(ctx, http.MethodPost, real, "untrash", api.Params{"ensure_unique_name": other}); err != nil || !other {
			return err
		}
		return t.c.patch(ctx, real, map[string]any{"owner_uuid": owner, "name": name})
	})
}

// deleteNow asks the server to delete what is in the trash; it does so when no
// signature of its blocks can be in use any more.
func (t *transaction) deleteNow(ctx context.Context, op *collfs.RecordOp) error {
	real := t.c.realID(op.UUID)
	w, err := t.look(ctx, real)
	if err != nil {
		return err
	}
	if !w.trashed {
		return fmt.Errorf("is not in the trash: %w", fs.ErrInvalid)
	}
	return t.c.act(ctx, http.MethodDelete, real, "", nil)
}
