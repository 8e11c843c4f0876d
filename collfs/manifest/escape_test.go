package manifest

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"keepdav/keepio"
)

func TestEscapeWritesWhatArvadosWrites(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"plain.txt", "plain.txt"},
		{"with space", `with\040space`},
		{"tab\there", `tab\011here`},
		{"new\nline", `new\012line`},
		{"colon:name", `colon\072name`},
		{`back\slash`, `back\134slash`},
		{"ctl\x00\x01\x1f\x7f", `ctl\000\001\037` + "\x7f"},
		{"ünïcødé/日本語", "ünïcødé/日本語"},
		{"nb\u00a0sp", `nb\302\240sp`},
		{"\u2028\u3000x", `\342\200\250\343\200\200x`},
		{"bad\xff\xc3(", `bad\377\303(`},
		{"", ""},
	} {
		if got := Escape(c.name); got != c.want {
			t.Errorf("Escape(%q) = %q; want %q", c.name, got, c.want)
		}
		if got, err := Unescape(c.want); err != nil || got != c.name {
			t.Errorf("Unescape(%q) = %q, %v; want %q", c.want, got, err, c.name)
		}
	}
}

func TestUnescapeRefusesWhatEndsATokenAndBrokenEscapes(t *testing.T) {
	for _, s := range []string{`\`, `a\`, `\1`, `\12`, `\128`, `\400`, `\888`, `\x41`, "a b", "a\tb", "a\nb", "\\040\r"} {
		if got, err := Unescape(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("Unescape(%q) = %q, %v; want ErrMalformed", s, got, err)
		}
	}
	if got, err := Unescape(`\\\\040\134057/\057`); err != nil || got != `\\040\057//` {
		t.Errorf("Unescape = %q, %v", got, err)
	}
}

// everyName returns names that have, together, each byte in each position.
func everyName() (names []string) {
	for c := range 256 {
		for _, name := range []string{"a" + string([]byte{byte(c)}), string([]byte{byte(c)}) + "a", "a" + string([]byte{byte(c)}) + "\u00e9", string([]byte{byte(c)})} {
			if checkPath(name) == "" && !strings.Contains(name, "/") {
				names = append(names, name)
			}
		}
	}
	return names
}

func TestNamesWithEveryByteRoundTrip(t *testing.T) {
	loc, err := keepio.ParseLocator(foo)
	if err != nil {
		t.Fatal(err)
	}
	names := everyName()
	if len(names) < 1000 {
		t.Fatalf("only %d names", len(names))
	}
	for _, name := range names {
		var out bytes.Buffer
		w := NewWriter(&out)
		if err := errors.Join(w.Dir(name), w.File(name, []Segment{{loc, 0, 3}}), w.Close()); err != nil {
			t.Errorf("name %q: %v", name, err)
			continue
		}
		if !utf8.Valid(out.Bytes()) {
			t.Errorf("manifest with the name %q is not UTF-8: %q", name, out.Bytes())
		}
		m, err := Parse(out.Bytes())
		if err != nil || m.Streams[0].Dir() != name || m.Streams[0].Files[0].Name != name {
			t.Errorf("name %q came back as %+v, %v", name, m, err)
		}
	}
}
