package fusefs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"keepdav/davfs/fusefs"
)

func (m *mount) missing(name string) bool {
	_, err := os.Stat(filepath.Join(m.dir, name))
	return errors.Is(err, fs.ErrNotExist)
}

// has reports whether a file is there and has a content.
func (m *mount) has(name, content string) bool {
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	return err == nil && string(data) == content
}

// What a client of another process changes comes as a whole: nobody tells the
// changes one by one.
func TestChangesOfAnotherProcessAreSeen(t *testing.T) {
	for _, cached := range []bool{true, false} {
		t.Run(fmt.Sprint("cached=", cached), func(t *testing.T) {
			m := newMount(t, func(o *fusefs.Options) { o.WriteCache = cached })
			far := m.another()
			for _, name := range []string{"kept", "changed", "gone", "renamed"} {
				m.write(name, "old")
			}
			for _, dir := range []string{"d", "gone-d", "renamed-d", "becomes-file"} {
				if err := os.Mkdir(filepath.Join(m.dir, dir), 0o755); err != nil {
					t.Fatal(err)
				}
				m.write(dir+"/f", "old")
			}
			for _, name := range []string{"new", "d/new", "to", "to-d"} { // the kernel remembers that they are not there
				if !m.missing(name) {
					t.Fatal(name)
				}
			}
			kept, err := os.Stat(filepath.Join(m.dir, "kept"))
			if err != nil {
				t.Fatal(err)
			}
			m.write("last", "x") // as with any client, what it sees of ours is what we closed
			far.do("put", "/home/c/changed", "newer")
			far.do("remove", "/home/c/gone", "")
			far.do("move", "/home/c/renamed", "/home/c/to")
			far.do("put", "/home/c/new", "x")
			far.do("put", "/home/c/d/new", "x")
			far.do("remove", "/home/c/gone-d", "")
			far.do("move", "/home/c/renamed-d", "/home/c/to-d")
			far.do("remove", "/home/c/becomes-file", "")
			far.do("put", "/home/c/becomes-file", "file")
			far.do("put", "/home/c/done", "x")
			within(t, "changed", func() bool { return m.has("changed", "newer") })
			within(t, "gone", func() bool { return m.missing("gone") })
			within(t, "renamed", func() bool { return m.missing("renamed") && m.has("to", "old") })
			within(t, "new", func() bool { return !m.missing("new") && !m.missing("d/new") })
			within(t, "gone-d", func() bool { return m.missing("gone-d") })
			within(t, "renamed-d", func() bool { return m.missing("renamed-d") && m.has("to-d/f", "old") })
			within(t, "becomes-file", func() bool {
				i, err := os.Stat(filepath.Join(m.dir, "becomes-file"))
				return err == nil && i.Mode().IsRegular() && m.has("becomes-file", "file")
			})
			within(t, "the list", func() bool {
				return m.names() == "becomes-file changed d done kept last new to to-d"
			})
			if again, err := os.Stat(filepath.Join(m.dir, "kept")); err != nil || !os.SameFile(kept, again) {
				t.Errorf("a file that nobody changed is another one: %v", err)
			}
		})
	}
}

// A change of something else does not come between programs on this side.
func TestFileStaysOneWhenOthersChangeOtherFiles(t *testing.T) {
	m := newMount(t)
	far := m.another()
	m.write("other", "old")
	m.write("log", "")
	log, err := os.OpenFile(filepath.Join(m.dir, "log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for i := range 20 {
		far.do("put", "/home/c/other", fmt.Sprint(i))
		within(t, "the change of the other file", func() bool { return m.has("other", fmt.Sprint(i)) })
		if _, err := fmt.Fprintln(log, i); err != nil {
			t.Fatal(err)
		}
		want := ""
		for k := range i + 1 {
			want += fmt.Sprintln(k)
		}
		if got := m.read("log"); got != want {
			t.Fatalf("after %d changes elsewhere, who reads what another program writes gets %q; want %q", i+1, got, want)
		}
	}
}
