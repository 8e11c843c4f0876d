package dav

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/keepio"
)

// The tests of this file are what common servers get wrong, one by one.

func TestPutSaysWhetherItCreated(t *testing.T) {
	s := newServer(t)
	a := s.want(201, "PUT", "/home/coll/f", "", "one")
	b := s.want(204, "PUT", "/home/coll/f", "", "two")
	if e := a.Header.Get("ETag"); len(e) < 10 || e[0] != '"' || e == b.Header.Get("ETag") {
		t.Errorf("ETags %s, %s", e, b.Header.Get("ETag"))
	}
	if got := s.content("/home/coll/f"); got != "two" {
		t.Errorf("content = %q", got)
	}
	if g := s.do("HEAD", "/home/coll/f", "", ""); g.Header.Get("ETag") != b.Header.Get("ETag") || g.ContentLength != 3 {
		t.Errorf("HEAD after PUT: %v", g.Header)
	}
}

func TestPutHonoursPreconditions(t *testing.T) {
	s := newServer(t)
	s.want(412, "PUT", "/home/coll/f", "If-Match: *", "x")
	etag := s.want(201, "PUT", "/home/coll/f", "If-None-Match: *", "old").Header.Get("ETag")
	s.want(412, "PUT", "/home/coll/f", "If-None-Match: *", "new")
	s.want(412, "PUT", "/home/coll/f", `If-Match: "wrong"`, "new")
	s.want(412, "PUT", "/home/coll/f", `If: (["wrong"])`, "new")
	s.want(412, "PUT", "/home/coll/f", "If: (<DAV:no-lock>)", "new")
	s.want(400, "PUT", "/home/coll/f", "If: (", "new")
	if got := s.content("/home/coll/f"); got != "old" {
		t.Fatalf("a refused PUT left %q", got)
	}
	s.want(204, "PUT", "/home/coll/f", "If: (Not <DAV:no-lock> ["+etag+"])", "newer")
	s.want(412, "PUT", "/home/coll/f", "If-Match: "+etag, "new")
	s.want(412, "DELETE", "/home/coll/f", "If-Match: "+etag, "")
	s.want(412, "MOVE", "/home/coll/f", "If-Match: "+etag+"\nDestination: /home/coll/g", "")
	if got := s.content("/home/coll/f"); got != "newer" {
		t.Errorf("content = %q", got)
	}
}

func TestPreconditionsHoldAtCommitToo(t *testing.T) {
	s := newServer(t)
	etag := s.want(201, "PUT", "/home/coll/f", "", "old").Header.Get("ETag")
	s.tree.beforeCommit = func() {
		s.tree.beforeCommit = nil
		s.tree.mu.Lock()
		defer s.tree.mu.Unlock()
		s.tree.nodes["f"] = &memNode{data: []byte("somebody else's"), mtime: memTime}
	}
	s.want(412, "PUT", "/home/coll/f", "If-Match: "+etag, "mine")
	if got := s.content("/home/coll/f"); got != "somebody else's" {
		t.Errorf("content = %q", got)
	}
	s.tree.beforeCommit = func() {
		s.tree.beforeCommit = nil
		if _, err := s.locks.Acquire(t.Context(), Lock{Place: LockPlace{Tree: memUUID, Path: "/f", Name: "/shared/x/f"}, User: "bob"}); err != nil {
			t.Error(err)
		}
	}
	s.want(423, "PUT", "/home/coll/f", "", "mine")
}

func TestPutOfAPartKeepsTheRest(t *testing.T) {
	s := newServer(t)
	s.want(201, "PUT", "/home/coll/f", "", "0123456789")
	s.want(204, "PUT", "/home/coll/f", "Content-Range: bytes 2-4/10", "abc")
	s.want(204, "PUT", "/home/coll/f", "Content-Range: bytes 9-11/*", "xyz")
	if got := s.content("/home/coll/f"); got != "01abc5678xyz" {
		t.Errorf("content = %q", got)
	}
	s.want(400, "PUT", "/home/coll/f", "Content-Range: junk", "abc")
	s.want(416, "PUT", "/home/coll/f", "Content-Range: bytes 2-9/10", "abc")
	s.want(416, "PUT", "/home/coll/new", "Content-Range: bytes 2-4/10", "abc")
	s.want(412, "PUT", "/home/coll/f", "Content-Range: bytes 0-2/*\nIf-Match: \"no\"", "abc")
	s.want(204, "PUT", "/home/coll/f", "Content-Range: bytes 0-2/3", "new")
	if got := s.content("/home/coll/f"); got != "new" {
		t.Errorf("content after a range that is the whole = %q", got)
	}
	s.want(201, "PUT", "/home/coll/new", "Content-Range: bytes 0-2/3", "abc")
}

func TestPartOfASmallerWholeIsRefused(t *testing.T) {
	var m meanwhile
	s := newServer(t, m.hook)
	s.want(201, "PUT", "/home/coll/f", "", "0123456789")
	a := s.want(416, "PUT", "/home/coll/f", "Content-Range: bytes 2-4/5", "abc")
	if got := a.Header.Get("Content-Range"); got != "bytes */10" {
		t.Errorf("Content-Range of the refusal: %q", got)
	}
	m.before = func() { s.want(204, "PUT", "/home/coll/f", "", "0123456789 and more") }
	s.want(416, "PUT", "/home/coll/f", "Content-Range: bytes 2-4/10", "abc")
	if got := s.content("/home/coll/f"); got != "0123456789 and more" {
		t.Errorf("content = %q", got)
	}
	s.want(204, "PUT", "/home/coll/f", "Content-Range: bytes 2-4/100", "abc")
}

func TestPatchUpdatesInPlace(t *testing.T) {
	const head = "Content-Type: application/x-sabredav-partialupdate\nX-Update-Range: "
	s := newServer(t)
	s.want(201, "PUT", "/home/coll/f", "", "0123456789")
	s.want(204, "PATCH", "/home/coll/f", head+"bytes=3-5", "abc")
	s.want(204, "PATCH", "/home/coll/f", head+"bytes=-2", "yz")
	s.want(204, "PATCH", "/home/coll/f", head+"append", "!")
	a := s.want(204, "PATCH", "/home/coll/f", head+"bytes=0-", "Z")
	if got := s.content("/home/coll/f"); got != "Z12abc67yz!" {
		t.Errorf("content = %q", got)
	}
	if got := s.do("HEAD", "/home/coll/f", "", "").Header.Get("ETag"); a.Header.Get("ETag") != got {
		t.Errorf("ETag of the answer %s; of the file %s", a.Header.Get("ETag"), got)
	}
	s.want(415, "PATCH", "/home/coll/f", "X-Update-Range: append", "x")
	s.want(400, "PATCH", "/home/coll/f", head+"junk", "x")
	s.want(416, "PATCH", "/home/coll/f", head+"bytes=1-5", "x")
	s.want(416, "PATCH", "/home/coll/f", head+"bytes=-100", "x")
	s.want(404, "PATCH", "/home/coll/none", head+"append", "x")
	s.want(405, "PATCH", "/home/coll/", head+"append", "x")
	s.want(412, "PATCH", "/home/coll/f", head+"append\nIf-Match: \"x\"", "x")
	if a := s.doBody("PATCH", "/home/coll/f", head+"append", io.MultiReader(strings.NewReader("x"))); a.StatusCode != 411 {
		t.Errorf("PATCH without a length = %s", a.Status)
	}
}

// raw writes a request to a connection of its own and returns the connection.
func (s *davServer) raw(text string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func TestCutUploadChangesNothing(t *testing.T) {
	s := newServer(t)
	old := strings.Repeat("o", 1000)
	s.want(201, "PUT", "/home/coll/f", "", old)
	commits := s.tree.commits
	for _, head := range []string{"Content-Length: 1000\n\nshort", "Transfer-Encoding: chunked\n\n5\nshort\n", "Content-Length: 200000\n\n" + strings.Repeat("x", 131072)} {
		for _, path := range []string{"f", "new"} {
			c := s.raw("PUT /home/coll/" + path + " HTTP/1.1\nHost: h\nX-User: ann\n" + head)
			c.(*net.TCPConn).CloseWrite()
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != 400 {
				t.Errorf("cut PUT of %s = %s", path, res.Status)
			}
		}
	}
	if got := s.content("/home/coll/f"); got != old || s.tree.commits != commits {
		t.Errorf("the cut upload left %d bytes, %d commits", len(got), s.tree.commits-commits)
	}
	s.want(404, "GET", "/home/coll/new", "", "")
	// A chunked body that ends well, but before the length that was promised.
	c := s.raw("PUT /home/coll/new HTTP/1.1\nHost: h\nX-User: ann\nX-Expected-Entity-Length: 9\nTransfer-Encoding: chunked\n\n5\nshort\n0\n\n")
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 400 {
		t.Errorf("a body shorter than X-Expected-Entity-Length = %v, %v", res, err)
	}
	s.want(404, "GET", "/home/coll/new", "", "")
}

func TestMoveOverwritesUnlessToldNotTo(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/a", "/home/coll/b")
	s.want(412, "MOVE", "/home/coll/a", "Destination: /home/coll/b\nOverwrite: F", "")
	s.want(412, "COPY", "/home/coll/a", "Destination: /home/coll/b\nOverwrite: F", "")
	s.want(204, "MOVE", "/home/coll/a", "Destination: /home/coll/b", "")
	if got := s.content("/home/coll/b"); got != "/home/coll/a" {
		t.Errorf("content = %q", got)
	}
	s.want(404, "GET", "/home/coll/a", "", "")
	s.want(201, "MOVE", "/home/coll/b", "Destination: /home/coll/c\nOverwrite: F", "")
}

func TestDestinationOfAnotherHostIsOurs(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/a")
	s.want(201, "COPY", "/home/coll/a", "Destination: https://public.example:8443/home/coll/b%20c", "")
	s.want(201, "MOVE", "/home/coll/a", "Destination: http://elsewhere/home/coll/x/../d", "")
	if got := s.content("/home/coll/b%20c") + s.content("/home/coll/d"); got != "/home/coll/a/home/coll/a" {
		t.Errorf("contents = %q", got)
	}
	s.want(400, "MOVE", "/home/coll/d", "", "")
	s.want(400, "MOVE", "/home/coll/d", "Destination: d2", "")
	s.want(400, "MOVE", "/home/coll/d", "Destination: /home/coll/a%2Fb", "")
	s.want(409, "MOVE", "/home/coll/d", "Destination: /home/coll/none/d", "")
	s.want(404, "MOVE", "/home/coll/none", "Destination: /home/coll/d", "")
}

func TestDestinationOutsideThePrefixIsRefused(t *testing.T) {
	s := newServer(t, func(c *Config) { c.Prefix = "/dav" })
	s.put("/dav/home/coll/a")
	s.want(403, "MOVE", "/dav/home/coll/a", "Destination: /home/coll/b", "")
	s.want(403, "MOVE", "/dav/home/coll/a", "Destination: /dav/%2e%2e/x", "")
	s.want(201, "MOVE", "/dav/home/coll/a", "Destination: /dav/home/coll/b", "")
	s.want(404, "GET", "/home/coll/b", "", "")
	s.want(200, "OPTIONS", "/", "", "")
	if rs := s.propfind("/dav/home/coll/", "Depth: 1", ""); len(rs) != 2 || rs[1].Href != "/dav/home/coll/b" {
		t.Errorf("hrefs: %+v", rs)
	}
}

func TestDepthIsReadWithoutCase(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/d/", "/home/coll/d/e/", "/home/coll/d/e/f")
	for depth, n := range map[string]int{"0": 1, "1": 2, "Infinity": 3, "INFINITY": 3, "1,noroot": 1} {
		if rs := s.propfind("/home/coll/d/", "Depth: "+depth, ""); len(rs) != n {
			t.Errorf("depth %s has %d responses; want %d", depth, len(rs), n)
		}
	}
	s.want(400, "PROPFIND", "/home/coll/d/", "Depth: 2", "")
}

func TestDeepTreesAreListedWhole(t *testing.T) {
	s := newServer(t)
	p := ""
	for range 50 {
		p += "/d"
		s.tree.nodes[p[1:]] = &memNode{dir: true, mtime: memTime}
		for j := range 6 {
			s.tree.nodes[fmt.Sprintf("%s/f%d", p[1:], j)] = &memNode{mtime: memTime}
		}
	}
	if rs := s.propfind("/home/coll/", "Depth: infinity", ""); len(rs) != 351 {
		t.Errorf("%d responses; want 351", len(rs))
	}
}

func TestInfinitePropfindIsBounded(t *testing.T) {
	s := newServer(t, func(c *Config) { c.MaxEntries = 5 })
	s.put("/home/coll/d/", "/home/coll/d/1", "/home/coll/d/2", "/home/coll/d/3", "/home/coll/d/4")
	if rs := s.propfind("/home/coll/d/", "", ""); len(rs) != 5 {
		t.Errorf("without a Depth: %d responses", len(rs))
	}
	s.put("/home/coll/d/5")
	for _, h := range []string{"", "Depth: infinity"} {
		if a := s.want(403, "PROPFIND", "/home/coll/d/", h, ""); !strings.Contains(a.text, "<D:propfind-finite-depth>") && !strings.Contains(a.text, "<D:propfind-finite-depth/>") {
			t.Errorf("body = %q", a.text)
		}
	}
	s.propfind("/home/coll/d/", "Depth: 1", "")
}

func TestPartHasAsManyBytesAsItsRange(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	old := s.want(200, "GET", "/home/coll/f", "", "").text
	for _, body := range []string{"ab", "abcd", "abc" + strings.Repeat("x", 1<<20)} {
		chunked := struct{ io.Reader }{strings.NewReader(body)}
		if a := s.doBody("PUT", "/home/coll/f", "Content-Range: bytes 0-2/*", chunked); a.StatusCode != 400 {
			t.Errorf("%d bytes for a range of three = %d; want 400", len(body), a.StatusCode)
		}
	}
	if got := s.want(200, "GET", "/home/coll/f", "", "").text; got != old {
		t.Errorf("the file has become %q", got)
	}
	s.do("PUT", "/home/coll/f", "", "0123456789")
	if a := s.doBody("PUT", "/home/coll/f", "Content-Range: bytes 2-4/*", struct{ io.Reader }{strings.NewReader("abc")}); a.StatusCode != 204 {
		t.Errorf("three bytes in chunks for a range of three = %d; want 204", a.StatusCode)
	}
	if got := s.want(200, "GET", "/home/coll/f", "", "").text; got != "01abc56789" {
		t.Errorf("the file has become %q", got)
	}
}

// endsWith is a body that breaks off.
type endsWith struct {
	io.Reader
	err error
}

func (e endsWith) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err == io.EOF {
		err = e.err
	}
	return n, err
}

func TestStreamThatIsResetCommitsNothing(t *testing.T) {
	failed := make(chan error, 1)
	s := newServer(t, func(c *Config) {
		c.Failed = func(_ *http.Request, _ int, err error) { failed <- err }
	})
	s.want(201, "PUT", "/home/coll/f", "", "old")
	for _, size := range []int64{-1, 1 << 20} {
		for _, method := range []string{"PUT", "PATCH"} {
			body := endsWith{strings.NewReader(strings.Repeat("n", 100<<10)), errors.New("the client has had enough")}
			req, err := http.NewRequestWithContext(t.Context(), method, s.url+"/home/coll/f", body)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = size
			req.Header.Set("X-User", "ann")
			if method == "PATCH" {
				req.Header.Set("Content-Type", "application/x-sabredav-partialupdate")
				req.Header.Set("X-Update-Range", fmt.Sprintf("bytes=0-%d", 1<<20-1))
			}
			if res, err := s.client.RoundTrip(req); err == nil {
				res.Body.Close()
				if res.StatusCode < 400 {
					t.Errorf("%s of %d bytes that was cut = %s", method, size, res.Status)
				}
			}
			if err := <-failed; err == nil {
				t.Errorf("%s of %d bytes: no reason is given", method, size)
			}
			if got := s.content("/home/coll/f"); got != "old" {
				t.Errorf("%s of %d bytes that was cut left %d bytes", method, size, len(got))
			}
		}
	}
}

// meanwhile is what happens once, just before or after a change is made.
type meanwhile struct{ before, after func() }

// hook puts a file system in the sessions of a server in which it happens.
func (m *meanwhile) hook(c *Config) {
	session := c.Session
	c.Session = func(r *http.Request) (Session, error) {
		s, err := session(r)
		s.FS = busyFS{s.FS, m}
		return s, err
	}
}

func once(f *func()) {
	if do := *f; do != nil {
		*f = nil
		do()
	}
}

type busyFS struct {
	davfs.FileSystem
	m *meanwhile
}

func (b busyFS) Copy(ctx context.Context, src, dst string, o davfs.CopyOptions) (bool, error) {
	once(&b.m.before)
	defer once(&b.m.after)
	return b.FileSystem.Copy(ctx, src, dst, o)
}

func (b busyFS) Move(ctx context.Context, src, dst string, o davfs.CopyOptions) (bool, error) {
	once(&b.m.before)
	defer once(&b.m.after)
	return b.FileSystem.Move(ctx, src, dst, o)
}

func (b busyFS) WriteAt(ctx context.Context, name string, off, n int64, body io.Reader, check davfs.Check) (davfs.Info, error) {
	once(&b.m.before)
	return b.FileSystem.WriteAt(ctx, name, off, n, body, check)
}

func (b busyFS) SetAttr(ctx context.Context, name string, c davfs.AttrChange) (davfs.Info, error) {
	once(&b.m.before)
	return b.FileSystem.SetAttr(ctx, name, c)
}

func (b busyFS) Mkdir(ctx context.Context, name string, a davfs.AttrChange) (davfs.Info, error) {
	once(&b.m.before)
	return b.FileSystem.Mkdir(ctx, name, a)
}

func (b busyFS) Remove(ctx context.Context, name string, check davfs.Check) error {
	once(&b.m.before)
	defer once(&b.m.after)
	return b.FileSystem.Remove(ctx, name, check)
}

func TestLockTakenAfterADeleteStays(t *testing.T) {
	var m meanwhile
	s := newServer(t, m.hook)
	bob := s.as("bob", "")
	s.put("/home/coll/f", "/home/coll/g", "/home/coll/h", "/home/coll/d/", "/home/coll/d/x", "/home/coll/e/")
	var tok string
	for _, c := range []struct {
		status                 int
		method, path, to, then string // then: what bob locks
	}{
		{204, "DELETE", "/home/coll/f", "", "/shared/x/f"},
		{201, "MOVE", "/home/coll/g", "/home/coll/g2", "/shared/x/g"},
		{204, "MOVE", "/home/coll/e", "/home/coll/d", "/shared/x/d/x"},
	} {
		m.after = func() { tok = bob.lock(201, c.then, "", exclusiveXML) }
		s.want(c.status, c.method, c.path, "Destination: "+c.to, "")
		mine := strings.Replace(c.then, "/shared/x", "/home/coll", 1)
		s.want(423, "PUT", mine, "", "ann's")
		bob.want(204, "PUT", c.then, "If: (<"+tok+">)", "bob's")
	}
}

func TestCopyChecksItsSourceAgain(t *testing.T) {
	var m meanwhile
	s := newServer(t, m.hook)
	s.put("/home/coll/f")
	etag := s.want(200, "HEAD", "/home/coll/f", "", "").Header.Get("ETag")
	headers := "If-Match: " + etag + "\nDestination: /home/coll/g"
	s.want(201, "COPY", "/home/coll/f", headers, "")
	m.before = func() { s.want(204, "PUT", "/home/coll/f", "", "changed meanwhile") }
	s.want(412, "COPY", "/home/coll/f", strings.Replace(headers, "/g", "/h", 1), "")
	s.want(404, "GET", "/home/coll/h", "", "")
}

func TestIfHoldsForTheDestinationToTheEnd(t *testing.T) {
	var m meanwhile
	s := newServer(t, m.hook)
	s.put("/home/coll/f", "/home/coll/g")
	etag := s.want(200, "HEAD", "/home/coll/g", "", "").Header.Get("ETag")
	for _, method := range []string{"COPY", "MOVE"} {
		headers := "Destination: /home/coll/g\nIf: </home/coll/g> ([" + etag + "])"
		m.before = func() { s.want(204, "PUT", "/home/coll/g", "", "changed meanwhile") }
		s.want(412, method, "/home/coll/f", headers, "")
		if got := s.content("/home/coll/g"); got != "changed meanwhile" {
			t.Errorf("after %s: %q", method, got)
		}
		s.want(204, "PUT", "/home/coll/g", "", "/home/coll/g")
		s.want(204, method, "/home/coll/f", headers, "")
		s.want(204, "PUT", "/home/coll/g", "", "/home/coll/g")
	}
}

func TestInfinitePropfindIsBoundedInDepth(t *testing.T) {
	s := newServer(t)
	p := ""
	for range maxLevels + 50 {
		p = strings.TrimPrefix(p+"/d", "/")
		s.tree.nodes[p] = &memNode{dir: true, mtime: memTime}
	}
	a := s.want(207, "PROPFIND", "/home/coll/", "Depth: infinity", "")
	if n := strings.Count(a.text, "<D:getlastmodified>"); n != maxLevels+1 {
		t.Errorf("%d directories are described; want %d", n, maxLevels+1)
	}
	if !strings.Contains(a.text, "propfind-finite-depth") {
		t.Error("nothing says that there is more below")
	}
}

func TestLockTokenIsAURI(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	a := s.want(200, "LOCK", "/home/coll/f", "", exclusiveXML)
	tok, _ := ParseLockToken(a.Header.Get("Lock-Token"))
	if !strings.HasPrefix(tok, "urn:uuid:") || !strings.Contains(a.text, "<D:href>"+tok+"</D:href>") {
		t.Errorf("token %q in %s", tok, a.text)
	}
	if a.Header.Get("Lock-Token") != "<"+tok+">" {
		t.Errorf("Lock-Token: %s", a.Header.Get("Lock-Token"))
	}
}

func TestMoveOfALockedSourceNeedsOnlyItsToken(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/a")
	tok := s.lock(200, "/home/coll/a", "", exclusiveXML)
	s.want(423, "MOVE", "/home/coll/a", "Destination: /home/coll/b", "")
	s.want(201, "MOVE", "/home/coll/a", "Destination: /home/coll/b\nIf: (<"+tok+">)", "")
	// The lock does not move along, and does not stay.
	s.want(204, "PUT", "/home/coll/b", "", "x")
	s.want(201, "PUT", "/home/coll/a", "", "x")
}

func TestLockDiesWithItsFile(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	tok := s.lock(200, "/home/coll/f", "", exclusiveXML)
	s.want(423, "DELETE", "/home/coll/f", "", "")
	s.want(204, "DELETE", "/home/coll/f", "If: (<"+tok+">)", "")
	s.want(201, "PUT", "/home/coll/f", "", "again")
}

func TestDirectoryWithALockedMemberStays(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/d/", "/home/coll/d/e/", "/home/coll/d/e/f", "/home/coll/other")
	bob := s.as("bob", "")
	tok := bob.lock(200, "/shared/x/d/e/f", "", exclusiveXML)
	a := s.want(423, "DELETE", "/home/coll/d/", "", "")
	if !strings.Contains(a.text, "<D:lock-token-submitted><D:href>/home/coll/d/e/f</D:href>") {
		t.Errorf("body = %s", a.text)
	}
	s.want(423, "DELETE", "/home/coll/d/", "If: <"+s.url+"/home/coll/d/e/f> (<"+tok+">)", "")
	s.want(423, "MOVE", "/home/coll/d/", "Destination: /home/coll/g", "")
	s.want(423, "COPY", "/home/coll/other", "Destination: /home/coll/d", "")
	s.want(201, "COPY", "/home/coll/d/", "Destination: /home/coll/h", "")
	if got := s.content("/home/coll/d/e/f"); got != "/home/coll/d/e/f" {
		t.Errorf("content = %q", got)
	}
	bob.want(204, "DELETE", "/shared/x/d/", "If: <"+s.url+"/shared/x/d/e/f> (<"+tok+">)", "")
}

func TestDirectoryWithALockedMemberIsNotLockedOver(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/d/", "/home/coll/d/e/", "/home/coll/d/e/f")
	bob := s.as("bob", "")
	bob.lock(200, "/shared/x/d/e/f", "", exclusiveXML)
	a := s.want(207, "LOCK", "/home/coll/d/", "Depth: infinity", exclusiveXML)
	var got []string
	for _, r := range s.multistatus(a) {
		got = append(got, r.Href+" "+r.Status)
	}
	if got := strings.Join(got, "; "); got != "/home/coll/d/e/f HTTP/1.1 423 Locked; /home/coll/d/ HTTP/1.1 424 Failed Dependency" {
		t.Errorf("responses: %s", got)
	}
	if a.Header.Get("Lock-Token") != "" || len(s.locks.List()) != 1 {
		t.Errorf("a lock was granted all the same: %v", s.locks.List())
	}
	// Where the resource itself is locked, that is all there is to say.
	if a := s.want(423, "LOCK", "/home/coll/d/e/f", "", exclusiveXML); !strings.Contains(a.text, "<D:no-conflicting-lock><D:href>/home/coll/d/e/f</D:href>") {
		t.Errorf("body = %s", a.text)
	}
	s.lock(200, "/home/coll/d/", "Depth: 0", exclusiveXML)
	s.lock(423, "/home/coll/d/", "Depth: infinity", exclusiveXML)
}

func TestLockWithASlashMakesNoFile(t *testing.T) {
	s := newServer(t)
	s.lock(409, "/home/coll/new/", "", exclusiveXML)
	s.want(201, "MKCOL", "/home/coll/new/", "", "")
	tok := s.lock(200, "/home/coll/new/", "", exclusiveXML)
	s.want(200, "LOCK", "/home/coll/new/", "Depth: 1\nIf: (<"+tok+">)", "") // a refresh has no depth
}

func TestLockHonoursConditionsWhenItMakesTheFile(t *testing.T) {
	s := newServer(t)
	theirs := func() {
		s.tree.beforeCommit = nil
		s.tree.mu.Lock()
		defer s.tree.mu.Unlock()
		s.tree.nodes["f"] = &memNode{data: []byte("somebody else's"), mtime: memTime}
	}
	s.tree.beforeCommit = theirs
	s.lock(412, "/home/coll/f", "If-None-Match: *", exclusiveXML)
	if !s.locks.Empty() {
		t.Errorf("refused, it holds: %v", s.locks.List())
	}
	s.want(204, "DELETE", "/home/coll/f", "", "")
	s.tree.beforeCommit = theirs
	s.lock(200, "/home/coll/f", "", exclusiveXML)
	if got := s.content("/home/coll/f"); got != "somebody else's" {
		t.Errorf("content = %q", got)
	}
}

func TestNamesOfAnyByteAreFoundByTheirHref(t *testing.T) {
	s := newServer(t)
	want := map[string]bool{}
	for c := range 256 {
		if c == 0 || c == '/' {
			continue
		}
		for _, name := range []string{string([]byte{byte(c)}), string([]byte{'a', byte(c), 'b'})} {
			if name != "." {
				want[name] = true
				s.tree.nodes[name] = &memNode{data: []byte(name), mtime: memTime}
			}
		}
	}
	for _, agent := range []string{"", windowsUA} {
		c := s.as("ann", agent)
		rs := c.propfind("/home/coll/", "Depth: 1", "")[1:]
		if len(rs) != len(want) {
			t.Errorf("%d files are listed; want %d", len(rs), len(want))
		}
		got := map[string]bool{}
		for _, r := range rs {
			got[c.content(r.Href)] = true
		}
		for name := range want {
			if !got[name] {
				t.Errorf("%q: nobody finds %q by an href", agent, name)
			}
		}
	}
}

func TestUnlockHonoursIf(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	tok := s.lock(200, "/home/coll/f", "", exclusiveXML)
	s.want(412, "UNLOCK", "/home/coll/f", "Lock-Token: <"+tok+">\nIf: ([\"other\"])", "")
	etag := s.want(200, "HEAD", "/home/coll/f", "", "").Header.Get("ETag")
	s.want(204, "UNLOCK", "/home/coll/f", "Lock-Token: <"+tok+">\nIf: (<"+tok+"> ["+etag+"])", "")
}

func TestSharedLocks(t *testing.T) {
	s := newServer(t)
	bob := s.as("bob", "")
	s.put("/home/coll/f")
	a := s.lock(200, "/home/coll/f", "", sharedXML)
	b := bob.lock(200, "/shared/x/f", "", sharedXML)
	if a == b {
		t.Error("two locks have one token")
	}
	bob.lock(423, "/shared/x/f", "", exclusiveXML)
	s.want(423, "PUT", "/home/coll/f", "", "x")
	s.want(204, "PUT", "/home/coll/f", "If: (<"+a+">)", "x")
	s.want(204, "UNLOCK", "/home/coll/f", "Lock-Token: <"+a+">", "")
	s.want(403, "UNLOCK", "/home/coll/f", "Lock-Token: <"+b+">", "")
	bob.want(204, "UNLOCK", "/shared/x/f", "Lock-Token: "+b, "")
}

func TestLockWithoutAParentIsAConflict(t *testing.T) {
	s := newServer(t)
	s.lock(409, "/home/coll/none/f", "", exclusiveXML)
	s.want(409, "PUT", "/home/coll/none/f", "", "x")
	s.want(409, "MKCOL", "/home/coll/none/d", "", "")
	s.put("/home/coll/f")
	s.want(409, "PUT", "/home/coll/f/x", "", "x")
	s.want(409, "MKCOL", "/home/coll/f/x", "", "")
	s.want(404, "GET", "/home/coll/f/x", "", "")
}

func TestLockTimeoutIsClamped(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f", "/home/coll/g")
	for h, want := range map[string]string{"Timeout: Infinite": "Second-3600", "Timeout: Second-90": "Second-90", "Timeout: Infinite, Second-4100000000": "Second-3600"} {
		a := s.want(200, "LOCK", "/home/coll/f", h, sharedXML)
		if !strings.Contains(a.text, "<D:timeout>"+want+"</D:timeout>") {
			t.Errorf("%s: %s", h, a.text)
		}
	}
}

func TestUnlockElsewhereIsAConflict(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f", "/home/coll/g", "/home/coll/d/", "/home/coll/d/x")
	tok := s.lock(200, "/home/coll/f", "", exclusiveXML)
	a := s.want(409, "UNLOCK", "/home/coll/g", "Lock-Token: <"+tok+">", "")
	if !strings.Contains(a.text, "lock-token-matches-request-uri") {
		t.Errorf("body = %s", a.text)
	}
	s.want(409, "UNLOCK", "/home/coll/f", "Lock-Token: <urn:uuid:nothing>", "")
	s.want(400, "UNLOCK", "/home/coll/f", "", "")
	s.want(204, "UNLOCK", "/home/coll/f", "Lock-Token: <"+tok+">", "")
	tok = s.lock(200, "/home/coll/d/", "Depth: infinity", exclusiveXML)
	s.want(204, "UNLOCK", "/home/coll/d/x", "Lock-Token: <"+tok+">", "")
}

func TestLockDiscoveryShowsLocks(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/d/", "/home/coll/d/f", "/home/coll/g")
	if got := s.props("/home/coll/g", "lockdiscovery", "supportedlock"); got["lockdiscovery"] != "" || strings.Count(got["supportedlock"], "lockentry>") != 4 {
		t.Errorf("without locks: %v", got)
	}
	tok := s.lock(200, "/home/coll/d/", "Depth: infinity", exclusiveXML)
	bob := s.as("bob", "")
	got := bob.props("/shared/x/d/f", "lockdiscovery")["lockdiscovery"]
	for _, want := range []string{tok, "<D:depth>infinity</D:depth>", "<D:lockroot><D:href>/shared/x/d/</D:href></D:lockroot>", "<D:owner>test</D:owner>", "<D:exclusive/>"} {
		if !strings.Contains(got, want) {
			t.Errorf("lockdiscovery %s lacks %s", got, want)
		}
	}
}

func TestQuotaAndCreationDate(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	got := s.props("/home/coll/", "quota-used-bytes", "quota-available-bytes", "creationdate")
	if got["quota-used-bytes"] != "1000" || got["quota-available-bytes"] != "1099511627776" || got["creationdate"] != "2026-03-01T12:00:00Z" {
		t.Errorf("collection: %v", got)
	}
	if got := s.props("/home/coll/f", "creationdate", "getlastmodified"); got["getlastmodified"] != "Sun, 01 Mar 2026 12:00:00 GMT" || got["creationdate"] == "" {
		t.Errorf("file: %v", got)
	}
}

func TestTroubleBelowIsNoMissingFile(t *testing.T) {
	var logged []error
	s := newServer(t, func(c *Config) {
		c.Failed = func(_ *http.Request, _ int, err error) { logged = append(logged, err) }
	})
	s.put("/home/coll/f")
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("odd"), 500}, {keepio.ErrUnavailable, 503}, {keepio.ErrFull, 507}, {keepio.ErrCorrupt, 500}, {keepio.ErrNotFound, 500},
		{fs.ErrPermission, 403}, {collfs.ErrReadOnly, 403}, {fmt.Errorf("wrapped: %w", keepio.ErrUnavailable), 503},
	} {
		s.tree.failOpen = c.err
		g := s.want(c.want, "GET", "/home/coll/f", "", "")
		s.want(c.want, "PUT", "/home/coll/f", "", "x")
		if !errors.Is(logged[len(logged)-1], c.err) {
			t.Errorf("%v is logged as %v", c.err, logged[len(logged)-1])
		}
		if g.text != "" || (c.want == 503) != (g.Header.Get("Retry-After") != "") {
			t.Errorf("%v: body %q, header %v", c.err, g.text, g.Header)
		}
	}
	s.tree.failOpen = nil
	if got := s.content("/home/coll/f"); got != "/home/coll/f" {
		t.Errorf("content = %q", got)
	}
}

func TestCopyIntoItselfIsRefusedAtOnce(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/A/", "/home/coll/A/f")
	for _, m := range []string{"COPY", "MOVE"} {
		for _, d := range []string{"A/B", "A/B/C", "A", "A/", "%41/./B"} {
			if d == "A/B/C" {
				continue // no such parent either
			}
			s.want(403, m, "/home/coll/A", "Destination: /home/coll/"+d, "")
		}
		s.want(403, m, "/home/coll/A/f", "Destination: /home/coll/A", "")
	}
	if rs := s.propfind("/home/coll/A", "Depth: infinity", ""); len(rs) != 2 {
		t.Errorf("after the refusals: %d members", len(rs))
	}
}

func TestCopyWithoutMembersMayGoInside(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/A/", "/home/coll/A/f")
	s.want(201, "COPY", "/home/coll/A", "Destination: /home/coll/A/B\nDepth: 0", "")
}

func TestFileIsNoDirectory(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	s.want(404, "GET", "/home/coll/f/", "", "")
	s.want(404, "HEAD", "/home/coll/f/", "", "")
	s.want(404, "PROPFIND", "/home/coll/f/", "Depth: 0", "")
	s.want(404, "DELETE", "/home/coll/f/", "", "")
	s.want(409, "PUT", "/home/coll/g/", "", "x")
	s.want(405, "PUT", "/home/coll/", "", "x")
}

func TestPropfindOpensNothing(t *testing.T) {
	s := newServer(t)
	for i := range 100 {
		s.put(fmt.Sprintf("/home/coll/f%03d", i))
	}
	for _, body := range []string{"", `<propfind xmlns="DAV:"><prop><getcontenttype/><getetag/><resourcetype/></prop></propfind>`} {
		s.tree.opens, s.tree.stats = 0, 0
		if rs := s.propfind("/home/coll/", "Depth: 1", body); len(rs) != 101 {
			t.Errorf("%d responses", len(rs))
		}
		if s.tree.opens != 0 || s.tree.stats > 1 {
			t.Errorf("PROPFIND of 100 files: %d opens, %d stats", s.tree.opens, s.tree.stats)
		}
	}
}

func TestMkcolRules(t *testing.T) {
	s := newServer(t)
	s.want(201, "MKCOL", "/home/coll/d", "X-OC-Mtime: 1700000000", "")
	if got := s.props("/home/coll/d", "getlastmodified")["getlastmodified"]; got != "Tue, 14 Nov 2023 22:13:20 GMT" {
		t.Errorf("getlastmodified = %s", got)
	}
	if a := s.want(405, "MKCOL", "/home/coll/d/", "", ""); a.Header.Get("Allow") == "" {
		t.Error("405 without Allow")
	}
	s.want(409, "MKCOL", "/home/coll/x/y", "", "")
	s.want(415, "MKCOL", "/home/coll/e", "Content-Type: text/xml", "<x/>")
	s.want(404, "PROPFIND", "/home/coll/e", "", "")
	if a := s.doBody("MKCOL", "/home/coll/e", "", struct{ io.Reader }{strings.NewReader("x")}); a.StatusCode != 415 {
		t.Errorf("MKCOL with a body in chunks = %s", a.Status)
	}
	s.tree.readOnly = true
	s.want(403, "MKCOL", "/home/coll/e", "", "")
	s.want(403, "PUT", "/home/coll/f", "", "x")
	s.want(403, "DELETE", "/home/coll/d", "", "")
	s.want(403, "PROPPATCH", "/home/coll/d", "", patchXML(`<Z:a xmlns:Z="z">1</Z:a>`))
	s.want(403, "DELETE", "/", "", "")
}

func TestExpectContinueIsNotGivenToTheRefused(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	s.as("bob", "").lock(200, "/shared/x/f", "", exclusiveXML)
	for target, want := range map[string]string{"PUT f": "423", "PUT none/x": "409", "PUT ": "405", "MKCOL d": "415", "MKCOL none/d": "4"} {
		method, path, _ := strings.Cut(target, " ")
		c := s.raw(method + " /home/coll/" + path + " HTTP/1.1\nHost: h\nX-User: ann\nContent-Length: 1000000000\nExpect: 100-continue\n\n")
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.Contains(line, want) {
			t.Errorf("%s with Expect = %q, %v; want %s", target, line, err, want)
		}
	}
}

func TestStalledClientsAreLetGo(t *testing.T) {
	s := newServer(t, func(c *Config) { c.Stall = 100 * time.Millisecond })
	s.want(201, "PUT", "/home/coll/f", "", "old")
	// One that stops sending is told so, and changes nothing.
	c := s.raw("PUT /home/coll/f HTTP/1.1\nHost: h\nX-User: ann\nContent-Length: 1000\n\nabc")
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 408 || !res.Close {
		t.Errorf("a stalled PUT = %v, %v", res, err)
	}
	c = s.raw("PROPFIND /home/coll/ HTTP/1.1\nHost: h\nX-User: ann\nContent-Length: 1000\n\n<a")
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 408 {
		t.Errorf("a stalled PROPFIND = %v, %v", res, err)
	}
	c = s.raw("MKCOL /home/coll/d HTTP/1.1\nHost: h\nX-User: ann\nTransfer-Encoding: chunked\n\n")
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 408 {
		t.Errorf("a stalled MKCOL = %v, %v", res, err)
	}
	if got := s.content("/home/coll/f"); got != "old" {
		t.Errorf("content = %q", got)
	}
	// One that stops taking is cut off: reading on ends before the promised length.
	s.tree.nodes["big"] = &memNode{data: make([]byte, 64<<20), mtime: memTime}
	done := make(chan struct{})
	s.tree.closed = func() { close(done) }
	c = s.raw("GET /home/coll/big HTTP/1.1\nHost: h\nX-User: ann\n\n")
	<-done
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, _ := io.Copy(io.Discard, c); n >= 64<<20 {
		t.Errorf("a client that took nothing for a while got all %d bytes", n)
	}
}

func TestRefusedBodyIsDrained(t *testing.T) {
	s := newServer(t)
	// Without Expect a client sends all before it reads.
	for range 3 {
		s.want(409, "PUT", "/home/coll/none/x", "", strings.Repeat("x", 3<<20))
	}
}

func TestHostileRequests(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	bomb := `<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;">]><propfind xmlns="DAV:"><prop><a>&lol2;</a></prop></propfind>`
	for m, root := range map[string]string{"PROPFIND": "propfind", "PROPPATCH": "propertyupdate", "LOCK": "lockinfo"} {
		s.want(400, m, "/home/coll/f", "Depth: 0", bomb)
		s.want(400, m, "/home/coll/f", "Depth: 0", "<a")
		s.want(413, m, "/home/coll/f", "Depth: 0", "<"+root+` xmlns="DAV:">`+strings.Repeat(" ", 2<<20))
	}
	for _, p := range []string{"/home/coll/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/home/coll/../../etc/passwd", "/..%2f..%2fetc/passwd", "/home/coll/a%00b"} {
		if a := s.do("GET", p, "", ""); a.StatusCode != 404 && a.StatusCode != 400 {
			t.Errorf("GET %s = %s", p, a.Status)
		}
	}
	s.want(400, "GET", "/home/coll/f", "If: "+strings.Repeat(`(["x"])`, maxIfConds+1), "")
	s.want(200, "GET", "/home/coll/f", "Range: bytes="+strings.Repeat("0-0,", 10_000), "")
	var tags strings.Builder
	for i := range maxTags + 1 {
		fmt.Fprintf(&tags, "</home/coll/%d> ([\"x\"]) ", i)
	}
	s.want(400, "GET", "/home/coll/f", "If: "+tags.String(), "")
	c := s.raw("DELETE /home/coll/f#x HTTP/1.1\nHost: h\nX-User: ann\n\n")
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 400 {
		t.Errorf("DELETE with a fragment = %v, %v", res, err)
	}
}

func TestEncodedBodiesAreRefused(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/f")
	for method, headers := range map[string]string{"PUT": "", "PATCH": "Content-Type: application/x-sabredav-partialupdate\nX-Update-Range: append\n"} {
		if a := s.want(415, method, "/home/coll/f", headers+"Content-Encoding: gzip", "x"); a.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("Accept-Encoding of the refusal: %q", a.Header.Get("Accept-Encoding"))
		}
		s.want(204, method, "/home/coll/f", headers+"Content-Encoding: identity", "x")
	}
}

func TestNamesAreNotCutAtAQuery(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/what", "/home/coll/d/")
	for _, q := range []string{"?", "?.txt"} {
		for method, headers := range map[string]string{
			"PUT": "", "DELETE": "", "MKCOL": "", "LOCK": "", "PROPPATCH": "", "PATCH": "", "COPY": "Destination: /home/coll/c", "MOVE": "Destination: /home/coll/c",
		} {
			s.want(400, method, "/home/coll/what"+q, headers, "")
		}
		s.want(200, "GET", "/home/coll/what"+q, "", "")
	}
	if got := s.content("/home/coll/what"); got != "/home/coll/what" {
		t.Errorf("content = %q", got)
	}
	s.want(201, "PUT", "/home/coll/what%3F.txt", "", "x")
}

func TestUnknownMethodsAreNamedTheKnown(t *testing.T) {
	s := newServer(t)
	for _, m := range []string{"POST", "REPORT", "SEARCH", "BREW"} {
		if a := s.want(405, m, "/home/coll/", "", ""); !strings.Contains(a.Header.Get("Allow"), "PROPFIND") || a.text != "" {
			t.Errorf("%s: Allow %q, body %q", m, a.Header.Get("Allow"), a.text)
		}
	}
	off := newServer(t, func(c *Config) { c.LockMode = LocksOff })
	if a := off.want(405, "LOCK", "/home/coll/", "", exclusiveXML); strings.Contains(a.Header.Get("Allow"), "LOCK") {
		t.Errorf("Allow = %s", a.Header.Get("Allow"))
	}
	if a := off.want(200, "OPTIONS", "/", "", ""); a.Header.Get("DAV") != "1, 3, sabredav-partialupdate" {
		t.Errorf("DAV: %s", a.Header.Get("DAV"))
	}
	adv := newServer(t, func(c *Config) { c.LockMode = LocksAdvisory })
	adv.lock(201, "/home/coll/f", "", exclusiveXML)
	adv.as("bob", "").want(204, "PUT", "/shared/x/f", "", "x")
}

func TestUploadThatCannotFitIsRefusedAtOnce(t *testing.T) {
	s := newServer(t)
	s.tree.avail = 20 << 20
	for _, h := range []string{"Content-Length: 30000000", "X-Expected-Entity-Length: 30000000\nTransfer-Encoding: chunked"} {
		c := s.raw("PUT /home/coll/f HTTP/1.1\nHost: h\nX-User: ann\nExpect: 100-continue\n" + h + "\n\n")
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 507 {
			t.Errorf("PUT of 30 MB into 20 MiB = %v, %v", res, err)
		}
	}
	s.want(201, "PUT", "/home/coll/f", "", "small")
	s.want(400, "PUT", "/home/coll/f", "X-OC-Mtime: yesterday", "x")
}

func TestMemberThatCannotBeListedSaysSo(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/a/", "/home/coll/a/f", "/home/coll/b/", "/home/coll/b/f", "/home/coll/c/", "/home/coll/c/f")
	s.tree.failList = map[string]error{"b": keepio.ErrCorrupt, "c": fs.ErrNotExist}
	rs := s.propfind("/home/coll/", "Depth: infinity", "")
	var got []string
	for _, r := range rs {
		got = append(got, r.Href+" "+r.Status)
	}
	want := "/home/coll/ ; /home/coll/a/ ; /home/coll/a/f ; /home/coll/b/ ; /home/coll/b/ HTTP/1.1 500 Internal Server Error; /home/coll/c/ "
	if strings.Join(got, "; ") != want {
		t.Errorf("responses: %s\nwant %s", strings.Join(got, "; "), want)
	}
	s.want(500, "PROPFIND", "/home/coll/b/", "Depth: 1", "")
	s.tree.failNext = keepio.ErrUnavailable
	// It has begun: it must not look complete.
	c := s.raw("PROPFIND /home/coll/a/ HTTP/1.1\nHost: h\nX-User: ann\nDepth: 1\n\n")
	if text, _ := io.ReadAll(c); strings.Contains(string(text), "</D:multistatus>") {
		t.Errorf("a listing that failed half way ends like a whole one: %s", text)
	}
}

func TestTimesAreReadInEveryForm(t *testing.T) {
	for in, want := range map[string]string{
		"Tue, 14 Nov 2023 22:13:20 GMT": "2023-11-14T22:13:20Z", "Tuesday, 14-Nov-23 22:13:20 GMT": "2023-11-14T22:13:20Z",
		"2023-11-14T23:13:20+01:00": "2023-11-14T22:13:20Z", "1700000000": "2023-11-14T22:13:20Z", "soon": "", "99999999999999": "",
	} {
		got := ""
		if at, ok := parseAnyTime(in); ok {
			got = at.UTC().Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("parseAnyTime(%q) = %q; want %q", in, got, want)
		}
	}
}

func TestUploadCutAnywhereChangesNothing(t *testing.T) {
	s := newServer(t)
	const size = 1 << 20
	before, after := strings.Repeat("o", 1000), strings.Repeat("n", size)
	s.want(201, "PUT", "/home/coll/f", "", before)
	for cut := 0; cut < size; cut += 64 << 10 {
		for _, chunked := range []bool{false, true} {
			head, body := fmt.Sprintf("Content-Length: %d\n\n", size), after[:cut]
			if chunked {
				head = fmt.Sprintf("X-Expected-Entity-Length: %d\nTransfer-Encoding: chunked\n\n", size)
				body = fmt.Sprintf("%x\r\n%s", size, body)
			}
			c := s.raw("PUT /home/coll/f HTTP/1.1\nHost: h\nX-User: ann\n" + head)
			if _, err := io.WriteString(c, body); err != nil {
				t.Fatal(err)
			}
			c.(*net.TCPConn).CloseWrite()
			if res, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil && res.StatusCode < 400 {
				t.Errorf("cut after %d bytes (chunked %v): %s", cut, chunked, res.Status)
			}
			c.Close()
			if got := s.content("/home/coll/f"); got != before {
				t.Fatalf("cut after %d bytes (chunked %v): the file has %d bytes now", cut, chunked, len(got))
			}
		}
	}
	// One that goes away while its upload is committed finds either content.
	for range 20 {
		c := s.raw(fmt.Sprintf("PUT /home/coll/f HTTP/1.1\nHost: h\nX-User: ann\nContent-Length: %d\n\n", size))
		if _, err := io.WriteString(c, after); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got := s.content("/home/coll/f"); got != before && got != after {
			t.Fatalf("a client that went away left %d bytes", len(got))
		}
	}
}
