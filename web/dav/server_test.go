package dav

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"keepdav/collfs"
)

// A davServer is a handler over one collection in memory, seen by user "ann" at
// /home/coll and by "bob" at /shared/x, on a real connection.
type davServer struct {
	t      *testing.T
	tree   *memTree
	locks  *Locks
	url    string
	client http.RoundTripper
	agent  string // User-Agent of the requests
	user   string
	bobs   string // where bob sees the collection, on a real site
}

func newServer(t *testing.T, change ...func(*Config)) *davServer {
	t.Helper()
	locks, err := NewLocks(t.Context(), LockConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s := &davServer{t: t, tree: newMemTree(), locks: locks, user: "ann"}
	conf := Config{
		Locks: locks,
		Session: func(r *http.Request) (Session, error) {
			user := r.Header.Get("X-User")
			if name, _, ok := r.BasicAuth(); ok {
				user = name
			}
			mount := "/home/coll"
			if user == "bob" {
				mount = "/shared/x"
			}
			return Session{FS: memFS{s.tree, mount}, User: user}, nil
		},
	}
	if strings.HasPrefix(t.Name(), onTheSitePrefix) {
		s.onSite(&conf)
	}
	for _, f := range change {
		f(&conf)
	}
	srv := httptest.NewUnstartedServer(New(conf))
	if strings.HasPrefix(t.Name(), overHTTP2Prefix) {
		srv.EnableHTTP2 = true
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	s.url, s.client = srv.URL, srv.Client().Transport
	return s
}

// funcName is the name of a test.
func funcName(f func(*testing.T)) string {
	name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	return name[strings.LastIndexByte(name, '.')+1:]
}

// as is the same server asked by another client or user.
func (s *davServer) as(user, agent string) *davServer {
	c := *s
	c.user, c.agent = user, agent
	return &c
}

// An answer is a response with its body read.
type answer struct {
	*http.Response
	text string
}

// do sends a request; headers are "Name: value" lines.
func (s *davServer) do(method, path, headers, body string) answer {
	s.t.Helper()
	return s.doBody(method, path, headers, strings.NewReader(body))
}

func (s *davServer) doBody(method, path, headers string, body io.Reader) answer {
	s.t.Helper()
	path, headers = s.asBobSees(path), s.asBobSees(headers)
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("User-Agent", s.agent)
	req.Header.Set("X-User", s.user)
	for line := range strings.SplitSeq(headers, "\n") {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			req.Header.Set(k, v)
		}
	}
	res, err := s.client.RoundTrip(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	if strings.HasPrefix(s.t.Name(), overHTTP2Prefix) != (res.ProtoMajor == 2) {
		s.t.Errorf("%s %s came over %s", method, path, res.Proto)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	return answer{res, s.asTestsSay(string(text))}
}

// want sends a request and checks its status.
func (s *davServer) want(status int, method, path, headers, body string) answer {
	s.t.Helper()
	a := s.do(method, path, headers, body)
	if a.StatusCode != status {
		s.t.Errorf("%s %s [%s] = %d %s; want %d", method, path, strings.TrimSpace(headers), a.StatusCode, a.text, status)
	}
	return a
}

// put makes files with their names as content.
func (s *davServer) put(paths ...string) {
	s.t.Helper()
	for _, p := range paths {
		if strings.HasSuffix(p, "/") {
			s.want(201, "MKCOL", p, "", "")
		} else {
			s.want(201, "PUT", p, "", p)
		}
	}
}

// content is what a GET gives, or "-" and the status.
func (s *davServer) content(path string) string {
	s.t.Helper()
	if a := s.do("GET", path, "", ""); a.StatusCode != 200 {
		return "- " + a.Status
	} else {
		return a.text
	}
}

const (
	exclusiveXML = `<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner>test</D:owner></D:lockinfo>`
	sharedXML    = `<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner>test</D:owner></D:lockinfo>`
)

// lock locks a path and returns the token, without brackets.
func (s *davServer) lock(status int, path, headers, body string) string {
	s.t.Helper()
	a := s.want(status, "LOCK", path, headers, body)
	tok, _ := ParseLockToken(a.Header.Get("Lock-Token"))
	if status < 300 && tok == "" {
		s.t.Errorf("LOCK %s gives no token", path)
	}
	return tok
}

// A msResponse is one <response> as a client reads it.
type msResponse struct {
	Href      string       `xml:"DAV: href"`
	Status    string       `xml:"DAV: status"`
	Propstats []msPropstat `xml:"DAV: propstat"`
}

type msPropstat struct {
	Status string  `xml:"DAV: status"`
	Prop   msProps `xml:"DAV: prop"`
}

type msProps struct {
	All []msProp `xml:",any"`
}

type msProp struct {
	XMLName xml.Name
	Inner   string `xml:",innerxml"`
}

// propfind sends a PROPFIND and reads the answer.
func (s *davServer) propfind(path, headers, body string) []msResponse {
	s.t.Helper()
	a := s.want(207, "PROPFIND", path, headers, body)
	return s.multistatus(a)
}

func (s *davServer) multistatus(a answer) []msResponse {
	s.t.Helper()
	var ms struct {
		XMLName   xml.Name     `xml:"DAV: multistatus"`
		Responses []msResponse `xml:"DAV: response"`
	}
	if err := xml.Unmarshal([]byte(a.text), &ms); err != nil {
		s.t.Fatalf("answer %q: %v", a.text, err)
	}
	return ms.Responses
}

// props asks for named properties of one resource: the value for those with 200.
func (s *davServer) props(path string, names ...string) map[string]string {
	s.t.Helper()
	b := `<D:propfind xmlns:D="DAV:" xmlns:w="urn:schemas-microsoft-com:" xmlns:a="http://apache.org/dav/props/" xmlns:o="http://owncloud.org/ns"><D:prop>`
	for _, n := range names {
		if strings.Contains(n, ":") {
			b += "<" + n + "/>"
		} else {
			b += "<D:" + n + "/>"
		}
	}
	rs := s.propfind(path, "Depth: 0", b+`</D:prop></D:propfind>`)
	if len(rs) != 1 {
		s.t.Fatalf("PROPFIND %s of depth 0 has %d responses", path, len(rs))
	}
	return found(rs[0])
}

// found are the properties of a response that have status 200, by local name.
func found(r msResponse) map[string]string {
	m := map[string]string{}
	for _, ps := range r.Propstats {
		if strings.Contains(ps.Status, " 200 ") {
			for _, p := range ps.Prop.All {
				m[p.XMLName.Local] = p.Inner
			}
		}
	}
	return m
}

func TestEveryKindOfErrorHasAStatus(t *testing.T) {
	for _, k := range collfs.Kinds() {
		if s := statusOf[k]; s < 400 || s > 599 {
			t.Errorf("kind %d has status %d", k, s)
		}
	}
	if len(statusOf) != len(collfs.Kinds()) {
		t.Errorf("the table has %d rows for %d kinds", len(statusOf), len(collfs.Kinds()))
	}
}
