package davfs

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/webdav"

	"keepdav/collfs"
)

// WebDAV adapts a file system to golang.org/x/net/webdav, whose FileInfo and
// File get ETager, ContentTyper and DeadPropsHolder.
//
// A file that is opened for writing with O_TRUNC is staged: nobody sees it until
// Close links it, whole. The stock handler calls Close after a cut upload as
// after a complete one; since it copies with io.Copy, the file learns of the
// broken body by ReadFrom and its Close then links nothing. A caller that passes
// a cut body to Write piece by piece has no way to say so, and gets the pieces.
func WebDAV(f FileSystem) webdav.FileSystem { return davAdapter{f} }

type davAdapter struct{ fs FileSystem }

// clean makes the name of a request one of ours.
func clean(name string) string {
	for len(name) > 1 && name[len(name)-1] == '/' {
		name = name[:len(name)-1]
	}
	if name == "" {
		return "/"
	}
	return name
}

// bare makes an error what the stock handler understands: it asks
// os.IsNotExist, which does not unwrap.
func bare(err error) error {
	if pe, ok := err.(*fs.PathError); ok && pe.Err != fs.ErrNotExist && errors.Is(pe.Err, fs.ErrNotExist) {
		return &fs.PathError{Op: pe.Op, Path: pe.Path, Err: fs.ErrNotExist}
	}
	return err
}

func (a davAdapter) Mkdir(ctx context.Context, name string, perm os.FileMode) error {
	var c AttrChange
	if m := uint32(perm.Perm()); m != 0 && m != 0o777 {
		c.Mode = &m
	}
	_, err := a.fs.Mkdir(ctx, clean(name), c)
	return bare(err)
}

// RemoveAll removes name and all below it. Nothing there is no error, as with os.RemoveAll.
func (a davAdapter) RemoveAll(ctx context.Context, name string) error {
	err := a.fs.Remove(ctx, clean(name), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (a davAdapter) Rename(ctx context.Context, oldName, newName string) error {
	_, err := a.fs.Move(ctx, clean(oldName), clean(newName), CopyOptions{Overwrite: true})
	return bare(err)
}

func (a davAdapter) Stat(ctx context.Context, name string) (os.FileInfo, error) {
	info, err := a.fs.Stat(ctx, clean(name))
	if err != nil {
		return nil, bare(err)
	}
	return FileInfo{info}, nil
}

func (a davAdapter) OpenFile(ctx context.Context, name string, flag int, perm os.FileMode) (webdav.File, error) {
	name = clean(name)
	write := flag&(os.O_WRONLY|os.O_RDWR) != 0
	if write && flag&os.O_TRUNC != 0 {
		return a.create(ctx, name, flag)
	}
	info, err := a.fs.Stat(ctx, name)
	switch {
	case err == nil && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case errors.Is(err, fs.ErrNotExist) && write && flag&os.O_CREATE != 0:
		return a.create(ctx, name, flag)
	case err != nil:
		return nil, bare(err)
	}
	file := &davFile{fs: a.fs, ctx: ctx, name: name, info: info, writable: write, append: flag&os.O_APPEND != 0}
	if info.Dir {
		return file, nil
	}
	file.file, err = a.fs.Open(ctx, name)
	if err != nil {
		return nil, bare(err)
	}
	file.info = file.file.Info()
	return file, nil
}

func (a davAdapter) create(ctx context.Context, name string, flag int) (webdav.File, error) {
	o := PutOptions{Size: -1}
	if flag&os.O_EXCL != 0 {
		o.Check = func(_ Info, ok bool) error {
			if ok {
				return fs.ErrExist
			}
			return nil
		}
	}
	if flag&os.O_CREATE == 0 {
		o.Check = func(_ Info, ok bool) error {
			if !ok {
				return fs.ErrNotExist
			}
			return nil
		}
	}
	up, err := a.fs.Put(ctx, name, o)
	if err != nil {
		return nil, bare(err)
	}
	return &davUpload{fs: a.fs, ctx: ctx, name: name, up: up}, nil
}

// FileInfo is an Info as an fs.FileInfo, for x/net/webdav and io/fs. Sys returns the Info.
type FileInfo struct{ info Info }

func (i FileInfo) Name() string       { return i.info.Name }
func (i FileInfo) Size() int64        { return i.info.Size }
func (i FileInfo) Mode() fs.FileMode  { return i.info.Mode() }
func (i FileInfo) ModTime() time.Time { return i.info.ModTime }
func (i FileInfo) IsDir() bool        { return i.info.Dir }
func (i FileInfo) Sys() any           { return i.info }

// ETag implements webdav.ETager.
func (i FileInfo) ETag(context.Context) (string, error) {
	if i.info.Dir {
		return "", webdav.ErrNotImplemented
	}
	return i.info.ETag(), nil
}

// ContentType implements webdav.ContentTyper, by the name alone.
func (i FileInfo) ContentType(context.Context) (string, error) {
	if i.info.Dir {
		return "", webdav.ErrNotImplemented
	}
	return ContentType(i.info.Name), nil
}

// A davFile is an open directory, or a file that is open for reading and for
// writing in place. It lives no longer than its request.
type davFile struct {
	fs       FileSystem
	ctx      context.Context
	name     string
	writable bool
	append   bool

	mu   sync.Mutex // guards the fields below
	info Info
	file File // nil: a directory
	pos  int64
	list Listing
}

func (f *davFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.list != nil {
		f.list.Close()
		f.list = nil
	}
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

func (f *davFile) Stat() (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return FileInfo{f.info}, nil
}

func (f *davFile) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: collfs.ErrIsDir}
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.file.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// ReadAt is for io.ReaderAt.
func (f *davFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	file := f.file
	f.mu.Unlock()
	if file == nil {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: collfs.ErrIsDir}
	}
	return file.ReadAt(p, off)
}

func (f *davFile) Seek(offset int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		offset += f.info.Size
	}
	if offset < 0 {
		return 0, &fs.PathError{Op: "seek", Path: f.name, Err: fs.ErrInvalid}
	}
	f.pos = offset
	return offset, nil
}

// Write changes the file in place, each call in a commit of its own.
func (f *davFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.writable || f.file == nil {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrPermission}
	}
	if len(p) == 0 {
		return 0, nil
	}
	off := f.pos
	if f.append {
		off = -1
	}
	info, err := f.fs.WriteAt(f.ctx, f.name, off, int64(len(p)), bytes.NewReader(p), nil)
	if err != nil {
		return 0, bare(err)
	}
	f.info = info
	f.pos += int64(len(p))
	if f.append {
		f.pos = info.Size
	}
	file, err := f.fs.Open(f.ctx, f.name)
	if err != nil {
		return len(p), bare(err)
	}
	f.file.Close()
	f.file = file
	return len(p), nil
}

func (f *davFile) Readdir(count int) ([]fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file != nil {
		return nil, &fs.PathError{Op: "readdir", Path: f.name, Err: collfs.ErrNotDir}
	}
	if f.list == nil {
		list, err := f.fs.List(f.ctx, f.name)
		if err != nil {
			return nil, bare(err)
		}
		f.list = list
	}
	var all []fs.FileInfo
	for count <= 0 || len(all) < count {
		batch := make([]Info, 256)
		if count > 0 {
			batch = batch[:min(len(batch), count-len(all))]
		}
		n, err := f.list.Next(batch)
		if err != nil {
			return all, err
		}
		if n == 0 {
			if count > 0 && len(all) == 0 {
				return nil, io.EOF
			}
			break
		}
		for _, info := range batch[:n] {
			all = append(all, FileInfo{info})
		}
	}
	return all, nil
}

// DeadProps implements webdav.DeadPropsHolder.
func (f *davFile) DeadProps() (map[xml.Name]webdav.Property, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return deadProps(f.info.Attr.Extra), nil
}

// Patch implements webdav.DeadPropsHolder: all patches are one change.
func (f *davFile) Patch(patches []webdav.Proppatch) ([]webdav.Propstat, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	extra, stat := patchExtra(patches)
	info, err := f.fs.SetAttr(f.ctx, f.name, AttrChange{Extra: extra})
	if err != nil {
		return nil, bare(err)
	}
	f.info = info
	return []webdav.Propstat{stat}, nil
}

// deadProps finds the dead properties among the extra attributes, whose keys
// are collfs.ExtraDAV and "{namespace}name".
func deadProps(extra map[string]string) map[xml.Name]webdav.Property {
	props := map[xml.Name]webdav.Property{}
	for key, value := range extra {
		full, ok := strings.CutPrefix(key, collfs.ExtraDAV)
		if !ok {
			continue
		}
		end := strings.LastIndexByte(full, '}')
		if end < 0 || full[0] != '{' {
			continue
		}
		name := xml.Name{Space: full[1:end], Local: full[end+1:]}
		props[name] = webdav.Property{XMLName: name, InnerXML: []byte(value)}
	}
	return props
}

// emptyProp stands for a property without content: "" would delete the key.
const emptyProp = "<!---->"

func patchExtra(patches []webdav.Proppatch) (map[string]string, webdav.Propstat) {
	extra := map[string]string{}
	stat := webdav.Propstat{Status: http.StatusOK}
	for _, p := range patches {
		for _, prop := range p.Props {
			key := collfs.ExtraDAV + "{" + prop.XMLName.Space + "}" + prop.XMLName.Local
			switch {
			case p.Remove:
				extra[key] = ""
			case len(prop.InnerXML) == 0:
				extra[key] = emptyProp
			default:
				extra[key] = string(prop.InnerXML)
			}
			stat.Props = append(stat.Props, webdav.Property{XMLName: prop.XMLName})
		}
	}
	slices.SortFunc(stat.Props, func(a, b webdav.Property) int {
		return strings.Compare(a.XMLName.Space+" "+a.XMLName.Local, b.XMLName.Space+" "+b.XMLName.Local)
	})
	return extra, stat
}
