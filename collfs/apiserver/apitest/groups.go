package apitest

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"keepdav/collfs"
)

// level returns what a user may do with an item.
func (s *Server) level(u *user, item string) collfs.Level {
	if u.admin {
		return collfs.CanManage
	}
	level := collfs.NoAccess
	for range 100 {
		level = max(level, s.grants[grant{u.uuid, item}])
		if item == u.uuid {
			return collfs.CanManage
		}
		switch {
		case s.groups[item] != nil:
			item = s.groups[item].owner
		case s.collections[item] != nil:
			item = s.collections[item].owner
		default:
			return level
		}
	}
	return level
}

// inTrash reports whether an item, or what it is in, is in the trash.
func (s *Server) inTrash(item string) bool {
	for range 100 {
		switch {
		case s.groups[item] != nil:
			if !s.groups[item].trashAt.IsZero() {
				return true
			}
			item = s.groups[item].owner
		case s.collections[item] != nil:
			if !s.collections[item].trashAt.IsZero() {
				return true
			}
			item = s.collections[item].owner
		default:
			return false
		}
	}
	return false
}

func (s *Server) frozen(item string) bool {
	for range 100 {
		g := s.groups[item]
		if g == nil {
			return false
		}
		if g.frozen != "" {
			return true
		}
		item = g.owner
	}
	return false
}

// mayWrite says why a user may not change something that an owner has.
func (s *Server) mayWrite(u *user, owner string) error {
	switch {
	case s.groups[owner] == nil && s.users[owner] == nil || s.level(u, owner) < collfs.CanRead || s.inTrash(owner):
		return errNotFound
	case s.level(u, owner) < collfs.CanWrite || s.frozen(owner) || s.groups[owner] != nil && s.groups[owner].class != "project":
		return errForbidden
	}
	return nil
}

func (s *Server) serveUsers(c *call, path []string) (any, error) {
	record := func(u *user) map[string]any {
		level := s.level(c.user, u.uuid)
		return map[string]any{
			"kind": "arvados#user", "uuid": u.uuid, "username": u.name, "full_name": u.name + " Tester", "email": u.name + "@example.com",
			"is_admin": u.admin, "is_active": true, "can_write": level >= collfs.CanWrite, "can_manage": level >= collfs.CanManage,
			"created_at": stamp(u.created), "modified_at": stamp(u.created),
		}
	}
	if c.method != http.MethodGet {
		return nil, &refusal{http.StatusMethodNotAllowed, "not here"}
	}
	if len(path) == 0 {
		var all []map[string]any
		for _, u := range s.users {
			all = append(all, record(u))
		}
		return s.list(c, all)
	}
	if path[0] == "current" {
		return record(c.user), nil
	}
	if u := s.users[path[0]]; u != nil {
		return record(u), nil
	}
	return nil, errNotFound
}

func (s *Server) groupRecord(u *user, g *group) map[string]any {
	level := s.level(u, g.uuid)
	r := map[string]any{
		"kind": "arvados#group", "etag": "", "uuid": g.uuid, "owner_uuid": g.owner, "name": g.name, "group_class": g.class, "description": nil,
		"properties": json.RawMessage("{}"), "can_write": level >= collfs.CanWrite && g.frozen == "", "can_manage": level >= collfs.CanManage,
		"frozen_by_uuid": nil, "created_at": stamp(g.created), "modified_at": stamp(g.modified), "trash_at": stamp(g.trashAt), "delete_at": stamp(g.deleteAt),
		"is_trashed": !g.trashAt.IsZero(), "writable_by": []string{g.owner},
	}
	if g.frozen != "" {
		r["frozen_by_uuid"] = g.frozen
	}
	if len(g.properties) > 0 {
		r["properties"] = g.properties
	}
	return r
}

func (s *Server) serveGroups(c *call, path []string) (any, error) {
	switch {
	case len(path) == 0 && c.method == http.MethodPost:
		return s.createGroup(c)
	case len(path) == 0:
		var all []map[string]any
		for _, g := range s.groups {
			if s.level(c.user, g.uuid) >= collfs.CanRead && (c.flag("include_trash") || !s.inTrash(g.uuid)) {
				all = append(all, s.groupRecord(c.user, g))
			}
		}
		return s.list(c, all)
	case path[0] == "shared":
		return s.shared(c)
	case len(path) == 2 && path[1] == "contents":
		return s.contents(c, path[0])
	}
	g := s.groups[path[0]]
	if g == nil || s.level(c.user, g.uuid) < collfs.CanRead {
		return nil, errNotFound
	}
	action := ""
	if len(path) == 2 {
		action = path[1]
	}
	trashed := s.inTrash(g.uuid)
	if trashed && !c.flag("include_trash") && action != "untrash" && c.method != http.MethodDelete {
		return nil, errNotFound
	}
	if c.method != http.MethodGet && s.level(c.user, g.uuid) < collfs.CanWrite {
		return nil, errForbidden
	}
	was := attributesOfGroup(g)
	now := s.tick()
	switch {
	case c.method == http.MethodGet && action == "":
		return s.groupRecord(c.user, g), nil
	case c.method == http.MethodPatch || c.method == http.MethodPut:
		if err := s.updateGroup(c, g); err != nil {
			return nil, err
		}
	case c.method == http.MethodDelete, action == "trash":
		if g.trashAt.IsZero() {
			g.trashAt, g.deleteAt = now, now.Add(14*24*time.Hour)
		}
	case action == "untrash":
		if g.trashAt.IsZero() {
			return nil, &refusal{http.StatusUnprocessableEntity, "not trashed"}
		}
		name, err := s.uniqueName(g.owner, g.name, g.uuid, "group", c.flag("ensure_unique_name"))
		if err != nil {
			return nil, err
		}
		g.name, g.trashAt, g.deleteAt = name, time.Time{}, time.Time{}
	default:
		return nil, &refusal{http.StatusMethodNotAllowed, "not here"}
	}
	g.modified = now
	s.log("update", g.uuid, g.owner, now, was, attributesOfGroup(g))
	return s.groupRecord(c.user, g), nil
}

func attributesOfGroup(g *group) map[string]any {
	return map[string]any{"name": g.name, "owner_uuid": g.owner, "is_trashed": !g.trashAt.IsZero()}
}

type groupAttrs struct {
	UUID       *string         `json:"uuid"`
	Owner      *string         `json:"owner_uuid"`
	Name       *string         `json:"name"`
	Class      *string         `json:"group_class"`
	Properties json.RawMessage `json:"properties"`
}

func (s *Server) createGroup(c *call) (any, error) {
	var a groupAttrs
	if err := c.decode("group", &a); err != nil {
		return nil, err
	}
	now := s.tick()
	g := &group{uuid: newUUID("j7d0g"), owner: c.user.uuid, class: "project", properties: a.Properties, created: now, modified: now}
	if s.opt.KeepUUIDs && a.UUID != nil {
		g.uuid = *a.UUID
	}
	if a.Owner != nil {
		g.owner = *a.Owner
	}
	if a.Class != nil {
		g.class = *a.Class
	}
	if err := s.mayWrite(c.user, g.owner); err != nil {
		return nil, err
	}
	if a.Name != nil {
		name, err := s.uniqueName(g.owner, *a.Name, g.uuid, "group", c.flag("ensure_unique_name"))
		if err != nil {
			return nil, err
		}
		g.name = name
	}
	s.groups[g.uuid] = g
	s.log("create", g.uuid, g.owner, now, nil, attributesOfGroup(g))
	return s.groupRecord(c.user, g), nil
}

func (s *Server) updateGroup(c *call, g *group) error {
	var a groupAttrs
	if err := c.decode("group", &a); err != nil {
		return err
	}
	owner, name := g.owner, g.name
	if a.Owner != nil {
		owner = *a.Owner
	}
	if a.Name != nil {
		name = *a.Name
	}
	if err := errors.Join(s.mayWrite(c.user, g.owner), s.mayWrite(c.user, owner)); err != nil {
		return err
	}
	for up := owner; s.groups[up] != nil; up = s.groups[up].owner {
		if up == g.uuid {
			return &refusal{http.StatusUnprocessableEntity, "Owner uuid would create a cycle"}
		}
	}
	if _, err := s.uniqueName(owner, name, g.uuid, "group", false); err != nil {
		return err
	}
	g.owner, g.name = owner, name
	if a.Properties != nil {
		g.properties = a.Properties
	}
	return nil
}

// uniqueName says which name a record gets among those of its kind.
func (s *Server) uniqueName(owner, name, except, kind string, ensure bool) (string, error) {
	taken := false
	if kind == "group" {
		for _, g := range s.groups {
			taken = taken || g.owner == owner && g.name == name && g.uuid != except && g.trashAt.IsZero()
		}
	} else if name != "" {
		for _, k := range s.collections {
			taken = taken || k.owner == owner && k.name == name && k.uuid != except && k.current == k.uuid && k.current != except && k.trashAt.IsZero()
		}
	}
	switch {
	case !taken:
		return name, nil
	case ensure:
		return name + " (" + newUUID("4zz18")[12:] + ")", nil
	}
	return "", &refusal{http.StatusUnprocessableEntity, "duplicate key value violates unique constraint"}
}

func (s *Server) contents(c *call, project string) (any, error) {
	if s.users[project] == nil && (s.groups[project] == nil || s.inTrash(project) && !c.flag("include_trash")) || s.level(c.user, project) < collfs.CanRead {
		return nil, errNotFound
	}
	all := []map[string]any{}
	for _, g := range s.groups {
		if g.owner == project && (c.flag("include_trash") || !s.inTrash(g.uuid)) {
			all = append(all, s.groupRecord(c.user, g))
		}
	}
	for _, k := range s.collections {
		if k.owner == project && k.current == k.uuid && (c.flag("include_trash") || !s.inTrash(k.uuid)) {
			r := s.collectionRecord(c, k, false)
			delete(r, "manifest_text")
			delete(r, "unsigned_manifest_text")
			all = append(all, r)
		}
	}
	return s.list(c, all)
}

func (s *Server) shared(c *call) (any, error) {
	all := []map[string]any{}
	for g := range s.grants {
		switch {
		case g.user != c.user.uuid || s.inTrash(g.item):
		case s.groups[g.item] != nil:
			all = append(all, s.groupRecord(c.user, s.groups[g.item]))
		case s.collections[g.item] != nil:
			all = append(all, s.collectionRecord(c, s.collections[g.item], false))
		}
	}
	return s.list(c, all)
}
