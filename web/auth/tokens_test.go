package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keepdav/collfs"
)

func TestATokenIsFoundWhereverClientsPutIt(t *testing.T) {
	const v2 = "v2/zzzzz-gj3su-000000000000001/secret"
	for header, want := range map[string]string{
		"Bearer " + v2:      v2,
		"bearer  abc ":      "abc",
		"OAuth2 abc":        "abc",
		basic("ann", v2):    v2,
		basic("", "abc"):    "abc",
		basic("ann", "abc"): "abc",
		basic(v2, "x"):      v2,
		basic(v2, ""):       v2,
		basic("ann", ""):    "",
		"Basic !":           "",
		"Digest abc":        "",
		"Bearer":            "",
		"":                  "",
		"Basic " + base64.StdEncoding.EncodeToString([]byte("no colon")): "",
		"Bearer " + strings.Repeat("x", maxHeader):                       "",
	} {
		if got := TokenOf(header); got != want {
			t.Errorf("TokenOf(%.60q) = %q; want %q", header, got, want)
		}
	}
}

func TestABadTokenIsAskedAboutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		a := NewTokens(func(_ context.Context, token string) (collfs.User, time.Time, error) {
			asked++
			if token != "good" {
				return collfs.User{}, time.Time{}, fs.ErrNotExist
			}
			return collfs.User{Name: "ann"}, time.Time{}, nil
		}, time.Minute)
		addr := netip.MustParseAddr("192.0.2.1")
		for range 20 {
			if _, err := a.Check(t.Context(), "Bearer bad", addr); !errors.Is(err, ErrDenied) {
				t.Fatalf("a bad token: %v", err)
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times about one bad token", asked)
		}
		if u, err := a.Check(t.Context(), basic("any", "good"), addr); err != nil || u.Name != "ann" || asked != 2 {
			t.Errorf("a good token = %+v, %v", u, err)
		}
		time.Sleep(deniedFor + time.Second)
		if _, err := a.Check(t.Context(), "Bearer bad", addr); !errors.Is(err, ErrDenied) || asked != 3 {
			t.Errorf("later: %v, asked %d times", err, asked)
		}
	})
}

func TestGuessedTokensAreTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewTokens(func(context.Context, string) (collfs.User, time.Time, error) {
			return collfs.User{}, time.Time{}, fs.ErrNotExist
		}, 0)
		addr := netip.MustParseAddr("192.0.2.1")
		var many *TooManyError
		for i := range 2 * addrBurst {
			_, err := a.Check(t.Context(), "Bearer "+strings.Repeat("x", i+1), addr)
			if errors.As(err, &many) != (i >= addrBurst) {
				t.Fatalf("guess %d: %v", i, err)
			}
		}
	})
}
