package arvados

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"keepdav/collfs"
)

// prefix is where the resources are.
const prefix = "/arvados/v1/"

// MaxRequestSize is how long the body of a request may be, in bytes.
const MaxRequestSize = 128 << 20

// smallBody is how long a body may be that needs no part of API.bodies.
const smallBody = 1 << 20

// Auth knows the tokens.
type Auth interface {
	// Authenticate returns who presents a token, in whatever form it came; the user
	// need not be active. One that is not good is fs.ErrNotExist.
	Authenticate(ctx context.Context, token string) (Caller, error)
}

// A Caller is who makes a request: a user, and what the token is good for.
type Caller struct {
	User      collfs.User
	Token     collfs.UUID // of the token
	Scopes    []string    // "METHOD /path"; "all" is everything
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
}

// Config says what an API works with. Auth is needed.
type Config struct {
	Cluster string // the first five characters of UUIDs
	Auth    Auth
	Now     func() time.Time // nil: time.Now
	Log     zerolog.Logger
}

// An API is a handler for all requests below /arvados/v1/ and /discovery/. Its
// endpoints are added before it is used.
type API struct {
	conf   Config
	routes map[string][]*route // by the number of segments and the first, see routeKey
	bodies *semaphore.Weighted // bytes that longer bodies may occupy together
	limit  int64               // of one: MaxRequestSize, but in tests
	origin *http.CrossOriginProtection
}

// New returns an API without endpoints: see Add.
func New(conf Config) *API {
	if conf.Now == nil {
		conf.Now = time.Now
	}
	return &API{
		conf: conf, routes: make(map[string][]*route), bodies: semaphore.NewWeighted(MaxRequestSize), limit: MaxRequestSize,
		origin: http.NewCrossOriginProtection(),
	}
}

// Now returns the time by the API's clock.
func (a *API) Now() time.Time { return a.conf.Now() }

// Serves reports whether r is for the API, where a site has the same address.
func (a *API) Serves(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, prefix) || strings.HasPrefix(r.URL.Path, "/discovery/v1/")
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Range, X-Http-Method-Override")
	head.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS, PROPFIND, PUT, POST, PATCH, DELETE")
	head.Set("Access-Control-Allow-Origin", "*")
	head.Set("Access-Control-Expose-Headers", "Content-Range")
	head.Set("Access-Control-Max-Age", "86486400")
	req := &Request{api: a, HTTP: r, ID: requestID(r), w: w}
	head.Set("X-Request-Id", req.ID)
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusOK)
		return
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			a.conf.Log.Error().Str("id", req.ID).Str("method", r.Method).Str("panic", fmt.Sprint(p)).Str("stack", string(debug.Stack())).Msg("a request of the API panicked")
			req.fail(errors.New("internal error"))
		}
		req.done()
	}()
	body, err := a.answer(req)
	if err != nil {
		req.fail(err)
		return
	}
	if body != nil {
		req.send(http.StatusOK, body)
	}
}

// answer returns what the endpoint for a request says.
func (a *API) answer(req *Request) (any, error) {
	if err := req.readParams(); err != nil {
		return nil, err
	}
	e, err := a.find(req)
	if err != nil {
		return nil, err
	}
	req.endpoint = e
	if err := req.authenticate(e.Public); err != nil {
		return nil, err
	}
	return e.Do(req.HTTP.Context(), req)
}

// requestID is the id that the client gave its request, or a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	ok := len(id) >= 4 && len(id) <= 64 && !strings.ContainsFunc(id, func(c rune) bool {
		return !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-')
	})
	if ok {
		return id
	}
	return "req-" + randomText(20)
}

// randomText returns n random digits and lower case letters.
func randomText(n int) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, n)
	rand.Read(b)
	for i := range b {
		b[i] = digits[int(b[i])%len(digits)]
	}
	return string(b)
}

// authenticate finds out who makes a request and whether the token is good for it.
func (req *Request) authenticate(public bool) error {
	req.Token = req.api.presentedToken(req.HTTP, req.Params)
	if req.Token == "" {
		if public {
			return nil
		}
		return notLoggedIn()
	}
	ctx, auth := req.HTTP.Context(), req.api.conf.Auth
	caller, err := auth.Authenticate(ctx, req.Token)
	switch {
	case err != nil && public:
		req.Token = ""
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return notLoggedIn()
	case err != nil:
		return err
	}
	req.Caller = caller
	if u, ok := req.w.(interface{ SetUser(string) }); ok {
		u.SetUser(caller.User.Name)
	}
	if !public && !req.inScope(caller.Scopes) {
		return &Error{Status: http.StatusForbidden, Text: "this token is not good for that request"}
	}
	if !public && !caller.User.Active && !req.endpoint.Inactive {
		return &Error{Status: http.StatusForbidden, Text: "this user is not active"}
	}
	if req.Method != http.MethodGet {
		return nil
	}
	for _, t := range req.readerTokens() {
		c, err := auth.Authenticate(ctx, t)
		switch {
		case err == nil && c.User.Active && req.inScope(c.Scopes):
			req.readers = append(req.readers, c.User)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// maxReaders is how many reader tokens count.
const maxReaders = 10

func (req *Request) readerTokens() []string {
	var tokens []string
	if req.Params.JSON("reader_tokens", &tokens) != nil { // one token, as it is
		if t, err := req.Params.String("reader_tokens"); err == nil && t != "" {
			tokens = []string{t}
		}
	}
	return tokens[:min(len(tokens), maxReaders)]
}

// inScope reports whether one of scopes allows the request. What a token says about
// itself may always be asked.
func (req *Request) inScope(scopes []string) bool {
	path := req.HTTP.URL.Path
	if req.Method == http.MethodGet && path == prefix+"api_client_authorizations/current" {
		return true
	}
	return slices.ContainsFunc(scopes, func(s string) bool {
		if s == "all" {
			return true
		}
		method, allowed, ok := strings.Cut(s, " ")
		if !ok || method != req.Method {
			return false
		}
		return path == allowed || strings.HasSuffix(allowed, "/") && strings.HasPrefix(path, allowed)
	})
}

// presentedToken returns the token of a request, exactly as it was sent: signatures
// are made with it. Passwords and cookies do not count in what a page of another origin
// has a browser send to change something: the browser adds them by itself.
func (a *API) presentedToken(r *http.Request, params Params) string {
	foreign := a.origin.Check(r) != nil
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"), strings.EqualFold(scheme, "OAuth2"):
		if t := strings.TrimSpace(rest); t != "" {
			return t
		}
	case strings.EqualFold(scheme, "Basic") && !foreign:
		if _, password, ok := r.BasicAuth(); ok && password != "" {
			return strings.TrimSpace(password)
		}
	}
	if t, err := params.String("api_token"); err == nil && t != "" {
		return t
	}
	if c, err := r.Cookie("arvados_api_token"); err == nil && !foreign {
		return tokenOfCookie(c.Value)
	}
	return ""
}

// send writes an answer.
func (req *Request) send(status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		req.api.conf.Log.Error().Err(err).Str("id", req.ID).Msg("an answer cannot be written as JSON")
		text, status = []byte(`{"errors":["internal error"]}`), http.StatusInternalServerError
	}
	head := req.w.Header()
	head.Set("Content-Type", "application/json")
	head.Set("Content-Length", strconv.Itoa(len(text)+1))
	req.w.WriteHeader(status)
	if req.HTTP.Method != http.MethodHead {
		req.w.Write(append(text, '\n')) // a failure means that the client is gone
	}
}
