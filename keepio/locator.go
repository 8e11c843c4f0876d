package keepio

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// BlockSize is the most bytes a block may hold: 64 MiB.
const BlockSize = 64 << 20

// hashLen is the length of a locator's hash in hex digits.
const hashLen = 32

// EmptyLocator names the block without bytes.
var EmptyLocator = Locator{"d41d8cd98f00b204e9800998ecf8427e+0"}

// ErrBadLocator is the failure of a text that should name a block and does not.
var ErrBadLocator = errors.New("bad locator")

// A Locator names a block: the MD5 of its bytes, its size, and hints, of which
// +A (a permission signature) and +R (the same for another cluster) are secret.
//
//	acbd18db4cc2f85cedef654fccc4a4d8+3+A<signature>@<expiry>
//
// It comes from ParseLocator, MakeLocator or SignLocator, so one that is not
// the zero Locator is well formed. It keeps its text as it was spelled. Two
// locators of one block may differ in their hints; to know a block again,
// compare Hash or Bare.
type Locator struct{ text string }

// ParseLocator reads a locator: 32 lower-case hex digits, a size of at most
// BlockSize, then any number of hints. It keeps hints it does not know. The
// locator shares s's memory. A failure matches ErrBadLocator and quotes nothing
// beyond the hash.
func ParseLocator(s string) (Locator, error) {
	if len(s) < hashLen || !lowerHex(s[:hashLen]) {
		return Locator{}, fmt.Errorf("%w: no 32-digit hash", ErrBadLocator)
	}
	if fault := checkTail(s[hashLen:]); fault != "" {
		return Locator{}, fmt.Errorf("%w: %s: %s", ErrBadLocator, s[:hashLen], fault)
	}
	return Locator{s}, nil
}

// MakeLocator returns the locator, without hints, of a block with that MD5 and
// size. It panics if no block can have that size.
func MakeLocator(md5 [16]byte, size int64) Locator {
	if size < 0 || size > BlockSize {
		panic(fmt.Sprintf("keepio: no block has %d bytes", size))
	}
	b := make([]byte, 0, hashLen+1+len("67108864"))
	b = hex.AppendEncode(b, md5[:])
	b = append(b, '+')
	b = strconv.AppendInt(b, size, 10)
	return Locator{string(b)}
}

// IsZero reports whether l names no block at all.
func (l Locator) IsZero() bool { return l.text == "" }

// String returns the whole text with all hints. With a signature it is a
// secret: use Bare in errors and logs.
func (l Locator) String() string { return l.text }

// Bare returns hash+size. It is safe to show.
func (l Locator) Bare() string { return l.text[:l.bareLen()] }

// HashHex returns the hash as 32 hex digits.
func (l Locator) HashHex() string {
	if l.IsZero() {
		return ""
	}
	return l.text[:hashLen]
}

// Hash returns the MD5 of the block's bytes.
func (l Locator) Hash() (h [16]byte) {
	if l.IsZero() {
		return h
	}
	for i := range h {
		h[i] = hexValue[l.text[2*i]]<<4 | hexValue[l.text[2*i+1]]
	}
	return h
}

// Size returns the number of bytes in the block, from 0 to BlockSize.
func (l Locator) Size() int64 {
	if l.IsZero() {
		return 0
	}
	var n int64
	for i := hashLen + 1; i < len(l.text) && l.text[i] != '+'; i++ {
		n = n*10 + int64(l.text[i]-'0')
	}
	return n
}

// Signed reports whether l carries a permission signature (+A).
func (l Locator) Signed() bool { return l.signatureAt() >= 0 }

// Unsigned returns l without permission signatures (+A); other hints stay.
func (l Locator) Unsigned() Locator {
	at := l.signatureAt()
	if at < 0 {
		return l
	}
	if strings.IndexByte(l.text[at+1:], '+') < 0 { // the last hint, as Keep writes it
		return Locator{l.text[:at]}
	}
	kept := l.Bare()
	for hint := range l.hints() {
		if hint[0] != 'A' {
			kept += "+" + hint
		}
	}
	return Locator{kept}
}

// signatureAt is where l's first +A hint begins, or negative.
func (l Locator) signatureAt() int { return strings.Index(l.text, "+A") }

// bareLen is the length of l's hash+size.
func (l Locator) bareLen() int {
	if l.IsZero() {
		return 0
	}
	if i := strings.IndexByte(l.text[hashLen+1:], '+'); i >= 0 {
		return hashLen + 1 + i
	}
	return len(l.text)
}

// hints yields l's hints in order, each without its plus.
func (l Locator) hints() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		rest, more := strings.CutPrefix(l.text[l.bareLen():], "+")
		for more {
			var hint string
			if hint, rest, more = strings.Cut(rest, "+"); !yield(hint) {
				return
			}
		}
	}
}

// checkTail says what is wrong with what follows the hash, if anything.
func checkTail(s string) (fault string) {
	if len(s) < 2 || s[0] != '+' || s[1] < '0' || s[1] > '9' {
		return "no size"
	}
	size, i := 0, 1
	for ; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		if size = size*10 + int(s[i]-'0'); size > BlockSize {
			return "size above 64 MiB"
		}
	}
	for i < len(s) {
		if s[i] != '+' {
			return "stray byte after size or hint"
		}
		if i++; i == len(s) || s[i] < 'A' || s[i] > 'Z' {
			return "hint without a capital letter"
		}
		for i++; i < len(s) && hintByte[s[i]]; i++ {
		}
	}
	return ""
}

// lowerHex reports whether s has only the digits 0-9 and a-f.
func lowerHex(s string) bool {
	var v byte
	for i := 0; i < len(s); i++ {
		v |= hexValue[s[i]]
	}
	return v < 16
}

// hexValue maps the lower-case hex digits to their value, all else to 0xff.
var hexValue = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		t[c] = byte(i)
	}
	return t
}()

// hintByte tells which bytes may follow a hint's capital letter.
var hintByte = func() (t [256]bool) {
	for _, c := range []byte("-0123456789@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz") {
		t[c] = true
	}
	return t
}()
