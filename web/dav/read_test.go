package dav

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"keepdav/davfs"
	"keepdav/keepio"
)

// Bytes that may turn out to be bad go only where a cut tells.
func TestOnlyAWholeFileMayBeCutShort(t *testing.T) {
	s := newServer(t)
	s.want(201, "PUT", "/home/coll/f.txt", "", "0123456789")
	for _, c := range []struct {
		headers string
		status  int
		want    bool
	}{{"", 200, true}, {"Range: bytes=2-4", 206, false}, {"Range: bytes=0-9", 206, false}, {"Range: bytes=0-1,4-5", 206, false}} {
		s.tree.cuttable = nil
		s.want(c.status, "GET", "/home/coll/f.txt", c.headers, "")
		if len(s.tree.cuttable) == 0 || slices.Contains(s.tree.cuttable, !c.want) {
			t.Errorf("GET with %q: may be cut short %v; want %v", c.headers, s.tree.cuttable, c.want)
		}
	}
}

func TestRangesOfAFile(t *testing.T) {
	s := newServer(t)
	etag := s.want(201, "PUT", "/home/coll/f.txt", "", "0123456789").Header.Get("ETag")
	for _, c := range []struct {
		headers string
		status  int
		crange  string
		body    string
	}{
		{"Range: bytes=2-4", 206, "bytes 2-4/10", "234"},
		{"Range: bytes=7-", 206, "bytes 7-9/10", "789"},
		{"Range: bytes=-2", 206, "bytes 8-9/10", "89"},
		{"Range: bytes=10-", 416, "bytes */10", ""},
		{"Range: bytes=5-1", 200, "", "0123456789"},
		{"Range: bytes=2-4\nIf-Range: " + etag, 206, "bytes 2-4/10", "234"},
		{"Range: bytes=2-4\nIf-Range: \"old\"", 200, "", "0123456789"},
		{"Range: bytes=2-4\nIf-Range: W/" + etag, 200, "", "0123456789"},
		{"Range: bytes=2-4\nIf-Range: Sun, 01 Mar 2026 12:00:00 GMT", 200, "", "0123456789"},
		{"Range: bytes=2-4\nIf-Match: \"old\"", 412, "", ""},
		{"Range: bytes=2-4\nIf-None-Match: " + etag, 304, "", ""},
	} {
		a := s.want(c.status, "GET", "/home/coll/f.txt", c.headers, "")
		if a.Header.Get("Content-Range") != c.crange || a.text != c.body {
			t.Errorf("%s: Content-Range %q, body %q; want %q, %q", c.headers, a.Header.Get("Content-Range"), a.text, c.crange, c.body)
		}
	}
	s.want(201, "PUT", "/home/coll/empty", "", "")
	s.want(200, "GET", "/home/coll/empty", "Range: bytes=0-99", "")
	a := s.want(206, "GET", "/home/coll/f.txt", "Range: bytes=0-1,4-5,-1", "")
	_, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || int(a.ContentLength) != len(a.text) {
		t.Fatalf("Content-Type %s, length %d of %d", a.Header.Get("Content-Type"), a.ContentLength, len(a.text))
	}
	mr := multipart.NewReader(strings.NewReader(a.text), params["boundary"])
	var parts []string
	for {
		p, err := mr.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(p)
		parts = append(parts, p.Header.Get("Content-Range")+" "+string(b))
	}
	if got := strings.Join(parts, "; "); got != "bytes 0-1/10 01; bytes 4-5/10 45; bytes 9-9/10 9" {
		t.Errorf("parts: %s", got)
	}
	if h := s.want(206, "HEAD", "/home/coll/f.txt", "Range: bytes=2-4", ""); h.ContentLength != 3 {
		t.Errorf("HEAD of a range has length %d", h.ContentLength)
	}
}

func TestDownloadGoesOnOnlyWithTheSameContent(t *testing.T) {
	s := newServer(t)
	const old, changed = "the old content", "THE NEW CONTENT"
	s.want(201, "PUT", "/home/coll/f", "X-OC-Mtime: 1700000000", old)
	part := s.want(206, "GET", "/home/coll/f", "Range: bytes=0-6", "")
	s.want(204, "PUT", "/home/coll/f", "X-OC-Mtime: 1700000000", changed)
	for _, validator := range []string{"ETag", "Last-Modified"} {
		a := s.do("GET", "/home/coll/f", "Range: bytes=7-\nIf-Range: "+part.Header.Get(validator), "")
		if a.StatusCode == 206 {
			t.Errorf("a download that goes on by its %s has %q", validator, part.text+a.text)
		}
	}
}

func TestHeadersOfAFile(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/page.html", "/home/coll/a.svg", "/home/coll/f.TXT", "/home/coll/none", "/home/coll/x.unknownext")
	for p, want := range map[string]string{"page.html": "text/html; charset=utf-8", "a.svg": "image/svg+xml", "f.TXT": "text/plain; charset=utf-8", "none": "application/octet-stream", "x.unknownext": "application/octet-stream"} {
		a := s.want(200, "HEAD", "/home/coll/"+p, "", "")
		if a.Header.Get("Content-Type") != want || a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Accept-Ranges") != "bytes" {
			t.Errorf("%s: %v", p, a.Header)
		}
		if script := strings.HasSuffix(p, "html") || strings.HasSuffix(p, "svg"); script != (a.Header.Get("Content-Security-Policy") == "sandbox") {
			t.Errorf("%s: Content-Security-Policy %q", p, a.Header.Get("Content-Security-Policy"))
		}
		if got := a.Header.Get("Cross-Origin-Resource-Policy"); got != "same-origin" {
			t.Errorf("%s: Cross-Origin-Resource-Policy %q", p, got)
		}
	}
	if a := s.want(304, "GET", "/home/coll/none", "If-Modified-Since: Sun, 01 Mar 2026 12:00:00 GMT", ""); a.Header.Get("ETag") == "" {
		t.Error("304 without an ETag")
	}
}

func TestDirectoriesAnswerGetAndHead(t *testing.T) {
	s := newServer(t)
	s.put("/home/coll/d%3Cx%3E/", "/home/coll/a%26b")
	for _, p := range []string{"/", "/home", "/home/coll", "/home/coll/"} {
		if a := s.want(200, "HEAD", p, "", ""); a.text != "" || a.ContentLength > 0 {
			t.Errorf("HEAD %s: length %d", p, a.ContentLength)
		}
		s.want(200, "GET", p, "", "")
	}
	a := s.want(200, "GET", "/home/coll", "", "")
	for _, want := range []string{`<a href="/home/coll/d%3Cx%3E/">d&lt;x&gt;/</a>`, `<a href="/home/coll/a%26b">a&amp;b</a>`, `<a href="/home/">..</a>`} {
		if !strings.Contains(a.text, want) {
			t.Errorf("page %s lacks %s", a.text, want)
		}
	}
	s.want(404, "GET", "/home/coll/none/", "", "")
	hooked := newServer(t, func(c *Config) {
		c.Lister = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "browser") })
	})
	if a := hooked.want(200, "GET", "/home/coll/", "", ""); a.text != "browser" {
		t.Errorf("GET of a directory = %q", a.text)
	}
}

// halfListing fails after its first piece.
type halfListing struct {
	davfs.Listing
	began bool
}

func (l *halfListing) Next(out []davfs.Info) (int, error) {
	if l.began {
		return 0, keepio.ErrUnavailable
	}
	l.began = true
	return l.Listing.Next(out)
}

type halfFS struct{ memFS }

func (f halfFS) List(ctx context.Context, name string) (davfs.Listing, error) {
	l, err := f.memFS.List(ctx, name)
	return &halfListing{Listing: l}, err
}

func TestHalfAPageDoesNotLookWhole(t *testing.T) {
	s := newServer(t, func(c *Config) {
		session := c.Session
		c.Session = func(r *http.Request) (Session, error) {
			s, err := session(r)
			s.FS = halfFS{s.FS.(memFS)}
			return s, err
		}
	})
	s.put("/home/coll/f")
	c := s.raw("GET /home/coll/ HTTP/1.1\nHost: h\nX-User: ann\n\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err == nil {
		_, err = io.ReadAll(res.Body)
	}
	if err == nil {
		t.Errorf("a page that failed half way = %s, and ends like a whole one", res.Status)
	}
}

func TestListingsAreCompressedWhenAskedAndWorthIt(t *testing.T) {
	tree := newMemTree()
	for i := range 1000 {
		tree.nodes[fmt.Sprintf("f%04d", i)] = &memNode{mtime: memTime}
	}
	locks, _ := NewLocks(t.Context(), LockConfig{})
	h := New(Config{Locks: locks, Session: func(*http.Request) (Session, error) { return Session{memFS{tree, "/c"}, "u"}, nil }})
	ask := func(remote, depth, accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("PROPFIND", "/c/", nil)
		r.RemoteAddr = remote
		r.Header.Set("Depth", depth)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w := ask("192.0.2.1:5", "1", "gzip, deflate")
	if w.Header().Get("Content-Encoding") != "gzip" {
		t.Fatal("a long listing is not compressed")
	}
	n := w.Body.Len()
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || strings.Count(string(text), "<D:response>") != 1001 || len(text) < 5*n {
		t.Errorf("%d bytes in %d, %v", len(text), n, err)
	}
	for _, c := range [][3]string{{"192.0.2.1:5", "0", "gzip"}, {"127.0.0.1:5", "1", "gzip"}, {"192.0.2.1:5", "1", ""}, {"192.0.2.1:5", "1", "gzip;q=0"}} {
		if w := ask(c[0], c[1], c[2]); w.Header().Get("Content-Encoding") != "" {
			t.Errorf("%v is compressed", c)
		}
	}
}

// wideFS lists one directory of n files that exist nowhere.
type wideFS struct {
	davfs.FileSystem
	n int
}

type wideListing struct {
	i, n  int
	names []string
}

func (l *wideListing) Next(out []davfs.Info) (int, error) {
	k := 0
	for ; k < len(out) && l.i < l.n; k++ {
		out[k] = davfs.Info{Name: l.names[l.i%len(l.names)], Size: int64(l.i), ModTime: memTime, Birth: memTime, Collection: memUUID, Path: "d/x", Entries: -1}
		l.i++
	}
	return k, nil
}
func (l *wideListing) Close() {}

func (f wideFS) List(_ context.Context, name string) (davfs.Listing, error) {
	l := &wideListing{n: f.n}
	for i := range 1000 {
		l.names = append(l.names, fmt.Sprintf("file-%06d.txt", i))
	}
	return l, nil
}

// nullWriter is a ResponseWriter that keeps nothing.
type nullWriter struct {
	h http.Header
	n int64
}

func (w *nullWriter) Header() http.Header         { return w.h }
func (w *nullWriter) WriteHeader(int)             {}
func (w *nullWriter) Write(p []byte) (int, error) { w.n += int64(len(p)); return len(p), nil }

const fiveProps = `<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/><D:getetag/><D:creationdate/></D:prop></D:propfind>`

func wideHandler(tb testing.TB, n int) *Handler {
	locks, err := NewLocks(tb.Context(), LockConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	return New(Config{Locks: locks, Session: func(*http.Request) (Session, error) {
		return Session{wideFS{memFS{newMemTree(), "/d"}, n}, "u"}, nil
	}})
}

func TestListingTakesTheSameMemoryAtAnyLength(t *testing.T) {
	var used [2]uint64
	for i, n := range []int{10_000, 1_000_000} {
		h := wideHandler(t, n)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := httptest.NewRequest("PROPFIND", "/d/", strings.NewReader(fiveProps))
		r.Header.Set("Depth", "1")
		w := &nullWriter{h: http.Header{}}
		h.ServeHTTP(w, r)
		runtime.ReadMemStats(&after)
		used[i] = after.TotalAlloc - before.TotalAlloc
		if w.n < int64(n)*200 {
			t.Errorf("%d files are listed in %d bytes", n, w.n)
		}
	}
	if used[1] > used[0]+(4<<20) {
		t.Errorf("allocated for 10,000 files %d bytes, for 1,000,000 %d", used[0], used[1])
	}
}

func BenchmarkPropfind(b *testing.B) {
	const n = 10_000
	for name, body := range map[string]string{"allprop": "", "five": fiveProps} {
		b.Run(name, func(b *testing.B) {
			h := wideHandler(b, n)
			b.ReportAllocs()
			w := &nullWriter{h: http.Header{}}
			for b.Loop() {
				r := httptest.NewRequest("PROPFIND", "/d/", strings.NewReader(body))
				r.Header.Set("Depth", "1")
				h.ServeHTTP(w, r)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
			b.ReportMetric(float64(w.n)/float64(b.N)/n, "B/entry")
		})
	}
}

// One request after another, without the network: what the protocol costs.
func BenchmarkRequest(b *testing.B) {
	tree := newMemTree()
	tree.nodes["f"] = &memNode{data: make([]byte, 4096), mtime: memTime}
	locks, err := NewLocks(b.Context(), LockConfig{})
	if err != nil {
		b.Fatal(err)
	}
	h := New(Config{Locks: locks, Session: func(*http.Request) (Session, error) { return Session{memFS{tree, "/d"}, "u"}, nil }})
	for _, c := range []struct{ name, method, body string }{
		{"GET", "GET", ""}, {"PUT", "PUT", strings.Repeat("x", 4096)}, {"PROPFIND-all", "PROPFIND", ""}, {"PROPFIND-five", "PROPFIND", fiveProps},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest(c.method, "/d/f", nil)
			r.ContentLength = int64(len(c.body))
			r.Header.Set("Depth", "0")
			w := &nullWriter{h: http.Header{}}
			for b.Loop() {
				clear(w.h)
				r.Body = io.NopCloser(strings.NewReader(c.body))
				h.ServeHTTP(w, r)
			}
		})
	}
}

func TestDatesAgreeWithPackageTime(t *testing.T) {
	check := func(u int64) {
		at := time.Unix(u, 0).UTC()
		if got, want := string(appendHTTPDate(nil, u)), at.Format(http.TimeFormat); got != want {
			t.Errorf("%d = %s; want %s", u, got, want)
		}
		if got, want := string(append8601(nil, u)), at.Format("2006-01-02T15:04:05Z"); got != want {
			t.Errorf("%d = %s; want %s", u, got, want)
		}
	}
	for u := int64(minUnix); u <= maxUnix; u += 86400*13 + 12345 {
		check(u)
	}
	for _, u := range []int64{minUnix, maxUnix, -1, 0, 951782400, 951868799, 951868800, -2203891200} {
		check(u)
	}
	if got := string(appendHTTPDate(nil, maxUnix+1)); got != "Fri, 31 Dec 9999 23:59:59 GMT" {
		t.Errorf("after the last year: %s", got)
	}
}

func BenchmarkHTTPDate(b *testing.B) {
	buf := make([]byte, 0, 64)
	u := memTime.Unix()
	for b.Loop() {
		u += 12345
		buf = appendHTTPDate(buf[:0], u)
	}
}
