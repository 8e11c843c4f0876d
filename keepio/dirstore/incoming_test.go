package dirstore

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"keepdav/keepio"
)

func openTest(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(Config{Dir: filepath.Join(dir, "blocks"), Sums: filepath.Join(dir, "sums"), Trash: filepath.Join(dir, "trash")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func temps(t *testing.T, s *Store) int {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(s.cfg.Dir, tempDir))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func receive(t *testing.T, s *Store, data []byte, piece int) keepio.Incoming {
	t.Helper()
	in, err := s.Receive(int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for p := range slices.Chunk(data, piece) {
		if _, err := in.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

func TestWhatComesInPiecesIsABlockWithSums(t *testing.T) {
	s := openTest(t)
	for _, size := range []int{0, 1, keepio.ChunkSize, 5*keepio.ChunkSize + 7} {
		data := bytes.Repeat([]byte("some bytes "), size/11+1)[:size]
		in := receive(t, s, data, 30_001)
		hash, n := in.Name()
		if hash != md5.Sum(data) || int(n) != size {
			t.Fatalf("Name = %x+%d; want %x+%d", hash, n, md5.Sum(data), size)
		}
		if err := in.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, size)
		if n, err := s.ReadBlock(t.Context(), hash, uint32(size), got, 0); n != size || err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: ReadBlock = %d, %v", size, n, err)
		}
		var want []uint32
		for c := range slices.Chunk(data, keepio.ChunkSize) {
			want = append(want, keepio.Sum(c))
		}
		if sums, err := s.Sums(t.Context(), hash, uint32(size)); err != nil || !slices.Equal(sums, want) {
			t.Errorf("%d bytes: Sums = %x, %v; want %x", size, sums, err, want)
		}
		if size > 0 && !slices.Equal(s.sums.Read(hash, uint32(size)), want) {
			t.Errorf("%d bytes: the sums are not kept", size)
		}
	}
	if n := temps(t, s); n != 0 {
		t.Errorf("%d files in the making are left", n)
	}
}

func TestWhatIsNotCommittedLeavesNothing(t *testing.T) {
	s := openTest(t)
	in := receive(t, s, []byte("half of"), 100)
	hash, size := in.Name()
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadBlock(t.Context(), hash, size, make([]byte, 1), 0); !errors.Is(err, keepio.ErrNotFound) {
		t.Errorf("ReadBlock = %v; want ErrNotFound", err)
	}
	if n := temps(t, s); n != 0 {
		t.Errorf("%d files in the making are left", n)
	}
}

func TestMoreThanABlockDoesNotComeIn(t *testing.T) {
	s := openTest(t)
	in := receive(t, s, []byte("first"), 5)
	defer in.Close()
	in.(*incoming).size = keepio.BlockSize // as if so much had come
	if _, err := in.Write([]byte{0}); !errors.Is(err, keepio.ErrTooLarge) {
		t.Errorf("Write = %v; want ErrTooLarge", err)
	}
}

func TestABlockThatComesAgainOrIsTouchedIsNewAgain(t *testing.T) {
	s := openTest(t)
	data := []byte("some bytes")
	hash, err := s.WriteBlock(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	for name, renew := range map[string]func() error{
		"Commit": func() error {
			in := receive(t, s, data, 3)
			return errors.Join(in.Commit(t.Context()), in.Close())
		},
		"Touch": func() error { return s.Touch(hash) },
	} {
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(s.path(hash), old, old); err != nil {
			t.Fatal(err)
		}
		if err := renew(); err != nil {
			t.Fatal(err)
		}
		if i, err := s.Stat(hash); err != nil || i.Size != int64(len(data)) || time.Since(i.Modified) > time.Minute {
			t.Errorf("after %s: Stat = %v, %v", name, i, err)
		}
	}
	if err := s.Touch(md5.Sum([]byte("other"))); !errors.Is(err, keepio.ErrNotFound) {
		t.Errorf("Touch of an unknown block = %v; want ErrNotFound", err)
	}
}

func TestWalkPrefixFindsWhatWalkFinds(t *testing.T) {
	s := openTest(t)
	for i := range 50 {
		if _, err := s.WriteBlock(t.Context(), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	walk := func(prefix string) (all []string) {
		t.Helper()
		err := s.WalkPrefix(context.Background(), prefix, func(i Info) error {
			all = append(all, fmt.Sprintf("%x", i.Hash))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := walk("")
	if len(all) != 50 || !slices.IsSorted(all) {
		t.Fatalf("WalkPrefix of all finds %d", len(all))
	}
	for n := range 33 {
		prefix := all[7][:n]
		var want []string
		for _, h := range all {
			if h[:n] == prefix {
				want = append(want, h)
			}
		}
		if got := walk(prefix); !slices.Equal(got, want) {
			t.Errorf("WalkPrefix(%q) = %v; want %v", prefix, got, want)
		}
	}
}
