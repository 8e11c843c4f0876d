package davfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"keepdav/collfs"
)

// commitRecords makes changes of records a fact and forgets the names in the
// projects concerned, which the caller has locked.
func (f *FS) commitRecords(ctx context.Context, tx collfs.Tx, projects ...collfs.UUID) error {
	tx.Durable = true
	_, err := f.site.conf.Catalog.Commit(ctx, tx)
	f.site.forget(projects...)
	return err
}

// apply changes attributes as c says.
func (c AttrChange) apply(a collfs.Attr) collfs.Attr {
	if c.Mode != nil {
		if a.Mode = *c.Mode & 0o7777; a.Mode == 0 {
			a.Mode = collfs.ModeNone
		}
	}
	if c.ModTime != nil {
		a.Mtime = c.ModTime.UnixNano()
		if a.Mtime == 0 { // which would mean that none is set
			a.Mtime = 1
		}
	}
	a.Extra = changeExtra(a.Extra, c.Extra)
	return a
}

// changeExtra returns old with the keys of change replaced; "" deletes one.
func changeExtra(old, change map[string]string) map[string]string {
	if len(change) == 0 {
		return old
	}
	extra := make(map[string]string, len(old)+len(change))
	maps.Copy(extra, old)
	for k, v := range change {
		if v == "" {
			delete(extra, k)
		} else {
			extra[k] = v
		}
	}
	if len(extra) == 0 {
		return nil
	}
	return extra
}

func (c AttrChange) isZero() bool { return c.Mode == nil && c.ModTime == nil && len(c.Extra) == 0 }

// Mkdir implements FileSystem.
func (f *FS) Mkdir(ctx context.Context, name string, attr AttrChange) (Info, error) {
	p, err := f.resolveNew(ctx, name)
	var i Info
	if err == nil {
		i, err = f.mkdir(ctx, p, attr)
	}
	return i, pathError("mkdir", name, err)
}

func (f *FS) mkdir(ctx context.Context, p place, attr AttrChange) (Info, error) {
	if p.kind == atNothing {
		return f.makeCollection(ctx, p, attr)
	}
	if !p.inCollection() {
		return Info{}, fs.ErrExist
	}
	s, err := f.visit(ctx, p)
	if err != nil {
		return Info{}, err
	}
	defer s.close()
	switch err := s.parent(); {
	case err != nil:
		return Info{}, err
	case s.ok:
		return Info{}, fs.ErrExist
	case p.shown():
		return f.makeCollection(ctx, p, attr)
	case !p.mayWrite():
		return Info{}, collfs.ErrReadOnly
	}
	a := attr.apply(collfs.Attr{Mtime: time.Now().UnixNano()})
	if s.node, err = s.c.Mkdir(s.path, a, s.check(attr.Check)); err != nil {
		return Info{}, err
	}
	return s.info(), s.c.Commit(ctx, true)
}

// makeCollection makes a collection called p.base in p.project.
func (f *FS) makeCollection(ctx context.Context, p place, attr AttrChange) (Info, error) {
	if err := p.mayMake(); err != nil {
		return Info{}, err
	}
	unlock := f.site.lockFolders(p.project)
	defer unlock()
	if attr.Check != nil {
		if err := attr.Check(Info{}, false); err != nil {
			return Info{}, checkError{err}
		}
	}
	id := f.site.conf.Files.NewUUID("4zz18")
	tx := collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: p.project, Name: p.base}}}
	a := attr.apply(collfs.Attr{})
	if !attr.isZero() {
		tx.Changes = []collfs.Change{{Collection: id, Ops: []collfs.Op{{Kind: collfs.OpAttr, Attr: a}}}}
	}
	if err := f.commitRecords(ctx, tx, p.project); err != nil {
		return Info{}, err
	}
	now := wallTime(time.Now())
	return Info{
		Name: p.base, Dir: true, ModTime: modTime(a, now), Birth: now, Attr: a,
		Collection: id, ReadOnly: false, Entries: 0,
	}, nil
}

// CheckRecordName says why a project or a collection may not be called name:
// under some names nobody would find it.
func CheckRecordName(name string) error {
	if name == metaCollection || name == metaProject {
		return fmt.Errorf("%w: %q", collfs.ErrNameInvalid, name)
	}
	return collfs.CheckName(name)
}

// mayMake says why p.base may not become a record in p.project.
func (p *place) mayMake() error {
	if err := CheckRecordName(p.base); err != nil {
		return err
	}
	if p.readOnly || p.above < collfs.CanWrite {
		return collfs.ErrReadOnly
	}
	return nil
}

// Remove implements FileSystem.
func (f *FS) Remove(ctx context.Context, name string, check Check) error {
	p, err := f.resolveOld(ctx, name)
	if err == nil {
		err = f.remove(ctx, p, check)
	}
	return pathError("remove", name, err)
}

func (f *FS) remove(ctx context.Context, p place, check Check) error {
	switch {
	case p.kind == atNothing:
		return f.removeSide(ctx, p.project, p.base, p.mayWrite(), check)
	case p.inCollection():
		return f.removePath(ctx, p, check)
	case p.isRecord():
		return f.trashRecord(ctx, p, check)
	}
	return collfs.ErrReadOnly
}

func (f *FS) removePath(ctx context.Context, p place, check Check) error {
	s, err := f.visit(ctx, p)
	if err != nil {
		return err
	}
	defer s.close()
	key, inside := s.key(s.path)
	if !s.ok {
		return f.removeSide(ctx, key, inside, p.mayWrite(), check)
	}
	if !p.mayWrite() {
		return collfs.ErrReadOnly
	}
	if err := s.c.RemoveAll(s.path, s.check(check)); err != nil {
		return err
	}
	if err := s.c.Commit(ctx, true); err != nil {
		return err
	}
	return f.site.dropSide(ctx, key, inside, s.node.Dir)
}

// trashRecord puts a collection or project, with all that is in it, in the trash.
func (f *FS) trashRecord(ctx context.Context, p place, check Check) error {
	if err := p.mayTake(); err != nil {
		return err
	}
	unlock := f.site.lockFolders(p.project)
	defer unlock()
	if err := f.stillThere(ctx, &p); err != nil {
		return err
	}
	if err := f.checkRecord(ctx, p, check); err != nil {
		return err
	}
	tx := collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.Trash, UUID: p.uuid}}}
	if err := f.commitRecords(ctx, tx, p.project); err != nil {
		return err
	}
	return f.site.dropSide(ctx, p.project, p.base, false)
}

// mayTake says why a record may not be taken away from where it lies: that
// changes the project too. One that was reached in a folder that is made up, by
// its UUID, lies in no project.
func (p *place) mayTake() error {
	if p.project == "" || p.above < collfs.CanWrite || !p.mayWrite() {
		return collfs.ErrReadOnly
	}
	return nil
}

// stillThere makes sure, under the lock of its project, that a record has the
// name by which it was found: it may have been moved away since.
func (f *FS) stillThere(ctx context.Context, p *place) error {
	if !p.isRecord() || p.project == "" {
		return nil
	}
	e, err := f.site.conf.Folders.Lookup(ctx, p.project, p.base)
	if err == nil && childOf(e).uuid != p.uuid {
		err = fs.ErrNotExist
	}
	return err
}

// checkRecord calls a Check on a record, or on nothing.
func (f *FS) checkRecord(ctx context.Context, p place, check Check) error {
	if check == nil {
		return nil
	}
	i, err := f.stat(ctx, p)
	if err != nil {
		return err
	}
	if err := check(i, true); err != nil {
		return checkError{err}
	}
	return nil
}

// SetAttr implements FileSystem.
func (f *FS) SetAttr(ctx context.Context, name string, c AttrChange) (Info, error) {
	p, err := f.resolveOld(ctx, name)
	var i Info
	if err == nil {
		i, err = f.setAttr(ctx, p, c)
	}
	return i, pathError("setattr", name, err)
}

func (f *FS) setAttr(ctx context.Context, p place, c AttrChange) (Info, error) {
	switch p.kind {
	case atProject:
		if !p.mayWrite() {
			return Info{}, collfs.ErrReadOnly
		}
		loose, err := f.makeLoose(ctx, p.uuid)
		if err != nil {
			return Info{}, err
		}
		inside := place{kind: atCollection, name: p.name, uuid: loose, level: p.level, base: p.base}
		if _, err := f.setAttr(ctx, inside, c); err != nil {
			return Info{}, err
		}
		return f.projectInfo(ctx, p)
	case atNothing:
		return f.setSideAttr(ctx, p.project, p.base, p.mayWrite(), c)
	case atCollection:
		s, err := f.visit(ctx, p)
		if err != nil {
			return Info{}, err
		}
		defer s.close()
		if !s.ok {
			key, inside := s.key(s.path)
			return f.setSideAttr(ctx, key, inside, p.mayWrite(), c)
		}
		if !p.mayWrite() {
			return Info{}, collfs.ErrReadOnly
		}
		check := s.check(c.Check)
		s.node, err = s.c.SetAttr(s.path, func(n collfs.NodeInfo) (collfs.Attr, error) {
			if check != nil {
				if err := check(n, true); err != nil {
					return collfs.Attr{}, err
				}
			}
			return c.apply(n.Attr), nil
		})
		if err != nil {
			return Info{}, err
		}
		return s.info(), s.c.Commit(ctx, true)
	}
	return Info{}, collfs.ErrReadOnly
}

// check makes a Check one that collfs calls about s.path.
func (s *spot) check(check Check) collfs.Check {
	if check == nil {
		return nil
	}
	return func(n collfs.NodeInfo, ok bool) error {
		var i Info
		if ok {
			i = s.place.info(&s.rec, s.path, n)
		}
		if err := check(i, ok); err != nil {
			return checkError{err}
		}
		return nil
	}
}

// resolveOld is resolve for a name that must exist: it makes no difference how
// much of it is missing.
func (f *FS) resolveOld(ctx context.Context, name string) (place, error) {
	p, err := f.resolve(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fs.ErrNotExist
	}
	return p, err
}

// resolveNew is resolve for a name that is to be made: where nothing can be made
// the error says so.
func (f *FS) resolveNew(ctx context.Context, name string) (place, error) {
	p, err := f.resolve(ctx, name)
	if err == fs.ErrNotExist {
		err = collfs.ErrReadOnly
	}
	if err == nil && p.kind == atMetaFile {
		err = collfs.ErrReadOnly
	}
	return p, err
}
