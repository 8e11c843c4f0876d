package keepio

import (
	"bytes"
	"context"
	"errors"
	"syscall"
	"testing"
)

func TestCarryTakesWhatIsNotDurableAndNothingElse(t *testing.T) {
	m := openModel(t, nil)
	p := m.NewPacker("c")
	data := randomBytes(1000)
	carry := func(segs []Segment, extents []Extent, limit int) bool {
		t.Helper()
		ok, err := m.Carry(blocksOf(segs), extents, limit)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			for _, e := range extents {
				if e.Data != nil {
					t.Error("Carry filled an extent and reported false")
				}
			}
		}
		return ok
	}
	first := mustAppend(t, p, data)
	e1 := mustFreeze(t, m.Spool, first)
	if carry(first, e1, 999) {
		t.Error("Carry went beyond the limit")
	}
	if !carry(first, e1, 1000) || !bytes.Equal(e1[0].Data, data) {
		t.Fatalf("Carry did not fill the bytes")
	}

	// The first bytes are in no durable record yet: later ones alone don't do.
	second := mustAppend(t, p, data)
	e2 := mustFreeze(t, m.Spool, second)
	if second[0].Block != first[0].Block {
		t.Fatal("not the same block")
	}
	if carry(second, e2, 1<<20) {
		t.Error("Carry relies on bytes that nobody made durable")
	}
	if both := append(e1[:1:1], e2...); !carry(second, both, 1<<20) {
		t.Error("Carry refuses all that is not durable")
	} else {
		both[1].Data = nil
	}
	e1[0].Data = nil
	if carry(first, e1, 1<<20) {
		t.Error("Carry ignores what somebody else froze meanwhile")
	}

	e1[0].Data = data
	m.Carried(e1)
	if !carry(second, e2, 1000) {
		t.Error("Carry refuses bytes that follow durable ones")
	}
	m.Carried(e2)
	if !carry(second, nil, 0) {
		t.Error("Carry finds something that is not durable")
	}

	// What is carried is not synced: the block file still has to be.
	after := openMemSpool(t, m.files.cutPower(), m, nil)
	if after.VerifyExtent(e1[0]) == nil {
		t.Error("the block file has bytes that nobody synced")
	}
	_ = after.Close(context.Background())
	if err := m.SyncIDs(context.Background(), []BlockID{first[0].Block.ID()}); err != nil {
		t.Fatal(err)
	}
	after = openMemSpool(t, m.files.cutPower(), m, nil)
	for _, e := range []Extent{e1[0], e2[0]} {
		if err := after.VerifyExtent(e); err != nil {
			t.Errorf("after SyncIDs: %v", err)
		}
	}
	_ = after.Close(context.Background())
}

func TestCarryLeavesAFileWhoseSyncFailedToSync(t *testing.T) {
	m := openModel(t, nil)
	segs := mustAppend(t, m.NewPacker("c"), randomBytes(1000))
	extents := mustFreeze(t, m.Spool, segs)
	failSyncs(m.files, 2)
	if err := m.Sync(context.Background(), blocksOf(segs)); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Sync = %v; want EIO", err)
	}
	if ok, err := m.Carry(blocksOf(segs), extents, 1<<20); ok || err != nil {
		t.Errorf("Carry = %v, %v; the kernel may have given up the bytes", ok, err)
	}
	if err := m.Sync(context.Background(), blocksOf(segs)); err != nil {
		t.Fatal(err)
	}
	if ok, err := m.Carry(blocksOf(segs), extents, 0); !ok || err != nil {
		t.Errorf("Carry = %v, %v; everything is synced", ok, err)
	}
}

func TestBytesThatChangedInTheFileAreNotCarried(t *testing.T) {
	m := openModel(t, nil)
	segs := mustAppend(t, m.NewPacker("c"), randomBytes(1000))
	extents := mustFreeze(t, m.Spool, segs)
	extents[0].CRC++
	if ok, err := m.Carry(blocksOf(segs), extents, 1<<20); ok || !errors.Is(err, ErrCorrupt) || extents[0].Data != nil {
		t.Errorf("Carry = %v, %v; want ErrCorrupt", ok, err)
	}
}
