package posix

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// failure is what a check panics with to end its case.
type failure struct{ error }

// where is the line of the case that is running.
func where() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		name := filepath.Base(f.File)
		if name != "check.go" && name != "env.go" && name != "stat.go" || !more {
			return fmt.Sprintf("%s:%d", name, f.Line)
		}
	}
}

func failf(format string, args ...any) {
	panic(failure{fmt.Errorf(where()+": "+format, args...)})
}

// do ends the case if a call failed that must not.
func do(err error) {
	if err != nil {
		failf("%s; want success", errnoName(err))
	}
}

// must is do for a call with a result.
func must[T any](v T, err error) T {
	do(err)
	return v
}

// want ends the case unless a call failed in one of these ways.
func want(err error, errnos ...unix.Errno) {
	for _, e := range errnos {
		if errors.Is(err, e) {
			return
		}
	}
	var names []string
	for _, e := range errnos {
		names = append(names, unix.ErrnoName(e))
	}
	failf("%s; want %s", errnoName(err), strings.Join(names, " or "))
}

func errnoName(err error) string {
	if err == nil {
		return "success"
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

func equal[T comparable](what string, got, want T) {
	if got != want {
		failf("%s = %s; want %s", what, short(got), short(want))
	}
}

func short(v any) string {
	s := fmt.Sprintf("%v", v)
	if _, ok := v.(string); ok {
		s = fmt.Sprintf("%q", v)
	}
	if len(s) > 100 {
		s = fmt.Sprintf("%s… (%d bytes)", s[:100], len(s))
	}
	return s
}

func check(holds bool, format string, args ...any) {
	if !holds {
		failf(format, args...)
	}
}
