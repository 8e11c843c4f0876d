package dav

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keepdav/davfs"
)

// A Session is whom a request acts for and what they see.
type Session struct {
	FS   davfs.FileSystem
	User string // stable and unique: locks belong to it
}

// LockMode says what locks do.
type LockMode int8

// The lock modes.
const (
	LocksEnforced LockMode = iota // a locked resource needs its token
	LocksAdvisory                 // locks are granted and shown, and stop nobody
	LocksOff                      // class 1 only; Finder then mounts read-only
)

// Config makes a Handler.
type Config struct {
	// Session tells whom an authenticated request acts for. Its error is
	// answered as one of the file system.
	Session func(*http.Request) (Session, error)

	Prefix     string // of all paths: "" or like "/dav"
	Locks      *Locks // needed unless LockMode is LocksOff
	LockMode   LockMode
	MaxEntries int  // of a PROPFIND of infinite depth; default 10,000
	FinderUsed bool // show Finder the quota properties
	NoGzip     bool // never compress listings
	// RunsScripts lets browsers run what is stored. Without it pages are shown as if they
	// came from nowhere, so that they cannot act for their reader.
	RunsScripts bool
	Stall       time.Duration // how long a client may neither send nor take a byte; default 2 min
	// Failed, if set, is told of each request that failed, for the log: err says
	// more than the answer, which has only the status.
	Failed func(r *http.Request, status int, err error)
	Lister http.Handler // answers GET of a collection; default: a plain list of links
}

// A Handler answers WebDAV requests.
type Handler struct {
	conf  Config
	plans planCache
}

// New returns a handler.
func New(conf Config) *Handler {
	if conf.MaxEntries <= 0 {
		conf.MaxEntries = 10_000
	}
	if conf.Stall <= 0 {
		conf.Stall = 2 * time.Minute
	}
	conf.Prefix = strings.TrimSuffix(conf.Prefix, "/")
	if conf.LockMode == LocksOff {
		conf.Locks = nil
	}
	return &Handler{conf: conf}
}

// Times and sizes that bound what a client can hold on to.
const (
	drainTimeout = 5 * time.Second
	drainBytes   = 4 << 20 // of a refused body, so that the client reads the answer
	copyChunk    = 4 << 20 // of an answer, within writeStalls times Config.Stall
	writeStalls  = 4
)

// Methods lists the methods that the handler knows, for routers that ask.
var Methods = []string{"OPTIONS", "GET", "HEAD", "PUT", "PATCH", "DELETE", "MKCOL", "COPY", "MOVE", "PROPFIND", "PROPPATCH", "LOCK", "UNLOCK"}

var methods = map[string]func(*request) error{
	"OPTIONS":   (*request).options,
	"GET":       (*request).get,
	"HEAD":      (*request).get,
	"PUT":       (*request).put,
	"PATCH":     (*request).patch,
	"DELETE":    (*request).delete,
	"MKCOL":     (*request).mkcol,
	"COPY":      (*request).copyMove,
	"MOVE":      (*request).copyMove,
	"PROPFIND":  (*request).propfind,
	"PROPPATCH": (*request).proppatch,
	"LOCK":      (*request).lock,
	"UNLOCK":    (*request).unlock,
}

// readOnly are the methods that change nothing.
var readOnly = map[string]bool{"OPTIONS": true, "GET": true, "HEAD": true, "PROPFIND": true}

// DAVHeader is the DAV header of h. It is wanted on a 401 too: Finder gives up
// on a server whose refusal does not have it.
func (h *Handler) DAVHeader() string {
	if h.conf.LockMode == LocksOff {
		return "1, 3, sabredav-partialupdate"
	}
	return "1, 2, 3, sabredav-partialupdate"
}

// A request is one request on its way. Its methods answer it or return an
// error before they wrote anything.
type request struct {
	h      *Handler
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context // with the client's habits, for the file system
	fs     davfs.FileSystem
	user   string
	quirks Quirks
	path   Path
	broken bool // the body could not be read
	ifh    *IfHeader
	tags   map[string]tagState // of paths that the If header is about
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{h: h, w: w, r: r, ctx: r.Context(), quirks: QuirksOf(r.UserAgent())}
	if q.quirks.Mac || q.quirks.Windows {
		q.ctx = davfs.WithClient(q.ctx, davfs.Client{Apple: q.quirks.Mac, FoldCase: q.quirks.Windows})
	}
	if err := q.serve(); err != nil {
		q.fail(err)
	}
}

func (q *request) serve() error {
	method := methods[q.r.Method]
	if method == nil || q.h.conf.Locks == nil && (q.r.Method == "LOCK" || q.r.Method == "UNLOCK") {
		q.w.Header().Set("Allow", q.allow(allowAny))
		return fail(http.StatusMethodNotAllowed, nil)
	}
	// A fragment names no resource, and what is to be changed has no query: a name
	// with one of these signs in it has to be escaped, and cut off there is another.
	if strings.Contains(q.r.RequestURI, "#") || (q.r.URL.RawQuery != "" || q.r.URL.ForceQuery) && !readOnly[q.r.Method] {
		return errBadPath
	}
	p, err := RequestPath(q.r, q.h.conf.Prefix)
	if err != nil {
		if errors.Is(err, errOutside) && q.r.Method == "OPTIONS" {
			return q.options() // Windows asks each parent
		}
		return err
	}
	s, err := q.h.conf.Session(q.r)
	if err != nil {
		return err
	}
	q.fs, q.user, q.path = s.FS, s.User, p
	if q.quirks.Windows {
		q.path.Name = q.windowsPath(q.path.Name)
	}
	if q.ifh, err = ParseIf(strings.Join(q.r.Header.Values("If"), " ")); err != nil {
		return err
	}
	return method(q)
}

// fail answers with err. Bodies are those of RFC 4918 or none: old clients
// trip over others.
func (q *request) fail(err error) {
	status := Status(err)
	q.drain()
	hd := q.w.Header()
	hd.Del("ETag")
	hd.Del("Last-Modified")
	hd.Del("Content-Type")
	switch {
	case status == http.StatusNotFound && q.quirks.Windows:
		hd.Set("Cache-Control", "no-store")
	case status == http.StatusServiceUnavailable:
		hd.Set("Retry-After", "5")
	case status == http.StatusMethodNotAllowed && hd.Get("Allow") == "":
		hd.Set("Allow", q.allow(allowAny))
	}
	q.failed(status, err)
	if body := q.failureBody(err); body != nil && q.r.Method != http.MethodHead {
		hd.Set("Content-Type", xmlType)
		hd.Set("Content-Length", strconv.Itoa(len(body)))
		q.w.WriteHeader(status)
		_, _ = q.w.Write(body)
		return
	}
	if status >= 400 {
		hd.Set("Content-Length", "0")
	}
	q.w.WriteHeader(status)
}

func (q *request) failureBody(err error) []byte {
	var hrefs []string
	if le, ok := errors.AsType[*LockedError](err); ok {
		for _, p := range le.Places {
			hrefs = append(hrefs, string(appendClientHref(nil, q.h.conf.Prefix, p.Name, false, q.quirks)))
		}
		if errors.Is(err, ErrLockConflict) {
			return errorBody("no-conflicting-lock", hrefs)
		}
		return errorBody("lock-token-submitted", hrefs)
	}
	if se, ok := errors.AsType[*statusError](err); ok && se.cond != "" {
		return errorBody(se.cond, nil)
	}
	switch {
	case errors.Is(err, ErrNoSuchLock):
		return errorBody("lock-token-matches-request-uri", nil)
	case errors.Is(err, errXMLUnsafe):
		return errorBody("no-external-entities", nil)
	}
	return nil
}

// failed tells whoever keeps the log.
func (q *request) failed(status int, err error) {
	if q.h.conf.Failed != nil {
		q.h.conf.Failed(q.r, status, err)
	}
}

// drain reads what is left of a refused body, up to a bound, so that a client
// that sends first and reads later gets to see the answer. A client that waits
// for "100 Continue" has sent nothing and is not asked to.
func (q *request) drain() {
	if q.broken {
		q.w.Header().Set("Connection", "close")
		return
	}
	if q.r.Body == nil || q.r.Body == http.NoBody || q.r.ContentLength == 0 || q.r.Header.Get("Expect") != "" {
		return
	}
	rc := http.NewResponseController(q.w)
	_ = rc.SetReadDeadline(time.Now().Add(drainTimeout))
	n, err := io.CopyN(io.Discard, q.r.Body, drainBytes)
	_ = rc.SetReadDeadline(time.Time{})
	if n == drainBytes || err != nil && err != io.EOF {
		q.w.Header().Set("Connection", "close")
	}
}

// Sets of methods for the Allow header.
type allowKind int8

const (
	allowAny allowKind = iota
	allowFile
	allowDir
	allowNone // nothing is there
)

func (q *request) allow(k allowKind) string {
	locks := ""
	if q.h.conf.Locks != nil {
		locks = ", LOCK, UNLOCK"
	}
	switch k {
	case allowFile:
		return "OPTIONS, GET, HEAD, PUT, PATCH, DELETE, COPY, MOVE, PROPFIND, PROPPATCH" + locks
	case allowDir:
		return "OPTIONS, GET, HEAD, DELETE, COPY, MOVE, PROPFIND, PROPPATCH" + locks
	case allowNone:
		if locks != "" {
			locks = ", LOCK"
		}
		return "OPTIONS, PUT, MKCOL" + locks
	}
	return "OPTIONS, GET, HEAD, PUT, PATCH, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH" + locks
}

// notAllowed refuses the method for what is at the path.
func (q *request) notAllowed(k allowKind) error {
	q.w.Header().Set("Allow", q.allow(k))
	return fail(http.StatusMethodNotAllowed, nil)
}

func (q *request) options() error {
	k := allowAny
	if q.fs != nil {
		switch info, err := q.fs.Stat(q.ctx, q.path.Name); {
		case err == nil && info.Dir:
			k = allowDir
		case err == nil:
			k = allowFile
		case errors.Is(err, fs.ErrNotExist):
			k = allowNone
		}
	}
	hd := q.w.Header()
	hd.Set("Allow", q.allow(k))
	hd["DAV"] = []string{q.h.DAVHeader()} // in capitals, as everybody else writes it
	hd.Set("MS-Author-Via", "DAV")
	hd.Set("Accept-Ranges", "bytes")
	hd.Set("Content-Length", "0")
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// stat is what is at a name; ok is false when nothing is.
func (q *request) stat(name string) (info davfs.Info, ok bool, err error) {
	info, err = q.fs.Stat(q.ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return davfs.Info{}, false, nil
	}
	return info, err == nil, err
}

// place is the key of a name for locks. The name need not exist, but its parent
// has to.
func (q *request) place(name string) (LockPlace, error) {
	coll, path, err := q.fs.Where(q.ctx, name)
	if err != nil {
		return LockPlace{}, err
	}
	return placeOf(&davfs.Info{Collection: coll, Path: path}, name), nil
}

// noParent turns "does not exist" into the 409 that creating something without
// a parent is answered with.
func noParent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fail(http.StatusConflict, err)
	}
	return err
}

// created answers a request that made (201) or replaced (204) something.
func (q *request) created(created bool) {
	if created {
		q.w.Header().Set("Content-Length", "0")
		q.w.WriteHeader(http.StatusCreated)
		return
	}
	q.w.WriteHeader(http.StatusNoContent)
}
