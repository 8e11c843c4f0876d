package signing

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"keepdav/keepio"
)

var (
	foo   = mustParse("acbd18db4cc2f85cedef654fccc4a4d8+3")
	start = time.Unix(1_800_000_000, 0)
)

func mustParse(s string) keepio.Locator {
	loc, err := keepio.ParseLocator(s)
	if err != nil {
		panic(err)
	}
	return loc
}

func at(s *Signer, t time.Time) *Signer {
	return s.At(func() time.Time { return t })
}

func TestAPermissionIsForOneTokenAndOneStoreAndEnds(t *testing.T) {
	secret := bytes.Repeat([]byte{1}, 32)
	s := at(New(secret), start)
	signed := s.Sign(foo, "v2/a/b")
	for _, c := range []struct {
		name  string
		s     *Signer
		loc   keepio.Locator
		token string
		want  error
	}{
		{"good", s, signed, "v2/a/b", nil},
		{"made again from the same secret", at(New(secret), start), signed, "v2/a/b", nil},
		{"in its last second", at(s, start.Add(TTL)), signed, "v2/a/b", nil},
		{"after it", at(s, start.Add(TTL+time.Second)), signed, "v2/a/b", keepio.ErrSignatureExpired},
		{"another token", s, signed, "v2/a/c", keepio.ErrSignatureInvalid},
		{"the same token spelled otherwise", s, signed, "b", keepio.ErrSignatureInvalid},
		{"another store", at(New(bytes.Repeat([]byte{2}, 32)), start), signed, "v2/a/b", keepio.ErrSignatureInvalid},
		{"unsigned", s, foo, "v2/a/b", keepio.ErrSignatureInvalid},
		{"another block", s, mustParse(strings.Replace(signed.String(), "a", "b", 1)), "v2/a/b", keepio.ErrSignatureInvalid},
	} {
		if err := c.s.Verify(c.loc, c.token); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: Verify = %v; want %v", c.name, err, c.want)
		}
	}
}

func TestAPermissionEndsNoLaterThanItsLimit(t *testing.T) {
	s := at(New(bytes.Repeat([]byte{1}, 32)), start)
	for _, c := range []struct {
		limit, want time.Time
	}{
		{time.Time{}, start.Add(TTL)},
		{start.Add(time.Hour), start.Add(time.Hour)},
		{start.Add(10 * TTL), start.Add(TTL)},
	} {
		if got, ok := s.SignUntil(foo, "t", c.limit).SignatureExpiry(); !ok || !got.Equal(c.want) {
			t.Errorf("SignUntil(%v) ends at %v; want %v", c.limit, got, c.want)
		}
	}
}

func TestASecretOfItsOwnForEachPurpose(t *testing.T) {
	secret := bytes.Repeat([]byte{1}, 32)
	token := SystemToken(secret, "zzzzz")
	if parts := strings.Split(token, "/"); len(parts) != 3 || parts[1] != "zzzzz-gj3su-000000000000000" || len(parts[2]) != 64 {
		t.Errorf("SystemToken has not the form of a token")
	}
	if strings.HasSuffix(token, New(secret).key) {
		t.Error("the system token is the signing key")
	}
	if token == SystemToken(bytes.Repeat([]byte{2}, 32), "zzzzz") {
		t.Error("two stores have the same system token")
	}
}
