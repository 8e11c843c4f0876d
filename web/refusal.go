package web

import (
	"html/template"
	"net/http"
	"strings"
)

// A refusal is the response to a browser. WebDAV clients want no bodies in
// refusals, people in front of a browser want a word and a way on.
type refusal struct {
	*response
	id string // of the request
}

// refusalsFor is w for the handler of r.
func refusalsFor(w *response, r *http.Request) http.ResponseWriter {
	if r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return w
	}
	return refusal{w, w.Header().Get("X-Request-Id")}
}

// WriteHeader sends the page with a failure that has no body of its own.
func (f refusal) WriteHeader(status int) {
	h := f.Header()
	if status < 400 || h.Get("Content-Length") != "0" {
		f.response.WriteHeader(status)
		return
	}
	why := refusals[status]
	if why == "" && status >= 500 {
		why = "The server cannot answer this at the moment. Its log has more about it: " + f.id
	}
	h.Del("Content-Length")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	f.response.WriteHeader(status)
	refusalPage.Execute(f.response, map[string]string{"Title": http.StatusText(status), "Why": why}) // a failure means that nobody reads it
}

var refusals = map[int]string{
	http.StatusNotFound:  "There is nothing of this name here any more, or nothing that you may see.",
	http.StatusForbidden: "This is not allowed here.",
}

var refusalPage = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
<style>
body { margin: 15vh auto; max-width: 34rem; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif }
@media (prefers-color-scheme: dark) { body { color: #dfe5ee; background: #14181f } a { color: #7ab4ff } }
</style>
<h1>{{.Title}}</h1>
{{with .Why}}<p>{{.}}</p>{{end}}
<p><a href="/home/">Your files</a></p>
`))
