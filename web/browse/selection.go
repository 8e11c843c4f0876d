package browse

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"keepdav/collfs"
	"keepdav/davfs"
)

// A Selection is what somebody wants of a collection in one zip file, as it is
// asked for in keep-web's way.
type Selection struct {
	Files    []string `json:"files"` // names of files and directories; none, or "/", is everything
	Filename string   `json:"download_filename"`
	Metadata bool     `json:"include_collection_metadata"` // a collection.json beside the files
}

// A Collection is what a zip file says about where its files are from.
type Collection struct {
	Name   string
	Record any    // of collection.json
	Source string // the URL
}

// WantsZip reports whether r asks for a zip file by its Accept header, or where
// it saves a file, by ?accept=.
func WantsZip(r *http.Request, saves bool) bool {
	accept := r.Header.Get("Accept")
	if saves && r.URL.Query().Has("accept") {
		accept = r.URL.Query().Get("accept")
	}
	media, _, err := mime.ParseMediaType(accept)
	return err == nil && media == "application/zip"
}

// ErrBadSelection says that a request for a zip file cannot be understood.
var ErrBadSelection = errors.New("the request for a zip file is malformed")

// ParseSelection reads what r asks for: fields of its query, of its form, or JSON.
func ParseSelection(r *http.Request) (s Selection, err error) {
	values := r.URL.Query()
	if r.Method == http.MethodPost {
		text, err := io.ReadAll(io.LimitReader(r.Body, formLimit+1))
		if err != nil || len(text) > formLimit {
			return s, fmt.Errorf("%w: the body cannot be read", ErrBadSelection)
		}
		media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if media == "application/json" {
			if err := json.Unmarshal(text, &s); err != nil {
				return s, fmt.Errorf("%w: it is no JSON of the right form", ErrBadSelection)
			}
			return s, nil
		}
		form, err := url.ParseQuery(string(text))
		if err != nil {
			return s, fmt.Errorf("%w: the form cannot be read", ErrBadSelection)
		}
		for k, v := range form {
			values[k] = append(values[k], v...)
		}
	}
	s.Files, s.Filename = values["files"], values.Get("download_filename")
	m := values.Get("include_collection_metadata")
	s.Metadata = m != "" && m != "0" && m != "false"
	return s, nil
}

// Zip answers with a zip file of what s selects of the collection that v shows.
// Names in it are those in the collection. One that does not exist is
// fs.ErrNotExist, and nothing is sent.
func Zip(w http.ResponseWriter, r *http.Request, v View, s Selection, of Collection) error {
	chosen, err := choose(r, v, s.Files)
	if errors.Is(err, collfs.ErrTooManyEntries) {
		http.Error(w, fmt.Sprintf("there are more than %d entries here, which is too much for one zip file: use a WebDAV client", zipLimit), http.StatusForbidden)
		return nil
	}
	if err != nil {
		return err
	}
	name := s.Filename
	if name == "" {
		name = zipName(of.Name, chosen)
	}
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", disposition(name))
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	z := zip.NewWriter(w)
	if err := z.SetComment("Downloaded from " + of.Source); err != nil {
		return err
	}
	for _, c := range chosen {
		inside := strings.TrimPrefix(c.path, "/")
		switch {
		case c.info.Dir && inside == "":
			err = addDir(r.Context(), z, v.FS, c.path, "")
		case c.info.Dir:
			err = addDir(r.Context(), z, v.FS, c.path, inside+"/")
		default:
			err = addFile(r.Context(), z, v.FS, c.path, inside)
		}
		if err != nil {
			return err
		}
	}
	if s.Metadata {
		if err := addRecord(z, of.Record); err != nil {
			return err
		}
	}
	return z.Close()
}

func addRecord(z *zip.Writer, record any) error {
	text, err := json.MarshalIndent(record, "", "    ")
	if err != nil {
		return err
	}
	to, err := z.CreateHeader(&zip.FileHeader{Name: "collection.json", Method: zip.Store})
	if err == nil {
		_, err = to.Write(append(text, '\n'))
	}
	return err
}

func disposition(name string) string {
	if d := mime.FormatMediaType("attachment", map[string]string{"filename": name}); d != "" {
		return d
	}
	return "attachment"
}

// A choice is a file or directory that goes into a zip file.
type choice struct {
	path string
	info davfs.Info
}

// choose finds what files name, without what lies in something else of it.
func choose(r *http.Request, v View, files []string) ([]choice, error) {
	var paths []string
	for _, f := range files {
		paths = append(paths, path.Clean("/"+f))
	}
	if len(paths) == 0 || slices.Contains(paths, "/") {
		paths = []string{"/"}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	all := make(map[string]bool, len(paths))
	for _, p := range paths {
		all[p] = true
	}
	var chosen []choice
	entries := 0
	for _, p := range paths {
		if inside(all, p) {
			continue
		}
		info, err := v.FS.Stat(r.Context(), p)
		if err != nil {
			return nil, err
		}
		n, err := v.FS.Count(r.Context(), p, zipLimit+1)
		if err != nil {
			return nil, err
		}
		if entries += n; entries > zipLimit {
			return nil, collfs.ErrTooManyEntries
		}
		chosen = append(chosen, choice{p, info})
	}
	return chosen, nil
}

// inside reports whether something above p is chosen.
func inside(all map[string]bool, p string) bool {
	for p != "/" {
		if p = path.Dir(p); all[p] {
			return true
		}
	}
	return false
}

// zipName is what a zip file is called: after the collection, and what of it it has.
func zipName(collection string, chosen []choice) string {
	collection = strings.ReplaceAll(collection, "/", "_")
	switch {
	case len(chosen) == 1 && chosen[0].path == "/":
		return collection + ".zip"
	case len(chosen) == 1:
		return collection + " - " + path.Base(chosen[0].path) + ".zip"
	}
	return fmt.Sprintf("%s - %d files.zip", collection, len(chosen))
}
