package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"keepdav/collfs"
	"keepdav/davfs"
	"keepdav/web/auth"
	"keepdav/web/browse"
)

// KeepWeb is how a server stands in for a keep-web. The zero value is a server
// that knows keep-web's URLs, and takes cookies and tokens in queries only on
// hosts that are for one collection.
type KeepWeb struct {
	// DownloadHost is a host[:port] on which whatever is fetched is saved, not
	// shown; so cookies are safe there.
	DownloadHost string
	// TrustAllContent takes cookies on all hosts, and lets browsers run what is
	// stored. Whoever can store a page can then act for whoever looks at it.
	TrustAllContent bool
	// AnonymousToken is tried by collections' URLs when nothing else is good.
	AnonymousToken string
	// ManagementToken is for /metrics, /metrics.json and /_health. "" leaves
	// /metrics to administrators, and closes the rest.
	ManagementToken string
	// Workbench is the URL that browsers are sent to when they have no token.
	Workbench string
	// Scopes returns the user and the scopes of a token; one that is not good is
	// fs.ErrNotExist. Nil: tokens that are not good for everything are good for nothing.
	Scopes func(ctx context.Context, token string) (collfs.User, []string, error)
	// Describe returns the name of a collection, by UUID or portable data hash, and
	// the record that goes into zip files. Nil: collections are called by their ID.
	Describe func(ctx context.Context, id string) (name string, record any, err error)
	// Version is what /status.json says.
	Version string
}

// cookieName is where keep-web keeps a token, in URL-safe base64.
const cookieName = "arvados_api_token"

// tokenField is what it is called in queries and forms.
const tokenField = "api_token"

const (
	maxToken     = 1024
	maxTokenForm = 1 << 20 // of a form that may have a token in it
)

// An offer is one of the credentials of a request.
type offer struct {
	header string // as an Authorization header
	token  string // "" when it is a header that came as such
	cookie bool
}

func offerToken(token string) offer { return offer{header: "Bearer " + token, token: token} }

// lookOnly is a file system whose pages offer no changes.
type lookOnly struct{ davfs.FileSystem }

func (l lookOnly) Stat(ctx context.Context, name string) (davfs.Info, error) {
	i, err := l.FileSystem.Stat(ctx, name)
	i.ReadOnly = true
	return i, err
}

// errAnswered says that a request has got its answer.
var errAnswered = errors.New("the request is answered")

// trusts reports whether a page at r's host that somebody has stored may be
// loaded along with what browsers know about its reader.
func (h *Handler) trusts(r *http.Request, f form) bool {
	return f.vhost || h.conf.KeepWeb.TrustAllContent || h.isDownload(r)
}

func (h *Handler) isDownload(r *http.Request) bool {
	return sameHost(h.conf.KeepWeb.DownloadHost, r.Host)
}

// attaches reports whether what r asks for is to be saved.
func (h *Handler) attaches(r *http.Request) bool {
	return h.isDownload(r) || r.URL.Query().Get("disposition") == "attachment"
}

// A visitor is what is known of a request's maker before credentials are looked at.
type visitor struct {
	addr    netip.Addr
	secure  bool // nobody in between can read it
	foreign bool // a page of another origin, that wants to change something
}

// enter finds out who makes r, and takes tokens out of its query. The error is
// errAnswered, or one for refuse.
func (h *Handler) enter(w *response, r *http.Request, f form, v visitor) (*http.Request, Visit, error) {
	trusted := h.trusts(r, f)
	r, given, posted, err := h.takeToken(w, r, f, trusted)
	if err != nil {
		return r, Visit{}, err
	}
	if v.foreign && posted == nil {
		w.crossOrigin()
		return r, Visit{}, errAnswered
	}
	saves := posted.Get("disposition") == "attachment" || h.attaches(r)
	if given != "" && redirects(r, posted != nil && saves) {
		h.giveCookie(w, r, given, v.secure)
		return r, Visit{}, errAnswered
	}
	if posted != nil { // it asks for a file, and the fields say how
		own := *r
		own.Method, own.Body, own.ContentLength = http.MethodGet, http.NoBody, 0
		own.URL = withQuery(r.URL, posted)
		r = &own
	}
	var offers []offer
	if !f.public {
		if header := r.Header.Get("Authorization"); header != "" {
			offers = append(offers, offer{header: header})
		}
		if c, err := r.Cookie(cookieName); err == nil && trusted {
			if raw, err := base64.URLEncoding.DecodeString(c.Value); err == nil && len(raw) > 0 && len(raw) <= maxToken {
				o := offerToken(string(raw))
				o.cookie = true
				offers = append(offers, o)
			}
		}
		if given != "" {
			offers = append(offers, offerToken(given))
		}
		if f.token != "" {
			offers = append(offers, offerToken(f.token))
		}
	}
	if f.id != "" && h.conf.KeepWeb.AnonymousToken != "" {
		offers = append(offers, offerToken(h.conf.KeepWeb.AnonymousToken))
	}
	if len(offers) == 0 || f.id != "" {
		offers = append(offers, offer{}) // some doors let anybody in
	}
	visit, err := h.choose(w, r, f, offers, v.addr)
	return r, visit, err
}

// choose enters with the first of the offers that opens what f names. If none does,
// with the first that is good at all: who it is will hear what there is.
func (h *Handler) choose(w *response, r *http.Request, f form, offers []offer, client netip.Addr) (Visit, error) {
	var best *Visit
	scoped := false
	for i, o := range offers {
		v, err := h.check(r, f, o, client)
		switch {
		case errors.Is(err, auth.ErrDenied):
			if o.cookie {
				http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
			}
			continue
		case errors.Is(err, errScope):
			scoped = true
			continue
		case err != nil:
			if best != nil {
				best.leave()
			}
			return Visit{}, err
		}
		only := best == nil && !scoped && i >= len(offers)-2 // but for nobody
		if f.id == "" || only || h.opens(r, f, v) {
			if best != nil {
				best.leave()
			}
			return v, nil
		}
		if best == nil {
			best = &v
		} else {
			v.leave()
		}
	}
	switch {
	case scoped:
		if best != nil {
			best.leave()
		}
		w.fail(http.StatusForbidden, "permission", "the token is not for this")
	case best != nil:
		return *best, nil
	case f.token != "":
		w.kind = "denied"
		w.fail(http.StatusNotFound, w.kind, "there is nothing of this name, or the link does not hold any more")
	case h.conf.KeepWeb.Workbench != "" && f.id != "" && r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate":
		http.Redirect(w, r, h.workbench(r, f), http.StatusSeeOther)
	default:
		return Visit{}, auth.ErrDenied
	}
	return Visit{}, errAnswered
}

// opens reports whether a visitor may see what f names.
func (h *Handler) opens(r *http.Request, f form, v Visit) bool {
	_, err := v.FS.Stat(r.Context(), "/by_id/"+f.id)
	return err == nil
}

// errScope says that a token is good, and not for this request.
var errScope = errors.New("the token is for other requests")

// check returns what an offer lets a request see.
func (h *Handler) check(r *http.Request, f form, o offer, client netip.Addr) (Visit, error) {
	token := o.token
	if token == "" {
		token = auth.TokenOf(o.header)
	}
	if h.conf.KeepWeb.Scopes != nil && token != "" && (f.id != "" || o.cookie) {
		user, scopes, err := h.conf.KeepWeb.Scopes(r.Context(), token)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// Browsers send an old cookie many times at once, which is no guessing.
			if o.cookie {
				return Visit{}, auth.ErrDenied
			}
		case err != nil:
			return Visit{}, err
		case slices.Contains(scopes, "all"):
		case f.id == "":
			return Visit{}, auth.ErrDenied
		default:
			reads := readMethods[r.Method] || r.Method == http.MethodPost && browse.WantsZip(r, h.attaches(r))
			if !reads || !readScope(scopes, f.id) {
				return Visit{}, errScope
			}
			return Visit{User: user, FS: lookOnly{h.conf.Site(user)}}, nil
		}
	}
	v, err := h.conf.Door.Enter(r.Context(), o.header, client)
	if err == nil && v.Anonymous && !mayAnybody(r, v.FS, siteName(r, f)) {
		v.leave()
		return Visit{}, auth.ErrDenied
	}
	return v, err
}

var readMethods = map[string]bool{"GET": true, "HEAD": true, "OPTIONS": true, "PROPFIND": true}

// readScope reports whether a token with these scopes may get the collection id,
// as links that are shared have it.
func readScope(scopes []string, id string) bool {
	path := "/arvados/v1/collections/" + id
	for _, s := range scopes {
		if p, ok := strings.CutPrefix(s, "GET "); ok && (p == path || strings.HasSuffix(p, "/") && strings.HasPrefix(path, p)) {
			return true
		}
	}
	return false
}

// takeToken takes the token out of a query or a form; posted is what else there
// is in the query and that form, nil if it was none. On hosts that hold no cookies
// the links of keep-web with a token are 400, and elsewhere it says nothing.
func (h *Handler) takeToken(w *response, r *http.Request, f form, trusted bool) (_ *http.Request, token string, posted url.Values, err error) {
	if !trusted && f.id == "" || f.public {
		return r, "", nil, nil
	}
	query := r.URL.Query()
	if query.Has(tokenField) {
		token = query.Get(tokenField)
		query.Del(tokenField)
		own := *r
		own.URL = withQuery(r.URL, query)
		r = &own
		w.Header().Set("Referrer-Policy", "no-referrer")
	} else if r.Method == http.MethodPost && isURLForm(r) {
		var fields url.Values
		if r, fields, err = tokenForm(r); err != nil {
			w.fail(http.StatusBadRequest, "form", "the form cannot be read")
			return r, "", nil, errAnswered
		}
		if token = fields.Get(tokenField); token != "" {
			for k, v := range fields {
				query[k] = append(query[k], v...)
			}
			query.Del(tokenField)
			posted = query
		}
	}
	switch {
	case len(token) > maxToken:
		token = ""
	case token != "" && !trusted:
		w.fail(http.StatusBadRequest, "token-host", "a token can be given this way only on a host that is for one collection, or for downloads")
		return r, "", nil, errAnswered
	}
	return r, token, posted, nil
}

// withQuery is u with another query.
func withQuery(u *url.URL, query url.Values) *url.URL {
	own := *u
	own.RawQuery = query.Encode()
	return &own
}

func isURLForm(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && media == "application/x-www-form-urlencoded"
}

// tokenForm is what the form says that r sends, which stays to be read again. One
// that is too long to be looked at says nothing.
func tokenForm(r *http.Request) (*http.Request, url.Values, error) {
	text, err := io.ReadAll(io.LimitReader(r.Body, maxTokenForm+1))
	if err != nil {
		return r, nil, err
	}
	own := *r
	own.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), r.Body), r.Body}
	if len(text) > maxTokenForm {
		return &own, nil, nil
	}
	values, err := url.ParseQuery(string(text))
	if err != nil {
		return &own, nil, nil // whoever the form is for will say so
	}
	return &own, values, nil
}

// redirects reports whether whoever sent a token is sent on to the URL without it.
// Not so a page of another origin, whose request would come without the cookie,
// and a form that saves a file.
func redirects(r *http.Request, saves bool) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		origin := r.Header.Get("Origin")
		if origin == "" {
			return true
		}
		u, err := url.Parse(origin)
		return err == nil && sameHost(u.Host, r.Host)
	case http.MethodPost:
		return !saves
	}
	return false
}

// giveCookie sends the client to the same URL without the token, which it finds in
// a cookie from now on.
func (h *Handler) giveCookie(w *response, r *http.Request, token string, secure bool) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: base64.URLEncoding.EncodeToString([]byte(token)),
		Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure,
	})
	to := "/" + strings.TrimLeft(r.URL.EscapedPath(), `/\`) // "//host" would be another server
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	head := w.Header()
	head.Set("Location", to)
	head.Set("Cache-Control", "no-store")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Content-Length", "0")
	w.WriteHeader(http.StatusSeeOther)
}

// workbench is where a browser gets a token for what r asks for.
func (h *Handler) workbench(r *http.Request, f form) string {
	what := "redirectToPreview"
	if h.attaches(r) {
		what = "redirectToDownload"
	}
	to := "/c=" + f.id + "/" + strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, f.prefix), "/")
	return strings.TrimSuffix(h.conf.KeepWeb.Workbench, "/") + "/?" + url.Values{what: {to}}.Encode()
}
