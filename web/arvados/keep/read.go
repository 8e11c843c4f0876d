package keep

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"keepdav/keepio"
	"keepdav/web/dav"
)

// SumsHeader asks for the CRC-32C of chunks, and has them in the answer.
const SumsHeader = "X-Keepdav-Sums"

const sumsKind = "crc32c"

var emptyHash = keepio.EmptyLocator.Hash()

// parse reads a locator whose size may be missing, as HEAD allows.
func parse(text string) (loc keepio.Locator, sized bool, err error) {
	rest := text[32:]
	if sized = len(rest) > 1 && '0' <= rest[1] && rest[1] <= '9'; !sized {
		text = text[:32] + "+0" + rest
	}
	loc, err = keepio.ParseLocator(text)
	return loc, sized, err
}

// read answers GET and HEAD of a block.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, text string) {
	w.Header().Set("Vary", "X-Keep-Signature")
	loc, sized, err := parse(text)
	if err != nil {
		fail(w, http.StatusBadRequest, "Bad Request")
		return
	}
	if !sized && r.Method == http.MethodGet && loc.Hash() != emptyHash {
		fail(w, http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	token, _, ok := h.caller(w, r)
	if !ok {
		return
	}
	if err := h.conf.Signer.Verify(loc, token); err != nil {
		if errors.Is(err, keepio.ErrSignatureExpired) {
			fail(w, http.StatusUnauthorized, "expired signature")
		} else {
			fail(w, http.StatusBadRequest, "invalid signature")
		}
		return
	}
	info, err := h.conf.Blocks.Stat(loc.Hash())
	if err == nil && sized && info.Size != loc.Size() {
		err = fmt.Errorf("block %s: %w: the stored one has %d bytes", loc.Bare(), keepio.ErrNotFound, info.Size)
	}
	if err == nil && info.Size > keepio.BlockSize {
		err = fmt.Errorf("block %s: %w: the file has %d bytes", loc.Bare(), keepio.ErrCorrupt, info.Size)
	}
	if err != nil {
		failed(w, err)
		return
	}
	a := &answer{h: h, w: w, r: r, hash: info.Hash, size: uint32(info.Size), span: dav.Span{Len: info.Size}}
	if err := a.send(); err != nil {
		failed(w, err)
	}
}

// An answer is a block, or a part of it, on its way to a client.
type answer struct {
	h    *Handler
	w    http.ResponseWriter
	r    *http.Request
	hash [16]byte
	size uint32
	span dav.Span
}

// send answers, unless it fails before anything was sent.
func (a *answer) send() error {
	status := http.StatusOK
	head := a.w.Header()
	if a.r.Header.Get(SumsHeader) == sumsKind {
		head.Set("Accept-Ranges", "bytes")
		if rg := a.r.Header.Get("Range"); rg != "" {
			spans, err := dav.ParseRange(rg, int64(a.size))
			if err != nil {
				head.Set("Content-Range", "bytes */"+strconv.FormatUint(uint64(a.size), 10))
				fail(a.w, http.StatusRequestedRangeNotSatisfiable, "the block has no such bytes")
				return nil
			}
			if len(spans) == 1 {
				status, a.span = http.StatusPartialContent, spans[0]
				head.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", a.span.Off, a.span.Off+a.span.Len-1, a.size))
			}
		}
		if err := a.sums(head); err != nil {
			return err
		}
	}
	if a.r.Method == http.MethodHead {
		a.begin(status)
		return nil
	}
	return a.body(status)
}

// sums adds the sums of the chunks that the span touches.
func (a *answer) sums(head http.Header) error {
	sums, err := a.h.conf.Blocks.Sums(a.r.Context(), a.hash, a.size)
	if err != nil {
		return err
	}
	if a.span.Len > 0 {
		first, last := a.span.Off/keepio.ChunkSize, (a.span.Off+a.span.Len-1)/keepio.ChunkSize
		sums = sums[first : last+1]
	}
	b := make([]byte, 0, 4*len(sums))
	for _, s := range sums {
		b = binary.LittleEndian.AppendUint32(b, s)
	}
	head.Set(SumsHeader, sumsKind+" "+base64.StdEncoding.EncodeToString(b))
	return nil
}

// begin sends the head.
func (a *answer) begin(status int) {
	head := a.w.Header()
	head.Set("Content-Length", strconv.FormatInt(a.span.Len, 10))
	if a.r.Method != http.MethodHead {
		// What users store is not shown by browsers as if it came from us.
		head.Set("Content-Type", "application/octet-stream")
		head.Set("X-Content-Type-Options", "nosniff")
	}
	a.w.WriteHeader(status)
}

var chunks = sync.Pool{New: func() any { return new([keepio.ChunkSize]byte) }}

// body sends the head and the bytes. The first of them have been checked by the
// time the status goes out, so damage that shows at once is told by it. Damage
// further on cuts the connection before the chunk that has it.
func (a *answer) body(status int) error {
	chunk := chunks.Get().(*[keepio.ChunkSize]byte)
	defer chunks.Put(chunk)
	first := chunk[:min(a.span.Len, keepio.ChunkSize)]
	ctx := a.r.Context()
	if len(first) > 0 {
		if _, err := a.h.conf.Blocks.ReadBlock(ctx, a.hash, a.size, first, a.span.Off); err != nil {
			return err
		}
	}
	a.begin(status)
	var err error
	if a.span.Len <= keepio.ChunkSize {
		_, err = a.w.Write(first)
	} else {
		_, err = a.h.conf.Blocks.WriteRange(ctx, a.w, a.hash, a.size, a.span.Off, a.span.Len)
	}
	if err != nil {
		a.cut(err)
	}
	return nil
}

// cut ends the connection, for an answer that was cut short must not look whole.
func (a *answer) cut(err error) {
	if l, ok := a.w.(interface{ Failed(error) }); ok && !errors.Is(err, context.Canceled) {
		l.Failed(err)
	}
	panic(http.ErrAbortHandler)
}
