package openblock

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"keepdav/keepio"
)

// newBlock returns an open block with data, and how often it was closed.
func newBlock(t *testing.T, hash [16]byte, data []byte, sums []uint32) (b *Block, closed *int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b = New(f, hash, uint32(len(data)), sums)
	closed = new(int)
	b.Closed = func() { *closed++ }
	return b, closed
}

func TestACacheClosesWhatNobodyHasPinned(t *testing.T) {
	c := NewCache(1)
	a, aClosed := newBlock(t, [16]byte{1}, []byte("a"), nil)
	b, bClosed := newBlock(t, [16]byte{2}, []byte("b"), nil)
	c.Put(a)
	c.Release(c.Put(b)) // a, of the same shard, makes room
	if *aClosed != 0 || c.Get([16]byte{1}) != nil {
		t.Error("the block that made room is closed while it is pinned, or still found")
	}
	c.Release(a)
	if *aClosed != 1 {
		t.Error("the block that made room is not closed after its use")
	}
	c.Clear()
	if *bClosed != 1 {
		t.Error("Clear did not close a block")
	}
}

func TestOneFileIsKeptOfEachBlock(t *testing.T) {
	c := NewCache(160)
	a, _ := newBlock(t, [16]byte{1}, []byte("a"), nil)
	again, closed := newBlock(t, [16]byte{1}, []byte("a"), nil)
	c.Put(a)
	if got := c.Put(again); got != a || *closed != 1 {
		t.Error("a second file of the same block is kept")
	}
	other, _ := newBlock(t, [16]byte{1}, []byte("longer"), nil)
	if got := c.Put(other); got != other || c.Get([16]byte{1}) != other {
		t.Error("a block of another size does not take the place of the first")
	}
	c.Release(a)
	c.Release(a)
	c.Release(other)
	c.Release(other)
	c.Clear()
}

func TestPeriodsCloseWhatNobodyAsksFor(t *testing.T) {
	c := NewCache(160)
	idle, closed := newBlock(t, [16]byte{1}, []byte("a"), nil)
	busy, _ := newBlock(t, [16]byte{2}, []byte("b"), nil)
	pinned, pinnedClosed := newBlock(t, [16]byte{3}, []byte("c"), nil)
	c.Release(c.Put(idle))
	c.Release(c.Put(busy))
	c.Put(pinned)
	for i := range 3 {
		used := 0
		c.Period(func(b *Block) { used++ })
		if want := 1; i > 0 && used != want {
			t.Errorf("period %d: %d blocks were used; want %d", i, used, want)
		}
		c.Release(c.Get([16]byte{2}))
	}
	if *closed != 1 || *pinnedClosed != 0 || c.Get([16]byte{1}) != nil {
		t.Errorf("idle closed %d times, pinned %d; want 1, 0", *closed, *pinnedClosed)
	}
	c.Release(pinned)
	c.Clear()
}

func TestAWrongSumIsDecidedByTheMD5(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 10000)
	hash := md5.Sum(data)
	good, err := HashFile(bytes.NewReader(data), hash, uint32(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(data)
	wrong[70000]++
	for _, c := range []struct {
		name string
		data []byte
		sums []uint32
		ok   bool
	}{
		{"right", data, good, true},
		{"sums of another block", data, make([]uint32, len(good)), true},
		{"other bytes", wrong, good, false},
	} {
		b, _ := newBlock(t, hash, c.data, c.sums)
		learned := false
		b.Learned = func([]uint32) { learned = true }
		p := make([]byte, 1000)
		if err := b.ReadFull(p, 69500); (err == nil) != c.ok || err != nil && !errors.Is(err, keepio.ErrCorrupt) || c.ok && !bytes.Equal(p, data[69500:70500]) {
			t.Errorf("%s: ReadFull = %v, or other bytes", c.name, err)
		}
		if want := c.name == "sums of another block"; learned != want {
			t.Errorf("%s: learned the sums: %v; want %v", c.name, learned, want)
		}
		var out bytes.Buffer
		if n, err := b.Send(context.Background(), &out, 5, 150000); (err == nil) != c.ok || !bytes.HasPrefix(data[5:], out.Bytes()) || n != int64(out.Len()) {
			t.Errorf("%s: Send = %d, %v, or other bytes", c.name, n, err)
		}
		_ = b.Close()
	}
}
