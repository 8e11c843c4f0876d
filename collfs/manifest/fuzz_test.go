package manifest

import (
	"cmp"
	"errors"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, text := range valid {
		f.Add(text)
	}
	for _, c := range invalid {
		if len(c.text) < 1000 {
			f.Add(c.text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || len(err.Error()) > 500 {
				t.Errorf("Parse(%q) = %v", text, err)
			}
			PDH(text) // must not panic
			Strip(text)
			return
		}
		if got := string(Print(m)); got != text {
			t.Errorf("Print(Parse(%q)) = %q", text, got)
		}
		if PDH(text) != PDH(Strip(text)) {
			t.Errorf("PDH(%q) depends on signatures", text)
		}
		if _, err := Parse(Strip(text)); err != nil {
			t.Errorf("Strip(%q) is malformed: %v", text, err)
		}
		for i := range m.Streams {
			s := &m.Streams[i]
			for _, file := range s.Files {
				if file.Size > 0 && int64(len(s.Locators)) > 1000 {
					continue
				}
				spans, err := s.Resolve(nil, file.Pos, file.Size)
				var n int64
				for _, sp := range spans {
					if sp.Length <= 0 || sp.Offset < 0 || sp.Offset+sp.Length > s.Locators[sp.Block].Size() {
						t.Errorf("Resolve gives span %+v of %v", sp, s.Locators[sp.Block])
					}
					n += sp.Length
				}
				if err != nil || n != file.Size {
					t.Errorf("Resolve(%d, %d) has %d bytes, %v", file.Pos, file.Size, n, err)
				}
			}
			// Printed as if it had been put together, it means the same.
			fresh := Stream{Name: s.Name, Locators: s.Locators}
			for _, file := range s.Files {
				fresh.Files = append(fresh.Files, File{Pos: file.Pos, Size: file.Size, Name: file.Name})
			}
			again, err := Parse(fresh.AppendTo(nil))
			if err != nil {
				t.Fatalf("Parse of %q, printed afresh: %v", text, err)
			}
			for j, file := range again.Streams[0].Files {
				was := s.Files[j]
				if file.Pos != was.Pos || file.Size != was.Size || file.Name != was.Name {
					t.Errorf("file %+v came back as %+v", was, file)
				}
			}
		}
	})
}

func FuzzEscape(f *testing.F) {
	for _, name := range []string{"", "a b", "\xff\u00a0\\:\n", "日本"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		spelled := Escape(name)
		if got, err := Unescape(spelled); err != nil || got != name || strings.ContainsAny(spelled, " :\n\t") {
			t.Errorf("Unescape(Escape(%q) = %q) = %q, %v", name, spelled, got, err)
		}
		if got, err := Unescape(name); err == nil { // any spelling that is accepted
			if again, err := Unescape(Escape(got)); err != nil || again != got {
				t.Errorf("%q means %q, which came back as %q, %v", name, got, again, err)
			}
		}
	})
}

func FuzzComparePaths(f *testing.F) {
	f.Add("a/b", "a-c")
	f.Fuzz(func(t *testing.T, a, b string) {
		want := 0
		x, y := strings.Split(a, "/"), strings.Split(b, "/")
		for i := 0; i < max(len(x), len(y)) && want == 0; i++ {
			switch {
			case i == len(x):
				want = -1
			case i == len(y):
				want = 1
			default:
				want = strings.Compare(x[i], y[i])
			}
		}
		if got := comparePaths(a, b); cmp.Compare(got, 0) != want {
			t.Errorf("comparePaths(%q, %q) = %d; want %d", a, b, got, want)
		}
	})
}
