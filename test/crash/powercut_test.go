package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"keepdav/test/load"
	"keepdav/test/powerfs"
	"keepdav/test/target"
)

// TestPowerCutLosesNothingAcknowledged runs the server on a disk that forgets
// what wasn't synced, and starts it again on what random cuts leave.
func TestPowerCutLosesNothingAcknowledged(t *testing.T) {
	runs, cuts := 2, 10
	if target.Long() {
		runs, cuts = 25, 40
	}
	for run := range runs {
		t.Run(fmt.Sprint("run", run), func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			for _, c := range collectCuts(t, target.KeepDAV, seed, cuts) {
				t.Run(fmt.Sprintf("op%d", c.op), func(t *testing.T) {
					if err := c.check(t, target.KeepDAV); err != nil {
						t.Errorf("seed %d, cut before operation %d, after %d acknowledged requests: %v", seed, c.op, c.acknowledged, err)
					}
				})
			}
		})
	}
}

// TestPowerCutHarnessPassesADurableServer: what syncs comes through.
func TestPowerCutHarnessPassesADurableServer(t *testing.T) {
	for _, c := range collectCuts(t, target.ReferenceDurable, 1, 15) {
		if err := c.check(t, target.ReferenceDurable); err != nil {
			t.Errorf("cut before operation %d: %v", c.op, err)
		}
	}
}

// TestPowerCutHarnessCatchesALiar: a server that answers before its data is on
// disk doesn't come through, or the test above would prove nothing.
func TestPowerCutHarnessCatchesALiar(t *testing.T) {
	caught := 0
	all := collectCuts(t, target.ReferenceLying, 2, 15)
	for _, c := range all {
		if err := c.check(t, target.ReferenceLying); err != nil {
			caught++
		}
	}
	t.Logf("%d of %d cuts lost something", caught, len(all))
	if caught < len(all)/3 {
		t.Errorf("only %d of %d cuts lost something on a server that never syncs", caught, len(all))
	}
}

// A cut is a moment of a run: what the disk would have, and what the clients know.
type cut struct {
	op           int64
	image        *powerfs.Image
	expected     []load.Expected
	acknowledged int
	cfg          load.Config
}

// collectCuts runs a server on a disk under load, and draws n moments of it,
// all equally likely, and the end.
func collectCuts(t *testing.T, kind target.Kind, seed uint64, n int) []cut {
	t.Helper()
	target.NeedRoot(t)
	if kind == target.KeepDAV {
		target.Binary(t)
	}
	dir, err := os.MkdirTemp("", "power-") // short: the server has a socket in it
	if err != nil {
		t.Fatal(err)
	}
	disk := powerfs.NewDisk()
	mounted, err := powerfs.Mount(dir, disk)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mounted.Unmount(); err != nil {
			t.Error(err)
		}
		os.Remove(dir)
	}()
	s := target.Start(t, target.Options{Kind: kind, Store: filepath.Join(dir, "store")})
	cfg := mixed(kind, seed)
	cfg.Ops, cfg.Large = 40, 1<<20
	makeCollections(t, s, cfg)
	journal := cfg.Empty()

	type moment struct {
		op       int64
		image    *powerfs.Image
		position int
	}
	var moments []moment // a reservoir: which moments are in it is random, how many is not
	rng := rand.New(rand.NewPCG(seed, 3))
	seen := 0
	disk.Before(func(op int64, image func(uint64) *powerfs.Image) {
		seen++
		at := len(moments)
		if at >= n {
			if at = rng.IntN(seen); at >= n {
				return
			}
		} else {
			moments = append(moments, moment{})
		}
		moments[at] = moment{op, image(rng.Uint64()), journal.Position()}
	})
	ctx, calm := context.WithCancel(t.Context())
	disturbed := make(chan struct{})
	go func() { defer close(disturbed); disturb(ctx, t, s, cfg) }()
	if err := at(s, cfg, journal).Run(t.Context()); err != nil {
		t.Error(err)
	}
	calm()
	<-disturbed
	waitForQuiet(disk) // what goes on behind the answers is in danger as well
	disk.Before(nil)
	disk.Cut()
	moments = append(moments, moment{disk.Ops(), disk.Image(rng.Uint64()), journal.Position()})
	s.Kill()

	t.Logf("seed %d: %d requests acknowledged, %d operations of the disk", seed, journal.Acknowledged(journal.Position()), disk.Ops())
	var cuts []cut
	for _, m := range moments {
		cuts = append(cuts, cut{m.op, m.image, journal.At(m.position), journal.Acknowledged(m.position), cfg})
	}
	return cuts
}

// waitForQuiet returns when the disk had nothing to do for a second, or after fifteen.
func waitForQuiet(d *powerfs.Disk) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last, since := d.Ops(), time.Now()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end) && time.Since(since) < time.Second; {
		<-tick.C
		if now := d.Ops(); now != last {
			last, since = now, time.Now()
		}
	}
}

// check starts a server on what the cut left and looks.
func (c *cut) check(t *testing.T, kind target.Kind) error {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := c.image.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "store")
	if keep := os.Getenv("KEEPDAV_TEST_KEEP"); keep != "" { // to look at it before a server has
		if err := c.image.WriteTo(filepath.Join(keep, fmt.Sprintf("cut-%d-%d", c.cfg.Seed, c.op))); err != nil {
			t.Fatal(err)
		}
	}
	s, err := target.TryStart(t, target.Options{Kind: kind, Store: store})
	if err != nil {
		return err
	}
	if _, err := at(s, c.cfg, nil).Verify(c.expected); err != nil {
		return err
	}
	if err := s.Stop(); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return target.Fsck(t, kind, store)
}
