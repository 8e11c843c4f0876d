package apiserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"keepdav/collfs"
	"keepdav/collfs/apiserver/api"
)

var collectionsAndGroups = api.Filter{"uuid", "is_a", []string{"arvados#collection", "arvados#group"}}

// isFolder reports whether a group is shown as a project: filter groups are, and
// nobody writes to them; roles are not.
func isFolder(g *api.Group) bool { return g.Class == "project" || g.Class == "filter" }

// contents yields what lies in a project.
func (c *Catalog) contents(ctx context.Context, project string, filters []api.Filter) iter.Seq2[*api.Item, error] {
	filters = append([]api.Filter{collectionsAndGroups}, filters...)
	return api.Pages(ctx, c.api, "groups/"+project+"/contents", nil, filters, func(i *api.Item) string { return i.UUID() })
}

// namedIn returns what is called name, as the server spells it, in a project.
func (c *Catalog) namedIn(ctx context.Context, project, name string) (items []*api.Item, err error) {
	var page struct {
		Items []*api.Item `json:"items"`
	}
	err = c.api.Get(ctx, "groups/"+project+"/contents", api.Params{
		"filters": []api.Filter{collectionsAndGroups, {"name", "=", name}}, "count": "none", "limit": 10, "order": "uuid",
	}, &page)
	return page.Items, err
}

// entryOf makes an entry of an item; ok is false of what is not shown.
func (c *Catalog) entryOf(i *api.Item) (e collfs.Entry, ok bool) {
	switch {
	case i.Collection != nil:
		var rec collfs.Record
		if c.known(i.Collection.UUID) != nil {
			rec = c.saw(i.Collection)
		} else {
			rec = c.toRecord(i.Collection, 1)
		}
		e = collfs.Entry{Name: c.names.shownName(i.Collection.Name, rec.UUID), Collection: &rec}
		rec.Name = e.Name
	case i.Group != nil && isFolder(i.Group):
		p := c.toProject(i.Group)
		e = collfs.Entry{Name: c.names.shownName(i.Group.Name, p.UUID), Project: &p}
		p.Name = e.Name
	default:
		return e, false
	}
	return e, e.Name != ""
}

func (c *Catalog) toProject(g *api.Group) collfs.Project {
	p := collfs.Project{UUID: c.shownID(g.UUID), Owner: c.shownID(g.OwnerUUID), Name: c.names.decode(g.Name), CreatedAt: g.CreatedAt, ModifiedAt: g.ModifiedAt}
	if g.IsTrashed {
		p.TrashAt = g.TrashAt
	}
	return p
}

func homeOf(u *api.User) collfs.Project {
	return collfs.Project{UUID: collfs.UUID(u.UUID), Name: u.Username, CreatedAt: u.CreatedAt, ModifiedAt: u.CreatedAt}
}

// Lookup is collfs.Folders. Where a project and a collection have one name, it is the
// project's.
func (c *Catalog) Lookup(ctx context.Context, project collfs.UUID, name string) (collfs.Entry, error) {
	if err := c.names.load(ctx); err != nil {
		return collfs.Entry{}, err
	}
	items, err := c.namedIn(ctx, c.realID(project), c.names.encode(name))
	if err != nil {
		return collfs.Entry{}, c.wrap("project", project, err)
	}
	var found collfs.Entry
	for _, i := range items {
		if e, ok := c.entryOf(i); ok && e.Name == name && (found.Name == "" || e.Project != nil) {
			found = e
		}
	}
	if found.Name == "" && kindOf(name) != "" { // what has no name is called by its UUID
		if e, err := c.Entry(ctx, collfs.UUID(name)); err == nil && e.Name == name && ownerOf(e) == project {
			found = e
		}
	}
	if found.Name == "" {
		return collfs.Entry{}, fmt.Errorf("%q in %s: %w", name, project, fs.ErrNotExist)
	}
	return found, nil
}

func ownerOf(e collfs.Entry) collfs.UUID {
	if e.Collection != nil {
		return e.Collection.Owner
	}
	return e.Project.Owner
}

// List is collfs.Folders. Of a project and a collection with one name, only the
// project is listed.
func (c *Catalog) List(ctx context.Context, project collfs.UUID) ([]collfs.Entry, error) {
	if err := c.names.load(ctx); err != nil {
		return nil, err
	}
	var out []collfs.Entry
	for i, err := range c.contents(ctx, c.realID(project), nil) {
		if err != nil {
			return nil, c.wrap("project", project, err)
		}
		if e, ok := c.entryOf(i); ok {
			out = append(out, e)
		}
	}
	return sorted(out), nil
}

// sorted sorts entries by name and keeps one of each.
func sorted(entries []collfs.Entry) []collfs.Entry {
	slices.SortFunc(entries, func(a, b collfs.Entry) int {
		if a.Name != b.Name {
			return cmp.Compare(a.Name, b.Name)
		}
		if (a.Project != nil) != (b.Project != nil) {
			if a.Project != nil {
				return -1
			}
			return 1
		}
		return cmp.Compare(idOf(a), idOf(b))
	})
	return slices.CompactFunc(entries, func(a, b collfs.Entry) bool { return a.Name == b.Name })
}

func idOf(e collfs.Entry) collfs.UUID {
	if e.Collection != nil {
		return e.Collection.UUID
	}
	return e.Project.UUID
}

// Shared is collfs.Folders: what the token's user may read and has not in the home,
// topmost projects and collections.
func (c *Catalog) Shared(ctx context.Context, _ collfs.UUID) ([]collfs.Entry, error) {
	if err := c.names.load(ctx); err != nil {
		return nil, err
	}
	var out []collfs.Entry
	for i, err := range api.Pages(ctx, c.api, "groups/shared", nil, nil, func(i *api.Item) string { return i.UUID() }) {
		if err != nil {
			return nil, fmt.Errorf("shared projects: %w", kindly(err))
		}
		if e, ok := c.entryOf(i); ok {
			out = append(out, e)
		}
	}
	return sorted(out), nil
}

// group asks for a group, also one in the trash.
func (c *Catalog) group(ctx context.Context, real string) (*api.Group, error) {
	var got api.Group
	err := c.api.Get(ctx, "groups/"+real, nil, &got)
	if errors.Is(err, fs.ErrNotExist) {
		if err = c.api.Get(ctx, "groups/"+real, api.Params{"include_trash": true}, &got); err == nil {
			got.IsTrashed = true
		}
	}
	return &got, err
}

// userByID asks for a user.
func (c *Catalog) userByID(ctx context.Context, real string) (*api.User, error) {
	var got api.User
	err := c.api.Get(ctx, "users/"+real, nil, &got)
	return &got, err
}

// Entry is collfs.Folders.
func (c *Catalog) Entry(ctx context.Context, id collfs.UUID) (collfs.Entry, error) {
	if err := c.names.load(ctx); err != nil {
		return collfs.Entry{}, err
	}
	real := c.realID(id)
	var item api.Item
	var err error
	switch kind := kindOf(real); {
	case isPDH(real):
		rec, err := c.getPDH(ctx, real, nil)
		if err != nil {
			return collfs.Entry{}, c.wrap("collection", id, err)
		}
		return collfs.Entry{Name: real, Collection: &rec}, nil
	case kind == kindCollection:
		item.Collection, err = c.get(ctx, real, recordFields)
	case kind == kindGroup:
		item.Group, err = c.group(ctx, real)
	case kind == kindUser:
		var u *api.User
		if u, err = c.userByID(ctx, real); err == nil {
			p := homeOf(u)
			return collfs.Entry{Name: p.Name, Project: &p}, nil
		}
	default:
		err = fs.ErrNotExist
	}
	if err != nil {
		return collfs.Entry{}, c.wrap("record", id, err)
	}
	e, _ := c.entryOf(&item)
	if e.Collection == nil && e.Project == nil {
		return collfs.Entry{}, fmt.Errorf("record %s: %w", id, fs.ErrNotExist)
	}
	return e, nil
}

// Access is collfs.Folders, for the token's user.
func (c *Catalog) Access(ctx context.Context, _, id collfs.UUID) (collfs.Level, error) {
	level, err := c.levelOf(ctx, c.realID(id))
	return level, c.wrap("record", id, err)
}

// levelOf returns what the token's user may do with a record. Collections do not say:
// it is what may be done with their project.
func (c *Catalog) levelOf(ctx context.Context, real string) (collfs.Level, error) {
	if isPDH(real) {
		_, err := c.getPDH(ctx, real, nil)
		return collfs.CanRead, err
	}
	if kindOf(real) == kindCollection {
		got, err := c.get(ctx, real, []string{"uuid", "owner_uuid", "current_version_uuid"})
		if err != nil {
			return collfs.NoAccess, err
		}
		if got.CurrentVersionUUID != "" && got.CurrentVersionUUID != real {
			return collfs.CanRead, nil // a past version
		}
		level, err := c.levelOf(ctx, got.OwnerUUID)
		if errors.Is(err, fs.ErrNotExist) { // it is shared, its project isn't
			return collfs.CanRead, nil
		}
		return max(level, collfs.CanRead), err
	}
	me, err := c.currentUser(ctx)
	if err != nil {
		return collfs.NoAccess, err
	}
	switch kindOf(real) {
	case kindUser:
		return c.homeLevel(ctx, me, real)
	case kindGroup:
		g, err := c.group(ctx, real)
		if err != nil {
			return collfs.NoAccess, err
		}
		switch {
		case g.FrozenByUUID != "" || g.Class == "filter":
			return collfs.CanRead, nil
		case g.CanManage || me.IsAdmin:
			return collfs.CanManage, nil
		case g.CanWrite:
			return collfs.CanWrite, nil
		}
		return collfs.CanRead, nil
	}
	return collfs.NoAccess, fs.ErrNotExist
}

func (c *Catalog) homeLevel(ctx context.Context, me *api.User, real string) (collfs.Level, error) {
	if real == me.UUID || me.IsAdmin {
		return collfs.CanManage, nil
	}
	u, err := c.userByID(ctx, real)
	if err != nil {
		return collfs.NoAccess, err
	}
	switch {
	case u.CanManage:
		return collfs.CanManage, nil
	case u.CanWrite:
		return collfs.CanWrite, nil
	}
	return collfs.NoAccess, nil // to see that somebody is there is not to see what is there
}

// UserByName is collfs.Folders.
func (c *Catalog) UserByName(ctx context.Context, name string) (collfs.User, error) {
	var page struct {
		Items []api.User `json:"items"`
	}
	err := c.api.Get(ctx, "users", api.Params{"filters": []api.Filter{{"username", "=", name}}, "limit": 1, "count": "none"}, &page)
	if err != nil {
		return collfs.User{}, fmt.Errorf("user %q: %w", name, kindly(err))
	}
	if len(page.Items) == 0 {
		return collfs.User{}, fmt.Errorf("user %q: %w", name, fs.ErrNotExist)
	}
	return toUser(&page.Items[0]), nil
}

func toUser(u *api.User) collfs.User {
	return collfs.User{UUID: collfs.UUID(u.UUID), Name: u.Username, FullName: u.FullName, Admin: u.IsAdmin, Active: u.IsActive, CreatedAt: u.CreatedAt}
}

// Users is collfs.Folders.
func (c *Catalog) Users(ctx context.Context, _ collfs.UUID) ([]collfs.User, error) {
	var out []collfs.User
	for u, err := range api.Pages(ctx, c.api, "users", nil, nil, func(u *api.User) string { return u.UUID }) {
		if err != nil {
			return nil, fmt.Errorf("users: %w", kindly(err))
		}
		if u.Username != "" {
			out = append(out, toUser(u))
		}
	}
	slices.SortFunc(out, func(a, b collfs.User) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// FindPDH is collfs.Folders. What is found is a collection of its own, whose UUID is
// the hash: so it stays what it is, and may come from another cluster.
func (c *Catalog) FindPDH(ctx context.Context, _ collfs.UUID, pdh collfs.PDH) (collfs.UUID, int, error) {
	if !isPDH(string(pdh)) {
		return "", 0, fmt.Errorf("content %s: %w", pdh, fs.ErrNotExist)
	}
	if _, err := c.getPDH(ctx, string(pdh), nil); err != nil {
		return "", 0, c.wrap("content", collfs.UUID(pdh), err)
	}
	return collfs.UUID(pdh), 1, nil
}
