package dav

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"keepdav/collfs"
	"keepdav/davfs"
)

var errFileSlash = fail(http.StatusConflict, errors.New("a file's name does not end in a slash"))

// put stores the body under the path in one step: whoever reads meanwhile sees
// the old content or the new one, and a cut upload leaves the old one.
func (q *request) put() error {
	info, exists, err := q.stat(q.path.Name)
	switch {
	case err != nil:
		return noParent(err)
	case exists && info.Dir:
		return q.notAllowed(allowDir)
	case q.path.Slash:
		return errFileSlash
	}
	g, err := q.newGuard(q.path.Name, TouchSelf, info, exists)
	if err != nil {
		return noParent(err)
	}
	if err := q.preflight(g, info, exists); err != nil {
		return err
	}
	if err := q.plainBody(); err != nil {
		return err
	}
	mtime, hasMtime, err := ParseOCMtime(q.r.Header.Get("X-OC-Mtime"))
	if err != nil {
		return err
	}
	if cr := q.r.Header.Get("Content-Range"); cr != "" {
		pw, err := ParseContentRange(cr)
		if err != nil {
			return err
		}
		whole := pw.Off == 0 && pw.Size == pw.Len
		if exists && !whole {
			return q.writePart(g, info, pw)
		}
		if pw.Off != 0 {
			return fail(http.StatusRequestedRangeNotSatisfiable, errors.New("there is no file to write a part of"))
		}
		if q.r.ContentLength >= 0 && q.r.ContentLength != pw.Len {
			return errBadRange
		}
		q.r.ContentLength = pw.Len
	}
	size, err := q.bodySize()
	if err != nil {
		return err
	}
	if err := q.roomFor(size); err != nil {
		return err
	}
	sums, err := newSums(q.r.Header)
	if err != nil {
		return err
	}

	o := davfs.PutOptions{Size: size, Extra: sums.extra(info.Attr.Extra), Check: g.check}
	if hasMtime {
		o.ModTime = mtime
	}
	up, err := q.fs.Put(q.ctx, q.path.Name, o)
	if err != nil {
		return noParent(err)
	}
	defer up.Abort()
	if err := q.receive(up, size, sums); err != nil {
		return err
	}
	if err := g.look(); err != nil { // the upload may have taken hours
		return err
	}
	now, created, err := up.Commit(q.ctx)
	if err != nil {
		return noParent(err)
	}
	hd := q.w.Header()
	hd.Set("ETag", now.ETag())
	if hasMtime {
		hd.Set("X-OC-Mtime", "accepted")
	}
	q.created(created)
	return nil
}

// plainBody refuses a body that is encoded, say compressed: what is stored is given
// out as it is, and nobody would be told.
func (q *request) plainBody() error {
	list, _ := joined(q.r.Header, "Content-Encoding")
	for coding := range strings.SplitSeq(list, ",") {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
			q.w.Header().Set("Accept-Encoding", "identity")
			return fail(http.StatusUnsupportedMediaType, nil)
		}
	}
	return nil
}

// noBody refuses a request that has a body, of one byte or more.
func (q *request) noBody() error {
	if q.r.ContentLength == 0 {
		return nil
	}
	if q.r.ContentLength < 0 {
		body := q.body()
		_, err := io.ReadFull(body, make([]byte, 1))
		body.done()
		switch {
		case err == io.EOF:
			return nil
		case body.err != nil:
			return body.failure()
		}
	}
	return fail(http.StatusUnsupportedMediaType, nil)
}

// bodySize is the length that the request announces, -1 when it doesn't. Finder
// sends chunks and tells the length in a header of its own.
func (q *request) bodySize() (int64, error) {
	if q.r.ContentLength >= 0 {
		return q.r.ContentLength, nil
	}
	s := strings.TrimSpace(q.r.Header.Get("X-Expected-Entity-Length"))
	if s == "" {
		return -1, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, errBadHeader
	}
	return n, nil
}

// checkRoomFrom is the size from which an upload that cannot fit is refused
// before its first byte.
const checkRoomFrom = 16 << 20

func (q *request) roomFor(size int64) error {
	if size < checkRoomFrom {
		return nil
	}
	u, err := q.fs.Usage(q.ctx, parentOf(q.path.Name))
	if err == nil && u.Available >= 0 && u.Available < size {
		return fail(http.StatusInsufficientStorage, fmt.Errorf("%d bytes are free, the upload has %d", u.Available, size))
	}
	return nil
}

// receive streams the body into up and checks that it is whole.
func (q *request) receive(up davfs.Upload, size int64, sums *sums) error {
	body := q.body()
	var src io.Reader = body
	if sums != nil {
		src = io.TeeReader(body, sums)
	}
	n, err := up.ReadFrom(src)
	body.done()
	switch {
	case body.err != nil:
		return body.failure()
	case err != nil:
		return err
	case size >= 0 && n != size:
		return fail(http.StatusBadRequest, fmt.Errorf("%w: %d of %d bytes", collfs.ErrShortBody, n, size))
	}
	return sums.check()
}

// A bodyReader reads a request body as long as bytes keep coming. It remembers
// its own failure, to tell a broken client from a broken store.
type bodyReader struct {
	q     *request
	r     io.Reader
	rc    *http.ResponseController
	until time.Time // the deadline that is set
	err   error     // other than io.EOF
}

func (q *request) body() *bodyReader {
	return &bodyReader{q: q, r: q.r.Body, rc: http.NewResponseController(q.w)}
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if now := time.Now(); b.until.Sub(now) < b.q.h.conf.Stall/2 {
		b.until = now.Add(b.q.h.conf.Stall)
		_ = b.rc.SetReadDeadline(b.until)
	}
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// done takes the deadline away: what follows is our time, not the client's.
func (b *bodyReader) done() { _ = b.rc.SetReadDeadline(time.Time{}) }

// failure is the answer to a body that could not be read.
func (b *bodyReader) failure() error {
	b.q.broken = true
	var tooBig *http.MaxBytesError
	switch {
	case errors.Is(b.err, os.ErrDeadlineExceeded):
		return fail(http.StatusRequestTimeout, fmt.Errorf("the body stalled: %w", b.err))
	case errors.As(b.err, &tooBig):
		return b.err
	}
	return fail(http.StatusBadRequest, fmt.Errorf("the body was cut: %w", b.err))
}

// patch is SabreDAV's partial update.
func (q *request) patch() error {
	ctype, _, _ := strings.Cut(q.r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(ctype), "application/x-sabredav-partialupdate") {
		return fail(http.StatusUnsupportedMediaType, nil)
	}
	pw, err := ParseUpdateRange(q.r.Header.Get("X-Update-Range"))
	if err != nil {
		return err
	}
	info, err := q.fs.Stat(q.ctx, q.path.Name)
	switch {
	case err != nil:
		return err
	case info.Dir:
		return q.notAllowed(allowDir)
	}
	g, err := q.newGuard(q.path.Name, TouchSelf, info, true)
	if err != nil {
		return err
	}
	if err := q.preflight(g, info, true); err != nil {
		return err
	}
	if err := q.plainBody(); err != nil {
		return err
	}
	return q.writePart(g, info, pw)
}

// writePart changes a part of an existing file in one commit.
func (q *request) writePart(g *guard, info davfs.Info, pw PartWrite) error {
	n := q.r.ContentLength
	if n < 0 {
		n = pw.Len
	}
	if n < 0 {
		return fail(http.StatusLengthRequired, nil)
	}
	if pw.Len >= 0 && pw.Len != n {
		return fail(http.StatusRequestedRangeNotSatisfiable, fmt.Errorf("the body has %d bytes, the range %d", n, pw.Len))
	}
	// The client takes the whole for smaller than it is: what it knows is of
	// another content, whose end would stay behind the part.
	outgrown := func(size int64) error {
		if pw.Size < 0 || size <= pw.Size {
			return nil
		}
		q.w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
		return fail(http.StatusRequestedRangeNotSatisfiable, fmt.Errorf("the file has %d bytes, its part is one of %d", size, pw.Size))
	}
	if err := outgrown(info.Size); err != nil {
		return err
	}
	off := pw.Off
	switch {
	case pw.Append:
		off = -1
	case pw.Suffix:
		if off = info.Size - pw.Off; off < 0 {
			return fail(http.StatusRequestedRangeNotSatisfiable, errUnsatisfiable)
		}
	}
	// Content-MD5 is the sum of the body; what OC-Checksum names is the whole.
	sums, err := newSums(http.Header{"Content-Md5": q.r.Header.Values("Content-MD5")})
	if err != nil {
		return err
	}
	body := q.body()
	whole := exactBody{r: body, left: n, end: g.look}
	var src io.Reader = &whole
	if sums != nil {
		src = io.TeeReader(src, sums)
	}
	check := func(cur davfs.Info, ok bool) error {
		if !ok {
			return fs.ErrNotExist
		}
		if whole.err != nil {
			return whole.err
		}
		if err := sums.check(); err != nil {
			return err
		}
		if pw.Suffix && cur.Size != info.Size {
			return collfs.ErrCondition // "the last n bytes" are others now
		}
		if err := outgrown(cur.Size); err != nil {
			return err
		}
		return g.check(cur, ok)
	}
	if err := q.roomFor(n); err != nil {
		return err
	}
	now, err := q.fs.WriteAt(q.ctx, q.path.Name, off, n, src, check)
	body.done()
	if body.err != nil {
		return body.failure()
	}
	if err != nil {
		return err
	}
	q.w.Header().Set("ETag", now.ETag())
	q.created(false)
	return nil
}

// An exactBody is a body that ends after so many bytes. Whoever reads as many
// learns from the read of the last whether the client agrees, before anything is
// changed; one who does not look at that error finds it in err.
type exactBody struct {
	r    io.Reader
	left int64
	end  func() error // called when it has all come
	err  error
}

func (b *exactBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p[:min(int64(len(p)), max(b.left, 1))])
	had := b.left
	b.left -= int64(n)
	if had > 0 && b.left == 0 && err == nil {
		var one [1]byte
		_, err = io.ReadFull(b.r, one[:])
		if err == nil {
			err = errLongBody
		}
	} else if b.left < 0 {
		err = errLongBody
	}
	if had > 0 && b.left == 0 && err == io.EOF {
		if e := b.end(); e != nil {
			err = e
		}
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

var errLongBody = fmt.Errorf("%w: it is longer than its range", collfs.ErrShortBody)
