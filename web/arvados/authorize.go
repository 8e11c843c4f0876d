package arvados

import (
	"net/http"
	"strings"

	"keepdav/collfs"
)

// Authorize returns who makes a request that is not for the API, such as one for the
// event bus: by the token in its URL or its header, if that is good for the request. A cookie
// does not count, for a page of another origin can have it sent.
func (a *API) Authorize(r *http.Request) (collfs.User, error) {
	token := r.URL.Query().Get("api_token")
	if token == "" {
		scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "OAuth2") {
			token = strings.TrimSpace(rest)
		}
	}
	if token == "" {
		return collfs.User{}, notLoggedIn()
	}
	caller, err := a.conf.Auth.Authenticate(r.Context(), token)
	if err != nil {
		return collfs.User{}, err
	}
	req := &Request{HTTP: r, Method: r.Method}
	if !caller.User.Active || !req.inScope(caller.Scopes) {
		return collfs.User{}, forbidden()
	}
	return caller.User, nil
}
