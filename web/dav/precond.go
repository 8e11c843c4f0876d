package dav

import (
	"net/http"
	"strings"
	"time"
)

// Verdict is the outcome of a request's conditional headers.
type Verdict int8

// The verdicts of RFC 9110 §13.2.2.
const (
	Proceed Verdict = iota
	NotModified
	PreconditionFailed
)

// Current is the state of a resource that conditional headers are compared
// with. ETag may be empty (a collection); then only "*" matches it.
type Current struct {
	Exists  bool
	ETag    string
	ModTime time.Time
}

// EvalConditions evaluates If-Match, If-Unmodified-Since, If-None-Match and
// If-Modified-Since in the order of RFC 9110 §13.2.2.
func EvalConditions(h http.Header, method string, cur Current) Verdict {
	read := method == http.MethodGet || method == http.MethodHead
	if im, ok := joined(h, "If-Match"); ok {
		if !matchesAny(im, cur, strongMatch) {
			return PreconditionFailed
		}
	} else if t, ok := httpTime(h.Get("If-Unmodified-Since")); ok {
		if cur.Exists && cur.ModTime.Truncate(time.Second).After(t) {
			return PreconditionFailed
		}
	}
	if inm, ok := joined(h, "If-None-Match"); ok {
		if matchesAny(inm, cur, weakMatch) {
			if read {
				return NotModified
			}
			return PreconditionFailed
		}
	} else if t, ok := httpTime(h.Get("If-Modified-Since")); ok && read {
		if cur.Exists && !cur.ModTime.Truncate(time.Second).After(t) {
			return NotModified
		}
	}
	return Proceed
}

// IfRangeHolds reports whether a Range header is to be honoured, given the
// If-Range header. Only strong tags do: clients set the time of a file, so two
// contents may have the same, and parts of both would make a file that never was.
func IfRangeHolds(h http.Header, cur Current) bool {
	ir := strings.TrimSpace(h.Get("If-Range"))
	if ir == "" {
		return true
	}
	return tagLen(ir) == len(ir) && strongMatch(ir, cur.ETag)
}

// joined is the value of a header in all its lines; ok is false when there is none.
func joined(h http.Header, key string) (list string, ok bool) {
	v := h.Values(key)
	return strings.Join(v, ","), len(v) > 0
}

// matchesAny reports whether list ("*" or entity tags) matches cur; an empty one
// does not. Malformed rest of a list matches nothing: there are clients that send
// such in If-None-Match, to be sure of that.
func matchesAny(list string, cur Current, match func(a, b string) bool) bool {
	for list = strings.TrimLeft(list, " \t,"); list != ""; list = strings.TrimLeft(list, " \t,") {
		if list[0] == '*' {
			return cur.Exists
		}
		n := tagLen(list)
		if n == 0 {
			return false
		}
		if cur.Exists && match(list[:n], cur.ETag) {
			return true
		}
		list = list[n:]
	}
	return false
}

func strongMatch(a, b string) bool { return a == b && a != "" && a[0] == '"' }

func weakMatch(a, b string) bool { return a != "" && b != "" && opaque(a) == opaque(b) }

func httpTime(s string) (time.Time, bool) {
	if s == "" {
		return time.Time{}, false
	}
	t, err := http.ParseTime(s)
	return t, err == nil
}
