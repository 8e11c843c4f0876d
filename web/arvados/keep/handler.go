// Package keep is a Keep service over the blocks of one store: clients and
// servers of Arvados read and write blocks here as on a keepstore, and POST / is
// answered as by a keepproxy.
//
//	PUT /HASH, POST /           store a block; the answer is its signed locator
//	GET, HEAD /LOCATOR          read one; also //LOCATOR, as some clients have it
//	TOUCH /HASH                 make it as new as one just written
//	GET /index, /index/PREFIX   what is stored: hash+size, time in nanoseconds
//	GET /mounts, /mounts/UUID/blocks/PREFIX
//
// A token is needed for all of it, in an Authorization header (Bearer, OAuth2, or
// the password of Basic) or as ?api_token=. To read takes a permission for that
// token besides, which is part of the locator (package signing). The last three
// are for administrators and for the system token.
//
// It differs from a keepstore where that is unsafe or costs something for nothing:
// a block without a token is refused with 401, not stored; HEAD looks at the file
// and does not read it, since every read checks the sum of each 64 KiB; DELETE, pull
// and trash lists are 405, as the store finds its garbage itself; cookies say
// nothing here. Its only storage class is "default".
//
// A request with X-Keepdav-Sums gets sums of chunks, and may ask for a range:
// docs/decisions/0011 has the form.
package keep

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"keepdav/keepio"
	"keepdav/web/arvados/signing"
)

// Blocks are the stored blocks. All methods may be called concurrently; errors
// match those of a keepio.Store.
type Blocks interface {
	ReadBlock(ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error)
	WriteRange(ctx context.Context, w io.Writer, hash [16]byte, size uint32, off, n int64) (int64, error)
	// Sums returns the CRC-32C of each chunk (keepio.ChunkSize).
	Sums(ctx context.Context, hash [16]byte, size uint32) ([]uint32, error)
	// Stat describes a block without reading it.
	Stat(hash [16]byte) (keepio.Info, error)
	// Touch makes a block as new as one just written.
	Touch(hash [16]byte) error
	// WalkPrefix calls fn for each block whose hash, in hex, begins with prefix, in the
	// order of hashes, until fn fails.
	WalkPrefix(ctx context.Context, prefix string, fn func(keepio.Info) error) error
	// Receive begins a block of about size bytes.
	Receive(size int64) (keepio.Incoming, error)
}

// A Caller is whom a token stands for.
type Caller struct {
	Name  string // for the log
	Write bool   // may store blocks
	Admin bool   // may look after all blocks
}

// Config is what a Handler is made of. Blocks, Signer and Caller must be set.
type Config struct {
	Blocks Blocks
	Signer *signing.Signer
	// Caller returns whom a token stands for. One that is not good is
	// fs.ErrNotExist.
	Caller func(ctx context.Context, token string) (Caller, error)
	// Cluster is the five characters that UUIDs of the store begin with.
	Cluster string
	// MaxUploads is how many blocks may be on their way in at once. Each takes up
	// to 64 MiB of disk and little memory. More are sent away to come back in a
	// moment. 0 means 64.
	MaxUploads int
}

const defaultMaxUploads = 64

// A Handler is a Keep service. All methods may be called concurrently.
type Handler struct {
	conf    Config
	uploads chan struct{} // a place for each block on its way in
}

// New returns a Keep service.
func New(conf Config) *Handler {
	if conf.MaxUploads <= 0 {
		conf.MaxUploads = defaultMaxUploads
	}
	return &Handler{conf: conf, uploads: make(chan struct{}, conf.MaxUploads)}
}

// Serves reports whether r is for a Keep service, where a site has the same
// address: its paths don't look like these. POST / is, unless it is a form.
func (h *Handler) Serves(r *http.Request) bool {
	p := r.URL.Path
	if r.Method == http.MethodPost && p == "/" {
		t := strings.ToLower(r.Header.Get("Content-Type"))
		return !strings.HasPrefix(t, "multipart/") && !strings.HasPrefix(t, "application/x-www-form-urlencoded")
	}
	if _, ok := blockPath(p); ok {
		return true
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	switch first {
	case "index", "mounts", "untrash", "pull", "trash":
		return true
	}
	return false
}

// blockPath is the locator in /LOCATOR or //LOCATOR. It begins with a hash; what
// follows was not looked at.
func blockPath(p string) (loc string, ok bool) {
	p = strings.TrimPrefix(strings.TrimPrefix(p, "/"), "/")
	if len(p) < 32 || strings.Trim(p[:32], "0123456789abcdef") != "" || len(p) > 32 && p[32] != '+' {
		return "", false
	}
	return p, true
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	cors(w.Header(), r.URL.Path == "/")
	p := r.URL.Path
	loc, isBlock := blockPath(p)
	switch {
	case r.Method == http.MethodOptions:
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
	case isBlock && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		h.read(w, r, loc)
	case isBlock && r.Method == http.MethodPut:
		h.write(w, r, loc)
	case p == "/" && r.Method == http.MethodPost:
		h.write(w, r, "")
	default:
		h.manage(w, r, loc)
	}
}

// cors sets what pages of any origin need to be told. They have to know a token,
// for no browser sends one by itself.
func cors(head http.Header, proxy bool) {
	methods := "GET, HEAD, PUT, OPTIONS"
	if proxy {
		methods += ", POST"
	}
	head.Set("Access-Control-Allow-Headers", "Authorization, Content-Length, Content-Type, X-Keep-Desired-Replicas, X-Keep-Signature, X-Keep-Storage-Classes")
	head.Set("Access-Control-Allow-Methods", methods)
	head.Set("Access-Control-Allow-Origin", "*")
	head.Set("Access-Control-Expose-Headers", "X-Keep-Locator, X-Keep-Replicas-Stored, X-Keep-Storage-Classes-Confirmed")
	head.Set("Access-Control-Max-Age", "86486400")
}

// caller finds out who asks. If it is nobody the request is answered.
func (h *Handler) caller(w http.ResponseWriter, r *http.Request) (token string, c Caller, ok bool) {
	token = tokenOf(r)
	if token == "" {
		fail(w, http.StatusUnauthorized, "no token provided in Authorization header")
		return "", c, false
	}
	c, err := h.conf.Caller(r.Context(), token)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fail(w, http.StatusUnauthorized, "this token is not good")
	case err != nil:
		w.Header().Set("Retry-After", "5")
		fail(w, http.StatusServiceUnavailable, "tokens cannot be looked up at the moment")
	default:
		if u, ok := w.(interface{ SetUser(string) }); ok {
			u.SetUser(c.Name)
		}
		return token, c, true
	}
	return "", c, false
}

// maxToken is the longest token that is looked at.
const maxToken = 1024

// tokenOf is the token of a request, as it is spelled there, or "".
func tokenOf(r *http.Request) string {
	token := ""
	switch scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " "); {
	case strings.EqualFold(scheme, "Bearer"), strings.EqualFold(scheme, "OAuth2"):
		token = strings.TrimSpace(rest)
	case strings.EqualFold(scheme, "Basic"):
		_, token, _ = r.BasicAuth()
	case scheme == "" && strings.Contains(r.URL.RawQuery, "api_token="):
		token = r.URL.Query().Get("api_token")
	}
	if len(token) > maxToken {
		return ""
	}
	return token
}

// fail answers with a line of text for people.
func fail(w http.ResponseWriter, status int, text string) {
	head := w.Header()
	head.Del("Content-Length")
	head.Set("Content-Type", "text/plain; charset=utf-8")
	head.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n") // a failure means that nobody reads it
}

// failed answers with the status that an error of the blocks has in Keep. The
// log hears the rest.
func failed(w http.ResponseWriter, err error) {
	if l, ok := w.(interface{ Failed(error) }); ok {
		l.Failed(err)
	}
	switch {
	case errors.Is(err, keepio.ErrNotFound):
		fail(w, http.StatusNotFound, "block not found")
	case errors.Is(err, keepio.ErrCorrupt):
		fail(w, http.StatusBadGateway, "the stored block is damaged")
	case errors.Is(err, keepio.ErrTooLarge):
		fail(w, http.StatusRequestEntityTooLarge, "a block has at most 64 MiB")
	case errors.Is(err, keepio.ErrFull):
		fail(w, http.StatusInsufficientStorage, "insufficient storage")
	case errors.Is(err, keepio.ErrUnavailable):
		w.Header().Set("Retry-After", "5")
		fail(w, http.StatusServiceUnavailable, "storage is unavailable")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		fail(w, statusGone, "the client has left")
	default:
		fail(w, http.StatusInternalServerError, "internal error")
	}
}

// statusGone is what Keep services log for a client that did not wait.
const statusGone = 499
