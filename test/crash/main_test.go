// Package crash proves what an answer promises: the server is killed, its
// power is cut, its disk fills up, its clients go away, and each time
// everything acknowledged is there, byte for byte, and nothing is torn.
package crash

import (
	"context"
	"testing"
	"time"

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

// disturb makes keep-dav do, beside the load, what it would do only after a long
// while: seal, hash and store blocks, because somebody asks for a manifest, and
// collect garbage without grace. It ends with ctx or with the server.
func disturb(ctx context.Context, t *testing.T, s *target.Server, cfg load.Config) {
	if s.Kind != target.KeepDAV {
		return
	}
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-s.Done():
			return
		case <-tick.C:
		}
		// Neither has to succeed: the server may be killed meanwhile.
		if n%3 == 2 {
			_ = target.Run(t, "gc", "--store", s.Store, "--now")
		} else {
			_, _ = s.Do("GET", cfg.Collections[n%len(cfg.Collections)]+"/.arvados%23collection", nil)
		}
	}
}
