package web

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"strings"

	"keepdav/web/browse"
	"keepdav/web/dav"
	"keepdav/web/listen"
)

// serve answers a request of somebody who is known.
func (h *Handler) serve(w *response, r *http.Request, f form, v Visit) {
	req := &session{w: w, user: v.User, prefix: f.prefix, fs: v.FS}
	dir := ""
	if f.id != "" {
		dir = "/by_id/" + f.id
	}
	// Nobody's name was looked at as it stands, so it stays.
	if prefix, source, ok := remapped(r.Header); ok && (f.id != "" || !v.Anonymous) {
		req.prefix, dir = prefix, dir+source
	}
	if p, err := dav.RequestPath(r, req.prefix); err == nil && v.Fresh != nil && wantsFresh(r) {
		if err := v.Fresh(r.Context(), path.Join("/", dir, p.Name)); err != nil {
			w.err = err
			w.fail(dav.Status(err), "", "what is there now cannot be found out at the moment")
			return
		}
	}
	if dir != "" {
		req.fs = below(req.fs, dir)
	}
	if h.attaches(r) {
		w.attach(r)
	}
	r = r.WithContext(context.WithValue(r.Context(), sessionKey{}, req))
	handler := h.dav
	if req.prefix != "" || f.vhost {
		conf := h.conf.DAV
		conf.RunsScripts = conf.RunsScripts || f.vhost
		handler = davHandler(conf, req.prefix)
	}
	if f.id != "" && zipMethods[r.Method] && browse.WantsZip(r, h.attaches(r)) {
		err := h.zip(w, r, req, f)
		req.answer(w, err)
		return
	}
	if r.Method == http.MethodPost {
		w.err = req.act(w, r, handler)
		return
	}
	if f.vhost { // its way on is not ours to say
		handler.ServeHTTP(w, r)
		return
	}
	handler.ServeHTTP(refusalsFor(w, r), r)
}

var zipMethods = map[string]bool{"GET": true, "HEAD": true, "POST": true}

// zip answers with a zip file of a collection.
func (h *Handler) zip(w *response, r *http.Request, req *session, f form) error {
	v, err := req.view(r)
	if err != nil {
		return err
	}
	if v.Name != "/" || strings.Contains(f.id, "-j7d0g-") {
		w.fail(http.StatusBadRequest, "zip", "zip files are made of collections only, not of what is in them: say files=NAME")
		return nil
	}
	selection, err := browse.ParseSelection(r)
	if err != nil {
		w.err = err
		w.fail(http.StatusBadRequest, "zip", err.Error())
		return nil
	}
	if _, err := v.FS.Stat(r.Context(), "/"); err != nil { // before anything is said about it
		return err
	}
	of := browse.Collection{Name: f.id, Record: map[string]string{"uuid": f.id}, Source: sourceURL(r, f)}
	if h.conf.KeepWeb.Describe != nil {
		if of.Name, of.Record, err = h.conf.KeepWeb.Describe(r.Context(), f.id); err != nil {
			return err
		}
	}
	return browse.Zip(w, r, v, selection, of)
}

// sourceURL is the URL of what f names, without a token.
func sourceURL(r *http.Request, f form) string {
	u := url.URL{Scheme: "https", Host: r.Host, Path: "/c=" + f.id + "/"}
	if r.TLS == nil && !listen.ForwardedTLS(r.Header) {
		u.Scheme = "http"
	}
	if f.vhost {
		u.Path = "/"
	}
	return u.String()
}

// remapped is what a proxy in front says about paths: that the one it was asked
// for begins with prefix, which stands for the directory source of what is served.
func remapped(head http.Header) (prefix, source string, ok bool) {
	prefix, source = head.Get("X-Webdav-Prefix"), head.Get("X-Webdav-Source")
	if prefix == "" && source == "" {
		return "", "", false
	}
	clean := func(s string) string { return strings.TrimSuffix(path.Clean("/"+s), "/") }
	return clean(prefix), clean(source), true
}

// crossOrigin refuses what a page of another origin wants.
func (w *response) crossOrigin() {
	w.fail(http.StatusForbidden, "cross-origin", "the request comes from a page of another origin")
}
