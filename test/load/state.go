// Package load puts a WebDAV server under a mixed load and keeps a journal of
// what it acknowledged, so that a test can say after a crash, or at any moment
// of the past, what has to be there: everything acknowledged, and of what was
// in flight either all or nothing.
//
// Each worker has one connection and names of its own, in every collection; so
// what is there under its names is decided by its requests alone. Contents are
// generated from seeds and known by their hash.
//
// Start reading at Journal, then Runner.
package load

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// Content is what a file holds.
type Content struct {
	Size int
	Sum  [sha256.Size]byte
}

// newContent makes n bytes from a seed.
func newContent(seed uint64, n int) ([]byte, Content) {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b, contentOf(b)
}

func contentOf(b []byte) Content { return Content{len(b), sha256.Sum256(b)} }

// Entry is a file or a directory.
type Entry struct {
	Dir     bool
	Content Content
}

func (e Entry) String() string {
	if e.Dir {
		return "directory"
	}
	return fmt.Sprintf("file of %d bytes, %x…", e.Content.Size, e.Content.Sum[:4])
}

// State is what is there, by path: absolute, decoded, without a slash at the end.
type State map[string]Entry

// Op is one request that changes something.
type Op struct {
	Method  string // PUT, DELETE, MKCOL, MOVE, COPY
	Path    string
	To      string // of MOVE and COPY
	Content Content
	Off     int // of a PUT into a file: where the body goes
	Part    int // and its length; 0: the body is the whole file
}

func (o Op) String() string {
	switch o.Method {
	case "MOVE", "COPY":
		return fmt.Sprintf("%s %s → %s", o.Method, o.Path, o.To)
	case "PUT":
		if o.Part > 0 {
			return fmt.Sprintf("PUT %d bytes into %s at %d (%v then)", o.Part, o.Path, o.Off, Entry{Content: o.Content})
		}
		return fmt.Sprintf("PUT %s (%v)", o.Path, Entry{Content: o.Content})
	}
	return o.Method + " " + o.Path
}

// under reports whether path is root or below it.
func under(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// apply is what the request does when it succeeds.
func (s State) apply(o Op) {
	switch o.Method {
	case "PUT":
		s[o.Path] = Entry{Content: o.Content}
	case "MKCOL":
		s[o.Path] = Entry{Dir: true}
	case "DELETE":
		s.removeTree(o.Path)
	case "MOVE", "COPY":
		moved := State{}
		for p, e := range s {
			if under(p, o.Path) {
				moved[o.To+p[len(o.Path):]] = e
			}
		}
		if o.Method == "MOVE" {
			s.removeTree(o.Path)
		}
		s.removeTree(o.To)
		maps.Copy(s, moved)
	}
}

func (s State) removeTree(root string) {
	maps.DeleteFunc(s, func(p string, _ Entry) bool { return under(p, root) })
}

// after is a copy of s on which o has succeeded.
func (s State) after(o Op) State {
	c := maps.Clone(s)
	c.apply(o)
	return c
}

// diff tells how got differs from want, at most a few lines; "" when it doesn't.
func diff(got, want State) string {
	var lines []string
	for p, w := range want {
		if g, ok := got[p]; !ok {
			lines = append(lines, fmt.Sprintf("%s: missing, want %v", p, w))
		} else if g != w {
			lines = append(lines, fmt.Sprintf("%s: %v, want %v", p, g, w))
		}
	}
	for p, g := range got {
		if _, ok := want[p]; !ok {
			lines = append(lines, fmt.Sprintf("%s: %v, want nothing", p, g))
		}
	}
	slices.Sort(lines)
	const most = 12
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("and %d more", len(lines)-most))
	}
	return strings.Join(lines, "\n")
}
