package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// A commit is one change set on its way to the server.
type commit struct {
	c    *Catalog
	e    *entry
	base *base
	now  *api.Collection // what the server has before
	lim  limits

	plan   *plan
	zero   *keepio.Block
	expect string           // the hash of what the collection is to be
	attrs  string           // the attributes that it is to have
	setsAt bool             // they change
	used   []keepio.Locator // that the request names
}

// updateFields are asked for in the reply to an update.
var updateFields = []string{"uuid", "portable_data_hash", "modified_at", "version", "preserve_version", "file_count", "file_size_total"}

// commitChange commits one change set. The caller has e's turn.
func (c *Catalog) commitChange(ctx context.Context, e *entry, ch *collfs.Change) (collfs.Record, error) {
	d, err := c.extension(ctx)
	if err != nil {
		return collfs.Record{}, err
	}
	if d != nil {
		return c.commitExtended(ctx, d, e, ch)
	}
	if err := c.checkBase(ctx, e, ch.Base); err != nil {
		return collfs.Record{}, err
	}
	lim, err := c.serverLimits(ctx)
	if err != nil {
		return collfs.Record{}, err
	}
	if !lim.versioning && !c.conf.AcceptLostUpdates {
		return collfs.Record{}, fmt.Errorf("the cluster keeps no versions, and to lose updates was not accepted: %w", collfs.ErrReadOnly)
	}
	rec, err := c.commitOps(ctx, e, lim, ch.Base, ch.Ops)
	c.trim()
	return rec, err
}

// checkBase is collfs.ErrStale if the server has something else than revision base
// of a collection, fs.ErrNotExist if it is in the trash. The caller has e's turn.
func (c *Catalog) checkBase(ctx context.Context, e *entry, base int64) error {
	d, err := c.extension(ctx)
	if err != nil {
		return err
	}
	if d != nil {
		rec, err := c.recordExtended(ctx, d, e.uuid)
		switch {
		case err != nil:
			return err
		case !rec.TrashAt.IsZero():
			return fmt.Errorf("is in the trash: %w", fs.ErrNotExist)
		case rec.Revision != base:
			return fmt.Errorf("is at revision %d, not %d: %w", rec.Revision, base, collfs.ErrStale)
		}
		return nil
	}
	got, err := c.get(ctx, e.uuid, recordFields)
	if err != nil {
		return err
	}
	rec := c.saw(got)
	if got.IsTrashed {
		return fmt.Errorf("is in the trash: %w", fs.ErrNotExist)
	}
	if rec.Revision != base {
		return fmt.Errorf("is at revision %d, not %d: %w", rec.Revision, base, collfs.ErrStale)
	}
	return nil
}

// commitOps commits operations that are made to what e knows: in one request, or in
// several if one would be too large. If a later one fails, the collection is at
// another revision and who made the operations has to merge them again, which does
// no harm to those that are facts.
func (c *Catalog) commitOps(ctx context.Context, e *entry, lim limits, base int64, ops []collfs.Op) (collfs.Record, error) {
	rec, err := c.commitOnce(ctx, e, lim, base, ops)
	if !errors.Is(err, api.ErrTooLarge) || len(ops) < 2 {
		return rec, err
	}
	half := len(ops) / 2
	if rec, err = c.commitOps(ctx, e, lim, base, ops[:half]); err != nil {
		return collfs.Record{}, err
	}
	return c.commitOps(ctx, e, lim, rec.Revision, ops[half:])
}

func (c *Catalog) commitOnce(ctx context.Context, e *entry, lim limits, revision int64, ops []collfs.Op) (collfs.Record, error) {
	base, now, err := c.treeOf(ctx, e, revision)
	if err != nil {
		return collfs.Record{}, err
	}
	k := &commit{c: c, e: e, base: base, now: now, lim: lim}
	if k.plan, err = makePlan(base.tree, ops); err != nil {
		return collfs.Record{}, err
	}
	params, err := k.prepare(ctx, ops)
	if err != nil {
		return collfs.Record{}, err
	}
	if params == nil { // nothing that the server keeps
		return k.accept(now)
	}
	return k.send(ctx, params)
}

// prepare stores the blocks of the plan and returns the parameters of the request;
// nil if there is nothing to ask for.
func (k *commit) prepare(ctx context.Context, ops []collfs.Op) (api.Params, error) {
	blocks, _ := k.plan.blocks()
	if len(blocks) > 0 && k.c.conf.StoreBlocks != nil {
		if err := k.c.conf.StoreBlocks(ctx, blocks); err != nil {
			return nil, err
		}
	}
	var err error
	if k.zero, err = k.c.zeroBlock(ctx, hasHoles(k.plan.next)); err != nil {
		return nil, err
	}
	if k.expect, err = hashOf(k.plan.next, k.zero); err != nil {
		return nil, err
	}
	if err := k.encodeAttributes(); err != nil {
		return nil, err
	}
	params := api.Params{"select": updateFields}
	record := make(map[string]any)
	if segments := k.segments(k.locate(ctx), ops); segments != nil {
		params["replace_segments"] = segments
	} else if len(k.plan.targets) > 0 {
		text, err := k.fragment(ctx)
		if err != nil {
			return nil, err
		}
		if text != "" {
			record["manifest_text"] = text
		}
		params["replace_files"] = k.plan.targets
	}
	if k.setsAt {
		_, rest := attributesOf(k.now.Properties)
		properties, err := withAttributes(rest, k.attrs)
		if err != nil {
			return nil, err
		}
		record["properties"] = properties
	}
	if params["replace_files"] == nil && params["replace_segments"] == nil && !k.setsAt {
		return nil, nil
	}
	record["preserve_version"] = true
	params["collection"] = record
	if size := sizeOf(params); size > k.lim.request {
		return nil, fmt.Errorf("an update of %d bytes, of which the server takes %d: %w", size, k.lim.request, errors.Join(api.ErrTooLarge, keepio.ErrFull))
	}
	return params, nil
}

// sizeOf returns how large a request is.
func sizeOf(params api.Params) int64 {
	body, err := json.Marshal(params)
	if err != nil {
		return 0
	}
	return int64(len(body))
}

func (k *commit) fragment(ctx context.Context) (string, error) {
	var zero keepio.Locator
	if k.zero != nil {
		var err error
		if zero, err = k.locate(ctx)(k.zero); err != nil {
			return "", err
		}
	}
	return k.plan.fragment(k.locate(ctx), zero)
}

// locate returns Catalog.locator that keeps what it returns for learned.
func (k *commit) locate(ctx context.Context) locate {
	return func(b *keepio.Block) (keepio.Locator, error) {
		loc, err := k.c.locator(ctx, b)
		if err == nil {
			k.used = append(k.used, loc)
		}
		return loc, err
	}
}

// learned says that the collection has the blocks now that the commit referred to.
func (k *commit) learned(source string) {
	if k.c.conf.Locators != nil && len(k.used) > 0 {
		k.c.conf.Locators.Learn(source, k.used)
	}
}

// hashOf returns the portable data hash of a tree as Arvados' Go writers print it.
func hashOf(t *collfs.Tree, zero *keepio.Block) (string, error) {
	text, err := t.AppendManifest(nil, func() (hash [16]byte, size uint32, err error) {
		if zero == nil {
			return hash, 0, collfs.ErrNotStored
		}
		hash, size, _ = zero.Stored()
		return hash, size, nil
	})
	if err != nil {
		return "", err
	}
	return manifest.PDH(text), nil
}

// encodeAttributes makes what the record's properties are to have.
func (k *commit) encodeAttributes() error {
	a := attributesOfTree(k.plan.next, k.zero)
	if before, err := decodeAttributes(k.base.attrs); err == nil {
		a.restored = before.restored
	}
	text, dropped, err := a.fit(k.c.conf.MaxAttributes)
	if err != nil {
		return err
	}
	if dropped > 0 {
		k.c.conf.Log.Warn().Str("collection", k.e.uuid).Int("files", dropped).Msg("the record has no room for all times and modes: those of the files changed longest ago are not kept")
	}
	k.attrs, k.setsAt = text, text != k.base.attrs
	return nil
}

// send makes the request and finds out what has become of it.
func (k *commit) send(ctx context.Context, params api.Params) (collfs.Record, error) {
	// Should the reply get lost, the contents must be known again all the same.
	k.e.remember(k.written())
	k.e.expects(k.expect)
	defer k.e.expects("")
	var got api.Collection
	err := k.c.api.Send(ctx, http.MethodPatch, "collections/"+k.e.uuid, params, &got)
	switch {
	case err == nil:
	case errors.Is(err, api.ErrUnclear):
		return k.settle(ctx, err)
	default:
		return collfs.Record{}, k.explain(ctx, err)
	}
	if k.lim.versioning && !got.PreserveVersion {
		k.mark(ctx)
	}
	if got.PDH != k.expect {
		return k.compare(ctx, &got)
	}
	return k.asExpected(ctx, &got)
}

// asExpected is for an update after which the collection has the hash that was expected.
func (k *commit) asExpected(ctx context.Context, got *api.Collection) (collfs.Record, error) {
	alone, err := k.wasAlone(ctx, got)
	if err != nil {
		k.c.conf.Log.Warn().Err(err).Str("collection", k.e.uuid).Msg("whether somebody changed the collection at the same time could not be found out")
	}
	if !alone {
		return k.overtaken(ctx, got, k.plan.next)
	}
	return k.accept(got)
}

// wasAlone reports whether nobody came between our look and our update. The hash does
// not tell if ours replaced all that theirs had changed; the versions do: each of our
// updates makes one, and so does an update of a state that we have marked.
func (k *commit) wasAlone(ctx context.Context, got *api.Collection) (bool, error) {
	switch {
	case !k.lim.versioning, got.Version == k.now.Version:
		return true, nil
	case k.now.PreserveVersion:
		return got.Version == k.now.Version+1, nil
	}
	before, err := k.c.version(ctx, k.e.uuid, got.Version-1, []string{"uuid", "portable_data_hash"})
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && before.PDH == k.base.pdh, err
}

func (e *entry) expects(pdh string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expect = pdh
}

// written returns the contents that the commit makes, as they will be read again.
func (k *commit) written() []collfs.Content {
	out := make([]collfs.Content, len(k.plan.contents))
	for i, w := range k.plan.contents {
		w.Segments = noHoles(w.Segments, k.zero)
		out[i] = w
	}
	return out
}

// accept makes what was expected the state of e and returns the record.
func (k *commit) accept(got *api.Collection) (collfs.Record, error) {
	e := k.e
	k.learned(e.uuid)
	e.mu.Lock()
	e.ours.add(k, got)
	e.revision++
	e.record.PDH, e.record.Version, e.record.ModifiedAt, e.record.PreserveVersion = got.PDH, got.Version, got.ModifiedAt, got.PreserveVersion
	e.record.FileCount, e.record.FileSizeTotal = k.plan.next.Files(), k.plan.next.Bytes()
	if k.setsAt {
		_, rest := attributesOf(e.record.Properties)
		e.record.Properties, _ = withAttributes(rest, k.attrs) // which worked before
	}
	e.attrs = k.attrs
	e.base = &base{pdh: got.PDH, attrs: k.attrs, tree: k.plan.next}
	rec := k.c.recordLocked(e)
	tell := []collfs.Event{k.c.event(e.uuid, collfs.ContentChanged, e.revision, &e.record)}
	e.mu.Unlock()
	k.c.events.tell(tell)
	return rec, nil
}

// mark asks the server to keep the present state as a version when it changes, which
// the reply to an update did not confirm. If that fails, the next commit tries again.
func (k *commit) mark(ctx context.Context) {
	err := k.c.api.Send(ctx, http.MethodPatch, "collections/"+k.e.uuid, api.Params{
		"collection": map[string]any{"preserve_version": true}, "select": updateFields,
	}, nil)
	if err != nil {
		k.c.conf.Log.Warn().Err(err).Str("collection", k.e.uuid).Msg("the server does not promise to keep the present state as a version")
	}
}

// explain finds out why the server refused an update.
func (k *commit) explain(ctx context.Context, err error) error {
	var refused *api.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.Status {
	case http.StatusBadRequest: // perhaps a path that is the source of another is gone
		got, gerr := k.c.get(ctx, k.e.uuid, recordFields)
		if gerr != nil {
			return errors.Join(gerr, err)
		}
		if got.PDH != k.base.pdh {
			k.c.saw(got)
			return errors.Join(collfs.ErrStale, err)
		}
	case http.StatusForbidden:
		if level, lerr := k.c.levelOf(ctx, k.e.uuid); lerr == nil && level < collfs.CanWrite {
			return errors.Join(collfs.ErrReadOnly, err)
		}
	}
	return err
}

// settle finds out whether an update took place whose reply was lost.
func (k *commit) settle(ctx context.Context, lost error) (collfs.Record, error) {
	got, err := k.c.get(ctx, k.e.uuid, recordFields)
	if err != nil {
		return collfs.Record{}, errors.Join(collfs.ErrUnknownOutcome, lost, err)
	}
	attrs, _ := attributesOf(got.Properties)
	switch {
	case got.PDH == k.expect && attrs == k.attrs:
		return k.asExpected(ctx, got)
	case got.PDH == k.base.pdh && attrs == k.base.attrs:
		// It did not take place, or not yet. Who tries again finds out.
		return collfs.Record{}, errors.Join(keepio.ErrUnavailable, lost)
	}
	k.c.saw(got)
	if err := k.lookBack(ctx, got); err != nil {
		k.c.conf.Log.Warn().Err(err).Str("collection", k.e.uuid).Msg("what somebody changed at the same time could not be looked for: it is in the versions of the collection")
	}
	return collfs.Record{}, errors.Join(collfs.ErrStale, lost)
}

// lookBack looks whether an update whose reply was lost took place before the collection
// became what got is, and brings back what it destroyed unseen.
func (k *commit) lookBack(ctx context.Context, got *api.Collection) error {
	if !k.lim.versioning || got.Version == k.now.Version {
		return nil
	}
	var page struct {
		Items []api.Collection `json:"items"`
	}
	err := k.c.api.Get(ctx, "collections", api.Params{
		"filters": []api.Filter{{"current_version_uuid", "=", k.e.uuid}, {"version", ">", k.now.Version}}, "order": "version asc",
		"include_old_versions": true, "select": []string{"uuid", "version", "portable_data_hash"}, "limit": maxSteps, "count": "none",
	}, &page)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(page.Items, func(c api.Collection) bool { return c.PDH == k.expect })
	if i < 0 {
		return nil
	}
	now, err := k.c.plainTree(ctx, got.PDH)
	if err != nil {
		return err
	}
	files, err := k.overwritten(ctx, &page.Items[i], now)
	if err != nil {
		return err
	}
	return k.c.restore(ctx, k.e, now, files)
}

// compare is for an update after which the collection has another hash than
// expected: because the server prints it otherwise, or because somebody came between.
func (k *commit) compare(ctx context.Context, got *api.Collection) (collfs.Record, error) {
	text, err := k.c.textOf(ctx, got.PDH)
	if err != nil {
		// It is a fact; what the collection is now, the next load will tell.
		k.c.conf.Log.Warn().Err(err).Str("collection", k.e.uuid).Msg("what an update has made could not be read")
		return k.overtaken(ctx, got, nil)
	}
	after, err := collfs.ParseManifest([]byte(text), k.c.conf.Blocks)
	if err != nil {
		return collfs.Record{}, err
	}
	if sameFiles(after, k.plan.next, k.zero) {
		return k.accept(got)
	}
	return k.overtaken(ctx, got, after)
}

func hasHoles(t *collfs.Tree) (holes bool) {
	t.Blocks(func(s keepio.Segment) { holes = holes || s.Block == nil })
	return holes
}

// sameFiles reports whether two trees have the same files and directories, the first
// being read from a manifest.
func sameFiles(read, want *collfs.Tree, zero *keepio.Block) bool {
	if read.Files() != want.Files() || read.Dirs() != want.Dirs() || read.Bytes() != want.Bytes() {
		return false
	}
	err := want.Walk(func(path string, info collfs.NodeInfo, k collfs.Content) error {
		is, err := read.Stat(path)
		if err != nil || is.Dir != info.Dir || !info.Dir && is.ID != spansID(noHoles(k.Segments, zero)) {
			return errDiffers
		}
		return nil
	})
	return err == nil
}
