package control

import (
	"encoding/json"

	"keepdav/collfs"
)

// A Progress says how far a long operation is. Totals are 0 while they are not known.
type Progress struct {
	What  string `json:"what"`
	Done  int64  `json:"done"`
	Total int64  `json:"total,omitempty"`
	Bytes int64  `json:"bytes,omitempty"`
}

// A reply is one line of the answer to a call: any number with progress, then
// one with the result or the error.
type reply struct {
	Progress   *Progress       `json:"progress,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
	Error      string          `json:"error,omitempty"`
	ErrorBytes []byte          `json:"error_base64,omitempty"`
	Kind       collfs.Kind     `json:"kind,omitempty"`
}

// A remoteError is a failure in the process that has the store open.
type remoteError struct {
	text string
	kind collfs.Kind
}

func (e *remoteError) Error() string { return e.text }

// Is lets callers ask for what they would ask a local error for.
func (e *remoteError) Is(target error) bool {
	return e.kind != collfs.Internal && collfs.KindOf(target) == e.kind
}
