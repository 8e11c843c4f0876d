package fusefs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keepdav/davfs/fusefs"
)

// twoMounts mounts one store twice.
func twoMounts(t *testing.T, cached bool) (one, two *mount) {
	t.Helper()
	one = mountStore(t, true, 0, func(o *fusefs.Options) { o.WriteCache = cached })
	other := *one
	other.top = one.second
	other.dir = filepath.Join(other.top, "home/c")
	within(t, "the collection at the other mount", func() bool { _, err := os.Stat(other.dir); return err == nil })
	return one, &other
}

func (m *mount) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *mount) path(name string) string { return filepath.Join(m.dir, name) }

func TestTwoMountsOfOneStore(t *testing.T) {
	for _, cached := range []bool{true, false} {
		t.Run(fmt.Sprint("cached=", cached), func(t *testing.T) {
			a, b := twoMounts(t, cached)
			cases := []struct {
				name string
				do   func(t *testing.T, a, b *mount)
			}{
				{"T15 new files of the other side are taken", func(t *testing.T, a, b *mount) {
					a.write("a", "of a")
					b.write("b", "of b")
					within(t, "both are in both", func() bool {
						return a.has("b", "of b") && b.has("a", "of a") && a.names() == "a b" && b.names() == "a b"
					})
				}},
				{"T16 updates of the other side are taken", func(t *testing.T, a, b *mount) {
					a.write("f", "old")
					within(t, "old", func() bool { return b.has("f", "old") })
					b.write("f", "changed")
					within(t, "the new content", func() bool { return a.has("f", "changed") })
					within(t, "the new size", func() bool { i, err := os.Stat(a.path("f")); return err == nil && i.Size() == 7 })
					at := time.Unix(1000, 0)
					b.must(os.Chtimes(b.path("f"), at, at))
					within(t, "the new time", func() bool { i, err := os.Stat(a.path("f")); return err == nil && i.ModTime().Equal(at) })
				}},
				{"T17 deletes are taken, but not those of what was changed meanwhile", func(t *testing.T, a, b *mount) {
					a.write("gone", "old")
					a.write("changed", "old")
					within(t, "old", func() bool { return b.has("gone", "old") && b.has("changed", "old") })
					f, err := os.OpenFile(a.path("changed"), os.O_RDWR, 0)
					a.must(err)
					b.must(os.Remove(b.path("gone")))
					b.must(os.Remove(b.path("changed")))
					within(t, "gone", func() bool { return a.missing("gone") && a.missing("changed") })
					_, err = f.WriteAt([]byte("NEW"), 0)
					a.must(err)
					a.must(f.Close())
					within(t, "what was changed", func() bool { return a.has("changed", "NEW") && b.has("changed", "NEW") })
				}},
				{"T18 of two versions the newer keeps the name and the older is kept", func(t *testing.T, a, b *mount) {
					a.write("f", "old")
					within(t, "old", func() bool { return b.has("f", "old") })
					f, err := os.OpenFile(a.path("f"), os.O_RDWR, 0)
					a.must(err)
					b.write("new", "OF B")
					b.must(os.Rename(b.path("new"), b.path("f")))
					within(t, "b's", func() bool { return a.has("f", "OF B") })
					_, err = f.WriteAt([]byte("OF A"), 0)
					a.must(err)
					a.must(f.Close())
					within(t, "both", func() bool {
						names := strings.Fields(b.names())
						return len(names) == 2 && b.has(names[0], "OF A") && b.has(names[1], "OF B") && strings.Contains(names[1], "~conflict~")
					})
				}},
				{"T76 the same file at once", func(t *testing.T, a, b *mount) {
					if cached {
						t.Skip("a kernel that collects writes writes whole pages: the write cache is for who is the only way in")
					}
					a.write("f", strings.Repeat("a", 8192))
					within(t, "old", func() bool { return len(b.read("f")) == 8192 })
					fa, err := os.OpenFile(a.path("f"), os.O_RDWR, 0)
					a.must(err)
					fb, err := os.OpenFile(b.path("f"), os.O_RDWR, 0)
					b.must(err)
					_, err = fa.WriteAt([]byte("OF A"), 10)
					a.must(err)
					_, err = fb.WriteAt([]byte("OF B"), 20) // the same page, which its kernel cache has as it was
					b.must(err)
					a.must(fa.Close())
					b.must(fb.Close())
					a.kept("OF A", "OF B")
				}},
				{"T76 moves of what the other side writes to", func(t *testing.T, a, b *mount) {
					a.must(os.Mkdir(a.path("d"), 0o755))
					a.write("d/f", "old")
					within(t, "old", func() bool { return b.has("d/f", "old") })
					f, err := os.OpenFile(a.path("d/f"), os.O_RDWR, 0)
					a.must(err)
					b.must(os.Rename(b.path("d"), b.path("e")))
					_, err = f.WriteAt([]byte("NEW"), 0)
					a.must(err)
					a.must(f.Close())
					within(t, "what was written", func() bool { return a.has("e/f", "NEW") && b.has("e/f", "NEW") && a.missing("d") })
				}},
			}
			for i, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					a, b := *a, *b
					a.t, b.t = t, t
					a.name = fmt.Sprint("case", i)
					b.name = a.name
					a.dir, b.dir = filepath.Join(a.top, "home", a.name), filepath.Join(b.top, "home", a.name)
					a.must(os.Mkdir(a.dir, 0o755))
					within(t, "the collection", func() bool { _, err := os.Stat(b.dir); return err == nil })
					c.do(t, &a, &b)
				})
			}
		})
	}
}
