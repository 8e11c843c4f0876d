package apiserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
	"keepdav/collfs/manifest"
)

// What an update of a client does to the change of another that it had not seen can
// be put right from the versions of the collection. There are two cases.
//
// Our update came on top of a change that was made since we looked: what the other
// made of a path that ours replaces is brought back (overtaken).
//
// Another client's update replaced everything by what it had read before ours: that
// shows as a state in which nothing is left of our last commits, and that is not
// theirs with just our paths taken away, as it is when somebody deletes them. What
// ours had is brought back (repairLost).
//
// What is brought back gets the name of a conflict, so that nothing is in its way,
// and is noted in the properties by its content: nobody does so a second time, after
// a user has deleted it.

// overtaken is for an update that is a fact, but on top of what somebody else made.
// after is what the collection is now; nil: not known.
func (k *commit) overtaken(ctx context.Context, got *api.Collection, after *collfs.Tree) (collfs.Record, error) {
	rec, err := k.accept(got)
	if err != nil {
		return rec, err
	}
	e := k.e
	e.mu.Lock()
	e.base = nil // it isn't what was expected
	e.mu.Unlock()
	if after != nil && k.lim.versioning {
		files, err := k.overwritten(ctx, got, after)
		if err == nil {
			err = k.c.restore(ctx, e, after, files)
		}
		if err != nil {
			k.c.conf.Log.Warn().Err(err).Str("collection", e.uuid).Msg("what somebody changed at the same time could not be looked for: it is in the versions of the collection")
		}
	}
	// The next revision is what is there, with theirs.
	e.mu.Lock()
	e.revision++
	tell := []collfs.Event{k.c.event(e.uuid, collfs.ContentChanged, e.revision, &e.record)}
	e.mu.Unlock()
	k.c.events.tell(tell)
	return rec, nil
}

// overwritten returns what somebody put into the collection between our look and our
// update, and which is not there now.
func (k *commit) overwritten(ctx context.Context, got *api.Collection, after *collfs.Tree) (files []lostFile, err error) {
	before, err := k.c.version(ctx, k.e.uuid, got.Version-1, withManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nothing was changed
	}
	if err != nil {
		return nil, err
	}
	if before.PDH == k.base.pdh {
		return nil, nil
	}
	theirs, err := collfs.ParseManifest([]byte(manifest.Strip(before.ManifestText)), k.c.conf.Blocks)
	if err != nil {
		return nil, err
	}
	has := contentsOf(after)
	err = theirs.Walk(func(path string, info collfs.NodeInfo, content collfs.Content) error {
		if info.Dir || content.ID == collfs.EmptyID || has[content.ID] || idAt(k.base.tree, path, k) == content.ID {
			return nil
		}
		files = append(files, lostFile{path, before.PDH, before.ModifiedAt, content.ID})
		return nil
	})
	return files, err
}

// contentsOf returns the contents of a tree, by the ids derived from spans.
func contentsOf(t *collfs.Tree) map[collfs.ContentID]bool {
	all := make(map[collfs.ContentID]bool, t.Files())
	_ = t.Walk(func(_ string, info collfs.NodeInfo, content collfs.Content) error {
		if !info.Dir {
			all[spansID(content.Segments)] = true
		}
		return nil
	}) // which has no error of its own
	return all
}

// repairLost brings back what of ours is missing in b, which was just loaded, because
// somebody had not seen it. It reports whether b is not what is there any more. The
// caller has e's turn.
func (c *Catalog) repairLost(ctx context.Context, e *entry, b *base) (repaired bool, err error) {
	e.mu.Lock()
	j := e.ours.clone()
	trashed := e.record.IsTrashed
	e.mu.Unlock()
	if len(j.commits) == 0 || trashed || j.last().pdh == b.pdh {
		return false, nil
	}
	if err := c.parse(e, b, true); err != nil {
		return false, err
	}
	if len(j.lostIn(b.tree)) == 0 {
		return false, nil
	}
	files, err := c.lostSince(ctx, e, j)
	if err == nil {
		has := contentsOf(b.tree)
		files = slices.DeleteFunc(files, func(f lostFile) bool { return has[f.id] })
		err = c.restore(ctx, e, b.tree, files)
	}
	if err != nil {
		return false, c.notRepaired(e, err)
	}
	e.mu.Lock()
	e.ours.forget(j.lostIn(b.tree))
	e.mu.Unlock()
	return len(files) > 0, nil
}

// maxSteps is how many versions are looked at for what was lost.
const maxSteps = 50

// lostSince follows what became of a collection since our last commit, version by
// version, and returns what was overwritten, not deleted, on the way.
func (c *Catalog) lostSince(ctx context.Context, e *entry, j journal) (files []lostFile, err error) {
	var page struct {
		Items []api.Collection `json:"items"`
	}
	err = c.api.Get(ctx, "collections", api.Params{
		"filters": []api.Filter{{"current_version_uuid", "=", e.uuid}, {"version", ">", j.last().version}}, "order": "version asc",
		"include_old_versions": true, "select": []string{"uuid", "version", "portable_data_hash"}, "limit": maxSteps, "count": "none",
	}, &page)
	if err != nil {
		return nil, err
	}
	before, err := c.plainTree(ctx, j.last().pdh)
	if err != nil {
		return nil, err
	}
	for i := range page.Items {
		after, err := c.plainTree(ctx, page.Items[i].PDH)
		if err != nil {
			return nil, err
		}
		lost := j.lostIn(after)
		if len(lost) > 0 && !deleted(before, after, lost) {
			files = append(files, lost...)
		}
		j.forget(lost)
		if len(j.commits) == 0 {
			break
		}
		before = after
	}
	return files, nil
}

// plainTree returns the tree of a content, with the ids derived from spans.
func (c *Catalog) plainTree(ctx context.Context, pdh string) (*collfs.Tree, error) {
	text, err := c.textOf(ctx, pdh)
	if err != nil {
		return nil, err
	}
	return collfs.ParseManifest([]byte(text), c.conf.Blocks)
}

// notRepaired logs why something could not be brought back; what can be read is read
// all the same. The end of a context is an error.
func (c *Catalog) notRepaired(e *entry, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	c.conf.Log.Warn().Err(err).Str("collection", e.uuid).Msg("what was overwritten could not be brought back: it is in the versions of the collection")
	return nil
}

// deleted reports whether after is before with nothing changed but files, which is
// what somebody makes who deletes them or brings back what they were.
func deleted(before, after *collfs.Tree, files []lostFile) bool {
	but := make(map[string]bool, len(files))
	for _, f := range files {
		but[f.path] = true
	}
	return coversFiles(before, after, but) && coversFiles(after, before, but)
}

var errDiffers = errors.New("trees differ")

// coversFiles reports whether every file of a, but some, is in b as it is.
func coversFiles(a, b *collfs.Tree, but map[string]bool) bool {
	return a.Walk(func(path string, info collfs.NodeInfo, content collfs.Content) error {
		if info.Dir || but[path] {
			return nil
		}
		is, err := b.Content(path)
		if err != nil || !sameSpans(is.Segments, content.Segments) {
			return errDiffers
		}
		return nil
	}) == nil
}

// restore brings back files, beside what tree has, which is what the collection is.
// The caller has e's turn.
func (c *Catalog) restore(ctx context.Context, e *entry, tree *collfs.Tree, files []lostFile) error {
	e.mu.Lock()
	_, rest := attributesOf(e.record.Properties)
	text := e.attrs
	e.mu.Unlock()
	attrs, err := decodeAttributes(text)
	if err != nil {
		return err
	}
	targets := make(map[string]string)
	taken := func(p string) bool {
		_, err := tree.Stat(p)
		return err == nil || targets["/"+p] != ""
	}
	for _, f := range files {
		var id [bindSize]byte
		copy(id[:], f.id[:])
		if slices.Contains(attrs.restored, id) || !utf8.ValidString(f.path) {
			continue
		}
		to := conflictPath(f.path, f.at, f.id, taken)
		targets["/"+to] = f.pdh + "/" + f.path
		attrs.restored = append(attrs.restored, id)
		c.conf.Log.Warn().Str("collection", e.uuid).Str("path", f.path).Str("kept_as", to).Msg("a client overwrote what it had not seen: it is brought back")
	}
	if len(targets) == 0 {
		return nil
	}
	if over := len(attrs.restored) - maxRestored; over > 0 {
		attrs.restored = attrs.restored[over:]
	}
	stored, _, err := attrs.fit(c.conf.MaxAttributes)
	if err != nil {
		return err
	}
	properties, err := withAttributes(rest, stored)
	if err != nil {
		return err
	}
	var got api.Collection
	err = c.api.Send(ctx, http.MethodPatch, "collections/"+e.uuid, api.Params{
		"collection": map[string]any{"preserve_version": true, "properties": properties}, "replace_files": targets, "select": recordFields,
	}, &got)
	if err != nil {
		return err
	}
	c.saw(&got)
	return nil
}

var conflictSuffix = regexp.MustCompile(`~\d{8}-\d{6}(~\d+)?~conflict~$`)

// conflictPath returns a free path beside p. Suffixes don't stack, and the name is not
// longer than a name may be. The number in it is that of the content: clients that bring
// back different contents at the same time do not choose the same name, and those that
// bring back the same one do.
func conflictPath(p string, at time.Time, id collfs.ContentID, taken func(string) bool) string {
	dir, name := path.Split(p)
	name = conflictSuffix.ReplaceAllString(name, "")
	for n := 2 + uint64(binary.LittleEndian.Uint32(id[:])); ; n++ {
		suffix := fmt.Sprintf("~%s~%d~conflict~", at.UTC().Format("20060102-150405"), n)
		stem := name
		if over := len(stem) + len(suffix) - collfs.MaxName; over > 0 {
			stem = strings.ToValidUTF8(stem[:len(stem)-over], "")
		}
		if try := dir + stem + suffix; !taken(try) {
			return try
		}
	}
}
