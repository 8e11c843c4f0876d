// Package signing makes and checks the permissions to read blocks that the
// Arvados API and the Keep service of one store share.
package signing

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"keepdav/keepio"
)

// TTL is how long a permission is good: Arvados' own setting of two weeks. It is
// part of what is signed, so another value ends all permissions given before. A
// block that was stored stays at least so long without being referred to.
const TTL = 14 * 24 * time.Hour

// A Signer signs locators for whoever presents a token, and checks such
// signatures. The token counts as it is spelled in the request. All methods may
// be called concurrently.
type Signer struct {
	key string
	ttl time.Duration
	now func() time.Time
}

// New returns the signer of the store that has this secret (sqlite.Meta.Secret).
func New(secret []byte) *Signer {
	return WithKey(hex.EncodeToString(derive(secret, "block signatures")), TTL)
}

// WithKey returns a signer for a key and a lifetime that are known elsewhere:
// Collections.BlobSigningKey and Collections.BlobSigningTTL of a cluster.
func WithKey(key string, ttl time.Duration) *Signer {
	return &Signer{key: key, ttl: ttl, now: time.Now}
}

// At is s with another clock.
func (s *Signer) At(now func() time.Time) *Signer {
	c := *s
	c.now = now
	return &c
}

// TTL is how long signatures of this signer are good.
func (s *Signer) TTL() time.Duration { return s.ttl }

// Sign returns loc with the permission to read it from now on, and replaces
// permissions that it had.
func (s *Signer) Sign(loc keepio.Locator, token string) keepio.Locator {
	return s.SignUntil(loc, token, time.Time{})
}

// SignUntil is Sign with a permission that ends at limit if that comes before the
// TTL is over: nobody can read a collection's blocks for longer than the
// collection is to exist. A zero limit is none.
func (s *Signer) SignUntil(loc keepio.Locator, token string, limit time.Time) keepio.Locator {
	expiry := s.now().Add(s.ttl)
	if !limit.IsZero() && limit.Before(expiry) {
		expiry = limit
	}
	return keepio.SignLocator(loc, s.key, token, expiry, s.ttl)
}

// Verify checks that loc carries a permission that was given to token and has not
// ended. The error matches keepio.ErrSignatureExpired or keepio.ErrSignatureInvalid.
func (s *Signer) Verify(loc keepio.Locator, token string) error {
	return keepio.VerifySignature(loc, s.key, token, s.now(), s.ttl)
}

// SystemToken is the token of the store itself, for services that look after all
// blocks: it is known to whoever may read the store's secret. cluster is the
// five characters that UUIDs of the store begin with.
func SystemToken(secret []byte, cluster string) string {
	return "v2/" + cluster + "-gj3su-000000000000000/" + hex.EncodeToString(derive(secret, "system token"))
}

// derive makes a key for one purpose, from which neither the secret nor other
// keys can be computed.
func derive(secret []byte, purpose string) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "keepdav "+purpose, sha256.Size)
	if err != nil {
		panic(fmt.Sprintf("signing: %v", err)) // the length is a constant that it can make
	}
	return key
}
