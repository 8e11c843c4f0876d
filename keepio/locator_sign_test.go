package keepio

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	exampleKey = "example-signing-key"
	twoWeeks   = 1209600 * time.Second
	// clusterKey and twoWeeks are the settings of the cluster that the fixtures come from.
	clusterKey = "zfhgfenhffzltr9dixws36j1yhksjoll2grmku38mi7yxd66h5j4q9w4jzanezacp8s6q0ro3hxakfye02152hncy6zml2ed0uc"
)

var exampleToken = "v2/zzzzz-gj3su-000000000000001/" + strings.Repeat("s", 50)

func mustParse(t *testing.T, s string) Locator {
	t.Helper()
	loc, err := ParseLocator(s)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestSignatureMatchesMeasuredVector(t *testing.T) {
	got := SignLocator(mustParse(t, fooHash+"+3"), exampleKey, exampleToken, time.Unix(0x7fffffff, 0), twoWeeks)
	if want := fooHash + "+3+A49b98d23751ac88a2c0450895611e8419269ec1d@7fffffff"; got.String() != want {
		t.Errorf("SignLocator = %q; want %q", got, want)
	}
}

func TestSigningReplacesOldSignaturesAndKeepsOtherHints(t *testing.T) {
	old := mustParse(t, fooHash+"+3"+signature+"+Zx"+signature)
	got := SignLocator(old, exampleKey, exampleToken, time.Unix(0x7fffffff, 0), twoWeeks)
	if want := fooHash + "+3+Zx+A49b98d23751ac88a2c0450895611e8419269ec1d@7fffffff"; got.String() != want {
		t.Errorf("SignLocator = %q; want %q", got, want)
	}
}

func TestSignatureIsBoundToKeyTokenBlockTTLAndTime(t *testing.T) {
	expiry := time.Unix(1_800_000_000, 0)
	good := SignLocator(mustParse(t, fooHash+"+3"), exampleKey, exampleToken, expiry, twoWeeks)
	if at, ok := good.SignatureExpiry(); !ok || !at.Equal(expiry) {
		t.Errorf("SignatureExpiry() = %v, %v; want %v", at, ok, expiry)
	}
	tail := strings.TrimPrefix(good.String(), fooHash+"+3")
	for _, c := range []struct {
		name, loc, key, token string
		now                   time.Time
		ttl                   time.Duration
		want                  error
	}{
		{"good", good.String(), exampleKey, exampleToken, expiry, twoWeeks, nil},
		{"size and hints are not signed", fooHash + "+4+Q" + tail + "+Z", exampleKey, exampleToken, expiry, twoWeeks, nil},
		{"expired", good.String(), exampleKey, exampleToken, expiry.Add(time.Second), twoWeeks, ErrSignatureExpired},
		{"other key", good.String(), "k", exampleToken, expiry, twoWeeks, ErrSignatureInvalid},
		{"other token", good.String(), exampleKey, exampleToken[:len(exampleToken)-1], expiry, twoWeeks, ErrSignatureInvalid},
		{"other ttl", good.String(), exampleKey, exampleToken, expiry, twoWeeks + time.Second, ErrSignatureInvalid},
		{"other block", "a" + strings.Repeat("b", 31) + "+3" + tail, exampleKey, exampleToken, expiry, twoWeeks, ErrSignatureInvalid},
		{"later expiry", strings.Replace(good.String(), "@6b", "@7b", 1), exampleKey, exampleToken, expiry, twoWeeks, ErrSignatureInvalid},
		{"none", fooHash + "+3", exampleKey, exampleToken, expiry, twoWeeks, ErrSignatureInvalid},
		{"short", fooHash + "+3+A00@7fffffff", exampleKey, exampleToken, expiry, twoWeeks, ErrSignatureInvalid},
		{"bare A", fooHash + "+3+A", exampleKey, exampleToken, expiry, twoWeeks, ErrSignatureInvalid},
		{"expiry not hex", strings.Replace(good.String(), "@6", "@Z", 1), exampleKey, exampleToken, expiry, twoWeeks, ErrSignatureInvalid},
	} {
		err := VerifySignature(mustParse(t, c.loc), c.key, c.token, c.now, c.ttl)
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: VerifySignature = %v; want %v", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "+A") {
			t.Errorf("%s: error shows the signature: %v", c.name, err)
		}
	}
}

// TestSignaturesOfARealClusterVerify recomputes each signature that the
// recorded cluster gave out, with the token of the request it answered.
func TestSignaturesOfARealClusterVerify(t *testing.T) {
	signed := regexp.MustCompile(`[0-9a-f]{32}\+[0-9]+\+A[0-9a-f]{40}@[0-9a-f]{8}`)
	for file, atLeast := range map[string]int{"keepstore.json": 2, "api-collections.json": 50} {
		text, err := os.ReadFile("testdata/arvados/" + file)
		if err != nil {
			t.Fatal(err)
		}
		var exchanges []struct {
			Request struct {
				Headers map[string]string
			}
			Response json.RawMessage
		}
		if err := json.Unmarshal(text, &exchanges); err != nil {
			t.Fatal(err)
		}
		n := 0
		for i, x := range exchanges {
			token := strings.TrimPrefix(x.Request.Headers["Authorization"], "Bearer ")
			for _, s := range signed.FindAllString(string(x.Response), -1) {
				n++
				if err := VerifySignature(mustParse(t, s), clusterKey, token, time.Unix(0, 0), twoWeeks); err != nil {
					t.Errorf("%s, exchange %d: %v", file, i, err)
				}
			}
		}
		if n < atLeast {
			t.Errorf("%s has %d signatures; want at least %d", file, n, atLeast)
		}
	}
}
