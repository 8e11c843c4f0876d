package token

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

var (
	secret = strings.Repeat("s", 50)
	v2     = "v2/zzzzz-gj3su-000000000000001/" + secret
)

func TestParseKnowsBothForms(t *testing.T) {
	for _, c := range []struct{ text, uuid, secret, more string }{
		{v2, "zzzzz-gj3su-000000000000001", secret, ""},
		{v2 + "/zzzzz-dz642-000000000000001", "zzzzz-gj3su-000000000000001", secret, "zzzzz-dz642-000000000000001"},
		{secret, "", secret, ""},
		{"v2/zzzzz-gj3su-000000000000001/short", "zzzzz-gj3su-000000000000001", "short", ""},
	} {
		got, err := Parse(c.text)
		if err != nil || got.UUID != c.uuid || got.Secret != c.secret || got.More != c.more || got.Text() != c.text {
			t.Errorf("Parse of %s = uuid %q, %v", c.uuid, got.UUID, err)
		}
	}
}

func TestParseRefusesOtherTextWithoutQuotingIt(t *testing.T) {
	for _, s := range []string{"", "bogus-secret", strings.Repeat("s", 40), strings.Repeat("S", 50), "v2/", "v2/x/" + secret,
		"v2/zzzzz-gj3su-000000000000001/", "v2/zzzzz-gj3su-000000000000001", "v2/zzzzz-4zz18-000000000000001/" + secret, v2 + "\n", v2 + "\r\nX: y"} {
		_, err := Parse(s)
		if !errors.Is(err, ErrBad) {
			t.Errorf("Parse(%q) = %v; want ErrBad", s, err)
		} else if len(s) > 3 && strings.Contains(err.Error(), s) {
			t.Errorf("Parse(%q) quotes it: %v", s, err)
		}
	}
}

func TestSaltMatchesMeasuredVector(t *testing.T) {
	tok, err := Parse(v2)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tok.Salt("xxxxx")
	if want := "v2/zzzzz-gj3su-000000000000001/03effb252f073a76d3adcde7b9c339b47cb13339"; got != want || err != nil {
		t.Errorf("Salt(xxxxx) = %q, %v; want %q", got, err, want)
	}
	if got, err := tok.Salt("zzzzz"); got != v2 || err != nil {
		t.Errorf("Salt for the issuer = %q, %v; want the token itself", got, err)
	}
	again, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Salt("yyyyy"); !errors.Is(err, ErrSalted) {
		t.Errorf("Salt of a salted token: %v; want ErrSalted", err)
	}
	if tok, _ := Parse(secret); true {
		if _, err := tok.Salt("xxxxx"); !errors.Is(err, ErrVersion) {
			t.Errorf("Salt of a version 1 token: %v; want ErrVersion", err)
		}
	}
	if _, err := tok.Salt("x"); err == nil {
		t.Error("Salt(x) succeeded")
	}
}

func TestPrintingATokenShowsNoSecret(t *testing.T) {
	for _, text := range []string{v2, secret} {
		tok, _ := Parse(text)
		for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(form, tok); strings.Contains(s, "sss") {
				t.Errorf("Sprintf(%q) shows the secret: %s", form, s)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(v2)
	f.Add(secret)
	f.Add("v2/zzzzz-gj3su-000000000000001/x/y/z")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := Parse(s)
		if err != nil {
			return
		}
		if tok.Text() != s {
			t.Errorf("Text of %q = %q", s, tok.Text())
		}
		if salted, err := tok.Salt("abcde"); err == nil {
			if _, err := Parse(salted); err != nil {
				t.Errorf("Salt of %q cannot be parsed", s)
			}
		}
	})
}
