package keep

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"keepdav/keepio"
)

// copySize is how much of a body is taken at a time.
const copySize = 256 << 10

var buffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// write answers PUT of a block, and POST, for which text is "".
func (h *Handler) write(w http.ResponseWriter, r *http.Request, text string) {
	size := r.ContentLength
	var want keepio.Locator
	if text != "" {
		loc, sized, err := parse(text)
		if err != nil || text != loc.HashHex() && (!sized || text != loc.Bare()) {
			fail(w, http.StatusBadRequest, "Bad Request")
			return
		}
		if sized && size >= 0 && size != loc.Size() {
			fail(w, http.StatusBadRequest, "the length of the body is not that of the locator")
			return
		}
		if want = loc; sized {
			size = loc.Size()
		}
	}
	token, c, ok := h.caller(w, r)
	if !ok {
		return
	}
	switch {
	case !c.Write:
		fail(w, http.StatusForbidden, "this token may not store blocks")
		return
	case text == "" && size < 0:
		fail(w, http.StatusLengthRequired, "the length of the block is not known")
		return
	case size > keepio.BlockSize:
		failed(w, keepio.ErrTooLarge)
		return
	case !wantsClass(r.Header):
		fail(w, http.StatusInsufficientStorage, "insufficient storage")
		return
	}
	select {
	case h.uploads <- struct{}{}:
		defer func() { <-h.uploads }()
	default:
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable, "too many blocks come in at once")
		return
	}
	loc, err := h.receive(r, max(size, 0), want)
	var bad *badBody
	switch {
	case errors.As(err, &bad):
		fail(w, http.StatusBadRequest, bad.Error())
		return
	case err != nil:
		failed(w, err)
		return
	}
	answer := h.conf.Signer.Sign(loc, token).String()
	if text != "" { // a keepstore ends the line, a keepproxy does not
		answer += "\n"
	}
	head := w.Header()
	head.Set("Content-Type", "text/plain; charset=utf-8")
	head.Set("Content-Length", strconv.Itoa(len(answer)))
	head.Set("X-Keep-Replicas-Stored", "1")
	head.Set("X-Keep-Storage-Classes-Confirmed", defaultClass+"=1")
	w.WriteHeader(http.StatusOK)
	io.WriteString(w, answer) // a failure means that the client stores the block again
}

// A badBody is a body that is not the block that it should be.
type badBody struct{ what string }

func (e *badBody) Error() string { return e.what }

// receive stores the body, if it is the block that is wanted (the zero Locator:
// any). When it returns nil the block survives a loss of power. After a failure
// nothing is left of it.
func (h *Handler) receive(r *http.Request, size int64, want keepio.Locator) (keepio.Locator, error) {
	in, err := h.conf.Blocks.Receive(size)
	if err != nil {
		return keepio.Locator{}, err
	}
	defer in.Close() // what was committed has its own name by then
	buf := buffers.Get().(*[copySize]byte)
	defer buffers.Put(buf)
	from := &source{r: r.Body}
	if _, err := io.CopyBuffer(in, from, buf[:]); err != nil {
		if from.err != nil {
			return keepio.Locator{}, &badBody{"the block did not arrive whole"}
		}
		return keepio.Locator{}, err
	}
	hash, n := in.Name()
	if r.ContentLength >= 0 && int64(n) != r.ContentLength {
		return keepio.Locator{}, &badBody{"the block did not arrive whole"}
	}
	if !want.IsZero() {
		if got := hex.EncodeToString(hash[:]); got != want.HashHex() {
			return keepio.Locator{}, &badBody{fmt.Sprintf("content hash %s did not match specified locator %s", got, want.HashHex())}
		}
		if r.ContentLength < 0 && size > 0 && int64(n) != size {
			return keepio.Locator{}, &badBody{"the length of the body is not that of the locator"}
		}
	}
	return keepio.MakeLocator(hash, int64(n)), in.Commit(r.Context())
}

// A source is a body that remembers whether reading it failed.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// wantsClass tells which of the storage classes that are wanted the store has: it
// has one. No classes are any.
func wantsClass(head http.Header) (stored bool) {
	wanted := false
	for class := range strings.SplitSeq(strings.Join(head.Values("X-Keep-Storage-Classes"), ","), ",") {
		switch strings.TrimSpace(class) {
		case "":
		case defaultClass:
			return true
		default:
			wanted = true
		}
	}
	return !wanted
}

const defaultClass = "default"
