// Package web is the HTTP side of a server: it finds out who asks, hands the
// request to the WebDAV handler or to the pages for browsers, and writes the
// request log and the metrics.
//
// Every request passes Handler.ServeHTTP, which gives it an id, recovers
// panics, moves the deadlines of its connection along while bytes flow, and
// counts. Names under / that are not of the site (healthz, readyz, connect,
// metrics, c=ID, blocks) are answered before the site is asked; the site has none but
// home, by_id, shared and users there.
//
// At the site's own URLs only the Authorization header says who somebody is: there
// are no cookies, so a page of another origin can do nothing in a user's name.
// Browsers send Basic credentials along with requests of other pages too, so
// requests that change something and say that they come from another origin are
// refused, unless they have a token that their page must know.
//
// The URLs of a keep-web work too (form.go): collections have hosts, short paths and
// links with tokens. Cookies, and tokens in queries and forms, count only on hosts
// that are for one collection or for downloads (enter.go): a page that somebody has
// stored finds nothing there but itself. The administrator may trust all content.
//
// Packages below: listen (http and https on one port, certificates), auth (who
// is it), dav (the protocol), browse (the pages).
//
// Start reading at handler.go, then enter.go and server.go.
package web
