package fusefs

import (
	"errors"
	"io/fs"
	"os"
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

// entryTime is how long the kernel may rely on names in the directory in.
func (in *inode) entryTime() time.Duration {
	if in.isRef() {
		return longTime
	}
	return folderTime
}

// attrTime is how long the kernel may rely on the attributes of in: what it writes
// itself changes the blocks that a file has, which it is not told. Each write asks
// for attributes that it may not rely on any more.
func (in *inode) attrTime() time.Duration {
	if in.writers.Load() > 0 {
		return shortTime
	}
	return longTime
}

// GetAttr implements fuse.RawFileSystem.
func (r *raw) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer r.m.stats.begin(opGetattr).end()
	i := r.m.table.get(in.NodeId)
	if i == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return status(r.m.getattr(i, out))
}

func (m *Mounted) getattr(in *inode, out *fuse.AttrOut) error {
	switch {
	case in.isRef():
		info, linked := in.ref.Info()
		m.attr(in, info, linked, &out.Attr)
		out.SetTimeout(in.attrTime())
	case in.text != nil:
		m.textAttr(in, &out.Attr)
		out.SetTimeout(folderTime)
	default:
		if err := m.folderAttr(in, &out.Attr); err != nil {
			return err
		}
		out.SetTimeout(folderTime)
	}
	return nil
}

const (
	defaultFile = 0o644
	defaultDir  = 0o755
	blockSize   = 128 << 10 // what programs should read and write at once
)

// attr fills out with what a file or directory of a collection is.
func (m *Mounted) attr(in *inode, info collfs.NodeInfo, linked bool, out *fuse.Attr) {
	out.Ino, out.Size, out.Blksize = in.ino, uint64(info.Size), blockSize
	if isSymlink(info) {
		out.Size = uint64(len(info.Attr.Extra[collfs.ExtraSymlink]))
	}
	switch out.Nlink = info.Links; {
	case !linked:
		out.Nlink = 0
	case info.Dir:
		out.Nlink = 2 + uint32(info.Dirs)
	}
	out.Mode = modeOf(info)
	if m.readOnlyCollection(in) {
		out.Mode &^= 0o222
	}
	out.Uid, out.Gid = m.opt.UID, m.opt.GID
	m.posixAttr(info, out)
	out.Blocks = uint64(info.Data+511) / 512
	setTime(&out.Mtime, &out.Mtimensec, info.Attr.Mtime)
	setTime(&out.Ctime, &out.Ctimensec, ctimeOf(info))
	setTime(&out.Atime, &out.Atimensec, atimeOf(info))
}

func (m *Mounted) readOnlyCollection(in *inode) bool {
	return m.mayWrite(in.ref.Collection()) != nil
}

// modeOf returns the type and the mode bits of what info describes.
func modeOf(info collfs.NodeInfo) uint32 {
	mode := info.Attr.Mode & 0o7777
	switch {
	case info.Dir:
		if info.Attr.Mode == 0 {
			mode = defaultDir
		}
		return syscall.S_IFDIR | mode
	case isSymlink(info):
		return syscall.S_IFLNK | 0o777
	}
	if info.Attr.Mode == 0 {
		mode = defaultFile
	}
	return typeOf(info) | mode
}

func isSymlink(info collfs.NodeInfo) bool {
	_, ok := info.Attr.Extra[collfs.ExtraSymlink]
	return ok
}

func setTime(sec *uint64, nsec *uint32, ns int64) {
	s, n := ns/int64(time.Second), ns%int64(time.Second)
	if n < 0 {
		s, n = s-1, n+int64(time.Second)
	}
	*sec, *nsec = uint64(s), uint32(n)
}

// writable returns the directory of a collection that is to be changed.
func (m *Mounted) writable(in *inode) error { return m.mayWrite(in.ref.Collection()) }

// changed has a change of names or attributes of the collection of in committed.
func (m *Mounted) changed(in *inode) {
	if m.opt.CommitOnClose {
		in.ref.Collection().CommitSoon()
	}
}

// Mkdir implements fuse.RawFileSystem.
func (r *raw) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	defer r.m.stats.begin(opMkdir).end()
	return r.m.make(in.NodeId, name, out, &in.InHeader, in.Mode|syscall.S_IFDIR, 0, "")
}

// Mknod implements fuse.RawFileSystem.
func (r *raw) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	defer r.m.stats.begin(opMknod).end()
	return r.m.make(in.NodeId, name, out, &in.InHeader, in.Mode, in.Rdev, "")
}

// Symlink implements fuse.RawFileSystem.
func (r *raw) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	defer r.m.stats.begin(opSymlink).end()
	if len(target) >= syscall.PathMax {
		return fuse.Status(syscall.ENAMETOOLONG)
	}
	return r.m.make(h.NodeId, name, out, h, syscall.S_IFLNK|0o777, 0, target)
}

// make makes anything but an open file.
func (m *Mounted) make(parent uint64, name string, out *fuse.EntryOut, h *fuse.InHeader, mode, rdev uint32, target string) fuse.Status {
	dir, err := m.dirOf(parent)
	if err != nil {
		return status(err)
	}
	if !dir.isRef() {
		if mode&syscall.S_IFMT == syscall.S_IFDIR {
			return status(m.mkdirFolder(dir, name, mode, out))
		}
		loose, err := m.looseOf(dir, name)
		if err != nil {
			return status(err)
		}
		defer loose.Forget(1)
		err = m.makeIn(loose, dir, name, out, h, mode, rdev, target)
		if err == nil && m.opt.CommitOnClose {
			loose.Collection().CommitSoon()
		}
		return status(err)
	}
	if err := m.writable(dir); err != nil {
		return status(err)
	}
	err = m.makeIn(dir.ref, dir, name, out, h, mode, rdev, target)
	if err == nil {
		m.changed(dir)
	}
	return status(err)
}

func (m *Mounted) makeIn(in collfs.Ref, dir *inode, name string, out *fuse.EntryOut, h *fuse.InHeader, mode, rdev uint32, target string) error {
	if m.metaFile(dir, name) != nil {
		return fs.ErrExist
	}
	attr, err := m.newAttr(in, h, mode, rdev)
	if err != nil {
		return err
	}
	var ref collfs.Ref
	var info collfs.NodeInfo
	switch mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		ref, info, err = in.Mkdir(name, attr)
	case syscall.S_IFLNK:
		attr.Extra = map[string]string{collfs.ExtraSymlink: target}
		fallthrough
	default:
		ref, info, _, err = in.Create(name, attr, -1)
	}
	if err != nil {
		return err
	}
	m.answer(ref, info, dir, name, out)
	return nil
}

// Readlink implements fuse.RawFileSystem.
func (r *raw) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	defer r.m.stats.begin(opReadlink).end()
	in := r.m.table.get(h.NodeId)
	if in == nil || !in.isRef() {
		return nil, fuse.EINVAL
	}
	info, _ := in.ref.Info()
	if !isSymlink(info) {
		return nil, fuse.EINVAL
	}
	return []byte(info.Attr.Extra[collfs.ExtraSymlink]), fuse.OK
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

// Link implements fuse.RawFileSystem.
func (r *raw) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	defer r.m.stats.begin(opLink).end()
	return status(r.m.link(in, name, out))
}

func (m *Mounted) link(in *fuse.LinkIn, name string, out *fuse.EntryOut) error {
	dir, err := m.dirOf(in.NodeId)
	if err != nil {
		return err
	}
	of := m.table.get(in.Oldnodeid)
	switch {
	case of == nil:
		return syscall.ESTALE
	case !dir.isRef() || !of.isRef():
		return syscall.EXDEV
	case m.metaFile(dir, name) != nil:
		return fs.ErrExist
	}
	if err := m.writable(dir); err != nil {
		return err
	}
	info, err := dir.ref.Link(name, of.ref)
	if errors.Is(err, collfs.ErrIsDir) {
		return syscall.EPERM
	}
	if err != nil {
		return err
	}
	m.answer(of.ref.Again(), info, dir, name, out)
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

// Create implements fuse.RawFileSystem.
func (r *raw) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	defer r.m.stats.begin(opCreate).end()
	return status(r.m.create(in, name, out))
}

func (m *Mounted) create(in *fuse.CreateIn, name string, out *fuse.CreateOut) error {
	dir, err := m.dirOf(in.NodeId)
	if err != nil {
		return err
	}
	at := dir.ref
	if !dir.isRef() {
		if at, err = m.looseOf(dir, name); err != nil {
			return err
		}
		defer at.Forget(1)
	} else if err := m.writable(dir); err != nil {
		return err
	}
	if m.metaFile(dir, name) != nil {
		return fs.ErrExist
	}
	attr, err := m.newAttr(at, &in.InHeader, in.Mode, 0)
	if err != nil {
		return err
	}
	for {
		ref, info, h, err := at.Create(name, attr, m.openFlags(in.Flags))
		if errors.Is(err, fs.ErrExist) && in.Flags&uint32(os.O_EXCL) == 0 {
			// Somebody else has made it: open that.
			if ref, _, err = at.Lookup(name); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if h, err = ref.Open(m.openFlags(in.Flags)); err != nil {
				ref.Forget(1)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				return err
			}
			if in.OpenFlags&openKillPrivileges != 0 {
				if err := m.killPrivileges(ref); err != nil {
					h.Drop()
					ref.Forget(1)
					return err
				}
			}
			info, _ = ref.Info()
		}
		if err != nil {
			return err
		}
		i := m.answer(ref, info, dir, name, &out.EntryOut)
		m.opened(i, h, in.Flags, &out.OpenOut)
		out.SetAttrTimeout(i.attrTime())
		return nil
	}
}

// Tmpfile implements fuse.RawFileSystem.
func (r *raw) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	defer r.m.stats.begin(opCreate).end()
	return status(r.m.tmpfile(in, out))
}

func (m *Mounted) tmpfile(in *fuse.CreateIn, out *fuse.CreateOut) error {
	dir, err := m.dirOf(in.NodeId)
	if err != nil {
		return err
	}
	if !dir.isRef() {
		return syscall.EOPNOTSUPP
	}
	if err := m.writable(dir); err != nil {
		return err
	}
	attr, err := m.newAttr(dir.ref, &in.InHeader, in.Mode, 0)
	if err != nil {
		return err
	}
	ref, info, h, err := dir.ref.Tmpfile(attr, m.openFlags(in.Flags))
	if err != nil {
		return err
	}
	i := m.answer(ref, info, dir, "", &out.EntryOut)
	out.Nlink = 0
	m.opened(i, h, in.Flags, &out.OpenOut)
	out.SetAttrTimeout(i.attrTime())
	return nil
}

// Access implements fuse.RawFileSystem: the kernel checks the mode bits where they
// are to be checked.
func (r *raw) Access(_ <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	if in.Mask&2 == 0 {
		return fuse.OK
	}
	i := r.m.table.get(in.NodeId)
	if i == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if i.isRef() {
		return status(r.m.writable(i))
	}
	return status(r.m.mayWriteFolder(i))
}

// StatFs implements fuse.RawFileSystem.
func (r *raw) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	defer r.m.stats.begin(opStatfs).end()
	const unit = 4096
	used, available := int64(0), int64(1)<<50 // as good as unlimited: no room at all frightens programs
	if u, err := r.m.site.Usage(r.m.work, "/"); err == nil {
		used = u.Used
		if u.Available >= 0 {
			available = u.Available
		}
	}
	out.Bsize, out.Frsize, out.NameLen = unit, unit, collfs.MaxName
	out.Bfree = uint64(available) / unit
	out.Bavail = out.Bfree
	out.Blocks = out.Bfree + uint64(used+unit-1)/unit
	out.Files, out.Ffree = 1<<32, 1<<31
	return fuse.OK
}
