package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"keepdav/cmd/internal/maint"
)

// now are the options of a collection that waits for nothing.
func now() maint.CollectOptions { return maint.CollectOptions{Repack: true} }

func fsck(t *testing.T, r *rig, o maint.CheckOptions) maint.Report {
	t.Helper()
	return do1[maint.Report](t, r, "fsck", o)
}

// random returns n bytes that nobody else has.
func random(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return string(b)
}

// blocksOf lists the files of stored blocks.
func blocksOf(t *testing.T, r *rig) (files []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.cli.Store, "blocks", "???", strings.Repeat("?", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestGarbageGoesAfterTwoLooksAndWaitsInTheTrash(t *testing.T) {
	r := newRig(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", random(2<<20))
	do1[collectionStat](t, r, "stat.collection", statArgs{As: adminName, Name: "/home/c", PDH: true})
	r.must(t, 204, "DELETE", "/home/c", "")
	if n := len(blocksOf(t, r)); n != 1 {
		t.Fatalf("%d blocks are stored; want 1", n)
	}
	keep := maint.CollectOptions{KeepVersions: time.Hour, KeepTrash: time.Hour}
	if c := do1[maint.Collected](t, r, "gc", keep); c.Unreferenced != 0 {
		t.Errorf("a block of a collection in the trash counts as garbage: %+v", c)
	}
	waits := maint.CollectOptions{Grace: time.Nanosecond, KeepBlocks: time.Hour}
	if c := do1[maint.Collected](t, r, "gc", waits); c.Unreferenced != 1 || c.Trashed != 0 {
		t.Errorf("the first look: %+v; want the block to be marked only", c)
	}
	if c := do1[maint.Collected](t, r, "gc", waits); c.Trashed != 1 || c.Deleted != 0 {
		t.Errorf("the second look: %+v; want the block in the trash", c)
	}
	if c := do1[maint.Collected](t, r, "gc", now()); c.Deleted != 1 {
		t.Errorf("with nothing to wait for: %+v; want the block deleted", c)
	}
	if rep := fsck(t, r, maint.CheckOptions{}); !rep.Sound() {
		t.Errorf("fsck: %+v", rep.Problems)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	r := newRig(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", random(100))
	r.must(t, 201, "PUT", "/home/c/g", random(100))
	r.must(t, 204, "DELETE", "/home/c", "")
	o := now()
	o.DryRun = true
	if c := do1[maint.Collected](t, r, "gc", o); c.Collections != 1 {
		t.Errorf("a dry run says %+v; want the deleted collection to expire", c)
	}
	all := do1[[]trashInfo](t, r, "trash.list", none{})
	if len(all) != 1 {
		t.Errorf("the trash has %d collections; want the one", len(all))
	}
}

func TestSameBytesPutAgainAreNotCollected(t *testing.T) {
	r := newRig(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	data := random(1 << 20)
	r.must(t, 201, "PUT", "/home/c/f", data)
	do1[collectionStat](t, r, "stat.collection", statArgs{As: adminName, Name: "/home/c", PDH: true})
	r.must(t, 204, "DELETE", "/home/c/f", "")
	waits := maint.CollectOptions{Grace: time.Nanosecond, KeepVersions: time.Hour}
	do1[maint.Collected](t, r, "gc", waits)
	r.must(t, 201, "PUT", "/home/c/f", data)
	do1[maint.Collected](t, r, "gc", waits)
	do1[maint.Collected](t, r, "gc", now())
	if got := r.must(t, 200, "GET", "/home/c/f", ""); got != data {
		t.Error("the file has not what was put")
	}
}

// Files are written, copied, moved between collections, deleted, while garbage is
// collected all the time without any grace. Every file has to stay whole.
func TestCollectingBesideWritersLosesNothing(t *testing.T) {
	r := newRig(t)
	const writers, rounds = 4, 25
	for w := range writers {
		r.must(t, 201, "MKCOL", fmt.Sprintf("/home/c%d", w), "")
	}
	ctx, stop := context.WithCancel(t.Context())
	var collector sync.WaitGroup
	collector.Go(func() {
		for ctx.Err() == nil {
			if _, err := call[maint.Collected](t.Context(), r.cli, "gc", now()); err != nil {
				t.Errorf("gc: %v", err)
				return
			}
		}
	})
	want := make([]map[string]string, writers)
	g := new(errgroup.Group)
	for w := range writers {
		want[w] = map[string]string{}
		g.Go(func() error { return churn(r, w, rounds, want[w]) })
	}
	err := g.Wait()
	stop()
	collector.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for w := range writers {
		for name, data := range want[w] {
			if got := r.must(t, 200, "GET", name, ""); got != data {
				t.Errorf("%s has %d bytes that are not those of the last PUT", name, len(got))
			}
		}
	}
	if rep := fsck(t, r, maint.CheckOptions{}); !rep.Sound() {
		t.Errorf("fsck: %+v", rep.Problems)
	}
}

// churn changes files of its own in all collections, and keeps in want what each has.
func churn(r *rig, w, rounds int, want map[string]string) error {
	rnd := rand.New(rand.NewPCG(uint64(w), 1))
	names := func() string { return fmt.Sprintf("/home/c%d/w%d-%d", rnd.IntN(4), w, rnd.IntN(6)) }
	do := func(method, name, body string, header ...string) (int, error) {
		req, err := http.NewRequest(method, strings.TrimSuffix(r.url, "/")+name, strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.SetBasicAuth(adminName, testPassword)
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		if resp.StatusCode >= 400 {
			return resp.StatusCode, fmt.Errorf("%s %s = %d", method, name, resp.StatusCode)
		}
		return resp.StatusCode, nil
	}
	for range rounds {
		src, dst := names(), names()
		data, have := want[src]
		switch n := rnd.IntN(10); {
		case n < 4 || !have:
			data = random(1 + rnd.IntN(200_000))
			if _, err := do("PUT", dst, data); err != nil {
				return err
			}
			want[dst] = data
		case n < 6 && src != dst:
			if _, err := do("COPY", src, "", "Destination", dst); err != nil {
				return err
			}
			want[dst] = data
		case n < 8 && src != dst:
			if _, err := do("MOVE", src, "", "Destination", dst); err != nil {
				return err
			}
			want[dst] = data
			delete(want, src)
		default:
			if _, err := do("DELETE", src, ""); err != nil {
				return err
			}
			delete(want, src)
		}
	}
	return nil
}

func TestSpaceOfRewrittenFilesComesBack(t *testing.T) {
	r := newRig(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	data := []byte(random(8 << 20))
	r.must(t, 201, "PUT", "/home/c/f", string(data))
	for range 60 {
		at := rand.IntN(len(data) - 200_000)
		piece := random(200_000)
		copy(data[at:], piece)
		r.must(t, 204, "PUT", "/home/c/f", piece, "Content-Range", fmt.Sprintf("bytes %d-%d/*", at, at+len(piece)-1))
	}
	do1[maint.Collected](t, r, "gc", now())
	var stored int64
	for _, f := range blocksOf(t, r) {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		stored += info.Size()
	}
	if limit := int64(len(data)) * 13 / 10; stored > limit {
		t.Errorf("%d bytes are stored for %d; want %d at most", stored, len(data), limit)
	}
	if got := r.must(t, 200, "GET", "/home/c/f", ""); got != string(data) {
		t.Error("the file has changed")
	}
	if rep := fsck(t, r, maint.CheckOptions{}); !rep.Sound() {
		t.Errorf("fsck: %+v", rep.Problems)
	}
}

func TestFsckNamesTheFilesOfADamagedBlock(t *testing.T) {
	r := newRigStopped(t)
	stop := r.serve(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", random(300_000))
	do1[collectionStat](t, r, "stat.collection", statArgs{As: adminName, Name: "/home/c", PDH: true})
	stop()
	block := blocksOf(t, r)[0]
	data, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	data[1000] ^= 1
	if err := os.WriteFile(block, data, 0o600); err != nil {
		t.Fatal(err)
	}
	rep := fsck(t, r, maint.CheckOptions{})
	kinds := map[string]bool{}
	named := false
	for _, p := range rep.Problems {
		kinds[p.Kind] = true
		named = named || p.Path == "f"
	}
	if rep.Sound() || !kinds["corrupt-block"] || !named {
		t.Errorf("fsck of a store with a changed byte: %+v; want corrupt-block, and the file named", rep.Problems)
	}
	if rep := fsck(t, r, maint.CheckOptions{Quick: true}); !rep.Sound() {
		t.Errorf("a quick fsck reads no blocks, but says: %+v", rep.Problems)
	}
}

func TestFsckBringsBackABlockFromTheTrash(t *testing.T) {
	r := newRigStopped(t)
	stop := r.serve(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	data := random(300_000)
	r.must(t, 201, "PUT", "/home/c/f", data)
	do1[collectionStat](t, r, "stat.collection", statArgs{As: adminName, Name: "/home/c", PDH: true})
	stop()
	block := blocksOf(t, r)[0]
	if err := os.Rename(block, filepath.Join(r.cli.Store, "trash", filepath.Base(block)+fmt.Sprintf(".%d", time.Now().Unix()))); err != nil {
		t.Fatal(err)
	}
	rep := fsck(t, r, maint.CheckOptions{})
	if rep.Sound() || rep.Problems[0].Kind != "lost-block" || rep.Problems[0].Path != "f" {
		t.Errorf("fsck without a block: %+v; want lost-block of f", rep.Problems)
	}
	if rep := fsck(t, r, maint.CheckOptions{Repair: true}); !rep.Sound() || len(rep.Problems) != 1 || !rep.Problems[0].Repaired {
		t.Errorf("fsck --repair: %+v; want it repaired", rep.Problems)
	}
	if rep := fsck(t, r, maint.CheckOptions{}); !rep.Sound() {
		t.Errorf("fsck after the repair: %+v", rep.Problems)
	}
	r.serve(t)
	if got := r.must(t, 200, "GET", "/home/c/f", ""); got != data {
		t.Error("the file has not what was put")
	}
}

func TestFsckCommandTellsDamageByItsExitCode(t *testing.T) {
	r := newRigStopped(t)
	stop := r.serve(t)
	r.must(t, 201, "MKCOL", "/home/c", "")
	r.must(t, 201, "PUT", "/home/c/f", random(3000))
	do1[collectionStat](t, r, "stat.collection", statArgs{As: adminName, Name: "/home/c", PDH: true})
	stop()
	code := func() int {
		var c cli
		parser, err := newParser(&c)
		if err != nil {
			t.Fatal(err)
		}
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		old, olderr := os.Stdout, os.Stderr
		os.Stdout, os.Stderr = null, null
		defer func() { os.Stdout, os.Stderr = old, olderr }()
		return run(parser, &c, []string{"fsck", "--store", r.cli.Store})
	}
	if got := code(); got != 0 {
		t.Errorf("exit code of a sound store %d; want 0", got)
	}
	block := blocksOf(t, r)[0]
	if err := os.WriteFile(block, bytes.Repeat([]byte("x"), 3000), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := code(); got != exitDamage {
		t.Errorf("exit code of a damaged store %d; want %d", got, exitDamage)
	}
	if _, err := hex.DecodeString(filepath.Base(block)); err != nil {
		t.Errorf("a block is called %s", filepath.Base(block))
	}
}
