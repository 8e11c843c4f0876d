package arvados

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"keepdav/collfs"
	"keepdav/keepio"
)

// whatever has all blocks.
type whatever struct{ keepio.Reader }

func (whatever) ByID(keepio.BlockID) (*keepio.Block, error) { return nil, keepio.ErrNotFound }
func (whatever) ByHash(hash [16]byte, size uint32) *keepio.Block {
	return keepio.NewStoredBlock(hash, size)
}

// A manifest that an administrator sends is refused, or comes back as it was.
func FuzzManifestsOfClients(f *testing.F) {
	for _, text := range []string{"", ". d41d8cd98f00b204e9800998ecf8427e+0 0:0:a\n", "./a d41d8cd98f00b204e9800998ecf8427e+0+Kx 0:0:\\056\n", ". d41d8cd98f00b204e9800998ecf8427e+0 0:0:a/b 0:0:a\n", "./\\134444 d41d8cd98f00b204e9800998ecf8427e+0 0:0:\\040\n"} {
		f.Add(text)
	}
	e := newEnv(f)
	f.Fuzz(func(t *testing.T, text string) {
		body, err := json.Marshal(map[string]any{"collection": map[string]any{"manifest_text": text}, "ensure_unique_name": true})
		if err != nil {
			t.Skip("it is no JSON")
		}
		if !json.Valid(body) || strings.ContainsRune(text, '\uFFFD') {
			t.Skip("JSON has replaced what was no UTF-8")
		}
		e.t = t
		status, got := e.do("root", "POST", "collections", string(body))
		switch status {
		case 422:
		case 200:
			id := got["uuid"].(string)
			back := e.manifest("root", id)
			is, err := collfs.ParseManifest([]byte(back), whatever{})
			if err != nil {
				t.Fatalf("%q comes back as what cannot be read: %v", text, err)
			}
			sent, err := collfs.ParseManifest([]byte(text), whatever{})
			if err != nil {
				t.Fatalf("%q was taken: %v", text, err)
			}
			if ops, err := collfs.Turn(sent, is, 1); err != nil || len(ops) > 0 {
				t.Errorf("%q comes back as %q", text, back)
			}
			e.want("root", "DELETE", "collections/"+id, "")
		default:
			t.Errorf("%q = %d %v", text, status, got)
		}
	})
}

// Whatever replace_files says, its operations apply, and sources are what was there
// before.
func FuzzReplaceFiles(f *testing.F) {
	for _, text := range []string{
		`{"/a":"current/b","/b":"current/a"}`, `{"/d":"","/d/x":"current/d/e"}`, `{"/":"current/d"}`, `{"/a":"","/a/b":"current/d","/d":"current/a"}`,
		`{"/d/e":"","/q":"current/d/e","/d":"","/r":"current/d"}`, `{"/b":"current/d","/d":"current/b","/a/x/y":"current/"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var files map[string]string
		if json.Unmarshal([]byte(text), &files) == nil {
			checkReplacements(t, files)
		}
	})
}

func TestReplacementsOfManyKindsAreWhatTheySay(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	targets := []string{"/", "/a", "/b", "/d", "/d/x", "/d/e", "/d/e/z", "/d/n", "/n", "/n/m", "/a/k", "/d/e/q/r"}
	sources := []string{"", "", "", "current/", "current/a", "current/b", "current/d", "current/d/x", "current/d/e", "current/d/e/z", "current/nothing"}
	done := 0
	for range 6000 {
		files := make(map[string]string)
		for range 1 + r.IntN(4) {
			files[targets[r.IntN(len(targets))]] = sources[r.IntN(len(sources))]
		}
		if checkReplacements(t, files) {
			done++
		}
	}
	if done < 1500 {
		t.Errorf("only %d of the replacements were made", done)
	}
}

// checkReplacements makes replacements of a small tree, and checks what becomes of
// it; false: they are refused.
func checkReplacements(t *testing.T, files map[string]string) bool {
	t.Helper()
	const before = ". acbd18db4cc2f85cedef654fccc4a4d8+3 37b51d194a7513e45b56f6524f2d51f2+3 0:3:a 3:3:b\n./d acbd18db4cc2f85cedef654fccc4a4d8+3 0:2:x 0:0:y\n./d/e 37b51d194a7513e45b56f6524f2d51f2+3 0:1:z\n"
	all, err := readReplacements(files)
	if err != nil {
		return false
	}
	for _, r := range all {
		if r.from == fromManifest || r.from == fromPDH {
			return false
		}
	}
	tree, err := collfs.ParseManifest([]byte(before), whatever{})
	if err != nil {
		t.Fatal(err)
	}
	was := tree.Clone()
	ops, err := replaceOps(tree, all, 7)
	if err != nil {
		return false
	}
	for _, op := range ops {
		if err := tree.Apply(op); err != nil {
			t.Fatalf("%v: %v", files, err)
		}
	}
	filled := func(path string) bool { // at or below what is put
		for _, r := range all {
			if r.from != fromNothing && (r.target == path || r.target == "" || strings.HasPrefix(path, r.target+"/") || strings.HasPrefix(r.target, path+"/") || path == "") {
				return true
			}
		}
		return false
	}
	for _, r := range all {
		if r.from == fromCurrent {
			checkSame(t, files, was, r.path, tree, r.target)
		} else if _, err := tree.Stat(r.target); err == nil && r.target != "" && !filled(r.target) {
			t.Errorf("%v: %q is there still", files, r.target)
		}
	}
	// What is no target, nor above or below one, is as it was.
	err = was.Walk(func(path string, info collfs.NodeInfo, c collfs.Content) error {
		for _, r := range all {
			if r.target == "" || path == r.target || strings.HasPrefix(path, r.target+"/") || strings.HasPrefix(r.target, path+"/") || path == "" {
				return nil
			}
		}
		checkSame(t, files, was, path, tree, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// checkSame checks that what is at two paths of two trees is equal.
func checkSame(t *testing.T, files map[string]string, a *collfs.Tree, p string, b *collfs.Tree, q string) {
	t.Helper()
	x, err := a.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.Stat(q)
	if err != nil || x.Dir != y.Dir || x.Size != y.Size || x.ID != y.ID || x.Entries != y.Entries {
		t.Errorf("%v: %q is %+v, %v; want what was at %q, %+v", files, q, y, err, p, x)
		return
	}
	if !x.Dir {
		return
	}
	entries, err := a.ReadDir(p)
	if err != nil {
		t.Fatal(err)
	}
	for e := range entries {
		below := func(dir string) string { return strings.TrimPrefix(dir+"/"+e.Name, "/") }
		checkSame(t, files, a, below(p), b, below(q))
	}
}
