package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"keepdav/keepio"
)

// ErrUnclear is the failure of a request that changes something, of which it is
// not known whether it was done.
var ErrUnclear = errors.New("it is not known whether the request was done")

// ErrTooLarge is the failure of a request or a reply that is larger than allowed.
var ErrTooLarge = errors.New("is larger than the server takes")

// ErrToken is the failure of a request because of its token.
var ErrToken = errors.New("the token is not valid")

// ErrInvalid is the failure of a request that the server understands and refuses:
// what it says of a name that is taken, among others.
var ErrInvalid = fs.ErrInvalid

// An Error is what the server answered. It matches fs.ErrNotExist (404: also of
// what may not be read), fs.ErrPermission (401, 403), ErrToken (401), ErrInvalid
// (400, 422), ErrTooLarge and keepio.ErrFull (413), and keepio.ErrUnavailable (what
// may be over soon).
type Error struct {
	Method  string
	Path    string
	Status  int
	Message string // of the server, in words
}

// Error implements error. It never has a token in it.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Status, http.StatusText(e.Status))
	if e.Status == http.StatusUnauthorized {
		text += ": " + ErrToken.Error()
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Is implements errors.Is.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Status == http.StatusNotFound
	case fs.ErrPermission:
		return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
	case ErrToken:
		return e.Status == http.StatusUnauthorized
	case ErrInvalid:
		return e.Status == http.StatusBadRequest || e.Status == http.StatusUnprocessableEntity
	case ErrTooLarge, keepio.ErrFull:
		return e.Status == http.StatusRequestEntityTooLarge
	case keepio.ErrUnavailable:
		return mayPass(e.Status)
	}
	return false
}

// mayPass reports whether a status speaks of trouble that may be over soon.
func mayPass(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// notDone reports whether a status says that nothing was done.
func notDone(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// maxMessage is how much of what the server says is repeated.
const maxMessage = 500

// message makes one line of what a server said. What could be a token in it, or a
// signature of a locator, is not repeated.
func message(lines []string, secrets ...string) string {
	text := strings.Join(lines, "; ")
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "…")
		}
	}
	text = signature.ReplaceAllString(text, "+A…")
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}
