package fusefs

import (
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"keepdav/collfs"
)

// A notice to the kernel: that a name in a directory, or an inode, isn't what it
// was.
type notice struct {
	id   uint64 // of the directory, or of the inode if name is ""
	name string
	attr bool // of an inode: only its attributes
}

// An elsewhere is what somebody else has changed, as far as it is held here: a file
// or directory, and a name in a directory.
type elsewhere struct {
	at, in collfs.Key
	name   string // in in
}

// A kernel takes notices. *fuse.Server is one.
type kernel interface {
	EntryNotify(parent uint64, name string) fuse.Status
	InodeNotify(node uint64, off, length int64) fuse.Status
}

// A notifier tells the kernel what others have changed. Notices wait in a queue
// that holds each once, so that it is bounded by what the kernel knows; putting one
// in never blocks.
type notifier struct {
	m      *Mounted
	kernel kernel
	done   sync.WaitGroup
	byName bool // the kernel can't be asked to forget inodes; for the goroutine that tells it

	mu     sync.Mutex // guards the fields below
	wake   chan struct{}
	queue  []func()
	heard  map[elsewhere]struct{} // those of queue
	queued map[notice]struct{}    // those of queue
	again  map[notice]struct{}
	prune  bool
	pruned uint64 // the number that the latest inode had when prune was last set
	closed bool
}

const (
	// repeatAfter: what changed while an answer about it was on its way to the
	// kernel is told once more after so long: a name, and an inode that the kernel
	// does not know yet. Of one that it knows, it sees that the answer is older.
	repeatAfter = 500 * time.Millisecond
	// slowNotice is when a notice that the kernel holds up is worth a line.
	slowNotice = 5 * time.Second
)

func newNotifier(m *Mounted) *notifier {
	return &notifier{m: m, wake: make(chan struct{}, 1), heard: make(map[elsewhere]struct{}), queued: make(map[notice]struct{}), again: make(map[notice]struct{})}
}

func (n *notifier) start(k kernel) {
	n.kernel = k
	n.done.Go(n.run)
}

func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.poke()
	n.done.Wait()
}

func (n *notifier) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// hear has the notifier look at a change, once for all that come before it does: one
// file may be written to for as long as the kernel holds up a notice.
func (n *notifier) hear(x elsewhere) {
	n.mu.Lock()
	_, has := n.heard[x]
	if !has && !n.closed {
		n.heard[x] = struct{}{}
		n.queue = append(n.queue, func() { n.look(x) })
	}
	n.mu.Unlock()
	n.poke()
}

func (n *notifier) look(x elsewhere) {
	n.mu.Lock()
	delete(n.heard, x)
	n.mu.Unlock()
	n.m.changedElsewhere(x)
}

// put has the kernel told.
func (n *notifier) put(x notice) {
	n.mu.Lock()
	_, has := n.queued[x]
	if !has && !n.closed {
		n.queued[x] = struct{}{}
		n.queue = append(n.queue, func() { n.send(x, true) })
	}
	n.mu.Unlock()
	n.poke()
}

func (n *notifier) run() {
	repeat := time.NewTicker(repeatAfter)
	defer repeat.Stop()
	for {
		select {
		case <-n.wake:
		case <-repeat.C:
			n.mu.Lock()
			for x := range n.again {
				n.queue = append(n.queue, func() { n.send(x, false) })
			}
			clear(n.again)
			n.mu.Unlock()
		}
		for {
			n.mu.Lock()
			queue, closed, prune := n.queue, n.closed, n.prune
			n.queue, n.prune = nil, false
			n.mu.Unlock()
			if closed {
				return
			}
			for _, f := range queue {
				f()
			}
			if prune {
				n.m.pruneInodes()
			}
			if len(queue) == 0 {
				break
			}
		}
	}
}

// send tells the kernel.
func (n *notifier) send(x notice, first bool) {
	if first {
		n.mu.Lock()
		delete(n.queued, x)
		n.mu.Unlock()
	}
	watch := time.AfterFunc(slowNotice, func() {
		n.m.opt.Log.Warn().Uint64("inode", x.id).Str("name", x.name).Msg("the kernel holds up a notice of a change")
	})
	defer watch.Stop()
	n.m.stats.notices.Add(1)
	var code fuse.Status
	switch {
	case x.name != "":
		code = n.kernel.EntryNotify(x.id, x.name)
	case x.attr:
		code = n.kernel.InodeNotify(x.id, -1, 0)
	default:
		code = n.kernel.InodeNotify(x.id, 0, 0)
	}
	if first && (x.name != "" || code == fuse.ENOENT) {
		n.mu.Lock()
		n.again[x] = struct{}{}
		n.mu.Unlock()
	}
	if !code.Ok() && code != fuse.ENOENT && code != fuse.Status(syscall.ENODEV) && code != fuse.Status(syscall.ENOTDIR) {
		n.m.opt.Log.Debug().Stringer("status", code).Uint64("inode", x.id).Str("name", x.name).Msg("notice of a change")
	}
}

// notice takes what somebody else has changed. It must not block nor call collfs:
// the notifier does.
func (m *Mounted) notice(x collfs.Notice) {
	e := elsewhere{at: x.At, in: x.In}
	if e.in != (collfs.Key{}) {
		e.name = baseName(x.Path)
	}
	if e != (elsewhere{}) {
		m.notes.hear(e)
	}
}

// changedElsewhere has the kernel told about a change.
func (m *Mounted) changedElsewhere(x elsewhere) {
	if in := m.table.ofKey(x.at); in != nil {
		m.inodeChanged(in)
	}
	if dir := m.table.ofKey(x.in); dir != nil {
		m.notes.put(notice{id: dir.id, name: x.name})
		m.notes.put(notice{id: dir.id})
	}
}

func baseName(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' {
			return p[i+1:]
		}
	}
	return p
}

// inodeChanged is for an inode whose content or attributes somebody else has
// changed. In a file that it knows the kernel may have pages that are to be written
// still, and it does not take a size from us: the name gets another inode.
func (m *Mounted) inodeChanged(in *inode) {
	m.notes.put(notice{id: in.id})
	if !m.writeCache() || !in.isRef() {
		return
	}
	if info, _ := in.ref.Info(); info.Dir {
		return
	}
	m.table.retire(in)
	for _, p := range in.ref.Places() {
		if dir := m.table.ofKey(p.In); dir != nil {
			m.notes.put(notice{id: dir.id, name: p.Name})
		}
	}
}

func (m *Mounted) writeCache() bool { return m.opt.WriteCache && !m.opt.ReadOnly }

// inodeBytes is about what an inode takes: its own fields, the Ref's, and the entries
// of three maps.
const inodeBytes = 400

// grown has inodes that nobody uses taken back from the kernel when there are too
// many, and when an eighth of them are new since that was last done: the kernel does
// not give back what is in use.
func (n *notifier) grown(inodes int, last uint64) {
	if int64(inodes)*inodeBytes < n.m.opt.DirectoryCache {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if last-n.pruned < uint64(inodes/8) {
		return
	}
	n.prune, n.pruned = true, last
	n.poke()
}

// pruneInodes asks the kernel to forget inodes that nobody has open: a quarter,
// those not looked up for the longest.
func (m *Mounted) pruneInodes() {
	all := m.table.all()
	if int64(len(all))*inodeBytes < m.opt.DirectoryCache {
		return
	}
	keep := int64(len(all)) * 3 / 4
	if m.notes.byName { // directories stay: more of the rest has to go
		keep = int64(len(all)) / 4
	}
	old := m.table.clock.Load() - keep
	var ids []uint64
	for _, in := range all {
		if in.isRef() && in.id != fuse.FUSE_ROOT_ID && in.opens.Load() == 0 && in.touched.Load() < old {
			ids = append(ids, in.id)
		}
	}
	m.stats.pruned.Add(int64(len(ids)))
	const atOnce = 1000
	for len(ids) > 0 {
		n := min(atOnce, len(ids))
		if code := m.prune(ids[:n]); code == fuse.ENOSYS {
			m.notes.byName = true
			m.pruneNames(ids)
			return
		}
		ids = ids[n:]
	}
}

// pruneNames is for kernels that cannot be asked to forget inodes: it drops names,
// after which the inodes go. Names of directories stay until the kernel itself needs
// the room: a working directory without its name would count as removed.
func (m *Mounted) pruneNames(ids []uint64) {
	for _, id := range ids {
		in := m.table.get(id)
		if in == nil || !in.isRef() {
			continue
		}
		if info, _ := in.ref.Info(); info.Dir {
			continue
		}
		for _, p := range in.ref.Places() {
			if dir := m.table.ofKey(p.In); dir != nil {
				m.server.EntryNotify(dir.id, p.Name)
			}
		}
	}
}
