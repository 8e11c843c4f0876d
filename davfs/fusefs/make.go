package fusefs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
)

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
