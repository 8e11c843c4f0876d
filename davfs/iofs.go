package davfs

import (
	"context"
	"io"
	"io/fs"
	"path"

	"keepdav/collfs"
)

// IOFS shows the tree below dir as a read-only io/fs file system. Its names are
// slash-separated and relative. ctx serves every call on it.
func IOFS(ctx context.Context, f FileSystem, dir string) fs.ReadDirFS {
	return ioFS{ctx, f, dir}
}

// ioFS keeps ctx because the methods of io/fs take none.
type ioFS struct {
	ctx context.Context
	fs  FileSystem
	dir string
}

func (a ioFS) at(op, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return path.Join(a.dir, name), nil
}

// rename gives an error the name that the caller used.
func rename(op, name string, err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		err = pe.Err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func (a ioFS) Open(name string) (fs.File, error) {
	full, err := a.at("open", name)
	if err != nil {
		return nil, err
	}
	info, err := a.fs.Stat(a.ctx, full)
	if err != nil {
		return nil, rename("open", name, err)
	}
	info.Name = path.Base(name)
	if info.Dir {
		return &ioDir{fs: a, name: name, info: info}, nil
	}
	file, err := a.fs.Open(a.ctx, full)
	if err != nil {
		return nil, rename("open", name, err)
	}
	info = file.Info()
	info.Name = path.Base(name)
	return &ioFile{File: file, SectionReader: io.NewSectionReader(file, 0, info.Size), info: info}, nil
}

func (a ioFS) Stat(name string) (fs.FileInfo, error) {
	full, err := a.at("stat", name)
	if err != nil {
		return nil, err
	}
	info, err := a.fs.Stat(a.ctx, full)
	if err != nil {
		return nil, rename("stat", name, err)
	}
	info.Name = path.Base(name)
	return FileInfo{info}, nil
}

func (a ioFS) ReadDir(name string) ([]fs.DirEntry, error) {
	full, err := a.at("readdir", name)
	if err != nil {
		return nil, err
	}
	list, err := a.fs.List(a.ctx, full)
	if err != nil {
		return nil, rename("readdir", name, err)
	}
	defer list.Close()
	var all []fs.DirEntry
	batch := make([]Info, 256)
	for {
		n, err := list.Next(batch)
		if err != nil {
			return all, rename("readdir", name, err)
		}
		if n == 0 {
			return all, nil
		}
		for _, info := range batch[:n] {
			all = append(all, fs.FileInfoToDirEntry(FileInfo{info}))
		}
	}
}

// ioFile reads by the section reader's position.
type ioFile struct {
	File
	*io.SectionReader
	info Info
}

func (f *ioFile) Stat() (fs.FileInfo, error) { return FileInfo{f.info}, nil }

func (f *ioFile) ReadAt(p []byte, off int64) (int, error) { return f.SectionReader.ReadAt(p, off) }

type ioDir struct {
	fs   ioFS
	name string
	info Info
	rest []fs.DirEntry // nil before the first ReadDir
	read bool
}

func (d *ioDir) Stat() (fs.FileInfo, error) { return FileInfo{d.info}, nil }
func (d *ioDir) Close() error               { return nil }

func (d *ioDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: collfs.ErrIsDir}
}

func (d *ioDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.read {
		all, err := d.fs.ReadDir(d.name)
		if err != nil {
			return nil, err
		}
		d.rest, d.read = all, true
	}
	if n <= 0 {
		all := d.rest
		d.rest = nil
		return all, nil
	}
	if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	head := d.rest[:n]
	d.rest = d.rest[n:]
	return head, nil
}
