package web

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/web/auth"
	"keepdav/web/dav"
)

// A Door lets requests in: it finds out who makes them, and what they are about. All
// methods may be called concurrently.
type Door interface {
	// Enter returns what a request may see that has this Authorization header and comes
	// from addr. Its errors are those of auth.Authenticator.Check.
	Enter(ctx context.Context, header string, addr netip.Addr) (Visit, error)
}

// A Visit is what a request that was let in may see.
type Visit struct {
	User collfs.User
	FS   davfs.FileSystem

	// Anonymous: nobody said who makes the request. It may read what it names by its
	// UUID or its content, and is asked who it is for all else.
	Anonymous bool
	// Fresh makes sure that what is shown of a name of FS is what is there now, for
	// clients that ask for it. Nil: it always is.
	Fresh func(ctx context.Context, name string) error
	// Leave is called when the request is answered. It may be nil.
	Leave func()
}

// accountsDoor is the door of a server with accounts of its own.
type accountsDoor struct {
	auth *auth.Authenticator
	site func(collfs.User) davfs.FileSystem
}

func (d accountsDoor) Enter(ctx context.Context, header string, addr netip.Addr) (Visit, error) {
	user, err := d.auth.Check(ctx, header, addr)
	if err != nil {
		return Visit{}, err
	}
	return Visit{User: user, FS: d.site(user)}, nil
}

// leave ends a visit.
func (v Visit) leave() {
	if v.Leave != nil {
		v.Leave()
	}
}

// mayAnybody reports whether r only reads, and something that its site shows under its
// UUID or its content.
func mayAnybody(r *http.Request, fs davfs.FileSystem, name string) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, "PROPFIND":
	default:
		return false
	}
	if !strings.HasPrefix(name, "/by_id/") {
		return false
	}
	_, err := fs.Stat(r.Context(), name)
	return err == nil
}

// siteName is the name in the site that r is about, whose URL has that form; "" if it
// has none.
func siteName(r *http.Request, f form) string {
	p, err := dav.RequestPath(r, f.prefix)
	switch {
	case err != nil:
		return ""
	case f.id == "":
		return p.Name
	}
	return strings.TrimSuffix("/by_id/"+f.id+p.Name, "/")
}

// wantsFresh reports whether the client does not want what is remembered.
func wantsFresh(r *http.Request) bool {
	for _, line := range r.Header.Values("Cache-Control") {
		for word := range strings.SplitSeq(line, ",") {
			switch strings.ToLower(strings.TrimSpace(word)) {
			case "no-cache", "must-revalidate":
				return true
			}
		}
	}
	return false
}
