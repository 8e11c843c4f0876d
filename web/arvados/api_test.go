package arvados

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/query"
)

const goodToken = "v2/zzzzz-gj3su-000000000000001/secret"

// fakeAuth knows tokens and their scopes.
type fakeAuth map[string][]string

func (f fakeAuth) Authenticate(_ context.Context, token string) (Caller, error) {
	scopes, ok := f[token]
	if !ok {
		return Caller{}, fmt.Errorf("token: %w", fs.ErrNotExist)
	}
	return Caller{User: collfs.User{UUID: collfs.UUID("zzzzz-tpzed-" + token[len(token)-15:]), Name: "u", Active: true}, Scopes: scopes}, nil
}

// echoAPI answers with what it understood of a request.
func echoAPI(t testing.TB) *API {
	t.Helper()
	a := New(Config{Cluster: "zzzzz", Auth: fakeAuth{
		goodToken:                          {"all"},
		"other/secret/that/reads":          {"all"},
		"one/scope/of/this/path":           {"GET /arvados/v1/things/abc"},
		"scopes/below/a/path":              {"GET /arvados/v1/things/abc/"},
		"write/scope/for/making/of/things": {"POST /arvados/v1/things"},
	}})
	echo := func(_ context.Context, r *Request) (any, error) {
		attrs, strict, err := r.Attrs()
		if err != nil {
			return nil, err
		}
		n, err := r.Params.Int("n", 7)
		if err != nil {
			return nil, err
		}
		s, err := r.Params.String("s")
		if err != nil {
			return nil, err
		}
		var list []string
		if err := r.Params.JSON("list", &list); err != nil {
			return nil, err
		}
		return map[string]any{"method": r.Method, "uuid": r.UUID, "token": r.Token, "attrs": attrs, "strict": strict,
			"n": n, "s": s, "b": r.Params.Bool("b"), "list": list, "readers": len(r.Readers())}, nil
	}
	for _, m := range []string{"GET", "POST", "PATCH", "DELETE"} {
		a.Add(Endpoint{Method: m, Path: "things/{uuid}", Record: "thing", Do: echo}, Endpoint{Method: m, Path: "things", Record: "thing", Do: echo})
	}
	a.Add(Endpoint{Method: "GET", Path: "things/current", Record: "thing", Do: echo},
		Endpoint{Method: "GET", Path: "things/{uuid}/more", Record: "thing", Do: echo},
		Endpoint{Method: "GET", Path: "api_client_authorizations/current", Record: "thing", Do: echo},
		Endpoint{Method: "GET", Path: "/discovery/v1/apis/arvados/v1/rest", Public: true, Do: echo},
		Endpoint{Method: "GET", Path: "panics", Do: func(context.Context, *Request) (any, error) { panic("on purpose") }},
		Endpoint{Method: "GET", Path: "fails", Do: func(_ context.Context, r *Request) (any, error) {
			return nil, fmt.Errorf("database: %w", context.DeadlineExceeded)
		}})
	return a
}

// call sends a request to a handler and decodes the answer.
func call(t testing.TB, h http.Handler, r *http.Request) (int, http.Header, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var body map[string]any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatalf("%s %s: answer %q is no JSON: %v", r.Method, r.URL, w.Body, err)
		}
	}
	return w.Code, w.Header(), body
}

func newRequest(method, target, kind, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	r.Header.Set("Authorization", "Bearer "+goodToken)
	return r
}

const formKind = "application/x-www-form-urlencoded"

func TestParametersComeInManyForms(t *testing.T) {
	a := echoAPI(t)
	want := `{"attrs":{"name":"x"},"b":true,"list":["p","q"],"method":"POST","n":3,"readers":1,"s":"hello","strict":true,"token":"` + goodToken + `","uuid":""}`
	form := url.Values{"thing": {`{"name":"x"}`}, "b": {"true"}, "list": {`["p","q"]`}, "n": {"3"}, "s": {"hello"}}.Encode()
	var parts strings.Builder
	m := multipart.NewWriter(&parts)
	for k, v := range map[string]string{"thing": `{"name":"x"}`, "b": "1", "list": `["p","q"]`, "n": "3", "s": "hello"} {
		if err := m.WriteField(k, v); err != nil {
			t.Fatal(err)
		}
	}
	m.Close()
	for name, r := range map[string]*http.Request{
		"Query":               newRequest("POST", "/arvados/v1/things?"+form, "", ""),
		"Form":                newRequest("POST", "/arvados/v1/things", formKind, form),
		"Multipart":           newRequest("POST", "/arvados/v1/things", m.FormDataContentType(), parts.String()),
		"JSON":                newRequest("POST", "/arvados/v1/things", "application/json", `{"thing":{"name":"x"},"b":true,"list":["p","q"],"n":3,"s":"hello"}`),
		"JSONTextInJSON":      newRequest("POST", "/arvados/v1/things", "application/json", `{"thing":"{\"name\":\"x\"}","b":"yes","list":"[\"p\",\"q\"]","n":"3","s":"hello"}`),
		"JSONWithoutAType":    newRequest("POST", "/arvados/v1/things", "", `{"thing":{"name":"x"},"b":1,"list":["p","q"],"n":3,"s":"hello"}`),
		"BodyCountsMore":      newRequest("POST", "/arvados/v1/things?s=no&b=false", "application/json", `{"thing":{"name":"x"},"b":true,"list":["p","q"],"n":3,"s":"hello"}`),
		"ListOfBracketsInURL": newRequest("POST", "/arvados/v1/things?list[]=p&list[]=q", "application/json", `{"thing":{"name":"x"},"b":true,"n":3,"s":"hello"}`),
	} {
		status, _, got := call(t, a, r)
		text, _ := json.Marshal(got)
		if status != 200 || string(text) != want {
			t.Errorf("%s: answer = %d %s; want 200 %s", name, status, text, want)
		}
	}
}

func TestBareAttributesOfAJSONBodyAreTheRecord(t *testing.T) {
	status, _, got := call(t, echoAPI(t), newRequest("PATCH", "/arvados/v1/things/abc", "application/json", `{"name":"x","s":"y"}`))
	attrs, _ := got["attrs"].(map[string]any)
	if status != 200 || attrs["name"] != "x" || got["strict"] != false || got["uuid"] != "abc" {
		t.Errorf("answer = %d %v", status, got)
	}
}

func TestFalseAndNothingAreSpelledInManyWays(t *testing.T) {
	for _, v := range []string{`""`, `"0"`, `0`, `false`, `"false"`, `null`} {
		_, _, got := call(t, echoAPI(t), newRequest("POST", "/arvados/v1/things", "application/json", `{"b":`+v+`,"thing":null,"list":null,"n":null,"s":null}`))
		if got["b"] != false || got["n"] != 7.0 || got["s"] != "" || got["list"] != nil {
			t.Errorf("with %s: answer = %v", v, got)
		}
	}
	for _, v := range []string{"", "0", "false"} {
		_, _, got := call(t, echoAPI(t), newRequest("GET", "/arvados/v1/things?b="+v+"&n=&list=", "", ""))
		if got["b"] != false || got["n"] != 7.0 || got["list"] != nil {
			t.Errorf("with %q: answer = %v", v, got)
		}
	}
}

func TestMethodsHaveOtherNames(t *testing.T) {
	a := echoAPI(t)
	over := newRequest("POST", "/arvados/v1/things/abc", formKind, "s=x")
	over.Header.Set("X-Http-Method-Override", "get")
	for name, c := range map[string]struct {
		r    *http.Request
		want string
	}{
		"PUT":       {newRequest("PUT", "/arvados/v1/things/abc", "application/json", `{"s":"x"}`), "PATCH"},
		"Parameter": {newRequest("POST", "/arvados/v1/things/abc", formKind, "_method=GET&s=x"), "GET"},
		"Header":    {over, "GET"},
	} {
		status, _, got := call(t, a, c.r)
		if status != 200 || got["method"] != c.want || got["s"] != "x" {
			t.Errorf("%s: answer = %d %v; want method %s", name, status, got, c.want)
		}
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, newRequest("HEAD", "/arvados/v1/things/abc", "", ""))
	if w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "" {
		t.Errorf("HEAD = %d with %d bytes of body", w.Code, w.Body.Len())
	}
}

func TestTokensComeInManyWays(t *testing.T) {
	a := echoAPI(t)
	for name, set := range map[string]func(r *http.Request){
		"Bearer": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+goodToken) },
		"OAuth2": func(r *http.Request) { r.Header.Set("Authorization", "OAuth2 "+goodToken) },
		"Basic":  func(r *http.Request) { r.SetBasicAuth("whoever", goodToken) },
		"Query":  func(r *http.Request) { r.URL.RawQuery = "api_token=" + url.QueryEscape(goodToken) },
		"Cookie": func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "arvados_api_token", Value: goodToken}) },
		"Cookie64": func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: "arvados_api_token", Value: "djIvenp6enotZ2ozc3UtMDAwMDAwMDAwMDAwMDAxL3NlY3JldA=="})
		},
		"LowerCase": func(r *http.Request) { r.Header.Set("Authorization", "bearer "+goodToken) },
	} {
		r := httptest.NewRequest("GET", "/arvados/v1/things", nil)
		set(r)
		if status, _, got := call(t, a, r); status != 200 || got["token"] != goodToken {
			t.Errorf("%s: answer = %d %v", name, status, got)
		}
	}
	for name, header := range map[string]string{"None": "", "Unknown": "Bearer v2/x/y", "OtherScheme": "Digest " + goodToken} {
		r := httptest.NewRequest("GET", "/arvados/v1/things", nil)
		r.Header.Set("Authorization", header)
		status, head, got := call(t, a, r)
		errs, _ := got["errors"].([]any)
		if status != 401 || len(errs) != 1 || !strings.HasSuffix(errs[0].(string), "("+head.Get("X-Request-Id")+")") || got["error_token"] == nil {
			t.Errorf("%s: answer = %d %v; want 401 with the request's id", name, status, got)
		}
	}
}

func TestReaderTokensAddReaders(t *testing.T) {
	a := echoAPI(t)
	for target, want := range map[string]float64{
		"/arvados/v1/things?reader_tokens=" + url.QueryEscape(`["other/secret/that/reads","unknown"]`): 2,
		"/arvados/v1/things?reader_tokens=other/secret/that/reads":                                     2,
		"/arvados/v1/things?reader_tokens=" + url.QueryEscape(`["one/scope/of/this/path"]`):            1,
	} {
		if _, _, got := call(t, a, newRequest("GET", target, "", "")); got["readers"] != want {
			t.Errorf("%s: %v readers; want %v", target, got["readers"], want)
		}
	}
	if _, _, got := call(t, a, newRequest("POST", "/arvados/v1/things?reader_tokens=other/secret/that/reads", "", "")); got["readers"] != 1.0 {
		t.Error("a reader token counts for a change")
	}
}

func TestScopesBoundWhatATokenIsGoodFor(t *testing.T) {
	a := echoAPI(t)
	for _, c := range []struct {
		token, method, path string
		want                int
	}{
		{"one/scope/of/this/path", "GET", "things/abc", 200},
		{"one/scope/of/this/path", "HEAD", "things/abc", 200},
		{"one/scope/of/this/path", "GET", "things/abc/more", 403},
		{"one/scope/of/this/path", "GET", "things/abcd", 403},
		{"one/scope/of/this/path", "PATCH", "things/abc", 403},
		{"one/scope/of/this/path", "GET", "things", 403},
		{"one/scope/of/this/path", "GET", "api_client_authorizations/current", 200},
		{"scopes/below/a/path", "GET", "things/abc/more", 200},
		{"scopes/below/a/path", "GET", "things/abc", 403},
		{"write/scope/for/making/of/things", "POST", "things", 200},
		{"write/scope/for/making/of/things", "GET", "things", 403},
	} {
		r := httptest.NewRequest(c.method, prefix+c.path, nil)
		r.Header.Set("Authorization", "Bearer "+c.token)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s %s with %q = %d; want %d", c.method, c.path, a.conf.Auth.(fakeAuth)[c.token], w.Code, c.want)
		}
	}
	// What the client means counts, not how it is sent.
	r := httptest.NewRequest("POST", prefix+"things?_method=GET", nil)
	r.Header.Set("Authorization", "Bearer write/scope/for/making/of/things")
	if status, _, _ := call(t, a, r); status != 403 {
		t.Errorf("GET by POST with a scope for POST = %d; want 403", status)
	}
}

func TestAnswersHaveTheStatusOfWhatIsWrong(t *testing.T) {
	a := echoAPI(t)
	for name, c := range map[string]struct {
		r    *http.Request
		want int
	}{
		"UnknownResource": {newRequest("GET", "/arvados/v1/nosuchthing", "", ""), 404},
		"TooDeep":         {newRequest("GET", "/arvados/v1/things/a/b/c", "", ""), 404},
		"Root":            {newRequest("GET", "/", "", ""), 404},
		"NoSuchMethod":    {newRequest("DELETE", "/arvados/v1/things/current/more", "", ""), 405},
		"NoJSON":          {newRequest("POST", "/arvados/v1/things", "application/json", `{"a":`), 400},
		"JSONArray":       {newRequest("POST", "/arvados/v1/things", "application/json", `[1]`), 400},
		"BadQuery":        {newRequest("GET", "/arvados/v1/things?a=%zz", "", ""), 400},
		"BadForm":         {newRequest("POST", "/arvados/v1/things", formKind, "a=%zz"), 400},
		"BadMultipart":    {newRequest("POST", "/arvados/v1/things", "multipart/form-data; boundary=x", "--x\r\nfoo"), 400},
		"OtherType":       {newRequest("POST", "/arvados/v1/things", "text/plain", "hello"), 415},
		"NoInteger":       {newRequest("GET", "/arvados/v1/things?n=many", "", ""), 422},
		"NoList":          {newRequest("GET", "/arvados/v1/things?list=7", "", ""), 422},
		"NoString":        {newRequest("POST", "/arvados/v1/things", "application/json", `{"s":{}}`), 422},
		"NoRecord":        {newRequest("POST", "/arvados/v1/things", "application/json", `{"thing":7}`), 422},
		"Panic":           {newRequest("GET", "/arvados/v1/panics", "", ""), 500},
		"Unavailable":     {newRequest("GET", "/arvados/v1/fails", "", ""), 503},
		"Public":          {httptest.NewRequest("GET", "/discovery/v1/apis/arvados/v1/rest", nil), 200},
	} {
		status, head, got := call(t, a, c.r)
		if status != c.want || (status >= 400) != (got["errors"] != nil) {
			t.Errorf("%s: answer = %d %v; want %d", name, status, got, c.want)
		}
		if (status == 503) != (head.Get("Retry-After") != "") {
			t.Errorf("%s: Retry-After = %q with %d", name, head.Get("Retry-After"), status)
		}
		if head.Get("Access-Control-Allow-Origin") != "*" || !strings.HasPrefix(head.Get("X-Request-Id"), "req-") {
			t.Errorf("%s: headers = %v", name, head)
		}
	}
}

// endless is a body that never ends.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	clear(p)
	e.read += int64(len(p))
	return len(p), nil
}

func TestBodiesAreBounded(t *testing.T) {
	a := echoAPI(t)
	a.limit = 2 << 20
	r := newRequest("POST", "/arvados/v1/things", "application/json", "")
	r.Body, r.ContentLength = io.NopCloser(&endless{}), a.limit+1
	if status, _, _ := call(t, a, r); status != 413 {
		t.Errorf("an announced body that is too long = %d; want 413", status)
	}
	body := &endless{}
	r.Body, r.ContentLength = io.NopCloser(body), -1
	if status, _, _ := call(t, a, r); status != 413 || body.read > 2*a.limit {
		t.Errorf("a body that never ends = %d after %d bytes; want 413", status, body.read)
	}
	// Nobody sends long ones without a good token.
	for _, token := range []string{"", "v2/x/y"} {
		for _, length := range []int64{-1, smallBody + 1} {
			body := &endless{}
			r.Body, r.ContentLength = io.NopCloser(body), length
			r.Header.Set("Authorization", "Bearer "+token)
			if status, _, _ := call(t, a, r); status != 401 || body.read > 2*smallBody {
				t.Errorf("a long body with the token %q = %d after %d bytes; want 401", token, status, body.read)
			}
		}
	}
}

func TestPreflightsAreAnswered(t *testing.T) {
	status, head, _ := call(t, echoAPI(t), httptest.NewRequest("OPTIONS", "/arvados/v1/things", nil))
	if status != 200 || !strings.Contains(head.Get("Access-Control-Allow-Methods"), "PATCH") {
		t.Errorf("OPTIONS = %d %v", status, head)
	}
}

func TestRequestIDsOfClientsAreKept(t *testing.T) {
	r := newRequest("GET", "/arvados/v1/things", "", "")
	r.Header.Set("X-Request-Id", "req-0123456789abcdefghij")
	if _, head, _ := call(t, echoAPI(t), r); head.Get("X-Request-Id") != "req-0123456789abcdefghij" {
		t.Errorf("X-Request-Id = %q", head.Get("X-Request-Id"))
	}
	r.Header.Set("X-Request-Id", "bad\"id")
	if _, head, _ := call(t, echoAPI(t), r); strings.Contains(head.Get("X-Request-Id"), `"`) {
		t.Errorf("X-Request-Id = %q", head.Get("X-Request-Id"))
	}
}

func TestEveryKindOfErrorHasAStatus(t *testing.T) {
	for _, k := range collfs.Kinds() {
		if statusOf[k] == 0 {
			t.Errorf("kind %d has no status", k)
		}
	}
}

func TestErrorsOfTheServerTellNothingOfItsInside(t *testing.T) {
	e := errorOf(errors.New("disk /secret/path is broken"))
	if e.Status != 500 || strings.Contains(e.Text, "secret") {
		t.Errorf("errorOf = %d %q", e.Status, e.Text)
	}
}

func thing(name string, n int, at time.Time) Item {
	return Item{"kind": "arvados#thing", "uuid": name, "name": name, "n": n, "modified_at": Time(at)}.WithETag()
}

func TestListsArePagedSelectedAndCounted(t *testing.T) {
	attrs := query.Attrs{"uuid": query.Text, "name": query.Text, "n": query.Number, "modified_at": query.Time}
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a := New(Config{Auth: fakeAuth{goodToken: {"all"}}})
	a.Add(Endpoint{Method: "GET", Path: "things", Do: func(_ context.Context, r *Request) (any, error) {
		items := []Item{thing("a", 1, day), thing("b", 2, day.Add(time.Hour)), thing("c", 2, day.Add(2*time.Hour))}
		return r.ListOf("arvados#thingList", attrs, items)
	}})
	for q, want := range map[string]string{
		"":                                      "c b a of 3",
		"order=uuid":                            "a b c of 3",
		"order=n+desc,name+desc":                "c b a of 3",
		`order=["n","uuid desc"]`:               "a c b of 3",
		"order=uuid&limit=1&offset=1":           "b of 3",
		"order=uuid&limit=0":                    " of 3",
		"order=uuid&offset=9":                   " of 3",
		"count=none":                            "c b a",
		`filters=[["n","=",2]]`:                 "c b of 2",
		`filters=[["n","<",2]]`:                 "a of 1",
		`filters=[["uuid","in",["a","c"]]]`:     "c a of 2",
		`filters=[["uuid","not in",["a","c"]]]`: "b of 1",
		`filters=[["name","like","_"],["modified_at",">","2026-01-01T00:30:00Z"]]`: "c b of 2",
		`distinct=true&select=["n"]&order=n`:                                       "- - of 2",
	} {
		r := newRequest("GET", "/arvados/v1/things?"+strings.ReplaceAll(q, " ", "+"), "", "")
		status, _, got := call(t, a, r)
		var names []string
		items, _ := got["items"].([]any)
		for _, i := range items {
			name, _ := i.(map[string]any)["uuid"].(string)
			if name == "" {
				name = "-"
			}
			names = append(names, name)
		}
		text := strings.Join(names, " ")
		if n, ok := got["items_available"]; ok {
			text += fmt.Sprintf(" of %v", n)
		}
		if status != 200 || text != want {
			t.Errorf("%q = %d %q; want %q", q, status, text, want)
		}
	}
	for _, q := range []string{
		"limit=-1", "offset=-1", "limit=x", "count=perhaps", "order=nothing", "order=uuid+sideways", `filters={"a":1}`, `filters=[["uuid"]]`,
		`filters=[["nothing","=","x"]]`, `filters=[["uuid","~","x"]]`, `filters=[["n","=","x"]]`, `filters=[["uuid","in","x"]]`,
		`filters=[["n","like","x"]]`, `filters=[["modified_at","<","soon"]]`, `filters=[["uuid","<",null]]`, `select=["nothing"]`, "select=uuid", "where={}",
	} {
		if status, _, got := call(t, a, newRequest("GET", "/arvados/v1/things?"+q, "", "")); status != 422 {
			t.Errorf("%q = %d %v; want 422", q, status, got)
		}
	}
}

func TestSelectNeverTakesETagAndKindAway(t *testing.T) {
	i := thing("a", 1, time.Time{}).Selected([]string{"n"})
	var names []string
	for k := range i {
		names = append(names, k)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"etag", "kind", "n"}) {
		t.Errorf("selected = %v", names)
	}
}

func TestTimesHaveNineDigits(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600))
	text, err := json.Marshal([]Time{Time(at), {}})
	if err != nil || string(text) != `["2026-01-02T02:04:05.000006000Z",null]` {
		t.Errorf("times = %s, %v", text, err)
	}
}

func FuzzRequestsNeverPanic(f *testing.F) {
	f.Add("POST", "filters=[]", formKind, `thing={"a":1}`)
	f.Add("GET", `filters=[["n","=",1]]&order=uuid`, "application/json", `{"thing":{"a":[]},"list":[]}`)
	f.Add("POST", "", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"s\"\r\n\r\nv\r\n--x--")
	a := echoAPI(f)
	attrs := query.Attrs{"uuid": query.Text, "n": query.Number, "p": query.Object, "l": query.Array}
	a.Add(Endpoint{Method: "GET", Path: "lists", Do: func(_ context.Context, r *Request) (any, error) {
		return r.ListOf("x", attrs, []Item{{"uuid": "a", "n": 1, "p": map[string]any{"k": "v"}, "l": []string{"x"}}, {}})
	}})
	f.Fuzz(func(t *testing.T, method, q, kind, body string) {
		for _, path := range []string{"things/x", "lists"} {
			r := newRequest("POST", prefix+path, kind, body)
			r.URL.RawQuery = q
			r.Header.Set("X-Http-Method-Override", method)
			if status, _, _ := call(t, a, r); status == 500 {
				t.Errorf("%s %q with %q = 500", method, q, body)
			}
		}
	})
}
