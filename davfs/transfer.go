package davfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"keepdav/collfs"
)

// Copy implements FileSystem.
func (f *FS) Copy(ctx context.Context, src, dst string, o CopyOptions) (bool, error) {
	o.POSIX = false
	return f.transferNames(ctx, src, dst, &transfer{CopyOptions: o, op: "copy"})
}

// Move implements FileSystem.
func (f *FS) Move(ctx context.Context, src, dst string, o CopyOptions) (bool, error) {
	o.Shallow = false
	if o.POSIX {
		ctx = exactly(ctx)
	}
	return f.transferNames(ctx, src, dst, &transfer{CopyOptions: o, op: "move", move: true})
}

// A transfer is one COPY or MOVE under way.
type transfer struct {
	CopyOptions
	op   string
	move bool
	from place
	to   place       // what may be replaced, or the free name
	made collfs.UUID // the project that a copy of projects makes: it is not copied itself

	empty *collfs.Collection // goes to the trash if it has nothing in it, before all else
}

// replace says what the move or copy may replace in a collection.
func (t *transfer) replace() collfs.Replace {
	switch {
	case !t.Overwrite:
		return collfs.ReplaceNothing
	case t.POSIX:
		return collfs.ReplacePOSIX
	}
	return collfs.ReplaceAny
}

// onSource marks errors that are about the source of a transfer.
type onSource struct{ error }

func (e onSource) Unwrap() error { return e.error }

func (f *FS) transferNames(ctx context.Context, src, dst string, t *transfer) (created bool, err error) {
	if t.from, err = f.resolveOld(ctx, src); err != nil {
		return false, pathError(t.op, src, err)
	}
	if t.to, err = f.resolveNew(ctx, dst); err != nil {
		return false, pathError(t.op, dst, err)
	}
	switch {
	case src == dst, below(dst, src), below(src, dst):
		i, serr := f.stat(ctx, t.from)
		if serr != nil {
			return false, pathError(t.op, src, serr)
		}
		err = collfs.ErrIntoItself
		if t.POSIX && !below(dst, src) {
			err = t.ontoItself(src == dst, i.Dir)
		}
	default:
		t.respell()
		created, err = f.transfer(ctx, t)
	}
	if s, ok := err.(onSource); ok {
		return false, pathError(t.op, src, s.error)
	}
	return created, pathError(t.op, dst, err)
}

// ontoItself is what rename(2) says of a move to the thing itself, or else to a
// directory that it lies in.
func (t *transfer) ontoItself(same, dir bool) error {
	switch {
	case !t.Overwrite:
		return fs.ErrExist
	case same:
		return nil
	case dir:
		return collfs.ErrNotEmpty
	}
	return collfs.ErrIsDir
}

// respell makes a move of a record to another spelling of its name, by which it
// was found as well, one to a name that is free.
func (t *transfer) respell() {
	base := path.Base(t.to.name)
	if t.move && t.to.project != "" && t.from.isRecord() && t.to.isRecord() && t.from.uuid == t.to.uuid && t.from.project == t.to.project && base != t.from.base {
		t.to = t.to.vacant()
		t.to.base = base
	}
}

// respell is the same for a path in a collection, which to leads to.
func (s *spot) respell(to *place, t *transfer, from *spot) {
	_, base := splitPath(to.path)
	if dir, old := splitPath(from.path); t.move && s.ok && s.uuid == from.uuid && s.path == from.path && base != old {
		s.path, s.ok, s.node = path.Join(dir, base), false, collfs.NodeInfo{}
	}
}

// below reports whether name lies below dir.
func below(name, dir string) bool {
	return len(name) > len(dir) && name[len(dir)] == '/' && strings.HasPrefix(name, dir)
}

func (f *FS) transfer(ctx context.Context, t *transfer) (created bool, err error) {
	switch t.from.kind {
	case atVirtual, atOwner, atMetaFile:
		if t.move {
			return false, onSource{collfs.ErrReadOnly}
		}
		return false, onSource{collfs.ErrNotSupported}
	case atNothing:
		return f.transferSide(ctx, t, t.from.project, t.from.base)
	case atProject:
		return f.transferRecord(ctx, t)
	}
	s, err := f.visit(ctx, t.from)
	if err != nil {
		return false, onSource{err}
	}
	defer s.close()
	t.from = s.place
	switch {
	case !s.ok:
		key, inside := s.key(s.path)
		return f.transferSide(ctx, t, key, inside)
	case t.move && s.path == "":
		if err := s.mayTake(); err != nil {
			return false, onSource{err}
		}
	case t.move && !s.mayWrite():
		return false, onSource{collfs.ErrReadOnly}
	}
	if s.path == "" || s.node.Dir {
		if t.to.shown() || t.to.kind == atProject {
			return f.transferRecord(ctx, t)
		}
	}
	return f.transferPath(ctx, t, &s)
}

// transferPath moves or copies what is at s to a path in a collection: a file,
// or a directory or whole collection that does not become a record.
func (f *FS) transferPath(ctx context.Context, t *transfer, s *spot) (created bool, err error) {
	to, check := t.to, t.Check
	over := to.isRecord() // a record that a file replaces
	switch {
	case over && to.shown():
		if !t.Overwrite {
			return false, fs.ErrExist
		}
		if t.POSIX {
			return false, collfs.ErrIsDir
		}
		if err := to.mayTake(); err != nil {
			return false, err
		}
		if err := f.apart(ctx, t); err != nil {
			return false, err
		}
		if err := f.checkRecord(ctx, to, check); err != nil {
			return false, err
		}
		to, check = to.vacant(), nil
	case over, to.kind == atVirtual, to.kind == atOwner: // a folder that nothing takes the place of
		return false, collfs.ErrReadOnly
	}
	// Whatever it is called, it is no side file now.
	if to, err = f.placeForFile(ctx, to, maxSideFile+1); err != nil {
		return false, err
	}
	d, err := f.visitNew(ctx, to)
	if err != nil {
		return false, err
	}
	defer d.close()
	d.respell(&to, t, s)
	if over {
		created, err = f.linkOver(ctx, t, s, &d)
	} else {
		created, err = f.link(ctx, t, s, &d, check, nil)
	}
	if err != nil {
		return false, err
	}
	key, inside := s.key(s.path)
	toKey, toInside := d.key(d.path)
	if t.move {
		return created, f.site.moveSide(ctx, key, inside, toKey, toInside, s.node.Dir)
	}
	return created, f.site.dropSide(ctx, toKey, toInside, true)
}

// visitNew is visit for a path that something is to be made at or to replace.
func (f *FS) visitNew(ctx context.Context, p place) (spot, error) {
	s, err := f.visit(ctx, p)
	if err != nil {
		return s, err
	}
	if err = s.parent(); err == nil && !s.mayWrite() {
		err = collfs.ErrReadOnly
	}
	if err == nil {
		err = s.mayName()
	}
	if err != nil {
		s.close()
	}
	return s, err
}

// linkOver is link for a file that takes the place of the record t.to, which it
// hides as long as it is there.
func (f *FS) linkOver(ctx context.Context, t *transfer, s, d *spot) (created bool, err error) {
	if d.uuid == t.to.uuid { // it would go along
		return false, collfs.ErrIntoItself
	}
	unlock := f.site.lockFolders(t.to.project)
	defer unlock()
	if err := f.stillThere(ctx, &t.to); errors.Is(err, fs.ErrNotExist) {
		return f.link(ctx, t, s, d, nil, nil) // somebody took it away meanwhile
	} else if err != nil {
		return false, err
	}
	_, err = f.link(ctx, t, s, d, nil, []collfs.RecordOp{{Kind: collfs.Trash, UUID: t.to.uuid}})
	f.site.forget(t.to.project)
	return false, err
}

// link moves or copies what is at s to d and changes records, in one transaction.
func (f *FS) link(ctx context.Context, t *transfer, s, d *spot, check Check, records []collfs.RecordOp) (created bool, err error) {
	o := collfs.CopyOptions{Replace: t.replace(), Shallow: t.Shallow, Check: d.check(check), CheckSrc: s.check(t.CheckSrc)}
	switch {
	case s.c != d.c: // s may be an old state of the same collection
		return f.cross(ctx, t, s, d, o, records)
	case s.path == d.path && t.POSIX:
		return false, t.ontoItself(true, s.node.Dir)
	case s.path == "" || s.path == d.path:
		return false, collfs.ErrIntoItself
	case records != nil:
		return f.site.conf.Files.Transfer(ctx, s.c, s.path, d.c, d.path, collfs.TransferOptions{CopyOptions: o, Move: t.move, Records: records})
	case t.move:
		created, err = s.c.Rename(s.path, d.path, o)
	default:
		created, err = s.c.Copy(s.path, d.path, o)
	}
	if err != nil {
		return false, err
	}
	return created, s.c.Commit(ctx, true)
}

// cross is link between two collections.
func (f *FS) cross(ctx context.Context, t *transfer, s, d *spot, o collfs.CopyOptions, records []collfs.RecordOp) (created bool, err error) {
	to := collfs.TransferOptions{CopyOptions: o, Move: t.move, Records: records}
	if s.path != "" || !t.move {
		return f.site.conf.Files.Transfer(ctx, s.c, s.path, d.c, d.path, to)
	}
	unlock := f.site.lockFolders(s.project)
	defer unlock()
	if err := f.stillThere(ctx, &s.place); err != nil {
		return false, onSource{err}
	}
	created, err = f.site.conf.Files.Absorb(ctx, s.c, d.c, d.path, to)
	f.site.forget(s.project)
	return created, err
}

// transferRecord moves or copies a project, a collection, or a directory that
// becomes a collection, to a name in a project.
func (f *FS) transferRecord(ctx context.Context, t *transfer) (created bool, err error) {
	to := t.to
	switch {
	case t.from.kind == atProject && to.inCollection() && !to.shown():
		return false, collfs.ErrNotSupported // a collection has no projects in it
	case to.kind == atVirtual || to.kind == atOwner || to.isRecord() && to.project == "":
		return false, collfs.ErrReadOnly
	}
	if t.move && t.from.isRecord() {
		if err := t.from.mayTake(); err != nil {
			return false, onSource{err}
		}
	}
	if err := to.mayMake(); err != nil {
		return false, err
	}
	if t.POSIX && t.from.kind == to.kind && t.from.uuid == to.uuid && t.from.path == to.path {
		return false, t.ontoItself(true, true)
	}
	if err := f.apart(ctx, t); err != nil {
		return false, err
	}
	locked := []collfs.UUID{to.project}
	if t.POSIX && to.kind == atProject {
		locked = append(locked, to.uuid) // nothing may come into it
	}
	if t.move {
		locked = append(locked, t.from.project) // a copy may take long, and takes nothing from there
	}
	unlock := f.site.lockFolders(locked...)
	defer unlock()
	if t.move {
		if err := f.stillThere(ctx, &t.from); err != nil {
			return false, onSource{err}
		}
	}
	if err := f.stillThere(ctx, &to); errors.Is(err, fs.ErrNotExist) {
		to = to.vacant()
		t.to = to
	} else if err != nil {
		return false, err
	}
	ops, loose, err := f.clearTarget(ctx, t)
	if err != nil {
		return false, err
	}
	if loose != nil {
		defer loose.close()
	}
	if t.empty != nil {
		defer t.empty.Release()
	}
	replaced := len(ops) > 0 || loose != nil || t.empty != nil
	if t.from.isRecord() {
		if err := f.checkRecord(ctx, t.from, t.CheckSrc); err != nil {
			return false, err
		}
	}
	switch {
	case t.move && t.from.isRecord():
		ops = append(ops, collfs.RecordOp{Kind: collfs.Move, UUID: t.from.uuid, Owner: to.project, Name: to.base})
		err = f.commitEmptied(ctx, t.empty, ops, t.from.project, to.project)
	case t.from.kind == atProject:
		err = f.copyProject(ctx, t, ops)
	default:
		err = f.newCollection(ctx, t, ops)
	}
	if err != nil {
		return false, err
	}
	if loose != nil { // hidden by the record now
		remove := loose.c.RemoveAll
		if t.POSIX {
			remove = loose.c.Remove
		}
		err := remove(loose.path, func(n collfs.NodeInfo, _ bool) error {
			if n.Dir != loose.node.Dir || n.ID != loose.node.ID {
				return fs.ErrNotExist // another one by now: it stays, hidden
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, collfs.ErrNotEmpty) {
			return false, err
		}
		if err := loose.c.Commit(ctx, true); err != nil {
			return false, err
		}
	}
	if t.move && t.from.isRecord() {
		err = f.site.moveSide(ctx, t.from.project, t.from.base, to.project, to.base, false)
	}
	return !replaced, err
}

// apart makes sure, whatever names they were reached by, that t.to does not lie
// in the project t.from, nor t.from in the record t.to, which it would replace.
func (f *FS) apart(ctx context.Context, t *transfer) error {
	inside := false
	var err error
	if t.to.isRecord() {
		inside, err = f.liesIn(ctx, t.from.uuid, t.to.uuid)
		if err == nil && inside && t.POSIX {
			return t.ontoItself(false, true)
		}
	}
	if err == nil && !inside && t.from.kind == atProject {
		inside, err = f.liesIn(ctx, t.to.project, t.from.uuid)
	}
	if err == nil && inside {
		err = collfs.ErrIntoItself
	}
	return err
}

// liesIn reports whether a record is top or lies below it.
func (f *FS) liesIn(ctx context.Context, id, top collfs.UUID) (bool, error) {
	for id != "" && id != top {
		var err error
		if id, err = f.Owner(ctx, id); err != nil {
			return false, err
		}
	}
	return id != "", nil
}

// clearTarget asks the Check about what is at t.to, and returns what puts a
// record there in the trash, or the loose file that has the name.
func (f *FS) clearTarget(ctx context.Context, t *transfer) (ops []collfs.RecordOp, loose *spot, err error) {
	defer func() {
		if err != nil && loose != nil {
			loose.close()
			loose = nil
		}
	}()
	var i Info
	exists := false
	switch {
	case t.to.inCollection():
		s, err := f.visit(ctx, t.to)
		if err != nil {
			return nil, nil, err
		}
		if s.ok {
			i, exists, loose = s.info(), true, &s
		} else {
			s.close()
		}
		switch {
		case !exists || !t.Overwrite || !t.POSIX: // no matter, or told below
		case !i.Dir:
			return nil, loose, collfs.ErrNotDir
		case i.Entries > 0:
			return nil, loose, collfs.ErrNotEmpty
		}
	case t.to.isRecord() && t.POSIX:
		if err := f.checkRecord(ctx, t.to, t.Check); err != nil {
			return nil, nil, err
		}
		if !t.Overwrite {
			return nil, nil, fs.ErrExist
		}
		t.empty, ops, err = f.emptied(ctx, t.to)
		return ops, nil, err
	case t.to.isRecord():
		if i, err = f.stat(ctx, t.to); err != nil {
			return nil, nil, err
		}
		exists = true
		ops = []collfs.RecordOp{{Kind: collfs.Trash, UUID: t.to.uuid}}
	}
	if t.Check != nil {
		if cerr := t.Check(i, exists); cerr != nil {
			return nil, loose, checkError{cerr}
		}
	}
	switch {
	case exists && !t.Overwrite:
		return nil, loose, fs.ErrExist
	case len(ops) > 0:
		return ops, nil, t.to.mayTake()
	}
	return ops, loose, nil
}

// newCollection makes a collection of what is at t.from: a copy of a collection,
// or of a directory, or a directory itself.
func (f *FS) newCollection(ctx context.Context, t *transfer, ops []collfs.RecordOp) error {
	s, err := f.visit(ctx, t.from)
	if err != nil {
		return onSource{err}
	}
	defer s.close()
	if !s.ok {
		return onSource{fs.ErrNotExist}
	}
	id, err := f.extract(ctx, &s, t, ops)
	f.site.forget(t.to.project)
	if err != nil || !t.move {
		return err
	}
	key, inside := s.key(s.path)
	return f.site.moveSide(ctx, key, inside, id, "", true)
}

func (f *FS) extract(ctx context.Context, s *spot, t *transfer, ops []collfs.RecordOp) (collfs.UUID, error) {
	if t.Shallow {
		return f.extractShallow(ctx, s, t, ops)
	}
	rec, err := f.site.conf.Files.Extract(ctx, s.c, s.path, t.to.project, t.to.base, collfs.TransferOptions{
		CopyOptions: collfs.CopyOptions{CheckSrc: s.check(t.CheckSrc)}, Move: t.move, Records: ops, Empty: t.empty,
	})
	if err != nil || s.path != "" || len(s.rec.Properties) == 0 && s.rec.Description == "" {
		return rec.UUID, err
	}
	return rec.UUID, f.commitRecords(ctx, collfs.Tx{Records: []collfs.RecordOp{{
		Kind: collfs.Update, UUID: rec.UUID, Properties: s.rec.Properties, Desc: s.rec.Description,
	}}})
}

// extractShallow makes an empty collection with the attributes of what is at s.
func (f *FS) extractShallow(ctx context.Context, s *spot, t *transfer, ops []collfs.RecordOp) (collfs.UUID, error) {
	if t.CheckSrc != nil {
		if err := t.CheckSrc(s.info(), true); err != nil {
			return "", checkError{err}
		}
	}
	id := f.site.conf.Files.NewUUID("4zz18")
	return id, f.commitRecords(ctx, collfs.Tx{
		Records: append(ops, collfs.RecordOp{Kind: collfs.CreateCollection, UUID: id, Owner: t.to.project, Name: t.to.base}),
		Changes: []collfs.Change{{Collection: id, Ops: []collfs.Op{{Kind: collfs.OpAttr, Attr: s.node.Attr}}}},
	}, t.to.project)
}

// copyProject copies a project with all that is in it, one record after the
// other; ops, which make room for it, are done with the first. If a part fails,
// the copy goes to the trash and what it has replaced comes back.
func (f *FS) copyProject(ctx context.Context, t *transfer, ops []collfs.RecordOp) error {
	id := f.site.conf.Files.NewUUID("j7d0g")
	tx := collfs.Tx{Records: append(ops, collfs.RecordOp{Kind: collfs.CreateProject, UUID: id, Owner: t.to.project, Name: t.to.base})}
	if err := f.commitRecords(ctx, tx, t.to.project); err != nil || t.Shallow {
		return err
	}
	if t.made == "" {
		t.made = id
	}
	err := f.copyMembers(ctx, t.from.uuid, id, t.made)
	if err == nil {
		return nil
	}
	undo := collfs.Tx{Records: []collfs.RecordOp{{Kind: collfs.Trash, UUID: id}}}
	for _, op := range ops {
		undo.Records = append(undo.Records, collfs.RecordOp{Kind: collfs.Untrash, UUID: op.UUID})
	}
	return errors.Join(err, f.commitRecords(context.WithoutCancel(ctx), undo, t.to.project))
}

// copyMembers copies what is in the project src to the project dst. Below src
// there must not be the project that the whole copy makes, by whatever name it
// was reached.
func (f *FS) copyMembers(ctx context.Context, src, dst, made collfs.UUID) error {
	entries, err := f.site.conf.Folders.List(ctx, src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		k := childOf(e)
		if k.uuid == made {
			return collfs.ErrIntoItself
		}
		t := &transfer{
			made: made,
			from: place{kind: atProject, uuid: k.uuid, project: src, base: e.Name, level: collfs.CanRead},
			to:   place{kind: atNothing, project: dst, base: e.Name, level: collfs.CanManage, above: collfs.CanManage},
		}
		if k.kind == isProject {
			err = f.copyProject(ctx, t, nil)
		} else {
			t.from.kind = atCollection
			err = f.newCollection(ctx, t, nil)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", e.Name, err)
		}
	}
	return nil
}

// transferSide moves or copies a side file.
func (f *FS) transferSide(ctx context.Context, t *transfer, key collfs.UUID, p string) (created bool, err error) {
	file, done, err := f.loadSide(ctx, key, p, asLarge)
	if err != nil {
		return false, onSource{err}
	}
	defer done()
	if t.move && !t.from.mayWrite() {
		return false, onSource{collfs.ErrReadOnly}
	}
	if _, _, err := f.checkSide(ctx, key, p, t.CheckSrc); err != nil {
		return false, err
	}
	check := func(i Info, ok bool) error {
		if t.Check != nil {
			if err := t.Check(i, ok); err != nil {
				return err
			}
		}
		if ok && !t.Overwrite {
			return fs.ErrExist
		}
		return nil
	}
	up, err := f.put(ctx, t.to, PutOptions{Size: file.Size, ModTime: file.ModTime, Check: check})
	if err != nil {
		return false, err
	}
	defer up.Abort()
	if u, ok := up.(*sideUpload); ok && u.key == key && u.path == p {
		return false, collfs.ErrIntoItself // by another name
	}
	if _, err := up.Write(file.Data); err != nil {
		return false, err
	}
	if _, created, err = up.Commit(ctx); err != nil || !t.move {
		return created, err
	}
	return created, f.removeMoved(ctx, key, file)
}
