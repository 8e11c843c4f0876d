package web

import (
	"archive/zip"
	"context"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/web/auth"
)

const (
	collID  = "kdav0-4zz18-000000000000000"
	otherID = "kdav0-4zz18-000000000000001"
	vhost   = collID + ".collections.example"
	content = "d41d8cd98f00b204e9800998ecf8427e"

	annToken   = "v2/kdav0-gj3su-000000000000001/annssecret"
	anonToken  = "v2/kdav0-gj3su-000000000000002/nobodys"
	linkToken  = "v2/kdav0-gj3su-000000000000003/linkssecret"
	staleToken = "v2/kdav0-gj3su-000000000000004/stalesecret"
)

func TestFormsOfURLs(t *testing.T) {
	for _, c := range []struct {
		host, path string
		want       form
		ok         bool
	}{
		{"x", "/", form{}, false},
		{"x", "/home/c=" + collID, form{}, false},
		{"x", "/c=" + collID + "/a", form{id: collID, prefix: "/c=" + collID}, true},
		{"x", "/c=" + content + "-0/a", form{id: content + "+0", prefix: "/c=" + content + "-0"}, true},
		{"x", "/c=" + content + " 0/t=tok/_/a", form{id: content + "+0", prefix: "/c=" + content + " 0/t=tok/_", token: "tok"}, true},
		{vhost, "/", form{id: collID, vhost: true}, true},
		{vhost + ":8080", "/home/", form{id: collID, vhost: true}, true},
		{strings.ToUpper(vhost), "/_/t=x", form{id: collID, vhost: true, prefix: "/_"}, true},
		{collID + "--collections.example", "/t=v2/u/s/a", form{id: collID, vhost: true, prefix: "/t=v2/u/s", token: "v2/u/s"}, true},
		{content + "-12.example", "/", form{id: content + "+12", vhost: true}, true},
		{content + "-12--example", "/", form{id: content + "+12", vhost: true}, true},
		{collID, "/", form{}, false},
		{"x" + vhost, "/", form{}, false},
		{"kdav0-tpzed-000000000000000.example", "/", form{}, false},
		{"x", "/collections/" + collID + "/a", form{id: collID, prefix: "/collections/" + collID, public: true}, true},
		{"x", "/collections/" + content + "-0", form{id: content + "+0", prefix: "/collections/" + content + "-0", public: true}, true},
		{"x", "/collections/other/a", form{}, false},
		{"x", "/collections/download/" + collID + "/tok/a", form{id: collID, prefix: "/collections/download/" + collID + "/tok", token: "tok"}, true},
		{"x", "/collections/download/" + collID + "/v2/u/s/a", form{id: collID, prefix: "/collections/download/" + collID + "/v2/u/s", token: "v2/u/s"}, true},
		{"x", "/collections/download/" + collID, form{}, false},
		{"x", "/collections/download/other/tok/a", form{}, false},
	} {
		if got, ok := formOf(c.host, c.path); ok != c.ok || got != c.want {
			t.Errorf("formOf(%q, %q) = %+v, %v; want %+v, %v", c.host, c.path, got, ok, c.want, c.ok)
		}
	}
}

func FuzzFormOf(f *testing.F) {
	for _, s := range []string{"/c=" + collID + "/t=v2%2Fu%2Fs/a%2Fb", "/collections/download/" + collID + "/v2%2fu%2fs/%25", "/t=v2%2fa%2fb/_/x", "/_/t=x", "/%"} {
		f.Add("x", s)
		f.Add(vhost, s)
	}
	f.Fuzz(func(t *testing.T, host, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil || !strings.HasPrefix(u.Path, "/") {
			return
		}
		got, ok := formOf(host, u.Path)
		if !ok {
			if got != (form{}) {
				t.Errorf("formOf(%q, %q) = %+v and false", host, u.Path, got)
			}
			return
		}
		if !strings.HasPrefix(u.Path, got.prefix) || got.vhost != (hostID(host) != "") || !strings.HasSuffix(strings.TrimSuffix(got.prefix, "/_"), got.token) {
			t.Errorf("formOf(%q, %q) = %+v", host, u.Path, got)
		}
		r := unescapedToken(&http.Request{Host: host, URL: u})
		if r.URL.Path != u.Path {
			t.Errorf("the path is another: %q; want %q", r.URL.Path, u.Path)
		}
		if p, err := url.PathUnescape(r.URL.EscapedPath()); err != nil || p != u.Path {
			t.Errorf("the escaped path %q is %q, %v; want %q", r.URL.EscapedPath(), p, err, u.Path)
		}
		if len(got.token) > 20 && strings.Contains(logPath(r), got.token[len(got.token)-16:]) && strings.Count(u.Path, got.token[len(got.token)-16:]) == 1 {
			t.Errorf("the log has the token: %q", logPath(r))
		}
		remapped(http.Header{"X-Webdav-Prefix": {raw}, "X-Webdav-Source": {raw}})
	})
}

// accounts are people, and whom the tokens of these tests stand for.
type accounts struct{ people }

var users = map[string]collfs.User{
	annToken:  {Name: "ann", UUID: "kdav0-tpzed-000000000000001", Active: true},
	anonToken: {Name: "anonymous", UUID: "kdav0-tpzed-000000000000002", Active: true},
}

func (a accounts) LookupToken(ctx context.Context, token string) (collfs.User, time.Time, error) {
	if u, ok := users[token]; ok {
		return u, time.Time{}, nil
	}
	return a.people.LookupToken(ctx, token)
}

func scopes(ctx context.Context, token string) (collfs.User, []string, error) {
	if token == linkToken {
		return users[annToken], []string{"GET /arvados/v1/collections/" + collID, "GET /arvados/v1/collections/" + collID + "/"}, nil
	}
	if u, ok := users[token]; ok {
		return u, []string{"all"}, nil
	}
	return collfs.User{}, nil, fs.ErrNotExist
}

// newKeepWeb is a site with two collections, of which nobody but ann and root may see the
// first, and everybody the second.
func newKeepWeb(t *testing.T, change func(*Config)) *site {
	t.Helper()
	all, public := newTree(), newTree()
	for _, id := range []string{collID, otherID} {
		for _, tr := range []*tree{all, public} {
			if tr == public && id == collID {
				continue
			}
			dir := "/by_id/" + id
			tr.dirs[dir], tr.dirs[dir+"/d"] = true, true
			tr.files[dir+"/f.txt"], tr.files[dir+"/d/g.html"] = []byte("some text"), []byte("<html>")
		}
	}
	s := newSite(t, func(c *Config) {
		c.Auth = auth.New(accounts{}, 0)
		c.Site = func(u collfs.User) davfs.FileSystem {
			if u.Name == "anonymous" {
				return public
			}
			return all
		}
		c.KeepWeb.Scopes = scopes
		c.KeepWeb.AnonymousToken = anonToken
		if change != nil {
			change(c)
		}
	})
	s.tree = all
	return s
}

// ask makes a request without credentials to a host; "" is that of the server.
func (s *site) ask(t *testing.T, method, host, path, body string, header ...string) reply {
	t.Helper()
	r := httptest.NewRequest(method, "http://x/", strings.NewReader(body))
	u, err := url.ParseRequestURI(path)
	if err != nil {
		t.Fatal(err)
	}
	r.URL, r.RequestURI, r.Host = u, path, host
	if host == "" {
		r.Host = "drive.example"
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return reply{w.Result(), w.Body.String()}
}

func cookie(token string) string {
	return cookieName + "=" + base64.URLEncoding.EncodeToString([]byte(token))
}

func TestWhoOpensACollection(t *testing.T) {
	s := newKeepWeb(t, func(c *Config) { c.KeepWeb.DownloadHost = "download.example:443" })
	const (
		auth = "Authorization"
		html = "/d/g.html"
	)
	coll := "/c=" + collID
	for _, c := range []struct {
		name, method, host, path string
		header                   []string
		want                     int
	}{
		{"by its host, with a token", "GET", vhost, "/f.txt", []string{auth, "Bearer " + annToken}, 200},
		{"as OAuth2", "GET", vhost, "/f.txt", []string{auth, "OAuth2 " + annToken}, 200},
		{"as a password", "GET", vhost, "/f.txt", []string{auth, "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+annToken))}, 200},
		{"with a cookie", "GET", vhost, "/f.txt", []string{"Cookie", cookie(annToken)}, 200},
		{"with a cookie after a bad header", "GET", vhost, "/f.txt", []string{auth, "Bearer " + staleToken, "Cookie", cookie(annToken)}, 200},
		{"with a token in the path", "GET", vhost, "/t=" + annToken + "/f.txt", nil, 200},
		{"with a token in the path, escaped", "GET", vhost, "/t=" + url.PathEscape(annToken) + "/f.txt", nil, 200},
		{"with _ before the path", "GET", vhost, "/_/f.txt", []string{"Cookie", cookie(annToken)}, 200},
		{"by two hyphens", "GET", collID + "--c.example", "/f.txt", []string{"Cookie", cookie(annToken)}, 200},
		{"as nobody", "GET", vhost, "/f.txt", nil, 404}, // the anonymous token is good
		{"as nobody, but it is public", "GET", otherID + ".c.example", "/f.txt", nil, 200},
		{"with a cookie that is not good, but it is public", "GET", otherID + ".c.example", "/f.txt", []string{"Cookie", cookie(staleToken)}, 200},
		{"written to", "PUT", vhost, "/new", []string{auth, "Bearer " + annToken}, 201},

		{"by /c=", "GET", "", coll + "/f.txt", []string{auth, "Bearer " + annToken}, 200},
		{"by /c= with a cookie", "GET", "", coll + "/f.txt", []string{"Cookie", cookie(annToken)}, 404},
		{"by /c= with a cookie, to be saved", "GET", "download.example", coll + "/f.txt", []string{"Cookie", cookie(annToken)}, 200},
		{"by /c= and a token in the path", "GET", "", coll + "/t=" + annToken + "/f.txt", nil, 200},
		{"by /c= and a token in the path, escaped", "GET", "", coll + "/t=" + strings.ReplaceAll(annToken, "/", "%2f") + "/d/g.html", nil, 200},
		{"by /c= and a bad token in the path", "GET", "", coll + "/t=" + staleToken + "/f.txt", nil, 404},
		{"by a link that is for it", "GET", "", coll + "/t=" + linkToken + "/f.txt", nil, 200},
		{"by a link that is for it, listed", "PROPFIND", "", coll + "/t=" + linkToken + "/", nil, 207},
		{"by a link that is for it, written to", "PUT", "", coll + "/t=" + linkToken + "/f.txt", nil, 403},
		{"by a link that is for it, deleted", "DELETE", "", coll + "/t=" + linkToken + "/f.txt", nil, 403},
		{"by a link that is for another", "GET", "", "/c=" + otherID + "/t=" + linkToken + "/f.txt", nil, 200}, // it is public
		{"out of a link", "GET", "", coll + "/t=" + linkToken + "/../" + otherID + "/f.txt", nil, 404},

		{"by the old links", "GET", "", "/collections/download/" + collID + "/" + annToken + html, nil, 200},
		{"by the old links, badly", "GET", "", "/collections/download/" + collID + "/" + staleToken + html, nil, 404},
		{"by the old public links", "GET", "", "/collections/" + otherID + html, nil, 200},
		{"by the old public links, with a token", "GET", "", "/collections/" + collID + html, []string{auth, "Bearer " + annToken}, 404},

		{"the site with a cookie", "GET", "", "/by_id/" + collID + "/f.txt", []string{"Cookie", cookie(annToken)}, 401},
		{"the site with a cookie, to be saved", "GET", "DOWNLOAD.example", "/by_id/" + collID + "/f.txt", []string{"Cookie", cookie(annToken)}, 200},
		{"the site as nobody", "GET", "", "/by_id/" + otherID + "/f.txt", nil, 401},
		{"the site with a link's token", "GET", "", "/by_id/" + collID + "/f.txt", []string{auth, "Bearer " + linkToken}, 401},
		{"the site's own names on its host", "GET", vhost, "/healthz", []string{auth, "Bearer " + annToken}, 404},
		{"a block on its host", "GET", vhost, "/metrics", []string{auth, "Bearer " + rootToken}, 404},
	} {
		if got := s.ask(t, c.method, c.host, c.path, "", c.header...); got.StatusCode != c.want {
			t.Errorf("%s: %s %s%s = %d, %q; want %d", c.name, c.method, c.host, c.path, got.StatusCode, got.body, c.want)
		}
	}
	log := s.logged()
	for _, secret := range []string{"annssecret", "linkssecret", "stalesecret"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}

func TestWithoutAnonymousTokenNobodyIsAskedWho(t *testing.T) {
	s := newKeepWeb(t, func(c *Config) {
		c.KeepWeb.AnonymousToken = ""
		c.KeepWeb.Workbench = "https://workbench.example/"
	})
	for _, c := range []struct {
		path   string
		header []string
		want   int
		at     string
	}{
		{"/f.txt", nil, 401, ""},
		{"/f.txt", []string{"Cookie", cookie(staleToken)}, 401, ""},
		{"/t=" + linkToken + "x/f.txt", nil, 404, ""},
		{"/d/g.html", []string{"Sec-Fetch-Mode", "navigate"}, 303, "https://workbench.example/?redirectToPreview=%2Fc%3D" + collID + "%2Fd%2Fg.html"},
		{"/f.txt?disposition=attachment", []string{"Sec-Fetch-Mode", "navigate"}, 303, "https://workbench.example/?redirectToDownload=%2Fc%3D" + collID + "%2Ff.txt"},
	} {
		got := s.ask(t, "GET", vhost, c.path, "", c.header...)
		if got.StatusCode != c.want || got.Header.Get("Location") != c.at {
			t.Errorf("GET %s = %d to %q; want %d to %q", c.path, got.StatusCode, got.Header.Get("Location"), c.want, c.at)
		}
	}
	got := s.ask(t, "GET", vhost, "/f.txt", "", "Cookie", cookie(staleToken))
	if c := got.Cookies(); len(c) != 1 || c[0].MaxAge >= 0 {
		t.Errorf("a cookie that is not good stays: %v", c)
	}
	if got := s.ask(t, "GET", "", "/c="+otherID+"/t="+linkToken+"/f.txt", ""); got.StatusCode != http.StatusForbidden {
		t.Errorf("a token that is for another collection = %d; want 403", got.StatusCode)
	}
}

func TestTokensInQueriesAndFormsBecomeCookies(t *testing.T) {
	s := newKeepWeb(t, func(c *Config) { c.KeepWeb.DownloadHost = "download.example" })
	given := "api_token=" + url.QueryEscape(annToken)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	coll := "/c=" + collID
	for _, c := range []struct {
		name, method, host, path, body string
		header                         []string
		want                           int
		at                             string
	}{
		{"a link", "GET", vhost, "/d/g.html?" + given, "", nil, 303, "/d/g.html"},
		{"a link with more in its query", "GET", vhost, "/f.txt?a=b&" + given, "", nil, 303, "/f.txt?a=b"},
		{"a link to another server", "GET", vhost, "//evil.example/%2f?" + given, "", nil, 303, "/evil.example/%2f"},
		{"a link from a page of the same host", "GET", vhost, "/f.txt?" + given, "", []string{"Origin", "http://" + vhost}, 303, "/f.txt"},
		{"a page of another origin", "GET", vhost, "/f.txt?" + given, "", []string{"Origin", "http://other.example"}, 200, ""},
		{"a link on a host without cookies", "GET", "", coll + "/f.txt?" + given, "", nil, 400, ""},
		{"a link of the site", "GET", "", "/home/?" + given, "", nil, 401, ""},
		{"a link of the site, to be saved", "GET", "download.example", "/by_id/" + collID + "/f.txt?" + given, "", nil, 303, "/by_id/" + collID + "/f.txt"},
		{"a form", "POST", vhost, "/f.txt", given, form, 303, "/f.txt"},
		{"a form of another origin", "POST", vhost, "/f.txt", given, append(form, "Origin", "http://other.example", "Sec-Fetch-Site", "cross-site"), 303, "/f.txt"},
		{"a form that saves", "POST", vhost, "/f.txt", given + "&disposition=attachment", form, 200, ""},
		{"a form that saves by its URL", "POST", vhost, "/f.txt?disposition=attachment", given, form, 200, ""},
		{"a form that saves, on a host for that", "POST", "download.example", coll + "/f.txt", given, append(form, "Sec-Fetch-Site", "cross-site"), 200, ""},
		{"a form without a token, of another origin", "POST", vhost, "/", "do=make&new=x", append(form, "Sec-Fetch-Site", "cross-site", "Cookie", cookie(annToken)), 403, ""},
		{"a form of the page itself", "POST", vhost, "/", "do=make&new=x", append(form, "Cookie", cookie(annToken), "Sec-Fetch-Site", "same-origin"), 303, "/"},
		{"a program", "PROPFIND", vhost, "/?" + given, "", nil, 207, ""},
		{"a program that writes", "PUT", vhost, "/n?" + given, "x", nil, 201, ""},
		{"a public link", "GET", "", "/collections/" + collID + "/f.txt?" + given, "", nil, 404, ""},
	} {
		got := s.ask(t, c.method, c.host, c.path, c.body, c.header...)
		if got.StatusCode != c.want || got.Header.Get("Location") != c.at {
			t.Errorf("%s: %s %s = %d to %q, %q; want %d to %q", c.name, c.method, c.path, got.StatusCode, got.Header.Get("Location"), got.body, c.want, c.at)
			continue
		}
		set := got.Cookies()
		if c.want != 303 || c.name == "a form of the page itself" {
			if len(set) != 0 {
				t.Errorf("%s: sets %v", c.name, set)
			}
			continue
		}
		if len(set) != 1 || set[0].Name+"="+set[0].Value != cookie(annToken) || !set[0].HttpOnly || set[0].SameSite != http.SameSiteLaxMode || set[0].Path != "/" || set[0].Domain != "" {
			t.Errorf("%s: sets %v", c.name, set)
		}
		if got.Header.Get("Referrer-Policy") != "no-referrer" || got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: the URL with the token is kept: %v", c.name, got.Header)
		}
	}
	if !s.tree.dirs["/by_id/"+collID+"/x"] {
		t.Error("the form of the page made nothing")
	}
	if strings.Contains(s.logged(), "annssecret") {
		t.Error("the log has a token")
	}
}

func TestAnOldCookieIsNoGuess(t *testing.T) {
	s := newKeepWeb(t, func(c *Config) { c.KeepWeb.DownloadHost = "download.example" })
	for i := range 100 {
		for _, c := range []struct {
			host, path string
			want       int
		}{
			{otherID + ".c.example", "/f.txt", 200},
			{"download.example", "/by_id/" + otherID + "/f.txt", 401},
		} {
			if got := s.ask(t, "GET", c.host, c.path, "", "Cookie", cookie(staleToken)); got.StatusCode != c.want {
				t.Fatalf("GET %s%s, time %d = %d; want %d", c.host, c.path, i, got.StatusCode, c.want)
			}
		}
	}
	if got := s.ask(t, "GET", "download.example", "/by_id/"+collID+"/f.txt", "", "Cookie", cookie(linkToken)); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a link's token opens the site: %d", got.StatusCode)
	}
}

func TestWhatIsSavedAndWhatIsShown(t *testing.T) {
	s := newKeepWeb(t, func(c *Config) { c.KeepWeb.DownloadHost = "download.example" })
	trusting := newKeepWeb(t, func(c *Config) { c.KeepWeb.TrustAllContent = true })
	for _, c := range []struct {
		s                   *site
		host, path          string
		disposition, policy string
	}{
		{s, "", "/c=" + collID + "/d/g.html", "", "sandbox"},
		{s, "", "/by_id/" + collID + "/d/g.html", "", "sandbox"},
		{s, vhost, "/d/g.html", "", ""},
		{trusting, "", "/c=" + collID + "/d/g.html", "", ""},
		{trusting, "", "/by_id/" + collID + "/d/g.html", "", ""},
		{s, vhost, "/d/g.html?disposition=attachment", "attachment; filename=g.html", ""},
		{s, vhost, "/f.txt?disposition=inline", "", ""},
		{s, "download.example", "/c=" + collID + "/d/g.html", "attachment", "sandbox"},
		{s, "download.example", "/c=" + collID + "/d/g.html?x", "attachment; filename=g.html", "sandbox"},
	} {
		got := c.s.ask(t, "GET", c.host, c.path, "", "Authorization", "Bearer "+annToken)
		if d, p := got.Header.Get("Content-Disposition"), got.Header.Get("Content-Security-Policy"); got.StatusCode != 200 || d != c.disposition || p != c.policy {
			t.Errorf("GET %s%s = %d, disposition %q, policy %q; want %q, %q", c.host, c.path, got.StatusCode, d, p, c.disposition, c.policy)
		}
	}
	for _, path := range []string{"/c=" + collID + "/d/", "/c=" + collID + "/none"} {
		if got := s.ask(t, "GET", "download.example", path, "", "Authorization", "Bearer "+annToken); got.Header.Get("Content-Disposition") != "" {
			t.Errorf("GET %s is to be saved, and is no file", path)
		}
	}
}

func TestPagesOfOtherOriginsWithTokens(t *testing.T) {
	s := newKeepWeb(t, nil)
	from := []string{"Origin", "https://workbench.example", "Sec-Fetch-Site", "cross-site"}
	for _, c := range []struct {
		method, path string
		header       []string
		want         int
	}{
		{"OPTIONS", "/f.txt", []string{"Access-Control-Request-Method", "PUT"}, 200},
		{"OPTIONS", "/f.txt", []string{"Access-Control-Request-Method", "BREW"}, 405},
		{"GET", "/f.txt", []string{"Authorization", "Bearer " + annToken}, 200},
		{"PUT", "/f2", []string{"Authorization", "Bearer " + annToken}, 201},
		{"PUT", "/f3", []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("x:"+annToken))}, 403},
		{"PUT", "/f4", []string{"Cookie", cookie(annToken)}, 403},
	} {
		got := s.ask(t, c.method, vhost, c.path, "x", append(slices.Clone(from), c.header...)...)
		if got.StatusCode != c.want || got.Header.Get("Access-Control-Allow-Origin") != "*" || got.Header.Get("Access-Control-Expose-Headers") != "Content-Range" ||
			got.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s %s %v = %d, %v; want %d", c.method, c.path, c.header, got.StatusCode, got.Header, c.want)
		}
		if c.want == 200 && c.method == "OPTIONS" && (got.Header.Get("Access-Control-Max-Age") != "86400" || !strings.Contains(got.Header.Get("Access-Control-Allow-Methods"), "PROPFIND")) {
			t.Errorf("preflight: %v", got.Header)
		}
	}
	if got := s.ask(t, "GET", vhost, "/f.txt", "", "Authorization", "Bearer "+annToken); got.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("whoever comes from nowhere is told about origins")
	}
}

func TestManagement(t *testing.T) {
	open := newKeepWeb(t, func(c *Config) {
		c.KeepWeb.ManagementToken = "manage"
		c.KeepWeb.Version = "1.2.3"
		c.AdminMetrics = true
	})
	shut := newKeepWeb(t, func(c *Config) { c.AdminMetrics = true })
	open.h.SetReady(true)
	for _, c := range []struct {
		s           *site
		path, token string
		want        int
		body        string
	}{
		{open, "/_health/ping", "manage", 200, `{"health":"OK"}` + "\n"},
		{open, "/_health/all", "manage", 200, `{"health":"OK"}` + "\n"},
		{open, "/_health/other", "manage", 404, ""},
		{open, "/_health/ping", "", 401, ""},
		{open, "/_health/ping", "manag", 403, ""},
		{open, "/_health/ping", rootToken, 403, ""},
		{open, "/metrics", "manage", 200, ""},
		{open, "/metrics", rootToken, 200, ""},
		{open, "/metrics", annToken, 403, ""},
		{open, "/metrics", "", 401, ""},
		{open, "/metrics.json", "manage", 200, ""},
		{open, "/metrics.json", annToken, 403, ""},
		{open, "/status.json", "", 200, `{"Version":"1.2.3"}` + "\n"},
		{shut, "/_health/ping", "", 404, ""},
		{shut, "/_health/ping", "manage", 404, ""},
		{shut, "/metrics.json", "manage", 404, ""},
		{shut, "/metrics", rootToken, 200, ""},
		{shut, "/metrics", "", 401, ""},
	} {
		var header []string
		if c.token != "" {
			header = []string{"Authorization", "Bearer " + c.token}
		}
		got := c.s.ask(t, "GET", "", c.path, "", header...)
		if got.StatusCode != c.want || c.body != "" && got.body != c.body {
			t.Errorf("GET %s with %q = %d, %q; want %d, %q", c.path, c.token, got.StatusCode, got.body, c.want, c.body)
		}
		if c.path == "/metrics.json" && c.want == 200 {
			var families []struct{ Name string }
			if err := json.Unmarshal([]byte(got.body), &families); err != nil || len(families) == 0 || families[0].Name == "" {
				t.Errorf("/metrics.json: %v, %s", err, got.body)
			}
		}
	}
	open.h.SetReady(false)
	if got := open.ask(t, "GET", "", "/_health/ready", "", "Authorization", "Bearer manage"); !strings.Contains(got.body, "ERROR") {
		t.Errorf("a server that stops is ready: %q", got.body)
	}
}

func TestProxiesMayRemapPaths(t *testing.T) {
	s := newKeepWeb(t, nil)
	for _, c := range []struct {
		host, path, prefix, source string
		want                       int
	}{
		{vhost, "/a/b/f.txt", "/a/b", "", 200},
		{vhost, "/a/b/g.html", "/a/b/", "/d", 200},
		{vhost, "/g.html", "", "d/", 200},
		{vhost, "/a/g.html", "/b", "/d", 404},
		{vhost, "/a/f.txt", "/a", "/../" + otherID, 404}, // not out of the collection
		{"", "/log/f.txt", "/log", "/by_id/" + collID, 200},
	} {
		got := s.ask(t, "GET", c.host, c.path, "", "Authorization", "Bearer "+annToken, "X-Webdav-Prefix", c.prefix, "X-Webdav-Source", c.source)
		if got.StatusCode != c.want {
			t.Errorf("GET %s for %q in %q = %d; want %d", c.path, c.prefix, c.source, got.StatusCode, c.want)
		}
	}
	got := s.ask(t, "PROPFIND", vhost, "/a/b/", "", "Authorization", "Bearer "+annToken, "Depth", "1", "X-Webdav-Prefix", "/a/b", "X-Webdav-Source", "/d")
	if !strings.Contains(got.body, "/a/b/g.html<") {
		t.Errorf("PROPFIND = %d\n%s; want the names that the proxy knows", got.StatusCode, got.body)
	}
}

func TestZipOfACollection(t *testing.T) {
	s := newKeepWeb(t, func(c *Config) {
		c.KeepWeb.Describe = func(_ context.Context, id string) (string, any, error) {
			return "Some/data", map[string]string{"uuid": id}, nil
		}
	})
	const accept = "application/zip"
	given := "api_token=" + url.QueryEscape(annToken)
	for _, c := range []struct {
		name, method, host, path, ctype, body string
		want                                  int
		file                                  string
		entries                               string
	}{
		{"all", "GET", vhost, "/", "", "", 200, "Some_data.zip", "d/ d/g.html f.txt"},
		{"all, by name", "GET", vhost, "/?files=/", "", "", 200, "Some_data.zip", "d/ d/g.html f.txt"},
		{"all, by /c=", "GET", "", "/c=" + collID + "/", "", "", 200, "Some_data.zip", "d/ d/g.html f.txt"},
		{"a file", "GET", vhost, "/?files=f.txt", "", "", 200, "Some_data - f.txt.zip", "f.txt"},
		{"a directory, and what is in it", "GET", vhost, "/?files=d/&files=d/g.html", "", "", 200, "Some_data - d.zip", "d/g.html"},
		{"two", "POST", vhost, "/", "application/x-www-form-urlencoded", "files=d&files=f.txt", 200, "Some_data - 2 files.zip", "d/g.html f.txt"},
		{"JSON", "POST", vhost, "/", "application/json", `{"files":["f.txt"],"download_filename":"x.zip","include_collection_metadata":true}`, 200, "x.zip", "f.txt collection.json"},
		{"bad JSON", "POST", vhost, "/", "application/json", `{"files":"f.txt"}`, 400, "", ""},
		{"what is not there", "GET", vhost, "/?files=none", "", "", 404, "", ""},
		{"not the collection", "GET", vhost, "/d/", "", "", 400, "", ""},
		{"HEAD", "HEAD", vhost, "/", "", "", 200, "Some_data.zip", ""},
		{"by its query", "GET", vhost, "/?accept=application/zip&disposition=attachment", "-", "", 200, "Some_data.zip", "d/ d/g.html f.txt"},
		{"by a form with a token", "POST", vhost, "/", "application/x-www-form-urlencoded", given + "&disposition=attachment&accept=application/zip&files=f.txt", 200, "Some_data - f.txt.zip", "f.txt"},
	} {
		header := []string{"Authorization", "Bearer " + annToken, "Accept", accept, "Content-Type", c.ctype}
		switch {
		case c.ctype == "-":
			header = header[:2]
		case strings.Contains(c.body, given):
			header = header[4:]
		}
		got := s.ask(t, c.method, c.host, c.path, c.body, header...)
		file := strings.TrimPrefix(got.Header.Get("Content-Disposition"), "attachment; filename=")
		if got.StatusCode != c.want || c.want == 200 && strings.Trim(file, `"`) != c.file {
			t.Errorf("%s: %d, %q, %s; want %d, %q", c.name, got.StatusCode, file, got.body, c.want, c.file)
			continue
		}
		if c.entries == "" {
			continue
		}
		z, err := zip.NewReader(strings.NewReader(got.body), int64(len(got.body)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var names []string
		for _, f := range z.File {
			names = append(names, f.Name)
			if f.Method != zip.Store {
				t.Errorf("%s: %s is compressed", c.name, f.Name)
			}
		}
		if strings.Join(names, " ") != c.entries || !strings.HasPrefix(z.Comment, "Downloaded from http://") || strings.Contains(z.Comment, "secret") {
			t.Errorf("%s: %q, %q; want %q", c.name, names, z.Comment, c.entries)
		}
	}
	// Elsewhere a page stays a page.
	if got := s.ask(t, "GET", "", "/by_id/"+collID+"/", "", "Authorization", "Bearer "+annToken, "Accept", accept); !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
		t.Errorf("GET of a directory of the site = %d, %v", got.StatusCode, got.Header)
	}
}
