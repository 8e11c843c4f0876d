package dav

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// A Path is a request path or destination after cleaning: rooted, without
// ".", "..", empty segments or a trailing slash (except for the root itself).
// It is decoded: what the file system calls a name appears as it is.
type Path struct {
	Name  string // "/" or "/a/b"
	Slash bool   // the client wrote it with a trailing slash
}

// errBadPath says that a path cannot name any resource: malformed escapes, a
// NUL byte, or an escaped slash inside a segment.
var errBadPath = errors.New("the path is malformed")

// errOutside says that a path is well formed but outside the served prefix.
var errOutside = errors.New("the path is outside the served tree")

// maxPathBytes bounds the decoded path; deeper trees than this cannot be
// addressed over HTTP.
const maxPathBytes = 32 << 10

// cleanEscaped decodes and cleans an escaped absolute path. It is the only
// place where escapes are decoded, so "%2e%2e" and ".." cannot be told apart by
// anything that comes later, and neither escapes the root.
func cleanEscaped(escaped string) (Path, error) {
	if escaped == "" || escaped[0] != '/' {
		return Path{}, errBadPath
	}
	if len(escaped) > 3*maxPathBytes {
		return Path{}, errBadPath
	}
	if plainPath(escaped) {
		if n := len(escaped); n > 1 && escaped[n-1] == '/' {
			return Path{Name: escaped[:n-1], Slash: true}, nil
		}
		return Path{Name: escaped, Slash: escaped == "/"}, nil
	}
	var segs []string
	slash := false
	rest := escaped[1:]
	for more := true; more; {
		var seg string
		seg, rest, more = strings.Cut(rest, "/")
		name, err := url.PathUnescape(seg)
		if err != nil || strings.ContainsAny(name, "/\x00") {
			return Path{}, errBadPath
		}
		slash = false
		switch name {
		case "", ".":
			slash = true
		case "..":
			slash = true
			if len(segs) > 0 {
				segs = segs[:len(segs)-1]
			}
		default:
			segs = append(segs, name)
		}
	}
	p := "/" + strings.Join(segs, "/")
	if len(p) > maxPathBytes {
		return Path{}, errBadPath
	}
	return Path{Name: p, Slash: slash || len(segs) == 0}, nil
}

// plainPath reports whether p needs no decoding and no cleaning; that is the
// common case, and it is answered without allocating.
func plainPath(p string) bool {
	if len(p) > maxPathBytes {
		return false
	}
	start := true // at the start of a segment
	for i := range len(p) {
		switch c := p[i]; {
		case c == '/':
			if start && i > 0 {
				return false // empty segment
			}
			start = true
			continue
		case c == '%' || c == 0:
			return false
		case c == '.' && start:
			return false // perhaps "." or ".."; the slow path decides
		}
		start = false
	}
	return true
}

// stripPrefix removes the served prefix ("" or "/dav") from a cleaned path.
func stripPrefix(p Path, prefix string) (Path, error) {
	if prefix == "" {
		return p, nil
	}
	rest, ok := strings.CutPrefix(p.Name, prefix)
	switch {
	case !ok:
		return Path{}, errOutside
	case rest == "":
		return Path{Name: "/", Slash: p.Slash}, nil
	case rest[0] != '/':
		return Path{}, errOutside
	}
	return Path{Name: rest, Slash: p.Slash}, nil
}

// RequestPath is the cleaned path of r below prefix.
func RequestPath(r *http.Request, prefix string) (Path, error) {
	esc := r.URL.EscapedPath()
	if esc == "" || esc == "*" {
		esc = "/"
	}
	p, err := cleanEscaped(esc)
	if err != nil {
		return Path{}, err
	}
	return stripPrefix(p, prefix)
}

// ParseDestination reads a Destination header, or a resource tag of an If
// header: an absolute URI or an absolute path. The host says nothing, because
// this server never copies to another one, and behind a proxy the host that the
// client sees is not the one that arrives here.
func ParseDestination(s, prefix string) (Path, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return Path{}, errBadPath
	}
	if s[0] != '/' {
		scheme, rest, ok := strings.Cut(s, "://")
		if !ok || !isScheme(scheme) {
			return Path{}, errBadPath
		}
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			i, rest = 0, "/"
		}
		s = rest[i:]
	}
	// A name with '?' or '#' has to be escaped. Cutting the path there would
	// write to a name that the client did not mean.
	if strings.ContainsAny(s, "?#") {
		return Path{}, errBadPath
	}
	p, err := cleanEscaped(s)
	if err != nil {
		return Path{}, err
	}
	return stripPrefix(p, prefix)
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(s[i]))) {
			return false
		}
	}
	return s != ""
}

// parentOf is the parent of a cleaned path; the root is its own parent.
func parentOf(p string) string {
	i := strings.LastIndexByte(p, '/')
	if i <= 0 {
		return "/"
	}
	return p[:i]
}

// baseOf is the last segment of a cleaned path, "" for the root.
func baseOf(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// joinPath adds a name to a cleaned path.
func joinPath(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

// within reports whether p is dir or lies below it.
func within(p, dir string) bool {
	if dir == "/" {
		return true
	}
	return strings.HasPrefix(p, dir) && (len(p) == len(dir) || p[len(dir)] == '/')
}

// hrefSafe holds the bytes that stand for themselves in an href: RFC 3986's
// pchar and '/', without '&', the quote and ';', so that an href never needs
// escaping a second time in XML or HTML.
var hrefSafe = func() (t [256]bool) {
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-32] = true, true
	}
	for _, c := range "0123456789-._~/!$()*+,:=@" {
		t[c] = true
	}
	return t
}()

// appendEscaped appends s with every byte that is not safe in an href escaped,
// exactly once.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	start := 0
	for i := range len(s) {
		if c := s[i]; !hrefSafe[c] {
			b = append(b, s[start:i]...)
			b = append(b, '%', hex[c>>4], hex[c&15])
			start = i + 1
		}
	}
	return append(b, s[start:]...)
}

// Href is the path-absolute reference of the resource at the cleaned path p
// below prefix. A collection's ends in a slash.
func Href(prefix, p string, collection bool) string {
	b := appendEscaped(make([]byte, 0, len(prefix)+len(p)+16), prefix)
	b = appendEscaped(b, p)
	if collection && b[len(b)-1] != '/' {
		b = append(b, '/')
	}
	return string(b)
}
