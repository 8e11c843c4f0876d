package catalogtest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"keepdav/collfs"
)

func names(entries []collfs.Entry) string {
	var s []string
	for _, e := range entries {
		s = append(s, e.Name)
		if (e.Collection == nil) == (e.Project == nil) {
			s = append(s, "(neither or both)")
		}
	}
	return strings.Join(s, " ")
}

// wantList checks the names in a list.
func wantList(what string, entries []collfs.Entry, err error, wanted string) error {
	if got := names(entries); err != nil || got != wanted {
		return fmt.Errorf("%s = %q, %v; want %q", what, got, err, wanted)
	}
	return nil
}

// folderCases are about Folders.
var folderCases = []Case{
	{Name: "ListIsSortedAndHasNoTrash", NeedsUsers: true, Check: func(ctx context.Context, e *Env) error {
		var b collfs.UUID
		for _, name := range []string{"c", "b", "d", "B"} {
			id, err := e.create(ctx, name)
			if err != nil {
				return err
			}
			if name == "b" {
				b = id
			}
		}
		if _, err := e.project(ctx, e.User, "bb"); err != nil {
			return err
		}
		entries, err := e.Folders.List(ctx, e.User)
		if err := wantList("List", entries, err, "B b bb c d"); err != nil {
			return err
		}
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.Trash, UUID: b}); err != nil {
			return err
		}
		entries, err = e.Folders.List(ctx, e.User)
		_, gone := e.Folders.Lookup(ctx, e.User, "b")
		_, none := e.Folders.List(ctx, e.NewUUID("j7d0g"))
		return all(wantList("List", entries, err, "B bb c d"), want("Lookup of trash", gone, errNotExist), want("List of nothing", none, errNotExist))
	}},
	{Name: "LookupFindsExactlyThatName", NeedsUsers: true, Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		p, err := e.project(ctx, e.User, "p")
		if err != nil {
			return err
		}
		c, err := e.Folders.Lookup(ctx, e.User, "c")
		if err != nil || c.Collection == nil || c.Collection.UUID != id || c.Name != "c" {
			return fmt.Errorf("Lookup(c) = %+v, %v", c, err)
		}
		q, err := e.Folders.Lookup(ctx, e.User, "p")
		if err != nil || q.Project == nil || q.Project.UUID != p {
			return fmt.Errorf("Lookup(p) = %+v, %v", q, err)
		}
		_, upper := e.Folders.Lookup(ctx, e.User, "C")
		_, below := e.Folders.Lookup(ctx, p, "c")
		return all(want("Lookup(C)", upper, errNotExist), want("Lookup in another project", below, errNotExist))
	}},
	{Name: "EntryKnowsCollectionsProjectsAndHomes", NeedsUsers: true, Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		p, err := e.project(ctx, e.User, "p")
		if err != nil {
			return err
		}
		c, err1 := e.Folders.Entry(ctx, id)
		q, err2 := e.Folders.Entry(ctx, p)
		h, err3 := e.Folders.Entry(ctx, e.User)
		_, none := e.Folders.Entry(ctx, e.NewUUID("4zz18"))
		if err := all(err1, err2, err3, want("Entry of nothing", none, errNotExist)); err != nil {
			return err
		}
		if c.Collection == nil || c.Collection.UUID != id || q.Project == nil || q.Project.Owner != e.User || h.Project == nil || h.Project.UUID != e.User {
			return fmt.Errorf("entries: %+v, %+v, %+v", c, q, h)
		}
		return nil
	}},
	{Name: "AccessFollowsOwnersAndGrants", NeedsUsers: true, Check: func(ctx context.Context, e *Env) error {
		p, err := e.project(ctx, e.User, "p")
		if err != nil {
			return err
		}
		id := e.NewUUID("4zz18")
		if err := e.records(ctx, collfs.RecordOp{Kind: collfs.CreateCollection, UUID: id, Owner: p, Name: "c"}); err != nil {
			return err
		}
		check := func(user, item collfs.UUID, wanted collfs.Level) error {
			if got, err := e.Folders.Access(ctx, user, item); err != nil || got != wanted {
				return fmt.Errorf("level = %v, %v; want %v", got, err, wanted)
			}
			return nil
		}
		if err := all(check(e.User, id, collfs.CanManage), check(e.User, e.User, collfs.CanManage), check(e.Stranger, id, collfs.NoAccess), check(e.Stranger, p, collfs.NoAccess), check(e.Stranger, e.User, collfs.NoAccess)); err != nil {
			return err
		}
		shared, err := e.Folders.Shared(ctx, e.Stranger)
		if err := wantList("Shared before a grant", shared, err, ""); err != nil {
			return err
		}
		if err := e.Grant(e.Stranger, p, collfs.CanRead); err != nil {
			return err
		}
		shared, err = e.Folders.Shared(ctx, e.Stranger)
		if err := all(wantList("Shared", shared, err, "p"), check(e.Stranger, id, collfs.CanRead)); err != nil {
			return err
		}
		if err := e.Grant(e.Stranger, p, collfs.CanWrite); err != nil {
			return err
		}
		_, none := e.Folders.Access(ctx, e.User, e.NewUUID("4zz18"))
		return all(check(e.Stranger, id, collfs.CanWrite), check(e.Stranger, e.User, collfs.NoAccess), want("Access to nothing", none, errNotExist))
	}},
	{Name: "UsersAreFoundByLoginName", NeedsUsers: true, Check: func(ctx context.Context, e *Env) error {
		u, err := e.Folders.UserByName(ctx, e.Name)
		if err != nil || u.UUID != e.User || !u.Active {
			return fmt.Errorf("UserByName(%q) = %+v, %v", e.Name, u, err)
		}
		_, none := e.Folders.UserByName(ctx, "nobody of that name")
		users, err := e.Folders.Users(ctx, e.User)
		if err != nil || !slices.ContainsFunc(users, func(u collfs.User) bool { return u.UUID == e.User }) {
			return fmt.Errorf("Users() = %+v, %v; want oneself at least", users, err)
		}
		return want("UserByName", none, errNotExist)
	}},
	{Name: "FindPDHFindsWhatMayBeRead", NeedsUsers: true, Check: func(ctx context.Context, e *Env) error {
		id, err := e.create(ctx, "c")
		if err != nil {
			return err
		}
		mkdir := collfs.Op{Kind: collfs.OpMkdir, Path: "d"}
		if _, err := e.change(ctx, id, 0, 0, 0, mkdir); err != nil {
			return err
		}
		const pdh = "380a3f37bde45eeea19200845b8f5bec+48" // of an empty directory d
		found, _, err := e.Folders.FindPDH(ctx, e.User, pdh)
		if err != nil || found != id {
			return fmt.Errorf("FindPDH() = %v, %v; want %v", found, err, id)
		}
		_, _, hidden := e.Folders.FindPDH(ctx, e.Stranger, pdh)
		_, _, none := e.Folders.FindPDH(ctx, e.User, "00000000000000000000000000000000+1")
		return all(want("FindPDH of what a user may not read", hidden, errNotExist), want("FindPDH of nothing", none, errNotExist))
	}},
}
