package apitest

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// collectionRecord is a record as it is answered; signed says whether with a manifest.
func (s *Server) collectionRecord(c *call, k *collection, signed bool) map[string]any {
	r := map[string]any{
		"kind": "arvados#collection", "etag": "", "uuid": k.uuid, "current_version_uuid": k.current, "owner_uuid": k.owner, "name": k.name,
		"description": nil, "properties": json.RawMessage("{}"), "portable_data_hash": manifest.PDH(k.text), "version": k.version,
		"preserve_version": k.preserve, "created_at": stamp(k.created), "modified_at": stamp(k.modified), "trash_at": stamp(k.trashAt),
		"delete_at": stamp(k.deleteAt), "is_trashed": !k.trashAt.IsZero(), "manifest_text": "", "unsigned_manifest_text": "",
		"storage_classes_desired": []string{"default"}, "replication_desired": nil,
	}
	if k.description != "" {
		r["description"] = k.description
	}
	if len(k.properties) > 0 {
		r["properties"] = k.properties
	}
	root, err := ParseTree(k.text)
	if err == nil {
		r["file_count"], r["file_size_total"] = root.sums()
	}
	if signed {
		r["unsigned_manifest_text"] = k.text
		if r["manifest_text"] = k.text; k.trashAt.IsZero() {
			r["manifest_text"] = s.sign(c.token, k.text)
		}
	}
	return r
}

func (n *Node) sums() (files, bytes int64) {
	if n.Kids == nil {
		files = 1
	}
	for _, s := range n.Segments {
		bytes += s.Length
	}
	for _, k := range n.Kids {
		f, b := k.sums()
		files, bytes = files+f, bytes+b
	}
	return files, bytes
}

func (s *Server) serveCollections(c *call, path []string) (any, error) {
	switch {
	case len(path) == 0 && c.method == http.MethodPost:
		return s.createCollection(c)
	case len(path) == 0:
		var fields []string
		_ = c.decode("select", &fields)
		all := []map[string]any{}
		for _, k := range s.collections {
			switch {
			case s.level(c.user, k.owner) < collfs.CanRead && s.level(c.user, k.uuid) < collfs.CanRead:
			case k.current != k.uuid && !c.flag("include_old_versions"):
			case s.inTrash(k.uuid) && !c.flag("include_trash"):
			default:
				all = append(all, s.collectionRecord(c, k, fields != nil))
			}
		}
		return s.list(c, all)
	}
	k, err := s.find(c, path[0])
	if err != nil {
		return nil, err
	}
	action := ""
	if len(path) == 2 {
		action = path[1]
	}
	if c.method == http.MethodGet && action == "" {
		return c.selected(s.collectionRecord(c, k, true))
	}
	if k.current != k.uuid {
		return nil, &refusal{http.StatusUnprocessableEntity, "past versions cannot be updated"}
	}
	if err := s.mayWrite(c.user, k.owner); err != nil && (s.level(c.user, k.uuid) < collfs.CanWrite || s.frozen(k.owner)) {
		return nil, err
	}
	now := s.tick()
	was := attributesOfCollection(k)
	switch {
	case c.method == http.MethodPatch || c.method == http.MethodPut:
		if err := s.updateCollection(c, k, now); err != nil {
			return nil, err
		}
		return c.selected(s.collectionRecord(c, k, true))
	case c.method == http.MethodDelete, action == "trash":
		if k.trashAt.IsZero() {
			k.trashAt, k.deleteAt = now, now.Add(14*24*time.Hour)
		}
	case action == "untrash":
		if k.trashAt.IsZero() {
			return nil, &refusal{http.StatusUnprocessableEntity, "not trashed"}
		}
		name, err := s.uniqueName(k.owner, k.name, k.uuid, "collection", c.flag("ensure_unique_name"))
		if err != nil {
			return nil, err
		}
		k.name, k.trashAt, k.deleteAt = name, time.Time{}, time.Time{}
	default:
		return nil, &refusal{http.StatusMethodNotAllowed, "not here"}
	}
	k.modified = now
	s.log("update", k.uuid, k.owner, now, was, attributesOfCollection(k))
	return c.selected(s.collectionRecord(c, k, true))
}

// find returns the collection with a UUID or a PDH.
func (s *Server) find(c *call, id string) (*collection, error) {
	may := func(k *collection) bool {
		return (s.level(c.user, k.uuid) >= collfs.CanRead || s.level(c.user, k.owner) >= collfs.CanRead) &&
			(!s.inTrash(k.current) || c.flag("include_trash") || c.method != http.MethodGet)
	}
	if k := s.collections[id]; k != nil {
		if !may(k) {
			return nil, errNotFound
		}
		return k, nil
	}
	for _, k := range s.collections {
		if manifest.PDH(k.text) == id && may(k) && !s.inTrash(k.current) {
			return &collection{uuid: id, text: k.text}, nil
		}
	}
	return nil, errNotFound
}

func attributesOfCollection(k *collection) map[string]any {
	return map[string]any{"name": k.name, "owner_uuid": k.owner, "is_trashed": !k.trashAt.IsZero(), "portable_data_hash": manifest.PDH(k.text)}
}

type collectionAttrs struct {
	UUID        *string         `json:"uuid"`
	Owner       *string         `json:"owner_uuid"`
	Name        *string         `json:"name"`
	Description *string         `json:"description"`
	Properties  json.RawMessage `json:"properties"`
	Text        *string         `json:"manifest_text"`
	Preserve    *bool           `json:"preserve_version"`
}

func (s *Server) createCollection(c *call) (any, error) {
	var a collectionAttrs
	if err := c.decode("collection", &a); err != nil {
		return nil, err
	}
	now := s.tick()
	k := &collection{uuid: newUUID("4zz18"), owner: c.user.uuid, version: 1, created: now, modified: now, properties: a.Properties}
	if s.opt.KeepUUIDs && a.UUID != nil {
		k.uuid = *a.UUID
	}
	k.current = k.uuid
	if a.Owner != nil {
		k.owner = *a.Owner
	}
	if a.Description != nil {
		k.description = *a.Description
	}
	if a.Preserve != nil {
		k.preserve = *a.Preserve
	}
	if err := s.mayWrite(c.user, k.owner); err != nil {
		return nil, err
	}
	text, err := s.newText(c, newDir(), "", &a)
	if err != nil {
		return nil, err
	}
	k.text = text
	if a.Name != nil {
		if k.name, err = s.uniqueName(k.owner, *a.Name, k.uuid, "collection", c.flag("ensure_unique_name")); err != nil {
			return nil, err
		}
	}
	s.collections[k.uuid] = k
	s.log("create", k.uuid, k.owner, now, nil, attributesOfCollection(k))
	return c.selected(s.collectionRecord(c, k, true))
}

// newText returns the manifest that a request makes.
func (s *Server) newText(c *call, current *Node, text string, a *collectionAttrs) (string, error) {
	var given *Node
	if a.Text != nil {
		err := manifest.Scan(*a.Text, func(st *manifest.Stream) error {
			for _, l := range st.Locators {
				if err := s.checkSigned(c.token, l); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		if given, err = ParseTree(*a.Text); err != nil {
			return "", &refusal{http.StatusUnprocessableEntity, err.Error()}
		}
	}
	var files, segments map[string]string
	if err := errors.Join(c.decode("replace_files", &files), c.decode("replace_segments", &segments)); err != nil {
		return "", err
	}
	switch {
	case len(files) > 0:
		byPDH := func(pdh string) (*Node, error) {
			k, err := s.find(&call{user: c.user, method: http.MethodGet}, pdh)
			if err != nil {
				return nil, err
			}
			return ParseTree(k.text)
		}
		root, err := ReplaceFiles(current, given, byPDH, files)
		if err != nil {
			return "", err
		}
		current, text = root, root.Print()
	case given != nil:
		current, text = given, manifest.Strip(*a.Text)
	}
	if len(segments) > 0 {
		current = current.clone()
		if err := ReplaceSegments(current, segments, func(l keepio.Locator) error { return s.checkSigned(c.token, l) }); err != nil {
			return "", err
		}
		text = current.Print()
	}
	return text, nil
}

func (s *Server) updateCollection(c *call, k *collection, now time.Time) error {
	var a collectionAttrs
	if err := c.decode("collection", &a); err != nil {
		return err
	}
	current, err := ParseTree(k.text)
	if err != nil {
		return err
	}
	next := *k
	if next.text, err = s.newText(c, current, k.text, &a); err != nil {
		return err
	}
	if a.Owner != nil && *a.Owner != k.owner {
		if err := s.mayWrite(c.user, *a.Owner); err != nil {
			return err
		}
		next.owner = *a.Owner
	}
	if a.Name != nil {
		next.name = *a.Name
	}
	if a.Description != nil {
		next.description = *a.Description
	}
	if a.Properties != nil {
		next.properties = a.Properties
	}
	if _, err := s.uniqueName(next.owner, next.name, k.uuid, "collection", false); err != nil {
		return err
	}
	changed := next.name != k.name || next.description != k.description || string(next.properties) != string(k.properties) || next.text != k.text
	preserve := a.Preserve != nil && *a.Preserve
	snapshot := changed && !s.opt.NoVersioning && (k.preserve || preserve || now.Sub(k.modified) >= idle)
	if snapshot {
		old := *k
		old.uuid, old.preserve = newUUID("4zz18"), false
		s.collections[old.uuid] = &old
		s.log("create", old.uuid, old.owner, old.created, nil, attributesOfCollection(&old))
		next.version++
		next.preserve = false
	}
	if a.Preserve != nil {
		next.preserve = *a.Preserve
	}
	if s.opt.NoVersioning || s.opt.DropsMarks && changed {
		next.preserve = false
	}
	was := attributesOfCollection(k)
	onlyMark := !changed && next.owner == k.owner
	next.modified = now
	*k = next
	for _, old := range s.collections {
		if old.current == k.uuid {
			old.owner = k.owner
		}
	}
	if !onlyMark {
		s.log("update", k.uuid, k.owner, now, was, attributesOfCollection(k))
	}
	return nil
}
