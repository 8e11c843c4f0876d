package davfs

import (
	"context"

	"keepdav/collfs"
)

// Rmdir takes away an empty directory: an empty collection or project goes to the
// trash. One with something in it is collfs.ErrNotEmpty, also if that was put
// there just now, by whomever. What Apple clients litter does not count where the
// client does not see it, and goes along. A file is collfs.ErrNotDir, a folder
// above the projects, or a record that is reached by its UUID, collfs.ErrReadOnly.
func (f *FS) Rmdir(ctx context.Context, name string) error {
	ctx = exactly(ctx)
	p, err := f.resolveOld(ctx, name)
	if err == nil {
		err = f.rmdir(ctx, p)
	}
	return pathError("rmdir", name, err)
}

func (f *FS) rmdir(ctx context.Context, p place) error {
	switch {
	case p.kind == atMetaFile:
		return collfs.ErrNotDir
	case p.kind == atNothing:
		return f.notDirOrMissing(ctx, p)
	case p.inCollection():
		return f.rmdirPath(ctx, p)
	case !p.isRecord():
		return collfs.ErrReadOnly
	}
	return f.rmdirRecord(ctx, p)
}

func (f *FS) rmdirRecord(ctx context.Context, p place) error {
	if err := p.mayTake(); err != nil {
		return err
	}
	unlock := f.site.lockFolders(p.project, p.uuid)
	defer unlock()
	if err := f.stillThere(ctx, &p); err != nil {
		return err
	}
	c, ops, err := f.emptied(ctx, p)
	if err != nil {
		return err
	}
	if c != nil {
		defer c.Release()
	}
	if err := f.commitEmptied(ctx, c, ops, p.project, p.uuid); err != nil {
		return err
	}
	return f.site.dropSide(ctx, p.project, p.base, false)
}

// rmdirPath removes a directory of a collection.
func (f *FS) rmdirPath(ctx context.Context, p place) error {
	s, err := f.visit(ctx, p)
	if err != nil {
		return err
	}
	defer s.close()
	key, inside := s.key(s.path)
	switch {
	case !s.ok:
		return f.notDirOrMissing(ctx, p)
	case !s.node.Dir:
		return collfs.ErrNotDir
	case !s.mayWrite():
		return collfs.ErrReadOnly
	}
	if err := f.showsNoSide(ctx, key, inside); err != nil {
		return err
	}
	err = s.c.Remove(s.path, func(n collfs.NodeInfo, ok bool) error {
		if ok && !n.Dir {
			return collfs.ErrNotDir
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.c.Commit(ctx, true); err != nil {
		return err
	}
	return f.site.dropSide(ctx, key, inside, true)
}

// showsNoSide is collfs.ErrNotEmpty if the client sees side files in a directory.
func (f *FS) showsNoSide(ctx context.Context, key collfs.UUID, dir string) error {
	if !clientOf(ctx).Apple {
		return nil
	}
	has, err := f.site.hasSide(ctx, key)
	if err != nil || !has {
		return err
	}
	files, err := f.site.conf.Side.ListSide(ctx, key, dir)
	if err == nil && len(files) > 0 {
		err = collfs.ErrNotEmpty
	}
	return err
}

// emptied returns what puts the record p in the trash as long as nothing is in it:
// c, if not nil, must go as TrashEmpty says, then come ops. A project may still
// have a collection of loose files, without any. The caller has locked p.project,
// and p itself if it is a project, and must release c.
func (f *FS) emptied(ctx context.Context, p place) (c *collfs.Collection, ops []collfs.RecordOp, err error) {
	if err := p.mayTake(); err != nil {
		return nil, nil, err
	}
	if err := f.showsNoSide(ctx, p.uuid, ""); err != nil {
		return nil, nil, err
	}
	if p.kind == atCollection {
		c, err = f.open(ctx, &p)
		return c, nil, err
	}
	loose, err := f.emptyBut(ctx, p.uuid)
	if err != nil {
		return nil, nil, err
	}
	ops = []collfs.RecordOp{{Kind: collfs.Trash, UUID: p.uuid, Still: true}}
	if loose != "" {
		c, err = f.site.conf.Files.Open(ctx, loose)
	}
	return c, ops, err
}

// commitEmptied is commitRecords for ops that come after what emptied has returned.
func (f *FS) commitEmptied(ctx context.Context, c *collfs.Collection, ops []collfs.RecordOp, projects ...collfs.UUID) error {
	if c == nil {
		return f.commitRecords(ctx, collfs.Tx{Records: ops}, projects...)
	}
	err := f.site.conf.Files.TrashEmpty(ctx, c, nil, ops...)
	f.site.forget(projects...)
	return err
}

// emptyBut returns the collection of a project's loose files, "" if there is none,
// and collfs.ErrNotEmpty if there is anything else. The project must be locked.
func (f *FS) emptyBut(ctx context.Context, project collfs.UUID) (collfs.UUID, error) {
	f.site.forget(project)
	loose, err := f.site.looseOf(ctx, project)
	if err != nil {
		return "", err
	}
	entries, err := f.site.conf.Folders.List(ctx, project)
	for _, e := range entries {
		if childOf(e).uuid != loose.uuid {
			return "", collfs.ErrNotEmpty
		}
	}
	return loose.uuid, err
}
