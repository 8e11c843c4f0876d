package davfs

import (
	"context"
	"encoding/xml"
	"io"
	"io/fs"
	"maps"
	"sync"
	"time"

	"golang.org/x/net/webdav"

	"keepdav/collfs"
)

// A davUpload is a file that is being written. It lives no longer than its request.
type davUpload struct {
	fs   FileSystem
	ctx  context.Context
	name string

	mu    sync.Mutex // guards the fields below
	up    Upload     // nil once closed
	size  int64
	err   error // why it must not be linked
	extra map[string]string
	info  Info // once closed
}

func (u *davUpload) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.up == nil {
		return 0, fs.ErrClosed
	}
	n, err := u.up.Write(p)
	u.size += int64(n)
	if err != nil {
		u.err = err
	}
	return n, err
}

// ReadFrom is what io.Copy uses. It remembers that r broke off, so that Close
// does not link half a file.
func (u *davUpload) ReadFrom(r io.Reader) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.up == nil {
		return 0, fs.ErrClosed
	}
	n, err := u.up.ReadFrom(r)
	u.size += n
	if err != nil {
		u.err = err
	}
	return n, err
}

// Close links the file and makes it durable.
func (u *davUpload) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.up == nil {
		return fs.ErrClosed
	}
	up := u.up
	u.up = nil
	defer up.Abort()
	if u.err != nil {
		return u.err
	}
	info, _, err := up.Commit(u.ctx)
	if err == nil && u.extra != nil {
		info, err = u.fs.SetAttr(u.ctx, u.name, AttrChange{Extra: u.extra})
	}
	u.info, u.err = info, err
	return bare(err)
}

func (u *davUpload) DeadProps() (map[xml.Name]webdav.Property, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return deadProps(u.extra), nil
}

// Patch keeps the properties until the file is linked.
func (u *davUpload) Patch(patches []webdav.Proppatch) ([]webdav.Propstat, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	extra, stat := patchExtra(patches)
	if u.extra == nil {
		u.extra = map[string]string{}
	}
	maps.Copy(u.extra, extra)
	return []webdav.Propstat{stat}, nil
}

func (u *davUpload) Stat() (fs.FileInfo, error) { return uploadInfo{u}, nil }

func (u *davUpload) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: u.name, Err: collfs.ErrNotSupported}
}

func (u *davUpload) Seek(offset int64, whence int) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if offset == 0 && whence == io.SeekCurrent || offset == 0 && whence == io.SeekEnd || offset == u.size && whence == io.SeekStart {
		return u.size, nil
	}
	return 0, &fs.PathError{Op: "seek", Path: u.name, Err: collfs.ErrNotSupported}
}

func (u *davUpload) Readdir(int) ([]fs.FileInfo, error) {
	return nil, &fs.PathError{Op: "readdir", Path: u.name, Err: collfs.ErrNotDir}
}

// uploadInfo describes an upload: the stock handler asks before it closes the
// file, and for the entity tag after.
type uploadInfo struct{ u *davUpload }

func (i uploadInfo) now() Info {
	i.u.mu.Lock()
	defer i.u.mu.Unlock()
	if i.u.up == nil && i.u.err == nil {
		return i.u.info
	}
	return Info{Name: baseName(i.u.name), Size: i.u.size, ModTime: time.Now()}
}

func (i uploadInfo) Name() string       { return i.now().Name }
func (i uploadInfo) Size() int64        { return i.now().Size }
func (i uploadInfo) Mode() fs.FileMode  { return i.now().Mode() }
func (i uploadInfo) ModTime() time.Time { return i.now().ModTime }
func (i uploadInfo) IsDir() bool        { return false }
func (i uploadInfo) Sys() any           { return i.now() }

func (i uploadInfo) ETag(context.Context) (string, error) { return i.now().ETag(), nil }

func (i uploadInfo) ContentType(context.Context) (string, error) {
	return ContentType(i.now().Name), nil
}
