package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keepdav/test/target"
)

// openFile is the content of a file that was not closed yet: it may have any, and may
// not be there.
const openFile = "open"

// A writer works in a directory of its own and keeps what was acknowledged.
type writer struct {
	dir  string
	rng  *rand.Rand
	dead *atomic.Bool

	states []map[string]string // after each operation that was begun: what each name has
	acked  int                 // the first of them that may be found
	log    []byte              // all that was begun to be appended to the file log
	logged int                 // so much of it was acknowledged
}

func (w *writer) now() map[string]string { return w.states[len(w.states)-1] }

// begin notes how the directory may look from now on.
func (w *writer) begin(change func(map[string]string)) {
	next := maps.Clone(w.now())
	change(next)
	w.states = append(w.states, next)
}

// acknowledge notes that all that was begun is kept.
func (w *writer) acknowledge() { w.acked = len(w.states) - 1 }

func sum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

func (w *writer) bytes() []byte {
	size := w.rng.IntN(3000)
	if w.rng.IntN(5) == 0 {
		size = w.rng.IntN(400_000)
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	return b
}

// put makes a file by way of a temporary one.
func (w *writer) put(name string, sync bool) error {
	const tmp = "tmp"
	data := w.bytes()
	w.begin(func(s map[string]string) { s[tmp] = openFile })
	f, err := os.Create(filepath.Join(w.dir, tmp))
	if err != nil {
		return err
	}
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1+w.rng.IntN(100_000))
		if _, err := f.Write(rest[:n]); err != nil {
			return errors.Join(err, f.Close())
		}
		rest = rest[n:]
	}
	if sync {
		if err := f.Sync(); err != nil {
			return errors.Join(err, f.Close())
		}
		w.begin(func(s map[string]string) { s[tmp] = sum(data) })
		w.acknowledge()
	}
	if err := f.Close(); err != nil {
		return err
	}
	w.begin(func(s map[string]string) { s[tmp] = sum(data) })
	w.acknowledge()
	w.begin(func(s map[string]string) {
		s[name] = s[tmp]
		delete(s, tmp)
	})
	return os.Rename(filepath.Join(w.dir, tmp), filepath.Join(w.dir, name))
}

func (w *writer) appendLog() error {
	data := []byte(fmt.Sprintln(len(w.log), w.rng.Uint64()))
	w.log = append(w.log, data...)
	f, err := os.OpenFile(filepath.Join(w.dir, "log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	w.logged = len(w.log)
	w.acknowledge()
	return nil
}

func (w *writer) step() error {
	name := fmt.Sprint("f", w.rng.IntN(8))
	has := w.now()[name]
	switch w.rng.IntN(8) {
	case 0, 1, 2:
		return w.put(name, false)
	case 3:
		return w.put(name, true)
	case 4:
		if has == "" {
			return nil
		}
		w.begin(func(s map[string]string) { delete(s, name) })
		return os.Remove(filepath.Join(w.dir, name))
	case 5:
		to := fmt.Sprint("f", w.rng.IntN(8))
		if has == "" || to == name {
			return nil
		}
		w.begin(func(s map[string]string) {
			s[to] = has
			delete(s, name)
		})
		return os.Rename(filepath.Join(w.dir, name), filepath.Join(w.dir, to))
	case 6:
		return w.appendLog()
	}
	d, err := os.Open(w.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return err
	}
	w.acknowledge()
	return nil
}

// run works until the mount is killed.
func (w *writer) run() error {
	for !w.dead.Load() {
		if err := w.step(); err != nil {
			if w.dead.Load() {
				return nil
			}
			return err
		}
	}
	return nil
}

// verify compares what is found, and goes on from there.
func (w *writer) verify() error {
	es, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	found := make(map[string]string)
	var log []byte
	for _, e := range es {
		data, err := os.ReadFile(filepath.Join(w.dir, e.Name()))
		if err != nil {
			return err
		}
		if e.Name() == "log" {
			log = data
			continue
		}
		found[e.Name()] = sum(data)
	}
	if !bytes.HasPrefix(w.log, log) || len(log) < w.logged {
		return fmt.Errorf("%s/log has %d bytes; want a beginning of what was written, of %d at least", w.dir, len(log), w.logged)
	}
	for _, s := range w.states[w.acked:] {
		if matches(s, found) {
			w.states, w.acked = []map[string]string{found}, 0
			w.log = log
			w.logged = len(log)
			return nil
		}
	}
	return fmt.Errorf("%s has %v;\nwant one of the %d states from\n%v\nto\n%v", w.dir, short(found), len(w.states)-w.acked, short(w.states[w.acked]), short(w.now()))
}

func short(s map[string]string) map[string]string {
	out := make(map[string]string)
	for name, sum := range s {
		out[name] = sum[:min(6, len(sum))]
	}
	return out
}

func matches(state, found map[string]string) bool {
	for name, want := range state {
		if got, ok := found[name]; want != openFile && (!ok || got != want) {
			return false
		}
	}
	for name := range found {
		if _, ok := state[name]; !ok {
			return false
		}
	}
	return true
}

// killRounds kills the mount at random moments and looks at what the next one, at
// the same mount point, finds.
func killRounds(t *testing.T, rounds int, args ...string) {
	p := newPlace(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	args = append([]string{"--read-write", "--home", "--replace"}, append(args, p.dir)...)
	f := p.start(t, args...)
	var dead atomic.Bool
	var writers []*writer
	for i := range 6 {
		w := &writer{
			dir: filepath.Join(p.dir, fmt.Sprint("c", i%2), fmt.Sprint("w", i)), rng: rand.New(rand.NewPCG(seed, uint64(i)+1)),
			dead: &dead, states: []map[string]string{{}},
		}
		if err := os.MkdirAll(w.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, w)
	}
	sh(t, "sync -f "+p.dir+" && sync "+p.dir+"/c0 "+p.dir+"/c1")
	for round := range rounds {
		dead.Store(false)
		var running sync.WaitGroup
		for _, w := range writers {
			running.Go(func() {
				if err := w.run(); err != nil {
					t.Errorf("round %d: before the kill: %v", round, err)
				}
			})
		}
		time.Sleep(time.Duration(20+rng.IntN(700)) * time.Millisecond) // the moment of the kill
		dead.Store(true)
		if err := f.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		running.Wait()
		_ = f.Wait()
		f = p.start(t, args...)
		begun := 0
		for _, w := range writers {
			begun += len(w.states)
			if err := w.verify(); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if found := sh(t, "find "+p.dir+" -name '*conflict*'"); found != "" {
			t.Errorf("round %d: conflicts out of nowhere: %s", round, found)
		}
		if t.Failed() {
			return
		}
		t.Logf("round %d: %d operations", round, begun)
	}
	sh(t, "umount "+p.dir)
	f.end(t, 0)
	if strings.Contains(f.said.String(), "error") {
		t.Errorf("it says %s", f.said)
	}
	p.free(t)
}

// What close, fsync or fsync of the directory returned for is there after a kill -9
// and a new mount, and what came later is there in order.
func TestKilledMountKeepsWhatItAcknowledged(t *testing.T) {
	rounds := 4
	if target.Long() {
		rounds = 60
	}
	for _, cache := range []string{"on", "off"} {
		t.Run("write-cache="+cache, func(t *testing.T) { killRounds(t, rounds, "--write-cache="+cache) })
	}
}
