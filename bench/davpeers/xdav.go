package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/net/webdav"
)

// serveXdav is the peer xdav: the stock handler over a directory. With fsync, a
// file and its directory are synced when the handler closes it, which is before
// it answers.
func serveXdav(addr, dir string, fsync bool) error {
	var fsys webdav.FileSystem = webdav.Dir(dir)
	if fsync {
		fsys = syncDir{webdav.Dir(dir)}
	}
	return http.ListenAndServe(addr, &webdav.Handler{FileSystem: fsys, LockSystem: webdav.NewMemLS()})
}

type syncDir struct{ webdav.Dir }

func (d syncDir) OpenFile(ctx context.Context, name string, flag int, perm os.FileMode) (webdav.File, error) {
	f, err := d.Dir.OpenFile(ctx, name, flag, perm)
	if err != nil || flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return f, err
	}
	return syncFile{f.(*os.File)}, nil
}

type syncFile struct{ *os.File }

func (f syncFile) Close() error {
	name := f.Name()
	if err := errors.Join(f.Sync(), f.File.Close()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
