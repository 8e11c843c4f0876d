package listen

import (
	"context"
	"net/http"
	"strings"
)

// ForwardedTLS reports whether a proxy says that its client came over TLS. Of
// several values the last is that of the proxy which is connected to us.
func ForwardedTLS(h http.Header) bool {
	hops := strings.Split(strings.Join(h.Values("X-Forwarded-Proto"), ","), ",")
	return strings.EqualFold(strings.TrimSpace(hops[len(hops)-1]), "https")
}

type secureKey struct{}

// WithSecure notes in a request's context whether nobody between the client and us
// could read it, as the proxies that we believe say.
func WithSecure(r *http.Request, secure bool) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), secureKey{}, secure))
}

// Secure reports what WithSecure noted, else whether r came over TLS.
func Secure(r *http.Request) bool {
	if secure, ok := r.Context().Value(secureKey{}).(bool); ok {
		return secure
	}
	return r.TLS != nil
}
