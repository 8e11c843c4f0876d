package blockcache

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"keepdav/keepio"
	"keepdav/keepio/storetest"
)

// place puts a file where the cache of that directory looks for a block.
func place(t *testing.T, dir string, k key, data []byte) string {
	t.Helper()
	path := newDisk(dir, 0, nolog).path(k.hash)
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, fileMode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestABlockThatAnotherProgramCachedIsUsed(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	for _, n := range []int{1, 100000, sidecarFrom + 5} {
		data := storetest.Data(uint64(n), n)
		k := key{hashOf(data), uint32(n)}
		place(t, s.cfg.Dir, k, data)
		if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
			t.Errorf("ReadBlock = %v, or other bytes", err)
		}
		if r.count(k) > 0 {
			t.Error("the block was fetched")
		}
	}
}

func TestADamagedBlockIsDroppedAndFetchedAgain(t *testing.T) {
	data := storetest.Data(1, sidecarFrom+3*keepio.ChunkSize+5)
	k := key{hashOf(data), uint32(len(data))}
	for name, damage := range map[string]func(path string) error{
		"a byte": func(path string) error {
			bad := bytes.Clone(data)
			bad[sidecarFrom]++
			return os.WriteFile(path, bad, fileMode)
		},
		"shorter":   func(path string) error { return os.Truncate(path, 1000) },
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"longer":    func(path string) error { return os.WriteFile(path, append(data, 1), fileMode) },
		"gone":      os.Remove,
		"no access": func(path string) error { return os.Chmod(path, 0) },
		"a directory": func(path string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, dirMode))
		},
		"a link": func(path string) error {
			return errors.Join(os.Rename(path, path+".moved"), os.Symlink(path+".moved", path))
		},
		"a pipe": func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, fileMode)) },
	} {
		for _, sums := range []bool{true, false} {
			for _, opened := range []bool{true, false} {
				if !sums && name != "a byte" {
					continue // only the bytes are compared with sums
				}
				r := newRemote()
				r.put(data)
				dir := t.TempDir()
				s := open(t, Config{Dir: dir, Remote: r})
				if _, err := s.ReadBlock(t.Context(), k.hash, k.size, make([]byte, 1), 0); err != nil { // touches one chunk
					t.Fatal(err)
				}
				if !sums {
					s.disk.sums.Remove(k.hash)
				}
				if !opened {
					s.cache.Clear()
				}
				if err := damage(s.disk.path(k.hash)); err != nil {
					t.Fatal(err)
				}
				if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, sums %v, opened %v: ReadBlock = %v, or other bytes", name, sums, opened, err)
				}
				var out bytes.Buffer
				if _, err := s.WriteRange(t.Context(), &out, k.hash, k.size, 0, int64(k.size)); err != nil || !bytes.Equal(out.Bytes(), data) {
					t.Errorf("%s: WriteRange = %v, or other bytes", name, err)
				}
			}
		}
	}
}

// Damage that a transfer finds half way does not show: it goes on with what is
// fetched.
func TestATransferGoesOnAfterDamage(t *testing.T) {
	data := storetest.Data(1, sidecarFrom+10*keepio.ChunkSize)
	r := newRemote()
	k := r.put(data)
	s := open(t, Config{Remote: r})
	bad := bytes.Clone(data)
	bad[sidecarFrom+5]++
	place(t, s.cfg.Dir, k, bad)
	s.disk.sums.Write(k.hash, k.size, sumsOf(data))
	var out bytes.Buffer
	if n, err := s.WriteRange(t.Context(), &out, k.hash, k.size, 0, int64(k.size)); err != nil || n != int64(k.size) || !bytes.Equal(out.Bytes(), data) {
		t.Errorf("WriteRange = %d, %v, or other bytes", n, err)
	}
	if r.count(k) != 1 {
		t.Errorf("%d fetches; want 1", r.count(k))
	}
}

func TestABlockThatSomebodyWritesIsNotRead(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	data := storetest.Data(1, 1000)
	k := r.put(data)
	f, err := os.Open(place(t, s.cfg.Dir, k, data))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := flock(f, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if got, err := get(s, k); err != nil || !bytes.Equal(got, data) || r.count(k) != 1 {
		t.Errorf("ReadBlock = %v with %d fetches; want it fetched", err, r.count(k))
	}
}

func TestTwoCachesShareADirectory(t *testing.T) {
	dir := t.TempDir()
	r := newRemote()
	a, b := open(t, Config{Dir: dir, Remote: r}), open(t, Config{Dir: dir, Remote: r})
	var wg sync.WaitGroup
	for i := range 30 {
		data := storetest.Data(uint64(i), 50000+i)
		k := r.put(data)
		for _, s := range []*Store{a, b} {
			wg.Go(func() {
				if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
					t.Errorf("ReadBlock = %v, or other bytes", err)
				}
			})
		}
	}
	wg.Wait()
	data := storetest.Data(99, 2*sidecarFrom)
	k := r.put(data)
	if _, err := get(a, k); err != nil {
		t.Fatal(err)
	}
	if got, err := get(b, k); err != nil || !bytes.Equal(got, data) || r.count(k) != 1 {
		t.Errorf("ReadBlock of what the other cache fetched = %v with %d fetches", err, r.count(k))
	}
}

// filled puts n blocks of size bytes into the cache, each longer ago than the next,
// and closes them.
func filled(t *testing.T, s *Store, r *memRemote, n, size int) []key {
	t.Helper()
	var ks []key
	for i := range n {
		k := r.put(storetest.Data(uint64(i), size))
		if _, err := get(s, k); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-n) * time.Minute)
		if err := os.Chtimes(s.disk.path(k.hash), at, at); err != nil {
			t.Fatal(err)
		}
		ks = append(ks, k)
	}
	return ks
}

func TestTheLongestUnusedBlocksMakeRoom(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	ks := filled(t, s, r, 20, 2<<20)
	touch(s.openBlock(ks[0]).File()) // used just now, though it is the oldest
	s.cache.Release(s.cache.Get(ks[0].hash))
	s.cache.Clear()
	s.disk.scan(t.Context(), 20<<20, 0)
	for i, k := range ks {
		want := i == 0 || i >= 12
		if i > 10 && i < 13 {
			continue // there is some slack below the limit
		}
		if got := s.disk.has(k); got != want {
			t.Errorf("block %d is there: %v; want %v", i, got, want)
		}
		if _, err := os.Stat(filepath.Join(s.disk.sums.Dir, filepath.Base(filepath.Dir(s.disk.path(k.hash))), strings.TrimSuffix(filepath.Base(s.disk.path(k.hash)), suffix))); (err == nil) != s.disk.has(k) {
			t.Errorf("sums of block %d: %v", i, err)
		}
	}
	if st := s.Stats(); st.Used > 20<<20 || st.Evicted < 20<<20 {
		t.Errorf("Stats = %+v; want at most 20 MiB used", st)
	}
}

func TestWhatIsReadIsNotEvicted(t *testing.T) {
	dir := t.TempDir()
	r := newRemote()
	a, b := open(t, Config{Dir: dir, Remote: r}), open(t, Config{Dir: dir, Remote: r})
	ks := filled(t, a, r, 4, 1<<20)
	reading := a.openBlock(ks[0]) // pinned
	b.disk.scan(t.Context(), 1, 0)
	for i, k := range ks {
		if got := b.disk.has(k); !got {
			t.Errorf("block %d, which another cache has open, was evicted", i)
		}
	}
	a.disk.scan(t.Context(), 1, 0)
	for i, k := range ks {
		if got, want := a.disk.has(k), i == 0; got != want {
			t.Errorf("block %d is there: %v; want only the one that is read", i, got)
		}
	}
	p := make([]byte, 1<<20)
	if err := a.readOpen(reading, p, 0); err != nil || !bytes.Equal(p, r.blocks[ks[0]]) {
		t.Errorf("reading it = %v, or other bytes", err)
	}
	a.cache.Release(reading)
}

func TestReadsGoOnWhileBlocksAreEvicted(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	ks := filled(t, s, r, 8, 200000)
	stop := make(chan struct{})
	var evicting, reading sync.WaitGroup
	evicting.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.disk.scan(t.Context(), 500000, 0)
			}
		}
	})
	for i := range 4 {
		reading.Go(func() {
			for j := range 50 {
				k := ks[(i*j+j)%len(ks)]
				if got, err := get(s, k); err != nil || !bytes.Equal(got, r.blocks[k]) {
					t.Errorf("ReadBlock = %v, or other bytes", err)
				}
			}
		})
	}
	reading.Wait()
	close(stop)
	evicting.Wait()
}

func TestTheLimitHoldsByItself(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r, Limit: 8 << 20})
	filled(t, s, r, 16, 1<<20)
	deadline := time.Now().Add(5 * time.Second)
	for s.Stats().Used > 8<<20 && time.Now().Before(deadline) {
		s.disk.look(t.Context())
	}
	if total, _ := s.disk.list(t.Context()); total > 8<<20 {
		t.Errorf("the directory holds %d bytes; want at most 8 MiB", total)
	}
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	s := open(t, Config{Remote: newRemote()})
	var paths []string
	for _, name := range []string{"README", "abc/notes.txt", "abc/abc.keepcacheblock", "abc/abd18db4cc2f85cedef654fccc4a4d8f.keepcacheblock", "abcd/x", "xyz/ABC18db4cc2f85cedef654fccc4a4d8f.keepcacheblock"} {
		path := filepath.Join(s.cfg.Dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), dirMode), os.WriteFile(path, make([]byte, 5000), fileMode)); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	s.disk.scan(t.Context(), 1, 1<<40)
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestLeftoversOfACrashGo(t *testing.T) {
	s := open(t, Config{Remote: newRemote()})
	left := s.disk.create(key{hashOf(nil), 1})
	_ = left.f.Close()
	filling := s.disk.create(key{hashOf(nil), 1})
	defer filling.discard()
	long := time.Now().Add(-time.Hour)
	for _, t2 := range []*target{left, filling} {
		if err := os.Chtimes(t2.temp, long, long); err != nil {
			t.Fatal(err)
		}
	}
	s.disk.scan(t.Context(), 1<<30, 0)
	if _, err := os.Stat(left.temp); err == nil {
		t.Error("a file that nobody fills is left")
	}
	if _, err := os.Stat(filling.temp); err != nil {
		t.Error("a file that is being filled is gone")
	}
}

func TestTheDiskIsUsedAgainAfterTrouble(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	s.disk.fault = failing("write")
	a := r.put(storetest.Data(1, 1000))
	if _, err := get(s, a); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Trouble == nil || st.Memory != 1000 {
		t.Errorf("Stats = %+v; want trouble and the block in memory", st)
	}
	s.disk.fault = failing("")
	s.disk.mu.Lock()
	s.disk.again = time.Now()
	s.disk.mu.Unlock()
	b := r.put(storetest.Data(2, 1000))
	if _, err := get(s, b); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Trouble != nil || !s.disk.has(b) {
		t.Errorf("Stats = %+v; want the disk used again", st)
	}
}

func TestMemoryIsBoundedWithoutADisk(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r, Memory: 1 << 20})
	s.disk.fault = failing("create")
	var wg sync.WaitGroup
	for i := range 30 {
		data := storetest.Data(uint64(i), 300<<10)
		k := r.put(data)
		wg.Go(func() {
			if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
				t.Errorf("ReadBlock = %v, or other bytes", err)
			}
			if used := s.memory.load(); used > 1<<20 {
				t.Errorf("%d bytes in memory; want at most 1 MiB", used)
			}
		})
	}
	wg.Wait()
}

// A small file system is really full.
func TestAFullDiskFailsNoReadAndNoWrite(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=3m,mode=0700"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	r := newRemote()
	s, err := Open(Config{Dir: dir, Remote: r, Limit: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 6 {
		data := storetest.Data(uint64(i), 1<<20+i)
		k := r.put(data)
		if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
			t.Errorf("ReadBlock on a full disk = %v, or other bytes", err)
		}
		if _, err := s.WriteBlock(t.Context(), storetest.Data(uint64(100+i), 1<<20)); err != nil {
			t.Errorf("WriteBlock on a full disk = %v", err)
		}
	}
	s.cache.Clear()
	for k, data := range r.blocks {
		if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
			t.Errorf("ReadBlock on a full disk = %v, or other bytes", err)
		}
	}
}

func TestADirectoryThatCannotBeMadeIsNoError(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Dir: "/proc/no/such", Remote: r})
	data := storetest.Data(1, 1000)
	k := r.put(data)
	if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
		t.Errorf("ReadBlock = %v, or other bytes", err)
	}
	if s.Stats().Trouble == nil {
		t.Error("Stats does not tell")
	}
}

func TestAWarmReadAllocatesNothing(t *testing.T) {
	r := newRemote()
	s := open(t, Config{Remote: r})
	k := r.put(storetest.Data(1, 1<<20))
	p := make([]byte, 128<<10)
	read := func() {
		if _, err := s.ReadBlock(t.Context(), k.hash, k.size, p, 1000); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if n := testing.AllocsPerRun(100, read); n > 0 {
		t.Errorf("a warm ReadBlock allocates %v times", n)
	}
}

func FuzzUsage(f *testing.F) {
	f.Add(usage{12345, time.Unix(1, 0)}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if u := decodeUsage(b); u.Bytes < 0 || u.Scanned.After(time.Now()) {
			t.Errorf("decodeUsage(%x) = %+v", b, u)
		}
	})
}

// Whatever lies in the directory under a block's name, and beside it, the block is
// read right.
func FuzzCachedFile(f *testing.F) {
	data := storetest.Data(1, sidecarFrom)
	k := key{hashOf(data), uint32(len(data))}
	f.Add(0, []byte("x"), []byte("y"))
	f.Add(sidecarFrom-1, data[sidecarFrom-1:], []byte{})
	f.Fuzz(func(t *testing.T, at int, change, sums []byte) {
		if at < 0 || at > len(data) {
			return
		}
		r := newRemote()
		r.put(data)
		s := open(t, Config{Remote: r})
		bad := append(bytes.Clone(data[:at]), change...)
		if len(bad) < len(data) {
			bad = append(bad, data[len(bad):]...)
		}
		place(t, s.cfg.Dir, k, bad)
		s.disk.sums.Write(k.hash, k.size, sumsOf(data))
		if len(sums) > 0 {
			name := filepath.Base(s.disk.path(k.hash))
			if err := os.WriteFile(filepath.Join(s.disk.sums.Dir, name[:3], strings.TrimSuffix(name, suffix)), sums, fileMode); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := get(s, k); err != nil || !bytes.Equal(got, data) {
			t.Errorf("ReadBlock = %v, or other bytes", err)
		}
	})
}
