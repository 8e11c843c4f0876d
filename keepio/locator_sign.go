package keepio

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// What VerifySignature finds wrong. Keep answers 401 to the first and 400 to
// the second.
var (
	ErrSignatureExpired = errors.New("signature expired")
	ErrSignatureInvalid = errors.New("signature missing or wrong")
)

// A signature hint is A, 40 hex digits of HMAC-SHA1, @, 8 hex digits of Unix
// time at which it expires.
const (
	macLen    = 2 * sha1.Size
	expiryLen = 8
)

// SignLocator returns loc with a permission to read the block until expiry, for
// whoever presents token; it replaces permissions that loc had. The block's hash
// alone is signed: size and other hints are not. ttl is the cluster's setting, of which
// whole seconds count; a signature is good only where it is the same.
func SignLocator(loc Locator, key, token string, expiry time.Time, ttl time.Duration) Locator {
	stamp := fmt.Sprintf("%08x", min(max(expiry.Unix(), 0), math.MaxUint32)) // what eight digits hold
	mac := signatureOf(loc, key, token, stamp, ttl)
	return Locator{loc.Unsigned().text + "+A" + mac + "@" + stamp}
}

// VerifySignature checks that loc carries a permission to read its block, made
// by SignLocator with the same key, token and ttl and not expired at now. The
// error matches ErrSignatureExpired or ErrSignatureInvalid.
func VerifySignature(loc Locator, key, token string, now time.Time, ttl time.Duration) error {
	mac, stamp, ok := splitSignature(loc.signature())
	if !ok {
		return fmt.Errorf("block %s: %w", loc.Bare(), ErrSignatureInvalid)
	}
	if expiry, _ := loc.SignatureExpiry(); expiry.Unix() < now.Unix() {
		return fmt.Errorf("block %s: %w", loc.Bare(), ErrSignatureExpired)
	}
	if !hmac.Equal([]byte(mac), []byte(signatureOf(loc, key, token, stamp, ttl))) {
		return fmt.Errorf("block %s: %w", loc.Bare(), ErrSignatureInvalid)
	}
	return nil
}

// SignatureExpiry returns when l's permission signature stops being good; ok is
// false if l has none, or one that cannot be read.
func (l Locator) SignatureExpiry() (expiry time.Time, ok bool) {
	_, stamp, ok := splitSignature(l.signature())
	if !ok {
		return time.Time{}, false
	}
	sec, err := strconv.ParseInt(stamp, 16, 64)
	return time.Unix(sec, 0), err == nil
}

// signature returns l's first +A hint, without the plus, or "".
func (l Locator) signature() string {
	at := l.signatureAt()
	if at < 0 {
		return ""
	}
	hint, _, _ := strings.Cut(l.text[at+1:], "+")
	return hint
}

// splitSignature takes a +A hint apart; ok means that it has the right form.
func splitSignature(hint string) (mac, stamp string, ok bool) {
	if len(hint) != 1+macLen+1+expiryLen {
		return "", "", false
	}
	mac, stamp, found := strings.Cut(hint[1:], "@")
	return mac, stamp, found && len(mac) == macLen && lowerHex(mac) && lowerHex(stamp)
}

// signatureOf computes the hex signature of loc's hash.
func signatureOf(loc Locator, key, token, stamp string, ttl time.Duration) string {
	h := hmac.New(sha1.New, []byte(key))
	fmt.Fprintf(h, "%s@%s@%s@%x", loc.HashHex(), token, stamp, int64(ttl/time.Second))
	return hex.EncodeToString(h.Sum(nil))
}
