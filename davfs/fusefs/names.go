package fusefs

import (
	"errors"
	"io/fs"
	"path"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
	"keepdav/davfs"
)

// raw is what go-fuse calls. Requests that it does not know fail with ENOSYS.
type raw struct {
	fuse.RawFileSystem
	m *Mounted
}

func (r *raw) String() string { return "keepdav" }

// Init implements fuse.RawFileSystem.
func (r *raw) Init(*fuse.Server) {}

// dirOf returns the directory that a request is about.
func (m *Mounted) dirOf(id uint64) (*inode, error) {
	in := m.table.get(id)
	switch {
	case in == nil:
		return nil, syscall.ESTALE
	case in.text != nil:
		return nil, collfs.ErrNotDir
	}
	return in, nil
}

// mayRead says why the user may not look at what is in c, if so.
func (m *Mounted) mayRead(c *collfs.Collection) error {
	return m.may(c, collfs.CanRead, fs.ErrPermission)
}

// mayWrite says why the user may not change c, if so.
func (m *Mounted) mayWrite(c *collfs.Collection) error {
	if m.opt.ReadOnly || c.ReadOnly() {
		return collfs.ErrReadOnly
	}
	return m.may(c, collfs.CanWrite, collfs.ErrReadOnly)
}

func (m *Mounted) may(c *collfs.Collection, need collfs.Level, no error) error {
	if m.isTmp(c) {
		return nil
	}
	level, err := m.site.Level(m.work, c.UUID())
	if err != nil {
		return err
	}
	if level < need {
		return no
	}
	return nil
}

// Lookup implements fuse.RawFileSystem.
func (r *raw) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	defer r.m.stats.begin(opLookup).end()
	dir, err := r.m.dirOf(h.NodeId)
	if err != nil {
		return status(err)
	}
	err = r.m.lookup(dir, name, out)
	if errors.Is(err, fs.ErrNotExist) && dir.isRef() {
		out.NodeId = 0
		out.SetEntryTimeout(absentTime)
		return fuse.OK
	}
	return status(err)
}

func (m *Mounted) lookup(dir *inode, name string, out *fuse.EntryOut) error {
	if dir.id == fuse.FUSE_ROOT_ID && name == hiddenDir {
		m.answerFolder(&folder{name: hiddenRoot, entries: map[string]Entry{}, made: time.Now()}, davfs.Info{}, out)
		return nil
	}
	if !dir.isRef() {
		return m.lookupFolder(dir, name, out)
	}
	if err := m.mayRead(dir.ref.Collection()); err != nil {
		return err
	}
	ref, info, err := dir.ref.Lookup(name)
	if err != nil {
		if t := m.metaFile(dir, name); t != nil && errors.Is(err, fs.ErrNotExist) {
			m.answerText(t, out)
			return nil
		}
		return err
	}
	m.answer(ref, info, dir, name, out)
	return nil
}

// answer fills out with what ref is, and gives the table the caller's use of ref.
func (m *Mounted) answer(ref collfs.Ref, info collfs.NodeInfo, dir *inode, name string, out *fuse.EntryOut) *inode {
	in := m.inode(ref, dir, name)
	out.NodeId, out.Generation = in.id, 1
	m.attr(in, info, true, &out.Attr)
	out.SetEntryTimeout(dir.entryTime())
	out.SetAttrTimeout(in.attrTime())
	return in
}

// writable returns the directory of a collection that is to be changed.
func (m *Mounted) writable(in *inode) error { return m.mayWrite(in.ref.Collection()) }

// changed has a change of names or attributes of the collection of in committed.
func (m *Mounted) changed(in *inode) {
	if m.opt.CommitOnClose {
		in.ref.Collection().CommitSoon()
	}
}

// Unlink implements fuse.RawFileSystem.
func (r *raw) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	defer r.m.stats.begin(opUnlink).end()
	return status(r.m.remove(h.NodeId, name, false))
}

// Rmdir implements fuse.RawFileSystem.
func (r *raw) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	defer r.m.stats.begin(opRmdir).end()
	return status(r.m.remove(h.NodeId, name, true))
}

func (m *Mounted) remove(parent uint64, name string, isDir bool) error {
	dir, err := m.dirOf(parent)
	if err != nil {
		return err
	}
	if !dir.isRef() {
		return m.removeFolder(dir, name, isDir)
	}
	if err := m.writable(dir); err != nil {
		return err
	}
	if err := dir.ref.Remove(name, isDir); err != nil {
		if m.metaFile(dir, name) != nil && errors.Is(err, fs.ErrNotExist) {
			return fs.ErrPermission
		}
		return err
	}
	m.changed(dir)
	return nil
}

const (
	renameNoReplace = 1
	renameExchange  = 2
)

// Rename implements fuse.RawFileSystem.
func (r *raw) Rename(_ <-chan struct{}, in *fuse.RenameIn, name, newName string) fuse.Status {
	defer r.m.stats.begin(opRename).end()
	return status(r.m.rename(in, name, newName))
}

func (m *Mounted) rename(in *fuse.RenameIn, name, newName string) error {
	if in.Flags&^(renameNoReplace|renameExchange) != 0 || in.Flags == renameNoReplace|renameExchange {
		return fs.ErrInvalid
	}
	dir, err := m.dirOf(in.NodeId)
	if err != nil {
		return err
	}
	to, err := m.dirOf(in.Newdir)
	if err != nil {
		return err
	}
	if !dir.isRef() || !to.isRef() {
		return m.moveAcross(dir, name, to, newName, in.Flags)
	}
	if err := m.writable(dir); err != nil {
		return err
	}
	if err := m.writable(to); err != nil {
		return err
	}
	if m.metaFile(to, newName) != nil {
		return fs.ErrPermission
	}
	if in.Flags&renameExchange != 0 {
		err = dir.ref.Exchange(name, to.ref, newName)
	} else {
		how := collfs.ReplacePOSIX
		if in.Flags&renameNoReplace != 0 {
			how = collfs.ReplaceNothing
		}
		err = dir.ref.Rename(name, to.ref, newName, how)
		if errors.Is(err, collfs.ErrOtherCollection) {
			if m.isTmp(dir.ref.Collection()) || m.isTmp(to.ref.Collection()) {
				return syscall.EXDEV
			}
			return dir.ref.Transfer(m.work, name, to.ref, newName, how)
		}
	}
	if err != nil {
		return err
	}
	m.changed(dir)
	return nil
}

// siteName is a name in the site of what is called name in dir.
func (m *Mounted) siteName(dir *inode, name string) (string, error) {
	if !dir.isRef() {
		return dir.folder.child(name)
	}
	if m.isTmp(dir.ref.Collection()) {
		return "", syscall.EXDEV
	}
	at, ok := dir.ref.Path()
	if !ok {
		return "", fs.ErrNotExist
	}
	return path.Join("/by_id", string(dir.ref.Collection().UUID()), at, name), nil
}
