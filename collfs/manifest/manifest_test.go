package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"keepdav/keepio"
)

const (
	foo   = "acbd18db4cc2f85cedef654fccc4a4d8+3"
	bar   = "37b51d194a7513e45b56f6524f2d51f2+3"
	empty = "d41d8cd98f00b204e9800998ecf8427e+0"
	sig   = "+A9331cbe9db468d01b45b80e212cf83b8726142b3@6b15161e"
)

// valid are manifests that must be read and printed as they are.
var valid = []string{
	"",
	". " + foo + " 0:3:a\n",
	". " + foo + " 0:3:...\n",
	". " + foo + " 0:3:.foo\n",
	". " + foo + " 0:3:foo.\n",
	". " + foo + " 0:3:\\040\n",
	". " + foo + " 0:3:\\072\n",
	". " + foo + " 0:3:foo/bar.txt\n",
	". " + foo + " 0:3:foo\\057bar\n",
	". " + foo + " 0:3:\\134057\n",
	". " + foo + " 0:3:a\\\\b\n",
	". " + foo + " 0:3:a:b:c\n",
	". " + empty + " 0:0:0:0\n",
	". " + foo + strings.Repeat(" "+bar, 100) + " 0:303:many\n",
	". " + foo + " 0000000000000000000000000000000000:00003:foo\n",
	"./...\\057x " + foo + " 0:3:a\n",
	".\\057Data " + foo + " 0:3:a\n",
	"\\056\\057Data " + foo + " 0:3:a\n",
	"\\056 " + foo + " 0:3:a\n",
	"./\\011foo " + foo + " 0:3:a\n",
	"./\\134444 " + foo + " 0:3:a\n",
	"./a:b " + foo + " 0:3:a\n",
	". " + foo + " 0:3:" + foo + "\n",
	". " + foo + " 0:3:d41d8cd98f00b204e9800998ecf8427e+0+Zfoo\n",
	". " + foo + " 0:0:.\n",
	". " + foo + " 0:0:\\056\n",
	"./dir " + empty + " 0:0:\\056\n",
	". " + empty + " 0:0:foo/.\n",
	". " + empty + " 0:0:foo/\\056\n",
	". " + empty + " 0:0:foo\\057\\056\n",
	". " + empty + " 0:0:a/b/. 0:0:c\n",
	". " + foo + " 3:0:at-end\n",
	". " + foo + " 0:1:f 2:1:f 1:1:f 0:3:f\n",
	". " + foo + " 0:3:d/f\n./d " + bar + " 0:3:f\n",
	". " + foo + sig + " " + bar + "+Kzzzzz+Rzzzzz-0123@7f " + foo + "+Z" + sig + " 0:9:f\n",
	". " + foo + " 0:3:\\000\\001\\377\n",
	". " + foo + " 0:3:\u00a0 0:3:\u2028 0:3:日本語 0:3:e\u0301\n",
	". " + foo + " 0:3:\x01\x7f\n",
	". acbd18db4cc2f85cedef654fccc4a4d8+0003 0:3:a\n",
	". " + foo + " 0:3:a\n. " + bar + " 0:3:a\n",
	"./b " + foo + " 0:3:a\n./a " + bar + " 0:3:a\n",
}

// invalid are texts that are not manifests, each with a part of the reason.
var invalid = []struct{ text, reason string }{
	{". " + foo + " 0:3:a", "line 1: no newline"},
	{"x", "line 1: no newline"},
	{"\n", "blank line"},
	{". " + foo + " 0:3:a\n\n", "line 2: blank line"},
	{"\n. " + foo + " 0:3:a\n", "line 1: blank line"},
	{" . " + foo + " 0:3:a\n", "nothing before the first space"},
	{". " + foo + " 0:3:a \n", "two spaces, or one at the end"},
	{".  " + foo + " 0:3:a\n", "two spaces"},
	{". " + foo + "  0:3:a\n", "two spaces"},
	{". " + foo + " 0:3:a  0:3:b\n", "two spaces"},
	{". " + foo + " 0:3:a\t0:3:b\n", "white space"},
	{". " + foo + "\t0:3:a\n", "block"},
	{".\t" + foo + sig + " 0:3:a\n", "white space"},
	{". " + foo + " 0:3:a\v\n", "white space"},
	{". " + foo + " 0:3:a\f\n", "white space"},
	{". " + foo + " 0:3:a\r\n", "white space"},
	{". " + foo + " 0:3:\\040\t\n", "white space"},
	{"foo " + foo + " 0:3:a\n", `neither "." nor "./"`},
	{foo + sig + " 0:3:a\n", `neither "." nor "./"`},
	{"/foo " + foo + " 0:3:a\n", `neither "." nor "./"`},
	{".foo " + foo + " 0:3:a\n", `neither "." nor "./"`},
	{".. " + foo + " 0:3:a\n", `neither "." nor "./"`},
	{"./ " + foo + " 0:3:a\n", "path component"},
	{".//x " + foo + " 0:3:a\n", "path component"},
	{"./x/ " + foo + " 0:3:a\n", "path component"},
	{"./x//y " + foo + " 0:3:a\n", "path component"},
	{"./a/. " + foo + " 0:3:a\n", "path component"},
	{"./. " + foo + " 0:3:a\n", "path component"},
	{"./a/../b " + foo + " 0:3:a\n", "path component"},
	{"./.. " + foo + " 0:3:a\n", "path component"},
	{".\\056\\057 " + foo + " 0:3:a\n", `neither "." nor "./"`},
	{"./\\056 " + foo + " 0:3:a\n", "path component"},
	{".\n", "no block"},
	{". 0:3:a\n", "no block"},
	{". 0:0:a " + foo + "\n", "no block"},
	{". " + foo + "\n", "no file"},
	{". " + foo + " \n", "two spaces, or one at the end"},
	{". " + foo + " 0:3:a " + foo + sig + "\n", "no position:size:name"},
	{". " + foo + " 0:0:\n", "path component"},
	{". " + foo + " 0:0:/x\n", "path component"},
	{". " + foo + " 0:0:x/\n", "path component"},
	{". " + foo + " 0:0:x//y\n", "path component"},
	{". " + foo + " 0:1:.\n", "marker of a directory with a size"},
	{". " + foo + " 0:1:\\056\n", "marker of a directory with a size"},
	{". " + foo + " 0:1:x/.\n", "marker of a directory with a size"},
	{". " + foo + " 0:0:..\n", "path component"},
	{". " + foo + " 0:0:./x\n", "path component"},
	{". " + foo + " 0:0:./.\n", "path component"},
	{". " + foo + " 0:0:/.\n", "path component"},
	{". " + foo + " 0:0:x/./.\n", "path component"},
	{". " + foo + " 0:0:x/./y\n", "path component"},
	{". " + foo + " 0:0:x/..\n", "path component"},
	{". " + foo + " 0:0:../x\n", "path component"},
	{". " + foo + " 0:0:\\056\\056\n", "path component"},
	{". " + foo + " 0:0:.\\056\n", "path component"},
	{". " + foo + " \\060:\\060:foo\n", "neither a file nor a block"},
	{". " + foo + " 0:3:a \\060:\\060:foo\n", "no position:size:name"},
	{". " + foo + " 0:0\\072foo\n", "no position:size:name"},
	{". " + foo + " 0:3:foo\\057/bar\n", "path component"},
	{". " + foo + " 0:3:foo\\400\n", "bad escape"},
	{". " + foo + " 0:3:foo\\444\n", "bad escape"},
	{". " + foo + " 0:3:foo\\888\n", "bad escape"},
	{". " + foo + " 0:3:foo\\r\n", "bad escape"},
	{". " + foo + " 0:3:foo\\\n", "bad escape"},
	{". " + foo + " 0:3:foo\\1\n", "bad escape"},
	{". " + foo + " 0:3:foo\\12\n", "bad escape"},
	{"./\\12 " + foo + " 0:3:foo\n", "bad escape"},
	{". " + foo + " 0:a:foo\n", "no position:size:name"},
	{". " + foo + " :0:foo\n", "neither a file nor a block"},
	{". " + foo + " 0::foo\n", "no position:size:name"},
	{". " + foo + " 0:-1:foo\n", "no position:size:name"},
	{". " + foo + " -1:0:foo\n", "neither a file nor a block"},
	{". " + foo + " 0:3\n", "no position:size:name"},
	{". " + foo + " 0:3:a foo\n", "no position:size:name"},
	{". " + foo + " 0:3:\xff\n", "not UTF-8"},
	{". " + foo + " 0:3:a\n./\xc3 " + foo + " 0:3:a\n", "line 2: not UTF-8"},
	// What only the Go client refuses:
	{". " + foo + " 0:4:a\n", "past the end of its stream of 3 bytes"},
	{". " + foo + " 3:1:a\n", "past the end"},
	{". " + foo + " 4:0:a\n", "past the end"},
	{". " + empty + " 0:1:a\n", "past the end"},
	{". " + foo + " 9223372036854775807:0:a\n", "out of range"},
	{". " + foo + " 2:9223372036854775799:a\n", "past the end"},
	{". " + foo + " 0:99999999999999999999999999:a\n", "out of range"},
	{". d41d8cd98f00b204e9800998ecf8427e 0:0:abc.txt\n", "no size"},
	{". d41d8cd98f00b204e9800998ecf8427e+A+0 0:0:abc.txt\n", "no size"},
	{". " + foo + "+ 0:0:a\n", "hint"},
	{". " + foo + "+A++B 0:0:a\n", "hint"},
	{". acbd18db4cc2f85cedef654fccc4a4d8+67108865 0:0:a\n", "64 MiB"},
	{". ACBD18DB4CC2F85CEDEF654FCCC4A4D8+3 0:0:a\n", "hash"},
	{". " + foo + sig + "! 0:0:a\n", "block"},
	{"." + strings.Repeat("x", 1<<20) + "\n", `neither "." nor "./"`},
	{". " + foo + " 0:1:" + strings.Repeat("\\\\", 1<<20) + "/\n", "path component"},
}

func TestValidManifestsPrintAsTheyWere(t *testing.T) {
	for _, text := range valid {
		m, err := Parse(text)
		if err != nil {
			t.Errorf("Parse(%.100q): %v", text, err)
			continue
		}
		if got := string(Print(m)); got != text {
			t.Errorf("Print(Parse(%q)) = %q", text, got)
		}
		fromBytes, err := Parse([]byte(text))
		if err != nil || !reflect.DeepEqual(m, fromBytes) {
			t.Errorf("Parse of bytes %q = %v, %v; want as of the string", text, fromBytes, err)
		}
	}
}

func TestInvalidManifestsAreRefusedWithTheReason(t *testing.T) {
	for _, c := range invalid {
		_, err := Parse(c.text)
		if !errors.Is(err, ErrMalformed) || !strings.HasPrefix(fmt.Sprint(err), "malformed manifest: line ") {
			t.Errorf("Parse(%.100q) = %v; want a malformed manifest", c.text, err)
			continue
		}
		checkError(t, err)
		if !strings.Contains(err.Error(), c.reason) {
			t.Errorf("Parse(%.100q) = %v; want %q in it", c.text, err, c.reason)
		}
	}
}

// checkError fails if err is long or shows a signature.
func checkError(t *testing.T, err error) {
	t.Helper()
	if len(err.Error()) > 500 || strings.Contains(err.Error(), "9331cbe9db") {
		t.Errorf("error is too long or shows a signature: %.600v", err)
	}
}

func TestEveryTruncationOfAManifestIsRefusedOrShorter(t *testing.T) {
	text := ". " + foo + sig + " " + bar + " 0:3:a 3:3:b\\040\n./d " + empty + " 0:0:\\056\n"
	for i := range text {
		m, err := Parse(text[:i])
		if err == nil && string(Print(m)) != text[:i] {
			t.Errorf("Parse(%q) loses text", text[:i])
		}
		if (err == nil) != (i == 0 || text[i-1] == '\n') {
			t.Errorf("Parse(%q) = %v", text[:i], err)
		}
	}
}

func TestHostileTextCostsNoMoreThanItsLength(t *testing.T) {
	const n = 8 << 20
	begin := ". " + foo + " 0:3:a"
	for _, text := range []string{
		strings.Repeat("\n", n),
		strings.Repeat(" ", n),
		begin + strings.Repeat(" ", n) + "\n",
		begin + strings.Repeat("/", n) + "\n",
		begin + strings.Repeat("/a", n/2) + "/\n",
		begin + strings.Repeat("\\", n+1) + "\n",
		begin + strings.Repeat(" 0:0:a", n/6) + " \n",
		". " + strings.Repeat(foo+" ", n/35) + "\n",
		". " + strings.Repeat("0", n) + ":0:a\n",
		". " + foo + strings.Repeat("+A", n/2) + "\n",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse(text)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("Parse(%.60q) = %v", text, err)
			continue
		}
		checkError(t, err)
		if got := after.TotalAlloc - before.TotalAlloc; got > 20*n { // 8, and twice that under the race detector
			t.Errorf("Parse(%.60q) allocates %d bytes for %d of text", text, got, len(text))
		}
	}
}

func TestStreamHasUnescapedNamesAndTheirParts(t *testing.T) {
	m, err := Parse("./a\\040b/c\\057d " + foo + sig + " " + bar + " 1:4:x\\072y 0:0:e/\\056 0:0:. 006:00:z:z\n. " + empty + " 0:0:f\n")
	if err != nil {
		t.Fatal(err)
	}
	s := m.Streams[0]
	if s.Name != "./a b/c/d" || s.Dir() != "a b/c/d" || m.Streams[1].Dir() != "" || len(m.Streams) != 2 {
		t.Errorf("names = %q, %q, %q", s.Name, s.Dir(), m.Streams[1].Dir())
	}
	if len(s.Locators) != 2 || s.Locators[0].String() != foo+sig || s.Locators[1].String() != bar {
		t.Errorf("locators = %v", s.Locators)
	}
	type row struct {
		pos, size int64
		name, dir string
		marker    bool
	}
	var got []row
	for _, f := range s.Files {
		dir, ok := f.Marker()
		if !ok {
			dir = ""
		}
		got = append(got, row{f.Pos, f.Size, f.Name, dir, ok})
	}
	want := []row{{1, 4, "x:y", "", false}, {0, 0, "e/.", "e", true}, {0, 0, ".", "", true}, {6, 0, "z:z", "", false}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("files = %v; want %v", got, want)
	}
}

func TestChangedStreamPrintsTheChange(t *testing.T) {
	m, err := Parse("\\056 " + foo + " 00:3:\\141 0:0:.\n")
	if err != nil {
		t.Fatal(err)
	}
	s := &m.Streams[0]
	s.Files[0].Name = "b c"
	if got, want := string(Print(m)), "\\056 "+foo+" 0:3:b\\040c 0:0:.\n"; got != want {
		t.Errorf("with a new name: %q; want %q", got, want)
	}
	s.Name = "./d:e"
	s.Files = append(s.Files, File{Name: "x/."}, File{Name: "."}, File{1, 2, "n", ""})
	signed, _ := keepio.ParseLocator(foo + sig)
	s.Locators[0] = signed
	if got, want := string(Print(m)), "./d\\072e "+foo+sig+" 0:3:b\\040c 0:0:. 0:0:x/\\056 0:0:\\056 1:2:n\n"; got != want {
		t.Errorf("with more: %q; want %q", got, want)
	}
}

func TestScanStopsWhereTheVisitorFails(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	err := Scan(". "+foo+" 0:3:a\n./b "+foo+" 0:3:a\nrubbish\n", func(*Stream) error {
		if n++; n == 2 {
			return stop
		}
		return nil
	})
	if err != stop || n != 2 {
		t.Errorf("Scan = %v after %d streams; want %v after 2", err, n, stop)
	}
}

func TestParsedManifestDoesNotShareTheCallersBytes(t *testing.T) {
	text := []byte(". " + foo + " 0:3:name\n")
	m, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		text[i] = 'x'
	}
	if got, want := string(Print(m)), ". "+foo+" 0:3:name\n"; got != want {
		t.Errorf("after the bytes changed, Print = %q; want %q", got, want)
	}
}

// realManifests returns all manifests in the recorded exchanges with an
// Arvados cluster, by where they are, and PDHs where one is beside them.
func realManifests(t testing.TB) (texts, pdhs map[string]string) {
	t.Helper()
	texts, pdhs = map[string]string{}, map[string]string{}
	var walk func(where string, v any)
	walk = func(where string, v any) {
		switch v := v.(type) {
		case []any:
			for i, v := range v {
				walk(fmt.Sprintf("%s/%d", where, i), v)
			}
		case map[string]any:
			for k, x := range v {
				walk(where+"/"+k, x)
				if text, ok := x.(string); ok && strings.HasSuffix(k, "manifest_text") && (text == "" || strings.HasSuffix(text, "\n")) {
					texts[where+"/"+k] = text
					if pdh, ok := v["portable_data_hash"].(string); ok && text != "" && pdh != "" && !strings.Contains(where, "/request/") {
						pdhs[where+"/"+k] = pdh
					}
				}
			}
		case string:
			if strings.HasPrefix(v, "{") && json.Valid([]byte(v)) {
				var inner any
				_ = json.Unmarshal([]byte(v), &inner)
				walk(where, inner)
			}
		}
	}
	for _, file := range []string{"manifests.json", "api-collections.json"} {
		text, err := os.ReadFile("testdata/arvados/" + file)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		walk(file, v)
	}
	if len(texts) < 20 || len(pdhs) < 10 {
		t.Fatalf("found %d manifests, %d PDHs; the files have more", len(texts), len(pdhs))
	}
	return texts, pdhs
}

func TestRealManifestsPrintAsTheyWere(t *testing.T) {
	texts, _ := realManifests(t)
	for where, text := range texts {
		m, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", where, err)
		} else if !bytes.Equal(Print(m), []byte(text)) {
			t.Errorf("%s: Print(Parse(text)) differs:\n%q\n%q", where, Print(m), text)
		}
	}
}
