package keepio_test

import (
	"bytes"
	"context"
	"testing"

	"keepdav/keepio"
	"keepdav/keepio/memstore"
)

// openSpool opens a spool over an empty store in memory.
func openSpool(t testing.TB, change func(*keepio.SpoolConfig)) (*keepio.Spool, *memstore.Store) {
	t.Helper()
	store := new(memstore.Store)
	var last keepio.BlockID
	cfg := keepio.SpoolConfig{
		Dir: t.TempDir(), Store: store,
		NextID: func() (keepio.BlockID, error) { last++; return last, nil },
	}
	if change != nil {
		change(&cfg)
	}
	s, err := keepio.OpenSpool(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s, store
}

// read returns what segs hold.
func read(t testing.TB, s *keepio.Spool, segs []keepio.Segment) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, seg := range segs {
		if n, err := s.WriteRange(context.Background(), &out, seg.Block, int64(seg.Off), int64(seg.Len)); err != nil || n != int64(seg.Len) {
			t.Fatalf("WriteRange = %d, %v; want %d bytes", n, err, seg.Len)
		}
	}
	return out.Bytes()
}

func TestAppendedBytesCanBeReadBeforeAndAfterTheyAreStored(t *testing.T) {
	s, store := openSpool(t, nil)
	p := s.NewPacker("c")
	defer p.Close()
	data := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	segs, err := p.Append(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, segs); !bytes.Equal(got, data) {
		t.Fatal("bytes differ before they are stored")
	}
	extents, err := s.Freeze("c", []*keepio.Block{segs[0].Block})
	if err != nil || len(extents) != 1 || extents[0].CRC != keepio.Sum(data) {
		t.Fatalf("Freeze = %+v, %v; want the sum %08x", extents, err, keepio.Sum(data))
	}
	if err := s.VerifyExtent(extents[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(t.Context(), []*keepio.Block{segs[0].Block}); err != nil {
		t.Fatal(err)
	}
	if err := s.Store(t.Context(), []*keepio.Block{segs[0].Block}); err != nil {
		t.Fatal(err)
	}
	if _, size, ok := segs[0].Block.Stored(); !ok || int(size) != len(data) || store.Len() != 1 {
		t.Fatalf("Stored = %d, %v with %d blocks; want one of %d bytes", size, ok, store.Len(), len(data))
	}
	if got := read(t, s, segs); !bytes.Equal(got, data) {
		t.Fatal("bytes differ after they are stored")
	}
	if hash, size, err := s.Zero(t.Context()); err != nil || size != keepio.BlockSize || hash == [16]byte{} {
		t.Fatalf("Zero = %x, %d, %v", hash, size, err)
	}
}
