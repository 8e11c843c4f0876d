// Package powerfs is a file system that forgets, when its power is cut, what a
// disk may forget: everything that no fsync has asked for.
//
// It holds a tree in memory, twice: as the programs see it, and as the disk has
// it. An fsync of a file brings the bytes and the size of that file to the
// disk, but not its name. An fsync of a directory brings the entries of that
// directory: creations, links, renames and removals. A rename is atomic, also
// between two directories: either one's fsync brings both halves, and what came
// before them in either. Nothing else reaches the disk for certain, and anything
// else may: Image draws one of the many states that a cut can leave. In it,
//
//   - each unsynced change of a directory is there or not: none of them, all,
//     those up to some moment, or a random set;
//   - each 4 KiB page written since the file's fsync is new, old, or, where the
//     disk had none, zero; the size is old, new, or between;
//   - a file shortened since its fsync has its old bytes, or has lost the end.
//
// This is harsher than ext4, which orders its metadata, and about what the
// POSIX text allows. Two things are taken for granted as every disk gives them:
// a 4 KiB page is never torn, and what was synced is never lost.
//
// All methods of Disk may be called concurrently; one mutex guards everything.
// Start reading at image.go.
package powerfs

import (
	"maps"
	"sync"
	"syscall"
	"time"
)

const pageSize = 4096

type page struct {
	data   [pageSize]byte
	frozen bool // also part of the disk's state or of an image: copy before writing
}

// content of a file: pages may be nil (holes) or missing at the end.
type content struct {
	pages []*page
	size  int64
}

type inode struct {
	id     uint64
	mode   uint32 // type and permissions
	nlink  uint32
	uid    uint32
	gid    uint32
	mtime  time.Time
	target string // of a symbolic link

	// Of a file.
	now   content
	disk  content
	dirty map[int]bool // pages that differ from the disk's
	low   int64        // the smallest size since the last sync

	// Of a directory.
	entries     map[string]*inode
	diskEntries map[string]*inode
	log         []*change // not on the disk yet, oldest first
}

// A change of the name space, atomic on the disk.
type change struct {
	seq  uint64
	sets []set
	done bool // has reached the disk
}

type set struct {
	dir  *inode
	name string
	to   *inode // nil: no such entry any more
}

// Disk is the file system's state.
type Disk struct {
	mu      sync.Mutex
	root    *inode
	lastID  uint64
	lastSeq uint64
	ops     int64
	dead    bool
	used    int64 // pages held by files, as the programs see them
	before  func(op int64)
	pending map[*inode]bool // directories with a log
}

// NewDisk is an empty, formatted disk.
func NewDisk() *Disk {
	d := &Disk{pending: map[*inode]bool{}}
	d.root = d.newInode(syscall.S_IFDIR | 0o755)
	d.root.nlink = 2
	return d
}

// Before has f called before each operation that changes anything or syncs,
// with its number. f may call Image of the disk, by the function that it is
// given then; it must not touch the mounted file system. A nil f ends it.
func (d *Disk) Before(f func(op int64, image func(seed uint64) *Image)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = nil
	if f != nil {
		d.before = func(op int64) { f(op, d.imageLocked) }
	}
}

// Ops is how many operations changed something or synced so far.
func (d *Disk) Ops() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Cut switches the power off: every operation fails with EIO from now on.
func (d *Disk) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
}

// Image draws what a cut now would leave; the same seed on the same state gives
// the same image.
func (d *Disk) Image(seed uint64) *Image {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.imageLocked(seed)
}

// opLocked is called first by whatever changes something.
func (d *Disk) opLocked() syscall.Errno {
	if d.dead {
		return syscall.EIO
	}
	d.ops++
	if d.before != nil {
		d.before(d.ops)
	}
	return 0
}

func (d *Disk) newInode(mode uint32) *inode {
	d.lastID++
	n := &inode{id: d.lastID, mode: mode, nlink: 1, mtime: time.Now()}
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		n.entries, n.diskEntries = map[string]*inode{}, map[string]*inode{}
	} else {
		n.dirty = map[int]bool{}
	}
	return n
}

func (n *inode) isDir() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }

// changeLocked makes the sets happen as one change.
func (d *Disk) changeLocked(sets ...set) {
	d.lastSeq++
	c := &change{seq: d.lastSeq, sets: sets}
	for _, s := range sets {
		apply(s.dir.entries, s)
		s.dir.mtime = time.Now()
		if k := len(s.dir.log); k == 0 || s.dir.log[k-1] != c {
			s.dir.log = append(s.dir.log, c)
		}
		d.pending[s.dir] = true
	}
}

func apply(entries map[string]*inode, s set) {
	if s.to == nil {
		delete(entries, s.name)
	} else {
		entries[s.name] = s.to
	}
}

// persistLocked brings a directory's changes up to seq to the disk.
func (d *Disk) persistLocked(dir *inode, seq uint64) {
	k := 0
	for k < len(dir.log) && dir.log[k].seq <= seq {
		k++
	}
	taken := dir.log[:k:k]
	dir.log = dir.log[k:]
	if len(dir.log) == 0 {
		dir.log = nil
		delete(d.pending, dir)
	}
	for _, c := range taken {
		for _, s := range c.sets {
			if s.dir != dir && !c.done {
				d.persistLocked(s.dir, c.seq) // what came before its half there
			}
		}
		if c.done {
			continue
		}
		c.done = true
		for _, s := range c.sets {
			apply(s.dir.diskEntries, s)
		}
	}
}

// syncLocked is fsync.
func (d *Disk) syncLocked(n *inode) {
	if n.isDir() {
		d.persistLocked(n, d.lastSeq)
		return
	}
	for i := range n.dirty {
		for len(n.disk.pages) <= i {
			n.disk.pages = append(n.disk.pages, nil)
		}
		var p *page
		if i < len(n.now.pages) {
			p = n.now.pages[i]
		}
		if p != nil {
			p.frozen = true
		}
		n.disk.pages[i] = p
	}
	if k := pagesOf(n.now.size); k < len(n.disk.pages) {
		clear(n.disk.pages[k:])
		n.disk.pages = n.disk.pages[:k]
	}
	n.disk.size, n.low = n.now.size, n.now.size
	clear(n.dirty)
}

func pagesOf(size int64) int { return int((size + pageSize - 1) / pageSize) }

// pageLocked is page i of the file, made writable.
func (d *Disk) pageLocked(n *inode, i int) *page {
	for len(n.now.pages) <= i {
		n.now.pages = append(n.now.pages, nil)
	}
	p := n.now.pages[i]
	switch {
	case p == nil:
		p = new(page)
		d.used++
	case p.frozen:
		p = &page{data: p.data}
	}
	n.now.pages[i] = p
	n.dirty[i] = true
	return p
}

func (d *Disk) writeLocked(n *inode, data []byte, off int64) {
	end := off + int64(len(data))
	for at := off; at < end; {
		i, in := int(at/pageSize), int(at%pageSize)
		k := copy(d.pageLocked(n, i).data[in:], data[at-off:])
		at += int64(k)
	}
	n.now.size = max(n.now.size, end)
	n.mtime = time.Now()
}

func (d *Disk) readLocked(n *inode, dest []byte, off int64) int {
	if off >= n.now.size {
		return 0
	}
	dest = dest[:min(int64(len(dest)), n.now.size-off)]
	clear(dest)
	for at := 0; at < len(dest); {
		i, in := int((off+int64(at))/pageSize), int((off+int64(at))%pageSize)
		k := min(pageSize-in, len(dest)-at)
		if i < len(n.now.pages) && n.now.pages[i] != nil {
			copy(dest[at:at+k], n.now.pages[i].data[in:])
		}
		at += k
	}
	return len(dest)
}

func (d *Disk) truncateLocked(n *inode, size int64) {
	if size < n.now.size {
		k := pagesOf(size)
		for i := k; i < len(n.now.pages); i++ {
			if n.now.pages[i] != nil {
				d.used--
			}
			n.dirty[i] = true
		}
		if k < len(n.now.pages) {
			clear(n.now.pages[k:])
			n.now.pages = n.now.pages[:k]
		}
		if in := size % pageSize; in != 0 && k <= len(n.now.pages) && n.now.pages[k-1] != nil {
			clear(d.pageLocked(n, k-1).data[in:])
		}
		n.low = min(n.low, size)
	}
	n.now.size = size
	n.mtime = time.Now()
}

// zeroLocked makes a hole, within the file's size.
func (d *Disk) zeroLocked(n *inode, off, end int64) {
	end = min(end, n.now.size)
	for at := off; at < end; {
		i, in := int(at/pageSize), int(at%pageSize)
		k := min(int64(pageSize-in), end-at)
		if i < len(n.now.pages) && n.now.pages[i] != nil {
			clear(d.pageLocked(n, i).data[in : in+int(k)])
		}
		at += k
	}
}

// cloneEntries is a directory's state on the disk, to be changed.
func cloneEntries(n *inode) map[string]*inode { return maps.Clone(n.diskEntries) }
