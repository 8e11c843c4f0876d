package fusefs

import (
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/zeebo/xxh3"

	"keepdav/collfs"
)

// An inode is what the kernel knows by a number. It is one of: a file or
// directory of a collection (ref), a folder of the site or an entry of the layout
// (folder), a generated file (text).
type inode struct {
	id  uint64 // the kernel's; never used twice
	ino uint64 // what programs see

	ref    collfs.Ref // may move to another collection, stays the same thing
	folder *folder
	text   *text

	retired atomic.Bool  // somebody else has changed it: its name leads to another inode now
	opens   atomic.Int32 // handles
	writers atomic.Int32 // those that may write
	touched atomic.Int64 // table.clock when last looked up

	lost    lost
	lookups uint64 // guarded by table.mu
}

// isRef reports whether in is in a collection.
func (in *inode) isRef() bool { return in.ref.OK() }

// A table is the inodes that the kernel knows.
type table struct {
	clock atomic.Int64

	mu     sync.RWMutex // guards the fields below, and inode.lookups
	last   uint64
	byID   map[uint64]*inode
	byKey  map[collfs.Key]*inode
	byName map[string]*inode // folders and generated files, by canonical name
	inos   map[uint64]*inode
}

func (t *table) init() {
	t.byID, t.byKey = make(map[uint64]*inode), make(map[collfs.Key]*inode)
	t.byName, t.inos = make(map[string]*inode), make(map[uint64]*inode)
}

// get returns the inode with a number that the kernel was given; nil if there is
// none any more.
func (t *table) get(id uint64) *inode {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

// takeRef returns the inode of ref, made if there is none, and counts a lookup.
// The table takes over one use of ref: spare says that it had one already, so that
// the caller has one too many.
func (t *table) takeRef(ref collfs.Ref, ino uint64) (in *inode, spare bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if in = t.byKey[ref.Key()]; in != nil {
		in.lookups++
		in.touched.Store(t.clock.Add(1))
		return in, true
	}
	in = &inode{ref: ref}
	t.addLocked(in, ino)
	t.byKey[ref.Key()] = in
	return in, false
}

// takeNamed is takeRef for what goes by a canonical name.
func (t *table) takeNamed(name string, make func() *inode) *inode {
	t.mu.Lock()
	defer t.mu.Unlock()
	if in := t.byName[name]; in != nil {
		in.lookups++
		return in
	}
	in := make()
	t.addLocked(in, xxh3.HashString(name))
	t.byName[name] = in
	return in
}

func (t *table) addLocked(in *inode, ino uint64) {
	if t.last == 0 {
		t.last = fuse.FUSE_ROOT_ID - 1
	}
	t.last++
	in.id, in.lookups = t.last, 1
	in.touched.Store(t.clock.Add(1))
	// A number that programs see is that of one thing at a time.
	for ino < 2 || t.inos[ino] != nil {
		ino = ino*0x9e3779b97f4a7c15 + 1
	}
	in.ino = ino
	t.inos[ino] = in
	t.byID[in.id] = in
}

// inoOf returns the number that programs see of what has key, if the kernel knows it.
func (t *table) inoOf(key collfs.Key, guess uint64) uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if in := t.byKey[key]; in != nil && key != (collfs.Key{}) {
		return in.ino
	}
	return guess
}

// forget takes back lookups. If none is left the inode goes, and is returned.
func (t *table) forget(id, lookups uint64) *inode {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := t.byID[id]
	if in == nil || id == fuse.FUSE_ROOT_ID {
		return nil
	}
	if in.lookups -= min(lookups, in.lookups); in.lookups > 0 {
		return nil
	}
	t.removeLocked(in)
	return in
}

func (t *table) removeLocked(in *inode) {
	delete(t.byID, in.id)
	delete(t.inos, in.ino)
	if in.isRef() {
		if t.byKey[in.ref.Key()] == in {
			delete(t.byKey, in.ref.Key())
		}
		return
	}
	name := in.canonical()
	if t.byName[name] == in {
		delete(t.byName, name)
	}
}

// retire makes the next lookup of what in is lead to another inode.
func (t *table) retire(in *inode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byKey[in.ref.Key()] == in {
		delete(t.byKey, in.ref.Key())
	}
	in.retired.Store(true)
}

// ofKey returns the inode of what has key.
func (t *table) ofKey(key collfs.Key) *inode {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byKey[key]
}

// size returns how many inodes there are.
func (t *table) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID)
}

// grown returns how many inodes there are, and the number of the latest.
func (t *table) grown() (inodes int, last uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID), t.last
}

// all returns all inodes.
func (t *table) all() []*inode {
	t.mu.RLock()
	defer t.mu.RUnlock()
	ins := make([]*inode, 0, len(t.byID))
	for _, in := range t.byID {
		ins = append(ins, in)
	}
	return ins
}

// inode returns the inode of ref, of which the caller gives up one use, and counts
// a lookup.
func (m *Mounted) inode(ref collfs.Ref, dir *inode, name string) *inode {
	in, spare := m.table.takeRef(ref, childIno(dir, name))
	if spare {
		ref.Forget(1)
	}
	m.notes.grown(m.table.grown())
	return in
}

// childIno is the number that programs see of what is called name in dir unless
// another has it. It is the same after the next mount.
func childIno(dir *inode, name string) uint64 { return xxh3.HashStringSeed(name, dir.ino) }

// Forget implements fuse.RawFileSystem.
func (r *raw) Forget(id, lookups uint64) {
	if in := r.m.table.forget(id, lookups); in != nil && in.isRef() {
		in.ref.Forget(1)
	}
}

// dropAll ends the uses of everything that the kernel knew.
func (m *Mounted) dropAll() {
	for _, in := range m.table.all() {
		if in.isRef() {
			in.ref.Forget(1)
		}
	}
	m.table.mu.Lock()
	m.table.init()
	m.table.mu.Unlock()
}
