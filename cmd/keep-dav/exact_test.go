package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"keepdav/cmd/internal/control"
	"keepdav/cmd/internal/maint"
)

// latin1 is a name that is not UTF-8.
const latin1 = "caf\xe9"

// command runs keep-dav as a process of its own.
func command(t *testing.T, store string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append(args, "--store", store)...)
	cmd.Env = append(os.Environ(), runMain+"=1")
	out, err := cmd.Output()
	if err != nil {
		if ee, ok := err.(*exec.ExitError); ok {
			t.Fatalf("keep-dav %q: %v\n%s", args, err, ee.Stderr)
		}
		t.Fatal(err)
	}
	return string(out)
}

func TestNamesThatAreNotUTF8PassTheControlSocket(t *testing.T) {
	dir := t.TempDir()
	_, url, _ := process(t, dir)
	r := &rig{cli: &cli{Store: dir, JSON: true}, url: url}
	src := filepath.Join(t.TempDir(), latin1)
	makeFiles(t, src)
	if err := os.WriteFile(filepath.Join(src, latin1), []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "import", src, latin1)
	r.must(t, 207, "PROPFIND", "/home/caf%e9/caf%e9", "", "Depth", "0")

	type named struct {
		Name  string `json:"name"`
		Exact []byte `json:"name_base64"`
	}
	var entries []named
	if err := json.Unmarshal([]byte(command(t, dir, "ls", latin1, "--json")), &entries); err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(entries, func(e named) bool { return string(e.Exact) == latin1 }); i < 0 {
		t.Errorf("ls --json = %q; want an entry with the bytes %q", entries, latin1)
	}
	for _, e := range entries {
		if e.Name == "a" && e.Exact != nil {
			t.Errorf("ls --json tells bytes of %q, which is UTF-8", e.Name)
		}
	}
	var stat named
	if err := json.Unmarshal([]byte(command(t, dir, "stat", latin1, "--json")), &stat); err != nil || string(stat.Exact) != latin1 {
		t.Errorf("stat --json = %q, %v; want the bytes %q", stat, err, latin1)
	}
	dst := filepath.Join(t.TempDir(), "out\xff")
	command(t, dir, "export", latin1, dst)
	sameFiles(t, src, dst)
	if _, err := call[[]lsEntry](t.Context(), r.cli, "ls", siteArgs{As: adminName, Name: "/home/\xff"}); err == nil || !strings.Contains(err.Error(), `\xff`) && !strings.Contains(err.Error(), "\xff") {
		t.Errorf("ls of what is not there: %q; want the error with the bytes of the name", err)
	}
}

func TestPasswordThatIsNotUTF8PassesTheControlSocket(t *testing.T) {
	r := newRig(t)
	do1[userInfo](t, r, "user.passwd", userArgs{Name: adminName, Password: latin1})
	status, _ := r.doAs(t, adminName, latin1, "PROPFIND", "/home/", "", "Depth", "0")
	if status != 207 {
		t.Errorf("with the new password: %d; want 207", status)
	}
}

func TestAllBytesOfMessagesComeBack(t *testing.T) {
	all := maint.Report{Problems: []maint.Problem{{Path: latin1, Text: "at " + latin1}, {Path: "plain"}}}
	lists := copyResult{Ignored: []string{"plain", latin1}, Failed: []string{latin1}}
	names := []lsEntry{{Name: latin1}, {Name: "plain"}}
	for _, sent := range []any{all, lists, names, shareArgs{Name: latin1}, restoreArgs{NewName: latin1}} {
		want := fmt.Sprintf("%+q", sent)
		data, err := control.Marshal(sent)
		if err != nil {
			t.Errorf("control.Marshal(%+q): %v", sent, err)
			continue
		}
		got := reflect.New(reflect.TypeOf(sent))
		if err := control.Unmarshal(data, got.Interface()); err != nil {
			t.Errorf("control.Unmarshal(%s): %v", data, err)
		}
		if n := strings.Count(fmt.Sprintf("%q", got.Elem()), `caf\xe9`); n < strings.Count(want, `caf\xe9`) {
			t.Errorf("%s came as %q", want, got.Elem())
		}
		again, err := control.Marshal(got.Elem().Interface())
		if err != nil || string(again) != string(data) {
			t.Errorf("%s came back as %s (%v)", data, again, err)
		}
	}
	if data, err := control.Marshal(siteArgs{As: latin1}); err == nil {
		t.Errorf("a user name that is not UTF-8 went out as %s", data)
	}
	if data, err := control.Marshal(siteArgs{Name: "plain"}); err != nil || strings.Contains(string(data), "Bytes") {
		t.Errorf("a plain name went out as %s (%v)", data, err)
	}
}
