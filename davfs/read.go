package davfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"

	"keepdav/collfs"
)

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
		done, err := f.metaSlot(ctx, p)
		if err != nil {
			return Info{}, err
		}
		defer done()
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
	i.ModTime = rootTime(n.Attr, i.ModTime)
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

// Owner implements FileSystem.
func (f *FS) Owner(ctx context.Context, id collfs.UUID) (collfs.UUID, error) {
	e, err := f.site.conf.Folders.Entry(ctx, id)
	if errors.Is(err, fs.ErrNotExist) || isUser(id) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return ownerOf(e), nil
}

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
		done, err := f.metaSlot(ctx, p)
		if err != nil {
			return nil, err
		}
		data, i, err := f.metaFile(ctx, p)
		if err != nil {
			done()
			return nil, err
		}
		file := newBytesFile(i, data)
		file.done = done
		return file, nil
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
	done func() // if set, called by Close
}

func newBytesFile(i Info, data []byte) *bytesFile {
	i.Size = int64(len(data))
	return &bytesFile{Reader: bytes.NewReader(data), info: i}
}

func (b *bytesFile) Info() Info { return b.info }

func (b *bytesFile) Close() error {
	if b.done != nil {
		b.done()
	}
	return nil
}

func (b *bytesFile) WriteRange(_ context.Context, w io.Writer, off, n int64) (int64, error) {
	return io.Copy(w, io.NewSectionReader(b.Reader, off, n))
}
