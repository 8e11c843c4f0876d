package arvados

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A cookie or a password of a browser comes along with whatever a page of another origin sends.
func TestPagesOfOtherOriginsUseNoTokenThatTheBrowserSends(t *testing.T) {
	a := echoAPI(t)
	given := map[string]func(r *http.Request){
		"Cookie": func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "arvados_api_token", Value: goodToken}) },
		"Basic":  func(r *http.Request) { r.SetBasicAuth("whoever", goodToken) },
		"Bearer": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+goodToken) },
		"Query":  func(r *http.Request) { r.URL.RawQuery = "api_token=" + goodToken },
	}
	from := map[string]func(r *http.Request){
		"SameOrigin": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") },
		"NoBrowser":  func(*http.Request) {},
		"SameSite":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"CrossSite":  func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"OldBrowser": func(r *http.Request) { r.Header.Set("Origin", "https://elsewhere.example") },
	}
	for how, give := range given {
		for where, come := range from {
			ambient := how == "Cookie" || how == "Basic"
			foreign := where != "SameOrigin" && where != "NoBrowser"
			for _, method := range []string{"POST", "PATCH", "DELETE", "GET"} {
				r := httptest.NewRequest(method, "/arvados/v1/things/abc", strings.NewReader(""))
				give(r)
				come(r)
				want := http.StatusOK
				if ambient && foreign && method != "GET" {
					want = http.StatusUnauthorized
				}
				if status, _, got := call(t, a, r); status != want {
					t.Errorf("%s by %s from %s = %d %v; want %d", method, how, where, status, got["errors"], want)
				}
			}
		}
	}
}
