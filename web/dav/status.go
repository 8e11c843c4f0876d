package dav

import (
	"errors"
	"net/http"

	"keepdav/collfs"
)

// statusOf is the one place where the kind of an error becomes a status.
var statusOf = map[collfs.Kind]int{
	collfs.Internal:     http.StatusInternalServerError,
	collfs.NotExist:     http.StatusNotFound,
	collfs.Exist:        http.StatusPreconditionFailed,
	collfs.Permission:   http.StatusForbidden,
	collfs.ReadOnly:     http.StatusForbidden,
	collfs.IsDir:        http.StatusMethodNotAllowed,
	collfs.NotDir:       http.StatusConflict,
	collfs.NotEmpty:     http.StatusConflict,
	collfs.IntoItself:   http.StatusForbidden,
	collfs.NameInvalid:  http.StatusForbidden,
	collfs.NameTooLong:  http.StatusRequestURITooLong,
	collfs.Condition:    http.StatusPreconditionFailed,
	collfs.Locked:       http.StatusLocked,
	collfs.NotSupported: http.StatusForbidden,
	collfs.Invalid:      http.StatusBadRequest,
	collfs.Closed:       http.StatusServiceUnavailable,
	collfs.Conflict:     http.StatusServiceUnavailable,
	collfs.Corrupt:      http.StatusInternalServerError,
	collfs.Unavailable:  http.StatusServiceUnavailable,
	collfs.Full:         http.StatusInsufficientStorage,
	collfs.ShortBody:    http.StatusBadRequest,
	collfs.TooMany:      http.StatusForbidden,
	collfs.Canceled:     statusClientGone,
}

// statusClientGone is for the log: nobody is there to read it.
const statusClientGone = 499

// A statusError is a failure of the protocol itself, with the status it has and
// perhaps the RFC's name for the condition that failed.
type statusError struct {
	status int
	cond   string // an element of the DAV: namespace
	err    error
}

func (e *statusError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return http.StatusText(e.status)
}

func (e *statusError) Unwrap() error { return e.err }

func fail(status int, err error) error { return &statusError{status: status, err: err} }

func failCond(status int, cond string) error { return &statusError{status: status, cond: cond} }

// Status is the HTTP status that err is answered with.
func Status(err error) int {
	if se, ok := errors.AsType[*statusError](err); ok {
		return se.status
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge
	}
	switch {
	case errors.Is(err, ErrLockConflict):
		return http.StatusLocked
	case errors.Is(err, ErrNoSuchLock):
		return http.StatusConflict
	case errors.Is(err, ErrLockOwner):
		return http.StatusForbidden
	case errors.Is(err, ErrTooManyLocks):
		return http.StatusServiceUnavailable
	case errors.Is(err, errXMLSize):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, errXML), errors.Is(err, errXMLUnsafe), errors.Is(err, errBadPath), errors.Is(err, errBadHeader),
		errors.Is(err, errBadIf), errors.Is(err, errBadRange):
		return http.StatusBadRequest
	case errors.Is(err, errOutside):
		return http.StatusNotFound
	}
	return statusOf[collfs.KindOf(err)]
}
