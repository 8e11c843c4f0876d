package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"keepdav/cmd/internal/control"
	"keepdav/collfs"
	"keepdav/davfs"
)

// isCollection and isProject tell what a UUID names.
func isCollection(id collfs.UUID) bool { return strings.Contains(string(id), "-4zz18-") }
func isProject(id collfs.UUID) bool {
	return strings.Contains(string(id), "-j7d0g-") || strings.Contains(string(id), "-tpzed-")
}

type projectCmd struct {
	Create projectCreateCmd `cmd:"" help:"Make a project."`
}

type projectCreateCmd struct {
	siteFlags
	Name string `arg:"" help:"Path in the site, such as /home/grant-2026; its parent must exist."`
}

func (c *projectCreateCmd) Help() string {
	return "A project is a folder of collections and other projects. (A folder made over WebDAV in a project is a collection.)"
}

// recordInfo is a project or collection as commands show it.
type recordInfo struct {
	UUID      collfs.UUID `json:"uuid"`
	Name      string      `json:"name"`
	NameBytes []byte      `json:"name_base64,omitempty"`
}

func (c *projectCreateCmd) Run(ctx context.Context, root *cli) error {
	p, err := call[recordInfo](ctx, root, "project.create", siteArgs{As: c.As, Name: siteName(c.Name)})
	if err != nil {
		return err
	}
	return show(root, p, func(w io.Writer) { fmt.Fprintf(w, "project %s made (%s)\n", printable(p.Name), p.UUID) })
}

func createProject(ctx context.Context, s *store, a siteArgs, _ func(control.Progress)) (recordInfo, error) {
	parent, err := s.recordAt(ctx, a.As, path.Dir(a.Name), isProject)
	if err == nil {
		err = s.mayMake(ctx, a.As, parent, path.Base(a.Name))
	}
	if err != nil {
		return recordInfo{}, err
	}
	p := recordInfo{UUID: s.SQL.NewProjectUUID(), Name: path.Base(a.Name)}
	_, err = s.Gate.Commit(ctx, collfs.Tx{Durable: true, Records: []collfs.RecordOp{{
		Kind: collfs.CreateProject, UUID: p.UUID, Owner: parent, Name: p.Name,
	}}})
	if err != nil {
		return p, fmt.Errorf("make project %s: %w", a.Name, err)
	}
	return p, nil
}

// mayMake says why the user called as may not make something called name in a project.
func (s *store) mayMake(ctx context.Context, as string, project collfs.UUID, name string) error {
	if err := s.allowed(ctx, as, project, collfs.CanWrite); err != nil {
		return err
	}
	if err := davfs.CheckRecordName(name); err != nil {
		return err
	}
	fsys, err := s.SiteOf(ctx, as)
	if err != nil {
		return err
	}
	// A file in the project would be hidden by what is called like it.
	switch _, err := fsys.Stat(ctx, path.Join("/by_id", string(project), name)); {
	case err == nil:
		return fmt.Errorf("%q: %w", name, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

// recordAt is the UUID of the project or collection that a name of the site leads to.
func (s *store) recordAt(ctx context.Context, as, name string, want func(collfs.UUID) bool) (collfs.UUID, error) {
	fsys, err := s.SiteOf(ctx, as)
	if err != nil {
		return "", err
	}
	info, err := fsys.Stat(ctx, name)
	switch {
	case err != nil:
		return "", err
	case !info.Dir || info.Path != "" || !want(info.Collection):
		return "", fmt.Errorf("%s is %s, which this command is not for", name, whatIs(info))
	}
	return info.Collection, nil
}

// whatIs is the kind of something in the site, for people.
func whatIs(i davfs.Info) string {
	switch {
	case !i.Dir:
		return "a file"
	case isCollection(i.Collection) && i.Path != "":
		return "a directory in a collection"
	case isCollection(i.Collection):
		return "a collection"
	case isProject(i.Collection):
		return "a project"
	}
	return "a folder above the projects"
}

// allowed says why the user called as may not do what needs a level of access to id.
func (s *store) allowed(ctx context.Context, as string, id collfs.UUID, need collfs.Level) error {
	u, err := s.UserByName(ctx, as)
	if err != nil {
		return err
	}
	level, err := s.SQL.Access(ctx, u.UUID, id)
	if err == nil && level < need {
		err = fmt.Errorf("user %s may not %s %s: %w", as, levelWord(need), id, fs.ErrPermission)
	}
	return err
}

type shareCmd struct {
	Grant  shareGrantCmd  `cmd:"" help:"Let a user read, write or manage a project or collection."`
	Revoke shareRevokeCmd `cmd:"" help:"Take that back."`
	List   shareListCmd   `cmd:"" help:"List what is shared with whom."`
}

// levels are the words for access levels.
var levels = map[string]collfs.Level{"read": collfs.CanRead, "write": collfs.CanWrite, "manage": collfs.CanManage}

func levelWord(l collfs.Level) string {
	for word, level := range levels {
		if level == l {
			return word
		}
	}
	return "none"
}

type shareArgs struct {
	As, Name, User, Level string
	NameBytes             []byte `json:",omitempty"`
}

// grantInfo says who may do what.
type grantInfo struct {
	UUID      collfs.UUID `json:"uuid"`
	Name      string      `json:"name"`
	NameBytes []byte      `json:"name_base64,omitempty"`
	User      string      `json:"user"`
	Level     string      `json:"level"`
}

type shareGrantCmd struct {
	siteFlags
	Name  string `arg:"" help:"Project or collection."`
	User  string `arg:"" help:"Who is to have access."`
	Level string `arg:"" enum:"read,write,manage" default:"read" help:"read (the default), write or manage."`
}

func (c *shareGrantCmd) Help() string {
	return nameHelp + "\n\nThe user finds it under /shared, and by its UUID under /by_id.\n\nExample:\n  keep-dav share grant /home/data ann write"
}

func (c *shareGrantCmd) Run(ctx context.Context, root *cli) error {
	g, err := call[grantInfo](ctx, root, "share.grant", shareArgs{As: c.As, Name: siteName(c.Name), User: c.User, Level: c.Level})
	if err != nil {
		return err
	}
	return show(root, g, func(w io.Writer) { fmt.Fprintf(w, "%s may %s %s\n", g.User, g.Level, printable(g.Name)) })
}

func grantAccess(ctx context.Context, s *store, a shareArgs, _ func(control.Progress)) (grantInfo, error) {
	id, user, err := s.grantee(ctx, a)
	if err != nil {
		return grantInfo{}, err
	}
	defer s.Site.ForgetAccess()
	return grantInfo{UUID: id, Name: a.Name, User: a.User, Level: a.Level}, s.SQL.Grant(ctx, user.UUID, id, levels[a.Level])
}

type shareRevokeCmd struct {
	siteFlags
	Name string `arg:"" help:"Project or collection."`
	User string `arg:"" help:"Who is to have no access any more."`
}

func (c *shareRevokeCmd) Run(ctx context.Context, root *cli) error {
	g, err := call[grantInfo](ctx, root, "share.revoke", shareArgs{As: c.As, Name: siteName(c.Name), User: c.User})
	if err != nil {
		return err
	}
	return show(root, g, func(w io.Writer) { fmt.Fprintf(w, "%s has no share of %s any more\n", g.User, printable(g.Name)) })
}

func revokeAccess(ctx context.Context, s *store, a shareArgs, _ func(control.Progress)) (grantInfo, error) {
	id, user, err := s.grantee(ctx, a)
	if err != nil {
		return grantInfo{}, err
	}
	defer s.Site.ForgetAccess()
	return grantInfo{UUID: id, Name: a.Name, User: a.User, Level: "none"}, s.SQL.Revoke(ctx, user.UUID, id)
}

func (s *store) grantee(ctx context.Context, a shareArgs) (collfs.UUID, collfs.User, error) {
	user, err := s.UserByName(ctx, a.User)
	if err != nil {
		return "", user, err
	}
	id, err := s.recordAt(ctx, a.As, a.Name, func(id collfs.UUID) bool { return isCollection(id) || isProject(id) })
	if err == nil {
		err = s.allowed(ctx, a.As, id, collfs.CanManage)
	}
	return id, user, err
}

type shareListCmd struct {
	siteFlags
	Name string `arg:"" help:"Project or collection."`
}

func (c *shareListCmd) Help() string { return nameHelp }

func (c *shareListCmd) Run(ctx context.Context, root *cli) error {
	grants, err := call[[]grantInfo](ctx, root, "share.list", shareArgs{As: c.As, Name: siteName(c.Name)})
	if err != nil {
		return err
	}
	return show(root, grants, func(w io.Writer) {
		t := newTable(w, "USER", "MAY")
		for _, g := range grants {
			t.row(g.User, g.Level)
		}
		t.end()
	})
}

func listAccess(ctx context.Context, s *store, a shareArgs, _ func(control.Progress)) ([]grantInfo, error) {
	id, err := s.recordAt(ctx, a.As, a.Name, func(id collfs.UUID) bool { return isCollection(id) || isProject(id) })
	if err != nil {
		return nil, err
	}
	shares, err := s.SQL.Grants(ctx, id)
	if err != nil {
		return nil, err
	}
	grants := []grantInfo{}
	for _, sh := range shares {
		u, err := s.SQL.User(ctx, sh.User)
		if err != nil {
			return nil, err
		}
		grants = append(grants, grantInfo{UUID: id, Name: a.Name, User: u.Name, Level: levelWord(sh.Level)})
	}
	return grants, nil
}
