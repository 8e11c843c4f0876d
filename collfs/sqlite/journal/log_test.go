package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keepdav/keepio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func payload(seq uint64) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "record %d;", seq), int(seq%5)+1)
}

// read opens a copy of the log and returns the number of its last record,
// having checked that the records after the one numbered after are right.
func read(t testing.TB, dir string, after uint64) (uint64, error) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.Mkdir(copied, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := segments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f.path)
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, f.String()), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return replay(copied, after, func(seq uint64, p []byte) error {
		if !bytes.Equal(p, payload(seq)) {
			return fmt.Errorf("record %d is %q", seq, p)
		}
		return nil
	})
}

func open(t testing.TB, o Options, after uint64) *Log {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = 4096
	}
	l, err := Open(o, after, func(uint64, []byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func appendTo(t testing.TB, l *Log, upTo uint64) {
	t.Helper()
	for l.Last() < upTo {
		want := l.Last() + 1
		if seq, err := l.Append(payload(want)); err != nil || seq != want {
			t.Fatalf("Append = %d, %v; want %d", seq, err, want)
		}
	}
}

func TestRecordsComeBackInOrder(t *testing.T) {
	dir := t.TempDir()
	for round := range 5 {
		l := open(t, Options{Dir: dir}, 0)
		appendTo(t, l, uint64(round+1)*300)
		if round%2 == 0 {
			if err := l.Sync(l.Last() - 7); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for _, after := range []uint64{0, 1, 17, uint64(round+1) * 300} {
			if last, err := read(t, dir, after); err != nil || last != uint64(round+1)*300 {
				t.Fatalf("replay after %d = %d, %v; want %d", after, last, err, (round+1)*300)
			}
		}
	}
}

func TestARecordMayBeLargerThanASegment(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir}, 0)
	large := bytes.Repeat([]byte("x"), 3*maxTail)
	for range 3 {
		if _, err := l.Append(large); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	n := 0
	last, err := replay(dir, 0, func(_ uint64, p []byte) error {
		if bytes.Equal(p, large) {
			n++
		}
		return nil
	})
	if last != 3 || err != nil || n != 3 {
		t.Errorf("replay = %d, %v with %d good records; want 3", last, err, n)
	}
}

func TestNumbersGoOnAfterWhatTheDatabaseHas(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir}, 0)
	appendTo(t, l, 5)
	l.Close()
	l = open(t, Options{Dir: dir}, 9)
	if seq, err := l.Append(payload(10)); seq != 10 || err != nil {
		t.Errorf("Append = %d, %v; want 10", seq, err)
	}
	if last, err := read(t, dir, 9); last != 10 || err != nil {
		t.Errorf("replay after 9 = %d, %v; want 10", last, err)
	}
	var damage *DamageError
	if _, err := read(t, dir, 4); !errors.As(err, &damage) {
		t.Errorf("replay across the gap after 5: %v; want a DamageError", err)
	}
}

func TestDropKeepsWhatIsNeeded(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir}, 0)
	for upTo := uint64(200); upTo <= 2000; upTo += 200 {
		appendTo(t, l, upTo)
		if err := l.Sync(upTo); err != nil {
			t.Fatal(err)
		}
		if err := l.Drop(upTo - 150); err != nil {
			t.Fatal(err)
		}
		if n := l.Droppable(upTo - 150); n != 0 {
			t.Errorf("%d segments are left that could go", n)
		}
		if last, err := read(t, dir, upTo-150); last != upTo || err != nil {
			t.Fatalf("replay = %d, %v; want %d", last, err, upTo)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) > 6 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
}

// Whatever is left of the end of the log, what was read is a prefix with every
// record that had been synced.
func TestTornTailIsCutAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir}, 0)
	appendTo(t, l, 20)
	if err := l.Sync(20); err != nil {
		t.Fatal(err)
	}
	from := l.cur.pos
	appendTo(t, l, 24)
	to := l.cur.pos
	whole, err := os.ReadFile(filepath.Join(dir, l.cur.String()))
	if err != nil {
		t.Fatal(err)
	}
	for _, fill := range []string{"zero", "end", "junk"} {
		for cut := from; cut <= to; cut++ {
			torn := t.TempDir()
			data := bytes.Clone(whole)
			switch fill {
			case "end":
				data = data[:cut]
			case "zero":
				clear(data[cut:])
			case "junk":
				for i := cut; i < min(cut+64, int64(len(data))); i++ {
					data[i] ^= 0x5a
				}
			}
			name := filepath.Join(torn, l.cur.String())
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			last, err := read(t, torn, 0)
			if err != nil || last < 20 || last > 24 {
				t.Fatalf("%s at %d: replay = %d, %v", fill, cut, last, err)
			}
			// The log goes on after the cut, also across another crash.
			again := open(t, Options{Dir: torn, NoSync: true}, 0)
			appendTo(t, again, last+3)
			if got, err := read(t, torn, 0); err != nil || got != last+3 {
				t.Fatalf("%s at %d: after going on, replay = %d, %v; want %d", fill, cut, got, err, last+3)
			}
			again.Close()
		}
	}
}

// A loss of power may leave records behind a torn one. The log goes on with other
// records under their numbers, and the database may have got as far as them.
func TestWhatLiesBehindATornRecordNeverComesBack(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, SegmentSize: 1 << 16}, 0)
	appendTo(t, l, 5)
	torn := l.cur.pos
	appendTo(t, l, 20)
	path := filepath.Join(dir, l.cur.String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("torn"), torn+recordHeader); err != nil {
		t.Fatal(err)
	}
	f.Close()

	l = open(t, Options{Dir: dir, SegmentSize: 1 << 16}, 0)
	for seq := uint64(6); seq <= 12; seq++ {
		if got, err := l.Append([]byte("another")); got != seq || err != nil {
			t.Fatalf("Append = %d, %v; want %d", got, err, seq)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for after := uint64(5); after <= 12; after++ {
		last, err := replay(dir, after, func(seq uint64, p []byte) error {
			if string(p) != "another" {
				t.Errorf("after record %d, record %d is %q", after, seq, p)
			}
			return nil
		})
		if last != 12 || err != nil {
			t.Errorf("after record %d, replay = %d, %v; want 12", after, last, err)
		}
	}
}

// A segment may begin with a torn record and go on with what a user wrote, which
// looks like the start of a long record at every place.
func TestBytesThatLookLikeRecordsAreSearchedInTime(t *testing.T) {
	const first, salt = 5, 77
	data := appendHeader(nil, first, salt)
	for n := uint64(2 << 20); len(data) < 2<<20; n-- {
		data = binary.LittleEndian.AppendUint64(data, n)
	}
	data = append(data, make([]byte, 4<<20-len(data))...)
	data = appendRecord(data, salt, 9, 7, []byte("a record"))
	began := time.Now()
	if got := segmentEvidence(data, first); got != 7 {
		t.Errorf("segmentEvidence = %d; want 7, as the last record says", got)
	}
	end, err := readSegment(data, first, 8, func(r record) error {
		if r.seq != 9 || string(r.payload) != "a record" {
			t.Errorf("record %d is %q", r.seq, r.payload)
		}
		return nil
	})
	if end != int64(len(data)) || err != nil {
		t.Errorf("readSegment = %d, %v; want %d", end, err, len(data))
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the search took %v", took)
	}
}

func TestDamageBelowADurableRecordIsLoud(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, SegmentSize: 1 << 16}, 0)
	for seq := uint64(1); seq <= 30; seq++ {
		appendTo(t, l, seq)
		if err := l.Sync(seq); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, l.cur.String())
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for pos := int64(headerSize); pos < l.cur.pos; pos += 13 {
		data := bytes.Clone(whole)
		data[pos] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		last, err := read(t, dir, 0)
		var damage *DamageError
		switch {
		case err == nil && last == 29: // nothing tells that the last one was synced
		case err == nil && last == 30: // padding
		case !errors.As(err, &damage) || damage.Seq != last+1:
			t.Fatalf("byte %d changed: replay = %d, %v; want a DamageError", pos, last, err)
		}
		// Records that are in the database may be damaged.
		if last, err := read(t, dir, 30); err != nil || last != 30 {
			t.Fatalf("byte %d changed: replay after 30 = %d, %v", pos, last, err)
		}
	}
}

// flaky is a file system whose syncs and writes fail when told.
type flaky struct {
	osFiles
	failSync, failWrite atomic.Int32 // how many times
	mu                  sync.Mutex   // guards condemned
	condemned           map[string]bool
	t                   testing.TB
}

type flakyFile struct {
	file
	path string
	fl   *flaky
}

func (fl *flaky) open(path string) (file, error) {
	f, err := fl.osFiles.open(path)
	return &flakyFile{f, path, fl}, err
}

func (f *flakyFile) Sync() error {
	f.fl.mu.Lock()
	defer f.fl.mu.Unlock()
	if f.fl.condemned[f.path] {
		f.fl.t.Errorf("%s was synced again after a failed sync", f.path)
	}
	if f.fl.failSync.Add(-1) >= 0 {
		f.fl.condemned[f.path] = true
		return syscall.EIO
	}
	return f.file.Sync()
}

func (f *flakyFile) WriteAt(p []byte, off int64) (int, error) {
	if f.fl.failWrite.Add(-1) >= 0 {
		n, _ := f.file.WriteAt(p[:len(p)/2], off)
		return n, syscall.ENOSPC
	}
	return f.file.WriteAt(p, off)
}

func TestAFileWhoseSyncFailedIsNeverSyncedAgain(t *testing.T) {
	fl := &flaky{t: t, condemned: map[string]bool{}}
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, files: fl}, 0)
	appendTo(t, l, 10)
	fl.failSync.Store(1)
	if err := l.Sync(10); err != nil {
		t.Errorf("Sync after one failure: %v; want success in a new segment", err)
	}
	appendTo(t, l, 20)
	fl.failSync.Store(2)
	if err := l.Sync(15); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync after two failures: %v; want EIO", err)
	}
	if got := l.Durable(); got != 10 {
		t.Errorf("Durable = %d; want 10", got)
	}
	appendTo(t, l, 25)
	if err := l.Sync(25); err != nil {
		t.Error(err)
	}
	// Only the segments that were synced well count.
	for path := range fl.condemned {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
	if last, err := read(t, dir, 10); last != 25 || err != nil {
		t.Errorf("replay = %d, %v; want 25", last, err)
	}
}

// named is a file system that remembers which names in a directory are durable.
type named struct {
	osFiles
	mu    sync.Mutex // guards names
	names map[string]bool
}

func (n *named) syncDir(path string) error {
	entries, err := os.ReadDir(path) // before the sync: what comes later may miss it
	if err == nil {
		err = n.osFiles.syncDir(path)
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names = make(map[string]bool)
	for _, e := range entries {
		n.names[e.Name()] = true
	}
	return nil
}

func TestDurableRecordsAreInASegmentWithADurableName(t *testing.T) {
	files := new(named)
	l := open(t, Options{files: files}, 0)
	seen := make(map[segmentID]bool)
	for seq := uint64(10); seq <= 300; seq += 10 {
		appendTo(t, l, seq)
		if err := l.Sync(seq); err != nil {
			t.Fatal(err)
		}
		seen[l.cur.segmentID] = true
		files.mu.Lock()
		if !files.names[l.cur.String()] {
			t.Errorf("records up to %d are durable, but not the name of %s", seq, l.cur)
		}
		files.mu.Unlock()
	}
	if len(seen) < 3 {
		t.Errorf("%d segments; want several", len(seen))
	}
}

func TestAppendDoesNotSyncAfterRelieve(t *testing.T) {
	fl := &flaky{t: t, condemned: map[string]bool{}}
	l := open(t, Options{SegmentSize: 1 << 16, files: fl}, 0)
	record := make([]byte, 6000)
	for range 20 {
		l.Relieve()
		before := l.Durable()
		seq, err := l.Append(record)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Durable(); got != before {
			t.Errorf("Append of record %d made durable what is up to %d; want %d", seq, got, before)
		}
	}
	if l.Durable() < 15 {
		t.Errorf("records up to %d of 20 are durable: too much would be written again in the next segment", l.Durable())
	}
}

func TestAFailedAppendAddsNothing(t *testing.T) {
	fl := &flaky{t: t, condemned: map[string]bool{}}
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, files: fl}, 0)
	for seq := uint64(1); seq <= 60; seq += 3 {
		appendTo(t, l, seq)
		fl.failWrite.Store(1)
		if _, err := l.Append(bytes.Repeat([]byte("never"), 40)); !errors.Is(err, keepio.ErrFull) {
			t.Fatalf("Append = %v; want ErrFull", err)
		}
		if last, err := read(t, dir, 0); last != seq || err != nil {
			t.Fatalf("replay = %d, %v; want %d", last, err, seq)
		}
		appendTo(t, l, seq+1)
	}
}

func TestConcurrentCallersShareTheirSyncs(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, SegmentSize: 1 << 14}, 0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				seq, err := l.Append([]byte("some payload"))
				if err == nil {
					err = l.Sync(seq)
				}
				if err == nil && l.Durable() < seq {
					err = fmt.Errorf("record %d is not durable after Sync", seq)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if seq%100 == 0 {
					if err := l.Drop(seq - 50); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	l.Close()
	if last, err := replay(dir, 1550, func(uint64, []byte) error { return nil }); last != 1600 || err != nil {
		t.Errorf("replay = %d, %v; want 1600", last, err)
	}
}

func FuzzReader(f *testing.F) {
	l := open(f, Options{NoSync: true}, 0)
	appendTo(f, l, 9)
	data, err := os.ReadFile(filepath.Join(l.o.Dir, l.cur.String()))
	if err != nil {
		f.Fatal(err)
	}
	_, salt, _ := parseHeader(data)
	f.Add(data[headerSize:l.cur.pos], uint64(0))
	f.Add(data[headerSize:l.cur.pos-5], uint64(3))
	f.Add([]byte{}, uint64(0))
	f.Fuzz(func(t *testing.T, body []byte, last uint64) {
		data := append(appendHeader(nil, 1, salt), body...)
		end, err := readSegment(data, 1, last, func(r record) error {
			if r.seq != last+1 {
				t.Errorf("record %d comes where %d is due", r.seq, last+1)
			}
			if !bytes.Contains(data, r.payload) {
				t.Errorf("record %d isn't in the file", r.seq)
			}
			last++
			return nil
		})
		if err != nil || end < headerSize || end > int64(len(data)) {
			t.Errorf("readSegment = %d, %v for %d bytes", end, err, len(data))
		}
		segmentEvidence(data, 1)
	})
}

func BenchmarkDurableAppend(b *testing.B) {
	record := make([]byte, 200)
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			l := open(b, Options{SegmentSize: defaultSize}, 0)
			var wg sync.WaitGroup
			var n atomic.Int64
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for n.Add(1) <= int64(b.N) {
						seq, err := l.Append(record)
						if err == nil {
							err = l.Sync(seq)
						}
						if err != nil {
							b.Error(err)
							return
						}
						if seq%10000 == 0 {
							l.Drop(seq)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}
