package browse

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"unicode/utf8"

	"keepdav/collfs"
	"keepdav/davfs"
)

// zipLimit is how many entries a zip file may have: its directory is kept in
// memory until the end.
const zipLimit = 100_000

// archive answers with a zip file of the directory. Nothing is compressed: what
// is worth keeping mostly is already.
func archive(w http.ResponseWriter, r *http.Request, v View) error {
	n, err := v.FS.Count(r.Context(), v.Name, zipLimit+1)
	if n > zipLimit || errors.Is(err, collfs.ErrTooManyEntries) {
		http.Error(w, fmt.Sprintf("there are more than %d entries here, which is too much for one zip file: use a WebDAV client", zipLimit), http.StatusForbidden)
		return nil
	}
	if err != nil {
		return err
	}
	base := path.Base(v.Name)
	if v.Name == "/" {
		base = "keepdav"
	}
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": base + ".zip"}))
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	z := zip.NewWriter(w)
	err = addDir(r.Context(), z, v.FS, v.Name, base+"/")
	if err == nil {
		err = z.Close()
	}
	return err
}

// addDir adds what is in a directory. The list is read before the files are, so
// that no snapshot is held while a slow client takes them.
func addDir(ctx context.Context, z *zip.Writer, fsys davfs.FileSystem, dir, prefix string) error {
	list, err := fsys.List(ctx, dir)
	if err != nil {
		return err
	}
	var all []davfs.Info
	for batch := make([]davfs.Info, 256); ; {
		n, err := list.Next(batch)
		if err != nil {
			list.Close()
			return err
		}
		if n == 0 {
			break
		}
		all = append(all, batch[:n]...)
	}
	list.Close()
	for _, i := range all {
		name := path.Join(dir, i.Name)
		if i.Dir {
			if err := addEntry(z, i, prefix+i.Name+"/"); err != nil {
				return err
			}
			if err := addDir(ctx, z, fsys, name, prefix+i.Name+"/"); err != nil {
				return err
			}
			continue
		}
		if err := addFile(ctx, z, fsys, name, prefix+i.Name); err != nil {
			return err
		}
	}
	return nil
}

func header(i davfs.Info, name string) *zip.FileHeader {
	h := &zip.FileHeader{Name: name, Method: zip.Store, Modified: i.ModTime, NonUTF8: !utf8.ValidString(name)}
	h.SetMode(i.Mode())
	return h
}

func addEntry(z *zip.Writer, i davfs.Info, name string) error {
	_, err := z.CreateHeader(header(i, name))
	return err
}

func addFile(ctx context.Context, z *zip.Writer, fsys davfs.FileSystem, name, as string) error {
	f, err := fsys.Open(ctx, name)
	if err != nil {
		return err
	}
	defer f.Close()
	i := f.Info()
	head := header(i, as)
	if to, ok := i.Attr.Extra[collfs.ExtraSymlink]; ok {
		head.SetMode(fs.ModeSymlink | 0o777)
		w, err := z.CreateHeader(head)
		if err == nil {
			_, err = strings.NewReader(to).WriteTo(w)
		}
		return err
	}
	w, err := z.CreateHeader(head)
	if err != nil {
		return err
	}
	_, err = f.WriteRange(ctx, w, 0, i.Size)
	return err
}
