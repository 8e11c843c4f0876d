package web

import (
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"keepdav/web/listen"
)

const (
	// stall is how long a client may take no byte of a reply, or send none of a
	// body, before its connection is cut.
	stall = 3 * time.Minute
	// touchEvery is how often the deadline is moved while bytes flow.
	touchEvery = 15 * time.Second
	// sendPiece is how much goes out between two looks at the deadline, so that
	// a reader of 25 KB/s gets through.
	sendPiece = 4 << 20
)

// A response counts what goes out and keeps the write deadline ahead.
type response struct {
	http.ResponseWriter
	status  int
	bytes   int64
	touched time.Time
	body    body
	page    bool          // what was asked for is shown to people
	holder  listen.Holder // the connection, if it can hold the head back
	holding bool
	saved   string // Content-Disposition of a file
	user    string
	kind    string // of the error that was answered, for the log
	err     error
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// SetUser and Failed are for services that find out by themselves who asks: they
// tell the log the user's name, and what went wrong.
func (w *response) SetUser(name string) { w.user = name }

// Failed is described with SetUser.
func (w *response) Failed(err error) { w.err = err }

// attach has a browser save the file that r asks for, if it is one: directories
// and refusals are shown.
func (w *response) attach(r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return
	}
	w.saved = "attachment"
	if r.URL.RawQuery == "" { // the last part of the path is the name
		return
	}
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if v := mime.FormatMediaType("attachment", map[string]string{"filename": name}); v != "" && name != "" {
		w.saved = v
	}
}

func (w *response) touch() {
	now := time.Now()
	if now.Sub(w.touched) < touchEvery {
		return
	}
	w.touched = now
	if d, ok := w.ResponseWriter.(interface{ SetWriteDeadline(time.Time) error }); ok {
		d.SetWriteDeadline(now.Add(stall)) // a failure means that the connection is gone, which the write will tell
	}
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	if w.saved != "" && status < 300 && w.Header().Get("Content-Disposition") == "" && w.Header().Get("ETag") != "" {
		w.Header().Set("Content-Disposition", w.saved)
	}
	w.touch()
	w.ResponseWriter.WriteHeader(status)
	if w.holder != nil && status >= 200 {
		// Short answers fit net/http's buffer with their head; those of unknown
		// length have to be left to it.
		if n := w.Header()["Content-Length"]; len(n) == 1 && len(n[0]) >= 4 {
			w.holding = true
			w.holder.Hold()
		}
	}
}

// holderKey is where the context of a request has its connection, if that is a
// listen.Holder.
type holderKey struct{}

// release sends the answer so far, if its head was held back. net/http would send
// what it has only after the handler has ended.
func (w *response) release() {
	if !w.holding {
		return
	}
	w.holding = false
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	w.holder.Release() // a failure means that the connection is gone, which the next read will tell
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	total := 0
	for {
		w.touch()
		n, err := w.ResponseWriter.Write(p[:min(len(p), sendPiece)])
		w.bytes += int64(n)
		total += n
		p = p[n:]
		if err != nil || len(p) == 0 {
			return total, err
		}
	}
}

func (w *response) WriteString(s string) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.touch()
	n, err := io.WriteString(w.ResponseWriter, s)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom hands files to the connection in pieces, which the kernel copies
// without passing them through this process, where it can.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	rf, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(onlyWriter{w}, src)
	}
	if w.status == 0 {
		w.status = http.StatusOK
	}
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		if f, isFile := src.(*os.File); isFile {
			limited, ok = &io.LimitedReader{R: f, N: 1<<63 - 1}, true
		}
	}
	if !ok {
		return io.Copy(onlyWriter{w}, src)
	}
	if f, ok := w.ResponseWriter.(http.Flusher); ok && w.holding {
		f.Flush() // into the holder: else net/http would copy the beginning of the file to go with the head
	}
	var total int64
	for limited.N > 0 {
		w.touch()
		piece := &io.LimitedReader{R: limited.R, N: min(limited.N, sendPiece)}
		n, err := rf.ReadFrom(piece)
		w.bytes += n
		total += n
		limited.N -= n
		if err != nil || n == 0 {
			return total, err
		}
	}
	return total, nil
}

// Flush sends what is buffered.
func (w *response) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		w.touch()
		f.Flush()
		w.release()
	}
}

// onlyWriter hides ReadFrom from io.Copy.
type onlyWriter struct{ io.Writer }

// SetReadDeadline is for http.ResponseController: a handler that sets a deadline
// of its own keeps it, until it takes it away.
func (w *response) SetReadDeadline(t time.Time) error {
	w.body.own = !t.IsZero()
	w.body.touched = time.Time{}
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
}

// A body counts what comes in and keeps the read deadline ahead.
type body struct {
	io.ReadCloser
	conn    http.ResponseWriter
	bytes   int64
	touched time.Time
	own     bool // the handler has set the deadline
	ended   bool
}

func (b *body) deadline(t time.Time) {
	if d, ok := b.conn.(interface{ SetReadDeadline(time.Time) error }); ok {
		d.SetReadDeadline(t) // a failure means that the connection is gone, which the read will tell
	}
}

func (b *body) Read(p []byte) (int, error) {
	if now := time.Now(); !b.own && now.Sub(b.touched) >= touchEvery {
		b.touched = now
		b.deadline(now.Add(stall))
	}
	n, err := b.ReadCloser.Read(p)
	b.bytes += int64(n)
	if err == io.EOF && !b.ended {
		// What watches for the client to go away reads on after the body, and
		// must not run into the deadline while the handler works.
		b.ended = true
		b.deadline(time.Time{})
	}
	return n, err
}
