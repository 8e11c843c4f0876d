package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/keepio"
)

// A crashModel drives a store with random transactions and knows what must be
// there after a crash. Block files are only numbers to it while a store runs:
// which bytes of them are on disk. At a crash it makes the files that are left.
type crashModel struct {
	t     *testing.T
	rnd   *rand.Rand
	s     *Store
	dir   string
	home  collfs.UUID
	colls []*modelColl

	block  keepio.BlockID
	ends   map[keepio.BlockID]uint32 // written
	synced map[keepio.BlockID]uint32 // on disk
	safe   map[keepio.BlockID]uint32 // on disk, or in durable records
	bytes  map[keepio.BlockID][]byte // what was written
	relied map[int][]keepio.Extent   // by transaction
	first  keepio.BlockID            // the first block since the last crash
	luck   bool                      // at the cut, all that was written happened to be on disk

	journal string // a copy of the journal as of the last durable commit
	now     time.Time
	txs     int
}

type modelColl struct {
	id      collfs.UUID
	made    int   // the transaction that made it
	txs     []int // those of its commits, by revision
	durable int   // revision up to which it is durable; -1: its creation isn't
}

func newCrashModel(t *testing.T, seed uint64) *crashModel {
	m := &crashModel{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), dir: filepath.Join(t.TempDir(), "store"), now: time.Unix(1_700_000_000, 0),
		ends: make(map[keepio.BlockID]uint32), synced: make(map[keepio.BlockID]uint32), safe: make(map[keepio.BlockID]uint32),
		bytes: make(map[keepio.BlockID][]byte), relied: make(map[int][]keepio.Extent),
	}
	m.open()
	m.home = newUser(t, m.s, "ann", false)
	m.s.writeMu.Lock()
	if err := m.s.checkpointLocked(t.Context(), "TRUNCATE"); err != nil {
		t.Fatal(err)
	}
	m.s.writeMu.Unlock()
	m.journal = m.copyJournal()
	return m
}

func (m *crashModel) open() {
	m.s = openStore(m.t, Config{
		Dir: m.dir, SegmentSize: 8 << 10, ApplyDelay: []time.Duration{time.Millisecond, time.Hour}[m.rnd.IntN(2)], Now: func() time.Time { return m.now },
		SyncIDs: func(_ context.Context, ids []keepio.BlockID) error {
			m.sync(ids)
			return nil
		},
		VerifyExtent: m.verify,
	})
}

func (m *crashModel) blockPath(id keepio.BlockID) string {
	return filepath.Join(m.dir, "open", blockFileName(id))
}

// verify compares what a file has with what was written.
func (m *crashModel) verify(x keepio.Extent) error {
	data, err := os.ReadFile(m.blockPath(x.Block))
	if err != nil {
		return err
	}
	if len(data) < int(x.To) || keepio.Sum(data[x.From:x.To]) != x.CRC {
		return fmt.Errorf("block file %d, %d to %d: %w", x.Block, x.From, x.To, keepio.ErrCorrupt)
	}
	return nil
}

// leave makes the block files that a crash leaves in dir, when these bytes of
// them were on disk: the rest is there, or zeros, or nothing.
func (m *crashModel) leave(dir string, synced map[keepio.BlockID]uint32) {
	if old := filepath.Join(m.dir, "open"); m.first > 0 { // of before an earlier crash
		rename(m.t, copyDir(m.t, old, nil), filepath.Join(dir, "open"))
	} else if err := os.Mkdir(filepath.Join(dir, "open"), 0o700); err != nil {
		m.t.Fatal(err)
	}
	for id := max(m.first, 1); id <= m.block; id++ {
		data := slices.Clone(m.bytes[id])
		n := int(synced[id])
		switch m.rnd.IntN(4) {
		case 0:
			clear(data[n:])
		case 1:
			data = data[:n+m.rnd.IntN(len(data)-n+1)]
		default:
			data = data[:n]
		}
		if n == 0 && m.rnd.IntN(2) == 0 {
			continue // its name is lost, too
		}
		if err := os.WriteFile(filepath.Join(dir, "open", blockFileName(id)), data, 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
	m.first = m.block + 1
}

// sync is called by the applier too, but the model waits for nothing while it
// reads the maps: see crash.
func (m *crashModel) sync(ids []keepio.BlockID) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	for _, id := range ids {
		m.synced[id], m.safe[id] = m.ends[id], m.ends[id]
	}
}

// extent writes some bytes to a block file.
func (m *crashModel) extent() keepio.Extent {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if m.block < m.first || m.block == 0 || m.rnd.IntN(4) == 0 {
		m.block++
	}
	x := keepio.Extent{Block: m.block, From: m.ends[m.block]}
	x.To = x.From + 1 + m.rnd.Uint32N(1000)
	m.ends[m.block] = x.To
	data := make([]byte, x.To-x.From)
	for i := range data {
		data[i] = byte(m.rnd.Uint32())
	}
	m.bytes[x.Block] = append(m.bytes[x.Block], data...)
	x.CRC = keepio.Sum(data)
	return x
}

// carry puts the bytes of the extents of tx into it, if it then needs no sync.
func (m *crashModel) carry(tx collfs.Tx) bool {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	safe := maps.Clone(m.safe)
	for _, ch := range tx.Changes {
		for _, x := range ch.Extents {
			if x.From > safe[x.Block] {
				return false
			}
			safe[x.Block] = x.To
		}
	}
	for _, ch := range tx.Changes {
		for i, x := range ch.Extents {
			ch.Extents[i].Data = m.bytes[x.Block][x.From:x.To:x.To]
		}
	}
	return true
}

// carried notes that tx is durable.
func (m *crashModel) carried(tx collfs.Tx) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	for _, ch := range tx.Changes {
		for _, x := range ch.Extents {
			m.safe[x.Block] = max(m.safe[x.Block], x.To)
		}
	}
}

// step commits one random transaction.
func (m *crashModel) step() {
	m.now = m.now.Add(time.Duration(m.rnd.IntN(4000)) * time.Millisecond)
	if m.rnd.IntN(10) == 0 {
		m.barrier()
		return
	}
	if len(m.colls) > 0 && m.rnd.IntN(20) == 0 {
		m.fold(m.colls[m.rnd.IntN(len(m.colls))])
	}
	m.txs++
	tx := collfs.Tx{Durable: m.rnd.IntN(4) == 0}
	var touched []*modelColl
	if len(m.colls) == 0 || m.rnd.IntN(30) == 0 {
		c := &modelColl{id: m.s.NewCollectionUUID(), made: m.txs, durable: -1}
		tx.Records = append(tx.Records, collfs.RecordOp{Kind: collfs.CreateCollection, UUID: c.id, Owner: m.home, Name: "c", Unique: true})
		m.colls = append(m.colls, c)
		if m.rnd.IntN(2) == 0 {
			touched = append(touched, c)
		} else if tx.Durable {
			c.durable = 0
		}
	}
	for len(touched) < 1+m.rnd.IntN(3)/2 {
		c := m.colls[m.rnd.IntN(len(m.colls))]
		if slices.Contains(touched, c) {
			break
		}
		touched = append(touched, c)
	}
	var ids []keepio.BlockID
	for _, c := range touched {
		rev := int64(len(c.txs))
		ch := collfs.Change{Collection: c.id, Base: rev, Ops: mkdir(fmt.Sprintf("n%d", rev+1))}
		if m.rnd.IntN(3) > 0 {
			x := m.extent()
			ch.Extents, ids = append(ch.Extents, x), append(ids, x.Block)
			m.relied[m.txs] = append(m.relied[m.txs], x)
		}
		tx.Changes = append(tx.Changes, ch)
	}
	if tx.Durable && (m.rnd.IntN(4) == 0 || !m.carry(tx)) {
		m.sync(ids)
	}
	if _, err := m.s.Commit(m.t.Context(), tx); err != nil {
		m.t.Fatal(err)
	}
	for _, c := range touched {
		c.txs = append(c.txs, m.txs)
	}
	if tx.Durable {
		m.carried(tx)
		for _, c := range touched {
			c.durable = len(c.txs)
		}
		for _, op := range tx.Records {
			for _, c := range m.colls {
				if c.id == op.UUID {
					c.durable = max(c.durable, 0)
				}
			}
		}
		m.journal = m.copyJournal()
	}
}

// barrier makes everything durable that was committed.
func (m *crashModel) barrier() {
	if _, err := m.s.Commit(m.t.Context(), collfs.Tx{Durable: true}); err != nil {
		m.t.Fatal(err)
	}
	for _, c := range m.colls {
		c.durable = len(c.txs)
	}
	m.journal = m.copyJournal()
}

// fold folds a change log, or does half of it.
func (m *crashModel) fold(c *modelColl) {
	err := error(nil)
	if m.rnd.IntN(2) == 0 {
		err = m.s.Fold(m.t.Context(), c.id)
	} else {
		_, err = m.s.writeCheckpoint(m.t.Context(), collfs.Record{UUID: c.id, Revision: 1}, []byte("half a checkpoint"))
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// freeze runs fn while nothing is written.
func (m *crashModel) freeze(fn func()) {
	m.s.writeMu.Lock()
	defer m.s.writeMu.Unlock()
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	fn()
}

func copyDir(t *testing.T, from string, skip func(name string) bool) string {
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() || skip != nil && skip(e.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // a segment in the making
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func isSpare(name string) bool { return strings.HasPrefix(name, "spare") }

func (m *crashModel) copyJournal() (dir string) {
	m.freeze(func() { dir = copyDir(m.t, filepath.Join(m.dir, "journal"), isSpare) })
	return dir
}

// crash ends the store and opens what is left of it.
func (m *crashModel) crash(power bool) {
	var dir, journal string
	var synced map[keepio.BlockID]uint32
	m.luck = m.rnd.IntN(3) == 0
	m.freeze(func() {
		skip := func(name string) bool { return false }
		if power && !m.luck {
			skip = func(name string) bool { return strings.HasPrefix(name, "keepdav.db-") }
		}
		dir = copyDir(m.t, m.dir, skip)
		journal = copyDir(m.t, filepath.Join(m.dir, "journal"), isSpare)
		if power && m.rnd.IntN(2) == 0 {
			journal = m.journal
		}
		if !power || m.luck {
			maps.Copy(m.synced, m.ends)
		}
		synced = maps.Clone(m.synced)
	})
	rename(m.t, journal, filepath.Join(dir, "journal"))
	m.leave(dir, synced)
	if journal == m.journal {
		m.journal = ""
	}
	old := m.s
	if err := old.Close(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	m.dir, m.synced = dir, synced // without what the old store did after the crash
	m.open()
	m.check(power)
	m.journal = m.copyJournal()
}

// check compares the store with the model, which then forgets what was lost.
func (m *crashModel) check(power bool) {
	t := m.t
	present := make(map[int]bool)
	lost := make(map[int]bool)
	kept := m.colls[:0]
	for _, c := range m.colls {
		rec, saved, err := m.s.Load(t.Context(), c.id, 0)
		if err != nil {
			if c.durable >= 0 || !power {
				t.Fatalf("collection made by transaction %d: %v; durable up to %d", c.made, err, c.durable)
			}
			lost[c.made] = true
			for _, tx := range c.txs {
				lost[tx] = true
			}
			continue
		}
		present[c.made] = true
		kept = append(kept, c)
		rev := int(rec.Revision)
		if rev < c.durable || rev > len(c.txs) || !power && rev != len(c.txs) {
			t.Fatalf("collection has revision %d; %d of %d are durable", rev, c.durable, len(c.txs))
		}
		tree, err := collfs.Load(saved, fakeBlocks{})
		if err != nil {
			t.Fatal(err)
		}
		if got := int(tree.Dirs()); got != rev {
			t.Fatalf("revision %d has %d directories", rev, got)
		}
		for n := 1; n <= rev; n++ {
			if _, err := tree.Stat(fmt.Sprintf("n%d", n)); err != nil {
				t.Fatalf("revision %d: %v", rev, err)
			}
			present[c.txs[n-1]] = true
		}
		for _, tx := range c.txs[rev:] {
			lost[tx] = true
		}
		c.txs = c.txs[:rev]
		c.durable = rev
	}
	m.colls = kept
	for tx := range present {
		for _, x := range m.relied[tx] {
			if err := m.verify(x); err != nil {
				t.Fatalf("transaction %d is there, but not its bytes: %v", tx, err)
			}
		}
	}
	for tx := range lost {
		if present[tx] {
			t.Fatalf("transaction %d is there in part", tx)
		}
	}
	if found, err := m.s.CheckDatabase(t.Context()); err != nil || len(found) > 0 {
		t.Fatal(found, err)
	}
}

func TestAKilledStoreHasEveryCommit(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newCrashModel(t, seed)
			for range 5 {
				for range m.rnd.IntN(80) {
					m.step()
				}
				m.crash(false)
			}
		})
	}
}

func TestAPowerCutLeavesAPrefixWithEveryDurableCommit(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newCrashModel(t, seed)
			for range 5 {
				for range m.rnd.IntN(80) {
					m.step()
				}
				m.crash(m.rnd.IntN(4) > 0)
			}
		})
	}
}

func TestAJournalCutAnywhereLeavesAPrefix(t *testing.T) {
	s := openStore(t, Config{ApplyDelay: time.Hour, SegmentSize: 32 << 10})
	id := newCollection(t, s, newUser(t, s, "ann", false), "data")
	m := &crashModel{t: t, s: s, dir: s.Dir()}
	const durable, all = 5, 9
	offset := 0 // of the end of the last durable one
	journal := filepath.Join(s.Dir(), "journal")
	used := func() (name string, data []byte) {
		entries, err := os.ReadDir(journal)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !isSpare(e.Name()) {
				name = e.Name()
			}
		}
		if data, err = os.ReadFile(filepath.Join(journal, name)); err != nil {
			t.Fatal(err)
		}
		return name, data
	}
	for n := range int64(all) {
		if _, err := s.Commit(t.Context(), collfs.Tx{Durable: n < durable, Changes: []collfs.Change{{Collection: id, Base: n, Ops: mkdir(fmt.Sprint("d", n))}}}); err != nil {
			t.Fatal(err)
		}
		if n == durable-1 {
			_, data := used()
			offset = len(strings.TrimRight(string(data), "\x00"))
		}
	}
	name, data := used()
	end := len(strings.TrimRight(string(data), "\x00"))
	for cut := offset; cut <= end; cut += 1 + (end-offset)/60 {
		var dir string
		m.freeze(func() { dir = copyDir(t, s.Dir(), nil) })
		torn := slices.Clone(data)
		clear(torn[cut:])
		err := os.Mkdir(filepath.Join(dir, "journal"), 0o700)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "journal", name), torn, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := Open(t.Context(), Config{Dir: dir, Reserve: -1, SegmentSize: 32 << 10, NoSync: true, Blocks: fakeBlocks{}})
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		rec, saved, err := again.Load(t.Context(), id, 0)
		if err != nil || rec.Revision < durable || rec.Revision > all {
			t.Errorf("cut at %d: revision %d, %v; want %d to %d", cut, rec.Revision, err, durable, all)
		}
		if tree, err := collfs.Load(saved, fakeBlocks{}); err != nil || tree.Dirs() != rec.Revision {
			t.Errorf("cut at %d: revision %d has %d directories, %v", cut, rec.Revision, tree.Dirs(), err)
		}
		if err := again.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
