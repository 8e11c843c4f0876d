package keepio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A modelFile is some bytes in the spool, and what they should be.
type modelFile struct {
	segs   []Segment
	bytes  []byte
	frozen bool
}

// A promise is a span that was committed and synced: it survives everything.
type promise struct {
	block BlockID
	off   uint32
	bytes []byte
}

// spoolModel drives a spool with random calls and compares it with plain byte
// slices.
type spoolModel struct {
	t        *testing.T
	s        *memSpool
	packer   *Packer
	files    []*modelFile
	stream   *Stream
	upload   *modelFile
	unsynced []promise // frozen only
	promises []promise
	extents  []Extent
	ends     map[BlockID]uint32 // committed
	pending  map[BlockID]uint32
	badSync  atomic.Bool
	seed     uint64
}

func (m *spoolModel) reopen(files *memFiles, before *memSpool) {
	m.s = openMemSpool(m.t, files, before, func(cfg *SpoolConfig) { cfg.Budget = 1 << 20 })
	m.packer = m.s.NewPacker("c")
	m.stream, m.upload = nil, nil
}

func (m *spoolModel) data(t *rapid.T) []byte {
	m.seed++
	n := rapid.SampledFrom([]int{1, 100, 4096, 5000, ChunkSize, 3*ChunkSize + 5}).Draw(t, "size")
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(uint64(i)*2654435761>>7 + m.seed*31)
	}
	return p
}

// tolerate passes over failures that were injected.
func (m *spoolModel) tolerate(t *rapid.T, err error) bool {
	if err != nil && !errors.Is(err, ErrFull) && !errors.Is(err, syscall.EIO) {
		t.Fatalf("unexpected error: %v", err)
	}
	return err == nil
}

func (m *spoolModel) Append(t *rapid.T) {
	data := m.data(t)
	segs, err := m.packer.Append(context.Background(), data)
	if m.tolerate(t, err) {
		m.files = append(m.files, &modelFile{segs: segs, bytes: data})
	}
}

func (m *spoolModel) StreamAppend(t *rapid.T) {
	if m.stream == nil {
		m.stream, m.upload = m.packer.NewStream(), new(modelFile)
	}
	data := m.data(t)
	segs, err := m.stream.Append(context.Background(), data)
	if m.tolerate(t, err) {
		m.upload.segs = JoinSegments(m.upload.segs, segs...)
		m.upload.bytes = append(m.upload.bytes, data...)
	}
}

func (m *spoolModel) StreamClose(t *rapid.T) {
	if m.stream != nil {
		m.stream.Close()
		m.files = append(m.files, m.upload)
		m.stream, m.upload = nil, nil
	}
}

func (m *spoolModel) StreamAbort(t *rapid.T) {
	if m.stream != nil {
		m.stream.Abort()
		m.stream, m.upload = nil, nil
	}
}

func (m *spoolModel) Overwrite(t *rapid.T) {
	if len(m.files) == 0 {
		return
	}
	f := rapid.SampledFrom(m.files).Draw(t, "file")
	at := 0
	for _, seg := range f.segs {
		off := rapid.IntRange(0, int(seg.Len)-1).Draw(t, "off")
		data := m.data(t)
		data = data[:min(len(data), int(seg.Len)-off)]
		did, err := m.packer.Overwrite(context.Background(), seg, uint32(off), data)
		m.tolerate(t, err)
		if did && f.frozen {
			t.Fatal("overwrote frozen bytes in place")
		}
		if did && err == nil {
			copy(f.bytes[at+off:], data)
		}
		if did && err != nil {
			f.bytes = slices.Concat(f.bytes[:at+off], m.read(t, []Segment{{seg.Block, seg.Off + uint32(off), uint32(len(data))}}), f.bytes[at+off+len(data):])
		}
		at += int(seg.Len)
	}
}

func (m *spoolModel) blocks() (blocks []*Block) {
	for _, f := range m.files {
		for _, seg := range f.segs {
			blocks = append(blocks, seg.Block)
		}
	}
	return blocks
}

// Freeze commits all files, without making them durable.
func (m *spoolModel) Freeze(t *rapid.T) {
	extents, err := m.s.Freeze("c", m.blocks())
	for _, e := range extents {
		m.extents = append(m.extents, e)
		m.pending[e.Block] = max(m.pending[e.Block], e.To)
	}
	if err != nil {
		m.tolerate(t, err)
		return
	}
	for _, f := range m.files {
		if f.frozen {
			continue
		}
		f.frozen = true
		at := 0
		for _, seg := range f.segs {
			m.unsynced = append(m.unsynced, promise{seg.Block.id, seg.Off, slices.Clone(f.bytes[at : at+int(seg.Len)])})
			at += int(seg.Len)
		}
	}
}

// Commit is Freeze and Sync.
func (m *spoolModel) Commit(t *rapid.T) {
	m.Freeze(t)
	if !m.tolerate(t, m.s.Sync(context.Background(), m.blocks())) {
		return
	}
	m.promises = append(m.promises, m.unsynced...)
	m.unsynced = nil
	for id, end := range m.pending {
		m.ends[id] = max(m.ends[id], end)
	}
	clear(m.pending)
}

func (m *spoolModel) Store(t *rapid.T) {
	if blocks := m.blocks(); len(blocks) > 0 {
		m.tolerate(t, m.s.Store(context.Background(), blocks[:1+len(blocks)/2]))
	}
}

func (m *spoolModel) FailSync(t *rapid.T) { m.badSync.Store(true) }

func (m *spoolModel) Fill(t *rapid.T) {
	m.s.files.setRoom(rapid.Int64Range(0, 3*ChunkSize).Draw(t, "room"))
	m.Append(t)
	m.StreamAppend(t)
	m.Append(t)
	m.s.files.setRoom(-1)
}

// CutPower restarts with what a loss of power leaves.
func (m *spoolModel) CutPower(t *rapid.T) {
	after := m.s.files.cutPower()
	m.stop()
	m.restart(t, after)
}

// Restart closes and opens the spool.
func (m *spoolModel) Restart(t *rapid.T) {
	if err := m.s.Close(context.Background()); err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatalf("Close: %v", err)
	}
	m.promises = append(m.promises, m.unsynced...) // survive the process
	for id, end := range m.pending {
		m.ends[id] = max(m.ends[id], end)
	}
	m.restart(t, m.s.files)
}

func (m *spoolModel) restart(t *rapid.T, files *memFiles) {
	files.setFault(m.fault)
	m.unsynced = nil
	clear(m.pending)
	before := m.s
	m.reopen(files, before)
	for _, e := range m.extents {
		if e.To <= m.ends[e.Block] {
			if err := m.s.VerifyExtent(e); err != nil {
				t.Fatalf("VerifyExtent(%+v): %v", e, err)
			}
		}
	}
	m.extents = nil
	var rows []OpenBlock
	for id, end := range m.ends {
		rows = append(rows, OpenBlock{id, end})
	}
	if err := m.s.Recover(context.Background(), rows); err != nil {
		t.Fatalf("Recover: %v", err)
	}
	m.files = nil
	for _, p := range m.promises {
		b, err := m.s.ByID(p.block)
		if err != nil {
			t.Fatal(err)
		}
		m.files = append(m.files, &modelFile{segs: []Segment{{b, p.off, uint32(len(p.bytes))}}, bytes: p.bytes, frozen: true})
	}
}

// stop ends the background work of a spool that has "crashed".
func (m *spoolModel) stop() {
	m.s.files.setFault(nil)
	_ = m.s.Close(context.Background())
}

func (m *spoolModel) fault(op, path string) error {
	if op == "sync" && m.badSync.Swap(false) {
		return syscall.EIO
	}
	return nil
}

func (m *spoolModel) read(t *rapid.T, segs []Segment) []byte {
	var out bytes.Buffer
	for _, seg := range segs {
		if _, err := m.s.WriteRange(context.Background(), &out, seg.Block, int64(seg.Off), int64(seg.Len)); err != nil {
			t.Fatalf("read %d bytes of block %d at %d: %v", seg.Len, seg.Block.id, seg.Off, err)
		}
	}
	return out.Bytes()
}

// Check compares everything.
func (m *spoolModel) Check(t *rapid.T) {
	all := m.files
	if m.upload != nil {
		all = append(slices.Clone(all), m.upload)
	}
	for i, f := range all {
		if !bytes.Equal(m.read(t, f.segs), f.bytes) {
			t.Fatalf("file %d of %d has other bytes (%s)", i, len(all), describe(f.segs))
		}
	}
}

func describe(segs []Segment) string {
	var b strings.Builder
	for _, s := range segs {
		fmt.Fprintf(&b, "%d[%d+%d] ", s.Block.id, s.Off, s.Len)
	}
	return b.String()
}

func TestSpoolAgreesWithPlainBytesWhateverFails(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &spoolModel{t: t, ends: map[BlockID]uint32{}, pending: map[BlockID]uint32{}}
		files := newMemFiles()
		files.setFault(m.fault)
		m.reopen(files, nil)
		rt.Repeat(rapid.StateMachineActions(m))
		m.badSync.Store(false)
		if err := m.s.StoreAll(context.Background()); err != nil && !errors.Is(err, syscall.EIO) {
			rt.Fatalf("StoreAll: %v", err)
		}
		m.Check(rt)
		deadline := time.Now().Add(time.Minute) // only to fail
		for m.s.Stats().Waiting != 0 && m.s.Stats().Open+m.s.Stats().Sealed+m.s.Stats().Failed == 0 {
			if time.Now().After(deadline) {
				rt.Fatalf("budget still counts %d bytes with no file left", m.s.Stats().Waiting)
			}
		}
		if err := m.s.Close(context.Background()); err != nil {
			rt.Fatalf("Close: %v", err)
		}
	})
}
