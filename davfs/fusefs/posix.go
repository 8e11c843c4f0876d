package fusefs

import (
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
)

// typeOf returns the file type of what is neither a directory nor a symlink.
func typeOf(i collfs.NodeInfo) uint32 {
	if p := i.Attr.Posix; p != nil && p.Type != 0 {
		return p.Type & syscall.S_IFMT
	}
	return syscall.S_IFREG
}

func ctimeOf(i collfs.NodeInfo) int64 {
	if i.Attr.Ctime != 0 {
		return i.Attr.Ctime
	}
	return i.Attr.Mtime
}

func atimeOf(i collfs.NodeInfo) int64 {
	if p := i.Attr.Posix; p != nil && p.Atime != 0 {
		return p.Atime
	}
	return i.Attr.Mtime
}

// posixAttr fills out with owner, group and device, as far as they are kept.
func (m *Mounted) posixAttr(info collfs.NodeInfo, out *fuse.Attr) {
	p := info.Attr.Posix
	if p == nil || !m.opt.Posix {
		return
	}
	if p.HasOwner {
		out.Uid, out.Gid = p.UID, p.GID
	}
	out.Rdev = p.Rdev
}

// owner returns who owns what info describes.
func (m *Mounted) owner(info collfs.NodeInfo) (uid, gid uint32) {
	if p := info.Attr.Posix; p != nil && p.HasOwner && m.opt.Posix {
		return p.UID, p.GID
	}
	return m.opt.UID, m.opt.GID
}

// newAttr returns the attributes of what is made in the directory in.
func (m *Mounted) newAttr(in collfs.Ref, h *fuse.InHeader, mode, rdev uint32) (collfs.Attr, error) {
	var a collfs.Attr
	kind, usual := mode&syscall.S_IFMT, uint32(defaultFile)
	switch kind {
	case 0:
		kind = syscall.S_IFREG
	case syscall.S_IFDIR:
		usual = defaultDir
	case syscall.S_IFREG, syscall.S_IFLNK:
	case syscall.S_IFIFO, syscall.S_IFSOCK, syscall.S_IFCHR, syscall.S_IFBLK:
		if !m.opt.Posix {
			return a, syscall.EPERM
		}
	default:
		return a, syscall.EINVAL
	}
	bits := mode & 0o7777
	if m.opt.Posix {
		var special uint32
		if kind != syscall.S_IFREG && kind != syscall.S_IFDIR && kind != syscall.S_IFLNK {
			special = kind
		}
		uid, gid := h.Uid, h.Gid
		if parent, _ := in.Info(); modeOf(parent)&syscall.S_ISGID != 0 { // a directory that gives its group to what is made in it
			_, gid = m.owner(parent)
			if kind == syscall.S_IFDIR {
				bits |= syscall.S_ISGID
			}
		}
		if uid != m.opt.UID || gid != m.opt.GID || special != 0 {
			a.Posix = &collfs.Posix{HasOwner: true, UID: uid, GID: gid, Type: special, Rdev: rdev}
		}
	}
	if kind != syscall.S_IFLNK && bits != usual {
		a.Mode = keptMode(bits)
	}
	return a, nil
}

// keptMode is how mode bits are kept.
func keptMode(bits uint32) uint32 {
	if bits &= 0o7777; bits == 0 {
		return collfs.ModeNone
	}
	return bits
}

// changedPosix returns what owner and times are after a request.
func (m *Mounted) changedPosix(a collfs.Attr, i collfs.NodeInfo, req *fuse.SetAttrIn, now int64) (collfs.Attr, error) {
	uid, gid := m.owner(i)
	newUID, newGID := uid, gid
	if req.Valid&fuse.FATTR_UID != 0 {
		newUID = req.Owner.Uid
	}
	if req.Valid&fuse.FATTR_GID != 0 {
		newGID = req.Owner.Gid
	}
	var p collfs.Posix
	if a.Posix != nil {
		p = *a.Posix
	}
	if newUID != uid || newGID != gid {
		if !m.opt.Posix {
			return a, syscall.EPERM
		}
		p.HasOwner, p.UID, p.GID = true, newUID, newGID
	}
	switch flushed := uint32(fuse.FATTR_FH | fuse.FATTR_CTIME); {
	case req.Valid&fuse.FATTR_ATIME != 0:
		p.Atime = nanos(req.Atime, req.Atimensec, req.Valid&fuse.FATTR_ATIME_NOW != 0, now)
	case req.Valid&fuse.FATTR_MTIME != 0 && req.Valid&flushed != flushed:
		p.Atime = atimeOf(i) // not when the kernel tells when it has written
	}
	if p.Atime == a.Mtime {
		p.Atime = 0
	}
	switch {
	case p == collfs.Posix{}:
		a.Posix = nil
	case a.Posix == nil || *a.Posix != p:
		a.Posix = &p
	}
	if m.opt.Posix && req.Valid&fuse.FATTR_MODE != 0 && !m.inGroup(&req.InHeader, newGID) {
		a.Mode = keptMode(a.Mode &^ syscall.S_ISGID)
	}
	return a, nil
}

// inGroup reports whether who asks may give a file of group gid that group's
// rights.
func (m *Mounted) inGroup(h *fuse.InHeader, gid uint32) bool {
	return h.Uid == 0 || h.Gid == gid || slices.Contains(groupsOf(h.Pid), gid)
}
