package davfs

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"keepdav/collfs"
)

// A place is where a name leads. What a place in a collection is, or whether it
// is anything, only the collection knows.
type place struct {
	kind placeKind
	name string // in the site
	uuid collfs.UUID
	// Of atCollection: the path in it, "" for its root.
	path    string
	version int        // of atCollection: 0 is the present state
	pdh     collfs.PDH // of atCollection: it must have this content

	level    collfs.Level
	readOnly bool // whatever the level: a version, or a content found by its hash

	// Of a record, and of atNothing: the project it lies in ("" when it was
	// reached by its UUID), what the user may do with that, and its name there as
	// the project has it.
	project collfs.UUID
	above   collfs.Level
	base    string

	// Of atCollection: the collection keeps the loose files of project. direct:
	// it was not named, the path follows the project's name.
	loose, direct bool
}

type placeKind uint8

const (
	atVirtual    placeKind = iota + 1 // /, /by_id, /shared, /users: read-only folders
	atOwner                           // what the owner uuid shares with the user
	atProject                         // a project or a home
	atCollection                      // a collection, or a path in it
	atNothing                         // no record, and nothing in the loose files' collection: may be made in project
	atMetaFile                        // .arvados#collection or .arvados#project of uuid
)

// The hidden files that show a record.
const (
	metaCollection = ".arvados#collection"
	metaProject    = ".arvados#project"
)

func (p *place) isRecord() bool {
	return p.kind == atProject || p.kind == atCollection && p.path == "" && p.version == 0
}

// inCollection reports whether p is below the root of a collection.
func (p *place) inCollection() bool { return p.kind == atCollection && p.path != "" }

// shown reports whether p is, or would be, shown in the folder of p.project
// itself, so that a directory there is a collection.
func (p *place) shown() bool {
	return p.kind == atNothing || p.direct && !strings.Contains(p.path, "/") || p.isRecord() && p.project != ""
}

// vacant is the place of a record in a project without the record.
func (p *place) vacant() place {
	return place{kind: atNothing, name: p.name, project: p.project, above: p.above, base: p.base, level: p.above}
}

func (p *place) mayWrite() bool { return !p.readOnly && p.level >= collfs.CanWrite }

// resolve finds where a name leads. A name whose parent is nowhere is
// ErrNoParent; one whose parent is a read-only folder above the projects, and
// that is nothing itself, is fs.ErrNotExist.
func (f *FS) resolve(ctx context.Context, name string) (place, error) {
	if err := validName(name); err != nil {
		return place{}, err
	}
	if name == "/" {
		return place{kind: atVirtual, name: name, level: collfs.CanRead}, nil
	}
	first, rest := cut(name[1:])
	switch first {
	case "home":
		return f.resolveRecord(ctx, name, child{kind: isProject, uuid: f.user.UUID}, "home", rest)
	case "by_id":
		return f.resolveByID(ctx, name, rest)
	case "users":
		return f.resolveUsers(ctx, name, rest)
	case "shared":
		return f.resolveShared(ctx, name, rest)
	}
	return place{}, missing(name, rest)
}

// missing is the error for a name of which a part under a virtual folder is nothing.
func missing(name, rest string) error {
	if rest != "" {
		return &atName{path.Dir(name), ErrNoParent}
	}
	return fs.ErrNotExist
}

func cut(p string) (first, rest string) {
	first, rest, _ = strings.Cut(p, "/")
	return first, rest
}

// validName refuses what is not absolute and clean: whoever took it from a
// request has cleaned it before any decision about it was made.
func validName(name string) error {
	if name == "" || name[0] != '/' || strings.IndexByte(name, 0) >= 0 || path.Clean(name) != name {
		return collfs.ErrNameInvalid
	}
	return nil
}

// resolveRecord goes on from a record that is called base in a virtual folder.
func (f *FS) resolveRecord(ctx context.Context, name string, k child, base, rest string) (place, error) {
	level, err := f.Level(ctx, k.uuid)
	if err != nil {
		return place{}, err
	}
	if level < collfs.CanRead {
		return place{}, missing(name, rest)
	}
	p := place{name: name, uuid: k.uuid, level: level, base: base}
	if k.kind == isProject {
		return f.walk(ctx, p, rest)
	}
	if k.looseOf != "" && rest != "" {
		p.project = k.looseOf
		p.loose, err = f.site.isLoose(ctx, p.project, p.uuid)
	}
	return p.inside(rest), err
}

// inside makes p, which has the uuid of a collection, the place of rest in it.
func (p place) inside(rest string) place {
	p.kind, p.path = atCollection, rest
	if rest == metaCollection {
		p.kind = atMetaFile
	}
	return p
}

// walk follows rest down from the project p.uuid.
func (f *FS) walk(ctx context.Context, p place, rest string) (place, error) {
	p.kind = atProject
	for rest != "" {
		var base string
		base, rest = cut(rest)
		if base == metaProject && rest == "" {
			p.kind = atMetaFile
			return p, nil
		}
		k, base, err := f.find(ctx, p.uuid, base)
		if err != nil {
			return place{}, err
		}
		if k.kind == noChild {
			return f.walkLoose(ctx, p, base, rest)
		}
		p.above = p.level
		if p.level < collfs.CanManage {
			// Rights are inherited, and may be larger further down.
			level, err := f.Level(ctx, k.uuid)
			if err != nil {
				return place{}, err
			}
			p.level = max(p.level, level)
		}
		p.project, p.base, p.uuid = p.uuid, base, k.uuid
		if k.kind == isCollection {
			if rest == "" {
				return p.inside(""), nil
			}
			p = p.inside(rest)
			p.loose, err = f.site.isLoose(ctx, p.project, p.uuid)
			return p, err
		}
	}
	return p, nil
}

// walkLoose is for a name in the project p.uuid that no record has.
func (f *FS) walkLoose(ctx context.Context, p place, base, rest string) (place, error) {
	loose, err := f.site.looseOf(ctx, p.uuid)
	if err != nil {
		return place{}, err
	}
	p.project, p.above, p.base = p.uuid, p.level, base
	if loose.kind == noChild {
		if rest != "" {
			return place{}, &atName{path.Dir(p.name), ErrNoParent}
		}
		p.kind, p.uuid = atNothing, ""
		return p, nil
	}
	p.kind, p.uuid, p.loose, p.direct = atCollection, loose.uuid, true, true
	p.path = base
	if rest != "" {
		p.path += "/" + rest
	}
	return p, nil
}

// find looks a name up in a project: as given, or else folded. A loose file
// that has the name as given comes before a record that has it folded.
func (f *FS) find(ctx context.Context, project collfs.UUID, name string) (child, string, error) {
	k, err := f.site.child(ctx, project, name)
	c := clientOf(ctx)
	if err != nil || k.kind != noChild || !mayFold(name, c) {
		return k, name, err
	}
	real, ok, err := f.site.foldedName(ctx, project, name, c.FoldCase)
	if err != nil || !ok {
		return child{}, name, err
	}
	if exact, err := f.looseHas(ctx, project, name); err != nil || exact {
		return child{}, name, err
	}
	k, err = f.site.child(ctx, project, real)
	if k.kind == noChild { // it went since the names were folded
		real = name
	}
	return k, real, err
}

var (
	uuidForm = regexp.MustCompile(`^[0-9a-z]{5}-(4zz18|j7d0g|tpzed)-[0-9a-z]{15}$`)
	pdhForm  = regexp.MustCompile(`^[0-9a-f]{32}[+-][0-9]+$`)
)

func inTrash(e collfs.Entry) bool {
	return e.Collection != nil && !e.Collection.TrashAt.IsZero() || e.Project != nil && !e.Project.TrashAt.IsZero()
}

func (p *place) isMetaOfProject() bool { return p.kind == atMetaFile && p.path == "" }

// looseHas reports whether the loose files of a project have exactly this name.
func (f *FS) looseHas(ctx context.Context, project collfs.UUID, name string) (bool, error) {
	k, err := f.site.looseOf(ctx, project)
	if err != nil || k.kind == noChild {
		return false, err
	}
	c, err := f.site.conf.Files.Open(ctx, k.uuid)
	if err != nil {
		return false, err
	}
	defer c.Release()
	_, err = c.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (f *FS) resolveByID(ctx context.Context, name, rest string) (place, error) {
	if rest == "" {
		return place{kind: atVirtual, name: name, level: collfs.CanRead}, nil
	}
	id, rest := cut(rest)
	if k, _, ok := f.site.names.get(byID, id); ok && k.kind != noChild {
		return f.resolveRecord(ctx, name, k, id, rest)
	}
	if pdhForm.MatchString(id) {
		pdh := collfs.PDH(id[:32] + "+" + id[33:])
		uuid, version, err := f.findPDH(ctx, pdh)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = missing(name, rest)
			}
			return place{}, err
		}
		p := place{name: name, uuid: uuid, version: version, pdh: pdh, level: collfs.CanRead, readOnly: true, base: id}
		return p.inside(rest), nil
	}
	bare, number, isVersion := strings.Cut(id, "@")
	if !uuidForm.MatchString(bare) {
		return place{}, missing(name, rest)
	}
	uuid := collfs.UUID(bare)
	k, gen, ok := f.site.names.get(byID, bare)
	if !ok {
		e, err := f.site.conf.Folders.Entry(ctx, uuid)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return place{}, err
		}
		if err == nil && !inTrash(e) {
			k = childOf(e)
		}
		f.site.names.put(byID, bare, k, gen)
	}
	if k.kind == noChild {
		return place{}, missing(name, rest)
	}
	if !isVersion {
		return f.resolveRecord(ctx, name, k, id, rest)
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || k.kind != isCollection {
		return place{}, missing(name, rest)
	}
	p, err := f.resolveRecord(ctx, name, k, id, rest)
	p.version, p.readOnly = n, true
	return p, err
}

func (f *FS) resolveUsers(ctx context.Context, name, rest string) (place, error) {
	if rest == "" {
		return place{kind: atVirtual, name: name, level: collfs.CanRead}, nil
	}
	login, rest := cut(rest)
	if login == f.user.Name {
		return f.resolveRecord(ctx, name, child{kind: isProject, uuid: f.user.UUID}, login, rest)
	}
	u, err := f.visibleUser(ctx, login)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = missing(name, rest)
		}
		return place{}, err
	}
	level, err := f.Level(ctx, u.UUID)
	if err != nil {
		return place{}, err
	}
	if level >= collfs.CanRead {
		return f.resolveRecord(ctx, name, child{kind: isProject, uuid: u.UUID}, login, rest)
	}
	return f.resolveOwner(ctx, name, u.UUID, rest)
}

// resolveOwner is for the folder of what one owner shares, one thing at a time.
func (f *FS) resolveOwner(ctx context.Context, name string, owner collfs.UUID, rest string) (place, error) {
	if rest == "" {
		return place{kind: atOwner, name: name, uuid: owner, level: collfs.CanRead}, nil
	}
	first, rest := cut(rest)
	sh, err := f.shared(ctx)
	if err != nil {
		return place{}, err
	}
	for _, e := range sh.byOwner[owner] {
		if e.Name == first {
			return f.resolveShare(ctx, name, e, rest)
		}
	}
	return place{}, missing(name, rest)
}

func (f *FS) resolveShared(ctx context.Context, name, rest string) (place, error) {
	if rest == "" {
		return place{kind: atVirtual, name: name, level: collfs.CanRead}, nil
	}
	first, below := cut(rest)
	sh, err := f.shared(ctx)
	if err != nil {
		return place{}, err
	}
	if owner, ok := sh.owners[first]; ok {
		return f.resolveOwner(ctx, name, owner, below)
	}
	if e, ok := sh.direct[first]; ok {
		return f.resolveShare(ctx, name, e, below)
	}
	return place{}, missing(name, below)
}

func (f *FS) resolveShare(ctx context.Context, name string, e collfs.Entry, rest string) (place, error) {
	return f.resolveRecord(ctx, name, childOf(e), e.Name, rest)
}
