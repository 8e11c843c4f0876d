package apitest

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"keepdav/collfs/manifest"
	"keepdav/keepio"
)

// A Node is a file or a directory of a collection.
type Node struct {
	Kids     map[string]*Node // nil: a file
	Segments []manifest.Segment
}

func newDir() *Node { return &Node{Kids: make(map[string]*Node)} }

// ParseTree reads a manifest.
func ParseTree(text string) (*Node, error) {
	root := newDir()
	err := manifest.Scan(text, func(s *manifest.Stream) error {
		for _, f := range s.Files {
			if rel, ok := f.Marker(); ok {
				if root.mkdirs(path.Join(s.Dir(), rel)) == nil {
					return fmt.Errorf("%q is a file and a directory", rel)
				}
				continue
			}
			name := path.Join(s.Dir(), f.Name)
			dir := root.mkdirs(path.Dir(name))
			if dir == nil || dir.Kids[path.Base(name)] != nil && dir.Kids[path.Base(name)].Kids != nil {
				return fmt.Errorf("%q is a file and a directory", name)
			}
			n := dir.Kids[path.Base(name)]
			if n == nil {
				n = new(Node)
				dir.Kids[path.Base(name)] = n
			}
			spans, err := s.Resolve(nil, f.Pos, f.Size)
			if err != nil {
				return err
			}
			for _, sp := range spans {
				n.Segments = append(n.Segments, manifest.Segment{Locator: s.Locators[sp.Block], Offset: sp.Offset, Length: sp.Length})
			}
		}
		return nil
	})
	return root, err
}

// mkdirs returns the directory at p, made if it is missing; nil if a file is in the
// way.
func (n *Node) mkdirs(p string) *Node {
	for _, name := range split(p) {
		k := n.Kids[name]
		if k == nil {
			k = newDir()
			n.Kids[name] = k
		}
		if k.Kids == nil {
			return nil
		}
		n = k
	}
	return n
}

func split(p string) []string {
	p = strings.Trim(path.Clean(p), "/")
	if p == "" || p == "." {
		return nil
	}
	return strings.Split(p, "/")
}

// Get returns what is at p; nil: nothing.
func (n *Node) Get(p string) *Node {
	for _, name := range split(p) {
		if n = n.Kids[name]; n == nil {
			return nil
		}
	}
	return n
}

func (n *Node) clone() *Node {
	c := &Node{Segments: slices.Clone(n.Segments)}
	if n.Kids != nil {
		c.Kids = make(map[string]*Node, len(n.Kids))
		for name, k := range n.Kids {
			c.Kids[name] = k.clone()
		}
	}
	return c
}

// Print prints a tree in the order of Arvados' Go writers.
func (n *Node) Print() string {
	var out bytes.Buffer
	w := manifest.NewWriter(&out)
	if err := n.print(w, ""); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.String()
}

func (n *Node) print(w *manifest.Writer, at string) error {
	if err := w.Dir(at); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(n.Kids))
	for _, name := range names {
		if k := n.Kids[name]; k.Kids == nil {
			segs := slices.Clone(k.Segments)
			for i := range segs {
				segs[i].Locator = bare(segs[i].Locator)
			}
			if err := w.File(name, segs); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		if k := n.Kids[name]; k.Kids != nil {
			if err := k.print(w, strings.TrimPrefix(at+"/"+name, "/")); err != nil {
				return err
			}
		}
	}
	return nil
}

func bare(l keepio.Locator) keepio.Locator { return keepio.MakeLocator(l.Hash(), l.Size()) }
