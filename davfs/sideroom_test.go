package davfs_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"keepdav/collfs"
	"keepdav/davfs"
)

// Slow clients could make the memory of the server theirs otherwise.
func TestSideFilesInTheMakingAreBoundedTogether(t *testing.T) {
	r := newRig(t)
	r.mkdir("/home/c")
	r.put("/home/c/._f3", "old")
	r.put("/home/c/._f4", "old")
	data := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 15<<20) }
	var ups []davfs.Upload
	for i := range 6 {
		name := fmt.Sprint("/home/c/._f", i)
		o := davfs.PutOptions{Size: -1}
		if i == 3 {
			o.Check = func(i davfs.Info, ok bool) error {
				if !ok || i.Size != 3 {
					t.Errorf("Check gets size %d, %v; want the side file that is replaced", i.Size, ok)
				}
				return nil
			}
		}
		up, err := r.Put(r.ctx, name, o)
		r.must(err)
		defer up.Abort()
		_, err = up.ReadFrom(bytes.NewReader(data(i)))
		r.must(err)
		ups = append(ups, up)
	}
	r.put("/home/c/._small", "fits") // while the large ones are under way
	for i, up := range ups {
		_, created, err := up.Commit(r.ctx)
		if err != nil || created != (i != 3 && i != 4) {
			t.Errorf("Commit of %d = created %v, %v", i, created, err)
		}
	}
	r.wantList("/home/c", "._f3", "._f4", "._f5")
	mac := davfs.WithClient(r.ctx, davfs.Client{Apple: true})
	wantList(mac, t, r.FS, "/home/c", "._f0", "._f1", "._f2", "._f3", "._f4", "._f5", "._small")
	for i := range ups {
		r.want(fmt.Sprint("/home/c/._f", i), string(data(i)))
	}
	r.must(r.Remove(r.ctx, "/home/c/._f4", nil))
	r.wantGone("/home/c/._f4") // and what it replaced is gone too
	for i := range 20 {        // all room was given back
		name := fmt.Sprint("/home/c/._again", i)
		r.put(name, string(data(0)))
		r.want(name, string(data(0)))
	}
	r.wantList("/home/c", "._f3", "._f5")
}

func TestSideFilesThatAreReadAreBoundedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.mkdir("/home/c")
		r.put("/home/c/._f", strings.Repeat("x", 15<<20))
		r.put("/home/c/._small", "fits")
		var open []davfs.File
		for range 3 {
			f, err := r.Open(r.ctx, "/home/c/._f")
			r.must(err)
			open = append(open, f)
		}
		if _, err := r.Open(r.ctx, "/home/c/._f"); collfs.KindOf(err) != collfs.Unavailable {
			t.Errorf("Open of one too many = %v; want Unavailable", err)
		}
		ctx, cancel := context.WithCancel(r.ctx)
		cancel()
		if _, err := r.Open(ctx, "/home/c/._f"); collfs.KindOf(err) != collfs.Canceled {
			t.Errorf("Open by a client that went away = %v; want Canceled", err)
		}
		r.want("/home/c/._small", "fits")
		if i, err := r.Stat(r.ctx, "/home/c/._f"); err != nil || i.Size != 15<<20 {
			t.Errorf("Stat = %d, %v", i.Size, err)
		}
		done := make(chan error, 1)
		go func() {
			f, err := r.Open(r.ctx, "/home/c/._f")
			if err == nil {
				err = f.Close()
			}
			done <- err
		}()
		synctest.Wait()
		open[0].Close()
		open[0].Close() // gives back once
		if err := <-done; err != nil {
			t.Errorf("Open when there is room again = %v", err)
		}
		open[1].Close()
		open[2].Close()
	})
}
