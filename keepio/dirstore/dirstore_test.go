package dirstore_test

import (
	"path/filepath"
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/dirstore"
	"keepdav/keepio/storetest"
)

// config returns a place for a store.
func config(t testing.TB) dirstore.Config {
	dir := t.TempDir()
	return dirstore.Config{Dir: filepath.Join(dir, "blocks"), Sums: filepath.Join(dir, "sums"), Trash: filepath.Join(dir, "trash")}
}

// open opens a store that is closed with the test.
func open(t testing.TB, cfg dirstore.Config) *dirstore.Store {
	t.Helper()
	s, err := dirstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestDirstoreIsAStore(t *testing.T) {
	for name, change := range map[string]func(*dirstore.Config){
		"default":   func(*dirstore.Config) {},
		"no sync":   func(c *dirstore.Config) { c.NoSync = true },
		"few files": func(c *dirstore.Config) { c.OpenFiles = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) keepio.Store {
				cfg := config(t)
				change(&cfg)
				return open(t, cfg)
			})
		})
	}
}
