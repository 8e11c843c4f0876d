package fusefs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
)

// A handle is what a program has open.
type handle struct {
	in   *inode
	file *collfs.Handle // of a file of a collection
	dir  *dirHandle
	text []byte // of a generated file
	wr   bool   // file may be written to

	wrote atomic.Bool // since the last Flush
}

// handles are the open handles, by the number that the kernel was given.
type handles struct {
	mu   sync.RWMutex // guards the fields below
	last uint64
	all  map[uint64]*handle
}

func (t *handles) add(h *handle) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = make(map[uint64]*handle)
	}
	t.last++
	t.all[t.last] = h
	h.in.opens.Add(1)
	if h.wr {
		h.in.writers.Add(1)
	}
	return t.last
}

func (t *handles) get(fh uint64) *handle {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.all[fh]
}

func (t *handles) take(fh uint64) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.all[fh]
	if h != nil {
		delete(t.all, fh)
		h.in.opens.Add(-1)
		if h.wr {
			h.in.writers.Add(-1)
		}
	}
	return h
}

// closeAll ends all handles: their programs are gone with the mount.
func (t *handles) closeAll() {
	t.mu.Lock()
	all := t.all
	t.all = nil
	t.mu.Unlock()
	for _, h := range all {
		h.close()
	}
}

func (h *handle) close() {
	if h.file != nil {
		h.file.Drop()
	}
	if h.dir != nil {
		h.dir.close()
	}
}

// openFlags makes what collfs is asked for of the flags of an open.
func (m *Mounted) openFlags(flags uint32) int {
	f := int(flags) & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND)
	if f&os.O_WRONLY != 0 {
		// To change a part of a page, the kernel reads the page first.
		f = f&^os.O_WRONLY | os.O_RDWR
	}
	if m.writeCache() {
		f &^= os.O_APPEND // the kernel knows where the end is
	}
	return f
}

// opened keeps h, on in, and tells the kernel.
func (m *Mounted) opened(in *inode, h *collfs.Handle, flags uint32, out *fuse.OpenOut) {
	out.Fh = m.open.add(&handle{in: in, file: h, wr: flags&(syscall.O_WRONLY|syscall.O_RDWR) != 0})
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE // what another changes gets new pages by a notice
}

// Open implements fuse.RawFileSystem.
func (r *raw) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer r.m.stats.begin(opOpen).end()
	return status(r.m.openFile(in, out))
}

func (m *Mounted) openFile(in *fuse.OpenIn, out *fuse.OpenOut) error {
	i := m.table.get(in.NodeId)
	if i == nil || i.retired.Load() && i.opens.Load() == 0 {
		return syscall.ESTALE // the kernel looks the name up again
	}
	if i.text != nil {
		return m.openText(i, in, out)
	}
	if !i.isRef() {
		return collfs.ErrIsDir
	}
	check := m.mayRead
	if in.Flags&(syscall.O_WRONLY|syscall.O_RDWR|syscall.O_TRUNC) != 0 {
		check = m.mayWrite
	}
	if err := check(i.ref.Collection()); err != nil {
		return err
	}
	h, err := i.ref.Open(m.openFlags(in.Flags))
	if err != nil {
		return lookAgain(err)
	}
	if in.Mode&openKillPrivileges != 0 {
		if err := m.killPrivileges(i.ref); err != nil {
			h.Drop()
			return err
		}
	}
	m.opened(i, h, in.Flags, out)
	return nil
}

// lookAgain has the kernel look a name up again that somebody else has given to another
// file.
func lookAgain(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return syscall.ESTALE
	}
	return err
}

// openKillPrivileges asks that an open that cuts a file takes its set-id bits off
// (FUSE_OPEN_KILL_SUIDGID).
const openKillPrivileges = 1

// fileOf returns an open file.
func (m *Mounted) fileOf(fh uint64) (*handle, error) {
	h := m.open.get(fh)
	if h == nil || h.file == nil && h.text == nil {
		return nil, syscall.EBADF
	}
	return h, nil
}

// Read implements fuse.RawFileSystem.
func (r *raw) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	op := r.m.stats.begin(opRead)
	defer op.end()
	h, err := r.m.fileOf(in.Fh)
	if err != nil {
		return nil, status(err)
	}
	buf = buf[:min(len(buf), int(in.Size))]
	if h.file == nil {
		from := min(in.Offset, uint64(len(h.text)))
		return fuse.ReadResultData(h.text[from:min(from+uint64(len(buf)), uint64(len(h.text)))]), fuse.OK
	}
	n, err := h.file.ReadAt(r.m.work, buf, int64(in.Offset))
	if err != nil && err != io.EOF {
		r.m.failed("read", h.in, err)
		return nil, status(err)
	}
	op.bytes(n)
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write implements fuse.RawFileSystem.
func (r *raw) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	op := r.m.stats.begin(opWrite)
	defer op.end()
	h, err := r.m.fileOf(in.Fh)
	if err != nil {
		return 0, status(err)
	}
	if h.file == nil {
		return 0, fuse.EBADF
	}
	if err := r.m.mayWrite(h.in.ref.Collection()); err != nil {
		return 0, status(err)
	}
	if in.Offset > collfs.MaxFile-uint64(len(data)) {
		return 0, fuse.Status(syscall.EFBIG)
	}
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := r.m.killPrivileges(h.in.ref); err != nil {
			return 0, status(err)
		}
	}
	n, err := h.file.WriteAt(r.m.work, data, int64(in.Offset))
	end := int64(in.Offset) + int64(len(data))
	if err != nil {
		if in.WriteFlags&fuse.WRITE_CACHE != 0 {
			h.in.lost.failed(int64(in.Offset), end, err)
		}
		r.m.failed("write", h.in, err)
		return 0, status(err)
	}
	h.in.lost.written(int64(in.Offset), end)
	op.bytes(n)
	h.wrote.Store(true)
	return uint32(n), fuse.OK
}

// Writev implements fuse.RawFileSystem: Write does it.
func (r *raw) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// Flush implements fuse.RawFileSystem: it is what close waits for.
func (r *raw) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	defer r.m.stats.begin(opFlush).end()
	h := r.m.open.get(in.Fh)
	if h == nil || h.file == nil || !h.wr {
		return fuse.OK
	}
	if h.wrote.Swap(false) {
		r.m.notes.put(notice{id: h.in.id, attr: true}) // of the blocks that it has now
	}
	if !r.m.opt.CommitOnClose {
		return fuse.OK
	}
	err := h.file.Flush(r.m.work)
	if err == nil {
		err = h.in.lost.error()
	}
	if err != nil {
		r.m.failed("close", h.in, err)
		return status(err)
	}
	return fuse.OK
}

// Fsync implements fuse.RawFileSystem.
func (r *raw) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	defer r.m.stats.begin(opFsync).end()
	h, err := r.m.fileOf(in.Fh)
	if err != nil {
		return status(err)
	}
	if h.file == nil {
		return fuse.OK
	}
	if err = h.file.Sync(r.m.work, true); err == nil {
		err = h.in.lost.error()
	}
	if err != nil {
		r.m.failed("fsync", h.in, err)
		return status(err)
	}
	return fuse.OK
}

// Release implements fuse.RawFileSystem. What came after the last Flush, from a
// mapping, is committed in the background; a failure shows at the next close, fsync
// or unmounting.
func (r *raw) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	defer r.m.stats.begin(opRelease).end()
	h := r.m.open.take(in.Fh)
	if h == nil {
		return
	}
	h.close()
	if h.in.opens.Load() == 0 {
		h.in.lost.forget()
	}
	if h.file != nil && h.wr && r.m.opt.CommitOnClose {
		if c := h.in.ref.Collection(); c.Dirty() {
			c.CommitSoon()
		}
	}
}

// Lseek implements fuse.RawFileSystem, for holes and data.
func (r *raw) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	defer r.m.stats.begin(opLseek).end()
	h := r.m.open.get(in.Fh)
	if h == nil || h.file == nil {
		return fuse.Status(syscall.ENXIO)
	}
	if r.m.writeCache() && h.in.writers.Load() > 0 {
		return fuse.EINVAL // what the kernel has not written yet would look like a hole
	}
	const seekData, seekHole = 3, 4
	var off int64
	var err error
	switch in.Whence {
	case seekData:
		off, err = h.file.NextData(int64(in.Offset))
	case seekHole:
		off, err = h.file.NextHole(int64(in.Offset))
	default:
		return fuse.EINVAL
	}
	if err != nil {
		return fuse.Status(syscall.ENXIO)
	}
	out.Offset = uint64(off)
	return fuse.OK
}

// Fallocate implements fuse.RawFileSystem. Room is not reserved: a file has what
// was written to it.
func (r *raw) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	defer r.m.stats.begin(opFallocate).end()
	h := r.m.open.get(in.Fh)
	if h == nil || h.file == nil {
		return fuse.EBADF
	}
	if err := r.m.mayWrite(h.in.ref.Collection()); err != nil {
		return status(err)
	}
	const keepSize, punchHole, zeroRange = 1, 2, 16
	off, n := int64(in.Offset), int64(in.Length)
	switch {
	case off < 0 || n <= 0:
		return fuse.EINVAL
	case off > collfs.MaxFile-n:
		return fuse.Status(syscall.EFBIG)
	}
	err := r.m.killFor(&in.InHeader, h)
	if err != nil {
		return status(err)
	}
	switch in.Mode {
	case punchHole | keepSize:
		return status(h.file.Punch(off, n))
	case zeroRange, zeroRange | keepSize:
		err = h.file.Punch(off, n)
	case 0, keepSize:
	default:
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	if err == nil && in.Mode&keepSize == 0 {
		err = h.file.Extend(off + n)
	}
	return status(err)
}

// CopyFileRange implements fuse.RawFileSystem: within a collection, no data moves.
func (r *raw) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	defer r.m.stats.begin(opCopy).end()
	src, dst := r.m.open.get(in.FhIn), r.m.open.get(in.FhOut)
	if src == nil || dst == nil || src.file == nil || dst.file == nil {
		return 0, fuse.EBADF
	}
	if err := r.m.mayWrite(dst.in.ref.Collection()); err != nil {
		return 0, status(err)
	}
	if err := r.m.killFor(&in.InHeader, dst); err != nil {
		return 0, status(err)
	}
	const atMost = 1 << 30 // the answer has 32 bits
	n, err := dst.file.Clone(int64(in.OffOut), src.file, int64(in.OffIn), int64(min(in.Len, atMost)))
	if err != nil {
		return 0, status(err)
	}
	return uint32(n), fuse.OK
}

// killFor takes the set-id bits off a file that somebody changes in ways for which
// the kernel leaves that to us.
func (m *Mounted) killFor(who *fuse.InHeader, h *handle) error {
	if who.Uid == 0 {
		return nil
	}
	return m.killPrivileges(h.in.ref)
}
