package manifest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"keepdav/keepio"
)

// A Segment is a part of a block that is part of a file.
type Segment struct {
	Locator        keepio.Locator
	Offset, Length int64
}

// A Writer prints the manifest of a tree. Call Dir for a directory, File for
// each of its files in byte order of their names, then go on to the directories
// in it, each with all that is below it, also in byte order: the root is "", and
//
//	"a"  "a/b"  "a-c"
//
// are in order, as "a" sorts before "a-c". Close ends the text. A directory
// that only has directories need not be named. The Writer refuses calls out of
// order, which also means no path twice; it does not notice a file and a directory of one name.
//
// Segments that touch in the stream become one; empty ones vanish. A block is
// listed again unless it is the one that was listed last. Locators are printed
// with their hints.
//
// After an error the output is no manifest, and each call returns that error.
type Writer struct {
	out *bufio.Writer
	err error

	open  bool   // a directory is open: dir
	dir   string // the last one
	file  string // its last file, "" before the first
	files []byte // its file tokens, a space before each

	blocks bool           // the line has begun: its name and at least one block are out
	last   keepio.Locator // the block listed last,
	lastAt int64          // where it begins in the stream,
	size   int64          // and where it ends, with the stream
}

// NewWriter returns a Writer that prints to out.
func NewWriter(out io.Writer) *Writer {
	return &Writer{out: bufio.NewWriterSize(out, 64<<10)}
}

// Dir begins the directory at path, relative to the root. If it turns out to
// hold nothing, it gets a marker.
func (w *Writer) Dir(path string) error {
	if w.err != nil {
		return w.err
	}
	if path != "" && checkPath(path) != "" {
		return w.fail("directory %s: %s", quote(path), badComponent)
	}
	if w.open && comparePaths(w.dir, path) >= 0 {
		return w.fail("directory %s after %s: out of order", quote(path), quote(w.dir))
	}
	w.endDir(strings.HasPrefix(path, w.dir) && strings.HasPrefix(path[len(w.dir):], "/"))
	w.open, w.dir, w.file = true, path, ""
	w.files = w.files[:0]
	w.blocks, w.last, w.lastAt, w.size = false, keepio.Locator{}, 0, 0
	return nil
}

// File adds a file, made of these segments, to the directory begun last.
func (w *Writer) File(name string, segments []Segment) error {
	if w.err != nil {
		return w.err
	}
	switch {
	case !w.open:
		return w.fail("file %s before any directory", quote(name))
	case strings.IndexByte(name, '/') >= 0 || checkPath(name) != "":
		return w.fail("file %s: bad name", quote(name))
	case name <= w.file:
		return w.fail("file %s after %s: out of order", quote(name), quote(w.file))
	}
	w.file = name
	var pos, end int64 // a span of the stream that is not printed yet
	tokens := 0
	for _, s := range segments {
		if s.Offset < 0 || s.Length < 0 || s.Length > s.Locator.Size() || s.Offset > s.Locator.Size()-s.Length {
			return w.fail("file %s: segment %d+%d is not within block %q", quote(name), s.Offset, s.Length, s.Locator.Bare())
		}
		if s.Length == 0 {
			continue
		}
		at := w.block(s.Locator) + s.Offset
		if at != end {
			if end > pos {
				w.token(pos, end-pos, name)
				tokens++
			}
			pos, end = at, at
		}
		end += s.Length
	}
	if end > pos || tokens == 0 {
		w.token(pos, end-pos, name)
	}
	return nil
}

// Close ends the manifest and writes what is left of it to the output, which it does
// not close.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	w.endDir(false)
	if err := w.out.Flush(); err != nil {
		return w.fail("%w", err)
	}
	w.err = errors.New("manifest: writer is closed")
	return nil
}

// block lists a block, unless it was the last one, and returns where in the
// stream it begins.
func (w *Writer) block(l keepio.Locator) (at int64) {
	if w.blocks && l.Bare() == w.last.Bare() {
		return w.lastAt
	}
	if !w.blocks {
		w.beginLine()
	}
	w.blocks = true
	w.out.WriteByte(' ')
	w.out.WriteString(l.String())
	w.last, w.lastAt = l, w.size
	w.size += l.Size()
	return w.lastAt
}

func (w *Writer) token(pos, size int64, name string) {
	w.files = append(w.files, ' ')
	w.files = appendSpan(w.files, pos, size)
	w.files = AppendEscaped(w.files, name)
}

// endDir ends the line of the open directory, if it needs one.
func (w *Writer) endDir(hasDirs bool) {
	if !w.open {
		return
	}
	if len(w.files) == 0 {
		if hasDirs || w.dir == "" {
			return
		}
		w.files = append(append(w.files, " 0:0:"...), marker...)
	}
	if !w.blocks {
		w.block(keepio.EmptyLocator)
	}
	w.out.Write(w.files)
	w.out.WriteByte('\n')
}

func (w *Writer) beginLine() {
	w.out.WriteByte('.')
	if w.dir != "" {
		w.out.WriteByte('/')
		w.out.WriteString(Escape(w.dir))
	}
}

// fail makes the Writer useless and says why. Write errors of w.out need no
// care: it keeps them until Close.
func (w *Writer) fail(format string, args ...any) error {
	w.err = fmt.Errorf("manifest: "+format, args...)
	return w.err
}

// comparePaths compares paths component by component, so that what is below a
// directory follows it before its next sibling does.
func comparePaths(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		case a[i] < b[i]:
			return -1
		default:
			return 1
		}
	}
	return len(a) - len(b)
}
