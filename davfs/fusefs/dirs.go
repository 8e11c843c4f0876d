package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
	"keepdav/davfs"
)

// A dirHandle is an open directory: a snapshot of its entries. The offset of an
// entry is its place in the snapshot, after "." and "..".
type dirHandle struct {
	list  *collfs.RefList // of a collection, or
	infos []davfs.Info    // of a folder
	at    uint64          // the offset that the next entry of list has
	batch []collfs.RefEntry
}

// dirBatch is how many entries are looked at under one lock.
const dirBatch = 128

func (d *dirHandle) close() {
	d.drop()
	if d.list != nil {
		d.list.Close()
	}
}

// drop ends the uses of what was read from list and not given to the kernel.
func (d *dirHandle) drop() {
	for _, e := range d.batch {
		if e.Ref.OK() {
			e.Ref.Forget(1)
		}
	}
	d.batch = nil
}

// OpenDir implements fuse.RawFileSystem.
func (r *raw) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer r.m.stats.begin(opOpendir).end()
	i, err := r.m.dirOf(in.NodeId)
	if err != nil {
		return status(err)
	}
	d := new(dirHandle)
	if err := r.m.list(i, d); err != nil {
		return status(err)
	}
	out.Fh = r.m.open.add(&handle{in: i, dir: d})
	return fuse.OK
}

// list takes a snapshot of the directory in for d.
func (m *Mounted) list(in *inode, d *dirHandle) (err error) {
	d.close()
	*d = dirHandle{}
	if !in.isRef() {
		d.infos, err = m.listFolder(in)
		return err
	}
	if err := m.mayRead(in.ref.Collection()); err != nil {
		return err
	}
	d.list, err = in.ref.List()
	return err
}

// ReleaseDir implements fuse.RawFileSystem.
func (r *raw) ReleaseDir(in *fuse.ReleaseIn) {
	defer r.m.stats.begin(opReleasedir).end()
	if h := r.m.open.take(in.Fh); h != nil {
		h.close()
	}
}

// ReadDir implements fuse.RawFileSystem.
func (r *raw) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	defer r.m.stats.begin(opReaddir).end()
	return status(r.m.readdir(in, out, false))
}

// ReadDirPlus implements fuse.RawFileSystem.
func (r *raw) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	defer r.m.stats.begin(opReaddirplus).end()
	return status(r.m.readdir(in, out, true))
}

// readdir answers with entries from in.Offset on. The kernel asks one at a time of
// one open directory.
func (m *Mounted) readdir(in *fuse.ReadIn, out *fuse.DirEntryList, plus bool) error {
	h := m.open.get(in.Fh)
	if h == nil || h.dir == nil {
		return syscall.EBADF
	}
	d := h.dir
	off := in.Offset
	if off == 0 && d.at > 0 { // from the start again: as it is now
		if err := m.list(h.in, d); err != nil {
			return err
		}
	}
	for ; off < 2; off++ {
		if !m.addDot(h.in, out, off, plus) {
			return nil
		}
	}
	if d.list == nil {
		m.addFolderEntries(h.in, d, out, off, plus)
		return nil
	}
	m.addEntries(h.in, d, out, off, plus, batchFor(in.Size, plus))
	return nil
}

// addDot adds "." or "..".
func (m *Mounted) addDot(in *inode, out *fuse.DirEntryList, off uint64, plus bool) bool {
	e := fuse.DirEntry{Name: ".", Mode: syscall.S_IFDIR, Ino: in.ino, Off: off + 1}
	if off == 1 {
		e.Name, e.Ino = "..", m.parentIno(in)
	}
	if plus {
		return out.AddDirLookupEntry(e) != nil // without a number: not looked up
	}
	return out.AddDirEntry(e)
}

func (m *Mounted) parentIno(in *inode) uint64 {
	if in.isRef() {
		if up, _, ok := in.ref.Parent(); ok {
			defer up.Forget(1)
			return m.table.inoOf(up.Key(), in.ino)
		}
	}
	if root := m.table.get(fuse.FUSE_ROOT_ID); root != nil {
		return root.ino
	}
	return in.ino
}

// leastEntry is the least room that an entry takes in an answer with attributes.
const leastEntry = 160

// batchFor is how many entries to look at for an answer of size bytes.
func batchFor(size uint32, plus bool) int {
	if !plus {
		return dirBatch
	}
	return min(int(size/leastEntry)+1, dirBatch)
}

// addEntries adds entries of a directory of a collection. What finds no room is
// looked at again for the next answer: names may lead elsewhere then, and the kernel would
// believe for long what it is told now.
func (m *Mounted) addEntries(in *inode, d *dirHandle, out *fuse.DirEntryList, off uint64, plus bool, size int) {
	if d.at != off {
		d.drop()
		d.list.Seek(int(min(off-2, uint64(d.list.Len()))))
		d.at = off
	}
	for {
		if len(d.batch) == 0 {
			batch := make([]collfs.RefEntry, size)
			d.batch = batch[:d.list.Next(batch, plus)]
			if len(d.batch) == 0 {
				return
			}
		}
		e := &d.batch[0]
		if !m.addEntry(in, e, out, d.at+1, plus) {
			d.drop()
			d.list.Seek(int(d.at - 2))
			return
		}
		d.batch = d.batch[1:]
		d.at++
	}
}

// addEntry adds one; false means that there is no room.
func (m *Mounted) addEntry(in *inode, e *collfs.RefEntry, out *fuse.DirEntryList, off uint64, plus bool) bool {
	entry := fuse.DirEntry{Name: e.Name, Mode: modeOf(e.Info), Off: off, Ino: m.table.inoOf(e.Held, childIno(in, e.Name))}
	if !plus {
		if !out.AddDirEntry(entry) {
			return false
		}
		if e.Ref.OK() { // read for a request that asked for more
			e.Ref.Forget(1)
		}
		return true
	}
	eo := out.AddDirLookupEntry(entry)
	if eo == nil {
		return false
	}
	if e.Ref.OK() { // else it is gone, or the kernel looks it up itself
		m.answer(e.Ref, e.Info, in, e.Name, eo)
	}
	return true
}

// FsyncDir implements fuse.RawFileSystem.
func (r *raw) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	defer r.m.stats.begin(opFsyncdir).end()
	i, err := r.m.dirOf(in.NodeId)
	if err != nil {
		return status(err)
	}
	if !i.isRef() {
		return fuse.OK // what is made of records is durable when it is made
	}
	if err := i.ref.Collection().Commit(r.m.work, true); err != nil {
		r.m.failed("fsync", i, err)
		return status(err)
	}
	return fuse.OK
}
