package blockcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/storetest"
)

func TestACacheIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) keepio.Store { return open(t, Config{Remote: newRemote()}) })
}

// runSmall runs the suite without the cases that hash hundreds of MiB.
func runSmall(t *testing.T, open func(t *testing.T) keepio.Store) {
	for _, c := range storetest.Cases {
		if c.Name != "HoldsTheLargestBlock" && c.Name != "RefusesLargerBlocks" {
			t.Run(c.Name, func(t *testing.T) {
				if err := c.Check(t.Context(), open(t)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestACacheInTroubleIsAStore(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, s *Store){
		"without a disk":     func(_ *testing.T, s *Store) { s.disk.fault = func(string) error { return errors.New("broken") } },
		"disk takes no data": func(_ *testing.T, s *Store) { s.disk.fault = failing("write") },
		"disk takes no name": func(_ *testing.T, s *Store) { s.disk.fault = failing("rename") },
	} {
		t.Run(name, func(t *testing.T) {
			runSmall(t, func(t *testing.T) keepio.Store {
				s := open(t, Config{Remote: newRemote()})
				change(t, s)
				return s
			})
		})
	}
}

func TestACacheThatForgetsEverythingIsAStore(t *testing.T) {
	runSmall(t, func(t *testing.T) keepio.Store {
		return forgetful{open(t, Config{Remote: newRemote(), OpenFiles: 1})}
	})
}

// forgetful loses all files of the cache before each read.
type forgetful struct{ *Store }

func (s forgetful) ReadBlock(ctx context.Context, hash [16]byte, size uint32, p []byte, off int64) (int, error) {
	s.cache.Drop(hash)
	_ = os.Remove(s.disk.path(hash))
	return s.Store.ReadBlock(ctx, hash, size, p, off)
}

// failing fails one kind of work of the disk.
func failing(op string) func(string) error {
	return func(is string) error {
		if is == op {
			return errors.New("broken")
		}
		return nil
	}
}

func TestLayoutIsThatOfArvadosTools(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Dir: filepath.Join(t.TempDir(), "keep"), Remote: r})
	k := r.put([]byte("foo"))
	if _, err := get(s, k); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.cfg.Dir, "acb", "acbd18db4cc2f85cedef654fccc4a4d8.keepcacheblock")
	if got, err := os.ReadFile(path); err != nil || string(got) != "foo" {
		t.Errorf("the block's file has %q, %v", got, err)
	}
	err := filepath.WalkDir(s.cfg.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		want := fs.FileMode(fileMode)
		if e.IsDir() {
			want = dirMode
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm() != want {
			return fmt.Errorf("%s has mode %v, %w; want %v", path, info.Mode(), err, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAnAdoptedBlockIsStoredRemotelyAndReadWithoutNetwork(t *testing.T) {
	r := newRemote()
	dir := t.TempDir()
	s := open(t, Config{Dir: filepath.Join(dir, "keep"), Remote: r})
	data := storetest.Data(1, 3<<20+5)
	k := key{hashOf(data), uint32(len(data))}
	path := filepath.Join(dir, "0000000000000007")
	if err := os.WriteFile(path, data, 0o640); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second attempt after one whose reply was lost
		if err := s.Adopt(t.Context(), path, k.hash, k.size, sumsOf(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.blocks[k], data) {
		t.Error("the remote store does not have the block")
	}
	r.setFault(keepio.ErrUnavailable)
	if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
		t.Errorf("ReadBlock = %v, or other bytes", err)
	}
	if left, err := os.ReadDir(filepath.Join(s.cfg.Dir, ownDir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}

func TestAdoptFailsWhenThePushDoes(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	path := filepath.Join(t.TempDir(), "b")
	if err := os.WriteFile(path, []byte("foo"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.setFault(keepio.ErrUnavailable)
	k := key{hashOf([]byte("foo")), 3}
	if err := s.Adopt(t.Context(), path, k.hash, k.size, nil); !errors.Is(err, keepio.ErrUnavailable) {
		t.Errorf("Adopt = %v; want ErrUnavailable", err)
	}
	if s.disk.has(k) {
		t.Error("the cache has a block that is stored nowhere")
	}
}
