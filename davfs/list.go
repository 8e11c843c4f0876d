package davfs

import (
	"context"
	"path"
	"strings"

	"keepdav/collfs"
)

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
			l, err := f.Level(ctx, k.uuid)
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
