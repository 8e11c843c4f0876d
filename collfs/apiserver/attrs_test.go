package apiserver

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"keepdav/collfs"
	"keepdav/keepio"
)

func someAttributes() *attributes {
	return &attributes{
		entries: []attrEntry{
			{path: "a", bind: [bindSize]byte{1, 2}, attr: collfs.Attr{Mode: 0o600, Mtime: 1e18}},
			{path: "a/b", dir: true, attr: collfs.Attr{Mode: collfs.ModeNone}},
			{path: "ab ü", bind: [bindSize]byte{3}, attr: collfs.Attr{Mtime: -5, Extra: map[string]string{"symlink": "x", "xattr:k": "\x00v"}}},
			{path: "b", bind: [bindSize]byte{4}, attr: collfs.Attr{Posix: &collfs.Posix{HasOwner: true, UID: 5, GID: 6}}},
			{path: "c", bind: [bindSize]byte{4}, attr: collfs.Attr{Posix: &collfs.Posix{Type: 0o010000, Rdev: 7}}},
		},
		restored: [][bindSize]byte{{9}, {8}},
	}
}

func TestAttributesAreReadAsTheyWereWritten(t *testing.T) {
	for _, a := range []*attributes{{}, someAttributes(), {restored: [][bindSize]byte{{1}}}} {
		got, err := decodeAttributes(a.encode())
		if err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("decode(encode(%v)) = %v, %v", a, got, err)
		}
	}
	for _, bad := range []string{"2", "1", "1!!", "1AAAA", "x"} {
		if got, err := decodeAttributes(bad); err == nil {
			t.Errorf("decode(%q) = %v; want an error", bad, got)
		}
	}
}

func FuzzDecodeAttributes(f *testing.F) {
	f.Add(someAttributes().encode())
	f.Add("1")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := decodeAttributes(text)
		if err != nil {
			return
		}
		again, err := decodeAttributes(a.encode())
		if err != nil || len(again.entries) != len(a.entries) {
			t.Errorf("what was read of %q is not read again: %v", text, err)
		}
	})
}

func TestOnlyTimesAndModesAreDroppedForRoom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	a := new(attributes)
	for i := range 2000 {
		e := attrEntry{path: fmt.Sprintf("%05d", i), attr: collfs.Attr{Mtime: rnd.Int64(), Mode: 0o600}}
		if i%100 == 0 {
			e.attr.Extra = map[string]string{"symlink": "target"}
		}
		a.entries = append(a.entries, e)
	}
	text, dropped, err := a.fit(8 << 10)
	if err != nil || dropped == 0 || len(text) > 8<<10 {
		t.Fatalf("fit = %d bytes, %d dropped, %v", len(text), dropped, err)
	}
	got, err := decodeAttributes(text)
	if err != nil {
		t.Fatal(err)
	}
	links, newest, oldest := 0, int64(0), int64(1<<62)
	for _, e := range got.entries {
		if e.attr.Extra["symlink"] == "target" {
			links++
		}
		if e.attr.Mtime != 0 {
			oldest = min(oldest, e.attr.Mtime)
		}
	}
	for _, e := range a.entries {
		if e.attr.Mtime < oldest {
			newest = max(newest, e.attr.Mtime)
		}
	}
	if links != 20 || newest >= oldest {
		t.Errorf("%d of 20 links are kept; the oldest time kept is %d, the newest dropped %d", links, oldest, newest)
	}
	big := &attributes{entries: []attrEntry{{path: "f", attr: collfs.Attr{Extra: map[string]string{"xattr:k": randomText(rnd, 10_000)}}}}}
	if _, _, err := big.fit(8 << 10); !errors.Is(err, keepio.ErrFull) {
		t.Errorf("fit of what is too large = %v; want ErrFull", err)
	}
}

func randomText(rnd *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteByte(byte(rnd.IntN(256)))
	}
	return b.String()
}

func TestAttributesStayBesideOtherProperties(t *testing.T) {
	properties, err := withAttributes([]byte(`{"k":"v"}`), "1xyz")
	if err != nil {
		t.Fatal(err)
	}
	attrs, rest := attributesOf(properties)
	if attrs != "1xyz" || string(rest) != `{"k":"v"}` {
		t.Errorf("attributesOf(%s) = %q, %s", properties, attrs, rest)
	}
	if _, err := withAttributes([]byte(`[1]`), ""); err == nil {
		t.Error("properties that are no object were taken")
	}
}
