package memcatalog

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"

	"keepdav/collfs"
)

// Lookup is collfs.Folders.
func (c *Catalog) Lookup(ctx context.Context, owner collfs.UUID, name string) (collfs.Entry, error) {
	entries, err := c.List(ctx, owner)
	if err != nil {
		return collfs.Entry{}, err
	}
	for _, e := range entries {
		if e.Name == name {
			return e, nil
		}
	}
	return collfs.Entry{}, fmt.Errorf("%q in %s: %w", name, owner, fs.ErrNotExist)
}

// List is collfs.Folders.
func (c *Catalog) List(ctx context.Context, owner collfs.UUID) ([]collfs.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.checkOwner(owner); err != nil {
		return nil, err
	}
	var out []collfs.Entry
	for _, id := range c.below(owner) {
		if !c.isTrashed(id) {
			out = append(out, c.entry(id))
		}
	}
	sortEntries(out)
	return out, nil
}

func sortEntries(entries []collfs.Entry) {
	slices.SortFunc(entries, func(a, b collfs.Entry) int { return cmp.Compare(a.Name, b.Name) })
}

func (c *Catalog) entry(id collfs.UUID) collfs.Entry {
	if k := c.collections[id]; k != nil {
		r := k.record()
		return collfs.Entry{Name: r.Name, Collection: &r}
	}
	p := c.projects[id].Project
	if u, ok := c.users[id]; ok {
		p.Name = u.Name
	}
	return collfs.Entry{Name: p.Name, Project: &p}
}

// Entry is collfs.Folders.
func (c *Catalog) Entry(ctx context.Context, id collfs.UUID) (collfs.Entry, error) {
	if err := ctx.Err(); err != nil {
		return collfs.Entry{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.collections[id] == nil && c.projects[id] == nil {
		return collfs.Entry{}, fmt.Errorf("record %s: %w", id, fs.ErrNotExist)
	}
	return c.entry(id), nil
}

// Shared is collfs.Folders.
func (c *Catalog) Shared(ctx context.Context, user collfs.UUID) ([]collfs.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []collfs.Entry
	for g, level := range c.grants {
		if g.user == user && level >= collfs.CanRead && (c.collections[g.item] != nil || c.projects[g.item] != nil) && !c.isTrashed(g.item) {
			out = append(out, c.entry(g.item))
		}
	}
	sortEntries(out)
	return out, nil
}

// Access is collfs.Folders.
func (c *Catalog) Access(ctx context.Context, user, id collfs.UUID) (collfs.Level, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.collections[id] == nil && c.projects[id] == nil {
		return 0, fmt.Errorf("record %s: %w", id, fs.ErrNotExist)
	}
	if c.users[user].Admin {
		return collfs.CanManage, nil
	}
	level := collfs.NoAccess
	for id != "" {
		level = max(level, c.grants[grant{user, id}])
		if id == user {
			return collfs.CanManage, nil
		}
		if k := c.collections[id]; k != nil {
			id = k.Owner
		} else {
			id = c.projects[id].Owner
		}
	}
	return level, nil
}

// UserByName is collfs.Folders.
func (c *Catalog) UserByName(ctx context.Context, name string) (collfs.User, error) {
	if err := ctx.Err(); err != nil {
		return collfs.User{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.users {
		if u.Name == name {
			return u, nil
		}
	}
	return collfs.User{}, fmt.Errorf("user %q: %w", name, fs.ErrNotExist)
}

// Users is collfs.Folders: an admin sees all users, others themselves.
func (c *Catalog) Users(ctx context.Context, user collfs.UUID) ([]collfs.User, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []collfs.User
	for id, u := range c.users {
		if id == user || c.users[user].Admin {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b collfs.User) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// FindPDH is collfs.Folders. Data hashes are computed with what SetPDH set.
func (c *Catalog) FindPDH(ctx context.Context, user collfs.UUID, pdh collfs.PDH) (collfs.UUID, int, error) {
	c.mu.Lock()
	compute := c.pdh
	type candidate struct {
		id      collfs.UUID
		version int
		saved   collfs.Saved
	}
	var all []candidate
	for id, k := range c.collections {
		all = append(all, candidate{id, 0, k.saved(len(k.changes))})
		for _, v := range k.versions {
			all = append(all, candidate{id, v.record.Version, k.saved(v.n)})
		}
	}
	c.mu.Unlock()
	if compute != nil {
		for _, k := range all {
			if level, err := c.Access(ctx, user, k.id); err != nil || level < collfs.CanRead {
				continue
			}
			if got, err := compute(k.id, k.saved); err == nil && got == pdh {
				return k.id, k.version, nil
			}
		}
	}
	return "", 0, fmt.Errorf("content %s: %w", pdh, fs.ErrNotExist)
}
