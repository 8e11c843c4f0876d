package crash

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"keepdav/test/load"
	"keepdav/test/target"
)

// startBar is how long a start after a kill may take.
const startBar = 2 * time.Second

// TestKilledServerKeepsWhatItAcknowledged kills the server at random moments
// under a mixed load and looks at what the next one finds in the store.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	rounds := 5
	if target.Long() {
		rounds = 50
	}
	killRounds(t, target.KeepDAV, rounds)
}

// TestKillHarnessPassesADurableServer runs the same on the reference server:
// what it reports of keep-dav is then no fault of its own.
func TestKillHarnessPassesADurableServer(t *testing.T) {
	killRounds(t, target.ReferenceDurable, 2)
}

func killRounds(t *testing.T, kind target.Kind, rounds int) {
	store := filepath.Join(t.TempDir(), "store")
	cfg := mixed(kind, uint64(time.Now().UnixNano()))
	t.Logf("seed %d", cfg.Seed)
	rng := rand.New(rand.NewPCG(cfg.Seed, 1))
	journal := cfg.Empty()
	for round := range rounds {
		// A start of the round's own, so that each begins from a store that was closed well too.
		ok := t.Run(fmt.Sprint("round", round), func(t *testing.T) {
			s := target.Start(t, target.Options{Kind: kind, Store: store})
			if round == 0 {
				makeCollections(t, s, cfg)
			}
			cfg.Seed++
			done := make(chan error, 1)
			go func() { done <- at(s, cfg, journal).Run(t.Context()) }()
			disturbed := make(chan struct{})
			go func() { defer close(disturbed); disturb(t.Context(), t, s, cfg) }()
			select {
			case err := <-done:
				t.Fatalf("the load ended before the kill: %v", err)
			case <-time.After(time.Duration(50+rng.IntN(2000)) * time.Millisecond):
			}
			s.Kill()
			<-disturbed
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			end := journal.Position()
			acknowledged := journal.Acknowledged(end)

			again := target.Start(t, target.Options{Kind: kind, Store: store})
			if again.Started > startBar {
				t.Errorf("the start after the kill took %v; at most %v is right", again.Started, startBar)
			}
			found, err := at(again, cfg, nil).Verify(journal.At(end))
			if err != nil {
				t.Fatalf("after %d acknowledged requests and a kill: %v", acknowledged, err)
			}
			t.Logf("%d requests acknowledged, start in %v", acknowledged, again.Started.Round(time.Millisecond))
			if err := again.Stop(); err != nil {
				t.Error(err)
			}
			if err := target.Fsck(t, kind, store); err != nil {
				t.Fatal(err)
			}
			journal = load.NewJournal(found)
		})
		if !ok {
			return // what follows would fail for the same reason
		}
	}
}
