// Package delta serves trees, changes and conditional commits of collections to
// keepdav clients; see keepdav/collfs/apiserver/delta for the protocol.
//
// All goes through the collections that this process has open for everybody else
// (collfs.FS): a commit is Collection.ApplyWith, so it is checked against the tree,
// all or nothing, and durable before it is answered, and mounts and WebDAV clients of
// this process hear of it at once.
//
// A commit may name only blocks whose locators it can show: with signatures that were
// given to its token. The block that a commit brings along goes into the collection's
// open block, like an upload.
package delta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"keepdav/collfs"
	wire "keepdav/collfs/apiserver/delta"
	"keepdav/keepio"
)

// Access says who may do what.
type Access interface {
	// Who says who sent r, and what they may do with a collection. A token that is missing or
	// not known is ErrToken.
	Who(r *http.Request, id collfs.UUID) (Caller, error)
}

// A Caller is who sent a request for a collection.
type Caller struct {
	Name  string // of the user, for the log
	Level collfs.Level
	Token string // as it is spelled in the request: signatures are for it
}

// ErrToken is the failure of a request without a good token.
var ErrToken = errors.New("token is missing or not known")

// A Signer gives and checks permissions to read blocks.
type Signer interface {
	Sign(loc keepio.Locator, token string) keepio.Locator
	Verify(loc keepio.Locator, token string) error
}

// Config says what a Handler works with.
type Config struct {
	FS     *collfs.FS
	Access Access
	Signer Signer

	// Touch makes sure that a block is there and stays for as long as a signature
	// made now is good: a commit that names it may take its time. If it is not there
	// it is keepio.ErrNotFound.
	Touch func(ctx context.Context, hash [16]byte, size uint32) error

	MaxMessage int64 // the most bytes of a commit; 0: 128 MiB
	Log        zerolog.Logger
}

const defaultMessage = 128 << 20

// A Handler serves the protocol.
type Handler struct {
	conf Config
	mux  *http.ServeMux
	room *semaphore.Weighted // bytes that longer messages may have together
}

// smallMessage is how long a message may be that needs no part of Handler.room.
const smallMessage = 1 << 20

// New returns a handler. Requests have to arrive with their whole path.
func New(conf Config) *Handler {
	if conf.MaxMessage == 0 {
		conf.MaxMessage = defaultMessage
	}
	h := &Handler{conf: conf, mux: http.NewServeMux(), room: semaphore.NewWeighted(2 * conf.MaxMessage)}
	const base = prefix + "collections/{uuid}/"
	h.mux.Handle("GET "+base+"tree", h.with(collfs.CanRead, h.tree))
	h.mux.Handle("GET "+base+"changes", h.with(collfs.CanRead, h.changes))
	h.mux.Handle("POST "+base+"commit", h.with(collfs.CanWrite, h.commit))
	return h
}

// prefix is what paths of the protocol begin with.
const prefix = "/keepdav/v1/"

// Serves reports whether r is for the handler, where a site has the same address.
func (h *Handler) Serves(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, prefix) }

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// A call is a request for a collection by somebody who may make it.
type call struct {
	*http.Request
	c     *collfs.Collection
	token string
}

// with returns a handler for those who have a level, and answers errors.
func (h *Handler) with(need collfs.Level, do func(w http.ResponseWriter, r call) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := collfs.UUID(r.PathValue("uuid"))
		err := h.call(w, r, id, need, do)
		if err != nil {
			h.refuse(w, r, id, err)
		}
	})
}

func (h *Handler) call(w http.ResponseWriter, r *http.Request, id collfs.UUID, need collfs.Level, do func(w http.ResponseWriter, r call) error) error {
	who, err := h.conf.Access.Who(r, id)
	if u, ok := w.(interface{ SetUser(string) }); ok { // who logs requests
		u.SetUser(who.Name)
	}
	switch {
	case err != nil:
		return err
	case who.Level < collfs.CanRead: // nobody is told what there is
		return fs.ErrNotExist
	case who.Level < need:
		return fs.ErrPermission
	}
	c, err := h.conf.FS.Open(r.Context(), id)
	if err != nil {
		return err
	}
	defer c.Release()
	return do(w, call{r, c, who.Token})
}

func (h *Handler) tree(w http.ResponseWriter, r call) error {
	names := make(blocks)
	rec, tree, err := r.c.Checkpoint(r.Context(), names.visit)
	if err != nil {
		return err
	}
	if !rec.TrashAt.IsZero() {
		return fs.ErrNotExist
	}
	return h.reply(w, r, rec, names, func(m *wire.Writer) { m.Section(wire.TreeSection, tree) })
}

func (h *Handler) changes(w http.ResponseWriter, r call) error {
	since, err := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
	if err != nil {
		return badRequest("since is not a revision")
	}
	names := make(blocks)
	rec, changes, kept, err := r.c.Since(r.Context(), since, names.visit)
	if err != nil {
		return err
	}
	if !kept {
		return refusal{http.StatusGone, wire.Refusal{Error: "the changes since that revision are not kept"}}
	}
	return h.reply(w, r, rec, names, func(m *wire.Writer) {
		for _, data := range changes {
			m.Section(wire.ChangeSection, data)
		}
	})
}

// blocks are stored blocks by name.
type blocks map[block]struct{}

type block struct {
	hash [16]byte
	size uint32
}

func (b blocks) visit(hash [16]byte, size uint32) { b[block{hash, size}] = struct{}{} }

// reply writes a message with a record and the locators of blocks. It returns no
// error once something was written: the client sees that the end is missing.
func (h *Handler) reply(w http.ResponseWriter, r call, rec collfs.Record, names blocks, more func(*wire.Writer)) error {
	w.Header().Set("Content-Type", wire.ContentType)
	w.Header().Set("Cache-Control", "no-store")
	m := wire.NewWriter(w)
	m.Header(wire.RecordOf(rec))
	if len(names) > 0 {
		locs := make([]keepio.Locator, 0, len(names))
		for b := range names {
			locs = append(locs, h.conf.Signer.Sign(keepio.MakeLocator(b.hash, int64(b.size)), r.token))
		}
		m.Section(wire.LocatorSection, wire.AppendLocators(nil, locs))
	}
	if more != nil {
		more(m)
	}
	if err := m.Close(); err != nil {
		h.conf.Log.Debug().Err(err).Str("collection", string(rec.UUID)).Msg("reply was cut off")
	}
	return nil
}

// A refusal is an error with its answer.
type refusal struct {
	status int
	wire.Refusal
}

func (r refusal) Error() string { return r.Refusal.Error }

func badRequest(format string, args ...any) error {
	return refusal{http.StatusBadRequest, wire.Refusal{Error: fmt.Sprintf(format, args...)}}
}

// statusOf is the one place where a kind of error becomes a status here.
var statusOf = map[collfs.Kind]int{
	collfs.NotExist: http.StatusNotFound, collfs.Permission: http.StatusForbidden, collfs.ReadOnly: http.StatusForbidden,
	collfs.Conflict: http.StatusConflict, collfs.Full: http.StatusInsufficientStorage, collfs.Unavailable: http.StatusServiceUnavailable,
	collfs.Closed: http.StatusServiceUnavailable, collfs.Canceled: http.StatusServiceUnavailable, collfs.Invalid: http.StatusBadRequest,
}

// refuse answers err.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, id collfs.UUID, err error) {
	said, ok := errors.AsType[refusal](err)
	switch {
	case ok:
	case errors.Is(err, ErrToken):
		said = refusal{http.StatusUnauthorized, wire.Refusal{Error: ErrToken.Error()}}
	default:
		said = h.said(err)
	}
	if said.status == http.StatusConflict {
		said.Revision = h.revision(r.Context(), id)
	}
	if said.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(said.status)
	_ = json.NewEncoder(w).Encode(said.Refusal) // who asked may be gone
}

func (h *Handler) said(err error) refusal {
	status, known := statusOf[collfs.KindOf(err)]
	switch {
	case errors.Is(err, collfs.ErrUnknownOutcome):
		status, known = http.StatusServiceUnavailable, true
	case !known:
		status = http.StatusInternalServerError
	}
	if status >= 500 {
		h.conf.Log.Warn().Err(err).Int("status", status).Msg("request of a delta client failed")
	}
	text := http.StatusText(status)
	if status < 500 { // what goes wrong in the store is for its log
		text = err.Error()
	}
	return refusal{status, wire.Refusal{Error: text}}
}

// revision is the present one of a collection; 0 if that cannot be told.
func (h *Handler) revision(ctx context.Context, id collfs.UUID) int64 {
	c, err := h.conf.FS.Open(ctx, id)
	if err != nil {
		return 0
	}
	defer c.Release()
	rec, err := c.Record(ctx)
	if err != nil {
		return 0
	}
	return rec.Revision
}

// makeRoom waits until there is room for the message of a request. release has to be called
// when it is not needed any more.
func (h *Handler) makeRoom(r call) (release func(), err error) {
	n := r.ContentLength
	if n < 0 || n > h.conf.MaxMessage {
		n = h.conf.MaxMessage // as long as it may be
	}
	if n <= smallMessage {
		return func() {}, nil
	}
	if err := h.room.Acquire(r.Context(), n); err != nil {
		return nil, err
	}
	return func() { h.room.Release(n) }, nil
}

// readMessage reads the body of a request.
func (h *Handler) readMessage(r call) (*wire.Message, error) {
	if r.ContentLength > h.conf.MaxMessage {
		return nil, refusal{http.StatusRequestEntityTooLarge, wire.Refusal{Error: wire.ErrTooLarge.Error()}}
	}
	m, err := wire.Read(r.Body, h.conf.MaxMessage)
	switch {
	case errors.Is(err, wire.ErrTooLarge):
		return nil, refusal{http.StatusRequestEntityTooLarge, wire.Refusal{Error: err.Error()}}
	case errors.Is(err, wire.ErrMessage), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, badRequest("%v", err)
	}
	return m, err
}
