package web

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// A form is how a URL names a collection (or a project, or old content) other
// than by its place in the site:
//
//	ID.anything/PATH, ID--anything/PATH   a host of its own; also /t=TOKEN/PATH there
//	/c=ID/PATH, /c=ID/t=TOKEN/PATH
//	/collections/download/ID/TOKEN/PATH
//	/collections/ID/PATH                  what everybody may see
//
// ID is a UUID, or a portable data hash whose plus sign may be written as "-" or
// " ". A "_" before PATH is skipped, so that a directory that is itself called
// t=… can be reached.
type form struct {
	id     string // as by_id knows it
	prefix string // of the path, that does not belong to what is inside: "" or like "/c=ID"
	token  string // in the path, or ""
	vhost  bool   // the host is for this collection alone
	public bool   // whoever asks is nobody
}

// formOf takes a URL apart; ok is false for a plain path of the site.
func formOf(host, path string) (f form, ok bool) {
	if id := hostID(host); id != "" {
		f = form{id: id, vhost: true}
		f.prefix, f.token = tokenPrefix("", strings.TrimPrefix(path, "/"))
		return f, true
	}
	switch {
	case strings.HasPrefix(path, "/c="):
		f.prefix, f.token = shortForm(path)
		id, _, _ := strings.Cut(f.prefix[len("/c="):], "/")
		f.id = shortID(id)
		return f, true
	case strings.HasPrefix(path, "/collections/download/"):
		id, rest, _ := strings.Cut(path[len("/collections/download/"):], "/")
		f.id = shortID(id)
		f.token = pathToken(rest)
		f.prefix = "/collections/download/" + id + "/" + f.token
		if f.token == "" || !isID(f.id) {
			return form{}, false
		}
		return f, true
	case strings.HasPrefix(path, "/collections/"):
		id, _, _ := strings.Cut(path[len("/collections/"):], "/")
		if f.id = shortID(id); isID(f.id) {
			f.prefix, f.public = "/collections/"+id, true
			return f, true
		}
	}
	return form{}, false
}

// shortForm splits /c=ID/PATH and /c=ID/t=TOKEN/PATH. prefix is what does not
// belong to the path inside the collection; the token is "" when there is none.
func shortForm(path string) (prefix, token string) {
	first, rest, more := strings.Cut(path[1:], "/")
	if !more {
		return "/" + first, ""
	}
	return tokenPrefix("/"+first, rest)
}

// tokenPrefix adds to prefix what is at the beginning of rest of t=TOKEN and "_".
func tokenPrefix(prefix, rest string) (_, token string) {
	if t, ok := strings.CutPrefix(rest, "t="); ok {
		token = pathToken(t)
		prefix += "/t=" + token
		rest = strings.TrimPrefix(strings.TrimPrefix(t, token), "/")
	}
	if rest == "_" || strings.HasPrefix(rest, "_/") {
		prefix += "/_"
	}
	return prefix, token
}

// pathToken is the token that a path begins with. It has slashes of its own:
// v2/UUID/SECRET.
func pathToken(path string) string {
	parts := strings.SplitN(path, "/", 4)
	if len(parts) >= 3 && parts[0] == "v2" {
		return strings.Join(parts[:3], "/")
	}
	return parts[0]
}

// shortID is the id in a URL as by_id knows it: the plus sign of a portable data
// hash may be written as "-" or " ".
func shortID(id string) string {
	if len(id) > 33 && (id[32] == '-' || id[32] == ' ') && strings.Trim(id[:32], "0123456789abcdef") == "" {
		return id[:32] + "+" + id[33:]
	}
	return id
}

// isID reports whether s is the UUID of a collection or project, or a portable
// data hash.
func isID(s string) bool {
	if len(s) > 33 && s[32] == '+' {
		return strings.Trim(s[:32], "0123456789abcdef") == "" && strings.Trim(s[33:], "0123456789") == ""
	}
	if len(s) != 27 || s[5:13] != "-4zz18-"+s[12:13] && s[5:13] != "-j7d0g-"+s[12:13] {
		return false
	}
	return strings.Trim(s[:5]+s[12:], "0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// hostID is the ID that a host begins with, before a dot or two hyphens, or "".
func hostID(host string) string {
	if len(host) < 29 || strings.IndexByte(host, '-') < 0 {
		return ""
	}
	host = strings.ToLower(host)
	label, _, dot := strings.Cut(host, ".")
	if id, _, ok := strings.Cut(label, "--"); ok {
		label, dot = id, true
	}
	if id := shortID(label); dot && isID(id) {
		return id
	}
	return ""
}

// sameHost compares hosts as they stand in URLs; the ports of http and https are
// the same as none.
func sameHost(a, b string) bool {
	trim := func(s string) string {
		host, port, err := net.SplitHostPort(s)
		if err != nil || port != "80" && port != "443" {
			return s
		}
		if strings.Contains(host, ":") {
			return "[" + host + "]"
		}
		return host
	}
	return a != "" && strings.EqualFold(trim(a), trim(b))
}

// unescapedToken is r with the slashes of a token in its path written as such:
// some clients escape them, which no name in a collection can have.
func unescapedToken(r *http.Request) *http.Request {
	raw := r.URL.EscapedPath()
	if !strings.Contains(strings.ToLower(raw), "v2%2f") {
		return r
	}
	f, ok := formOf(r.Host, r.URL.Path)
	if !ok || f.token == "" || !strings.HasPrefix(r.URL.Path, f.prefix) {
		return r
	}
	u := *r.URL
	u.RawPath = (&url.URL{Path: f.prefix}).EscapedPath() + escapedAfter(raw, f.prefix) // what follows keeps its own escapes
	own := *r
	own.URL = &u
	return &own
}

// escapedAfter is what raw has after what stands for prefix when it is unescaped.
func escapedAfter(raw, prefix string) string {
	n := 0
	for range len(prefix) {
		if n < len(raw) && raw[n] == '%' {
			n += 2
		}
		n++
	}
	return raw[min(n, len(raw)):]
}
