package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"
)

// show prints a result: as JSON when asked to, else as text writes it.
func show(root *cli, result any, text func(io.Writer)) error {
	if root.JSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(result)
	}
	text(os.Stdout)
	return nil
}

// conditions are errors of package fs whose text speaks of files, while what is
// in the way here may be a user, a project or a lock.
var conditions = []struct {
	err  error
	text string
}{
	{fs.ErrExist, "exists already"},
	{fs.ErrNotExist, "does not exist"},
}

// A wordedError is an error with a text for people.
type wordedError struct {
	error
	text string
}

func (e *wordedError) Error() string { return e.text }
func (e *wordedError) Unwrap() error { return e.error }

// inWords is err with a text that is true of whatever it is about.
func inWords(err error) error {
	for _, c := range conditions {
		about, ok := strings.CutSuffix(err.Error(), ": "+c.err.Error())
		if !ok || !errors.Is(err, c.err) {
			continue
		}
		if p, ok := err.(*fs.PathError); ok { // the operation is ours, not that of the caller
			about = p.Path
		}
		return &wordedError{err, about + " " + c.text}
	}
	return err
}

// A table lines up columns.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, head ...any) *table {
	t := &table{tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)}
	t.row(head...)
	return t
}

func (t *table) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			t.w.Write([]byte{'\t'})
		}
		fmt.Fprint(t.w, printable(fmt.Sprint(c)))
	}
	t.w.Write([]byte{'\n'})
}

func (t *table) end() { t.w.Flush() }

// printable is s without what would move the cursor of a terminal: names of files
// may have any byte.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
