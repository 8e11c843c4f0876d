package collfs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keepdav/collfs"
	"keepdav/collfs/sqlite"
	"keepdav/keepio"
)

// A crashModel changes collections that come to share blocks, in a store on disk,
// and knows what has to be there after a loss of power.
type crashModel struct {
	t     *testing.T
	rnd   *rand.Rand
	store *realStore
	fs    *collfs.FS
	all   []*crashColl
	files int // counts contents, so that each is another

	journal string // a copy of the journal as of the last durable commit

	pass sync.RWMutex // held for reading by commits while they are with the catalog

	mu     sync.Mutex // guards the fields below
	frozen map[keepio.BlockID]int64
	synced map[keepio.BlockID]int64 // so much of each block file is on disk
	unsure int                      // what becomes of the next commit
	odds   int                      // of one in so many commits nobody hears what became of it; 0: of none
	dice   *rand.Rand               // for odds
}

// crashColl is a collection, and what its commits have made of it.
type crashColl struct {
	id      collfs.UUID
	c       *collfs.Collection
	states  []map[string]string
	durable int // from which state on it may be found
	h       *collfs.Handle
}

// crashSpool notes what is synced.
type crashSpool struct {
	*keepio.Spool
	m *crashModel
}

func (s crashSpool) Freeze(name string, blocks []*keepio.Block) ([]keepio.Extent, error) {
	extents, err := s.Spool.Freeze(name, blocks)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for _, x := range extents {
		s.m.frozen[x.Block] = max(s.m.frozen[x.Block], int64(x.To))
	}
	return extents, err
}

func (s crashSpool) Sync(ctx context.Context, blocks []*keepio.Block) error {
	var ids []keepio.BlockID
	for _, b := range blocks {
		ids = append(ids, b.ID())
	}
	return s.m.sync(ids, func() error { return s.Spool.Sync(ctx, blocks) })
}

// sync notes what do syncs.
func (m *crashModel) sync(ids []keepio.BlockID, do func() error) error {
	m.mu.Lock()
	was := maps.Clone(m.frozen)
	m.mu.Unlock()
	err := do()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		m.synced[id] = max(m.synced[id], was[id])
	}
	return nil
}

// crashCatalog is unsure of commits when told.
type crashCatalog struct {
	collfs.Catalog
	m *crashModel
}

const (
	sure = iota
	refuse
	unknownDone
	unknownNotDone
)

func (c crashCatalog) Commit(ctx context.Context, tx collfs.Tx) ([]collfs.Record, error) {
	c.m.mu.Lock()
	unsure := c.m.unsure
	c.m.unsure = sure
	if c.m.odds > 0 && len(tx.Changes) > 0 && c.m.dice.IntN(c.m.odds) == 0 {
		unsure = unknownDone + c.m.dice.IntN(2)
	}
	c.m.mu.Unlock()
	switch unsure {
	case refuse:
		return nil, errInjected
	case unknownNotDone:
		return nil, collfs.ErrUnknownOutcome
	}
	c.m.pass.RLock()
	defer c.m.pass.RUnlock()
	records, err := c.Catalog.Commit(ctx, tx)
	if unsure == unknownDone && err == nil {
		return nil, collfs.ErrUnknownOutcome
	}
	return records, err
}

// open opens the store in dir; segment is the size of those of its journal.
func (m *crashModel) open(dir string, segment int64) {
	store, err := openRealStore(context.Background(), dir, false, func(cfg *sqlite.Config) {
		cfg.SegmentSize, cfg.ApplyDelay, cfg.Reserve = segment, time.Hour, -1
		sync := cfg.SyncIDs
		cfg.SyncIDs = func(ctx context.Context, ids []keepio.BlockID) error {
			return m.sync(ids, func() error { return sync(ctx, ids) })
		}
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.store, m.frozen, m.synced, m.unsure = store, make(map[keepio.BlockID]int64), make(map[keepio.BlockID]int64), sure
	entries, err := os.ReadDir(filepath.Join(dir, "open"))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range entries { // what recovery has left
		var id uint64
		info, err := e.Info()
		if _, serr := fmt.Sscanf(e.Name(), "%016x", &id); err == nil && serr == nil {
			m.synced[keepio.BlockID(id)] = info.Size()
		}
	}
	m.fs = collfs.NewFS(collfs.Config{Catalog: crashCatalog{store.sql, m}, Spool: crashSpool{store.spool, m}})
}

func (m *crashModel) close() {
	ctx := context.Background()
	for _, x := range m.all {
		if x.h != nil {
			_ = x.h.Close(ctx)
			x.h = nil
		}
		x.c.Release()
	}
	if err := errors.Join(m.fs.Close(ctx), m.store.close(ctx)); err != nil {
		m.t.Error(err)
	}
}

func (m *crashModel) add(id collfs.UUID) *crashColl {
	c, err := m.fs.Open(context.Background(), id)
	if err != nil {
		m.t.Fatal(err)
	}
	x := &crashColl{id: id, c: c}
	x.note(m.t, true)
	m.all = append(m.all, x)
	return x
}

// note adds what is in the collection to what may be found after a crash, or, when
// it is durable, has to be.
func (x *crashColl) note(t *testing.T, durable bool) {
	x.states = append(x.states, files(t, x.c))
	if durable {
		x.durable = len(x.states) - 1
	}
}

func (m *crashModel) content(n int) string {
	m.files++
	return strings.Repeat(fmt.Sprintf("%08d", m.files), n/8+1)[:n]
}

func (m *crashModel) name() string { return string(rune('a' + m.rnd.IntN(8))) }

// commit commits x, whose commit may fail when something goes wrong on purpose.
func (m *crashModel) commit(x *crashColl, durable bool) {
	err := x.c.Commit(context.Background(), durable)
	x.note(m.t, err == nil && durable) // what handles wrote may have come under other names
	if err != nil && !errors.Is(err, errInjected) && !errors.Is(err, collfs.ErrUnknownOutcome) {
		m.t.Fatal(err)
	}
	if err == nil && durable {
		m.keepJournal()
	}
}

// keepJournal copies the journal as it is.
func (m *crashModel) keepJournal() {
	if err := os.RemoveAll(m.journal); err != nil {
		m.t.Fatal(err)
	}
	m.journal = filepath.Join(m.t.TempDir(), "journal")
	m.copyTo(filepath.Dir(m.journal), "journal")
}

// copyTo copies what is at a name in the store to dir, but for spare segments of
// the journal. What goes away meanwhile is left out.
func (m *crashModel) copyTo(dir, name string) {
	err := filepath.WalkDir(filepath.Join(m.store.dir, name), func(path string, e fs.DirEntry, err error) error {
		to := filepath.Join(dir, strings.TrimPrefix(path, m.store.dir))
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && strings.HasPrefix(e.Name(), "spare"):
			return nil
		case err != nil:
			return err
		case e.IsDir():
			return os.MkdirAll(to, 0o700)
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return errors.Join(err, os.WriteFile(to, data, 0o600))
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *crashModel) step() {
	t := m.t
	x, y := m.all[m.rnd.IntN(len(m.all))], m.all[m.rnd.IntN(len(m.all))]
	over := collfs.CopyOptions{Replace: collfs.ReplaceAny}
	switch m.rnd.IntN(22) {
	case 0, 1, 2:
		put(t, x.c, m.name(), m.content(1+m.rnd.IntN(5000)))
	case 3:
		put(t, x.c, m.name(), m.content(130<<10+m.rnd.IntN(100<<10)))
	case 4, 5:
		m.splice(x)
	case 6:
		_, _ = x.c.Copy(m.name(), m.name(), over)
	case 7:
		_, _ = x.c.Rename(m.name(), m.name(), over)
	case 20, 21:
		_, _ = x.c.Hardlink(m.name(), m.name(), nil)
	case 8:
		_ = x.c.Remove(m.name(), nil)
	case 9, 10, 11:
		if x != y {
			m.transfer(x, y, m.name(), m.name(), collfs.TransferOptions{CopyOptions: over, Move: m.rnd.IntN(2) == 0})
		}
	case 12, 13:
		m.write(x)
	case 14:
		m.commit(x, false)
	case 15, 16:
		m.commit(x, true)
	case 17:
		m.mu.Lock()
		m.unsure = refuse + m.rnd.IntN(3)
		m.mu.Unlock()
		m.commit(x, m.rnd.IntN(3) > 0)
		m.mu.Lock()
		m.unsure = sure
		m.mu.Unlock()
	case 18:
		m.background(x)
	case 19:
		if len(m.all) < 5 {
			m.extract(x)
		}
	}
}

func (m *crashModel) splice(x *crashColl) {
	name := m.name()
	info, err := x.c.Stat(name)
	if err != nil {
		return
	}
	s, err := x.c.NewStage(-1)
	if err != nil {
		m.t.Fatal(err)
	}
	defer s.Abort()
	if _, err := s.Write(context.Background(), []byte(m.content(1+m.rnd.IntN(3000)))); err != nil {
		m.t.Fatal(err)
	}
	if m.rnd.IntN(5) == 0 {
		return // given up
	}
	if _, err := x.c.Splice(s, name, m.rnd.Int64N(info.Size+1), collfs.SpliceOptions{}); err != nil {
		m.t.Fatal(err)
	}
}

// transfer moves or copies a file, at times while a handle appends to it.
func (m *crashModel) transfer(x, y *crashColl, from, to string, o collfs.TransferOptions) {
	ctx := context.Background()
	var wg sync.WaitGroup
	if x.h != nil && m.rnd.IntN(2) == 0 {
		wg.Go(func() {
			if _, err := x.h.Append(ctx, []byte(m.content(100))); err != nil {
				m.t.Error(err)
			}
		})
	}
	// If there is no such file, what was pending is committed all the same.
	_, _ = m.fs.Transfer(ctx, x.c, from, y.c, to, o)
	wg.Wait()
	m.commit(x, true)
	m.commit(y, true)
}

// write writes to a file by a handle, which stays open for a while.
func (m *crashModel) write(x *crashColl) {
	ctx := context.Background()
	if x.h == nil {
		h, _, err := x.c.OpenFile(m.name(), collfs.OpenOptions{Flags: os.O_RDWR | os.O_CREATE})
		if err != nil {
			m.t.Fatal(err)
		}
		x.h = h
	}
	for range 1 + m.rnd.IntN(3) {
		if _, err := x.h.WriteAt(ctx, []byte(m.content(1+m.rnd.IntN(2000))), m.rnd.Int64N(x.h.Info().Size+100)); err != nil {
			m.t.Fatal(err)
		}
	}
	if m.rnd.IntN(3) == 0 {
		if err := x.h.Close(ctx); err != nil {
			m.t.Fatal(err)
		}
		x.h = nil
		for _, y := range m.all { // it may have moved
			y.note(m.t, false)
		}
	}
}

// background does what goes on while nobody looks.
func (m *crashModel) background(x *crashColl) {
	ctx := context.Background()
	var err error
	switch m.rnd.IntN(4) {
	case 0:
		_, err = x.c.Manifest(ctx) // stores blocks
	case 1:
		err = m.store.sql.Fold(ctx, x.id)
	case 2:
		_, _, err = m.store.sql.Load(ctx, x.id, 0)
	default:
		_, err = m.fs.Repack(ctx, m.store.sql, collfs.RepackOptions{Threshold: 2})
		for _, y := range m.all {
			y.note(m.t, false)
		}
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// extract makes a new collection of a copy of x.
func (m *crashModel) extract(x *crashColl) {
	rec, err := m.store.sql.Record(context.Background(), x.id)
	if err != nil {
		m.t.Fatal(err)
	}
	rec, err = m.fs.Extract(context.Background(), x.c, "", rec.Owner, "copy", collfs.TransferOptions{Unique: true})
	if err != nil {
		m.t.Fatal(err)
	}
	x.note(m.t, true)
	m.add(rec.UUID)
	m.keepJournal()
}

// crash opens what a loss of power leaves, or, if it isn't one, a sudden end.
func (m *crashModel) crash(power bool) {
	t, ctx := m.t, context.Background()
	if _, err := m.store.sql.Marks(ctx); err != nil { // the applier is at rest after that
		t.Fatal(err)
	}
	dir := t.TempDir()
	entries, err := os.ReadDir(m.store.dir)
	if err != nil {
		t.Fatal(err)
	}
	// What recovery took up is stored in the background: from here, to there.
	m.copyTo(dir, "open")
	for _, e := range entries {
		if e.Name() != "open" && e.Name() != "blocks" {
			m.copyTo(dir, e.Name())
		}
	}
	m.copyTo(dir, "blocks")
	if power && m.rnd.IntN(2) == 0 {
		if err := errors.Join(os.RemoveAll(filepath.Join(dir, "journal")), os.Rename(m.journal, filepath.Join(dir, "journal"))); err != nil {
			t.Fatal(err)
		}
	}
	m.journal = ""
	if power {
		m.mu.Lock()
		synced := maps.Clone(m.synced)
		m.mu.Unlock()
		m.lose(filepath.Join(dir, "open"), synced)
	}
	all := m.all
	m.close()
	m.all = nil
	m.open(dir, smallSegment)
	for i, was := range all {
		got := files(t, m.add(was.id).c)
		if !slices.ContainsFunc(was.states[was.durable:], func(s map[string]string) bool { return maps.Equal(got, s) }) {
			t.Fatalf("collection %d has %v; want what it had at or after the last durable commit, %v", i, sizes(got), sizes(was.states[was.durable]))
		}
	}
	m.keepJournal()
}

// sizes makes contents fit for a message.
func sizes(all map[string]string) (out []string) {
	for name, content := range all {
		out = append(out, fmt.Sprintf("%s: %.8s (%d)", name, content, len(content)))
	}
	slices.Sort(out)
	return out
}

// lose takes from block files what was not synced: it is gone, or zeros, or there.
func (m *crashModel) lose(dir string, synced map[keepio.BlockID]int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		var id keepio.BlockID
		info, err := e.Info()
		if _, serr := fmt.Sscanf(e.Name(), "%016x", &id); err != nil || serr != nil {
			m.t.Fatal(err, serr)
		}
		n, size := synced[id], info.Size()
		switch m.rnd.IntN(5) {
		case 0:
			err = errors.Join(os.Truncate(path, min(n, size)), os.Truncate(path, size))
		case 1:
			err = os.Truncate(path, min(size, n+m.rnd.Int64N(max(1, size-n+1))))
		case 2:
		case 3:
			if n == 0 {
				err = os.Remove(path)
				break
			}
			fallthrough
		default:
			err = os.Truncate(path, min(n, size))
		}
		if err != nil {
			m.t.Fatal(err)
		}
	}
}

const smallSegment = 256 << 10

// newCrashModel returns a model of a new store with three collections.
func newCrashModel(t *testing.T, seed uint64, segment int64) *crashModel {
	m := &crashModel{t: t, rnd: rand.New(rand.NewPCG(seed, 5)), dice: rand.New(rand.NewPCG(seed, 6))}
	m.open(filepath.Join(t.TempDir(), "store"), segment)
	user, err := m.store.sql.CreateUser(t.Context(), "user", "User", "", false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		id := m.store.sql.NewCollectionUUID()
		_, err := m.store.sql.Commit(t.Context(), collfs.Tx{Durable: true, Records: []collfs.RecordOp{{Kind: collfs.CreateCollection, UUID: id, Owner: user.UUID, Name: fmt.Sprint(i)}}})
		if err != nil {
			t.Fatal(err)
		}
		m.add(id)
	}
	return m
}

func TestALossOfPowerLosesNothingThatWasDurable(t *testing.T) {
	seeds, rounds := uint64(6), 4
	if testing.Short() {
		seeds, rounds = 2, 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newCrashModel(t, seed, smallSegment)
			m.keepJournal()
			for range rounds {
				for range 10 + m.rnd.IntN(60) {
					m.step()
				}
				m.crash(m.rnd.IntN(4) > 0)
			}
			m.close()
		})
	}
}

// A crashWorker has files of its own, in all collections, so that its acknowledged
// changes alone decide what they are.
type crashWorker struct {
	m   *crashModel
	id  int
	rnd *rand.Rand
	n   int // counts names and contents

	mu    sync.Mutex // guards the fields below
	state crashState
	next  crashState // what the change under way makes of it; nil: there is none
}

// A crashState is files, by name and number of the collection.
type crashState map[string]string

func crashName(coll int, name string) string { return fmt.Sprintf("%d/%s", coll, name) }

// change makes one change, and has it durable.
func (w *crashWorker) change() error {
	ctx, m := context.Background(), w.m
	next := maps.Clone(w.state)
	to := w.rnd.IntN(len(m.all))
	w.n++
	name := fmt.Sprintf("w%d-%d", w.id, w.n)
	content := strings.Repeat(fmt.Sprintf("%d:%d;", w.id, w.n), 1+w.rnd.IntN(300))
	if w.rnd.IntN(10) == 0 {
		content = strings.Repeat(content, 1+(140<<10)/len(content))
	}
	from := ""
	if names := slices.Sorted(maps.Keys(w.state)); len(names) > 0 {
		from = names[w.rnd.IntN(len(names))]
	}
	x := m.all[to]
	var coll int
	var old string
	if from != "" {
		if _, err := fmt.Sscanf(from, "%d/%s", &coll, &old); err != nil {
			return err
		}
	}
	over := collfs.TransferOptions{CopyOptions: collfs.CopyOptions{Replace: collfs.ReplaceAny}}
	var do func() error
	switch kind := w.rnd.IntN(10); {
	case from == "" || kind < 3:
		next[crashName(to, name)] = content
		do = func() error { return w.put(x.c, name, content, -1) }
	case kind < 6: // into a file
		x = m.all[coll]
		was := w.state[from]
		off := w.rnd.IntN(len(was) + 1)
		next[from] = was[:off] + content + was[min(len(was), off+len(content)):]
		do = func() error { return w.put(x.c, old, content, int64(off)) }
	case kind < 7:
		x = m.all[coll]
		delete(next, from)
		do = func() error { return x.c.Remove(old, nil) }
	case to == coll:
		next[crashName(to, name)] = w.state[from]
		do = func() error { _, err := x.c.Copy(old, name, over.CopyOptions); return err }
	default:
		next[crashName(to, name)] = w.state[from]
		if over.Move = kind < 9; over.Move {
			delete(next, from)
		}
		do = func() error { _, err := m.fs.Transfer(ctx, m.all[coll].c, old, x.c, name, over); return err }
	}
	w.mu.Lock()
	w.next = next
	w.mu.Unlock()
	err := do()
	if err == nil {
		err = x.c.Commit(ctx, true)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = nil
	if err == nil {
		w.state = next
	}
	return err
}

// put makes a file, or writes into one at off.
func (w *crashWorker) put(c *collfs.Collection, name, content string, off int64) error {
	s, err := c.NewStage(-1)
	if err != nil {
		return err
	}
	defer s.Abort()
	if _, err := s.Write(context.Background(), []byte(content)); err != nil {
		return err
	}
	if off < 0 {
		_, _, err = c.Link(s, name, collfs.LinkOptions{})
		return err
	}
	_, err = c.Splice(s, name, off, collfs.SpliceOptions{})
	return err
}

// TestALossOfPowerAmongManyChangesLosesNoneThatWasAcknowledged is the same with many
// at work, who move files between collections while others commit there.
func TestALossOfPowerAmongManyChangesLosesNoneThatWasAcknowledged(t *testing.T) {
	seeds := uint64(3)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newCrashModel(t, seed, 0)
			defer m.close()
			m.mu.Lock()
			m.odds = 12
			m.mu.Unlock()
			var workers []*crashWorker
			for id := range 6 {
				workers = append(workers, &crashWorker{m: m, id: id, rnd: rand.New(rand.NewPCG(seed, uint64(id))), state: crashState{}})
			}
			acknowledged, done := make(chan struct{}), make(chan struct{})
			var wg sync.WaitGroup
			for _, w := range workers {
				wg.Go(func() {
					for {
						if err := w.change(); err != nil {
							t.Errorf("worker %d: %v", w.id, err)
						}
						select {
						case acknowledged <- struct{}{}:
						case <-done:
							return
						}
					}
				})
			}
			for range 4 {
				for range 60 {
					<-acknowledged
				}
				m.checkImage(workers)
			}
			close(done)
			wg.Wait()
		})
	}
}

// A crashWish is what a worker's files may be.
type crashWish struct{ state, next crashState }

// image is what a loss of power just now would leave, and what has to be in it.
func (m *crashModel) image(workers []*crashWorker) (dir string, want []crashWish) {
	dir = m.t.TempDir()
	m.pass.Lock()
	defer m.pass.Unlock()
	for _, w := range workers {
		w.mu.Lock()
		want = append(want, crashWish{w.state, w.next})
		w.mu.Unlock()
	}
	// The applier may be at work: what the database has of it was synced before, and
	// what it lacks is in the journal.
	m.copyTo(dir, "keepdav.db")
	m.copyTo(dir, "keepdav.db-wal")
	m.mu.Lock()
	synced := maps.Clone(m.synced)
	m.mu.Unlock()
	m.copyTo(dir, "journal")
	m.copyTo(dir, "open")
	m.lose(filepath.Join(dir, "open"), synced)
	return dir, want
}

// checkImage opens what a loss of power just now would leave.
func (m *crashModel) checkImage(workers []*crashWorker) {
	t, ctx := m.t, context.Background()
	dir, want := m.image(workers)
	store, err := openRealStore(ctx, dir, false, func(cfg *sqlite.Config) { cfg.Reserve = -1 })
	if err != nil {
		t.Fatal(err)
	}
	f := collfs.NewFS(collfs.Config{Catalog: store.sql, Spool: store.spool})
	defer func() {
		if err := errors.Join(f.Close(ctx), store.close(ctx)); err != nil {
			t.Error(err)
		}
	}()
	got := make([]crashState, len(workers))
	for i := range got {
		got[i] = crashState{}
	}
	for i, x := range m.all {
		c, err := f.Open(ctx, x.id)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range files(t, c) {
			var w, n int
			if _, err := fmt.Sscanf(name, "w%d-%d", &w, &n); err != nil {
				t.Fatal(name, err)
			}
			got[w][crashName(i, name)] = content
		}
		c.Release()
	}
	for i, w := range want {
		if !maps.Equal(got[i], w.state) && (w.next == nil || !maps.Equal(got[i], w.next)) {
			t.Errorf("worker %d has %v; want %v, or %v", i, sizes(got[i]), sizes(w.state), sizes(w.next))
		}
	}
}
