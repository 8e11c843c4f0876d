package davfs

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"keepdav/collfs"
)

// shares is what others share with one user, arranged for /shared.
type shares struct {
	owners  map[string]collfs.UUID         // folder → whose it is
	byOwner map[collfs.UUID][]collfs.Entry // what is in it
	direct  map[string]collfs.Entry        // what has no owner whom the user may know
	until   time.Time
}

// shareCache keeps shares for accessTTL, by user: /shared is walked with one
// request for each part of a path.
type shareCache struct {
	mu    sync.Mutex // guards users
	users map[collfs.UUID]*shares
}

func (c *shareCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.users)
}

func (f *FS) shared(ctx context.Context) (*shares, error) {
	c := &f.site.shares
	now := time.Now()
	c.mu.Lock()
	sh := c.users[f.user.UUID]
	c.mu.Unlock()
	if sh != nil && now.Before(sh.until) {
		return sh, nil
	}
	entries, err := f.site.conf.Folders.Shared(ctx, f.user.UUID)
	if err != nil {
		return nil, err
	}
	users, err := f.site.conf.Folders.Users(ctx, f.user.UUID)
	if err != nil {
		return nil, err
	}
	if entries, err = f.topLevel(ctx, entries); err != nil {
		return nil, err
	}
	if users, err = f.withOwners(ctx, users, entries); err != nil {
		return nil, err
	}
	sh = arrangeShares(entries, users)
	sh.until = now.Add(accessTTL)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users == nil || len(c.users) > 10_000 {
		c.users = map[collfs.UUID]*shares{}
	}
	c.users[f.user.UUID] = sh
	return sh, nil
}

// topLevel leaves out what the user reaches through a project that is shared too.
func (f *FS) topLevel(ctx context.Context, entries []collfs.Entry) ([]collfs.Entry, error) {
	var top []collfs.Entry
	for _, e := range entries {
		owner := ownerOf(e)
		if owner == f.user.UUID {
			continue
		}
		if !isUser(owner) {
			level, err := f.Level(ctx, owner)
			if err != nil {
				return nil, err
			}
			if level >= collfs.CanRead {
				continue
			}
		}
		top = append(top, e)
	}
	return top, nil
}

func isUser(id collfs.UUID) bool { return strings.Contains(string(id), "-tpzed-") }

// withOwners adds to users those who share something and are not among them, by
// the names of their homes.
func (f *FS) withOwners(ctx context.Context, users []collfs.User, entries []collfs.Entry) ([]collfs.User, error) {
	known := map[collfs.UUID]bool{}
	for _, u := range users {
		known[u.UUID] = true
	}
	for _, e := range entries {
		owner := ownerOf(e)
		if known[owner] || !isUser(owner) {
			continue
		}
		known[owner] = true
		home, err := f.site.conf.Folders.Entry(ctx, owner)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		users = append(users, collfs.User{UUID: owner, Name: home.Name})
	}
	return users, nil
}

// arrangeShares makes a folder for each owner, with the name that people know
// him by; two of the same name get their login names added.
func arrangeShares(entries []collfs.Entry, users []collfs.User) *shares {
	sh := &shares{
		owners:  map[string]collfs.UUID{},
		byOwner: map[collfs.UUID][]collfs.Entry{},
		direct:  map[string]collfs.Entry{},
	}
	known := map[collfs.UUID]collfs.User{}
	times, direct := map[string]int{}, map[string]int{}
	for _, u := range users {
		known[u.UUID] = u
		times[displayName(u)]++
	}
	for _, e := range entries {
		if _, ok := known[ownerOf(e)]; !ok {
			direct[e.Name]++
		}
	}
	for _, e := range entries {
		if strings.Contains(e.Name, "/") {
			continue
		}
		owner := ownerOf(e)
		if u, ok := known[owner]; ok {
			name := displayName(u)
			if times[name] > 1 {
				name += " (" + u.Name + ")"
			}
			sh.owners[name] = owner
			sh.byOwner[owner] = append(sh.byOwner[owner], e)
			continue
		}
		name := e.Name
		if direct[name] > 1 { // none has it alone: what a name leads to must not change with what comes and goes
			name += " (" + string(childOf(e).uuid) + ")"
		}
		sh.direct[name] = e
	}
	for name, e := range sh.direct {
		if _, taken := sh.owners[name]; taken {
			delete(sh.direct, name)
			sh.direct[name+" ("+string(childOf(e).uuid)+")"] = e
		}
	}
	return sh
}

func displayName(u collfs.User) string {
	if u.FullName == "" || strings.Contains(u.FullName, "/") || u.FullName == "." || u.FullName == ".." {
		return u.Name
	}
	return u.FullName
}

func ownerOf(e collfs.Entry) collfs.UUID {
	if e.Collection != nil {
		return e.Collection.Owner
	}
	if e.Project != nil {
		return e.Project.Owner
	}
	return ""
}

// visibleUser finds a user by login name among those that f's user may see.
func (f *FS) visibleUser(ctx context.Context, login string) (collfs.User, error) {
	u, err := f.site.conf.Folders.UserByName(ctx, login)
	if err != nil {
		return u, err
	}
	if u.UUID == f.user.UUID || f.user.Admin {
		return u, nil
	}
	users, err := f.site.conf.Folders.Users(ctx, f.user.UUID)
	if err != nil {
		return u, err
	}
	if !slices.ContainsFunc(users, func(v collfs.User) bool { return v.UUID == u.UUID }) {
		return u, fs.ErrNotExist
	}
	return u, nil
}

// findPDH finds a collection that the user may read by its content.
func (f *FS) findPDH(ctx context.Context, pdh collfs.PDH) (collfs.UUID, int, error) {
	c := &f.site.pdhs
	key := pdhKey{f.user.UUID, pdh}
	now := time.Now()
	c.mu.Lock()
	v, ok := c.found[key]
	c.mu.Unlock()
	if ok && now.Before(v.until) {
		return v.uuid, v.version, nil
	}
	// A hash that nobody has yet makes the catalog compute those of all that has
	// changed, manifests in memory.
	select {
	case f.site.finds <- struct{}{}:
		defer func() { <-f.site.finds }()
	case <-ctx.Done():
		return "", 0, ctx.Err()
	}
	uuid, version, err := f.site.conf.Folders.FindPDH(ctx, f.user.UUID, pdh)
	if err != nil {
		return "", 0, err
	}
	c.put(key, pdhFound{uuid, version, now.Add(accessTTL)})
	return uuid, version, nil
}

// pdhCache keeps what FindPDH found, for accessTTL. Version 0, the present
// state, is not safe to keep over a change of the collection: notice drops it.
type pdhCache struct {
	mu    sync.Mutex // guards the fields below
	found map[pdhKey]pdhFound
	of    map[collfs.UUID]map[pdhKey]struct{} // the keys of found, by collection
}

// maxPDHs is how many hashes are remembered.
const maxPDHs = 10_000

// maxFinds is how many searches for a content run at once.
const maxFinds = 2

type pdhKey struct {
	user collfs.UUID
	pdh  collfs.PDH
}

type pdhFound struct {
	uuid    collfs.UUID
	version int
	until   time.Time
}

func (c *pdhCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.found)
	clear(c.of)
}

func (c *pdhCache) put(k pdhKey, v pdhFound) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found == nil || len(c.found) >= maxPDHs {
		c.found, c.of = map[pdhKey]pdhFound{}, map[collfs.UUID]map[pdhKey]struct{}{}
	}
	if old, ok := c.found[k]; ok {
		if delete(c.of[old.uuid], k); len(c.of[old.uuid]) == 0 {
			delete(c.of, old.uuid)
		}
	}
	c.found[k] = v
	if c.of[v.uuid] == nil {
		c.of[v.uuid] = map[pdhKey]struct{}{}
	}
	c.of[v.uuid][k] = struct{}{}
}

// drop is called at every commit, so it must cost nothing where there is nothing.
func (c *pdhCache) drop(id collfs.UUID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.of[id] {
		delete(c.found, k)
	}
	delete(c.of, id)
}
