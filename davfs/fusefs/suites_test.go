package fusefs_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"keepdav/davfs/fusefs"
	"keepdav/test/posix"
)

// posixtest's cases, each in a directory of its own.
func TestPosixtest(t *testing.T) {
	for _, how := range []struct {
		name   string
		change func(*fusefs.Options)
	}{
		{"", func(*fusefs.Options) {}},
		{"Posix", func(o *fusefs.Options) { o.Posix, o.AllowOther = true, true }},
		{"WriteThrough", func(o *fusefs.Options) { o.WriteCache = false }},
	} {
		t.Run(how.name, func(t *testing.T) {
			m := newMount(t, how.change)
			for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
				t.Run(name, func(t *testing.T) {
					dir := filepath.Join(m.dir, name)
					if err := os.Mkdir(dir, 0o755); err != nil {
						t.Fatal(err)
					}
					posixtest.All[name](t, dir)
				})
			}
		})
	}
}

func TestPosixSuite(t *testing.T) {
	m := newMount(t, func(o *fusefs.Options) { o.Posix, o.AllowOther = true, true })
	posix.Run(t, m.dir, posix.Options{})
}
