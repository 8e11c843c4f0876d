package keepio

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

const (
	fooHash   = "acbd18db4cc2f85cedef654fccc4a4d8"
	signature = "+A9331cbe9db468d01b45b80e212cf83b8726142b3@6b15161e"
)

func TestLocatorPartsAreWhatTheTextSays(t *testing.T) {
	for _, c := range []struct {
		text   string
		size   int64
		bare   string
		signed bool
		plain  string // without +A
	}{
		{fooHash + "+3", 3, fooHash + "+3", false, fooHash + "+3"},
		{fooHash + "+67108864", BlockSize, fooHash + "+67108864", false, fooHash + "+67108864"},
		{fooHash + "+003", 3, fooHash + "+003", false, fooHash + "+003"},
		{fooHash + "+3" + signature, 3, fooHash + "+3", true, fooHash + "+3"},
		{fooHash + "+3+Z" + signature + "+K@xxxxx", 3, fooHash + "+3", true, fooHash + "+3+Z+K@xxxxx"},
		{fooHash + "+3" + signature + "+Q" + signature, 3, fooHash + "+3", true, fooHash + "+3+Q"},
		{fooHash + "+3+Rzzzzz-00@7f+Q-_@9", 3, fooHash + "+3", false, fooHash + "+3+Rzzzzz-00@7f+Q-_@9"},
		{"d41d8cd98f00b204e9800998ecf8427e+0", 0, EmptyLocator.Bare(), false, EmptyLocator.String()},
	} {
		loc, err := ParseLocator(c.text)
		if err != nil {
			t.Errorf("ParseLocator(%q): %v", c.text, err)
			continue
		}
		h := loc.Hash()
		if loc.String() != c.text || loc.Size() != c.size || loc.Bare() != c.bare ||
			loc.Signed() != c.signed || loc.Unsigned().String() != c.plain ||
			loc.HashHex() != c.text[:32] || hex.EncodeToString(h[:]) != c.text[:32] {
			t.Errorf("ParseLocator(%q) = text %q, size %d, bare %q, signed %v, unsigned %q, hash %s, %x; want %+v",
				c.text, loc, loc.Size(), loc.Bare(), loc.Signed(), loc.Unsigned(), loc.HashHex(), h, c)
		}
	}
}

func TestMalformedLocatorsAreRefused(t *testing.T) {
	for _, s := range []string{
		"", "x", fooHash, fooHash + "+", fooHash + "+x", fooHash + "+-1", fooHash + "3",
		strings.ToUpper(fooHash) + "+3", fooHash[1:] + "+3", "g" + fooHash[1:] + "+3",
		fooHash + "+67108865", fooHash + "+99999999999999999999999999",
		fooHash + "+3+", fooHash + "+3++A", fooHash + "+3+Z+", fooHash + "+Z+3", fooHash + "+3+4",
		fooHash + "+3+a", fooHash + "+3+A:", fooHash + "+3 ", " " + fooHash + "+3", fooHash + "+3\n",
		fooHash + "+3+Aé", fooHash + "+0x3",
	} {
		if loc, err := ParseLocator(s); !errors.Is(err, ErrBadLocator) || !loc.IsZero() {
			t.Errorf("ParseLocator(%q) = %q, %v; want ErrBadLocator", s, loc, err)
		}
	}
}

func TestLocatorErrorsKeepSignaturesToThemselves(t *testing.T) {
	for _, s := range []string{fooHash + "+3" + signature + "+", "x" + fooHash + "+3" + signature, fooHash + signature} {
		if _, err := ParseLocator(s); err == nil || strings.Contains(err.Error(), "9331cbe9") {
			t.Errorf("ParseLocator(%q) error = %v; want one without the signature", s, err)
		}
	}
}

func TestMakeLocatorNamesTheBlock(t *testing.T) {
	loc := MakeLocator(md5.Sum([]byte("foo")), 3)
	if loc.String() != fooHash+"+3" || loc.Hash() != md5.Sum([]byte("foo")) {
		t.Errorf("MakeLocator(foo) = %q", loc)
	}
	if got := MakeLocator(md5.Sum(nil), 0); got != EmptyLocator {
		t.Errorf("MakeLocator of nothing = %q; want %q", got, EmptyLocator)
	}
	for _, size := range []int64{-1, BlockSize + 1} {
		func() {
			defer func() { _ = recover() }()
			MakeLocator([16]byte{}, size)
			t.Errorf("MakeLocator accepts %d bytes", size)
		}()
	}
}

func TestZeroLocatorIsHarmless(t *testing.T) {
	var l Locator
	if !l.IsZero() || l.Signed() || l.Size() != 0 || l.Hash() != [16]byte{} ||
		l.HashHex()+l.Bare()+l.String()+l.Unsigned().String() != "" {
		t.Errorf("zero Locator has parts: %+v", l)
	}
}

func FuzzParseLocator(f *testing.F) {
	for _, s := range []string{"", fooHash + "+3", fooHash + "+3" + signature + "+Q", fooHash + "+3+", fooHash} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		loc, err := ParseLocator(s)
		if err != nil {
			if len(err.Error()) > 120 {
				t.Errorf("long error %q", err)
			}
			return
		}
		if loc.String() != s || loc.Size() < 0 || loc.Size() > BlockSize || !strings.HasPrefix(s, loc.Bare()) {
			t.Errorf("ParseLocator(%q) = %q, size %d, bare %q", s, loc, loc.Size(), loc.Bare())
		}
		for _, l := range []string{loc.Bare(), loc.Unsigned().String()} {
			again, err := ParseLocator(l)
			if err != nil || again.Signed() || again.Hash() != loc.Hash() || again.Size() != loc.Size() {
				t.Errorf("ParseLocator(%q) = %q, %v; want the block of %q, unsigned", l, again, err, s)
			}
		}
	})
}

func BenchmarkParseLocator(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseLocator(fooHash + "+3" + signature); err != nil {
			b.Fatal(err)
		}
	}
}
