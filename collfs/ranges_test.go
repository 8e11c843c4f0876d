package collfs_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"keepdav/collfs"
)

func createRW(t *testing.T, c *collfs.Collection, path string) *collfs.Handle {
	t.Helper()
	h, _, err := c.OpenFile(path, collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close(context.Background()) })
	return h
}

func write(t *testing.T, h *collfs.Handle, off int64, s string) {
	t.Helper()
	if _, err := h.WriteAt(context.Background(), []byte(s), off); err != nil {
		t.Fatal(err)
	}
}

func TestPunchMakesAHole(t *testing.T) {
	e := newEnv(t)
	c := e.open(e.fs(), e.catalog.Create(e.home, "c"))
	h := createRW(t, c, "f")
	write(t, h, 0, strings.Repeat("x", 100))
	for _, r := range [][2]int64{{10, 20}, {95, 50}, {200, 10}} {
		if err := h.Punch(r[0], r[1]); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Repeat("x", 10) + strings.Repeat("\x00", 20) + strings.Repeat("x", 65) + strings.Repeat("\x00", 5)
	if got := get(t, c, "f"); got != want {
		t.Errorf("the file has %q; want %q", got, want)
	}
	for _, s := range []struct{ off, data, hole int64 }{{0, 0, 10}, {10, 30, 10}, {15, 30, 15}, {30, 30, 95}, {94, 94, 95}} {
		if got, err := h.NextData(s.off); got != s.data || err != nil {
			t.Errorf("NextData(%d) = %d, %v; want %d", s.off, got, err, s.data)
		}
		if got, err := h.NextHole(s.off); got != s.hole || err != nil {
			t.Errorf("NextHole(%d) = %d, %v; want %d", s.off, got, err, s.hole)
		}
	}
	if _, err := h.NextData(96); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("NextData in the last hole = %v", err)
	}
	if _, err := h.NextHole(100); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("NextHole at the end = %v", err)
	}
	commit(t, c)
	if got := get(t, e.open(e.fs(), c.UUID()), "f"); got != want {
		t.Errorf("the catalog has %q; want %q", got, want)
	}
}

// A clone shares the bytes until one of both is written to.
func TestCloneDiverges(t *testing.T) {
	e := newEnv(t)
	f := e.fs()
	c := e.open(f, e.catalog.Create(e.home, "c"))
	src, dst := createRW(t, c, "src"), createRW(t, c, "dst")
	write(t, src, 0, "0123456789")
	write(t, dst, 0, "ab")
	if n, err := dst.Clone(4, src, 5, 100); n != 5 || err != nil {
		t.Fatalf("Clone() = %d, %v; want 5", n, err)
	}
	write(t, src, 6, "S")
	write(t, dst, 7, "D")
	if got := get(t, c, "src"); got != "012345S789" {
		t.Errorf("the source has %q", got)
	}
	if got := get(t, c, "dst"); got != "ab\x00\x00567D9" {
		t.Errorf("the clone has %q", got)
	}
	if _, err := src.Clone(2, src, 0, 5); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("clone onto itself = %v", err)
	}
	if n, err := src.Clone(20, src, 0, 5); n != 5 || err != nil {
		t.Errorf("clone within a file = %d, %v", n, err)
	}
	other := createRW(t, e.open(f, e.catalog.Create(e.home, "other")), "f")
	if _, err := other.Clone(0, src, 0, 5); !errors.Is(err, collfs.ErrOtherCollection) {
		t.Errorf("clone from another collection = %v", err)
	}
	want := get(t, c, "src")
	commit(t, c)
	if got := get(t, e.open(e.fs(), c.UUID()), "src"); got != want {
		t.Errorf("the catalog has %q; want %q", got, want)
	}
}
