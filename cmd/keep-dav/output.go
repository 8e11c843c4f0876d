package main

import (
	"encoding/json"
	"fmt"
	"io"
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
