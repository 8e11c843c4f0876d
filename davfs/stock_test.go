package davfs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	stdfstest "testing/fstest"

	"golang.org/x/net/webdav"

	"keepdav/davfs"
)

var litmusSummary = regexp.MustCompile(`<- summary for .(\w+).: of (\d+) tests run: (\d+) passed, (\d+) failed`)

// litmus runs the five suites against the stock handler over f and returns how
// many tests of each pass.
func litmus(t *testing.T, f webdav.FileSystem, dir string) map[string]int {
	tool, err := exec.LookPath("litmus")
	if err != nil && os.Getenv("KEEPDAV_TEST_STRICT") != "" {
		t.Fatal("litmus is not installed")
	} else if err != nil {
		t.Skip("litmus is not installed")
	}
	s := httptest.NewServer(&webdav.Handler{FileSystem: f, LockSystem: webdav.NewMemLS()})
	defer s.Close()
	passed := map[string]int{}
	for _, suite := range []string{"basic", "copymove", "props", "locks", "http"} {
		cmd := exec.CommandContext(t.Context(), tool, "-k", s.URL+dir+"/", "user", "password")
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "TESTS="+suite)
		out, _ := cmd.CombinedOutput() // its status only says that some tests fail
		m := litmusSummary.FindSubmatch(out)
		if m == nil {
			t.Fatalf("litmus %s printed no summary:\n%s", suite, out)
		}
		passed[suite], _ = strconv.Atoi(string(m[3]))
		t.Logf("%s: %s of %s pass", suite, m[3], m[2])
	}
	return passed
}

// The stock handler does not pass all of litmus. Over our files it passes what it
// passes over a directory.
func TestStockHandlerPassesLitmusAsOverADirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("litmus takes seconds")
	}
	r := newRig(t)
	r.mkdir("/home/c")
	ours := litmus(t, davfs.WebDAV(r.FS), "/home/c")
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/home/c", 0o777); err != nil {
		t.Fatal(err)
	}
	theirs := litmus(t, webdav.Dir(dir), "/home/c")
	for suite, n := range theirs {
		if ours[suite] < n {
			t.Errorf("litmus %s: %d tests pass over davfs, %d over a directory", suite, ours[suite], n)
		}
	}
}

// brokenBody is a request body whose connection breaks.
type brokenBody struct{ io.Reader }

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (brokenBody) Close() error { return nil }

func TestStockHandlerLinksNoCutUpload(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/f", "old")
	h := &webdav.Handler{FileSystem: davfs.WebDAV(r.FS), LockSystem: webdav.NewMemLS()}
	for _, name := range []string{"/home/c/f", "/home/c/new"} {
		req := httptest.NewRequest("PUT", name, brokenBody{strings.NewReader("half")})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code < 400 {
			t.Errorf("PUT %s of a body that breaks = %d; want an error", name, w.Code)
		}
	}
	r.want("/home/c/f", "old")
	r.wantList("/home/c", "f")
}

func TestStockHandlerAnswers(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	h := &webdav.Handler{FileSystem: davfs.WebDAV(r.FS), LockSystem: webdav.NewMemLS()}
	do := func(method, name, body string, header ...string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(method, name, strings.NewReader(body))
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w
	}
	put := do("PUT", "/home/c/f.csv", "data")
	get := do("GET", "/home/c/f.csv", "")
	if put.Code != http.StatusCreated || get.Body.String() != "data" {
		t.Fatalf("PUT = %d, GET = %d %q", put.Code, get.Code, get.Body)
	}
	if tag := put.Header().Get("ETag"); tag == "" || tag != get.Header().Get("ETag") {
		t.Errorf("PUT gives the tag %s, GET %s", tag, get.Header().Get("ETag"))
	}
	if w := do("GET", "/home/c/missing", ""); w.Code != http.StatusNotFound {
		t.Errorf("GET of a missing file = %d; want 404", w.Code)
	}
	if w := do("PUT", "/home/c/no/f", "x"); w.Code != http.StatusConflict {
		t.Errorf("PUT without a parent = %d; want 409", w.Code)
	}
	if w := do("MKCOL", "/home/c/no/d", ""); w.Code != http.StatusConflict {
		t.Errorf("MKCOL without a parent = %d; want 409", w.Code)
	}
	w := do("PROPFIND", "/home/c/f.csv", "", "Depth", "0")
	if !strings.Contains(w.Body.String(), "text/csv") || !strings.Contains(w.Body.String(), "getetag") {
		t.Errorf("PROPFIND = %d %s; want the type by extension and a tag", w.Code, w.Body)
	}
	patch := `<D:propertyupdate xmlns:D="DAV:" xmlns:x="urn:x"><D:set><D:prop><x:color>red</x:color></D:prop></D:set></D:propertyupdate>`
	if w := do("PROPPATCH", "/home/c/f.csv", patch); w.Code != 207 || !strings.Contains(w.Body.String(), "200 OK") {
		t.Errorf("PROPPATCH = %d %s", w.Code, w.Body)
	}
	if w := do("COPY", "/home/c/f.csv", "", "Destination", "http://example.com/home/c/g.csv"); w.Code != http.StatusCreated {
		t.Errorf("COPY = %d", w.Code)
	}
	for _, name := range []string{"/home/c/f.csv", "/home/c/g.csv"} {
		if w := do("PROPFIND", name, "", "Depth", "0"); !strings.Contains(w.Body.String(), "red") {
			t.Errorf("PROPFIND %s has no dead property: %s", name, w.Body)
		}
	}
}

func TestWebDAVFileWritesInPlace(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/f", "0123456789")
	a := davfs.WebDAV(r.FS)
	f, err := a.OpenFile(r.ctx, "/home/c/f", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(3, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(f)
	if err != nil || string(rest) != "6789" {
		t.Errorf("read after the write = %q, %v; want %q", rest, err, "6789")
	}
	r.want("/home/c/f", "012abc6789")
	if _, err := a.OpenFile(r.ctx, "/home/c/f", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0); !errors.Is(err, fs.ErrExist) {
		t.Errorf("open with O_EXCL: %v; want fs.ErrExist", err)
	}
	ro, err := a.OpenFile(r.ctx, "/home/c/f", os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	if _, err := ro.Write([]byte("x")); err == nil {
		t.Error("write to a file that is open for reading: no error")
	}
}

func TestTreeIsAValidIOFS(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c", "/home/c/d", "/home/c/d/e", "/home/c/empty", "/home/other")
	r.put("/home/c/a.txt", "a")
	r.put("/home/c/d/b.txt", strings.Repeat("b", 100_000))
	r.put("/home/c/d/e/zero", "")
	r.put("/home/loose.txt", "loose")
	if err := stdfstest.TestFS(davfs.IOFS(r.ctx, r.FS, "/home/c"), "a.txt", "d/b.txt", "d/e/zero", "empty"); err != nil {
		t.Error(err)
	}
	if err := stdfstest.TestFS(davfs.IOFS(context.Background(), r.FS, "/home"), "c/a.txt", "loose.txt", "other"); err != nil {
		t.Error(err)
	}
	data, err := fs.ReadFile(davfs.IOFS(r.ctx, r.FS, "/"), "home/loose.txt")
	if err != nil || !bytes.Equal(data, []byte("loose")) {
		t.Errorf("ReadFile = %q, %v", data, err)
	}
}
