package powerfs

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mounted is a disk on a mount point.
type Mounted struct {
	server *fuse.Server
	dir    string
}

// Mount mounts the disk on dir, as root. File locks are the kernel's, and
// shared mappings work.
func Mount(dir string, d *Disk) (*Mounted, error) {
	long := time.Minute // nobody but the kernel changes anything
	s, err := fs.Mount(dir, &node{d: d, n: d.root}, &fs.Options{
		EntryTimeout: &long, AttrTimeout: &long,
		RootStableAttr: &fs.StableAttr{Mode: syscall.S_IFDIR, Ino: d.root.id},
		MountOptions: fuse.MountOptions{
			FsName: "powerfs", Name: "powerfs", MaxWrite: 1 << 20, DirectMountStrict: true,
			DisableXAttrs: true, DisableSplice: true, AllowOther: true,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("mount a power cut disk on %s: %w", dir, err)
	}
	return &Mounted{s, dir}, nil
}

// Unmount unmounts, also while somebody still has files open.
func (m *Mounted) Unmount() error {
	if m.server.Unmount() != nil {
		if err := syscall.Unmount(m.dir, syscall.MNT_DETACH); err != nil {
			return err
		}
	}
	m.server.Wait()
	return nil
}

// node is how go-fuse sees an inode; there may be several of one.
type node struct {
	fs.Inode
	d *Disk
	n *inode
}

var _ interface {
	fs.NodeStatfser
	fs.NodeGetattrer
	fs.NodeSetattrer
	fs.NodeReadlinker
	fs.NodeOpener
	fs.NodeReader
	fs.NodeWriter
	fs.NodeFsyncer
	fs.NodeAllocater
	fs.NodeLookuper
	fs.NodeReaddirer
	fs.NodeMkdirer
	fs.NodeMknoder
	fs.NodeLinker
	fs.NodeSymlinker
	fs.NodeCreater
	fs.NodeUnlinker
	fs.NodeRmdirer
	fs.NodeRenamer
} = (*node)(nil)

const diskPages = 16 << 20 // 64 GiB

func (v *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	*out = fuse.StatfsOut{Blocks: diskPages, Bsize: pageSize, Frsize: pageSize, NameLen: 255, Files: 1 << 20, Ffree: 1 << 20}
	out.Bfree = diskPages - uint64(v.d.used)
	out.Bavail = out.Bfree
	return 0
}

func (n *inode) fill(a *fuse.Attr) {
	a.Ino, a.Mode, a.Nlink, a.Size, a.Blksize = n.id, n.mode, n.nlink, uint64(n.now.size), pageSize
	a.Uid, a.Gid = n.uid, n.gid
	if n.target != "" {
		a.Size = uint64(len(n.target))
	}
	for _, p := range n.now.pages {
		if p != nil {
			a.Blocks += pageSize / 512
		}
	}
	a.SetTimes(&n.mtime, &n.mtime, &n.mtime)
}

func (v *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	v.n.fill(&out.Attr)
	return 0
}

func (v *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if errno := v.d.opLocked(); errno != 0 {
		return errno
	}
	if size, ok := in.GetSize(); ok {
		v.d.truncateLocked(v.n, int64(size))
	}
	if mode, ok := in.GetMode(); ok {
		v.n.mode = v.n.mode&syscall.S_IFMT | mode&0o7777
	}
	if uid, ok := in.GetUID(); ok {
		v.n.uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		v.n.gid = gid
	}
	if mtime, ok := in.GetMTime(); ok {
		v.n.mtime = mtime
	}
	v.n.fill(&out.Attr)
	return 0
}

func (v *node) Readlink(context.Context) ([]byte, syscall.Errno) { return []byte(v.n.target), 0 }

func (v *node) Open(_ context.Context, _ uint32) (fs.FileHandle, uint32, syscall.Errno) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if v.d.dead {
		return nil, 0, syscall.EIO
	}
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (v *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if v.d.dead {
		return nil, syscall.EIO
	}
	return fuse.ReadResultData(dest[:v.d.readLocked(v.n, dest, off)]), 0
}

func (v *node) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if errno := v.d.opLocked(); errno != 0 {
		return 0, errno
	}
	v.d.writeLocked(v.n, data, off)
	return uint32(len(data)), 0
}

func (v *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if errno := v.d.opLocked(); errno != 0 {
		return errno
	}
	v.d.syncLocked(v.n)
	return 0
}

// Modes of fallocate(2).
const (
	fallocKeepSize  = 1
	fallocPunchHole = 2
	fallocZeroRange = 16
)

func (v *node) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if errno := v.d.opLocked(); errno != 0 {
		return errno
	}
	end := int64(off + size)
	switch mode {
	case 0:
		if end > v.n.now.size {
			v.d.truncateLocked(v.n, end)
		}
	case fallocKeepSize: // it reserves room, of which there is enough
	case fallocKeepSize | fallocPunchHole, fallocKeepSize | fallocZeroRange:
		v.d.zeroLocked(v.n, int64(off), end)
	default:
		return syscall.ENOTSUP
	}
	return 0
}

// child is the go-fuse inode of n.
func (v *node) child(ctx context.Context, n *inode, out *fuse.EntryOut) *fs.Inode {
	n.fill(&out.Attr)
	return v.NewInode(ctx, &node{d: v.d, n: n}, fs.StableAttr{Mode: n.mode & syscall.S_IFMT, Ino: n.id})
}

func (v *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	n := v.n.entries[name]
	if v.d.dead {
		return nil, syscall.EIO
	}
	if n == nil {
		return nil, syscall.ENOENT
	}
	return v.child(ctx, n, out), 0
}

func (v *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if v.d.dead {
		return nil, syscall.EIO
	}
	var list []fuse.DirEntry
	for name, n := range v.n.entries {
		list = append(list, fuse.DirEntry{Name: name, Ino: n.id, Mode: n.mode & syscall.S_IFMT})
	}
	return fs.NewListDirStream(list), 0
}

// create makes an inode under a new name.
func (v *node) create(ctx context.Context, name string, mode uint32, target string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if errno := v.d.opLocked(); errno != 0 {
		return nil, errno
	}
	if v.n.entries[name] != nil {
		return nil, syscall.EEXIST
	}
	n := v.d.newInode(mode)
	n.target = target
	if n.isDir() {
		n.nlink = 2
		v.n.nlink++
	}
	v.d.changeLocked(set{v.n, name, n})
	return v.child(ctx, n, out), 0
}

func (v *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return v.create(ctx, name, syscall.S_IFDIR|mode&0o7777, "", out)
}

func (v *node) Mknod(ctx context.Context, name string, mode, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return v.create(ctx, name, mode, "", out)
}

func (v *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return v.create(ctx, name, syscall.S_IFLNK|0o777, target, out)
}

func (v *node) Create(ctx context.Context, name string, _ uint32, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	n, errno := v.create(ctx, name, syscall.S_IFREG|mode&0o7777, "", out)
	return n, nil, fuse.FOPEN_KEEP_CACHE, errno
}

func (v *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if errno := v.d.opLocked(); errno != 0 {
		return nil, errno
	}
	n := target.(*node).n
	if v.n.entries[name] != nil {
		return nil, syscall.EEXIST
	}
	n.nlink++
	v.d.changeLocked(set{v.n, name, n})
	return v.child(ctx, n, out), 0
}

func (v *node) remove(name string, dir bool) syscall.Errno {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if errno := v.d.opLocked(); errno != 0 {
		return errno
	}
	n := v.n.entries[name]
	switch {
	case n == nil:
		return syscall.ENOENT
	case dir && len(n.entries) > 0:
		return syscall.ENOTEMPTY
	case dir:
		v.n.nlink--
	}
	n.nlink--
	v.d.changeLocked(set{v.n, name, nil})
	return 0
}

func (v *node) Unlink(_ context.Context, name string) syscall.Errno { return v.remove(name, false) }

func (v *node) Rmdir(_ context.Context, name string) syscall.Errno { return v.remove(name, true) }

// Flags of renameat2(2).
const (
	renameNoReplace = 1
	renameExchange  = 2
)

func (v *node) Rename(_ context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	if errno := v.d.opLocked(); errno != 0 {
		return errno
	}
	to := newParent.(*node).n
	n, old := v.n.entries[name], to.entries[newName]
	switch {
	case n == nil || flags&renameExchange != 0 && old == nil:
		return syscall.ENOENT
	case flags&renameNoReplace != 0 && old != nil:
		return syscall.EEXIST
	case n == old:
		return 0
	case flags&renameExchange != 0:
		v.d.changeLocked(set{v.n, name, old}, set{to, newName, n})
		return 0
	case old != nil && len(old.entries) > 0:
		return syscall.ENOTEMPTY
	}
	if old != nil {
		old.nlink--
	}
	if n.isDir() {
		v.n.nlink--
		to.nlink++
	}
	v.d.changeLocked(set{v.n, name, nil}, set{to, newName, n})
	return 0
}
