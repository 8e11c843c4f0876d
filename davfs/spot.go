package davfs

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"
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
	if p.pdh != "" {
		return f.site.conf.Files.OpenPDH(ctx, p.uuid, p.pdh)
	}
	return f.site.conf.Files.Open(ctx, p.uuid)
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
		i.Name, i.ModTime = p.base, rootTime(n.Attr, r.ModifiedAt)
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

// baseName is the name under which an Info shows what lies at a name.
func baseName(name string) string { return path.Base(name) }

// modTime is when something changed: the time it was given, else that of its record.
func modTime(attr collfs.Attr, record time.Time) time.Time {
	if attr.Mtime != 0 {
		return time.Unix(0, attr.Mtime)
	}
	return wallTime(record)
}

// rootTime is modTime for the root of a collection. A project lists collections
// without their trees, by the time of the record: so the time that an entry gave
// to the root, and nobody else, doesn't show.
func rootTime(attr collfs.Attr, record time.Time) time.Time {
	if attr.Mtime == attr.Ctime {
		return wallTime(record)
	}
	return modTime(attr, record)
}

// wallTime drops what only this process knows of a time: two answers about the
// same change are equal, whoever read it from where.
func wallTime(t time.Time) time.Time { return t.Round(0) }
