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

// A folder is a directory above collections: of the site, or of the layout.
type folder struct {
	name    string // in the site; in the layout, a name that the site does not have
	entries map[string]Entry
	order   []string // of entries
	pdhOnly bool
	made    time.Time // of one in the layout
}

// layoutRoot and hiddenRoot are canonical names of what is not in the site.
const (
	layoutRoot = "layout:"
	hiddenRoot = "hidden:"
)

func (f *folder) inLayout() bool { return f.entries != nil }

// canonical is the name by which the table knows what is in no collection.
func (in *inode) canonical() string {
	if in.text != nil {
		return in.text.name
	}
	return in.folder.key()
}

func (f *folder) key() string {
	if f.pdhOnly {
		return "pdh:" + f.name
	}
	return f.name
}

// child is the site's name for what is called name in f.
func (f *folder) child(name string) (string, error) {
	if f.inLayout() {
		e, ok := f.entries[name]
		switch {
		case !ok:
			return "", collfs.ErrReadOnly
		case e.Tmp:
			return "", syscall.EXDEV
		}
		return e.Target, nil
	}
	if f.pdhOnly && !isPDH(name) {
		return "", fs.ErrNotExist
	}
	return path.Join(f.name, name), nil
}

func isPDH(name string) bool {
	return len(name) > 33 && name[32] == '+' || len(name) > 33 && name[32] == '-'
}

// plantRoot makes the inode of the mount point.
func (m *Mounted) plantRoot() error {
	m.table.init()
	l := m.opt.Layout
	if l.Root == "" {
		f := &folder{name: layoutRoot, entries: make(map[string]Entry), made: time.Now()}
		for _, e := range l.Entries {
			if e.Tmp {
				if err := m.makeTmp(e.Name); err != nil {
					return err
				}
			}
			f.entries[e.Name] = e
			f.order = append(f.order, e.Name)
		}
		m.table.takeNamed(f.key(), func() *inode { return &inode{folder: f} })
		return nil
	}
	loc, err := m.site.Locate(m.work, l.Root)
	if err != nil {
		return err
	}
	if loc.Meta || !loc.Folder && !loc.Info.Dir {
		return &fs.PathError{Op: "mount", Path: l.Root, Err: collfs.ErrNotDir}
	}
	if loc.Folder {
		f := &folder{name: loc.Canonical, pdhOnly: l.PDHOnly}
		m.table.takeNamed(f.key(), func() *inode { return &inode{folder: f} })
		return nil
	}
	defer loc.Collection.Release()
	ref, _, err := m.view.At(loc.Collection, loc.Path)
	if err != nil {
		return err
	}
	m.table.takeRef(ref, 1)
	return nil
}

// lookupFolder finds what is called name in a folder.
func (m *Mounted) lookupFolder(dir *inode, name string, out *fuse.EntryOut) error {
	f := dir.folder
	if f.name == hiddenRoot {
		t := m.hiddenFile(name)
		if t == nil {
			return fs.ErrNotExist
		}
		m.answerText(t, out)
		return nil
	}
	if f.inLayout() {
		e, ok := f.entries[name]
		switch {
		case !ok:
			return fs.ErrNotExist
		case e.Tmp:
			ref := m.tmps[name].root.Again()
			info, _ := ref.Info()
			m.answer(ref, info, dir, name, out)
			return nil
		}
	}
	at, err := f.child(name)
	if err != nil {
		return err
	}
	loc, err := m.site.Locate(m.work, at)
	switch {
	case err != nil:
		return err
	case loc.Meta:
		m.answerText(m.metaText(loc.Canonical, loc.Info.ModTime), out)
		return nil
	case loc.Folder:
		m.answerFolder(&folder{name: loc.Canonical, pdhOnly: f.inLayout() && f.entries[name].PDHOnly}, loc.Info, out)
		return nil
	}
	defer loc.Collection.Release()
	ref, info, err := m.view.At(loc.Collection, loc.Path)
	if err != nil {
		return err
	}
	m.answer(ref, info, dir, name, out)
	return nil
}

func (m *Mounted) answerFolder(f *folder, info davfs.Info, out *fuse.EntryOut) {
	in := m.table.takeNamed(f.key(), func() *inode { return &inode{folder: f} })
	out.NodeId, out.Generation = in.id, 1
	m.folderInfo(in, info, &out.Attr)
	out.SetEntryTimeout(folderTime)
	out.SetAttrTimeout(folderTime)
}

func (m *Mounted) folderAttr(in *inode, out *fuse.Attr) error {
	var info davfs.Info
	if !in.folder.inLayout() {
		loc, err := m.site.Locate(m.work, in.folder.name)
		if err != nil {
			return err
		}
		info = loc.Info
	}
	m.folderInfo(in, info, out)
	return nil
}

func (m *Mounted) folderInfo(in *inode, info davfs.Info, out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink, out.Blksize = in.ino, syscall.S_IFDIR|defaultDir, 1, blockSize
	if in.folder.inLayout() {
		info.ModTime, info.ReadOnly = in.folder.made, true
	}
	if info.ReadOnly || m.opt.ReadOnly {
		out.Mode &^= 0o222
	}
	out.Uid, out.Gid = m.opt.UID, m.opt.GID
	if !info.ModTime.IsZero() {
		at := info.ModTime
		out.SetTimes(&at, &at, &at)
	}
}

// listFolder lists what is in a folder.
func (m *Mounted) listFolder(in *inode) (all []davfs.Info, err error) {
	if in.folder.inLayout() {
		for _, name := range in.folder.order {
			all = append(all, davfs.Info{Name: name, Dir: true})
		}
		return all, nil
	}
	if in.folder.pdhOnly {
		return nil, nil
	}
	l, err := m.site.List(davfs.WithClient(m.work, davfs.Client{Exact: true}), in.folder.name)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	infos := make([]davfs.Info, 256)
	for {
		n, err := l.Next(infos)
		if n == 0 || err != nil {
			return all, err
		}
		all = append(all, infos[:n]...)
	}
}

// addFolderEntries adds entries of a folder. The kernel looks them up itself.
func (m *Mounted) addFolderEntries(in *inode, d *dirHandle, out *fuse.DirEntryList, off uint64, plus bool) {
	for ; off-2 < uint64(len(d.infos)); off++ {
		i := &d.infos[off-2]
		e := fuse.DirEntry{Name: i.Name, Mode: syscall.S_IFREG, Off: off + 1, Ino: childIno(in, i.Name)}
		if i.Dir {
			e.Mode = syscall.S_IFDIR
		} else if _, ok := i.Attr.Extra[collfs.ExtraSymlink]; ok {
			e.Mode = syscall.S_IFLNK
		}
		if plus && out.AddDirLookupEntry(e) == nil || !plus && !out.AddDirEntry(e) {
			return
		}
		d.at = off + 1
	}
}

// mayWriteFolder says why the user may not change what is in a folder, if so.
func (m *Mounted) mayWriteFolder(in *inode) error {
	if m.opt.ReadOnly || in.folder == nil || in.folder.inLayout() {
		return collfs.ErrReadOnly
	}
	loc, err := m.site.Locate(m.work, in.folder.name)
	if err == nil && loc.ReadOnly {
		err = collfs.ErrReadOnly
	}
	return err
}

// mkdirFolder makes a collection.
func (m *Mounted) mkdirFolder(dir *inode, name string, mode uint32, out *fuse.EntryOut) error {
	if m.opt.ReadOnly {
		return collfs.ErrReadOnly
	}
	at, err := m.newInFolder(dir, name)
	if err != nil {
		return err
	}
	var attr davfs.AttrChange
	if mode &= 0o7777; mode != defaultDir {
		attr.Mode = &mode
	}
	if _, err := m.site.Mkdir(m.work, at, attr); err != nil {
		return err
	}
	return m.lookupFolder(dir, name, out)
}

// newInFolder is the site's name for what is to be made in a folder.
func (m *Mounted) newInFolder(dir *inode, name string) (string, error) {
	if dir.folder.inLayout() {
		return "", collfs.ErrReadOnly
	}
	return dir.folder.child(name)
}

// looseOf returns the directory that a file called name, which is not there, is
// made in if it is to lie directly in a project.
func (m *Mounted) looseOf(dir *inode, name string) (collfs.Ref, error) {
	if m.opt.ReadOnly {
		return collfs.Ref{}, collfs.ErrReadOnly
	}
	at, err := m.newInFolder(dir, name)
	if err != nil {
		return collfs.Ref{}, err
	}
	loc, err := m.site.Locate(m.work, at)
	if err == nil {
		if loc.Collection != nil {
			loc.Collection.Release()
		}
		if loc.Folder || loc.Path == "" {
			return collfs.Ref{}, fs.ErrExist
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return collfs.Ref{}, err
	}
	c, err := m.site.LooseCollection(m.work, dir.folder.name)
	if err != nil {
		return collfs.Ref{}, err
	}
	defer c.Release()
	return m.view.Root(c), nil
}

// removeFolder removes what is called name in a folder: a loose file, an empty
// collection or an empty project.
func (m *Mounted) removeFolder(dir *inode, name string, isDir bool) error {
	if m.opt.ReadOnly {
		return collfs.ErrReadOnly
	}
	at, err := m.newInFolder(dir, name)
	if err != nil {
		return err
	}
	loc, err := m.site.Locate(m.work, at)
	if err != nil {
		return err
	}
	if loc.Meta {
		return fs.ErrPermission
	}
	if loc.Collection == nil || loc.Path == "" {
		if loc.Collection != nil {
			loc.Collection.Release()
		}
		if !isDir {
			return collfs.ErrIsDir
		}
		return m.site.Rmdir(m.work, at)
	}
	defer loc.Collection.Release()
	if err := m.mayWrite(loc.Collection); err != nil {
		return err
	}
	root := m.view.Root(loc.Collection)
	defer root.Forget(1)
	if err := root.Remove(loc.Path, isDir); err != nil {
		return err
	}
	if m.opt.CommitOnClose {
		loc.Collection.CommitSoon()
	}
	return nil
}

// moveAcross renames where a folder is concerned.
func (m *Mounted) moveAcross(dir *inode, name string, to *inode, newName string, flags uint32) error {
	if m.opt.ReadOnly {
		return collfs.ErrReadOnly
	}
	if flags&renameExchange != 0 {
		return syscall.EINVAL
	}
	for _, in := range []*inode{dir, to} {
		if !in.isRef() {
			continue
		}
		// The site would look in what the collection has now.
		if err := m.writable(in); err != nil {
			return err
		}
	}
	src, err := m.siteName(dir, name)
	if err != nil {
		return err
	}
	dst, err := m.siteName(to, newName)
	if err != nil {
		return err
	}
	if dir.folder != nil && dir.folder.inLayout() || to.folder != nil && to.folder.inLayout() {
		return collfs.ErrReadOnly
	}
	ctx := collfs.OnBehalf(davfs.WithClient(m.work, davfs.Client{Exact: true}), m.view)
	_, err = m.site.Move(ctx, src, dst, davfs.CopyOptions{Overwrite: flags&renameNoReplace == 0, POSIX: true})
	if err == nil && !to.isRef() {
		// The kernel takes along how long it may rely on the name where it was.
		m.notes.put(notice{id: to.id, name: newName})
	}
	return err
}

// setFolderAttr changes a project's attributes, of which there are none: programs
// that copy trees set them and expect no failure.
func (m *Mounted) setFolderAttr(in *inode, req *fuse.SetAttrIn, out *fuse.AttrOut) error {
	if req.Valid&fuse.FATTR_SIZE != 0 {
		return collfs.ErrIsDir
	}
	if err := m.mayWriteFolder(in); err != nil {
		return err
	}
	return m.getattr(in, out)
}
