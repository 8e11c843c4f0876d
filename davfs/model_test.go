package davfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keepdav/collfs"
	"keepdav/davfs"
)

// A model is a plain tree: names below a project, a file's content, or nil for a
// directory. Below a project the site is one, whatever is a collection, a
// directory of one, or a loose file.
type model struct {
	root  string
	nodes map[string]*string
}

// parentErr says what is wrong with the directory that name lies in.
func (m model) parentErr(name string) error {
	dir := path.Dir(name)
	if dir == m.root {
		return nil
	}
	for d := dir; d != m.root; d = path.Dir(d) {
		if data, ok := m.nodes[d]; ok && data != nil {
			return collfs.ErrNotDir
		}
	}
	if _, ok := m.nodes[dir]; !ok {
		return davfs.ErrNoParent
	}
	return nil
}

func (m model) below(dir string) []string {
	var all []string
	for name := range m.nodes {
		if strings.HasPrefix(name, dir+"/") {
			all = append(all, name)
		}
	}
	return all
}

func (m model) remove(name string) {
	for _, b := range m.below(name) {
		delete(m.nodes, b)
	}
	delete(m.nodes, name)
}

func (m model) list(dir string) []string {
	var all []string
	for _, name := range m.below(dir) {
		if rest := name[len(dir)+1:]; !strings.Contains(rest, "/") {
			if m.nodes[name] == nil {
				rest += "/"
			}
			all = append(all, rest)
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		return strings.Compare(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/"))
	})
	return all
}

func (m model) put(name, data string) error {
	if err := m.parentErr(name); err != nil {
		return err
	}
	if old, ok := m.nodes[name]; ok && old == nil {
		return collfs.ErrIsDir
	}
	m.nodes[name] = &data
	return nil
}

func (m model) mkdir(name string) error {
	if err := m.parentErr(name); err != nil {
		return err
	}
	if _, ok := m.nodes[name]; ok {
		return fs.ErrExist
	}
	m.nodes[name] = nil
	return nil
}

func (m model) transfer(src, dst string, overwrite, move bool) error {
	if _, ok := m.nodes[src]; !ok {
		return fs.ErrNotExist
	}
	if src == dst || strings.HasPrefix(dst, src+"/") || strings.HasPrefix(src, dst+"/") {
		return collfs.ErrIntoItself
	}
	if err := m.parentErr(dst); err != nil {
		return err
	}
	if _, ok := m.nodes[dst]; ok && !overwrite {
		return fs.ErrExist
	}
	m.remove(dst)
	for _, b := range append(m.below(src), src) {
		m.nodes[dst+b[len(src):]] = m.nodes[b]
	}
	if move {
		m.remove(src)
	}
	return nil
}

// check compares the whole tree.
func (m model) check(t *rapid.T, r *rig, dir string) {
	got, err := listNames(r.ctx, r.FS, dir)
	if want := m.list(dir); err != nil || !slices.Equal(got, want) {
		t.Fatalf("list %s = %q, %v; want %q", dir, got, err, want)
	}
	for _, name := range got {
		full := path.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			m.check(t, r, full)
			continue
		}
		if data, err := getFile(r.ctx, r.FS, full); err != nil || data != *m.nodes[full] {
			t.Fatalf("get %s = %q, %v; want %q", full, data, err, *m.nodes[full])
		}
	}
}

func TestSiteIsAPlainTree(t *testing.T) {
	r := newRig(t)
	tries := 0
	rapid.Check(t, func(rt *rapid.T) {
		tries++
		project := fmt.Sprint("p", tries)
		r.project(r.admin.UUID, project)
		m := model{root: "/home/" + project, nodes: map[string]*string{}}
		name := func() string {
			n := m.root
			for range rapid.IntRange(1, 4).Draw(rt, "depth") {
				n += "/" + rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "name")
			}
			return n
		}
		same := func(what string, got, want error) {
			if want == nil && got != nil || want != nil && !errors.Is(got, want) {
				rt.Fatalf("%s: error %v; want %v", what, got, want)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				n, data := name(), rapid.StringN(0, 5, -1).Draw(rt, "data")
				_, err := putFile(r.ctx, r.FS, n, data)
				same("put "+n, err, m.put(n, data))
			},
			"mkdir": func(*rapid.T) {
				n := name()
				_, err := r.Mkdir(r.ctx, n, davfs.AttrChange{})
				same("mkdir "+n, err, m.mkdir(n))
			},
			"transfer": func(rt *rapid.T) {
				src, dst := name(), name()
				over, move := rapid.Bool().Draw(rt, "overwrite"), rapid.Bool().Draw(rt, "move")
				_, existed := m.nodes[dst]
				do := r.Copy
				if move {
					do = r.Move
				}
				created, err := do(r.ctx, src, dst, davfs.CopyOptions{Overwrite: over})
				want := m.transfer(src, dst, over, move)
				same(fmt.Sprintf("transfer %s to %s (overwrite %v, move %v)", src, dst, over, move), err, want)
				if err == nil && created == existed {
					rt.Fatalf("transfer %s to %s: created %v", src, dst, created)
				}
			},
			"remove": func(*rapid.T) {
				n := name()
				err := r.Remove(r.ctx, n, nil)
				var want error
				if _, ok := m.nodes[n]; !ok {
					want = fs.ErrNotExist
				}
				same("remove "+n, err, want)
				m.remove(n)
			},
			"writeAt": func(*rapid.T) {
				n := name()
				_, err := r.WriteAt(r.ctx, n, -1, 1, strings.NewReader("+"), nil)
				data, ok := m.nodes[n]
				switch {
				case !ok:
					same("writeAt "+n, err, fs.ErrNotExist)
				case data == nil:
					same("writeAt "+n, err, collfs.ErrIsDir)
				default:
					same("writeAt "+n, err, nil)
					longer := *data + "+"
					m.nodes[n] = &longer
				}
			},
			"reopen": func(*rapid.T) { r.reopen() },
			"":       func(rt *rapid.T) { m.check(rt, r, m.root) },
		})
		n, err := r.Count(r.ctx, m.root, 1000)
		if want := len(m.nodes) + 1; err != nil || n != want {
			rt.Fatalf("Count = %d, %v; want %d", n, err, want)
		}
	})
}
