package dav

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/keepio"
)

// memTree is one collection in memory: the smallest thing that keeps the
// contract of davfs.FileSystem. Users see it through memFS.
type memTree struct {
	mu           sync.Mutex          // guards the nodes
	nodes        map[string]*memNode // by path inside the collection, "" the root
	readOnly     bool
	failList     map[string]error // what List of these paths fails with
	failNext     error            // what Listing.Next fails with
	failOpen     error            // what Open and Put fail with
	avail        int64
	closed       func() // called by File.Close
	opens        int
	stats        int
	commits      int
	cuttable     []bool // of each File.WriteRange: whether it may be cut short
	beforeCommit func() // called by Upload.Commit before it takes mu
}

type memNode struct {
	dir   bool
	data  []byte
	attr  collfs.Attr
	mtime time.Time
	id    collfs.ContentID // of data, once it was asked for
}

const memUUID = "zzzzz-4zz18-000000000000001"

func newMemTree() *memTree {
	return &memTree{nodes: map[string]*memNode{"": {dir: true, mtime: memTime}}, avail: 1 << 40}
}

var memTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// memFS shows a tree at mount, like "/home/coll".
type memFS struct {
	t     *memTree
	mount string
}

func pathErr(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// locate is the path inside the collection; ok is false for what is above it.
func (m memFS) locate(name string) (string, bool, error) {
	if within(name, m.mount) {
		return strings.TrimPrefix(strings.TrimPrefix(name, m.mount), "/"), true, nil
	}
	if within(m.mount, name) {
		return "", false, nil
	}
	return "", false, pathErr("stat", name, fs.ErrNotExist)
}

func (m memFS) project(name string) davfs.Info {
	n := baseOf(name)
	if n == "" {
		n = "/"
	}
	return davfs.Info{Name: n, Dir: true, ModTime: memTime, ReadOnly: true, Entries: 1}
}

func (t *memTree) infoLocked(p, name string) (davfs.Info, bool) {
	n := t.nodes[p]
	if n == nil {
		return davfs.Info{}, false
	}
	i := davfs.Info{Name: baseOf(name), Dir: n.dir, Size: int64(len(n.data)), ModTime: n.mtime, Attr: n.attr, Collection: memUUID, Path: p, ReadOnly: t.readOnly, Entries: -1}
	if !n.dir {
		if n.id == (collfs.ContentID{}) {
			n.id = md5.Sum(n.data)
		}
		i.Content = n.id
	}
	return i, true
}

func (t *memTree) parentLocked(p string) error {
	for q := p; q != ""; {
		q = strings.TrimPrefix(parentOf("/"+q), "/")
		if n := t.nodes[q]; n == nil {
			return fs.ErrNotExist
		} else if !n.dir {
			return collfs.ErrNotDir
		}
	}
	return nil
}

func (m memFS) Stat(_ context.Context, name string) (davfs.Info, error) {
	p, in, err := m.locate(name)
	if err != nil {
		return davfs.Info{}, err
	}
	if !in {
		return m.project(name), nil
	}
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	m.t.stats++
	i, ok := m.t.infoLocked(p, name)
	if !ok {
		if err := m.t.parentLocked(p); errors.Is(err, collfs.ErrNotDir) {
			return davfs.Info{}, pathErr("stat", name, fs.ErrNotExist)
		}
		return davfs.Info{}, pathErr("stat", name, fs.ErrNotExist)
	}
	return i, nil
}

func (m memFS) Owner(context.Context, collfs.UUID) (collfs.UUID, error) { return "", nil }

func (m memFS) Where(_ context.Context, name string) (collfs.UUID, string, error) {
	p, in, err := m.locate(name)
	if err != nil {
		if parentOf(name) == "/" || within(m.mount, parentOf(name)) {
			return "", "", nil
		}
		return "", "", err
	}
	if !in {
		return "", "", nil
	}
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	if err := m.t.parentLocked(p); err != nil {
		return "", "", pathErr("where", name, err)
	}
	return memUUID, p, nil
}

type memListing struct{ infos []davfs.Info }

func (l *memListing) Next(out []davfs.Info) (int, error) {
	n := copy(out, l.infos)
	l.infos = l.infos[n:]
	return n, nil
}
func (l *memListing) Close() {}

type brokenListing struct{ err error }

func (l brokenListing) Next([]davfs.Info) (int, error) { return 0, l.err }
func (l brokenListing) Close()                         {}

func (m memFS) List(_ context.Context, name string) (davfs.Listing, error) {
	p, in, err := m.locate(name)
	if err != nil {
		return nil, err
	}
	if !in {
		next, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(m.mount, name), "/"), "/")
		child := joinPath(name, next)
		if child == m.mount {
			i, err := m.Stat(context.Background(), child)
			return &memListing{[]davfs.Info{i}}, err
		}
		return &memListing{[]davfs.Info{m.project(child)}}, nil
	}
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	if err := m.t.failList[p]; err != nil {
		return nil, pathErr("list", name, err)
	}
	if m.t.failNext != nil {
		return brokenListing{m.t.failNext}, nil
	}
	if n := m.t.nodes[p]; n == nil {
		return nil, pathErr("list", name, fs.ErrNotExist)
	} else if !n.dir {
		return nil, pathErr("list", name, collfs.ErrNotDir)
	}
	var l memListing
	for k := range m.t.nodes {
		if k != "" && strings.TrimPrefix(parentOf("/"+k), "/") == p {
			i, _ := m.t.infoLocked(k, "/"+k)
			l.infos = append(l.infos, i)
		}
	}
	slices.SortFunc(l.infos, func(a, b davfs.Info) int { return strings.Compare(a.Name, b.Name) })
	return &l, nil
}

func (m memFS) Count(_ context.Context, name string, limit int) (int, error) {
	p, in, err := m.locate(name)
	if err != nil {
		return 0, err
	}
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	n := 0
	for k := range m.t.nodes {
		if !in || within("/"+k, "/"+p) {
			n++
		}
	}
	return min(n, limit), nil
}

type memFile struct {
	*bytes.Reader
	data   []byte
	info   davfs.Info
	closed func()
	tree   *memTree
}

func (f memFile) Close() error {
	if f.closed != nil {
		f.closed()
	}
	return nil
}
func (f memFile) Info() davfs.Info { return f.info }
func (f memFile) WriteRange(_ context.Context, w io.Writer, off, n int64) (int64, error) {
	if f.tree != nil {
		_, ok := w.(keepio.CutWriter)
		f.tree.mu.Lock()
		f.tree.cuttable = append(f.tree.cuttable, ok)
		f.tree.mu.Unlock()
	}
	k, err := w.Write(f.data[off : off+n])
	return int64(k), err
}

func (m memFS) Open(_ context.Context, name string) (davfs.File, error) {
	p, in, err := m.locate(name)
	if err != nil {
		return nil, err
	}
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	m.t.opens++
	if m.t.failOpen != nil {
		return nil, pathErr("open", name, m.t.failOpen)
	}
	i, ok := m.t.infoLocked(p, name)
	switch {
	case !in || ok && i.Dir:
		return nil, pathErr("open", name, collfs.ErrIsDir)
	case !ok:
		return nil, pathErr("open", name, fs.ErrNotExist)
	}
	data := m.t.nodes[p].data
	return memFile{bytes.NewReader(data), data, i, m.t.closed, m.t}, nil
}

type memUpload struct {
	m    memFS
	name string
	p    string
	o    davfs.PutOptions
	buf  bytes.Buffer
}

func (u *memUpload) Write(p []byte) (int, error)         { return u.buf.Write(p) }
func (u *memUpload) ReadFrom(r io.Reader) (int64, error) { return u.buf.ReadFrom(r) }
func (u *memUpload) Abort()                              { u.buf.Reset() }

func mergeExtra(old, change map[string]string) map[string]string {
	x := maps.Clone(old)
	if x == nil {
		x = map[string]string{}
	}
	for k, v := range change {
		if x[k] = v; v == "" {
			delete(x, k)
		}
	}
	return x
}

func (u *memUpload) Commit(context.Context) (davfs.Info, bool, error) {
	t := u.m.t
	if t.beforeCommit != nil {
		t.beforeCommit()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.o.Size >= 0 && int64(u.buf.Len()) != u.o.Size && u.o.Size != 0 {
		return davfs.Info{}, false, pathErr("put", u.name, collfs.ErrShortBody)
	}
	if err := t.parentLocked(u.p); err != nil {
		return davfs.Info{}, false, pathErr("put", u.name, err)
	}
	cur, ok := t.infoLocked(u.p, u.name)
	if ok && cur.Dir {
		return davfs.Info{}, false, pathErr("put", u.name, collfs.ErrIsDir)
	}
	if u.o.Check != nil {
		if err := u.o.Check(cur, ok); err != nil {
			return davfs.Info{}, false, err
		}
	}
	n := &memNode{data: bytes.Clone(u.buf.Bytes()), mtime: u.o.ModTime}
	if n.mtime.IsZero() {
		n.mtime = memTime
	}
	if ok {
		n.attr = t.nodes[u.p].attr
	}
	n.attr.Extra = mergeExtra(n.attr.Extra, u.o.Extra)
	t.nodes[u.p] = n
	t.commits++
	i, _ := t.infoLocked(u.p, u.name)
	return i, !ok, nil
}

func (m memFS) Put(_ context.Context, name string, o davfs.PutOptions) (davfs.Upload, error) {
	p, in, err := m.locate(name)
	if err != nil {
		return nil, err
	}
	if !in || m.t.readOnly {
		return nil, pathErr("put", name, collfs.ErrReadOnly)
	}
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	if m.t.failOpen != nil {
		return nil, pathErr("put", name, m.t.failOpen)
	}
	if err := m.t.parentLocked(p); err != nil {
		return nil, pathErr("put", name, err)
	}
	return &memUpload{m: m, name: name, p: p, o: o}, nil
}

func (m memFS) WriteAt(_ context.Context, name string, off, n int64, body io.Reader, check davfs.Check) (davfs.Info, error) {
	data, err := io.ReadAll(io.LimitReader(body, n))
	if err != nil {
		return davfs.Info{}, err
	}
	if int64(len(data)) != n {
		return davfs.Info{}, pathErr("write", name, collfs.ErrShortBody)
	}
	p, _, err := m.locate(name)
	if err != nil {
		return davfs.Info{}, err
	}
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	cur, ok := m.t.infoLocked(p, name)
	if err := check(cur, ok); err != nil {
		return davfs.Info{}, err
	}
	old := m.t.nodes[p]
	if off < 0 {
		off = int64(len(old.data))
	}
	next := make([]byte, max(int64(len(old.data)), off+n))
	copy(next, old.data)
	copy(next[off:], data)
	attr := old.attr
	attr.Extra = mergeExtra(attr.Extra, map[string]string{collfs.ExtraSum + "MD5": "", collfs.ExtraSum + "SHA1": ""})
	m.t.nodes[p] = &memNode{data: next, attr: attr, mtime: memTime}
	i, _ := m.t.infoLocked(p, name)
	return i, nil
}

func (m memFS) Mkdir(_ context.Context, name string, a davfs.AttrChange) (davfs.Info, error) {
	p, in, err := m.locate(name)
	if err != nil {
		return davfs.Info{}, err
	}
	if !in || m.t.readOnly {
		return davfs.Info{}, pathErr("mkdir", name, collfs.ErrReadOnly)
	}
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	if err := m.t.parentLocked(p); err != nil {
		return davfs.Info{}, pathErr("mkdir", name, err)
	}
	if m.t.nodes[p] != nil {
		return davfs.Info{}, pathErr("mkdir", name, fs.ErrExist)
	}
	if a.Check != nil {
		if err := a.Check(davfs.Info{}, false); err != nil {
			return davfs.Info{}, err
		}
	}
	n := &memNode{dir: true, mtime: memTime}
	if a.ModTime != nil {
		n.mtime = *a.ModTime
	}
	m.t.nodes[p] = n
	i, _ := m.t.infoLocked(p, name)
	return i, nil
}

func (t *memTree) removeLocked(p string) {
	for k := range t.nodes {
		if within("/"+k, "/"+p) {
			delete(t.nodes, k)
		}
	}
}

func (m memFS) Remove(_ context.Context, name string, check davfs.Check) error {
	p, in, err := m.locate(name)
	if err != nil {
		return err
	}
	if !in || p == "" || m.t.readOnly {
		return pathErr("remove", name, collfs.ErrReadOnly)
	}
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	cur, ok := m.t.infoLocked(p, name)
	if !ok {
		return pathErr("remove", name, fs.ErrNotExist)
	}
	if err := check(cur, ok); err != nil {
		return err
	}
	m.t.removeLocked(p)
	return nil
}

func (m memFS) transfer(src, dst string, o davfs.CopyOptions, move bool) (bool, error) {
	sp, sin, err := m.locate(src)
	if err != nil {
		return false, err
	}
	dp, din, err := m.locate(dst)
	if err != nil {
		return false, err
	}
	if !sin || !din || m.t.readOnly {
		return false, pathErr("copy", dst, collfs.ErrReadOnly)
	}
	t := m.t
	t.mu.Lock()
	defer t.mu.Unlock()
	from, ok := t.infoLocked(sp, src)
	if !ok {
		return false, pathErr("copy", src, fs.ErrNotExist)
	}
	if err := t.parentLocked(dp); err != nil {
		return false, pathErr("copy", dst, err)
	}
	cur, exists := t.infoLocked(dp, dst)
	if exists && !o.Overwrite {
		return false, pathErr("copy", dst, fs.ErrExist)
	}
	if o.CheckSrc != nil {
		if err := o.CheckSrc(from, true); err != nil {
			return false, err
		}
	}
	if o.Check != nil {
		if err := o.Check(cur, exists); err != nil {
			return false, err
		}
	}
	made := map[string]*memNode{}
	for k, n := range t.nodes {
		if !within("/"+k, "/"+sp) || o.Shallow && k != sp {
			continue
		}
		c := *n
		made[strings.TrimPrefix(dp+strings.TrimPrefix(k, sp), "/")] = &c
	}
	if move {
		t.removeLocked(sp)
	}
	t.removeLocked(dp)
	maps.Copy(t.nodes, made)
	return !exists, nil
}

func (m memFS) Copy(_ context.Context, src, dst string, o davfs.CopyOptions) (bool, error) {
	return m.transfer(src, dst, o, false)
}

func (m memFS) Move(_ context.Context, src, dst string, o davfs.CopyOptions) (bool, error) {
	return m.transfer(src, dst, o, true)
}

func (m memFS) SetAttr(_ context.Context, name string, c davfs.AttrChange) (davfs.Info, error) {
	p, in, err := m.locate(name)
	if err != nil {
		return davfs.Info{}, err
	}
	if !in {
		return davfs.Info{}, pathErr("setattr", name, collfs.ErrReadOnly)
	}
	m.t.mu.Lock()
	defer m.t.mu.Unlock()
	cur, ok := m.t.infoLocked(p, name)
	if err := c.Check(cur, ok); err != nil {
		return davfs.Info{}, err
	}
	n := *m.t.nodes[p]
	if c.ModTime != nil {
		n.mtime = *c.ModTime
	}
	if c.Mode != nil {
		n.attr.Mode = *c.Mode
	}
	n.attr.Extra = mergeExtra(n.attr.Extra, c.Extra)
	m.t.nodes[p] = &n
	i, _ := m.t.infoLocked(p, name)
	return i, nil
}

func (m memFS) Usage(context.Context, string) (davfs.Usage, error) {
	return davfs.Usage{Used: 1000, Available: m.t.avail}, nil
}

func (m memFS) Sum(_ context.Context, name, algorithm string) (string, error) {
	f, err := m.Open(context.Background(), name)
	if err != nil {
		return "", err
	}
	data := f.(memFile).data
	if algorithm == "MD5" {
		s := md5.Sum(data)
		return hex.EncodeToString(s[:]), nil
	}
	s := sha1.Sum(data)
	return hex.EncodeToString(s[:]), nil
}
