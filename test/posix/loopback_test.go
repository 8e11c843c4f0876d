package posix_test

import (
	"context"
	"os"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
	"keepdav/test/posix"
)

// loopbackSkips is what go-fuse's loopback gets wrong by itself.
var loopbackSkips = func() map[string]string {
	const (
		byPath = "the loopback finds files by path, and a removed one has none"
		lchown = "the loopback gives new files to the caller's group, whatever the directory says"
		bits   = "the loopback takes Linux bits for those of os.FileMode and loses the high ones"
	)
	m := map[string]string{
		"mode/mkdir-keeps-sticky-bit":             bits,
		"mode/open-keeps-set-id-bits":             bits,
		"owner/set-group-id-goes-down-the-tree":   lchown,
		"open/O_TMPFILE-has-no-name-until-linked": "the loopback links no file without a name",
		"mkdir/a-thousand-levels-deep":            "the loopback's paths are longer than the kernel allows",
	}
	for _, s := range []string{"file", "dir", "symlink", "fifo", "socket"} {
		m["owner/new-"+s+"-in-a-set-group-id-directory-has-its-group"] = lchown
	}
	for _, n := range []string{
		"rmdir/open-directory-is-empty-and-takes-nothing", "rmdir/open-directory-has-no-links", "rmdir/new-directory-of-the-name-is-another",
		"rmdir/working-directory", "unlink/open-file-takes-attributes", "unlink/open-file-takes-an-owner",
		"unlink/open-file-opened-again-by-descriptor", "xattr/by-descriptor-of-a-removed-file",
		"storm/replaced-file-is-always-there-and-whole", "storm/replaced-symlink-always-leads-somewhere",
	} {
		m[n] = byPath
	}
	return m
}()

func TestLoopbackMountIsAsPOSIXSays(t *testing.T) {
	posix.Run(t, mounted(t, "/var/tmp", ""), posix.Options{Skip: loopbackSkips})
}

// loopback is go-fuse's, with a fault if it is named.
func loopback(backing, fault string) (fs.InodeEmbedder, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(backing, &st); err != nil {
		return nil, err
	}
	root := &fs.LoopbackRoot{Path: backing, Dev: st.Dev}
	if fault == "" {
		root.RootNode = &fs.LoopbackNode{RootData: root}
	} else {
		root.RootNode = &faulty{fs.LoopbackNode{RootData: root}, fault}
	}
	return root.RootNode, nil
}

// faulty is a loopback node that gets one thing wrong.
type faulty struct {
	fs.LoopbackNode
	fault string
}

var _ interface {
	fs.NodeWrapChilder
	fs.NodeMkdirer
	fs.NodeRmdirer
	fs.NodeRenamer
	fs.NodeLinker
	fs.NodeSymlinker
	fs.NodeSetxattrer
	fs.NodeGetattrer
	fs.NodeSetattrer
	fs.NodeLookuper
	fs.NodeCreater
	fs.NodeOpendirHandler
} = (*faulty)(nil)

// WrapChild makes what is found below wrong in the same way.
func (n *faulty) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &faulty{fs.LoopbackNode{RootData: n.RootData}, n.fault}
}

func (n *faulty) path() string {
	return n.RootData.Path + "/" + n.Path(n.RootData.RootNode.EmbeddedInode())
}

// spoil changes attributes on their way out.
func (n *faulty) spoil(a *fuse.Attr) {
	switch n.fault {
	case "ctime is mtime":
		a.Ctime, a.Ctimensec = a.Mtime, a.Mtimensec
	case "one link each":
		if a.Mode&syscall.S_IFMT != syscall.S_IFDIR {
			a.Nlink = 1
		}
	}
}

func (n *faulty) Getattr(ctx context.Context, f fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	errno := n.LoopbackNode.Getattr(ctx, f, out)
	n.spoil(&out.Attr)
	return errno
}

func (n *faulty) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	child, errno := n.LoopbackNode.Lookup(ctx, name, out)
	n.spoil(&out.Attr)
	return child, errno
}

func (n *faulty) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, f, fl, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	n.spoil(&out.Attr)
	return child, f, fl, errno
}

func (n *faulty) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	child, errno := n.LoopbackNode.Link(ctx, target, name, out)
	n.spoil(&out.Attr)
	return child, errno
}

func (n *faulty) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	switch n.fault {
	case "set-id bits are never cleared":
		var was fuse.AttrOut
		if errno := n.LoopbackNode.Getattr(ctx, f, &was); errno != 0 {
			return errno
		}
		if mode, ok := in.GetMode(); ok && mode&0o7777 == was.Mode&0o1777 {
			in.Valid &^= fuse.FATTR_MODE
		}
	case "times have no nanoseconds":
		in.Mtimensec, in.Atimensec = 0, 0
	case "chmod forgets the sticky bit":
		in.Mode &^= syscall.S_ISVTX
	}
	errno := n.LoopbackNode.Setattr(ctx, f, in, out)
	n.spoil(&out.Attr)
	return errno
}

func (n *faulty) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if n.fault == "mkdir lets the group write" {
		mode |= 0o020
	}
	child, errno := n.LoopbackNode.Mkdir(ctx, name, mode, out)
	n.spoil(&out.Attr)
	return child, errno
}

func (n *faulty) Rmdir(ctx context.Context, name string) syscall.Errno {
	errno := n.LoopbackNode.Rmdir(ctx, name)
	if n.fault == "rmdir of a full directory is EPERM" && errno == syscall.ENOTEMPTY {
		return syscall.EPERM
	}
	return errno
}

func (n *faulty) Rename(ctx context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	switch n.fault {
	case "rename replaces full directories":
		from, target := n.path()+"/"+name, to.(*faulty).path()+"/"+newName
		if is, err := os.Lstat(from); flags == 0 && err == nil && is.IsDir() {
			if err := os.RemoveAll(target); err != nil {
				return fs.ToErrno(err)
			}
		}
	case "exchange replaces":
		flags &^= unix.RENAME_EXCHANGE
	}
	return n.LoopbackNode.Rename(ctx, name, to, newName, flags)
}

func (n *faulty) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if n.fault == "symlinks are cut" {
		target = target[:min(len(target), 1000)]
	}
	return n.LoopbackNode.Symlink(ctx, target, name, out)
}

func (n *faulty) Setxattr(ctx context.Context, attr string, data []byte, flags uint32) syscall.Errno {
	if n.fault == "setxattr knows no flags" {
		flags = 0
	}
	return n.LoopbackNode.Setxattr(ctx, attr, data, flags)
}

func (n *faulty) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	h, fl, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if ds, ok := h.(dirHandle); ok && n.fault == "the hundredth name is not listed" {
		return &gapped{dirHandle: ds}, fl, errno
	}
	return h, fl, errno
}

type dirHandle interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
	fs.FileFsyncdirer
}

// gapped leaves out one entry.
type gapped struct {
	dirHandle
	given int
}

func (g *gapped) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if g.given++; g.given == 100 {
		if d, errno := g.dirHandle.Readdirent(ctx); d == nil || errno != 0 {
			return d, errno
		}
	}
	return g.dirHandle.Readdirent(ctx)
}

func (g *gapped) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	g.given = 0
	return g.dirHandle.Seekdir(ctx, off)
}
