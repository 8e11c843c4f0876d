package connect

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"os"
	"strings"

	"keepdav/web/listen"
)

//go:embed page.html
var files embed.FS

var page = template.Must(template.ParseFS(files, "page.html"))

// Page is the page with the recipes, for the address under which it is looked
// at. ca is the file of the authority behind the certificate, "" when there is none
// of our own; plain says that http is accepted from everywhere.
func Page(ca string, plain bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
			return
		}
		host := cleanHost(r.Host)
		t := Target{HTTPS: "https://" + host + "/"}
		secure := r.TLS != nil || listen.ForwardedTLS(r.Header)
		if plain && !secure {
			t.HTTP = "http://" + host + "/"
		}
		if ca != "" {
			t.CA = "keepdav-ca.pem"
		}
		var b bytes.Buffer
		err := page.Execute(&b, map[string]any{"Host": host, "Recipes": Recipes(t), "CA": ca != "", "Base": t.Best()})
		if err != nil {
			http.Error(w, "the page cannot be made", http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		w.Write(b.Bytes())
	})
}

// Authority gives out the certificate in the file ca.
func Authority(ca string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(ca)
		if err != nil {
			http.Error(w, "the certificate cannot be read", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/x-pem-file")
		w.Header().Set("Content-Disposition", `attachment; filename="keepdav-ca.pem"`)
		w.Write(text)
	})
}

// cleanHost is the host that the request names, unless it has characters that a
// shell would take for something else when a command is pasted.
func cleanHost(host string) string {
	for _, c := range host {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.ContainsRune(".-:[]_", c):
		default:
			return "localhost"
		}
	}
	if host == "" {
		return "localhost"
	}
	return host
}
