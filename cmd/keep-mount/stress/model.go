package stress

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// A node is a directory, a symbolic link or a file. Hard links of one file are
// nodes with the same content.
type node struct {
	Dir    bool
	Target string
	File   *content
}

// A model says what must be in a tree. Names are relative to the sandbox.
type model map[string]*node

// A snapshot is a model on its way between processes.
type snapshot struct {
	Nodes []entry    `json:"nodes"`
	Files []*content `json:"files"`
}

type entry struct {
	Path   string `json:"p"`
	Target string `json:"t,omitempty"`
	File   int    `json:"f"` // place in Files and 1; 0: no file
}

func (m model) snapshot() *snapshot {
	s := &snapshot{}
	places := map[*content]int{}
	for _, p := range m.names(nil) {
		n := m[p]
		e := entry{Path: p, Target: n.Target}
		if n.File != nil {
			if places[n.File] == 0 {
				s.Files = append(s.Files, n.File)
				places[n.File] = len(s.Files)
			}
			e.File = places[n.File]
		}
		s.Nodes = append(s.Nodes, e)
	}
	return s
}

func (s *snapshot) model() model {
	m := model{}
	for _, e := range s.Nodes {
		n := &node{Target: e.Target}
		switch {
		case e.File > 0 && e.File <= len(s.Files):
			n.File = s.Files[e.File-1]
		case e.Target == "":
			n.Dir = true
		}
		m[e.Path] = n
	}
	return m
}

// names are those that keep wants, sorted; nil wants all.
func (m model) names(keep func(string, *node) bool) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for p, n := range m {
			if (keep == nil || keep(p, n)) && !yield(p) {
				return
			}
		}
	})
}

func (m model) files() []string {
	return m.names(func(_ string, n *node) bool { return n.File != nil })
}

func (m model) dirs() []string {
	return m.names(func(_ string, n *node) bool { return n.Dir })
}

// children are the names in a directory, without its path.
func (m model) children(dir string) []string {
	in := m.names(func(p string, _ *node) bool { return path.Dir(p) == dir })
	for i := range in {
		in[i] = path.Base(in[i])
	}
	return in
}

// move renames a node with all that is below it, over what was there.
func (m model) move(from, to string) {
	for _, p := range slices.Collect(maps.Keys(m)) {
		if rest, ok := strings.CutPrefix(p, from); ok && (rest == "" || rest[0] == '/') {
			m[to+rest] = m[p]
			delete(m, p)
		}
	}
}

func (m model) links(c *content) (n int) {
	for _, o := range m {
		if o.File == c {
			n++
		}
	}
	return n
}

// linked tells whether something at or below p is a hard link with another name.
func (m model) linked(p string) bool {
	for q, n := range m {
		if (q == p || strings.HasPrefix(q, p+"/")) && n.File != nil && m.links(n.File) > 1 {
			return true
		}
	}
	return false
}

// top is the collection that a name is in.
func top(p string) string {
	first, _, _ := strings.Cut(p, "/")
	return first
}
