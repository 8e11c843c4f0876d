// Package token takes the tokens of a cluster apart. It knows two forms:
//
//	v2/<uuid>/<secret>[/<more>]   version 2
//	<secret>                      version 1: at least 41 of 0-9a-z
//
// A token is presented to a cluster exactly as it was given to us, for block
// signatures are made over its spelling. No error of this package carries a
// token.
package token

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Failures of Parse and Salt. Match them with errors.Is.
var (
	ErrBad     = errors.New("not a token")
	ErrSalted  = errors.New("token is salted for another cluster already")
	ErrVersion = errors.New("token of version 1 cannot be salted")
)

const (
	clusterLen = 5
	uuidLen    = 27
	saltedLen  = 2 * sha1.Size // of a secret that is a salted one
	minSecret1 = 41            // of a version 1 token
)

// A Token is a token taken apart. Its fields are secret, but for UUID.
type Token struct {
	UUID   string // of the token's record; "" in version 1
	Secret string
	More   string // what follows the secret in version 2, such as a container's UUID

	text string
}

// Parse takes a token apart. A text of neither form is ErrBad.
func Parse(s string) (Token, error) {
	rest, v2 := strings.CutPrefix(s, "v2/")
	if !v2 {
		if len(s) < minSecret1 || strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
			return Token{}, ErrBad
		}
		return Token{Secret: s, text: s}, nil
	}
	uuid, rest, _ := strings.Cut(rest, "/")
	secret, more, _ := strings.Cut(rest, "/")
	if !validUUID(uuid) || secret == "" || strings.ContainsFunc(s, unprintable) {
		return Token{}, ErrBad
	}
	return Token{UUID: uuid, Secret: secret, More: more, text: s}, nil
}

// Text returns the token as it was spelled.
func (t Token) Text() string { return t.text }

// String hides the secret, so that a token that strays into a log is harmless.
func (t Token) String() string {
	if t.UUID == "" {
		return "v1/…"
	}
	return "v2/" + t.UUID + "/…"
}

// GoString is String.
func (t Token) GoString() string { return t.String() }

// Cluster returns the id of the cluster that issued the token, "" if the token
// does not say.
func (t Token) Cluster() string {
	if t.UUID == "" {
		return ""
	}
	return t.UUID[:clusterLen]
}

// Salt returns what to present to a cluster instead of the token, so that it
// can ask the issuer about it but cannot use it elsewhere. To the issuer itself
// that is the token as it is.
func (t Token) Salt(cluster string) (string, error) {
	switch {
	case !validCluster(cluster):
		return "", fmt.Errorf("salt token: %q is no cluster id", cluster)
	case t.UUID == "":
		return "", ErrVersion
	case t.Cluster() == cluster:
		return t.text, nil
	case len(t.Secret) == saltedLen:
		return "", ErrSalted
	}
	mac := hmac.New(sha1.New, []byte(t.Secret))
	mac.Write([]byte(cluster))
	return "v2/" + t.UUID + "/" + hex.EncodeToString(mac.Sum(nil)), nil
}

func validUUID(s string) bool {
	return len(s) == uuidLen && validCluster(s[:clusterLen]) && s[clusterLen:clusterLen+7] == "-gj3su-" && alnum(s[clusterLen+7:])
}

func validCluster(s string) bool { return len(s) == clusterLen && alnum(s) }

func alnum(s string) bool { return strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyz") == "" }

func unprintable(r rune) bool { return r <= ' ' || r >= 0x7f }
