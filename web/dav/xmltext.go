package dav

import "unicode/utf8"

// appendXMLText appends s as character data. Bytes that XML 1.0 cannot carry
// (most control characters, invalid UTF-8) become U+FFFD: one such name must not
// make a whole listing unreadable.
func appendXMLText(b []byte, s string) []byte { return appendXML(b, s, false) }

// appendXMLAttr appends s as the value of a double-quoted attribute.
func appendXMLAttr(b []byte, s string) []byte { return appendXML(b, s, true) }

func appendXML(b []byte, s string, attr bool) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '&' && c != '<' && c != '>' && c != '"' && c != 0x7f {
			i++
			continue
		}
		size, esc := 1, ""
		switch {
		case c == '&':
			esc = "&amp;"
		case c == '<':
			esc = "&lt;"
		case c == '>':
			esc = "&gt;"
		case c == '"' && attr:
			esc = "&#34;"
		case c == '"' || c == 0x7f:
		case c == '\r':
			esc = "&#13;"
		case c == '\n' || c == '\t':
			if attr {
				esc = "&#10;"
				if c == '\t' {
					esc = "&#9;"
				}
			}
		case c < 0x20:
			esc = "\ufffd"
		default:
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 || r == 0xfffe || r == 0xffff {
				esc = "\ufffd"
			}
		}
		if esc != "" {
			b = append(b, s[start:i]...)
			b = append(b, esc...)
			start = i + size
		}
		i += size
	}
	return append(b, s[start:]...)
}
