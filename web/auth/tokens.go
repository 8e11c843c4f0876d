package auth

import (
	"context"
	"encoding/base64"
	"io/fs"
	"strings"
	"time"

	"keepdav/collfs"
)

// deniedFor is how long a token that was found bad is bad without asking again.
const deniedFor = 10 * time.Second

// NewTokens returns an Authenticator for who has tokens and no passwords: TokenOf says
// where in a header they are, and lookup, like Accounts.LookupToken, whose they are. A
// token that is not good is remembered for a moment, so that somebody who repeats it
// does not keep lookup busy.
func NewTokens(lookup func(ctx context.Context, token string) (collfs.User, time.Time, error), ttl time.Duration) *Authenticator {
	a := New(onlyTokens(lookup), ttl)
	a.denied = map[[32]byte]time.Time{}
	a.parse = func(header string) (credentials, bool) {
		token := TokenOf(header)
		return credentials{token: token}, token != ""
	}
	return a
}

// onlyTokens are accounts without passwords.
type onlyTokens func(ctx context.Context, token string) (collfs.User, time.Time, error)

func (onlyTokens) PasswordHash(context.Context, string) (collfs.User, string, error) {
	return collfs.User{}, "", fs.ErrNotExist
}

func (f onlyTokens) LookupToken(ctx context.Context, token string) (collfs.User, time.Time, error) {
	return f(ctx, token)
}

// TokenOf returns the token in an Authorization header: that of Bearer or OAuth2, the
// password of Basic, whatever its form, or the name if that is a token of version 2.
// "" if there is none.
func TokenOf(header string) string {
	scheme, rest, _ := strings.Cut(header, " ")
	rest = strings.Trim(rest, " ")
	switch {
	case len(header) > maxHeader:
		return ""
	case strings.EqualFold(scheme, "Bearer"), strings.EqualFold(scheme, "OAuth2"):
		return rest
	case !strings.EqualFold(scheme, "Basic"):
		return ""
	}
	raw, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return ""
	}
	name, password, ok := strings.Cut(string(raw), ":")
	switch {
	case ok && !isToken(password) && isToken(name):
		return name
	case ok:
		return password
	}
	return ""
}

// rememberBadLocked notes that what key stands for is not good. a.mu must be held.
func (a *Authenticator) rememberBadLocked(key [32]byte) {
	if a.denied == nil {
		return
	}
	now := time.Now()
	if len(a.denied) >= maxVerified {
		for k, until := range a.denied {
			if now.After(until) {
				delete(a.denied, k)
			}
		}
		if len(a.denied) >= maxVerified {
			clear(a.denied)
		}
	}
	a.denied[key] = now.Add(deniedFor)
}
