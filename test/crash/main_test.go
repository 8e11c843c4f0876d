// Package crash proves what an answer promises: the server is killed, its
// power is cut, its disk fills up, its clients go away, and each time
// everything acknowledged is there, byte for byte, and nothing is torn.
package crash

import (
	"testing"

	"keepdav/test/load"
	"keepdav/test/target"
)

func TestMain(m *testing.M) { target.Main(m) }

// mixed is a load on three collections, as hard as the kind of server allows.
func mixed(kind target.Kind, seed uint64) load.Config {
	return load.Config{
		User: target.User, Password: target.Password,
		Collections: []string{"/home/one", "/home/two", "/home/three"},
		Workers:     6, Seed: seed, Stepwise: kind != target.KeepDAV,
	}
}

func makeCollections(t *testing.T, s *target.Server, cfg load.Config) {
	t.Helper()
	for _, c := range cfg.Collections {
		s.Must(t, []int{201}, "MKCOL", c+"/", nil)
	}
}

// at is the load for a running server.
func at(s *target.Server, cfg load.Config, j *load.Journal) *load.Runner {
	cfg.URL = s.URL
	return load.NewRunner(cfg, target.NewClient(), j)
}
