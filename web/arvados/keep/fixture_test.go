package keep

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"keepdav/keepio"
	"keepdav/web/arvados/signing"
)

// What the cluster of testdata/keepstore.json was set to.
const (
	recordedKey    = "zfhgfenhffzltr9dixws36j1yhksjoll2grmku38mi7yxd66h5j4q9w4jzanezacp8s6q0ro3hxakfye02152hncy6zml2ed0uc"
	recordedSystem = "systemusertesttoken1234567890aoeuidhtnsqjkxbmwvzpy"
	recordedTTL    = 336 * time.Hour
)

// recordedAt is when it was: the signatures end a TTL later.
var recordedAt = time.Unix(0x6b151610, 0).Add(-recordedTTL)

type exchange struct {
	Note    string
	Request struct {
		Method, Path string
		Headers      map[string]string
		Body         json.RawMessage
	}
	Response struct {
		Status  int
		Headers [][2]string
		Body    string
	}
}

func recorded(t *testing.T) (all []exchange) {
	t.Helper()
	text, err := os.ReadFile("testdata/keepstore.json")
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil || len(all) < 20 {
		t.Fatalf("%d exchanges, %v", len(all), err)
	}
	return all
}

// body is what was sent: a text, or as many bytes as it says.
func (e exchange) body(t *testing.T) []byte {
	t.Helper()
	var text *string
	if json.Unmarshal(e.Request.Body, &text) == nil {
		if text == nil {
			return nil
		}
		return []byte(*text)
	}
	var long struct{ Length int }
	if err := json.Unmarshal(e.Request.Body, &long); err != nil {
		t.Fatal(err)
	}
	return make([]byte, long.Length)
}

// differs are the requests that we answer otherwise than a keepstore does.
var differs = map[string]int{
	"store without token":  http.StatusUnauthorized, // it would take blocks from anybody
	"no POST on keepstore": http.StatusOK,           // it is one on a keepproxy, and we are both
}

var (
	locatorLine = regexp.MustCompile(`^[0-9a-f]{32}\+\d+\+A[0-9a-f]{40}@[0-9a-f]{8}\n$`)
	indexLines  = regexp.MustCompile(`^([0-9a-f]{32}\+\d+ \d{19}\n)*\n$`)
)

func TestAnswersAreThoseOfAKeepstore(t *testing.T) {
	s := newService(t, func(c *Config) {
		c.Cluster = "zzzzz"
		c.Signer = signing.WithKey(recordedKey, recordedTTL).At(func() time.Time { return recordedAt })
	})
	for _, e := range recorded(t) {
		body := e.body(t)
		header := http.Header{}
		for k, v := range e.Request.Headers {
			header.Set(k, v)
		}
		got := s.do(t, e.Request.Method, e.Request.Path, body, header)
		want := e.Response
		if status, ok := differs[e.Note]; ok {
			if got.StatusCode != status {
				t.Errorf("%s: status %d; want %d", e.Note, got.StatusCode, status)
			}
			continue
		}
		if got.StatusCode != want.Status {
			t.Errorf("%s: status %d, %q; want %d", e.Note, got.StatusCode, got.body, want.Status)
			continue
		}
		for _, h := range want.Headers {
			name, value := h[0], h[1]
			has := got.Header.Get(name)
			switch {
			case strings.HasPrefix(name, "Access-Control-"), strings.HasPrefix(name, "X-Keep-"), name == "Vary",
				name == "Content-Length" && want.Status == http.StatusOK && e.Note != "mounts":
				if has != value {
					t.Errorf("%s: %s is %q; want %q", e.Note, name, has, value)
				}
			case name == "Date" || name == "X-Request-Id": // by whom the service is part of
			case has == "":
				t.Errorf("%s: there is no %s", e.Note, name)
			}
		}
		sameForm(t, e, got.body)
	}
}

// sameForm compares what the bodies of e and got look like.
func sameForm(t *testing.T, e exchange, got string) {
	t.Helper()
	want := e.Response.Body
	switch {
	case e.Note == "mounts":
		var a, b []map[string]any
		if err := json.Unmarshal([]byte(want), &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(got), &b); err != nil || len(b) != 1 || b[0]["uuid"] != a[0]["uuid"] {
			t.Errorf("mounts: %s; want as %s", got, want)
			return
		}
		for k, v := range a[0] {
			if as, bs := kindOf(v), kindOf(b[0][k]); as != bs {
				t.Errorf("mounts: %s is %s; want %s", k, bs, as)
			}
		}
	case e.Note == "index with prefix":
		if !indexLines.MatchString(got) || strings.Count(got, "\n") != strings.Count(want, "\n") {
			t.Errorf("%s: %q; want as %q", e.Note, got, want)
		}
	case e.Response.Status == http.StatusOK:
		if locatorLine.MatchString(want) || want == "foo" || want == "" {
			if got != want {
				t.Errorf("%s: %q; want %q", e.Note, got, want)
			}
			return
		}
		t.Errorf("%s: no case for %q", e.Note, want)
	case e.Request.Method != http.MethodHead && !strings.HasSuffix(got, "\n"):
		t.Errorf("%s: %q is no line for people", e.Note, got)
	}
}

func kindOf(v any) string { return fmt.Sprintf("%T", v) }

// Two signatures in the file are false on purpose.
func TestRecordedSignaturesAreOurs(t *testing.T) {
	text, err := os.ReadFile("testdata/keepstore.json")
	if err != nil {
		t.Fatal(err)
	}
	s := signing.WithKey(recordedKey, recordedTTL).At(func() time.Time { return recordedAt })
	good, bad := 0, 0
	for _, e := range recorded(t) {
		token, _ := strings.CutPrefix(e.Request.Headers["Authorization"], "Bearer ")
		for _, found := range regexp.MustCompile(`[0-9a-f]{32}\+\d+\+A[0-9a-f]{40}@[0-9a-f]{8}`).FindAllString(e.Request.Path+" "+e.Response.Body, -1) {
			loc, err := keepio.ParseLocator(found)
			if err != nil {
				t.Fatal(err)
			}
			switch err := s.Verify(loc, token); {
			case e.Response.Status == http.StatusOK && err != nil:
				t.Errorf("%s: Verify = %v", e.Note, err)
			case err == nil:
				good++
			default:
				bad++
			}
		}
	}
	if n := bytes.Count(text, []byte("+A")); good+bad != n || good < 5 {
		t.Errorf("%d signatures are good and %d are not, of %d", good, bad, n)
	}
}

func TestIndexIsWhatWasStored(t *testing.T) {
	s := newService(t, nil)
	var want []string
	for i := range 40 {
		body := []byte("block " + strconv.Itoa(i))
		loc := s.put(t, body)
		want = append(want, loc.Bare())
	}
	slices.Sort(want)
	for _, path := range []string{"/index", "/index/", "/index?prefix=", "/mounts/kdav0-nyw5e-000000000000000/blocks"} {
		got := s.do(t, "GET", path, nil, bearer(adminToken))
		var have []string
		for line := range strings.Lines(got.body) {
			loc, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			have = append(have, loc)
		}
		if !indexLines.MatchString(got.body) || !slices.Equal(have, append(slices.Clone(want), "")) {
			t.Errorf("GET %s = %d, %q", path, got.StatusCode, got.body)
		}
	}
	prefix := want[7][:5]
	for _, path := range []string{"/index/" + prefix, "/index?prefix=" + prefix, "/mounts/kdav0-nyw5e-000000000000000/blocks/" + prefix} {
		if got := s.do(t, "GET", path, nil, bearer(adminToken)); !strings.HasPrefix(got.body, want[7]+" ") || !strings.HasSuffix(got.body, "\n\n") {
			t.Errorf("GET %s = %q", path, got.body)
		}
	}
}

// discard reads what an answer has left.
func discard(r io.ReadCloser) { io.Copy(io.Discard, r); r.Close() }
