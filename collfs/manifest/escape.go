package manifest

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape returns a name as it stands in a manifest: each byte that may not
// stand there for itself becomes a backslash and three octal digits. Those are
// the bytes up to the space, colon, backslash, white space beyond ASCII, and
// whatever is not UTF-8. Slashes stay; "." and ".." are not made safe.
func Escape(name string) string {
	if clean(name) {
		return name
	}
	return string(AppendEscaped(nil, name))
}

// AppendEscaped appends Escape(name) to buf.
func AppendEscaped(buf []byte, name string) []byte {
	from := 0 // name[from:i] stands for itself
	for i := 0; i < len(name); {
		if c := name[i]; c < utf8.RuneSelf {
			if c > ' ' && c != ':' && c != '\\' {
				i++
				continue
			}
			buf = append(buf, name[from:i]...)
			buf = appendOctal(buf, c)
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && n == 1 || unicode.IsSpace(r) {
			buf = append(buf, name[from:i]...)
			for _, c := range []byte(name[i : i+n]) {
				buf = appendOctal(buf, c)
			}
			from = i + n
		}
		i += n
	}
	return append(buf, name[from:]...)
}

// clean reports whether name is ASCII and needs no escapes.
func clean(name string) bool {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c == ':' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func appendOctal(buf []byte, c byte) []byte {
	return append(buf, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
}

// Unescape returns the name that stands in a manifest as s. It fails, with
// ErrMalformed, on an escape that is neither a backslash and three octal digits up to
// 377 nor two backslashes, and on white space, which ends a token.
func Unescape(s string) (string, error) {
	name, fault := unescape(s)
	if fault == "" && strings.IndexByte(s, ' ') >= 0 {
		fault = badSpace
	}
	if fault != "" {
		return "", fmt.Errorf("%w: %s", ErrMalformed, fault)
	}
	return name, nil
}

const badSpace = "white space that is not escaped"

// unescape undoes the escapes of a token (or part of one) without spaces.
func unescape(s string) (name, fault string) {
	i := 0
	for i < len(s) && (plain[s[i]] || s[i] == '/') {
		i++
	}
	if i == len(s) {
		return s, ""
	}
	var buf strings.Builder
	buf.Grow(len(s))
	for from := 0; ; i++ {
		switch {
		case i == len(s):
			buf.WriteString(s[from:])
			return buf.String(), ""
		case s[i] == '\\':
			buf.WriteString(s[from:i])
			c, n := octal(s[i+1:])
			if n == 0 {
				return "", "bad escape"
			}
			buf.WriteByte(c)
			i += n
			from = i + 1
		case !plain[s[i]] && s[i] != '/':
			return "", badSpace
		}
	}
}

// octal reads what follows a backslash: the byte it stands for and how many
// bytes it takes, 0 if it is wrong.
func octal(s string) (c byte, n int) {
	if s != "" && s[0] == '\\' {
		return '\\', 1
	}
	if len(s) < 3 || s[0] < '0' || s[0] > '3' || s[1] < '0' || s[1] > '7' || s[2] < '0' || s[2] > '7' {
		return 0, 0
	}
	return (s[0]-'0')<<6 | (s[1]-'0')<<3 | (s[2] - '0'), 3
}

// plain tells the bytes that stand for themselves in a name and end nothing:
// all but ASCII white space, backslash and slash.
var plain = func() (t [256]bool) {
	for i := range t {
		t[i] = true
	}
	for _, c := range []byte(" \t\n\v\f\r\\/") {
		t[c] = false
	}
	return t
}()
