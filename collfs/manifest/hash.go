package manifest

import (
	"crypto/md5"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
	"unsafe"

	"keepdav/keepio"
)

// PDH returns the portable data hash of a manifest: the MD5 and the length of
// its text with all hints cut from the locators. The text is taken as it is: for one
// that is malformed, the result means nothing.
func PDH[T Text](text T) string {
	d := digest{hash: md5.New(), buf: make([]byte, 0, 32<<10)}
	rewrite(view(text), keepio.Locator.Bare, d.add)
	d.flush()
	var sum [md5.Size]byte
	return hex.EncodeToString(d.hash.Sum(sum[:0])) + "+" + strconv.FormatInt(d.size, 10)
}

// Strip returns a manifest without the permission signatures (+A) of its
// locators; other hints stay.
func Strip[T Text](text T) T {
	buf := make([]byte, 0, len(text))
	rewrite(view(text), func(l keepio.Locator) string { return l.Unsigned().String() },
		func(part string) { buf = append(buf, part...) })
	return T(buf)
}

// digest hashes many small parts in few large ones.
type digest struct {
	hash hash.Hash
	size int64
	buf  []byte
}

func (d *digest) add(part string) {
	d.size += int64(len(part))
	for part != "" {
		if len(d.buf) == cap(d.buf) {
			d.flush()
		}
		n := min(len(part), cap(d.buf)-len(d.buf))
		d.buf = append(d.buf, part[:n]...)
		part = part[n:]
	}
}

func (d *digest) flush() {
	d.hash.Write(d.buf)
	d.buf = d.buf[:0]
}

// rewrite emits text in parts, each locator in it as respell has it, which
// may shorten it.
func rewrite(text string, respell func(keepio.Locator) string, emit func(part string)) {
	done := 0 // text[:done] has been emitted
	for i := 0; i < len(text); {
		lineEnd := len(text)
		if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
			lineEnd = i + n
		}
		for { // skip a token: the stream's name, then each locator
			n := strings.IndexByte(text[i:lineEnd], ' ')
			if n < 0 {
				break
			}
			i += n + 1
			end := lineEnd
			if n := strings.IndexByte(text[i:lineEnd], ' '); n >= 0 {
				end = i + n
			}
			if startsSpan(text[i:end]) {
				break // the files begin
			}
			loc, err := keepio.ParseLocator(text[i:end])
			if err != nil {
				break
			}
			if s := respell(loc); len(s) < end-i {
				emit(text[done:i])
				emit(s)
				done = end
			}
		}
		i = lineEnd + 1
	}
	emit(text[done:])
}

// view returns text as a string that is good while nobody writes to text.
func view[T Text](text T) string {
	switch t := any(text).(type) {
	case string:
		return t
	case []byte:
		return unsafe.String(unsafe.SliceData(t), len(t))
	}
	return string(text)
}
