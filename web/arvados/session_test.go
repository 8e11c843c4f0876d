package arvados

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/collfs/sqlite"
	"keepdav/keepio"
	"keepdav/web/listen"
)

// storeAuth asks a store for its tokens.
type storeAuth struct{ *sqlite.Store }

func (a storeAuth) Authenticate(ctx context.Context, token string) (Caller, error) {
	u, t, err := a.Store.TokenUser(ctx, token)
	return Caller{User: u, Token: t.UUID, Scopes: t.Scopes, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}, err
}

// A resourceRig is an API over a store with some users: root, an administrator, and ann,
// bob and cid.
type resourceRig struct {
	t      testing.TB
	store  *sqlite.Store
	api    *API
	users  map[string]collfs.UUID
	tokens map[string]string
}

func newResourceRig(t testing.TB) *resourceRig {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{
		Dir: t.TempDir(), Cluster: "zzzzz", NoSync: true, Reserve: -1, Log: zerolog.Nop(), ApplyDelay: time.Millisecond,
		Blocks:      noBlocks{},
		StoreBlocks: func(context.Context, []*keepio.Block) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	r := &resourceRig{t: t, store: s, users: map[string]collfs.UUID{}, tokens: map[string]string{"": ""}}
	for _, name := range []string{"root", "ann", "bob", "cid"} {
		u, err := s.CreateUser(t.Context(), name, name+" Tester", "", name == "root")
		if err != nil {
			t.Fatal(err)
		}
		r.users[name] = u.UUID
		if r.tokens[name], _, err = s.CreateToken(t.Context(), u.UUID, nil, "", time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	r.api = New(Config{Cluster: "zzzzz", Auth: storeAuth{s}, Log: zerolog.Nop()})
	addTestResources(r.api, s)
	return r
}

// noBlocks is for stores without data.
type noBlocks struct{}

func (noBlocks) ByID(id keepio.BlockID) (*keepio.Block, error) {
	return nil, fmt.Errorf("block %d: %w", id, keepio.ErrNotFound)
}
func (noBlocks) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return keepio.NewStoredBlock(hash, size)
}

// do sends a request as a user, "" being nobody; body is nil or what becomes JSON.
func (r *resourceRig) do(who, method, path string, body any) (int, map[string]any) {
	r.t.Helper()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			r.t.Fatal(err)
		}
		in = strings.NewReader(string(text))
	}
	req := httptest.NewRequest(method, "http://keep.example:8080"+path, in)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token := r.tokens[who]; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	status, _, answer := call(r.t, r.api, req)
	return status, answer
}

// must is do that has to succeed.
func (r *resourceRig) must(who, method, path string, body any) map[string]any {
	r.t.Helper()
	status, answer := r.do(who, method, path, body)
	if status != 200 {
		r.t.Fatalf("%s %s by %s = %d %v", method, path, who, status, answer)
	}
	return answer
}

// unlike reports what in got has not the form that want has: fields and types. A list
// of want that has items says what those of got look like.
func unlike(path string, got, want any) []string {
	var bad []string
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T; want an object", path, got)}
		}
		for k, v := range w {
			member, ok := g[k]
			if !ok {
				bad = append(bad, path+"."+k+" is missing")
				continue
			}
			bad = append(bad, unlike(path+"."+k, member, v)...)
		}
	case []any:
		g, ok := got.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T; want a list", path, got)}
		}
		for i := range g {
			if len(w) > 0 {
				bad = append(bad, unlike(fmt.Sprintf("%s[%d]", path, i), g[i], w[0])...)
			}
		}
	case nil:
	default:
		if got != nil && fmt.Sprintf("%T", got) != fmt.Sprintf("%T", want) {
			bad = append(bad, fmt.Sprintf("%s is %T; want %T", path, got, want))
		}
	}
	return bad
}

// notOurs are members of recorded answers that are about what we don't have.
var notOurs = []string{".resources.", ".schemas.", ".Volumes."}

// Each request that was sent to a cluster is answered in the same way.
func TestRecordedSession(t *testing.T) {
	text, err := os.ReadFile("testdata/api-session.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded []struct {
		Note    string
		Request struct {
			Method, Path string
			Headers      map[string]string
		}
		Response struct {
			Status int
			Body   any
		}
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	r := newResourceRig(t)
	good := recorded[2].Request.Headers["Authorization"]
	for _, c := range recorded {
		t.Run(c.Note, func(t *testing.T) {
			req := httptest.NewRequest(c.Request.Method, c.Request.Path, nil)
			for k, v := range c.Request.Headers {
				if v == good {
					v = "Bearer " + r.tokens["ann"]
				}
				req.Header.Set(k, v)
			}
			status, head, body := call(t, r.api, req)
			if status != c.Response.Status {
				t.Errorf("status %d; want %d", status, c.Response.Status)
			}
			if !strings.HasPrefix(head.Get("Content-Type"), "application/json") || head.Get("X-Request-Id") == "" || head.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("headers %v", head)
			}
			for _, bad := range unlike("", body, c.Response.Body) {
				if !slices.ContainsFunc(notOurs, func(part string) bool { return strings.Contains(bad, part) }) {
					t.Error(bad)
				}
			}
		})
	}
}

func TestDiscoveryTellsWhatThereIs(t *testing.T) {
	r := newResourceRig(t)
	for _, secure := range []bool{false, true} {
		req := httptest.NewRequest("GET", "/discovery/v1/apis/arvados/v1/rest", nil)
		req.Host = "keep.example:8443"
		scheme := "http"
		if secure { // as a proxy says
			req, scheme = listen.WithSecure(req, true), "https"
		}
		_, _, d := call(t, r.api, req)
		for k, want := range map[string]any{
			"rootUrl": scheme + "://keep.example:8443/", "baseUrl": scheme + "://keep.example:8443/arvados/v1/", "keepWebServiceUrl": scheme + "://keep.example:8443/",
			"websocketUrl": strings.Replace(scheme, "http", "ws", 1) + "://keep.example:8443/websocket", "uuidPrefix": "zzzzz", "blobSignatureTtl": 1209600.0, "maxRequestSize": 134217728.0,
		} {
			if d[k] != want {
				t.Errorf("%s = %v; want %v", k, d[k], want)
			}
		}
		if v, ok := d["keepdav"].(map[string]any); !ok || v["version"] != 1.0 {
			t.Errorf("keepdav = %v", d["keepdav"])
		}
		methods := d["resources"].(map[string]any)["users"].(map[string]any)["methods"].(map[string]any)
		for _, m := range []string{"current", "list", "get", "create", "update", "delete"} {
			if _, ok := methods[m].(map[string]any)["path"]; !ok {
				t.Errorf("users.%s = %v", m, methods[m])
			}
		}
		if p := d["schemas"].(map[string]any)["Collection"].(map[string]any)["uuidPrefix"]; p != "4zz18" {
			t.Errorf("the prefix of collections is %v", p)
		}
	}
}

func TestTheKeepServiceIsThisServer(t *testing.T) {
	r := newResourceRig(t)
	for host, want := range map[string]string{"keep.example:8080": "keep.example 8080", "keep.example": "keep.example 80", "[::1]:99": "::1 99", "[::1]": "::1 80"} {
		req := httptest.NewRequest("GET", "/arvados/v1/keep_services/accessible", nil)
		req.Host = host
		req.Header.Set("Authorization", "Bearer "+r.tokens["ann"])
		_, _, answer := call(t, r.api, req)
		i := answer["items"].([]any)[0].(map[string]any)
		if got := fmt.Sprint(i["service_host"], " ", i["service_port"]); got != want || i["service_type"] != "disk" {
			t.Errorf("with Host %s: %s %v; want %s", host, got, i["service_type"], want)
		}
		if s := r.must("ann", "GET", "/arvados/v1/keep_services/"+i["uuid"].(string), nil); s["uuid"] != i["uuid"] {
			t.Errorf("get = %v", s)
		}
	}
	if n := r.must("ann", "GET", "/arvados/v1/keep_services", nil)["items_available"]; n != 2.0 {
		t.Errorf("%v services", n)
	}
	if status, _ := r.do("ann", "GET", "/arvados/v1/keep_services/zzzzz-bi6l4-00000000000000x", nil); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
}
