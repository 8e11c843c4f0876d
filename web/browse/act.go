package browse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

const (
	formLimit   = 1 << 20 // bytes of the fields of a form that are not files, together
	failedLimit = 100     // entries that may fail before the rest of a form is left
)

var errManyFailed = errors.New("too much has failed, and the rest was not tried")

// Act answers POST to a directory: it carries out what a form of Page asks for
// through dav, which answers as it would to a WebDAV client, then shows the
// directory again. What is no form of ours is left to dav altogether. The caller
// has made sure that the form comes from our own page.
func Act(w http.ResponseWriter, r *http.Request, v View, dav http.Handler) error {
	info, err := v.FS.Stat(r.Context(), v.Name)
	if err != nil {
		return err
	}
	a := &act{r: r, v: v, dav: dav}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && info.Dir && media == "multipart/form-data":
		err = a.upload()
	case err == nil && info.Dir && media == "application/x-www-form-urlencoded":
		err = a.form()
	default:
		dav.ServeHTTP(w, r)
		return nil
	}
	if err != nil {
		a.failed = append(a.failed, err.Error())
	}
	switch {
	case len(a.failed) > 0:
		return page(w, r, v, info, a.status, notice{Failed: a.failed})
	case len(a.ask) > 0:
		return page(w, r, v, info, http.StatusOK, notice{Ask: a.ask})
	}
	http.Redirect(w, r, Href(strings.TrimSuffix(v.Prefix+v.Name, "/"), "", false), http.StatusSeeOther)
	return nil
}

type act struct {
	r      *http.Request
	v      View
	dav    http.Handler
	failed []string // what went wrong, for people
	status int      // of the last failure
	ask    []entry  // what is to be deleted, when whoever selected it says so again
}

// upload stores the files of a multipart form as they come in.
func (a *act) upload() error {
	a.status = http.StatusBadRequest
	parts, err := a.r.MultipartReader()
	if err != nil {
		return fmt.Errorf("the form cannot be read: %w", err)
	}
	header := http.Header{"If-None-Match": {"*"}}
	for {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the form ended early, and what was uploaded last is not kept: %w", err)
		}
		name := fileName(part.Header.Get("Content-Disposition"))
		if part.FormName() == "replace" {
			header = nil
		}
		if part.FormName() != "file" || name == "" {
			continue
		}
		if a.do("PUT", name, part, header); len(a.failed) >= failedLimit {
			return errManyFailed
		}
	}
}

// fileName is the last element of the file name that a browser sends. (The
// library's own parser would also take a backslash for a separator.)
func fileName(disposition string) string {
	_, params, err := mime.ParseMediaType(disposition)
	if err != nil {
		return ""
	}
	name := params["filename"]
	name = name[strings.LastIndexByte(name, '/')+1:]
	if name == "." || name == ".." {
		return ""
	}
	return name
}

// form makes a directory, renames, or deletes what is selected.
func (a *act) form() error {
	a.status = http.StatusBadRequest
	text, err := io.ReadAll(io.LimitReader(a.r.Body, formLimit+1))
	if err != nil || len(text) > formLimit {
		return fmt.Errorf("the form cannot be read")
	}
	f, err := url.ParseQuery(string(text))
	if err != nil {
		return fmt.Errorf("the form cannot be read")
	}
	names := f["name"]
	for i, n := range names {
		if names[i], err = url.PathUnescape(n); err != nil || !goodName(names[i]) {
			return fmt.Errorf("%q is not here", n)
		}
	}
	switch f.Get("do") {
	case "make":
		if n := f.Get("new"); goodName(n) {
			a.do("MKCOL", n, nil, nil)
			return nil
		}
		return fmt.Errorf("%q cannot be the name of a directory", f.Get("new"))
	case "rename":
		to := f.Get("to")
		if len(names) != 1 || !goodName(to) {
			return fmt.Errorf("select one entry and give it another name")
		}
		a.do("MOVE", names[0], nil, http.Header{
			"Destination": {Href(a.v.Prefix+a.v.Name, to, false)},
			"Overwrite":   {"F"},
		})
		return nil
	case "ask", "delete":
		if len(names) == 0 {
			return fmt.Errorf("nothing is selected")
		}
		for _, n := range names {
			if f.Get("do") == "ask" {
				a.ask = append(a.ask, entryOf(n))
				continue
			}
			if a.do("DELETE", n, nil, nil); len(a.failed) >= failedLimit {
				return errManyFailed
			}
		}
		return nil
	}
	return errNotHere
}

func goodName(n string) bool {
	return n != "" && n != "." && n != ".." && !strings.ContainsAny(n, "/\x00")
}

// do makes one WebDAV request about name in the directory.
func (a *act) do(method, name string, body io.Reader, header http.Header) {
	u := &url.URL{Path: strings.TrimSuffix(a.v.Prefix+a.v.Name, "/") + "/" + name}
	u.RawPath = Href(a.v.Prefix+a.v.Name, name, false)
	ctx, stop := context.WithCancel(a.r.Context())
	defer stop()
	req := a.r.Clone(ctx)
	req.Method, req.URL, req.RequestURI = method, u, u.EscapedPath()
	req.Header = http.Header{"User-Agent": {"keepdav-page"}}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Form, req.PostForm, req.MultipartForm = nil, nil, nil
	req.Body, req.ContentLength, req.TransferEncoding = http.NoBody, 0, nil
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(body), -1
	}
	ans := &answer{header: http.Header{}}
	a.dav.ServeHTTP(ans, req)
	if ans.status >= 300 || ans.status == http.StatusMultiStatus {
		a.status = ans.status
		if a.status < 400 {
			a.status = http.StatusConflict
		}
		a.failed = append(a.failed, fmt.Sprintf("%s: %s", strings.ToValidUTF8(name, "�"), reason(method, ans.status)))
	}
}

// reason says for people why a request failed.
func reason(method string, status int) string {
	switch status {
	case http.StatusForbidden:
		return "this is not allowed here"
	case http.StatusMethodNotAllowed:
		switch method {
		case "MKCOL":
			return "there is something of this name already"
		case "PUT":
			return "there is a directory of this name"
		}
		return "this cannot be done here"
	case http.StatusPreconditionFailed:
		if method == "PUT" {
			return "there is a file of this name already, and “replace files” is not selected"
		}
		return "there is something of this name already"
	case http.StatusLocked, http.StatusMultiStatus:
		return "it is locked by a program that works on it"
	case http.StatusBadRequest:
		if method == "PUT" {
			return "it did not arrive whole, or this cannot be a name"
		}
		return "this cannot be a name"
	case http.StatusRequestURITooLong:
		return "the name is too long"
	case http.StatusConflict:
		return "the directory is not there any more"
	case http.StatusNotFound:
		return "it is not there any more"
	case http.StatusInsufficientStorage:
		return "the server has no room left"
	case http.StatusServiceUnavailable:
		return "the server cannot do it at the moment"
	}
	return strings.ToLower(http.StatusText(status))
}

// An answer takes what a handler answers.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return len(p), nil
}
