package dav

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/keepio"
)

// get answers GET and HEAD.
func (q *request) get() error {
	if done, err := q.macName(); done || err != nil {
		return err
	}
	f, err := q.fs.Open(q.ctx, q.path.Name)
	if errors.Is(err, collfs.ErrIsDir) {
		return q.getDir()
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info := f.Info()
	if info.Dir {
		return q.getDir()
	}
	if q.path.Slash {
		return fs.ErrNotExist // a file has no members
	}
	etag := info.ETag()
	if q.ifh != nil {
		if err := q.prepareIf(q.path.Name); err != nil {
			return err
		}
		if !q.ifHolds(q.path.Name, etag) {
			return collfs.ErrCondition
		}
	}
	cur := Current{Exists: true, ETag: etag, ModTime: info.ModTime}
	verdict := EvalConditions(q.r.Header, q.r.Method, cur)
	if verdict == PreconditionFailed {
		return collfs.ErrCondition
	}
	hd := q.w.Header()
	hd.Set("ETag", etag)
	if !info.ModTime.IsZero() {
		var d httpDate
		hd.Set("Last-Modified", string(d.append(nil, info.ModTime)))
	}
	// A drive changes: whoever keeps a copy asks before using it.
	hd.Set("Cache-Control", "private, no-cache")
	if verdict == NotModified {
		q.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	ctype := davfs.ContentType(info.Name)
	hd.Set("Content-Type", ctype)
	hd.Set("X-Content-Type-Options", "nosniff")
	hd.Set("Cross-Origin-Resource-Policy", "same-origin") // no page elsewhere runs or shows it with its reader's rights
	hd.Set("Accept-Ranges", "bytes")
	if !q.h.conf.RunsScripts && scriptable(ctype) {
		hd.Set("Content-Security-Policy", "sandbox")
	}
	var spans []Span
	if rg := q.r.Header.Get("Range"); rg != "" && IfRangeHolds(q.r.Header, cur) {
		if spans, err = ParseRange(rg, info.Size); err != nil {
			hd.Set("Content-Range", "bytes */"+strconv.FormatInt(info.Size, 10))
			return fail(http.StatusRequestedRangeNotSatisfiable, err)
		}
	}
	switch len(spans) {
	case 0:
		q.send(f, http.StatusOK, Span{0, info.Size})
	case 1:
		hd.Set("Content-Range", spans[0].contentRange(info.Size))
		q.send(f, http.StatusPartialContent, spans[0])
	default:
		q.sendParts(f, spans, ctype, info.Size)
	}
	return nil
}

// scriptable reports whether a browser would run scripts in content of this
// type. What users store must not act with the rights of who looks at it.
func scriptable(ctype string) bool {
	t, _, _ := strings.Cut(ctype, ";")
	return t == "text/html" || strings.HasSuffix(t, "xml")
}

// send writes the head and, for GET, one span of f.
func (q *request) send(f davfs.File, status int, sp Span) {
	q.w.Header().Set("Content-Length", strconv.FormatInt(sp.Len, 10))
	q.w.WriteHeader(status)
	if q.r.Method == http.MethodHead {
		return
	}
	var w io.Writer = q.w
	if status == http.StatusOK {
		// A whole file that is cut is no file; a part that is cut may be put
		// together with others.
		w = keepio.CanCut(w)
	}
	q.copySpan(w, f, sp)
}

func (q *request) sendParts(f davfs.File, spans []Span, ctype string, size int64) {
	m := newByteRanges(spans, ctype, size)
	hd := q.w.Header()
	hd.Set("Content-Type", m.contentType())
	hd.Set("Content-Length", strconv.FormatInt(m.length, 10))
	q.w.WriteHeader(http.StatusPartialContent)
	if q.r.Method == http.MethodHead {
		return
	}
	for i, sp := range spans {
		if _, err := q.w.Write([]byte(m.heads[i])); err != nil {
			q.cut(err)
		}
		q.copySpan(q.w, f, sp)
	}
	if _, err := q.w.Write([]byte(m.tail)); err != nil {
		q.cut(err)
	}
}

// smallBody goes into socket buffers at once, so it needs no deadline.
const smallBody = 64 << 10

// copySpan copies a span of f to w, which is the client's, who has to take some of it every
// so often. If it cannot be completed the connection is cut: the length is
// promised already, and a short answer must not look like a whole one.
func (q *request) copySpan(w io.Writer, f davfs.File, sp Span) {
	var rc *http.ResponseController
	if sp.Len > smallBody {
		rc = http.NewResponseController(q.w)
	}
	for sp.Len > 0 {
		if rc != nil {
			_ = rc.SetWriteDeadline(time.Now().Add(writeStalls * q.h.conf.Stall))
		}
		n, err := f.WriteRange(q.ctx, w, sp.Off, min(sp.Len, copyChunk))
		if err != nil {
			q.cut(err)
		}
		if n <= 0 {
			q.cut(collfs.ErrShortBody)
		}
		sp.Off, sp.Len = sp.Off+n, sp.Len-n
	}
	if rc != nil {
		_ = rc.SetWriteDeadline(time.Time{})
	}
}

// cut ends an answer that has begun and cannot be completed.
func (q *request) cut(err error) {
	status := statusClientGone
	if q.ctx.Err() == nil && collfs.KindOf(err) != collfs.Internal {
		status = Status(err)
	}
	q.failed(status, err)
	panic(http.ErrAbortHandler)
}

// getDir answers GET and HEAD of a collection.
func (q *request) getDir() error {
	info, err := q.fs.Stat(q.ctx, q.path.Name)
	if err != nil {
		return err
	}
	if err := q.prepareIf(q.path.Name); err != nil {
		return err
	}
	if EvalConditions(q.r.Header, q.r.Method, Current{Exists: true}) == PreconditionFailed || !q.ifHolds(q.path.Name, "") {
		return collfs.ErrCondition
	}
	hd := q.w.Header()
	hd.Set("Cache-Control", "private, no-cache")
	if !q.path.Slash {
		hd.Set("Content-Location", Href(q.h.conf.Prefix, q.path.Name, true))
	}
	// A query may ask the lister for something else than a page.
	if q.r.Method == http.MethodHead && (q.h.conf.Lister == nil || q.r.URL.RawQuery == "") {
		hd.Set("Content-Type", "text/html; charset=utf-8")
		if !info.ModTime.IsZero() {
			hd.Set("Last-Modified", info.ModTime.UTC().Format(http.TimeFormat))
		}
		q.w.WriteHeader(http.StatusOK)
		return nil
	}
	if q.h.conf.Lister != nil {
		q.h.conf.Lister.ServeHTTP(q.w, q.r)
		return nil
	}
	return q.list()
}

// list writes a collection as a plain page of links.
func (q *request) list() error {
	l, err := q.fs.List(q.ctx, q.path.Name)
	if err != nil {
		return err
	}
	defer l.Close()
	hd := q.w.Header()
	hd.Set("Content-Type", "text/html; charset=utf-8")
	hd.Set("Content-Security-Policy", "default-src 'none'")
	hd.Set("X-Content-Type-Options", "nosniff")
	b := append([]byte(nil), `<!DOCTYPE html><meta charset="utf-8"><title>`...)
	b = appendXMLText(b, q.path.Name)
	b = append(b, "</title><h1>"...)
	b = appendXMLText(b, q.path.Name)
	b = append(b, "</h1><ul>"...)
	base := Href(q.h.conf.Prefix, q.path.Name, true)
	if q.path.Name != "/" {
		b = append(append(append(b, `<li><a href="`...), Href(q.h.conf.Prefix, parentOf(q.path.Name), true)...), `">..</a>`...)
	}
	infos := make([]davfs.Info, 256)
	for first := true; ; first = false {
		n, err := l.Next(infos)
		if err != nil && !first {
			q.cut(err)
		}
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		for i := range infos[:n] {
			e := &infos[i]
			b = append(append(b, `<li><a href="`...), base...)
			b = appendEscaped(b, e.Name)
			if e.Dir {
				b = append(b, '/')
			}
			b = appendXMLText(append(b, `">`...), e.Name)
			if e.Dir {
				b = append(b, '/')
			}
			b = append(b, "</a>"...)
		}
		if _, err := q.w.Write(b); err != nil {
			q.cut(err)
		}
		b = b[:0]
	}
	if _, err := q.w.Write(append(b, "</ul>\n"...)); err != nil {
		q.cut(err)
	}
	return nil
}

// macName answers for the names that Finder asks for in every folder, without a
// look at the tree. done is false for all others.
func (q *request) macName() (done bool, err error) {
	if !q.quirks.Mac {
		return false, nil
	}
	switch name := baseOf(q.path.Name); {
	case macAbsent[name]:
		return true, fs.ErrNotExist
	case !macVirtual[name]:
		return false, nil
	}
	if q.r.Method == "PROPFIND" {
		return true, q.propfindVirtual()
	}
	hd := q.w.Header()
	hd.Set("Content-Type", davfs.ContentType(""))
	hd.Set("ETag", davfs.Info{}.ETag())
	hd.Set("Content-Length", "0")
	q.w.WriteHeader(http.StatusOK)
	return true, nil
}
