package listen

import (
	"net/http"
	"strings"
)

// ForwardedTLS reports whether a proxy says that its client came over TLS. Of
// several values the last is that of the proxy which is connected to us.
func ForwardedTLS(h http.Header) bool {
	hops := strings.Split(strings.Join(h.Values("X-Forwarded-Proto"), ","), ",")
	return strings.EqualFold(strings.TrimSpace(hops[len(hops)-1]), "https")
}
