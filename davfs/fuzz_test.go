package davfs_test

import (
	"path"
	"strings"
	"testing"
)

// Whatever a name is made of, it leads to what it names or to an error.
func FuzzStat(f *testing.F) {
	r := newRig(f)
	r.mkdir("/home/c", "/home/c/d")
	r.put("/home/c/d/f", "x")
	r.put("/home/loose", "x")
	id := string(r.entry(r.admin.UUID, "c").Collection.UUID)
	for _, name := range []string{"/", "/home", "/home/c/d/f", "/home/c/../../x", "//", "/home//c", "/home/c/.", "home", "", "/by_id/" + id + "@1/d/f",
		"/by_id/" + id + "@", "/by_id/d41d8cd98f00b204e9800998ecf8427e+0", "/shared/x/y", "/users/admin/c", "/home/.arvados#project",
		"/home/c/.arvados#collection", "/home/c/\x00", "/home/c/d/\xff\xfe", "/home/loose/x", "/home/Loose files/loose", "/home/c/._f"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		i, err := r.Stat(t.Context(), name)
		_, _, werr := r.Where(t.Context(), name)
		if err != nil {
			return
		}
		if name[0] != '/' || path.Clean(name) != name || strings.Contains(name, "\x00") {
			t.Errorf("Stat(%q) = %+v; want it refused", name, i)
		}
		if werr != nil {
			t.Errorf("Where(%q) = %v of what is there", name, werr)
		}
	})
}
