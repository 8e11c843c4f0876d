package fusefs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
)

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
