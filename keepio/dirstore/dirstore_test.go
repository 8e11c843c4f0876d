package dirstore_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

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

// put stores data and returns its hash and the path of its file.
func put(t *testing.T, s *dirstore.Store, cfg dirstore.Config, data []byte) (hash [16]byte, path string) {
	t.Helper()
	hash, err := s.WriteBlock(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%x", hash)
	return hash, filepath.Join(cfg.Dir, name[:3], name)
}

// get reads all of a block.
func get(s *dirstore.Store, hash [16]byte, size int) ([]byte, error) {
	p := make([]byte, size)
	n, err := s.ReadBlock(context.Background(), hash, uint32(size), p, 0)
	return p[:n], err
}

func sumsPath(cfg dirstore.Config, hash [16]byte) string {
	name := fmt.Sprintf("%x", hash)
	return filepath.Join(cfg.Sums, name[:3], name)
}

// edit changes bytes of a file in place.
func edit(t *testing.T, path string, off int64, p []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}

func TestLayoutIsThatOfAKeepVolume(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	if _, err := s.WriteBlock(t.Context(), []byte("foo")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(cfg.Dir, "acb", "acbd18db4cc2f85cedef654fccc4a4d8"))
	if err != nil || string(got) != "foo" {
		t.Errorf("the block's file has %q, %v", got, err)
	}
}

func TestDamageIsFoundAtTheFirstTouch(t *testing.T) {
	data := storetest.Data(1, 5*keepio.ChunkSize+99)
	for name, damage := range map[string]func(t *testing.T, path string){
		"a byte": func(t *testing.T, path string) {
			edit(t, path, 3*keepio.ChunkSize+7, []byte{^data[3*keepio.ChunkSize+7]})
		},
		"last byte": func(t *testing.T, path string) { edit(t, path, int64(len(data)-1), []byte{^data[len(data)-1]}) },
		"cut short": func(t *testing.T, path string) { _ = os.Truncate(path, 3*keepio.ChunkSize) },
		"longer":    func(t *testing.T, path string) { edit(t, path, int64(len(data)), []byte("more")) },
		"empty":     func(t *testing.T, path string) { _ = os.Truncate(path, 0) },
	} {
		for _, sums := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, sums known %v", name, sums), func(t *testing.T) {
				cfg := config(t)
				s := open(t, cfg)
				hash, path := put(t, s, cfg, data)
				damage(t, path)
				if !sums {
					_ = os.Remove(sumsPath(cfg, hash))
				}
				for range 2 {
					if _, err := get(s, hash, len(data)); !errors.Is(err, keepio.ErrCorrupt) {
						t.Fatalf("ReadBlock = %v; want ErrCorrupt", err)
					}
				}
				var out bytes.Buffer
				if _, err := s.WriteRange(t.Context(), &out, hash, uint32(len(data)), 0, int64(len(data))); !errors.Is(err, keepio.ErrCorrupt) {
					t.Errorf("WriteRange = %v; want ErrCorrupt", err)
				}
				if !bytes.HasPrefix(data, out.Bytes()) {
					t.Error("WriteRange gave out damaged bytes")
				}
				if err := s.Verify(t.Context(), hash, uint32(len(data))); !errors.Is(err, keepio.ErrCorrupt) {
					t.Errorf("Verify = %v; want ErrCorrupt", err)
				}
				if _, err := s.WriteBlock(t.Context(), data); err != nil {
					t.Fatal(err)
				}
				if got, err := get(s, hash, len(data)); err != nil || !bytes.Equal(got, data) {
					t.Errorf("after writing it again ReadBlock = %v, or other bytes", err)
				}
			})
		}
	}
}

func TestUndamagedChunksOfADamagedBlockAreServed(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	data := storetest.Data(1, 5*keepio.ChunkSize)
	hash, path := put(t, s, cfg, data)
	edit(t, path, 4*keepio.ChunkSize, []byte{^data[4*keepio.ChunkSize]})
	p := make([]byte, 1000)
	if _, err := s.ReadBlock(t.Context(), hash, uint32(len(data)), p, 70000); err != nil || !bytes.Equal(p, data[70000:71000]) {
		t.Errorf("ReadBlock = %v, or other bytes", err)
	}
}

func TestSumsAreOnlyACache(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	data := storetest.Data(2, 3*keepio.ChunkSize+5)
	hash, _ := put(t, s, cfg, data)
	path := sumsPath(cfg, hash)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(good) // whole, but not this block's
	binary.LittleEndian.PutUint32(wrong[12:], 12345)
	binary.LittleEndian.PutUint32(wrong[len(wrong)-4:], keepio.Sum(wrong[:len(wrong)-4]))
	for name, bad := range map[string][]byte{"missing": nil, "empty": {}, "torn": good[:20], "flipped": append([]byte{^good[0]}, good[1:]...), "wrong": wrong} {
		if bad == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, bad, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		again := open(t, cfg)
		if got, err := get(again, hash, len(data)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: ReadBlock = %v, or other bytes", name, err)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, good) {
			t.Errorf("%s: the sums were not written again: %v", name, err)
		}
	}
}

func TestJunkIsLeftAloneAndTornFilesGo(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	hash, _ := put(t, s, cfg, []byte("foo"))
	junk := []string{"README", "acb/README", "acb/acbd18db4cc2f85cedef654fccc4a4d8.bak", "zzz/x", "acb/ACBD18DB4CC2F85CEDEF654FCCC4A4D8", "37b/acbd18db4cc2f85cedef654fccc4a4d9"}
	for _, name := range junk {
		name = filepath.Join(cfg.Dir, name)
		_ = os.MkdirAll(filepath.Dir(name), 0o700)
		if err := os.WriteFile(name, []byte("junk"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(cfg.Dir, "acb", "acb00000000000000000000000000000"), 0o700); err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(cfg.Dir, ".tmp", "block-123")
	if err := os.WriteFile(torn, []byte("fo"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	if _, err := os.Stat(torn); err == nil {
		t.Error("a torn file survived Open")
	}
	var seen []dirstore.Info
	if err := again.Walk(t.Context(), func(i dirstore.Info) error { seen = append(seen, i); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || seen[0].Hash != hash || seen[0].Size != 3 {
		t.Errorf("Walk finds %+v; want the one block", seen)
	}
	for _, name := range junk {
		if _, err := os.Stat(filepath.Join(cfg.Dir, name)); err != nil {
			t.Errorf("junk was touched: %v", err)
		}
	}
	if _, err := get(again, [16]byte{0xac, 0xb0}, 5); err == nil {
		t.Error("a directory is read as a block")
	}
}

// adoptable writes a file as the spool does.
func adoptable(t *testing.T, cfg dirstore.Config, data []byte) (path string, hash [16]byte, sums []uint32) {
	t.Helper()
	path = filepath.Join(filepath.Dir(cfg.Dir), fmt.Sprintf("open-%d", len(data)))
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(data); off += keepio.ChunkSize {
		sums = append(sums, keepio.Sum(data[off:min(off+keepio.ChunkSize, len(data))]))
	}
	return path, md5.Sum(data), sums
}

func TestAdoptTakesTheFileWithoutCopyingIt(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	data := storetest.Data(3, 2*keepio.ChunkSize+1)
	path, hash, sums := adoptable(t, cfg, data)
	for range 2 { // a second time, as after a crash
		if err := s.Adopt(t.Context(), path, hash, uint32(len(data)), sums); err != nil {
			t.Fatal(err)
		}
	}
	name := fmt.Sprintf("%x", hash)
	a, _ := os.Stat(path)
	b, err := os.Stat(filepath.Join(cfg.Dir, name[:3], name))
	if err != nil || !os.SameFile(a, b) {
		t.Errorf("the block is another file (%v)", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := get(s, hash, len(data)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("ReadBlock = %v, or other bytes", err)
	}
}

func TestADuplicateRenewsTheBlockAndReplacesADamagedOne(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	data := storetest.Data(4, 2*keepio.ChunkSize+1)
	hash, file := put(t, s, cfg, data)
	path, _, sums := adoptable(t, cfg, data)
	old := time.Now().Add(-time.Hour)
	before, _ := os.Stat(file)
	for name, store := range map[string]func() error{
		"Adopt":      func() error { return s.Adopt(t.Context(), path, hash, uint32(len(data)), sums) },
		"WriteBlock": func() error { _, err := s.WriteBlock(t.Context(), data); return err },
	} {
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
		if err := store(); err != nil {
			t.Fatal(err)
		}
		if now, err := os.Stat(file); err != nil || !os.SameFile(before, now) || time.Since(now.ModTime()) > time.Minute {
			t.Errorf("%s: the file was replaced, or is still old (%v)", name, err)
		}
	}
	edit(t, file, 5, []byte{^data[5]})
	if err := s.Adopt(t.Context(), path, hash, uint32(len(data)), sums); err != nil {
		t.Fatal(err)
	}
	if got, err := get(s, hash, len(data)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("after adopting a good copy ReadBlock = %v, or other bytes", err)
	}
}

// Two blocks with one MD5 can be made on purpose. The second must not get the
// name: whoever has the first would find other bytes in its file.
func TestOtherBytesWithTheSameMD5DoNotReplaceABlock(t *testing.T) {
	const text = "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89" +
		"55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b" +
		"d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0" +
		"e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
	first, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.Clone(first)
	for _, i := range []int{19, 45, 59, 83, 109, 123} {
		second[i] ^= 0x80
	}
	if md5.Sum(first) != md5.Sum(second) {
		t.Fatal("the MD5s differ")
	}
	cfg := config(t)
	s := open(t, cfg)
	hash, _ := put(t, s, cfg, first)
	if _, err := s.WriteBlock(t.Context(), second); err == nil {
		t.Error("WriteBlock of other bytes with the same MD5 = nil")
	}
	path, _, sums := adoptable(t, cfg, second)
	if err := s.Adopt(t.Context(), path, hash, uint32(len(second)), sums); err == nil {
		t.Error("Adopt of other bytes with the same MD5 = nil")
	}
	if got, err := get(s, hash, len(first)); err != nil || !bytes.Equal(got, first) {
		t.Errorf("the first block = %v, or other bytes", err)
	}
}

func TestTrashKeepsABlockUntilItIsEmptied(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	data := []byte("some data")
	hash, _ := put(t, s, cfg, data)
	yes, no := func(dirstore.Info) bool { return true }, func(dirstore.Info) bool { return false }
	if did, err := s.Trash(t.Context(), hash, no); did || err != nil {
		t.Fatalf("Trash of a block in use = %v, %v", did, err)
	}
	if did, err := s.Trash(t.Context(), hash, yes); !did || err != nil {
		t.Fatalf("Trash = %v, %v", did, err)
	}
	if _, err := get(s, hash, len(data)); !errors.Is(err, keepio.ErrNotFound) {
		t.Errorf("ReadBlock of a block in the trash = %v; want ErrNotFound", err)
	}
	if n, _, err := s.EmptyTrash(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("EmptyTrash of older blocks = %d, %v; want none", n, err)
	}
	if err := s.Untrash(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	if got, err := get(s, hash, len(data)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("ReadBlock after Untrash = %q, %v", got, err)
	}
	if _, err := s.Trash(t.Context(), hash, yes); err != nil {
		t.Fatal(err)
	}
	if n, size, err := s.EmptyTrash(t.Context(), time.Now().Add(time.Hour)); n != 1 || size != int64(len(data)) || err != nil {
		t.Errorf("EmptyTrash = %d blocks, %d bytes, %v", n, size, err)
	}
	for name, err := range map[string]error{
		"Untrash": s.Untrash(t.Context(), hash),
		"Trash":   func() error { _, err := s.Trash(t.Context(), hash, yes); return err }(),
		"Verify":  s.Verify(t.Context(), hash, uint32(len(data))),
	} {
		if !errors.Is(err, keepio.ErrNotFound) {
			t.Errorf("%s of a block that is gone = %v; want ErrNotFound", name, err)
		}
	}
	if _, err := os.Stat(sumsPath(cfg, hash)); err == nil {
		t.Error("its sums are still there")
	}
}

func TestWriteRangeSendsAnySpanCheckedOrNot(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	data := storetest.Data(6, 20*keepio.ChunkSize+99)
	hash, _ := put(t, s, cfg, data)
	for _, c := range []struct{ off, n int64 }{{100, 10}, {7 * keepio.ChunkSize, keepio.ChunkSize}, {5, 1 << 20}, {0, int64(len(data))}, {int64(len(data)), 0}, {1, int64(len(data)) - 1}} {
		var out bytes.Buffer
		n, err := s.WriteRange(t.Context(), &out, hash, uint32(len(data)), c.off, c.n)
		if err != nil || n != c.n || !bytes.Equal(out.Bytes(), data[c.off:c.off+c.n]) {
			t.Errorf("WriteRange(%d, %d) = %d, %v, or other bytes", c.off, c.n, n, err)
		}
	}
	if _, err := s.WriteRange(t.Context(), io.Discard, hash, uint32(len(data)), 5, int64(len(data))); err == nil {
		t.Error("WriteRange beyond the block's end succeeds")
	}
}

func TestReadersAndTheTrashShareAStore(t *testing.T) {
	cfg := config(t)
	cfg.OpenFiles = 2
	cfg.NoSync = true
	s := open(t, cfg)
	blocks := make([][]byte, 40)
	for i := range blocks {
		blocks[i] = storetest.Data(uint64(i), 1000+i*3000)
		put(t, s, cfg, blocks[i])
	}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for j := range 300 {
				data := blocks[(i*7+j)%len(blocks)]
				hash := md5.Sum(data)
				switch {
				case i == 0:
					_, _ = s.Trash(t.Context(), hash, func(dirstore.Info) bool { return true })
				case i == 1:
					_ = s.Untrash(t.Context(), hash)
				case i == 2:
					if _, err := s.WriteBlock(t.Context(), data); err != nil {
						t.Error(err)
					}
				default:
					got, err := get(s, hash, len(data))
					if err == nil && !bytes.Equal(got, data) || err != nil && !errors.Is(err, keepio.ErrNotFound) {
						t.Errorf("ReadBlock = %v, or other bytes", err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestFreeSpaceIsKnown(t *testing.T) {
	free, total, err := open(t, config(t)).Free()
	if err != nil || free <= 0 || total < free {
		t.Errorf("Free = %d, %d, %v", free, total, err)
	}
}

// TestAnAdoptedBlockIsNew keeps garbage collection, which goes by times, away
// from a block that has just come.
func TestAnAdoptedBlockIsNew(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	path, hash, sums := adoptable(t, cfg, []byte("written long ago"))
	old := time.Now().Add(-1000 * time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if err := s.Adopt(t.Context(), path, hash, 16, sums); err != nil {
		t.Fatal(err)
	}
	if err := s.Walk(t.Context(), func(i dirstore.Info) error {
		if time.Since(i.Modified) > time.Minute {
			t.Errorf("the block is from %v", i.Modified)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
