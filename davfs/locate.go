package davfs

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"keepdav/collfs"
)

// Located is what lies at a name of the site, for who goes on by himself from
// there: a mount works on the collection, and asks the site only about what lies
// above collections.
type Located struct {
	Info Info // of a meta file without the size (-1) and content, which Meta tells

	// Folder: a folder above the projects, or a project. Its members are asked of
	// the site. Else Collection is set, or Meta.
	Folder bool

	// Canonical is another name for the same thing that stays true when records
	// are renamed or moved: for projects, homes and the meta files of records it
	// goes by the UUID. For all others it is the name.
	Canonical string

	// Collection holds what was found, at Path; for a file that lies directly in a
	// project, it is the collection of that project's loose files. The caller must
	// release it.
	Collection *collfs.Collection
	Path       string

	UUID     collfs.UUID // of the record whose access level counts; "" above the projects
	ReadOnly bool        // this user may not change it
	Meta     bool        // .arvados#collection or .arvados#project
}

// Locate finds what lies at a name. A missing name is fs.ErrNotExist, and so is a
// side file. Names are compared byte by byte unless the client of ctx folds case.
// A name in a project that was asked for lately costs no query.
func (f *FS) Locate(ctx context.Context, name string) (Located, error) {
	ctx = exactly(ctx)
	p, err := f.resolveOld(ctx, name)
	var l Located
	if err == nil {
		l, err = f.locate(ctx, p)
	}
	if err != nil {
		return Located{}, pathError("lookup", name, err)
	}
	return l, nil
}

func (f *FS) locate(ctx context.Context, p place) (l Located, err error) {
	l = Located{Canonical: p.canonical(), UUID: p.uuid, ReadOnly: !p.mayWrite()}
	switch p.kind {
	case atVirtual, atOwner:
		l.UUID, l.ReadOnly = "", true
		l.Folder, l.Info = true, virtualInfo(p)
	case atProject:
		l.Folder = true
		l.Info, err = f.projectInfo(ctx, p)
	case atMetaFile:
		l.Meta, l.ReadOnly = true, true
		l.Info, err = f.metaInfo(ctx, p)
	case atNothing:
		err = fs.ErrNotExist
	case atCollection:
		s, err := f.visit(ctx, p)
		if err != nil {
			return l, err
		}
		if !s.ok {
			s.close()
			return l, fs.ErrNotExist
		}
		l.Info, l.Collection, l.Path = s.info(), s.c, s.path
	}
	return l, err
}

// canonical is the name of p that its record keeps, as far as it has one.
func (p *place) canonical() string {
	switch {
	case p.kind == atProject:
		return path.Join("/by_id", string(p.uuid))
	case p.kind == atMetaFile && p.version == 0 && p.pdh == "":
		return path.Join("/by_id", string(p.uuid), baseName(p.name))
	}
	return p.name
}

// metaInfo is what is known of a meta file without making it.
func (f *FS) metaInfo(ctx context.Context, p place) (Info, error) {
	i := Info{Name: baseName(p.name), Size: -1, Collection: p.uuid, Path: baseName(p.name), ReadOnly: true, Entries: -1}
	if p.isMetaOfProject() {
		e, err := f.site.conf.Folders.Entry(ctx, p.uuid)
		if err != nil {
			return Info{}, err
		}
		if e.Project == nil {
			return Info{}, fs.ErrNotExist
		}
		i.ModTime = wallTime(e.Project.ModifiedAt)
		return i, nil
	}
	c, err := f.open(ctx, &p)
	if err != nil {
		return Info{}, err
	}
	defer c.Release()
	r, err := c.Record(ctx)
	i.ModTime = wallTime(r.ModifiedAt)
	return i, err
}

// LooseCollection returns the collection that keeps the files which lie directly
// in a project, made if there is none. project is the project's name in the site;
// one that the user may not write to is collfs.ErrReadOnly, what is no project
// collfs.ErrNotDir. The caller must release the collection.
func (f *FS) LooseCollection(ctx context.Context, project string) (*collfs.Collection, error) {
	p, err := f.resolveOld(exactly(ctx), project)
	var c *collfs.Collection
	if err == nil {
		c, err = f.looseCollection(ctx, p)
	}
	if err != nil {
		return nil, pathError("create", project, err)
	}
	return c, nil
}

func (f *FS) looseCollection(ctx context.Context, p place) (*collfs.Collection, error) {
	switch {
	case p.kind == atVirtual || p.kind == atOwner:
		return nil, collfs.ErrReadOnly
	case p.kind == atNothing:
		return nil, fs.ErrNotExist
	case p.kind != atProject:
		return nil, collfs.ErrNotDir
	case !p.mayWrite():
		return nil, collfs.ErrReadOnly
	}
	loose, err := f.site.looseOf(ctx, p.uuid)
	if err != nil {
		return nil, err
	}
	if loose.kind == isCollection {
		c, err := f.site.conf.Files.Open(ctx, loose.uuid)
		if !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	id, err := f.makeLoose(ctx, p.uuid)
	if err != nil {
		return nil, err
	}
	return f.site.conf.Files.Open(ctx, id)
}

// exactly is ctx for methods whose callers go by bytes, unless they said otherwise.
func exactly(ctx context.Context) context.Context {
	c := clientOf(ctx)
	if c.Exact || c.FoldCase {
		return ctx
	}
	c.Exact = true
	return WithClient(ctx, c)
}
