package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

func TestTokensGoNowhereElse(t *testing.T) {
	var strayed atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		strayed.Add(1)
		_, _ = w.Write([]byte("{}")) // who asked may be gone
	}))
	defer elsewhere.Close()
	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/arvados/v1/away":
			http.Redirect(w, r, elsewhere.URL+"/arvados/v1/away", http.StatusTemporaryRedirect)
		case "/arvados/v1/near":
			http.Redirect(w, r, "/arvados/v1/there", http.StatusFound)
		case "/arvados/v1/there":
			if r.Header.Get("Authorization") != "Bearer secret" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = w.Write([]byte("{}")) // who asked may be gone
		default:
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}
	}))
	defer here.Close()
	host, err := NewHost(Config{Host: here.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	c := host.Client("secret")
	refused := func(what string, err error) {
		t.Helper()
		if e, ok := errors.AsType[*Error](err); !ok || e.Status/100 != 3 {
			t.Errorf("%s = %v; want what the server says", what, err)
		}
	}
	refused("Get of what is elsewhere", c.Get(t.Context(), "away", nil, nil))
	refused("Send to elsewhere", c.Send(t.Context(), "PATCH", "away", nil, nil))
	refused("Send to another path", c.Send(t.Context(), "POST", "near", nil, nil))
	refused("Get without an end", c.Get(t.Context(), "round", nil, nil))
	if err := c.Get(t.Context(), "near", nil, nil); err != nil {
		t.Errorf("Get of what is at another path = %v", err)
	}
	if n := strayed.Load(); n != 0 {
		t.Errorf("another server was asked %d times", n)
	}
}
