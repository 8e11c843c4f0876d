package api

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// A recorded request to a real server, and its answer.
type recorded struct {
	Note    string `json:"note"`
	Request struct {
		Method string `json:"method"`
		Path   string `json:"path"`
	} `json:"request"`
	Response struct {
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
	} `json:"response"`
}

func fixtures(t testing.TB, name string) (all []recorded) {
	t.Helper()
	text, err := os.ReadFile("../testdata/" + name)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Every answer of a real server is understood: records, lists, and errors by their
// status.
func TestRecordedAnswersAreUnderstood(t *testing.T) {
	for _, r := range append(fixtures(t, "api-collections.json"), fixtures(t, "api-session.json")...) {
		t.Run(r.Note, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(r.Response.Status)
				_, _ = w.Write(r.Response.Body)
			}))
			defer srv.Close()
			host, err := NewHost(Config{Host: srv.URL, Patience: time.Nanosecond})
			if err != nil {
				t.Fatal(err)
			}
			c := host.Client("v2/zzzzz-gj3su-gqz5vxvrv4htmuh/secret")
			path, _, _ := strings.Cut(r.Request.Path, "?")
			out, check := wanted(path)
			err = c.Get(t.Context(), path, nil, out)
			if r.Response.Status == http.StatusOK {
				if err != nil {
					t.Fatal(err)
				}
				if err := check(); err != nil {
					t.Error(err)
				}
				return
			}
			want := map[int]error{400: ErrInvalid, 401: ErrToken, 403: fs.ErrPermission, 404: fs.ErrNotExist, 422: ErrInvalid}[r.Response.Status]
			if want == nil || !errors.Is(err, want) {
				t.Errorf("status %d is %v; want %v", r.Response.Status, err, want)
			}
			if strings.Contains(err.Error(), "+A") && !strings.Contains(err.Error(), "+A…") {
				t.Errorf("error with a signature: %v", err)
			}
		})
	}
}

// wanted returns what the answer to a request is decoded into, and what checks it.
func wanted(path string) (out any, check func() error) {
	parts := strings.Split(strings.TrimPrefix(path, "/arvados/v1/"), "/")
	list := len(parts) == 1 || parts[len(parts)-1] == "contents" || parts[len(parts)-1] == "shared"
	fine := func() error { return nil }
	switch {
	case strings.HasPrefix(path, "/discovery/"):
		d := new(Discovery)
		return d, func() error {
			if d.UUIDPrefix != "zzzzz" || d.MaxRequestSize != 134217728 || d.WebsocketURL == "" || !d.HasMethod("groups", "shared") {
				return errors.New("discovery document is not understood")
			}
			return nil
		}
	case parts[0] == "config":
		p := new(PublicConfig)
		return p, func() error {
			if p.ClusterID != "zzzzz" || !p.Collections.BlobSigning || !p.Collections.CollectionVersioning || p.Users.AnonymousUserToken == "" {
				return errors.New("configuration is not understood")
			}
			return nil
		}
	case parts[0] == "collections" && !list:
		k := new(Collection)
		return k, func() error {
			if k.ManifestText != "" && k.PDH != "" && manifest.PDH(k.ManifestText) != k.PDH {
				return errors.New("the manifest has another hash")
			}
			if k.ModifiedAt.IsZero() && k.UUID == "" && k.PDH == "" && k.ManifestText == "" && k.Name == "" {
				return errors.New("an empty record")
			}
			return nil
		}
	case parts[0] == "groups" && !list:
		g := new(Group)
		return g, func() error {
			if g.UUID == "" || g.Class == "" || g.CreatedAt.IsZero() {
				return errors.New("an empty record")
			}
			return nil
		}
	case parts[0] == "users":
		u := new(User)
		return u, func() error {
			if u.Username != "alice" || !u.IsActive || u.IsAdmin {
				return errors.New("user is not understood")
			}
			return nil
		}
	case list && (parts[0] == "collections" || parts[0] == "groups"):
		l := new(struct{ Items []Item })
		return l, func() error {
			for _, i := range l.Items {
				if i.Collection == nil && i.Group == nil {
					return errors.New("an item that is not understood")
				}
			}
			return nil
		}
	}
	return new(json.RawMessage), fine
}

func FuzzItem(f *testing.F) {
	for _, r := range fixtures(f, "api-collections.json") {
		f.Add([]byte(r.Response.Body))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var i Item
		var d Discovery
		var l Log
		for _, out := range []any{&i, &d, &l} {
			_ = json.Unmarshal(data, out) // only must not panic
		}
		_ = d.HasMethod("groups", "shared")
		_ = i.UUID()
	})
}

func TestRequestsAreTriedAgainAsTheServerAsks(t *testing.T) {
	var methods []string
	var ids []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		methods = append(methods, r.Method)
		ids = append(ids, r.Header.Get("X-Request-Id"))
		if len(methods) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"uuid":"x"}`)
	}))
	defer srv.Close()
	host, _ := NewHost(Config{Host: srv.URL})
	c := host.Client("t")
	if err := c.Send(t.Context(), http.MethodPatch, "collections/x", Params{}, nil); err != nil || len(methods) != 2 {
		t.Errorf("PATCH after a 503 = %v, %d attempts", err, len(methods))
	}
	if ids[0] != ids[1] || !strings.HasPrefix(ids[0], "req-") {
		t.Errorf("request ids are %q", ids)
	}
}

func TestAnUpdateWithAnUnclearOutcomeIsNotTriedAgain(t *testing.T) {
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n++
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer srv.Close()
	host, _ := NewHost(Config{Host: srv.URL})
	err := host.Client("t").Send(t.Context(), http.MethodPatch, "collections/x", Params{}, nil)
	if !errors.Is(err, ErrUnclear) || !errors.Is(err, keepio.ErrUnavailable) || n != 1 {
		t.Errorf("PATCH = %v after %d attempts", err, n)
	}
}

func TestLongQueriesGoInTheBody(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.FormValue("_method") != "GET" || len(r.FormValue("filters")) < 2000 || r.URL.RawQuery != "" {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = io.WriteString(w, `{}`)
	}))
	defer srv.Close()
	host, _ := NewHost(Config{Host: srv.URL})
	var out struct{}
	if err := host.Client("t").Get(t.Context(), "collections", Params{"filters": []Filter{{"uuid", "=", strings.Repeat("x", 2000)}}}, &out); err != nil {
		t.Error(err)
	}
}

func TestHostsAreNamesOrURLs(t *testing.T) {
	for text, want := range map[string]string{
		"cluster.example": "https://cluster.example", "h:8000": "https://h:8000", "http://127.0.0.1:8080": "http://127.0.0.1:8080", "https://h/": "https://h", "[::1]:80": "https://[::1]:80",
	} {
		h, err := NewHost(Config{Host: text})
		if err != nil || h.URL() != want {
			t.Errorf("NewHost(%q) = %v, %v; want %s", text, h, err, want)
		}
	}
	for _, text := range []string{"", "ftp://h", "http://", "http://u:p@h", "http://h/path", "h?x", "http://h/#f"} {
		if _, err := NewHost(Config{Host: text}); err == nil || strings.Contains(err.Error(), ":p@") {
			t.Errorf("NewHost(%q) = %v; want an error without a password", text, err)
		}
	}
}

func TestTheLimitIsHalvedByOverloadAndGrows(t *testing.T) {
	l := newLimiter()
	for range startLimit {
		if err := l.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan error)
	go func() { got <- l.acquire(t.Context()) }()
	l.release(true, false)
	select {
	case err := <-got:
		t.Fatalf("a request beyond the halved limit may go on: %v", err)
	default:
	}
	for range startLimit / 2 {
		l.release(false, true)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}
