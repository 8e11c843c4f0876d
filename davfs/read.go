package davfs

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"keepdav/collfs"
)

// A spot is a place in a collection that is open, and what is there.
type spot struct {
	place
	c    *collfs.Collection
	rec  collfs.Record
	node collfs.NodeInfo
	ok   bool // there is something: node
}

func (s *spot) close() { s.c.Release() }

// open opens the collection of a place.
func (f *FS) open(ctx context.Context, p *place) (*collfs.Collection, error) {
	if p.version != 0 {
		return f.site.conf.Files.OpenVersion(ctx, p.uuid, p.version)
	}
	c, err := f.site.conf.Files.Open(ctx, p.uuid)
	if err != nil || p.pdh == "" {
		return c, err
	}
	pdh, err := c.PDH(ctx)
	if err == nil && pdh != p.pdh { // it changed since it was found
		err = fs.ErrNotExist
	}
	if err != nil {
		c.Release()
		return nil, err
	}
	return c, nil
}

// visit opens the collection of p and looks p.path up: as given, or else
// folded. The caller must close the spot. That there is nothing is no error.
func (f *FS) visit(ctx context.Context, p place) (spot, error) {
	c, err := f.open(ctx, &p)
	if err != nil {
		return spot{}, err
	}
	s := spot{place: p, c: c}
	if s.rec, err = c.Record(ctx); err != nil {
		s.close()
		return spot{}, err
	}
	if s.node, err = c.Stat(p.path); err == nil {
		s.ok = true
		return s, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, collfs.ErrNotDir) {
		s.close()
		return spot{}, err
	}
	if cl := clientOf(ctx); mayFold(p.path, cl) {
		match := collfs.MatchNFC
		if cl.FoldCase {
			match = collfs.MatchFold
		}
		s.path, s.ok = c.Resolve(p.path, match)
		if s.ok {
			if s.node, err = c.Stat(s.path); err != nil { // it went meanwhile
				s.ok = false
			}
		}
	}
	return s, nil
}

// siteName is the name in the site of a path of s's collection that is s.path or
// a directory above it.
func (s *spot) siteName(p string) string {
	name := s.name
	for up := strings.Count(s.path, "/") - strings.Count(p, "/"); up > 0; up-- {
		name = path.Dir(name)
	}
	return name
}

// parent checks that s.path may be made: the directory above it is there.
func (s *spot) parent() error {
	if s.ok {
		return nil
	}
	dir, _ := splitPath(s.path)
	if dir == "" {
		return nil
	}
	n, err := s.c.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &atName{s.siteName(dir), ErrNoParent}
	case err == nil && !n.Dir:
		err = collfs.ErrNotDir
	}
	return err
}

// info describes what is at s.
func (s *spot) info() Info { return s.place.info(&s.rec, s.path, s.node) }

// key is where p says that a path of its collection lies: see Info.
func (p *place) key(inside string) (collfs.UUID, string) {
	if p.loose && inside != "" {
		return p.project, inside
	}
	return p.uuid, inside
}

// info describes the node at a path of p's collection.
func (p *place) info(r *collfs.Record, inside string, n collfs.NodeInfo) Info {
	i := Info{
		Name: n.Name, Dir: n.Dir, Size: n.Size, ModTime: modTime(n.Attr, r.ModifiedAt), Birth: birthOf(n.Attr),
		Attr: n.Attr, Content: n.ID, ReadOnly: !p.mayWrite(), Entries: -1,
	}
	if n.Dir {
		i.Entries = n.Entries
	}
	if inside == "" {
		i.Name = p.base
		if i.Birth.IsZero() {
			i.Birth = wallTime(r.CreatedAt)
		}
	}
	i.Collection, i.Path = p.key(inside)
	return i
}

func birthOf(a collfs.Attr) time.Time {
	text, ok := a.Extra[collfs.ExtraBirth]
	if !ok {
		return time.Time{}
	}
	ns, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

func splitPath(p string) (dir, base string) {
	i := strings.LastIndexByte(p, '/')
	return p[:max(i, 0)], p[i+1:]
}

// Stat implements FileSystem.
func (f *FS) Stat(ctx context.Context, name string) (Info, error) {
	p, err := f.resolveOld(ctx, name)
	var i Info
	if err == nil {
		i, err = f.stat(ctx, p)
	}
	return i, pathError("stat", name, err)
}

func (f *FS) stat(ctx context.Context, p place) (Info, error) {
	switch p.kind {
	case atProject:
		return f.projectInfo(ctx, p)
	case atMetaFile:
		data, i, err := f.metaFile(ctx, p)
		i.Size = int64(len(data))
		return i, err
	case atNothing:
		return f.sideStat(ctx, p.project, p.base)
	case atCollection:
		s, err := f.visit(ctx, p)
		if err != nil {
			return Info{}, err
		}
		defer s.close()
		if s.ok {
			return s.info(), nil
		}
		key, inside := s.key(s.path)
		return f.sideStat(ctx, key, inside)
	}
	return virtualInfo(p), nil
}

// virtualInfo describes a folder above the projects.
func virtualInfo(p place) Info {
	return Info{Name: baseName(p.name), Dir: true, Path: p.name, ReadOnly: true, Entries: -1}
}

// projectInfo describes a project. Its attributes are those of the collection of
// its loose files.
func (f *FS) projectInfo(ctx context.Context, p place) (Info, error) {
	e, err := f.site.conf.Folders.Entry(ctx, p.uuid)
	if err != nil {
		return Info{}, err
	}
	if e.Project == nil {
		return Info{}, fs.ErrNotExist
	}
	i := projectEntry(p.base, e.Project, p.mayWrite())
	loose, err := f.site.looseOf(ctx, p.uuid)
	if err != nil || loose.kind == noChild {
		return i, err
	}
	c, err := f.site.conf.Files.Open(ctx, loose.uuid)
	if err != nil {
		return Info{}, err
	}
	defer c.Release()
	n, err := c.Stat("")
	i.Attr = n.Attr
	i.ModTime = modTime(n.Attr, i.ModTime)
	return i, err
}

func projectEntry(name string, p *collfs.Project, write bool) Info {
	return Info{
		Name: name, Dir: true, ModTime: wallTime(p.ModifiedAt), Birth: wallTime(p.CreatedAt),
		Collection: p.UUID, ReadOnly: !write, Entries: -1,
	}
}

// Where implements FileSystem.
func (f *FS) Where(ctx context.Context, name string) (collfs.UUID, string, error) {
	p, err := f.resolve(ctx, name)
	if err != nil {
		if err == fs.ErrNotExist { // below a read-only folder
			return "", name, nil
		}
		return "", "", pathError("lookup", name, err)
	}
	switch p.kind {
	case atProject:
		return p.uuid, "", nil
	case atNothing:
		return p.project, p.base, nil
	case atCollection:
		s, err := f.visit(ctx, p)
		if err == nil {
			defer s.close()
			err = s.parent()
		}
		key, inside := s.key(s.path)
		return key, inside, pathError("lookup", name, err)
	}
	return "", name, nil
}

// List implements FileSystem.
func (f *FS) List(ctx context.Context, name string) (Listing, error) {
	p, err := f.resolveOld(ctx, name)
	var l Listing
	if err == nil {
		l, err = f.list(ctx, p)
	}
	if err != nil {
		return nil, pathError("list", name, err)
	}
	return l, nil
}

func (f *FS) list(ctx context.Context, p place) (Listing, error) {
	switch p.kind {
	case atVirtual:
		return f.listVirtual(ctx, p)
	case atOwner:
		sh, err := f.shared(ctx)
		if err != nil {
			return nil, err
		}
		return f.listEntries(ctx, sh.byOwner[p.uuid], "", p.level)
	case atProject:
		return f.listProject(ctx, p)
	case atCollection:
		l, err := f.listDir(ctx, p)
		if err != nil {
			return nil, err
		}
		return l, nil
	case atMetaFile:
		return nil, collfs.ErrNotDir
	}
	return nil, f.notDirOrMissing(ctx, p)
}

func (f *FS) notDirOrMissing(ctx context.Context, p place) error {
	if _, err := f.stat(ctx, p); err != nil {
		return err
	}
	return collfs.ErrNotDir
}

func (f *FS) listVirtual(ctx context.Context, p place) (Listing, error) {
	folder := func(name string, mayWrite bool) Info {
		return Info{Name: name, Dir: true, Path: path.Join(p.name, name), ReadOnly: !mayWrite, Entries: -1}
	}
	var infos []Info
	switch p.name {
	case "/":
		home, err := f.Stat(ctx, "/home")
		if err != nil {
			return nil, err
		}
		infos = []Info{folder("by_id", false), home, folder("shared", false), folder("users", false)}
	case "/shared":
		sh, err := f.shared(ctx)
		if err != nil {
			return nil, err
		}
		entries := make([]collfs.Entry, 0, len(sh.direct))
		for name, e := range sh.direct {
			e.Name = name
			entries = append(entries, e)
		}
		direct, err := f.listEntries(ctx, entries, "", collfs.CanRead)
		if err != nil {
			return nil, err
		}
		for name := range sh.owners {
			infos = append(infos, folder(name, false))
		}
		return newMergeListing(newSliceListing(infos), direct), nil
	case "/users":
		users, err := f.site.conf.Folders.Users(ctx, f.user.UUID)
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{f.user.Name: true}
		infos = append(infos, folder(f.user.Name, true))
		for _, u := range users {
			if !seen[u.Name] && u.Active && !strings.Contains(u.Name, "/") {
				seen[u.Name] = true
				infos = append(infos, folder(u.Name, false))
			}
		}
	}
	return newSliceListing(infos), nil
}

// listEntries lists records, but not the collection hide.
func (f *FS) listEntries(ctx context.Context, entries []collfs.Entry, hide collfs.UUID, level collfs.Level) (*sliceListing, error) {
	infos := make([]Info, 0, len(entries))
	for _, e := range entries {
		k := childOf(e)
		if k.uuid == hide || k.kind == noChild || collfs.CheckName(e.Name) != nil {
			continue
		}
		own := level
		if own < collfs.CanManage { // rights may be larger further down
			l, err := f.level(ctx, k.uuid)
			if err != nil {
				return nil, err
			}
			own = max(own, l)
		}
		if k.kind == isProject {
			infos = append(infos, projectEntry(e.Name, e.Project, own >= collfs.CanWrite))
			continue
		}
		infos = append(infos, Info{
			Name: e.Name, Dir: true, ModTime: wallTime(e.Collection.ModifiedAt), Birth: wallTime(e.Collection.CreatedAt),
			Collection: k.uuid, ReadOnly: own < collfs.CanWrite, Entries: -1,
		})
	}
	return newSliceListing(infos), nil
}

func (f *FS) listProject(ctx context.Context, p place) (Listing, error) {
	entries, err := f.site.conf.Folders.List(ctx, p.uuid)
	if err != nil {
		return nil, err
	}
	loose, err := f.site.looseOf(ctx, p.uuid)
	if err != nil {
		return nil, err
	}
	records, err := f.listEntries(ctx, entries, loose.uuid, p.level)
	if err != nil {
		return nil, err
	}
	if loose.kind == noChild {
		return f.withSide(ctx, records, p.uuid, "")
	}
	inside := p
	inside.project, inside.uuid, inside.loose, inside.base = p.uuid, loose.uuid, true, ""
	files, err := f.listDir(ctx, inside.inside(""))
	if err != nil {
		return nil, err
	}
	return newMergeListing(records, files), nil
}

// listDir lists a directory of a collection.
func (f *FS) listDir(ctx context.Context, p place) (Listing, error) {
	s, err := f.visit(ctx, p)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if !s.ok {
		key, inside := s.key(s.path)
		if _, err := f.sideStat(ctx, key, inside); err != nil {
			return nil, err
		}
		return nil, collfs.ErrNotDir
	}
	if !s.node.Dir {
		return nil, collfs.ErrNotDir
	}
	snap, err := s.c.List(s.path)
	if err != nil {
		return nil, err
	}
	l := &dirListing{place: s.place, record: s.rec, snap: snap}
	key, inside := s.key(s.path)
	if p.loose && s.path == "" {
		key, inside = p.project, ""
	}
	return f.withSide(ctx, l, key, inside)
}

// dirListing lists the snapshot of a directory.
type dirListing struct {
	place  place // of the directory
	record collfs.Record
	snap   *collfs.DirSnapshot
	buf    [64]collfs.NodeInfo
}

func (l *dirListing) Next(infos []Info) (int, error) {
	done := 0
	for done < len(infos) {
		n := l.snap.Next(l.buf[:min(len(l.buf), len(infos)-done)])
		if n == 0 {
			break
		}
		paths := l.paths(l.buf[:n])
		for _, node := range l.buf[:n] {
			size := len(l.place.path) + len(node.Name)
			if l.place.path != "" {
				size++
			}
			infos[done] = l.place.info(&l.record, paths[:size], node)
			paths = paths[size:]
			done++
		}
	}
	return done, nil
}

// paths returns the paths of nodes one after the other, in one piece of memory.
func (l *dirListing) paths(nodes []collfs.NodeInfo) string {
	var b strings.Builder
	size := 0
	for i := range nodes {
		size += len(l.place.path) + 1 + len(nodes[i].Name)
	}
	b.Grow(size)
	for i := range nodes {
		if l.place.path != "" {
			b.WriteString(l.place.path)
			b.WriteByte('/')
		}
		b.WriteString(nodes[i].Name)
	}
	return b.String()
}

func (l *dirListing) Close() { l.snap.Close() }

// Open implements FileSystem.
func (f *FS) Open(ctx context.Context, name string) (File, error) {
	p, err := f.resolveOld(ctx, name)
	var file File
	if err == nil {
		file, err = f.openFile(ctx, p)
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return file, nil
}

func (f *FS) openFile(ctx context.Context, p place) (File, error) {
	switch p.kind {
	case atMetaFile:
		data, i, err := f.metaFile(ctx, p)
		if err != nil {
			return nil, err
		}
		return newBytesFile(i, data), nil
	case atNothing:
		return f.openSide(ctx, p.project, p.base)
	case atCollection:
		s, err := f.visit(ctx, p)
		if err != nil {
			return nil, err
		}
		defer s.close() // the reader keeps the collection
		if !s.ok {
			key, inside := s.key(s.path)
			return f.openSide(ctx, key, inside)
		}
		r, err := s.c.OpenRead(s.path)
		if err != nil {
			return nil, err
		}
		s.node = r.Info()
		return &openFile{ctx: ctx, r: r, info: s.info()}, nil
	}
	return nil, collfs.ErrIsDir
}

// openFile is an open file of a collection.
type openFile struct {
	ctx  context.Context // of the request that it lives in, for ReadAt
	r    *collfs.Reader
	info Info
}

func (o *openFile) Info() Info   { return o.info }
func (o *openFile) Close() error { return o.r.Close() }

func (o *openFile) ReadAt(p []byte, off int64) (int, error) { return o.r.ReadAt(o.ctx, p, off) }

func (o *openFile) WriteRange(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	return o.r.WriteRange(ctx, w, off, n)
}

// bytesFile is a file that is made when it is opened.
type bytesFile struct {
	*bytes.Reader
	info Info
}

func newBytesFile(i Info, data []byte) *bytesFile {
	i.Size = int64(len(data))
	return &bytesFile{bytes.NewReader(data), i}
}

func (b *bytesFile) Info() Info   { return b.info }
func (b *bytesFile) Close() error { return nil }

func (b *bytesFile) WriteRange(_ context.Context, w io.Writer, off, n int64) (int64, error) {
	return io.Copy(w, io.NewSectionReader(b.Reader, off, n))
}

// Count implements FileSystem.
func (f *FS) Count(ctx context.Context, name string, limit int) (int, error) {
	p, err := f.resolveOld(ctx, name)
	n := 0
	if err == nil {
		n, err = f.count(ctx, p, limit)
	}
	return n, pathError("count", name, err)
}

func (f *FS) count(ctx context.Context, p place, limit int) (int, error) {
	if limit <= 0 {
		return 0, nil
	}
	if p.kind == atCollection {
		s, err := f.visit(ctx, p)
		if err != nil {
			return 0, err
		}
		defer s.close()
		if s.ok {
			return s.c.Count(s.path, limit)
		}
	}
	i, err := f.stat(ctx, p)
	if err != nil || !i.Dir {
		return 1, err
	}
	l, err := f.list(ctx, p)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	n := 1
	batch := make([]Info, 64)
	for n < limit {
		got, err := l.Next(batch)
		if err != nil {
			return n, err
		}
		if got == 0 {
			break
		}
		for _, i := range batch[:got] {
			if n >= limit {
				break
			}
			if !i.Dir {
				n++
				continue
			}
			below, err := f.resolve(ctx, path.Join(p.name, i.Name))
			if err != nil {
				return n, err
			}
			m, err := f.count(ctx, below, limit-n)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return n, err
			}
			n += m
		}
	}
	return n, nil
}

// Usage implements FileSystem: what a collection uses is the sum of its files.
func (f *FS) Usage(ctx context.Context, name string) (Usage, error) {
	p, err := f.resolveOld(ctx, name)
	if err != nil {
		return Usage{}, pathError("usage", name, err)
	}
	u, err := f.site.space.get(ctx, f.site.conf.Space)
	if err != nil {
		return Usage{}, pathError("usage", name, err)
	}
	if p.kind == atCollection && !p.loose {
		s, err := f.visit(ctx, p)
		if err != nil {
			return Usage{}, pathError("usage", name, err)
		}
		defer s.close()
		u.Used = s.rec.Bytes
	}
	return u, nil
}

// spaceCache remembers how full the store is for a second: some clients ask at
// each step.
type spaceCache struct {
	mu    sync.Mutex // guards the fields below
	usage Usage
	until time.Time
}

func (c *spaceCache) get(ctx context.Context, ask func(context.Context) (Usage, error)) (Usage, error) {
	if ask == nil {
		return Usage{Available: -1}, nil
	}
	now := time.Now()
	c.mu.Lock()
	u, ok := c.usage, now.Before(c.until)
	c.mu.Unlock()
	if ok {
		return u, nil
	}
	u, err := ask(ctx)
	if err != nil {
		return Usage{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.usage, c.until = u, now.Add(time.Second)
	return u, nil
}

var algorithms = map[string]func() hash.Hash{"MD5": md5.New, "SHA1": sha1.New}

// Sum implements FileSystem.
func (f *FS) Sum(ctx context.Context, name, algorithm string) (string, error) {
	make, ok := algorithms[algorithm]
	if !ok {
		return "", pathError("sum", name, fmt.Errorf("checksum %q: %w", algorithm, collfs.ErrNotSupported))
	}
	file, err := f.Open(ctx, name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	i := file.Info()
	if sum := i.Attr.Extra[collfs.ExtraSum+algorithm]; sum != "" {
		return sum, nil
	}
	if sum := blockSum(file, algorithm); sum != "" {
		return sum, nil
	}
	sum, err := f.site.sums.sum(ctx, sumKey{i.Content, algorithm}, func() (string, error) {
		h := make()
		n, err := file.WriteRange(ctx, h, 0, i.Size)
		if err == nil && n != i.Size {
			err = io.ErrUnexpectedEOF
		}
		return hex.EncodeToString(h.Sum(nil)), err
	})
	return sum, pathError("sum", name, err)
}

// blockSum is the sum of a file that is one whole block, whose name is its MD5.
func blockSum(file File, algorithm string) string {
	o, ok := file.(*openFile)
	if !ok || algorithm != "MD5" {
		return ""
	}
	segs := o.r.Content().Segments
	if len(segs) != 1 || segs[0].Block == nil {
		return ""
	}
	hash, size, stored := segs[0].Block.Stored()
	if !stored || segs[0].Off != 0 || segs[0].Len != size {
		return ""
	}
	return hex.EncodeToString(hash[:])
}
