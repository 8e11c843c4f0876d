package arvados

import (
	"net/http"
	"strings"

	"keepdav/collfs"
	"keepdav/web/listen"
)

// systemUser is the owner of what belongs to nobody in particular.
func (a *API) systemUser() collfs.UUID { return a.uuid("tpzed", strings.Repeat("0", 15)) }

func (a *API) uuid(infix, rest string) collfs.UUID {
	return collfs.UUID(a.conf.Cluster + "-" + infix + "-" + rest)
}

// urlOf is the URL of this server, as the maker of a request has reached it,
// without a slash at its end. scheme is http or ws.
func urlOf(r *http.Request, scheme string) string {
	if listen.Secure(r) {
		scheme += "s"
	}
	return scheme + "://" + r.Host
}

// wholeToken says whether a request comes with a token that is good for
// everything: others must not make themselves better ones.
func (req *Request) wholeToken() bool {
	for _, s := range req.Scopes {
		if s == "all" {
			return true
		}
	}
	return false
}
