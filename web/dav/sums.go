package dav

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"strings"

	"keepdav/collfs"
)

// sums verifies the checksums that a client sent along. A nil *sums has none.
type sums struct {
	want []wantSum
}

type wantSum struct {
	name string
	sum  string // hex
	h    hash.Hash
}

// newSums reads OC-Checksum ("SHA1:hex") and Content-MD5. Algorithms that we
// don't know are ignored.
func newSums(h http.Header) (*sums, error) {
	s := new(sums)
	if v := h.Get("Content-MD5"); v != "" {
		raw, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(raw) != md5.Size {
			return nil, errBadHeader
		}
		s.want = append(s.want, wantSum{"MD5", hex.EncodeToString(raw), md5.New()})
	}
	for v := range strings.FieldsSeq(h.Get("OC-Checksum")) {
		name, sum, _ := strings.Cut(v, ":")
		w := wantSum{name: strings.ToUpper(name), sum: strings.ToLower(sum)}
		switch w.name {
		case "MD5":
			w.h = md5.New()
		case "SHA1":
			w.h = sha1.New()
		case "SHA256":
			w.h = sha256.New()
		default:
			continue
		}
		if len(s.want) == 4 {
			return nil, errBadHeader
		}
		s.want = append(s.want, w)
	}
	if len(s.want) == 0 {
		return nil, nil
	}
	return s, nil
}

func (s *sums) Write(p []byte) (int, error) {
	for _, w := range s.want {
		w.h.Write(p)
	}
	return len(p), nil
}

func (s *sums) check() error {
	if s == nil {
		return nil
	}
	for _, w := range s.want {
		if got := hex.EncodeToString(w.h.Sum(nil)); got != w.sum {
			return fail(http.StatusBadRequest, fmt.Errorf("the body's %s is %s, announced was %s", w.name, got, w.sum))
		}
	}
	return nil
}

// extra is the change of Attr.Extra: the sums that are about to be verified
// replace those of the old content.
func (s *sums) extra(old map[string]string) map[string]string {
	var x map[string]string
	set := func(k, v string) {
		if x == nil {
			x = map[string]string{}
		}
		x[k] = v
	}
	for k := range old {
		if strings.HasPrefix(k, collfs.ExtraSum) {
			set(k, "")
		}
	}
	if s != nil {
		for _, w := range s.want {
			if w.name == "MD5" || w.name == "SHA1" {
				set(collfs.ExtraSum+w.name, w.sum)
			}
		}
	}
	return x
}
