package web

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/web/auth"
	"keepdav/web/dav"
	"keepdav/web/listen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a server for a test, with what it logs.
type site struct {
	*httptest.Server
	h    *Handler
	tree *tree
	mu   sync.Mutex // guards log
	log  bytes.Buffer
}

func (s *site) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *site) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// annsHash is computed once: it is slow on purpose.
var annsHash = sync.OnceValues(func() (string, error) { return auth.HashPassword(context.Background(), annsPassword) })

func newSite(t *testing.T, change func(*Config)) *site {
	t.Helper()
	hash, err := annsHash()
	if err != nil {
		t.Fatal(err)
	}
	locks, err := dav.NewLocks(t.Context(), dav.LockConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{tree: newTree()}
	conf := Config{
		Auth: auth.New(people{hash}, 0),
		Site: func(collfs.User) davfs.FileSystem { return s.tree },
		DAV:  dav.Config{Locks: locks},
		Log:  zerolog.New(s),
	}
	if change != nil {
		change(&conf)
	}
	s.h = NewHandler(conf)
	s.h.refusal = 100 * time.Millisecond
	s.Server = httptest.NewServer(s.h)
	t.Cleanup(s.Server.Close)
	return s
}

type reply struct {
	*http.Response
	body string
}

func (s *site) do(t *testing.T, method, path, body string, header ...string) reply {
	t.Helper()
	r, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("ann", annsPassword)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	c := http.Client{Transport: http.DefaultTransport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer c.CloseIdleConnections()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp, string(b)}
}

func TestRefusalTellsClientsWhatTheyLookFor(t *testing.T) {
	s := newSite(t, nil)
	for _, method := range []string{"OPTIONS", "GET", "PROPFIND", "PUT"} {
		r := s.do(t, method, "/home/x", "data", "Authorization", "")
		if r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without credentials = %d; want 401", method, r.StatusCode)
		}
		for name, want := range map[string]string{"DAV": "1, 2", "MS-Author-Via": "DAV", "WWW-Authenticate": `Basic realm="keepdav"`} {
			if got := r.Header.Get(name); !strings.HasPrefix(got, want) {
				t.Errorf("%s without credentials: %s is %q; want %q…", method, name, got, want)
			}
		}
		if page := method == "GET"; page != (r.body != "") {
			t.Errorf("%s without credentials: body %q; only pages have one", method, r.body)
		}
	}
}

func TestPutAndGetThroughEverything(t *testing.T) {
	s := newSite(t, nil)
	if r := s.do(t, "PUT", "/home/f", "content"); r.StatusCode != http.StatusCreated {
		t.Fatalf("PUT = %d; want 201", r.StatusCode)
	}
	r := s.do(t, "GET", "/home/f", "")
	if r.StatusCode != http.StatusOK || r.body != "content" {
		t.Errorf("GET = %d %q", r.StatusCode, r.body)
	}
	if r.Header.Get("X-Request-Id") == "" {
		t.Error("an answer has no request id")
	}
}

func TestEachRequestHasOneLineInTheLog(t *testing.T) {
	s := newSite(t, nil)
	s.do(t, "PUT", "/home/f", "content")
	r := s.do(t, "GET", "/home/f", "")
	lines := strings.Split(strings.TrimSpace(s.logged()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines for 2 requests:\n%s", len(lines), s.logged())
	}
	var line struct {
		ID, User, Client, Method, Path, Level string
		Status, In, Out                       int
		MS                                    float64
	}
	if err := json.Unmarshal([]byte(lines[1]), &line); err != nil {
		t.Fatal(err)
	}
	if line.ID != r.Header.Get("X-Request-Id") || line.User != "ann" || line.Client != "127.0.0.1" || line.Method != "GET" ||
		line.Path != "/home/f" || line.Status != 200 || line.Out != 7 || line.MS <= 0 {
		t.Errorf("the line is %s", lines[1])
	}
	if err := json.Unmarshal([]byte(lines[0]), &line); err != nil || line.In != 7 {
		t.Errorf("the line of the PUT is %s", lines[0])
	}
}

func TestSecretsAreNotLogged(t *testing.T) {
	s := newSite(t, nil)
	s.tree.dirs["/by_id/kdav0-4zz18-000000000000000"] = true
	s.do(t, "GET", "/home/f?api_token=secret", "", "Authorization", "Bearer v2/x/secret")
	s.do(t, "GET", "/home/f", "", "Authorization", "Bearer "+rootToken)
	s.do(t, "GET", "/home/f", "") // with the password
	if r := s.do(t, "GET", "/c=kdav0-4zz18-000000000000000/t="+rootToken+"/", "", "Authorization", ""); r.StatusCode != http.StatusOK {
		t.Errorf("GET with the token in the path = %d; want 200", r.StatusCode)
	}
	if log := s.logged(); strings.Contains(log, "secret") || strings.Contains(log, annsPassword) {
		t.Errorf("the log has a secret:\n%s", log)
	}
}

func TestAccessLogErrorsIsQuietAboutWhatIsNormal(t *testing.T) {
	s := newSite(t, func(c *Config) { c.AccessLog = LogErrors })
	s.do(t, "PUT", "/home/f", "content")
	s.do(t, "GET", "/home/absent", "")
	s.do(t, "GET", "/home/f", "", "Authorization", "")
	if log := s.logged(); log != "" {
		t.Errorf("logged:\n%s", log)
	}
	s.do(t, "GET", "/home/f", "", "Authorization", "Bearer v2/x/y")
	if log := s.logged(); !strings.Contains(log, `"kind":"denied"`) {
		t.Errorf("wrong credentials are not in the log: %q", log)
	}
}

func TestPanicIsAnsweredAndTheServerLives(t *testing.T) {
	s := newSite(t, nil)
	r := s.do(t, "GET", "/home/panic", "")
	if r.StatusCode != http.StatusInternalServerError || strings.Contains(r.body, "goroutine") || !strings.Contains(r.body, r.Header.Get("X-Request-Id")) {
		t.Errorf("GET of what panics = %d %q; want 500 with the id and nothing else", r.StatusCode, r.body)
	}
	if !strings.Contains(s.logged(), "as the test wants it") {
		t.Error("the panic is not in the log")
	}
	if r := s.do(t, "GET", "/home/", ""); r.StatusCode != http.StatusOK {
		t.Errorf("the next request = %d", r.StatusCode)
	}
}

func TestHealthNeedsNoCredentialsAndReadinessFollows(t *testing.T) {
	s := newSite(t, nil)
	get := func(path string) int { return s.do(t, "GET", path, "", "Authorization", "").StatusCode }
	if got := get("/healthz"); got != 200 {
		t.Errorf("/healthz = %d; want 200", got)
	}
	if got := get("/readyz"); got != 503 {
		t.Errorf("/readyz before SetReady = %d; want 503", got)
	}
	s.h.SetReady(true)
	if got := get("/readyz"); got != 200 {
		t.Errorf("/readyz = %d; want 200", got)
	}
}

func TestMetricsAreForAdministrators(t *testing.T) {
	s := newSite(t, func(c *Config) { c.AdminMetrics = true })
	if got := s.do(t, "GET", "/metrics", "", "Authorization", "").StatusCode; got != 401 {
		t.Errorf("without credentials = %d; want 401", got)
	}
	if got := s.do(t, "GET", "/metrics", "").StatusCode; got != 403 {
		t.Errorf("as a user = %d; want 403", got)
	}
	r := s.do(t, "GET", "/metrics", "", "Authorization", "Bearer "+rootToken)
	if r.StatusCode != 200 || !strings.Contains(r.body, `keepdav_http_requests_total{method="GET",status="403"} 1`) {
		t.Errorf("as administrator = %d\n%s", r.StatusCode, r.body)
	}
}

func TestPlainHTTPFromOutsideIsRefusedOrSentToHTTPS(t *testing.T) {
	s := newSite(t, func(c *Config) { c.RequireTLS, c.Proxies = true, everyProxy })
	far := []string{"X-Forwarded-For", "203.0.113.9"}
	if got := s.do(t, "PROPFIND", "/home/", "", far...).StatusCode; got != 403 {
		t.Errorf("PROPFIND from outside = %d; want 403", got)
	}
	r := s.do(t, "GET", "/home/", "", append(far, "Accept", "text/html", "Authorization", "")...)
	if r.StatusCode != http.StatusTemporaryRedirect || !strings.HasPrefix(r.Header.Get("Location"), "https://") {
		t.Errorf("a browser from outside = %d to %q; want to be sent to https", r.StatusCode, r.Header.Get("Location"))
	}
	if got := s.do(t, "PROPFIND", "/home/", "", append(far, "X-Forwarded-Proto", "https", "Depth", "0")...).StatusCode; got != 207 {
		t.Errorf("through a proxy that does the TLS = %d; want 207", got)
	}
	if got := s.do(t, "PROPFIND", "/home/", "", "X-Forwarded-For", "127.0.0.1", "Depth", "0").StatusCode; got != 207 {
		t.Errorf("from this machine = %d; want 207", got)
	}
}

func TestAddressesThatProxiesGive(t *testing.T) {
	h := NewHandler(Config{Proxies: everyProxy})
	for forwarded, want := range map[string]string{
		"":                                  "127.0.0.1",
		"203.0.113.9":                       "203.0.113.9",
		"203.0.113.9:4711":                  "203.0.113.9",
		"[2001:db8::1]:4711":                "2001:db8::1",
		"127.0.0.9, 203.0.113.9, 127.0.0.2": "203.0.113.9",
		"unknown":                           "0.0.0.0", // not the proxy itself, which may use http
		"203.0.113.9, _hidden":              "0.0.0.0",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "127.0.0.1:1234"
		r.Header.Set("X-Forwarded-For", forwarded)
		if a, _ := h.client(r); a.String() != want {
			t.Errorf("X-Forwarded-For %q: client %v; want %s", forwarded, a, want)
		}
	}
}

func TestSchemesThatProxiesGive(t *testing.T) {
	h := NewHandler(Config{Proxies: everyProxy})
	for _, c := range []struct {
		values []string
		secure bool
	}{
		{nil, false},
		{[]string{"https"}, true},
		{[]string{"http", "HTTPS"}, true},
		{[]string{"http, https"}, true},
		{[]string{"https, http"}, false}, // the first is the word of somebody else
		{[]string{"https", "http"}, false},
		{[]string{"https,"}, false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "127.0.0.1:1234"
		r.Header["X-Forwarded-Proto"] = c.values
		if _, secure := h.client(r); secure != c.secure {
			t.Errorf("X-Forwarded-Proto %q: secure %v; want %v", c.values, secure, c.secure)
		}
	}
}

func TestForwardedHeadersOfStrangersAreIgnored(t *testing.T) {
	h := NewHandler(Config{Proxies: everyProxy})
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "198.51.100.7:1234"
	r.Header.Set("X-Forwarded-For", "127.0.0.1")
	r.Header.Set("X-Forwarded-Proto", "https")
	if a, secure := h.client(r); a.String() != "198.51.100.7" || secure {
		t.Errorf("client = %v, %v; want the peer itself, in the clear", a, secure)
	}
	r.TLS = &tls.ConnectionState{}
	if _, secure := h.client(r); !secure {
		t.Error("a TLS connection counts as one in the clear")
	}
}

func TestPagesOfOtherOriginsCannotChangeAnything(t *testing.T) {
	s := newSite(t, nil)
	r := s.do(t, "POST", "/home/", "do=make&new=x", "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "cross-site")
	if r.StatusCode != http.StatusForbidden || s.tree.dirs["/home/x"] {
		t.Errorf("POST from another site = %d; want 403 and nothing made", r.StatusCode)
	}
}

func TestShortForms(t *testing.T) {
	for _, c := range []struct{ path, prefix, token string }{
		{"/c=ID", "/c=ID", ""},
		{"/c=ID/", "/c=ID", ""},
		{"/c=ID/a/b", "/c=ID", ""},
		{"/c=ID/t=tok/a", "/c=ID/t=tok", "tok"},
		{"/c=ID/t=v2/u/s/a", "/c=ID/t=v2/u/s", "v2/u/s"},
		{"/c=ID/t=v2/u/s", "/c=ID/t=v2/u/s", "v2/u/s"},
		{"/c=ID/_/t=x/a", "/c=ID/_", ""},
		{"/c=ID/t=tok/_/t=x", "/c=ID/t=tok/_", "tok"},
		{"/c=ID/_x", "/c=ID", ""},
	} {
		if p, tok := shortForm(c.path); p != c.prefix || tok != c.token {
			t.Errorf("shortForm(%q) = %q, %q; want %q, %q", c.path, p, tok, c.prefix, c.token)
		}
	}
	pdh := "d41d8cd98f00b204e9800998ecf8427e"
	for in, want := range map[string]string{pdh + "-0": pdh + "+0", pdh + " 0": pdh + "+0", pdh + "+0": pdh + "+0", "kdav0-4zz18-000000000000000": "kdav0-4zz18-000000000000000"} {
		if got := shortID(in); got != want {
			t.Errorf("shortID(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestShortFormServesTheCollectionAndKeepsItsURLs(t *testing.T) {
	s := newSite(t, nil)
	const id = "kdav0-4zz18-000000000000000"
	s.tree.dirs["/by_id/"+id] = true
	if r := s.do(t, "PUT", "/c="+id+"/f", "x"); r.StatusCode != http.StatusCreated {
		t.Fatalf("PUT = %d; want 201", r.StatusCode)
	}
	if _, ok := s.tree.files["/by_id/"+id+"/f"]; !ok {
		t.Error("the file is not in the collection")
	}
	r := s.do(t, "GET", "/c="+id+"/t="+rootToken+"/f", "", "Authorization", "")
	if got := r.Header.Get("Referrer-Policy"); r.StatusCode != http.StatusOK || got != "no-referrer" {
		t.Errorf("GET with the token in the path = %d, referrer policy %q; want none to be told the URL", r.StatusCode, got)
	}
	r = s.do(t, "PROPFIND", "/c="+id+"/", "", "Depth", "1")
	if r.StatusCode != 207 || !strings.Contains(r.body, "/c="+id+"/f<") && !strings.Contains(r.body, "/c%3D"+id+"/f<") {
		t.Errorf("PROPFIND = %d\n%s", r.StatusCode, r.body)
	}
}

func TestBrowserPage(t *testing.T) {
	s := newSite(t, nil)
	evil := `<script>alert(1)<br>"'&.txt`
	s.tree.files["/home/"+evil] = []byte("x")
	s.tree.dirs["/home/sub dir"] = true
	r := s.do(t, "GET", "/home/", "", "Accept", "text/html")
	if r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("GET = %d %s", r.StatusCode, r.Header.Get("Content-Type"))
	}
	if strings.Contains(r.body, "<script") || !strings.Contains(r.body, "&lt;script&gt;") {
		t.Errorf("a name is not escaped:\n%s", r.body)
	}
	if !strings.Contains(r.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Error("the page has no content security policy")
	}
	if got := r.Header.Get("Referrer-Policy"); got != "same-origin" {
		t.Errorf("the referrer policy is %q; want same-origin, without which browsers hide the origin of the forms", got)
	}
	if !strings.Contains(r.body, `href="/home/sub%20dir/"`) {
		t.Errorf("no link to the directory:\n%s", r.body)
	}
}

func TestFormsOfThePageWork(t *testing.T) {
	s := newSite(t, nil)
	form := func(v url.Values) reply {
		return s.do(t, "POST", "/home/", v.Encode(), "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
	}
	if r := form(url.Values{"do": {"make"}, "new": {"a b"}}); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/home/" {
		t.Errorf("make = %d to %q; want 303 to /home/", r.StatusCode, r.Header.Get("Location"))
	}
	if !s.tree.dirs["/home/a b"] {
		t.Error("no directory was made")
	}
	if r := form(url.Values{"do": {"make"}, "new": {"a b"}}); r.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(r.body, "of this name already") {
		t.Errorf("make again = %d; want 405 and a word about it", r.StatusCode)
	}
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	for _, name := range []string{"one ü.txt", "two.bin", "../three"} {
		w, err := m.CreateFormFile("file", name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "content of %s", name)
	}
	m.Close()
	r := s.do(t, "POST", "/home/", body.String(), "Content-Type", m.FormDataContentType())
	if r.StatusCode != http.StatusSeeOther {
		t.Errorf("upload = %d; want 303\n%s", r.StatusCode, r.body)
	}
	for name, want := range map[string]string{"/home/one ü.txt": "content of one ü.txt", "/home/two.bin": "content of two.bin", "/home/three": "content of ../three"} {
		if got := string(s.tree.files[name]); got != want {
			t.Errorf("%s has %q; want %q", name, got, want)
		}
	}
	if r := form(url.Values{"do": {"delete"}, "name": {"two.bin", "three"}}); r.StatusCode != http.StatusSeeOther {
		t.Errorf("delete = %d; want 303", r.StatusCode)
	}
	if len(s.tree.files) != 1 {
		t.Errorf("after deleting two of three there are %d", len(s.tree.files))
	}
	if r := form(url.Values{"do": {"delete"}, "name": {"../home"}}); r.StatusCode < 400 {
		t.Errorf("delete of ../home = %d; want to be refused", r.StatusCode)
	}
}

func TestBrowsersGetAWordWithARefusal(t *testing.T) {
	s := newSite(t, nil)
	r := s.do(t, "GET", "/home/absent", "", "Accept", "text/html,*/*")
	if r.StatusCode != http.StatusNotFound || !strings.Contains(r.body, "nothing of this name") || !strings.Contains(r.body, `href="/home/"`) {
		t.Errorf("GET of nothing by a browser = %d\n%s\nwant 404 and a way on", r.StatusCode, r.body)
	}
	for _, c := range [][]string{{"GET", "*/*"}, {"DELETE", "text/html"}, {"HEAD", "text/html"}} {
		if r := s.do(t, c[0], "/home/absent", "", "Accept", c[1]); r.StatusCode != http.StatusNotFound || r.body != "" {
			t.Errorf("%s of nothing, Accept %s = %d %q; want 404 without a body", c[0], c[1], r.StatusCode, r.body)
		}
	}
	s.do(t, "PUT", "/home/f", "content")
	if r := s.do(t, "GET", "/home/f", "", "Accept", "text/html"); r.StatusCode != http.StatusOK || r.body != "content" {
		t.Errorf("GET of a file by a browser = %d %q; want it", r.StatusCode, r.body)
	}
}

func TestUploadReplacesOnlyWhenAsked(t *testing.T) {
	s := newSite(t, nil)
	s.tree.files["/home/f"] = []byte("old")
	send := func(replace bool) reply {
		var body bytes.Buffer
		m := multipart.NewWriter(&body)
		if replace {
			m.WriteField("replace", "on")
		}
		w, err := m.CreateFormFile("file", "f")
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "new")
		m.Close()
		return s.do(t, "POST", "/home/", body.String(), "Content-Type", m.FormDataContentType())
	}
	if r := send(false); r.StatusCode != http.StatusPreconditionFailed || !strings.Contains(r.body, "of this name already") || string(s.tree.files["/home/f"]) != "old" {
		t.Errorf("upload over a file = %d, and the file has %q; want 412, a word about it, and the old file", r.StatusCode, s.tree.files["/home/f"])
	}
	if r := send(true); r.StatusCode != http.StatusSeeOther || string(s.tree.files["/home/f"]) != "new" {
		t.Errorf("upload that is to replace = %d, and the file has %q; want 303 and the new file", r.StatusCode, s.tree.files["/home/f"])
	}
}

func TestDeletingOnThePageAsksFirst(t *testing.T) {
	s := newSite(t, nil)
	odd := "a\xff\nb" // browsers cannot send this as it is
	s.tree.files["/home/"+odd] = []byte("x")
	s.tree.files["/home/a\ufffd\nb"] = []byte("another")
	page := s.do(t, "GET", "/home/", "").body
	value := "a%FF%0Ab"
	if !strings.Contains(page, `value="`+value+`"`) || !strings.Contains(page, `value="ask"`) || strings.Contains(page, `value="delete"`) {
		t.Fatalf("the page has no way to select %q and to ask for its deletion:\n%s", odd, page)
	}
	form := url.Values{"do": {"ask"}, "name": {value}}
	r := s.do(t, "POST", "/home/", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if r.StatusCode != http.StatusOK || !strings.Contains(r.body, `name="name" value="`+value+`"`) || !strings.Contains(r.body, `value="delete"`) || len(s.tree.files) != 2 {
		t.Fatalf("to ask = %d, and %d files are left; want the question, and both\n%s", r.StatusCode, len(s.tree.files), r.body)
	}
	form.Set("do", "delete")
	r = s.do(t, "POST", "/home/", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	if _, ok := s.tree.files["/home/"+odd]; r.StatusCode != http.StatusSeeOther || ok || len(s.tree.files) != 1 {
		t.Errorf("to delete = %d, and the files are %q; want the one gone", r.StatusCode, slices.Collect(maps.Keys(s.tree.files)))
	}
}

func TestWhatIsNoFormOfThePageIsNotAllowed(t *testing.T) {
	s := newSite(t, nil)
	s.tree.files["/home/f"] = []byte("x")
	for _, c := range []struct{ path, media string }{
		{"/home/", "application/json"}, {"/home/", ""}, {"/home/f", "application/x-www-form-urlencoded"},
	} {
		r := s.do(t, "POST", c.path, "do=make&new=x", "Content-Type", c.media)
		if r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") == "" {
			t.Errorf("POST of %q to %s = %d, Allow %q; want 405 and what is allowed", c.media, c.path, r.StatusCode, r.Header.Get("Allow"))
		}
	}
	if log := s.logged(); strings.Contains(log, `"level":"error"`) {
		t.Errorf("they count as failures of the server:\n%s", log)
	}
}

func TestDirectoryAsZip(t *testing.T) {
	s := newSite(t, nil)
	s.tree.dirs["/home/d"], s.tree.dirs["/home/d/sub"] = true, true
	s.tree.files["/home/d/a"], s.tree.files["/home/d/sub/ü"] = []byte("content of a"), bytes.Repeat([]byte("x"), 100_000)
	r := s.do(t, "GET", "/home/d/?zip", "")
	if r.StatusCode != 200 || r.Header.Get("Content-Disposition") != "attachment; filename=d.zip" {
		t.Fatalf("GET ?zip = %d, %q", r.StatusCode, r.Header.Get("Content-Disposition"))
	}
	head := s.do(t, "HEAD", "/home/d/?zip", "")
	for _, name := range []string{"Content-Type", "Content-Disposition", "Cache-Control"} {
		if got, want := head.Header.Get(name), r.Header.Get(name); head.StatusCode != 200 || got != want {
			t.Errorf("HEAD ?zip = %d, %s %q; want what GET has, %q", head.StatusCode, name, got, want)
		}
	}
	z, err := zip.NewReader(strings.NewReader(r.body), int64(len(r.body)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range z.File {
		rd, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rd)
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name] = len(b)
	}
	want := map[string]int{"d/a": 12, "d/sub/": 0, "d/sub/ü": 100_000}
	if !maps.Equal(got, want) {
		t.Errorf("the zip has %v; want %v", got, want)
	}
}

func TestTooManyFailedLoginsAreToldWhenToComeBack(t *testing.T) {
	s := newSite(t, nil)
	s.do(t, "GET", "/home/", "") // logged in
	var r reply
	for range 20 {
		r = s.do(t, "GET", "/home/", "", "Authorization", "Bearer v2/x/y")
	}
	if r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" || r.Header.Get("DAV") == "" {
		t.Errorf("after 20 failed logins = %d, Retry-After %q; want 429 and a time", r.StatusCode, r.Header.Get("Retry-After"))
	}
	if r := s.do(t, "GET", "/home/", ""); r.StatusCode != 200 {
		t.Errorf("who is logged in from there = %d; want 200", r.StatusCode)
	}
}

func TestBodiesThatNeverEndDoNotHoldConnections(t *testing.T) {
	s := newSite(t, nil)
	authorized := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ann:"+annsPassword)) + "\r\n"
	for what, c := range map[string]struct{ request, status string }{
		"a stranger's, of known length":  {"PUT /home/f HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nsome", "401"},
		"a stranger's, in chunks":        {"PUT /home/f HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "401"},
		"one that nobody has asked for":  {"GET /healthz HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nso", "200"},
		"of a method that has none":      {"DELETE /home/none HTTP/1.1\r\nHost: h\r\n" + authorized + "Content-Length: 9\r\n\r\n", "404"},
		"of a request refused by its If": {"PUT /home/f HTTP/1.1\r\nHost: h\r\n" + authorized + "If-Match: *\r\nTransfer-Encoding: chunked\r\n\r\n", "412"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(30 * time.Second)) // only to fail
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(conn)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the connection is still open after %q", text)
			}
			if !strings.HasPrefix(string(text), "HTTP/1.1 "+c.status) {
				t.Errorf("the answer is %q; want %s", text, c.status)
			}
		})
	}
}

// A client that sends all of its body before it reads gets to see why it was
// refused: a connection that is closed on what it sends would hide that.
func TestRefusalOfALargeUploadIsSeen(t *testing.T) {
	for what, c := range map[string]struct{ path, header, status string }{
		"before it began":                        {"/home/f", "If-Match: *\r\n", "412"},
		"on a full disk":                         {"/home/full", "", "507"},
		"on a full disk, after it was asked for": {"/home/full", "Expect: 100-continue\r\n", "507"},
	} {
		for _, length := range []string{"Content-Length: 33554432", "Transfer-Encoding: chunked"} {
			t.Run(what+"/"+length[:8], func(t *testing.T) {
				t.Parallel()
				s := newSite(t, nil)
				s.h.refusal = 30 * time.Second // in which it can send all
				conn, err := net.Dial("tcp", s.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				auth := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ann:"+annsPassword)) + "\r\n"
				if _, err := io.WriteString(conn, "PUT "+c.path+" HTTP/1.1\r\nHost: h\r\n"+auth+c.header+length+"\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				in := bufio.NewReader(conn)
				if strings.HasPrefix(c.header, "Expect") {
					if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 100 {
						t.Fatalf("Expect is answered by %v, %v", resp, err)
					}
				}
				piece := make([]byte, 1<<20)
				for i := range 32 {
					var err error
					if length[0] == 'C' {
						_, err = conn.Write(piece)
					} else {
						_, err = fmt.Fprintf(conn, "100000\r\n%s\r\n", piece)
					}
					if err != nil {
						t.Fatalf("sending the %d. MiB: %v", i+1, err)
					}
				}
				if length[0] != 'C' {
					io.WriteString(conn, "0\r\n\r\n")
				}
				resp, err := http.ReadResponse(in, nil)
				if err != nil || !strings.HasPrefix(resp.Status, c.status) {
					t.Errorf("the answer is %v, %v; want %s", resp, err, c.status)
				}
			})
		}
	}
}

func TestTokensInOddPlacesAreNotLogged(t *testing.T) {
	s := newSite(t, nil)
	for _, path := range []string{"//c=x/t=" + rootToken + "/f", "/c=x//t=" + rootToken + "/f", "/home/" + rootToken, "/c=x/t=" + rootToken + "/f"} {
		s.do(t, "GET", path, "")
		s.do(t, "DELETE", path, "", "Authorization", "")
	}
	if log := s.logged(); strings.Contains(log, "/secret") || !strings.Contains(log, "v2/kdav0-gj3su-000000000000000/…") {
		t.Errorf("the log has the secret of a token:\n%s", log)
	}
}

func TestPermissionsToReadBlocksAreNotLogged(t *testing.T) {
	s := newSite(t, nil)
	mac := strings.Repeat("0123456789", 4)
	for _, hint := range []string{"+A" + mac + "@6b151610", "+Rzzzzz-" + mac + "@6b151610"} {
		s.do(t, "GET", "/acbd18db4cc2f85cedef654fccc4a4d8+3"+hint, "")
	}
	if log := s.logged(); strings.Contains(log, mac) || !strings.Contains(log, "+3+A…") || !strings.Contains(log, "+3+Rzzzzz-…") {
		t.Errorf("the log has a signature:\n%s", log)
	}
}

// echo is a service for what is below /echo.
type echo struct{}

func (echo) Serves(r *http.Request) bool { return r.URL.Path == "/echo" }

func (echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.(interface{ SetUser(string) }).SetUser("somebody")
	w.(interface{ Failed(error) }).Failed(errors.New("as it wants"))
	w.Header().Set("X-Secure", strconv.FormatBool(listen.Secure(r)))
	io.Copy(w, r.Body)
}

func TestServicesKnowFromProxiesWhetherTheClientIsSecure(t *testing.T) {
	for proto, want := range map[string]string{"https": "true", "http": "false", "": "false"} {
		s := newSite(t, func(c *Config) {
			c.Services, c.Proxies = []Service{echo{}}, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
		})
		if got := s.do(t, "GET", "/echo", "", "X-Forwarded-Proto", proto); got.Header.Get("X-Secure") != want {
			t.Errorf("forwarded by %q: secure is %s", proto, got.Header.Get("X-Secure"))
		}
	}
	s := newSite(t, func(c *Config) { c.Services = []Service{echo{}} })
	if got := s.do(t, "GET", "/echo", "", "X-Forwarded-Proto", "https"); got.Header.Get("X-Secure") != "false" {
		t.Error("who is no proxy is believed")
	}
}

func TestServicesAnswerWhatIsTheirs(t *testing.T) {
	s := newSite(t, func(c *Config) { c.Services = []Service{echo{}} })
	// Who asks is for the service to find out, also for pages of other origins.
	got := s.do(t, "PUT", "/echo", "hello", "Authorization", "", "Sec-Fetch-Site", "cross-site")
	if got.StatusCode != http.StatusOK || got.body != "hello" {
		t.Errorf("PUT = %d, %q", got.StatusCode, got.body)
	}
	if got := s.do(t, "GET", "/echoes", ""); got.StatusCode != http.StatusNotFound {
		t.Errorf("GET of what is of the site = %d; want 404", got.StatusCode)
	}
	if log := s.logged(); !strings.Contains(log, `"user":"somebody"`) || !strings.Contains(log, "as it wants") {
		t.Errorf("the log has not what the service says:\n%s", log)
	}
}

// deadlines is a connection that remembers the last read deadline.
type deadlines struct {
	http.ResponseWriter
	last time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error { d.last = t; return nil }

func TestDeadlineOfAHandlerIsNotMoved(t *testing.T) {
	conn := &deadlines{}
	w := &response{ResponseWriter: conn, body: body{ReadCloser: io.NopCloser(strings.NewReader("0123456789")), conn: conn}}
	own := time.Now().Add(time.Second)
	if err := http.NewResponseController(w).SetReadDeadline(own); err != nil {
		t.Fatal(err)
	}
	w.body.Read(make([]byte, 5))
	if !conn.last.Equal(own) {
		t.Errorf("after a read the deadline is in %v; want the handler's second", time.Until(conn.last))
	}
}

func TestCutUploadOfAFormKeepsNothing(t *testing.T) {
	s := newSite(t, nil)
	body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\npart of a fi"
	r := s.do(t, "POST", "/home/", body, "Content-Type", "multipart/form-data; boundary=b")
	if r.StatusCode < 400 {
		t.Errorf("a form that ends early = %d; want a failure", r.StatusCode)
	}
	if _, ok := s.tree.files["/home/f"]; ok {
		t.Error("part of a file was kept")
	}
}

func TestKindsOfErrorsHaveWords(t *testing.T) {
	for _, k := range collfs.Kinds() {
		if kindNames[k] == "" {
			t.Errorf("kind %d has no word for the log", k)
		}
	}
}

func BenchmarkHealthz(b *testing.B) {
	h := NewHandler(Config{Log: zerolog.New(io.Discard)})
	r := httptest.NewRequest("GET", "/healthz", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}
