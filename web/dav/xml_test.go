package dav

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestNamespacesDoNotMultiplyABody(t *testing.T) {
	long := strings.Repeat("u", 100<<10)
	var declared, used strings.Builder
	for i := range maxBindings + 1 {
		fmt.Fprintf(&declared, ` xmlns:p%d="u"`, i)
		fmt.Fprintf(&used, `<p%d:a/>`, i)
	}
	patch := func(attrs, kind, props string) error {
		_, err := ParseProppatch(strings.NewReader(`<D:propertyupdate xmlns:D="DAV:" xmlns:x="` + long + `"` + attrs + `><D:` + kind + `><D:prop>` + props + `</D:prop></D:` + kind + `></D:propertyupdate>`))
		return err
	}
	include := strings.Repeat(`<D:include><x:a/></D:include>`, maxXMLProps)
	_, includes := ParsePropfind(strings.NewReader(`<D:propfind xmlns:D="DAV:" xmlns:x="` + long[:maxXMLNames/2] + `"><D:allprop/>` + include + `</D:propfind>`))
	for what, err := range map[string]error{
		"values that repeat a namespace":      patch("", "set", strings.Repeat("<a><x:b/></a>", maxXMLProps)),
		"names that repeat a namespace":       patch("", "set", strings.Repeat("<x:b/>", maxXMLProps)),
		"names to remove":                     patch("", "remove", strings.Repeat("<x:b/>", maxXMLProps)),
		"more prefixes than anybody declares": patch(declared.String(), "set", used.String()),
		"names in many includes":              includes,
	} {
		if !errors.Is(err, errXMLSize) {
			t.Errorf("%s: %v; want errXMLSize", what, err)
		}
	}
	if err := patch("", "set", "<a><x:b/></a><x:c/>"); err != nil {
		t.Errorf("a body with a long namespace: %v", err)
	}
}

func TestWhatStrictReadersRefuseIsNotStored(t *testing.T) {
	for _, value := range []string{
		`<a><b x="1" x="2"/></a>`, `<a><b xmlns:p="u" xmlns:q="u" p:x="1" q:x="2"/></a>`, `<a><b xmlns:p="u" xmlns:p="v"/></a>`, `<a><b xmlns="u" xmlns="v"/></a>`,
		`<p:1a xmlns:p="u"/>`, `<a><p:1a xmlns:p="u"/></a>`, `<a><p:-a xmlns:p="u"/></a>`, `<a><b xmlns:1p="u"/></a>`, `<a><b xmlns:p="u" p:1="x"/></a>`, `<a>&#1;</a>`, `<a><!-- -- --></a>`,
	} {
		if _, err := ParseProppatch(strings.NewReader(`<propertyupdate xmlns="DAV:"><set><prop>` + value + `</prop></set></propertyupdate>`)); !errors.Is(err, errXML) {
			t.Errorf("%s: %v; want errXML", value, err)
		}
	}
	const good = `<_a><p:b xmlns:p="u" xmlns:q="v" p:x="1" q:x="2" x="3">ü</p:b><über/></_a>`
	if _, err := ParseProppatch(strings.NewReader(`<propertyupdate xmlns="DAV:"><set><prop>` + good + `</prop></set></propertyupdate>`)); err != nil {
		t.Errorf("%s: %v", good, err)
	}
}

func TestPropfindBodies(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, `{0 []}`},
		{`<?xml version="1.0"?><propfind xmlns="DAV:"><allprop/></propfind>`, `{0 []}`},
		{`<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>`, `{1 []}`},
		{`<a:propfind xmlns:a="DAV:"><a:prop><a:x/><y xmlns="urn:q"/><z/></a:prop></a:propfind>`, `{2 [{DAV: x} {urn:q y} { z}]}`},
		{`<propfind xmlns="DAV:"><allprop/><include><supportedlock/></include></propfind>`, `{0 [{DAV: supportedlock}]}`},
		{`<propfind xmlns="DAV:"><prop><a><nested/></a></prop><ext xmlns="x"/></propfind>`, `{2 [{DAV: a}]}`},
		{`<propfind xmlns="DAV:"><prop/></propfind>`, `{2 []}`},
		{"\ufeff<?xml version='1.0' encoding='utf-8'?><propfind xmlns='DAV:'><propname/></propfind>", `{1 []}`},
		{" <?xml version='1.0'?><propfind xmlns='DAV:'><propname/></propfind>", "400"},
		{"<?xml version='1.1'?><propfind xmlns='DAV:'><propname/></propfind>", "400"},
		{`<propfind xmlns="DAV:"` + strings.Repeat(" a", maxXMLAttrs) + `><propname/></propfind>`, "400"},
		{`<propfind xmlns="DAV:"` + attributes(maxXMLAttrs) + `><propname/></propfind>`, "413"},
		{"\ufeff<propfind xmlns='DAV:'><propname/></propfind>\n<!-- end -->\n", `{1 []}`},
		{`<propfind xmlns="DAV:"/>`, "400"},
		{`<propfind xmlns="DAV:"><prop/><allprop/></propfind>`, "400"},
		{`<propfind xmlns="DAV:"><prop/><include/></propfind>`, "400"},
		{`<propfind><allprop/></propfind>`, "400"},
		{`<foo xmlns="DAV:"/>`, "400"},
		{`<propfind xmlns="DAV:"><allprop>`, "400"},
		{`<propfind xmlns="DAV:"><allprop/></propfin>`, "400"},
		{`<propfind xmlns="DAV:"><allprop/></propfind><x/>`, "400"},
		{`<propfind xmlns="DAV:"><allprop/></propfind>text`, "400"},
		{`<D:propfind xmlns:D="DAV:"><D:prop><bar:foo xmlns:bar=""/></D:prop></D:propfind>`, "400"},
		{`<D:propfind xmlns:D="DAV:"><D:prop><undeclared:foo/></D:prop></D:propfind>`, "400"},
		{`<!DOCTYPE x [<!ENTITY a "b">]><propfind xmlns="DAV:"><allprop/></propfind>`, "400"},
		{`<propfind xmlns="DAV:"><prop>&lol;</prop></propfind>`, "400"},
		{`<propfind xmlns="DAV:"><prop><xml:a/></prop></propfind>`, "400"},
		{`<propfind xmlns="DAV:"><prop><x:a xmlns:x="http://www.w3.org/XML/1998/namespace"/></prop></propfind>`, "400"},
		{`<propfind xmlns="DAV:"><prop><a xmlns="http://www.w3.org/2000/xmlns/"/></prop></propfind>`, "400"},
		{`<propfind xmlns="DAV:"><prop><x:a xmlns:x="` + strings.Repeat("u", maxXMLNames) + `"/></prop></propfind>`, "413"},
		{`<?evil?><propfind xmlns="DAV:"><allprop/></propfind>`, "400"},
		{`<propfind xmlns="DAV:"><?evil?><allprop/></propfind>`, "400"},
		{`<?xml version="1.0" encoding="utf-16"?><propfind xmlns="DAV:"><allprop/></propfind>`, "400"},
		{`not xml`, "400"},
		{`<propfind xmlns="DAV:"><prop>` + strings.Repeat("<a>", 200) + strings.Repeat("</a>", 200) + `</prop></propfind>`, "400"},
		{`<propfind xmlns="DAV:"><prop>` + strings.Repeat("<a/>", maxXMLProps+1) + `</prop></propfind>`, "413"},
		{`<propfind xmlns="DAV:"><prop>` + strings.Repeat(" ", maxXMLBody) + `</prop></propfind>`, "413"},
	} {
		pf, err := ParsePropfind(strings.NewReader(c.in))
		got := fmt.Sprint(pf)
		if err != nil {
			got = fmt.Sprint(Status(err))
		}
		if got != c.want {
			t.Errorf("ParsePropfind(%.90s) = %s (%v); want %s", c.in, got, err, c.want)
		}
	}
	if _, err := ParsePropfind(io.MultiReader(strings.NewReader("<a"), errReader{})); !errors.Is(err, errBroken) {
		t.Errorf("a broken body gives %v", err)
	}
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d=''", i)
	}
	return b.String()
}

var errBroken = errors.New("broken")

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errBroken }

func TestProppatchKeepsWhatClientsWrite(t *testing.T) {
	const head = `<D:propertyupdate xmlns:D="DAV:" xmlns:z="urn:z" xml:lang="en">`
	for _, c := range []struct{ in, want string }{
		{`<D:set><D:prop><z:a>v</z:a></D:prop></D:set>`, `set {urn:z}a en "v"`},
		{`<D:set><D:prop><a xmlns="">v</a></D:prop></D:set>`, `set {}a en "v"`},
		{`<D:set><D:prop><z:a/></D:prop></D:set><D:remove><D:prop><z:b>x</z:b></D:prop></D:remove>`, `set {urn:z}a en ""; remove {urn:z}b  ""`},
		{`<D:set><D:prop xml:lang="de"><z:a xml:lang="fr">v</z:a><z:b/></D:prop></D:set>`, `set {urn:z}a fr "v"; set {urn:z}b de ""`},
		{`<D:set><D:prop><z:a><z:b q="1&lt;2">t &amp; u</z:b><!--c--></z:a></D:prop></D:set>`,
			`set {urn:z}a en "<z:b xmlns:z=\"urn:z\" q=\"1&lt;2\">t &amp; u</z:b><!--c-->"`},
		{`<D:set><D:prop><z:a><b xmlns="urn:b"><c/></b><d/></z:a></D:prop></D:set>`,
			`set {urn:z}a en "<b xmlns=\"urn:b\"><c></c></b><d></d>"`},
		{`<D:set><D:prop><z:a><x:b xmlns:x="u1"><x:c xmlns:x="u2"/><x:d z:k="v"/></x:b></z:a></D:prop></D:set>`,
			`set {urn:z}a en "<x:b xmlns:x=\"u1\"><x:c xmlns:x=\"u2\"></x:c><x:d xmlns:z=\"urn:z\" z:k=\"v\"></x:d></x:b>"`},
		{`<D:set><D:prop><z:a><![CDATA[<raw>&]]></z:a></D:prop></D:set>`, `set {urn:z}a en "&lt;raw&gt;&amp;"`},
		{`<D:set><D:prop><z:a>&#x10000;&#13; x</z:a></D:prop></D:set>`, "set {urn:z}a en \"\U00010000&#13; x\""},
		{`<ext xmlns="q"><D:prop/></ext><D:set><D:prop><z:a>1</z:a></D:prop></D:set>`, `set {urn:z}a en "1"`},
		{``, "400"},
		{`<D:set><D:prop/></D:set>`, "400"},
		{`<D:set><D:prop><z:a></D:prop></D:set>`, "400"},
		{`<D:set><D:prop><z:a><?php?></z:a></D:prop></D:set>`, "400"},
		{`<D:set><D:prop><z:a b:c="1"/></D:prop></D:set>`, "400"},
	} {
		ps, err := ParseProppatch(strings.NewReader(head + c.in + `</D:propertyupdate>`))
		var parts []string
		for _, p := range ps {
			verb := "set"
			if p.Remove {
				verb = "remove"
			}
			parts = append(parts, fmt.Sprintf("%s %s %s %s", verb, propKey(p.Name), p.Lang, fmt.Sprintf("\"%s\"", strings.ReplaceAll(string(p.Inner), `"`, `\"`))))
		}
		got := strings.Join(parts, "; ")
		if err != nil {
			got = fmt.Sprint(Status(err))
		}
		if got != c.want {
			t.Errorf("ParseProppatch(%s)\n = %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestLockBodies(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, "refresh"},
		{`<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner>me</D:owner></D:lockinfo>`, "false me"},
		{`<lockinfo xmlns="DAV:"><lockscope><shared/></lockscope><locktype><write/></locktype><owner><href>http://x/?a&amp;b</href></owner></lockinfo>`,
			`true <href xmlns="DAV:">http://x/?a&amp;b</href>`},
		{`<lockinfo xmlns="DAV:"><lockscope><shared/></lockscope><locktype><write/></locktype></lockinfo>`, "true "},
		{`<lockinfo xmlns="DAV:"><lockscope><exclusive/><shared/></lockscope><locktype><write/></locktype></lockinfo>`, "400"},
		{`<lockinfo xmlns="DAV:"><lockscope/><locktype><write/></locktype></lockinfo>`, "400"},
		{`<lockinfo xmlns="DAV:"><lockscope><shared/></lockscope><locktype><read/></locktype></lockinfo>`, "400"},
		{`<x xmlns="DAV:"/>`, "400"},
		{`<lockinfo xmlns="DAV:"><lockscope><shared/></lockscope><locktype><write/></locktype><owner>` + strings.Repeat("x", maxOwnerXML+1) + `</owner></lockinfo>`, "413"},
	} {
		li, err := ParseLockInfo(strings.NewReader(c.in))
		got := "refresh"
		switch {
		case err != nil:
			got = fmt.Sprint(Status(err))
		case li != nil:
			got = fmt.Sprintf("%v %s", li.Shared, li.Owner)
		}
		if got != c.want {
			t.Errorf("ParseLockInfo(%.100s) = %s; want %s", c.in, got, c.want)
		}
	}
}

func FuzzXML(f *testing.F) {
	f.Add(`<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><a xmlns="u"><b:c xmlns:b="v" b:d="&lt;"/>t</a></D:prop></D:set></D:propertyupdate>`)
	f.Add(`<propfind xmlns="DAV:"><prop><x:y xmlns:x="z"/></prop></propfind>`)
	f.Add(`<lockinfo xmlns="DAV:"><lockscope><shared/></lockscope><locktype><write/></locktype><owner><a/></owner></lockinfo>`)
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = ParsePropfind(strings.NewReader(s))
		if li, err := ParseLockInfo(strings.NewReader(s)); err == nil && li != nil {
			wellFormed(t, "<o>"+string(li.Owner)+"</o>")
		}
		ps, err := ParseProppatch(strings.NewReader(s))
		if err != nil {
			return
		}
		for _, p := range ps {
			if p.Remove {
				continue
			}
			// What is stored is given back as it is, and means the same again.
			el := string(appendDead(nil, p.Name, string(p.Inner), p.Lang))
			wellFormed(t, `<x xmlns:D="DAV:">`+el+`</x>`)
			again, err := ParseProppatch(strings.NewReader(`<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>` + el + `</D:prop></D:set></D:propertyupdate>`))
			if errors.Is(err, errXMLSize) {
				continue
			}
			if err != nil || len(again) != 1 || again[0].Name != p.Name || string(again[0].Inner) != string(p.Inner) {
				t.Errorf("%q reads back as %v, %v", el, again, err)
			}
		}
	})
}

func wellFormed(t *testing.T, s string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(s))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
	}
}

func TestTextIsAlwaysXML(t *testing.T) {
	for in, want := range map[string]string{
		"a<b>&\"c'": "a&lt;b&gt;&amp;\"c'", "\x00\x01": "\ufffd\ufffd", "a\xffb": "a\ufffdb", "\r\n\t": "&#13;\n\t", "é\U0001F600": "é\U0001F600", "\ufffe": "\ufffd",
	} {
		if got := string(appendXMLText(nil, in)); got != want {
			t.Errorf("text %q = %q; want %q", in, got, want)
		}
		wellFormed(t, "<a>"+string(appendXMLText(nil, in))+"</a>")
		wellFormed(t, `<a b="`+string(appendXMLAttr(nil, in))+`"/>`)
	}
	wellFormed(t, string(errorBody("lock-token-submitted", []string{"/a", "/b"})))
	if got, want := string(errorBody("x", []string{"/a"})), xmlHead+`<D:error xmlns:D="DAV:"><D:x><D:href>/a</D:href></D:x></D:error>`; got != want {
		t.Errorf("errorBody = %s; want %s", got, want)
	}
}
