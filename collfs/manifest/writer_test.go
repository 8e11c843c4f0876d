package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"keepdav/keepio"
)

// rewriteTree reads a manifest into a tree and prints the tree with a Writer.
func rewriteTree(t testing.TB, text string) string {
	t.Helper()
	dirs := map[string]map[string][]Segment{}
	mkdir := func(path string) map[string][]Segment {
		if dirs[path] == nil {
			dirs[path] = map[string][]Segment{}
		}
		return dirs[path]
	}
	err := Scan(text, func(s *Stream) error {
		for _, f := range s.Files {
			path := strings.TrimPrefix(s.Dir()+"/"+f.Name, "/")
			if dir, ok := f.Marker(); ok {
				mkdir(strings.Trim(s.Dir()+"/"+dir, "/"))
				continue
			}
			dir, name := "", path
			if i := strings.LastIndexByte(path, '/'); i >= 0 {
				dir, name = path[:i], path[i+1:]
			}
			spans, err := s.Resolve(nil, f.Pos, f.Size)
			if err != nil {
				return err
			}
			d := mkdir(dir)
			d[name] = d[name][:len(d[name]):len(d[name])]
			for _, sp := range spans {
				d[name] = append(d[name], Segment{s.Locators[sp.Block], sp.Offset, sp.Length})
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, dir := range slices.SortedFunc(maps.Keys(dirs), comparePaths) {
		if err := w.Dir(dir); err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(dirs[dir])) {
			if err := w.File(name, dirs[dir][name]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestWriterPrintsRealTreesAsGoWritersDid(t *testing.T) {
	texts, _ := realManifests(t)
	compared := 0
	for where, text := range texts {
		text = Strip(text) // the empty block is signed by the server, not by a writer
		got := rewriteTree(t, text)
		if again := rewriteTree(t, got); again != got {
			t.Errorf("%s printed afresh, twice:\n%q\nwant\n%q", where, again, got)
		}
		if strings.Contains(where, "arv_mount/second") || // the Python writer lists a block once per stream
			strings.Contains(text, " 3:12:hello.txt 0:0:empty 1:4:span\n") { // not from a writer
			continue
		}
		compared++
		// The one difference there may be: see the package comment.
		if want := strings.ReplaceAll(text, "\u00a0", `\302\240`); got != want {
			t.Errorf("%s printed afresh:\n%q\nwant\n%q", where, got, want)
		}
	}
	if compared < 10 {
		t.Errorf("compared %d manifests; want at least 10", compared)
	}
}

func TestWriterPrintsTheOrderOfGoWriters(t *testing.T) {
	a, b := loc(foo), loc(bar)
	type call struct {
		dir  string
		file string // none: call Dir
		segs []Segment
	}
	for _, c := range []struct {
		name  string
		calls []call
		want  string
	}{
		{"nothing", nil, ""},
		{"empty root", []call{{"", "", nil}}, ""},
		{"depth first", []call{
			{"", "", nil}, {"", "z", []Segment{{a, 0, 3}}},
			{"a", "", nil}, {"a", "f", []Segment{{a, 0, 3}}},
			{"a/b", "", nil}, {"a/b", "f", []Segment{{a, 0, 3}}},
			{"a-c", "", nil}, {"a-c", "f", []Segment{{a, 0, 3}}},
		}, ". " + foo + " 0:3:z\n./a " + foo + " 0:3:f\n./a/b " + foo + " 0:3:f\n./a-c " + foo + " 0:3:f\n"},
		{"by unescaped name", []call{{"", "", nil}, {"", " ", nil}, {"", "!", nil}, {"", ":", nil}, {"", "A", nil}, {"", `\`, nil}, {"", "é", nil}},
			". " + empty + ` 0:0:\040 0:0:! 0:0:\072 0:0:A 0:0:\134 0:0:é` + "\n"},
		{"markers only for directories with nothing", []call{{"", "", nil}, {"a", "", nil}, {"a/b", "", nil}, {"a/b/c", "", nil}, {"a/b-", "", nil}, {"ab", "", nil}},
			"./a/b/c " + empty + " 0:0:\\056\n./a/b- " + empty + " 0:0:\\056\n./ab " + empty + " 0:0:\\056\n"},
		{"unnamed parents", []call{{"a/b/c", "", nil}, {"a/d", "", nil}, {"a/d", "f", nil}},
			"./a/b/c " + empty + " 0:0:\\056\n./a/d " + empty + " 0:0:f\n"},
		{"empty files beside others", []call{{"", "", nil}, {"", "a", nil}, {"", "b", []Segment{{a, 0, 3}}}, {"", "c", []Segment{{a, 1, 0}}}},
			". " + foo + " 0:0:a 0:3:b 0:0:c\n"},
		{"only the block listed last is not repeated", []call{{"", "", nil},
			{"", "1", []Segment{{a, 0, 1}}}, {"", "2", []Segment{{a, 1, 1}}}, {"", "3", []Segment{{b, 0, 3}}}, {"", "4", []Segment{{a, 2, 1}}}},
			". " + foo + " " + bar + " " + foo + " 0:1:1 1:1:2 3:3:3 8:1:4\n"},
		{"a new stream lists blocks anew", []call{{"", "", nil}, {"", "f", []Segment{{a, 0, 3}}}, {"d", "", nil}, {"d", "f", []Segment{{a, 0, 3}}}},
			". " + foo + " 0:3:f\n./d " + foo + " 0:3:f\n"},
		{"touching segments merge", []call{{"", "", nil},
			{"", "f", []Segment{{a, 0, 1}, {a, 1, 2}, {b, 0, 2}, {b, 2, 0}, {b, 2, 1}, {b, 0, 1}, {b, 1, 1}, {a, 1, 1}, {a, 1, 1}}}},
			". " + foo + " " + bar + " " + foo + " 0:6:f 3:2:f 7:1:f 7:1:f\n"},
		{"files are not merged with each other", []call{{"", "", nil}, {"", "a", []Segment{{a, 0, 3}}}, {"", "b", []Segment{{b, 0, 3}}}},
			". " + foo + " " + bar + " 0:3:a 3:3:b\n"},
		{"hints stay, and are no difference", []call{{"", "", nil}, {"", "f", []Segment{{loc(foo + sig), 0, 3}, {a, 0, 3}}}},
			". " + foo + sig + " 0:3:f 0:3:f\n"},
		{"the empty block is listed when used for nothing else", []call{{"x", "", nil}, {"x", "f", []Segment{{keepio.EmptyLocator, 0, 0}}}},
			"./x " + empty + " 0:0:f\n"},
		{"dots", []call{{"", "", nil}, {"", "...", nil}, {"", ".x", nil}, {"...", "", nil}},
			". " + empty + " 0:0:... 0:0:.x\n./... " + empty + " 0:0:\\056\n"},
	} {
		var out bytes.Buffer
		w := NewWriter(&out)
		for _, call := range c.calls {
			var err error
			if call.file == "" {
				err = w.Dir(call.dir)
			} else {
				err = w.File(call.file, call.segs)
			}
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if err := w.Close(); err != nil || out.String() != c.want {
			t.Errorf("%s: printed %q, %v; want %q", c.name, out.String(), err, c.want)
		}
	}
}

func TestWriterRefusesWhatIsOutOfOrderOrMalformed(t *testing.T) {
	a := loc(foo + sig)
	for name, calls := range map[string]func(w *Writer) error{
		"file before directory":    func(w *Writer) error { return w.File("f", nil) },
		"file twice":               func(w *Writer) error { w.Dir(""); w.File("f", nil); return w.File("f", nil) },
		"files unsorted":           func(w *Writer) error { w.Dir(""); w.File("g", nil); return w.File("f", nil) },
		"directory twice":          func(w *Writer) error { w.Dir("a"); return w.Dir("a") },
		"root late":                func(w *Writer) error { w.Dir("a"); return w.Dir("") },
		"directories unsorted":     func(w *Writer) error { w.Dir("b"); return w.Dir("a") },
		"parent after child":       func(w *Writer) error { w.Dir("a/b"); return w.Dir("a") },
		"string order":             func(w *Writer) error { w.Dir("a-c"); return w.Dir("a/b") },
		"back into a directory":    func(w *Writer) error { w.Dir("a/b"); w.Dir("c"); return w.Dir("a/c") },
		"file name with slash":     func(w *Writer) error { w.Dir(""); return w.File("a/b", nil) },
		"file without name":        func(w *Writer) error { w.Dir(""); return w.File("", nil) },
		"file named dot":           func(w *Writer) error { w.Dir(""); return w.File(".", nil) },
		"file named dots":          func(w *Writer) error { w.Dir(""); return w.File("..", nil) },
		"absolute directory":       func(w *Writer) error { return w.Dir("/a") },
		"directory with slash":     func(w *Writer) error { return w.Dir("a/") },
		"directory with dot":       func(w *Writer) error { return w.Dir("./a") },
		"segment past its block":   func(w *Writer) error { w.Dir(""); return w.File("f", []Segment{{a, 1, 3}}) },
		"segment before its block": func(w *Writer) error { w.Dir(""); return w.File("f", []Segment{{a, -1, 3}}) },
		"negative segment":         func(w *Writer) error { w.Dir(""); return w.File("f", []Segment{{a, 1, -1}}) },
		"overflowing segment":      func(w *Writer) error { w.Dir(""); return w.File("f", []Segment{{a, 1<<63 - 1, 2}}) },
		"segment of no block":      func(w *Writer) error { w.Dir(""); return w.File("f", []Segment{{Length: 1}}) },
		"after Close":              func(w *Writer) error { w.Close(); return w.Dir("") },
	} {
		w := NewWriter(&bytes.Buffer{})
		err := calls(w)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		checkError(t, err)
		if again := errors.Join(w.Dir("zzz"), w.File("zzz", nil), w.Close()); again == nil || !errors.Is(again, err) {
			t.Errorf("%s: after %v, the Writer goes on: %v", name, err, again)
		}
	}
}

type brokenOutput struct{}

func (brokenOutput) Write([]byte) (int, error) { return 0, errBroken }

var errBroken = errors.New("broken output")

func TestWriterReportsFailedOutputAtClose(t *testing.T) {
	w := NewWriter(brokenOutput{})
	for i := range 10000 {
		if err := w.Dir(fmt.Sprintf("%06d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); !errors.Is(err, errBroken) {
		t.Errorf("Close() = %v; want %v", err, errBroken)
	}
}

func loc(s string) keepio.Locator {
	l, err := keepio.ParseLocator(s)
	if err != nil {
		panic(err)
	}
	return l
}
