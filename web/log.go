package web

import (
	"bufio"
	"fmt"
	"io"
	"sync"
	"time"

	"keepdav/collfs"
)

// An AccessLog says which requests are written to the log.
type AccessLog string

// The choices. Errors are answers of 400 and above, except for names that do
// not exist and for requests that come without credentials, as every client
// begins.
const (
	LogAll    AccessLog = "all"
	LogErrors AccessLog = "errors"
	LogOff    AccessLog = "off"
)

// UnmarshalText accepts the choices only.
func (a *AccessLog) UnmarshalText(text []byte) error {
	switch v := AccessLog(text); v {
	case LogAll, LogErrors, LogOff:
		*a = v
		return nil
	}
	return fmt.Errorf("%q is none of all, errors, off", text)
}

// kindNames are the words of the log for the kinds of errors.
var kindNames = map[collfs.Kind]string{
	collfs.Internal:     "internal",
	collfs.NotExist:     "not-exist",
	collfs.Exist:        "exist",
	collfs.Permission:   "permission",
	collfs.ReadOnly:     "read-only",
	collfs.IsDir:        "is-directory",
	collfs.NotDir:       "not-directory",
	collfs.NotEmpty:     "not-empty",
	collfs.IntoItself:   "into-itself",
	collfs.NameInvalid:  "name-invalid",
	collfs.NameTooLong:  "name-too-long",
	collfs.Condition:    "condition",
	collfs.Locked:       "locked",
	collfs.NotSupported: "not-supported",
	collfs.Invalid:      "invalid",
	collfs.Closed:       "closed",
	collfs.Conflict:     "conflict",
	collfs.Corrupt:      "corrupt",
	collfs.Unavailable:  "unavailable",
	collfs.Full:         "full",
	collfs.ShortBody:    "short-body",
	collfs.TooMany:      "too-many",
	collfs.Canceled:     "canceled",
}

// A LineBuffer gathers lines so that a busy log costs one write for many of
// them. A line waits a fifth of a second at most. What cannot be written is
// dropped, and later lines are tried again. Writes may be concurrent.
type LineBuffer struct {
	to io.Writer

	mu    sync.Mutex    // guards the fields below
	out   *bufio.Writer // over to
	timer *time.Timer   // runs while something waits
	armed bool
}

const (
	lineBufferSize  = 64 << 10
	lineBufferDelay = 200 * time.Millisecond
)

// NewLineBuffer returns a buffer in front of w. Close it.
func NewLineBuffer(w io.Writer) *LineBuffer {
	b := &LineBuffer{to: w, out: bufio.NewWriterSize(w, lineBufferSize)}
	b.timer = time.AfterFunc(time.Hour, b.Flush)
	b.timer.Stop()
	return b
}

// Write takes one line.
func (b *LineBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(line) > b.out.Available() {
		b.flushLocked()
	}
	n, err := b.out.Write(line)
	if err != nil { // of a line that is longer than the buffer
		b.out.Reset(b.to)
	}
	if !b.armed {
		b.armed = true
		b.timer.Reset(lineBufferDelay)
	}
	return n, err
}

// Flush writes what waits.
func (b *LineBuffer) Flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed = false
	b.flushLocked()
}

// flushLocked writes what waits. b.mu must be held.
func (b *LineBuffer) flushLocked() {
	if b.out.Flush() != nil {
		b.out.Reset(b.to) // it would remember the failure for ever, and the disk may be full for a while only
	}
}

// Close writes what waits.
func (b *LineBuffer) Close() error {
	b.timer.Stop()
	b.Flush()
	return nil
}
