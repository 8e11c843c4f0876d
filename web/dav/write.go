package dav

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
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
		return fail(http.StatusConflict, errors.New("a file's name does not end in a slash"))
	}
	g, err := q.newGuard(q.path.Name, TouchSelf, info, exists)
	if err != nil {
		return noParent(err)
	}
	if err := q.preflight(g, info, exists); err != nil {
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

// sums verifies the checksums that a client sent along. A nil *sums has none.
type sums struct {
	want []wantSum
}

type wantSum struct {
	name string
	sum  string // hex
	h    hash.Hash
}

// newSums reads OC-Checksum ("SHA1:hex") and Content-MD5. Algorithms that we
// don't know are ignored.
func newSums(h http.Header) (*sums, error) {
	s := new(sums)
	if v := h.Get("Content-MD5"); v != "" {
		raw, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(raw) != md5.Size {
			return nil, errBadHeader
		}
		s.want = append(s.want, wantSum{"MD5", hex.EncodeToString(raw), md5.New()})
	}
	for v := range strings.FieldsSeq(h.Get("OC-Checksum")) {
		name, sum, _ := strings.Cut(v, ":")
		w := wantSum{name: strings.ToUpper(name), sum: strings.ToLower(sum)}
		switch w.name {
		case "MD5":
			w.h = md5.New()
		case "SHA1":
			w.h = sha1.New()
		case "SHA256":
			w.h = sha256.New()
		default:
			continue
		}
		if len(s.want) == 4 {
			return nil, errBadHeader
		}
		s.want = append(s.want, w)
	}
	if len(s.want) == 0 {
		return nil, nil
	}
	return s, nil
}

func (s *sums) Write(p []byte) (int, error) {
	for _, w := range s.want {
		w.h.Write(p)
	}
	return len(p), nil
}

func (s *sums) check() error {
	if s == nil {
		return nil
	}
	for _, w := range s.want {
		if got := hex.EncodeToString(w.h.Sum(nil)); got != w.sum {
			return fail(http.StatusBadRequest, fmt.Errorf("the body's %s is %s, announced was %s", w.name, got, w.sum))
		}
	}
	return nil
}

// extra is the change of Attr.Extra: the sums that are about to be verified
// replace those of the old content.
func (s *sums) extra(old map[string]string) map[string]string {
	var x map[string]string
	set := func(k, v string) {
		if x == nil {
			x = map[string]string{}
		}
		x[k] = v
	}
	for k := range old {
		if strings.HasPrefix(k, collfs.ExtraSum) {
			set(k, "")
		}
	}
	if s != nil {
		for _, w := range s.want {
			if w.name == "MD5" || w.name == "SHA1" {
				set(collfs.ExtraSum+w.name, w.sum)
			}
		}
	}
	return x
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
	off := pw.Off
	switch {
	case pw.Append:
		off = -1
	case pw.Suffix:
		if off = info.Size - pw.Off; off < 0 {
			return fail(http.StatusRequestedRangeNotSatisfiable, errUnsatisfiable)
		}
	}
	check := func(cur davfs.Info, ok bool) error {
		if !ok {
			return fs.ErrNotExist
		}
		if pw.Suffix && cur.Size != info.Size {
			return collfs.ErrCondition // "the last n bytes" are others now
		}
		return g.check(cur, ok)
	}
	if err := q.roomFor(n); err != nil {
		return err
	}
	body := q.body()
	now, err := q.fs.WriteAt(q.ctx, q.path.Name, off, n, body, check)
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

func (q *request) delete() error {
	info, err := q.fs.Stat(q.ctx, q.path.Name)
	if err != nil {
		return err
	}
	if q.path.Name == "/" {
		return fail(http.StatusForbidden, collfs.ErrReadOnly)
	}
	if q.path.Slash && !info.Dir {
		return fs.ErrNotExist
	}
	g, err := q.newGuard(q.path.Name, TouchTree, info, true)
	if err != nil {
		return err
	}
	g.leaves = true
	if d, err := ParseDepth(q.r.Header.Get("Depth")); err != nil || info.Dir && d != DepthMissing && d != DepthInfinity {
		return errBadHeader
	}
	if err := q.preflight(g, info, true); err != nil {
		return err
	}
	if err := q.fs.Remove(q.ctx, q.path.Name, g.check); err != nil {
		return err
	}
	if q.h.conf.Locks != nil {
		q.h.conf.Locks.Gone(q.ctx, g.place)
	}
	q.created(false)
	return nil
}

func (q *request) mkcol() error {
	if q.r.ContentLength != 0 {
		// A body of unknown length may turn out to be none.
		if n, _ := io.ReadFull(q.r.Body, make([]byte, 1)); q.r.ContentLength > 0 || n > 0 {
			return fail(http.StatusUnsupportedMediaType, nil)
		}
	}
	info, exists, err := q.stat(q.path.Name)
	switch {
	case err != nil:
		return noParent(err)
	case exists && info.Dir:
		return q.notAllowed(allowDir)
	case exists:
		return q.notAllowed(allowFile)
	}
	g, err := q.newGuard(q.path.Name, TouchSelf, info, exists)
	if err != nil {
		return noParent(err)
	}
	if err := q.preflight(g, info, exists); err != nil {
		return err
	}
	attr := davfs.AttrChange{Check: g.check}
	t, hasMtime, err := ParseOCMtime(q.r.Header.Get("X-OC-Mtime"))
	if err != nil {
		return err
	}
	if hasMtime {
		attr.ModTime = &t
	}
	switch _, err = q.fs.Mkdir(q.ctx, q.path.Name, attr); {
	case errors.Is(err, fs.ErrExist):
		return q.notAllowed(allowAny)
	case err != nil:
		return noParent(err)
	}
	if hasMtime {
		q.w.Header().Set("X-OC-Mtime", "accepted")
	}
	q.created(true)
	return nil
}

func (q *request) copyMove() error {
	move := q.r.Method == "MOVE"
	dest, err := ParseDestination(q.r.Header.Get("Destination"), q.h.conf.Prefix)
	if errors.Is(err, errOutside) {
		return fail(http.StatusForbidden, err)
	} else if err != nil {
		return err
	}
	src, dst := q.path.Name, dest.Name
	if q.quirks.Windows {
		dst = q.windowsPath(dst)
		if strings.EqualFold(src, dst) {
			// A rename that only changes case must not find its source again.
			q.ctx = q.r.Context()
		}
	}
	overwrite, err := ParseOverwrite(q.r.Header.Get("Overwrite"))
	if err != nil {
		return err
	}
	depth, err := ParseDepth(q.r.Header.Get("Depth"))
	if err != nil || depth == Depth1 {
		return errBadHeader
	}

	info, err := q.fs.Stat(q.ctx, src)
	if err != nil {
		return err
	}
	if move && info.Dir && depth == Depth0 {
		return errBadHeader
	}
	shallow := !move && info.Dir && depth == Depth0
	switch {
	case src == "/" && move || dst == "/":
		return fail(http.StatusForbidden, collfs.ErrReadOnly)
	case src == dst, within(src, dst), within(dst, src) && info.Dir && !shallow:
		return fail(http.StatusForbidden, collfs.ErrIntoItself)
	}

	srcGuard, err := q.newGuard(src, TouchTree, info, true)
	if err != nil {
		return err
	}
	srcGuard.leaves, srcGuard.noLocks = move, !move
	target, exists, err := q.stat(dst)
	if err != nil {
		return noParent(err)
	}
	dstGuard, err := q.newGuard(dst, TouchTree, target, exists)
	if err != nil {
		return noParent(err)
	}
	dstGuard.headers = false
	if err := q.preflightSource(srcGuard, info); err != nil {
		return err
	}
	if exists && !overwrite {
		return fail(http.StatusPreconditionFailed, fs.ErrExist)
	}
	if err := dstGuard.check(target, exists); err != nil {
		return err
	}

	o := davfs.CopyOptions{Overwrite: overwrite, Shallow: shallow, Check: dstGuard.check}
	var created bool
	if move {
		o.CheckSrc = srcGuard.check
		created, err = q.fs.Move(q.ctx, src, dst, o)
	} else {
		created, err = q.fs.Copy(q.ctx, src, dst, o)
	}
	if err != nil {
		return noParent(err)
	}
	if l := q.h.conf.Locks; l != nil {
		if move {
			l.Gone(q.ctx, srcGuard.place)
		}
		if !created {
			l.Replaced(q.ctx, dstGuard.place)
		}
	}
	q.created(created)
	return nil
}

// preflightSource checks the source of a COPY or MOVE. A copy reads it, so it
// may be read-only.
func (q *request) preflightSource(g *guard, info davfs.Info) error {
	if q.r.Method == "COPY" {
		info.ReadOnly = false
	}
	return q.preflight(g, info, true)
}
