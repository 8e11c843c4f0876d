package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
)

// typeOf returns the file type of what is neither a directory nor a symlink.
func typeOf(collfs.NodeInfo) uint32 { return syscall.S_IFREG }

func ctimeOf(i collfs.NodeInfo) int64 { return i.Attr.Mtime }
func atimeOf(i collfs.NodeInfo) int64 { return i.Attr.Mtime }

// posixAttr fills out with owner, group and device.
func (m *Mounted) posixAttr(collfs.NodeInfo, *fuse.Attr) {}

// newAttr returns the attributes of what is made in the directory in.
func (m *Mounted) newAttr(in collfs.Ref, h *fuse.InHeader, mode, rdev uint32) (collfs.Attr, error) {
	var a collfs.Attr
	switch mode & syscall.S_IFMT {
	case syscall.S_IFREG, 0:
		if a.Mode = mode & 0o7777; a.Mode == defaultFile {
			a.Mode = 0
		} else if a.Mode == 0 {
			a.Mode = collfs.ModeNone
		}
	case syscall.S_IFDIR:
		if a.Mode = mode & 0o7777; a.Mode == defaultDir {
			a.Mode = 0
		} else if a.Mode == 0 {
			a.Mode = collfs.ModeNone
		}
	case syscall.S_IFLNK:
	default:
		if !m.opt.Posix {
			return a, syscall.EPERM
		}
	}
	return a, nil
}

func (m *Mounted) changedPosix(a collfs.Attr, _ collfs.NodeInfo, req *fuse.SetAttrIn, _ int64) (collfs.Attr, error) {
	if !m.opt.Posix {
		if req.Valid&fuse.FATTR_UID != 0 && req.Owner.Uid != m.opt.UID || req.Valid&fuse.FATTR_GID != 0 && req.Owner.Gid != m.opt.GID {
			return a, syscall.EPERM
		}
	}
	return a, nil
}
