// Package manifest reads and prints the manifest, the text that says which
// blocks hold a collection's bytes and which spans of them are its files. It
// works on text alone and does no I/O of its own.
//
// A manifest is a list of streams, one a line. A stream has a name, the blocks
// whose bytes one after the other are its content, and file tokens, each of
// which gives a span of that content to a file:
//
//	./dir acbd18db4cc2f85cedef654fccc4a4d8+3 0:3:name
//
// A file is all its spans in the order of the text, in one stream or several.
// A name may hold slashes; it is relative to the stream's name. A file named
// "." is no file but says that the directory exists (File.Marker).
//
// # Reading
//
// Scan hands out one stream after the other; Parse keeps them all. Both refuse
// what Arvados' server or its Go client refuses, with one exception: they don't
// notice that a path is used as file and as directory, or as a file and a
// directory's marker. Whoever builds a tree from the streams finds that out for
// free, and has to.
//
// # Printing
//
// Manifest.AppendTo prints what Parse read, byte for byte: streams and files
// remember how they were spelled, as one name can be escaped in several ways.
// A Writer prints a tree afresh, in the order and the spelling of Arvados' Go
// writers, but for one thing: it escapes white space beyond ASCII (U+00A0 and
// such) and bytes that are not UTF-8. The Python client cannot load a manifest that
// has the former as it is, the server refuses the latter.
//
// Start reading at scan.go, then writer.go.
package manifest

import (
	"errors"
	"strconv"
	"strings"

	"keepdav/keepio"
)

// ErrMalformed is the failure of a text that is not a manifest. The error that
// wraps it says which line and why; it is short and shows no signatures.
var ErrMalformed = errors.New("malformed manifest")

// Text is what a manifest may be held in.
type Text interface{ ~string | ~[]byte }

// A Manifest is a manifest that was parsed, or that is to be printed as it is.
type Manifest struct {
	Streams []Stream
}

// A Stream is one line of a manifest.
type Stream struct {
	Name     string           // unescaped: "." or "./" and a clean path
	Locators []keepio.Locator // may be replaced by locators of blocks of the same sizes
	Files    []File

	spelled string  // the name as it was in the text
	ends    []int64 // for each locator, where its block ends in the stream; set by reading
}

// A File is a file token: a span of the stream, and a file that it belongs to.
type File struct {
	Pos, Size int64
	Name      string // unescaped, a clean path relative to the stream; see Marker

	spelled string // the token as it was in the text
}

// Dir returns the directory that s's file names are relative to: its name
// without the leading dot and slash, so "" for the root.
func (s *Stream) Dir() string {
	if len(s.Name) < 2 {
		return ""
	}
	return s.Name[2:]
}

// Marker reports whether f is not a file but the marker of a directory; dir is
// that directory, relative to the stream, "" being the stream's own.
func (f File) Marker() (dir string, ok bool) {
	if f.Name == "." {
		return "", true
	}
	return strings.CutSuffix(f.Name, "/.")
}

// Parse reads a whole manifest. Its strings are parts of a copy of text.
func Parse[T Text](text T) (*Manifest, error) {
	// The streams' slices are cut from three large ones, so that a manifest of
	// many small directories costs few allocations.
	var (
		m        Manifest
		locators []keepio.Locator
		ends     []int64
		files    []File
	)
	err := Scan(text, func(s *Stream) error {
		m.Streams = append(m.Streams, *s)
		locators = append(locators, s.Locators...)
		ends = append(ends, s.ends...)
		files = append(files, s.Files...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range m.Streams {
		s := &m.Streams[i]
		nl, nf := len(s.Locators), len(s.Files)
		s.Locators, locators = locators[:nl:nl], locators[nl:]
		s.ends, ends = ends[:nl:nl], ends[nl:]
		s.Files, files = files[:nf:nf], files[nf:]
	}
	return &m, nil
}

// Print returns the text of m.
func Print(m *Manifest) []byte { return m.AppendTo(nil) }

// AppendTo appends the text of m to buf.
func (m *Manifest) AppendTo(buf []byte) []byte {
	for i := range m.Streams {
		buf = m.Streams[i].AppendTo(buf)
	}
	return buf
}

// AppendTo appends s's line to buf. What was parsed and not changed is spelled
// as it was.
func (s *Stream) AppendTo(buf []byte) []byte {
	if name, fault := streamName(s.spelled); fault == "" && name == s.Name {
		buf = append(buf, s.spelled...)
	} else {
		buf = AppendEscaped(buf, s.Name)
	}
	for _, l := range s.Locators {
		buf = append(buf, ' ')
		buf = append(buf, l.String()...)
	}
	for _, f := range s.Files {
		buf = append(buf, ' ')
		buf = f.appendTo(buf)
	}
	return append(buf, '\n')
}

func (f File) appendTo(buf []byte) []byte {
	if was, n, fault := fileToken(f.spelled); fault == "" && n == len(f.spelled) &&
		was.Pos == f.Pos && was.Size == f.Size && was.Name == f.Name {
		return append(buf, f.spelled...)
	}
	buf = appendSpan(buf, f.Pos, f.Size)
	if dir, ok := f.Marker(); ok {
		if dir != "" {
			buf = append(AppendEscaped(buf, dir), '/')
		}
		return append(buf, marker...)
	}
	return AppendEscaped(buf, f.Name)
}

// marker is how the name of a directory's marker is spelled.
const marker = `\056`

// appendSpan appends a file token up to its name.
func appendSpan(buf []byte, pos, size int64) []byte {
	buf = strconv.AppendInt(buf, pos, 10)
	buf = append(buf, ':')
	buf = strconv.AppendInt(buf, size, 10)
	return append(buf, ':')
}
