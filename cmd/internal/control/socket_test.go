package control

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

func TestControlSocketIsForItsOwnerAndChangesNoOtherModes(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			d := filepath.Join(dir, "d"+strconv.Itoa(i))
			if err := os.Mkdir(d, 0o700); err != nil {
				t.Error(err)
				return
			}
			if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("a directory made meanwhile: %v, %v; want mode 0700", info.Mode(), err)
				return
			}
		}
	})
	for i := range 200 {
		path := filepath.Join(dir, "s"+strconv.Itoa(i))
		l, err := listenUnix(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket: %v, %v; want mode 0600", info.Mode(), err)
		}
		l.Close()
	}
	close(done)
	wg.Wait()
}
