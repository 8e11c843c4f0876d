package web

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/web/auth"
	"keepdav/web/dav"
	"keepdav/web/listen"
)

// Config is what a Handler is made of. Door must be set, or Auth and Site.
type Config struct {
	Auth *auth.Authenticator
	// Site returns the site as a user sees it.
	Site func(collfs.User) davfs.FileSystem
	// Door lets requests in. Nil: Auth finds out who makes them, and Site what is shown.
	Door Door
	// DAV is what the protocol's handler is made of; its Session, Prefix and
	// Lister are filled in.
	DAV dav.Config
	// Public are pages that everybody may see, by their exact path.
	Public map[string]http.Handler

	// Services are protocols of their own beside the site. They find out by
	// themselves who asks, and what pages of other origins may do.
	Services []Service

	// KeepWeb is what users of a keep-web find here again.
	KeepWeb KeepWeb

	// Ready says why the server cannot do its work as it should, for /readyz. Nil: it always can.
	Ready func() error

	Metrics   *Metrics // nil: none
	Log       zerolog.Logger
	AccessLog AccessLog // "" is LogAll

	// RequireTLS: requests over plain HTTP from other machines are sent to https
	// when a browser makes them, and refused otherwise.
	RequireTLS bool
	// Proxies are believed when they say whom they speak for (X-Forwarded-For
	// and X-Forwarded-Proto).
	Proxies []netip.Prefix
	// AdminMetrics serves /metrics to administrators.
	AdminMetrics bool
}

// A Service answers the requests that are for it.
type Service interface {
	http.Handler
	// Serves reports whether r is for this service. What it says must not depend
	// on anything but the request.
	Serves(r *http.Request) bool
}

// A Handler is the root handler of a server. All methods may be called concurrently.
type Handler struct {
	conf   Config
	dav    *dav.Handler
	origin *http.CrossOriginProtection
	idBase string
	ids    atomic.Uint64
	ready  atomic.Bool

	refusal time.Duration // refusalTimeout, but in tests
}

// NewHandler returns a handler that is not ready yet: see SetReady.
func NewHandler(conf Config) *Handler {
	if conf.Metrics == nil {
		conf.Metrics = NewMetrics()
	}
	if conf.Door == nil {
		conf.Door = accountsDoor{conf.Auth, conf.Site}
	}
	raw := make([]byte, 5)
	rand.Read(raw)
	conf.DAV.RunsScripts = conf.KeepWeb.TrustAllContent
	return &Handler{
		conf:    conf,
		dav:     davHandler(conf.DAV, ""),
		origin:  http.NewCrossOriginProtection(),
		refusal: refusalTimeout,
		idBase:  strings.ToLower(base32.StdEncoding.EncodeToString(raw)) + "-",
	}
}

// SetReady says whether /readyz tells load balancers to send requests here.
func (h *Handler) SetReady(ready bool) { h.ready.Store(ready) }

// ServeHTTP answers a request, logs and counts it.
func (h *Handler) ServeHTTP(conn http.ResponseWriter, r *http.Request) {
	start := time.Now()
	w := &response{ResponseWriter: conn, body: body{ReadCloser: r.Body, conn: conn}}
	w.page = r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodPost
	w.holder, _ = r.Context().Value(holderKey{}).(listen.Holder)
	if r.ContentLength != 0 {
		// A copy: net/http looks at the body of its own request to know how to go on.
		own := new(http.Request)
		*own = *r
		own.Body, r = &w.body, own
		// net/http reads a body that the handler leaves before it answers, for as
		// long as the deadline lets it.
		w.body.deadline(start.Add(stall))
		w.body.touched = start
	}
	id := h.idBase + strconv.FormatUint(h.ids.Add(1), 36)
	conn.Header()["X-Request-Id"] = []string{id}
	client, secure := h.client(r)
	h.conf.Metrics.running.Inc()
	defer func() {
		h.conf.Metrics.running.Dec()
		p := recover()
		if p != nil && p != http.ErrAbortHandler {
			h.conf.Metrics.panics.Inc()
			w.kind, w.err = "panic", fmt.Errorf("panic: %v", p)
			h.conf.Log.Error().Str("id", id).Str("method", r.Method).Str("path", logPath(r)).
				Str("panic", fmt.Sprint(p)).Str("stack", string(debug.Stack())).Msg("a request panicked")
			if w.status == 0 {
				http.Error(w, "internal error, request "+id, http.StatusInternalServerError)
				p = nil
			} else {
				p = http.ErrAbortHandler // a reply cut short must not look whole
			}
		}
		if w.status == 0 && p == nil {
			w.WriteHeader(http.StatusOK)
		}
		w.release()
		took := time.Since(start)
		h.conf.Metrics.observe(r.Method, w.status, w.body.bytes, w.bytes, took)
		h.log(w, r, id, client, took, p != nil)
		if p != nil {
			panic(p)
		}
		if r.ContentLength != 0 && !w.body.ended {
			h.linger(w, r)
		}
	}()
	h.route(w, r, client, secure)
}

// route is ServeHTTP without the bookkeeping.
func (h *Handler) route(w *response, r *http.Request, client netip.Addr, secure bool) {
	r = unescapedToken(r)
	f, isForm := formOf(r.Host, r.URL.Path)
	if !f.vhost && h.routeOwn(w, r) {
		return
	}
	if h.conf.RequireTLS && !secure && !client.IsLoopback() {
		h.refusePlain(w, r)
		return
	}
	for _, s := range h.conf.Services {
		if !f.vhost && s.Serves(r) {
			s.ServeHTTP(w, listen.WithSecure(r, secure))
			return
		}
	}
	if cors(w, r) || !f.vhost && h.manage(w, r) {
		return
	}
	// A form with a token may come from anywhere: all that it does is to show something.
	foreign := h.origin.Check(r) != nil && !bringsToken(r)
	if foreign && !(r.Method == http.MethodPost && isURLForm(r) && h.trusts(r, f)) {
		w.crossOrigin()
		return
	}
	if f.token != "" {
		w.Header().Set("Referrer-Policy", "no-referrer") // the URL has the token, and files have links
	}
	r, visit, err := h.enter(w, r, f, visitor{client, secure, foreign})
	switch {
	case errors.Is(err, errAnswered):
		return
	case err != nil:
		h.refuse(w, r, err)
		return
	}
	defer visit.leave()
	w.user = visit.User.Name
	if r.URL.Path == "/metrics" && h.conf.AdminMetrics && !isForm {
		if !visit.User.Admin {
			w.fail(http.StatusForbidden, "permission", "only administrators may see this")
			return
		}
		h.conf.Metrics.Handler().ServeHTTP(w, r)
		return
	}
	h.serve(w, r, f, visit)
}

// routeOwn answers what everybody may see, at paths that the site does not have.
func (h *Handler) routeOwn(w *response, r *http.Request) bool {
	switch r.URL.Path {
	case "/healthz":
		h.health(w, r, true)
		return true
	case "/readyz":
		h.health(w, r, h.ready.Load() && (h.conf.Ready == nil || h.conf.Ready() == nil))
		return true
	}
	page, ok := h.conf.Public[r.URL.Path]
	if ok {
		page.ServeHTTP(w, r)
	}
	return ok
}

// davHeaders are the headers that tell a client that this is a WebDAV server; Finder
// wants them on the refusal of its first request, and gives up without them.
func (h *Handler) davHeaders(head http.Header) {
	head.Set("DAV", h.dav.DAVHeader())
	head.Set("MS-Author-Via", "DAV")
}

// refuse answers a request whose maker isn't known.
func (h *Handler) refuse(w *response, r *http.Request, err error) {
	h.drain(w, r)
	head := w.Header()
	h.davHeaders(head)
	head.Set("Cache-Control", "no-store")
	var many *auth.TooManyError
	switch {
	case errors.As(err, &many):
		head.Set("Retry-After", strconv.Itoa(int(many.RetryAfter/time.Second)+1))
		w.fail(http.StatusTooManyRequests, "too-many-logins", many.Error())
	case errors.Is(err, auth.ErrDenied):
		if r.Header.Get("Authorization") != "" {
			h.conf.Metrics.denied.Inc()
			w.kind = "denied"
		}
		head.Set("WWW-Authenticate", `Basic realm="keepdav", charset="UTF-8"`)
		w.fail(http.StatusUnauthorized, w.kind, "a user name and a password, or a token, are needed")
	default:
		w.err = err
		head.Set("Retry-After", "5")
		w.fail(http.StatusServiceUnavailable, "accounts", "users cannot be looked up at the moment")
	}
}

// refusePlain answers a request that came in the clear.
func (h *Handler) refusePlain(w *response, r *http.Request) {
	browser := r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") && r.Header.Get("Authorization") == ""
	if browser {
		http.Redirect(w, r, "https://"+r.Host+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		return
	}
	h.drain(w, r)
	h.davHeaders(w.Header())
	w.fail(http.StatusForbidden, "plain-http", "use https: passwords and data are not accepted in the clear")
}

// Bodies of refused requests that are read all the same.
const (
	drainLimit = 4 << 20
	// drainExpected is for a client that waits to be asked for its body. To leave
	// that unread costs the client its connection, which is worth more than a few bytes.
	drainExpected = 16 << 10
)

// refusalTimeout is how long a refused client may take to send what is left of
// its body.
const refusalTimeout = 5 * time.Second

// drain reads a small body that a client sends without waiting for the answer:
// if it were left unread, the client would see a reset connection instead. One who
// has not logged in cannot hold the connection with it for long.
func (h *Handler) drain(w *response, r *http.Request) {
	limit := int64(drainLimit)
	if r.Header.Get("Expect") != "" {
		limit = drainExpected
	}
	if r.ContentLength != 0 {
		// It stays set: net/http reads on after us.
		w.SetReadDeadline(time.Now().Add(h.refusal)) // a failure means that the connection is gone
	}
	if r.ContentLength > 0 && r.ContentLength <= limit {
		io.CopyN(io.Discard, r.Body, limit) // whatever comes, the answer is the same
	}
}

// linger sends the answer and takes, for a while, what a client goes on to send of
// its body: closing the connection on it would make its kernel throw away the
// answer before the client has read it.
func (h *Handler) linger(w *response, r *http.Request) {
	w.body.deadline(time.Now().Add(h.refusal)) // it stays set: net/http may read on after us
	asked := w.body.bytes > 0 || r.Header.Get("Expect") == ""
	if r.ProtoMajor > 1 || !asked {
		return // the stream is reset without harm; what was not asked for is not sent
	}
	w.Flush()
	io.Copy(io.Discard, w.body.ReadCloser) // until the client goes, or the deadline
}

// fail answers with a short text for people, and notes the kind for the log. WebDAV
// clients get no text: some trip over a body that the protocol has no meaning for.
func (w *response) fail(status int, kind, text string) {
	w.kind = kind
	if !w.page {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(status)
		return
	}
	http.Error(w, text, status)
}

func (h *Handler) health(w *response, r *http.Request, good bool) {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		w.fail(http.StatusMethodNotAllowed, "method", "only GET and HEAD are answered here")
	case good:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "ok\n")
	default:
		w.fail(http.StatusServiceUnavailable, "not-ready", "not ready")
	}
}

// client is the address of whoever makes r, and whether nobody in between could
// read it.
func (h *Handler) client(r *http.Request) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil { // not from a TCP connection
		return netip.IPv4Unspecified(), false
	}
	addr, secure := ap.Addr().Unmap(), r.TLS != nil
	if len(h.conf.Proxies) == 0 || !h.isProxy(addr) {
		return addr, secure
	}
	secure = listen.ForwardedTLS(r.Header)
	// The last address that isn't one of our proxies is the one we can believe.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
		if hop == "" { // the proxy says nothing: it speaks for itself
			break
		}
		a, err := netip.ParseAddr(hop)
		if err != nil { // some proxies add the port
			ap, perr := netip.ParseAddrPort(hop)
			if perr != nil { // somebody else, whose address is not known
				return netip.IPv4Unspecified(), secure
			}
			a = ap.Addr()
		}
		addr = a.Unmap()
		if !h.isProxy(addr) {
			break
		}
	}
	return addr, secure
}

func (h *Handler) isProxy(a netip.Addr) bool {
	for _, p := range h.conf.Proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// log writes the line of a request. Failures of the server are always written.
func (h *Handler) log(w *response, r *http.Request, id string, client netip.Addr, took time.Duration, aborted bool) {
	if w.kind == "" && w.err != nil {
		w.kind = kindNames[collfs.KindOf(w.err)]
	}
	level := zerolog.InfoLevel
	switch {
	case w.status >= 500 || w.kind == "panic":
		level = zerolog.ErrorLevel
	case h.conf.AccessLog == LogOff:
		return
	case h.conf.AccessLog == LogErrors && isNormal(w):
		return
	}
	e := h.conf.Log.WithLevel(level)
	if e == nil {
		return
	}
	e = e.Str("id", id).Str("user", w.user).Stringer("client", client).Str("method", r.Method).Str("path", logPath(r)).
		Int("status", w.status).Int64("in", w.body.bytes).Int64("out", w.bytes).Dur("ms", took)
	if w.kind != "" {
		e = e.Str("kind", w.kind)
	}
	if w.err != nil {
		e = e.Str(zerolog.ErrorFieldName, withoutTokens(w.err.Error()))
	}
	if aborted {
		e = e.Bool("aborted", true)
	}
	e.Msg("request")
}

// isNormal reports whether an answer is none of those that LogErrors is for.
func isNormal(w *response) bool {
	switch {
	case w.status < 400, w.status == http.StatusNotFound:
		return true
	case w.status == http.StatusUnauthorized:
		return w.kind == "" // it came without credentials
	}
	return false
}

// logPath is the path of r without what is secret in it.
func logPath(r *http.Request) string {
	p := r.URL.Path
	if f, ok := formOf(r.Host, p); ok && f.token != "" {
		i := strings.LastIndex(f.prefix, f.token)
		p = p[:i] + "…" + p[i+len(f.token):]
	}
	return withoutTokens(p)
}

var (
	tokenPattern = regexp.MustCompile(`(v2/[0-9a-z]{5}-gj3su-[0-9a-z]{15}/)[^/\s"]+`)
	signature    = regexp.MustCompile(`(\+A|\+R[0-9a-z]{5}-)[0-9a-f]{40}@[0-9a-f]{8}`)
)

// withoutTokens is text without the secrets of tokens, which people put in
// places where nobody looks for them, and without permissions to read blocks.
func withoutTokens(text string) string {
	if strings.Contains(text, "-gj3su-") {
		text = tokenPattern.ReplaceAllString(text, "${1}…")
	}
	if strings.Contains(text, "+A") || strings.Contains(text, "+R") {
		text = signature.ReplaceAllString(text, "${1}…")
	}
	return text
}
