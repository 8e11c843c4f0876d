package keep

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keepdav/keepio"
	"keepdav/keepio/dirstore"
	"keepdav/web/arvados/signing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	annToken   = "v2/kdav0-gj3su-000000000000001/annssecret"
	bobToken   = "v2/kdav0-gj3su-000000000000002/bobssecret"
	readToken  = "v2/kdav0-gj3su-000000000000003/forlinks"
	adminToken = "v2/kdav0-gj3su-000000000000004/rootssecret"
)

// service is a Keep service over a directory.
type service struct {
	*httptest.Server
	h      *Handler
	dir    string
	store  *dirstore.Store
	client *http.Client
}

func newService(t testing.TB, change func(*Config)) *service {
	t.Helper()
	_, measured := t.(*testing.B) // what a test proves needs no disk
	s := &service{dir: t.TempDir(), client: &http.Client{Transport: &http.Transport{}}}
	var err error
	s.store, err = dirstore.Open(dirstore.Config{Dir: s.path("blocks"), Sums: s.path("sums"), Trash: s.path("trash"), NoSync: !measured})
	if err != nil {
		t.Fatal(err)
	}
	conf := Config{
		Blocks: s.store, Signer: signing.New(bytes.Repeat([]byte{7}, 32)), Cluster: "kdav0",
		Caller: func(_ context.Context, token string) (Caller, error) {
			switch {
			case token == adminToken, token == recordedSystem:
				return Caller{Write: true, Admin: true}, nil
			case token == readToken:
				return Caller{}, nil
			case token == annToken, token == bobToken, strings.HasPrefix(token, "v2/zzzzz-"):
				return Caller{Name: "ann", Write: true}, nil
			case token == "down":
				return Caller{}, errors.New("the database is away")
			}
			return Caller{}, fs.ErrNotExist
		},
	}
	if change != nil {
		change(&conf)
	}
	s.h = New(conf)
	s.Server = httptest.NewServer(lingering{s.h})
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		s.Close()
		s.store.Close()
	})
	return s
}

// lingering reads what a client goes on to send, as the server around a service
// does: else the answer may be lost with the connection.
type lingering struct{ http.Handler }

func (l lingering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.Handler.ServeHTTP(w, r)
	io.Copy(io.Discard, r.Body)
}

func (s *service) path(name string) string { return filepath.Join(s.dir, name) }

func (s *service) file(loc keepio.Locator) string {
	return filepath.Join(s.path("blocks"), loc.HashHex()[:3], loc.HashHex())
}

type reply struct {
	*http.Response
	body string
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func (s *service) do(t testing.TB, method, path string, body []byte, header http.Header) reply {
	t.Helper()
	resp, text, err := s.try(t, method, path, body, header)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp, string(text)}
}

func (s *service) try(t testing.TB, method, path string, body []byte, header http.Header) (*http.Response, []byte, error) {
	t.Helper()
	var from io.Reader
	if body != nil {
		from = bytes.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, from)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Clone()
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, text, err
}

func (s *service) put(t testing.TB, body []byte) keepio.Locator {
	t.Helper()
	got := s.do(t, "PUT", fmt.Sprintf("/%x", md5.Sum(body)), body, bearer(annToken))
	loc, err := keepio.ParseLocator(strings.TrimSuffix(got.body, "\n"))
	if got.StatusCode != http.StatusOK || err != nil {
		t.Fatalf("PUT = %d, %q", got.StatusCode, got.body)
	}
	return loc
}

// left returns the files in the making.
func (s *service) left(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(s.path("blocks"), ".tmp"))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8*13 + i>>16)
	}
	return p
}

func TestBlocksOfAllSizesComeBack(t *testing.T) {
	s := newService(t, nil)
	for _, size := range []int{0, 1, keepio.ChunkSize, keepio.ChunkSize + 1, 3<<20 + 5} {
		body := pattern(size)
		loc := s.put(t, body)
		for _, prefix := range []string{"/", "//"} {
			got := s.do(t, "GET", prefix+loc.String(), nil, bearer(annToken))
			if got.StatusCode != http.StatusOK || got.body != string(body) || got.ContentLength != int64(size) {
				t.Errorf("%d bytes: GET = %d with %d bytes", size, got.StatusCode, len(got.body))
			}
		}
		got := s.do(t, "HEAD", "/"+loc.String(), nil, bearer(annToken))
		if got.StatusCode != http.StatusOK || got.ContentLength != int64(size) {
			t.Errorf("%d bytes: HEAD = %d, length %d", size, got.StatusCode, got.ContentLength)
		}
		if got.Header.Get("Accept-Ranges") != "" {
			t.Error("ranges are offered to who doesn't know about sums")
		}
	}
	if n := s.left(t); n != 0 {
		t.Errorf("%d files in the making are left", n)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	s := newService(t, nil)
	loc := s.put(t, []byte("foo"))
	hash, signed := "/"+loc.HashHex(), "/"+loc.String()
	unsized := hash + strings.TrimPrefix(loc.String(), loc.Bare())
	basic := http.Header{}
	r, _ := http.NewRequest("GET", "/", nil)
	r.SetBasicAuth("whoever", annToken)
	basic.Set("Authorization", r.Header.Get("Authorization"))
	for _, c := range []struct {
		method, path string
		header       http.Header
		want         int
	}{
		{"GET", signed, bearer(annToken), 200},
		{"GET", signed, http.Header{"Authorization": {"OAuth2 " + annToken}}, 200},
		{"GET", signed, basic, 200},
		{"GET", signed + "?api_token=" + annToken, nil, 200},
		{"GET", signed + "+Kzzzzz", bearer(annToken), 200}, // a hint that it does not know
		{"GET", signed, nil, 401},
		{"GET", signed, http.Header{"Cookie": {"arvados_api_token=" + base64.URLEncoding.EncodeToString([]byte(annToken))}}, 401},
		{"GET", signed, bearer("v2/kdav0-gj3su-000000000000001/wrong"), 401},
		{"GET", signed, bearer(strings.Repeat("x", 2000)), 401},
		{"GET", signed, bearer("down"), 503},
		{"GET", signed, bearer(bobToken), 400},
		{"GET", signed, bearer(adminToken), 400},
		{"GET", hash + "+3", bearer(annToken), 400},
		{"GET", hash + "+3+Rzzzzz-" + strings.Repeat("0", 40) + "@7fffffff", bearer(annToken), 400},
		{"GET", hash + "+4" + signed[35:], bearer(annToken), 404}, // the signature is for the hash alone
		{"GET", unsized, bearer(annToken), 405},
		{"HEAD", unsized, bearer(annToken), 200},
		{"HEAD", hash, bearer(annToken), 400},
		{"GET", hash + "+3++", bearer(annToken), 400},
		{"GET", hash + "+67108865", bearer(annToken), 400},
		{"GET", "/index", nil, 401},
		{"GET", "/index", bearer(annToken), 403},
		{"GET", "/index", bearer(adminToken), 200},
		{"GET", "/index/xyz", bearer(adminToken), 400},
		{"GET", "/index/" + strings.Repeat("a", 33), bearer(adminToken), 400},
		{"GET", "/mounts", bearer(annToken), 403},
		{"GET", "/mounts/kdav0-nyw5e-000000000000009/blocks", bearer(adminToken), 404},
		{"GET", "/mounts/kdav0-nyw5e-000000000000000/other", bearer(adminToken), 400},
		{"TOUCH", hash, bearer(annToken), 403},
		{"TOUCH", hash, bearer(adminToken), 200},
		{"TOUCH", "/" + strings.Repeat("f", 32), bearer(adminToken), 404},
		{"DELETE", hash, nil, 401},
		{"DELETE", hash, bearer(annToken), 403},
		{"DELETE", hash, bearer(adminToken), 405},
		{"PUT", "/trash", bearer(adminToken), 405},
		{"PATCH", hash, bearer(adminToken), 400},
		{"OPTIONS", "/", nil, 200},
		{"GET", "/", bearer(adminToken), 400},
	} {
		if got := s.do(t, c.method, c.path, nil, c.header); got.StatusCode != c.want {
			t.Errorf("%s %s by %v = %d, %q; want %d", c.method, c.path, c.header, got.StatusCode, got.body, c.want)
		}
	}
}

func TestWhatIsStored(t *testing.T) {
	s := newService(t, nil)
	body := []byte("foo")
	hash := fmt.Sprintf("/%x", md5.Sum(body))
	classes := func(c string) http.Header {
		h := bearer(annToken)
		h.Set("X-Keep-Storage-Classes", c)
		return h
	}
	for _, c := range []struct {
		name, method, path string
		header             http.Header
		want               int
	}{
		{"without a token", "PUT", hash, nil, 401},
		{"with one that may only read", "PUT", hash, bearer(readToken), 403},
		{"under another hash", "PUT", "/" + strings.Repeat("a", 32), bearer(annToken), 400},
		{"of another size", "PUT", hash + "+4", bearer(annToken), 400},
		{"with a hint", "PUT", hash + "+3+K@zzzzz", bearer(annToken), 400},
		{"in an unknown class", "PUT", hash, classes("fast"), 507},
		{"nowhere", "PUT", "/home/file", bearer(annToken), 400},
	} {
		if got := s.do(t, c.method, c.path, body, c.header); got.StatusCode != c.want {
			t.Errorf("%s: %d, %q; want %d", c.name, got.StatusCode, got.body, c.want)
		}
	}
	if got := s.do(t, "GET", "/index", nil, bearer(adminToken)); got.body != "\n" {
		t.Fatalf("a refused block is stored: %q", got.body)
	}
	for _, c := range []struct {
		name, method, path string
		header             http.Header
		end                string
	}{
		{"by hash", "PUT", hash, bearer(annToken), "\n"},
		{"by hash and size", "PUT", hash + "+3", bearer(annToken), "\n"},
		{"in the class that there is, and one more", "PUT", hash, classes(" fast , default"), "\n"},
		{"in no class", "PUT", hash, classes(" ,"), "\n"},
		{"by content", "POST", "/", bearer(annToken), ""},
	} {
		got := s.do(t, c.method, c.path, body, c.header)
		if got.StatusCode != 200 || got.Header.Get("X-Keep-Replicas-Stored") != "1" || got.Header.Get("X-Keep-Storage-Classes-Confirmed") != "default=1" {
			t.Errorf("%s: %d, %v", c.name, got.StatusCode, got.Header)
		}
		loc, err := keepio.ParseLocator(strings.TrimSuffix(got.body, "\n"))
		if err != nil || strings.TrimPrefix(got.body, loc.String()) != c.end {
			t.Fatalf("%s: %q, %v", c.name, got.body, err)
		}
		if got := s.do(t, "GET", "/"+loc.String(), nil, bearer(annToken)); got.body != "foo" {
			t.Errorf("%s: GET = %d, %q", c.name, got.StatusCode, got.body)
		}
	}
}

// raw sends a request by hand and returns its connection.
func (s *service) raw(t *testing.T, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCutUploadsLeaveNothing(t *testing.T) {
	body := pattern(200_000)
	hash := fmt.Sprintf("%x", md5.Sum(body[:100_000]))
	ended := make(chan struct{})
	s := newService(t, nil)
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.h.ServeHTTP(w, r)
		ended <- struct{}{}
	})
	for name, head := range map[string]string{
		"of known length": "Content-Length: 200000\r\n\r\n",
		"in chunks":       "Transfer-Encoding: chunked\r\n\r\n30D40\r\n",
	} {
		// What came is a whole block by its hash: it was to go on, all the same.
		c := s.raw(t, "PUT /"+hash+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+annToken+"\r\n"+head+string(body[:100_000]))
		c.Close()
		<-ended
		if n := s.left(t); n != 0 {
			t.Errorf("%s: %d files in the making are left", name, n)
		}
		if _, err := s.store.Stat(md5.Sum(body[:100_000])); !errors.Is(err, keepio.ErrNotFound) {
			t.Errorf("%s: Stat = %v; want ErrNotFound", name, err)
		}
	}
}

func TestTooManyUploadsAreToldToComeBack(t *testing.T) {
	s := newService(t, func(c *Config) { c.MaxUploads = 2 })
	entered := make(chan struct{})
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = &telling{ReadCloser: r.Body, once: sync.OnceFunc(func() { entered <- struct{}{} })}
		s.h.ServeHTTP(w, r)
	})
	body := []byte("foo")
	hash := fmt.Sprintf("/%x", md5.Sum(body))
	var ends []io.Closer
	var waiting sync.WaitGroup
	for range 2 {
		pr, pw := io.Pipe()
		ends = append(ends, pw)
		waiting.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), "PUT", s.URL+hash, io.MultiReader(bytes.NewReader(body), pr))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header = bearer(annToken)
			resp, err := s.client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			discard(resp.Body)
			if resp.StatusCode != http.StatusOK {
				t.Errorf("an upload that was let in = %d", resp.StatusCode)
			}
		})
		<-entered
	}
	got := s.do(t, "PUT", hash, body, bearer(annToken))
	if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
		t.Errorf("one more upload = %d, %v; want 503 with Retry-After", got.StatusCode, got.Header)
	}
	for _, e := range ends {
		e.Close()
	}
	waiting.Wait()
	go func() { <-entered }()
	if got := s.do(t, "PUT", hash, body, bearer(annToken)); got.StatusCode != http.StatusOK {
		t.Errorf("an upload after that = %d, %q", got.StatusCode, got.body)
	}
}

// telling tells of the first read.
type telling struct {
	io.ReadCloser
	once func()
}

func (b *telling) Read(p []byte) (int, error) {
	b.once()
	return b.ReadCloser.Read(p)
}

func damage(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xAA, 0x55}, at); err != nil {
		t.Fatal(err)
	}
}

func TestDamageIsToldOrCutsTheConnection(t *testing.T) {
	s := newService(t, nil)
	small, large := s.put(t, pattern(1000)), s.put(t, pattern(1<<20))
	damage(t, s.file(small), 500)
	damage(t, s.file(large), 700_000)
	if got := s.do(t, "GET", "/"+small.String(), nil, bearer(annToken)); got.StatusCode != http.StatusBadGateway {
		t.Errorf("GET of a damaged block = %d; want 502", got.StatusCode)
	}
	resp, text, err := s.try(t, "GET", "/"+large.String(), nil, bearer(annToken))
	if resp == nil || resp.StatusCode != http.StatusOK || err == nil || len(text) > 700_000 || !bytes.Equal(text, pattern(1 << 20)[:len(text)]) {
		t.Errorf("GET of a block that is damaged further on = %d good bytes, %v; want it cut before the damage", len(text), err)
	}
}

func TestSumsComeWithABlockForWhoAsks(t *testing.T) {
	s := newService(t, nil)
	body := pattern(5*keepio.ChunkSize + 100)
	loc := s.put(t, body)
	header := bearer(annToken)
	header.Set(SumsHeader, "crc32c")
	sums := func(from, to int) (all []uint32) {
		for p := range slices.Chunk(body[from:to], keepio.ChunkSize) {
			all = append(all, keepio.Sum(p))
		}
		return all
	}
	const k = keepio.ChunkSize
	for _, c := range []struct {
		rang     string
		status   int
		from, to int
		sums     []uint32
	}{
		{"", 200, 0, len(body), sums(0, len(body))},
		{"bytes=0-65535", 206, 0, k, sums(0, k)},
		{"bytes=65536-196607", 206, k, 3 * k, sums(k, 3*k)},
		{"bytes=-100", 206, 5 * k, len(body), sums(5*k, len(body))},
		{"bytes=70000-70009", 206, 70000, 70010, sums(k, 2*k)},
		{"bytes=0-1,5-6", 200, 0, len(body), sums(0, len(body))},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			h := header.Clone()
			if c.rang != "" {
				h.Set("Range", c.rang)
			}
			got := s.do(t, method, "/"+loc.String(), nil, h)
			if got.StatusCode != c.status || got.ContentLength != int64(c.to-c.from) || method == "GET" && got.body != string(body[c.from:c.to]) {
				t.Errorf("%s %q = %d, %d bytes", method, c.rang, got.StatusCode, got.ContentLength)
			}
			text, ok := strings.CutPrefix(got.Header.Get(SumsHeader), "crc32c ")
			raw, err := base64.StdEncoding.DecodeString(text)
			var have []uint32
			for p := range slices.Chunk(raw, 4) {
				have = append(have, binary.LittleEndian.Uint32(p))
			}
			if !ok || err != nil || !slices.Equal(have, c.sums) {
				t.Errorf("%s %q: sums %x, %v; want %x", method, c.rang, have, err, c.sums)
			}
		}
	}
	h := header.Clone()
	h.Set("Range", "bytes=9999999-")
	if got := s.do(t, "GET", "/"+loc.String(), nil, h); got.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a range beyond the end = %d; want 416", got.StatusCode)
	}
}

func TestAnUploadRenewsWhatIsThere(t *testing.T) {
	s := newService(t, nil)
	loc := s.put(t, []byte("foo"))
	for name, renew := range map[string]func(){
		"PUT":   func() { s.put(t, []byte("foo")) },
		"TOUCH": func() { s.do(t, "TOUCH", "/"+loc.HashHex(), nil, bearer(adminToken)) },
	} {
		old := time.Now().Add(-30 * 24 * time.Hour)
		if err := os.Chtimes(s.file(loc), old, old); err != nil {
			t.Fatal(err)
		}
		renew()
		if i, err := s.store.Stat(loc.Hash()); err != nil || time.Since(i.Modified) > time.Minute {
			t.Errorf("after %s the block is of %v, %v", name, i.Modified, err)
		}
	}
}

func TestWhichPathsAreOfTheService(t *testing.T) {
	h := New(Config{})
	hash := strings.Repeat("0a", 16)
	for _, c := range []struct {
		method, path, ctype string
		want                bool
	}{
		{"GET", "/" + hash, "", true},
		{"GET", "//" + hash + "+3+Aabc", "", true},
		{"GET", "/index/abc", "", true},
		{"GET", "/mounts", "", true},
		{"POST", "/", "application/octet-stream", true},
		{"POST", "/", "", true},
		{"POST", "/", "application/x-www-form-urlencoded", false},
		{"POST", "/", "Multipart/form-data; boundary=x", false},
		{"GET", "/", "", false},
		{"GET", "/home/" + hash, "", false},
		{"GET", "/" + hash + "x", "", false},
		{"GET", "/" + hash + "/x", "", false},
		{"GET", "/" + strings.ToUpper(hash), "", false},
		{"PROPFIND", "/by_id/", "", false},
		{"GET", "/indexes", "", false},
	} {
		r := httptest.NewRequest(c.method, "http://x"+c.path, nil)
		r.Header.Set("Content-Type", c.ctype)
		if got := h.Serves(r); got != c.want {
			t.Errorf("Serves(%s %s, %q) = %v; want %v", c.method, c.path, c.ctype, got, c.want)
		}
	}
}

func FuzzPaths(f *testing.F) {
	for _, p := range []string{"/acbd18db4cc2f85cedef654fccc4a4d8+3+A73a1b285d4495d77f819a6840e717db2926c9b01@6b151610", "//acbd18db4cc2f85cedef654fccc4a4d8", "/index/abc", "/mounts/x/blocks/a", "/"} {
		for _, m := range []string{"GET", "HEAD", "TOUCH", "DELETE", "PUT"} {
			f.Add(m, p)
		}
	}
	h := New(Config{
		Caller: func(context.Context, string) (Caller, error) { return Caller{}, nil },
		Signer: signing.New(make([]byte, 32)),
	})
	f.Fuzz(func(t *testing.T, method, path string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL.Path = method, path
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusOK && method != http.MethodOptions {
			t.Errorf("%s %q without permission = 200", method, path)
		}
	})
}

// BenchmarkSmallPuts stores blocks of 4 KiB over many connections.
func BenchmarkSmallPuts(b *testing.B) {
	s := newService(b, nil)
	s.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	b.SetParallelism(16)
	var n atomicCounter
	b.RunParallel(func(pb *testing.PB) {
		body := make([]byte, 4096)
		for pb.Next() {
			binary.LittleEndian.PutUint64(body, n.next())
			s.put(b, body)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "blocks/s")
}

// BenchmarkBlocks sends blocks of 64 MiB in and out, one at a time.
func BenchmarkBlocks(b *testing.B) {
	s := newService(b, nil)
	body := pattern(keepio.BlockSize)
	loc := s.put(b, body)
	b.Run("put", func(b *testing.B) {
		b.SetBytes(keepio.BlockSize)
		for i := range b.N {
			binary.LittleEndian.PutUint64(body, uint64(i))
			s.put(b, body)
		}
	})
	b.Run("get", func(b *testing.B) {
		b.SetBytes(keepio.BlockSize)
		for range b.N {
			r, err := http.NewRequestWithContext(b.Context(), "GET", s.URL+"/"+loc.String(), nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header = bearer(annToken)
			resp, err := s.client.Do(r)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if n != keepio.BlockSize || err != nil {
				b.Fatalf("GET = %d bytes, %v", n, err)
			}
		}
	})
}

type atomicCounter struct {
	mu sync.Mutex // guards n
	n  uint64
}

func (c *atomicCounter) next() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}
