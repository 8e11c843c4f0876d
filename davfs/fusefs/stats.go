package fusefs

import (
	"runtime"
	"sync/atomic"
	"time"
)

// An op is a kind of request.
type op int

const (
	opLookup op = iota
	opGetattr
	opSetattr
	opReadlink
	opSymlink
	opMknod
	opMkdir
	opUnlink
	opRmdir
	opRename
	opLink
	opCreate
	opOpen
	opRead
	opWrite
	opFlush
	opFsync
	opRelease
	opOpendir
	opReaddir
	opReaddirplus
	opReleasedir
	opFsyncdir
	opStatfs
	opGetxattr
	opListxattr
	opSetxattr
	opRemovexattr
	opLseek
	opFallocate
	opCopy
	opCount
)

var opNames = [opCount]string{
	"lookup", "getattr", "setattr", "readlink", "symlink", "mknod", "mkdir", "unlink", "rmdir", "rename", "link", "create",
	"open", "read", "write", "flush", "fsync", "release", "opendir", "readdir", "readdirplus", "releasedir", "fsyncdir", "statfs",
	"getxattr", "listxattr", "setxattr", "removexattr", "lseek", "fallocate", "copy_file_range",
}

// counters are what a mount has done.
type counters struct {
	ops     [opCount]opCounter
	notices atomic.Int64
	pruned  atomic.Int64
	panics  atomic.Int64
	errors  atomic.Int64
	told    atomic.Int64 // when an error was logged last, in ns since 1970
}

// tellErrors: of errors one is logged in so long.
const tellErrors = time.Second

type opCounter struct {
	count, nanos, bytes atomic.Int64
}

// A timing is a request under way.
type timing struct {
	c     *opCounter
	since time.Time
}

func (c *counters) begin(o op) timing { return timing{&c.ops[o], time.Now()} }

func (t timing) end() {
	t.c.count.Add(1)
	t.c.nanos.Add(int64(time.Since(t.since)))
}

func (t timing) bytes(n int) { t.c.bytes.Add(int64(n)) }

// failed notes an error of reading or keeping data: one that the user should know
// the cause of, while the program sees a number.
func (m *Mounted) failed(what string, in *inode, err error) {
	m.stats.errors.Add(1)
	now := time.Now().UnixNano()
	if last := m.stats.told.Load(); now-last < int64(tellErrors) || !m.stats.told.CompareAndSwap(last, now) {
		return // a program that goes on writing to a full store would fill the log
	}
	e := m.opt.Log.Error().Err(err).Str("op", what)
	if in.isRef() {
		at, _ := in.ref.Path()
		e = e.Str("collection", string(in.ref.Collection().UUID())).Str("path", at)
	}
	e.Int64("errors", m.stats.errors.Load()).Msg("a program is told of an I/O error")
}

// Stats is what a mount does and has done, since it was mounted.
type Stats struct {
	Ops         map[string]OpStats `json:"ops"`
	Inodes      int                `json:"inodes"`
	Open        int                `json:"open"`
	Notices     int64              `json:"notices"`
	Pruned      int64              `json:"pruned"`
	Errors      int64              `json:"errors"`
	Conflicts   int64              `json:"conflicts"`
	TreeBytes   int64              `json:"tree_bytes"`  // memory of the collections that are loaded
	DirtyBytes  int64              `json:"dirty_bytes"` // written, and not stored as blocks yet
	Dirty       int                `json:"dirty"`       // collections with changes that are not committed
	OldestDirty float64            `json:"oldest_dirty_seconds"`
	Failing     []string           `json:"failing,omitempty"` // collections whose last commit failed, and why
	Goroutines  int                `json:"goroutines"`        // of the whole process: more and more of them are a leak
}

// OpStats is about one kind of request.
type OpStats struct {
	Count   int64   `json:"count"`
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes,omitempty"`
}

// Stats tells what the mount does.
func (m *Mounted) Stats() Stats {
	s := Stats{
		Ops: make(map[string]OpStats), Inodes: m.table.size(), Notices: m.stats.notices.Load(), Pruned: m.stats.pruned.Load(),
		Errors: m.stats.errors.Load(), Conflicts: m.files.Conflicts(), TreeBytes: m.files.CachedBytes(),
		Goroutines: runtime.NumGoroutine(),
	}
	for o := range m.stats.ops {
		c := &m.stats.ops[o]
		if n := c.count.Load(); n > 0 {
			s.Ops[opNames[o]] = OpStats{n, time.Duration(c.nanos.Load()).Seconds(), c.bytes.Load()}
		}
	}
	m.open.mu.RLock()
	s.Open = len(m.open.all)
	m.open.mu.RUnlock()
	m.dirtyStats(&s)
	return s
}

// dirtyStats tells what is not committed.
func (m *Mounted) dirtyStats(s *Stats) {
	cs, done := m.files.Loaded()
	defer done()
	for _, c := range cs {
		since, dirty := c.DirtySince()
		if dirty {
			s.Dirty++
			s.OldestDirty = max(s.OldestDirty, time.Since(since).Seconds())
		}
		if err := c.Err(); err != nil {
			s.Failing = append(s.Failing, string(c.UUID())+": "+err.Error())
		}
	}
	if m.opt.Waiting != nil {
		s.DirtyBytes = m.opt.Waiting()
	}
}
