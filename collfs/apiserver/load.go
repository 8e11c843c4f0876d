package apiserver

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

var pdhPattern = regexp.MustCompile(`^[0-9a-f]{32}\+[0-9]+$`)

func isPDH(s string) bool { return pdhPattern.MatchString(s) }

// Load is collfs.Catalog. A UUID that is a portable data hash is a collection of
// one version, which nobody can change.
func (c *Catalog) Load(ctx context.Context, id collfs.UUID, version int) (collfs.Record, collfs.Saved, error) {
	rec, saved, err := c.load(ctx, id, version)
	return rec, saved, c.wrap("collection", id, err)
}

func (c *Catalog) load(ctx context.Context, id collfs.UUID, version int) (collfs.Record, collfs.Saved, error) {
	if err := ctx.Err(); err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	if isPDH(string(id)) {
		return c.loadPDH(ctx, string(id))
	}
	if version != 0 {
		return c.loadVersion(ctx, c.realID(id), version)
	}
	e := c.entry(c.realID(id))
	if err := e.take(ctx); err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	defer e.give()
	if err := c.names.load(ctx); err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	d, err := c.extension(ctx)
	if err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	if d != nil {
		rec, saved, err := c.loadTree(ctx, d, e)
		if errors.Is(err, fs.ErrNotExist) {
			return c.loadTrashed(ctx, e)
		}
		return rec, saved, err
	}
	rec, b, err := c.loadEntry(ctx, e)
	if err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	repaired, err := c.repairLost(ctx, e, b)
	if err == nil && repaired {
		rec, b, err = c.loadEntry(ctx, e)
	}
	if err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	saved, err := c.savedOf(b)
	c.trim()
	return rec, saved, err
}

// withManifest are the fields of a record and its manifest.
var withManifest = append([]string{"manifest_text"}, recordFields...)

// loadEntry asks for the present state of a collection and keeps it. The caller has
// e's turn.
func (c *Catalog) loadEntry(ctx context.Context, e *entry) (collfs.Record, *base, error) {
	for range 10 {
		rec, b, err := c.loadOnce(ctx, e)
		if err != nil || b != nil {
			return rec, b, err
		}
		// Something newer was heard of meanwhile: what came would be taken for that.
	}
	return collfs.Record{}, nil, fmt.Errorf("changes faster than it can be read: %w", keepio.ErrUnavailable)
}

// loadOnce is loadEntry, but the base is nil if it is not of the record's revision.
func (c *Catalog) loadOnce(ctx context.Context, e *entry) (collfs.Record, *base, error) {
	got, err := c.get(ctx, e.uuid, withManifest)
	if err != nil {
		return collfs.Record{}, nil, err
	}
	if !got.IsTrashed { // what is in the trash comes without signatures
		c.learn(e.uuid, got.ManifestText)
	}
	b := &base{pdh: got.PDH, text: manifest.Strip(got.ManifestText)}
	b.attrs, _ = attributesOf(got.Properties)
	got.ManifestText = ""
	if err := c.parse(e, b, false); err != nil {
		return collfs.Record{}, nil, err
	}
	c.saw(got)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.record.PDH != b.pdh || e.attrs != b.attrs {
		return collfs.Record{}, nil, nil
	}
	e.base = b
	return c.recordLocked(e), b, nil
}

// parse makes b's tree, if there is something to be said of it that its manifest does
// not say; always, if must. The caller has e's turn.
func (c *Catalog) parse(e *entry, b *base, must bool) error {
	e.mu.Lock()
	plain := len(e.ids) == 0 && b.attrs == ""
	e.mu.Unlock()
	if b.tree != nil || plain && !must {
		return nil
	}
	tree, err := collfs.ParseManifest([]byte(b.text), c.conf.Blocks)
	if err != nil {
		return err
	}
	attrs, err := decodeAttributes(b.attrs)
	if err != nil { // somebody else's, or a later version's: contents are worth more
		c.conf.Log.Warn().Err(err).Str("collection", e.uuid).Msg("attributes are ignored")
	} else if err := attrs.applyTo(tree); err != nil {
		return err
	}
	if _, err := e.withIDs(tree); err != nil {
		return err
	}
	b.tree, b.text = tree, ""
	return nil
}

// savedOf is the stored form of b.
func (c *Catalog) savedOf(b *base) (collfs.Saved, error) {
	if b.tree != nil {
		return collfs.Saved{Checkpoint: collfs.AppendTree(nil, b.tree)}, nil
	}
	return collfs.Saved{Manifest: []byte(b.text)}, nil
}

// learn teaches the locators of a manifest.
func (c *Catalog) learn(source, text string) {
	if c.conf.Locators == nil || text == "" {
		return
	}
	var all []keepio.Locator
	seen := make(map[[16]byte]bool)
	err := manifest.Scan(text, func(s *manifest.Stream) error {
		for _, l := range s.Locators {
			if h := l.Hash(); !seen[h] {
				seen[h] = true
				all = append(all, l)
			}
		}
		return nil
	})
	if err == nil { // else whoever parses it will say so
		c.conf.Locators.Learn(source, all)
	}
}

// Refresh loads a source of locators again, and teaches what is in it: for when
// signatures are about to end.
func (c *Catalog) Refresh(ctx context.Context, source string) error {
	var got api.Collection
	err := c.api.Get(ctx, "collections/"+source, api.Params{"select": []string{"uuid", "manifest_text"}}, &got)
	if err != nil {
		return fmt.Errorf("collection %s: %w", source, kindly(err))
	}
	c.learn(source, got.ManifestText)
	return nil
}

// getPDH asks for a collection by its content.
func (c *Catalog) getPDH(ctx context.Context, pdh string, fields []string) (collfs.Record, error) {
	var got api.Collection
	if err := c.api.Get(ctx, "collections/"+pdh, api.Params{"select": []string{"uuid", "portable_data_hash"}}, &got); err != nil {
		return collfs.Record{}, err
	}
	return collfs.Record{UUID: collfs.UUID(pdh), PDH: collfs.PDH(pdh), Version: 1, Revision: 1}, nil
}

// loadPDH asks for a content.
func (c *Catalog) loadPDH(ctx context.Context, pdh string) (collfs.Record, collfs.Saved, error) {
	text, err := c.textOf(ctx, pdh)
	if err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	return collfs.Record{UUID: collfs.UUID(pdh), PDH: collfs.PDH(pdh), Version: 1, Revision: 1}, collfs.Saved{Manifest: []byte(text)}, nil
}

// textOf asks for the manifest with a hash, learns what is in it, and returns it
// without signatures. A text that has another hash is keepio.ErrCorrupt.
func (c *Catalog) textOf(ctx context.Context, pdh string) (string, error) {
	var got api.Collection
	if err := c.api.Get(ctx, "collections/"+pdh, api.Params{"select": []string{"uuid", "portable_data_hash", "manifest_text"}}, &got); err != nil {
		return "", err
	}
	if is := manifest.PDH(got.ManifestText); is != pdh {
		return "", fmt.Errorf("the manifest that the server sent is %s: %w", is, keepio.ErrCorrupt)
	}
	c.learn(pdh, got.ManifestText)
	return manifest.Strip(got.ManifestText), nil
}

// loadVersion asks for a version of a collection.
func (c *Catalog) loadVersion(ctx context.Context, real string, version int) (collfs.Record, collfs.Saved, error) {
	got, err := c.version(ctx, real, version, withManifest)
	if err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	c.learn(got.UUID, got.ManifestText)
	b := &base{pdh: got.PDH, text: manifest.Strip(got.ManifestText)}
	b.attrs, _ = attributesOf(got.Properties)
	if err := c.parse(c.entry(real), b, false); err != nil {
		return collfs.Record{}, collfs.Saved{}, err
	}
	rec := c.toRecord(got, int64(got.Version))
	rec.UUID = c.shownID(real)
	saved, err := c.savedOf(b)
	return rec, saved, err
}

// version asks for one version of a collection; fs.ErrNotExist if it is not kept.
func (c *Catalog) version(ctx context.Context, real string, version int, fields []string) (*api.Collection, error) {
	var page struct {
		Items []api.Collection `json:"items"`
	}
	err := c.api.Get(ctx, "collections", api.Params{
		"filters":              []api.Filter{{"current_version_uuid", "=", real}, {"version", "=", version}},
		"include_old_versions": true, "include_trash": true, "select": fields, "limit": 1, "count": "none",
	}, &page)
	if err != nil {
		return nil, err
	}
	if len(page.Items) == 0 {
		return nil, fmt.Errorf("version %d: %w", version, fs.ErrNotExist)
	}
	return &page.Items[0], nil
}

// treeOf returns the content, and the record, of a collection at a revision, asking for
// it if it was forgotten. If something newer was heard of, it is collfs.ErrStale. The
// caller has e's turn.
func (c *Catalog) treeOf(ctx context.Context, e *entry, revision int64) (*base, *api.Collection, error) {
	e.mu.Lock()
	b, record, attrs, now := e.base, e.record, e.attrs, e.revision
	e.mu.Unlock()
	if now != revision {
		return nil, nil, fmt.Errorf("is at revision %d, not %d: %w", now, revision, collfs.ErrStale)
	}
	if b == nil || b.pdh != record.PDH || b.attrs != attrs {
		text, err := c.textOf(ctx, record.PDH)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("content %s is gone: %w", record.PDH, collfs.ErrStale)
		}
		if err != nil {
			return nil, nil, err
		}
		b = &base{pdh: record.PDH, attrs: attrs, text: text}
	}
	if err := c.parse(e, b, true); err != nil {
		return nil, nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.revision == revision {
		e.base = b
	}
	return b, &record, nil
}

// zeroBlock returns the block that stands for holes; nil if there are none.
func (c *Catalog) zeroBlock(ctx context.Context, holes bool) (*keepio.Block, error) {
	if !holes || c.conf.Zero == nil {
		return nil, nil
	}
	hash, size, err := c.conf.Zero(ctx)
	if err != nil {
		return nil, fmt.Errorf("block of zeros: %w", err)
	}
	return c.conf.Blocks.ByHash(hash, size), nil
}

// locator returns the locator of a stored block, signed if the cluster wants that.
func (c *Catalog) locator(ctx context.Context, b *keepio.Block) (keepio.Locator, error) {
	hash, size, ok := b.Stored()
	if !ok {
		return keepio.Locator{}, collfs.ErrNotStored
	}
	if c.conf.Locators == nil || size == 0 {
		return keepio.MakeLocator(hash, int64(size)), nil
	}
	loc, err := c.conf.Locators.Locator(ctx, hash, size)
	if err != nil {
		return keepio.Locator{}, fmt.Errorf("block %s: %w", hex.EncodeToString(hash[:]), err)
	}
	return loc, nil
}
