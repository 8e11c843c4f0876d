package web

import "strings"

// shortForm splits the URL forms of keep-web, /c=ID/PATH and
// /c=ID/t=TOKEN/PATH. A "_" after these is skipped, so that a directory that is
// itself called t=… can be reached. prefix is what does not belong to the path
// inside the collection; the token is "" when there is none.
func shortForm(path string) (prefix, token string) {
	first, rest, more := strings.Cut(path[1:], "/")
	prefix = "/" + first
	if !more {
		return prefix, ""
	}
	if t, ok := strings.CutPrefix(rest, "t="); ok {
		// The token has slashes of its own: v2/UUID/SECRET.
		parts := strings.SplitN(t, "/", 4)
		if len(parts) >= 3 && parts[0] == "v2" {
			token = strings.Join(parts[:3], "/")
		} else {
			token = parts[0]
		}
		prefix += "/t=" + token
		rest = strings.TrimPrefix(strings.TrimPrefix(t, token), "/")
	}
	if rest == "_" || strings.HasPrefix(rest, "_/") {
		prefix += "/_"
	}
	return prefix, token
}

// shortID is the id in /c=ID as by_id knows it: the plus sign of a portable data
// hash may be written as "-" or " ".
func shortID(id string) string {
	if len(id) > 33 && (id[32] == '-' || id[32] == ' ') && strings.Trim(id[:32], "0123456789abcdef") == "" {
		return id[:32] + "+" + id[33:]
	}
	return id
}
