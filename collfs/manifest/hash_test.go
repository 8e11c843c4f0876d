package manifest

import (
	"strings"
	"testing"
)

func TestPDHMatchesMeasuredVectors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "d41d8cd98f00b204e9800998ecf8427e+0"},
		{". " + foo + " 0:3:a\\040b\n", "3f22df006787a294150c0da98eb03933+48"},
		{". " + foo + sig + " 0:3:a\\040b\n", "3f22df006787a294150c0da98eb03933+48"},
		{". " + foo + "+Z+Kzzzzz" + sig + "+Rzzzzz-0@0 0:3:a\\040b\n", "3f22df006787a294150c0da98eb03933+48"},
		{"./d " + empty + " 0:0:\\056\n", "380a3f37bde45eeea19200845b8f5bec+48"},
	} {
		if got := PDH(c.text); got != c.want {
			t.Errorf("PDH(%q) = %s; want %s", c.text, got, c.want)
		}
		if got := PDH([]byte(c.text)); got != c.want {
			t.Errorf("PDH of bytes %q = %s; want %s", c.text, got, c.want)
		}
	}
}

func TestPDHOfRealManifestsIsTheServers(t *testing.T) {
	texts, pdhs := realManifests(t)
	for where, want := range pdhs {
		if got := PDH(texts[where]); got != want {
			t.Errorf("PDH of %s = %s; want %s", where, got, want)
		}
		if got := PDH(Strip(texts[where])); got != want {
			t.Errorf("PDH of stripped %s = %s; want %s", where, got, want)
		}
	}
}

func TestPDHIgnoresHowManyHintsThereAreInALargeManifest(t *testing.T) {
	var plain, signed strings.Builder
	for i := range 5000 {
		name := strings.Repeat("n", i%300+1)
		plain.WriteString(". " + foo + " " + bar + " 0:6:" + name + "\n")
		signed.WriteString(". " + foo + sig + " " + bar + "+Q" + sig + " 0:6:" + name + "\n")
	}
	if got, want := PDH(signed.String()), PDH(plain.String()); got != want {
		t.Errorf("PDH of the signed manifest = %s; want %s", got, want)
	}
}

func TestStripTakesOnlySignaturesOfLocators(t *testing.T) {
	named := foo + sig // as a name, where it is none
	text := ". " + foo + sig + " " + foo + "+Z" + sig + "+Kx " + bar + " 0:9:" + named + "\n./" + named + " " + bar + "+Rzzzzz-0@0 0:3:a\n"
	want := ". " + foo + " " + foo + "+Z+Kx " + bar + " 0:9:" + named + "\n./" + named + " " + bar + "+Rzzzzz-0@0 0:3:a\n"
	if got := Strip(text); got != want {
		t.Errorf("Strip(%q) = %q; want %q", text, got, want)
	}
	if got := Strip([]byte(text)); string(got) != want {
		t.Errorf("Strip of bytes = %q; want %q", got, want)
	}
}
