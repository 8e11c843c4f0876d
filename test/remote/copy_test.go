package remote

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"keepdav/test/target"
)

// copied is what import-cluster and export-cluster print as JSON.
type copied struct{ Copied, Same, Blocks, Bytes int64 }

// dav runs keep-dav on a machine.
func (m *machine) dav(args ...string) (string, error) {
	cmd := exec.Command(target.Binary(m.t), args...)
	cmd.Env = m.env
	out, err := cmd.Output()
	if ee, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("%w: %s", err, ee.Stderr)
	}
	return string(out), err
}

func (m *machine) copy(args ...string) (c copied) {
	m.t.Helper()
	out, err := m.dav(append([]string{"--json"}, args...)...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &c)
	}
	if err != nil {
		m.t.Fatalf("keep-dav %q: %v\n%s", args, err, out)
	}
	return c
}

func TestCollectionsGoToAClusterAndComeBack(t *testing.T) {
	s := newSite(t)
	m := s.machine()
	files := t.TempDir()
	big := make([]byte, 66<<20)
	rand.New(rand.NewSource(2)).Read(big)
	for name, data := range map[string][]byte{"a": []byte("a"), "sub/b": []byte("b"), "big": big, "empty": nil} {
		p := filepath.Join(files, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	first, second := filepath.Join(m.home, "first"), filepath.Join(m.home, "second")
	local := target.Start(t, target.Options{Store: first}) // the copies go through the server
	for _, args := range [][]string{
		{"project", "create", "/home/p", "--store", first},
		{"import", files, "/home/p/one", "--store", first},
		{"import", filepath.Join(files, "sub"), "/home/two", "--store", first},
	} {
		if out, err := m.dav(args...); err != nil {
			t.Fatalf("keep-dav %q: %v\n%s", args, err, out)
		}
	}
	want := copied{Copied: 2}
	if got := m.copy("export-cluster", "--dry-run", "/home", "--store", first); got != want {
		t.Errorf("a dry run = %+v; want %+v", got, want)
	}
	if r, err := s.Do("GET", "/home/two/b", nil); err != nil || r.StatusCode != 404 {
		t.Errorf("after a dry run: %v, %v", r.StatusCode, err)
	}
	if got := m.copy("export-cluster", "/home", "--store", first); got.Copied != 2 || got.Same != 0 || got.Bytes < int64(len(big)) {
		t.Errorf("export-cluster = %+v", got)
	}
	if got := m.copy("export-cluster", "/home", "--store", first); got.Copied != 0 || got.Same != 2 || got.Blocks != 0 {
		t.Errorf("a second time = %+v", got)
	}
	for name, text := range map[string]string{"/home/p/one/a": "a", "/home/p/one/sub/b": "b", "/home/p/one/empty": "", "/home/two/b": "b", "/home/p/one/big": string(big)} {
		if r := s.Must(t, []int{200}, "GET", name, nil); string(r.Body) != text {
			t.Errorf("%s has %d other bytes", name, len(r.Body))
		}
	}
	if err := local.Stop(); err != nil {
		t.Error(err)
	}

	back := target.Start(t, target.Options{Store: second})
	if got := m.copy("import-cluster", "/home", "--store", second); got.Copied != 2 {
		t.Errorf("import-cluster = %+v", got)
	}
	if r := back.Must(t, []int{200}, "GET", "/home/p/one/big", nil); string(r.Body) != string(big) {
		t.Error("what came back is something else")
	}
	r := back.Must(t, []int{200}, "GET", "/home/p/one/.arvados%23collection", nil)
	if o := s.Must(t, []int{200}, "GET", "/home/p/one/.arvados%23collection", nil); hashOf(r.Body) == "" || hashOf(r.Body) != hashOf(o.Body) {
		t.Errorf("the data hashes are %q and %q", hashOf(r.Body), hashOf(o.Body))
	}
}

// hashOf is the portable data hash in a record.
func hashOf(record []byte) string {
	var r struct {
		PDH string `json:"portable_data_hash"`
	}
	if json.Unmarshal(record, &r) != nil {
		return ""
	}
	return strings.TrimSpace(r.PDH)
}
