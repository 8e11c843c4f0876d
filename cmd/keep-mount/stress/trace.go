package stress

import (
	"io/fs"
	"maps"
	"math/bits"
	"os"
	"slices"
	"sync"
	"time"
)

// A tracer does the operations of one process on a disk, one at a time, counts
// them and knows which one is under way. Names are relative to the sandbox.
type tracer struct {
	disk disk
	root string // put before every name

	mu    sync.Mutex // guards the fields below
	now   inFlight   // kind is "" between operations
	stats map[string]*latencies
	count uint64
}

// inFlight is an operation that has not been answered.
type inFlight struct {
	Kind  string    `json:"kind"`
	Path  string    `json:"path"`
	Since time.Time `json:"since"`
	TID   int       `json:"tid"` // the thread that waits
}

func newTracer(d disk, root string) *tracer {
	return &tracer{disk: d, root: root, stats: map[string]*latencies{}}
}

func (t *tracer) do(kind, path string, f func() error) error {
	start := time.Now()
	t.mu.Lock()
	t.now = inFlight{kind, path, start, gettid()}
	t.mu.Unlock()
	err := f()
	took := time.Since(start)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = inFlight{}
	t.ofLocked(kind).add(took)
	t.count++
	return err
}

// ofLocked needs t.mu.
func (t *tracer) ofLocked(kind string) *latencies {
	s := t.stats[kind]
	if s == nil {
		s = &latencies{Buckets: map[int]uint64{}}
		t.stats[kind] = s
	}
	return s
}

// failed counts an error of an operation that was none of those expected.
func (t *tracer) failed(kind string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ofLocked(kind).Errors++
}

func (t *tracer) state() (inFlight, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now, t.count
}

func (t *tracer) latencies() map[string]*latencies {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]*latencies{}
	for k, s := range t.stats {
		c := *s
		c.Buckets = maps.Clone(s.Buckets)
		out[k] = &c
	}
	return out
}

func (t *tracer) open(name string, flag int) (f *tracedFile, err error) {
	kind := "open"
	if flag&os.O_CREATE != 0 {
		kind = "create"
	}
	err = t.do(kind, name, func() error {
		raw, err := t.disk.Open(t.root+name, flag)
		f = &tracedFile{t, raw, name}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (t *tracer) mkdir(name string) error {
	return t.do("mkdir", name, func() error { return t.disk.Mkdir(t.root + name) })
}

func (t *tracer) rmdir(name string) error {
	return t.do("rmdir", name, func() error { return t.disk.Rmdir(t.root + name) })
}

func (t *tracer) unlink(name string) error {
	return t.do("unlink", name, func() error { return t.disk.Unlink(t.root + name) })
}

func (t *tracer) rename(from, to string) error {
	return t.do("rename", from+" to "+to, func() error { return t.disk.Rename(t.root+from, t.root+to) })
}

func (t *tracer) link(old, name string) error {
	return t.do("link", name, func() error { return t.disk.Link(t.root+old, t.root+name) })
}

func (t *tracer) symlink(target, name string) error {
	return t.do("symlink", name, func() error { return t.disk.Symlink(target, t.root+name) })
}

func (t *tracer) readlink(name string) (target string, err error) {
	err = t.do("readlink", name, func() error {
		target, err = t.disk.Readlink(t.root + name)
		return err
	})
	return target, err
}

func (t *tracer) lstat(name string) (fi fs.FileInfo, err error) {
	err = t.do("stat", name, func() error {
		fi, err = t.disk.Lstat(t.root + name)
		return err
	})
	return fi, err
}

// list lists a directory of the sandbox, sorted by name.
func (t *tracer) list(name string) (entries []fs.DirEntry, err error) {
	err = t.do("list", name, func() error {
		entries, err = t.disk.List(t.root + name)
		return err
	})
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		switch {
		case a.Name() < b.Name():
			return -1
		case a.Name() > b.Name():
			return 1
		}
		return 0
	})
	return entries, err
}

type tracedFile struct {
	t    *tracer
	f    file
	name string
}

func (f *tracedFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.t.do("read", f.name, func() error {
		n, err = f.f.ReadAt(p, off)
		return err
	})
	return n, err
}

func (f *tracedFile) writeAt(p []byte, off int64) error {
	return f.t.do("write", f.name, func() error {
		_, err := f.f.WriteAt(p, off)
		return err
	})
}

func (f *tracedFile) append(p []byte) error {
	return f.t.do("append", f.name, func() error {
		_, err := f.f.Write(p)
		return err
	})
}

func (f *tracedFile) truncate(size int64) error {
	return f.t.do("truncate", f.name, func() error { return f.f.Truncate(size) })
}

func (f *tracedFile) sync() error  { return f.t.do("fsync", f.name, f.f.Sync) }
func (f *tracedFile) close() error { return f.t.do("close", f.name, f.f.Close) }

func (f *tracedFile) lock(off, n int64) error {
	return f.t.do("lock", f.name, func() error { return f.f.Lock(off, n) })
}

func (f *tracedFile) unlock(off, n int64) error {
	return f.t.do("unlock", f.name, func() error { return f.f.Unlock(off, n) })
}

// latencies are those of one kind of operation, in buckets of a sixteenth of a
// power of two nanoseconds.
type latencies struct {
	Count   uint64         `json:"n"`
	Errors  uint64         `json:"e,omitempty"`
	Max     time.Duration  `json:"max"`
	Buckets map[int]uint64 `json:"b"`
}

func (l *latencies) add(d time.Duration) {
	l.Count++
	l.Max = max(l.Max, d)
	l.Buckets[bucketOf(d)]++
}

func (l *latencies) merge(o *latencies) {
	l.Count += o.Count
	l.Errors += o.Errors
	l.Max = max(l.Max, o.Max)
	for b, n := range o.Buckets {
		l.Buckets[b] += n
	}
}

// quantile is exact to a sixteenth.
func (l *latencies) quantile(q float64) time.Duration {
	rank, seen := uint64(q*float64(l.Count)), uint64(0)
	for _, b := range slices.Sorted(maps.Keys(l.Buckets)) {
		if seen += l.Buckets[b]; seen > rank {
			return min(bucketEnd(b), l.Max)
		}
	}
	return l.Max
}

func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0))
	if n < 16 {
		return int(n)
	}
	shift := bits.Len64(n) - 5
	return shift<<4 + int(n>>shift)
}

func bucketEnd(b int) time.Duration {
	if b < 32 {
		return time.Duration(b)
	}
	shift := b>>4 - 1
	return time.Duration(b-shift<<4+1)<<shift - 1
}
