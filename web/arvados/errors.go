package arvados

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/query"
)

// An Error is an answer that says why a request was refused.
type Error struct {
	Status     int
	Text       string
	RetryAfter time.Duration // if the same request may succeed later
	Cause      error         // for the log; nil: nothing to add
}

func (e *Error) Error() string { return e.Text }

func (e *Error) Unwrap() error { return e.Cause }

func badRequest(format string, args ...any) error {
	return &Error{Status: http.StatusBadRequest, Text: fmt.Sprintf(format, args...)}
}

func unprocessable(format string, args ...any) error {
	return &Error{Status: http.StatusUnprocessableEntity, Text: fmt.Sprintf(format, args...)}
}

func notFound() error { return &Error{Status: http.StatusNotFound, Text: "Path not found"} }

func forbidden() error { return &Error{Status: http.StatusForbidden, Text: "Forbidden"} }

func notLoggedIn() error { return &Error{Status: http.StatusUnauthorized, Text: "Not logged in"} }

// statusOf is the one place where the kind of an error becomes a status of the API.
var statusOf = map[collfs.Kind]int{
	collfs.Internal:     http.StatusInternalServerError,
	collfs.NotExist:     http.StatusNotFound,
	collfs.Exist:        http.StatusUnprocessableEntity,
	collfs.Permission:   http.StatusForbidden,
	collfs.ReadOnly:     http.StatusForbidden,
	collfs.IsDir:        http.StatusBadRequest,
	collfs.NotDir:       http.StatusBadRequest,
	collfs.NotEmpty:     http.StatusUnprocessableEntity,
	collfs.IntoItself:   http.StatusUnprocessableEntity,
	collfs.NameInvalid:  http.StatusUnprocessableEntity,
	collfs.NameTooLong:  http.StatusUnprocessableEntity,
	collfs.Condition:    http.StatusPreconditionFailed,
	collfs.Locked:       http.StatusLocked,
	collfs.NotSupported: http.StatusUnprocessableEntity,
	collfs.Invalid:      http.StatusUnprocessableEntity,
	collfs.Closed:       http.StatusServiceUnavailable,
	collfs.Conflict:     http.StatusConflict,
	collfs.Corrupt:      http.StatusInternalServerError,
	collfs.Unavailable:  http.StatusServiceUnavailable,
	collfs.Full:         http.StatusInsufficientStorage,
	collfs.ShortBody:    http.StatusBadRequest,
	collfs.TooMany:      http.StatusUnprocessableEntity,
	collfs.Canceled:     statusClientGone,
}

// statusClientGone is for the log: nobody is there to read it.
const statusClientGone = 499

// retryAfter is what a client is asked to wait when the server has trouble.
const retryAfter = 5 * time.Second

// errorOf makes an answer of a failure.
func errorOf(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, query.ErrInvalid) {
		return &Error{Status: http.StatusUnprocessableEntity, Text: err.Error()}
	}
	kind := collfs.KindOf(err)
	e := &Error{Status: statusOf[kind], Cause: err}
	switch kind {
	case collfs.NotExist:
		e.Text = "Path not found"
	case collfs.Permission:
		e.Text = "Forbidden"
	case collfs.Exist:
		e.Text = "the name is taken in this project"
	}
	if e.Status == http.StatusServiceUnavailable {
		e.RetryAfter = retryAfter
	}
	switch {
	case e.Text != "":
	case e.Status >= 500:
		e.Text = http.StatusText(e.Status)
	default:
		e.Text = textOf(err)
	}
	return e
}

// textOf is what a client may read of an error: a path error's own words.
func textOf(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Sprintf("%s: %v", p.Path, p.Err)
	}
	return err.Error()
}

// fail answers with an error.
func (req *Request) fail(err error) {
	e := errorOf(err)
	if e.Status >= 500 {
		cause := e.Cause
		if cause == nil {
			cause = err
		}
		if l, ok := req.w.(interface{ Failed(error) }); ok { // who logs requests
			l.Failed(fmt.Errorf("%s: %w", req.ID, cause))
		} else {
			req.api.conf.Log.Error().Err(cause).Str("id", req.ID).Str("method", req.HTTP.Method).Int("status", e.Status).Msg("a request of the API failed")
		}
	}
	head := req.w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	if e.RetryAfter > 0 {
		head.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	req.send(e.Status, map[string]any{
		"errors":      []string{e.Text + " (" + req.ID + ")"},
		"error_token": fmt.Sprintf("%d+%s", req.api.Now().Unix(), randomHex(8)),
	})
}

func randomHex(n int) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' {
			r = 'a' + (r-'a')%6
		}
		return r
	}, randomText(n))
}

// tokenOfCookie returns the token that a cookie holds, as it is or in base64.
func tokenOfCookie(value string) string {
	if strings.HasPrefix(value, "v2/") {
		return value
	}
	for _, coding := range []*base64.Encoding{base64.URLEncoding, base64.RawURLEncoding} {
		if t, err := coding.DecodeString(value); err == nil {
			return string(t)
		}
	}
	return value
}
