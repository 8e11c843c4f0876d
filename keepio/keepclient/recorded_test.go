package keepclient

import (
	"crypto/md5"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"keepdav/keepio"
	"keepdav/keepio/keepclient/keeptest"
)

// Settings of the cluster that the recordings come from.
const (
	recordedKey   = "zfhgfenhffzltr9dixws36j1yhksjoll2grmku38mi7yxd66h5j4q9w4jzanezacp8s6q0ro3hxakfye02152hncy6zml2ed0uc"
	recordedToken = "v2/zzzzz-gj3su-gqz5vxvrv4htmuh/kak6jghnky0zt12ohi88ryj351wyz9s1fw9ir1cyxeieyyf7t"
)

func (x exchange) body() string {
	s, _ := x.Response.Body.(string)
	return s
}

// play answers every request with a recorded reply.
func play(t *testing.T, x exchange) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for _, h := range x.Response.Headers {
			w.Header().Set(h[0], h[1])
		}
		w.WriteHeader(x.Response.Status)
		_, _ = io.WriteString(w, x.body())
	}))
	t.Cleanup(srv.Close)
	return srv
}

// What a client that asks for the block foo, or stores it, makes of each reply
// that was recorded.
func TestRecordedRepliesAreJudged(t *testing.T) {
	want := map[string]map[string]error{
		"keepstore.json": {
			"store block":                              nil,
			"store block with storage class":           nil,
			"unknown storage class":                    keepio.ErrFull,
			"content does not match hash":              keepio.ErrUnavailable,
			"store without token":                      nil,
			"read with signature":                      nil,
			"range is ignored":                         nil,
			"read without signature":                   fs.ErrPermission,
			"read without token":                       fs.ErrPermission,
			"another user's token":                     fs.ErrPermission,
			"wrong signature":                          fs.ErrPermission,
			"expired signature":                        fs.ErrPermission,
			"no size hint":                             keepio.ErrUnavailable,
			"system token, no signature, absent block": fs.ErrPermission,
			"bad path":                                 fs.ErrPermission,
			"block too large":                          keepio.ErrTooLarge,
			"empty block unsigned":                     fs.ErrPermission,
		},
		"keepproxy.json": {
			"store through proxy": nil,
			"put with size hint":  keepio.ErrUnavailable,
			"size hint wrong":     keepio.ErrUnavailable,
			"read":                nil,
			"read unsigned":       fs.ErrPermission,
			"no token":            fs.ErrPermission,
			"bad token":           fs.ErrPermission,
			"hash mismatch":       keepio.ErrUnavailable,
		},
	}
	foo := []byte("foo")
	for file, notes := range want {
		seen := 0
		for _, x := range recorded(t, file) {
			kind, ok := notes[x.Note]
			if !ok {
				continue // not what the client sends
			}
			seen++
			c := clientOf(t, ServersConfig{Services: []string{play(t, x).URL}, Replicas: 1}, recordedToken, nil)
			signed := keepio.SignLocator(keepio.MakeLocator(md5.Sum(foo), 3), recordedKey, recordedToken, time.Now().Add(time.Hour), time.Hour)
			c.Learn("c", []keepio.Locator{signed})
			var err error
			if x.Request.Method == http.MethodPut {
				_, err = c.PushBytes(t.Context(), foo)
				if loc, _ := c.Locator(md5.Sum(foo), 3); err == nil && loc != signed && loc.String() != strings.TrimSpace(x.body()) {
					t.Errorf("%s: the locator of the reply is not known", x.Note)
				}
			} else {
				var got []byte
				if got, _, err = fetchBlock(t.Context(), c, foo); err == nil && string(got) != "foo" {
					t.Errorf("%s: Fetch = %q", x.Note, got)
				}
			}
			if !errors.Is(err, kind) {
				t.Errorf("%s: %s: %v; want %v", file, x.Note, err, kind)
			}
			if err != nil && strings.Contains(err.Error(), "kak6jghnky0zt12ohi88ryj351wyz9s1fw9ir1cyxeieyyf7t") {
				t.Errorf("%s: error carries the token: %v", x.Note, err)
			}
		}
		if seen != len(notes) {
			t.Errorf("%s has %d of the %d exchanges", file, seen, len(notes))
		}
	}
}

// The cluster of keeptest answers what was recorded as the real one did: status,
// headers, and body where that is no prose.
func TestKeeptestAnswersAsRecorded(t *testing.T) {
	k := keeptest.New(t, keeptest.Options{Proxies: 1})
	k.Key, k.Token = recordedKey, recordedToken
	for file, srv := range map[string]*keeptest.Service{"keepstore.json": k.Stores[0], "keepproxy.json": k.Proxies[0]} {
		for _, x := range recorded(t, file) {
			if strings.HasPrefix(x.Request.Path, "/index") || x.Request.Path == "/mounts" || x.Note == "block too large" {
				continue // nobody here asks for these
			}
			at, _ := http.ParseTime(header(x, "Date"))
			k.SetClock(time.Until(at))
			sent, _ := x.Request.Body.(string)
			req, err := http.NewRequestWithContext(t.Context(), x.Request.Method, srv.URL+x.Request.Path, strings.NewReader(sent))
			if err != nil {
				t.Fatal(err)
			}
			for name, v := range x.Request.Headers {
				req.Header.Set(name, v)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != x.Response.Status {
				t.Errorf("%s: %s: status %d, %v; want %d", file, x.Note, resp.StatusCode, err, x.Response.Status)
			}
			if resp.StatusCode == 200 && bare(string(got)) != bare(x.body()) {
				t.Errorf("%s: %s: body %q; want %q", file, x.Note, got, x.body())
			}
			for _, h := range x.Response.Headers {
				name := h[0]
				if !strings.HasPrefix(name, "X-Keep") && !slices.Contains([]string{"Vary", "Via"}, name) {
					continue
				}
				if v := resp.Header.Get(name); v != h[1] {
					t.Errorf("%s: %s: header %s is %q; want %q", file, x.Note, name, v, h[1])
				}
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// bare cuts the signature, which depends on the second, but not that it is there.
func bare(s string) string {
	before, _, signed := strings.Cut(s, "+A")
	if signed {
		return before + "+A" + strings.Repeat("\n", strings.Count(s, "\n"))
	}
	return s
}

func header(x exchange, name string) string {
	for _, h := range x.Response.Headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}
