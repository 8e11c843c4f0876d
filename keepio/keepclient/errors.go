package keepclient

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"keepdav/keepio"
)

// maxText is how much of a server's message an error quotes.
const maxText = 300

// A verdict is what a failure at one server means.
type verdict int

const (
	later    verdict = iota // may pass: try again
	absent                  // the server does not have the block
	refused                 // the server wants another signature or token
	corrupt                 // what it has, or sent, is not the block
	full                    // no room
	tooLarge                // not even for one block
	never                   // anything else that stays
)

// A failure is what went wrong at one server.
type failure struct {
	server  string
	verdict verdict
	after   time.Duration // the server asked us to wait for so long
	err     error
}

// statusFailure judges a reply that is no success.
func statusFailure(srv *server, t *transfer, s *Servers, text string) *failure {
	f := &failure{
		server: srv.base,
		after:  retryAfter(t.resp.Header, s.now()),
		err:    &statusError{code: t.resp.StatusCode, text: text},
	}
	switch code := t.resp.StatusCode; code {
	case http.StatusNotFound:
		f.verdict = absent
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
		f.verdict = refused // 422 is what a proxy says when it got a 400
	case http.StatusRequestEntityTooLarge:
		f.verdict = tooLarge
	case http.StatusInsufficientStorage:
		f.verdict = full
	case http.StatusBadGateway:
		// keepstore says so when what it has fails its checksum; anything in
		// front of it when it cannot reach it.
		if !srv.proxy && strings.EqualFold(t.resp.Header.Get("Vary"), "X-Keep-Signature") {
			f.verdict = corrupt
		}
	default:
		if !retryStatus(code) {
			f.verdict = never
		}
	}
	return f
}

// replied reports whether the server answered at all.
func (f *failure) replied() bool {
	_, ok := errors.AsType[*statusError](f.err)
	return ok || errors.Is(f.err, errOtherReply)
}

// failures are what went wrong in an operation, the last one of each server.
type failures struct {
	order []string
	last  map[string]*failure
}

func (fs *failures) add(f *failure) {
	if fs.last == nil {
		fs.last = make(map[string]*failure)
	}
	if fs.last[f.server] == nil {
		fs.order = append(fs.order, f.server)
	}
	fs.last[f.server] = f
}

// any reports whether some server's last failure has that verdict.
func (fs *failures) any(v verdict) bool {
	for _, f := range fs.last {
		if f.verdict == v {
			return true
		}
	}
	return false
}

// anyStatus reports whether some server's last reply had one of the statuses.
func (fs *failures) anyStatus(codes ...int) bool {
	for _, f := range fs.last {
		if se, ok := errors.AsType[*statusError](f.err); ok && slices.Contains(codes, se.code) {
			return true
		}
	}
	return false
}

// error returns what the failures of an operation on a block come to. kind is
// what it matches.
func (fs *failures) error(loc keepio.Locator, request, token string, kind error) error {
	var b strings.Builder
	for i, base := range fs.order {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", base, scrub(fs.last[base].err.Error(), token)) // net/http quotes what it does not understand
	}
	if b.Len() == 0 {
		b.WriteString("there is no server left to ask")
	}
	return fmt.Errorf("block %s: %w (%s): %s", loc.Bare(), kind, request, b.String())
}

// errRefused is the kind of an operation that servers refuse to this token.
var errRefused = fmt.Errorf("refused: %w", fs.ErrPermission)

// errOtherReply is the failure of a reply that does not fit the request.
var errOtherReply = errors.New("reply does not fit the request")

var secretHints = regexp.MustCompile(`\+[AR][-0-9A-Za-z@_]*|%2[Bb][AR][-0-9A-Za-z@_%]*`)

// scrub makes a server's message fit for an error: one short printable line
// without signatures or the token.
func scrub(text, token string) string {
	if token != "" {
		text = strings.ReplaceAll(text, token, "…")
		if i := strings.LastIndexByte(token, '/'); i >= 0 && len(token)-i > 8 {
			text = strings.ReplaceAll(text, token[i+1:], "…")
		}
	}
	text = secretHints.ReplaceAllStringFunc(text, func(s string) string {
		return s[:strings.IndexAny(s, "AR")+1] + "…"
	})
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '�' {
			return ' '
		}
		return r
	}, text)
	text = strings.TrimSpace(text)
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// newRequestID returns an id for the servers' logs.
func newRequestID() string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	var b [20]byte
	for i := range b {
		b[i] = digits[rand.IntN(len(digits))]
	}
	return "req-" + string(b[:])
}
